//! What each kind of port gives real TCP stacks: throughput, connections per second, time of a small request.
//!
//! `cargo test --release -p softnic --test interfaces -- --ignored --nocapture figures`

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use softnic::port::packet::PacketPort;
use softnic::port::{PacketOptions, Port, Ring, XdpMode};

use crate::net::Kind;
use crate::stacks::Hosts;

/// How long each is measured, and how often; the median counts.
const TIME: Duration = Duration::from_secs(1);
const RUNS: usize = 5;

const SERVER: &str = "10.9.0.2:80";

/// Opens an interface in one of the ways that are compared.
type Open = fn(&str) -> Box<dyn Port>;

/// `None`: no switch at all, but a bridge of the kernel.
const WAYS: [(&str, Option<Open>); 5] = [
    ("(Linux bridge)", None),
    ("packet", Some(|name| Kind::Packet(Ring::Frames).open(name))),
    (
        "packet,ring=blocks",
        Some(|name| Kind::Packet(Ring::Blocks).open(name)),
    ),
    (
        "packet,offload=off",
        Some(|name| {
            let options = PacketOptions {
                offload: false,
                ..PacketOptions::default()
            };
            Box::new(PacketPort::open_with(name, options).unwrap())
        }),
    ),
    (
        "xdp,mode=native",
        Some(|name| Kind::Xdp(XdpMode::Native).open(name)),
    ),
];

/// Takes a byte that says what is wanted: everything swallowed, or each byte answered.
fn serve(mut stream: TcpStream, swallowed: &AtomicU64) {
    let mut buffer = vec![0; 1 << 18];
    let mut wanted = [0];
    if stream.read_exact(&mut wanted).is_err() {
        return;
    }
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        swallowed.fetch_add(count as u64, Ordering::Relaxed);
        if wanted == *b"e" && stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn connect(wanted: u8) -> TcpStream {
    let address: SocketAddr = SERVER.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&[wanted]).unwrap();
    stream
}

/// Mbit/s of one stream.
fn throughput(swallowed: &AtomicU64) -> f64 {
    let mut stream = connect(b's');
    let block = vec![7; 1 << 18];
    let (start, before) = (Instant::now(), swallowed.load(Ordering::Relaxed));
    while start.elapsed() < TIME {
        stream.write_all(&block).unwrap();
    }
    let bytes = swallowed.load(Ordering::Relaxed) - before;
    bytes as f64 * 8e-6 / start.elapsed().as_secs_f64()
}

fn connections() -> f64 {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        drop(connect(b's'));
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// Microseconds of a request of one byte: the median, and what one in a hundred takes longer than.
fn latency() -> [f64; 2] {
    let mut stream = connect(b'e');
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < TIME {
        let sent = Instant::now();
        let mut byte = [1];
        stream.write_all(&byte).unwrap();
        stream.read_exact(&mut byte).unwrap();
        times.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    let mut values: Vec<f64> = (0..RUNS).map(|_| measure()).collect();
    values.sort_by(f64::total_cmp);
    values[RUNS / 2]
}

fn measure(name: &str, swallowed: &AtomicU64) {
    let rate = median(|| throughput(swallowed));
    let connects = median(connections);
    let mut tails = Vec::new();
    let middle = median(|| {
        let [middle, tail] = latency();
        tails.push(tail);
        middle
    });
    tails.sort_by(f64::total_cmp);
    let tail = tails[RUNS / 2];
    println!("| {name} | {rate:.0} | {connects:.0} | {middle:.0} | {tail:.0} |");
}

/// Measures from the client, with a server that ends when its own host calls.
fn with_server(hosts: &Hosts, name: &str) {
    let swallowed = &AtomicU64::new(0);
    let listener = hosts.server.inside(|| TcpListener::bind(SERVER).unwrap());
    let own = listener.local_addr().unwrap().ip();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok((stream, client)) = listener.accept() {
                if client.ip() == own {
                    return;
                }
                scope.spawn(move || serve(stream, swallowed));
            }
        });
        hosts.client.inside(|| measure(name, swallowed));
        hosts.server.inside(|| drop(TcpStream::connect(SERVER)));
    });
}

#[test]
#[ignore = "measures for a minute; needs root"]
fn figures() {
    println!("| port | Mbit/s | connections/s | request p50 µs | p99 µs |\n|---|---|---|---|---|");
    for (name, open) in WAYS {
        let Some(hosts) = Hosts::new() else { return };
        match open {
            Some(open) => {
                hosts.through([&open, &open], || with_server(&hosts, name));
            }
            None => {
                hosts.bridge();
                with_server(&hosts, name);
            }
        }
    }
}
