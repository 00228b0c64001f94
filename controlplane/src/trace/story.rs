//! The tables' answers as a story.
//!
//! In: what the tables said, in order, and what is known of the cluster. Out: lines for people, one per thing that was decided.
//! What an open connection overrides is left out.

use std::net::IpAddr;

use super::seen::{Seen, mac};
use super::twin::Ran;
use super::why::Why;
use super::{Line, packet, verdict};
use crate::compile::policy_of;
use crate::model::Protocol;
use crate::tables::{Address, frontend, port};
use crate::telemetry::counters::Owner;

/// What `client_is` says of the node itself; 1 is a pod.
const NODE: u128 = 2;

/// Tells it. `then` is what came after the control plane opened the connection.
pub(super) fn tell(
    bytes: &[u8],
    port: u32,
    first: &Ran,
    then: Option<&Ran>,
    why: Option<&Why>,
) -> Vec<Line> {
    let mut story = Story {
        seen: &first.seen,
        why,
        lines: Vec::new(),
    };
    story.port(port);
    if let Some(met) = story.of("frontend") {
        story.frontend(met);
    }
    story.connection(first.verdict, then.is_some());
    if let Some(then) = then {
        story.seen = &then.seen;
    }
    match packet::asked(bytes) {
        Some(address) => story.neighbor(address),
        None => story.addressed(),
    }
    story.way_out(then.unwrap_or(first).verdict);
    let end = then.unwrap_or(first);
    let says = format!("{} ({})", verdict::meaning(end.verdict), end.verdict);
    story.say("verdict", says);
    for (to, sent) in end.leaves.iter().filter(|(to, _)| *to != port::SLOW_PORT) {
        let mut says = format!("port {to}: {}", packet::describe(sent));
        if sent.len() > bytes.len() {
            says += &format!(", {} bytes longer", sent.len() - bytes.len());
        }
        story.say("leaves", says);
    }
    story.lines
}

struct Story<'a> {
    seen: &'a [Seen],
    why: Option<&'a Why>,
    lines: Vec<Line>,
}

