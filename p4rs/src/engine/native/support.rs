//! Which nodes of the lowered program become machine code by themselves; every other one is run by the interpreter,
//! on slots kept in memory for it.
//!
//! In: nodes. Out: yes or no. Invariant: a node that is plain touches slots known when the program is loaded only.

use super::super::bits::WORD;
use super::super::interp::code::{
    Agg, Bin, Call, ChecksumAction, Code, Dest, Ex, Extern, Next, Op, Operand, Pack, Place, Prim,
    Shape, Slot, Stmt, TableCode, Test,
};

/// The slot of a place that does not depend on the packet.
pub(super) fn fixed(place: &Place) -> Option<Slot> {
    match place {
        Place::Fixed(slot) => Some(*slot),
        Place::Field(base, offset) => fixed(base).map(|slot| slot + offset),
        _ => None,
    }
}

/// A destination that is one slot, or several written whole.
pub(super) fn dest(dest: &Dest) -> Option<Slot> {
    let whole = match dest.slice {
        None => true,
        Some((hi, _)) => dest.slots == 1 && hi < WORD,
    };
    let guarded = |slot: Slot| dest.guard.is_none_or(|back| back <= slot);
    fixed(&dest.place).filter(|&slot| whole && dest.union.is_none() && guarded(slot))
}

fn optional(place: Option<&Dest>) -> bool {
    place.is_none_or(|place| place.slots == 1 && dest(place).is_some())
}

/// Expressions; of the node itself, its operands are asked for on their own.
pub(super) fn ex(ex: &Ex) -> bool {
    match ex {
        Ex::Const(_)
        | Ex::Slot(_)
        | Ex::Mask(..)
        | Ex::Not(_)
        | Ex::BitNot(..)
        | Ex::Neg(..)
        | Ex::And(_)
        | Ex::Or(_)
        | Ex::Mux(_)
        | Ex::PacketLength
        | Ex::Apply { .. } => true,
        Ex::Slice { lo, .. } => *lo < WORD,
        Ex::SignExtend { from, mask, .. } => {
            *from > 0 && *from <= 64 && *mask <= u128::from(u64::MAX)
        }
        Ex::Bin(bin) => binary(bin),
        Ex::Load(place) => fixed(place).is_some(),
        Ex::Same { a, b, .. } => agg(a) && agg(b),
        Ex::UnionValid { union, .. } => fixed(union).is_some(),
        Ex::Call(call, _) => self::call(call),
        Ex::Prim(prim) => self::prim(prim),
        Ex::WideSlice { .. } | Ex::WideOrder { .. } | Ex::LastIndex(_) | Ex::Lookahead(_) => false,
    }
}

fn binary(bin: &Bin) -> bool {
    let narrow = bin.width <= 64;
    match bin.op {
        Op::Add | Op::Sub | Op::BitAnd | Op::BitOr | Op::BitXor | Op::Eq | Op::Ne => true,
        Op::Mul => narrow,
        Op::Div | Op::Mod => narrow && !bin.signed,
        Op::SatAdd | Op::SatSub => !bin.signed && bin.width > 0 && bin.width < 64,
        Op::Lt | Op::Le | Op::Gt | Op::Ge => !bin.signed || (narrow && bin.width > 0),
        Op::Shl => true,
        Op::Shr => !bin.signed,
        Op::Concat => bin.width < WORD,
    }
}

/// Values of several slots whose every slot is known.
pub(super) fn agg(agg: &Agg) -> bool {
    match agg {
        Agg::Place(place) => fixed(place).is_some(),
        Agg::Const { .. } | Agg::Build { .. } => true,
        Agg::Call { call, .. } => self::call(call),
        Agg::Mux(_) | Agg::Wide(_) | Agg::Lookahead { .. } | Agg::Prim { .. } => false,
    }
}

/// Calls whose out arguments have a fixed place.
pub(super) fn call(call: &Call) -> bool {
    call.places
        .iter()
        .all(|arg| dest(&arg.dest).is_some() && (arg.dest.slice.is_none() || arg.dest.slots == 1))
}

/// Statements; of the node itself.
pub(super) fn stmt(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Set(..)
        | Stmt::Clear(..)
        | Stmt::Init(..)
        | Stmt::Eval(_)
        | Stmt::Apply(_)
        | Stmt::If(..)
        | Stmt::SwitchAction { .. }
        | Stmt::For { .. }
        | Stmt::ForItems { .. }
        | Stmt::Block(_)
        | Stmt::Break
        | Stmt::Continue
        | Stmt::Return(_)
        | Stmt::Exit => true,
        Stmt::Assign(to, value) => {
            dest(to).is_some() && (to.slice.is_none() || matches!(value, Operand::One(_)))
        }
        Stmt::Call(call) => self::call(call),
        Stmt::Prim(prim) => self::prim(prim),
        Stmt::Switch { subject, cases, .. } => {
            let one = |operand: &Operand| matches!(operand, Operand::One(_));
            one(subject) && cases.iter().all(|(labels, _)| labels.iter().all(one))
        }
        Stmt::ForRange { signed, .. } => signed.is_none_or(|width| width > 0 && width < 64),
        Stmt::ForStack { .. } => false,
    }
}

