//! Statements and parser states.

use super::arena::Handle;
use super::{Expr, ValueSet, Var};
use crate::source::Span;

/// Statements in order.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// The statements.
    pub stmts: Vec<Stmt>,
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Stmt {
    /// What it does.
    pub kind: StmtKind,
    /// Where it stands.
    pub span: Span,
}

/// The forms of a statement.
#[derive(Clone, Debug)]
pub enum StmtKind {
    /// `place = value`. The value is computed first: indices whose order matters are in variables.
    Assign {
        /// A place expression.
        place: Handle<Expr>,
        /// Same type as the place.
        value: Handle<Expr>,
    },
    /// A call for its effects.
    Eval(Handle<Expr>),
    /// A declaration reached: the variable becomes `init`, or uninitialised (zero, invalid) again.
    Init {
        /// The variable.
        var: Handle<Var>,
        /// Initial value.
        init: Option<Handle<Expr>>,
    },
    /// `if`.
    If {
        /// A bool.
        cond: Handle<Expr>,
        /// Taken when true.
        then: Block,
        /// Taken when false; empty when there is none.
        otherwise: Block,
    },
    /// `switch (table.apply().action_run)`: labels are indices into the table's actions.
    SwitchAction {
        /// A call of [`super::Callee::Table`].
        apply: Handle<Expr>,
        /// Cases with fall-through already merged: each has all labels that reach its body.
        cases: Vec<SwitchCase<usize>>,
        /// `default`.
        default: Block,
    },
    /// `switch (expression)` on bits, enum, error or bool.
    Switch {
        /// The subject.
        subject: Handle<Expr>,
        /// Cases with fall-through already merged.
        cases: Vec<SwitchCase<Handle<Expr>>>,
        /// `default`.
        default: Block,
    },
    /// `for (init; cond; update) body`.
    For {
        /// Run once.
        init: Block,
        /// Tested before each turn.
        cond: Handle<Expr>,
        /// Run after each turn, `continue` included.
        update: Block,
        /// The loop's body.
        body: Block,
    },
    /// `for (var in ...) body`.
    ForIn {
        /// The loop variable.
        var: Handle<Var>,
        /// What it runs over.
        over: ForIn,
        /// The loop's body.
        body: Block,
    },
    /// `break`.
    Break,
    /// `continue`.
    Continue,
    /// `return` with the value of a function.
    Return(Option<Handle<Expr>>),
    /// `exit`: ends the whole control, out parameters are still copied back.
    Exit,
    /// `{ ... }`.
    Block(Block),
}

/// What a `for`-`in` loop runs over.
#[derive(Clone, Debug)]
pub enum ForIn {
    /// `low .. high`, inclusive.
    Range(Handle<Expr>, Handle<Expr>),
    /// A list, tuple or stack value.
    Items(Handle<Expr>),
}

/// One case of a switch.
#[derive(Clone, Debug)]
pub struct SwitchCase<L> {
    /// The labels that lead here.
    pub labels: Vec<L>,
    /// Statements.
    pub body: Block,
}

/// A parser state.
#[derive(Clone, Debug)]
pub struct State {
    /// Name.
    pub name: String,
    /// Statements.
    pub body: Block,
    /// What comes next.
    pub transition: Transition,
    /// Where it stands.
    pub span: Span,
}

/// How a state ends.
#[derive(Clone, Debug)]
pub enum Transition {
    /// `transition name`.
    To(StateRef),
    /// `transition select(...)`; no case matching raises NoMatch (v1model: ends parsing like accept).
    Select {
        /// The selected expressions.
        subjects: Vec<Handle<Expr>>,
        /// Cases in order: one key set per subject, or a single [`KeySet::Any`].
        cases: Vec<(Vec<KeySet>, StateRef)>,
    },
}

/// A state named by a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateRef {
    /// `accept`.
    Accept,
    /// `reject`.
    Reject,
    /// Index into [`super::Parser::states`].
    State(usize),
}

/// A set of values in a select case.
#[derive(Clone, Debug)]
pub enum KeySet {
    /// Equal to.
    Value(Handle<Expr>),
    /// `value &&& mask`.
    Mask(Handle<Expr>, Handle<Expr>),
    /// `low .. high`.
    Range(Handle<Expr>, Handle<Expr>),
    /// `_`, `default`.
    Any,
    /// A value set; spans as many subjects as its type has fields.
    ValueSet(Handle<ValueSet>),
}
