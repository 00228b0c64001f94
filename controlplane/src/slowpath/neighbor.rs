//! The MAC addresses of the NIC's own addresses: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861).
//!
//! In: requests that the pipeline found to ask for an address of the NIC, and the addresses that it has. Out: answers,
//! with the MAC address of the port that asked; and announcements of addresses that the NIC got, so that caches and
//! bridges learn where they are. Nothing is answered that the RFCs call invalid.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use etherparse::{Icmpv6Slice, Ipv6HeaderSlice, PacketBuilder, ether_type, ip_number};

use tokio::sync::watch;

use super::{Counters, SlowPath};
use crate::config::Mac;
use crate::device::Answering;
use crate::tables::vip;

/// An address is announced so often (RFC 5227, 1.1: ANNOUNCE_NUM),
const ANNOUNCEMENTS: u8 = 2;
/// with this time between (RFC 5227, 1.1: ANNOUNCE_INTERVAL).
const INTERVAL: Duration = Duration::from_secs(2);
/// Addresses that are announced at once; the others wait for [`PAUSE`].
const AT_ONCE: usize = 128;
/// Between two lots of announcements.
const PAUSE: Duration = Duration::from_millis(50);

/// Ethernet, IPv4, and the lengths of their addresses.
const ARP_KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_REQUEST: [u8; 2] = [0, 1];
const ARP_REPLY: [u8; 2] = [0, 2];
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Flags of an advertisement.
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// Options.
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
/// All nodes of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const BROADCAST: [u8; 6] = [0xff; 6];
/// IPv6's fixed header.
const IPV6_HEADER: usize = 40;
/// The shortest frame, without its checksum.
const SHORTEST: usize = 60;

/// The answer to a request, as a frame for the port that it came from, whose address is `mac`; `None` if there is to be none.
pub(super) fn answer(bytes: &[u8], mac: Mac) -> Option<Vec<u8>> {
    let (_, rest) = bytes.split_at_checked(6)?;
    let (sender, rest) = rest.split_first_chunk::<6>()?;
    let (kind, rest) = rest.split_first_chunk::<2>()?;
    let (tag, kind, rest) = if u16::from_be_bytes(*kind) == ether_type::VLAN_TAGGED_FRAME.0 {
        let (tag, rest) = rest.split_first_chunk::<2>()?;
        let (kind, rest) = rest.split_first_chunk::<2>()?;
        (Some(*tag), *kind, rest)
    } else {
        (None, *kind, rest)
    };
    let (to, payload) = match u16::from_be_bytes(kind) {
        kind if kind == ether_type::ARP.0 => arp_reply(rest, mac)?,
        kind if kind == ether_type::IPV6.0 => advertisement(rest, *sender, mac)?,
        _ => return None,
    };
    Some(frame(to, mac, tag, kind, &payload))
}

/// Tells everybody behind a port who has an address.
pub(super) fn announcement(address: IpAddr, mac: Mac) -> Option<Vec<u8>> {
    match address {
        IpAddr::V4(ip) => {
            let ip = ip.octets();
            let payload = arp(ARP_REQUEST, mac, ip, [0; 6], ip);
            let kind = ether_type::ARP.0.to_be_bytes();
            Some(frame(BROADCAST, mac, None, kind, &payload))
        }
        IpAddr::V6(ip) => {
            let payload = advertise(ip, ALL_NODES, OVERRIDE, mac)?;
            let kind = ether_type::IPV6.0.to_be_bytes();
            Some(frame(ALL_NODES_MAC, mac, None, kind, &payload))
        }
    }
}

fn frame(to: [u8; 6], from: Mac, tag: Option<[u8; 2]>, kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SHORTEST.max(18 + payload.len()));
    out.extend(to);
    out.extend(from.0);
    if let Some(tag) = tag {
        out.extend(ether_type::VLAN_TAGGED_FRAME.0.to_be_bytes());
        out.extend(tag);
    }
    out.extend(kind);
    out.extend(payload);
    out.resize(out.len().max(SHORTEST), 0);
    out
}

