//! The slow path against a device that keeps two tables, with packets built by an independent library.

mod sweeps;

mod neighbor;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use etherparse::{PacketBuilder, PacketHeaders, TransportHeader};
use futures::StreamExt;
use futures::stream::BoxStream;
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::Schema;
use parking_lot::Mutex;
use proptest::prelude::*;
use proto::update::Type as Kind;

use super::connections::{Connections, Opening};
use super::frame::{Frame, SCTP, TCP, UDP};
use super::*;
use crate::config::{PipelineConfig, Program};
use crate::device::stale::Sweeps;
use crate::device::{Device, DeviceError, Failure, UpdateError, UpdateResult};
use crate::pipeline::Image;
use crate::tables::flow::{Key, Tuple};
use crate::tables::{Address, Table, Tables};

const CLIENT: [u8; 4] = [10, 244, 0, 9];
const VIP: [u8; 4] = [10, 96, 0, 10];
const OTHER_VIP: [u8; 4] = [10, 96, 0, 11];
const ENDPOINT: [u8; 4] = [10, 244, 1, 7];
const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

/// A device that holds entries by key and refuses duplicates.
struct Fake {
    schema: Arc<Schema>,
    entries: Mutex<HashMap<Vec<u8>, proto::TableEntry>>,
    sent: Mutex<Vec<proto::PacketOut>>,
    writes: Mutex<usize>,
    /// A table that has no room.
    full: Mutex<Option<u32>>,
    sweeps: Sweeps,
}

fn key_of(entry: &proto::TableEntry) -> Vec<u8> {
    let mut key = entry.table_id.to_be_bytes().to_vec();
    for element in &entry.r#match {
        if let Some(proto::field_match::FieldMatchType::Exact(exact)) = &element.field_match_type {
            key.push(exact.value.len() as u8);
            key.extend(&exact.value);
        }
    }
    key
}

#[async_trait]
impl Device for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn session(&self) -> Option<u64> {
        Some(1)
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        Some(self.schema.clone())
    }

    fn sweeps(&self) -> Option<&Sweeps> {
        Some(&self.sweeps)
    }

    async fn write(&self, updates: Vec<proto::Update>) -> Result<Vec<UpdateResult>, DeviceError> {
        *self.writes.lock() += 1;
        let mut entries = self.entries.lock();
        let refuse = |kind| {
            Err(UpdateError {
                kind,
                message: String::new(),
            })
        };
        let mut apply = |update: proto::Update| {
            let kind = update.r#type();
            let Some(proto::entity::Entity::TableEntry(entry)) =
                update.entity.and_then(|e| e.entity)
            else {
                return refuse(Failure::Refused);
            };
            if kind == Kind::Insert && *self.full.lock() == Some(entry.table_id) {
                return refuse(Failure::Full);
            }
            let key = key_of(&entry);
            match (kind, entries.contains_key(&key)) {
                (Kind::Insert, true) => refuse(Failure::AlreadyExists),
                (Kind::Modify | Kind::Delete, false) => refuse(Failure::NotFound),
                (Kind::Delete, true) => {
                    entries.remove(&key);
                    Ok(())
                }
                _ => {
                    entries.insert(key, entry);
                    Ok(())
                }
            }
        };
        Ok(updates.into_iter().map(&mut apply).collect())
    }

    fn read(
        &self,
        query: Vec<proto::Entity>,
    ) -> BoxStream<'static, Result<Vec<proto::Entity>, DeviceError>> {
        let wanted: Vec<u32> = query
            .into_iter()
            .filter_map(|entity| match entity.entity {
                Some(proto::entity::Entity::TableEntry(entry)) => Some(entry.table_id),
                _ => None,
            })
            .collect();
        let entries = self.entries.lock();
        let found = entries
            .values()
            .filter(|e| wanted.contains(&e.table_id))
            .cloned();
        let found = found
            .map(|e| proto::Entity {
                entity: Some(proto::entity::Entity::TableEntry(e)),
            })
            .collect();
        futures::stream::iter([Ok(found)]).boxed()
    }
}

