//! Views of a reconciler: what is wanted, beside what the device holds.

use std::fmt::Debug;

use super::driver::Reconciler;
use super::views::{
    EndpointView, EntryView, FamilyView, FrontendView, ServiceView, SetView, TableView,
};
use crate::compile::{
    CompiledFamily, CompiledFrontend, CompiledPort, CompiledService, Owned, State, policy_of,
};
use crate::model::{Model, ObjectKey, TrafficPolicy};
use crate::resolve::{Candidate, ResolvedFamily, ResolvedPort, resolve};
use crate::tables::{
    Table, client, egress, endpoint, frontend, masquerade, member, port, route, sctp_checksum,
    source_range, tunnel, vip,
};

impl Reconciler {
    /// The Services as programmed, in order of name.
    pub fn services(&self) -> Vec<ServiceView> {
        let mut all: Vec<_> = self.desired.services().collect();
        all.sort_by_key(|(key, _)| *key);
        all.into_iter()
            .flat_map(|(key, service)| {
                service
                    .ports
                    .iter()
                    .map(|port| self.service_view(key, service, port))
            })
            .collect()
    }

    fn service_view(
        &self,
        key: &ObjectKey,
        service: &CompiledService,
        port: &CompiledPort,
    ) -> ServiceView {
        let frontends = || port.families.iter().flat_map(|family| &family.frontends);
        let mut problems: Vec<String> = service.issues.iter().map(ToString::to_string).collect();
        for frontend in frontends() {
            if let Some(winner) = self.desired.winner(&frontend.key)
                && winner != key
            {
                let (address, port) = (frontend.key.address, frontend.key.port);
                problems.push(format!("{winner} has {address} port {port}, too"));
            }
        }
        for family in port
            .families
            .iter()
            .filter(|family| family.without_slot > 0)
        {
            let (count, family) = (family.without_slot, family.family);
            problems.push(format!(
                "{count} {family} endpoints are too many: they get nothing"
            ));
        }
        let errors = self.last.iter().flat_map(|report| &report.errors);
        let own = errors.filter(|failure| failure.owner == *port.owner);
        problems.extend(own.map(|failure| {
            let (count, table, kind) = (failure.entries, failure.table, failure.kind);
            format!("{count} entries of {table}: {kind}: {}", failure.message)
        }));
        ServiceView {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            port_name: port.key.port.to_string(),
            protocol: port.key.protocol.to_string(),
            port: port.port,
            vips: frontends().map(|f| f.key.address.ip()).collect(),
            frontends: frontends().map(frontend_view).collect(),
            scheduler: service.scheduler.to_string(),
            affinity_seconds: service.affinity,
            families: port.families.iter().map(|f| self.family_view(f)).collect(),
            problems,
        }
    }

    fn family_view(&self, family: &CompiledFamily) -> FamilyView {
        let cluster_ip = family.frontends.first().map(|frontend| &frontend.action);
        let sets = family.sets.iter().map(|set| SetView {
            policy: format!("{:?}", set.policy),
            id: set.id,
            basis: family.choice.basis(set.policy).to_string(),
            slots: set.slots.len(),
            endpoints: set.slots.shares().len(),
        });
        FamilyView {
            family: family.family.to_string(),
            action: match cluster_ip {
                Some(frontend::Action::Serve { .. }) => "serve",
                Some(frontend::Action::Reject { .. }) => "reject",
                Some(frontend::Action::Drop { .. }) | None => "drop",
            }
            .to_owned(),
            sets: sets.collect(),
            source_ranges: family
                .source_ranges
                .iter()
                .map(|range| range.source.to_string())
                .collect(),
            installed: self
                .installed()
                .is_some_and(|state| is_installed(state, family)),
        }
    }

    /// The endpoints of all Services, in order of Service, those that get no connections included.
    pub fn endpoints(&self, model: &Model) -> Vec<EndpointView> {
        let mut services: Vec<_> = model.services().collect();
        services.sort_by_key(|service| &service.key);
        let mut views = Vec::new();
        for service in services {
            let slices = model.slices_of(&service.key);
            let Some(resolved) = resolve(&self.view, service, slices) else {
                continue;
            };
            let compiled = self.desired.service(&service.key);
            for port in &resolved.ports {
                let known = compiled.and_then(|c| c.ports.iter().find(|p| p.key == port.key));
                for family in &port.families {
                    let known = known.and_then(|known| {
                        known.families.iter().find(|f| f.family == family.family)
                    });
                    endpoint_views(port, family, known, &mut views);
                }
            }
        }
        views
    }

