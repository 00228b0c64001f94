//! What machine code calls: tables, counters, learning, and the interpreter for nodes that are not plain.
//!
//! In: the [`Context`] of a packet, operands as words. Out: a status; values in the context.
//! Invariant: every function here is called by machine code alone, with the context that [`super::Native::run`] made,
//! on the thread that made it, while nothing else uses the packet's state.
#![allow(unsafe_code)]

use super::super::externs::{CounterCells, HashAlgorithm};
use super::super::interp::code::Goto;
use super::super::interp::{Flow, Run, Stop};
use super::super::tables::{Draft, MatchTable};
use super::context::{Context, NO_ACTION, NO_TABLE, Site, stop_code};
use crate::ir::{ExternInstance, Handle};

fn code(result: Result<u32, Stop>) -> u32 {
    match result {
        Ok(jump) => jump,
        Err(stop) => stop_code(stop),
    }
}

/// The packet's run, which knows what was applied last.
///
/// # Safety
/// `context` is the one that [`super::Native::run`] made and no other borrow of the run is in use.
#[inline(always)]
unsafe fn run<'a>(context: *mut Context) -> &'a mut Run<'a, 'a> {
    // SAFETY: the pointer was made from a `&mut Run` that outlives the machine code's execution; machine code is
    // suspended in this call, so the borrow is the only one. The context is the caller's, and its row is one of the
    // table's, found under the run's guard.
    unsafe {
        let run = &mut *(*context).run.cast::<Run<'a, 'a>>();
        if (*context).table != NO_TABLE {
            (*context).tell(run);
        }
        run
    }
}

/// Runs a node by the interpreter.
pub(super) extern "C" fn interpret(context: *mut Context, site: u64) -> u32 {
    // SAFETY: `site` is below the number of sites: the compiler made both. Nodes outlive the code that names them,
    // since the machine owns both and never changes.
    let (run, site) = unsafe { (run(context), *(*context).sites.add(site as usize)) };
    let mut scalar = 0;
    // SAFETY: the context is the caller's, and the packet is borrowed while machine code runs.
    unsafe {
        (*context).give(&mut run.state.intents);
        (*context).keep(run.state);
    }
    let mut jump = 0;
    // SAFETY: as above.
    let result = unsafe {
        match site {
            Site::Stmt(stmt) => run.exec_one(&*stmt).map(|flow| {
                jump = match flow {
                    Flow::Next => 0,
                    Flow::Return => RETURNED,
                    Flow::Break => RETURNED + 1,
                    Flow::Continue => RETURNED + 2,
                }
            }),
            Site::Ex(ex) => run.eval(&*ex).map(|value| scalar = value),
            Site::Agg(agg) => run.eval_agg(&*agg).map(|at| scalar = u128::from(at)),
            Site::Call(call) => run.call(&*call),
            Site::Prim(prim) => run.prim(&*prim).map(|value| scalar = value),
            Site::Select(parser, state) => run.transition(parser, state).map(|goto| {
                scalar = match goto {
                    Goto::Accept => u128::from(ACCEPT),
                    Goto::Reject => u128::from(REJECT),
                    Goto::State(state) => state as u128,
                }
            }),
        }
    };
    // SAFETY: the context is the caller's.
    unsafe {
        (*context).scalar = scalar;
        (*context).receive(&run.state.intents);
    }
    code(result.map(|()| jump))
}

/// Numbers of the states that end a parser.
pub(super) const ACCEPT: u32 = u32::MAX;
pub(super) const REJECT: u32 = u32::MAX - 1;

/// Flags of a statement's end that are no stop: `return`, `break`, `continue` inside it.
pub(super) const RETURNED: u32 = 0x4000_0000;

/// Looks a key up: the action in the low half, 1 in the upper half on a hit.
pub(super) extern "C" fn lookup(
    context: *mut Context,
    table: u64,
    key: *const u64,
    selector: *const u8,
    selector_len: u64,
) -> u64 {
    // SAFETY: see `run`; `selector` points to as many bytes on the machine code's stack.
    let (run, selector) = unsafe {
        let selector = std::slice::from_raw_parts(selector, selector_len as usize);
        (run(context), selector)
    };
    let words = run.key_words(table as u32);
    // SAFETY: machine code builds as many words as the table's layout has.
    let key = unsafe { std::slice::from_raw_parts(key, words) };
    // SAFETY: the context is the caller's.
    let bytes = unsafe { (*context).bits / 8 };
    let found = run.look_up(table as u32, key, selector, bytes);
    // SAFETY: the context is the caller's.
    unsafe { (*context).answer(&found) }
}

