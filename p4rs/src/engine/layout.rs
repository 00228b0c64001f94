//! Where the parts of a value lie: every type is a fixed number of 128-bit slots.
//!
//! In: IR types. Out: slot counts, field offsets, leaves in declaration order.
//!
//! ```text
//! bits ≤ 128, bool, enum, error   1 slot
//! bits > 128                      ceil(width / 128) slots, least significant first
//! varbit                          1 slot for the length in bits, then its bits
//! header                          1 slot for validity, then its fields
//! stack                           1 slot for nextIndex, then its elements
//! struct, tuple, union            their parts one after the other
//! ```
//!
//! Invariant: the layout of a part does not depend on what it is a part of, so values are copied slot by slot.

use super::bits;
use crate::ir::{Action, Direction, Handle, Program, Type};

/// A leaf of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Slot, counted from the value's first.
    pub slot: u32,
    /// Width in bits; of a varbit its maximum.
    pub width: u32,
    /// Whether the slot holds the length and the bits follow.
    pub varbit: bool,
    /// Validity slot of the innermost header around it.
    pub header: Option<u32>,
    /// Path of field names, empty for a scalar.
    pub name: String,
}

/// Whether values of the type take exactly one slot and are computed without memory.
pub(crate) fn is_scalar(program: &Program, ty: Handle<Type>) -> bool {
    match &program.types[program.resolve(ty)] {
        Type::Bits { width, .. } => *width <= bits::WORD,
        Type::Bool
        | Type::Integer
        | Type::Error
        | Type::MatchKind
        | Type::String
        | Type::Enum(_) => true,
        _ => false,
    }
}

/// Width and signedness of a scalar or wide number; names of enums and errors count as 32 bits.
pub(crate) fn number(program: &Program, ty: Handle<Type>) -> (u32, bool) {
    match &program.types[program.resolve(ty)] {
        Type::Bits { width, signed } => (*width, *signed),
        Type::Bool => (1, false),
        Type::Integer => (bits::WORD, true),
        _ => (32, false),
    }
}

/// Slots of a type; saturates, the loader refuses programs long before that.
pub(crate) fn slots(program: &Program, ty: Handle<Type>) -> u32 {
    let sum = |parts: &mut dyn Iterator<Item = Handle<Type>>| {
        parts.fold(0u32, |sum, part| sum.saturating_add(slots(program, part)))
    };
    match &program.types[program.resolve(ty)] {
        Type::Void | Type::Extern { .. } | Type::List(_) => 0,
        Type::Bits { width, .. } => bits::words(*width),
        Type::Varbit { max } => 1 + bits::words(*max),
        Type::Struct(fields) | Type::Union(fields) => sum(&mut fields.fields.iter().map(|f| f.ty)),
        Type::Header(fields) => sum(&mut fields.fields.iter().map(|f| f.ty)).saturating_add(1),
        Type::Tuple(items) => sum(&mut items.iter().copied()),
        Type::Stack { elem, size } => slots(program, *elem)
            .saturating_mul(*size)
            .saturating_add(1),
        Type::ApplyResult => 3,
        _ => 1,
    }
}

/// The parts of a struct, header, union or tuple: first slot, type, name.
pub(crate) fn parts(program: &Program, ty: Handle<Type>) -> Vec<(u32, Handle<Type>, String)> {
    let fields: Vec<(Handle<Type>, String)> = match &program.types[program.resolve(ty)] {
        Type::Struct(fields) | Type::Header(fields) | Type::Union(fields) => fields
            .fields
            .iter()
            .map(|f| (f.ty, f.name.clone()))
            .collect(),
        Type::Tuple(items) => items
            .iter()
            .enumerate()
            .map(|(i, &ty)| (ty, i.to_string()))
            .collect(),
        _ => Vec::new(),
    };
    let mut at = u32::from(is_header(program, ty));
    fields
        .into_iter()
        .map(|(ty, name)| {
            let first = at;
            at = at.saturating_add(slots(program, ty));
            (first, ty, name)
        })
        .collect()
}

/// The first slot of one part of a struct, header, union or tuple.
pub(crate) fn offset(program: &Program, ty: Handle<Type>, part: usize) -> Option<u32> {
    let sum = |parts: &mut dyn ExactSizeIterator<Item = Handle<Type>>| {
        let first = u32::from(is_header(program, ty));
        let before = |sum: u32, part| sum.saturating_add(slots(program, part));
        (part < parts.len()).then(|| parts.take(part).fold(first, before))
    };
    match &program.types[program.resolve(ty)] {
        Type::Struct(fields) | Type::Header(fields) | Type::Union(fields) => {
            sum(&mut fields.fields.iter().map(|f| f.ty))
        }
        Type::Tuple(items) => sum(&mut items.iter().copied()),
        _ => None,
    }
}

