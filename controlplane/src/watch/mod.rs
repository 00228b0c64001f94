//! Where the cluster's objects come from: a Kubernetes API server or a folder of manifests.
//!
//! In: objects of Kubernetes' own types, from a watch or from files. Out: [`Notice`]s, whose events the model takes.
//! Invariant: the first notices of a source are complete lists of all three kinds, then [`Notice::Synced`]; so nothing
//! is ever programmed from half a picture (S79).
//!
//! ```text
//! API server ── kubernetes ─┐
//!                           ├─ convert ──Notice──▶ model
//! files ─────── manifest ───┘
//! ```

pub mod convert;
pub mod events;
pub mod kubernetes;
pub mod manifest;

use tokio::sync::mpsc;

use crate::model;

/// What a source has to say.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Objects appeared, changed or went away.
    Cluster(model::Event),
    /// The initial lists are complete.
    Synced,
    /// Several that belong together, as the objects of one file do.
    Together(Vec<Notice>),
}

/// Notices that may wait for the reconciler before a source has to.
const BACKLOG: usize = 1024;

/// A channel between a source and the reconciler.
pub fn channel() -> (mpsc::Sender<Notice>, mpsc::Receiver<Notice>) {
    mpsc::channel(BACKLOG)
}
