//! Expressions: handles, places, operand types, arguments of calls.
//!
//! In: the arena of expressions. Out: findings. Invariant checked: an expression refers only to earlier ones, so that no
//! expression contains itself.

use super::{Validator, code};
use crate::ir::{
    Arg, BinaryOp, Callee, Const, Direction, Expr, ExprKind, Handle, HeaderOp, PacketOp, Param,
    Type, UnaryOp,
};
use crate::source::Span;

impl Validator<'_> {
    pub(super) fn exprs(&mut self) {
        let types = self.program.types.len();
        for (handle, expr) in self.program.exprs.iter() {
            if expr.ty.index() >= types {
                self.broken(expr.span, "an expression has no type");
                continue;
            }
            if operands(&expr.kind)
                .iter()
                .any(|operand| operand.index() >= handle.index())
            {
                self.broken(
                    expr.span,
                    "an expression refers to one that is not before it",
                );
            }
        }
        if self.found.is_empty() {
            for (_, expr) in self.program.exprs.iter() {
                self.expr(expr);
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Const(value) => self.constant(value, span),
            ExprKind::Var(var) => {
                if !Self::has(&self.program.vars, *var) {
                    self.broken(span, "an expression names a variable that is not there");
                }
            }
            ExprKind::Field(base, index) => {
                if !self.has_field(*base, *index) {
                    self.broken(span, "a field that its structure does not have");
                }
            }
            ExprKind::Index(base, _) => {
                if !matches!(
                    self.kind_of(*base),
                    Type::Stack { .. } | Type::Tuple(_) | Type::List(_)
                ) {
                    self.broken(span, "an index into something that has no elements");
                }
            }
            ExprKind::Slice { base, hi, lo } => {
                let width = self.program.width(self.ty(*base));
                if hi < lo || width.is_none_or(|width| *hi >= width) {
                    self.broken(span, "a slice out of bounds");
                }
            }
            ExprKind::StackNext(base)
            | ExprKind::StackLast(base)
            | ExprKind::StackLastIndex(base) => {
                if !matches!(self.kind_of(*base), Type::Stack { .. }) {
                    self.broken(span, "a stack operation on something else");
                }
            }
            ExprKind::Unary(op, operand) => {
                let is_bool = matches!(self.kind_of(*operand), Type::Bool);
                if (*op == UnaryOp::Not) != is_bool {
                    self.broken(span, "an operator on an operand that it is not for");
                }
            }
            ExprKind::Binary(op, a, b) => self.binary(*op, *a, *b, span),
            ExprKind::Mux(cond, a, b) => {
                if !matches!(self.kind_of(*cond), Type::Bool)
                    || !self.same(self.ty(*a), self.ty(*b))
                {
                    self.broken(span, "a conditional of different types");
                }
            }
            ExprKind::Struct(parts) => self.built(expr, parts),
            ExprKind::InvalidHeader => {
                if !matches!(
                    self.program.types[expr.ty],
                    Type::Header(_) | Type::Union(_)
                ) {
                    self.broken(span, "an invalid header of a type that is none");
                }
            }
            ExprKind::Call { callee, args, .. } => self.call(callee, args, span),
            ExprKind::Cast(_) => {}
        }
    }

    fn constant(&mut self, value: &Const, span: Span) {
        let sound = match value {
            Const::Error(index) => (*index as usize) < self.program.errors.len(),
            Const::Extern(handle) => Self::has(&self.program.externs, *handle),
            Const::List(items) => {
                for item in items {
                    self.constant(item, span);
                }
                true
            }
            _ => true,
        };
        if !sound {
            self.broken(span, "a constant names something that is not there");
        }
    }

    fn ty(&self, expr: Handle<Expr>) -> Handle<Type> {
        self.program.exprs[expr].ty
    }

    fn kind_of(&self, expr: Handle<Expr>) -> &Type {
        &self.program.types[self.program.resolve(self.ty(expr))]
    }

    /// Types with the same values.
    pub(super) fn same(&self, a: Handle<Type>, b: Handle<Type>) -> bool {
        a == b || self.program.resolve(a) == self.program.resolve(b)
    }

    fn has_field(&self, base: Handle<Expr>, index: u32) -> bool {
        match self.kind_of(base) {
            Type::Struct(fields) | Type::Header(fields) | Type::Union(fields) => {
                (index as usize) < fields.fields.len()
            }
            Type::Tuple(items) => (index as usize) < items.len(),
            Type::ApplyResult => index < 2,
            _ => false,
        }
    }

    fn binary(&mut self, op: BinaryOp, a: Handle<Expr>, b: Handle<Expr>, span: Span) {
        let (x, y) = (self.kind_of(a), self.kind_of(b));
        let sound = match op {
            BinaryOp::Shl | BinaryOp::Shr | BinaryOp::Concat => {
                matches!(x, Type::Bits { .. } | Type::Integer)
                    && matches!(y, Type::Bits { .. } | Type::Integer)
            }
            BinaryOp::And | BinaryOp::Or => matches!((x, y), (Type::Bool, Type::Bool)),
            BinaryOp::Eq | BinaryOp::Ne => self.same(self.ty(a), self.ty(b)),
            _ => {
                matches!(x, Type::Bits { .. } | Type::Integer) && self.same(self.ty(a), self.ty(b))
            }
        };
        if !sound {
            self.broken(
                span,
                format!("`{op:?}` on operands of types that do not fit"),
            );
        }
    }

    fn built(&mut self, expr: &Expr, parts: &[Handle<Expr>]) {
        let wanted: Option<Vec<Handle<Type>>> =
            match &self.program.types[self.program.resolve(expr.ty)] {
                Type::Struct(fields) | Type::Header(fields) => {
                    Some(fields.fields.iter().map(|field| field.ty).collect())
                }
                Type::Tuple(items) => Some(items.clone()),
                Type::Stack { elem, size } => Some(vec![*elem; *size as usize]),
                Type::List(elem) => Some(vec![*elem; parts.len()]),
                _ => None,
            };
        let fits = wanted.is_some_and(|wanted| {
            wanted.len() == parts.len()
                && wanted
                    .iter()
                    .zip(parts)
                    .all(|(ty, part)| self.same(*ty, self.ty(*part)))
        });
        if !fits {
            self.broken(expr.span, "the parts of a value do not fit its type");
        }
    }

    fn call(&mut self, callee: &Callee, args: &[Arg], span: Span) {
        let program = self.program;
        let params: Option<&[Param]> = match callee {
            Callee::Function(handle) => program.functions.get(*handle).map(|f| f.params.as_slice()),
            Callee::Action(handle) => program.actions.get(*handle).map(|a| a.params.as_slice()),
            Callee::Parser(handle) => program.parsers.get(*handle).map(|p| p.params.as_slice()),
            Callee::Control(handle) => program.controls.get(*handle).map(|c| c.params.as_slice()),
            Callee::Table(handle) => program.tables.get(*handle).map(|_| [].as_slice()),
            Callee::Method { instance, .. } => {
                return self.known(program.externs.get(*instance).is_some(), args, span);
            }
            Callee::Extern(_) => return self.known(true, args, span),
            Callee::Packet(op) => return self.packet_call(*op, args, span),
            Callee::Header(op) => return self.header_call(*op, args, span),
        };
        match params {
            None => self.broken(span, "a call of something that is not there"),
            Some(params) => self.args(params, args, span),
        }
    }

    fn known(&mut self, there: bool, args: &[Arg], span: Span) {
        if !there {
            self.broken(span, "a method of an object that is not there");
        }
        for arg in args {
            self.arg_place(arg, span);
        }
    }

    /// An argument by reference must be a place.
    fn arg_place(&mut self, arg: &Arg, span: Span) {
        match arg {
            Arg::Place(place) if !self.is_place(*place) => {
                self.broken(span, "an argument that cannot be assigned")
            }
            Arg::Extern(handle) if !Self::has(&self.program.externs, *handle) => {
                self.broken(span, "an argument names an object that is not there");
            }
            _ => {}
        }
    }

    pub(super) fn args(&mut self, params: &[Param], args: &[Arg], span: Span) {
        if params.len() != args.len() {
            return self.broken(span, "a call with the wrong number of arguments");
        }
        for (param, arg) in params.iter().zip(args) {
            self.arg_place(arg, span);
            if !Self::has(&self.program.vars, param.var) {
                continue;
            }
            let want = self.program.vars[param.var].ty;
            let sound = match (param.direction, arg) {
                (Direction::Out | Direction::InOut, Arg::Place(place)) => {
                    self.same(want, self.ty(*place))
                }
                (Direction::In | Direction::None, Arg::In(value)) => {
                    self.same(want, self.ty(*value))
                }
                (_, Arg::Absent) => true,
                (Direction::None, Arg::Extern(_) | Arg::Packet) => true,
                _ => false,
            };
            if !sound {
                self.broken(span, "an argument that does not fit its parameter");
            }
        }
    }

    fn packet_call(&mut self, op: PacketOp, args: &[Arg], span: Span) {
        let sound = matches!(
            (op, args),
            (PacketOp::Extract, [Arg::Place(_) | Arg::Absent])
                | (PacketOp::ExtractVarbit, [Arg::Place(_), Arg::In(_)])
                | (PacketOp::Lookahead | PacketOp::Length, [])
                | (PacketOp::Advance | PacketOp::Emit, [Arg::In(_)])
        );
        if !sound {
            self.broken(span, "a packet operation with the wrong arguments");
        }
        self.known(true, args, span);
    }

    fn header_call(&mut self, op: HeaderOp, args: &[Arg], span: Span) {
        let sound = match (op, args) {
            (HeaderOp::IsValid, [Arg::In(value)]) => {
                matches!(self.kind_of(*value), Type::Header(_) | Type::Union(_))
            }
            (HeaderOp::SetValid | HeaderOp::SetInvalid, [Arg::Place(place)]) => {
                matches!(self.kind_of(*place), Type::Header(_) | Type::Union(_))
            }
            (HeaderOp::PushFront | HeaderOp::PopFront, [Arg::Place(place), Arg::In(_)]) => {
                matches!(self.kind_of(*place), Type::Stack { .. })
            }
            _ => false,
        };
        if !sound {
            self.broken(span, "a header operation with the wrong arguments");
        }
        self.known(true, args, span);
    }

    /// Whether an expression can be assigned to.
    pub(super) fn is_place(&self, mut place: Handle<Expr>) -> bool {
        loop {
            place = match &self.program.exprs[place].kind {
                ExprKind::Var(_) => return true,
                ExprKind::Field(base, _)
                | ExprKind::Index(base, _)
                | ExprKind::Slice { base, .. } => *base,
                ExprKind::StackNext(base) | ExprKind::StackLast(base) => *base,
                _ => return false,
            };
        }
    }

    /// Refuses what only `sema`'s check run makes.
    pub(super) fn unknown_extern(&mut self, name: &str, span: Span) {
        let message = format!("`{name}` is not supported by the engine");
        self.report(
            code::EXTERN,
            span,
            message,
            "the program can be checked, but not run",
        );
    }
}

/// The expressions an expression is made of.
pub(super) fn operands(kind: &ExprKind) -> Vec<Handle<Expr>> {
    match kind {
        ExprKind::Const(_) | ExprKind::Var(_) | ExprKind::InvalidHeader => Vec::new(),
        ExprKind::Field(base, _) | ExprKind::Slice { base, .. } => vec![*base],
        ExprKind::StackNext(base) | ExprKind::StackLast(base) | ExprKind::StackLastIndex(base) => {
            vec![*base]
        }
        ExprKind::Unary(_, operand) | ExprKind::Cast(operand) => vec![*operand],
        ExprKind::Index(a, b) | ExprKind::Binary(_, a, b) => vec![*a, *b],
        ExprKind::Mux(a, b, c) => vec![*a, *b, *c],
        ExprKind::Struct(parts) => parts.clone(),
        ExprKind::Call { args, .. } => args
            .iter()
            .filter_map(|arg| match arg {
                Arg::In(expr) | Arg::Place(expr) => Some(*expr),
                _ => None,
            })
            .collect(),
    }
}