impl Outlet for Fake {
    fn packet_out(&self, packet: proto::PacketOut) -> bool {
        self.sent.lock().push(packet);
        true
    }
}

struct Rig {
    device: Arc<Fake>,
    path: SlowPath,
    tables: Tables,
    now: Instant,
}

impl Rig {
    fn new(program: Program) -> Self {
        let info = Image::load(&PipelineConfig::Bundled(program))
            .unwrap()
            .p4info;
        Self::with(Arc::new(Schema::new(info).unwrap()), HashMap::new())
    }

    fn with(schema: Arc<Schema>, entries: HashMap<Vec<u8>, proto::TableEntry>) -> Self {
        let tables = Tables::resolve(&schema).unwrap();
        let device = Arc::new(Fake {
            schema,
            entries: Mutex::new(entries),
            sent: Mutex::default(),
            writes: Mutex::default(),
            full: Mutex::default(),
            sweeps: Sweeps::default(),
        });
        let config = Config {
            refusals_per_second: 3,
            ..Config::default()
        };
        Self {
            path: SlowPath::new(device.clone(), device.clone(), config),
            device,
            tables,
            now: Instant::now(),
        }
    }

    fn packet_in(&self, verdict: u8, payload: Vec<u8>) -> proto::PacketIn {
        let endpoint = Address::from(IpAddr::from(ENDPOINT));
        let header = self.device.schema.packet_in().unwrap();
        // A pipeline that leaves the client's source alone.
        let source = Frame::parse(&payload).and_then(|frame| frame.tuple());
        let (source, source_port) =
            source.map_or_else(Default::default, |tuple| (tuple.src, tuple.src_port));
        let value = |name: &str| match name {
            "ingress_port" => 4u128,
            "verdict" => verdict.into(),
            "endpoint_hi" => endpoint.hi.into(),
            "endpoint_lo" => endpoint.lo.into(),
            "endpoint_port" => 8080,
            "source_hi" => source.hi.into(),
            "source_lo" => source.lo.into(),
            "source_port" => source_port.into(),
            _ => 0,
        };
        let metadata = header.fields.iter().map(|field| proto::PacketMetadata {
            metadata_id: field.id,
            value: p4runtime::value::from_u128(value(&field.name), field.width.bits().unwrap())
                .unwrap(),
        });
        proto::PacketIn {
            payload,
            metadata: metadata.collect(),
        }
    }

    async fn take(&mut self, packets: Vec<proto::PacketIn>) {
        let mut batch = packets;
        self.path.packets(&mut batch, self.now).await;
        assert!(batch.is_empty());
    }

    fn flow(&self, vip: [u8; 4], port: u16) -> Option<Tuple> {
        self.look(&self.tables.flow, &tuple(CLIENT, port, vip, 80))
    }

    fn reply(&self, to: u16) -> Option<Tuple> {
        self.look(&self.tables.reply, &tuple(ENDPOINT, 8080, CLIENT, to))
    }

    fn look<T: Table<Key = Key, Action = Tuple>>(&self, table: &T, tuple: &Tuple) -> Option<Tuple> {
        let key = Key {
            vpc: 0,
            protocol: TCP,
            tuple: *tuple,
        };
        let entries = self.device.entries.lock();
        table
            .decode(entries.get(&key_of(&table.key(&key)))?)
            .map(|(_, new)| new)
    }

    fn sent(&self) -> Vec<(u128, u128, Vec<u8>)> {
        let header = self.device.schema.packet_out().unwrap();
        let field = |packet: &proto::PacketOut, name: &str| {
            let id = header.fields.iter().find(|f| f.name == name).unwrap().id;
            let value = &packet
                .metadata
                .iter()
                .find(|m| m.metadata_id == id)
                .unwrap()
                .value;
            value
                .iter()
                .fold(0u128, |number, byte| number << 8 | u128::from(*byte))
        };
        let packets = std::mem::take(&mut *self.device.sent.lock());
        packets
            .into_iter()
            .map(|p| {
                (
                    field(&p, "ingress_port"),
                    field(&p, "egress_port"),
                    p.payload,
                )
            })
            .collect()
    }
}

