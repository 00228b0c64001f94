//! Types and expressions as they are used.
//!
//! In: what the parser reads where the grammar wants a type, an expression or a keyset. Out: trees of them.

use std::sync::Arc;

use num_bigint::BigUint;

use super::{KeyValue, Name, Path};
use crate::source::Span;

/// A use of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeRef {
    /// The whole type.
    pub span: Span,
    /// Which type.
    pub kind: TypeKind,
}

/// The forms of type references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// `void`.
    Void,
    /// `bool`.
    Bool,
    /// `error`.
    Error,
    /// `match_kind`.
    MatchKind,
    /// `string`.
    String,
    /// `int`, the type of arbitrary-precision constants.
    Int,
    /// `bit` (no width: one bit) or `bit<w>`.
    Bit(Option<Box<Expr>>),
    /// `int<w>`.
    SignedInt(Box<Expr>),
    /// `varbit<w>`.
    Varbit(Box<Expr>),
    /// A named type, type variable or type parameter without arguments.
    Name(Path),
    /// `Name<args>`.
    Specialized {
        /// The generic type.
        base: Path,
        /// Its arguments; may hold [`TypeKind::DontCare`] and [`TypeKind::Void`].
        args: Vec<TypeRef>,
    },
    /// `element[size]`: a header stack or array.
    Array {
        /// The element type.
        element: Box<TypeRef>,
        /// The size, a compile-time constant.
        size: Box<Expr>,
    },
    /// `tuple<...>`.
    Tuple(Vec<TypeRef>),
    /// `list<T>`.
    List(Box<TypeRef>),
    /// `_` as a type argument.
    DontCare,
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expr {
    /// The whole expression, with its parentheses if any.
    pub span: Span,
    /// Which expression.
    pub kind: ExprKind,
}

/// The forms of expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExprKind {
    /// An integer literal.
    Int(IntLit),
    /// `true` or `false`.
    Bool(bool),
    /// A string literal: the text between the quotes, escapes kept as written.
    Str(Arc<str>),
    /// `this`.
    This,
    /// `...`: the default value of its type, in lists and initializers.
    Dots,
    /// `_`: an ignored `out` argument, or a keyset that matches anything.
    DontCare,
    /// `default` as a keyset.
    Default,
    /// `{#}`: the invalid header or header union.
    Invalid,
    /// A name: a value, or a type without arguments used as in `Color.RED`, `Ctl.apply(...)` or `Ext(...)`.
    Path(Path),
    /// A type that is not a plain name: `error` in `error.NoError`, `Ctl<T>` in `Ctl<T>.apply()`.
    Type(Box<TypeRef>),
    /// `base.name`.
    Member {
        /// What is looked into.
        base: Box<Expr>,
        /// The field, method, enum member or error.
        name: Name,
    },
    /// `base[index]`.
    Index {
        /// The stack, array, list or tuple.
        base: Box<Expr>,
        /// The index.
        index: Box<Expr>,
    },
    /// `base[hi:lo]`.
    Slice {
        /// The value that is cut.
        base: Box<Expr>,
        /// The most significant bit.
        hi: Box<Expr>,
        /// The least significant bit.
        lo: Box<Expr>,
    },
    /// `base[lo +: width]`.
    PlusSlice {
        /// The value that is cut.
        base: Box<Expr>,
        /// The least significant bit; may vary at run time.
        lo: Box<Expr>,
        /// The number of bits, a compile-time constant.
        width: Box<Expr>,
    },
    /// `callee(args)` or `callee<type_args>(args)`: a function, method, table, action, or a constructor (the callee is
    /// then a path that names a type).
    Call {
        /// What is called.
        callee: Box<Expr>,
        /// The type arguments; empty if none are written.
        type_args: Vec<TypeRef>,
        /// The arguments.
        args: Vec<Argument>,
    },
    /// `op operand`.
    Unary {
        /// The operator.
        op: UnaryOp,
        /// Its operand.
        operand: Box<Expr>,
    },
    /// `lhs op rhs`.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Where the operator stands.
        op_span: Span,
        /// The left operand.
        lhs: Box<Expr>,
        /// The right operand.
        rhs: Box<Expr>,
    },
    /// `cond ? then : otherwise`.
    Ternary {
        /// The condition.
        cond: Box<Expr>,
        /// The value if it holds.
        then: Box<Expr>,
        /// The value if not.
        otherwise: Box<Expr>,
    },
    /// `(ty) operand`.
    Cast {
        /// The target type.
        ty: Box<TypeRef>,
        /// What is cast.
        operand: Box<Expr>,
    },
    /// `{ a, b, ... }`: a list or tuple value; a trailing `...` is an element of kind [`ExprKind::Dots`].
    List(Vec<Expr>),
    /// `{ f = a, g = b, ... }`: a structure value.
    Record {
        /// The fields given.
        fields: Vec<KeyValue>,
        /// Where `...` stands, if the rest takes its default value.
        dots: Option<Span>,
    },
    /// `lo .. hi`, inclusive: in keysets and `for in`.
    Range {
        /// The first value.
        lo: Box<Expr>,
        /// The last value.
        hi: Box<Expr>,
    },
    /// `value &&& mask`: in keysets.
    Mask {
        /// The value.
        value: Box<Expr>,
        /// The bits that count.
        mask: Box<Expr>,
    },
}

