//! The abstract syntax tree of one P4-16 compilation unit (language version 1.2.5).
//!
//! In: built by [`super::parser`]. Out: read by name resolution, by the printer and by tools.
//! The tree is what was written, after macro expansion: names are unresolved, types unchecked, parentheses are gone
//! (the nesting says it all), declarators with array suffixes (`bit<8> x[4]`) have become array types.
//! Invariants: every node carries a [`Span`]; nesting of expressions, types and statements never exceeds
//! [`MAX_DEPTH`], so that recursive walks need no guard of their own.
//!
//! `{:?}` prints a tree with its spans, `{:-?}` without them: two trees are equal modulo spans iff their `{:-?}` are.

use std::fmt;
use std::sync::Arc;

use crate::source::Span;

mod block;
mod decl;
mod expr;
mod stmt;

pub use block::{
    ActionRef, ControlDecl, Entry, KeyElement, ParserDecl, ParserState, PropertyValue, SelectCase,
    TableDecl, TableProperty, Transition, TransitionKind,
};
pub use decl::{
    ActionDecl, ApplyType, ConstDecl, Decl, Direction, EnumDecl, EnumMember, ExternFunctionDecl,
    ExternObjectDecl, Field, FunctionDecl, InstanceDecl, MembersDecl, MethodDecl, Param, Prototype,
    StructDecl, StructKind, TypedefDecl, TypedefTarget, ValueSetDecl, VariableDecl,
};
pub use expr::{Argument, BinaryOp, Expr, ExprKind, IntLit, Keyset, TypeKind, TypeRef, UnaryOp};
pub use stmt::{Block, Stmt, StmtKind, SwitchCase};

/// The deepest nesting of nodes that the parser lets through; deeper input is a diagnostic.
pub const MAX_DEPTH: u32 = 200;

/// An identifier where it was written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// The identifier.
    pub text: Arc<str>,
    /// Where it stands.
    pub span: Span,
}

impl Name {
    /// An identifier at a place.
    pub fn new(text: impl Into<Arc<str>>, span: Span) -> Self {
        Self {
            text: text.into(),
            span,
        }
    }

    /// The identifier's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`")?;
        f.write_str(&self.text)?;
        f.write_str("`")?;
        if !f.sign_minus() {
            write!(f, "@{:?}", self.span)?;
        }
        Ok(())
    }
}

/// A name as it is used: plain, or looked up in the outermost scope (`.name`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// From the dot, if any, to the end of the name.
    pub span: Span,
    /// Whether a dot stands before the name.
    pub absolute: bool,
    /// The name.
    pub name: Name,
}

/// A whole program: the top-level declarations in order, included files in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The declarations.
    pub decls: Vec<Decl>,
}

/// `@name`, `@name(tokens)`, `@name[expressions]`, `@name[key = value]` or `@pragma name tokens`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// From the `@` to the end of the body.
    pub span: Span,
    /// The annotation's name; keywords are names here.
    pub name: Name,
    /// What stands in parentheses or brackets.
    pub body: AnnotationBody,
}

/// The body of an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnotationBody {
    /// No body: `@hidden`.
    None,
    /// Unstructured: tokens between balanced parentheses, or the rest of a `@pragma` line. Not interpreted yet; see
    /// [`super::parser::annotation_expressions`] and its siblings.
    Tokens(Vec<AnnotationToken>),
    /// Structured, a list of expressions.
    Expressions(Vec<Expr>),
    /// Structured, key-value pairs.
    KeyValues(Vec<KeyValue>),
}

/// One token of an unstructured annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationToken {
    /// Where it stands.
    pub span: Span,
    /// Its class.
    pub kind: AnnotationTokenKind,
    /// Its text: for string literals the text between the quotes, escapes kept as written.
    pub text: Arc<str>,
    /// Whether white space or a comment stood before it.
    pub spaced: bool,
}

/// The class of an annotation token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnotationTokenKind {
    /// An identifier or keyword.
    Word,
    /// An integer literal.
    Int(IntLit),
    /// A string literal.
    Str,
    /// An operator, bracket or any other sign.
    Sign,
}

/// `name = value` in structured annotations, structure-valued expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The whole pair.
    pub span: Span,
    /// The key.
    pub name: Name,
    /// The value.
    pub value: Expr,
}