/// Headers of whole bytes.
pub(super) fn shape(shape: &Shape) -> bool {
    shape.bits.is_multiple_of(8)
        && shape
            .leaves
            .iter()
            .all(|leaf| !leaf.varbit && leaf.width <= WORD)
}

/// Built-in and extern operations.
pub(super) fn prim(prim: &Prim) -> bool {
    match prim {
        Prim::Extract {
            dest: to,
            shape: what,
            next,
            varbit,
        } => {
            let place = to
                .as_ref()
                .is_none_or(|to| dest(to).is_some() && to.slice.is_none());
            place && shape(what) && next.is_none() && varbit.is_none()
        }
        Prim::Advance(bits) => {
            matches!(bits, Ex::Const(bits) if bits.is_multiple_of(8) && *bits < 1 << 20)
        }
        Prim::Emit { value, headers } => agg(value) && headers.iter().all(|(_, what)| shape(what)),
        Prim::SetValid(to) => dest(to).is_some(),
        Prim::SetInvalid { dest: to, .. } => dest(to).is_some(),
        Prim::Verify(..) => true,
        Prim::Shift { .. } => false,
        Prim::Extern(op) => external(op),
    }
}

/// Extern operations.
pub(super) fn external(op: &Extern) -> bool {
    match op {
        Extern::Nothing
        | Extern::Count { .. }
        | Extern::CountDirect { .. }
        | Extern::SumClear(_)
        | Extern::SumGet(_)
        | Extern::SumState(_)
        | Extern::SumSetState(..)
        | Extern::MarkToDrop { .. }
        | Extern::Drop
        | Extern::SendTo(_)
        | Extern::SetExpire(_)
        | Extern::RestartTimer => true,
        Extern::SumAdd(_, data) | Extern::SumSubtract(_, data) => packed(data),
        Extern::Hash {
            base,
            max,
            data,
            dest,
            ..
        } => {
            let word = |ex: &Ex| matches!(ex, Ex::Const(_) | Ex::Slot(_));
            packed(data) && optional(dest.as_ref()) && word(base) && max.as_ref().is_none_or(word)
        }
        Extern::RegisterRead { dest, slots, .. } => *slots == 1 && optional(dest.as_ref()),
        Extern::RegisterWrite { value, .. } => matches!(value, Operand::One(_)),
        Extern::AddEntry { data, .. } => data
            .iter()
            .all(|(value, width)| matches!(value, Operand::One(_)) && *width <= WORD),
        Extern::Checksum(checksum) => {
            let place = match &checksum.action {
                ChecksumAction::Verify { guard, .. } => {
                    guard.as_ref().is_none_or(|place| fixed(place).is_some())
                }
                ChecksumAction::Update(to) => to.slots == 1 && dest(to).is_some(),
            };
            place && packed(&checksum.data)
        }
        _ => false,
    }
}

/// The header that guards every one of these, when it is the same; bits to pack otherwise have no fixed place.
pub(super) fn guard(data: &[Pack]) -> Option<Option<Slot>> {
    let one = |item: &Pack| match item {
        Pack::Scalar { guard: None, .. } => Some(None),
        Pack::Scalar {
            guard: Some(place), ..
        } => fixed(place).map(Some),
        Pack::Leaves { .. } => None,
    };
    let first = data.first().map_or(Some(None), one)?;
    data.iter()
        .all(|item| one(item) == Some(first))
        .then_some(first)
}

/// Bits to pack with a fixed layout.
pub(super) fn packed(data: &[Pack]) -> bool {
    guard(data).is_some()
}

/// Tables whose keys, action data and calls are plain.
pub(super) fn table(table: &TableCode) -> bool {
    let key = |value: &Operand, width: u32| matches!(value, Operand::One(_)) && width <= WORD;
    table.meter.is_none()
        && table
            .keys
            .iter()
            .all(|field| key(&field.value, field.width))
        && (table.selector.is_empty() || guard(&table.selector) == Some(None))
        && table.actions.iter().all(|action| {
            call(&action.call) && action.data.iter().all(|(_, width, _)| *width <= WORD)
        })
}

/// Selects over scalars.
pub(super) fn select(next: &Next) -> bool {
    let Next::Select { subjects, cases } = next else {
        return true;
    };
    let one = |operand: &Operand| matches!(operand, Operand::One(_));
    let test = |test: &Test| match test {
        Test::Any => true,
        Test::Value(value) => one(value),
        Test::Mask(value, mask) => one(value) && one(mask),
        Test::Range(..) => true,
        Test::Set(..) => false,
    };
    subjects
        .iter()
        .all(|subject| one(&subject.value) && !subject.signed)
        && cases.iter().all(|(tests, _)| {
            tests.iter().all(test) && (tests.len() == subjects.len() || tests.len() == 1)
        })
}

