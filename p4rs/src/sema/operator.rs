//! Unary and binary operators.
//!
//! In: operands. Out: typed nodes, folded where both operands are constants. Invariant: the operands of a node have the
//! same type, but for shifts and concatenations.

use num_bigint::BigInt;
use num_traits::{Signed, Zero};

use super::consteval::{self, Undefined};
use super::emit::Typed;
use super::ty::Ty;
use super::{Sema, code};
use crate::front::ast::{self, BinaryOp as Op, Expr, StructKind};
use crate::ir::{BinaryOp, Const, ExprKind, UnaryOp};
use crate::source::Span;

impl<'a> Sema<'a> {
    pub(super) fn unary(
        &mut self,
        op: ast::UnaryOp,
        operand: &'a Expr,
        want: Option<&Ty>,
        span: Span,
    ) -> Typed {
        let value = self.expr(
            operand,
            if op == ast::UnaryOp::Not {
                Some(&Ty::Bool)
            } else {
                want
            },
        );
        let ty = self.strip_enum(&value.ty);
        let (node, fits) = match op {
            ast::UnaryOp::Not => (UnaryOp::Not, ty == Ty::Bool),
            ast::UnaryOp::Complement => (UnaryOp::BitNot, matches!(ty, Ty::Bits { .. })),
            ast::UnaryOp::Minus => (UnaryOp::Neg, matches!(ty, Ty::Bits { .. } | Ty::Integer)),
            ast::UnaryOp::Plus => (UnaryOp::Neg, matches!(ty, Ty::Bits { .. } | Ty::Integer)),
        };
        if ty.is_error() {
            return self.bad(span);
        }
        if !fits {
            let message = format!(
                "`{}` is not defined on `{}`",
                op.text(),
                self.show(&value.ty)
            );
            let help = if ty == Ty::Integer {
                "give the number a width, such as `8w1`"
            } else {
                ""
            };
            self.err(code::OPERAND, span, message, help);
            return self.bad(span);
        }
        let value = self.convert(value, &ty, operand.span);
        if op == ast::UnaryOp::Plus {
            return Typed {
                place: false,
                ..value
            };
        }
        let folded = self
            .const_value(value.expr)
            .and_then(|c| consteval::unary(node, &c, &ty));
        let kind = folded.map_or(ExprKind::Unary(node, value.expr), ExprKind::Const);
        let expr = self.node(kind, &ty, span);
        Typed {
            expr,
            ty,
            place: false,
            known: value.known,
        }
    }

    pub(super) fn binary(
        &mut self,
        op: Op,
        lhs: &'a Expr,
        rhs: &'a Expr,
        want: Option<&Ty>,
        span: Span,
    ) -> Typed {
        let hint = match op {
            Op::And | Op::Or => Some(&Ty::Bool),
            Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::Concat => None,
            _ => want,
        };
        let a = self.expr(lhs, hint);
        let b = match op {
            Op::Eq | Op::Ne if !a.ty.is_literal() => {
                let ty = a.ty.clone();
                self.expr(rhs, Some(&ty))
            }
            Op::Shl | Op::Shr => self.expr(rhs, None),
            _ => self.expr(rhs, hint),
        };
        self.combine(op, a, b, span)
    }

    /// `a op b` of two values.
    pub(super) fn combine(&mut self, op: Op, a: Typed, b: Typed, span: Span) -> Typed {
        if a.ty.is_error() || b.ty.is_error() {
            return self.bad(span);
        }
        match op {
            Op::And | Op::Or => self.logical(op, a, b, span),
            Op::Eq | Op::Ne => self.equality(op, a, b, span),
            Op::Concat => self.concat(a, b, span),
            Op::Shl | Op::Shr => self.shift(op, a, b, span),
            _ => self.arithmetic(op, a, b, span),
        }
    }

    fn undefined_on(&mut self, op: Op, a: &Ty, b: &Ty, span: Span, help: &str) -> Typed {
        let message = format!(
            "`{}` is not defined on `{}` and `{}`",
            op.text(),
            self.show(a),
            self.show(b)
        );
        self.err(code::OPERAND, span, message, help);
        self.bad(span)
    }

