//! The slots that the interpreter may touch when machine code hands a node to it: these live in memory.
//!
//! In: the lowered program. Out: a flag per slot. Invariant: every slot that evaluating a node that is not plain can
//! read or write is flagged, calls and tables included.

use rustc_hash::{FxHashMap, FxHashSet};

use super::super::bits;
use super::super::interp::code::{
    Agg, Call, ChecksumAction, Code, Dest, Ex, Extern, Next, Operand, Pack, Place, Prim, Shape,
    Slot, Stmt, Target, Test, WideKind,
};
use super::super::layout::Leaf;
use super::support;

/// What the interpreter may be asked to do.
pub(super) struct Footprint {
    /// For every slot, whether it lives in memory.
    pub flags: Vec<bool>,
    /// Some header is emitted by the interpreter: then all are.
    pub interpreted_emit: bool,
    /// Something is taken from the packet that is not whole bytes.
    pub odd_bits: bool,
    /// For fields of headers that become valid by being taken from the packet only: the slot of the header's validity.
    pub taken: FxHashMap<Slot, Slot>,
}

/// Looks through the whole program.
pub(super) fn footprint(code: &Code) -> Footprint {
    let mut scan = Scan {
        code,
        flags: vec![false; code.slots as usize],
        inside: false,
        called: Default::default(),
        interpreted_emit: false,
        odd_bits: false,
        taken: FxHashMap::default(),
        made: FxHashSet::default(),
        made_anywhere: false,
    };
    let region = code.sink;
    scan.touch(code.zero, region);
    scan.touch(code.sink, region);
    for body in code.functions.iter().chain(&code.actions) {
        scan.stmts(body);
    }
    for (_, body) in code.controls.iter().flatten() {
        scan.stmts(body);
    }
    for (_, parser) in code.parsers.iter().flatten() {
        scan.stmts(&parser.locals);
        for state in &parser.states {
            scan.stmts(&state.body);
            scan.next(&state.next);
        }
    }
    for table in 0..code.tables.len() {
        scan.table(table as u32);
    }
    let (made, anywhere) = (scan.made, scan.made_anywhere);
    scan.taken
        .retain(|_, header| !anywhere && !made.contains(header));
    Footprint {
        taken: scan.taken,
        flags: scan.flags,
        interpreted_emit: scan.interpreted_emit,
        odd_bits: scan.odd_bits,
    }
}

struct Scan<'c> {
    code: &'c Code,
    flags: Vec<bool>,
    /// Within a node that the interpreter runs.
    inside: bool,
    /// Bodies already flagged as run by the interpreter.
    called: FxHashSet<(u8, u32)>,
    interpreted_emit: bool,
    odd_bits: bool,
    taken: FxHashMap<Slot, Slot>,
    /// Headers that the program makes valid itself; whether there are some of which it is not known which.
    made: FxHashSet<Slot>,
    made_anywhere: bool,
}

