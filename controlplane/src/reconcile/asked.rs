//! What the reconciler asks a device beside the tables that it fills: counters and open connections.
//!
//! In: a device. Out: numbers of endpoints that count, connections by endpoint. Nothing is kept here.

use futures::StreamExt;
use p4runtime::proto::p4::v1 as proto;
use rustc_hash::FxHashSet;

use crate::compile::{Entries, OpenConnections, Owned};
use crate::device::{Device, DeviceError};
use crate::tables::{Table, entry, flow, frontend};

/// The program's counter of packets and bytes by `endpoint_id`.
const ENDPOINT_COUNTER: &str = "endpoint_counter";

/// How many endpoints can be counted: as many as the counter of the device's program has cells.
pub(super) fn endpoint_ids(device: &dyn Device) -> u32 {
    let schema = device.schema();
    let counters = schema.iter().flat_map(|schema| &schema.counters);
    let mut named = counters.filter(|counter| counter.alias == ENDPOINT_COUNTER);
    let cells = named
        .next()
        .map_or(u64::from(u32::MAX), |counter| counter.size);
    u32::try_from(cells).unwrap_or(u32::MAX)
}

/// Numbers of endpoints whose counters are not 0: packets to endpoints are the first thing that is counted.
pub(super) async fn counting(device: &dyn Device) -> Result<FxHashSet<u32>, DeviceError> {
    let mut found = FxHashSet::default();
    let schema = device.schema();
    let counters = schema.iter().flat_map(|schema| &schema.counters);
    let mut named = counters.filter(|counter| counter.alias == ENDPOINT_COUNTER);
    // There are hundreds of thousands of cells: to read them takes as long as to fill the tables.
    let wanted = device.ledger().is_some() && !device.is_fresh();
    let Some(counter) = named.next().filter(|_| wanted) else {
        return Ok(found);
    };
    let every = proto::CounterEntry {
        counter_id: counter.id,
        ..Default::default()
    };
    let mut answer = device.read(vec![proto::Entity {
        entity: Some(proto::entity::Entity::CounterEntry(every)),
    }]);
    while let Some(part) = answer.next().await {
        for entity in part? {
            let Some(proto::entity::Entity::CounterEntry(cell)) = entity.entity else {
                continue;
            };
            let counts = cell.data.is_some_and(|data| data.packet_count > 0);
            let id = cell.index.and_then(|index| u32::try_from(index.index).ok());
            found.extend(id.filter(|id| counts && *id != 0));
        }
    }
    Ok(found)
}

/// Open connections of every owner's endpoints, from the device's table `flow`.
pub(super) async fn count(
    device: &dyn Device,
    table: &flow::Flow,
    frontends: &Entries<frontend::Key, Owned<frontend::Action>>,
) -> Result<OpenConnections, DeviceError> {
    let mut open = OpenConnections::default();
    each(device, table, |key, to| {
        let called = frontend::Key {
            vpc: key.vpc,
            protocol: key.protocol,
            address: key.tuple.dst,
            port: key.tuple.dst_port,
        };
        if let Some(frontend) = frontends.get(&called) {
            let endpoint = (frontend.owner.clone(), to.dst, to.dst_port);
            *open.entry(endpoint).or_default() += 1;
        }
    })
    .await?;
    Ok(open)
}

/// Every connection of the device's table `flow`, with what it is translated to.
pub(super) async fn each(
    device: &dyn Device,
    table: &flow::Flow,
    mut found: impl FnMut(flow::Key, flow::Tuple),
) -> Result<(), DeviceError> {
    let mut answer = device.read(vec![entry::all_of(table.id())]);
    while let Some(part) = answer.next().await {
        for entity in part? {
            let Some(proto::entity::Entity::TableEntry(entry)) = &entity.entity else {
                continue;
            };
            if let Some((key, to)) = table.decode(entry) {
                found(key, to);
            }
        }
    }
    Ok(())
}

/// The port changes of a connection's packets, there and back.
pub(super) fn port_changes(from: &flow::Tuple, to: &flow::Tuple) -> [u32; 2] {
    let src = u32::from(from.src_port ^ to.src_port);
    let dst = u32::from(from.dst_port ^ to.dst_port);
    [src << 16 | dst, dst << 16 | src]
}