    fn logical(&mut self, op: Op, a: Typed, b: Typed, span: Span) -> Typed {
        let (ta, tb) = (self.resolve(&a.ty), self.resolve(&b.ty));
        if ta != Ty::Bool || tb != Ty::Bool {
            return self.undefined_on(op, &ta, &tb, span, "compare with 0 to get a `bool`");
        }
        let node = if op == Op::And {
            BinaryOp::And
        } else {
            BinaryOp::Or
        };
        // A constant on the left decides, or leaves the right side.
        if let ExprKind::Const(Const::Bool(left)) = self.kind(a.expr) {
            let left = *left;
            if left == (op == Op::Or) {
                return self.constant(Const::Bool(left), Ty::Bool, span);
            }
            return Typed { place: false, ..b };
        }
        self.folded(node, a, b, Ty::Bool, span)
    }

    /// Both operands as values of one fixed-width or arbitrary-precision type.
    fn numbers(&mut self, op: Op, a: Typed, b: Typed, span: Span) -> Option<(Typed, Typed, Ty)> {
        let (ta, tb) = (self.strip_enum(&a.ty), self.strip_enum(&b.ty));
        let numeric = |ty: &Ty| matches!(ty, Ty::Bits { .. } | Ty::Integer);
        if !numeric(&ta) || !numeric(&tb) {
            let (ta, tb) = (a.ty, b.ty);
            let help = if ta == Ty::Str || tb == Ty::Str {
                "strings are joined with `++`"
            } else {
                ""
            };
            self.undefined_on(op, &ta, &tb, span, help);
            return None;
        }
        let ty = match (&ta, &tb) {
            _ if ta == tb => ta.clone(),
            (Ty::Integer, other) | (other, Ty::Integer) => other.clone(),
            _ => {
                let help = format!("cast one operand: `({}) ...`", self.show(&ta));
                self.undefined_on(op, &ta, &tb, span, &help);
                return None;
            }
        };
        let (sa, sb) = (self.ir.exprs[a.expr].span, self.ir.exprs[b.expr].span);
        let a = self.convert(a, &ty, sa);
        let b = self.convert(b, &ty, sb);
        if a.ty.is_error() || b.ty.is_error() {
            None
        } else {
            Some((a, b, ty))
        }
    }

    fn arithmetic(&mut self, op: Op, a: Typed, b: Typed, span: Span) -> Typed {
        if matches!(op, Op::Div | Op::Mod) && (self.negative(&a) || self.negative(&b)) {
            self.err(
                code::DIVISION,
                span,
                format!("`{}` is not defined on negative numbers", op.text()),
                "",
            );
            return self.bad(span);
        }
        let Some((a, b, ty)) = self.numbers(op, a, b, span) else {
            return self.bad(span);
        };
        let node = match op {
            Op::Mul => BinaryOp::Mul,
            Op::Div => BinaryOp::Div,
            Op::Mod => BinaryOp::Mod,
            Op::Add => BinaryOp::Add,
            Op::Sub => BinaryOp::Sub,
            Op::AddSat => BinaryOp::SatAdd,
            Op::SubSat => BinaryOp::SatSub,
            Op::BitAnd => BinaryOp::BitAnd,
            Op::BitOr => BinaryOp::BitOr,
            Op::BitXor => BinaryOp::BitXor,
            Op::Lt => BinaryOp::Lt,
            Op::Le => BinaryOp::Le,
            Op::Gt => BinaryOp::Gt,
            _ => BinaryOp::Ge,
        };
        let refused = match op {
            Op::AddSat | Op::SubSat => ty == Ty::Integer,
            Op::Div | Op::Mod => matches!(ty, Ty::Bits { signed: true, .. }),
            _ => false,
        };
        if refused {
            let help = if ty == Ty::Integer {
                "give one number a width, such as `8w1`"
            } else {
                ""
            };
            return self.undefined_on(op, &ty, &ty, span, help);
        }
        let result = match op {
            Op::Lt | Op::Le | Op::Gt | Op::Ge => Ty::Bool,
            _ => ty,
        };
        self.folded(node, a, b, result, span)
    }

    fn negative(&self, value: &Typed) -> bool {
        self.int_value(value).is_some_and(|n| n.is_negative())
    }

