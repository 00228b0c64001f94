//! The way of a packet through the tables, and why.
//!
//! In: a packet's port, addresses and ports. Out: what each table says, in the pipeline's order, from what is known to
//! be installed; `flow` and `reply` change with every connection, so the device is asked. Which slot a connection takes
//! is the device's own hash: all that may be taken are named with their shares.

use futures::StreamExt;
use p4runtime::proto::p4::v1 as proto;

use super::driver::Reconciler;
use super::show::fields;
use super::views::{Packet, TraceStep};
use crate::compile::State;
use crate::device::DeviceError;
use crate::model::Protocol;
use crate::tables::flow::Tuple;
use crate::tables::{
    Address, Table, endpoint, flow, frontend, port, reply, route, sctp_checksum, vip,
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
            packet,
            vpc: 0,
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
                    trace.new_connection(action);
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

    /// Looks one connection up on the device.
    async fn ask<T>(&self, table: &T, key: &flow::Key) -> Result<Option<Tuple>, DeviceError>
    where
        T: Table<Key = flow::Key, Action = Tuple>,
    {
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
                    found = found.or(table.decode(&entry).map(|(_, tuple)| tuple));
                }
            }
        }
        Ok(found)
    }
}

struct Trace<'a> {
    state: &'a State,
    packet: Packet,
    vpc: u32,
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

    fn frontend(&mut self) -> Option<frontend::Action> {
        let key = frontend::Key {
            vpc: self.vpc,
            protocol: self.packet.protocol,
            address: self.packet.dst.into(),
            port: self.packet.dst_port,
        };
        let found = self.state.frontends.get(&key);
        let (result, because) = match found {
            Some(entry) => (fields(&entry.action), format!("it is {}'s", entry.owner)),
            None => (
                "miss".to_owned(),
                "no Service has this address, protocol and port".to_owned(),
            ),
        };
        self.step(frontend::Frontend::NAME, fields(&key), result, because);
        found.map(|entry| entry.action)
    }

    fn new_connection(&mut self, action: frontend::Action) {
        let frontend::Action::Serve {
            set_id, slot_mask, ..
        } = action
        else {
            let because = match action {
                frontend::Action::Reject { .. } => "refused: the Service has no endpoint",
                _ => "dropped: the policy asks for an endpoint on this node",
            };
            let table = frontend::Frontend::NAME;
            self.step(table, String::new(), "end".to_owned(), because);
            return;
        };
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
                    vip::Action::Own => format!("an address that the NIC answers for, {owner}'s"),
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
