//! Machine code: a loaded program compiled when it is loaded, by Cranelift.
//!
//! ```text
//! lowered code ─▶ footprint, widths, usual ─▶ build (value, stmt, parse, packet, register, pack, table, probe, tally, program) ─▶ machine code
//!                                                                                       │
//! packet ─▶ Native::run ─▶ parser, controls, deparser in one function ◀─▶ runtime: tables, externs, interpreter
//! watched packets ─▶ profile ─▶ build (hot) ─┬─▶ a function for the ways that most of them take, asked first
//!                                            └─▶ stages ─▶ the code of scouts, which fetch what such packets will need
//! ```
//!
//! In: a loaded [`Machine`]. Out: what a pass did with its packet, exactly as the interpreter would have done.
//! Everything is expanded into one function: slots become registers, the layout of headers and keys constants.
//! A node that depends on more than constants (elements of header stacks, numbers above 128 bits, varbits, unions) is
//! handed to the interpreter, whose slots then lie in memory; so is the rest of a pass that clones, resubmits,
//! recirculates, replicates or sends digests.
//!
//! Invariant: bit for bit what the interpreter does, packets and state.
#![allow(unsafe_code)]

mod build;
mod cells;
mod condition;
mod context;
mod deduce;
mod footprint;
mod hot;
mod known;
mod pack;
mod packet;
mod parse;
mod part;
mod probe;
mod profile;
mod program;
mod prune;
mod recall;
mod region;
mod register;
mod runtime;
mod scout;
mod stages;
mod stmt;
mod support;
mod table;
mod tally;
mod usual;
mod value;
mod ways;
mod widths;

use cranelift_codegen::ir::{Type, types};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};

use super::Time;
use super::bits::WORD;
use super::externs::{crc32_step, shard_offset};
use super::interp::{LastApply, Machine, Run};
use super::outputs::DropReason;
use super::tables::epoch::Guard;
use build::{Imports, signature};
use context::{Context, NO_TABLE};
use part::{Part, Plan};
use program::outcome;
use region::Regions;
use widths::Widths;

pub(crate) use part::HotCode;
pub(crate) use profile::{Profile, Steps};
pub(crate) use program::{pna_given, v1model_given};
pub(crate) use recall::{Memory, Places, Recall, Sets, Touched, flow_of, is_known};
pub(crate) use scout::{Errands, SCOUTS, Scouts};

/// Why a program is left to the interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no machine code for {0}")]
pub(crate) struct Unsupported(&'static str);

/// What became of a packet in one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Sent; the outputs have it.
    Sent,
    /// Lost.
    Dropped(DropReason),
    /// The architecture decides, with everything in the packet's state.
    Decide,
    /// v1model: the architecture goes on behind the egress control, towards this port.
    Egress(u32),
}

/// The context of passes that come one after the other.
pub(crate) struct Passage<'h> {
    context: Context,
    /// Code for the ways that most packets take, and how many packets took others since it was asked.
    hot: Option<&'h HotCode>,
    pub others: u32,
}

impl<'h> Passage<'h> {
    /// For the packets of a thread.
    pub fn new(guard: &Guard, hot: Option<&'h HotCode>) -> Self {
        let mut context = Context::empty();
        context.shard = shard_offset(guard.number());
        Self {
            context,
            hot,
            others: 0,
        }
    }

    /// Tells what the architecture gives the packets that come from now on, see [`pna_given`] and [`v1model_given`].
    pub fn give(&mut self, now: Time, given: &[u64; 6]) {
        self.context.begin_at(now, given);
    }

    /// What the architecture gives the packets that come now.
    pub fn given(&self) -> &[u64; 6] {
        &self.context.given
    }

    /// Tells what the next packet will probably touch, first of all.
    #[inline]
    pub fn expect(&mut self, expected: &[u64]) {
        let places = self.context.places.iter_mut().zip(expected);
        places.for_each(|(place, expected)| *place = *expected);
    }

