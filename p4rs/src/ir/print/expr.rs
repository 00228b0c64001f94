//! Expressions as text.
//!
//! In: handles of expressions. Out: one line of text each. Invariant: operators that P4 writes as signs are spelled out, so
//! that the text needs no precedence.

use super::Printer;
use crate::ir::arena::Handle;
use crate::ir::{Arg, Callee, Const, Expr, ExprKind, Type};

impl Printer<'_> {
    pub(super) fn exprs(&self, items: &[Handle<Expr>]) -> String {
        items
            .iter()
            .map(|item| self.expr(*item))
            .collect::<Vec<_>>()
            .join(", ")
    }

    pub(super) fn expr(&self, handle: Handle<Expr>) -> String {
        let expr = &self.program.exprs[handle];
        match &expr.kind {
            ExprKind::Const(value) => self.typed_constant(value, expr.ty),
            ExprKind::Var(var) => self.var(*var),
            ExprKind::Field(base, index) => {
                format!("{}.{}", self.expr(*base), self.field_name(*base, *index))
            }
            ExprKind::Index(base, index) => format!("{}[{}]", self.expr(*base), self.expr(*index)),
            ExprKind::Slice { base, hi, lo } => format!("{}[{hi}:{lo}]", self.expr(*base)),
            ExprKind::StackNext(base) => format!("{}.next", self.expr(*base)),
            ExprKind::StackLast(base) => format!("{}.last", self.expr(*base)),
            ExprKind::StackLastIndex(base) => format!("{}.lastIndex", self.expr(*base)),
            ExprKind::Unary(op, operand) => format!("{op:?}({})", self.expr(*operand)),
            ExprKind::Binary(op, a, b) => format!("{op:?}({}, {})", self.expr(*a), self.expr(*b)),
            ExprKind::Mux(cond, a, b) => {
                format!(
                    "({} ? {} : {})",
                    self.expr(*cond),
                    self.expr(*a),
                    self.expr(*b)
                )
            }
            ExprKind::Cast(operand) => format!("({}){}", self.ty(expr.ty), self.expr(*operand)),
            ExprKind::Struct(parts) => format!("{} {{ {} }}", self.ty(expr.ty), self.exprs(parts)),
            ExprKind::InvalidHeader => format!("({}){{#}}", self.ty(expr.ty)),
            ExprKind::Call {
                callee,
                type_args,
                args,
            } => {
                let types = if type_args.is_empty() {
                    String::new()
                } else {
                    format!("<{}>", self.types(type_args))
                };
                format!("{}{types}({})", self.callee(callee), self.args(args))
            }
        }
    }

    fn field_name(&self, base: Handle<Expr>, index: u32) -> String {
        match &self.program.types[self.program.resolve(self.program.exprs[base].ty)] {
            Type::Struct(fields) | Type::Header(fields) | Type::Union(fields) => fields
                .fields
                .get(index as usize)
                .map_or_else(|| index.to_string(), |field| field.name.clone()),
            Type::ApplyResult => if index == 0 { "hit" } else { "miss" }.into(),
            _ => index.to_string(),
        }
    }

    fn callee(&self, callee: &Callee) -> String {
        let program = self.program;
        match callee {
            Callee::Function(handle) => {
                format!("{}#{}", program.functions[*handle].name, handle.index())
            }
            Callee::Action(handle) => program.actions[*handle].name.control_plane.clone(),
            Callee::Table(handle) => {
                format!("{}.apply", program.tables[*handle].name.control_plane)
            }
            Callee::Parser(handle) => {
                format!("{}.apply", program.parsers[*handle].name.control_plane)
            }
            Callee::Control(handle) => {
                format!("{}.apply", program.controls[*handle].name.control_plane)
            }
            Callee::Method { instance, method } => {
                format!("{}.{method}", program.externs[*instance].name.control_plane)
            }
            Callee::Extern(name) => name.clone(),
            Callee::Packet(op) => format!("packet.{op:?}"),
            Callee::Header(op) => format!("{op:?}"),
        }
    }

    pub(super) fn args(&self, args: &[Arg]) -> String {
        let arg = |arg: &Arg| match arg {
            Arg::In(value) => self.expr(*value),
            Arg::Place(place) => format!("&{}", self.expr(*place)),
            Arg::Absent => "_".into(),
            Arg::Extern(handle) => self.program.externs[*handle].name.control_plane.clone(),
            Arg::Packet => "packet".into(),
        };
        args.iter().map(arg).collect::<Vec<_>>().join(", ")
    }

    fn typed_constant(&self, value: &Const, ty: Handle<Type>) -> String {
        match (&self.program.types[self.program.resolve(ty)], value) {
            (
                Type::Bits {
                    width,
                    signed: false,
                },
                Const::Int(n),
            ) => format!("{width}w{n:#x}"),
            (
                Type::Bits {
                    width,
                    signed: true,
                },
                Const::Int(n),
            ) => format!("{width}s{n}"),
            _ => self.constant(value),
        }
    }

    pub(super) fn constant(&self, value: &Const) -> String {
        match value {
            Const::Bool(b) => b.to_string(),
            Const::Int(n) => n.to_string(),
            Const::String(text) => format!("{text:?}"),
            Const::Error(index) => {
                format!(
                    "error.{}",
                    self.program
                        .errors
                        .get(*index as usize)
                        .map_or("?", String::as_str)
                )
            }
            Const::Enum { ty, member, .. } => format!("{ty}.{member}"),
            Const::MatchKind(name) => name.clone(),
            Const::List(items) => {
                let items: Vec<String> = items.iter().map(|item| self.constant(item)).collect();
                format!("{{ {} }}", items.join(", "))
            }
            Const::Extern(handle) => self.program.externs[*handle].name.control_plane.clone(),
            Const::Absent => "_".into(),
        }
    }
}