impl Scan<'_> {
    fn touch(&mut self, first: Slot, slots: u32) {
        let end = first.saturating_add(slots).min(self.code.slots);
        for flag in self
            .flags
            .get_mut(first as usize..end as usize)
            .unwrap_or_default()
        {
            *flag = true;
        }
    }

    /// Runs `visit` for the parts of a node; all of it belongs to the interpreter unless the node is plain.
    fn enter(&mut self, plain: bool, visit: impl FnOnce(&mut Self)) {
        let before = self.inside;
        self.inside |= !plain;
        visit(self);
        self.inside = before;
    }

    fn used(&mut self, first: Slot, slots: u32) {
        if self.inside {
            self.touch(first, slots);
        }
    }

    /// `slots` slots from a place on, `back` slots before it too.
    fn place(&mut self, place: &Place, slots: u32) {
        if let Some(slot) = support::fixed(place) {
            return self.used(slot, slots);
        }
        // A place that depends on the packet: everything that it may be.
        self.enter(false, |scan| match place {
            Place::Fixed(slot) => scan.touch(*slot, slots),
            Place::Field(base, offset) => scan.place(base, offset.saturating_add(slots)),
            Place::Index {
                stack,
                index,
                size,
                elem,
            } => {
                scan.ex(index);
                scan.place(stack, size.saturating_mul(*elem).saturating_add(1));
            }
            Place::Next { stack, size, elem } | Place::Last { stack, size, elem } => {
                scan.place(stack, size.saturating_mul(*elem).saturating_add(1));
            }
            Place::Value(value) => scan.agg(value, slots),
        });
    }

    fn dest(&mut self, dest: &Dest) {
        self.place(&dest.place, dest.slots);
        let Some(slot) = support::fixed(&dest.place) else {
            // The header or union around an element of a stack lies in the stack.
            return;
        };
        if let Some(back) = dest.guard {
            self.used(slot.saturating_sub(back), 1);
        }
        if let Some(union) = &dest.union {
            let base = slot.saturating_sub(union.back);
            for &(first, slots) in &union.members {
                self.used(base + first, slots);
            }
        }
    }

    fn ex(&mut self, ex: &Ex) {
        self.enter(support::ex(ex), |scan| scan.ex_parts(ex));
    }

    fn ex_parts(&mut self, ex: &Ex) {
        match ex {
            Ex::Const(_) | Ex::PacketLength | Ex::Lookahead(_) => {}
            Ex::Slot(slot) => self.used(*slot, 1),
            Ex::Load(place) | Ex::LastIndex(place) => self.place(place, 1),
            Ex::Slice { value, .. }
            | Ex::Mask(value, _)
            | Ex::SignExtend { value, .. }
            | Ex::Not(value)
            | Ex::BitNot(value, _)
            | Ex::Neg(value, _) => self.ex(value),
            Ex::WideSlice { value, words, .. } => self.agg(value, words & 0x7fff_ffff),
            Ex::Bin(bin) => {
                self.ex(&bin.a);
                self.ex(&bin.b);
            }
            Ex::And(pair) | Ex::Or(pair) => {
                self.ex(&pair.0);
                self.ex(&pair.1);
            }
            Ex::Mux(parts) => {
                self.ex(&parts.0);
                self.ex(&parts.1);
                self.ex(&parts.2);
            }
            Ex::Same { a, b, ranges, .. } => {
                let end = ranges.iter().map(|(at, len)| at + len).max().unwrap_or(0);
                self.agg(a, end);
                self.agg(b, end);
            }
            Ex::WideOrder { a, b, width, .. } => {
                self.agg(a, bits::words(*width));
                self.agg(b, bits::words(*width));
            }
            Ex::UnionValid { union, members } => {
                let end = members.iter().map(|member| member + 1).max().unwrap_or(0);
                self.place(union, end);
            }
            Ex::Call(call, result) => {
                self.call(call);
                self.used(*result, 1);
            }
            Ex::Apply { table, .. } => self.applied(*table),
            Ex::Prim(prim) => self.prim(prim),
        }
    }

    fn agg(&mut self, agg: &Agg, slots: u32) {
        self.enter(support::agg(agg), |scan| scan.agg_parts(agg, slots));
    }

    fn agg_parts(&mut self, agg: &Agg, slots: u32) {
        match agg {
            Agg::Place(place) => self.place(place, slots),
            Agg::Const { temp, words } => self.used(*temp, (words.len() as u32).max(slots)),
            Agg::Build {
                temp,
                slots: built,
                parts,
                ..
            } => {
                self.used(*temp, (*built).max(slots));
                parts.iter().for_each(|(_, part)| self.operand(part));
            }
            Agg::Wide(op) => {
                self.used(op.temp, bits::words(op.width).max(slots));
                match &op.kind {
                    WideKind::Cast(value) | WideKind::Neg(value) | WideKind::BitNot(value) => {
                        self.operand(&value.value);
                    }
                    WideKind::Slice { value, .. } => self.operand(&value.value),
                    WideKind::Bin(_, a, b) => {
                        self.operand(&a.value);
                        self.operand(&b.value);
                    }
                }
            }
            Agg::Mux(parts) => {
                self.ex(&parts.0);
                self.agg(&parts.1, slots);
                self.agg(&parts.2, slots);
            }
            Agg::Call {
                call,
                ret,
                temp,
                slots: made,
            } => {
                self.call(call);
                self.used(*ret, *made);
                self.used(*temp, (*made).max(slots));
            }
            Agg::Lookahead {
                temp, slots: made, ..
            } => self.used(*temp, (*made).max(slots)),
            Agg::Prim {
                prim,
                temp,
                slots: made,
            } => {
                self.prim(prim);
                self.used(*temp, (*made).max(slots));
            }
        }
    }

    fn operand(&mut self, operand: &Operand) {
        match operand {
            Operand::One(ex) => self.ex(ex),
            Operand::Many(agg, slots) => self.agg(agg, *slots),
        }
    }

    fn leaves(&mut self, value: &Agg, leaves: &[Leaf]) {
        let end = leaves.iter().map(leaf_end).max().unwrap_or(0);
        self.agg(value, end);
    }

    fn packs(&mut self, data: &[Pack]) {
        for item in data {
            match item {
                Pack::Scalar { value, guard, .. } => {
                    self.ex(value);
                    guard.iter().for_each(|place| self.place(place, 1));
                }
                Pack::Leaves {
                    value,
                    leaves,
                    guard,
                } => {
                    self.leaves(value, leaves);
                    guard.iter().for_each(|place| self.place(place, 1));
                }
            }
        }
    }

    fn call(&mut self, call: &Call) {
        self.enter(support::call(call), |scan| {
            for (slot, operand) in &call.ins {
                scan.operand(operand);
                scan.used(*slot, operand_slots(operand));
            }
            for &(from, to, slots) in &call.moves {
                scan.used(from, slots);
                scan.used(to, slots);
            }
            for arg in &call.places {
                scan.dest(&arg.dest);
                scan.used(arg.param, arg.dest.slots);
            }
            for &(slot, slots) in &call.clears {
                scan.used(slot, slots);
            }
            if scan.inside {
                scan.body(call.target);
            }
        });
    }

    /// A body that the interpreter runs, once.
    fn body(&mut self, target: Target) {
        let code = self.code;
        let (kind, index) = match target {
            Target::Function(index) => (0, index),
            Target::Action(index) => (1, index),
            Target::Control(index) => (2, index),
            Target::Parser(index) => (3, index),
        };
        if !self.called.insert((kind, index)) {
            return;
        }
        match target {
            Target::Parser(index) => {
                if let Some(Some((_, parser))) = code.parsers.get(index as usize) {
                    self.stmts(&parser.locals);
                    for state in &parser.states {
                        self.stmts(&state.body);
                        self.next(&state.next);
                    }
                }
            }
            target => code.body(target).iter().for_each(|body| self.stmts(body)),
        }
    }

    /// A table whose apply belongs to the interpreter when it is not plain, or when its place is not.
    fn applied(&mut self, table: u32) {
        if self.inside && self.called.insert((4, table)) {
            self.table(table);
        }
    }

    fn table(&mut self, index: u32) {
        let code = self.code;
        let Some(Some(table)) = code.tables.get(index as usize) else {
            return;
        };
        self.enter(support::table(table), |scan| {
            table.keys.iter().for_each(|key| scan.operand(&key.value));
            scan.packs(&table.selector);
            if let Some((dest, _)) = &table.meter {
                scan.dest(dest);
            }
            for action in &table.actions {
                for &(slot, width, _) in &action.data {
                    scan.used(slot, bits::words(width));
                }
                scan.call(&action.call);
            }
        });
    }

    fn next(&mut self, next: &Next) {
        let Next::Select { subjects, cases } = next else {
            return;
        };
        self.enter(support::select(next), |scan| {
            subjects
                .iter()
                .for_each(|subject| scan.operand(&subject.value));
            for test in cases.iter().flat_map(|(tests, _)| tests) {
                match test {
                    Test::Any | Test::Set(..) => {}
                    Test::Value(value) => scan.operand(value),
                    Test::Mask(value, mask) => {
                        scan.operand(value);
                        scan.operand(mask);
                    }
                    Test::Range(low, high) => {
                        scan.ex(low);
                        scan.ex(high);
                    }
                }
            }
        });
    }

    fn stmts(&mut self, stmts: &[Stmt]) {
        for stmt in stmts {
            self.enter(support::stmt(stmt), |scan| scan.stmt_parts(stmt));
        }
    }

    fn stmt_parts(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Set(slot, ex) => {
                self.ex(ex);
                self.used(*slot, 1);
            }
            Stmt::Assign(dest, value) => {
                self.operand(value);
                self.dest(dest);
            }
            Stmt::Clear(slot, slots) => self.used(*slot, *slots),
            Stmt::Init(slot, value) => {
                self.operand(value);
                self.used(*slot, operand_slots(value));
            }
            Stmt::Eval(value) => self.operand(value),
            Stmt::Call(call) => self.call(call),
            Stmt::Apply(table) => self.applied(*table),
            Stmt::Prim(prim) => self.prim(prim),
            Stmt::If(cond, then, otherwise) => {
                self.ex(cond);
                self.stmts(then);
                self.stmts(otherwise);
            }
            Stmt::SwitchAction {
                table,
                cases,
                default,
                ..
            } => {
                self.applied(*table);
                cases.iter().for_each(|case| self.stmts(case));
                self.stmts(default);
            }
            Stmt::Switch {
                subject,
                cases,
                default,
            } => {
                self.operand(subject);
                for (labels, body) in cases {
                    labels.iter().for_each(|label| self.operand(label));
                    self.stmts(body);
                }
                self.stmts(default);
            }
            Stmt::For {
                init,
                cond,
                update,
                body,
            } => {
                self.stmts(init);
                self.ex(cond);
                self.stmts(update);
                self.stmts(body);
            }
            Stmt::ForRange {
                var,
                low,
                high,
                body,
                ..
            } => {
                self.used(*var, 1);
                self.ex(low);
                self.ex(high);
                self.stmts(body);
            }
            Stmt::ForItems { var, items, body } => {
                for item in items {
                    self.operand(item);
                    self.used(*var, operand_slots(item));
                }
                self.stmts(body);
            }
            Stmt::ForStack {
                var,
                stack,
                size,
                elem,
                body,
            } => {
                self.agg(stack, size.saturating_mul(*elem).saturating_add(1));
                self.used(*var, *elem);
                self.stmts(body);
            }
            Stmt::Block(body) => self.stmts(body),
            Stmt::Return(Some((slot, value))) => {
                self.operand(value);
                self.used(*slot, operand_slots(value));
            }
            Stmt::Return(None) | Stmt::Break | Stmt::Continue | Stmt::Exit => {}
        }
    }

    fn prim(&mut self, prim: &Prim) {
        self.enter(support::prim(prim), |scan| scan.prim_parts(prim));
    }

    /// Notes the fields of a header that is taken from the packet.
    fn take(&mut self, dest: &Dest, shape: &Shape) {
        if let (Some(slot), [header]) = (support::dest(dest), shape.headers.as_slice()) {
            let fields = shape.leaves.iter().map(|leaf| slot + leaf.slot);
            self.taken
                .extend(fields.map(|field| (field, slot + header)));
        }
    }

    fn prim_parts(&mut self, prim: &Prim) {
        match prim {
            Prim::Extract {
                dest,
                shape,
                next,
                varbit,
            } => {
                self.odd_bits |= !shape.bits.is_multiple_of(8);
                if let Some(dest) = dest {
                    self.take(dest, shape);
                    self.dest(dest);
                    self.place(&dest.place, shape_end(shape).max(dest.slots));
                }
                next.iter().for_each(|(stack, _)| self.place(stack, 1));
                varbit.iter().for_each(|size| self.ex(size));
            }
            Prim::Advance(bits) => {
                // v1model refuses to advance by part of a byte.
                let whole = matches!(bits, Ex::Const(bits) if bits.is_multiple_of(8));
                self.odd_bits |= !whole && !self.code.errors.quiet_no_match;
                self.ex(bits);
            }
            Prim::Emit { value, headers } => {
                self.interpreted_emit |= self.inside;
                let end = headers
                    .iter()
                    .map(|(at, shape)| at + shape_end(shape))
                    .max();
                self.agg(value, end.unwrap_or(0));
            }
            Prim::SetValid(dest) => {
                match support::dest(dest) {
                    Some(header) => drop(self.made.insert(header)),
                    None => self.made_anywhere = true,
                }
                self.dest(dest);
            }
            Prim::SetInvalid { dest, headers } => {
                self.dest(dest);
                let end = headers.iter().map(|(first, slots)| first + slots).max();
                self.place(&dest.place, end.unwrap_or(0));
            }
            Prim::Shift {
                stack, size, elem, ..
            } => {
                self.dest(stack);
                self.place(&stack.place, size.saturating_mul(*elem).saturating_add(1));
            }
            Prim::Verify(condition, error) => {
                self.ex(condition);
                self.ex(error);
            }
            Prim::Extern(op) => self.external(op),
        }
    }

    fn external(&mut self, op: &Extern) {
        match op {
            Extern::Nothing
            | Extern::Resubmit(_)
            | Extern::RecirculateList(_)
            | Extern::Drop
            | Extern::Recirculate
            | Extern::RestartTimer => {}
            Extern::Count { index, length, .. } => {
                self.ex(index);
                length.iter().for_each(|length| self.ex(length));
            }
            Extern::CountDirect { length, .. } => length.iter().for_each(|length| self.ex(length)),
            Extern::Meter {
                index,
                length,
                dest,
                ..
            } => {
                self.ex(index);
                length.iter().for_each(|length| self.ex(length));
                dest.iter().for_each(|dest| self.dest(dest));
            }
            Extern::DirectMeter { dest, .. } => dest.iter().for_each(|dest| self.dest(dest)),
            Extern::RegisterRead {
                index,
                dest,
                slots,
                temp,
                ..
            } => {
                self.ex(index);
                self.used(*temp, *slots);
                dest.iter().for_each(|dest| self.dest(dest));
            }
            Extern::RegisterWrite { index, value, .. } => {
                self.ex(index);
                self.operand(value);
            }
            Extern::Random { low, high, dest } => {
                self.ex(low);
                self.ex(high);
                dest.iter().for_each(|dest| self.dest(dest));
            }
            Extern::Hash {
                base,
                max,
                data,
                dest,
                ..
            } => {
                self.ex(base);
                max.iter().for_each(|max| self.ex(max));
                self.packs(data);
                dest.iter().for_each(|dest| self.dest(dest));
            }
            Extern::SumClear(slot) | Extern::SumGet(slot) | Extern::SumState(slot) => {
                self.used(*slot, 1);
            }
            Extern::SumAdd(slot, data) | Extern::SumSubtract(slot, data) => {
                self.used(*slot, 1);
                self.packs(data);
            }
            Extern::SumSetState(slot, value) => {
                self.used(*slot, 1);
                self.ex(value);
            }
            Extern::Assert(value)
            | Extern::Truncate(value)
            | Extern::SendTo(value)
            | Extern::SetExpire(value)
            | Extern::IsHostPort(value) => self.ex(value),
            Extern::Log { data, .. } => self.packs(data),
            Extern::Digest { receiver, data, .. } => {
                self.ex(receiver);
                self.packs(data);
            }
            Extern::MarkToDrop { port, group } => {
                self.used(*port, 1);
                self.used(*group, 1);
            }
            Extern::Checksum(checksum) => {
                self.ex(&checksum.condition);
                self.packs(&checksum.data);
                match &checksum.action {
                    ChecksumAction::Verify { stored, guard } => {
                        self.ex(stored);
                        guard.iter().for_each(|place| self.place(place, 1));
                    }
                    ChecksumAction::Update(dest) => self.dest(dest),
                }
            }
            Extern::Clone { session, .. } => self.ex(session),
            Extern::Mirror { slot, session } => {
                self.ex(slot);
                self.ex(session);
            }
            Extern::AddEntry { data, profile, .. } => {
                data.iter().for_each(|(value, _)| self.operand(value));
                self.ex(profile);
            }
        }
    }
}

fn operand_slots(operand: &Operand) -> u32 {
    match operand {
        Operand::One(_) => 1,
        Operand::Many(_, slots) => *slots,
    }
}

fn leaf_end(leaf: &Leaf) -> u32 {
    let own = leaf.slot + bits::words(leaf.width) + u32::from(leaf.varbit);
    own.max(leaf.header.map_or(0, |header| header + 1))
}

fn shape_end(shape: &Shape) -> u32 {
    let leaves = shape.leaves.iter().map(leaf_end);
    let headers = shape.headers.iter().map(|header| header + 1);
    leaves.chain(headers).max().unwrap_or(0)
}
