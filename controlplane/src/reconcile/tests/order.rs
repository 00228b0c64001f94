//! Properties: a difference gives what was wanted, and its plan never breaks a reference on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use crate::compile::{
    Balance, Context, Desired, EndpointSet, Ids, Owned, State, Touched, Wiring, compile,
};
use crate::model::sample::{cluster, service, slice};
use crate::model::{Family, Model, ObjectKey};
use crate::reconcile::diff::{Scope, diff};
use crate::reconcile::plan::{self, Edit, plan};
use crate::resolve::{NodeView, resolve};
use crate::tables::endpoint::Target;
use crate::tables::{frontend, sctp_checksum, vip};

fn target(n: u8) -> Target {
    Target {
        address: std::net::IpAddr::from([10, 0, 0, n]).into(),
        port: 80,
        flags: 0,
        endpoint_id: u32::from(n),
    }
}

prop_compose! {
    /// Any state, also one that no compiler would make.
    fn any_state()(
        sets in prop::collection::btree_map(
            0u32..6, prop::collection::btree_map(0u16..12, 0u8..5, 0..10), 0..5),
        frontends in prop::collection::btree_map(0u8..6, (0u32..6, 0u32..3), 0..6),
        vips in prop::collection::btree_map(0u8..6, any::<bool>(), 0..6),
        checksums in prop::collection::btree_map(0u32..6, any::<u32>(), 0..6),
    ) -> State {
        let mut state = State::default();
        for (id, slots) in sets {
            let mut set = EndpointSet::default();
            let slots: Vec<_> = slots.into_iter().map(|(slot, n)| (slot, target(n))).collect();
            set.assign(slots.iter().map(|(slot, target)| (*slot, Some(target))));
            if !set.is_empty() {
                state.sets.insert(id, Arc::new(set));
            }
        }
        for (n, (set_id, owner)) in frontends {
            let action = frontend::Action::Serve {
                set_id,
                slot_mask: 0,
                outside_set_id: set_id,
                outside_slot_mask: 0,
                service_id: 1,
                flags: 0,
                affinity_profile: frontend::NO_PROFILE,
            };
            let key = frontend::Key { vpc: 0, protocol: 6, address: target(n).address, port: 1 };
            state.frontends.insert(key, Owned { owner: owner.to_string().into(), action });
        }
        for (n, reject) in vips {
            let action = if reject { vip::Action::Reject } else { vip::Action::Drop };
            let key = vip::Key { vpc: 0, address: target(n).address };
            state.vips.insert(key, Owned { owner: "a".into(), action });
        }
        for (port_change, change) in checksums {
            let key = sctp_checksum::Key { port_change, length: 16 };
            state.sctp_checksums.insert(key, sctp_checksum::Action { change });
        }
        state
    }
}

/// Per Service: whether it is there, its addresses, its endpoints.
type Shop = Vec<(bool, bool, BTreeSet<u8>)>;

fn any_shop() -> impl Strategy<Value = Shop> {
    let endpoints = prop::collection::btree_set(1u8..40, 0..20);
    prop::collection::vec((prop::bool::weighted(0.8), any::<bool>(), endpoints), 4)
}

