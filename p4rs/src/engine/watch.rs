//! Watches now and then which ways packets take through the program, so that those of most get code of their own.
//!
//! In: what workers tell of their packets. Out: code for usual ways, made on a thread of its own while packets go on, and made
//! anew where it does not fit most packets any more.
//!
//! ```text
//! some packets ─ interpreter ─ what they decided ─▶ profile ─ enough ─▶ compiler ─▶ code ─▶ workers
//!      ▲                                                                                     │
//!      └──────────── most packets take other ways, or tables have outgrown the caches ◀──────┘
//! ```
//!
//! Invariant: packets do the same with any such code, or with none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use super::interp::Machine;
use super::native::{HotCode, Profile};

/// Packets after which workers tell what theirs did.
pub(crate) const TELL: u32 = 1 << 13;
/// Packets between two attempts: at first; at most while packets do what is rare, which is soon over; and at most.
const FIRST: u64 = 1 << 14;
const NONE: u64 = 1 << 19;
const MOST: u64 = 1 << 24;

/// What the workers of an engine share.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Packets of a profile; 0 where none is wanted.
    packets: u32,
    /// How many are to be watched still, one of so many, and how many there are to be before the next one.
    wanted: AtomicU32,
    one_in: u64,
    next: AtomicU64,
    /// Changes whenever the code does.
    version: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    profile: Profile,
    hot: Option<Arc<HotCode>>,
    /// How often code was made, and whether it could not be made of the last profile.
    made: u32,
    failed: bool,
    /// Whether a compiler is at work, or what it was last.
    compiler: Option<JoinHandle<()>>,
    /// Packets since the last attempt, those of them that took other ways, and how many there are to be before the next one.
    ran: u64,
    others: u64,
    wait: u64,
    /// By table, whether caches did not hold it at the last attempt.
    far: Vec<bool>,
}

impl State {
    /// Whether a compiler is at work.
    fn is_busy(&self) -> bool {
        let compiler = self.compiler.as_ref();
        compiler.is_some_and(|compiler| !compiler.is_finished())
    }
}

/// By table, whether caches do not hold it.
fn far(machine: &Machine) -> Vec<bool> {
    machine.tables.iter().map(|table| table.is_far()).collect()
}

impl Watch {
    /// As a machine's configuration says.
    pub fn new(machine: &Machine) -> Self {
        let config = machine.config();
        let packets = machine
            .native
            .as_ref()
            .map_or(0, |_| config.watched_packets);
        Self {
            packets,
            wanted: AtomicU32::new(packets),
            one_in: u64::from(config.watched_one_in),
            next: AtomicU64::new(0),
            version: AtomicU32::new(0),
            state: Mutex::new(State {
                wait: FIRST,
                ..State::default()
            }),
        }
    }

    /// Whether a packet is to be watched, when so many have come.
    #[inline]
    pub fn wants_one(&self, received: &AtomicU64) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0 && self.claim(received.load(Ordering::Relaxed))
    }

    fn claim(&self, received: u64) -> bool {
        let order = Ordering::Relaxed;
        let later = |next: u64| (received >= next).then_some(received + self.one_in);
        let fewer = |wanted: u32| wanted.checked_sub(1);
        self.next.fetch_update(order, order, later).is_ok()
            && self.wanted.fetch_update(order, order, fewer).is_ok()
    }

    /// What a packet decided, where that is of use.
    pub fn add(self: &Arc<Self>, machine: &Arc<Machine>, taken: Option<&[u32]>) {
        let mut state = self.state.lock();
        state.profile.add(taken);
        if state.profile.packets() < self.packets {
            return;
        }
        let profile = std::mem::take(&mut state.profile);
        (state.ran, state.others) = (0, 0);
        state.far = far(machine);
        let (watch, machine) = (Arc::clone(self), Arc::clone(machine));
        let compile = move || watch.compile(&machine, &profile);
        let compiler = thread::Builder::new().name("p4rs-hot".into());
        // Without a thread packets go on with what there is.
        state.compiler = compiler.spawn(compile).ok();
    }

    /// Makes code of a profile. Where it cannot be made, there is none: what there was is for packets of another time.
    fn compile(&self, machine: &Machine, profile: &Profile) {
        let native = machine.native.as_ref();
        let useful = profile.is_useful();
        let hot = native.filter(|_| useful);
        let hot = hot.and_then(|native| native.compile_hot(machine, profile));
        let mut state = self.state.lock();
        state.made += u32::from(hot.is_some());
        state.failed = useful && hot.is_none();
        let old = std::mem::replace(&mut state.hot, hot.map(Arc::new));
        self.version.fetch_add(1, Ordering::Release);
        drop(state);
        drop(old);
    }

    /// Replaces code that is not the last one.
    #[inline]
    pub fn renew(&self, version: &mut u32, hot: &mut Option<Arc<HotCode>>) {
        if self.version.load(Ordering::Acquire) != *version {
            let state = self.state.lock();
            *version = self.version.load(Ordering::Acquire);
            let new = state.hot.clone();
            drop(state);
            *hot = new;
        }
    }

    /// So many packets ran one after the other, some of which took other ways than those that have code.
    pub fn tell(&self, machine: &Machine, ran: u32, others: u32) {
        if self.packets == 0 || self.wanted.load(Ordering::Relaxed) > 0 {
            return;
        }
        let mut state = self.state.lock();
        state.ran += u64::from(ran);
        state.others += u64::from(others);
        if state.is_busy() {
            (state.ran, state.others) = (0, 0);
        }
        if state.ran < state.wait {
            return;
        }
        let most = if state.hot.is_some() || state.failed {
            MOST
        } else {
            NONE
        };
        if state.others * 4 > state.ran || state.far != far(machine) {
            state.wait = (state.wait * 2).min(most);
            self.wanted.store(self.packets, Ordering::Relaxed);
        } else {
            state.wait = (state.wait / 2).max(FIRST);
        }
        (state.ran, state.others) = (0, 0);
    }

    /// The next packets are watched, whatever the last ones did, unless some are or a compiler is at work.
    pub fn again(&self) {
        let state = self.state.lock();
        if !state.is_busy() && state.profile.packets() == 0 {
            self.wanted.store(self.packets, Ordering::Relaxed);
        }
    }

    /// Waits for a compiler that is at work.
    pub fn settle(&self) {
        let compiler = self.state.lock().compiler.take();
        if let Some(compiler) = compiler {
            // What it could not make is not there.
            let _made = compiler.join();
        }
    }

    /// How often code was made.
    pub fn made(&self) -> u32 {
        self.state.lock().made
    }
}
