//! What the slow path did, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Events since the start; shared between the worker and whoever reports.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub(super) $name: AtomicU64,)*
        }

        /// [`Counters`] at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// The present values.
            pub fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl Snapshot {
            /// Every counter with its name.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Packets taken from the device.
    received,
    /// Packets whose headers or metadata made no sense.
    malformed,
    /// Connections installed.
    connections,
    /// Connections that got another source port because their reply tuple was taken.
    port_changes,
    /// Connections refused because no reply tuple was free.
    unresolved_conflicts,
    /// Packets sent back into the pipeline.
    reinjected,
    /// Refusals sent.
    refusals,
    /// Refusals not sent because there were too many.
    rate_limited,
    /// Packets to be refused that must not be answered (RFC 1122, 3.2.2).
    unanswerable,
    /// Connections that got another idle timeout because their state changed.
    state_changes,
    /// Answers to who asked for the MAC address of an address of the NIC.
    neighbors,
    /// Such answers not sent because there were too many.
    neighbors_limited,
    /// Such requests that must not be answered (RFC 4861, 7.1.1; RFC 5227).
    neighbors_invalid,
    /// Announcements of addresses of the NIC.
    announcements,
    /// Connections removed because they were idle.
    expired,
    /// Connections removed because their endpoint or their Service is gone.
    stale,
    /// Entries that the device did not take; their packets were dropped.
    write_errors,
    /// Packets lost on the way to the device.
    send_errors,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn count(counter: &AtomicU64) {
        Self::add(counter, 1);
    }
}