fn model(shop: &Shop) -> Model {
    let mut services = Vec::new();
    let mut slices = Vec::new();
    for (n, (there, second, endpoints)) in shop.iter().enumerate() {
        let name = format!("s{n}");
        let vips = [format!("10.96.0.{n}"), format!("10.96.1.{n}")];
        let vips: Vec<&str> = vips
            .iter()
            .take(1 + usize::from(*second))
            .map(|v| &**v)
            .collect();
        let addresses: Vec<String> = endpoints.iter().map(|e| format!("10.0.{n}.{e}")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        if *there {
            services.push(service(&name, &vips));
            slices.push(slice(&name, "a", &addresses));
        }
    }
    cluster(services, slices)
}

#[derive(Default)]
struct Compiler {
    ids: Ids,
    desired: Desired,
}

impl Compiler {
    fn take(&mut self, model: &Model) -> Touched {
        let mut touched = Touched::default();
        for n in 0..4 {
            let key = ObjectKey::new("shop", format!("s{n}"));
            let resolved = model
                .service(&key)
                .and_then(|s| resolve(&NodeView::default(), s, model.slices_of(&key)));
            let state = self.desired.state();
            let before = self.desired.service(&key);
            let context = Context {
                wiring: &Wiring::default(),
                balance: &Balance::default(),
                interface: Default::default(),
                taken: &|id| state.sets.contains_key(&id),
            };
            let compiled = resolved.map(|r| compile(&r, before, context, &mut self.ids));
            self.desired.replace(&key, compiled, 1480, &mut touched);
        }
        touched
    }
}

/// Endpoints per frontend.
fn live(state: &State) -> BTreeMap<frontend::Key, BTreeSet<Target>> {
    let targets = |action: &frontend::Action| {
        let sets = action.sets().into_iter().flatten();
        sets.flat_map(|(id, _)| state.sets[&id].iter().map(|(_, target)| *target))
            .collect()
    };
    state
        .frontends
        .iter()
        .map(|(key, entry)| (*key, targets(&entry.action)))
        .collect()
}

/// Every frontend that serves has every slot, and each leads to an endpoint its Service had or has; what is
/// served before and afterwards is served now.
fn check(
    state: &State,
    before: &BTreeMap<frontend::Key, BTreeSet<Target>>,
    after: &BTreeMap<frontend::Key, BTreeSet<Target>>,
) -> Result<(), TestCaseError> {
    for (key, entry) in &state.frontends {
        prop_assert_eq!(key.address.family(), Family::V4);
        let sets = entry.action.sets();
        let Some((set_id, slot_mask)) = sets[0].filter(|_| sets[1].is_none()) else {
            prop_assert_eq!(sets, [None, None], "one policy, one set");
            let some = |side: &BTreeMap<_, BTreeSet<Target>>| {
                side.get(key).is_some_and(|targets| !targets.is_empty())
            };
            prop_assert!(!(some(before) && some(after)), "{key:?} stopped serving");
            continue;
        };
        let set = state.sets.get(&set_id);
        for slot in 0..=slot_mask {
            let Some(target) = set.and_then(|set| set.get(slot)) else {
                return Err(TestCaseError::fail(format!(
                    "{key:?}: slot {slot} leads nowhere"
                )));
            };
            // The second address of a Service may come or go: what its first one has counts, too.
            let mut sides = [before, after]
                .into_iter()
                .flatten()
                .filter(|(other, _)| other.address.lo & 0xff == key.address.lo & 0xff);
            prop_assert!(
                sides.any(|(_, targets)| targets.contains(target)),
                "{target:?}"
            );
        }
    }
    for key in before.keys().filter(|key| after.contains_key(key)) {
        prop_assert!(
            state.frontends.contains_key(key),
            "{key:?} is gone for a moment"
        );
    }
    // An address refuses what is not served only while its frontends are there.
    for address in state.vips.keys() {
        let served = state
            .frontends
            .keys()
            .any(|key| key.address == address.address);
        prop_assert!(served, "{address:?} refuses before it serves");
    }
    Ok(())
}

/// A permutation from a seed (Fisher and Yates; the generator is Knuth's).
fn shuffle(edits: &mut [Edit], seed: &mut u64) {
    for at in (1..edits.len()).rev() {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        edits.swap(at, (*seed >> 33) as usize % (at + 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn difference_gives_what_was_wanted(wanted in any_state(), found in any_state()) {
        let mut state = found.clone();
        for phase in plan(diff(&wanted, &found, Scope::All)) {
            let edits: Vec<Edit> = phase.edits().collect();
            plan::apply(&mut state, edits.iter());
        }
        prop_assert_eq!(&state, &wanted);
        prop_assert!(plan(diff(&wanted, &state, Scope::All)).is_empty());
    }

    #[test]
    fn no_step_of_a_plan_breaks_a_reference(
        shops in prop::collection::vec(any_shop(), 2..5),
        mut seed: u64,
    ) {
        let mut compiler = Compiler::default();
        let mut installed = State::default();
        for shop in shops {
            let touched = compiler.take(&model(&shop));
            let wanted = compiler.desired.state();
            let (before, after) = (live(&installed), live(wanted));
            for phase in plan(diff(wanted, &installed, Scope::Keys(&touched))) {
                let count = phase.len();
                let mut edits: Vec<Edit> = phase.edits().collect();
                prop_assert_eq!(edits.len(), count);
                shuffle(&mut edits, &mut seed);
                for edit in &edits {
                    plan::apply(&mut installed, std::iter::once(edit));
                    check(&installed, &before, &after)?;
                }
            }
            prop_assert_eq!(&installed, wanted);
        }
    }
}
