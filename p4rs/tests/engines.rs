//! Both engines on the same programs, entries and packets: packets out, drops, digests, log messages and the state left
//! behind must be equal, bit for bit.
//!
//! `cargo test` takes the project's own programs and generated ones. The ignored test takes every program of a folder:
//! `P4C_SAMPLES`, with its includes in `P4C_INCLUDE` (several, separated by `:`) and part of the names to take in
//! `P4C_FILTER`. `NICPROXY_SEED` sets where random numbers begin, `NICPROXY_ROUNDS` how long the generator runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's own code"
)]

#[path = "engines/generate.rs"]
mod generate;
#[path = "engines/random.rs"]
mod random;
#[path = "engines/stateful.rs"]
mod stateful;
#[path = "engines/twin.rs"]
mod twin;

use std::path::PathBuf;

use p4rs::front::Sources;
use p4rs::source::SourceBundle;
use random::Random;
use twin::{Difference, Twin};

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |value| value.parse().expect("a number"))
}

/// Random entries, random packets; what differs first.
fn compare(sources: &Sources, seed: u64, packets: u32) -> Result<Option<Twin>, Difference> {
    // Half of the seeds with memory fetched ahead for flows that are known; half with code for the ways that packets take.
    let watched = if seed % 4 < 2 { packets / 4 } else { 0 };
    let Some(mut twin) = Twin::load(sources, seed % 2 * 1000, watched) else {
        return Ok(None);
    };
    let mut random = Random::new(seed);
    twin.fill(&mut random);
    for _ in 0..packets {
        twin.packet(&mut random)?;
    }
    twin.state()?;
    Ok(Some(twin))
}

#[test]
fn the_projects_programs_do_the_same_on_both_engines() {
    for program in ["nicproxy_pna.p4", "nicproxy_v1model.p4"] {
        let file = format!("{}/../p4/{program}", env!("CARGO_MANIFEST_DIR"));
        let sources = Sources::from_disk(file.as_str());
        let (mut sent, mut scouted) = (0, 0);
        for round in 0..3 {
            let seed = number("NICPROXY_SEED", 1) + round;
            match compare(&sources, seed, 400) {
                Ok(Some(twin)) => {
                    assert!(twin.native(), "{program} becomes machine code");
                    scouted += twin.scouted();
                    sent += twin.sent;
                }
                Ok(None) => panic!("{program} does not load"),
                Err(difference) => panic!("{program}, seed {seed}: {difference}"),
            }
        }
        // Entries of other seeds than usual may lead nowhere.
        let usual = std::env::var("NICPROXY_SEED").is_err();
        assert!(sent > 0 || !usual, "{program}: some packets leave");
        assert!(scouted > 0 || !usual, "{program}: scouts are sent");
    }
}

/// A TCP packet from a client to a Service or back from an endpoint, its checksums as they come.
fn segment(random: &mut Random, answer: bool) -> Vec<u8> {
    let client = [10, 244, 0, 2 + random.below(3) as u8];
    let (service, port) = ([10, 96, 0, 1 + random.below(3) as u8], 80u16);
    let endpoint = [11, 0, 0, random.below(4) as u8];
    let client_port = 1000 + random.below(3) as u16;
    let (from, to) = if answer {
        ((endpoint, 8080), (client, client_port))
    } else {
        ((client, client_port), (service, port))
    };
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    bytes.extend([0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 6, 0x12, 0x34]);
    bytes.extend(from.0.into_iter().chain(to.0));
    bytes.extend(from.1.to_be_bytes().into_iter().chain(to.1.to_be_bytes()));
    // SYN, SYN and ACK, ACK, data, FIN, RST: each has a timeout of its own.
    let flags = *random.of(&[0x02u8, 0x12, 0x10, 0x18, 0x11, 0x04]);
    bytes.extend([
        0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0x12, 0x34, 0, 0,
    ]);
    bytes.resize(64, random.next() as u8);
    bytes
}

/// Some Services with remembered clients, direct return and source NAT, and routes to their endpoints.
fn services() -> String {
    let mapped = |address: u32| 0xffff_0000_0000u64 + u64::from(address);
    let mut text = String::from(
        "add port ingress_port=1 => attach(vpc=0, role=1, peer_port=2, slow_port=3)\n\
         add port ingress_port=2 => attach(vpc=0, role=2, peer_port=1, slow_port=0)\n\
         add route prio=97 vpc=0 dst_hi=0x0&&&0xffffffffffffffff dst_lo=0xffff00000000&&&0xffff00000000 \
         => forward(port=2, src_mac=0x020000000001, dst_mac=0x0200000000aa)\n",
    );
    for (service, flags) in [(1u32, 0u32), (2, 2), (3, 1 << 5)] {
        let address = mapped(0x0a60_0000 + service);
        text += &format!(
            "add frontend vpc=0 protocol=6 dst_hi=0 dst_lo={address:#x} dst_port=80 => serve(set_id={service}, \
             slot_mask=3, outside_set_id={service}, outside_slot_mask=3, service_id={service}, flags={flags}, \
             affinity_profile=2)\n"
        );
        for slot in 0..4 {
            let endpoint = mapped(0x0b00_0000 + slot);
            text += &format!(
                "add endpoint set_id={service} slot={slot} => to_endpoint(endpoint_hi=0, endpoint_lo={endpoint:#x}, \
                 endpoint_port=8080, flags=0, endpoint_id={slot})\n"
            );
        }
    }
    text
}

#[test]
fn packets_of_few_connections_do_what_they_would_have_done_without_scouts() {
    few_connections(0);
}

