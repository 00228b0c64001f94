//! The intermediate representation: a program with names resolved, types known, generics and constructor
//! parameters gone, and one copy of every parser, control, action and table per instance.
//!
//! In: what `sema` lowers. Out: what `valid` checks and the engine, P4Info and printers read.
//!
//! ```text
//! Program ─┬─ package: which parser/control plays which role of the architecture
//!          ├─ parsers, controls ── blocks of statements over the shared `exprs` and `vars`
//!          ├─ tables ── keys, action references, entries, properties
//!          └─ actions, functions, externs, value_sets
//! ```
//!
//! P4 has no recursion, so every variable and parameter of every instance has one static home: a [`Var`]. Calls
//! copy arguments in and results out of the callee's parameter variables (section 6.8 of P4-16).
//! Invariant: every handle is of this program's arenas; expressions form a forest (no sharing of places that
//! have side effects).

pub mod arena;
mod expr;
pub mod print;
mod stmt;
mod types;

use num_bigint::BigInt;

pub use arena::{Arena, Handle, UniqueArena};
pub use expr::{Arg, BinaryOp, Callee, Const, Expr, ExprKind, HeaderOp, PacketOp, UnaryOp};
pub use stmt::{Block, ForIn, KeySet, State, StateRef, Stmt, StmtKind, SwitchCase, Transition};
pub use types::{EnumType, Field, FieldsType, NewType, SerEnumType, Type};

use crate::source::Span;

/// A whole program, elaborated from its `main` package.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The `main` instance; `None` for a library that has none (it can be checked, not run).
    pub package: Option<Package>,
    /// Every type in use.
    pub types: UniqueArena<Type>,
    /// Error names; `error` values index this. The core errors come first, in the order of `core.p4`.
    pub errors: Vec<String>,
    /// Every variable, parameter and constant-initialised local.
    pub vars: Arena<Var>,
    /// Every expression.
    pub exprs: Arena<Expr>,
    /// Functions, one per instantiation of their type parameters (and of static extern arguments).
    pub functions: Arena<Function>,
    /// Actions, one per instance of the control that declares them; top-level ones once.
    pub actions: Arena<Action>,
    /// Tables, one per instance of their control.
    pub tables: Arena<Table>,
    /// Parser instances.
    pub parsers: Arena<Parser>,
    /// Control instances.
    pub controls: Arena<Control>,
    /// Extern object instances.
    pub externs: Arena<ExternInstance>,
    /// Parser value sets.
    pub value_sets: Arena<ValueSet>,
    /// Header types with `@controller_header`, whether or not used elsewhere, in declaration order.
    pub controller_headers: Vec<Handle<Type>>,
    /// Annotations of `main` (`@pkginfo`, …).
    pub annotations: Vec<Annotation>,
}

/// The instantiated package.
#[derive(Clone, Debug)]
pub struct Package {
    /// Package type's name: `V1Switch`, `PNA_NIC`, … This names the architecture.
    pub name: String,
    /// Arguments by parameter, in declaration order.
    pub args: Vec<(String, PackageArg)>,
}

/// One constructor argument of a package.
#[derive(Clone, Debug)]
pub enum PackageArg {
    /// A parser instance.
    Parser(Handle<Parser>),
    /// A control instance (deparsers too).
    Control(Handle<Control>),
    /// A nested package.
    Package(Box<Package>),
    /// An extern instance.
    Extern(Handle<ExternInstance>),
    /// A compile-time value.
    Const(Const),
    /// An optional parameter left out.
    Absent,
}

/// An annotation of any of the three forms (P4-16 section 20).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Annotation {
    /// Name without `@`.
    pub name: String,
    /// What stands behind the name.
    pub body: AnnotationBody,
}

/// The body of an annotation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AnnotationBody {
    /// `@name` or `@name()`: source text between the parentheses, empty when there are none.
    Unstructured(String),
    /// `@name[...]` with expressions.
    Expressions(Vec<AnnotationValue>),
    /// `@name[k=v, ...]`.
    KeyValues(Vec<(String, AnnotationValue)>),
}

