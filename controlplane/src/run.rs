//! The daemon: a source of objects on one side, devices on the other, and the loops between them.
//!
//! In: configuration, notices, devices. Out: devices that hold what the cluster wants, health, metrics, a [`Status`] per
//! device that others can wait on. Invariant: a device that is gone, slow or wrong holds up no other; of the cluster each
//! NIC keeps its own view only; ending writes nothing, so traffic goes on.
//!
//! ```text
//! notices ─▶ cluster: one model for all ◀──────── looked at ───────┐
//!              └─▶ inbox of each NIC ─▶ NIC: pace, work out, write ─▶ device
//! ```

mod account;
pub mod cluster;
pub mod counters;
pub mod fleet;
mod inbox;
pub mod inquiry;
pub mod link;
pub mod nic;
pub mod standby;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::device::Device;
use crate::reconcile::Report;
use crate::telemetry::events::Events;
use crate::telemetry::health::Health;
use crate::watch::Notice;
use cluster::Cluster;
use inquiry::Inquiries;
use nic::{Nic, Place};

/// Where a NIC's loop is.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The initial lists are complete.
    pub listed: bool,
    /// Notices taken in.
    pub noticed: u64,
    /// Notices whose effect the device holds.
    pub programmed: u64,
    /// The last synchronisation.
    pub last: Option<Report>,
}

/// A cluster and the NIC of this process's own node.
pub struct Daemon {
    notices: mpsc::Receiver<Notice>,
    cluster: Arc<Cluster>,
    nic: Nic,
}

impl Daemon {
    /// A daemon that has heard nothing yet.
    pub fn new(
        config: &Config,
        device: Arc<dyn Device>,
        notices: mpsc::Receiver<Notice>,
        health: Arc<Health>,
    ) -> (Self, watch::Receiver<Status>) {
        let cluster = Arc::new(Cluster::default());
        let (nic, status) = Nic::new(config, Place::Here, cluster.clone(), device, health);
        let daemon = Self {
            notices,
            cluster,
            nic,
        };
        (daemon, status)
    }

    /// Where questions about packets are put.
    pub fn inquiries(&self) -> Inquiries {
        self.nic.inquiries()
    }

    /// Tells warnings about Services there, too; without this only to the log.
    pub fn report_to(&mut self, events: Events) {
        self.nic.report_to(events);
    }

    /// Runs until cancelled, or until the source ends.
    pub async fn run(self, cancel: CancellationToken) {
        let stop = cancel.child_token();
        let intake = async {
            self.cluster.follow(self.notices, cancel).await;
            stop.cancel();
        };
        tokio::join!(intake, self.nic.run(stop.clone()));
    }
}
