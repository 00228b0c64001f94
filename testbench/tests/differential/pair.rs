//! One program on softnic and on the reference switch: the same P4Info pushed, the same updates written, the same packets in.
//!
//! In: a sample and a case. Out: what each of the two made of every update and packet, and what their counters hold after.
//! Both are new for every case: nothing is left over from another one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use p4runtime::client::{Client, ClientError, Config, PipelineAction, UpdateResult};
use p4runtime::proto::p4::config::v1::P4Info;
use p4runtime::proto::p4::v1 as pb;
use p4runtime::schema::{CounterUnit, Schema};
use p4runtime::value::canonical;
use softnic::{ManualClock, Program, Running, SoftNic};
use testbench::target::reference::{DEVICE_ID, Reference, ReferenceError};

/// A program as both compilers understand it.
pub struct Sample {
    pub name: String,
    /// p4rs'.
    pub program: Program,
    /// p4c's.
    pub p4info: P4Info,
    /// p4c's, for the reference switch.
    pub json: Vec<u8>,
    /// Of p4c's P4Info.
    pub schema: Schema,
    /// Tables that the reference switch has and lets controllers write to, by id.
    pub writable: BTreeSet<u32>,
}

/// What both get.
#[derive(Clone)]
pub struct Case {
    pub updates: Vec<pb::Update>,
    pub packets: Vec<(u32, Vec<u8>)>,
}

/// Packets that left, each with its port; those of one port in their order.
pub type Sent = Vec<(u32, Vec<u8>)>;

/// What became of a case; of each pair the first is softnic's.
pub struct Run {
    pub updates: Vec<(UpdateResult, UpdateResult)>,
    /// `Err`: how the reference switch ended.
    pub packets: Vec<(Sent, Result<Sent, String>)>,
    pub state: (Vec<String>, Vec<String>),
}

impl Run {
    /// Updates that only one of them took.
    pub fn refused(&self) -> impl Iterator<Item = usize> {
        let differs =
            |(ours, theirs): &(UpdateResult, UpdateResult)| ours.is_ok() != theirs.is_ok();
        let of = self.updates.iter().enumerate();
        of.filter(move |(_, pair)| differs(pair)).map(|(at, _)| at)
    }

    /// Packets after which something else left.
    pub fn different(&self) -> Vec<usize> {
        let of = self.packets.iter().enumerate();
        of.filter(|(_, (ours, theirs))| theirs.as_ref().is_ok_and(|theirs| theirs != ours))
            .map(|(at, _)| at)
            .collect()
    }

    /// The packet that ended the reference switch.
    pub fn ended(&self) -> Option<usize> {
        self.packets.iter().position(|(_, theirs)| theirs.is_err())
    }
}

