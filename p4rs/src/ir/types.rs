//! The types a checked program uses, after generics are gone: every width is a number.

use super::Annotation;
use super::arena::Handle;

/// A monomorphic P4 type (P4-16 1.2.5, section 7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// No value: the result of a method that returns nothing.
    Void,
    /// `bool`.
    Bool,
    /// `bit<width>` or, when `signed`, `int<width>`. Width in bits, 0 allowed.
    Bits {
        /// Width in bits.
        width: u32,
        /// Two's complement.
        signed: bool,
    },
    /// `int`: arbitrary precision, only in constants and constructor arguments.
    Integer,
    /// `varbit<max>`: 0 to `max` bits.
    Varbit {
        /// Largest width in bits.
        max: u32,
    },
    /// `error`; a value is an index into [`super::Program::errors`].
    Error,
    /// `match_kind`.
    MatchKind,
    /// `string`, only in constants.
    String,
    /// `enum` without representation.
    Enum(EnumType),
    /// `enum bit<N>` or `enum int<N>`: values are `under`, members are names for some of them.
    SerEnum(SerEnumType),
    /// `struct`.
    Struct(FieldsType),
    /// `header`: fields plus a validity bit.
    Header(FieldsType),
    /// `header_union`: fields are headers, at most one valid.
    Union(FieldsType),
    /// `elem[size]`, a header or header-union stack with its `nextIndex`.
    Stack {
        /// Header or union type.
        elem: Handle<Type>,
        /// Number of elements.
        size: u32,
    },
    /// `tuple<...>` and untyped lists.
    Tuple(Vec<Handle<Type>>),
    /// `list<T>`, only in constants.
    List(Handle<Type>),
    /// `type T name`: same values as `under`, but a type of its own (P4Runtime translation hangs here).
    New(NewType),
    /// An extern object, e.g. `packet_in` or `Register<bit<32>, bit<8>>`.
    Extern {
        /// Declared name.
        name: String,
        /// Type arguments.
        args: Vec<Handle<Type>>,
    },
    /// A table's `apply()` result: struct { bool hit; bool miss; action_run }.
    ApplyResult,
}

/// A plain enumeration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnumType {
    /// Declared name.
    pub name: String,
    /// Member names; a value is an index.
    pub members: Vec<String>,
    /// Annotations of the declaration.
    pub annotations: Vec<Annotation>,
}

/// An enumeration with a representation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SerEnumType {
    /// Declared name.
    pub name: String,
    /// Representation, a [`Type::Bits`] (possibly through [`Type::New`]).
    pub under: Handle<Type>,
    /// Members with their values as two's complement bits.
    pub members: Vec<(String, num_bigint::BigInt)>,
    /// Annotations of the declaration.
    pub annotations: Vec<Annotation>,
}

/// What struct, header and header union share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldsType {
    /// Declared name; a specialised generic is `Name<args>`.
    pub name: String,
    /// Fields in declaration order.
    pub fields: Vec<Field>,
    /// Annotations of the declaration.
    pub annotations: Vec<Annotation>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Declared name.
    pub name: String,
    /// Its type.
    pub ty: Handle<Type>,
    /// Annotations of the field.
    pub annotations: Vec<Annotation>,
}

/// A `type` declaration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewType {
    /// Declared name.
    pub name: String,
    /// The type it wraps.
    pub under: Handle<Type>,
    /// Annotations, `p4runtime_translation` among them.
    pub annotations: Vec<Annotation>,
}
