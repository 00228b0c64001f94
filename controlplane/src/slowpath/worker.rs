//! The loop that takes packets and notices, in batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::Schema;
use proto::update::Type as Kind;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::bucket::Bucket;
use super::connections::{Connections, Opening};
use super::frame::Frame;
use super::neighbor::{Announcer, changed, sleep_until};
use super::sweep::{Sweep, handed_over};
use super::{Config, Counters, Outlet, refusal};
use crate::device::{Device, DeviceError, OwnAddresses};
use crate::tables::endpoint::Target;
use crate::tables::flow::{Key, Tuple};
use crate::tables::{Address, Table, Tables, affinity, entry, frontend};

/// Packets taken at once.
const BATCH: usize = 512;

/// Verdicts of the pipeline that come here (`p4/core/constants.p4`).
mod verdict {
    pub(super) const NEW_FLOW: u128 = 5;
    pub(super) const REJECT: u128 = 6;
    pub(super) const CONFLICT: u128 = 7;
    pub(super) const TTL_EXPIRED: u128 = 8;
    pub(super) const STATE: u128 = 24;
    pub(super) const NEIGHBOR: u128 = 25;
}

/// The slow path of one device.
pub struct SlowPath {
    pub(super) device: Arc<dyn Device>,
    outlet: Arc<dyn Outlet>,
    pub(super) config: Config,
    pub(super) counters: Arc<Counters>,
    pub(super) connections: Connections,
    bucket: Bucket,
    pub(super) neighbors: Bucket,
    pub(super) announcer: Announcer,
    pub(super) program: Option<Program>,
    /// Where the connections of the batch at hand stand.
    pub(super) opening: HashMap<Key, u8>,
    pub(super) sweep: Sweep,
}

/// What is known of the device's program in one session.
pub(super) struct Program {
    session: u64,
    schema: Arc<Schema>,
    pub(super) tables: Arc<Tables>,
    /// The device learns and times out by itself.
    pub(super) learns: bool,
}

/// A packet to be sent back in once its connection is there.
struct Waiting {
    flow: Key,
    ingress_port: u32,
    packet: Vec<u8>,
}

/// What the pipeline said of a packet.
struct Said {
    verdict: u128,
    ingress_port: u32,
    vpc: u32,
    service_id: u32,
    serve_flags: u16,
    endpoint: Target,
    /// The source that the packet would have; `None`: the program leaves sources alone.
    source: Option<(Address, u16)>,
    /// Where its connection stands (`p4/core/constants.p4`).
    state: u8,
}

impl Said {
    /// The packet as the pipeline would send it on.
    fn natural(&self, flow: &Key) -> Tuple {
        let (src, src_port) = self.source.unwrap_or((flow.tuple.src, flow.tuple.src_port));
        Tuple {
            src,
            src_port,
            dst: self.endpoint.address,
            dst_port: self.endpoint.port,
        }
    }

    /// The client's place in `affinity`, where its Service remembers clients.
    fn pin(&self, flow: &Key) -> Option<affinity::Key> {
        let remembers = self.serve_flags & frontend::AFFINITY != 0;
        // What goes into a tunnel has no port to remember.
        (remembers && self.endpoint.port != 0).then_some(affinity::Key {
            affinity_id: self.service_id,
            client: flow.tuple.src,
        })
    }
}

/// Whether the packets go to the endpoint in a tunnel: then no answer comes back this way.
pub(super) fn is_direct(new: Tuple) -> bool {
    new.dst_port == 0
}

impl SlowPath {
    /// A slow path that knows no connection yet.
    pub fn new(device: Arc<dyn Device>, outlet: Arc<dyn Outlet>, config: Config) -> Self {
        Self {
            connections: Connections::new(config.connections, config.source_ports.clone()),
            bucket: Bucket::new(config.refusals_per_second, Instant::now()),
            neighbors: Bucket::new(config.neighbors_per_second, Instant::now()),
            announcer: Announcer::default(),
            device,
            outlet,
            config,
            counters: Arc::default(),
            program: None,
            opening: HashMap::new(),
            sweep: Sweep::default(),
        }
    }

