//! Ports over real interfaces of this machine: a TAP interface and a packet socket on it.
//!
//! Needs CAP_NET_ADMIN and CAP_NET_RAW. Where they are missing the test says so and passes, unless
//! `SOFTNIC_REQUIRE_INTERFACES` is set.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use softnic::port::packet::PacketPort;
use softnic::port::tap::TapPort;
use softnic::port::{Batch, Port, PortError, Received};

/// An EtherType of IEEE 802 for local experiments: nothing else on the machine sends it.
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];

fn may_fail<T>(opened: Result<T, PortError>) -> Option<T> {
    match opened {
        Ok(port) => Some(port),
        Err(error) if std::env::var_os("SOFTNIC_REQUIRE_INTERFACES").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("not run: {error}");
            None
        }
    }
}

fn frame(tag: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(tag);
    frame.extend(EXPERIMENT);
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Waits for the frame among whatever else the interface carries.
fn expect(port: &dyn Port, wanted: &[u8]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut batch = Batch::new(16);
    while Instant::now() < deadline {
        batch.clear();
        let received = port
            .receive(&mut batch, Duration::from_millis(100))
            .unwrap();
        assert_ne!(received, Received::End);
        if batch.iter().any(|packet| packet == wanted) {
            return;
        }
    }
    panic!("{} did not receive the frame", port.name());
}

#[test]
fn frames_pass_between_a_tap_interface_and_a_packet_socket_with_their_tags() {
    let name = format!("snt{}", std::process::id() % 1_000_000);
    let Some(tap) = may_fail(TapPort::open(&name)) else {
        return;
    };
    let Some(packet) = may_fail(PacketPort::open(&name)) else {
        return;
    };
    assert!(tap.is_up());
    let tag = [0x81, 0x00, 0x20, 0x2a];
    let service_tag = [0x88, 0xa8, 0x00, 0x07];
    for tag in [&[][..], &tag, &service_tag] {
        let out = frame(tag, b"from the switch");
        packet.send(&[&out]).unwrap();
        expect(&tap, &out);
        let back = frame(tag, b"to the switch");
        tap.send(&[&back]).unwrap();
        expect(&packet, &back);
    }
    let counted = packet.statistics();
    assert!(counted.tx_packets == 3 && counted.rx_packets >= 3 && counted.rx_malformed == 0);
}
