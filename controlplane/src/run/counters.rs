//! Reads the device's counters for the metrics.
//!
//! In: a device, and scrapes that want news. Out: a [`Snapshot`] (the verdicts, the direct counter of every frontend, how
//! full the tables are as far as that is cheap to know), and the [`Ledger`]'s totals brought up to
//! date. Reading takes a small part of the time at most, however large the tables are. Numbers of endpoints that left are
//! set to 0 here, once no connection carries them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::Schema;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio_util::sync::CancellationToken;

use crate::device::{Device, DeviceError};
use crate::tables::affinity::Affinity;
use crate::tables::flow::Flow;
use crate::tables::frontend::Frontend;
use crate::tables::{Table, entry};
use crate::telemetry::counters::{DeviceCounters, FrontendCount, Snapshot};
use crate::traffic::{Ledger, Reading, Traffic};

/// How often, when nobody asks.
const PERIOD: Duration = Duration::from_secs(10);
/// Least time between two readings.
const LEAST: Duration = Duration::from_millis(500);
/// Between two readings passes this many times the time that the last one took.
const SHARE: u32 = 20;
/// Cells in one query.
const CELLS: usize = 4096;

/// Names of counters in P4Info.
const VERDICTS: &str = "verdicts";
const ENDPOINTS: [&str; 3] = [
    "endpoint_counter",
    "endpoint_replies",
    "endpoint_connections",
];

/// Reads counters until cancelled.
pub async fn keep_reading(
    device: Arc<dyn Device>,
    counters: Arc<DeviceCounters>,
    cancel: CancellationToken,
) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = counters.wanted() => {}
            _ = ticks.tick() => {}
        }
        let started = Instant::now();
        if started >= not_before {
            match refresh(&*device).await {
                Ok(Some(snapshot)) => counters.replace(snapshot),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "the device's counters cannot be read"),
            }
            not_before = started + LEAST.max(started.elapsed() * SHARE);
        }
        counters.answer();
    }
}

/// Brings the ledger up to date and reads the rest; `None` while nothing is known of the device.
///
/// # Errors
/// When a read or a write breaks off.
pub async fn refresh(device: &dyn Device) -> Result<Option<Snapshot>, DeviceError> {
    let (Some(schema), Some(ledger)) = (device.schema(), device.ledger()) else {
        return read(device).await;
    };
    balance(device, &schema, ledger).await?;
    let snapshot = read(device).await?;
    Ok(snapshot.map(|snapshot| Snapshot {
        services: ledger.services(),
        endpoints: ledger.endpoints(),
        ..snapshot
    }))
}

/// Reads the cells of endpoints and their open connections into the ledger, and sets those to 0 that are done.
async fn balance(device: &dyn Device, schema: &Schema, ledger: &Ledger) -> Result<(), DeviceError> {
    let (ids, waiting) = ledger.wanted();
    let counters: Vec<(u32, Part)> = ENDPOINTS
        .iter()
        .zip([part_sent as Part, part_answered, part_opened])
        .filter_map(|(name, part)| Some((schema.counters.named(name)?.id, part)))
        .collect();
    let mut reading = Reading::default();
    // Connections first: of a number without any, nothing is added after its cells are read.
    if let Some(flow) = Flow::resolve(schema) {
        reading.flows = Some(open(device, &flow).await?);
    }
    if waiting && let Some(affinity) = Affinity::resolve(schema) {
        reading.remembered = remembered(device, &affinity).await?;
    }
    for part in ids.chunks(CELLS) {
        cells(device, &counters, part, &mut reading.cells).await?;
    }
    let done = ledger.take(&reading);
    for part in done.chunks(CELLS) {
        let zero = part
            .iter()
            .flat_map(|id| counters.iter().map(|(counter, _)| zero(*counter, *id)));
        let per_id = counters.len().max(1);
        let results = device.write(zero.collect()).await?;
        let cleared = part.iter().zip(results.chunks(per_id));
        let cleared: Vec<u32> = cleared
            .filter(|(_, results)| results.iter().all(Result::is_ok))
            .map(|(id, _)| *id)
            .collect();
        ledger.cleared(&cleared);
    }
    Ok(())
}

/// What a counter's cell is of an endpoint's traffic.
type Part = fn(&mut Traffic, u64, u64);

fn part_sent(traffic: &mut Traffic, packets: u64, bytes: u64) {
    (traffic.packets, traffic.bytes) = (packets, bytes);
}

fn part_answered(traffic: &mut Traffic, packets: u64, bytes: u64) {
    (traffic.reply_packets, traffic.reply_bytes) = (packets, bytes);
}

fn part_opened(traffic: &mut Traffic, packets: u64, _: u64) {
    traffic.connections = packets;
}