fn tuple(src: [u8; 4], src_port: u16, dst: [u8; 4], dst_port: u16) -> Tuple {
    Tuple {
        src: IpAddr::from(src).into(),
        dst: IpAddr::from(dst).into(),
        src_port,
        dst_port,
    }
}

fn syn(vip: [u8; 4], port: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let builder = PacketBuilder::ethernet2(MACS.0, MACS.1)
        .ipv4(CLIENT, vip, 64)
        .tcp(port, 80, 1000, 100);
    builder.syn().write(&mut out, &[]).unwrap();
    out
}

#[tokio::test]
async fn a_new_connection_is_installed_before_its_packet_goes_back() {
    let mut rig = Rig::new(Program::V1model);
    let packets = (0..3).map(|_| rig.packet_in(5, syn(VIP, 40_000))).collect();
    rig.take(packets).await;
    assert_eq!(
        rig.flow(VIP, 40_000),
        Some(tuple(CLIENT, 40_000, ENDPOINT, 8080))
    );
    assert_eq!(rig.reply(40_000), Some(tuple(VIP, 80, CLIENT, 40_000)));
    assert!(
        rig.device
            .entries
            .lock()
            .values()
            .all(|e| e.idle_timeout_ns == 300_000_000_000)
    );
    let sent = rig.sent();
    assert_eq!(
        sent.len(),
        3,
        "every packet of the batch goes back, the entries are written once"
    );
    assert!(
        sent.iter()
            .all(|(ingress, egress, packet)| (*ingress, *egress) == (4, 0)
                && *packet == syn(VIP, 40_000))
    );
    let counters = rig.path.counters().snapshot();
    assert_eq!(
        (counters.connections, counters.reinjected, counters.received),
        (1, 3, 3)
    );
}

#[tokio::test]
async fn two_connections_never_share_a_reply_tuple() {
    let mut rig = Rig::new(Program::V1model);
    let packets = vec![
        rig.packet_in(5, syn(VIP, 40_000)),
        rig.packet_in(5, syn(OTHER_VIP, 40_000)),
    ];
    rig.take(packets).await;
    let (first, second) = (
        rig.flow(VIP, 40_000).unwrap(),
        rig.flow(OTHER_VIP, 40_000).unwrap(),
    );
    assert_eq!(first.src_port, 40_000);
    assert_ne!(second.src_port, first.src_port);
    assert_eq!(
        rig.reply(second.src_port),
        Some(tuple(OTHER_VIP, 80, CLIENT, 40_000))
    );
    assert_eq!(rig.path.counters().snapshot().port_changes, 1);
}

#[tokio::test]
async fn a_connection_without_room_for_its_answers_leaves_no_half() {
    let mut rig = Rig::new(Program::V1model);
    *rig.device.full.lock() = Some(rig.tables.reply.id());
    let packet = rig.packet_in(5, syn(VIP, 40_000));
    rig.take(vec![packet]).await;
    assert!(rig.device.entries.lock().is_empty());
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.path.counters().snapshot().write_errors, 1);

    // With room it opens.
    *rig.device.full.lock() = None;
    let packet = rig.packet_in(5, syn(VIP, 40_000));
    rig.take(vec![packet]).await;
    assert!(rig.flow(VIP, 40_000).is_some() && rig.reply(40_000).is_some());
}

#[tokio::test]
async fn s53_answers_that_a_device_learned_for_another_connection_stay_its_own() {
    let mut rig = Rig::new(Program::Pna);
    let key = Key {
        vpc: 0,
        protocol: TCP,
        tuple: tuple(ENDPOINT, 8080, CLIENT, 40_000),
    };
    let others = tuple(OTHER_VIP, 80, CLIENT, 40_000);
    let held = rig.tables.reply.entry(&key, &others);
    rig.device.entries.lock().insert(key_of(&held), held);
    let packet = rig.packet_in(5, syn(VIP, 40_000));
    rig.take(vec![packet]).await;
    assert_eq!(rig.reply(40_000), Some(others));
    let new = rig.flow(VIP, 40_000).unwrap();
    assert_ne!(new.src_port, 40_000);
    let answers = rig.reply(new.src_port);
    assert_eq!(answers, Some(tuple(VIP, 80, CLIENT, 40_000)));
}

