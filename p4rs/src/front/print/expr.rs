//! Printing of expressions and types.
//!
//! In: [`Expr`], [`TypeRef`]. Out: text in the printer, with parentheses wherever the reading would otherwise differ.

use super::super::ast::{Argument, BinaryOp, Expr, ExprKind, KeyValue, TypeKind, TypeRef};
use super::Printer;

/// How tight an expression's outermost form binds: the parser's levels.
fn tightness(kind: &ExprKind) -> u8 {
    match kind {
        ExprKind::Range { .. } | ExprKind::Mask { .. } => 0,
        ExprKind::Ternary { .. } => 1,
        ExprKind::Binary { op, .. } => binary_tightness(*op),
        ExprKind::Unary { .. } | ExprKind::Cast { .. } => 12,
        _ => 13,
    }
}

fn binary_tightness(op: BinaryOp) -> u8 {
    use BinaryOp::{
        Add, AddSat, And, BitAnd, BitOr, BitXor, Concat, Div, Eq, Ge, Gt, Le, Lt, Mod, Mul, Ne, Or,
        Shl, Shr, Sub, SubSat,
    };
    match op {
        Or => 2,
        And => 3,
        Eq | Ne => 4,
        Lt | Le | Gt | Ge => 5,
        BitOr => 6,
        BitXor => 7,
        BitAnd => 8,
        Shl | Shr => 9,
        Concat | Add | Sub | AddSat | SubSat => 10,
        Mul | Div | Mod => 11,
    }
}

impl Printer {
    pub(super) fn expr(&mut self, expr: &Expr) {
        self.expr_at(expr, 0);
    }

    /// An expression where only what binds at least as tight as `floor` can stand without parentheses.
    fn expr_at(&mut self, expr: &Expr, floor: u8) {
        let parens = tightness(&expr.kind) < floor;
        if parens {
            self.put("(");
        }
        self.expr_kind(&expr.kind);
        if parens {
            self.put(")");
        }
    }

    fn expr_kind(&mut self, kind: &ExprKind) {
        match kind {
            ExprKind::Int(literal) => self.put(&literal.text),
            ExprKind::Bool(value) => self.put(if *value { "true" } else { "false" }),
            ExprKind::Str(text) => self.fmt(format_args!("\"{text}\"")),
            ExprKind::This => self.put("this"),
            ExprKind::Dots => self.put("..."),
            ExprKind::DontCare => self.put("_"),
            ExprKind::Default => self.put("default"),
            ExprKind::Invalid => self.put("{#}"),
            ExprKind::Path(path) => self.path(path),
            ExprKind::Type(ty) => self.type_ref(ty),
            ExprKind::Member { base, name } => {
                self.base(base);
                self.fmt(format_args!(".{name}"));
            }
            ExprKind::Index { base, index } => self.bracketed(base, index, None),
            ExprKind::Slice { base, hi, lo } => self.bracketed(base, hi, Some((":", lo))),
            ExprKind::PlusSlice { base, lo, width } => {
                self.bracketed(base, lo, Some((" +: ", width)))
            }
            ExprKind::Call {
                callee,
                type_args,
                args,
            } => {
                self.base(callee);
                if !type_args.is_empty() {
                    self.type_args(type_args);
                }
                self.arguments(args);
            }
            ExprKind::Unary { op, operand } => {
                // A space keeps `- -a` apart, and `+ +a` from being `++`.
                self.put(op.text());
                if matches!(operand.kind, ExprKind::Unary { .. }) {
                    self.put(" ");
                }
                self.expr_at(operand, 12);
            }
            ExprKind::Binary { op, lhs, rhs, .. } => {
                let tightness = binary_tightness(*op);
                self.expr_at(lhs, tightness);
                self.fmt(format_args!(" {} ", op.text()));
                self.expr_at(rhs, tightness + 1);
            }
            ExprKind::Ternary {
                cond,
                then,
                otherwise,
            } => {
                self.expr_at(cond, 1);
                self.put(" ? ");
                self.expr_at(then, 1);
                self.put(" : ");
                self.expr_at(otherwise, 2);
            }
            ExprKind::Cast { ty, operand } => {
                self.put("(");
                self.type_ref(ty);
                self.put(") ");
                self.expr_at(operand, 12);
            }
            ExprKind::List(items) => {
                self.put("{");
                self.commas(items, Self::expr);
                self.put("}");
            }
            ExprKind::Record { fields, dots } => {
                self.put("{ ");
                self.commas(fields, Self::key_value);
                self.put(if dots.is_some() { ", ... }" } else { " }" });
            }
            ExprKind::Range { lo, hi } => {
                self.expr_at(lo, 1);
                self.put(" .. ");
                self.expr_at(hi, 1);
            }
            ExprKind::Mask { value, mask } => {
                self.expr_at(value, 1);
                self.put(" &&& ");
                self.expr_at(mask, 1);
            }
        }
    }

    /// The operand of a postfix operator.
    fn base(&mut self, base: &Expr) {
        self.expr_at(base, 13);
    }

    fn bracketed(&mut self, base: &Expr, first: &Expr, second: Option<(&str, &Expr)>) {
        self.base(base);
        self.put("[");
        self.expr(first);
        if let Some((between, second)) = second {
            self.put(between);
            self.expr(second);
        }
        self.put("]");
    }

    pub(super) fn arguments(&mut self, args: &[Argument]) {
        self.put("(");
        self.commas(args, |this, arg| {
            if let Some(name) = &arg.name {
                this.fmt(format_args!("{name} = "));
            }
            this.expr(&arg.value);
        });
        self.put(")");
    }

    pub(super) fn key_value(&mut self, pair: &KeyValue) {
        self.fmt(format_args!("{} = ", pair.name));
        self.expr(&pair.value);
    }

    fn type_args(&mut self, args: &[TypeRef]) {
        self.put("<");
        self.commas(args, Self::type_ref);
        self.put(">");
    }

    /// `keyword<width>`; a width that holds a `>` stands in parentheses.
    fn sized(&mut self, keyword: &str, width: &Expr) {
        self.fmt(format_args!("{keyword}<"));
        self.expr_at(width, 13);
        self.put(">");
    }

    pub(super) fn type_ref(&mut self, ty: &TypeRef) {
        match &ty.kind {
            TypeKind::Void => self.put("void"),
            TypeKind::Bool => self.put("bool"),
            TypeKind::Error => self.put("error"),
            TypeKind::MatchKind => self.put("match_kind"),
            TypeKind::String => self.put("string"),
            TypeKind::Int => self.put("int"),
            TypeKind::Bit(None) => self.put("bit"),
            TypeKind::Bit(Some(width)) => self.sized("bit", width),
            TypeKind::SignedInt(width) => self.sized("int", width),
            TypeKind::Varbit(width) => self.sized("varbit", width),
            TypeKind::Name(path) => self.path(path),
            TypeKind::Specialized { base, args } => {
                self.path(base);
                self.type_args(args);
            }
            TypeKind::Array { element, size } => {
                self.type_ref(element);
                self.put("[");
                self.expr(size);
                self.put("]");
            }
            TypeKind::Tuple(args) => {
                self.put("tuple");
                self.type_args(args);
            }
            TypeKind::List(element) => {
                self.put("list<");
                self.type_ref(element);
                self.put(">");
            }
            TypeKind::DontCare => self.put("_"),
        }
    }
}
