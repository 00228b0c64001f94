//! The programs whose tables are measured, and the values that keys and entries consist of.
//!
//! In: a seed, positions. Out: engines, keys that never repeat, random numbers with the wanted distribution.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use p4rs::engine::{Config, Engine};
use p4rs::front::Sources;
use p4rs::ir::{Handle, Table};
use p4rs::source::SourceBundle;

const PLAIN: &str = r#"
#include <core.p4>
#include <v1model.p4>
struct headers {}
struct meta {
    bit<32> vpc; bit<8> protocol; bit<32> src; bit<32> dst; bit<16> src_port; bit<16> dst_port; bit<128> address;
}
parser P(packet_in p, out headers h, inout meta m, inout standard_metadata_t s) { state start { transition accept; } }
control V(inout headers h, inout meta m) { apply { } }
control I(inout headers h, inout meta m, inout standard_metadata_t s) {
    action forward(bit<64> next, bit<32> port) { m.address[63:0] = next; m.dst = port; }
    table exact_flow {
        key = { m.protocol: exact; m.src: exact; m.dst: exact; m.src_port: exact; m.dst_port: exact; }
        actions = { forward; NoAction; }
    }
    table lpm_v4 { key = { m.dst: lpm; } actions = { forward; NoAction; } }
    table lpm_v6 { key = { m.vpc: exact; m.address: lpm; } actions = { forward; NoAction; } }
    table ternary_acl { key = { m.src: ternary; m.dst: ternary; m.dst_port: range; } actions = { forward; NoAction; } }
    table set {
        key = { m.vpc: exact; m.src: selector; m.src_port: selector; }
        actions = { forward; NoAction; }
        implementation = action_selector(HashAlgorithm.crc32, 32w1000000, 32w32);
    }
    apply { exact_flow.apply(); lpm_v4.apply(); lpm_v6.apply(); ternary_acl.apply(); set.apply(); }
}
control E(inout headers h, inout meta m, inout standard_metadata_t s) { apply { } }
control C(inout headers h, inout meta m) { apply { } }
control D(packet_out p, in headers h) { apply { } }
V1Switch(P(), V(), I(), E(), C(), D()) main;
"#;

const LEARNER: &str = r#"
#include <core.p4>
#include <pna.p4>
struct headers {}
struct meta {
    bit<32> vpc; bit<8> protocol; bit<64> src_hi; bit<64> src_lo; bit<64> dst_hi; bit<64> dst_lo;
    bit<16> src_port; bit<16> dst_port;
}
struct learned { bit<64> a; bit<64> b; bit<16> c; bit<64> d; bit<64> e; bit<16> f; }
parser P(packet_in p, out headers h, inout meta m, in pna_main_parser_input_metadata_t i) { state start { transition accept; } }
control Pre(in headers h, inout meta m, in pna_pre_input_metadata_t i, inout pna_pre_output_metadata_t o) { apply { } }
control M(inout headers h, inout meta m, in pna_main_input_metadata_t i, inout pna_main_output_metadata_t o) {
    action translate(bit<64> a, bit<64> b, bit<16> c, bit<64> d, bit<64> e, bit<16> f) {
        m.src_hi = a; m.src_lo = b; m.src_port = c; m.dst_hi = d; m.dst_lo = e; m.dst_port = f;
    }
    action learn() {
        add_entry(action_name = "translate", action_params = (learned){ 1, 2, 3, 4, 5, 6 },
            expire_time_profile_id = (ExpireTimeProfileId_t)8w0);
    }
    table flow {
        key = {
            m.vpc: exact; m.protocol: exact; m.src_hi: exact; m.src_lo: exact; m.dst_hi: exact; m.dst_lo: exact;
            m.src_port: exact; m.dst_port: exact;
        }
        actions = { @tableonly translate; @defaultonly learn; }
        const default_action = learn;
        add_on_miss = true;
        idle_timeout_with_auto_delete = true;
        size = 1024;
    }
    apply { flow.apply(); }
}
control D(packet_out p, in headers h, in meta m, in pna_main_output_metadata_t o) { apply { } }
PNA_NIC(P(), Pre(), M(), D()) main;
"#;

/// Which program.
#[derive(Clone, Copy)]
pub enum Tables {
    /// Tables that the control plane fills.
    Plain,
    /// The table that packets fill.
    Learner,
}

/// An engine with empty tables of any size, and one of them.
pub fn load(tables: Tables, name: &str) -> Result<(Engine, Handle<Table>), String> {
    let text = match tables {
        Tables::Plain => PLAIN,
        Tables::Learner => LEARNER,
    };
    let sources = Sources::from_bundle(SourceBundle::single("tables.p4", text));
    let compiled = p4rs::compile(&sources).map_err(|f| format!("{:#?}", f.diagnostics))?;
    let config = Config {
        unlimited_tables: true,
        ..Config::default()
    };
    let engine = Engine::new(Arc::new(compiled.checked), config).map_err(|e| e.to_string())?;
    let all = engine.program().tables.iter();
    let mut named = all.filter(|(_, table)| table.name.control_plane.ends_with(name));
    let found = named.next().map(|(handle, _)| handle);
    drop(named);
    let handle = found.ok_or_else(|| format!("no table {name}"))?;
    Ok((engine, handle))
}

/// A one-to-one mixing of 64 bits: keys made of it never repeat.
pub fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Random numbers from a seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// In 0..1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Below `end`, each equally often.
    pub fn uniform(&mut self, end: u64) -> u64 {
        (self.part() * end as f64) as u64
    }

    /// Below `end`, number `n` with a likelihood that goes with 1 / (n + 1).
    pub fn zipf(&mut self, end: u64) -> u64 {
        let spread = ((end + 1) as f64).ln();
        (((self.part() * spread).exp() - 1.0) as u64).min(end - 1)
    }
}

/// Seconds that this thread has had a processor; of the clock on the wall where the system does not tell.
pub fn processor_time() -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    // The system brings the number up to date when the thread offers to give way; else it may be milliseconds old.
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(
        || START.get_or_init(Instant::now).elapsed().as_secs_f64(),
        |nanoseconds: u64| nanoseconds as f64 / 1e9,
    )
}

/// Bytes of the process that are in memory.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0u64) * 4096
}