#[tokio::test]
async fn a_conflict_in_a_learning_device_is_resolved_there() {
    let mut rig = Rig::new(Program::Pna);
    // What the device learned: the other connection's reply, and this one's flow.
    let key = |tuple| Key {
        vpc: 0,
        protocol: TCP,
        tuple,
    };
    let held = rig.tables.reply.entry(
        &key(tuple(ENDPOINT, 8080, CLIENT, 40_000)),
        &tuple(OTHER_VIP, 80, CLIENT, 40_000),
    );
    let learned = rig.tables.flow.entry(
        &key(tuple(CLIENT, 40_000, VIP, 80)),
        &tuple(CLIENT, 40_000, ENDPOINT, 8080),
    );
    for entry in [held, learned] {
        rig.device.entries.lock().insert(key_of(&entry), entry);
    }
    let packet = rig.packet_in(7, syn(VIP, 40_000));
    rig.take(vec![packet]).await;
    let new = rig.flow(VIP, 40_000).unwrap();
    assert_ne!(new.src_port, 40_000);
    assert_eq!(
        rig.reply(new.src_port),
        Some(tuple(VIP, 80, CLIENT, 40_000))
    );
    assert_eq!(
        rig.reply(40_000),
        Some(tuple(OTHER_VIP, 80, CLIENT, 40_000)),
        "the holder keeps its entry"
    );
    assert_eq!(rig.sent().len(), 1);
    assert!(
        rig.device
            .entries
            .lock()
            .values()
            .all(|e| e.idle_timeout_ns == 0),
        "the device times out itself"
    );
}

/// The pipeline tells where a connection stands; its entries may be idle for as long as Linux lets it.
#[tokio::test]
async fn s68_states_change_how_long_a_connection_may_be_idle() {
    let mut rig = Rig::new(Program::V1model);
    let state = |rig: &Rig, verdict: u8, packet: Vec<u8>, state: u8| {
        let mut packet = rig.packet_in(verdict, packet);
        let header = rig.device.schema.packet_in().unwrap();
        let id = header.fields.iter().find(|f| f.name == "state").unwrap().id;
        let said = packet.metadata.iter_mut().find(|m| m.metadata_id == id);
        said.unwrap().value = vec![state];
        packet
    };
    let idle = |rig: &Rig| -> Vec<u64> {
        let entries = rig.device.entries.lock();
        let mut all: Vec<_> = entries.values().map(|e| e.idle_timeout_ns as u64).collect();
        all.dedup();
        all.iter().map(|ns| ns / 1_000_000_000).collect()
    };
    let first = state(&rig, 5, syn(VIP, 40_000), 1);
    rig.take(vec![first]).await;
    assert_eq!(idle(&rig), [120], "SYN_SENT");
    let mut answer = Vec::new();
    PacketBuilder::ethernet2(MACS.0, MACS.1)
        .ipv4(ENDPOINT, CLIENT, 64)
        .tcp(8080, 40_000, 5000, 100)
        .syn()
        .ack(1001)
        .write(&mut answer, &[])
        .unwrap();
    rig.sent();
    for (told, seconds) in [
        (2, 60),
        (3, 432_000),
        (4, 120),
        (5, 60),
        (6, 30),
        (7, 120),
        (8, 10),
    ] {
        // From the client, and from the endpoint.
        for packet in [syn(VIP, 40_000), answer.clone()] {
            let packet = state(&rig, 24, packet, told);
            rig.take(vec![packet]).await;
            assert_eq!(idle(&rig), [seconds], "state {told}");
            assert_eq!(rig.sent().len(), 1, "the packet goes on");
        }
    }
}

