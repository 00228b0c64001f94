//! Conversions: casts that the language inserts, and casts that are written.
//!
//! In: a typed expression and the type its place wants. Out: an expression of exactly that type. Invariant: initializers
//! (`{...}`, `{#}`, `...`) leave here with the type of their target.

use num_bigint::BigInt;
use num_traits::Zero;

use super::consteval::wrap;
use super::emit::Typed;
use super::ty::Ty;
use super::{Sema, code};
use crate::front::ast::{Decl, Expr, StructKind};
use crate::ir::{self, Const, ExprKind, Handle};
use crate::source::Span;

impl<'a> Sema<'a> {
    /// The expression, converted to `to` as assignments do.
    pub(super) fn expr_as(&mut self, written: &'a Expr, to: &Ty) -> Typed {
        let value = self.expr(written, Some(to));
        self.convert(value, to, written.span)
    }

    /// Converts as assignments do, or complains.
    pub(super) fn convert(&mut self, value: Typed, to: &Ty, span: Span) -> Typed {
        let (from, to) = (self.resolve(&value.ty), self.resolve(to));
        if from.is_error() || to.is_error() {
            return Typed { ty: to, ..value };
        }
        match (&from, &to) {
            _ if from == to => value,
            (Ty::Integer, Ty::Bits { width, signed }) => {
                self.number(value, *width, *signed, &to, span)
            }
            // The reference compiler takes a plain number for a type with a name of its own.
            (Ty::Integer, Ty::New(id)) if self.is_number(&to) => {
                let under = self.new_type_target(*id);
                let value = self.convert(value, &under, span);
                self.cast_node(value, &to, span)
            }
            (Ty::SerEnum(id), Ty::Bits { .. }) if self.enum_under(*id) == to => {
                self.cast_node(value, &to, span)
            }
            (Ty::Dots, _) => self.default_value(&to, span),
            (Ty::Invalid, _) if to.is_header() || to.is_union() => {
                let expr = self.node(ExprKind::InvalidHeader, &to, span);
                Typed {
                    expr,
                    ty: to,
                    place: false,
                    known: true,
                }
            }
            (Ty::ListLit(items, dots), Ty::Fields(kind, ..))
                if *kind != StructKind::HeaderUnion =>
            {
                let wanted: Vec<Ty> = self.fields_of(&to).iter().map(|f| f.ty.clone()).collect();
                self.list(&value, items, *dots, &wanted, &to, span)
            }
            (Ty::ListLit(items, dots), Ty::Tuple(wanted)) => {
                self.list(&value, items, *dots, wanted, &to, span)
            }
            (Ty::ListLit(items, _), Ty::List(elem)) => {
                let wanted = vec![(**elem).clone(); items.len()];
                self.list(&value, items, false, &wanted, &to, span)
            }
            (Ty::ListLit(items, dots), Ty::Stack(elem, size)) => {
                let wanted = vec![(**elem).clone(); *size as usize];
                self.list(&value, items, *dots, &wanted, &to, span)
            }
            (Ty::RecordLit(items, dots), Ty::Fields(kind, ..))
                if *kind != StructKind::HeaderUnion =>
            {
                self.record(&value, items, *dots, &to, span)
            }
            (_, Ty::Infer(_)) | (Ty::Infer(_), _) => {
                self.unify(&from, &to);
                Typed {
                    ty: self.resolve(&to),
                    ..value
                }
            }
            _ if !from.is_literal() && self.unify(&from, &to) => Typed {
                ty: self.resolve(&to),
                ..value
            },
            _ => self.mismatch(&from, &to, span),
        }
    }

    /// Whether the type is one of bits, under whatever name.
    fn is_number(&mut self, ty: &Ty) -> bool {
        match ty {
            Ty::Bits { .. } => true,
            Ty::New(id) => {
                let under = self.new_type_target(*id);
                self.is_number(&under)
            }
            _ => false,
        }
    }

