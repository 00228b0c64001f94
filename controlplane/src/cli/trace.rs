//! `nicproxy trace`: what a device would do with a packet, and why.
//!
//! In: a packet, given as addresses or in a capture file, and a device. Out: every table's answer in order, whose
//! entry it was, and how the packet ends. The device is only read: its program and entries are loaded into an engine
//! in this process, and the packet runs there. A device that hashes in another way may pick another endpoint for a new
//! connection; everything else is the same.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use p4rs::engine::{
    ActionCall, Config as EngineConfig, Engine, Event, FieldMatch, KeyValue, NewEntry, Outputs,
    Time,
};
use p4runtime::client::ResponseType;
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Table as SchemaTable};
use p4runtime::value;
use proto::field_match::FieldMatchType;
use serde::Serialize;

use super::args::DeviceArgs;
use super::output::{self, Format};
use super::reader::Reader;
use crate::config::{Mac, Program, SLOW_PATH_PORT};
use crate::demo::frame::{Frame, Segment, Tuple};
use crate::model::Protocol;
use crate::pipeline;
use crate::tables::Address;
use crate::telemetry::counters::VERDICTS;

/// Packets of a capture file that are traced.
const MOST: usize = 1000;

/// Arguments of `nicproxy trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The packet.
    #[command(flatten)]
    pub packet: PacketArgs,
    /// The port that it comes in at
    #[arg(long, value_name = "PORT", default_value_t = 1)]
    pub port: u32,
    /// Which device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// A packet: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PacketArgs {
    /// A TCP SYN from one address to another
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    pub tcp: Vec<SocketAddr>,
    /// A UDP packet from one address to another
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    pub udp: Vec<SocketAddr>,
    /// An SCTP INIT from one address to another
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    pub sctp: Vec<SocketAddr>,
    /// The packets of a capture file
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

/// One packet's way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Way {
    /// What was traced.
    pub packet: String,
    /// Tables, in order.
    pub steps: Vec<Step>,
    /// What the pipeline counts it as.
    pub verdict: String,
    /// What leaves, and where.
    pub leaves: Vec<String>,
}

/// One table's answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Table.
    pub table: String,
    /// What was looked up.
    pub key: String,
    /// Whether an entry matched.
    pub hit: bool,
    /// Whose entry.
    pub owner: String,
    /// What runs, with its data.
    pub action: String,
}

/// Traces it.
///
/// # Errors
/// When the device does not answer, or runs a program that this build cannot run.
pub async fn trace(args: TraceArgs) -> anyhow::Result<()> {
    let packets = args.packet.packets()?;
    let reader = Reader::open(&args.device).await?;
    let ways = ways(&reader, args.port, &packets).await?;
    output::print(args.output, &ways, |ways| {
        ways.iter().map(table).collect::<Vec<_>>().join("\n\n")
    })
}

/// The ways of packets that come in at a port.
///
/// # Errors
/// When the device does not answer, or runs a program that this build cannot run.
pub async fn ways(
    reader: &Reader,
    port: u32,
    packets: &[(String, Vec<u8>)],
) -> anyhow::Result<Vec<Way>> {
    let twin = Twin::of(reader).await?;
    packets
        .iter()
        .map(|(name, bytes)| twin.way(name.clone(), port, bytes))
        .collect()
}