/// A compile-time value in an annotation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AnnotationValue {
    /// A string literal.
    String(String),
    /// An integer.
    Int(BigInt),
    /// A boolean.
    Bool(bool),
}

impl AnnotationBody {
    /// The values given as arguments: for `@id(7)`, `@name("x")` and `@field_list(1, 2)` the literals between
    /// the parentheses. Filled from structured bodies too.
    pub fn values(&self) -> Vec<AnnotationValue> {
        match self {
            Self::Unstructured(text) => parse_values(text),
            Self::Expressions(values) => values.clone(),
            Self::KeyValues(pairs) => pairs.iter().map(|(_, value)| value.clone()).collect(),
        }
    }
}

/// Splits the literal arguments of an unstructured annotation; anything else is left out.
fn parse_values(text: &str) -> Vec<AnnotationValue> {
    let mut values = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(body) = rest.strip_prefix('"') {
            let end = closing_quote(body);
            values.push(AnnotationValue::String(unescape(&body[..end])));
            rest = body.get(end + 1..).unwrap_or_default();
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            values.extend(parse_scalar(rest[..end].trim()));
            rest = &rest[end..];
        }
        rest = rest.trim_start().trim_start_matches(',').trim_start();
    }
    values
}

fn closing_quote(body: &str) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    body.len()
}

fn unescape(text: &str) -> String {
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

fn parse_scalar(word: &str) -> Option<AnnotationValue> {
    match word {
        "true" => return Some(AnnotationValue::Bool(true)),
        "false" => return Some(AnnotationValue::Bool(false)),
        _ => {}
    }
    let digits = word
        .rsplit_once(['w', 's'])
        .map_or(word, |(_, digits)| digits)
        .replace('_', "");
    let (digits, radix) = match digits.get(..2) {
        Some("0x" | "0X") => (&digits[2..], 16),
        Some("0b" | "0B") => (&digits[2..], 2),
        Some("0o" | "0O") => (&digits[2..], 8),
        _ => (digits.as_str(), 10),
    };
    BigInt::parse_bytes(digits.as_bytes(), radix).map(AnnotationValue::Int)
}

/// Looks annotations up by name.
pub trait Annotated {
    /// The annotations in source order.
    fn annotations(&self) -> &[Annotation];

    /// The first annotation of this name.
    fn annotation(&self, name: &str) -> Option<&Annotation> {
        self.annotations().iter().find(|a| a.name == name)
    }

    /// The first string argument of the annotation, e.g. of `@name("x")`.
    fn annotation_string(&self, name: &str) -> Option<String> {
        self.annotation(name)?
            .body
            .values()
            .into_iter()
            .find_map(|v| match v {
                AnnotationValue::String(s) => Some(s),
                _ => None,
            })
    }

    /// The first integer argument of the annotation, e.g. of `@id(7)`.
    fn annotation_int(&self, name: &str) -> Option<BigInt> {
        self.annotation(name)?
            .body
            .values()
            .into_iter()
            .find_map(|v| match v {
                AnnotationValue::Int(i) => Some(i),
                _ => None,
            })
    }
}

impl Annotated for Vec<Annotation> {
    fn annotations(&self) -> &[Annotation] {
        self
    }
}

/// How a control-plane object is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Declared name in the source.
    pub local: String,
    /// Control-plane name: instance path and `@name` applied, dots between, no leading dot
    /// (e.g. `NicIngress.frontend.serve`).
    pub control_plane: String,
    /// `@hidden` here or on an enclosing instance: not part of the control-plane API.
    pub hidden: bool,
}

/// A variable's one static home.
#[derive(Clone, Debug)]
pub struct Var {
    /// Source name, for people.
    pub name: String,
    /// Its type.
    pub ty: Handle<Type>,
    /// Where it is declared.
    pub span: Span,
}

