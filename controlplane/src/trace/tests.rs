//! Packets and verdicts in words.

use super::packet::{describe, from_hex, to_hex};
use super::verdict::{MEANINGS, meaning};
use crate::telemetry::counters::{VERDICTS, drop_reason};

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