/// Ten connections that need another source port: so many writes, not ten times as many.
#[tokio::test]
async fn conflicts_that_wait_together_are_resolved_together() {
    let mut rig = Rig::new(Program::Pna);
    for port in 40_000..40_010 {
        let key = Key {
            vpc: 0,
            protocol: TCP,
            tuple: tuple(ENDPOINT, 8080, CLIENT, port),
        };
        let held = rig
            .tables
            .reply
            .entry(&key, &tuple(OTHER_VIP, 80, CLIENT, port));
        rig.device.entries.lock().insert(key_of(&held), held);
    }
    // Two packets of each.
    let ports = (40_000..40_010).chain(40_000..40_010);
    let packets = ports.map(|port| rig.packet_in(7, syn(VIP, port))).collect();
    rig.take(packets).await;
    let mut given = std::collections::HashSet::new();
    for port in 40_000..40_010 {
        let new = rig.flow(VIP, port).unwrap();
        assert!(given.insert(new.src_port), "each has a port of its own");
        assert_eq!(rig.reply(new.src_port), Some(tuple(VIP, 80, CLIENT, port)));
    }
    assert_eq!(rig.sent().len(), 20);
    assert!(
        *rig.device.writes.lock() <= 6,
        "{}",
        rig.device.writes.lock()
    );
    assert_eq!(rig.path.counters().snapshot().port_changes, 10);
}

/// S53: whoever has seen one port cannot tell the next.
#[test]
fn s53_ports_are_drawn_at_random_from_their_range() {
    let ports = SourcePorts::default();
    let node = ports.node;
    let mut connections = Connections::new(10_000, ports);
    let now = Instant::now();
    let masqueraded = |from: u16| Key {
        vpc: 0,
        protocol: UDP,
        tuple: tuple(CLIENT, from, VIP, 80),
    };
    let natural = Tuple {
        src: IpAddr::from([192, 0, 2, 1]).into(),
        src_port: node.base,
        ..tuple(CLIENT, 0, ENDPOINT, 8080)
    };
    let mut drawn = Vec::new();
    for from in 0..=node.mask {
        match connections.open(masqueraded(from + 1), natural, true, now) {
            Opening::Install(new) => drawn.push(new.src_port),
            other => panic!("{from}: {other:?}"),
        }
    }
    assert_eq!(
        connections.open(masqueraded(60_000), natural, true, now),
        Opening::Conflict,
        "all are taken"
    );
    let steps = drawn
        .windows(2)
        .filter(|pair| pair[1] == pair[0].wrapping_add(1));
    assert!(steps.count() < 400, "one after the other is no drawing");
    drawn.sort_unstable();
    let all: Vec<u16> = (node.base..=node.base + node.mask).collect();
    assert_eq!(drawn, all, "none twice, none outside");
}

#[tokio::test]
async fn idleness_of_the_answers_ends_a_connection_and_the_pick_stays() {
    let mut rig = Rig::new(Program::V1model);
    let packet = rig.packet_in(5, syn(VIP, 40_000));
    rig.take(vec![packet]).await;
    let notice = |rig: &Rig, table: u32| proto::IdleTimeoutNotification {
        table_entry: rig
            .device
            .entries
            .lock()
            .values()
            .filter(|e| e.table_id == table)
            .cloned()
            .collect(),
        timestamp: 0,
    };
    let flow_only = notice(&rig, rig.tables.flow.id());
    rig.path.idle(&mut vec![flow_only], rig.now).await;
    assert_eq!(rig.device.entries.lock().len(), 2, "answers may still come");
    let both = notice(&rig, rig.tables.reply.id());
    rig.path.idle(&mut vec![both], rig.now).await;
    assert!(rig.device.entries.lock().is_empty());
    assert_eq!(rig.path.counters().snapshot().expired, 1);
    // It goes on: a bare acknowledgment finds the same pick although the pipeline would now pick another endpoint.
    let mut ack = Vec::new();
    let builder = PacketBuilder::ethernet2(MACS.0, MACS.1)
        .ipv4(CLIENT, VIP, 64)
        .tcp(40_000, 80, 1001, 100);
    builder.ack(5).write(&mut ack, &[]).unwrap();
    let mut moved = rig.packet_in(5, ack);
    let header = rig.device.schema.packet_in().unwrap();
    let port = header
        .fields
        .iter()
        .find(|f| f.name == "endpoint_port")
        .unwrap()
        .id;
    moved
        .metadata
        .iter_mut()
        .find(|m| m.metadata_id == port)
        .unwrap()
        .value = vec![0x23, 0x28];
    rig.take(vec![moved]).await;
    assert_eq!(
        rig.flow(VIP, 40_000),
        Some(tuple(CLIENT, 40_000, ENDPOINT, 8080))
    );
}