    /// The tables and how full they are.
    pub fn tables(&self) -> Vec<TableView> {
        let schema = self.device().schema();
        let wanted = counts(self.desired());
        let found = self.installed().map(counts);
        wanted
            .into_iter()
            .enumerate()
            .map(|(at, (table, desired))| TableView {
                table: table.to_owned(),
                desired,
                installed: found.as_ref().map(|found| found[at].1),
                size: schema
                    .as_ref()
                    .and_then(|schema| schema.table(table))
                    .map(|t| t.size),
            })
            .collect()
    }

    /// Entries of one table as the device holds them, at most `limit`, in order of key.
    pub fn entries(&self, table: &str, limit: usize) -> Vec<EntryView> {
        let Some(state) = self.installed() else {
            return Vec::new();
        };
        match table {
            port::Port::NAME => plain(table, state.ports.iter(), limit),
            egress::Egress::NAME => plain(table, state.egress.iter(), limit),
            route::Route::NAME => plain(table, state.routes.iter(), limit),
            sctp_checksum::SctpChecksum::NAME => plain(table, state.sctp_checksums.iter(), limit),
            source_range::SourceRange::NAME => plain(table, state.source_ranges.iter(), limit),
            client::Client::NAME => plain(table, state.clients.iter(), limit),
            masquerade::Masquerade::NAME => plain(table, state.masquerades.iter(), limit),
            tunnel::Tunnel::NAME => plain(table, state.tunnels.iter(), limit),
            member::Member::NAME => plain(table, state.members.iter(), limit),
            frontend::Frontend::NAME => owned(table, state.frontends.iter(), limit),
            vip::Vip::NAME => owned(table, state.vips.iter(), limit),
            endpoint::Endpoint::NAME => self.slots(state, limit),
            _ => Vec::new(),
        }
    }

    fn slots(&self, state: &State, limit: usize) -> Vec<EntryView> {
        let mut sets: Vec<_> = state.sets.iter().collect();
        sets.sort_by_key(|(id, _)| **id);
        let slots = sets.into_iter().flat_map(|(id, set)| {
            let owner = self.desired.set_owner(*id).map_or("", |owner| owner);
            set.iter().map(move |(slot, target)| EntryView {
                table: endpoint::Endpoint::NAME.to_owned(),
                key: fields(&endpoint::Key { set_id: *id, slot }),
                action: fields(target),
                owner: owner.to_owned(),
            })
        });
        slots.take(limit).collect()
    }
}

/// The device holds a family's frontends and the whole of its sets, as wanted.
fn is_installed(state: &State, family: &CompiledFamily) -> bool {
    let frontends = family.frontends.iter().all(|wanted| {
        let found = state.frontends.get(&wanted.key);
        found.is_some_and(|entry| entry.action == wanted.action)
    });
    let mut sets = family.sets.iter();
    frontends && sets.all(|set| state.sets.get(&set.id) == Some(&set.slots))
}

fn frontend_view(frontend: &CompiledFrontend) -> FrontendView {
    let (inside, outside) = outcomes(&frontend.action);
    FrontendView {
        entry: frontend.entry.to_string(),
        address: frontend.key.address.ip(),
        port: frontend.key.port,
        inside,
        outside,
        masquerade: masqueraded(&frontend.action),
        checks_source: matches!(frontend.action,
            frontend::Action::Serve { flags, .. } if flags & frontend::CHECK_SOURCE != 0),
    }
}

/// What becomes of connections of pods and the node, and of all others.
pub(crate) fn outcomes(action: &frontend::Action) -> (String, String) {
    match *action {
        frontend::Action::Serve {
            set_id,
            outside_set_id,
            flags,
            ..
        } => {
            let say = |set: u32| match set {
                0 if flags & frontend::REFUSE != 0 => "reject".to_owned(),
                0 => "drop".to_owned(),
                set => format!("serve from {:?} set {set}", policy_of(set)),
            };
            (say(set_id), say(outside_set_id))
        }
        frontend::Action::Reject { .. } => ("reject".to_owned(), "reject".to_owned()),
        frontend::Action::Drop { .. } => ("drop".to_owned(), "drop".to_owned()),
    }
}