/// A parameter direction (P4-16 section 6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// No direction: action data, or a compile-time known argument.
    None,
    /// Copied in.
    In,
    /// Copied out; invalid/zero at entry.
    Out,
    /// Both.
    InOut,
}

/// A parameter of a function, action, parser or control.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its home.
    pub var: Handle<Var>,
    /// Direction.
    pub direction: Direction,
    /// Annotations (`@id`, `@name`, …).
    pub annotations: Vec<Annotation>,
}

/// A function, or an abstract method's implementation.
#[derive(Clone, Debug)]
pub struct Function {
    /// Name, for people.
    pub name: String,
    /// Parameters.
    pub params: Vec<Param>,
    /// Result type, [`Type::Void`] when none.
    pub ret: Handle<Type>,
    /// Statements.
    pub body: Block,
}

/// An action.
#[derive(Clone, Debug)]
pub struct Action {
    /// Control-plane name.
    pub name: ObjectName,
    /// Directional parameters first, then action data ([`Direction::None`]).
    pub params: Vec<Param>,
    /// Statements.
    pub body: Block,
    /// Annotations.
    pub annotations: Vec<Annotation>,
    /// Where it is declared.
    pub span: Span,
}

/// A parser instance.
#[derive(Clone, Debug)]
pub struct Parser {
    /// Instance name.
    pub name: ObjectName,
    /// Run-time parameters.
    pub params: Vec<Param>,
    /// Local declarations, run at entry in order.
    pub locals: Block,
    /// States; index 0 need not be `start`.
    pub states: Vec<State>,
    /// Index of `start`.
    pub start: usize,
    /// Annotations.
    pub annotations: Vec<Annotation>,
}

/// A control instance.
#[derive(Clone, Debug)]
pub struct Control {
    /// Instance name.
    pub name: ObjectName,
    /// Run-time parameters.
    pub params: Vec<Param>,
    /// Local declarations, run at entry in order, before `body`.
    pub locals: Block,
    /// The `apply` block.
    pub body: Block,
    /// Annotations.
    pub annotations: Vec<Annotation>,
}

/// A table instance.
#[derive(Clone, Debug)]
pub struct Table {
    /// Control-plane name.
    pub name: ObjectName,
    /// Key fields in order.
    pub keys: Vec<Key>,
    /// `actions` list in order.
    pub actions: Vec<ActionRef>,
    /// Default action; `NoAction` when the program names none.
    pub default_action: ActionCall,
    /// `const default_action`.
    pub const_default: bool,
    /// `entries`, in source order.
    pub entries: Vec<Entry>,
    /// `const entries`.
    pub const_entries: bool,
    /// `size`.
    pub size: Option<u64>,
    /// Every other property (`implementation`, `counters`, `support_timeout`, `add_on_miss`, …).
    pub properties: Vec<Property>,
    /// Annotations.
    pub annotations: Vec<Annotation>,
    /// Where it is declared.
    pub span: Span,
}

/// One key field.
#[derive(Clone, Debug)]
pub struct Key {
    /// What is matched.
    pub expr: Handle<Expr>,
    /// `exact`, `lpm`, `ternary`, `range`, `optional`, `selector`, or a user's own.
    pub match_kind: String,
    /// Control-plane name: `@name`, else the expression's source text as p4c prints it.
    pub name: String,
    /// Annotations.
    pub annotations: Vec<Annotation>,
}

/// An action as one table refers to it.
#[derive(Clone, Debug)]
pub struct ActionRef {
    /// The action.
    pub action: Handle<Action>,
    /// Arguments of the directional parameters, evaluated when the action runs.
    pub args: Vec<Arg>,
    /// `@tableonly` / `@defaultonly`.
    pub scope: ActionScope,
    /// Annotations of the reference.
    pub annotations: Vec<Annotation>,
}