    fn mismatch(&mut self, from: &Ty, to: &Ty, span: Span) -> Typed {
        let message = format!("expected `{}`, found `{}`", self.show(to), self.show(from));
        let help = match (from, to) {
            (
                Ty::Bits { .. } | Ty::New(_) | Ty::Bool,
                Ty::Bits { .. } | Ty::New(_) | Ty::Bool | Ty::SerEnum(_),
            ) => {
                format!("cast it: `({}) ...`", self.show(to))
            }
            (Ty::Integer, Ty::SerEnum(_) | Ty::Bool) => {
                format!("cast it: `({}) ...`", self.show(to))
            }
            _ => String::new(),
        };
        self.err(code::MISMATCH, span, message, &help);
        let mut bad = self.bad(span);
        bad.ty = Ty::Error;
        bad
    }

    /// An `int` as a number of a fixed width.
    fn number(&mut self, value: Typed, width: u32, signed: bool, to: &Ty, span: Span) -> Typed {
        let Some(number) = self.int_value(&value) else {
            return self.cast_node(value, to, span);
        };
        let wrapped = wrap(&number, width, signed);
        if wrapped != number {
            self.warn(
                code::TRUNCATED,
                span,
                format!(
                    "{number} does not fit `{}` and becomes {wrapped}",
                    self.show(to)
                ),
            );
        }
        self.int_const(wrapped, to.clone(), span)
    }

    /// A cast that keeps what is known of the value.
    fn cast_node(&mut self, value: Typed, to: &Ty, span: Span) -> Typed {
        let folded = self
            .const_value(value.expr)
            .and_then(|c| self.cast_const(c, to));
        let kind = folded.map_or(ExprKind::Cast(value.expr), ExprKind::Const);
        let expr = self.node(kind, to, span);
        Typed {
            expr,
            ty: to.clone(),
            place: false,
            known: value.known,
        }
    }

    fn cast_const(&mut self, value: Const, to: &Ty) -> Option<Const> {
        let under = self.strip(to);
        match (value, under) {
            (Const::Int(n), Ty::Bits { width, signed }) => {
                Some(Const::Int(wrap(&n, width, signed)))
            }
            (Const::Int(n), Ty::Bool) => Some(Const::Bool(!n.is_zero())),
            (Const::Int(n), Ty::Integer) => Some(Const::Int(n)),
            (Const::Bool(b), Ty::Bits { .. }) => Some(Const::Int(BigInt::from(u8::from(b)))),
            (Const::Bool(b), Ty::Bool) => Some(Const::Bool(b)),
            _ => None,
        }
    }

    /// `{ a, b, ... }` for a target with parts of known types.
    fn list(
        &mut self,
        value: &Typed,
        items: &[Ty],
        dots: bool,
        wanted: &[Ty],
        to: &Ty,
        span: Span,
    ) -> Typed {
        let given = self.parts(value.expr);
        if items.len() > wanted.len() || (items.len() < wanted.len() && !dots) {
            let message = format!(
                "`{}` has {} parts, {} are given",
                self.show(to),
                wanted.len(),
                items.len()
            );
            let help = if items.len() < wanted.len() {
                "end with `...` to default the rest"
            } else {
                ""
            };
            self.err(code::INITIALIZER, span, message, help);
            return self.bad(span);
        }
        let mut parts = Vec::with_capacity(wanted.len());
        let mut known = true;
        for (index, want) in wanted.iter().enumerate() {
            let part = match (given.get(index), items.get(index)) {
                (Some(expr), Some(ty)) => {
                    let place = self.ir.exprs[*expr].span;
                    let part = Typed {
                        expr: *expr,
                        ty: ty.clone(),
                        place: false,
                        known: value.known,
                    };
                    self.convert(part, want, place)
                }
                _ => self.default_value(want, span),
            };
            known &= part.known;
            if part.ty.is_error() {
                return self.bad(span);
            }
            parts.push(part.expr);
        }
        self.built(parts, to, known, span)
    }

    fn built(&mut self, parts: Vec<Handle<ir::Expr>>, to: &Ty, known: bool, span: Span) -> Typed {
        let to = self.resolve(to);
        let expr = self.node(ExprKind::Struct(parts), &to, span);
        Typed {
            expr,
            ty: to,
            place: false,
            known,
        }
    }