    /// What it did so far.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Serves packets, idle notices and clean-ups until one of the queues is closed.
    pub async fn run(
        mut self,
        mut packets: mpsc::Receiver<proto::PacketIn>,
        mut idle: mpsc::Receiver<proto::IdleTimeoutNotification>,
    ) {
        let (mut batch, mut notices) = (Vec::with_capacity(BATCH), Vec::new());
        let device = self.device.clone();
        let mut own = device.own_addresses().map(OwnAddresses::watch);
        loop {
            let again = self.sweep.at.unwrap_or_else(Instant::now);
            let due = self.announcer.due();
            tokio::select! {
                answering = changed(&mut own) => self.announcer.take(&answering, Instant::now()),
                () = sleep_until(due), if due.is_some() => self.announce(Instant::now()).await,
                count = packets.recv_many(&mut batch, BATCH) => match count {
                    0 => break,
                    _ => self.packets(&mut batch, Instant::now()).await,
                },
                count = idle.recv_many(&mut notices, BATCH) => match count {
                    0 => break,
                    _ => self.idle(&mut notices, Instant::now()).await,
                },
                () = handed_over(&*device) => self.sweep(Instant::now()).await,
                () = tokio::time::sleep_until(again.into()), if self.sweep.at.is_some() => {
                    self.sweep(Instant::now()).await;
                }
                ready = self.sweep.ready() => {
                    self.go_on(ready, Instant::now()).await;
                    self.sweep(Instant::now()).await;
                }
            }
        }
    }

    /// Takes one batch of packets and leaves it empty.
    pub(super) async fn packets(&mut self, batch: &mut Vec<proto::PacketIn>, now: Instant) {
        Counters::add(&self.counters.received, batch.len() as u64);
        if !self.prepare(now).await {
            Counters::add(&self.counters.write_errors, batch.len() as u64);
            batch.clear();
            return;
        }
        let mut opened: Vec<(Key, Tuple)> = Vec::new();
        let mut waiting = Vec::new();
        let mut conflicts = Vec::new();
        let mut pins = Vec::new();
        let mut turned = HashMap::new();
        self.opening.clear();
        for packet in batch.drain(..) {
            let Some(said) = self.said(&packet) else {
                Counters::count(&self.counters.malformed);
                continue;
            };
            if said.verdict == verdict::NEIGHBOR {
                self.answer_neighbor(&packet.payload, said.ingress_port, now);
                continue;
            }
            let Some(frame) = Frame::parse(&packet.payload) else {
                Counters::count(&self.counters.malformed);
                continue;
            };
            match said.verdict {
                verdict::REJECT => {
                    if let Some(ledger) = self.device.ledger() {
                        ledger.rejected(said.service_id);
                    }
                    self.refuse(&frame, said.ingress_port, refusal::reject, now);
                }
                verdict::TTL_EXPIRED => {
                    self.refuse(&frame, said.ingress_port, refusal::time_exceeded, now)
                }
                verdict::NEW_FLOW | verdict::CONFLICT => {
                    let Some(tuple) = frame.tuple() else {
                        Counters::count(&self.counters.malformed);
                        continue;
                    };
                    let flow = Key {
                        vpc: said.vpc,
                        protocol: frame.protocol,
                        tuple,
                    };
                    let begins = frame
                        .segment()
                        .is_some_and(|s| s.syn && s.acknowledgment.is_none());
                    let natural = said.natural(&flow);
                    if said.verdict == verdict::CONFLICT {
                        conflicts.push((flow, natural, said.endpoint.endpoint_id));
                        waiting.push(Waiting {
                            flow,
                            ingress_port: said.ingress_port,
                            packet: packet.payload,
                        });
                        continue;
                    }
                    match self.connections.open(flow, natural, begins, now) {
                        Opening::Install(new) => {
                            self.opening.insert(flow, said.state);
                            self.connections.count_for(
                                &flow,
                                (said.endpoint.address, said.endpoint.port),
                                said.endpoint.endpoint_id,
                            );
                            if new.src_port != natural.src_port {
                                Counters::count(&self.counters.port_changes);
                            }
                            opened.push((flow, new));
                            pins.extend(said.pin(&flow).map(|pin| (pin, said.endpoint)));
                        }
                        Opening::Present => {}
                        Opening::Conflict => {
                            Counters::count(&self.counters.unresolved_conflicts);
                            continue;
                        }
                    }
                    waiting.push(Waiting {
                        flow,
                        ingress_port: said.ingress_port,
                        packet: packet.payload,
                    });
                }
                verdict::STATE => {
                    let Some(tuple) = frame.tuple() else {
                        Counters::count(&self.counters.malformed);
                        continue;
                    };
                    let own = Key {
                        vpc: said.vpc,
                        protocol: frame.protocol,
                        tuple,
                    };
                    // A client's packet, or an answer.
                    let flow = match self.connections.by_reply(&own) {
                        Some((flow, _)) => flow,
                        None => own,
                    };
                    turned.insert(flow, said.state);
                    waiting.push(Waiting {
                        flow,
                        ingress_port: said.ingress_port,
                        packet: packet.payload,
                    });
                }
                _ => Counters::count(&self.counters.malformed),
            }
        }
        self.install(&opened, now).await;
        self.turn(turned).await;
        self.resolve_conflicts(conflicts, now).await;
        self.remember(pins).await;
        for packet in waiting {
            self.reinject(packet);
        }
    }

