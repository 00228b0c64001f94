//! Building and checking agree with each other and with frames whose sums are known.

use super::check::{CheckError, verify};
use super::show::{describe, unhex};
use super::*;

fn packet(transport: Transport, v6: bool) -> Packet {
    let (from, to) = if v6 {
        ("fd00::5", "fd00:96::10")
    } else {
        ("10.244.0.5", "10.96.0.10")
    };
    Packet {
        src_mac: [2, 0, 0, 0, 0, 1],
        dst_mac: [2, 0, 0, 0, 0, 2],
        vlan: Some(0x2064),
        body: Body::Ip(Ip {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            ttl: 64,
            tos: 0xb8,
            id: 7,
            options: if v6 {
                vec![]
            } else {
                unhex("94040000").unwrap()
            },
            fragment: None,
            length: None,
            transport,
            payload: b"payload".to_vec(),
        }),
        cut: None,
    }
}

fn transports() -> Vec<Transport> {
    vec![
        Transport::Tcp {
            src: 40000,
            dst: 80,
            seq: 1,
            ack: 2,
            flags: 0x18,
            options: unhex("020405b4").unwrap(),
        },
        Transport::Udp {
            src: 40000,
            dst: 53,
            checksum: true,
        },
        Transport::Sctp {
            src: 40000,
            dst: 132,
            tag: 9,
        },
        Transport::Echo {
            reply: false,
            id: 1,
            seq: 2,
        },
        Transport::Other(50),
    ]
}

#[test]
fn what_is_built_verifies_and_any_flipped_payload_bit_does_not() {
    for v6 in [false, true] {
        for transport in transports() {
            let has_sum = !matches!(transport, Transport::Other(_));
            let frame = packet(transport.clone(), v6).frame().unwrap();
            assert_eq!(
                verify(&frame),
                Ok(()),
                "{transport:?}: {}",
                describe(&frame)
            );
            let mut broken = frame.clone();
            *broken.last_mut().unwrap() ^= 1;
            assert_eq!(verify(&broken).is_err(), has_sum, "{transport:?}");
        }
    }
}

#[test]
fn a_wrong_ipv4_header_checksum_is_named() {
    let mut frame = packet(
        Transport::Udp {
            src: 1,
            dst: 2,
            checksum: false,
        },
        false,
    )
    .frame()
    .unwrap();
    assert_eq!(verify(&frame), Ok(()));
    frame[18 + 10] ^= 0x40;
    assert!(matches!(
        verify(&frame),
        Err(CheckError::Checksum { layer: "IPv4", .. })
    ));
}

#[test]
fn fragments_together_are_the_datagram() {
    let mut whole = packet(
        Transport::Udp {
            src: 1,
            dst: 2,
            checksum: true,
        },
        true,
    );
    let Body::Ip(ip) = &mut whole.body else {
        panic!()
    };
    ip.payload = vec![0xab; 100];
    let datagram = whole.frame().unwrap()[18 + 40..].to_vec();
    let mut parts = Vec::new();
    for index in 0..3 {
        let mut part = whole.clone();
        let Body::Ip(ip) = &mut part.body else {
            panic!()
        };
        ip.fragment = Some(Fragment { size: 40, index });
        let frame = part.frame().unwrap();
        assert_eq!(verify(&frame), Ok(()));
        parts.extend_from_slice(&frame[18 + 40 + 8..]);
    }
    assert_eq!(parts, datagram);
}

#[test]
fn a_line_names_what_matters() {
    let frame = packet(transports().remove(0), false).frame().unwrap();
    let line = describe(&frame);
    for part in [
        "VLAN 100",
        "10.244.0.5:40000 > 10.96.0.10:80",
        "TTL 64",
        "PSH+ACK",
        "options 94040000",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(describe(&frame[..20]).contains("20 bytes"));
    assert!(describe(&[]).contains("0 bytes"));
}

#[test]
fn addresses_of_two_families_are_refused() {
    let mut packet = packet(Transport::Other(1), false);
    let Body::Ip(ip) = &mut packet.body else {
        panic!()
    };
    ip.to = "fd00::1".parse().unwrap();
    assert!(matches!(packet.frame(), Err(PacketError::Families(..))));
}
