//! Expressions: a tree per use, nodes in [`super::Program::exprs`].

use num_bigint::BigInt;

use super::arena::Handle;
use super::{Action, Control, ExternInstance, Function, Parser, Table, Type, Var};
use crate::source::Span;

/// A typed expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it computes.
    pub kind: ExprKind,
    /// Type of the result.
    pub ty: Handle<Type>,
    /// Where it stands.
    pub span: Span,
}

/// The forms of an expression. Those marked *place* may be assigned to.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A compile-time value.
    Const(Const),
    /// *Place.* A variable.
    Var(Handle<Var>),
    /// *Place.* Field by index of a struct, header or union; of [`Type::ApplyResult`]: 0 = hit, 1 = miss.
    Field(Handle<Expr>, u32),
    /// *Place.* Stack element (run-time index; out of range reads are undefined, writes ignored) or tuple element (constant index).
    Index(Handle<Expr>, Handle<Expr>),
    /// *Place.* Bits `hi` down to `lo`, inclusive; of bits only.
    Slice {
        /// Sliced value.
        base: Handle<Expr>,
        /// Highest bit.
        hi: u32,
        /// Lowest bit.
        lo: u32,
    },
    /// *Place.* `stack.next` (parsers only): raises StackOutOfBounds when full.
    StackNext(Handle<Expr>),
    /// *Place.* `stack.last`: raises StackOutOfBounds when empty.
    StackLast(Handle<Expr>),
    /// `stack.lastIndex`, `bit<32>`.
    StackLastIndex(Handle<Expr>),
    /// One operand.
    Unary(UnaryOp, Handle<Expr>),
    /// Two operands; widths equal but for shifts and concatenation. `&&` and `||` short-circuit.
    Binary(BinaryOp, Handle<Expr>, Handle<Expr>),
    /// `cond ? then : else`, only the chosen side is evaluated.
    Mux(Handle<Expr>, Handle<Expr>, Handle<Expr>),
    /// Explicit or implicit cast to `ty`: bits to bits (sign or zero extension, truncation), bool and bit<1>, enum and
    /// its representation, to and from [`Type::New`], list to struct/header (field by field).
    Cast(Handle<Expr>),
    /// Fields in order: struct, header (made valid), tuple or list value.
    Struct(Vec<Handle<Expr>>),
    /// `(header) {#}`: an invalid header, or an invalid union.
    InvalidHeader,
    /// A call; the only kind with side effects.
    Call {
        /// What is called.
        callee: Callee,
        /// Type arguments of generic extern methods (the result type of `lookahead`, …).
        type_args: Vec<Handle<Type>>,
        /// Arguments in parameter order.
        args: Vec<Arg>,
    },
}

/// A compile-time value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Const {
    /// `bool`.
    Bool(bool),
    /// Any integer type; already in range of the type (two's complement value: negative for negative `int<N>`).
    Int(BigInt),
    /// `string`.
    String(String),
    /// Index into [`super::Program::errors`].
    Error(u32),
    /// Member index of a plain enum, with the name of the type and of the member (arguments of extern constructors).
    Enum {
        /// Enum type's name.
        ty: String,
        /// Member name.
        member: String,
        /// Member index.
        index: u32,
    },
    /// `match_kind` member.
    MatchKind(String),
    /// Struct, header, tuple or list.
    List(Vec<Const>),
    /// An extern instance (a constructor argument that is itself an object).
    Extern(Handle<ExternInstance>),
    /// An optional argument left out, or `_`.
    Absent,
}

/// Unary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-` modulo 2^width.
    Neg,
    /// `~`.
    BitNot,
    /// `!`.
    Not,
}

/// Binary operators. Signedness comes from the operand type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the P4 operator of the same name")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    SatAdd,
    SatSub,
    Shl,
    Shr,
    BitAnd,
    BitOr,
    BitXor,
    /// `++`: left operand on top.
    Concat,
    And,
    Or,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// What a call calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callee {
    /// A function.
    Function(Handle<Function>),
    /// An action called directly; directionless parameters are ordinary `in` arguments here.
    Action(Handle<Action>),
    /// `table.apply()`; the result has type [`Type::ApplyResult`].
    Table(Handle<Table>),
    /// A sub-parser's `apply`.
    Parser(Handle<Parser>),
    /// A sub-control's `apply`.
    Control(Handle<Control>),
    /// A method of an extern instance.
    Method {
        /// The instance.
        instance: Handle<ExternInstance>,
        /// Method name.
        method: String,
    },
    /// An extern function by name (`mark_to_drop`, `verify`, `hash`, `add_entry`, …).
    Extern(String),
    /// A method of the packet at hand.
    Packet(PacketOp),
    /// A built-in method of a header, union or stack; the first argument is the place.
    Header(HeaderOp),
}

/// `packet_in` / `packet_out` methods (core.p4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketOp {
    /// `extract(out hdr)`; with [`Arg::Absent`] the bits are skipped (type in `type_args[0]`).
    Extract,
    /// `extract(out hdr, in bit<32> varbitBits)`.
    ExtractVarbit,
    /// `lookahead<T>()`.
    Lookahead,
    /// `advance(in bit<32> bits)`.
    Advance,
    /// `length()`, bytes.
    Length,
    /// `emit(in T value)`: headers, unions, stacks and structs of them, valid ones only.
    Emit,
}

/// Built-in methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderOp {
    /// `isValid()` of a header or union.
    IsValid,
    /// `setValid()`.
    SetValid,
    /// `setInvalid()`.
    SetInvalid,
    /// `push_front(count)`.
    PushFront,
    /// `pop_front(count)`.
    PopFront,
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub enum Arg {
    /// Evaluated before the call (`in`, directionless).
    In(Handle<Expr>),
    /// A place, read before (`inout`) and written after the call (`out`, `inout`).
    Place(Handle<Expr>),
    /// A `_` for an out parameter, or an optional parameter left out.
    Absent,
    /// An extern instance.
    Extern(Handle<ExternInstance>),
    /// The packet at hand (`packet_in`/`packet_out` passed to a sub-block).
    Packet,
}
