//! Connections in flight (S62–S69): what happens to them when endpoints and Services go, and when time passes.
//!
//! In: both programs on softnic with a clock that the test moves, the control plane as the daemon has it. Out: where
//! packets of old connections go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

#[path = "flows/bench.rs"]
mod bench;

use std::time::Duration;

use bench::{ACK, Bench, FIN, PROGRAMS, RST, SYN, Segment, endpoint, objects};
use nicproxy::config::Program;

/// UDP connections to an endpoint that is gone find another one (S63); those to one that still answers stay, ready or
/// not (S64); TCP is never touched (S62).
#[test]
fn s62_s63_s64_udp_leaves_endpoints_that_are_gone_and_tcp_does_not() {
    for program in PROGRAMS {
        let all = [endpoint(1, 11), endpoint(1, 12), endpoint(2, 13)];
        let mut bench = Bench::start(program, &objects(&all));
        let flows: Vec<u16> = (40_000..40_030).collect();
        let before: Vec<_> = flows.iter().map(|port| bench.udp(*port)).collect();
        let tcp: Vec<_> = flows.iter().map(|port| bench.open(*port)).collect();
        for one in &all {
            assert!(
                before.contains(&one.ip),
                "{program}: all endpoints are used"
            );
        }
        // The first is gone, the third goes away but still answers, and a fourth is new.
        let now = [all[1], all[2].terminating(), endpoint(2, 14)];
        bench.apply(&objects(&now));
        for (port, was) in flows.iter().zip(&before) {
            if *was == all[0].ip {
                bench.until("stale connections move", |bench| {
                    let now = bench.udp(*port);
                    now == all[1].ip || now == endpoint(2, 14).ip
                });
            }
        }
        for (port, was) in flows.iter().zip(&before) {
            if *was != all[0].ip {
                assert_eq!(
                    bench.udp(*port),
                    *was,
                    "{program}: what still answers is kept"
                );
            }
        }
        for (port, was) in flows.iter().zip(&tcp) {
            let data = bench.data(*port);
            assert_eq!(bench.client(data), Some(*was), "{program}: TCP drains");
        }
    }
}

/// S66: a Service that lost all its endpoints, and one that is gone, leave no UDP connections. S65: nor does one that had
/// none when the packets came.
#[test]
fn s65_s66_services_without_endpoints_and_deleted_ones_leave_no_udp_connections() {
    for program in PROGRAMS {
        let first = endpoint(1, 11);
        let mut bench = Bench::start(program, &objects(&[first]));
        assert_eq!(bench.udp(40_000), first.ip);
        bench.open(40_000);
        bench.apply(&objects(&[]));
        bench.until("no UDP connection is left", |bench| bench.flows(17) == 0);
        assert_eq!(bench.flows(6), 1, "{program}: TCP is left alone");
        // Sent while nothing serves: refused, and nothing remembers it.
        assert!(bench.udp_refused(40_001), "{program}");
        assert_eq!(bench.flows(17), 0);
        let second = endpoint(2, 12);
        bench.apply(&objects(&[second]));
        assert_eq!(bench.udp(40_000), second.ip);
        assert_eq!(bench.udp(40_001), second.ip);
        bench.delete(&["Service/shop/dns", "EndpointSlice/shop/dns"]);
        bench.until("no UDP connection is left", |bench| bench.flows(17) == 0);
        assert_eq!(bench.flows(6), 1);
    }
}

