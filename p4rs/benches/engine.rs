//! Packets per second of both engines on the project's own program for NICs: established connections, first packets,
//! plain routing, uniform and Zipf, over many live flows; how two workers scale; how long loading takes.
//!
//! In: `--frontends`, `--endpoints`, `--flows`, `--packets`, `--turns`, `--far-from`,
//! `--remembered-entries` as in [`Config`], `--native` to leave the interpreter out, `--only PATH SIZE` for one path with packets of one
//! size. Out: medians and the best of all turns as a table, medians in cycles of the processor as fast as it was then, ratios
//! within the run. Ports in memory: packets come in a ring of buffers, as a network card puts them; what fills the buffers is not
//! measured. What is measured is the time that a thread has run, so that other work on the machine disturbs little.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    unsafe_code,
    reason = "a bench"
)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p4rs::engine::{Config, Engine, Execution, Outputs, Time, entries_text};
use p4rs::front::Sources;

/// Sizes of one run.
#[derive(Clone, Copy)]
struct Sizes {
    frontends: u32,
    endpoints: u32,
    flows: u32,
    packets: usize,
    turns: usize,
}

/// The number behind an option's name.
fn option<N: std::str::FromStr>(name: &str) -> Option<N> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

/// The second one.
fn second_option<N: std::str::FromStr>(name: &str) -> Option<N> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(2)?.parse().ok()
}

fn sizes() -> Sizes {
    let small = std::env::args().any(|argument| argument == "--test");
    let option = |name: &str, small_value: u32, value: u32| {
        option(name).unwrap_or(if small { small_value } else { value })
    };
    Sizes {
        frontends: option("--frontends", 100, 10_000),
        endpoints: option("--endpoints", 1_000, 100_000),
        flows: option("--flows", 1_000, 1_000_000),
        packets: option("--packets", 2_000, 500_000) as usize,
        turns: option("--turns", 3, 5) as usize,
    }
}

/// Slots per endpoint set.
const SLOTS: u32 = 16;

fn vip(service: u32) -> u32 {
    0x0a60_0001 + service
}

fn client(flow: u32) -> (u32, u16) {
    (0x0af4_0002 + flow / 50_000, 1024 + (flow % 50_000) as u16)
}

