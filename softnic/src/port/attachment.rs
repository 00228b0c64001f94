//! An interface that may go away and come back.
//!
//! In: how to open it. Out: what was opened, as long as it works; when its user says that it was lost, it is opened anew
//! with growing pauses. Invariant: at most one thread opens at a time, and nobody waits longer than asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::{PortError, sys};

/// First pause before opening anew; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

type Open<S> = Box<dyn Fn() -> Result<S, PortError> + Send + Sync>;

/// What a port holds of an interface.
pub(super) struct Attachment<S> {
    name: String,
    open: Open<S>,
    held: RwLock<Option<Arc<S>>>,
    retry: Mutex<Retry>,
    reopened: AtomicU64,
}

#[derive(Debug)]
struct Retry {
    next: Instant,
    pause: Duration,
}

impl<S> Attachment<S> {
    /// Opens the interface for the first time.
    pub fn new(name: &str, open: Open<S>) -> Result<Self, PortError> {
        let held = Arc::new(open()?);
        Ok(Self {
            name: name.to_owned(),
            open,
            held: RwLock::new(Some(held)),
            retry: Mutex::new(Retry {
                next: Instant::now(),
                pause: FIRST_PAUSE,
            }),
            reopened: AtomicU64::new(0),
        })
    }

    /// What is open now.
    pub fn get(&self) -> Option<Arc<S>> {
        self.held.read().clone()
    }

    /// What is open; when nothing is, tries to open it or waits until that is due, at most for `wait`.
    pub fn get_or_reopen(&self, wait: Duration) -> Option<Arc<S>> {
        let held = self.get();
        if held.is_some() {
            return held;
        }
        let mut retry = self.retry.lock();
        if let Some(held) = self.get() {
            return Some(held);
        }
        let due = retry.next.saturating_duration_since(Instant::now());
        if !due.is_zero() {
            drop(retry);
            std::thread::sleep(due.min(wait));
            return None;
        }
        match (self.open)() {
            Ok(opened) => {
                let opened = Arc::new(opened);
                *self.held.write() = Some(Arc::clone(&opened));
                retry.pause = FIRST_PAUSE;
                self.reopened.fetch_add(1, Ordering::Relaxed);
                tracing::info!(port = self.name, "the interface is back");
                Some(opened)
            }
            Err(error) => {
                tracing::debug!(port = self.name, %error, "the interface is not back yet");
                retry.pause = (retry.pause * 2).min(LONGEST_PAUSE);
                retry.next = Instant::now() + retry.pause;
                None
            }
        }
    }

    /// Gives up what was open, if it is still this, because the interface went away.
    pub fn lose(&self, lost: &Arc<S>, why: &dyn std::fmt::Display) {
        let mut held = self.held.write();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, lost)) {
            *held = None;
            tracing::warn!(
                port = self.name,
                "the interface went away ({why}); waiting for it to come back"
            );
        }
    }

    /// How often it was opened anew.
    pub fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }
}

/// How often it is looked whether the interface is still the one that was opened.
const WATCH: Duration = Duration::from_millis(100);

/// Tells when an interface is another one than before, even if it has the same name.
pub(super) struct Watch {
    interface: String,
    last: Mutex<Instant>,
}

impl Watch {
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            last: Mutex::new(Instant::now()),
        }
    }

    /// Whether it is time to look; one thread is told so.
    pub fn is_due(&self) -> bool {
        let now = Instant::now();
        match self.last.try_lock() {
            Some(mut last) if now.duration_since(*last) >= WATCH => {
                *last = now;
                true
            }
            _ => false,
        }
    }

    /// `Err` when the interface with this index went away, with the reason.
    pub fn look(&self, index: libc::c_int) -> Result<(), String> {
        match sys::index(&self.interface) {
            Ok(now) if now == index => Ok(()),
            Ok(_) => Err("another has its name".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_opened_anew_and_counted() {
        let attempts = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&attempts);
        let open = move || match count.fetch_add(1, Ordering::Relaxed) {
            0 | 3 => Ok(()),
            _ => Err(PortError::NoInterface("gone0".into())),
        };
        let attachment = Attachment::new("test", Box::new(open)).unwrap();
        let first = attachment.get().unwrap();
        attachment.lose(&first, &"test");
        assert!(attachment.get().is_none());
        let deadline = Instant::now() + Duration::from_secs(10);
        while attachment.get_or_reopen(LONGEST_PAUSE).is_none() {
            assert!(Instant::now() < deadline);
        }
        assert_eq!(attempts.load(Ordering::Relaxed), 4);
        assert_eq!(attachment.reopened(), 1);
        // Who still holds the one before cannot take the new one away.
        attachment.lose(&first, &"test");
        assert!(attachment.get().is_some());
    }
}
