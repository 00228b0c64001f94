//! Why a packet's frontend, set and endpoint are what they are.
//!
//! In: what a packet met in the device. Out: what the cluster's objects say of it: the kind of address, the basis of the
//! set, the endpoint's standing.

use super::driver::Reconciler;
use super::show::condition;
use crate::compile::{CompiledFamily, policy_of};
use crate::model::{Model, ObjectKey, TrafficPolicy};
use crate::resolve::{Candidate, ResolvedFamily, resolve};
use crate::trace::why::{Picked, Question, Why};

impl Reconciler {
    /// What is known of a frontend, a set and an endpoint; `None` if no wanted Service has the frontend.
    pub fn why(&self, model: &Model, question: &Question) -> Option<Why> {
        let key = self.desired.winner(&question.frontend)?;
        let service = self.desired.service(key)?;
        let mut families = service
            .ports
            .iter()
            .flat_map(|port| port.families.iter().map(move |family| (port, family)));
        let (port, family) = families.find(|(_, family)| {
            let mut frontends = family.frontends.iter();
            frontends.any(|frontend| frontend.key == question.frontend)
        })?;
        let mut frontends = family.frontends.iter();
        let frontend = frontends.find(|frontend| frontend.key == question.frontend)?;
        let resolved = self.candidates(model, key, &port.key, family);
        let all: &[Candidate] = resolved.as_ref().map_or(&[], |family| &family.candidates);
        let policy = question.set.map(policy_of);
        let ready = all.iter().filter(|candidate| candidate.is_ready());
        Some(Why {
            entry: frontend.entry.to_string(),
            basis: policy.map(|policy| family.choice.basis(policy).to_string()),
            serving: policy.map_or(0, |policy| serving(all, policy)),
            endpoints: all.len(),
            ready: ready.clone().count(),
            local: ready.filter(|candidate| candidate.local).count(),
            picked: picked(question, family, all),
        })
    }

    /// The endpoints of a port and family, as they are resolved.
    fn candidates(
        &self,
        model: &Model,
        key: &ObjectKey,
        port: &crate::resolve::PortKey,
        family: &CompiledFamily,
    ) -> Option<ResolvedFamily> {
        let service = model.service(key)?;
        let resolved = resolve(&self.view, service, model.slices_of(key))?;
        let port = resolved.ports.into_iter().find(|own| own.key == *port)?;
        let mut families = port.families.into_iter();
        families.find(|own| own.family == family.family)
    }
}

fn serving(all: &[Candidate], policy: TrafficPolicy) -> usize {
    let serving = all.iter().filter(|candidate| candidate.serves(policy));
    serving.count()
}

fn picked(question: &Question, family: &CompiledFamily, all: &[Candidate]) -> Option<Picked> {
    let (address, port) = question.endpoint?;
    // Port 0: in a tunnel, to whichever port it is.
    let is = |ip: std::net::IpAddr, number: u16| ip == address && (port == 0 || number == port);
    let mut known = all.iter();
    let candidate = known.find(|candidate| is(candidate.address.ip(), candidate.port));
    let set = family.sets.iter().find(|set| Some(set.id) == question.set);
    let share = set.map(|set| {
        let shares = set.slots.shares();
        let own = shares
            .iter()
            .filter(|(target, _)| is(target.address.ip(), target.port));
        let own: usize = own.map(|(_, slots)| *slots).sum();
        own as f64 / set.slots.filled().max(1) as f64
    });
    Some(Picked {
        node: candidate.and_then(|candidate| candidate.node.as_ref().map(ToString::to_string)),
        state: candidate.map_or("gone", condition).to_owned(),
        share,
    })
}