fn entries(sizes: Sizes) -> String {
    let mut text = String::new();
    let mapped = |address: u32| 0xffff_0000_0000u64 + u64::from(address);
    for (port, peer) in [(1, 2), (2, 1)] {
        let attach = format!("attach(vpc=0, role={port}, peer_port={peer}, slow_port=0)");
        writeln!(text, "add port ingress_port={port} => {attach}").unwrap();
    }
    let route = |text: &mut String, address: u32, length: u32| {
        let mask = 0xffff_ffff_ffffu64 & !((1u64 << (32 - length)) - 1);
        let (low, priority) = (mapped(address), 97 + length);
        let forward = "forward(port=2, src_mac=0x020000000001, dst_mac=0x0200000000aa)";
        let key = format!("dst_hi=0x0&&&0xffffffffffffffff dst_lo={low:#x}&&&0xffff{mask:012x}");
        writeln!(text, "add route prio={priority} vpc=0 {key} => {forward}").unwrap();
    };
    route(&mut text, 0x0af4_0000, 16);
    for node in 0..64 {
        route(&mut text, 0x0b00_0000 + (node << 16), 16);
    }
    route(&mut text, 0x0c00_0000, 8);
    let per = (sizes.endpoints / sizes.frontends).max(1);
    for service in 0..sizes.frontends {
        let (set, mask, address) = (service + 1, SLOTS - 1, mapped(vip(service)));
        let sets = format!(
            "set_id={set}, slot_mask={mask}, outside_set_id={set}, outside_slot_mask={mask}"
        );
        writeln!(
            text,
            "add frontend vpc=0 protocol=6 dst_hi=0 dst_lo={address:#x} dst_port=80 => serve({sets}, service_id={set}, flags=0, affinity_profile=255)"
        )
        .unwrap();
        for slot in 0..SLOTS {
            let number = service * per + slot % per;
            let endpoint = mapped(0x0b00_0000 + number);
            writeln!(
                text,
                "add endpoint set_id={set} slot={slot} => to_endpoint(endpoint_hi=0, endpoint_lo={endpoint:#x}, endpoint_port=8080, flags=0, endpoint_id={number})"
            )
            .unwrap();
        }
    }
    text
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A TCP packet of `size` bytes.
fn frame(from: (u32, u16), to: (u32, u16), size: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let mut ip = vec![0x45, 0];
    ip.extend(((size - 14) as u16).to_be_bytes());
    ip.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    ip.extend(from.0.to_be_bytes());
    ip.extend(to.0.to_be_bytes());
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    frame.extend(ip);
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    frame.extend([
        0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0x12, 0x34, 0, 0,
    ]);
    frame.resize(size, 0x5a);
    frame
}

/// Pseudo-random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Which flow each packet belongs to: uniform, or Zipf with exponent 1.
fn choices(flows: u32, packets: usize, zipf: bool) -> Vec<u32> {
    let mut random = Random(7);
    if !zipf {
        let one = |_| (random.next() % u64::from(flows)) as u32;
        return (0..packets).map(one).collect();
    }
    let mut sums = Vec::with_capacity(flows as usize);
    let mut sum = 0.0;
    for rank in 1..=flows {
        sum += 1.0 / f64::from(rank);
        sums.push(sum);
    }
    let one = |_| {
        let at = (random.next() >> 11) as f64 / (1u64 << 53) as f64 * sum;
        let rank = sums.partition_point(|&s| s < at) as u64;
        // Popular flows are spread over the table.
        (rank * 2_654_435_761 % u64::from(flows)) as u32
    };
    (0..packets).map(one).collect()
}

fn packet_of(sizes: Sizes, flow: u32, size: usize) -> Vec<u8> {
    frame(client(flow), (vip(flow % sizes.frontends), 80), size)
}

/// Headers of a packet: what one differs in from others of its size.
const HEAD: usize = 64;
/// Buffers of a ring, and packets of a batch: as many as a port hands over when there is much to do.
const RING: usize = 2048;
const BATCH: usize = 256;

/// Packets of one size.
struct Load {
    heads: Vec<[u8; HEAD]>,
    size: usize,
}

impl Load {
    fn new(size: usize, packets: impl Iterator<Item = Vec<u8>>) -> Self {
        let heads = packets.map(|packet| *packet.first_chunk().expect("headers"));
        let heads = heads.collect();
        Self { heads, size }
    }

    /// Nanoseconds per packet; every packet must leave.
    fn run(&self, engine: &Engine, now: Time) -> f64 {
        let mut worker = engine.worker();
        let mut out = Outputs::default();
        let mut ring = vec![0x5a; RING * self.size];
        let (mut took, mut sent) = (Duration::ZERO, 0);
        for heads in self.heads.chunks(RING) {
            let mut sending = out.recycle();
            let buffers = ring.chunks_mut(self.size).zip(heads);
            buffers.for_each(|(buffer, head)| buffer[..HEAD].copy_from_slice(head));
            let filled = &ring[..heads.len() * self.size];
            let start = thread_time();
            for batch in filled.chunks(self.size * BATCH) {
                sending.clear();
                let packets = batch.chunks(self.size).map(|packet| (1, packet));
                worker.batch(now, packets, &mut sending);
                sent += sending.transmitted().len();
            }
            took += thread_time() - start;
            out = sending.recycle();
        }
        assert_eq!(sent, self.heads.len(), "every packet leaves");
        took.as_secs_f64() * 1e9 / sent as f64
    }
}

/// How long this thread has run.
fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "threads have clocks");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds of a cycle of the processor as it runs now, told by shifts and sums that need each other: a cycle for each of them on
/// the processors of today.
fn cycle() -> f64 {
    const STEPS: u32 = 1 << 21;
    let step = |x: u64, _| {
        let x = x ^ x << 13;
        x ^ x >> 7
    };
    let start = thread_time();
    std::hint::black_box((0..STEPS).fold(std::hint::black_box(1), step));
    (thread_time() - start).as_secs_f64() * 1e9 / f64::from(4 * STEPS)
}