    /// Takes idle notices and leaves them empty.
    ///
    /// A client's packet refreshes both entries, an answer only `reply`: so it is `reply` that tells when a connection
    /// is idle both ways.
    pub(super) async fn idle(
        &mut self,
        notices: &mut Vec<proto::IdleTimeoutNotification>,
        now: Instant,
    ) {
        if !self.prepare(now).await {
            notices.clear();
            return;
        }
        let Some(program) = &self.program else { return };
        let (flow_table, reply_table) = (&program.tables.flow, &program.tables.reply);
        let mut updates = Vec::new();
        let mut gone = Vec::new();
        for entry in notices.drain(..).flat_map(|notice| notice.table_entry) {
            if entry.table_id == reply_table.id() {
                let Some(key) = read_key(reply_table, &entry) else {
                    continue;
                };
                updates.push(entry::update(Kind::Delete, reply_table.key(&key)));
                if let Some((flow, _)) = self.connections.by_reply(&key) {
                    updates.push(entry::update(Kind::Delete, flow_table.key(&flow)));
                    gone.push(flow);
                }
            } else if entry.table_id == program.tables.affinity.id() {
                if let Some(key) = program.tables.affinity.decode_key(&entry) {
                    updates.push(entry::update(
                        Kind::Delete,
                        program.tables.affinity.key(&key),
                    ));
                }
            } else if entry.table_id == flow_table.id() {
                let Some(key) = read_key(flow_table, &entry) else {
                    continue;
                };
                // In a tunnel there is no other half whose idleness would count.
                if self.connections.installed(&key).is_some_and(is_direct) {
                    gone.push(key);
                    updates.push(entry::update(Kind::Delete, flow_table.key(&key)));
                } else if self.connections.installed(&key).is_none() {
                    updates.push(entry::update(Kind::Delete, flow_table.key(&key)));
                }
            }
        }
        if updates.is_empty() {
            return;
        }
        if let Err(error) = self.device.write(updates).await {
            warn!(%error, "idle connections could not be removed; the device will tell again");
            return;
        }
        for flow in &gone {
            self.connections.rest(flow, now);
        }
        Counters::add(&self.counters.expired, gone.len() as u64);
    }

    /// Makes sure that the session's program is known. False while there is no session.
    pub(super) async fn prepare(&mut self, now: Instant) -> bool {
        let Some(session) = self.device.session() else {
            return false;
        };
        if self
            .program
            .as_ref()
            .is_some_and(|program| program.session == session)
        {
            return true;
        }
        let Some(schema) = self.device.schema() else {
            return false;
        };
        let tables = match Tables::resolve(&schema) {
            Ok(tables) => tables,
            Err(missing) => {
                warn!(device = self.device.name(), %missing, "the device runs another program");
                return false;
            }
        };
        let learns = !schema.table("flow").is_some_and(|table| table.idle_timeout);
        self.connections =
            Connections::new(self.config.connections, self.config.source_ports.clone());
        self.program = Some(Program {
            session,
            schema,
            tables: Arc::new(tables),
            learns,
        });
        if !learns && let Err(error) = self.recover(now).await {
            warn!(%error, "connections in the device could not be read back");
            self.program = None;
            return false;
        }
        true
    }