    /// The parts of an initializer.
    pub(super) fn parts(&self, expr: Handle<ir::Expr>) -> Vec<Handle<ir::Expr>> {
        match self.kind(expr) {
            ExprKind::Struct(parts) => parts.clone(),
            _ => Vec::new(),
        }
    }

    /// `{ x = a, ... }` for a struct or header.
    fn record(
        &mut self,
        value: &Typed,
        items: &[(std::sync::Arc<str>, Ty)],
        dots: bool,
        to: &Ty,
        span: Span,
    ) -> Typed {
        let given = self.parts(value.expr);
        let infos = self.fields_of(to);
        if let Some((name, _)) = items
            .iter()
            .find(|(name, _)| infos.iter().all(|f| f.name != *name))
        {
            let message = format!("`{}` has no field `{name}`", self.show(to));
            self.err(code::INITIALIZER, span, message, "");
            return self.bad(span);
        }
        let mut parts = Vec::with_capacity(infos.len());
        let mut known = true;
        for info in infos.iter() {
            let at = items.iter().position(|(name, _)| *name == info.name);
            let part = match at.and_then(|at| Some((*given.get(at)?, items[at].1.clone()))) {
                Some((expr, ty)) => {
                    let place = self.ir.exprs[expr].span;
                    self.convert(
                        Typed {
                            expr,
                            ty,
                            place: false,
                            known: value.known,
                        },
                        &info.ty,
                        place,
                    )
                }
                None if dots => self.default_value(&info.ty, span),
                None => {
                    let message =
                        format!("no value for field `{}` of `{}`", info.name, self.show(to));
                    self.err(
                        code::INITIALIZER,
                        span,
                        message,
                        "end with `...` to default the rest",
                    );
                    return self.bad(span);
                }
            };
            known &= part.known;
            if part.ty.is_error() {
                return self.bad(span);
            }
            parts.push(part.expr);
        }
        self.built(parts, to, known, span)
    }

    /// What `...` stands for (P4-16 section 7.3).
    pub(super) fn default_value(&mut self, ty: &Ty, span: Span) -> Typed {
        match self.resolve(ty) {
            Ty::Bool => self.constant(Const::Bool(false), Ty::Bool, span),
            ty @ (Ty::Bits { .. } | Ty::Integer | Ty::SerEnum(_)) => self.int_const(0, ty, span),
            Ty::Str => self.constant(Const::String(String::new()), Ty::Str, span),
            Ty::ErrorCode => self.constant(Const::Error(0), Ty::ErrorCode, span),
            Ty::New(id) => {
                let under = self.new_type_target(id);
                let inner = self.default_value(&under, span);
                self.cast_node(inner, &Ty::New(id), span)
            }
            Ty::Enum(id) => match self.decl(id) {
                Decl::Enum(decl) if !decl.members.is_empty() => self.enum_const(id, 0, span),
                _ => self.bad(span),
            },
            ty @ Ty::Fields(StructKind::Header | StructKind::HeaderUnion, ..) => {
                let expr = self.node(ExprKind::InvalidHeader, &ty, span);
                Typed {
                    expr,
                    ty,
                    place: false,
                    known: true,
                }
            }
            ty @ Ty::Fields(..) => {
                let wanted: Vec<Ty> = self.fields_of(&ty).iter().map(|f| f.ty.clone()).collect();
                self.defaults(&wanted, &ty, span)
            }
            Ty::Tuple(items) => self.defaults(&items, &Ty::Tuple(items.clone()), span),
            Ty::Stack(elem, size) => {
                let wanted = vec![(*elem).clone(); size as usize];
                self.defaults(&wanted, &Ty::Stack(elem, size), span)
            }
            Ty::List(elem) => self.built(Vec::new(), &Ty::List(elem), true, span),
            ty @ (Ty::Varbit(_) | Ty::Param(_)) => {
                let mut value = self.constant(Const::Absent, ty, span);
                value.known = true;
                value
            }
            Ty::Error => self.bad(span),
            other => {
                let message = format!("`{}` has no default value", self.show(&other));
                self.err(code::INITIALIZER, span, message, "");
                self.bad(span)
            }
        }
    }

