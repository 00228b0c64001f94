//! `base.name`: fields, enumeration members, errors, stack and table members that are not called.
//!
//! In: a base of any sort. Out: an operand. Invariant: methods without a call are refused here.

use num_traits::ToPrimitive;

use super::emit::Typed;
use super::expr::Operand;
use super::names::Context;
use super::ty::Ty;
use super::{Sema, code};
use crate::front::ast::{Decl, Expr, Name};
use crate::ir::{Const, ExprKind};
use crate::source::Span;

impl<'a> Sema<'a> {
    pub(super) fn member(&mut self, base: &'a Expr, name: &'a Name, span: Span) -> Operand<'a> {
        match self.operand(base, None) {
            Operand::Bad => Operand::Bad,
            Operand::Type(ty) => self.type_member(&ty, name, span),
            Operand::Value(value) => Operand::Value(self.value_member(value, name, span)),
            other => {
                if matches!(other, Operand::Table(_) | Operand::Object(..)) {
                    let message = format!("`{name}` is not a value; methods must be called");
                    self.err(
                        code::NOT_A_VALUE,
                        span,
                        message,
                        "write the call's parentheses",
                    );
                } else {
                    self.as_value(other, base.span);
                }
                Operand::Bad
            }
        }
    }

    fn type_member(&mut self, ty: &Ty, name: &Name, span: Span) -> Operand<'a> {
        match ty {
            Ty::Error => return Operand::Bad,
            Ty::Enum(id) => {
                if let Decl::Enum(decl) = self.decl(*id)
                    && let Some(index) = decl.members.iter().position(|m| m.name.text == name.text)
                {
                    return Operand::Value(self.enum_const(*id, index, span));
                }
            }
            Ty::SerEnum(id) => {
                let values = self.enum_values(*id);
                if let Some((_, value)) = values.iter().find(|(member, _)| *member == name.text) {
                    return Operand::Value(self.int_const(value.clone(), ty.clone(), span));
                }
            }
            Ty::ErrorCode => {
                if let Some(index) = self.error_codes.get(&name.text).copied() {
                    return Operand::Value(self.constant(Const::Error(index), Ty::ErrorCode, span));
                }
            }
            _ => {
                let message = format!("the type `{}` has no members", self.show(ty));
                self.err(code::UNKNOWN_MEMBER, span, message, "");
                return Operand::Bad;
            }
        }
        self.err(
            code::UNKNOWN_MEMBER,
            name.span,
            format!("`{}` has no member `{name}`", self.show(ty)),
            "",
        );
        Operand::Bad
    }

    fn value_member(&mut self, value: Typed, name: &Name, span: Span) -> Typed {
        match self.resolve(&value.ty) {
            Ty::Error => self.bad(span),
            ty @ Ty::Fields(..) => {
                let infos = self.fields_of(&ty);
                match infos.iter().position(|info| info.name == name.text) {
                    Some(index) => self.field(value, index, infos[index].ty.clone(), span),
                    None => self.no_member(&ty, name),
                }
            }
            Ty::RecordLit(items, _) => {
                match items.iter().position(|(field, _)| *field == name.text) {
                    Some(index) => self.field(value, index, items[index].1.clone(), span),
                    None => self.no_member(&Ty::RecordLit(items, false), name),
                }
            }
            Ty::Stack(elem, size) => self.stack_member(value, &elem, size, name, span),
            Ty::Apply(table) => match name.as_str() {
                "hit" => self.value(ExprKind::Field(value.expr, 0), Ty::Bool, span),
                "miss" => self.value(ExprKind::Field(value.expr, 1), Ty::Bool, span),
                "action_run" => {
                    let ty = Ty::ActionRun(table);
                    Typed {
                        ty,
                        place: false,
                        known: false,
                        expr: value.expr,
                    }
                }
                _ => self.no_member(&value.ty, name),
            },
            ty => self.no_member(&ty, name),
        }
    }

    fn no_member(&mut self, ty: &Ty, name: &Name) -> Typed {
        let method = matches!(
            &*name.text,
            "isValid" | "setValid" | "setInvalid" | "push_front" | "pop_front"
        );
        let help = if method {
            "methods must be called: write the parentheses"
        } else {
            ""
        };
        let message = format!("`{}` has no field `{name}`", self.show(ty));
        self.err(code::UNKNOWN_MEMBER, name.span, message, help);
        self.bad(name.span)
    }

    /// Field `index` of a structure.
    pub(super) fn field(&mut self, value: Typed, index: usize, ty: Ty, span: Span) -> Typed {
        if let Some(part) = self.parts(value.expr).get(index) {
            return Typed {
                expr: *part,
                ty,
                place: false,
                known: value.known,
            };
        }
        let folded = match self.kind(value.expr) {
            ExprKind::Const(Const::List(items)) => items.get(index).cloned(),
            _ => None,
        };
        let kind = folded.map_or(ExprKind::Field(value.expr, index as u32), ExprKind::Const);
        let expr = self.node(kind, &ty, span);
        Typed {
            expr,
            ty,
            place: value.place,
            known: value.known,
        }
    }

    fn stack_member(
        &mut self,
        value: Typed,
        elem: &Ty,
        size: u32,
        name: &Name,
        span: Span,
    ) -> Typed {
        let in_parser = self.frame.context == Context::State;
        let kind = match name.as_str() {
            "next" => ExprKind::StackNext(value.expr),
            "last" => ExprKind::StackLast(value.expr),
            "lastIndex" => ExprKind::StackLastIndex(value.expr),
            "size" => return self.int_const(size, Ty::bit(32), span),
            _ => return self.no_member(&value.ty, name),
        };
        if !in_parser && self.frame.context != Context::Function {
            let message = format!("`{name}` of a stack can only be used in a parser");
            return self.misplaced(span, &message, "index the stack instead");
        }
        let last_index = matches!(kind, ExprKind::StackLastIndex(_));
        let ty = if last_index {
            Ty::bit(32)
        } else {
            elem.clone()
        };
        let expr = self.node(kind, &ty, span);
        Typed {
            expr,
            ty,
            place: value.place && !last_index,
            known: false,
        }
    }

    /// `minSizeInBits` and its kin: sizes known from the type.
    pub(super) fn size_method(&mut self, ty: &Ty, name: &str, span: Span) -> Option<Typed> {
        let bytes = name.ends_with("Bytes");
        let bits = match name {
            "minSizeInBits" | "minSizeInBytes" => self.size_bounds(ty)?.0,
            "maxSizeInBits" | "maxSizeInBytes" => self.size_bounds(ty)?.1,
            _ => return None,
        };
        let size = if bytes { bits.div_ceil(8) } else { bits };
        Some(self.int_const(size, Ty::Integer, span))
    }

    /// The least and the greatest number of bits a value of the type has.
    pub(super) fn size_bounds(&mut self, ty: &Ty) -> Option<(u64, u64)> {
        match self.strip(ty) {
            Ty::Bool => Some((1, 1)),
            Ty::Bits { width, .. } => Some((width.into(), width.into())),
            Ty::Varbit(max) => Some((0, max.into())),
            ty if ty.is_union() => {
                let infos = self.fields_of(&ty);
                let mut bounds = (0, 0);
                for info in infos.iter() {
                    let (_, most) = self.size_bounds(&info.ty)?;
                    bounds.1 = most.max(bounds.1);
                }
                Some(bounds)
            }
            ty @ Ty::Fields(..) => {
                let infos = self.fields_of(&ty);
                infos.iter().try_fold((0u64, 0u64), |(least, most), info| {
                    let (a, b) = self.size_bounds(&info.ty)?;
                    Some((least.checked_add(a)?, most.checked_add(b)?))
                })
            }
            Ty::Stack(elem, size) => {
                let (a, b) = self.size_bounds(&elem)?;
                Some((a.checked_mul(size.into())?, b.checked_mul(size.into())?))
            }
            Ty::Tuple(items) => items.iter().try_fold((0u64, 0u64), |(least, most), item| {
                let (a, b) = self.size_bounds(item)?;
                Some((least.checked_add(a)?, most.checked_add(b)?))
            }),
            _ => None,
        }
    }

    /// A constant number of stack positions.
    pub(super) fn stack_count(&mut self, written: &'a Expr) -> Option<Typed> {
        let value = self.expr(written, Some(&Ty::Integer));
        if value.ty.is_error() {
            return None;
        }
        match self.int_value(&value) {
            Some(number) if number.to_u32().is_some() => {
                Some(self.int_const(number, Ty::bit(32), written.span))
            }
            Some(number) => {
                self.err(
                    code::BOUNDS,
                    written.span,
                    format!("a stack cannot move by {number}"),
                    "",
                );
                None
            }
            None if value.known && self.checking() => Some(value),
            None => {
                self.err(
                    code::NOT_CONSTANT,
                    written.span,
                    "the count must be a compile-time constant",
                    "",
                );
                None
            }
        }
    }
}
