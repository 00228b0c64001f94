//! Statements.
//!
//! In: what the parser reads where the grammar wants a statement. Out: trees of them.

use super::Annotation;
use super::decl::{ConstDecl, InstanceDecl, VariableDecl};
use super::expr::{BinaryOp, Expr};
use crate::source::Span;

/// `{...}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// From the annotations to the closing brace.
    pub span: Span,
    /// Its annotations, `@atomic` among them.
    pub annotations: Vec<Annotation>,
    /// Its statements.
    pub stmts: Vec<Stmt>,
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stmt {
    /// The whole statement.
    pub span: Span,
    /// Which statement.
    pub kind: StmtKind,
}

/// The forms of statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StmtKind {
    /// `;`
    Empty,
    /// `target = value;` or `target op= value;`
    Assign {
        /// What is assigned.
        target: Expr,
        /// The operator of `op=`.
        op: Option<BinaryOp>,
        /// Where the assignment sign stands.
        op_span: Span,
        /// The value.
        value: Expr,
    },
    /// A call: the expression is an [`ExprKind::Call`](super::ExprKind::Call).
    Call(Expr),
    /// `if (cond) then else otherwise`
    If {
        /// The condition.
        cond: Expr,
        /// What is done if it holds.
        then: Box<Stmt>,
        /// What is done if not.
        otherwise: Option<Box<Stmt>>,
    },
    /// A block.
    Block(Block),
    /// `return;` or `return value;`
    Return(Option<Expr>),
    /// `exit;`
    Exit,
    /// `break;`
    Break,
    /// `continue;`
    Continue,
    /// `switch (subject) { cases }`
    Switch {
        /// A table application or a value.
        subject: Expr,
        /// The cases in order.
        cases: Vec<SwitchCase>,
    },
    /// `for (init; cond; update) body`
    For {
        /// Its annotations, `@unroll` among them.
        annotations: Vec<Annotation>,
        /// Declarations, assignments and calls before the first round.
        init: Vec<Stmt>,
        /// The condition.
        cond: Expr,
        /// Assignments and calls after each round.
        update: Vec<Stmt>,
        /// The body.
        body: Box<Stmt>,
    },
    /// `for (T name in collection) body`
    ForIn {
        /// Its annotations, `@unroll` among them.
        annotations: Vec<Annotation>,
        /// The variable, without a value.
        variable: VariableDecl,
        /// A list, stack, value or [`ExprKind::Range`](super::ExprKind::Range).
        collection: Expr,
        /// The body.
        body: Box<Stmt>,
    },
    /// A variable declaration.
    Variable(VariableDecl),
    /// A constant declaration.
    Const(ConstDecl),
    /// An instantiation; the grammar lets it through so that the error can be a clear one.
    Instance(InstanceDecl),
}

/// `label: body`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchCase {
    /// The whole case.
    pub span: Span,
    /// The label; [`ExprKind::Default`](super::ExprKind::Default) for `default`.
    pub label: Expr,
    /// The block, or none when it falls through to the next case.
    pub body: Option<Block>,
}