#[tokio::test]
async fn a_restart_reads_connections_back() {
    let mut rig = Rig::new(Program::V1model);
    let packet = rig.packet_in(5, syn(VIP, 40_000));
    rig.take(vec![packet]).await;
    let entries = rig.device.entries.lock().clone();
    let mut after = Rig::with(rig.device.schema.clone(), entries.clone());
    let packet = after.packet_in(5, syn(VIP, 40_000));
    after.take(vec![packet]).await;
    assert_eq!(
        *after.device.writes.lock(),
        0,
        "what is there is not written again"
    );
    assert_eq!(*after.device.entries.lock(), entries);
    assert_eq!(after.sent().len(), 1);
    let other = after.packet_in(5, syn(OTHER_VIP, 40_000));
    after.take(vec![other]).await;
    assert_ne!(
        after.flow(OTHER_VIP, 40_000).unwrap().src_port,
        40_000,
        "tuples read back are taken"
    );
}

#[tokio::test]
async fn refusals_have_the_right_numbers_and_a_limit() {
    let mut rig = Rig::new(Program::V1model);
    let packets = (0..5)
        .map(|n| rig.packet_in(6, syn(VIP, 40_000 + n)))
        .collect();
    rig.take(packets).await;
    let sent = rig.sent();
    assert_eq!(sent.len(), 3);
    let (ingress, egress, reset) = &sent[0];
    assert_eq!((*ingress, *egress), (0, 4));
    let parsed = PacketHeaders::from_ethernet_slice(reset).unwrap();
    let Some(TransportHeader::Tcp(tcp)) = parsed.transport else {
        panic!("no TCP")
    };
    assert!(tcp.rst && tcp.ack);
    assert_eq!((tcp.sequence_number, tcp.acknowledgment_number), (0, 1001));
    assert_eq!((tcp.source_port, tcp.destination_port), (80, 40_000));
    assert_eq!(rig.path.counters().snapshot().rate_limited, 2);
    rig.now += Duration::from_secs(1);
    // A reset is not answered, nor is an ICMP error.
    let mut rst = Vec::new();
    PacketBuilder::ethernet2(MACS.0, MACS.1)
        .ipv4(CLIENT, VIP, 64)
        .tcp(1, 80, 5, 0)
        .rst()
        .write(&mut rst, &[])
        .unwrap();
    let mut unreachable = Vec::new();
    let kind = etherparse::Icmpv4Type::DestinationUnreachable(
        etherparse::icmpv4::DestUnreachableHeader::Host,
    );
    PacketBuilder::ethernet2(MACS.0, MACS.1)
        .ipv4(CLIENT, VIP, 64)
        .icmpv4(kind)
        .write(&mut unreachable, &[0; 28])
        .unwrap();
    let packets = vec![rig.packet_in(6, rst), rig.packet_in(6, unreachable)];
    rig.take(packets).await;
    assert!(rig.sent().is_empty());
    assert_eq!(rig.path.counters().snapshot().unanswerable, 2);
}

