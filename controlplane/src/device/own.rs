//! The addresses that the NIC answers neighbours for.
//!
//! In: from who writes tables, the `own` entries that the device holds. Out: to who sends packets, the same, whenever
//! they change. Invariant: an address is here only while the device's table has it in the session named with it.

use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::tables::vip;

/// What the NIC answers for in one session of the device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answering {
    /// The session.
    pub session: u64,
    /// Entries of `vip` with the action `own`.
    pub addresses: BTreeSet<vip::Key>,
}

/// [`Answering`], shared.
#[derive(Debug)]
pub struct OwnAddresses(watch::Sender<Answering>);

impl Default for OwnAddresses {
    fn default() -> Self {
        Self(watch::Sender::new(Answering::default()))
    }
}

impl OwnAddresses {
    /// The device holds these in this session; those who watch hear of it if that is new.
    pub fn set(&self, session: u64, addresses: &BTreeSet<vip::Key>) {
        self.0.send_if_modified(|known| {
            let new = known.session != session || known.addresses != *addresses;
            if new {
                known.session = session;
                known.addresses.clone_from(addresses);
            }
            new
        });
    }

    /// The addresses whenever they change.
    pub fn watch(&self) -> watch::Receiver<Answering> {
        self.0.subscribe()
    }
}