/// What was measured of a path, by turns: nanoseconds per packet, and a cycle's at that time.
#[derive(Default)]
struct Turns(Vec<(f64, f64)>);

impl Turns {
    /// One more.
    fn take(&mut self, turn: impl FnOnce() -> f64) {
        let before = cycle();
        let ns = turn();
        self.0.push((ns, f64::midpoint(before, cycle())));
    }

    /// The median, the best, and the median of cycles.
    fn told(&self) -> [f64; 3] {
        let of = |value: fn(&(f64, f64)) -> f64| self.0.iter().map(value).collect();
        let best = self
            .0
            .iter()
            .map(|turn| turn.0)
            .fold(f64::INFINITY, f64::min);
        [
            median(of(|turn| turn.0)),
            best,
            median(of(|turn| turn.0 / turn.1)),
        ]
    }
}

fn engine(execution: Execution) -> (Engine, f64) {
    let file = format!("{}/../p4/nicproxy_pna.p4", env!("CARGO_MANIFEST_DIR"));
    let compiled = p4rs::compile(&Sources::from_disk(file.as_str())).expect("the program compiles");
    let default = Config::default();
    let config = Config {
        execution,
        unlimited_tables: true,
        host_ports: vec![1],
        far_from: option("--far-from").unwrap_or(default.far_from),
        remembered_entries: option("--remembered-entries").unwrap_or(default.remembered_entries),
        ..default
    };
    let checked = Arc::new(compiled.checked);
    let start = Instant::now();
    let engine = Engine::new(checked, config).expect("the program loads");
    (engine, start.elapsed().as_secs_f64() * 1e3)
}

const ZIPF: &str = "established, Zipf";
const ROUTE: &str = "route only";
/// Paths of packets that are no first ones.
const PATHS: [&str; 3] = ["established, uniform", ZIPF, ROUTE];

/// What was measured: engine, bytes, path, nanoseconds.
type Rates = Vec<(Execution, usize, &'static str, f64)>;

fn measure(sizes: Sizes, execution: Execution, text: &str, rates: &mut Rates) {
    let (engine, load_ms) = engine(execution);
    let native = engine.is_native();
    let name = if native { "native" } else { "interpreter" };
    println!("{name:<12} loaded in {load_ms:.1} ms");
    entries_text::load(&engine, Time(0), text).expect("entries");
    let before = entry_count(&engine);
    let count = sizes.packets / if native { 1 } else { 10 };
    let now = Time::from_secs(1);
    let setup = Load::new(64, (0..sizes.flows).map(|flow| packet_of(sizes, flow, 64)));
    let mut report = |path: &'static str, size: usize, turns: &Turns| {
        let [ns, best, cycles] = turns.told();
        let rate = 1e3 / ns;
        println!(
            "{name:<12} {size:>6} {path:<24} {ns:>10.1} {rate:>8.3} {best:>10.1} {cycles:>8.0}"
        );
        rates.push((execution, size, path, ns));
    };
    let mut first = Turns::default();
    first.take(|| setup.run(&engine, now));
    report("first packets", 64, &first);
    let only = (option::<String>("--only"), second_option::<usize>("--only"));
    for size in [64, 512, 1500] {
        let wanted = |path: &str| {
            let (name, bytes) = &only;
            name.as_ref().is_none_or(|name| path == name) && bytes.is_none_or(|bytes| size == bytes)
        };
        let mut paths = Vec::new();
        for path in PATHS.into_iter().filter(|path| wanted(path)) {
            paths.push((path, load(sizes, path, size, count), Turns::default()));
        }
        // Path by path in each turn: what slows the machine down for a while does so to all of them.
        for _ in 0..sizes.turns {
            for (_, load, turns) in &mut paths {
                if native {
                    ready(&engine, load, now);
                }
                turns.take(|| load.run(&engine, now));
            }
        }
        for (path, _, turns) in &paths {
            report(path, size, turns);
        }
    }
    if native && only.0.is_none() {
        // Every entry's time is over: its room is used again.
        let later = Time::from_secs(1_000_000);
        let mut ticks = 0..1_000_000;
        while entry_count(&engine) > before {
            ticks.next().expect("learned entries' times end");
            engine.tick(later);
        }
        let mut again = Turns::default();
        again.take(|| setup.run(&engine, later));
        report("first packets again", 64, &again);
        two_workers(sizes, &engine, later);
    }
}

