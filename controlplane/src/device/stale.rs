//! Connections and pins that lead nowhere (S63–S67): told by who compiles Services, removed by who keeps connections.
//!
//! In: Service ports that lost endpoints, and what may still serve there. Out: whether a connection or a pin has to go.
//! Invariant: judging an entry is one look-up, so a clean-up takes time linear in the table whatever has changed. A
//! clean-up knows at every moment what serves, or is about to: an endpoint that comes back while it goes on loses nothing.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::model::Protocol;
use crate::tables::endpoint::Target;
use crate::tables::flow::{Key, Tuple};
use crate::tables::{Address, frontend};

/// Endpoints that answer, whatever gets new connections (S64), in order.
pub type Serving = Arc<[(Address, u16)]>;

/// Where connections and pins may lead, for the places where some may lead nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stale {
    /// By frontend; one that is gone has no endpoints.
    pub frontends: FxHashMap<frontend::Key, Serving>,
    /// Pins by `service_id`.
    pub pins: FxHashMap<u32, Serving>,
    /// All Services are named: UDP connections and pins of others are of Services that are gone. Else they are left alone.
    pub everything: bool,
}

impl Stale {
    /// Nothing can be stale.
    pub fn is_empty(&self) -> bool {
        self.frontends.is_empty() && !self.concerns_pins()
    }

    /// Some connection may be stale.
    pub fn concerns_connections(&self) -> bool {
        self.everything || !self.frontends.is_empty()
    }

    /// Some pin may be stale.
    pub fn concerns_pins(&self) -> bool {
        self.everything || !self.pins.is_empty()
    }

    /// Whether a connection to a frontend of these leads to an endpoint that does not answer any more.
    pub fn has(&self, flow: &Key, new: Tuple) -> bool {
        let called = frontend::Key {
            vpc: flow.vpc,
            protocol: flow.protocol,
            address: flow.tuple.dst,
            port: flow.tuple.dst_port,
        };
        match self.frontends.get(&called) {
            Some(serving) => !contains(serving, new.dst, new.dst_port),
            None => self.everything && flow.protocol == Protocol::Udp.number(),
        }
    }

    /// Whether a pin leads to an endpoint that does not answer any more.
    pub fn has_pin(&self, affinity_id: u32, to: &Target) -> bool {
        match self.pins.get(&affinity_id) {
            Some(serving) => !contains(serving, to.address, to.port),
            None => self.everything,
        }
    }

    /// Takes in what was found later.
    pub fn extend(&mut self, later: Self) {
        if later.everything {
            *self = later;
            return;
        }
        self.frontends.extend(later.frontends);
        self.pins.extend(later.pins);
    }

    /// These are about to serve, beside what does already.
    fn admit(&mut self, port: &Admitted<'_>) {
        for frontend in port.frontends {
            if let Some(known) = self.frontends.get_mut(frontend) {
                unite(known, port.serving);
            } else if self.everything && frontend.protocol == Protocol::Udp.number() {
                self.frontends.insert(*frontend, port.serving.clone());
            }
        }
        if let Some(known) = self.pins.get_mut(&port.service_id) {
            unite(known, port.serving);
        } else if self.everything {
            self.pins.insert(port.service_id, port.serving.clone());
        }
    }
}

/// A Service port of one family that is about to be in the device.
#[derive(Debug)]
pub struct Admitted<'a> {
    /// Its number.
    pub service_id: u32,
    /// Where it is called.
    pub frontends: &'a [frontend::Key],
    /// What answers there.
    pub serving: &'a Serving,
}

