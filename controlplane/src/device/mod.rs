//! A switch as the reconciler and the slow path see it.
//!
//! In: batches of updates and queries. Out: one result per update, and what is there. [`Device`] is an object so that
//! a real session, a simulation and a fault injector are chosen at run time. It never retries by itself: who called
//! knows what is still wanted.

mod own;
mod session;
#[cfg(test)]
pub(crate) mod simulated;
pub mod stale;

use std::sync::Arc;

use crate::tables::affinity;
use crate::traffic::Ledger;

use async_trait::async_trait;
use futures::stream::BoxStream;
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::Schema;
use p4runtime::wire::Updates;

pub use own::{Answering, OwnAddresses};
pub use session::Session;

/// A device that holds tables.
#[async_trait]
pub trait Device: Send + Sync {
    /// What people call it, for logs and listings.
    fn name(&self) -> &str;

    /// Which session this is: another number after every reconnect, `None` while there is none that may write.
    ///
    /// Whoever caches what the device holds has to read it back when the number changes.
    fn session(&self) -> Option<u64>;

    /// The objects of the program it runs; `None` while there is no session.
    fn schema(&self) -> Option<Arc<Schema>>;

    /// Writes one batch. The updates of a batch are in no order; a batch is applied before this returns.
    ///
    /// `Ok` has one result per update, in order; a failed update does not stop the others.
    async fn write(&self, updates: Vec<proto::Update>) -> Result<Vec<UpdateResult>, DeviceError>;

    /// As [`write`](Self::write), for updates that are encoded already.
    async fn write_batch(&self, updates: Updates) -> Result<Vec<UpdateResult>, DeviceError> {
        match updates.decode() {
            Ok(updates) => self.write(updates).await,
            Err(error) => Err(DeviceError::Protocol {
                device: self.name().to_owned(),
                message: error.to_string(),
            }),
        }
    }

    /// Reads entities; wildcards as the P4Runtime specification says. Streams messages as they come.
    fn read(
        &self,
        query: Vec<proto::Entity>,
    ) -> BoxStream<'static, Result<Vec<proto::Entity>, DeviceError>>;

    /// Whether the program was loaded for this session: no counter has counted anything before it.
    fn is_fresh(&self) -> bool {
        false
    }

    /// How long the pins of its Services stay, shared by who compiles Services and who writes pins.
    fn affinities(&self) -> Option<&affinity::Timeouts> {
        None
    }

    /// The addresses that it answers neighbours for, shared by who writes them and who answers.
    fn own_addresses(&self) -> Option<&OwnAddresses> {
        None
    }

    /// What its Services and their endpoints carried, where that is counted.
    fn ledger(&self) -> Option<&Ledger> {
        None
    }

    /// Where connections that lead nowhere are told of, shared by who compiles Services and who keeps connections.
    fn sweeps(&self) -> Option<&stale::Sweeps> {
        None
    }
}

/// What became of one update.
pub type UpdateResult = Result<(), UpdateError>;

/// Why one update failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct UpdateError {
    /// What to do about it.
    pub kind: Failure,
    /// In the device's words.
    pub message: String,
}

/// Kinds of failures of one update, by what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// Inserted what is there: modify it.
    #[error("already there")]
    AlreadyExists,
    /// Modified or deleted what is not there: insert it, or be glad.
    #[error("not there")]
    NotFound,
    /// The table is full: later, when something has gone.
    #[error("table full")]
    Full,
    /// Passing: at once or later.
    #[error("device busy")]
    Busy,
    /// The device will never take it.
    #[error("refused")]
    Refused,
}

/// Why a whole call failed. What was applied of it is unknown, except where said otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeviceError {
    /// No session that may write: wait for one.
    #[error("no session with {device}")]
    NotConnected {
        /// The device.
        device: String,
    },
    /// Another controller is primary: nothing was applied. Wait for the next session.
    #[error("another controller is the primary of {device}")]
    NotPrimary {
        /// The device.
        device: String,
    },
    /// The call broke off: read back and try again.
    #[error("{device}: {message}")]
    Broken {
        /// The device.
        device: String,
        /// In the transport's words.
        message: String,
    },
    /// The device answers what it must not; trying again will not help before it is mended.
    #[error("{device} broke the protocol: {message}")]
    Protocol {
        /// The device.
        device: String,
        /// What it did.
        message: String,
    },
}
