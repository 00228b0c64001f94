//! Where connections and pins may lead nowhere after a change (S63–S67).
//!
//! In: what each Service put in before and puts in now. Out: what may serve at the places that lost something. UDP alone
//! is looked at: TCP and SCTP end by themselves (S62). Invariant: a change that takes nothing away makes nobody
//! suspect, so that it costs no clean-up.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::compile::{CompiledFamily, CompiledPort, CompiledService, Desired};
use crate::device::stale::{Admitted, Serving, Stale, Sweeps};
use crate::model::{ObjectKey, Protocol};
use crate::resolve::PortKey;
use crate::tables::frontend;

/// Places to look at.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    frontends: FxHashSet<frontend::Key>,
    /// Service ports whose clients keep their endpoint, or did, by `service_id`.
    pins: FxHashMap<u32, PortKey>,
    everything: bool,
}

fn is_udp(frontend: &frontend::Key) -> bool {
    frontend.protocol == Protocol::Udp.number()
}

/// Has clean-ups that go on know what is about to serve.
pub(super) fn admit(sweeps: &Sweeps, service: &CompiledService) {
    for port in &service.ports {
        for family in &port.families {
            let frontends: Vec<_> = family.frontends.iter().map(|f| f.key).collect();
            sweeps.admit(&Admitted {
                service_id: port.service_id,
                frontends: &frontends,
                serving: &family.serving,
            });
        }
    }
}

/// Something serves no longer.
fn lost(before: &CompiledFamily, now: Option<&CompiledFamily>) -> bool {
    let still = |one| now.is_some_and(|now| now.serving.binary_search(one).is_ok());
    !before.serving.iter().all(still)
}

impl Suspects {
    /// Nobody knows what changed.
    pub fn everything(&mut self) {
        self.everything = true;
    }

    /// These may be gone.
    fn frontends(&mut self, keys: impl Iterator<Item = frontend::Key>) {
        self.frontends.extend(keys.filter(is_udp));
    }

    /// A Service is about to be replaced in `desired`.
    pub fn compare(&mut self, desired: &Desired, key: &ObjectKey, now: Option<&CompiledService>) {
        if self.everything {
            return;
        }
        let before = desired.service(key);
        let no_pins_now = now.is_none_or(|now| now.affinity.is_none());
        let now_ports = now.map_or(&[][..], |now| &now.ports);
        for port in before.map_or(&[][..], |before| &before.ports) {
            let other = now_ports.iter().find(|other| other.key == port.key);
            let had_pins = before.is_some_and(|before| before.affinity.is_some());
            self.compare_port(port, other, had_pins, no_pins_now);
        }
        // Taken over from another Service (the first by name has it).
        let claimed = now_ports.iter().flat_map(|port| &port.families);
        let claimed = claimed.flat_map(|family| &family.frontends);
        let others = claimed
            .map(|frontend| frontend.key)
            .filter(|frontend| desired.winner(frontend).is_some_and(|winner| winner != key));
        self.frontends(others);
    }

    fn compare_port(
        &mut self,
        before: &CompiledPort,
        now: Option<&CompiledPort>,
        had_pins: bool,
        no_pins_now: bool,
    ) {
        let mut pins = had_pins && (no_pins_now || now.is_none());
        for family in &before.families {
            let other = now.and_then(|now| now.families.iter().find(|f| f.family == family.family));
            let keys = || family.frontends.iter().map(|frontend| frontend.key);
            if lost(family, other) {
                pins |= had_pins;
                self.frontends(keys());
            }
            let stays = |key: &frontend::Key| {
                other.is_some_and(|other| other.frontends.iter().any(|f| f.key == *key))
            };
            self.frontends(keys().filter(|key| !stays(key)));
        }
        if pins {
            self.pins.insert(before.service_id, before.key.clone());
        }
    }

    /// What may serve there, by what the device should hold.
    pub fn judge(&self, desired: &Desired) -> Stale {
        let mut stale = Stale {
            everything: self.everything,
            ..Stale::default()
        };
        for key in &self.frontends {
            let serving = serving_at(desired, key).unwrap_or_default();
            stale.frontends.insert(*key, serving);
        }
        for (id, port) in &self.pins {
            let service = desired.service(&port.service);
            let now = service.filter(|service| service.affinity.is_some());
            let now = now.and_then(|service| service.ports.iter().find(|p| p.service_id == *id));
            stale
                .pins
                .insert(*id, now.map(serving_of).unwrap_or_default());
        }
        if self.everything {
            for (key, service) in desired.services() {
                for port in &service.ports {
                    if service.affinity.is_some() {
                        stale.pins.insert(port.service_id, serving_of(port));
                    }
                    for family in &port.families {
                        let own = family.frontends.iter().map(|frontend| frontend.key);
                        let own = own
                            .filter(is_udp)
                            .filter(|f| desired.winner(f) == Some(key));
                        stale
                            .frontends
                            .extend(own.map(|frontend| (frontend, family.serving.clone())));
                    }
                }
            }
        }
        stale
    }
}

/// Endpoints of both families: pins of a port are kept together.
fn serving_of(port: &CompiledPort) -> Serving {
    let all = port
        .families
        .iter()
        .flat_map(|family| family.serving.iter());
    let mut all: Vec<_> = all.copied().collect();
    all.sort_unstable();
    all.into()
}

fn serving_at(desired: &Desired, frontend: &frontend::Key) -> Option<Serving> {
    let service = desired.service(desired.winner(frontend)?)?;
    let mut families = service.ports.iter().flat_map(|port| &port.families);
    let family = families.find(|family| family.frontends.iter().any(|f| f.key == *frontend))?;
    Some(family.serving.clone())
}
