//! Connections and pins that lead nowhere (S63–S67): told by who compiles Services, removed by who keeps connections.
//!
//! In: Service ports that lost endpoints, and what may still serve there. Out: whether a connection or a pin has to go.
//! Invariant: judging an entry is one look-up, so a clean-up takes time linear in the table whatever has changed; what
//! is handed over is taken once, and later words about the same place count more.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::tables::endpoint::Target;
use crate::tables::flow::{Key, Tuple};
use crate::tables::{Address, frontend};

/// Endpoints that still answer, ready or not (S64), in order.
pub type Serving = Arc<[(Address, u16)]>;

/// Where connections and pins may lead, for the places where some may lead nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stale {
    /// By frontend; one that is gone has no endpoints. Connections to other places are left alone.
    pub frontends: FxHashMap<frontend::Key, Serving>,
    /// Pins by `service_id`.
    pub pins: FxHashMap<u32, Serving>,
    /// Pins of every other `service_id` are of Services that are gone.
    pub all_pins: bool,
}

impl Stale {
    /// Nothing can be stale.
    pub fn is_empty(&self) -> bool {
        self.frontends.is_empty() && !self.concerns_pins()
    }

    /// Some pin may be stale.
    pub fn concerns_pins(&self) -> bool {
        self.all_pins || !self.pins.is_empty()
    }

    /// Whether a connection to a frontend of these leads to an endpoint that does not answer any more.
    pub fn has(&self, flow: &Key, new: Tuple) -> bool {
        let called = frontend::Key {
            vpc: flow.vpc,
            protocol: flow.protocol,
            address: flow.tuple.dst,
            port: flow.tuple.dst_port,
        };
        self.frontends
            .get(&called)
            .is_some_and(|serving| !contains(serving, new.dst, new.dst_port))
    }

    /// Whether a pin leads to an endpoint that does not answer any more.
    pub fn has_pin(&self, affinity_id: u32, to: &Target) -> bool {
        match self.pins.get(&affinity_id) {
            Some(serving) => !contains(serving, to.address, to.port),
            None => self.all_pins,
        }
    }

    /// Takes in what was found later.
    pub fn extend(&mut self, later: Self) {
        if later.all_pins {
            // It knows all that have any.
            self.pins.clear();
        }
        self.frontends.extend(later.frontends);
        self.pins.extend(later.pins);
        self.all_pins |= later.all_pins;
    }
}

/// Whether an endpoint is one of these; what goes through a tunnel has no port.
fn contains(serving: &[(Address, u16)], address: Address, port: u16) -> bool {
    match port {
        0 => {
            let at = serving.partition_point(|(known, _)| *known < address);
            serving.get(at).is_some_and(|(known, _)| *known == address)
        }
        _ => serving.binary_search(&(address, port)).is_ok(),
    }
}

/// Hands [`Stale`] from one task to another.
#[derive(Debug, Default)]
pub struct Sweeps {
    pending: Mutex<Option<Stale>>,
    wake: Notify,
}

impl Sweeps {
    /// The device has what these are about: clean up.
    pub fn hand_over(&self, stale: Stale) {
        if stale.is_empty() {
            return;
        }
        self.pending.lock().get_or_insert_default().extend(stale);
        self.wake.notify_one();
    }

    /// Gives back what could not be cleaned up; what was handed over since counts more.
    pub fn give_back(&self, mut stale: Stale) {
        let mut pending = self.pending.lock();
        if let Some(later) = pending.take() {
            stale.extend(later);
        }
        *pending = Some(stale);
    }

    /// What is to be cleaned up.
    pub fn take(&self) -> Option<Stale> {
        self.pending.lock().take()
    }

    /// Waits for a hand-over.
    pub async fn handed_over(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(last: u8) -> Address {
        IpAddr::from([10, 0, 0, last]).into()
    }

    fn flow(port: u16) -> Key {
        let tuple = Tuple {
            src: address(1),
            dst: address(9),
            src_port: 4000,
            dst_port: port,
        };
        Key {
            vpc: 0,
            protocol: 17,
            tuple,
        }
    }

    fn to(last: u8, port: u16) -> Tuple {
        Tuple {
            dst: address(last),
            dst_port: port,
            ..flow(53).tuple
        }
    }

    fn frontend(port: u16) -> frontend::Key {
        frontend::Key {
            vpc: 0,
            protocol: 17,
            address: address(9),
            port,
        }
    }

    fn serving(endpoints: &[(u8, u16)]) -> Serving {
        endpoints
            .iter()
            .map(|(last, port)| (address(*last), *port))
            .collect()
    }

    #[test]
    fn s63_s64_address_and_port_count_and_other_places_are_left_alone() {
        let mut stale = Stale::default();
        stale
            .frontends
            .insert(frontend(53), serving(&[(2, 53), (3, 5353)]));
        assert!(!stale.has(&flow(53), to(2, 53)));
        assert!(
            stale.has(&flow(53), to(2, 54)),
            "the same address, another port"
        );
        assert!(stale.has(&flow(53), to(4, 53)));
        assert!(
            !stale.has(&flow(54), to(4, 53)),
            "another port of the address called"
        );
        assert!(
            !stale.has(&flow(53), to(3, 0)),
            "in a tunnel there are no ports"
        );
        assert!(stale.has(&flow(53), to(4, 0)));
    }

    #[test]
    fn what_is_said_later_counts() {
        let sweeps = Sweeps::default();
        assert_eq!(sweeps.take(), None);
        let with = |endpoints: &[(u8, u16)]| {
            let mut stale = Stale::default();
            stale.frontends.insert(frontend(53), serving(endpoints));
            stale.pins.insert(7, serving(endpoints));
            stale
        };
        sweeps.hand_over(with(&[(2, 53)]));
        sweeps.hand_over(with(&[(3, 53)]));
        let taken = sweeps.take().unwrap();
        assert_eq!(taken, with(&[(3, 53)]));
        sweeps.hand_over(with(&[(4, 53)]));
        sweeps.give_back(taken);
        assert_eq!(sweeps.take(), Some(with(&[(4, 53)])));
        let everything = Stale {
            all_pins: true,
            ..Stale::default()
        };
        sweeps.hand_over(with(&[(2, 53)]));
        sweeps.hand_over(everything);
        let target = Target {
            address: address(2),
            port: 53,
            flags: 0,
            endpoint_id: 0,
        };
        assert!(sweeps.take().unwrap().has_pin(7, &target));
    }
}
