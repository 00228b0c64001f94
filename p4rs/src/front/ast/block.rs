//! Parsers with their states, controls with their tables.
//!
//! In: what the parser reads between the braces of both. Out: their parts in the order of the text.

use super::decl::{ApplyType, Decl, Param};
use super::expr::{Argument, Expr, Keyset};
use super::stmt::{Block, Stmt};
use super::{Annotation, Name, Path};
use crate::source::Span;

/// A parser with its states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParserDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its signature.
    pub ty: ApplyType,
    /// Its constructor's parameters.
    pub constructor_params: Vec<Param>,
    /// Constants, variables, instances and value sets.
    pub locals: Vec<Decl>,
    /// Its states.
    pub states: Vec<ParserState>,
}

/// A parser state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParserState {
    /// The whole state.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its name.
    pub name: Name,
    /// What it does.
    pub stmts: Vec<Stmt>,
    /// Where it goes; nowhere written means `reject`.
    pub transition: Option<Transition>,
}

/// A transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// From `transition` to the end.
    pub span: Span,
    /// Where to.
    pub kind: TransitionKind,
}

/// The forms of transitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransitionKind {
    /// To a state, `accept` or `reject`.
    Direct(Name),
    /// `select (subjects) { cases }`.
    Select {
        /// What is matched.
        subjects: Vec<Expr>,
        /// The cases, tried in order.
        cases: Vec<SelectCase>,
    },
}

/// `keyset : state;`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectCase {
    /// The whole case.
    pub span: Span,
    /// What it matches.
    pub keyset: Keyset,
    /// The state it leads to.
    pub target: Name,
}

/// A control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its signature.
    pub ty: ApplyType,
    /// Its constructor's parameters.
    pub constructor_params: Vec<Param>,
    /// Constants, variables, instances, actions and tables.
    pub locals: Vec<Decl>,
    /// The body of `apply`.
    pub body: Block,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its name.
    pub name: Name,
    /// Its properties in order.
    pub properties: Vec<TableProperty>,
}

/// A property of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableProperty {
    /// The whole property.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Whether `const` stands before it.
    pub is_const: bool,
    /// Its name: `key`, `actions`, `entries`, `default_action`, `size`, or one that the architecture defines.
    pub name: Name,
    /// Its value.
    pub value: PropertyValue,
}

/// The value of a table's property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropertyValue {
    /// `key = {...}`
    Key(Vec<KeyElement>),
    /// `actions = {...}`
    Actions(Vec<ActionRef>),
    /// `entries = {...}`
    Entries(Vec<Entry>),
    /// Any other property, `default_action` included.
    Expr(Expr),
}

/// `expression : match_kind;`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyElement {
    /// The whole element.
    pub span: Span,
    /// What is matched.
    pub expr: Expr,
    /// How.
    pub match_kind: Name,
    /// Its annotations, `@name` among them.
    pub annotations: Vec<Annotation>,
}

/// An action named in `actions` or in an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRef {
    /// The action with its arguments.
    pub span: Span,
    /// Its annotations, `@tableonly` and `@defaultonly` among them.
    pub annotations: Vec<Annotation>,
    /// The action.
    pub path: Path,
    /// The arguments given, none if no parentheses are written.
    pub args: Option<Vec<Argument>>,
}

/// An entry written in the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole entry.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Whether `const` stands before it.
    pub is_const: bool,
    /// `priority = value :`
    pub priority: Option<Expr>,
    /// What it matches.
    pub keyset: Keyset,
    /// What it does; the annotations are in `annotations`.
    pub action: ActionRef,
}
