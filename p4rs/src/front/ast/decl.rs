//! Declarations: constants, variables, instances, signatures, actions, functions, externs and types.
//!
//! In: what the parser reads where the grammar wants a declaration. Out: one [`Decl`] each.

use super::block::{ControlDecl, ParserDecl, TableDecl};
use super::expr::{Argument, Expr, TypeRef};
use super::stmt::Block;
use super::{Annotation, Name};
use crate::source::Span;

/// A declaration at any level. Which are allowed where: the grammar decides for the top level, parsers (constants,
/// instantiations, variables, value sets), controls (constants, actions, tables, instantiations, variables) and object
/// initializers (functions, instantiations).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decl {
    /// `const T name = value;`
    Const(ConstDecl),
    /// `T name = value;` inside parsers and controls.
    Variable(VariableDecl),
    /// `T(args) name;`
    Instance(InstanceDecl),
    /// `action name(...) {...}`
    Action(ActionDecl),
    /// `T name(...) {...}`
    Function(FunctionDecl),
    /// `parser name(...)(...) {...}`
    Parser(ParserDecl),
    /// `parser name(...);`
    ParserType(ApplyType),
    /// `control name(...)(...) {...}`
    Control(ControlDecl),
    /// `control name(...);`
    ControlType(ApplyType),
    /// `package name(...);`
    Package(ApplyType),
    /// `extern T name(...);`
    ExternFunction(ExternFunctionDecl),
    /// `extern name {...}`
    ExternObject(ExternObjectDecl),
    /// `extern name;`: announces an extern object declared later.
    ExternForward(Name),
    /// `header`, `header_union` or `struct`.
    Struct(StructDecl),
    /// `enum name {...}` or `enum T name {...}`
    Enum(EnumDecl),
    /// `error {...}`
    Error(MembersDecl),
    /// `match_kind {...}`
    MatchKind(MembersDecl),
    /// `typedef T name;`
    Typedef(TypedefDecl),
    /// `type T name;`
    NewType(TypedefDecl),
    /// `value_set<T>(size) name;`
    ValueSet(ValueSetDecl),
    /// `table name {...}`
    Table(TableDecl),
}

impl Decl {
    /// The name that is declared; none for `error` and `match_kind`.
    pub fn name(&self) -> Option<&Name> {
        Some(match self {
            Decl::Const(d) => &d.name,
            Decl::Variable(d) => &d.name,
            Decl::Instance(d) => &d.name,
            Decl::Action(d) => &d.name,
            Decl::Function(d) => &d.prototype.name,
            Decl::Parser(d) => &d.ty.name,
            Decl::Control(d) => &d.ty.name,
            Decl::ParserType(d) | Decl::ControlType(d) | Decl::Package(d) => &d.name,
            Decl::ExternFunction(d) => &d.prototype.name,
            Decl::ExternObject(d) => &d.name,
            Decl::ExternForward(name) => name,
            Decl::Struct(d) => &d.name,
            Decl::Enum(d) => &d.name,
            Decl::Error(_) | Decl::MatchKind(_) => return None,
            Decl::Typedef(d) | Decl::NewType(d) => &d.name,
            Decl::ValueSet(d) => &d.name,
            Decl::Table(d) => &d.name,
        })
    }

    /// The whole declaration.
    pub fn span(&self) -> Span {
        match self {
            Decl::Const(d) => d.span,
            Decl::Variable(d) => d.span,
            Decl::Instance(d) => d.span,
            Decl::Action(d) => d.span,
            Decl::Function(d) => d.span,
            Decl::Parser(d) => d.span,
            Decl::Control(d) => d.span,
            Decl::ParserType(d) | Decl::ControlType(d) | Decl::Package(d) => d.span,
            Decl::ExternFunction(d) => d.span,
            Decl::ExternObject(d) => d.span,
            Decl::ExternForward(name) => name.span,
            Decl::Struct(d) => d.span,
            Decl::Enum(d) => d.span,
            Decl::Error(d) | Decl::MatchKind(d) => d.span,
            Decl::Typedef(d) | Decl::NewType(d) => d.span,
            Decl::ValueSet(d) => d.span,
            Decl::Table(d) => d.span,
        }
    }
}

/// A constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its type.
    pub ty: TypeRef,
    /// Its name.
    pub name: Name,
    /// Its value.
    pub value: Expr,
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its type.
    pub ty: TypeRef,
    /// Its name.
    pub name: Name,
    /// Its first value.
    pub value: Option<Expr>,
}