    fn defaults(&mut self, wanted: &[Ty], to: &Ty, span: Span) -> Typed {
        let parts = wanted
            .iter()
            .map(|ty| self.default_value(ty, span).expr)
            .collect();
        self.built(parts, to, true, span)
    }

    /// `(ty) operand`.
    pub(super) fn cast(&mut self, operand: &'a Expr, to: &Ty, span: Span) -> Typed {
        let value = self.expr(operand, Some(to));
        let (from, to) = (self.resolve(&value.ty), self.resolve(to));
        if from.is_error() || to.is_error() {
            return Typed {
                ty: to,
                ..self.bad(span)
            };
        }
        if from == to {
            return Typed {
                place: false,
                ..value
            };
        }
        let from_literal = matches!(
            from,
            Ty::ListLit(..) | Ty::RecordLit(..) | Ty::Invalid | Ty::Dots
        );
        if from_literal {
            return self.convert(value, &to, span);
        }
        if !self.castable(&from, &to) {
            let message = format!(
                "`{}` cannot be cast to `{}`",
                self.show(&from),
                self.show(&to)
            );
            let help = match (&from, &to) {
                (Ty::Bits { width, .. }, Ty::Bits { signed, .. }) => {
                    let middle = self.show(&Ty::Bits {
                        width: *width,
                        signed: *signed,
                    });
                    format!(
                        "change sign and width in two steps: `({}) ({middle}) ...`",
                        self.show(&to)
                    )
                }
                _ => String::new(),
            };
            self.err(code::BAD_CAST, span, message, &help);
            return self.bad(span);
        }
        if let (Some(number), true) = (self.int_value(&value), self.strip(&to) == Ty::Bool)
            && number != BigInt::zero()
            && number != BigInt::from(1)
        {
            self.err(
                code::BAD_CAST,
                span,
                format!("{number} cannot be cast to `bool`"),
                "only 0 and 1 can",
            );
            return self.bad(span);
        }
        self.cast_node(value, &to, span)
    }

    fn castable(&mut self, from: &Ty, to: &Ty) -> bool {
        match (from, to) {
            _ if from == to => true,
            (
                Ty::Bits {
                    width: a,
                    signed: s,
                },
                Ty::Bits {
                    width: b,
                    signed: t,
                },
            ) => a == b || s == t,
            (
                Ty::Bits {
                    width: 1,
                    signed: false,
                },
                Ty::Bool,
            )
            | (
                Ty::Bool,
                Ty::Bits {
                    width: 1,
                    signed: false,
                },
            ) => true,
            (Ty::Bits { .. }, Ty::Integer) => true,
            (Ty::Integer, Ty::Bits { .. } | Ty::Bool) => true,
            (_, Ty::SerEnum(id)) => {
                let under = self.enum_under(*id);
                match from {
                    Ty::SerEnum(other) => self.enum_under(*other) == under,
                    Ty::Integer => true,
                    _ => *from == under,
                }
            }
            (Ty::SerEnum(id), Ty::Bits { .. }) => {
                let under = self.enum_under(*id);
                self.castable(&under, to)
            }
            (_, Ty::New(id)) => {
                let under = self.new_type_target(*id);
                *from == under || self.castable_to_base(from, &under)
            }
            (Ty::New(id), _) => self.new_type_target(*id) == *to,
            _ => false,
        }
    }

    /// Numbers are cast to a `type` as they would be to what it wraps.
    fn castable_to_base(&mut self, from: &Ty, under: &Ty) -> bool {
        *from == Ty::Integer && matches!(under, Ty::Bits { .. })
    }

    /// Member `index` of a plain enumeration.
    pub(super) fn enum_const(&mut self, id: super::ty::DefId, index: usize, span: Span) -> Typed {
        let Decl::Enum(decl) = self.decl(id) else {
            return self.bad(span);
        };
        let member = decl
            .members
            .get(index)
            .map(|m| m.name.to_string())
            .unwrap_or_default();
        let value = Const::Enum {
            ty: decl.name.to_string(),
            member,
            index: index as u32,
        };
        self.constant(value, Ty::Enum(id), span)
    }
}
