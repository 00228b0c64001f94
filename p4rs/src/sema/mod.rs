//! Names and types: from the syntax tree to the IR.
//!
//! In: a parsed program. Out: its IR, elaborated from `main`, or findings. Invariant: the same code checks and lowers;
//! it runs twice.
//!
//! ```text
//!             ┌─ check: every declaration once, type parameters opaque, output thrown away ─┐ findings: stop
//! ast ────────┤                                                                             │
//!             └─ elaborate: from `main`, one copy per instance, everything known ───────────┴─▶ ir::Program
//! ```
//!
//! `names` finds declarations, `types` resolves type references, `expr`, `operator`, `member` and `call` type expressions while
//! they emit them, `convert` inserts casts, `consteval` folds constants, `statement`, `parser`, `control`, `table` and
//! `entry` do bodies, `instance` makes objects, `program` walks the top level.

mod annotation;
mod argument;
mod block;
mod call;
pub mod code;
mod consteval;
mod convert;
mod declare;
mod emit;
mod entry;
mod expr;
mod function;
mod infer;
mod instance;
mod key;
mod keyset;
mod member;
mod method;
mod names;
mod operator;
mod parser;
mod place;
mod program;
mod show;
mod statement;
mod switch;
mod table;
#[cfg(test)]
mod tests;
mod ty;
mod types;

use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::diag::{Diagnostic, Diagnostics};
use crate::front::ast;
use crate::ir;
use crate::source::{SourceMap, Span};
use names::{Frame, GlobalValue};
use ty::{DefId, Ty};

/// Stack for the thread that lowers: the deepest tree that the parser lets through fits several times.
const STACK_BYTES: usize = 256 << 20;

/// Checks every declaration of `program`, then elaborates it from `main`. A program without `main` yields an IR
/// without a package. On failure the findings, warnings included, in the order found.
pub fn lower(program: &ast::Program, map: &SourceMap) -> Result<ir::Program, Vec<Diagnostic>> {
    lower_with_warnings(program, map).map(|(program, _)| program)
}

/// As [`lower`], with the warnings of a program that is good.
pub fn lower_with_warnings(
    program: &ast::Program,
    map: &SourceMap,
) -> Result<(ir::Program, Vec<Diagnostic>), Vec<Diagnostic>> {
    std::thread::scope(|scope| {
        let work = || Sema::new(program, map).run();
        match std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
        {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => Sema::new(program, map).run(),
        }
    })
}

/// Which of the two runs this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Check,
    Elaborate,
}

/// A top-level declaration.
struct Def<'a> {
    decl: &'a ast::Decl,
    /// Bodies that see more than this many declarations see it.
    order: usize,
    /// How many declarations its own body sees.
    sees: usize,
}

/// What a table's switch statement and `apply` need to know.
struct TableInfo {
    handle: ir::Handle<ir::Table>,
    /// Action names as written in the list, by index.
    actions: Vec<Arc<str>>,
}

/// The members of a serializable enumeration with their values.
type Members = Rc<Vec<(Arc<str>, num_bigint::BigInt)>>;

/// A struct's field as declared.
#[derive(Clone)]
struct FieldInfo<'a> {
    name: Arc<str>,
    ty: Ty,
    ast: &'a ast::Field,
}

/// The state of both runs.
struct Sema<'a> {
    program: &'a ast::Program,
    map: &'a SourceMap,
    diags: Diagnostics,
    phase: Phase,
    ir: ir::Program,
    defs: Vec<Def<'a>>,
    globals: FxHashMap<Arc<str>, Vec<DefId>>,
    error_codes: FxHashMap<Arc<str>, u32>,
    error_names: Vec<String>,
    match_kinds: FxHashMap<Arc<str>, Span>,
    frame: Frame<'a>,
    /// Solutions of [`Ty::Infer`].
    solved: Vec<Option<Ty>>,
    /// Names of [`Ty::Param`].
    params: Vec<Arc<str>>,
    tables: Vec<TableInfo>,
    fields: FxHashMap<Ty, Rc<Vec<FieldInfo<'a>>>>,
    enums: FxHashMap<DefId, Members>,
    ir_types: FxHashMap<Ty, ir::Handle<ir::Type>>,
    global_values: FxHashMap<DefId, GlobalValue<'a>>,
    functions: Vec<(function::FunctionKey, ir::Handle<ir::Function>)>,
    deferred: Vec<block::Deferred<'a>>,
    /// Nesting of instantiations and of calls of functions under way.
    depth: u32,
    /// Instances and copies of functions made so far.
    made: u32,
    /// What `typedef` names stand for.
    typedefs: FxHashMap<DefId, Ty>,
    /// How many scalars a structure has.
    leaves: FxHashMap<Ty, u64>,
    /// The name for the next object built without one of its own.
    anonymous: Option<String>,
}

impl<'a> Sema<'a> {
    fn new(program: &'a ast::Program, map: &'a SourceMap) -> Self {
        Sema {
            program,
            map,
            diags: Diagnostics::new(),
            phase: Phase::Check,
            ir: ir::Program::default(),
            defs: Vec::new(),
            globals: FxHashMap::default(),
            error_codes: FxHashMap::default(),
            error_names: Vec::new(),
            match_kinds: FxHashMap::default(),
            frame: Frame::default(),
            solved: Vec::new(),
            params: Vec::new(),
            tables: Vec::new(),
            fields: FxHashMap::default(),
            enums: FxHashMap::default(),
            ir_types: FxHashMap::default(),
            global_values: FxHashMap::default(),
            functions: Vec::new(),
            deferred: Vec::new(),
            depth: 0,
            made: 0,
            typedefs: FxHashMap::default(),
            leaves: FxHashMap::default(),
            anonymous: None,
        }
    }

    fn checking(&self) -> bool {
        self.phase == Phase::Check
    }

    /// Reports an error at one place; `help` may be empty.
    fn err(&mut self, code: &'static str, span: Span, message: impl Into<String>, help: &str) {
        let mut found = Diagnostic::error(code, message).at(span, "");
        if !help.is_empty() {
            found = found.note(format!("help: {help}"));
        }
        self.diags.push(found);
    }

    /// Reports an error that has to do with a second place.
    fn err_with(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        other: (Span, &str),
        help: &str,
    ) {
        let mut found = Diagnostic::error(code, message)
            .at(span, "")
            .at(other.0, other.1);
        if !help.is_empty() {
            found = found.note(format!("help: {help}"));
        }
        self.diags.push(found);
    }

    fn warn(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.diags
            .push(Diagnostic::warning(code, message).at(span, ""));
    }
}
