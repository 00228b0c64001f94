//! Ports over real interfaces, in network namespaces of the tests' own: every kind passes packets both ways, byte for
//! byte, and outlives its interface; real TCP stacks talk through a switch.
//!
//! Needs root with CAP_NET_ADMIN and iproute2. Where they are missing the tests say so and pass, unless
//! `SOFTNIC_REQUIRE_INTERFACES` is set.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "interfaces/figures.rs"]
mod figures;
#[path = "interfaces/net.rs"]
mod net;
#[path = "interfaces/stacks.rs"]
mod stacks;

use std::time::{Duration, Instant};

use net::{KINDS, Kind, alone, cable, ip};
use softnic::port::{Batch, Port, Received};

/// An EtherType of IEEE 802 for local experiments: nothing else sends it.
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];

/// How long anything may take to become true.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame of so many bytes, whose content follows from the number.
fn frame(tag: &[u8], number: u32, length: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(tag);
    frame.extend(EXPERIMENT);
    frame.extend(number.to_be_bytes());
    let mut byte = number as u8;
    frame.resize_with(length.max(60), || {
        byte = byte.wrapping_mul(5).wrapping_add(1);
        byte
    });
    frame
}

/// Receives frames of the experiment until there are so many, or until time is over.
fn receive(port: &dyn Port, count: usize, time: Duration) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + time;
    let mut batch = Batch::new(64);
    let mut frames = Vec::new();
    while frames.len() < count && Instant::now() < deadline {
        batch.clear();
        let received = port.receive(&mut batch, Duration::from_millis(20)).unwrap();
        assert_ne!(received, Received::End);
        let ours = batch
            .iter()
            .filter(|packet| packet.windows(2).take(24).any(|bytes| bytes == EXPERIMENT));
        frames.extend(ours.map(<[u8]>::to_vec));
    }
    frames
}

/// Sends frames and receives the same, in order.
fn pass(from: &dyn Port, to: &dyn Port, frames: &[Vec<u8>]) {
    let all: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    from.send(&all).unwrap();
    let came = receive(to, frames.len(), PATIENCE);
    for (at, (came, sent)) in came.iter().zip(frames).enumerate() {
        assert!(
            came == sent,
            "{} to {}: frame {at} differs",
            from.name(),
            to.name()
        );
    }
    assert_eq!(
        came.len(),
        frames.len(),
        "{} to {}: {:?} {:?}",
        from.name(),
        to.name(),
        from.statistics(),
        to.statistics()
    );
}

fn each_kind(mtu: u32, test: impl Fn(&dyn Port, &dyn Port) + Sync) {
    for kind in KINDS {
        alone(|| {
            let (near, there) = kind.with_cable(mtu);
            let far = Kind::Packet(Default::default()).open(there);
            // A link that has just been made takes a moment.
            let deadline = std::time::Instant::now() + PATIENCE;
            while !near.is_up() {
                assert!(std::time::Instant::now() < deadline, "{kind:?} is down");
                std::thread::yield_now();
            }
            test(&*near, &*far);
        });
    }
}

#[test]
fn every_kind_passes_frames_both_ways_byte_for_byte_and_counts_them() {
    each_kind(1500, |near, far| {
        let tags = [
            &[][..],
            &[0x81, 0x00, 0x20, 0x2a],
            &[0x88, 0xa8, 0x00, 0x07],
        ];
        let frames: Vec<Vec<u8>> = (0..60)
            .map(|n| frame(tags[n % 3], n as u32, 60 + n * 24))
            .collect();
        pass(near, far, &frames);
        pass(far, near, &frames);
        let bytes: usize = frames.iter().map(Vec::len).sum();
        let counted = near.statistics();
        assert_eq!((counted.tx_packets, counted.tx_bytes), (60, bytes as u64));
        assert!(counted.rx_packets >= 60 && counted.rx_bytes >= bytes as u64);
        assert_eq!((counted.rx_dropped, counted.rx_malformed), (0, 0));
        // No Ethernet frame, and longer than the MTU, which a TAP interface does not mind: dropped and counted, and others
        // still pass.
        let long = frame(&[], 1, 9000);
        let bad: &[&[u8]] = match near.name() {
            "tap:near" => &[b"short"],
            _ => &[b"short", &long],
        };
        near.send(bad).unwrap();
        assert_eq!(
            near.statistics().tx_dropped,
            bad.len() as u64,
            "{}",
            near.name()
        );
        pass(near, far, &frames[..1]);
    });
}

#[test]
fn every_kind_passes_jumbo_frames() {
    each_kind(9000, |near, far| {
        let frames: Vec<Vec<u8>> = [9014, 60, 4096, 4097, 8192, 9014]
            .iter()
            .zip(1..)
            .map(|(&length, n)| frame(&[], n, length))
            .collect();
        pass(near, far, &frames);
        pass(far, near, &frames);
    });
}

#[test]
fn every_kind_passes_ten_thousand_frames_in_order() {
    each_kind(1500, |near, far| {
        for turn in 0..100 {
            // What veth queues for an XDP program in native mode is 256 frames.
            let frames: Vec<Vec<u8>> = (0..100)
                .map(|n| frame(&[], turn * 100 + n, 60 + (n as usize * 37) % 1400))
                .collect();
            pass(near, far, &frames);
            pass(far, near, &frames);
        }
        assert_eq!(near.statistics().tx_packets, 10_000);
        assert_eq!(near.statistics().tx_dropped, 0);
    });
}