/// Whose connections get another source address: `pod`, `node`, `outside`.
pub(crate) fn masqueraded(action: &frontend::Action) -> String {
    let frontend::Action::Serve { flags, .. } = *action else {
        return String::new();
    };
    let all = [
        (frontend::MASQUERADE_POD, "pod"),
        (frontend::MASQUERADE_NODE, "node"),
        (frontend::MASQUERADE_OUTSIDE, "outside"),
    ];
    let set = all.iter().filter(|(flag, _)| flags & flag != 0);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

fn endpoint_views(
    port: &ResolvedPort,
    family: &ResolvedFamily,
    known: Option<&CompiledFamily>,
    views: &mut Vec<EndpointView>,
) {
    // The set of all endpoints, or the only one there is.
    let set = known.and_then(|known| known.sets.first());
    let shares = set.map(|set| set.slots.shares()).unwrap_or_default();
    let total = set.map_or(0, |set| set.slots.filled()).max(1);
    views.extend(family.candidates.iter().map(|candidate| {
        let mut own = shares.iter();
        let own = own.find(|(t, _)| (t.address, t.port) == (candidate.address, candidate.port));
        let slots = own.map_or(0, |(_, slots)| *slots);
        let say = |policy| {
            let basis = family.choice.basis(policy);
            candidate.standing(policy, basis).to_owned()
        };
        EndpointView {
            namespace: port.key.service.namespace.to_string(),
            service: port.key.service.name.to_string(),
            port_name: port.key.port.to_string(),
            protocol: port.key.protocol.to_string(),
            address: candidate.address.ip(),
            port: candidate.port,
            weight: candidate.weight,
            slots,
            share: slots as f64 / total as f64,
            node: candidate.node.as_ref().map(ToString::to_string),
            state: condition(candidate).to_owned(),
            cluster: say(TrafficPolicy::Cluster),
            local: say(TrafficPolicy::Local),
            endpoint_id: own.map_or(0, |(target, _)| target.endpoint_id),
        }
    }));
}

pub(super) fn condition(candidate: &Candidate) -> &'static str {
    if candidate.ready {
        "ready"
    } else if candidate.is_last_resort() {
        "terminating"
    } else {
        "unready"
    }
}

fn counts(state: &State) -> [(&'static str, usize); 12] {
    [
        (port::Port::NAME, state.ports.len()),
        (egress::Egress::NAME, state.egress.len()),
        (frontend::Frontend::NAME, state.frontends.len()),
        (source_range::SourceRange::NAME, state.source_ranges.len()),
        (client::Client::NAME, state.clients.len()),
        (masquerade::Masquerade::NAME, state.masquerades.len()),
        (tunnel::Tunnel::NAME, state.tunnels.len()),
        (member::Member::NAME, state.members.len()),
        (endpoint::Endpoint::NAME, state.slots()),
        (vip::Vip::NAME, state.vips.len()),
        (route::Route::NAME, state.routes.len()),
        (
            sctp_checksum::SctpChecksum::NAME,
            state.sctp_checksums.len(),
        ),
    ]
}

fn plain<'a, K: Debug + Ord + 'a, A: Debug + 'a>(
    table: &str,
    entries: impl Iterator<Item = (&'a K, &'a A)>,
    limit: usize,
) -> Vec<EntryView> {
    let mut all: Vec<_> = entries.collect();
    all.sort_by_key(|(key, _)| *key);
    let shown = all.into_iter().take(limit);
    shown
        .map(|(key, action)| view(table, key, action, ""))
        .collect()
}

fn owned<'a, K: Debug + Ord + 'a, A: Debug + 'a>(
    table: &str,
    entries: impl Iterator<Item = (&'a K, &'a Owned<A>)>,
    limit: usize,
) -> Vec<EntryView> {
    let mut all: Vec<_> = entries.collect();
    all.sort_by_key(|(key, _)| *key);
    let shown = all.into_iter().take(limit);
    shown
        .map(|(key, entry)| view(table, key, &entry.action, &entry.owner))
        .collect()
}

fn view(table: &str, key: &impl Debug, action: &impl Debug, owner: &str) -> EntryView {
    EntryView {
        table: table.to_owned(),
        key: fields(key),
        action: fields(action),
        owner: owner.to_owned(),
    }
}

/// A value's fields as `name=value`, with the variant's or type's name in front where there are variants.
fn fields(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    let text = text
        .replace(": ", "=")
        .replace(" {", "")
        .replace(" }", "")
        .replace(',', "");
    let mut words = text.split(' ');
    let first = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.collect();
    match first {
        "Key" | "Target" | "Action" | "Tuple" => rest.join(" "),
        _ if rest.is_empty() => first.to_lowercase(),
        _ => format!("{} {}", first.to_lowercase(), rest.join(" ")),
    }
}