    /// What the last packet touched: places up to where the next one would be, in bytes.
    #[inline]
    pub fn touched(&self) -> (&Places, u64) {
        (&self.context.places, self.context.touched)
    }
}

/// Nodes of programs above this are not expanded.
const MAX_SIZE: u64 = 60_000;

/// As many nodes may copies of a program for the usual kinds of packets have together.
const KINDS_SIZE: u64 = 12_000;

/// A compiled program.
pub(crate) struct Native {
    /// In the order in which a packet enters them.
    parts: Vec<Part>,
    /// Ranges of slots in memory.
    memory: Vec<(usize, usize)>,
    /// Most bytes of outgoing headers.
    room: usize,
    /// What is remembered of packets is in these.
    regions: Regions,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native")
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}

impl Native {
    /// Compiles the program of a machine.
    pub fn compile(machine: &Machine) -> Result<Self, Unsupported> {
        let regions = Regions::of(machine);
        let (parts, memory) = with_plan(machine, &regions, |plan| {
            // The first two regions are never written, or never read.
            let memory = ranges(plan.scan.0, machine.code.sink as usize * 2);
            Ok((plan.compile()?, memory))
        })?;
        Ok(Self {
            memory,
            room: parts.iter().map(|part| part.room).max().unwrap_or(0),
            parts,
            regions,
        })
    }

    /// Compiles the ways that most packets of a profile took; none where that is of no use.
    pub fn compile_hot(&self, machine: &Machine, profile: &Profile) -> Option<HotCode> {
        let part = with_plan(machine, &self.regions, |plan| {
            Ok(plan.emits.then(|| plan.compile_hot(profile)).flatten())
        });
        let part = part.ok().flatten();
        part.filter(|part| part.pass.room <= self.room)
    }

    /// Fetches what a packet touched.
    #[inline]
    pub fn fetch(&self, guard: &Guard, touched: &Touched) {
        let [_, places @ ..] = recall::halves(touched);
        self.regions.fetch(guard, &places);
    }

    /// Runs machine code from the beginning of a pass; the word that tells its end.
    #[inline(always)]
    fn enter(&self, context: *mut Context) -> u32 {
        let mut word = outcome::ANEW;
        if let Some(part) = self.parts.first() {
            word = part.run(context);
        }
        if word == outcome::ANEW {
            word = self.enter_anew(context);
        }
        word
    }

    #[inline(never)]
    fn enter_anew(&self, context: *mut Context) -> u32 {
        let last = self.parts.last();
        last.map_or(outcome::ANEW, |part| part.run(context))
    }