/// An instantiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// The type instantiated.
    pub ty: TypeRef,
    /// The constructor's arguments.
    pub args: Vec<Argument>,
    /// The instance's name.
    pub name: Name,
    /// `= {...}`: implementations of abstract methods and the instances they use.
    pub initializer: Option<Vec<Decl>>,
}

/// A parameter's direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// None written: a compile-time value, or action data.
    #[default]
    None,
    /// `in`
    In,
    /// `out`
    Out,
    /// `inout`
    InOut,
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// The whole parameter.
    pub span: Span,
    /// Its annotations, `@optional` among them.
    pub annotations: Vec<Annotation>,
    /// Its direction.
    pub direction: Direction,
    /// Its type.
    pub ty: TypeRef,
    /// Its name.
    pub name: Name,
    /// Its default value.
    pub default: Option<Expr>,
}

/// The signature of a parser, control or package: what its type is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyType {
    /// From the annotations to the closing parenthesis (or the semicolon, where it is a declaration of its own).
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its name.
    pub name: Name,
    /// Its type parameters.
    pub type_params: Vec<Name>,
    /// The parameters of `apply`; of the constructor, for packages.
    pub params: Vec<Param>,
}

/// A function's or method's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype {
    /// The whole signature.
    pub span: Span,
    /// The type returned; none for constructors.
    pub return_type: Option<TypeRef>,
    /// Its name.
    pub name: Name,
    /// Its type parameters.
    pub type_params: Vec<Name>,
    /// Its parameters.
    pub params: Vec<Param>,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its name.
    pub name: Name,
    /// Its parameters; those without direction are action data.
    pub params: Vec<Param>,
    /// Its body.
    pub body: Block,
}

/// A function with a body: at top level, or a method in an object initializer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its signature.
    pub prototype: Prototype,
    /// Its body.
    pub body: Block,
}

/// An extern function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternFunctionDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its signature.
    pub prototype: Prototype,
}

/// An extern object type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternObjectDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its name.
    pub name: Name,
    /// Its type parameters.
    pub type_params: Vec<Name>,
    /// Its constructors and methods.
    pub methods: Vec<MethodDecl>,
}

/// A constructor or method of an extern object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Whether it is `abstract`, to be given by the program.
    pub is_abstract: bool,
    /// Its signature; a constructor has no return type.
    pub prototype: Prototype,
}

/// Which kind of structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StructKind {
    /// `struct`
    Struct,
    /// `header`
    Header,
    /// `header_union`
    HeaderUnion,
}

/// A struct, header or header union type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Which kind.
    pub kind: StructKind,
    /// Its name.
    pub name: Name,
    /// Its type parameters.
    pub type_params: Vec<Name>,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The whole field.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// Its type.
    pub ty: TypeRef,
    /// Its name.
    pub name: Name,
}

/// An enumeration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// The representation of a serializable enumeration.
    pub underlying: Option<TypeRef>,
    /// Its name.
    pub name: Name,
    /// Its members.
    pub members: Vec<EnumMember>,
}

/// A member of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumMember {
    /// The whole member.
    pub span: Span,
    /// Its name.
    pub name: Name,
    /// Its value, in a serializable enumeration.
    pub value: Option<Expr>,
}

/// `error {...}` or `match_kind {...}`: adds members to the program-wide set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersDecl {
    /// The whole declaration.
    pub span: Span,
    /// The names added.
    pub members: Vec<Name>,
}

/// `typedef` or `type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedefDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations, `@p4runtime_translation` among them.
    pub annotations: Vec<Annotation>,
    /// What the name stands for.
    pub target: TypedefTarget,
    /// The new name.
    pub name: Name,
}

/// What a `typedef` renames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypedefTarget {
    /// A type.
    Type(TypeRef),
    /// A structure or enumeration declared on the spot; only for `typedef`. With array suffixes the declared name is
    /// wrapped: the sizes from the innermost out.
    Inline {
        /// A [`Decl::Struct`] or [`Decl::Enum`].
        decl: Box<Decl>,
        /// `name[size]...`
        sizes: Vec<Expr>,
    },
}

/// A parser value set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueSetDecl {
    /// The whole declaration.
    pub span: Span,
    /// Its annotations.
    pub annotations: Vec<Annotation>,
    /// The element type.
    pub element: TypeRef,
    /// How many elements it may hold.
    pub size: Expr,
    /// Its name.
    pub name: Name,
}