impl PacketArgs {
    /// The packets, each with a name.
    ///
    /// # Errors
    /// When the capture file cannot be read, or the addresses are of two families.
    pub fn packets(&self) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        if let Some(path) = &self.pcap {
            let file = std::fs::File::open(path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            let what = || format!("{} is no capture file in pcap format", path.display());
            let mut reader = pcap_file::pcap::PcapReader::new(file).with_context(what)?;
            let mut packets = Vec::new();
            while let Some(packet) = reader.next_packet() {
                let packet = packet
                    .with_context(|| format!("{}: packet {}", path.display(), packets.len() + 1))?;
                packets.push((
                    format!("packet {}", packets.len() + 1),
                    packet.data.into_owned(),
                ));
                if packets.len() == MOST {
                    break;
                }
            }
            return Ok(packets);
        }
        let syn = Segment::Tcp {
            syn: true,
            fin: false,
            rst: false,
            sequence: 0,
            acknowledgment: None,
        };
        let forms = [
            (&self.tcp, Protocol::Tcp, syn, &b""[..]),
            (
                &self.udp,
                Protocol::Udp,
                Segment::Udp { checksum: true },
                b"",
            ),
            (
                &self.sctp,
                Protocol::Sctp,
                Segment::Sctp { tag: 0 },
                &[1, 0, 0, 4],
            ),
        ];
        for (ends, protocol, segment, payload) in forms {
            let [src, dst] = ends[..] else { continue };
            let tuple = Tuple { protocol, src, dst };
            let frame = Frame {
                src_mac: Mac([2, 0, 0, 0, 0, 0xfe]),
                dst_mac: Mac([2, 0, 0, 0, 0, 0xff]),
                ttl: 64,
                tuple,
                segment,
                payload,
            };
            return Ok(vec![(
                tuple.to_string(),
                frame.build().context("write two addresses of one family")?,
            )]);
        }
        bail!("no packet; give --tcp, --udp or --sctp with two addresses, or --pcap");
    }
}

/// A device's program and entries in an engine of our own.
struct Twin {
    program: softnic::Program,
    engine: Engine,
    schema: p4runtime::schema::Schema,
    entries: HashMap<u32, Vec<proto::TableEntry>>,
}

impl Twin {
    async fn of(reader: &Reader) -> anyhow::Result<Self> {
        let program = program(reader).await?;
        let config = EngineConfig {
            cpu_port: Some(SLOW_PATH_PORT),
            unlimited_tables: true,
            ..EngineConfig::default()
        };
        let engine = Engine::new(program.checked.clone(), config)
            .context("the program cannot be run here")?;
        let schema = p4runtime::schema::Schema::new(program.info.message.clone())?;
        let mut twin = Self {
            program,
            engine,
            schema,
            entries: HashMap::new(),
        };
        for table in reader.schema.tables.iter() {
            let entries = reader.raw(table.id).await?;
            for entry in &entries {
                twin.insert(table, entry).with_context(|| {
                    format!("an entry of table {} cannot be taken over", table.alias)
                })?;
            }
            twin.entries.insert(table.id, entries);
        }
        Ok(twin)
    }