/// Packets that take a path.
fn load(sizes: Sizes, path: &str, size: usize, count: usize) -> Load {
    let flow = |flow| packet_of(sizes, flow, size);
    if path != ROUTE {
        let flows = choices(sizes.flows, count, path == ZIPF);
        return Load::new(size, flows.into_iter().map(flow));
    }
    let mut random = Random(3);
    let one = |_| {
        let number = random.next();
        let to = 0x0b00_0000 + (number as u32 & 0x3f_ffff);
        frame(client((number >> 32) as u32 % sizes.flows), (to, 443), size)
    };
    Load::new(size, (0..count).map(one))
}

/// Runs packets until the ways that they take have code of their own.
fn ready(engine: &Engine, load: &Load, now: Time) {
    engine.settle();
    engine.watch();
    load.run(engine, now);
    engine.settle();
}

/// Entries of all tables.
fn entry_count(engine: &Engine) -> u64 {
    let tables = engine.program().tables.iter();
    tables
        .filter_map(|(table, _)| engine.entry_count(table).ok())
        .sum()
}

/// The rate of two workers over that of one, each on its own flows, as network cards spread packets.
fn two_workers(sizes: Sizes, engine: &Engine, now: Time) {
    let flows = choices(sizes.flows, sizes.packets, false);
    let loads = [0, 1].map(|worker| {
        let own = flows.iter().filter(|&flow| flow % 2 == worker);
        Load::new(64, own.map(|&flow| packet_of(sizes, flow, 64)))
    });
    let ratios = (0..sizes.turns).map(|_| {
        let alone = loads.iter().map(|load| load.run(engine, now)).sum::<f64>() / 2.0;
        let together: f64 = std::thread::scope(|scope| {
            let threads: Vec<_> = loads
                .iter()
                .map(|load| {
                    scope.spawn(|| (0..2).map(|_| load.run(engine, now)).sum::<f64>() / 2.0)
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        4.0 * alone / together
    });
    let ratio = median(ratios.collect());
    println!("native       two workers do {ratio:.2} times the work of one");
}

fn main() {
    let sizes = sizes();
    let text = entries(sizes);
    println!("a cycle takes {:.2} ns", cycle());
    println!(
        "{} frontends, {} endpoints, {} live flows; median of {} turns",
        sizes.frontends, sizes.endpoints, sizes.flows, sizes.turns
    );
    println!(
        "{:<12} {:>6} {:<24} {:>10} {:>8} {:>10} {:>8}",
        "engine", "bytes", "path", "ns/packet", "M/s", "best ns", "cycles"
    );
    let mut rates = Rates::new();
    let native_only = std::env::args().any(|argument| argument == "--native");
    let interpreted = (!native_only).then_some(Execution::Interpreted);
    for execution in [Some(Execution::Native), interpreted].into_iter().flatten() {
        measure(sizes, execution, &text, &mut rates);
    }
    let find = |execution, path| {
        let found = rates
            .iter()
            .find(|(of, size, at, _)| *of == execution && *size == 64 && *at == path);
        found.map_or(f64::NAN, |&(.., ns)| ns)
    };
    let route = find(Execution::Native, ROUTE);
    for path in ["first packets"].into_iter().chain(PATHS) {
        let native = find(Execution::Native, path);
        if native.is_nan() {
            continue;
        }
        let times = find(Execution::Interpreted, path) / native;
        let times = match native_only {
            true => String::new(),
            false => format!("{times:>5.1} times the interpreter, "),
        };
        let part = 100.0 * route / native;
        println!("{path:<24} native is {times}{part:>4.0} % of its own route-only rate");
    }
}
