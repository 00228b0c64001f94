//! Where the order of packets matters: stretches of a pass that one packet leaves before the next one enters.
//!
//! In: a loaded machine. Out: for everything that packets read and others change (registers, meters, random numbers,
//! tables that packets add entries to), the statements from the first that touches it to the last one.
//!
//! ```text
//! … ─ pick an endpoint ─┬─ read register ─ flow ─ reply ─ write register ─┬─ route ─ …
//!                       └──────────── one stretch: one packet ────────────┘
//! ```
//!
//! Invariant: outside of the stretches a pass touches nothing whose order matters but tables that it applies in one
//! place only, by one lookup in machine code: those are a stretch of their own, between two waits.

use std::collections::BTreeMap;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::super::arch::Arch;
use super::super::interp::Machine;
use super::super::interp::code::{
    Agg, Call, ChecksumAction, Code, Dest, Ex, Extern, Next, Operand, Pack, Place, Prim, Stmt,
    Target, Test, WideKind,
};
use super::super::tables::MatchTable;
use super::support;

/// What packets leave behind for later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Register(usize),
    Meter(usize),
    Random,
    /// A table that packets add entries to, or whose entries have meters.
    Table(u32),
    /// The entry of whichever table was applied last.
    Last,
    /// Another pass.
    Again,
}

/// How often something is touched.
type Sites = BTreeMap<Object, u32>;

/// Statements of one list.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    list: *const Stmt,
    first: usize,
    last: usize,
}

/// The stretches of a program.
#[derive(Debug, Default)]
pub(super) struct Order {
    stretches: Vec<Stretch>,
}

impl Order {
    /// The stretches; `None` when packets have to run one after the other.
    pub fn of(machine: &Machine) -> Option<Self> {
        let mut scan = Scan {
            machine,
            code: &machine.code,
            known: FxHashMap::default(),
        };
        // What comes after may be left to the architecture, when other packets' passes are over.
        let (within, before, after) = match &machine.arch {
            Arch::Pna(pna) => (vec![pna.pre, pna.main], pna.parser, vec![pna.deparser]),
            Arch::V1Model(arch) => (
                vec![arch.verify, arch.ingress],
                arch.parser,
                vec![arch.egress, arch.compute, arch.deparser],
            ),
        };
        let mut apart = vec![scan.target(Target::Parser(before))];
        apart.extend(after.iter().map(|&at| scan.target(Target::Control(at))));
        if !apart.iter().all(|sites| sites.is_empty()) {
            return None;
        }
        let mut order = Self::default();
        let mut seen = Sites::new();
        for control in within {
            let sites = scan.target(Target::Control(control));
            if sites.contains_key(&Object::Again) {
                return None;
            }
            if sites.keys().any(|object| seen.contains_key(object)) {
                return None;
            }
            seen.extend(sites.iter());
            if sites.is_empty() {
                continue;
            }
            let body = scan.code.body(Target::Control(control))?;
            for &object in sites.keys() {
                order.add(scan.stretch(body, object));
            }
        }
        // An entry's timer that is set elsewhere than in the table's own action may be any table's.
        if seen.contains_key(&Object::Last) {
            return None;
        }
        Some(order)
    }

    /// Adds a stretch to those that it meets.
    fn add(&mut self, stretch: Option<Stretch>) {
        let Some(mut stretch) = stretch else {
            return;
        };
        self.stretches.retain(|other| {
            let meets = other.list == stretch.list
                && other.first <= stretch.last
                && stretch.first <= other.last;
            if meets {
                stretch.first = stretch.first.min(other.first);
                stretch.last = stretch.last.max(other.last);
            }
            !meets
        });
        self.stretches.push(stretch);
    }

    /// The last statement of the stretch that begins with a statement of a list.
    pub fn end(&self, list: &[Stmt], first: usize) -> Option<usize> {
        let begins = |stretch: &&Stretch| stretch.list == list.as_ptr() && stretch.first == first;
        self.stretches.iter().find(begins).map(|s| s.last)
    }
}

struct Scan<'m> {
    machine: &'m Machine,
    code: &'m Code,
    known: FxHashMap<(u8, u32), Rc<Sites>>,
}

