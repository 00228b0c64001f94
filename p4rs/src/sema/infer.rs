//! Unification of types.
//!
//! In: two types that must be one. Out: solutions for their [`Ty::Infer`] variables, or a refusal. Invariant: a variable
//! is never solved to a type that contains it.

use super::Sema;
use super::ty::{DefId, Ty};
use crate::front::ast::{Decl, StructKind};

impl<'a> Sema<'a> {
    /// A new unknown type.
    pub(super) fn fresh(&mut self) -> Ty {
        self.solved.push(None);
        Ty::Infer(self.solved.len() as u32 - 1)
    }

    /// The type with all solved variables replaced.
    pub(super) fn resolve(&self, ty: &Ty) -> Ty {
        match ty {
            Ty::Infer(index) => match self.solved.get(*index as usize) {
                Some(Some(solution)) => self.resolve(&solution.clone()),
                _ => ty.clone(),
            },
            Ty::Fields(..)
            | Ty::Stack(..)
            | Ty::Tuple(_)
            | Ty::List(_)
            | Ty::Extern(..)
            | Ty::Block(..)
            | Ty::ListLit(..)
            | Ty::RecordLit(..) => {
                if ty.has_infer() {
                    ty.map(&mut |part| self.resolve(part))
                } else {
                    ty.clone()
                }
            }
            _ => ty.clone(),
        }
    }

    fn occurs(&self, index: u32, ty: &Ty) -> bool {
        fn inside(index: u32, ty: &Ty) -> bool {
            if *ty == Ty::Infer(index) {
                return true;
            }
            let mut found = false;
            ty.map(&mut |part| {
                found |= inside(index, part);
                part.clone()
            });
            found
        }
        inside(index, ty)
    }

    /// Makes both types one, if they can be.
    pub(super) fn unify(&mut self, a: &Ty, b: &Ty) -> bool {
        let (a, b) = (self.resolve(a), self.resolve(b));
        match (&a, &b) {
            _ if a == b => true,
            (Ty::Error, _) | (_, Ty::Error) => true,
            (Ty::Infer(index), other) | (other, Ty::Infer(index)) => {
                if self.occurs(*index, other) {
                    return false;
                }
                self.solved[*index as usize] = Some(other.clone());
                true
            }
            (Ty::Fields(ka, da, xs), Ty::Fields(kb, db, ys)) => {
                ka == kb && da == db && self.unify_all(xs, ys)
            }
            (Ty::Extern(da, xs), Ty::Extern(db, ys)) => da == db && self.unify_all(xs, ys),
            (Ty::Stack(x, n), Ty::Stack(y, m)) => n == m && self.unify(x, y),
            (Ty::List(x), Ty::List(y)) => self.unify(x, y),
            (Ty::Tuple(xs), Ty::Tuple(ys)) => self.unify_all(xs, ys),
            (Ty::Block(da, xs), Ty::Block(db, ys)) => {
                if da == db {
                    self.unify_all(xs, ys)
                } else {
                    self.unify_blocks(&a, &b, *da, *db)
                }
            }
            _ => self.unify_literal(&a, &b),
        }
    }

    fn unify_all(&mut self, xs: &[Ty], ys: &[Ty]) -> bool {
        xs.len() == ys.len() && xs.iter().zip(ys).all(|(x, y)| self.unify(x, y))
    }

    /// An initializer's type against the type it is meant for, to learn variables inside the target; integers fit any
    /// width, and what does not fit is found by the conversion that follows.
    fn unify_literal(&mut self, a: &Ty, b: &Ty) -> bool {
        match (a, b) {
            (Ty::Integer, Ty::Bits { .. }) | (Ty::Bits { .. }, Ty::Integer) => true,
            (Ty::Dots, _) | (_, Ty::Dots) => true,
            (Ty::Invalid, other) | (other, Ty::Invalid) => other.is_header() || other.is_union(),
            (Ty::ListLit(items, dots), Ty::Tuple(parts))
            | (Ty::Tuple(parts), Ty::ListLit(items, dots)) => {
                (*dots || items.len() == parts.len())
                    && items
                        .iter()
                        .zip(parts.iter())
                        .all(|(x, y)| self.unify(x, y))
            }
            (Ty::ListLit(xs, _), Ty::ListLit(ys, _)) => self.unify_all(xs, ys),
            (Ty::ListLit(items, _), Ty::List(elem)) | (Ty::List(elem), Ty::ListLit(items, _)) => {
                items.iter().all(|item| self.unify(item, elem))
            }
            (Ty::ListLit(items, _), Ty::Stack(elem, _))
            | (Ty::Stack(elem, _), Ty::ListLit(items, _)) => {
                items.iter().all(|item| self.unify(item, elem))
            }
            (Ty::ListLit(items, dots), fields @ Ty::Fields(kind, ..))
            | (fields @ Ty::Fields(kind, ..), Ty::ListLit(items, dots)) => {
                let infos = self.fields_of(fields);
                *kind != StructKind::HeaderUnion
                    && (*dots || items.len() == infos.len())
                    && items
                        .iter()
                        .zip(infos.iter())
                        .all(|(item, info)| self.unify(item, &info.ty))
            }
            (Ty::RecordLit(items, _), fields @ Ty::Fields(kind, ..))
            | (fields @ Ty::Fields(kind, ..), Ty::RecordLit(items, _)) => {
                let infos = self.fields_of(fields);
                *kind != StructKind::HeaderUnion
                    && items.iter().all(|(name, item)| {
                        infos
                            .iter()
                            .find(|f| f.name == *name)
                            .is_some_and(|f| self.unify(item, &f.ty))
                    })
            }
            _ => false,
        }
    }

    /// A parser or control against a type of one: the same parameters, optional ones may be missing.
    fn unify_blocks(&mut self, a: &Ty, b: &Ty, da: DefId, db: DefId) -> bool {
        let is_parser = |decl: &Decl| matches!(decl, Decl::Parser(_) | Decl::ParserType(_));
        let is_control = |decl: &Decl| matches!(decl, Decl::Control(_) | Decl::ControlType(_));
        let (x, y) = (self.decl(da), self.decl(db));
        if !(is_parser(x) && is_parser(y) || is_control(x) && is_control(y)) {
            return false;
        }
        let (xs, ys) = (self.apply_params(a), self.apply_params(b));
        for index in 0..xs.len().max(ys.len()) {
            match (xs.get(index), ys.get(index)) {
                (Some(x), Some(y)) => {
                    if x.direction != y.direction || !self.unify(&x.ty, &y.ty) {
                        return false;
                    }
                }
                (Some(extra), None) | (None, Some(extra))
                    if extra.optional || extra.default.is_some() => {}
                _ => return false,
            }
        }
        true
    }
}
