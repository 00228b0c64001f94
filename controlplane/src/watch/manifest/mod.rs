//! Services, EndpointSlices and Nodes from a folder or a file of manifests, watched for changes.
//!
//! In: YAML and JSON files as `kubectl` takes them. Out: notices. A change shows within the debounce time and the time
//! it takes to read what changed.
//! Invariants: a file with a mistake keeps the objects it gave before, and no other file is touched by it; a folder
//! that cannot be listed keeps everything.
//!
//! ```text
//! notify ──▶ debounce ──▶ folder: which files changed ──▶ document: what they say ──▶ notices
//! ```

pub mod document;
mod folder;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::Notice;
use folder::Folder;

/// Changes that come closer together than this are read at once. An editor writes a file in several steps.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// Longest time that a stream of changes may hold back the first of them.
const MAX_DELAY: Duration = Duration::from_millis(40);
/// How often a folder that went away is looked for.
const RETRY: Duration = Duration::from_millis(500);

/// Why the manifests cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Nothing is there, or it cannot be listed.
    #[error("cannot read the manifests {}: {source}; check --manifests", path.display())]
    Read {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system gives no notice of changes.
    #[error("cannot watch {} for changes: {source}; if too many watches are in use, raise fs.inotify.max_user_watches",
        path.display())]
    Watch {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        source: notify::Error,
    },
    /// No thread for the watch.
    #[error("cannot start the thread that watches manifests: {0}")]
    Thread(#[source] std::io::Error),
}

/// A running watch. It ends when this is dropped.
#[derive(Debug)]
pub struct ManifestSource {
    signals: std_mpsc::Sender<Signal>,
}

#[derive(Debug)]
enum Signal {
    Changed(Vec<PathBuf>),
    Stop,
}

impl Drop for ManifestSource {
    fn drop(&mut self) {
        // An ended thread no longer listens; that is fine.
        let _ = self.signals.send(Signal::Stop);
    }
}

impl ManifestSource {
    /// Reads what is there and watches it.
    ///
    /// # Errors
    /// When there is nothing to read or watch. Mistakes within files are reported in the log, not here.
    pub fn start(path: &Path, notices: mpsc::Sender<Notice>) -> Result<Self, ManifestError> {
        let root = path.canonicalize().map_err(|source| ManifestError::Read {
            path: path.to_owned(),
            source,
        })?;
        let (signals, changes) = std_mpsc::channel();
        let watcher = watch(&root, signals.clone())?;
        let folder = Folder::new(root);
        std::thread::Builder::new()
            .name("manifests".to_owned())
            .spawn({
                let signals = signals.clone();
                move || {
                    Watch {
                        folder,
                        watcher: Some(watcher),
                        signals,
                        notices,
                    }
                    .run(&changes)
                }
            })
            .map_err(ManifestError::Thread)?;
        Ok(Self { signals })
    }
}

/// Watches a folder and all below it; of a file its folder, because editors replace files.
fn watch(
    root: &Path,
    signals: std_mpsc::Sender<Signal>,
) -> Result<notify::RecommendedWatcher, ManifestError> {
    let error = |source| ManifestError::Watch {
        path: root.to_owned(),
        source,
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let paths = match event {
            Ok(event) if concerns_content(&event.kind) => event.paths,
            Ok(_) => return,
            // Events were lost: look at everything.
            Err(_) => Vec::new(),
        };
        let _ = signals.send(Signal::Changed(paths));
    })
    .map_err(error)?;
    let (place, mode) = match root.parent() {
        Some(parent) if root.is_file() => (parent, RecursiveMode::NonRecursive),
        _ => (root, RecursiveMode::Recursive),
    };
    watcher.watch(place, mode).map_err(error)?;
    Ok(watcher)
}

/// Reading a file causes events too; they must not cause another reading.
fn concerns_content(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

struct Watch {
    folder: Folder,
    watcher: Option<notify::RecommendedWatcher>,
    signals: std_mpsc::Sender<Signal>,
    notices: mpsc::Sender<Notice>,
}

impl Watch {
    fn run(mut self, changes: &std_mpsc::Receiver<Signal>) {
        let first = self.folder.first();
        if !self.send(first) {
            return;
        }
        loop {
            let signal = match self.watcher {
                Some(_) => changes
                    .recv()
                    .map_err(|_| std_mpsc::RecvTimeoutError::Disconnected),
                None => changes.recv_timeout(RETRY),
            };
            let touched = match signal {
                Ok(Signal::Changed(paths)) => match debounced(changes, paths) {
                    Some(paths) => paths,
                    None => return,
                },
                Err(std_mpsc::RecvTimeoutError::Timeout) => Vec::new(),
                Ok(Signal::Stop) | Err(std_mpsc::RecvTimeoutError::Disconnected) => return,
            };
            if self.watcher.is_none() {
                self.watcher = watch(self.folder.root(), self.signals.clone()).ok();
            }
            match self.folder.rescan(&touched) {
                Ok(notices) => {
                    if !self.send(notices) {
                        return;
                    }
                }
                Err(error) => {
                    if self.watcher.take().is_some() {
                        tracing::warn!(%error, "keeping what the manifests said before");
                    }
                }
            }
        }
    }

    /// False when nobody listens any more.
    fn send(&self, notices: Vec<Notice>) -> bool {
        notices.is_empty()
            || self
                .notices
                .blocking_send(Notice::Together(notices))
                .is_ok()
    }
}

/// Waits until changes pause. `None` means stop.
fn debounced(
    changes: &std_mpsc::Receiver<Signal>,
    mut paths: Vec<PathBuf>,
) -> Option<Vec<PathBuf>> {
    let latest = Instant::now() + MAX_DELAY;
    loop {
        let wait = DEBOUNCE.min(latest.saturating_duration_since(Instant::now()));
        match changes.recv_timeout(wait) {
            Ok(Signal::Changed(more)) => paths.extend(more),
            Err(std_mpsc::RecvTimeoutError::Timeout) => return Some(paths),
            Ok(Signal::Stop) | Err(std_mpsc::RecvTimeoutError::Disconnected) => return None,
        }
    }
}