/// Where an action of a table may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionScope {
    /// In entries and as default.
    TableAndDefault,
    /// `@tableonly`.
    TableOnly,
    /// `@defaultonly`.
    DefaultOnly,
}

/// An action chosen from a table's list, with its action data.
#[derive(Clone, Debug)]
pub struct ActionCall {
    /// Index into [`Table::actions`].
    pub action: usize,
    /// Action data in parameter order.
    pub data: Vec<Const>,
}

/// An entry that the program itself holds.
#[derive(Clone, Debug)]
pub struct Entry {
    /// One per key field.
    pub keys: Vec<EntryKey>,
    /// What to do.
    pub action: ActionCall,
    /// Explicit `priority =` / `@priority`.
    pub priority: Option<BigInt>,
    /// `const` on the entry or on the list.
    pub is_const: bool,
    /// Annotations.
    pub annotations: Vec<Annotation>,
    /// Where it stands.
    pub span: Span,
}

/// One key field's match in an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKey {
    /// `value`.
    Value(Const),
    /// `value &&& mask`.
    Mask(BigInt, BigInt),
    /// `low .. high`, inclusive.
    Range(BigInt, BigInt),
    /// `_` or `default`.
    Any,
}

/// A table property that the core language does not know.
#[derive(Clone, Debug)]
pub struct Property {
    /// Name.
    pub name: String,
    /// Value.
    pub value: PropertyValue,
    /// `const`.
    pub is_const: bool,
    /// Annotations.
    pub annotations: Vec<Annotation>,
}

/// A property's value.
#[derive(Clone, Debug)]
pub enum PropertyValue {
    /// A compile-time value.
    Const(Const),
    /// An extern instance, e.g. a `direct_counter` or an `action_selector`.
    Extern(Handle<ExternInstance>),
}

/// An instantiated extern object.
#[derive(Clone, Debug)]
pub struct ExternInstance {
    /// Control-plane name. An instance built in a property (`implementation = action_profile(4)`) is named after its table.
    pub name: ObjectName,
    /// Extern type's name: `counter`, `direct_counter`, `Register`, `Hash`, …
    pub kind: String,
    /// Type arguments.
    pub type_args: Vec<Handle<Type>>,
    /// Constructor arguments with parameter names, in order.
    pub args: Vec<(String, Const)>,
    /// Implementations of abstract methods.
    pub methods: Vec<(String, Handle<Function>)>,
    /// Annotations.
    pub annotations: Vec<Annotation>,
    /// Where it is declared.
    pub span: Span,
}

/// A parser value set.
#[derive(Clone, Debug)]
pub struct ValueSet {
    /// Control-plane name.
    pub name: ObjectName,
    /// Element type: bits, enum, or a struct of them.
    pub ty: Handle<Type>,
    /// Declared size.
    pub size: u64,
    /// Annotations.
    pub annotations: Vec<Annotation>,
}

impl Program {
    /// The type without `type` wrappers; serializable enums become their representation.
    pub fn resolve(&self, mut ty: Handle<Type>) -> Handle<Type> {
        loop {
            ty = match &self.types[ty] {
                Type::New(new) => new.under,
                Type::SerEnum(en) => en.under,
                _ => return ty,
            };
        }
    }

    /// Width in bits of a fixed-width type (headers and structs are sums); `None` for the rest.
    pub fn width(&self, ty: Handle<Type>) -> Option<u32> {
        match &self.types[self.resolve(ty)] {
            Type::Bool => Some(1),
            Type::Bits { width, .. } => Some(*width),
            Type::Struct(fields) | Type::Header(fields) => fields
                .fields
                .iter()
                .try_fold(0u32, |sum, f| sum.checked_add(self.width(f.ty)?)),
            Type::Tuple(items) => items
                .iter()
                .try_fold(0u32, |sum, &ty| sum.checked_add(self.width(ty)?)),
            Type::Stack { elem, size } => self.width(*elem)?.checked_mul(*size),
            _ => None,
        }
    }
}