fn unite(known: &mut Serving, more: &Serving) {
    if more.iter().all(|one| known.binary_search(one).is_ok()) {
        return;
    }
    let mut all: Vec<_> = known.iter().chain(more.iter()).copied().collect();
    all.sort_unstable();
    all.dedup();
    *known = all.into();
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

/// Hands [`Stale`] from who compiles to who cleans up, one clean-up at a time.
#[derive(Debug, Default)]
pub struct Sweeps {
    turn: Mutex<Turn>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Turn {
    /// For the next clean-up.
    pending: Option<Stale>,
    /// What the present one is about.
    present: Option<Arc<Stale>>,
    /// It has looked at all there was, and waits for what was on its way.
    settling: bool,
}

impl Sweeps {
    /// The device has what these are about: clean up.
    pub fn hand_over(&self, stale: Stale) {
        if stale.is_empty() {
            return;
        }
        self.turn
            .lock()
            .pending
            .get_or_insert_default()
            .extend(stale);
        self.wake.notify_one();
    }

    /// Whether nothing is left to do, but for what may still be on its way.
    pub fn is_idle(&self) -> bool {
        let turn = self.turn.lock();
        turn.pending.is_none() && (turn.present.is_none() || turn.settling)
    }

    /// Whether anything is left to do.
    pub fn has_work(&self) -> bool {
        let turn = self.turn.lock();
        turn.pending.is_some() || turn.present.is_some()
    }

    /// Has to be told before the device is written to: from then on these serve.
    pub fn admit(&self, port: &Admitted<'_>) {
        let mut turn = self.turn.lock();
        if let Some(pending) = &mut turn.pending {
            pending.admit(port);
        }
        if let Some(present) = &mut turn.present {
            Arc::make_mut(present).admit(port);
        }
    }

    /// Begins a clean-up with what was handed over, and goes on with one that only waits. Nothing: there is nothing to
    /// do, or one goes on.
    pub fn begin(&self) -> Option<Arc<Stale>> {
        let mut turn = self.turn.lock();
        if turn.present.is_some() && !turn.settling {
            return None;
        }
        let later = turn.pending.take()?;
        let mut stale = turn
            .present
            .take()
            .map(Arc::unwrap_or_clone)
            .unwrap_or_default();
        stale.extend(later);
        turn.settling = false;
        turn.present.insert(Arc::new(stale)).clone().into()
    }

    /// What the present clean-up is about, by what is known now.
    pub fn present(&self) -> Option<Arc<Stale>> {
        self.turn.lock().present.clone()
    }

    /// All that there was has been looked at.
    pub fn settle(&self) {
        self.turn.lock().settling = true;
    }

    /// The present clean-up is done.
    pub fn end(&self) {
        let mut turn = self.turn.lock();
        turn.present = None;
        turn.settling = false;
    }

    /// The present clean-up failed: all of it is to be done again, with what was handed over since.
    pub fn give_up(&self) {
        let mut turn = self.turn.lock();
        turn.settling = false;
        if let Some(present) = turn.present.take() {
            let mut stale = Arc::unwrap_or_clone(present);
            if let Some(later) = turn.pending.take() {
                stale.extend(later);
            }
            turn.pending = Some(stale);
        }
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

    fn target(last: u8) -> Target {
        Target {
            address: address(last),
            port: 53,
            flags: 0,
            endpoint_id: 0,
        }
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
        assert_eq!(sweeps.begin(), None);
        let with = |endpoints: &[(u8, u16)]| {
            let mut stale = Stale::default();
            stale.frontends.insert(frontend(53), serving(endpoints));
            stale.pins.insert(7, serving(endpoints));
            stale
        };
        sweeps.hand_over(with(&[(2, 53)]));
        sweeps.hand_over(with(&[(3, 53)]));
        assert_eq!(*sweeps.begin().unwrap(), with(&[(3, 53)]));
        sweeps.hand_over(with(&[(4, 53)]));
        assert_eq!(sweeps.begin(), None, "one at a time");
        sweeps.give_up();
        assert_eq!(*sweeps.begin().unwrap(), with(&[(4, 53)]));
        sweeps.end();
        let everything = Stale {
            everything: true,
            ..Stale::default()
        };
        sweeps.hand_over(with(&[(2, 53)]));
        sweeps.hand_over(everything);
        assert!(sweeps.begin().unwrap().has_pin(7, &target(2)));
        assert!(sweeps.present().unwrap().has(&flow(99), to(2, 53)));
        let tcp = Key {
            protocol: 6,
            ..flow(99)
        };
        assert!(!sweeps.present().unwrap().has(&tcp, to(2, 53)), "it drains");
    }

    #[test]
    fn what_serves_again_while_a_clean_up_goes_on_keeps_its_connections_and_pins() {
        let sweeps = Sweeps::default();
        let mut stale = Stale::default();
        stale.frontends.insert(frontend(53), serving(&[(3, 53)]));
        stale.pins.insert(7, serving(&[(3, 53)]));
        sweeps.hand_over(stale.clone());
        sweeps.begin();
        sweeps.hand_over(stale);
        let back = serving(&[(2, 53)]);
        let port = Admitted {
            service_id: 7,
            frontends: &[frontend(53), frontend(54)],
            serving: &back,
        };
        sweeps.admit(&port);
        let now = sweeps.present().unwrap();
        assert!(!now.has(&flow(53), to(2, 53)) && !now.has(&flow(53), to(3, 53)));
        assert!(now.has(&flow(53), to(4, 53)) && now.has_pin(7, &target(4)));
        assert!(!now.has_pin(7, &target(2)) && !now.has_pin(7, &target(3)));
        assert!(!now.frontends.contains_key(&frontend(54)), "nobody asked");
        sweeps.end();
        let next = sweeps.begin().unwrap();
        assert!(!next.has(&flow(53), to(2, 53)) && !next.has_pin(7, &target(2)));
        sweeps.end();
        // A Service that was not there when all were named.
        sweeps.hand_over(Stale {
            everything: true,
            ..Stale::default()
        });
        sweeps.begin();
        sweeps.admit(&port);
        let now = sweeps.present().unwrap();
        assert!(!now.has(&flow(54), to(2, 53)) && !now.has_pin(7, &target(2)));
        assert!(now.has(&flow(55), to(2, 53)) && now.has_pin(8, &target(2)));
    }
}