/// What a lookup is about: the packet's run, the table, the words of the key.
///
/// # Safety
/// As for [`run`]; the machine owns the table and the code that names it, and its tables never move; the key has as many
/// words as `place` says.
unsafe fn asked<'a>(
    context: *mut Context,
    table: *const MatchTable,
    key: *const u64,
    place: u64,
) -> (&'a mut Run<'a, 'a>, &'a MatchTable, &'a [u64]) {
    // SAFETY: as the caller says.
    unsafe {
        let key = std::slice::from_raw_parts(key, (place >> 48) as usize);
        (run(context), &*table, key)
    }
}

/// Looks a key up in a table that is simple: the answer as [`lookup`] gives it. The last word is [`place`]'s.
pub(super) extern "C" fn lookup_simple(
    context: *mut Context,
    table: *const MatchTable,
    key: *const u64,
    place: u64,
) -> u64 {
    // SAFETY: machine code's own arguments.
    let (run, table, key) = unsafe { asked(context, table, key, place) };
    let found = run.look_up_simple(place as u32, table, key);
    // SAFETY: the context is the caller's.
    let context = unsafe { &mut *context };
    context.touch_found(run, (place as u32, table), key, &found);
    context.answer(&found)
}

/// Takes note that machine code has found nothing in a table that is plain, its key having this hash: the answer as [`lookup`]
/// gives it.
pub(super) extern "C" fn missed(
    context: *mut Context,
    table: *const MatchTable,
    key: *const u64,
    place: u64,
    hash: u64,
) -> u64 {
    // SAFETY: machine code's own arguments.
    let (run, table, key) = unsafe { asked(context, table, key, place) };
    let found = run.missed(place as u32, table, key);
    // SAFETY: the context is the caller's.
    let context = unsafe { &mut *context };
    context.touch_buckets(run, (place as u32, table), hash);
    context.answer(&found)
}

/// What a lookup in a table that is simple would find: the answer as [`lookup`] gives it. Nothing is counted, and the
/// context's row is null where there is none. The last word is [`place`]'s.
pub(super) extern "C" fn peek(
    context: *mut Context,
    table: *const MatchTable,
    key: *const u64,
    place: u64,
) -> u64 {
    // SAFETY: machine code's own arguments.
    let (run, table, key) = unsafe { asked(context, table, key, place) };
    let found = table.peek(run.guard, key, run.now);
    // SAFETY: the context is the caller's.
    unsafe { (*context).answer(&found) }
}

/// Words of a key and number of the table, as one word; `None` where they do not fit.
pub(super) fn place(words: usize, table: u32) -> Option<u64> {
    let words = u16::try_from(words).ok()?;
    Some(u64::from(words) << 48 | u64::from(table))
}

/// Applies a table that is not plain, its action included.
pub(super) extern "C" fn apply(context: *mut Context, table: u64) -> u32 {
    // SAFETY: see `run`.
    let run = unsafe { run(context) };
    // SAFETY: the context is the caller's, and the packet is borrowed while machine code runs.
    unsafe {
        (*context).give(&mut run.state.intents);
        (*context).keep(run.state);
    }
    let result = run.apply(table as u32).map(|(hit, action)| {
        let action = action.map_or(NO_ACTION, u32::from);
        u128::from(action) | u128::from(hit) << 32
    });
    // SAFETY: the context is the caller's.
    unsafe {
        (*context).scalar = *result.as_ref().unwrap_or(&0);
        (*context).receive(&run.state.intents);
    }
    code(result.map(|_| 0))
}

/// Counts on a cell that machine code does not find, since nobody has counted there on this thread.
pub(super) extern "C" fn count(cells: *const CounterCells, cell: u64, bytes: u64) {
    // SAFETY: the machine owns the cells and the code that names them, and neither moves.
    unsafe { &*cells }.count(cell as u32, bytes);
}

/// Counts on the entry that the table's last lookup hit.
pub(super) extern "C" fn count_direct(context: *mut Context, table: u64, bytes: u64) {
    // SAFETY: see `run`.
    unsafe { run(context) }.count_last(table as u32, bytes);
}

/// Adds the entry whose lookup missed; 1 when it was added.
pub(super) extern "C" fn learn(
    context: *mut Context,
    action: u64,
    data: *const u64,
    words: u64,
    profile: u64,
) -> u64 {
    // SAFETY: see `run`; machine code built the words.
    let (run, data) = unsafe {
        (
            run(context),
            std::slice::from_raw_parts(data, words as usize),
        )
    };
    let timeout = run.expire_time(u128::from(profile));
    u64::from(run.learn(action as u16, data, timeout))
}

