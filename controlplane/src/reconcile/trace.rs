//! The way of a packet through the tables, and why.
//!
//! In: a packet's port, addresses and ports. Out: what each table says, in the pipeline's order, from what is known to
//! be installed; `flow` and `reply` change with every connection, so the device is asked. Which slot a connection takes
//! is the device's own hash: all that may be taken are named with their shares.

use futures::StreamExt;
use p4runtime::proto::p4::v1 as proto;

use super::driver::Reconciler;
use super::show::{fields, masqueraded, outcomes};
use super::views::{Packet, TraceStep};
use crate::compile::{Desired, State, policy_of};
use crate::device::DeviceError;
use crate::model::Protocol;
use crate::tables::flow::Tuple;
use crate::tables::{
    Address, Table, affinity, client, endpoint, flow, frontend, masquerade, port, reply, route,
    sctp_checksum, source_range, tunnel, vip,
};

impl Reconciler {
    /// What each table says to a packet.
    pub async fn trace(&self, packet: Packet) -> Result<Vec<TraceStep>, DeviceError> {
        let Some(link) = &self.link else {
            return Err(DeviceError::NotConnected {
                device: self.device().name().to_owned(),
            });
        };
        let mut trace = Trace {
            state: link.installed.state(),
            desired: &self.desired,
            packet,
            vpc: 0,
            class: None,
            steps: Vec::new(),
        };
        if !trace.port() {
            return Ok(trace.steps);
        }
        let key = trace.connection();
        let mut leaves = None;
        if Protocol::from_number(packet.protocol).is_some() {
            let frontend = trace.frontend();
            if frontend.is_some() {
                let found = self.ask(&link.tables.flow, &key).await?;
                trace.hit(
                    flow::Flow::NAME,
                    &key,
                    found,
                    "an open connection keeps its endpoint",
                );
                leaves = found;
            }
            match (frontend, leaves) {
                (Some(action), None) => {
                    if let Some(set) = trace.new_connection(action) {
                        self.affinity(&mut trace, action, &link.tables.affinity)
                            .await?;
                        trace.endpoints(set);
                        trace.source(action);
                    }
                    return Ok(trace.steps);
                }
                (None, _) => {
                    let found = self.ask(&link.tables.reply, &key).await?;
                    trace.hit(
                        reply::Reply::NAME,
                        &key,
                        found,
                        "an answer goes back as the VIP's",
                    );
                    leaves = found;
                }
                _ => {}
            }
        }
        if leaves.is_none() && trace.vip() {
            return Ok(trace.steps);
        }
        let tuple = leaves.unwrap_or(key.tuple);
        if trace.route(tuple.dst) {
            trace.checksum(&key.tuple, &tuple);
        }
        Ok(trace.steps)
    }

    /// Whether the client has an endpoint that it keeps (S57).
    async fn affinity(
        &self,
        trace: &mut Trace<'_>,
        action: frontend::Action,
        table: &affinity::Affinity,
    ) -> Result<(), DeviceError> {
        let frontend::Action::Serve {
            flags, service_id, ..
        } = action
        else {
            return Ok(());
        };
        if flags & frontend::AFFINITY == 0 {
            return Ok(());
        }
        let key = affinity::Key {
            affinity_id: service_id,
            client: trace.packet.src.into(),
        };
        let pinned = self.ask(table, &key).await?;
        let (result, because) = match pinned {
            Some(target) => (
                fields(&target),
                "the client keeps its endpoint as long as that is one of the set's (S59)",
            ),
            None => (
                "miss".to_owned(),
                "the client has no endpoint yet: it keeps the one that is picked now",
            ),
        };
        trace.step(affinity::Affinity::NAME, fields(&key), result, because);
        Ok(())
    }

    /// Looks one entry up on the device.
    async fn ask<T: Table>(
        &self,
        table: &T,
        key: &T::Key,
    ) -> Result<Option<T::Action>, DeviceError> {
        let query = proto::Entity {
            entity: Some(proto::entity::Entity::TableEntry(table.key(key))),
        };
        let mut answer = self.device().read(vec![query]);
        let mut found = None;
        while let Some(part) = answer.next().await {
            let part = match part {
                // Some servers say so of an entry that is not there.
                Err(DeviceError::Broken { .. }) => break,
                part => part?,
            };
            for entity in part {
                if let Some(proto::entity::Entity::TableEntry(entry)) = entity.entity {
                    found = found.or(table.decode(&entry).map(|(_, action)| action));
                }
            }
        }
        Ok(found)
    }
}

