//! Tokens: what the lexer makes of a text, and what the preprocessor hands to the parser.
//!
//! Invariant: a token's text is exactly what stands in the source (for string literals, between the quotes), whatever
//! macro put it there; its span is the physical place, its origin the macro.

use std::sync::Arc;

use crate::source::Span;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its class.
    pub kind: TokenKind,
    /// Where it stands, quotes included.
    pub span: Span,
    /// Its text; without the quotes for string literals.
    pub text: Arc<str>,
    /// Whether it is the first of its line.
    pub line_start: bool,
    /// Whether white space or a comment stands before it.
    pub spaced: bool,
    /// Whether the preprocessor must leave it alone: a macro's own name inside its expansion.
    pub painted: bool,
}

/// The class of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// An identifier that is no keyword.
    Ident,
    /// A keyword; some are also names where the grammar allows it.
    Keyword(Keyword),
    /// What begins with a digit: an integer literal, well formed or not.
    Number,
    /// A string literal.
    Str,
    /// An operator, bracket or other sign.
    Sign(Sign),
    /// Text that is no token.
    Bad(Bad),
    /// The end of the input.
    End,
}

impl TokenKind {
    /// Whether it is an identifier or keyword.
    pub fn is_word(self) -> bool {
        matches!(self, TokenKind::Ident | TokenKind::Keyword(_))
    }
}

/// Why some text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bad {
    /// A character that P4 does not know.
    Character,
    /// A string literal without its closing quote.
    OpenString,
    /// A comment without its end.
    OpenComment,
}

/// Declares an enumeration of fixed texts with both directions of the mapping.
macro_rules! texts {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// As written.
            pub fn text(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }
        }
    };
}

texts! {
    /// The words that the grammar reserves, wholly or in places.
    Keyword {
        Abstract = "abstract",
        Action = "action",
        Actions = "actions",
        Apply = "apply",
        Bit = "bit",
        Bool = "bool",
        Break = "break",
        Const = "const",
        Continue = "continue",
        Control = "control",
        Default = "default",
        Else = "else",
        Entries = "entries",
        Enum = "enum",
        Error = "error",
        Exit = "exit",
        Extern = "extern",
        False = "false",
        For = "for",
        Header = "header",
        HeaderUnion = "header_union",
        If = "if",
        In = "in",
        InOut = "inout",
        Int = "int",
        Key = "key",
        List = "list",
        MatchKind = "match_kind",
        Out = "out",
        Package = "package",
        Parser = "parser",
        Priority = "priority",
        Return = "return",
        Select = "select",
        State = "state",
        String = "string",
        Struct = "struct",
        Switch = "switch",
        Table = "table",
        This = "this",
        Transition = "transition",
        True = "true",
        Tuple = "tuple",
        Type = "type",
        Typedef = "typedef",
        Varbit = "varbit",
        ValueSet = "value_set",
        Void = "void",
        Underscore = "_",
    }
}

texts! {
    /// Operators, brackets and separators, longer ones before their beginnings.
    Sign {
        AssignAddSat = "|+|=",
        AssignSubSat = "|-|=",
        AssignShl = "<<=",
        AssignShr = ">>=",
        MaskOf = "&&&",
        Dots = "...",
        AddSat = "|+|",
        SubSat = "|-|",
        Invalid = "{#}",
        DotDot = "..",
        Shl = "<<",
        AndAnd = "&&",
        OrOr = "||",
        EqEq = "==",
        NotEq = "!=",
        GtEq = ">=",
        LtEq = "<=",
        PlusPlus = "++",
        AssignAdd = "+=",
        AssignSub = "-=",
        AssignMul = "*=",
        AssignDiv = "/=",
        AssignMod = "%=",
        AssignAnd = "&=",
        AssignOr = "|=",
        AssignXor = "^=",
        PlusColon = "+:",
        HashHash = "##",
        Plus = "+",
        Minus = "-",
        Star = "*",
        Slash = "/",
        Percent = "%",
        Or = "|",
        And = "&",
        Xor = "^",
        Tilde = "~",
        LParen = "(",
        RParen = ")",
        LBracket = "[",
        RBracket = "]",
        LBrace = "{",
        RBrace = "}",
        Lt = "<",
        Gt = ">",
        Not = "!",
        Colon = ":",
        Comma = ",",
        Question = "?",
        Dot = ".",
        Assign = "=",
        Semicolon = ";",
        At = "@",
        Hash = "#",
    }
}

impl Keyword {
    /// The keyword that a word is.
    pub fn of(word: &str) -> Option<Keyword> {
        // Keywords have at most twelve letters: most identifiers are told apart by the first and the length.
        let first = word.as_bytes().first()?;
        Keyword::ALL
            .iter()
            .copied()
            .find(|keyword| keyword.text().as_bytes()[0] == *first && keyword.text() == word)
    }
}