    fn folded(&mut self, op: BinaryOp, a: Typed, b: Typed, ty: Ty, span: Span) -> Typed {
        let known = a.known && b.known;
        let width = match b.ty {
            Ty::Bits { width, .. } => width,
            _ => 0,
        };
        if matches!(op, BinaryOp::Div | BinaryOp::Mod)
            && self.int_value(&b).is_some_and(|n| n.is_zero())
        {
            self.err(code::DIVISION, span, "division by zero", "");
            return self.bad(span);
        }
        let folded = match (self.const_value(a.expr), self.const_value(b.expr)) {
            (Some(x), Some(y)) => consteval::binary(op, &x, &y, &ty, width),
            _ => None,
        };
        let kind = match folded {
            Some(Ok(value)) => ExprKind::Const(value),
            Some(Err(why)) => {
                let (code, message) = match why {
                    Undefined::ByZero => (code::DIVISION, "division by zero"),
                    Undefined::Negative => {
                        (code::DIVISION, "this is not defined on negative numbers")
                    }
                    Undefined::Shift => (code::SHIFT, "the shift amount is too large"),
                    Undefined::TooLong => (code::OUT_OF_RANGE, "this number is too large"),
                };
                self.err(code, span, message, "");
                return self.bad(span);
            }
            None => ExprKind::Binary(op, a.expr, b.expr),
        };
        let expr = self.node(kind, &ty, span);
        Typed {
            expr,
            ty,
            place: false,
            known,
        }
    }

    fn concat(&mut self, a: Typed, b: Typed, span: Span) -> Typed {
        let (ta, tb) = (self.strip_enum(&a.ty), self.strip_enum(&b.ty));
        match (&ta, &tb) {
            (Ty::Bits { width: x, signed }, Ty::Bits { width: y, .. }) => {
                let ty = Ty::Bits {
                    width: x + y,
                    signed: *signed,
                };
                let (sa, sb) = (self.ir.exprs[a.expr].span, self.ir.exprs[b.expr].span);
                let a = self.convert(a, &ta, sa);
                let b = self.convert(b, &tb, sb);
                self.folded(BinaryOp::Concat, a, b, ty, span)
            }
            (Ty::Str, Ty::Str) => self.folded(BinaryOp::Concat, a, b, Ty::Str, span),
            _ => {
                let unsized_number = ta == Ty::Integer || tb == Ty::Integer;
                let help = if unsized_number {
                    "give the number a width, such as `8w1`"
                } else {
                    ""
                };
                self.undefined_on(Op::Concat, &ta, &tb, span, help)
            }
        }
    }

    fn shift(&mut self, op: Op, a: Typed, b: Typed, span: Span) -> Typed {
        let (ta, tb) = (self.strip_enum(&a.ty), self.strip_enum(&b.ty));
        if !matches!(ta, Ty::Bits { .. } | Ty::Integer) {
            return self.undefined_on(op, &ta, &tb, span, "");
        }
        let amount = self.int_value(&b);
        if amount.as_ref().is_some_and(Signed::is_negative) {
            self.err(
                code::SHIFT,
                span,
                "shifts by a negative amount are not defined",
                "",
            );
            return self.bad(span);
        }
        let unsigned = matches!(tb, Ty::Bits { signed: false, .. });
        let constant = matches!(tb, Ty::Integer | Ty::Bits { .. }) && b.known;
        if !unsigned && !constant {
            return self.undefined_on(op, &ta, &tb, span, "shift by a `bit<>` value or a constant");
        }
        if ta == Ty::Integer && !b.known {
            let help = "give the shifted number a width, such as `32w1`";
            self.err(
                code::NOT_INFERRED,
                span,
                "the width of this shift is not known",
                help,
            );
            return self.bad(span);
        }
        let (sa, sb) = (self.ir.exprs[a.expr].span, self.ir.exprs[b.expr].span);
        let a = self.convert(a, &ta, sa);
        let b = match amount {
            Some(number) if !unsigned => {
                let width = u32::try_from(number.bits())
                    .unwrap_or(u32::MAX)
                    .clamp(1, 1 << 16);
                if BigInt::from(number.bits()) > BigInt::from(1 << 16) {
                    self.err(code::SHIFT, sb, "the shift amount is too large", "");
                    return self.bad(span);
                }
                self.int_const(number, Ty::bit(width.max(32)), sb)
            }
            _ => self.convert(b, &tb, sb),
        };
        let node = if op == Op::Shl {
            BinaryOp::Shl
        } else {
            BinaryOp::Shr
        };
        self.folded(node, a, b, ta, span)
    }