    /// Reads the device's connections back: after a restart they go on as they are.
    async fn recover(&mut self, now: Instant) -> Result<(), DeviceError> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        let mut entities = self
            .device
            .read(vec![entry::all_of(program.tables.flow.id())]);
        while let Some(chunk) = entities.next().await {
            for entity in chunk? {
                if let Some(proto::entity::Entity::TableEntry(entry)) = entity.entity
                    && let Some((flow, new)) = program.tables.flow.decode(&entry)
                {
                    self.connections.adopt(flow, new, now);
                    let endpoint_id = program.tables.flow.endpoint_id(&entry);
                    self.connections
                        .count_for(&flow, (new.dst, new.dst_port), endpoint_id);
                }
            }
        }
        debug!(
            connections = self.connections.len(),
            "connections read back"
        );
        Ok(())
    }

    fn said(&self, packet: &proto::PacketIn) -> Option<Said> {
        let view = self.program.as_ref()?.schema.read_packet_in(packet).ok()?;
        let number = |name| view.field(name).ok();
        let address = |hi, lo| {
            Some(Address {
                hi: number(hi)? as u64,
                lo: number(lo)? as u64,
            })
        };
        Some(Said {
            verdict: number("verdict")?,
            ingress_port: number("ingress_port")? as u32,
            vpc: number("vpc")? as u32,
            service_id: number("service_id")? as u32,
            serve_flags: number("serve_flags").unwrap_or(0) as u16,
            endpoint: Target {
                address: address("endpoint_hi", "endpoint_lo")?,
                port: number("endpoint_port")? as u16,
                flags: number("endpoint_flags").unwrap_or(0) as u8,
                endpoint_id: number("endpoint_id").unwrap_or(0) as u32,
            },
            source: address("source_hi", "source_lo").zip(number("source_port").map(|n| n as u16)),
            state: number("state").unwrap_or(0) as u8,
        })
    }

    fn refuse(
        &mut self,
        frame: &Frame<'_>,
        port: u32,
        answer: fn(&Frame<'_>) -> Option<Vec<u8>>,
        now: Instant,
    ) {
        let Some(answer) = answer(frame) else {
            Counters::count(&self.counters.unanswerable);
            return;
        };
        if !self.bucket.take(now) {
            Counters::count(&self.counters.rate_limited);
            return;
        }
        if self.send(answer, 0, port) {
            Counters::count(&self.counters.refusals);
        }
    }

    /// Sends a packet back into the pipeline if its connection is there.
    fn reinject(&self, waiting: Waiting) {
        if self.connections.installed(&waiting.flow).is_some()
            && self.send(waiting.packet, waiting.ingress_port, 0)
        {
            Counters::count(&self.counters.reinjected);
        }
    }

    pub(super) fn send(&self, packet: Vec<u8>, ingress_port: u32, egress_port: u32) -> bool {
        let fields = [
            ("ingress_port", ingress_port.into()),
            ("egress_port", egress_port.into()),
        ];
        let sent = self
            .program
            .as_ref()
            .and_then(|program| program.schema.build_packet_out(packet, &fields).ok())
            .is_some_and(|packet| self.outlet.packet_out(packet));
        if !sent {
            Counters::count(&self.counters.send_errors);
        }
        sent
    }
}

/// The key of an entry that may come without its action.
fn read_key<T: Table<Key = Key, Action = Tuple>>(
    table: &T,
    entry: &proto::TableEntry,
) -> Option<Key> {
    let nowhere = Tuple {
        src: Address::default(),
        dst: Address::default(),
        src_port: 0,
        dst_port: 0,
    };
    let whole = proto::TableEntry {
        action: Some(table.action(&nowhere)),
        ..entry.clone()
    };
    table.decode(&whole).map(|(key, _)| key)
}