/// Whether the operations of a body happen in any order: nothing but values.
pub(super) fn pure(ex: &Ex) -> bool {
    match ex {
        Ex::Const(_) | Ex::Slot(_) | Ex::PacketLength => true,
        Ex::Load(place) => fixed(place).is_some(),
        Ex::Slice { value, .. } | Ex::Mask(value, _) | Ex::BitNot(value, _) => pure(value),
        Ex::SignExtend { value, .. } | Ex::Neg(value, _) | Ex::Not(value) => {
            self::ex(ex) && pure(value)
        }
        Ex::Bin(bin) => binary(bin) && pure(&bin.a) && pure(&bin.b),
        Ex::And(pair) | Ex::Or(pair) => pure(&pair.0) && pure(&pair.1),
        Ex::Mux(parts) => pure(&parts.0) && pure(&parts.1) && pure(&parts.2),
        _ => false,
    }
}

/// How much machine code a program would become, calls expanded; saturates.
pub(super) fn size(code: &Code, body: &[Stmt], depth: u32) -> u64 {
    body.iter()
        .map(|stmt| stmt_size(code, stmt, depth))
        .fold(0, u64::saturating_add)
}

fn stmt_size(code: &Code, stmt: &Stmt, depth: u32) -> u64 {
    let inner = |body: &[Stmt]| size(code, body, depth);
    let called = |call: &Call| call_size(code, call, depth);
    1 + match stmt {
        Stmt::Call(call) => called(call),
        Stmt::Apply(table) => table_size(code, *table, depth),
        Stmt::SwitchAction {
            table,
            cases,
            default,
            ..
        } => {
            let cases: u64 = cases.iter().map(|case| inner(case)).sum();
            table_size(code, *table, depth) + cases + inner(default)
        }
        Stmt::If(cond, then, otherwise) => {
            ex_size(code, cond, depth) + inner(then) + inner(otherwise)
        }
        Stmt::Switch { cases, default, .. } => {
            cases.iter().map(|(_, body)| inner(body)).sum::<u64>() + inner(default)
        }
        Stmt::For {
            init, update, body, ..
        } => inner(init) + inner(update) + inner(body),
        Stmt::ForRange { body, .. } | Stmt::ForStack { body, .. } => inner(body),
        Stmt::ForItems { items, body, .. } => inner(body).saturating_mul(items.len() as u64),
        Stmt::Block(body) => inner(body),
        Stmt::Set(_, ex) | Stmt::Assign(_, Operand::One(ex)) => ex_size(code, ex, depth),
        _ => 0,
    }
}

fn ex_size(code: &Code, ex: &Ex, depth: u32) -> u64 {
    let inner = |ex: &Ex| ex_size(code, ex, depth);
    1 + match ex {
        Ex::Call(call, _) => call_size(code, call, depth),
        Ex::Apply { table, .. } => table_size(code, *table, depth),
        Ex::Bin(bin) => inner(&bin.a) + inner(&bin.b),
        Ex::And(pair) | Ex::Or(pair) => inner(&pair.0) + inner(&pair.1),
        Ex::Mux(parts) => inner(&parts.0) + inner(&parts.1) + inner(&parts.2),
        Ex::Not(value) | Ex::Mask(value, _) | Ex::Slice { value, .. } => inner(value),
        _ => 0,
    }
}

fn table_size(code: &Code, table: u32, depth: u32) -> u64 {
    let Some(Some(table)) = code.tables.get(table as usize) else {
        return 0;
    };
    table
        .actions
        .iter()
        .map(|action| 4 + call_size(code, &action.call, depth))
        .sum()
}

fn call_size(code: &Code, call: &Call, depth: u32) -> u64 {
    use super::super::interp::code::Target;
    let Some(depth) = depth.checked_sub(1) else {
        return u64::MAX / 1024;
    };
    let places = call
        .places
        .iter()
        .map(|arg| u64::from(arg.dest.slots))
        .sum::<u64>();
    places
        + match call.target {
            Target::Function(index) => code
                .functions
                .get(index as usize)
                .map_or(0, |b| size(code, b, depth)),
            Target::Action(index) => code
                .actions
                .get(index as usize)
                .map_or(0, |b| size(code, b, depth)),
            Target::Control(index) => match code.controls.get(index as usize) {
                Some(Some((_, body))) => size(code, body, depth),
                _ => 0,
            },
            Target::Parser(index) => match code.parsers.get(index as usize) {
                Some(Some((_, parser))) => parser
                    .states
                    .iter()
                    .map(|state| size(code, &state.body, depth))
                    .sum(),
                _ => 0,
            },
        }
}
