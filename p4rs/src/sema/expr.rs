//! Expressions: literals, names, lists, slices, conditionals.
//!
//! In: an expression and, where one is known, the type it is wanted for. Out: an [`Operand`]: a value, or one of the
//! things that are named but are not values. Invariant: what comes out of [`Sema::expr`] is a value.

use std::rc::Rc;
use std::sync::Arc;

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive};

use super::consteval::wrap;
use super::emit::Typed;
use super::names::{ActionInfo, Entity, Found, GlobalValue, Object};
use super::ty::{DefId, Ty};
use super::{Sema, code};
use crate::front::ast::{Decl, Expr, ExprKind as Ast, IntLit, KeyValue, Path};
use crate::ir::{self, BinaryOp, Const, ExprKind, Handle};
use crate::source::Span;

/// What an expression denotes.
pub(super) enum Operand<'a> {
    Value(Typed),
    Type(Ty),
    Object(Ty, Object),
    Action(Rc<ActionInfo<'a>>),
    Table(u32),
    ValueSet(Handle<ir::ValueSet>, Ty),
    /// Functions of one name.
    Functions(Vec<DefId>),
    /// Already complained about.
    Bad,
}

impl<'a> Sema<'a> {
    /// A value; `want` is a hint, the result may have another type.
    pub(super) fn expr(&mut self, written: &'a Expr, want: Option<&Ty>) -> Typed {
        let operand = self.operand(written, want);
        self.as_value(operand, written.span)
    }

    pub(super) fn as_value(&mut self, operand: Operand<'a>, span: Span) -> Typed {
        let what = match operand {
            Operand::Value(value) => return value,
            Operand::Bad => return self.bad(span),
            Operand::Type(Ty::Error) => return self.bad(span),
            Operand::Type(ty) => format!("the type `{}`", self.show(&ty)),
            Operand::Object(ty, _) => format!("an object of type `{}`", self.show(&ty)),
            Operand::Action(action) => format!("the action `{}`", action.decl.name),
            Operand::Table(_) => "a table".into(),
            Operand::ValueSet(..) => "a value set".into(),
            Operand::Functions(_) => "a function".into(),
        };
        self.err(
            code::NOT_A_VALUE,
            span,
            format!("this is {what}, not a value"),
            "",
        );
        self.bad(span)
    }

