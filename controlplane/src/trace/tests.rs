//! Packets and verdicts in words.

use super::packet::{describe, from_hex, to_hex};
use super::verdict::{MEANINGS, meaning};
use crate::telemetry::counters::{DeviceCounters, Snapshot, VERDICTS, drop_reason};

#[test]
fn hexadecimal() {
    assert_eq!(from_hex("00ffA0"), Some(vec![0, 255, 0xa0]));
    assert_eq!(from_hex(&to_hex(&[1, 2, 0xfe])), Some(vec![1, 2, 0xfe]));
    assert_eq!(from_hex(""), Some(vec![]));
    for wrong in ["0", "0g", "é0"] {
        assert_eq!(from_hex(wrong), None, "{wrong}");
    }
}

#[test]
fn packets_in_words() {
    use etherparse::PacketBuilder;
    let mut udp = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([0xfd; 16], [0xfe; 16], 60)
        .udp(53, 1024)
        .write(&mut udp, b"x")
        .unwrap();
    let text = "UDP [fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:53 > [fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe]:1024";
    assert_eq!(describe(&udp), text);
    // A capture may have cut it short anywhere.
    for length in 0..udp.len() {
        assert!(!describe(&udp[..length]).is_empty());
    }
    let mut echo = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 60)
        .icmpv4_echo_request(1, 2)
        .write(&mut echo, b"")
        .unwrap();
    assert_eq!(describe(&echo), "ICMP echo request 10.0.0.1 > 10.0.0.2");
    let mut error = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([1; 16], [2; 16], 60)
        .icmpv6_raw(2, 0, [0, 0, 5, 0])
        .write(&mut error, &udp[14..])
        .unwrap();
    assert!(
        describe(&error).ends_with(&format!("about {text}")),
        "{}",
        describe(&error)
    );
    assert!(describe(&error).starts_with("ICMPv6 packet too big "));
    let mut later = echo;
    later[20] = 0x00;
    later[21] = 0x10;
    assert_eq!(describe(&later), "a later fragment 10.0.0.1 > 10.0.0.2");
    assert_eq!(describe(b"abc"), "3 bytes, too short for Ethernet");
}

#[test]
fn every_verdict_has_a_meaning_and_a_line_in_the_documentation() {
    let text = include_str!("../../../docs/metrics.md");
    for (name, meaning) in VERDICTS.iter().zip(MEANINGS) {
        let reason =
            drop_reason(name).map_or_else(|| "-".to_owned(), |reason| format!("`{reason}`"));
        let line = format!("| `{name}` | {reason} | {meaning} |");
        assert!(text.lines().any(|found| found == line), "{line}");
        assert_eq!(drop_reason(name).is_some(), meaning.starts_with("dropped"));
    }
    assert_eq!(meaning("nothing"), "not known to this nicproxy");
}

/// `VERDICT_*` of the pipeline, with their numbers.
fn pipelines() -> Vec<(String, usize)> {
    let source = include_str!("../../../p4/core/constants.p4");
    let lines = source
        .lines()
        .filter_map(|line| line.strip_prefix("const bit<8> VERDICT_"));
    let read = |line: &str| {
        let (name, rest) = line.split_once(" = ").unwrap();
        let (number, _) = rest.split_once(';').unwrap();
        (name.to_lowercase(), number.parse().unwrap())
    };
    lines.map(read).collect()
}

#[test]
fn every_verdict_of_the_pipeline_has_a_name_and_every_drop_a_reason_in_metrics_and_trace() {
    let known = pipelines();
    assert!(known.len() > 20, "the constants are not where they were");
    let counted: Vec<(String, usize)> = VERDICTS
        .iter()
        .enumerate()
        .map(|(at, name)| ((*name).to_owned(), at))
        .collect();
    assert_eq!(known, counted);
    // Each under its own reason in the metrics, and with a sentence of its own in a trace.
    let device = DeviceCounters::default();
    device.replace(Snapshot {
        verdicts: (0..VERDICTS.len() as u64).map(|at| 100 + at).collect(),
        ..Snapshot::default()
    });
    let text = device.render();
    for (name, at) in &known {
        let packets = 100 + at;
        let verdict = format!("nicproxy_packets_total{{verdict=\"{name}\"}} {packets}");
        assert!(text.lines().any(|line| line == verdict), "{verdict}");
        assert_ne!(meaning(name), meaning("nothing"), "{name}");
        if let Some(reason) = name.strip_prefix("drop_") {
            let drop = format!("nicproxy_drops_total{{reason=\"{reason}\"}} {packets}");
            assert!(text.lines().any(|line| line == drop), "{drop}");
            assert!(meaning(name).starts_with("dropped: "), "{name}");
        }
    }
    let drops = text
        .lines()
        .filter(|line| line.starts_with("nicproxy_drops_total{"));
    let dropping = known.iter().filter(|(name, _)| name.starts_with("drop_"));
    assert_eq!(drops.count(), dropping.count());
}

/// Whatever the pipeline sets as a packet's end is counted: no control decides to drop without saying why.
#[test]
fn every_drop_of_the_pipeline_says_why() {
    let controls = [
        include_str!("../../../p4/core/classify.p4"),
        include_str!("../../../p4/core/frontend.p4"),
        include_str!("../../../p4/core/open.p4"),
        include_str!("../../../p4/core/service.p4"),
        include_str!("../../../p4/core/flow.p4"),
        include_str!("../../../p4/core/related.p4"),
        include_str!("../../../p4/core/tunnel.p4"),
        include_str!("../../../p4/core/rewrite.p4"),
        include_str!("../../../p4/core/pipeline.p4"),
    ];
    let mut drops = 0;
    for control in controls {
        let lines: Vec<&str> = control.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if line.contains("decided = DECIDED_DROP") {
                drops += 1;
                let near = &lines[at.saturating_sub(1)..(at + 2).min(lines.len())];
                assert!(
                    near.iter().any(|line| line.contains("verdict = ")),
                    "{near:?}"
                );
            }
        }
    }
    assert!(drops > 7, "{drops}");
}
