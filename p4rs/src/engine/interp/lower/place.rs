//! Places: variables, fields, stack elements, slices.
//!
//! In: place expressions. Out: addresses, and what a write must respect (header validity, union members, slices).
//! Invariant: a write through a [`Dest`] never makes a field of an invalid header non-zero.

use super::super::super::layout;
use super::super::code::{Dest, Ex, Place, UnionMember};
use super::{Lower, Lowered};
use crate::ir::{Expr, ExprKind, Handle, Type};

impl Lower<'_> {
    /// Whether the expression names a place.
    pub(super) fn is_place(&self, expr: Handle<Expr>) -> bool {
        match &self.expr(expr).kind {
            ExprKind::Var(_) | ExprKind::StackNext(_) | ExprKind::StackLast(_) => true,
            ExprKind::Field(base, _) | ExprKind::Index(base, _) => {
                !matches!(self.ty(self.expr(*base).ty), Type::ApplyResult) && self.is_place(*base)
            }
            ExprKind::Slice { base, .. } => self.is_place(*base),
            _ => false,
        }
    }

    /// The address of an expression: of a place itself, of a computed value where it was put.
    pub(super) fn place(&mut self, expr: Handle<Expr>) -> Lowered<Place> {
        match &self.expr(expr).kind {
            ExprKind::Var(var) => Ok(Place::Fixed(self.home(*var))),
            ExprKind::Field(base, field) => {
                let offset = self.field_offset(*base, *field as usize)?;
                Ok(offset_by(self.place(*base)?, offset))
            }
            ExprKind::Index(base, index) => self.element(*base, *index),
            ExprKind::StackNext(base) => {
                let (size, elem) = self.stack_shape(*base)?;
                Ok(Place::Next {
                    stack: Box::new(self.place(*base)?),
                    size,
                    elem,
                })
            }
            ExprKind::StackLast(base) => {
                let (size, elem) = self.stack_shape(*base)?;
                Ok(Place::Last {
                    stack: Box::new(self.place(*base)?),
                    size,
                    elem,
                })
            }
            _ => Ok(Place::Value(Box::new(self.agg(expr)?))),
        }
    }

    fn element(&mut self, base: Handle<Expr>, index: Handle<Expr>) -> Lowered<Place> {
        if !matches!(self.ty(self.expr(base).ty), Type::Stack { .. }) {
            let Ex::Const(field) = self.scalar(index)? else {
                return self.construct("a tuple index is not constant", self.expr(index).span);
            };
            let offset = self.field_offset(base, usize::try_from(field).unwrap_or(usize::MAX))?;
            return Ok(offset_by(self.place(base)?, offset));
        }
        let (size, elem) = self.stack_shape(base)?;
        let stack = self.place(base)?;
        let index = self.scalar(index)?;
        Ok(match index {
            Ex::Const(i) if i < u128::from(size) => offset_by(stack, 1 + i as u32 * elem),
            index => Place::Index {
                stack: Box::new(stack),
                index: Box::new(index),
                size,
                elem,
            },
        })
    }

    /// Number of elements and slots of one.
    pub(super) fn stack_shape(&self, stack: Handle<Expr>) -> Lowered<(u32, u32)> {
        let expr = self.expr(stack);
        match self.ty(expr.ty) {
            Type::Stack { elem, size } => Ok((*size, self.slots(*elem))),
            _ => self.construct("not a header stack", expr.span),
        }
    }

    fn field_offset(&self, base: Handle<Expr>, field: usize) -> Lowered<u32> {
        let expr = self.expr(base);
        match layout::offset(self.program, expr.ty, field) {
            Some(offset) => Ok(offset),
            None => self.construct("no such field", expr.span),
        }
    }

    /// The header around a field: its validity slot.
    pub(super) fn guard_place(&mut self, expr: Handle<Expr>) -> Lowered<Option<Place>> {
        match &self.expr(expr).kind {
            ExprKind::Field(base, _) if layout::is_header(self.program, self.expr(*base).ty) => {
                self.place(*base).map(Some)
            }
            ExprKind::Field(base, _) | ExprKind::Index(base, _) => self.guard_place(*base),
            ExprKind::Slice { base, .. } => self.guard_place(*base),
            _ => Ok(None),
        }
    }

    fn guard(&self, expr: Handle<Expr>) -> Lowered<Option<u32>> {
        match &self.expr(expr).kind {
            ExprKind::Field(base, field) => {
                let offset = self.field_offset(*base, *field as usize)?;
                if layout::is_header(self.program, self.expr(*base).ty) {
                    return Ok(Some(offset));
                }
                Ok(self.guard(*base)?.map(|outer| outer + offset))
            }
            _ => Ok(None),
        }
    }

    fn union_member(&self, expr: Handle<Expr>) -> Lowered<Option<Box<UnionMember>>> {
        let ExprKind::Field(base, field) = &self.expr(expr).kind else {
            return Ok(None);
        };
        let ty = self.expr(*base).ty;
        if !matches!(self.ty(ty), Type::Union(_)) {
            return Ok(None);
        }
        let members = layout::parts(self.program, ty);
        let members = members
            .iter()
            .map(|(first, ty, _)| (*first, self.slots(*ty)))
            .collect();
        Ok(Some(Box::new(UnionMember {
            back: self.field_offset(*base, *field as usize)?,
            members,
        })))
    }

    /// A place to write to.
    pub(crate) fn dest(&mut self, expr: Handle<Expr>) -> Lowered<Dest> {
        if let ExprKind::Slice { base, hi, lo } = self.expr(expr).kind {
            let mut dest = self.dest(base)?;
            let inner = dest.slice.map_or(0, |(_, lo)| lo);
            dest.slice = Some((hi + inner, lo + inner));
            return Ok(dest);
        }
        if !self.is_place(expr) {
            return self.construct("not a place that can be assigned to", self.expr(expr).span);
        }
        let ty = self.expr(expr).ty;
        let name = self.describe(expr);
        Ok(Dest {
            place: self.place(expr)?,
            slots: self.slots(ty),
            slice: None,
            width: layout::number(self.program, ty).0,
            guard: self.guard(expr)?,
            union: self.union_member(expr)?,
            name: self.name(name),
        })
    }

    /// The place as a reader knows it.
    pub(super) fn describe(&self, expr: Handle<Expr>) -> String {
        match &self.expr(expr).kind {
            ExprKind::Var(var) => self.program.vars[*var].name.clone(),
            ExprKind::Field(base, field) => {
                let ty = self.expr(*base).ty;
                let name = layout::part_name(self.program, ty, *field as usize);
                let name = name.as_deref().unwrap_or("?");
                format!("{}.{name}", self.describe(*base))
            }
            ExprKind::Index(base, index) => match &self.expr(*index).kind {
                ExprKind::Const(crate::ir::Const::Int(i)) => {
                    format!("{}[{i}]", self.describe(*base))
                }
                _ => format!("{}[…]", self.describe(*base)),
            },
            ExprKind::StackNext(base) => format!("{}.next", self.describe(*base)),
            ExprKind::StackLast(base) => format!("{}.last", self.describe(*base)),
            ExprKind::Slice { base, hi, lo } => format!("{}[{hi}:{lo}]", self.describe(*base)),
            _ => String::from("value"),
        }
    }
}

/// A place some slots behind another.
pub(super) fn offset_by(place: Place, offset: u32) -> Place {
    match place {
        Place::Fixed(slot) => Place::Fixed(slot + offset),
        Place::Field(base, inner) => Place::Field(base, inner + offset),
        other if offset == 0 => other,
        other => Place::Field(Box::new(other), offset),
    }
}