/// What an entry to be added consists of, as one word: words of its key, words of its data, its action; `None` where they do not
/// fit.
pub(super) fn shape(key: usize, data: usize, action: u16) -> Option<u64> {
    let (key, data) = (u16::try_from(key).ok()?, u16::try_from(data).ok()?);
    Some(u64::from(key) << 48 | u64::from(data) << 32 | u64::from(action))
}

/// Adds an entry whose key a table has not found, the words of the key and of its data one behind the other; `shape` is
/// [`shape`]'s.
pub(super) extern "C" fn learn_missed(
    context: *mut Context,
    table: *const MatchTable,
    words: *const u64,
    shape: u64,
    hash: u64,
    timeout: u64,
) {
    let (key, data) = ((shape >> 48) as usize, (shape >> 32) as u16 as usize);
    // SAFETY: as for `asked`; machine code built the words.
    let (run, table, words) = unsafe {
        let words = std::slice::from_raw_parts(words, key + data);
        (run(context), &*table, words)
    };
    let (key, data) = words.split_at(key);
    let draft = Draft::direct(shape as u16, data, (timeout, run.now));
    table.learn(run.guard, (key, hash), &draft);
}

/// Starts the timer of the entry that was hit anew; with another profile when `set` is 1.
pub(super) extern "C" fn restart(context: *mut Context, set: u64, profile: u64) {
    // SAFETY: see `run`.
    let run = unsafe { run(context) };
    let timeout = (set != 0).then(|| run.expire_time(u128::from(profile)));
    run.restart_timer(timeout);
}

/// A hash over packed bytes; `algorithm` as [`algorithm`] numbers it.
pub(super) extern "C" fn hash(algorithm: u64, data: *const u8, len: u64) -> u64 {
    // SAFETY: machine code packed as many bytes.
    let data = unsafe { std::slice::from_raw_parts(data, len as usize) };
    ALGORITHMS
        .get(algorithm as usize)
        .map_or(0, |algorithm| algorithm.hash(data))
}

/// A checksum over packed bytes and the packet's payload.
pub(super) extern "C" fn payload_hash(
    context: *mut Context,
    algorithm: u64,
    data: *const u8,
    bits: u64,
) -> u64 {
    // SAFETY: see `run`; machine code packed as many bits.
    let (run, data) = unsafe {
        (
            run(context),
            std::slice::from_raw_parts(data, bits.div_ceil(8) as usize),
        )
    };
    // SAFETY: the context is the caller's, and the packet is borrowed while machine code runs.
    unsafe { (*context).keep(run.state) };
    let algorithm = ALGORITHMS.get(algorithm as usize);
    algorithm.map_or(0, |&algorithm| {
        run.hash_with_payload(algorithm, data, bits as u32)
    })
}

/// Reads a register cell of one slot; 1 when the index was in range, the value in the context.
pub(super) extern "C" fn register_read(context: *mut Context, instance: u64, index: u64) -> u32 {
    // SAFETY: see `run`.
    let run = unsafe { run(context) };
    let mut value = [0];
    let instance: Handle<ExternInstance> = Handle::new(instance as u32);
    let register = run.machine.externs().register(instance);
    let read = register.is_ok_and(|register| register.read(u128::from(index), &mut value));
    // SAFETY: the context is the caller's.
    unsafe { (*context).scalar = value[0] };
    u32::from(read)
}

/// Writes a register cell of one slot.
pub(super) extern "C" fn register_write(
    context: *mut Context,
    instance: u64,
    index: u64,
    low: u64,
    high: u64,
) {
    // SAFETY: see `run`.
    let run = unsafe { run(context) };
    let instance: Handle<ExternInstance> = Handle::new(instance as u32);
    if let Ok(register) = run.machine.externs().register(instance) {
        register.write(
            u128::from(index),
            &[u128::from(low) | u128::from(high) << 64],
        );
    }
}

/// Hash algorithms by the number that machine code uses.
const ALGORITHMS: [HashAlgorithm; 6] = [
    HashAlgorithm::Crc32,
    HashAlgorithm::Crc16,
    HashAlgorithm::Csum16,
    HashAlgorithm::Xor16,
    HashAlgorithm::Identity,
    HashAlgorithm::Toeplitz,
];

/// The number of an algorithm.
pub(super) fn algorithm(algorithm: HashAlgorithm) -> Option<usize> {
    ALGORITHMS.iter().position(|&known| known == algorithm)
}
