//! Removes connections and pins that lead nowhere (S63–S67).
//!
//! In: what may be stale, and the connections to it where the control plane knows them all; where the device learns by
//! itself they are read from it (P4Runtime reads a table with exact keys whole or one entry of it). Out: what was
//! removed. Takes time linear in the table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use p4runtime::proto::p4::v1 as proto;
use proto::update::Type as Kind;
use tracing::{debug, warn};

use super::connections::reply_key;
use super::worker::is_direct;
use crate::device::stale::Stale;
use crate::device::{Device, DeviceError};
use crate::model::Family;
use crate::tables::flow::{Key, Tuple};
use crate::tables::{Table, Tables, affinity, entry};

/// Connections removed in one call.
const BATCH: usize = 2048;

/// What a clean-up did.
#[derive(Debug)]
pub struct Swept {
    /// Connections that are not in the device any more.
    pub(super) gone: Vec<Key>,
    /// Connections whose entries were deleted, IPv4 and IPv6.
    pub deleted: [u64; 2],
    /// How long it took.
    pub duration: Duration,
    /// To be tried again.
    pub(super) left: Option<Stale>,
}

/// Cleans up. `known` are all stale connections, where the control plane set all up.
pub(super) async fn sweep(
    device: Arc<dyn Device>,
    tables: Arc<Tables>,
    known: Option<Vec<(Key, Tuple)>>,
    stale: Stale,
) -> Swept {
    let started = Instant::now();
    let mut swept = Swept {
        gone: Vec::new(),
        deleted: [0; 2],
        duration: Duration::ZERO,
        left: None,
    };
    let mut outcome = connections(&*device, &tables, known, &stale, &mut swept).await;
    if outcome.is_ok() && stale.concerns_pins() {
        outcome = pins(&*device, &tables, &stale).await;
    }
    if let Err(error) = outcome {
        warn!(%error, "connections that lead nowhere could not be removed; trying again");
        swept.left = Some(stale);
    }
    swept.duration = started.elapsed();
    if !swept.gone.is_empty() {
        debug!(connections = swept.gone.len(), duration = ?swept.duration, "removed connections that lead nowhere");
    }
    swept
}

async fn connections(
    device: &dyn Device,
    tables: &Tables,
    known: Option<Vec<(Key, Tuple)>>,
    stale: &Stale,
    swept: &mut Swept,
) -> Result<(), DeviceError> {
    let found = match known {
        Some(known) => known,
        None if stale.frontends.is_empty() => Vec::new(),
        None => {
            let judge = |entry: &proto::TableEntry| {
                tables
                    .flow
                    .decode(entry)
                    .filter(|(flow, new)| stale.has(flow, *new))
            };
            matching(device, tables.flow.id(), judge).await?
        }
    };
    for batch in found.chunks(BATCH) {
        // The keys of `flow` first: their results tell which connections there were.
        let flows = batch.iter().map(|(flow, _)| tables.flow.key(flow));
        let answered = batch.iter().filter(|(_, new)| !is_direct(*new));
        let replies = answered.map(|(flow, new)| tables.reply.key(&reply_key(flow, *new)));
        let updates = flows
            .chain(replies)
            .map(|entry| entry::update(Kind::Delete, entry));
        let results = device.write(updates.collect()).await?;
        for ((flow, _), result) in batch.iter().zip(results) {
            swept.gone.push(*flow);
            if result.is_ok() {
                let family = usize::from(flow.tuple.dst.family() == Family::V6);
                swept.deleted[family] += 1;
            }
        }
    }
    Ok(())
}

async fn pins(device: &dyn Device, tables: &Tables, stale: &Stale) -> Result<(), DeviceError> {
    let judge = |entry: &proto::TableEntry| {
        let (key, target) = tables.affinity.decode(entry)?;
        stale.has_pin(key.affinity_id, &target).then_some(key)
    };
    let found: Vec<affinity::Key> = matching(device, tables.affinity.id(), judge).await?;
    for batch in found.chunks(BATCH) {
        let keys = batch.iter().map(|key| tables.affinity.key(key));
        let updates = keys.map(|key| entry::update(Kind::Delete, key));
        device.write(updates.collect()).await?;
    }
    Ok(())
}

/// What `judge` makes of the entries of a table, as they come.
async fn matching<T>(
    device: &dyn Device,
    table: u32,
    judge: impl Fn(&proto::TableEntry) -> Option<T>,
) -> Result<Vec<T>, DeviceError> {
    let mut found = Vec::new();
    let mut answer = device.read(vec![entry::all_of(table)]);
    while let Some(part) = answer.next().await {
        for entity in part? {
            if let Some(proto::entity::Entity::TableEntry(entry)) = &entity.entity {
                found.extend(judge(entry));
            }
        }
    }
    Ok(found)
}