    /// Whatever the expression denotes.
    pub(super) fn operand(&mut self, written: &'a Expr, want: Option<&Ty>) -> Operand<'a> {
        let span = written.span;
        let value = match &written.kind {
            Ast::Path(path) => return self.name(path),
            Ast::Type(ty) => return Operand::Type(self.type_or_bare(ty)),
            Ast::Member { base, name } => return self.member(base, name, span),
            Ast::Call {
                callee,
                type_args,
                args,
            } => return self.call(callee, type_args, args, span, want),
            Ast::This => match self.frame.this.clone() {
                Some((ty, object)) => return Operand::Object(ty, object),
                None => {
                    self.err(
                        code::MISPLACED,
                        span,
                        "`this` stands outside of a method",
                        "",
                    );
                    return Operand::Bad;
                }
            },
            Ast::Int(literal) => self.literal(literal, span),
            Ast::Bool(b) => self.constant(Const::Bool(*b), Ty::Bool, span),
            Ast::Str(text) => self.constant(Const::String(unescape(text)), Ty::Str, span),
            Ast::Dots => self.constant(Const::Absent, Ty::Dots, span),
            Ast::Invalid => self.constant(Const::Absent, Ty::Invalid, span),
            Ast::DontCare | Ast::Default => self.misplaced(span, "this cannot stand here", ""),
            Ast::Range { .. } => self.misplaced(
                span,
                "a range cannot stand here",
                "ranges are for keysets and `for`",
            ),
            Ast::Mask { .. } => {
                self.misplaced(span, "a mask cannot stand here", "masks are for keysets")
            }
            Ast::Index { base, index } => self.index(base, index, span),
            Ast::Slice { base, hi, lo } => self.slice(base, hi, lo, span),
            Ast::PlusSlice { base, lo, width } => self.plus_slice(base, lo, width, span),
            Ast::Unary { op, operand } => self.unary(*op, operand, want, span),
            Ast::Binary { op, lhs, rhs, .. } => self.binary(*op, lhs, rhs, want, span),
            Ast::Ternary {
                cond,
                then,
                otherwise,
            } => self.conditional(cond, then, otherwise, want, span),
            Ast::Cast { ty, operand } => {
                let to = self.type_of(ty);
                self.cast(operand, &to, span)
            }
            Ast::List(items) => self.list_literal(items, want, span),
            Ast::Record { fields, dots } => self.record_literal(fields, dots.is_some(), want, span),
        };
        Operand::Value(value)
    }

    pub(super) fn misplaced(&mut self, span: Span, message: &str, help: &str) -> Typed {
        self.err(code::MISPLACED, span, message, help);
        self.bad(span)
    }

    fn literal(&mut self, literal: &IntLit, span: Span) -> Typed {
        let value = BigInt::from(literal.value.clone());
        let Some(width) = literal.width else {
            return self.int_const(value, Ty::Integer, span);
        };
        if literal.signed && width == 0 || width > super::types::MAX_WIDTH {
            let message = format!("{width} is not a width for this literal");
            self.err(code::BAD_WIDTH, span, message, "");
            return self.bad(span);
        }
        let ty = Ty::Bits {
            width,
            signed: literal.signed,
        };
        let wrapped = wrap(&value, width, literal.signed);
        if wrapped != value {
            self.warn(
                code::TRUNCATED,
                span,
                format!(
                    "{value} does not fit `{}` and becomes {wrapped}",
                    self.show(&ty)
                ),
            );
        }
        self.int_const(wrapped, ty, span)
    }

    /// What a name denotes.
    pub(super) fn name(&mut self, path: &'a Path) -> Operand<'a> {
        if self.find_name(path).is_none() && self.match_kinds.contains_key(&path.name.text) {
            let kind = Const::MatchKind(path.name.to_string());
            return Operand::Value(self.constant(kind, Ty::MatchKind, path.span));
        }
        match self.look_up(path) {
            None => Operand::Bad,
            Some(Found::Local(entity)) => self.entity(entity, path.span),
            Some(Found::Global(ids)) => self.global(ids, path.span),
        }
    }

    fn entity(&mut self, entity: Entity<'a>, span: Span) -> Operand<'a> {
        match entity {
            Entity::Var {
                var,
                ty,
                writable,
                known,
            } => {
                let expr = self.node(ExprKind::Var(var), &ty, span);
                Operand::Value(Typed {
                    expr,
                    ty,
                    place: writable,
                    known,
                })
            }
            Entity::Const { expr, ty } => Operand::Value(Typed {
                expr,
                ty,
                place: false,
                known: true,
            }),
            Entity::Object { ty, object } => Operand::Object(ty, object),
            Entity::Type(ty) => Operand::Type(ty),
            Entity::Action(action) => Operand::Action(action),
            Entity::Table(index) => Operand::Table(index),
            Entity::ValueSet { handle, ty } => Operand::ValueSet(handle, ty),
            Entity::Bad => Operand::Bad,
        }
    }

    fn global(&mut self, ids: Vec<DefId>, span: Span) -> Operand<'a> {
        let Some(&last) = ids.last() else {
            return Operand::Bad;
        };
        match self.decl(last) {
            Decl::Function(_) | Decl::ExternFunction(_) => Operand::Functions(ids),
            Decl::Const(_) | Decl::Instance(_) | Decl::Action(_) => {
                match self.global_entity(last, span) {
                    Some(entity) => self.entity(entity, span),
                    None => Operand::Bad,
                }
            }
            _ => match self.type_named(last, None, span) {
                Some(ty) => Operand::Type(ty),
                None => Operand::Bad,
            },
        }
    }

    /// A top-level constant, instance or action, lowered when first met.
    pub(super) fn global_entity(&mut self, id: DefId, span: Span) -> Option<Entity<'a>> {
        match self.global_values.get(&id) {
            Some(GlobalValue::Entity(entity)) => return Some(entity.clone()),
            Some(GlobalValue::Busy) => {
                let message = format!("`{}` refers to itself", self.def_name(id));
                self.err(code::RECURSIVE, span, message, "P4 has no recursion");
                return None;
            }
            None => {}
        }
        self.global_values.insert(id, GlobalValue::Busy);
        let entity = self.lower_global(id);
        self.global_values
            .insert(id, GlobalValue::Entity(entity.clone()));
        Some(entity)
    }

    fn list_literal(&mut self, items: &'a [Expr], want: Option<&Ty>, span: Span) -> Typed {
        let wanted = self.wanted_parts(want, items.len());
        let mut parts = Vec::with_capacity(items.len());
        let mut types = Vec::with_capacity(items.len());
        let (mut known, mut dots) = (true, false);
        for (index, item) in items.iter().enumerate() {
            if matches!(item.kind, Ast::Dots) && index + 1 == items.len() {
                dots = true;
                continue;
            }
            if matches!(item.kind, Ast::Dots) {
                return self.misplaced(item.span, "`...` must be the last element", "");
            }
            let part = self.expr(item, wanted.get(index));
            if matches!(self.resolve(&part.ty), Ty::Void | Ty::Apply(_)) {
                return self.misplaced(item.span, "this has no value that a list can hold", "");
            }
            known &= part.known;
            parts.push(part.expr);
            types.push(part.ty);
        }
        if types.iter().any(Ty::is_error) {
            return self.bad(span);
        }
        let ty = Ty::ListLit(types.into(), dots);
        let expr = self.node(ExprKind::Struct(parts), &ty, span);
        Typed {
            expr,
            ty,
            place: false,
            known,
        }
    }

    /// The types wanted for the parts of a list.
    fn wanted_parts(&mut self, want: Option<&Ty>, len: usize) -> Vec<Ty> {
        match want.map(|ty| self.resolve(ty)) {
            Some(ty @ Ty::Fields(..)) => self.fields_of(&ty).iter().map(|f| f.ty.clone()).collect(),
            Some(Ty::Tuple(items)) => items.to_vec(),
            Some(Ty::Stack(elem, _) | Ty::List(elem)) => vec![(*elem).clone(); len],
            _ => Vec::new(),
        }
    }

    fn record_literal(
        &mut self,
        fields: &'a [KeyValue],
        dots: bool,
        want: Option<&Ty>,
        span: Span,
    ) -> Typed {
        let infos = match want.map(|ty| self.resolve(ty)) {
            Some(ty @ Ty::Fields(..)) => self.fields_of(&ty),
            _ => Rc::default(),
        };
        let mut parts = Vec::with_capacity(fields.len());
        let mut types: Vec<(Arc<str>, Ty)> = Vec::with_capacity(fields.len());
        let mut known = true;
        for field in fields {
            if types.iter().any(|(name, _)| *name == field.name.text) {
                self.err(
                    code::DUPLICATE,
                    field.name.span,
                    format!("field `{}` is given twice", field.name),
                    "",
                );
                return self.bad(span);
            }
            let wanted = infos
                .iter()
                .find(|info| info.name == field.name.text)
                .map(|info| info.ty.clone());
            let part = self.expr(&field.value, wanted.as_ref());
            known &= part.known;
            parts.push(part.expr);
            types.push((field.name.text.clone(), part.ty));
        }
        if types.iter().any(|(_, ty)| ty.is_error()) {
            return self.bad(span);
        }
        let ty = Ty::RecordLit(types.into(), dots);
        let expr = self.node(ExprKind::Struct(parts), &ty, span);
        Typed {
            expr,
            ty,
            place: false,
            known,
        }
    }

    fn conditional(
        &mut self,
        cond: &'a Expr,
        then: &'a Expr,
        otherwise: &'a Expr,
        want: Option<&Ty>,
        span: Span,
    ) -> Typed {
        let test = self.expr_as(cond, &Ty::Bool);
        let a = self.expr(then, want);
        let b = self.expr(otherwise, want);
        let Some((a, b, ty)) = self.common(a, b, want, span) else {
            return self.bad(span);
        };
        if matches!(ty, Ty::Void | Ty::Apply(_)) || ty.is_object() {
            return self.misplaced(span, "the sides of `?:` have no value", "");
        }
        if ty == Ty::Integer && !test.known {
            let help = "give one side a width, such as `8w1`";
            self.err(
                code::NOT_INFERRED,
                span,
                "the width of this conditional is not known",
                help,
            );
            return self.bad(span);
        }
        let known = test.known && a.known && b.known;
        if let ExprKind::Const(Const::Bool(taken)) = self.kind(test.expr) {
            let side = if *taken { a } else { b };
            return Typed {
                place: false,
                known: side.known,
                ..side
            };
        }
        let expr = self.node(ExprKind::Mux(test.expr, a.expr, b.expr), &ty, span);
        Typed {
            expr,
            ty,
            place: false,
            known,
        }
    }

    /// Two values as one type: an untyped side takes the type of the other, two untyped ones that of the target.
    pub(super) fn common(
        &mut self,
        a: Typed,
        b: Typed,
        want: Option<&Ty>,
        span: Span,
    ) -> Option<(Typed, Typed, Ty)> {
        let (ta, tb) = (self.resolve(&a.ty), self.resolve(&b.ty));
        if ta.is_error() || tb.is_error() {
            return None;
        }
        let ty = match (ta.is_literal(), tb.is_literal()) {
            (false, true) => ta.clone(),
            (true, false) => tb.clone(),
            (true, true) if ta == tb && ta == Ty::Integer => Ty::Integer,
            (true, true) => match want.map(|ty| self.resolve(ty)) {
                Some(ty) if !ty.has_infer() => ty,
                _ if ta == tb => ta.clone(),
                _ => {
                    self.err(
                        code::NOT_INFERRED,
                        span,
                        "the type of this expression is not known",
                        "cast one side",
                    );
                    return None;
                }
            },
            (false, false) => ta.clone(),
        };
        let (sa, sb) = (self.ir.exprs[a.expr].span, self.ir.exprs[b.expr].span);
        let (a, b) = match (&ta, &tb) {
            (Ty::SerEnum(_), Ty::Bits { .. }) => (self.convert(a, &tb, sa), b),
            _ => {
                let a = self.convert(a, &ty, sa);
                (a, self.convert(b, &ty, sb))
            }
        };
        let ty = a.ty.clone();
        if a.ty.is_error() || b.ty.is_error() {
            None
        } else {
            Some((a, b, ty))
        }
    }

    fn index(&mut self, base: &'a Expr, index: &'a Expr, span: Span) -> Typed {
        let value = self.expr(base, None);
        let at = self.expr(index, Some(&Ty::bit(32)));
        if value.ty.is_error() || at.ty.is_error() {
            return self.bad(span);
        }
        let at_ty = self.strip_enum(&at.ty);
        if !matches!(at_ty, Ty::Integer | Ty::Bits { .. }) {
            let message = format!("an index is an integer, this is `{}`", self.show(&at.ty));
            self.err(code::MISMATCH, index.span, message, "");
            return self.bad(span);
        }
        let number = self.int_value(&at);
        let size = match self.resolve(&value.ty) {
            Ty::Stack(_, size) => size as usize,
            Ty::Tuple(items) | Ty::ListLit(items, false) => items.len(),
            other => {
                let message = format!("`{}` cannot be indexed", self.show(&other));
                self.err(
                    code::OPERAND,
                    base.span,
                    message,
                    "only stacks and tuples can",
                );
                return self.bad(span);
            }
        };
        if let Some(number) = &number
            && (number.is_negative() || number.to_usize().is_none_or(|n| n >= size))
        {
            self.err(
                code::BOUNDS,
                index.span,
                format!("index {number} is out of bounds: there are {size}"),
                "",
            );
            return self.bad(span);
        }
        self.element(value, at, number, index.span, span)
    }

    fn element(
        &mut self,
        value: Typed,
        at: Typed,
        number: Option<BigInt>,
        at_span: Span,
        span: Span,
    ) -> Typed {
        let at = if at.ty == Ty::Integer {
            self.convert(at, &Ty::bit(32), at_span)
        } else {
            at
        };
        let ty = match self.resolve(&value.ty) {
            Ty::Stack(elem, _) => (*elem).clone(),
            Ty::Tuple(items) | Ty::ListLit(items, _) => {
                match number.as_ref().and_then(BigInt::to_usize) {
                    Some(n) => {
                        if let Some(part) = self.parts(value.expr).get(n) {
                            return Typed {
                                expr: *part,
                                ty: items[n].clone(),
                                place: false,
                                known: value.known,
                            };
                        }
                        items[n].clone()
                    }
                    None if at.known && self.checking() => return self.bad(span),
                    None => {
                        self.err(
                            code::NOT_CONSTANT,
                            at_span,
                            "the index of a tuple must be a constant",
                            "",
                        );
                        return self.bad(span);
                    }
                }
            }
            _ => return self.bad(span),
        };
        let folded = match (
            self.const_value(value.expr),
            number.as_ref().and_then(BigInt::to_usize),
        ) {
            (Some(Const::List(items)), Some(n)) => items.get(n).cloned(),
            _ => None,
        };
        let known = value.known && at.known;
        let kind = folded.map_or(ExprKind::Index(value.expr, at.expr), ExprKind::Const);
        let place = value.place;
        let expr = self.node(kind, &ty, span);
        Typed {
            expr,
            ty,
            place,
            known,
        }
    }

    fn slice(&mut self, base: &'a Expr, hi: &'a Expr, lo: &'a Expr, span: Span) -> Typed {
        let value = self.expr(base, None);
        let bounds = (self.constant_int(hi), self.constant_int(lo));
        let Some(total) = self.sliceable(&value, base.span) else {
            return self.bad(span);
        };
        let (Some(hi_value), Some(lo_value)) = bounds else {
            return self.bad(span);
        };
        match (hi_value.to_u32(), lo_value.to_u32()) {
            (Some(h), Some(l)) if h >= l && total.is_none_or(|total| h < total) => {
                self.bits(value, h, l, span)
            }
            (Some(h), Some(l)) if h < l => {
                self.err(
                    code::BOUNDS,
                    span,
                    format!("the slice [{h}:{l}] is upside down"),
                    "write `[msb:lsb]`",
                );
                self.bad(span)
            }
            _ => {
                let of = total
                    .map(|total| format!(" of {total} bits"))
                    .unwrap_or_default();
                let message = format!("the slice [{hi_value}:{lo_value}] is out of bounds{of}");
                self.err(code::BOUNDS, span, message, "bits are numbered from 0");
                self.bad(span)
            }
        }
    }

    /// The width of a value that can be sliced; `None` inside for `int`.
    pub(super) fn sliceable(&mut self, value: &Typed, span: Span) -> Option<Option<u32>> {
        match self.strip_enum(&value.ty) {
            Ty::Error => None,
            Ty::Bits { width, .. } => Some(Some(width)),
            Ty::Integer => Some(None),
            other => {
                let message = format!("bits cannot be taken out of `{}`", self.show(&other));
                self.err(code::OPERAND, span, message, "cast it to `bit<>` first");
                None
            }
        }
    }

    /// Bits `hi` to `lo` of a value.
    pub(super) fn bits(&mut self, value: Typed, hi: u32, lo: u32, span: Span) -> Typed {
        let ty = Ty::bit(hi - lo + 1);
        if let Some(number) = self.int_value(&value) {
            let cut = super::consteval::pattern(&(number >> lo), hi - lo + 1);
            return self.int_const(cut, ty, span);
        }
        let expr = self.node(
            ExprKind::Slice {
                base: value.expr,
                hi,
                lo,
            },
            &ty,
            span,
        );
        Typed {
            expr,
            ty,
            place: value.place,
            known: value.known,
        }
    }

    fn plus_slice(&mut self, base: &'a Expr, lo: &'a Expr, width: &'a Expr, span: Span) -> Typed {
        let value = self.expr(base, None);
        let from = self.expr(lo, None);
        let (Some(total), Some(width_value)) =
            (self.sliceable(&value, base.span), self.constant_int(width))
        else {
            return self.bad(span);
        };
        let count = width_value
            .to_u32()
            .filter(|w| *w > 0 && total.is_none_or(|total| *w <= total));
        let Some(count) = count else {
            self.err(
                code::BOUNDS,
                width.span,
                format!("{width_value} bits cannot be taken"),
                "",
            );
            return self.bad(span);
        };
        if let Some(low) = self.int_value(&from) {
            let high = low.to_u32().and_then(|low| low.checked_add(count - 1));
            return match (low.to_u32(), high) {
                (Some(l), Some(h)) if total.is_none_or(|total| h < total) => {
                    self.bits(value, h, l, span)
                }
                _ => {
                    self.err(
                        code::BOUNDS,
                        span,
                        format!("the slice [{low}+:{count}] is out of bounds"),
                        "",
                    );
                    self.bad(span)
                }
            };
        }
        if !matches!(self.strip_enum(&from.ty), Ty::Bits { signed: false, .. }) {
            if !from.ty.is_error() {
                self.err(
                    code::MISMATCH,
                    lo.span,
                    "the first bit of a slice must be an unsigned number",
                    "",
                );
            }
            return self.bad(span);
        }
        let ty = value.ty.clone();
        let place = value.place;
        let shifted = self.value(
            ExprKind::Binary(BinaryOp::Shr, value.expr, from.expr),
            ty,
            span,
        );
        let cut = self.bits(shifted, count - 1, 0, span);
        Typed { place, ..cut }
    }
}

/// The escapes of string literals: `\"`, `\\` and `\n`.
pub(super) fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => result.push('\n'),
                Some(other) => result.push(other),
                None => result.push('\\'),
            },
            other => result.push(other),
        }
    }
    result
}