/// Why a case could not be run at all.
#[derive(Debug)]
pub enum Trouble {
    /// The reference switch does not take what p4c made of the program.
    Refused(String),
    /// Something else.
    Other(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "the reference switch refuses the program: {why}"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

fn trouble(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Trouble {
    move |why| Trouble::Other(format!("{what}: {why}"))
}

async fn session(address: std::net::SocketAddr) -> Result<Client, Trouble> {
    let config = Config {
        device_id: DEVICE_ID,
        ..Config::new(format!("http://{address}"))
    };
    let (client, _) = Client::connect(config)
        .await
        .map_err(|error| trouble("no session")(&error))?;
    Ok(client)
}

async fn push(client: &Client, sample: &Sample, config: Vec<u8>) -> Result<(), ClientError> {
    let config = pb::ForwardingPipelineConfig {
        p4info: Some(sample.p4info.clone()),
        p4_device_config: config,
        ..Default::default()
    };
    client
        .set_pipeline(PipelineAction::VerifyAndCommit, Some(config))
        .await
}

async fn write(client: &Client, case: &Case) -> Result<Vec<UpdateResult>, Trouble> {
    let mut results = Vec::new();
    for update in &case.updates {
        let result = client.write(vec![update.clone()]).await;
        results.extend(result.map_err(|error| trouble("a write")(&error))?);
    }
    Ok(results)
}

async fn embedded(sample: &Sample) -> Result<(Running, Client), Trouble> {
    let nic = SoftNic::builder()
        .program(sample.program.clone())
        .device_id(DEVICE_ID)
        .clock(Arc::new(ManualClock::default()))
        .tick_every(None)
        .serve(([127, 0, 0, 1], 0).into())
        .await
        .map_err(|error| trouble("softnic")(&error))?;
    let client = session(nic.address()).await?;
    push(&client, sample, Vec::new())
        .await
        .map_err(|error| trouble("softnic refuses the program")(&error))?;
    Ok((nic, client))
}

/// Runs a case. `log`: the reference switch tells there what it does.
pub async fn run(sample: &Sample, case: &Case, log: Option<&Path>) -> Result<Run, Trouble> {
    let mut reference = Reference::start(log)
        .await
        .map_err(|error| trouble("the reference switch")(&error))?;
    let theirs = session(reference.address()).await?;
    push(&theirs, sample, sample.json.clone())
        .await
        .map_err(|error| Trouble::Refused(error.to_string()))?;
    let (nic, ours) = embedded(sample).await?;
    let updates = write(&ours, case).await?.into_iter();
    let mut run = Run {
        updates: updates.zip(write(&theirs, case).await?).collect(),
        packets: Vec::new(),
        state: Default::default(),
    };
    if run.refused().next().is_none() {
        for (port, packet) in &case.packets {
            let ours = nic.inject(*port, packet).into_iter();
            let ours: Sent = by_port(ours.map(|sent| (sent.port, sent.bytes)).collect());
            let theirs = match reference.process(*port, packet).await {
                Ok(sent) => Ok(by_port(sent)),
                Err(error @ (ReferenceError::Ended(_) | ReferenceError::Stuck)) => {
                    run.packets.push((ours, Err(error.to_string())));
                    break;
                }
                Err(error) => return Err(trouble("the reference switch")(&error)),
            };
            run.packets.push((ours, theirs));
        }
        if run.packets.iter().all(|(_, theirs)| theirs.is_ok()) {
            run.state = (
                state(&ours, &sample.schema).await?,
                state(&theirs, &sample.schema).await?,
            );
        }
    }
    ours.shutdown().await;
    theirs.shutdown().await;
    nic.shutdown().await;
    Ok(run)
}

fn by_port(mut sent: Sent) -> Sent {
    sent.sort_by_key(|(port, _)| *port);
    sent
}

/// What counters hold, in words; counters at zero are left out.
async fn state(client: &Client, schema: &Schema) -> Result<Vec<String>, Trouble> {
    let mut lines = Vec::new();
    for counter in schema.counters.iter() {
        let all = pb::CounterEntry {
            counter_id: counter.id,
            ..Default::default()
        };
        for entity in read(client, pb::entity::Entity::CounterEntry(all)).await? {
            if let pb::entity::Entity::CounterEntry(cell) = entity {
                let index = cell.index.map_or(0, |index| index.index);
                lines.extend(
                    counted(counter.unit, cell.data)
                        .map(|data| format!("{}[{index}]: {data}", counter.name)),
                );
            }
        }
    }
    for table in schema.tables.iter() {
        let Some(unit) = table.direct_counter else {
            continue;
        };
        let all = pb::DirectCounterEntry {
            table_entry: Some(pb::TableEntry {
                table_id: table.id,
                ..Default::default()
            }),
            data: None,
        };
        for entity in read(client, pb::entity::Entity::DirectCounterEntry(all)).await? {
            let pb::entity::Entity::DirectCounterEntry(of) = entity else {
                continue;
            };
            let entry = of.table_entry.unwrap_or_default();
            let mut key: Vec<String> = entry.r#match.iter().map(show_match).collect();
            key.sort();
            lines.extend(counted(unit, of.data).map(|data| {
                format!(
                    "{} {} priority {}: {data}",
                    table.name,
                    key.join(" "),
                    entry.priority
                )
            }));
        }
    }
    lines.sort();
    Ok(lines)
}

async fn read(
    client: &Client,
    entity: pb::entity::Entity,
) -> Result<Vec<pb::entity::Entity>, Trouble> {
    let wanted = pb::Entity {
        entity: Some(entity),
    };
    let entities = client
        .read_all(vec![wanted])
        .await
        .map_err(|error| trouble("a read")(&error))?;
    Ok(entities.into_iter().filter_map(|of| of.entity).collect())
}

fn counted(unit: CounterUnit, data: Option<pb::CounterData>) -> Option<String> {
    let data = data?;
    let (packets, bytes) = (data.packet_count, data.byte_count);
    (packets != 0 || bytes != 0).then(|| match unit {
        CounterUnit::Packets => format!("{packets} packets"),
        CounterUnit::Bytes => format!("{bytes} bytes"),
        CounterUnit::Both => format!("{packets} packets, {bytes} bytes"),
    })
}

/// A match field for people.
pub fn show_match(field: &pb::FieldMatch) -> String {
    use pb::field_match::FieldMatchType as Kind;
    let hex = |bytes: &[u8]| {
        let digits: String = canonical(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("0x{digits}")
    };
    let value = match &field.field_match_type {
        Some(Kind::Exact(of)) => hex(&of.value),
        Some(Kind::Lpm(of)) => format!("{}/{}", hex(&of.value), of.prefix_len),
        Some(Kind::Ternary(of)) => format!("{}&&&{}", hex(&of.value), hex(&of.mask)),
        Some(Kind::Range(of)) => format!("{}..{}", hex(&of.low), hex(&of.high)),
        Some(Kind::Optional(of)) => hex(&of.value),
        other => format!("{other:?}"),
    };
    format!("{}={value}", field.field_id)
}
