//! Any packet, through the project's own programs: nothing panics, everything is accounted for, traces agree.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::super::{Config, Engine, Event, Outputs, Time, Verdict};
use crate::front::Sources;

fn project(name: &str) -> Engine {
    let file = format!("{}/../p4/{name}", env!("CARGO_MANIFEST_DIR"));
    super::load(
        &Sources::from_disk(file.as_str()),
        Config {
            max_passes: 8,
            ..Config::default()
        },
    )
}

/// Both programs, loaded once.
fn engines() -> &'static [Engine; 2] {
    static ENGINES: OnceLock<[Engine; 2]> = OnceLock::new();
    ENGINES.get_or_init(|| [project("nicproxy_v1model.p4"), project("nicproxy_pna.p4")])
}

/// Something that begins like Ethernet with IPv4 or IPv6 and a transport, and may end anywhere.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(vec![0x0800u16, 0x86dd, 0x8100, 0x0806]);
    let body = prop::collection::vec(any::<u8>(), 0..120);
    let first = prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60, 0x00, 0xff]);
    let protocol = prop::sample::select(vec![1u8, 6, 17, 58, 132, 0, 44]);
    (
        any::<[u8; 12]>(),
        kind,
        first,
        protocol,
        body,
        any::<bool>(),
    )
        .prop_map(|(macs, kind, first, protocol, mut body, raw)| {
            if raw {
                return body;
            }
            if let Some(byte) = body.get_mut(0) {
                *byte = first;
            }
            for at in [6, 9] {
                if let Some(byte) = body.get_mut(at) {
                    *byte = protocol;
                }
            }
            [&macs[..], &kind.to_be_bytes(), &body].concat()
        })
}

proptest! {
    #[test]
    fn every_packet_ends_somewhere(packet in packets(), port in 0u32..600, seconds in 0u64..1000) {
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

#[test]
fn too_long_packets_are_refused() {
    let mut out = Outputs::default();
    engines()[0].process(Time(0), 1, &vec![0; 70_000], &mut out);
    assert_eq!(out.drops, [super::super::DropReason::TooLong]);
}
