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

use num_bigint::BigUint;

use crate::source::Span;

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

// ---------------------------------------------------------------- annotations

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

// ---------------------------------------------------------------- types

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

// ---------------------------------------------------------------- expressions

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

// ---------------------------------------------------------------- declarations

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

// ---------------------------------------------------------------- parsers

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

// ---------------------------------------------------------------- controls and tables

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

// ---------------------------------------------------------------- statements

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
    /// A call: the expression is an [`ExprKind::Call`].
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
        /// A list, stack, value or [`ExprKind::Range`].
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
    /// The label; [`ExprKind::Default`] for `default`.
    pub label: Expr,
    /// The block, or none when it falls through to the next case.
    pub body: Option<Block>,
}