/// Nobody receives meanwhile: what does not fit is lost, and counted.
#[test]
fn a_burst_of_ten_thousand_is_received_or_counted_as_lost() {
    for ring in [softnic::port::Ring::Frames, softnic::port::Ring::Blocks] {
        alone(|| {
            let (near, there) = Kind::Packet(ring).with_cable(1500);
            let far = Kind::Packet(ring).open(there);
            let frames: Vec<Vec<u8>> = (0..10_000).map(|n| frame(&[], n, 1400)).collect();
            let all: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            far.send(&all).unwrap();
            let sent = far.statistics();
            assert_eq!(sent.tx_packets + sent.tx_dropped, 10_000);
            let came = receive(&*near, 10_000, Duration::from_secs(1));
            let counted = near.statistics();
            assert!(came.len() > 1000, "{counted:?}");
            assert_eq!(came.len() as u64 + counted.rx_dropped, sent.tx_packets);
            let mut rest = frames.iter();
            for packet in &came {
                assert!(rest.any(|sent| sent == packet), "out of order, or damaged");
            }
            pass(&*far, &*near, &frames[..10]);
        });
    }
}

#[test]
fn every_kind_outlives_its_interface() {
    for kind in KINDS {
        alone(|| {
            let (near, _) = kind.with_cable(1500);
            ip("link set near down");
            assert!(!near.is_up());
            near.send(&[&frame(&[], 0, 60)]).unwrap();
            ip("link set near up");
            ip("link del near");
            let deadline = Instant::now() + PATIENCE;
            while near.statistics().reopened == 0 {
                assert!(Instant::now() < deadline, "{kind:?}");
                assert!(receive(&*near, 1, Duration::from_millis(20)).is_empty());
                near.send(&[&frame(&[], 0, 60)]).unwrap();
                // A TAP interface is made anew by the port itself.
                if kind != Kind::Tap && !near.is_up() && !interface_exists("near") {
                    cable(1500, 1);
                }
            }
            let far = if kind == Kind::Tap { "near" } else { "far" };
            let far = Kind::Packet(Default::default()).open(far);
            let frames: Vec<Vec<u8>> = (0..50).map(|n| frame(&[], n, 1000)).collect();
            pass(&*far, &*near, &frames);
            pass(&*near, &*far, &frames);
            assert!(near.is_up());
            assert_eq!(near.statistics().reopened, 1);
        });
    }
}

fn interface_exists(name: &str) -> bool {
    std::process::Command::new("ip")
        .args(["link", "show", name])
        .output()
        .unwrap()
        .status
        .success()
}

/// UDP datagrams of many connections: each connection is on one queue, and both queues are used.
#[test]
fn several_queues_share_the_connections() {
    for kind in [
        Kind::Packet(softnic::port::Ring::Frames),
        Kind::Xdp(softnic::port::XdpMode::Native),
    ] {
        alone(|| {
            cable(1500, 2);
            let near = kind.try_open("near", 2).unwrap();
            assert_eq!(near.queues(), 2);
            let far = Kind::Packet(Default::default()).try_open("far", 2).unwrap();
            let datagram = |port: u16| {
                let mut packet = vec![2; 12];
                packet.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0]);
                packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
                packet.extend(port.to_be_bytes());
                packet.extend([0, 53, 0, 8, 0, 0]);
                packet.resize(60, 0);
                packet
            };
            let mut by_queue = [
                std::collections::BTreeMap::new(),
                std::collections::BTreeMap::new(),
            ];
            for port in (1000..1064u16).chain(1000..1064) {
                far.send(&[&datagram(port)]).unwrap();
            }
            let deadline = Instant::now() + PATIENCE;
            let count = |maps: &[std::collections::BTreeMap<u16, u32>; 2]| -> u32 {
                maps.iter().flat_map(|map| map.values()).sum()
            };
            while count(&by_queue) < 128 && Instant::now() < deadline {
                for (queue, seen) in by_queue.iter_mut().enumerate() {
                    near.poll(queue, 64, Duration::from_millis(5), &mut |frames| {
                        for frame in frames {
                            let port = u16::from_be_bytes([frame.bytes[34], frame.bytes[35]]);
                            *seen.entry(port).or_default() += 1;
                        }
                    })
                    .unwrap();
                }
            }
            assert_eq!(count(&by_queue), 128, "{kind:?}");
            assert!(by_queue.iter().all(|seen| !seen.is_empty()), "{kind:?}");
            let twice =
                |seen: &std::collections::BTreeMap<u16, u32>| seen.values().all(|&n| n == 2);
            assert!(
                by_queue.iter().all(twice),
                "{kind:?}: a connection on two queues"
            );
            // What one thread sends on one queue goes out whichever queue it is.
            for queue in 0..4 {
                let packet = frame(&[], queue as u32, 100);
                near.transmit(queue, &[softnic::port::Frame::whole(&packet)])
                    .unwrap();
                assert_eq!(receive(&*far, 1, PATIENCE), [packet]);
            }
        });
    }
}

#[test]
fn a_port_that_cannot_be_opened_says_why() {
    alone(|| {
        cable(1500, 1);
        let first = Kind::Xdp(softnic::port::XdpMode::Native).open("near");
        let second = Kind::Xdp(softnic::port::XdpMode::Native).try_open("near", 1);
        let text = second.err().unwrap().to_string();
        assert!(
            text.contains("near") && text.contains("another program"),
            "{text}"
        );
        drop(first);
        // The system takes a moment to take the first one's program away.
        let deadline = Instant::now() + PATIENCE;
        let text = loop {
            let none = Kind::Xdp(softnic::port::XdpMode::ZeroCopy).try_open("near", 1);
            let text = none.err().unwrap().to_string();
            if !text.contains("another program") || Instant::now() > deadline {
                break text;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(
            text.contains("queue 0") && text.contains("zero-copy"),
            "{text}"
        );
        // What failed is gone: the interface is free again.
        Kind::Xdp(softnic::port::XdpMode::Generic).open("near");
    });
}