    fn equality(&mut self, op: Op, a: Typed, b: Typed, span: Span) -> Typed {
        let (ta, tb) = (self.resolve(&a.ty), self.resolve(&b.ty));
        let node = if op == Op::Eq {
            BinaryOp::Eq
        } else {
            BinaryOp::Ne
        };
        let comparable = match (&ta, &tb) {
            (Ty::Integer, Ty::Integer) => true,
            _ if ta == tb && !ta.is_literal() => self.comparable(&ta),
            (Ty::SerEnum(_), Ty::SerEnum(_)) if self.strip_enum(&ta) == self.strip_enum(&tb) => {
                let under = self.strip_enum(&ta);
                let a = self.convert(a, &under, span);
                let b = self.convert(b, &under, span);
                return self.folded(node, a, b, Ty::Bool, span);
            }
            (Ty::SerEnum(_), Ty::Bits { .. } | Ty::Integer)
            | (Ty::Bits { .. } | Ty::Integer, Ty::SerEnum(_)) => {
                if let Some((a, b, _)) = self.numbers(op, a, b, span) {
                    return self.folded(node, a, b, Ty::Bool, span);
                }
                return self.bad(span);
            }
            (Ty::Integer, Ty::Bits { .. }) | (Ty::Bits { .. }, Ty::Integer) => true,
            (x, y) if x.is_literal() && !y.is_literal() && *x != Ty::Integer => self.comparable(y),
            (x, y) if y.is_literal() && !x.is_literal() && *y != Ty::Integer => self.comparable(x),
            (Ty::ListLit(xs, false), Ty::ListLit(ys, false)) if xs.len() == ys.len() => {
                return self.compare_lists(op, a, b, span);
            }
            (Ty::Infer(_), _) | (_, Ty::Infer(_)) => true,
            _ => self.unify(&ta, &tb) && self.comparable(&ta),
        };
        if !comparable {
            let message = format!(
                "`{}` and `{}` cannot be compared",
                self.show(&ta),
                self.show(&tb)
            );
            let help = match (&ta, &tb) {
                (Ty::Bits { .. }, Ty::Bits { .. }) => {
                    format!("cast one side: `({}) ...`", self.show(&ta))
                }
                _ => String::new(),
            };
            self.err(code::OPERAND, span, message, &help);
            return self.bad(span);
        }
        match self.common(a, b, None, span) {
            Some((a, b, _)) => self.folded(node, a, b, Ty::Bool, span),
            None => self.bad(span),
        }
    }

    /// Two untyped lists: their elements are compared one by one.
    fn compare_lists(&mut self, op: Op, a: Typed, b: Typed, span: Span) -> Typed {
        let (Ty::ListLit(xs, _), Ty::ListLit(ys, _)) = (self.resolve(&a.ty), self.resolve(&b.ty))
        else {
            return self.bad(span);
        };
        let (pa, pb) = (self.parts(a.expr), self.parts(b.expr));
        let mut all: Option<Typed> = None;
        let join = if op == Op::Eq { Op::And } else { Op::Or };
        for index in 0..xs.len() {
            let x = Typed {
                expr: pa[index],
                ty: xs[index].clone(),
                place: false,
                known: a.known,
            };
            let y = Typed {
                expr: pb[index],
                ty: ys[index].clone(),
                place: false,
                known: b.known,
            };
            let one = self.equality(op, x, y, span);
            if one.ty.is_error() {
                return one;
            }
            all = Some(match all {
                Some(all) => self.logical(join, all, one, span),
                None => one,
            });
        }
        match all {
            Some(all) => all,
            None => self.constant(Const::Bool(op == Op::Eq), Ty::Bool, span),
        }
    }

    fn comparable(&mut self, ty: &Ty) -> bool {
        match self.resolve(ty) {
            Ty::Bool
            | Ty::Bits { .. }
            | Ty::Integer
            | Ty::Varbit(_)
            | Ty::ErrorCode
            | Ty::MatchKind
            | Ty::Str
            | Ty::Enum(_)
            | Ty::SerEnum(_)
            | Ty::Error => true,
            Ty::New(id) => {
                let under = self.new_type_target(id);
                self.comparable(&under)
            }
            ty @ Ty::Fields(
                StructKind::Struct | StructKind::Header | StructKind::HeaderUnion,
                ..,
            ) => self
                .fields_of(&ty)
                .iter()
                .all(|field| self.comparable(&field.ty)),
            Ty::Stack(elem, _) => self.comparable(&elem),
            Ty::Tuple(items) => items.iter().all(|item| self.comparable(item)),
            Ty::List(elem) => self.comparable(&elem),
            _ => false,
        }
    }
}
