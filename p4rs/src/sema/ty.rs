//! Types as the checker sees them: generics, type variables and the types of untyped initializers included.
//!
//! In: declarations by [`DefId`]. Out: [`Ty`] values that compare structurally; [`super::emit`] turns closed ones into
//! IR types. Invariant: [`Ty::Error`] stands for a type that was already complained about and fits everything.

use std::rc::Rc;
use std::sync::Arc;

use crate::front::ast::StructKind;

/// A top-level declaration, by its place in the program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) struct DefId(pub u32);

/// A type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Ty {
    Error,
    Void,
    Bool,
    Bits {
        width: u32,
        signed: bool,
    },
    Integer,
    Varbit(u32),
    ErrorCode,
    MatchKind,
    Str,
    Enum(DefId),
    SerEnum(DefId),
    New(DefId),
    /// Struct, header or union with its type arguments.
    Fields(StructKind, DefId, Rc<[Ty]>),
    Stack(Rc<Ty>, u32),
    Tuple(Rc<[Ty]>),
    List(Rc<Ty>),
    Extern(DefId, Rc<[Ty]>),
    /// A parser, control or package, or a type of one.
    Block(DefId, Rc<[Ty]>),
    /// `{ a, b }` before its target is known; `true` when it ends in `...`.
    ListLit(Rc<[Ty]>, bool),
    /// `{ x = a }` before its target is known; `true` when it ends in `...`.
    RecordLit(Rc<[(Arc<str>, Ty)]>, bool),
    /// `{#}`.
    Invalid,
    /// `...`.
    Dots,
    /// A type parameter inside its generic declaration.
    Param(u32),
    /// A type still to be inferred.
    Infer(u32),
    /// What `table.apply()` yields; the index counts tables in the order they are declared.
    Apply(u32),
    /// `table.apply().action_run`.
    ActionRun(u32),
}

impl Ty {
    pub(super) fn bit(width: u32) -> Ty {
        Ty::Bits {
            width,
            signed: false,
        }
    }

    pub(super) fn none() -> Rc<[Ty]> {
        Rc::from([])
    }

    pub(super) fn is_error(&self) -> bool {
        matches!(self, Ty::Error)
    }

    /// An initializer or number whose type comes from its target.
    pub(super) fn is_literal(&self) -> bool {
        matches!(
            self,
            Ty::Integer | Ty::ListLit(..) | Ty::RecordLit(..) | Ty::Invalid | Ty::Dots
        )
    }

    pub(super) fn is_header(&self) -> bool {
        matches!(self, Ty::Fields(StructKind::Header, ..))
    }

    pub(super) fn is_union(&self) -> bool {
        matches!(self, Ty::Fields(StructKind::HeaderUnion, ..))
    }

    /// Objects are named and called, never stored.
    pub(super) fn is_object(&self) -> bool {
        matches!(self, Ty::Extern(..) | Ty::Block(..))
    }

    /// Whether an unsolved variable occurs in it.
    pub(super) fn has_infer(&self) -> bool {
        match self {
            Ty::Infer(_) => true,
            _ => self.parts().any(Ty::has_infer),
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Ty> {
        type Parts<'t> = (Option<&'t Ty>, &'t [Ty], &'t [(Arc<str>, Ty)]);
        let (one, many, named): Parts<'_> = match self {
            Ty::Stack(elem, _) | Ty::List(elem) => (Some(elem), &[], &[]),
            Ty::Fields(_, _, items)
            | Ty::Tuple(items)
            | Ty::Extern(_, items)
            | Ty::Block(_, items)
            | Ty::ListLit(items, _) => (None, items, &[]),
            Ty::RecordLit(items, _) => (None, &[], items),
            _ => (None, &[], &[]),
        };
        one.into_iter()
            .chain(many)
            .chain(named.iter().map(|(_, ty)| ty))
    }

    /// The same type with every part mapped.
    pub(super) fn map(&self, f: &mut dyn FnMut(&Ty) -> Ty) -> Ty {
        match self {
            Ty::Stack(elem, size) => Ty::Stack(Rc::new(f(elem)), *size),
            Ty::List(elem) => Ty::List(Rc::new(f(elem))),
            Ty::Fields(kind, def, args) => Ty::Fields(*kind, *def, args.iter().map(f).collect()),
            Ty::Tuple(items) => Ty::Tuple(items.iter().map(f).collect()),
            Ty::Extern(def, args) => Ty::Extern(*def, args.iter().map(f).collect()),
            Ty::Block(def, args) => Ty::Block(*def, args.iter().map(f).collect()),
            Ty::ListLit(items, dots) => Ty::ListLit(items.iter().map(f).collect(), *dots),
            Ty::RecordLit(items, dots) => Ty::RecordLit(
                items
                    .iter()
                    .map(|(name, ty)| (name.clone(), f(ty)))
                    .collect(),
                *dots,
            ),
            other => other.clone(),
        }
    }
}
