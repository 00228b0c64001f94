//! Reads the device's counters for the metrics.
//!
//! In: a device. Out: a [`Snapshot`]: the verdicts, the direct counter of every frontend, how full the tables are as
//! far as that is cheap to know.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use p4runtime::proto::p4::v1 as proto;
use tokio_util::sync::CancellationToken;

use crate::device::{Device, DeviceError};
use crate::tables::Table;
use crate::tables::frontend::Frontend;
use crate::telemetry::counters::{DeviceCounters, FrontendCount, Snapshot};

/// How often.
const PERIOD: Duration = Duration::from_secs(10);

/// Name of the counter of verdicts in P4Info.
const VERDICTS: &str = "verdicts";

/// Reads counters until cancelled.
pub async fn keep_reading(
    device: Arc<dyn Device>,
    counters: Arc<DeviceCounters>,
    cancel: CancellationToken,
) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match read(&*device).await {
            Ok(Some(snapshot)) => counters.replace(snapshot),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the device's counters cannot be read"),
        }
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
        query.push(entity(proto::entity::Entity::CounterEntry(
            proto::CounterEntry {
                counter_id: counter.id,
                ..Default::default()
            },
        )));
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