impl<'m> Scan<'m> {
    /// The smallest stretch with all that touches an object, none if it needs none.
    fn stretch(&mut self, list: &'m [Stmt], object: Object) -> Option<Stretch> {
        let mut touching = (0..list.len()).filter(|&at| {
            let mut sites = Sites::new();
            self.stmt(&list[at], &mut sites);
            sites.contains_key(&object)
        });
        let first = touching.next()?;
        let last = touching.next_back().unwrap_or(first);
        if first == last {
            let stmt = &list[first];
            if self.lone(stmt, object) {
                return None;
            }
            if let Some(inner) = self.inner(stmt, object) {
                return self.stretch(inner, object);
            }
        }
        Some(Stretch {
            list: list.as_ptr(),
            first,
            last,
        })
    }

    /// The list in a statement that has everything that touches an object, where machine code expands it.
    fn inner(&mut self, stmt: &'m Stmt, object: Object) -> Option<&'m [Stmt]> {
        if !support::stmt(stmt) {
            return None;
        }
        match stmt {
            Stmt::Block(body) => Some(body),
            Stmt::If(cond, then, otherwise) => {
                let mut sites = Sites::new();
                self.ex(cond, &mut sites);
                let has = [then, otherwise].map(|body| {
                    let mut sites = Sites::new();
                    self.stmts(body, &mut sites);
                    sites.contains_key(&object)
                });
                match (sites.contains_key(&object), has) {
                    (false, [true, false]) => Some(then),
                    (false, [false, true]) => Some(otherwise),
                    _ => None,
                }
            }
            Stmt::Call(call) => {
                let mut sites = Sites::new();
                self.arguments(call, &mut sites);
                let body = self.code.body(call.target)?;
                (!sites.contains_key(&object)).then_some(body)
            }
            _ => None,
        }
    }

    /// Whether a statement touches a table by one lookup in machine code, first thing that it does.
    fn lone(&mut self, stmt: &Stmt, object: Object) -> bool {
        let Object::Table(index) = object else {
            return false;
        };
        let applied = match stmt {
            Stmt::Apply(table) | Stmt::SwitchAction { table, .. } => *table == index,
            Stmt::If(Ex::Apply { table, .. }, ..) => *table == index,
            Stmt::If(Ex::Not(cond), ..) => {
                matches!(&**cond, Ex::Apply { table, .. } if *table == index)
            }
            _ => false,
        };
        let mut sites = Sites::new();
        self.stmt(stmt, &mut sites);
        let table = self.machine.tables.get(index as usize);
        let code = self.code.table(index);
        applied
            && sites.get(&object) == Some(&1)
            && code.is_some_and(support::table)
            && table.is_some_and(|table| table.plain_words().is_some())
    }

    /// What a call's target touches.
    fn target(&mut self, target: Target) -> Rc<Sites> {
        let key = match target {
            Target::Function(index) => (0, index),
            Target::Action(index) => (1, index),
            Target::Control(index) => (2, index),
            Target::Parser(index) => (3, index),
        };
        if let Some(known) = self.known.get(&key) {
            return Rc::clone(known);
        }
        let mut sites = Sites::new();
        match target {
            Target::Parser(index) => self.parser(index, &mut sites),
            target => {
                if let Some(body) = self.code.body(target) {
                    self.stmts(body, &mut sites);
                }
            }
        }
        let sites = Rc::new(sites);
        self.known.insert(key, Rc::clone(&sites));
        sites
    }

    fn parser(&mut self, index: u32, sites: &mut Sites) {
        let Some(Some((_, parser))) = self.code.parsers.get(index as usize) else {
            return;
        };
        self.stmts(&parser.locals, sites);
        for state in &parser.states {
            self.stmts(&state.body, sites);
            if let Next::Select { subjects, cases } = &state.next {
                subjects
                    .iter()
                    .for_each(|subject| self.operand(&subject.value, sites));
                for test in cases.iter().flat_map(|(tests, _)| tests) {
                    match test {
                        Test::Any | Test::Set(..) => {}
                        Test::Value(value) => self.operand(value, sites),
                        Test::Mask(value, mask) => {
                            self.operand(value, sites);
                            self.operand(mask, sites);
                        }
                        Test::Range(low, high) => {
                            self.ex(low, sites);
                            self.ex(high, sites);
                        }
                    }
                }
            }
        }
    }

    /// What applying a table touches.
    fn table(&mut self, index: u32, sites: &mut Sites) {
        let machine = self.machine;
        let ordered = |table: &MatchTable| table.is_learner() || table.is_metered();
        if machine.tables.get(index as usize).is_some_and(ordered) {
            touch(sites, Object::Table(index));
        }
        let Some(Some(table)) = self.code.tables.get(index as usize) else {
            return;
        };
        table
            .keys
            .iter()
            .for_each(|key| self.operand(&key.value, sites));
        self.packs(&table.selector, sites);
        let mut own = Sites::new();
        for action in &table.actions {
            self.call(&action.call, &mut own);
        }
        // The table's own actions are about its own entry.
        own.remove(&Object::Last);
        add(sites, &own);
    }

    fn stmts(&mut self, stmts: &[Stmt], sites: &mut Sites) {
        stmts.iter().for_each(|stmt| self.stmt(stmt, sites));
    }

    fn stmt(&mut self, stmt: &Stmt, sites: &mut Sites) {
        match stmt {
            Stmt::Set(_, ex) => self.ex(ex, sites),
            Stmt::Assign(dest, value) => {
                self.operand(value, sites);
                self.place(&dest.place, sites);
            }
            Stmt::Init(_, value) | Stmt::Eval(value) | Stmt::Return(Some((_, value))) => {
                self.operand(value, sites);
            }
            Stmt::Call(call) => self.call(call, sites),
            Stmt::Apply(table) => self.table(*table, sites),
            Stmt::Prim(prim) => self.prim(prim, sites),
            Stmt::If(cond, then, otherwise) => {
                self.ex(cond, sites);
                self.stmts(then, sites);
                self.stmts(otherwise, sites);
            }
            Stmt::SwitchAction {
                table,
                cases,
                default,
                ..
            } => {
                self.table(*table, sites);
                cases.iter().for_each(|case| self.stmts(case, sites));
                self.stmts(default, sites);
            }
            Stmt::Switch {
                subject,
                cases,
                default,
            } => {
                self.operand(subject, sites);
                for (labels, body) in cases {
                    labels.iter().for_each(|label| self.operand(label, sites));
                    self.stmts(body, sites);
                }
                self.stmts(default, sites);
            }
            Stmt::For {
                init,
                cond,
                update,
                body,
            } => {
                self.ex(cond, sites);
                [init, update, body]
                    .into_iter()
                    .for_each(|part| self.stmts(part, sites));
            }
            Stmt::ForRange {
                low, high, body, ..
            } => {
                self.ex(low, sites);
                self.ex(high, sites);
                self.stmts(body, sites);
            }
            Stmt::ForItems { items, body, .. } => {
                items.iter().for_each(|item| self.operand(item, sites));
                self.stmts(body, sites);
            }
            Stmt::ForStack { stack, body, .. } => {
                self.agg(stack, sites);
                self.stmts(body, sites);
            }
            Stmt::Block(body) => self.stmts(body, sites),
            Stmt::Clear(..) | Stmt::Return(None) | Stmt::Break | Stmt::Continue | Stmt::Exit => {}
        }
    }

    /// Arguments and what is called.
    fn call(&mut self, call: &Call, sites: &mut Sites) {
        self.arguments(call, sites);
        let target = self.target(call.target);
        add(sites, &target);
    }

    fn arguments(&mut self, call: &Call, sites: &mut Sites) {
        call.ins
            .iter()
            .for_each(|(_, value)| self.operand(value, sites));
        call.places
            .iter()
            .for_each(|arg| self.place(&arg.dest.place, sites));
    }

    fn operand(&mut self, operand: &Operand, sites: &mut Sites) {
        match operand {
            Operand::One(ex) => self.ex(ex, sites),
            Operand::Many(agg, _) => self.agg(agg, sites),
        }
    }

    fn ex(&mut self, ex: &Ex, sites: &mut Sites) {
        match ex {
            Ex::Const(_) | Ex::Slot(_) | Ex::PacketLength | Ex::Lookahead(_) => {}
            Ex::Load(place) | Ex::LastIndex(place) => self.place(place, sites),
            Ex::UnionValid { union, .. } => self.place(union, sites),
            Ex::Slice { value, .. }
            | Ex::Mask(value, _)
            | Ex::SignExtend { value, .. }
            | Ex::Not(value)
            | Ex::BitNot(value, _)
            | Ex::Neg(value, _) => self.ex(value, sites),
            Ex::WideSlice { value, .. } => self.agg(value, sites),
            Ex::Bin(bin) => {
                self.ex(&bin.a, sites);
                self.ex(&bin.b, sites);
            }
            Ex::And(pair) | Ex::Or(pair) => {
                self.ex(&pair.0, sites);
                self.ex(&pair.1, sites);
            }
            Ex::Mux(parts) => {
                self.ex(&parts.0, sites);
                self.ex(&parts.1, sites);
                self.ex(&parts.2, sites);
            }
            Ex::Same { a, b, .. } | Ex::WideOrder { a, b, .. } => {
                self.agg(a, sites);
                self.agg(b, sites);
            }
            Ex::Call(call, _) => self.call(call, sites),
            Ex::Apply { table, .. } => self.table(*table, sites),
            Ex::Prim(prim) => self.prim(prim, sites),
        }
    }

    fn agg(&mut self, agg: &Agg, sites: &mut Sites) {
        match agg {
            Agg::Place(place) => self.place(place, sites),
            Agg::Const { .. } | Agg::Lookahead { .. } => {}
            Agg::Build { parts, .. } => {
                parts.iter().for_each(|(_, part)| self.operand(part, sites));
            }
            Agg::Wide(op) => match &op.kind {
                WideKind::Cast(value) | WideKind::Neg(value) | WideKind::BitNot(value) => {
                    self.operand(&value.value, sites);
                }
                WideKind::Slice { value, .. } => self.operand(&value.value, sites),
                WideKind::Bin(_, a, b) => {
                    self.operand(&a.value, sites);
                    self.operand(&b.value, sites);
                }
            },
            Agg::Mux(parts) => {
                self.ex(&parts.0, sites);
                self.agg(&parts.1, sites);
                self.agg(&parts.2, sites);
            }
            Agg::Call { call, .. } => self.call(call, sites),
            Agg::Prim { prim, .. } => self.prim(prim, sites),
        }
    }

    fn place(&mut self, place: &Place, sites: &mut Sites) {
        match place {
            Place::Fixed(_) => {}
            Place::Field(base, _) => self.place(base, sites),
            Place::Index { stack, index, .. } => {
                self.place(stack, sites);
                self.ex(index, sites);
            }
            Place::Next { stack, .. } | Place::Last { stack, .. } => self.place(stack, sites),
            Place::Value(value) => self.agg(value, sites),
        }
    }

    fn packs(&mut self, data: &[Pack], sites: &mut Sites) {
        for item in data {
            let guard = match item {
                Pack::Scalar { value, guard, .. } => {
                    self.ex(value, sites);
                    guard
                }
                Pack::Leaves { value, guard, .. } => {
                    self.agg(value, sites);
                    guard
                }
            };
            guard.iter().for_each(|place| self.place(place, sites));
        }
    }

    fn prim(&mut self, prim: &Prim, sites: &mut Sites) {
        match prim {
            Prim::Extract {
                dest, next, varbit, ..
            } => {
                dest.iter().for_each(|to| self.place(&to.place, sites));
                next.iter().for_each(|(stack, _)| self.place(stack, sites));
                varbit.iter().for_each(|size| self.ex(size, sites));
            }
            Prim::Advance(bits) => self.ex(bits, sites),
            Prim::Emit { value, .. } => self.agg(value, sites),
            Prim::SetValid(dest)
            | Prim::SetInvalid { dest, .. }
            | Prim::Shift { stack: dest, .. } => self.place(&dest.place, sites),
            Prim::Verify(condition, error) => {
                self.ex(condition, sites);
                self.ex(error, sites);
            }
            Prim::Extern(op) => self.external(op, sites),
        }
    }

    fn external(&mut self, op: &Extern, sites: &mut Sites) {
        let exs: Vec<&Ex> = match op {
            Extern::Nothing
            | Extern::DirectMeter { .. }
            | Extern::SumClear(_)
            | Extern::SumGet(_)
            | Extern::SumState(_)
            | Extern::MarkToDrop { .. }
            | Extern::Drop => vec![],
            Extern::Resubmit(_) | Extern::RecirculateList(_) | Extern::Recirculate => {
                touch(sites, Object::Again);
                vec![]
            }
            Extern::Clone { session, .. } => {
                touch(sites, Object::Again);
                vec![session]
            }
            Extern::RestartTimer => {
                touch(sites, Object::Last);
                vec![]
            }
            Extern::SetExpire(profile) => {
                touch(sites, Object::Last);
                vec![profile]
            }
            Extern::AddEntry { data, profile, .. } => {
                touch(sites, Object::Last);
                data.iter()
                    .for_each(|(value, _)| self.operand(value, sites));
                vec![profile]
            }
            Extern::Meter {
                instance,
                index,
                length,
                ..
            } => {
                touch(sites, Object::Meter(instance.index()));
                [index].into_iter().chain(length).collect()
            }
            Extern::RegisterRead {
                instance, index, ..
            } => {
                touch(sites, Object::Register(instance.index()));
                vec![index]
            }
            Extern::RegisterWrite {
                instance,
                index,
                value,
            } => {
                touch(sites, Object::Register(instance.index()));
                self.operand(value, sites);
                vec![index]
            }
            Extern::Random { low, high, .. } => {
                touch(sites, Object::Random);
                vec![low, high]
            }
            Extern::Count { index, length, .. } => [index].into_iter().chain(length).collect(),
            Extern::CountDirect { length, .. } => length.iter().collect(),
            Extern::Hash {
                base, max, data, ..
            } => {
                self.packs(data, sites);
                [base].into_iter().chain(max).collect()
            }
            Extern::SumAdd(_, data) | Extern::SumSubtract(_, data) | Extern::Log { data, .. } => {
                self.packs(data, sites);
                vec![]
            }
            Extern::Digest { receiver, data, .. } => {
                self.packs(data, sites);
                vec![receiver]
            }
            Extern::SumSetState(_, value)
            | Extern::Assert(value)
            | Extern::Truncate(value)
            | Extern::SendTo(value)
            | Extern::IsHostPort(value) => vec![value],
            Extern::Mirror { slot, session } => vec![slot, session],
            Extern::Checksum(checksum) => {
                self.packs(&checksum.data, sites);
                match &checksum.action {
                    ChecksumAction::Verify { stored, .. } => vec![&checksum.condition, stored],
                    ChecksumAction::Update(_) => vec![&checksum.condition],
                }
            }
        };
        exs.into_iter().for_each(|ex| self.ex(ex, sites));
        if let Some(dest) = dest(op) {
            self.place(&dest.place, sites);
        }
    }
}

/// Where an operation puts what it finds.
fn dest(op: &Extern) -> Option<&Dest> {
    match op {
        Extern::Meter { dest, .. }
        | Extern::DirectMeter { dest, .. }
        | Extern::RegisterRead { dest, .. }
        | Extern::Random { dest, .. }
        | Extern::Hash { dest, .. } => dest.as_ref(),
        Extern::Checksum(checksum) => match &checksum.action {
            ChecksumAction::Update(dest) => Some(dest),
            ChecksumAction::Verify { .. } => None,
        },
        _ => None,
    }
}

fn touch(sites: &mut Sites, object: Object) {
    let count = sites.entry(object).or_default();
    *count = count.saturating_add(1);
}

fn add(sites: &mut Sites, more: &Sites) {
    for (&object, &count) in more {
        let sum = sites.entry(object).or_default();
        *sum = sum.saturating_add(count);
    }
}