async fn cells(
    device: &dyn Device,
    counters: &[(u32, Part)],
    ids: &[u32],
    found: &mut FxHashMap<u32, Traffic>,
) -> Result<(), DeviceError> {
    let query = counters
        .iter()
        .flat_map(|(counter, _)| ids.iter().map(|id| cell(*counter, Some(*id), None)));
    let query: Vec<_> = query.collect();
    if query.is_empty() {
        return Ok(());
    }
    let mut answers = device.read(query);
    while let Some(part) = answers.next().await {
        for entity in part? {
            let Some(proto::entity::Entity::CounterEntry(cell)) = entity.entity else {
                continue;
            };
            let id = cell.index.and_then(|index| u32::try_from(index.index).ok());
            let known = counters.iter().find(|(id, _)| *id == cell.counter_id);
            if let (Some(id), Some((_, part)), Some(data)) = (id, known, cell.data) {
                let number = |count| u64::try_from(count).unwrap_or_default();
                let (packets, bytes) = (number(data.packet_count), number(data.byte_count));
                part(found.entry(id).or_default(), packets, bytes);
            }
        }
    }
    Ok(())
}

/// Open connections by their endpoint's number.
async fn open(device: &dyn Device, flow: &Flow) -> Result<FxHashMap<u32, u64>, DeviceError> {
    let mut found = FxHashMap::default();
    let mut answers = device.read(vec![entry::all_of(flow.id())]);
    while let Some(part) = answers.next().await {
        for entity in part? {
            if let Some(proto::entity::Entity::TableEntry(entry)) = &entity.entity {
                *found.entry(flow.endpoint_id(entry)).or_default() += 1;
            }
        }
    }
    Ok(found)
}

/// Numbers of the endpoints of remembered clients.
async fn remembered(
    device: &dyn Device,
    affinity: &Affinity,
) -> Result<FxHashSet<u32>, DeviceError> {
    let mut found = FxHashSet::default();
    let mut answers = device.read(vec![entry::all_of(affinity.id())]);
    while let Some(part) = answers.next().await {
        for entity in part? {
            if let Some(proto::entity::Entity::TableEntry(entry)) = &entity.entity {
                found.extend(affinity.decode(entry).map(|(_, pin)| pin.endpoint_id));
            }
        }
    }
    Ok(found)
}

fn cell(counter: u32, index: Option<u32>, data: Option<proto::CounterData>) -> proto::Entity {
    entity(proto::entity::Entity::CounterEntry(proto::CounterEntry {
        counter_id: counter,
        index: index.map(|index| proto::Index {
            index: index.into(),
        }),
        data,
    }))
}

fn zero(counter: u32, id: u32) -> proto::Update {
    proto::Update {
        r#type: proto::update::Type::Modify as i32,
        entity: Some(cell(counter, Some(id), Some(proto::CounterData::default()))),
    }
}

/// Reads them once; `None` while nothing is known of the device.
///
/// # Errors
/// When a read breaks off.
pub async fn read(device: &dyn Device) -> Result<Option<Snapshot>, DeviceError> {
    let Some(schema) = device.schema() else {
        return Ok(None);
    };
    let Some(frontend) = Frontend::resolve(&schema) else {
        return Ok(None);
    };
    let mut query = vec![entity(proto::entity::Entity::TableEntry(
        proto::TableEntry {
            table_id: frontend.id(),
            counter_data: Some(proto::CounterData::default()),
            ..Default::default()
        },
    ))];
    let verdicts = schema.counters.named(VERDICTS);
    if let Some(counter) = verdicts {
        query.push(cell(counter.id, None, None));
    }
    let mut snapshot = Snapshot::default();
    let mut answers = device.read(query);
    while let Some(part) = answers.next().await {
        for found in part? {
            match found.entity {
                Some(proto::entity::Entity::TableEntry(entry)) => {
                    snapshot.frontends.extend(frontend_count(&frontend, &entry));
                }
                Some(proto::entity::Entity::CounterEntry(cell)) => {
                    take_verdict(&mut snapshot.verdicts, &cell)
                }
                _ => {}
            }
        }
    }
    snapshot
        .frontends
        .sort_by(|a, b| (&a.owner, a.vip, a.port).cmp(&(&b.owner, b.vip, b.port)));
    let entries = snapshot.frontends.len() as u64;
    if let Some(table) = schema.tables.get(frontend.id()) {
        snapshot
            .tables
            .push((Frontend::NAME.to_owned(), entries, table.size));
    }
    Ok(Some(snapshot))
}

fn entity(entity: proto::entity::Entity) -> proto::Entity {
    proto::Entity {
        entity: Some(entity),
    }
}

fn frontend_count(frontend: &Frontend, entry: &proto::TableEntry) -> Option<FrontendCount> {
    let (key, _) = frontend.decode(entry)?;
    let data = entry.counter_data.as_ref()?;
    Some(FrontendCount {
        owner: String::from_utf8_lossy(&entry.metadata).into_owned(),
        vip: key.address.ip(),
        port: key.port,
        packets: u64::try_from(data.packet_count).unwrap_or_default(),
        bytes: u64::try_from(data.byte_count).unwrap_or_default(),
    })
}

fn take_verdict(verdicts: &mut Vec<u64>, cell: &proto::CounterEntry) {
    let at = cell
        .index
        .as_ref()
        .and_then(|index| usize::try_from(index.index).ok());
    let (Some(at), Some(data)) = (at, &cell.data) else {
        return;
    };
    // The counter has room to grow; a device's answer must not decide how much memory this takes.
    if at < crate::telemetry::counters::VERDICTS.len() {
        if verdicts.len() <= at {
            verdicts.resize(at + 1, 0);
        }
        verdicts[at] = u64::try_from(data.packet_count).unwrap_or_default();
    }
}