    fn insert(&self, table: &SchemaTable, entry: &proto::TableEntry) -> anyhow::Result<()> {
        let handle = self
            .program
            .info
            .ids
            .table(table.id)
            .context("no such table in the program")?;
        let Some(proto::table_action::Type::Action(action)) =
            entry.action.as_ref().and_then(|a| a.r#type.as_ref())
        else {
            bail!("it has no action of its own");
        };
        let index = table
            .actions
            .iter()
            .position(|known| known.action.id == action.action_id);
        let index = index.context("its action is not one of the table's")?;
        let spec = &table.actions[index].action;
        let params: Vec<&[u8]> = spec
            .params
            .iter()
            .map(|param| {
                action
                    .params
                    .iter()
                    .find(|given| given.param_id == param.id)
                    .map_or(&[0][..], |g| &g.value)
            })
            .collect();
        let fields: Vec<FieldMatch<'_>> = table
            .fields
            .iter()
            .map(|field| {
                let given = entry
                    .r#match
                    .iter()
                    .find(|given| given.field_id == field.id);
                given
                    .and_then(|given| given.field_match_type.as_ref())
                    .map_or(FieldMatch::DontCare, engine_match)
            })
            .collect();
        let mut new = NewEntry::new(
            &fields,
            ActionCall {
                action: index,
                params: &params,
            },
        );
        new.priority = entry.priority;
        match self.engine.insert(Time::default(), handle, &new) {
            // The program's own entries are there already.
            Ok(()) | Err(p4rs::engine::TableError::Exists) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn way(&self, packet: String, port: u32, bytes: &[u8]) -> anyhow::Result<Way> {
        let before = self.verdicts();
        let mut out = Outputs::default();
        let mut steps = Vec::new();
        let mut tracer = |event: &Event<'_>| {
            if let Event::TableApply {
                table,
                keys,
                hit,
                priority,
                action,
                data,
            } = event
            {
                let name = &self.engine.program().tables[*table].name.control_plane;
                let schema = self.schema.table(name);
                let owner = schema
                    .filter(|_| *hit)
                    .and_then(|schema| self.owner(schema, keys, *priority));
                let action = schema
                    .and_then(|schema| schema.action(action))
                    .map_or(*action, |a| &a.action.alias);
                steps.push(Step {
                    table: schema.map_or_else(|| name.to_string(), |schema| schema.alias.clone()),
                    key: words(keys),
                    hit: *hit,
                    owner: owner.unwrap_or_default(),
                    action: format!("{action}({})", words(data)),
                });
            }
        };
        self.engine
            .process_traced(Time::default(), port, bytes, &mut out, &mut tracer);
        let leaves = out
            .transmitted()
            .map(|(port, bytes)| leaving(port, bytes))
            .collect();
        let verdict = self
            .verdicts()
            .iter()
            .zip(&before)
            .position(|(now, then)| now > then);
        let verdict = verdict
            .and_then(|at| VERDICTS.get(at))
            .map_or("unknown", |name| name);
        Ok(Way {
            packet,
            steps,
            verdict: verdict.to_owned(),
            leaves,
        })
    }

    /// Cells of the counter of verdicts.
    fn verdicts(&self) -> Vec<u64> {
        let counter = self.schema.counters.named("verdicts");
        let Some(instance) =
            counter.and_then(|counter| self.program.info.ids.extern_instance(counter.id))
        else {
            return Vec::new();
        };
        (0..VERDICTS.len() as u64)
            .map(|cell| {
                self.engine
                    .counter(instance, cell)
                    .map_or(0, |data| data.packets)
            })
            .collect()
    }

    /// Whose entry answered.
    fn owner(
        &self,
        table: &SchemaTable,
        keys: &[KeyValue],
        priority: Option<i32>,
    ) -> Option<String> {
        let entries = self.entries.get(&table.id)?;
        let found = entries.iter().find(|entry| {
            priority.is_none_or(|priority| entry.priority == priority)
                && table.fields.iter().zip(keys).all(|(field, key)| {
                    let given = entry
                        .r#match
                        .iter()
                        .find(|given| given.field_id == field.id);
                    given.is_none_or(|given| fits(field.kind, given, &key.value))
                })
        })?;
        Some(String::from_utf8_lossy(&found.metadata).into_owned())
    }
}

/// The device's program: what it was given, if that is source; else the bundled program with the same interface.
async fn program(reader: &Reader) -> anyhow::Result<softnic::Program> {
    let config = reader
        .client
        .get_pipeline(ResponseType::All)
        .await?
        .unwrap_or_default();
    if let Ok(program) = softnic::Program::from_device_config(&config.p4_device_config) {
        return Ok(program);
    }
    for known in [Program::Pna, Program::V1model] {
        let program =
            softnic::Program::compile(&pipeline::sources(known)).context("a bundled program")?;
        let same = program.info.message.tables == reader.schema.p4info().tables
            && program.info.message.actions == reader.schema.p4info().actions
            && program.info.message.pkg_info.as_ref().map(|p| &p.arch)
                == reader.schema.p4info().pkg_info.as_ref().map(|p| &p.arch);
        if same {
            return Ok(program);
        }
    }
    bail!(
        "the program of {} is neither in source form nor one of those bundled with this nicproxy; \
         load a bundled one with `nicproxy run --program`",
        reader.address
    )
}

fn engine_match(given: &FieldMatchType) -> FieldMatch<'_> {
    match given {
        FieldMatchType::Exact(exact) => FieldMatch::Exact(&exact.value),
        FieldMatchType::Ternary(ternary) => FieldMatch::Ternary {
            value: &ternary.value,
            mask: &ternary.mask,
        },
        FieldMatchType::Lpm(lpm) => FieldMatch::Lpm {
            value: &lpm.value,
            prefix_len: u32::try_from(lpm.prefix_len).unwrap_or(0),
        },
        FieldMatchType::Range(range) => FieldMatch::Range {
            low: &range.low,
            high: &range.high,
        },
        FieldMatchType::Optional(optional) => FieldMatch::Optional(&optional.value),
        FieldMatchType::Other(_) => FieldMatch::DontCare,
    }
}

/// Whether a match of the pipeline's tables, exact or ternary, covers a value.
fn fits(kind: MatchKind, given: &proto::FieldMatch, found: &[u8]) -> bool {
    let number = |bytes: &[u8]| value::to_u128(bytes).unwrap_or_default();
    match (kind, &given.field_match_type) {
        (MatchKind::Exact, Some(FieldMatchType::Exact(exact))) => {
            number(&exact.value) == number(found)
        }
        (MatchKind::Ternary, Some(FieldMatchType::Ternary(ternary))) => {
            number(&ternary.value) == number(found) & number(&ternary.mask)
        }
        _ => true,
    }
}

/// Names and values; the two halves of an address as one.
fn words(values: &[KeyValue]) -> String {
    let number = |value: &KeyValue| value::to_u128(&value.value).unwrap_or_default();
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(this) = values.get(at) {
        at += 1;
        let halves = this.name.strip_suffix("_hi").zip(values.get(at));
        match halves {
            Some((name, lo)) if lo.name.strip_suffix("_lo") == Some(name) => {
                let address = Address {
                    hi: number(this) as u64,
                    lo: number(lo) as u64,
                };
                words.push(format!("{name}={address}"));
                at += 1;
            }
            _ if this.width == 48 => {
                let [.., a, b, c, d, e, f] = number(this).to_be_bytes();
                words.push(format!("{}={}", this.name, Mac([a, b, c, d, e, f])));
            }
            _ => words.push(format!("{}={}", this.name, number(this))),
        }
    }
    words.join(" ")
}

fn leaving(port: u32, bytes: &[u8]) -> String {
    if port == SLOW_PATH_PORT {
        let verdict = bytes
            .get(4)
            .and_then(|verdict| VERDICTS.get(usize::from(*verdict)))
            .unwrap_or(&"unknown");
        return format!("to the control plane because of {verdict}");
    }
    match crate::demo::frame::read(bytes) {
        Ok(seen) => match seen.content {
            crate::demo::frame::Content::Segment(tuple, ..) => {
                format!(
                    "port {port}: {tuple}, TTL {}, {} > {}",
                    seen.ttl, seen.src_mac, seen.dst_mac
                )
            }
            _ => format!(
                "port {port}: {} > {}, TTL {}, {} bytes",
                seen.ip.0,
                seen.ip.1,
                seen.ttl,
                bytes.len()
            ),
        },
        Err(error) => format!("port {port}: {} bytes ({error})", bytes.len()),
    }
}

fn table(way: &Way) -> String {
    let steps = output::table(
        ["STEP", "TABLE", "KEY", "RESULT", "OWNER", "ACTION"],
        &[0],
        way.steps.iter().enumerate().map(|(at, step)| {
            [
                (at + 1).to_string(),
                step.table.clone(),
                step.key.clone(),
                if step.hit { "hit" } else { "miss" }.to_owned(),
                if step.owner.is_empty() {
                    "-".to_owned()
                } else {
                    step.owner.clone()
                },
                step.action.clone(),
            ]
        }),
    );
    let leaves = if way.leaves.is_empty() {
        "nothing leaves".to_owned()
    } else {
        way.leaves.join("\n")
    };
    format!(
        "{}\n{steps}\nverdict: {}\n{leaves}",
        way.packet,
        output::styled(output::HEAD, &way.verdict)
    )
}