#[tokio::test]
async fn icmp_refusals_quote_the_packet() {
    let mut rig = Rig::new(Program::V1model);
    let mut v6 = Vec::new();
    let (src, dst) = ([0xfd; 16], [0xfc; 16]);
    PacketBuilder::ethernet2(MACS.0, MACS.1)
        .ipv6(src, dst, 1)
        .udp(7, 53)
        .write(&mut v6, &[1; 2000])
        .unwrap();
    let packets = vec![rig.packet_in(6, v6.clone()), rig.packet_in(8, v6.clone())];
    rig.take(packets).await;
    let sent = rig.sent();
    assert_eq!(sent.len(), 2);
    for ((_, port, answer), kind) in sent.iter().zip([1u8, 3]) {
        assert_eq!(*port, 4);
        assert_eq!(&answer[0..6], &MACS.0);
        assert_eq!(
            answer.len(),
            14 + 1280,
            "as much as the smallest MTU takes (RFC 4443)"
        );
        assert_eq!(answer[54], kind);
        assert_eq!(&answer[62..], &v6[14..14 + 1280 - 48]);
        let parsed = PacketHeaders::from_ethernet_slice(answer).unwrap();
        let Some(TransportHeader::Icmpv6(icmp)) = &parsed.transport else {
            panic!("no ICMPv6")
        };
        let Some(etherparse::NetHeaders::Ipv6(ip, _)) = &parsed.net else {
            panic!("no IPv6")
        };
        let sum = icmp
            .icmp_type
            .calc_checksum(ip.source, ip.destination, parsed.payload.slice())
            .unwrap();
        assert_eq!(sum, icmp.checksum);
        assert_eq!(ip.destination, src);
    }
}

#[test]
fn an_sctp_connection_keeps_its_port_or_is_refused() {
    let mut connections = Connections::new(10, SourcePorts::default());
    let key = |vip| Key {
        vpc: 0,
        protocol: SCTP,
        tuple: tuple(CLIENT, 5000, vip, 80),
    };
    let natural = Tuple {
        dst: IpAddr::from(ENDPOINT).into(),
        ..key(VIP).tuple
    };
    let now = Instant::now();
    assert!(matches!(
        connections.open(key(VIP), natural, true, now),
        Opening::Install(_)
    ));
    assert_eq!(
        connections.open(key(OTHER_VIP), natural, true, now),
        Opening::Conflict
    );
}

proptest! {
    /// Whatever opens, rests and goes: no two installed connections have one reply tuple, and there is a bound.
    #[test]
    fn reply_tuples_stay_unique(steps in prop::collection::vec((0u8..4, 0u16..6, 0u8..3, any::<bool>()), 1..200)) {
        let mut connections = Connections::new(12, SourcePorts::default());
        let start = Instant::now();
        let mut all = Vec::new();
        for (at, (step, port, vip, begins)) in steps.into_iter().enumerate() {
            let now = start + Duration::from_millis(at as u64);
            let key = Key { vpc: 0, protocol: UDP, tuple: tuple(CLIENT, 2000 + port, [10, 96, 0, vip], 80) };
            match step {
                0 | 1 => {
                    let natural = Tuple { dst: IpAddr::from(ENDPOINT).into(), dst_port: 8080, ..key.tuple };
                    connections.open(key, natural, begins, now);
                }
                2 => connections.rest(&key, now),
                _ => connections.remove(&key),
            }
            all.push(key);
            let mut taken = std::collections::HashMap::new();
            for key in &all {
                if let Some(new) = connections.installed(key) {
                    let holder = taken.insert(super::connections::reply_key(key, new), *key);
                    prop_assert!(holder.is_none_or(|holder| holder == *key));
                    prop_assert_eq!(connections.by_reply(&super::connections::reply_key(key, new)), Some((*key, new)));
                }
            }
            prop_assert!(connections.len() <= 12);
        }
    }

    #[test]
    fn no_frame_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(frame) = Frame::parse(&bytes) {
            let _ = (frame.tuple(), frame.segment(), refusal::reject(&frame), refusal::time_exceeded(&frame));
        }
    }
}

/// A value of the wrong shape in the packet_in header is counted, not believed.
#[tokio::test]
async fn packets_without_sense_are_counted() {
    let mut rig = Rig::new(Program::V1model);
    let mut short = rig.packet_in(5, syn(VIP, 1));
    short.metadata.truncate(2);
    let packets = vec![
        short,
        rig.packet_in(5, vec![0; 9]),
        rig.packet_in(99, syn(VIP, 1)),
        proto::PacketIn::default(),
    ];
    rig.take(packets).await;
    assert_eq!(rig.path.counters().snapshot().malformed, 4);
    assert!(rig.device.entries.lock().is_empty());
}