impl<'a> Story<'a> {
    fn of(&self, table: &str) -> Option<&'a Seen> {
        self.seen.iter().find(|seen| seen.table == table)
    }

    fn say(&mut self, about: &str, says: impl Into<String>) {
        self.lines.push(Line {
            about: about.to_owned(),
            says: says.into(),
        });
    }

    fn port(&mut self, port: u32) {
        let Some(found) = self.of("port").filter(|found| found.hit) else {
            return self.say("port", format!("{port} is not configured"));
        };
        let side = if found.datum("role") == u128::from(port::ROLE_HOST) {
            "this node and its pods"
        } else {
            "the network"
        };
        let vpc = match found.datum("vpc") {
            0 => String::new(),
            vpc => format!(", virtual network {vpc}"),
        };
        self.say("port", format!("{port}: behind it is {side}{vpc}"));
    }

    /// Which Service was called, and who is let in.
    fn frontend(&mut self, met: &Seen) {
        let called = format!(
            "{} port {}/{}",
            met.key_address("dst"),
            met.key("dst_port"),
            protocol(met.key("protocol"))
        );
        if !met.hit {
            return self.say("frontend", format!("no Service answers at {called}"));
        }
        let owner = Owner::parse(&met.owner);
        let kind = match self.why {
            Some(why) => format!("{} of ", why.entry),
            None => "an address of ".to_owned(),
        };
        let name = match owner.port_name {
            "" => String::new(),
            name => format!(", port {name}"),
        };
        let whose = format!("{}/{}", owner.namespace, owner.name);
        self.say("frontend", format!("{called} is {kind}{whose}{name}"));
        if let Some(range) = self.of("source_range") {
            let says = if range.hit {
                format!("{} is in loadBalancerSourceRanges", range.range())
            } else {
                "the client is in none of loadBalancerSourceRanges".to_owned()
            };
            self.say("source range", says);
        }
    }

    /// Whether the packet belongs to an open connection, and how a new one is served.
    fn connection(&mut self, verdict: &str, opened: bool) {
        let flow = self.of("flow");
        if verdict == "related" {
            let says = "the packet that it quotes is of an open connection, whose tuple follows";
            self.say("error", says);
        }
        if let Some(open) = flow.filter(|flow| flow.hit) {
            return self.open(open);
        }
        if let Some(back) = self.of("reply").filter(|reply| reply.hit) {
            // A device that does not learn finds both out in the same way.
            if verdict == "conflict" || verdict == "new_flow" {
                self.pick();
                let other = back.datum_address("src");
                let says = format!("a connection to {other} has the same answers already");
                return self.say("reply", says);
            }
            return self.answer(back);
        }
        if self.of("frontend").is_some_and(|met| met.hit) {
            self.pick();
            let new = self.of("endpoint").is_some_and(|slot| slot.hit);
            if flow.is_some() && new {
                let says = if opened {
                    "new: the control plane writes flow and reply and sends the packet back in"
                } else if verdict == "translated" || verdict == "tunnelled" {
                    "new: the device learns it"
                } else {
                    "new"
                };
                self.say("flow", says);
            }
        } else if flow.is_some() {
            self.say("flow", "no open connection, neither this way nor back");
        }
    }

    fn open(&mut self, open: &Seen) {
        let (to, from) = (end(open, "dst"), end(open, "src"));
        let same = open.datum_address("src") == open.key_address("src")
            && open.datum("src_port") == open.key("src_port");
        let says = if open.datum("dst_port") == 0 {
            format!(
                "open: in a tunnel to {}{}",
                open.datum_address("dst"),
                self.picked()
            )
        } else if same {
            format!("open: to {to}{}", self.picked())
        } else {
            format!("open: to {to}{}, as {from}", self.picked())
        };
        self.say("flow", says);
    }

    fn answer(&mut self, back: &Seen) {
        let (to, from) = (end(back, "dst"), end(back, "src"));
        self.say(
            "reply",
            format!("an answer of an open connection: to {to}, as {from}"),
        );
    }

    /// How an endpoint was chosen for a new connection.
    fn pick(&mut self) {
        let Some(met) = self.of("frontend").filter(|met| met.hit) else {
            return;
        };
        // The source filter ended it.
        if self.of("source_range").is_some_and(|range| !range.hit) {
            return;
        }
        let flags = met.datum("flags") as u16;
        if met.action != "serve" {
            return self.nobody(met.action == "reject");
        }
        let class = self.class(flags);
        let Some(slot) = self.of("endpoint") else {
            return self.nobody(flags & frontend::REFUSE != 0);
        };
        let set = slot.key("set_id") as u32;
        let mut says = format!("{:?}", policy_of(set));
        if let Some(why) = self.why {
            let basis = why.basis.as_deref().unwrap_or("no basis known");
            says += &format!(
                ": {} of {} endpoints serve: {basis}",
                why.serving, why.endpoints
            );
        }
        self.say("policy", says);
        self.endpoint(met, slot, flags);
        self.source(slot, flags, class);
    }

    fn nobody(&mut self, refused: bool) {
        let says = match (refused, self.why) {
            (true, Some(why)) => format!(
                "no endpoint serves anywhere ({} of {} are ready): refused",
                why.ready, why.endpoints
            ),
            (true, None) => "no endpoint serves anywhere: refused".to_owned(),
            (false, Some(why)) => format!(
                "Local, and none of {} ready endpoints is on this node: dropped",
                why.ready
            ),
            (false, None) => "Local, and no endpoint is on this node: dropped".to_owned(),
        };
        self.say("policy", says);
    }

    /// Who the client is to the Service, in a word.
    fn class(&mut self, flags: u16) -> &'static str {
        let asked = self
            .of("client")
            .filter(|_| flags & frontend::CLASSIFY != 0);
        let Some(client) = asked else {
            self.say("client", "anybody: the Service treats all alike here");
            return "outside";
        };
        if !client.hit {
            self.say(
                "client",
                "from outside: neither a pod's address nor this node's",
            );
            return "outside";
        }
        let (class, says) = match client.datum("class") {
            NODE => ("node", format!("this node, {}", client.range())),
            _ => ("pod", format!("a pod, {}", client.range())),
        };
        self.say("client", says);
        class
    }

    fn endpoint(&mut self, met: &Seen, slot: &Seen, flags: u16) {
        let mask = ["slot_mask", "outside_slot_mask"].map(|name| met.datum(name));
        let outside = slot.key("set_id") == met.datum("outside_set_id");
        let slots = mask[usize::from(outside)] + 1;
        let by = match flags {
            flags if flags & frontend::HASH_CLIENT != 0 => ", by the client's address",
            flags if flags & frontend::HASH_VIP != 0 => ", by the address called",
            _ => "",
        };
        let at = format!("slot {} of {slots}{by}", slot.key("slot"));
        if !slot.hit {
            return self.say("endpoint", format!("{at} is empty"));
        }
        let picked = place(slot);
        let pin = self.of("affinity");
        let stays =
            pin.is_some_and(|pin| pin.hit) && self.of("member").is_some_and(|member| member.hit);
        let known = if stays { String::new() } else { self.picked() };
        self.say("endpoint", format!("{at}: {picked}{known}"));
        match pin {
            Some(pin) if stays => {
                let says = format!("the client keeps {}{}", place(pin), self.picked());
                self.say("affinity", says);
            }
            Some(pin) if pin.hit => {
                let says = format!("the client kept {}, which serves no longer", place(pin));
                self.say("affinity", says);
            }
            Some(_) => self.say("affinity", "the client keeps the endpoint that it gets now"),
            None => {}
        }
    }

    /// What is known of the endpoint.
    fn picked(&self) -> String {
        let Some(picked) = self.why.and_then(|why| why.picked.as_ref()) else {
            return String::new();
        };
        let node = match &picked.node {
            Some(node) => format!("on {node}, "),
            None => String::new(),
        };
        let share = match picked.share {
            Some(share) => format!(", {:.1} % of new connections", share * 100.0),
            None => String::new(),
        };
        format!(" ({node}{}{share})", picked.state)
    }

    /// With which source address the endpoint sees the connection.
    fn source(&mut self, slot: &Seen, flags: u16, class: &str) {
        if !slot.hit {
            return;
        }
        if flags & frontend::DSR != 0 {
            let says = "kept: the endpoint answers the client itself";
            return self.say("source", says);
        }
        let Some(found) = self.of("masquerade") else {
            return self.say("source", "kept");
        };
        let hairpin = self.hairpin();
        let reason = match found.key("local") {
            1 if hairpin => "the endpoint calls itself".to_owned(),
            1 => "answers would not cross the NIC otherwise".to_owned(),
            _ if class == "outside" => "the client is from outside".to_owned(),
            _ => format!("the client is a {class} of this cluster"),
        };
        let from_host = self
            .of("port")
            .is_some_and(|port| port.datum("role") == u128::from(port::ROLE_HOST));
        let says = if found.key("local") == 1 && !found.hit && !hairpin && !from_host {
            "kept: no address is given for endpoints of this node, whose answers cross the NIC anyway"
                .to_owned()
        } else if found.hit {
            let low = found.datum("port_base");
            let high = low + found.datum("port_mask");
            let address = found.datum_address("src");
            format!("masquerade as {address} with a port of {low}–{high}: {reason}")
        } else {
            format!("masquerade: {reason}, but there is no address to give")
        };
        self.say("source", says);
    }

    fn hairpin(&self) -> bool {
        let client = self.of("flow").map(|flow| flow.key_address("src"));
        let pinned = self.of("member").filter(|member| member.hit);
        let pick = match pinned {
            Some(_) => self.of("affinity"),
            None => self.of("endpoint"),
        };
        pick.map(|pick| pick.datum_address("endpoint")) == client
    }

    /// Whose MAC address is asked for.
    fn neighbor(&mut self, address: IpAddr) {
        let vip = self.of("vip").filter(|vip| vip.action == "own");
        let says = match vip {
            Some(vip) if vip.owner == "nic" => format!("{address} is the NIC's own"),
            Some(vip) => format!("{address} is a load balancer's, of {}", vip.owner),
            None => format!("{address} is none of the NIC's: its owner answers"),
        };
        self.say("asked for", says);
    }

    /// Addresses that nothing serves.
    fn addressed(&mut self) {
        let Some(vip) = self.of("vip").filter(|vip| vip.hit) else {
            return;
        };
        let says = match vip.action.as_str() {
            "own" => "one that the NIC answers neighbours for".to_owned(),
            "reject_unserved" => format!("{} has the address, and not this port", vip.owner),
            _ => format!("{} has the address, and not this port there", vip.owner),
        };
        self.say("address", says);
    }

    /// The tunnel, the route, the checksum.
    fn way_out(&mut self, verdict: &str) {
        if let Some(tunnel) = self.of("tunnel") {
            let says = match tunnel.action.as_str() {
                "ipip" => format!("IP in IP from {}", tunnel.datum_address("src")),
                "gue" => format!(
                    "GUE from {} to port {}",
                    tunnel.datum_address("src"),
                    tunnel.datum("dst_port")
                ),
                "same_l2" => "none: the endpoint is on the same link".to_owned(),
                _ => "none is configured".to_owned(),
            };
            self.say("tunnel", says);
        }
        if let Some(route) = self.of("route") {
            let to = route.key_address("dst");
            let says = match route.action.as_str() {
                "forward" => format!(
                    "{to} by {} out of port {} to {}",
                    route.range(),
                    route.datum("port"),
                    mac(route.datum("dst_mac"))
                ),
                "blackhole" => format!("{to} by {}, which is closed", route.range()),
                _ if verdict == "bridged" => {
                    format!("none to {to}: to the other side of the wire")
                }
                _ => format!("none to {to}"),
            };
            self.say("route", says);
        }
        if let Some(checksum) = self.of("sctp_checksum") {
            let says = if checksum.hit {
                "SCTP's is corrected for the new ports"
            } else {
                "SCTP's cannot be corrected: no entry for these ports and this length"
            };
            self.say("checksum", says);
        }
    }
}

/// Address and port of an endpoint, as entries of `endpoint` and `affinity` have it.
fn place(seen: &Seen) -> String {
    joined(seen.datum_address("endpoint"), seen.datum("endpoint_port"))
}

/// Address and port of one end, as entries of `flow` and `reply` have it.
fn end(seen: &Seen, which: &str) -> String {
    let number = seen.datum(&format!("{which}_port"));
    joined(seen.datum_address(which), number)
}

fn joined(address: Address, port: u128) -> String {
    let port = u16::try_from(port).unwrap_or_default();
    std::net::SocketAddr::new(address.ip(), port).to_string()
}

fn protocol(number: u128) -> String {
    let known = u8::try_from(number).ok().and_then(Protocol::from_number);
    known.map_or_else(|| number.to_string(), |known| known.to_string())
}