fn arp(
    operation: [u8; 2],
    sender_mac: Mac,
    sender: [u8; 4],
    target_mac: [u8; 6],
    target: [u8; 4],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(28);
    out.extend(ARP_KIND);
    out.extend(operation);
    out.extend(sender_mac.0);
    out.extend(sender);
    out.extend(target_mac);
    out.extend(target);
    out
}

fn arp_reply(request: &[u8], mac: Mac) -> Option<([u8; 6], Vec<u8>)> {
    let (kind, rest) = request.split_first_chunk::<6>()?;
    let (operation, rest) = rest.split_first_chunk::<2>()?;
    let (asker_mac, rest) = rest.split_first_chunk::<6>()?;
    let (asker, rest) = rest.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<6>()?;
    let (target, _) = rest.split_first_chunk::<4>()?;
    let from = Ipv4Addr::from(*asker);
    // Who announces the address himself asks for nothing. A probe comes from nobody (RFC 5227) and is answered.
    let asks = *kind == ARP_KIND && *operation == ARP_REQUEST && asker != target;
    let somebody = !is_group(asker_mac) && !from.is_multicast() && !from.is_broadcast();
    (asks && somebody).then(|| {
        let reply = arp(ARP_REPLY, mac, *target, *asker_mac, *asker);
        (*asker_mac, reply)
    })
}

fn is_group(mac: &[u8; 6]) -> bool {
    mac[0] & 1 != 0 || *mac == [0; 6]
}

/// RFC 4861, 7.1.1 and 7.2.4.
fn advertisement(packet: &[u8], sender: [u8; 6], mac: Mac) -> Option<([u8; 6], Vec<u8>)> {
    let header = Ipv6HeaderSlice::from_slice(packet).ok()?;
    let length = usize::from(header.payload_length());
    let message = packet.get(IPV6_HEADER..)?.get(..length)?;
    let icmp = Icmpv6Slice::from_slice(message).ok()?;
    let (src, dst) = (header.source_addr(), header.destination_addr());
    let valid = header.next_header() == ip_number::IPV6_ICMP
        && header.hop_limit() == 255
        && icmp.type_u8() == SOLICITATION
        && icmp.code_u8() == 0
        && icmp.is_checksum_valid(header.source(), header.destination());
    let (target, options) = message.get(8..)?.split_first_chunk::<16>()?;
    let target = Ipv6Addr::from(*target);
    if !valid || target.is_multicast() || src.is_multicast() {
        return None;
    }
    let source_link = link_option(options)?;
    if src.is_unspecified() {
        // Somebody else is about to take the address (RFC 4862, 5.4.3).
        let solicited_node = dst.segments()[..6] == [0xff02, 0, 0, 0, 0, 1];
        if !solicited_node || source_link.is_some() {
            return None;
        }
        let answer = advertise(target, ALL_NODES, OVERRIDE, mac)?;
        return Some((ALL_NODES_MAC, answer));
    }
    let to = source_link.unwrap_or(sender);
    if is_group(&to) {
        return None;
    }
    Some((to, advertise(target, src, SOLICITED | OVERRIDE, mac)?))
}