    /// Runs one pass over a packet, or over the one in the run's state, which has begun and holds no values yet.
    #[inline]
    pub fn run<'p>(
        &self,
        run: &mut Run<'_, 'p>,
        passage: &mut Passage<'_>,
        packet: Option<&'p [u8]>,
    ) -> Fate {
        let context = &mut passage.context;
        self.begin(run, context, packet);
        // Nothing else is transmitted before the pass ends.
        context.head = run.out.room(self.room).as_mut_ptr();
        let mut word = outcome::ANEW;
        if let Some(hot) = passage.hot {
            word = hot.pass.run(&raw mut *context);
        }
        if word == outcome::ANEW {
            passage.others += 1;
            word = self.enter_all(run, context);
        }
        if word == outcome::SEND {
            let parsed = run.state.cursor.div_ceil(8);
            let (port, head) = (context.egress as u32, context.head_len as usize);
            match packet {
                Some(bytes) => {
                    let payload = bytes.get(parsed..).unwrap_or_default();
                    run.out.seal(port, head, payload);
                }
                None => {
                    let payload = run.state.packet.get(parsed..).unwrap_or_default();
                    run.out.seal_copy(port, head, payload);
                }
            }
            return Fate::Sent;
        }
        self.fate(run, context, word)
    }

    /// Readies the context of a pass for any code, but for room for outgoing headers; the code for all needs
    /// [`Self::begin_values`], too.
    #[inline(always)]
    fn begin(&self, run: &mut Run<'_, '_>, context: &mut Context, packet: Option<&[u8]>) {
        let state = &mut *run.state;
        let bytes = packet.unwrap_or(&state.packet);
        context.packet = bytes.as_ptr();
        context.bits = bytes.len() as u64 * 8;
        context.kept = u64::from(packet.is_none());
        context.cursor = &raw mut state.cursor;
        context.budget = &raw mut state.budget;
        context.applied = state.applied.as_mut_ptr();
        context.table = NO_TABLE;
        context.touched = recall::FIRST;
        context.run = (&raw mut *run).cast();
    }

    /// Sets back what code for all kinds of packets changes on its way. What is not set here is set before it is read.
    #[inline(always)]
    fn begin_values(&self, run: &mut Run<'_, '_>, context: &mut Context) {
        run.last = LastApply::NONE;
        let state = &mut *run.state;
        for &(first, end) in &self.memory {
            state.slots.get_mut(first..end).unwrap_or_default().fill(0);
        }
        state.cursor = 0;
        context.slots = state.slots.as_mut_ptr();
        context.dropped = 0;
        context.sent = 0;
        context.port = 0;
        context.checksum_error = 0;
        context.special = 0;
        context.row = std::ptr::null();
    }

    /// Runs the code for all packets.
    #[inline(never)]
    fn enter_all(&self, run: &mut Run<'_, '_>, context: &mut Context) -> u32 {
        self.begin_values(run, context);
        self.enter(&raw mut *context)
    }

    /// What became of the packet, once the code has returned `word`, which is not that it is to be sent.
    fn fate(&self, run: &mut Run<'_, '_>, context: &mut Context, word: u32) -> Fate {
        match word {
            outcome::DECIDE | outcome::EGRESS => {}
            word => return Fate::Dropped(context::drop_reason(word)),
        }
        context.give(&mut run.state.intents);
        // SAFETY: as above; what the context has was found under the run's guard.
        unsafe {
            context.keep(run.state);
            context.tell(run);
        }
        if word == outcome::DECIDE {
            Fate::Decide
        } else {
            Fate::Egress(context.egress as u32)
        }
    }
}

/// What parts of a machine's code are made from.
fn with_plan<T>(
    machine: &Machine,
    regions: &Regions,
    make: impl FnOnce(&Plan<'_>) -> Result<T, Unsupported>,
) -> Result<T, Unsupported> {
    let code = &machine.code;
    let controls = code.controls.iter().flatten().map(|(_, body)| body);
    let states = code
        .parsers
        .iter()
        .flatten()
        .flat_map(|(_, parser)| &parser.states);
    let bodies = controls.chain(states.map(|state| &state.body));
    let size = bodies
        .map(|body| support::size(code, body, 48))
        .fold(0, u64::saturating_add);
    if size > MAX_SIZE {
        return Err(Unsupported("a program of this size"));
    }
    let scan = footprint::footprint(code);
    if scan.odd_bits {
        return Err(Unsupported("headers that are not whole bytes"));
    }
    let registers = |instance| {
        let register = machine.externs().register(instance).ok();
        let plain = register.and_then(|register| register.plain());
        plain.map_or(WORD, |plain| plain.bytes * 8)
    };
    let given = program::given(&machine.arch);
    let widths = Widths::new(code, &scan.flags, &given, &registers);
    make(&Plan {
        machine,
        regions,
        scan: (&scan.flags, &widths, &scan.taken),
        kinds: (KINDS_SIZE / size.max(1)) as usize,
        gates: ways::gates(code),
        emits: !scan.interpreted_emit,
    })
}

/// Ranges of flagged slots from `first` on.
fn ranges(flags: &[bool], first: usize) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    let flagged = flags.iter().enumerate().skip(first);
    for (slot, _) in flagged.filter(|(_, flag)| **flag) {
        match out.last_mut() {
            Some((_, end)) if *end == slot => *end += 1,
            _ => out.push((slot, slot + 1)),
        }
    }
    out
}

