//! ARP and neighbour discovery: requests in, frames out, with packets built by hand or by an independent library.

use super::*;
use crate::config::Mac;
use crate::device::Answering;

const SPEAKER: Mac = Mac([2, 0, 0, 0, 0, 4]);
const ASKER: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = [[0xff; 6], ASKER].concat();
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(ASKER);
    frame.extend(sender);
    frame.extend([0; 6]);
    frame.extend(target);
    frame
}

fn solicitation(src: &str, dst: &str, target: &str, options: &[u8]) -> Vec<u8> {
    let octets = |ip: &str| ip.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(ASKER, [0x33, 0x33, 0xff, 0, 0, 7])
        .ipv6(octets(src), octets(dst), 255)
        .icmpv6_raw(135, 0, [0; 4])
        .write(&mut bytes, &[&octets(target)[..], options].concat())
        .unwrap();
    bytes
}

impl Rig {
    /// A rig whose port 4 speaks, in network 0; and port 5, in network 7.
    fn speaking() -> Self {
        let mut rig = Self::new(Program::Pna);
        let config = Config {
            neighbors_per_second: 3,
            ports: [(4, 0), (5, 7)]
                .map(|(port, vpc)| (port, Speaker { vpc, mac: SPEAKER }))
                .into(),
            ..Config::default()
        };
        rig.path = SlowPath::new(rig.device.clone(), rig.device.clone(), config);
        rig
    }
}

