//! Expressions: scalars become [`Ex`], everything else [`Agg`].
//!
//! In: typed IR expressions. Out: trees without names or types. Invariant: a scalar's value is below 2^width.

use num_bigint::BigInt;

use super::super::super::{bits, layout};
use super::super::code::{Agg, Bin, Ex, Number, Op, Operand, Place, WideKind, WideOp};
use super::{Lower, Lowered};
use crate::ir::{
    Arg, BinaryOp, Callee, Const, Expr, ExprKind, Handle, HeaderOp, PacketOp, Type, UnaryOp,
};
use crate::source::Span;

impl Lower<'_> {
    /// Any expression.
    pub(crate) fn operand(&mut self, expr: Handle<Expr>) -> Lowered<Operand> {
        let ty = self.expr(expr).ty;
        if layout::is_scalar(self.program, ty) {
            return self.scalar(expr).map(Operand::One);
        }
        Ok(Operand::Many(self.agg(expr)?, self.slots(ty)))
    }

    /// Width and signedness of an expression's type.
    pub(super) fn number_type(&self, expr: Handle<Expr>) -> (u32, bool) {
        layout::number(self.program, self.expr(expr).ty)
    }

    pub(super) fn number(&mut self, expr: Handle<Expr>) -> Lowered<Number> {
        let (width, signed) = self.number_type(expr);
        Ok(Number {
            value: self.operand(expr)?,
            width,
            signed,
        })
    }

    /// An expression of one slot.
    pub(super) fn scalar(&mut self, expr: Handle<Expr>) -> Lowered<Ex> {
        let node = self.expr(expr);
        match &node.kind {
            ExprKind::Const(value) => self.scalar_const(value, node.ty, expr),
            ExprKind::Var(_)
            | ExprKind::StackNext(_)
            | ExprKind::StackLast(_)
            | ExprKind::Index(..) => Ok(load(self.place(expr)?)),
            ExprKind::Field(base, field) => {
                match (&self.expr(*base).kind, self.ty(self.expr(*base).ty)) {
                    (
                        ExprKind::Call {
                            callee: Callee::Table(table),
                            ..
                        },
                        Type::ApplyResult,
                    ) => Ok(Ex::Apply {
                        table: self.table(*table)?,
                        hit: *field == 0,
                    }),
                    _ => Ok(load(self.place(expr)?)),
                }
            }
            ExprKind::Slice { base, hi, lo } => self.slice(*base, *hi, *lo),
            ExprKind::StackLastIndex(stack) => Ok(Ex::LastIndex(Box::new(self.place(*stack)?))),
            ExprKind::Unary(op, operand) => self.unary(*op, *operand),
            ExprKind::Binary(op, a, b) => self.binary(*op, *a, *b, expr),
            ExprKind::Mux(cond, a, b) => Ok(Ex::Mux(Box::new((
                self.scalar(*cond)?,
                self.scalar(*a)?,
                self.scalar(*b)?,
            )))),
            ExprKind::Cast(operand) => self.scalar_cast(*operand, expr),
            ExprKind::Struct(items) if items.len() == 1 => self.scalar(items[0]),
            ExprKind::Struct(_) | ExprKind::InvalidHeader => {
                self.construct("a value of one part expected", node.span)
            }
            ExprKind::Call { .. } => self.scalar_call(expr),
        }
    }

    fn scalar_const(&self, value: &Const, ty: Handle<Type>, expr: Handle<Expr>) -> Lowered<Ex> {
        match self.const_word(value, ty) {
            Some(word) => Ok(Ex::Const(word)),
            None => self.construct("a constant of one part expected", self.expr(expr).span),
        }
    }

    /// A constant of a scalar type.
    pub(crate) fn const_word(&self, value: &Const, ty: Handle<Type>) -> Option<u128> {
        match value {
            Const::Bool(value) => Some(u128::from(*value)),
            Const::Int(value) => Some(bits::word_of(value, layout::number(self.program, ty).0)),
            Const::Error(index) => Some(u128::from(*index)),
            Const::Enum { member, index, .. } => {
                let serializable = self.ser_enum_value(ty, member);
                let width = layout::number(self.program, ty).0;
                Some(serializable.map_or(u128::from(*index), |value| bits::word_of(&value, width)))
            }
            Const::String(_) | Const::MatchKind(_) | Const::Absent | Const::Extern(_) => Some(0),
            Const::List(items) => match items.as_slice() {
                [item] => self.const_word(item, ty),
                _ => None,
            },
        }
    }

    fn ser_enum_value(&self, mut ty: Handle<Type>, member: &str) -> Option<BigInt> {
        loop {
            match &self.program.types[ty] {
                Type::New(new) => ty = new.under,
                Type::SerEnum(en) => {
                    return en
                        .members
                        .iter()
                        .find(|(name, _)| name == member)
                        .map(|(_, value)| value.clone());
                }
                _ => return None,
            }
        }
    }

    /// Writes a constant of any type into words.
    pub(crate) fn const_words(&self, value: &Const, ty: Handle<Type>, to: &mut [u128]) {
        match (self.ty(ty), value) {
            (Type::Bits { width, .. }, Const::Int(number)) => bits::from_bigint(number, *width, to),
            (
                Type::Struct(_) | Type::Header(_) | Type::Union(_) | Type::Tuple(_),
                Const::List(items),
            ) => {
                if let (Type::Header(_), Some(valid)) = (self.ty(ty), to.first_mut()) {
                    *valid = 1;
                }
                for ((first, part, _), item) in
                    layout::parts(self.program, ty).into_iter().zip(items)
                {
                    let end = (first + self.slots(part)) as usize;
                    if let Some(to) = to.get_mut(first as usize..end) {
                        self.const_words(item, part, to);
                    }
                }
            }
            (Type::Stack { elem, .. }, Const::List(items)) => {
                let step = self.slots(*elem).max(1) as usize;
                let elements = to.get_mut(1..).unwrap_or_default().chunks_mut(step);
                elements
                    .zip(items)
                    .for_each(|(to, item)| self.const_words(item, *elem, to));
            }
            _ => {
                if let (Some(first), Some(word)) = (to.first_mut(), self.const_word(value, ty)) {
                    *first = word;
                }
            }
        }
    }

    fn slice(&mut self, base: Handle<Expr>, hi: u32, lo: u32) -> Lowered<Ex> {
        let width = hi.saturating_sub(lo) + 1;
        let mask = bits::mask(width);
        Ok(match self.operand(base)? {
            Operand::One(value) => Ex::Slice {
                value: Box::new(value),
                lo,
                mask,
            },
            Operand::Many(value, words) => Ex::WideSlice {
                value: Box::new(value),
                lo,
                mask,
                words,
            },
        })
    }

    fn unary(&mut self, op: UnaryOp, operand: Handle<Expr>) -> Lowered<Ex> {
        let mask = bits::mask(self.number_type(operand).0);
        let value = Box::new(self.scalar(operand)?);
        Ok(match op {
            UnaryOp::Not => Ex::Not(value),
            UnaryOp::BitNot => Ex::BitNot(value, mask),
            UnaryOp::Neg => Ex::Neg(value, mask),
        })
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        a: Handle<Expr>,
        b: Handle<Expr>,
        whole: Handle<Expr>,
    ) -> Lowered<Ex> {
        match op {
            BinaryOp::And => return Ok(Ex::And(Box::new((self.scalar(a)?, self.scalar(b)?)))),
            BinaryOp::Or => return Ok(Ex::Or(Box::new((self.scalar(a)?, self.scalar(b)?)))),
            _ => {}
        }
        let (width, signed) = self.number_type(a);
        let Some(code) = operator(op) else {
            return self.construct("operator", self.expr(whole).span);
        };
        let left = self.operand(a)?;
        let right = self.operand(b)?;
        match (left, right) {
            (Operand::One(a), Operand::One(right)) => {
                let width = if code == Op::Concat {
                    self.number_type(b).0
                } else {
                    width
                };
                Ok(Ex::Bin(Box::new(Bin {
                    op: code,
                    a,
                    b: right,
                    width,
                    signed,
                })))
            }
            (Operand::One(a), Operand::Many(b, words)) if matches!(code, Op::Shl | Op::Shr) => {
                let b = Ex::WideSlice {
                    value: Box::new(b),
                    lo: 0,
                    mask: u128::MAX,
                    words: words | SATURATE,
                };
                Ok(Ex::Bin(Box::new(Bin {
                    op: code,
                    a,
                    b,
                    width,
                    signed,
                })))
            }
            (Operand::Many(left, _), Operand::Many(right, _)) => {
                let (x, y) = (Box::new(left), Box::new(right));
                match code {
                    Op::Eq | Op::Ne => {
                        let mut ranges = Vec::new();
                        layout::compared(self.program, self.expr(a).ty, 0, &mut ranges);
                        Ok(Ex::Same {
                            a: x,
                            b: y,
                            ranges,
                            negate: code == Op::Ne,
                        })
                    }
                    Op::Lt | Op::Le | Op::Gt | Op::Ge => Ok(Ex::WideOrder {
                        op: code,
                        a: x,
                        b: y,
                        width,
                        signed,
                    }),
                    _ => self.construct("operator on wide operands", self.expr(whole).span),
                }
            }
            _ => self.construct("operands of different kinds", self.expr(whole).span),
        }
    }

    fn scalar_cast(&mut self, operand: Handle<Expr>, whole: Handle<Expr>) -> Lowered<Ex> {
        let (to, _) = self.number_type(whole);
        let (from, signed) = self.number_type(operand);
        let inner = self.expr(operand).ty;
        if let (Type::Tuple(_) | Type::Struct(_), ExprKind::Struct(items)) =
            (self.ty(inner), &self.expr(operand).kind)
            && let [item] = items.as_slice()
        {
            return self.scalar(*item);
        }
        let mask = bits::mask(to);
        Ok(match self.operand(operand)? {
            Operand::Many(value, words) => Ex::WideSlice {
                value: Box::new(value),
                lo: 0,
                mask,
                words,
            },
            Operand::One(Ex::Const(value)) if signed => {
                Ex::Const(bits::sign_extend(value, from) as u128 & mask)
            }
            Operand::One(value) if to > from && signed => Ex::SignExtend {
                value: Box::new(value),
                from,
                mask,
            },
            Operand::One(value) if to < from => Ex::Mask(Box::new(value), mask),
            Operand::One(value) => value,
        })
    }

    /// An expression of several slots.
    pub(super) fn agg(&mut self, expr: Handle<Expr>) -> Lowered<Agg> {
        let node = self.expr(expr);
        match &node.kind {
            ExprKind::Const(value) => {
                let mut words = vec![0; self.slots(node.ty) as usize];
                self.const_words(value, node.ty, &mut words);
                Ok(Agg::Const {
                    temp: self.alloc(words.len() as u32),
                    words: words.into(),
                })
            }
            ExprKind::Struct(items) => self.build(items, node.ty),
            ExprKind::InvalidHeader => {
                let slots = self.slots(node.ty);
                Ok(Agg::Build {
                    temp: self.alloc(slots),
                    slots,
                    valid: false,
                    parts: Vec::new(),
                })
            }
            ExprKind::Mux(cond, a, b) => Ok(Agg::Mux(Box::new((
                self.scalar(*cond)?,
                self.agg(*a)?,
                self.agg(*b)?,
            )))),
            ExprKind::Cast(operand) => self.agg_cast(*operand, expr),
            ExprKind::Unary(op, operand) => {
                let value = self.number(*operand)?;
                let kind = if *op == UnaryOp::Neg {
                    WideKind::Neg(value)
                } else {
                    WideKind::BitNot(value)
                };
                self.wide(kind, expr)
            }
            ExprKind::Binary(op, a, b) => {
                let Some(op) = operator(*op) else {
                    return self.construct("operator", node.span);
                };
                let kind = WideKind::Bin(op, self.number(*a)?, self.number(*b)?);
                self.wide(kind, expr)
            }
            ExprKind::Slice { base, lo, .. } => {
                let kind = WideKind::Slice {
                    value: self.number(*base)?,
                    lo: *lo,
                };
                self.wide(kind, expr)
            }
            ExprKind::Call {
                callee: Callee::Packet(PacketOp::Lookahead),
                ..
            } => self.lookahead(expr),
            ExprKind::Call { .. } => self.agg_call(expr),
            _ => Ok(Agg::Place(self.place(expr)?)),
        }
    }

    fn wide(&mut self, kind: WideKind, expr: Handle<Expr>) -> Lowered<Agg> {
        let (width, signed) = self.number_type(expr);
        let temp = self.alloc(self.slots(self.expr(expr).ty));
        Ok(Agg::Wide(Box::new(WideOp {
            temp,
            width,
            signed,
            kind,
        })))
    }

    /// A struct, header, union, tuple or stack from its parts.
    fn build(&mut self, items: &[Handle<Expr>], ty: Handle<Type>) -> Lowered<Agg> {
        let slots = self.slots(ty);
        let mut parts = Vec::with_capacity(items.len());
        match self.ty(ty) {
            Type::Stack { elem, .. } => {
                let step = self.slots(*elem);
                for (i, item) in items.iter().enumerate() {
                    parts.push((1 + i as u32 * step, self.part(*item, *elem)?));
                }
            }
            _ => {
                for (item, (first, part, _)) in items.iter().zip(layout::parts(self.program, ty)) {
                    parts.push((first, self.part(*item, part)?));
                }
            }
        }
        let valid = layout::is_header(self.program, ty);
        Ok(Agg::Build {
            temp: self.alloc(slots),
            slots,
            valid,
            parts,
        })
    }

    /// A list expression as a value of the type that it stands for.
    pub(super) fn compose(&mut self, list: Handle<Expr>, ty: Handle<Type>) -> Lowered<Agg> {
        match &self.expr(list).kind {
            ExprKind::Struct(items) => self.build(items, ty),
            _ => self.agg(list),
        }
    }

    /// A constant as an operand of this type.
    pub(super) fn const_operand(&mut self, value: &Const, ty: Handle<Type>) -> Operand {
        let slots = self.slots(ty);
        if layout::is_scalar(self.program, ty) {
            return Operand::One(Ex::Const(self.const_word(value, ty).unwrap_or(0)));
        }
        let mut words = vec![0; slots as usize];
        self.const_words(value, ty, &mut words);
        Operand::Many(
            Agg::Const {
                temp: self.alloc(slots),
                words: words.into(),
            },
            slots,
        )
    }

    /// One part of a composed value; a list stands for a struct or header of the part's type.
    fn part(&mut self, item: Handle<Expr>, ty: Handle<Type>) -> Lowered<Operand> {
        match &self.expr(item).kind {
            ExprKind::Struct(items) if !layout::is_scalar(self.program, ty) => {
                Ok(Operand::Many(self.build(items, ty)?, self.slots(ty)))
            }
            _ => self.operand(item),
        }
    }

    fn agg_cast(&mut self, operand: Handle<Expr>, whole: Handle<Expr>) -> Lowered<Agg> {
        let to = self.expr(whole).ty;
        let from = self.expr(operand).ty;
        if matches!(self.ty(to), Type::Bits { .. }) {
            let kind = WideKind::Cast(self.number(operand)?);
            return self.wide(kind, whole);
        }
        match &self.expr(operand).kind {
            ExprKind::Struct(items) => return self.build(items, to),
            ExprKind::Const(value @ Const::List(_)) => {
                let mut words = vec![0; self.slots(to) as usize];
                self.const_words(value, to, &mut words);
                return Ok(Agg::Const {
                    temp: self.alloc(words.len() as u32),
                    words: words.into(),
                });
            }
            _ => {}
        }
        let value = self.agg(operand)?;
        if layout::is_header(self.program, to) && !layout::is_header(self.program, from) {
            let slots = self.slots(to);
            let parts = vec![(1, Operand::Many(value, slots - 1))];
            return Ok(Agg::Build {
                temp: self.alloc(slots),
                slots,
                valid: true,
                parts,
            });
        }
        Ok(value)
    }

    fn scalar_call(&mut self, expr: Handle<Expr>) -> Lowered<Ex> {
        let node = self.expr(expr);
        let ExprKind::Call { callee, args, .. } = &node.kind else {
            return self.construct("not a call", node.span);
        };
        match callee {
            Callee::Function(function) => {
                let (call, slot) = self.function_call(*function, args)?;
                Ok(Ex::Call(Box::new(call), slot))
            }
            Callee::Packet(PacketOp::Length) => Ok(Ex::PacketLength),
            Callee::Packet(PacketOp::Lookahead) => Ok(Ex::Lookahead(self.number_type(expr).0)),
            Callee::Header(HeaderOp::IsValid) => self.is_valid(args, node.span),
            Callee::Extern(name) if name == "SelectByDirection" => {
                let (from_net, a, b) = self.by_direction(args, node.span)?;
                let [a, b] = [self.scalar(a)?, self.scalar(b)?];
                Ok(Ex::Mux(Box::new((from_net, a, b))))
            }
            Callee::Method { .. } | Callee::Extern(_) => {
                Ok(Ex::Prim(Box::new(self.extern_call(expr)?)))
            }
            _ => self.construct("this call has no value", node.span),
        }
    }

    /// `SelectByDirection(direction, from network, from host)`: the condition and both values.
    fn by_direction(
        &mut self,
        args: &[Arg],
        span: Span,
    ) -> Lowered<(Ex, Handle<Expr>, Handle<Expr>)> {
        let [Arg::In(direction), Arg::In(from_net), Arg::In(from_host)] = args else {
            return self.construct("`SelectByDirection` without its arguments", span);
        };
        let net = match self.ty(self.expr(*direction).ty) {
            Type::Enum(en) => en
                .members
                .iter()
                .position(|member| member == "NET_TO_HOST")
                .unwrap_or(0),
            _ => 0,
        };
        let (a, b) = (self.scalar(*direction)?, Ex::Const(net as u128));
        let is_net = Ex::Bin(Box::new(Bin {
            op: Op::Eq,
            a,
            b,
            width: 32,
            signed: false,
        }));
        Ok((is_net, *from_net, *from_host))
    }

    fn agg_call(&mut self, expr: Handle<Expr>) -> Lowered<Agg> {
        let node = self.expr(expr);
        let slots = self.slots(node.ty);
        let ExprKind::Call { callee, args, .. } = &node.kind else {
            return self.construct("not a call", node.span);
        };
        match callee {
            Callee::Function(function) => {
                let (call, ret) = self.function_call(*function, args)?;
                Ok(Agg::Call {
                    call: Box::new(call),
                    ret,
                    temp: self.alloc(slots),
                    slots,
                })
            }
            Callee::Extern(name) if name == "SelectByDirection" => {
                let (from_net, a, b) = self.by_direction(args, node.span)?;
                let [a, b] = [self.agg(a)?, self.agg(b)?];
                Ok(Agg::Mux(Box::new((from_net, a, b))))
            }
            Callee::Method { .. } | Callee::Extern(_) => {
                let prim = Box::new(self.extern_call(expr)?);
                Ok(Agg::Prim {
                    prim,
                    temp: self.alloc(slots),
                    slots,
                })
            }
            _ => self.construct("this call has no value", node.span),
        }
    }
}