struct Trace<'a> {
    state: &'a State,
    desired: &'a Desired,
    packet: Packet,
    vpc: u32,
    /// What kind of client this is to its frontend.
    class: Option<client::Class>,
    steps: Vec<TraceStep>,
}

impl Trace<'_> {
    fn step(&mut self, table: &str, key: String, result: String, because: impl Into<String>) {
        self.steps.push(TraceStep {
            table: table.to_owned(),
            key,
            result,
            because: because.into(),
        });
    }

    fn hit(&mut self, table: &str, key: &flow::Key, found: Option<Tuple>, because: &str) {
        let result = found.map_or_else(|| "miss".to_owned(), |tuple| format!("leaves as {tuple}"));
        let because = if found.is_some() {
            because
        } else {
            "no such connection is open"
        };
        self.step(table, key.tuple.to_string(), result, because);
    }

    fn connection(&self) -> flow::Key {
        flow::Key {
            vpc: self.vpc,
            protocol: self.packet.protocol,
            tuple: Tuple {
                src: self.packet.src.into(),
                dst: self.packet.dst.into(),
                src_port: self.packet.src_port,
                dst_port: self.packet.dst_port,
            },
        }
    }

    /// `false` if the packet ends here.
    fn port(&mut self) -> bool {
        let key = port::Key {
            ingress_port: self.packet.ingress_port,
        };
        let Some(found) = self.state.ports.get(&key) else {
            let because = "dropped: the port is not in the configuration";
            self.step(port::Port::NAME, fields(&key), "miss".to_owned(), because);
            return false;
        };
        self.vpc = found.vpc;
        let side = if found.role == port::ROLE_HOST {
            "host"
        } else {
            "network"
        };
        let because = format!("the packet comes from the {side} side");
        self.step(port::Port::NAME, fields(&key), fields(found), because);
        true
    }

    fn frontend_key(&self) -> frontend::Key {
        frontend::Key {
            vpc: self.vpc,
            protocol: self.packet.protocol,
            address: self.packet.dst.into(),
            port: self.packet.dst_port,
        }
    }

    fn frontend(&mut self) -> Option<frontend::Action> {
        let key = self.frontend_key();
        let found = self.state.frontends.get(&key);
        let (result, because) = match found {
            Some(entry) => {
                let entry_point = self.entry_point(&key);
                (
                    fields(&entry.action),
                    format!("it is {}'s{entry_point}", entry.owner),
                )
            }
            None => (
                "miss".to_owned(),
                "no Service has this address, protocol and port".to_owned(),
            ),
        };
        self.step(frontend::Frontend::NAME, fields(&key), result, because);
        found.map(|entry| entry.action)
    }

    /// Which kind of address this is, if the Service that has it is still wanted.
    fn entry_point(&self, key: &frontend::Key) -> String {
        let service = self
            .desired
            .winner(key)
            .and_then(|name| self.desired.service(name));
        let families = service.iter().flat_map(|service| &service.ports);
        let mut frontends = families
            .flat_map(|port| &port.families)
            .flat_map(|f| &f.frontends);
        let found = frontends.find(|frontend| frontend.key == *key);
        found.map_or_else(String::new, |frontend| format!(", as {}", frontend.entry))
    }

    /// On what basis the endpoints of a set were chosen.
    fn basis(&self, key: &frontend::Key, set: u32) -> String {
        let service = self
            .desired
            .winner(key)
            .and_then(|name| self.desired.service(name));
        let ports = service.iter().flat_map(|service| &service.ports);
        let mut families = ports.flat_map(|port| &port.families);
        let found = families.find(|family| family.sets.iter().any(|own| own.id == set));
        found.map_or_else(String::new, |family| {
            format!(": {}", family.choice.basis(policy_of(set)))
        })
    }

    /// Which class of client this is to a frontend that asks.
    fn classify(&mut self, flags: u16) -> Option<client::Class> {
        if flags & frontend::CLASSIFY == 0 {
            return None;
        }
        let src = self.packet.src.into();
        let covering = self.state.clients.iter();
        let found = covering
            .filter(|(key, _)| key.vpc == self.vpc && key.source.covers(src))
            .max_by_key(|(key, _)| key.source.length)
            .map(|(key, class)| (key.source, *class));
        let (result, because) = match found {
            Some((range, client::Class::Pod)) => {
                ("pod".to_owned(), format!("{range} is where pods are"))
            }
            Some((range, client::Class::Node)) => {
                ("node".to_owned(), format!("{range} is this node"))
            }
            None => (
                "outside".to_owned(),
                "neither a pod's address nor this node's".to_owned(),
            ),
        };
        self.step(client::Client::NAME, format!("src={src}"), result, because);
        found.map(|(_, class)| class)
    }

    /// `false` if the source is not admitted (S54).
    fn admits(&mut self, service_id: u32, flags: u16) -> bool {
        if flags & frontend::CHECK_SOURCE == 0 {
            return true;
        }
        let src: Address = self.packet.src.into();
        let mut ranges = self.state.source_ranges.keys();
        let found = ranges.find(|key| key.range_id == service_id && key.source.covers(src));
        let (result, because) = match found {
            Some(key) => (
                "allow".to_owned(),
                format!("{} is in loadBalancerSourceRanges", key.source),
            ),
            None => (
                "miss".to_owned(),
                "dropped: the source is in none of loadBalancerSourceRanges".to_owned(),
            ),
        };
        let admitted = found.is_some();
        let key = format!("range_id={service_id} src={src}");
        self.step(source_range::SourceRange::NAME, key, result, because);
        admitted
    }

    /// The set and mask that a new connection is served from.
    fn new_connection(&mut self, action: frontend::Action) -> Option<(u32, u16)> {
        let frontend::Action::Serve {
            set_id,
            slot_mask,
            outside_set_id,
            outside_slot_mask,
            service_id,
            flags,
            ..
        } = action
        else {
            let because = match action {
                frontend::Action::Reject { .. } => "refused: the Service has no endpoint anywhere",
                _ => "dropped: the policy asks for an endpoint on this node, and none is here",
            };
            let table = frontend::Frontend::NAME;
            self.step(table, String::new(), "end".to_owned(), because);
            return None;
        };
        if !self.admits(service_id, flags) {
            return None;
        }
        self.class = self.classify(flags);
        let inside = self.class.is_some();
        let (set, mask) = if inside {
            (set_id, slot_mask)
        } else {
            (outside_set_id, outside_slot_mask)
        };
        let (for_inside, for_outside) = outcomes(&action);
        let outcome = if inside { for_inside } else { for_outside };
        let because = match set {
            0 if flags & frontend::REFUSE != 0 => {
                "refused: the Service has no endpoint anywhere".to_owned()
            }
            0 => {
                "dropped: the policy asks for an endpoint on this node, and none is here".to_owned()
            }
            set => {
                let basis = self.basis(&self.frontend_key(), set);
                format!("traffic policy {:?}{basis}", policy_of(set))
            }
        };
        let table = frontend::Frontend::NAME;
        self.step(table, String::new(), outcome, because);
        (set != 0).then_some((set, mask))
    }

    fn endpoints(&mut self, (set_id, slot_mask): (u32, u16)) {
        let key = format!("set_id={set_id} slot=hash & {slot_mask:#x}");
        let Some(set) = self.state.sets.get(&set_id) else {
            let because = "dropped: the set is empty";
            self.step(endpoint::Endpoint::NAME, key, "miss".to_owned(), because);
            return;
        };
        let total = set.filled().max(1);
        let mut shares: Vec<_> = set.shares().into_iter().collect();
        shares.sort_by_key(|(target, _)| *target);
        for (target, slots) in shares {
            let share = 100.0 * slots as f64 / total as f64;
            let because = format!("{share:.1} % of new connections ({slots} of {total} slots)");
            self.step(
                endpoint::Endpoint::NAME,
                key.clone(),
                fields(&target),
                because,
            );
        }
    }

    /// With which source address the connection leaves, or in which tunnel.
    fn source(&mut self, action: frontend::Action) {
        let frontend::Action::Serve { flags, .. } = action else {
            return;
        };
        let family = Address::from(self.packet.dst).family();
        let vpc = self.vpc;
        if flags & frontend::DSR != 0 {
            let key = tunnel::Key { vpc, family };
            let found = self.state.tunnels.get(&key).map(fields);
            let result = found.unwrap_or_else(|| "miss".to_owned());
            let because = "the packet goes to the endpoint as it is, which answers the client";
            self.step(tunnel::Tunnel::NAME, fields(&key), result, because);
            return;
        }
        let whose = masqueraded(&action);
        let flag = match self.class {
            Some(client::Class::Pod) => frontend::MASQUERADE_POD,
            Some(client::Class::Node) => frontend::MASQUERADE_NODE,
            None => frontend::MASQUERADE_OUTSIDE,
        };
        let local = false;
        let key = masquerade::Key { vpc, family, local };
        let (result, because) = if flags & flag == 0 {
            let because = "the source is kept, unless the endpoint picked is the client itself";
            ("none".to_owned(), because.to_owned())
        } else {
            match self.state.masquerades.get(&key) {
                Some(new) => (fields(new), format!("another source address for: {whose}")),
                None => (
                    "miss".to_owned(),
                    "dropped: there is no source address to give".to_owned(),
                ),
            }
        };
        self.step(masquerade::Masquerade::NAME, fields(&key), result, because);
    }

    /// `true` if the packet ends here.
    fn vip(&mut self) -> bool {
        let key = vip::Key {
            vpc: self.vpc,
            address: self.packet.dst.into(),
        };
        let found = self.state.vips.get(&key);
        let (result, because) = match found {
            Some(entry) => {
                let owner = &entry.owner;
                let because = match entry.action {
                    vip::Action::Reject => {
                        format!("refused: {owner} does not serve this port there")
                    }
                    vip::Action::Drop => format!("dropped: {owner} does not serve this port there"),
                    vip::Action::Own => format!("an address of the NIC itself ({owner})"),
                };
                (fields(&entry.action), because)
            }
            None => ("miss".to_owned(), "not the address of a Service".to_owned()),
        };
        self.step(vip::Vip::NAME, fields(&key), result, because);
        found.is_some_and(|entry| entry.action != vip::Action::Own)
    }

    /// `false` if the packet ends here.
    fn route(&mut self, dst: Address) -> bool {
        let covering = self.state.routes.iter();
        let found = covering
            .filter(|(key, _)| key.vpc == self.vpc && key.prefix.covers(dst))
            .max_by_key(|(key, _)| key.prefix.length);
        let (result, because) = match found {
            Some((key, action @ route::Action::Forward { .. })) => (
                fields(action),
                format!("{} is the longest prefix", key.prefix),
            ),
            Some((key, action)) => (fields(action), format!("dropped: {} is closed", key.prefix)),
            None => {
                let because =
                    "bridged to the port's peer, if it has one and nothing was translated";
                ("miss".to_owned(), because.to_owned())
            }
        };
        let forwards = matches!(found, Some((_, route::Action::Forward { .. })));
        self.step(
            route::Route::NAME,
            format!("vpc={} dst={dst}", self.vpc),
            result,
            because,
        );
        forwards
    }

    fn checksum(&mut self, before: &Tuple, after: &Tuple) {
        let change = u32::from(before.src_port ^ after.src_port) << 16
            | u32::from(before.dst_port ^ after.dst_port);
        if self.packet.protocol != Protocol::Sctp.number() || change == 0 {
            return;
        }
        let known = self.state.sctp_checksums.keys();
        let count = known.filter(|key| key.port_change == change).count();
        let (result, because) = match count {
            0 => (
                "miss".to_owned(),
                "dropped: the checksum cannot be mended".to_owned(),
            ),
            _ => (
                "change_checksum".to_owned(),
                format!("{count} packet lengths are known"),
            ),
        };
        self.step(
            sctp_checksum::SctpChecksum::NAME,
            format!("{change:#x}"),
            result,
            because,
        );
    }
}