/// The name of one part of a struct, header, union or tuple.
pub(crate) fn part_name(program: &Program, ty: Handle<Type>, part: usize) -> Option<String> {
    match &program.types[program.resolve(ty)] {
        Type::Struct(fields) | Type::Header(fields) | Type::Union(fields) => {
            fields.fields.get(part).map(|field| field.name.clone())
        }
        Type::Tuple(items) => (part < items.len()).then(|| part.to_string()),
        _ => None,
    }
}

/// Whether the type is a header.
pub(crate) fn is_header(program: &Program, ty: Handle<Type>) -> bool {
    matches!(program.types[program.resolve(ty)], Type::Header(_))
}

/// Every leaf of a type, in declaration order.
pub(crate) fn leaves(program: &Program, ty: Handle<Type>) -> Vec<Leaf> {
    let mut out = Vec::new();
    collect(program, ty, 0, None, "", &mut out);
    out
}

fn collect(
    program: &Program,
    ty: Handle<Type>,
    at: u32,
    header: Option<u32>,
    name: &str,
    out: &mut Vec<Leaf>,
) {
    let join = |part: &str| {
        if name.is_empty() {
            part.to_owned()
        } else {
            format!("{name}.{part}")
        }
    };
    match &program.types[program.resolve(ty)] {
        Type::Void | Type::Extern { .. } | Type::List(_) => {}
        Type::Varbit { max } => {
            out.push(Leaf {
                slot: at,
                width: *max,
                varbit: true,
                header,
                name: name.to_owned(),
            });
        }
        Type::Stack { elem, size } => {
            let step = slots(program, *elem);
            for i in 0..*size {
                collect(
                    program,
                    *elem,
                    at + 1 + i * step,
                    header,
                    &format!("{name}[{i}]"),
                    out,
                );
            }
        }
        Type::Struct(_) | Type::Header(_) | Type::Union(_) | Type::Tuple(_) => {
            let header = if is_header(program, ty) {
                Some(at)
            } else {
                header
            };
            for (first, part, part_name) in parts(program, ty) {
                collect(program, part, at + first, header, &join(&part_name), out);
            }
        }
        _ => {
            let (width, _) = number(program, ty);
            out.push(Leaf {
                slot: at,
                width,
                varbit: false,
                header,
                name: name.to_owned(),
            });
        }
    }
}

/// Every header inside a type, in declaration order: first slot, type, path.
pub(crate) fn headers(
    program: &Program,
    ty: Handle<Type>,
    at: u32,
    name: &str,
) -> Vec<(u32, Handle<Type>, String)> {
    match &program.types[program.resolve(ty)] {
        Type::Header(_) => vec![(at, ty, name.to_owned())],
        Type::Stack { elem, size } => {
            let step = slots(program, *elem);
            (0..*size)
                .flat_map(|i| headers(program, *elem, at + 1 + i * step, &format!("{name}[{i}]")))
                .collect()
        }
        Type::Struct(_) | Type::Union(_) | Type::Tuple(_) => parts(program, ty)
            .into_iter()
            .flat_map(|(first, part, field)| {
                headers(program, part, at + first, &format!("{name}.{field}"))
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Types of the parameters that entries give an action.
pub(crate) fn action_data(
    program: &Program,
    action: Handle<Action>,
) -> impl Iterator<Item = Handle<Type>> {
    let params = program.actions[action].params.iter();
    let data = params.filter(|param| param.direction == Direction::None);
    data.map(|param| program.vars[param.var].ty)
}

/// The slot ranges that decide equality: all but the `nextIndex` of stacks.
pub(crate) fn compared(program: &Program, ty: Handle<Type>, at: u32, out: &mut Vec<(u32, u32)>) {
    match &program.types[program.resolve(ty)] {
        Type::Stack { elem, size } => {
            let step = slots(program, *elem);
            (0..*size).for_each(|i| compared(program, *elem, at + 1 + i * step, out));
        }
        Type::Struct(_) | Type::Union(_) | Type::Tuple(_) => {
            parts(program, ty)
                .into_iter()
                .for_each(|(first, part, _)| compared(program, part, at + first, out));
        }
        _ => out.push((at, slots(program, ty))),
    }
}