/// How much work a compiler makes of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// Little, for what comes seldom: a third slower, made in a third of the time.
    Little,
    /// What it takes to be fast where [`deduce`] and [`known`] have found out already what there is to find out.
    Usual,
    /// All that it knows.
    All,
}

/// A compiler for the processor that this runs on, with the runtime's functions.
fn jit(effort: Effort) -> Result<JITBuilder, Unsupported> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("use_colocated_libcalls", "false"),
        ("is_pic", "false"),
        (
            "opt_level",
            match effort {
                Effort::Little | Effort::Usual => "none",
                Effort::All => "speed",
            },
        ),
        (
            "regalloc_algorithm",
            match effort {
                Effort::Little => "single_pass",
                Effort::Usual | Effort::All => "backtracking",
            },
        ),
        (
            "enable_verifier",
            if cfg!(debug_assertions) {
                "true"
            } else {
                "false"
            },
        ),
    ] {
        flags
            .set(name, value)
            .map_err(|_| Unsupported("a compiler flag"))?;
    }
    let isa = cranelift_native::builder().map_err(|_| Unsupported("this processor"))?;
    let isa = isa
        .finish(settings::Flags::new(flags))
        .map_err(|_| Unsupported("this processor"))?;
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    for (name, address, ..) in FUNCTIONS {
        builder.symbol(*name, address());
    }
    Ok(builder)
}

/// A runtime function: name, address, words it takes, what it returns.
type Function = (&'static str, fn() -> *const u8, usize, Option<Type>);

const FUNCTIONS: &[Function; 12] = &[
    (
        "interpret",
        || runtime::interpret as *const u8,
        2,
        Some(types::I32),
    ),
    (
        "lookup",
        || runtime::lookup as *const u8,
        5,
        Some(types::I64),
    ),
    ("apply", || runtime::apply as *const u8, 2, Some(types::I32)),
    ("count", || runtime::count as *const u8, 3, None),
    (
        "count_direct",
        || runtime::count_direct as *const u8,
        3,
        None,
    ),
    ("learn", || runtime::learn as *const u8, 5, Some(types::I64)),
    ("restart", || runtime::restart as *const u8, 3, None),
    ("hash", || runtime::hash as *const u8, 3, Some(types::I64)),
    (
        "crc32_step",
        || crc32_step() as *const u8,
        1,
        Some(types::I64),
    ),
    (
        "payload_hash",
        || runtime::payload_hash as *const u8,
        4,
        Some(types::I64),
    ),
    (
        "register_read",
        || runtime::register_read as *const u8,
        3,
        Some(types::I32),
    ),
    (
        "register_write",
        || runtime::register_write as *const u8,
        5,
        None,
    ),
];

/// Declares the runtime's functions, in the order of [`FUNCTIONS`].
fn declare(module: &mut JITModule) -> Result<[FuncId; 12], Unsupported> {
    let mut ids = [FuncId::from_u32(0); 12];
    for (id, (name, _, params, result)) in ids.iter_mut().zip(FUNCTIONS) {
        let mut made = module.make_signature();
        signature(&mut made, *params, *result);
        *id = module
            .declare_function(name, Linkage::Import, &made)
            .map_err(|_| Unsupported("this machine"))?;
    }
    Ok(ids)
}

/// Makes them known to a function.
fn reference(
    ids: [FuncId; 12],
    module: &mut JITModule,
    function: &mut cranelift_codegen::ir::Function,
) -> Imports {
    let references = ids.map(|id| module.declare_func_in_func(id, function));
    let [
        interpret,
        lookup,
        apply,
        count,
        count_direct,
        learn,
        restart,
        hash,
        crc32_step,
        payload_hash,
        register_read,
        register_write,
    ] = references;
    Imports {
        interpret,
        lookup,
        apply,
        count,
        count_direct,
        learn,
        restart,
        hash,
        crc32_step,
        payload_hash,
        register_read,
        register_write,
    }
}