#[tokio::test]
async fn arp_requests_are_answered_up_to_a_limit() {
    let mut rig = Rig::speaking();
    let request = arp(1, CLIENT, VIP);
    let packets = (0..5).map(|_| rig.packet_in(25, request.clone())).collect();
    rig.take(packets).await;
    let sent = rig.sent();
    assert_eq!(sent.len(), 3);
    let (ingress, egress, reply) = &sent[0];
    assert_eq!((*ingress, *egress, reply.len()), (0, 4, 60));
    assert_eq!(reply[..12], [ASKER, SPEAKER.0].concat());
    let body = [&[2, 0, 0, 0, 0, 4][..], &VIP, &ASKER, &CLIENT].concat();
    assert_eq!(reply[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    assert_eq!(reply[22..42], body);
    let counters = rig.path.counters().snapshot();
    assert_eq!((counters.neighbors, counters.neighbors_limited), (3, 2));
    rig.now += Duration::from_secs(1);
    // A reply, an announcement, a request from a group, one that is cut short; and one from a port that does not speak.
    let mut group = arp(1, CLIENT, VIP);
    group[22] |= 1;
    let mut requests = vec![arp(2, CLIENT, VIP), arp(1, VIP, VIP), group];
    requests.push(request[..41].to_vec());
    let mut packets: Vec<_> = requests
        .into_iter()
        .map(|request| rig.packet_in(25, request))
        .collect();
    rig.path.config.ports.remove(&4);
    packets.push(rig.packet_in(25, request));
    rig.take(packets).await;
    assert!(rig.sent().is_empty());
    assert_eq!(rig.path.counters().snapshot().neighbors_invalid, 5);
}

#[tokio::test]
async fn solicitations_are_answered_as_the_rfc_says() {
    let mut rig = Rig::speaking();
    let (own, group) = ("2001:db8::7", "ff02::1:ff00:7");
    let link = [&[1, 1][..], &ASKER].concat();
    let asked = solicitation("fe80::9", group, own, &link);
    let probed = solicitation("::", group, own, &[]);
    let packets = [&asked, &probed].map(|packet| rig.packet_in(25, packet.clone()));
    rig.take(packets.to_vec()).await;
    let sent = rig.sent();
    for ((_, egress, reply), (mac, to, flags)) in sent.iter().zip([
        (ASKER, "fe80::9", 0x60),
        ([0x33, 0x33, 0, 0, 0, 1], "ff02::1", 0x20),
    ]) {
        assert_eq!(*egress, 4);
        assert_eq!(reply[..12], [mac, SPEAKER.0].concat());
        let parsed = PacketHeaders::from_ethernet_slice(reply).unwrap();
        let Some(etherparse::NetHeaders::Ipv6(ip, _)) = parsed.net else {
            panic!("no IPv6")
        };
        assert_eq!(ip.source_addr(), own.parse::<std::net::Ipv6Addr>().unwrap());
        assert_eq!(
            ip.destination_addr(),
            to.parse::<std::net::Ipv6Addr>().unwrap()
        );
        assert_eq!(ip.hop_limit, 255);
        let message = &reply[54..];
        assert_eq!((message[0], message[1], message[4]), (136, 0, flags));
        let icmp = etherparse::Icmpv6Slice::from_slice(message).unwrap();
        assert!(icmp.is_checksum_valid(ip.source, ip.destination));
        assert_eq!(
            message[8..24],
            own.parse::<std::net::Ipv6Addr>().unwrap().octets()
        );
        assert_eq!(message[24..], [&[2, 1][..], &SPEAKER.0].concat());
    }
    assert_eq!(sent.len(), 2);
    rig.now += Duration::from_secs(1);
    // RFC 4861, 7.1.1: from beyond a router, a wrong checksum, a group asked for, an option without length, a probe with
    // a link address, a probe to one receiver; and anything cut short.
    let mut wrong = vec![asked.clone(), asked.clone()];
    wrong[0][21] = 254;
    wrong[1][56] ^= 1;
    wrong.push(solicitation("fe80::9", group, "ff02::1", &link));
    wrong.push(solicitation(
        "fe80::9",
        group,
        own,
        &[1, 0, 0, 0, 0, 0, 0, 0],
    ));
    wrong.push(solicitation("::", group, own, &link));
    wrong.push(solicitation("::", own, own, &[]));
    wrong.extend((0..asked.len()).map(|length| asked[..length].to_vec()));
    let count = wrong.len() as u64;
    let packets = wrong.into_iter().map(|packet| rig.packet_in(25, packet));
    rig.take(packets.collect()).await;
    assert!(rig.sent().is_empty());
    assert_eq!(rig.path.counters().snapshot().neighbors_invalid, count);
}

#[tokio::test]
async fn addresses_are_announced_when_they_appear_and_in_every_session() {
    let mut rig = Rig::speaking();
    let key = |ip: IpAddr, vpc| crate::tables::vip::Key {
        vpc,
        address: ip.into(),
    };
    let six: IpAddr = "2001:db8::7".parse().unwrap();
    let mut there = Answering {
        session: 1,
        addresses: [key(VIP.into(), 0), key(six, 7)].into(),
    };
    rig.path.announcer.take(&there, rig.now);
    rig.path.announce(rig.now).await;
    let sent = rig.sent();
    assert_eq!(sent.len(), 2);
    // Each in its own network.
    let (_, egress, request) = sent.iter().find(|(_, _, f)| f[12..14] == [8, 6]).unwrap();
    assert_eq!((*egress, &request[..6]), (4, &[0xff; 6][..]));
    assert_eq!((&request[28..32], &request[38..42]), (&VIP[..], &VIP[..]));
    let (_, egress, unsolicited) = sent.iter().find(|(_, _, f)| f[12] == 0x86).unwrap();
    assert_eq!((*egress, unsolicited[54], unsolicited[58]), (5, 136, 0x20));
    // Once more, later, and no more.
    rig.path.announce(rig.now + Duration::from_secs(1)).await;
    assert!(rig.sent().is_empty());
    rig.now += Duration::from_secs(2);
    rig.path.announce(rig.now).await;
    assert_eq!(rig.sent().len(), 2);
    rig.now += Duration::from_secs(10);
    rig.path.announce(rig.now).await;
    assert!(rig.sent().is_empty());
    // One that came is announced alone; one that went before its second time is not.
    there.addresses = [key(VIP.into(), 0), key(OTHER_VIP.into(), 0)].into();
    rig.path.announcer.take(&there, rig.now);
    rig.path.announce(rig.now).await;
    assert_eq!(rig.sent().len(), 1);
    there.addresses = [key(VIP.into(), 0)].into();
    rig.path.announcer.take(&there, rig.now);
    rig.now += Duration::from_secs(10);
    rig.path.announce(rig.now).await;
    assert!(rig.sent().is_empty());
    // After a restart of the device everything is announced again.
    there.session = 2;
    rig.path.announcer.take(&there, rig.now);
    rig.path.announce(rig.now).await;
    assert_eq!(rig.sent().len(), 1);
    assert_eq!(rig.path.counters().snapshot().announcements, 6);
}
