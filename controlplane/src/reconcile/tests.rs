//! A simulated device under every kind of change and fault.

mod faults;
mod order;
mod policy;
mod scale;
mod sweeps;
mod sync;

use std::sync::Arc;

use p4runtime::proto::p4::v1 as proto;

use super::{Config, Outcome, Reconciler, Report};
use crate::compile::{NextHop, Port, Route, Wiring};
use crate::device::simulated::Simulated;
use crate::model::{Changes, Event, Model};
use crate::tables::{Table, Tables, endpoint, frontend};

/// A device, its reconciler, a cluster.
struct Bench {
    device: Arc<Simulated>,
    tables: Tables,
    reconciler: Reconciler,
    model: Model,
}

fn config() -> Config {
    let hop = NextHop {
        port: 1,
        src_mac: 1,
        dst_mac: 2,
    };
    let route = |prefix: &str, via| Route {
        vpc: 0,
        prefix: prefix.parse().unwrap(),
        via,
    };
    Config {
        wiring: Wiring {
            ports: vec![Port {
                port: 1,
                vpc: 0,
                role: 1,
                peer: None,
                slow_path: true,
            }],
            routes: vec![route("10.0.0.0/16", Some(hop))],
            service_cidrs: vec!["10.96.0.0/12".parse().unwrap()],
            ..Wiring::default()
        },
        ..Config::default()
    }
}

/// `port`, `egress`, route, range of cluster IPs.
const WIRING: usize = 4;

impl Bench {
    fn new(model: Model) -> Self {
        let device = Simulated::new();
        Self {
            tables: device.tables(),
            reconciler: Reconciler::new(device.clone(), config()),
            device,
            model,
        }
    }

    /// Another process takes over.
    fn restart(&mut self) {
        self.reconciler = Reconciler::new(self.device.clone(), config());
    }

    async fn sync(&mut self) -> Report {
        self.reconciler.sync(&self.model, &Changes::default()).await
    }

    async fn apply(&mut self, event: Event) -> Report {
        let changes = self.model.apply(event);
        self.reconciler.sync(&self.model, &changes).await
    }

    fn frontends(&self) -> Vec<(frontend::Key, frontend::Action)> {
        let entries = self.device.entries();
        entries
            .iter()
            .filter_map(|entry| self.tables.frontend.decode(entry))
            .collect()
    }

    fn slots(&self, set: u32) -> Vec<(endpoint::Key, endpoint::Target)> {
        let entries = self.device.entries();
        let slots = entries
            .iter()
            .filter_map(|entry| self.tables.endpoint.decode(entry));
        slots.filter(|(key, _)| key.set_id == set).collect()
    }

    /// The device holds what is wanted, and this is known.
    fn assert_settled(&self) {
        let desired = self.reconciler.desired();
        assert_eq!(self.reconciler.installed(), Some(desired));
        assert_eq!(self.device.entries().len(), desired.entries());
    }
}

fn table_of(update: &proto::Update) -> u32 {
    match &update.entity.as_ref().unwrap().entity {
        Some(proto::entity::Entity::TableEntry(entry)) => entry.table_id,
        _ => 0,
    }
}
