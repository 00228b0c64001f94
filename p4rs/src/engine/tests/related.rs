//! S69: ICMP errors about translated packets, through the project's own programs, byte for byte.
//!
//! `related.entries` has connections over IPv4 and IPv6, over TCP and UDP, one of them with another source address.
//! `related.cases` has one error per line, `PORT HEX PORT HEX`: as it comes in and as it must leave, every checksum
//! mended, the quoted one of TCP where the error quotes so much. They come from endpoints, from clients and from routers,
//! quote the whole packet or its first eight transport bytes, UDP with and without checksum; the last two are not of any
//! connection, or cut too short.

use super::super::{Config, Time, entries_text};
use crate::front::Sources;

const ENTRIES: &str = include_str!("related.entries");
const CASES: &str = include_str!("related.cases");

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn s69_errors_are_translated_with_the_packet_they_quote() {
    for program in ["nicproxy_v1model.p4", "nicproxy_pna.p4"] {
        let file = format!("{}/../p4/{program}", env!("CARGO_MANIFEST_DIR"));
        let engine = super::load(&Sources::from_disk(file.as_str()), Config::default());
        assert_eq!(
            entries_text::load(&engine, Time(0), ENTRIES),
            Ok(ENTRIES.lines().count())
        );
        let mut seen = 0;
        for case in CASES.lines() {
            let [port, packet, out_port, expected] = case.split(' ').collect::<Vec<_>>()[..] else {
                panic!("malformed case: {case}");
            };
            let sent = super::send(&engine, port.parse().unwrap(), &bytes(packet));
            assert_eq!(
                sent,
                [(out_port.parse().unwrap(), bytes(expected))],
                "{program}: {packet}"
            );
            seen += 1;
        }
        assert_eq!(seen, 50);
    }
}