/// The sender's own link address, if the options name it; outer `None`: they make no sense.
fn link_option(mut options: &[u8]) -> Option<Option<[u8; 6]>> {
    let mut found = None;
    while let &[kind, units, ..] = options {
        let length = usize::from(units) * 8;
        let (option, rest) = options.split_at_checked(length.max(1))?;
        if length == 0 {
            return None;
        }
        if kind == SOURCE_LINK {
            found = option.get(2..8).and_then(|mac| mac.try_into().ok());
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

fn advertise(target: Ipv6Addr, to: Ipv6Addr, flags: u8, mac: Mac) -> Option<Vec<u8>> {
    let mut message = target.octets().to_vec();
    message.extend([TARGET_LINK, 1]);
    message.extend(mac.0);
    let mut out = Vec::with_capacity(72);
    PacketBuilder::ipv6(target.octets(), to.octets(), 255)
        .icmpv6_raw(ADVERTISEMENT, 0, [flags, 0, 0, 0])
        .write(&mut out, &message)
        .ok()?;
    Some(out)
}

/// Which addresses are still to be announced, and when.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    known: Answering,
    /// How often each is to be announced yet, and from when on.
    fresh: BTreeMap<vip::Key, (u8, Instant)>,
    paused: Option<Instant>,
}

impl Announcer {
    /// The NIC has these addresses now. All count as new in another session: another NIC may have had them before.
    pub(super) fn take(&mut self, now_there: &Answering, now: Instant) {
        let same = self.known.session == now_there.session;
        let old = |key: &vip::Key| same && self.known.addresses.contains(key);
        let fresh = now_there.addresses.iter().filter(|key| !old(key));
        self.fresh
            .extend(fresh.map(|key| (*key, (ANNOUNCEMENTS, now))));
        self.fresh
            .retain(|key, _| now_there.addresses.contains(key));
        self.known.clone_from(now_there);
    }

    /// When there is something to announce.
    pub(super) fn due(&self) -> Option<Instant> {
        let next = self.fresh.values().map(|(_, at)| *at).min()?;
        Some(self.paused.map_or(next, |paused| paused.max(next)))
    }

    /// What is to be announced now.
    pub(super) fn announce(&mut self, now: Instant) -> Vec<vip::Key> {
        if self.paused.is_some_and(|until| now < until) {
            return Vec::new();
        }
        let ready = self.fresh.iter_mut().filter(|(_, (_, at))| *at <= now);
        let mut keys = Vec::new();
        for (key, (left, at)) in ready.take(AT_ONCE) {
            *left -= 1;
            *at = now + INTERVAL;
            keys.push(*key);
        }
        self.fresh.retain(|_, (left, _)| *left > 0);
        self.paused = (keys.len() == AT_ONCE).then(|| now + PAUSE);
        keys
    }
}

impl SlowPath {
    /// Tells who asks that the NIC has an address.
    pub(super) fn answer_neighbor(&mut self, request: &[u8], port: u32, now: Instant) {
        let speaker = self.config.ports.get(&port);
        let Some(answer) = speaker.and_then(|as_whom| answer(request, as_whom.mac)) else {
            Counters::count(&self.counters.neighbors_invalid);
            return;
        };
        if !self.neighbors.take(now) {
            Counters::count(&self.counters.neighbors_limited);
            return;
        }
        if self.send(answer, 0, port) {
            Counters::count(&self.counters.neighbors);
        }
    }

    /// Tells everybody about addresses that the NIC got.
    pub(super) async fn announce(&mut self, now: Instant) {
        if !self.prepare(now).await {
            return;
        }
        for key in self.announcer.announce(now) {
            let ports = self.config.ports.iter();
            let frames: Vec<(u32, Vec<u8>)> = ports
                .filter(|(_, speaker)| speaker.vpc == key.vpc)
                .filter_map(|(port, speaker)| {
                    Some((*port, announcement(key.address.ip(), speaker.mac)?))
                })
                .collect();
            for (port, frame) in frames {
                if self.send(frame, 0, port) {
                    Counters::count(&self.counters.announcements);
                }
            }
        }
    }
}

/// The NIC's own addresses when they change; never where they are not known.
pub(super) async fn changed(own: &mut Option<watch::Receiver<Answering>>) -> Answering {
    if let Some(receiver) = own
        && receiver.changed().await.is_ok()
    {
        return receiver.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// Until then; for ever without a time.
pub(super) async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        return tokio::time::sleep_until(due.into()).await;
    }
    std::future::pending().await
}