#[test]
fn packets_of_flows_that_are_remembered_do_what_they_would_have_done() {
    few_connections(1000);
    // Most flows have no room.
    few_connections(4);
}

/// Batches of packets of few connections, so many of which are remembered.
fn few_connections(remembered_entries: u64) {
    let file = format!("{}/../p4/nicproxy_pna.p4", env!("CARGO_MANIFEST_DIR"));
    let sources = Sources::from_disk(file.as_str());
    let mut twin = Twin::load(&sources, remembered_entries, 100).expect("the program loads");
    twin.load_entries(&services());
    let mut random = Random::new(number("NICPROXY_SEED", 1));
    for batch in 0..300 {
        let packets: Vec<(u32, Vec<u8>)> = (0..1 + random.below(40))
            .map(|_| {
                let answer = random.once_in(3);
                (if answer { 2 } else { 1 }, segment(&mut random, answer))
            })
            .collect();
        if let Err(difference) = twin.batch(&packets) {
            panic!("batch {batch}: {difference}");
        }
        // Now and then a connection is forgotten.
        twin.wait(random.next() % 8_000_000_000);
    }
    twin.state()
        .unwrap_or_else(|difference| panic!("{difference}"));
    assert!(twin.hot, "usual ways have code");
    assert!(twin.scouted() > 0, "scouts are sent");
    assert!(twin.sent > 1000, "most packets leave: {}", twin.sent);
}

/// A generated program that both engines have run alike.
fn same(text: &str, seed: u64) -> Twin {
    let sources = Sources::from_bundle(SourceBundle::single("main.p4", text));
    match compare(&sources, seed, 60) {
        Ok(Some(twin)) => twin,
        Ok(None) => {
            let found = p4rs::compile(&sources)
                .err()
                .map(|failure| failure.diagnostics);
            panic!("seed {seed} makes no program: {found:#?}\n{text}");
        }
        Err(difference) => panic!("seed {seed}: {difference}\n{text}"),
    }
}

#[test]
fn generated_programs_do_the_same_on_both_engines() {
    /// Seeds whose programs once did not do the same: a header of an action that no table applies lay in memory.
    const ONCE_DIFFERENT: [u64; 1] = [50_929];
    let (from, rounds) = (number("NICPROXY_SEED", 1), number("NICPROXY_ROUNDS", 40));
    let (mut native, mut hot) = (0, 0);
    for seed in ONCE_DIFFERENT.into_iter().chain(from..from + rounds) {
        let kinds = seed % 2 == 1 && !ONCE_DIFFERENT.contains(&seed);
        let plain = seed % 4 < 2 && !ONCE_DIFFERENT.contains(&seed);
        let text = generate::program(&mut Random::new(seed), kinds, plain);
        let twin = same(&text, seed);
        native += u64::from(twin.native());
        hot += u64::from(twin.hot);
    }
    println!("{hot} of {rounds} programs have code for usual ways");
    assert!(
        hot * 8 >= rounds,
        "usual ways have code in {hot} of {rounds} programs"
    );
    // Those with headers that are not whole bytes do not.
    assert!(
        native * 4 >= rounds,
        "{native} of {rounds} programs became machine code"
    );
}

#[test]
fn generated_programs_with_state_do_the_same_on_both_engines() {
    let (from, rounds) = (number("NICPROXY_SEED", 1), number("NICPROXY_ROUNDS", 40));
    let (mut scouted, mut sent, mut hot) = (0, 0, 0);
    for seed in from..from + rounds {
        let text = stateful::program(&mut Random::new(seed), seed % 2 == 1);
        let twin = same(&text, seed);
        scouted += u64::from(twin.scouted() > 0);
        hot += u64::from(twin.hot);
        sent += twin.sent;
    }
    assert!(
        scouted * 20 >= rounds,
        "scouts are sent in {scouted} of {rounds} programs"
    );
    assert!(sent > 0, "some packets leave");
    println!("{hot} of {rounds} programs have code for usual ways, {scouted} send scouts");
    assert!(
        hot * 8 >= rounds,
        "usual ways have code in {hot} of {rounds} programs"
    );
}

#[test]
#[ignore = "needs a folder of programs: P4C_SAMPLES, P4C_INCLUDE"]
fn sample_programs_do_the_same_on_both_engines() {
    let folder = PathBuf::from(std::env::var("P4C_SAMPLES").expect("P4C_SAMPLES is set"));
    let filter = std::env::var("P4C_FILTER").unwrap_or_default();
    let includes = std::env::var("P4C_INCLUDE").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("P4C_SAMPLES can be read")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "p4"))
        .filter(|path| path.to_string_lossy().contains(&filter))
        .collect();
    files.sort();
    let (mut loaded, mut native, mut different) = (0, 0, Vec::new());
    for file in &files {
        let mut sources = Sources::from_disk(file.to_string_lossy().into_owned());
        sources.include_dirs = includes.split(':').map(str::to_owned).collect();
        match compare(&sources, number("NICPROXY_SEED", 1), 200) {
            Ok(None) => {}
            Ok(Some(twin)) => {
                loaded += 1;
                native += usize::from(twin.native());
                if !twin.native() {
                    println!("interpreted only: {}", file.display());
                }
            }
            Err(difference) => different.push(format!("{}: {difference}", file.display())),
        }
    }
    println!(
        "{} files, {loaded} equal, {native} of them as machine code",
        files.len()
    );
    assert!(different.is_empty(), "{}", different.join("\n"));
}
