//! Any packet, through the project's own programs: nothing panics, everything is accounted for, traces agree.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::super::{Config, DropReason, Engine, Event, Outputs, Time, Verdict, entries_text};
use crate::front::Sources;

/// One service behind two attached ports.
const ENTRIES: &str = "
add port ingress_port=1 => attach(vpc=1, role=1, peer_port=2, slow_port=255)
add port ingress_port=2 => attach(vpc=1, role=2, peer_port=1, slow_port=0)
add frontend vpc=1 protocol=6 dst_hi=0 dst_lo=0xffff0a60000a dst_port=80 => serve(set_id=1, slot_mask=0, outside_set_id=1, outside_slot_mask=0, service_id=1, flags=0, affinity_profile=255)
add endpoint set_id=1 slot=0 => to_endpoint(endpoint_hi=0, endpoint_lo=0xffff0a000007, endpoint_port=8080, flags=0, endpoint_id=0)
add route vpc=1 prio=1 => forward(port=2, src_mac=1, dst_mac=2)
";

fn project(name: &str) -> Engine {
    let file = format!("{}/../p4/{name}", env!("CARGO_MANIFEST_DIR"));
    let config = Config {
        max_passes: 8,
        ..Config::default()
    };
    let engine = super::load(&Sources::from_disk(file.as_str()), config);
    assert_eq!(entries_text::load(&engine, Time(0), ENTRIES), Ok(5));
    engine
}

/// Both programs, loaded once.
fn engines() -> &'static [Engine; 2] {
    static ENGINES: OnceLock<[Engine; 2]> = OnceLock::new();
    ENGINES.get_or_init(|| [project("nicproxy_v1model.p4"), project("nicproxy_pna.p4")])
}

/// How far a packet is well-formed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Noise,
    Framed,
    Addressed,
}

/// Something that begins like Ethernet with IPv4 or IPv6 and a transport, and may end anywhere.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let form = prop::sample::select(vec![
        Form::Noise,
        Form::Framed,
        Form::Addressed,
        Form::Addressed,
    ]);
    let kind = prop::sample::select(vec![0x0800u16, 0x0800, 0x86dd, 0x8100, 0x0806]);
    let body = prop::collection::vec(any::<u8>(), 0..120);
    let first = prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60, 0x00, 0xff]);
    let protocol = prop::sample::select(vec![1u8, 6, 17, 58, 132, 0, 44]);
    (any::<[u8; 12]>(), kind, first, protocol, body, form).prop_map(
        |(macs, kind, first, protocol, mut body, form)| {
            let length = (body.len() as u16).to_be_bytes();
            match body.as_mut_slice() {
                _ if form == Form::Noise => return body,
                whole @ [_, _, _, _, _, _, _, _, _, _, ..] => {
                    whole[0] = first;
                    whole[6] = protocol;
                    whole[9] = protocol;
                    if form == Form::Addressed && whole.len() >= 24 {
                        whole[0] = if kind == 0x86dd { 0x60 } else { 0x45 };
                        whole[2..4].copy_from_slice(&length);
                        whole[6..10].copy_from_slice(&[0, 0, 64, 6]);
                        whole[16..20].copy_from_slice(&[10, 96, 0, 10]);
                        whole[22..24].copy_from_slice(&[0, 80]);
                    }
                }
                _ => {}
            }
            [&macs[..], &kind.to_be_bytes(), &body].concat()
        },
    )
}

fn port() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..4, 1 => Just(255u32), 1 => any::<u32>()]
}

proptest! {
    #[test]
    fn every_packet_ends_somewhere(packet in packets(), port in port(), seconds in 0u64..1000) {
        for engine in engines() {
            let mut plain = Outputs::default();
            engine.process(Time::from_secs(seconds), port, &packet, &mut plain);
            prop_assert!(plain.transmitted().len() + plain.drops.len() >= 1);
            let mut traced = Outputs::default();
            let mut ends = 0;
            engine.process_traced(Time::from_secs(seconds), port, &packet, &mut traced, &mut |event: &Event<'_>| {
                if let Event::Verdict(Verdict::Transmit { .. } | Verdict::Drop(_)) = event {
                    ends += 1;
                }
            });
            prop_assert_eq!(ends, traced.transmitted().len() + traced.drops.len());
        }
    }
}

/// A TCP segment from 10.0.0.5 to the service.
fn segment() -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    packet.extend([
        0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0x66, 0x65, 10, 0, 0, 5, 10, 96, 0, 10,
    ]);
    packet.extend([
        0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
    ]);
    packet
}

#[test]
fn a_service_is_translated_or_handed_over() {
    let [v1model, pna] = engines();
    let sent = super::send(v1model, 1, &segment());
    assert_eq!(
        sent.iter().map(|(port, _)| *port).collect::<Vec<_>>(),
        [255]
    );
    let sent = super::send(pna, 1, &segment());
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].0, &sent[0].1[30..34], &sent[0].1[36..38]),
        (2, &[10, 0, 0, 7][..], &[0x1f, 0x90][..])
    );
}

#[test]
fn too_long_packets_are_refused() {
    let (mut out, packet) = (Outputs::default(), vec![0; 70_000]);
    engines()[0].process(Time(0), 1, &packet, &mut out);
    assert_eq!(out.drops, [DropReason::TooLong]);
}