/// An integer literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntLit {
    /// The digits' value, not reduced to the width.
    pub value: BigUint,
    /// The width in bits for `8w1` and `8s1`, none for an arbitrary-precision constant.
    pub width: Option<u32>,
    /// Whether the width is followed by `s`.
    pub signed: bool,
    /// 2, 8, 10 or 16.
    pub base: u8,
    /// The literal as written.
    pub text: Arc<str>,
}

/// One argument of a call or instantiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The whole argument.
    pub span: Span,
    /// The parameter's name for `name = value`.
    pub name: Option<Name>,
    /// The value; [`ExprKind::DontCare`] for `_`.
    pub value: Expr,
}

/// Prefix operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `!`
    Not,
    /// `~`
    Complement,
    /// `-`
    Minus,
    /// `+`
    Plus,
}

/// Infix operators; assignments with an operator use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `|+|`
    AddSat,
    /// `|-|`
    SubSat,
    /// `++`
    Concat,
    /// `<<`
    Shl,
    /// `>>`
    Shr,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `&`
    BitAnd,
    /// `^`
    BitXor,
    /// `|`
    BitOr,
    /// `&&`
    And,
    /// `||`
    Or,
}

impl UnaryOp {
    /// The operator as written.
    pub fn text(self) -> &'static str {
        match self {
            UnaryOp::Not => "!",
            UnaryOp::Complement => "~",
            UnaryOp::Minus => "-",
            UnaryOp::Plus => "+",
        }
    }
}

impl BinaryOp {
    /// The operator as written.
    pub fn text(self) -> &'static str {
        match self {
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::AddSat => "|+|",
            BinaryOp::SubSat => "|-|",
            BinaryOp::Concat => "++",
            BinaryOp::Shl => "<<",
            BinaryOp::Shr => ">>",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::BitAnd => "&",
            BinaryOp::BitXor => "^",
            BinaryOp::BitOr => "|",
            BinaryOp::And => "&&",
            BinaryOp::Or => "||",
        }
    }
}

/// What a select case or a table entry matches: one element per key, each a plain expression, [`ExprKind::Range`],
/// [`ExprKind::Mask`], [`ExprKind::DontCare`] or [`ExprKind::Default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyset {
    /// With the parentheses, if any.
    pub span: Span,
    /// The elements; a keyset without parentheses, or `(expression)`, has one.
    pub elements: Vec<Expr>,
}
