//! Stable codes of the findings of this stage: one per class, grouped by what they are about.
//!
//! Invariant: a code, once given, keeps its meaning; no two classes share one.

/// A name that nothing visible declares.
pub const UNKNOWN_NAME: &str = "E0101";
/// A second declaration of a name in one scope.
pub const DUPLICATE: &str = "E0102";
/// A field, method or member that its type does not have.
pub const UNKNOWN_MEMBER: &str = "E0103";
/// A declaration that needs a declaration of the core library.
pub const MISSING_CORE: &str = "E0104";
/// A declaration that hides a parameter in a place where that is refused.
pub const SHADOWED: &str = "E0105";

/// A name that is not a type where a type is needed.
pub const NOT_A_TYPE: &str = "E0201";
/// Two types that do not fit.
pub const MISMATCH: &str = "E0202";
/// A field type that its kind of structure cannot hold.
pub const FIELD_TYPE: &str = "E0203";
/// A type that cannot stand in this place.
pub const BAD_TYPE: &str = "E0204";
/// A number of type arguments that does not fit.
pub const TYPE_ARGS: &str = "E0205";
/// A type that nothing determines.
pub const NOT_INFERRED: &str = "E0206";
/// A width or size out of range.
pub const BAD_WIDTH: &str = "E0207";
/// A cast that the language does not have.
pub const BAD_CAST: &str = "E0208";
/// A type that contains itself.
pub const RECURSIVE: &str = "E0209";

/// A value that must be known when compiling.
pub const NOT_CONSTANT: &str = "E0301";
/// A division by zero, or of negative numbers.
pub const DIVISION: &str = "E0302";
/// A shift by a negative or absurd amount.
pub const SHIFT: &str = "E0303";
/// A constant that its type cannot hold.
pub const OUT_OF_RANGE: &str = "E0304";
/// A `static_assert` that does not hold.
pub const ASSERTION: &str = "E0305";

/// An operator that its operands do not have.
pub const OPERAND: &str = "E0401";
/// An expression that cannot be assigned to.
pub const NOT_A_PLACE: &str = "E0402";
/// A name that is not a value where a value is needed.
pub const NOT_A_VALUE: &str = "E0403";
/// A slice or index out of bounds.
pub const BOUNDS: &str = "E0404";
/// An initializer whose fields do not fit its type.
pub const INITIALIZER: &str = "E0405";
/// An expression that cannot stand in this place.
pub const MISPLACED: &str = "E0406";

/// Something called that cannot be called.
pub const NOT_CALLABLE: &str = "E0501";
/// Arguments that do not fit the parameters.
pub const ARGUMENTS: &str = "E0502";
/// A call that is not allowed in this place.
pub const CALL_PLACE: &str = "E0503";
/// Parameters that cannot be declared so.
pub const PARAMETERS: &str = "E0504";

/// A statement that cannot stand in this place.
pub const STATEMENT_PLACE: &str = "E0601";
/// A `return` that does not fit its function.
pub const RETURN: &str = "E0602";
/// Labels of a `switch` that do not fit.
pub const SWITCH: &str = "E0603";
/// A collection that `for` cannot run over.
pub const FOR_IN: &str = "E0604";

/// A state that does not exist, or cannot.
pub const STATE: &str = "E0701";
/// A case of a `select` that does not fit what is selected.
pub const SELECT: &str = "E0702";
/// A value set that cannot be.
pub const VALUE_SET: &str = "E0703";

/// A table property that is missing, repeated or of the wrong kind.
pub const TABLE: &str = "E0801";
/// A key that cannot be matched.
pub const KEY: &str = "E0802";
/// An action that the table does not have, or not so.
pub const TABLE_ACTION: &str = "E0803";
/// An entry that does not fit its table.
pub const ENTRY: &str = "E0804";

/// Something instantiated that cannot be.
pub const INSTANCE: &str = "E0901";
/// A `main` that is not a package.
pub const MAIN: &str = "E0902";
/// Abstract methods that are missing or do not fit.
pub const ABSTRACT: &str = "E0903";
/// An annotation whose arguments do not fit.
pub const ANNOTATION: &str = "E0905";
/// More nesting, instances or code than one program may have.
pub const TOO_LARGE: &str = "E0906";
/// Legal P4 that this compiler does not take.
pub const UNSUPPORTED: &str = "E0907";

/// Two actions with the same control-plane name (a warning).
pub const CONTROL_NAME: &str = "W0904";
/// A value cut to fit its type (a warning).
pub const TRUNCATED: &str = "W0304";