/// Flag in `Ex::WideSlice::words`: a value above 128 bits reads as the largest word (shift amounts).
pub(crate) const SATURATE: u32 = 1 << 31;

fn operator(op: BinaryOp) -> Option<Op> {
    Some(match op {
        BinaryOp::Add => Op::Add,
        BinaryOp::Sub => Op::Sub,
        BinaryOp::Mul => Op::Mul,
        BinaryOp::Div => Op::Div,
        BinaryOp::Mod => Op::Mod,
        BinaryOp::SatAdd => Op::SatAdd,
        BinaryOp::SatSub => Op::SatSub,
        BinaryOp::Shl => Op::Shl,
        BinaryOp::Shr => Op::Shr,
        BinaryOp::BitAnd => Op::BitAnd,
        BinaryOp::BitOr => Op::BitOr,
        BinaryOp::BitXor => Op::BitXor,
        BinaryOp::Concat => Op::Concat,
        BinaryOp::Eq => Op::Eq,
        BinaryOp::Ne => Op::Ne,
        BinaryOp::Lt => Op::Lt,
        BinaryOp::Le => Op::Le,
        BinaryOp::Gt => Op::Gt,
        BinaryOp::Ge => Op::Ge,
        BinaryOp::And | BinaryOp::Or => return None,
    })
}

/// Reads a place.
pub(super) fn load(place: Place) -> Ex {
    match place {
        Place::Fixed(slot) => Ex::Slot(slot),
        place => Ex::Load(Box::new(place)),
    }
}