/// What is sent on a new connection after the client's SYN, and how long its entries then stay.
fn states() -> Vec<(&'static str, Vec<Segment>, u64)> {
    let shaken = || vec![Segment::answer(SYN | ACK), Segment::client(ACK)];
    let then = |more: &[Segment]| [shaken(), more.to_vec()].concat();
    let fin = Segment::client(FIN | ACK);
    let ack = Segment::answer(ACK);
    let last = Segment::answer(FIN | ACK);
    vec![
        ("SYN_SENT", vec![], 120),
        ("SYN_RECV", vec![Segment::answer(SYN | ACK)], 60),
        ("ESTABLISHED", shaken(), 432_000),
        ("FIN_WAIT", then(&[fin]), 120),
        ("CLOSE_WAIT", then(&[fin, ack]), 60),
        ("LAST_ACK", then(&[fin, ack, last]), 30),
        (
            "TIME_WAIT",
            then(&[fin, ack, last, Segment::client(ACK)]),
            120,
        ),
        ("CLOSE", then(&[Segment::client(RST)]), 10),
        ("CLOSE by the endpoint", then(&[Segment::answer(RST)]), 10),
        ("refused", vec![Segment::answer(RST | ACK)], 10),
        (
            "half closed from there",
            then(&[last, Segment::client(ACK)]),
            60,
        ),
        (
            "RST beyond the window",
            then(&[Segment::client(RST).off(100_000)]),
            432_000,
        ),
        (
            "RST before it",
            then(&[Segment::answer(RST).off(u32::MAX)]),
            432_000,
        ),
        (
            "SYN in the middle",
            then(&[Segment::client(SYN).off(5000)]),
            432_000,
        ),
    ]
}

/// Linux' times, two seconds before and after: a connection still leads to its endpoint, which has left its Service, or it
/// is forgotten and the next one leads elsewhere.
#[test]
fn tcp_connections_last_as_long_as_their_state_lets_them() {
    for program in PROGRAMS {
        let old = endpoint(1, 11);
        let mut bench = Bench::start(program, &objects(&[old]));
        let mut due = Vec::new();
        for (number, (state, segments, seconds)) in states().into_iter().enumerate() {
            for after in [false, true] {
                let port = 41_000 + 2 * number as u16 + u16::from(after);
                bench.begin(port);
                for segment in &segments {
                    bench.exchange(port, *segment);
                }
                let at = if after { seconds + 2 } else { seconds - 2 };
                due.push((at, after, port, state));
            }
        }
        let new = endpoint(2, 12);
        bench.apply(&objects(&[new]));
        due.sort_unstable();
        let mut now = 0;
        for (at, after, port, state) in due {
            bench.pass(Duration::from_secs(at - now));
            now = at;
            let syn = bench.syn(port);
            let data = bench.data(port);
            if !after {
                assert_eq!(
                    bench.client(data),
                    Some(old.ip),
                    "{program}: {state} lasts {at} s"
                );
            } else if program == Program::Pna {
                assert_eq!(
                    bench.client(syn),
                    Some(new.ip),
                    "{program}: {state} is over after {at} s"
                );
            } else {
                // The control plane is told by the device, and removes it.
                bench.until("idle connections are removed", |bench| {
                    !bench.has_flow(port)
                });
                let syn = bench.syn(port);
                assert_eq!(
                    bench.client(syn),
                    Some(new.ip),
                    "{program}: {state} is over after {at} s"
                );
            }
        }
    }
}

/// S69: who sends too much learns of it, wherever the narrow link is, and whoever it is (RFC 1191, RFC 8201).
#[test]
fn s69_path_mtu_is_told_to_clients_and_endpoints() {
    for program in PROGRAMS {
        let one = endpoint(1, 11);
        let mut bench = Bench::start(program, &objects(&[one]));
        bench.open(42_000);
        // A router behind the endpoint's side speaks of the client's packet: as the client sent it.
        let (from, to) = (bench::CLIENT, bench::VIP);
        let told = bench
            .too_big(2, (from, 42_000), (one.ip, 8080), 1400)
            .unwrap();
        assert_eq!(told, (1, (from, 42_000), (to, 80), 1400), "{program}");
        // A router on the client's side speaks of the answer: as the endpoint sent it.
        let told = bench.too_big(1, (to, 80), (from, 42_000), 1300).unwrap();
        assert_eq!(told, (2, (one.ip, 8080), (from, 42_000), 1300), "{program}");
    }
}
