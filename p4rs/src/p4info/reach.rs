//! What of a program its pipeline can use, in the order in which P4Info lists it.
//!
//! In: a program and its package. Out: the tables that some control applies, the actions that those tables name or a control calls,
//! extern instances and value sets of the blocks that run, and v1model's `digest` calls. A library without a package
//! shows everything. Order: block by block as the package names them, within a block by declaration; actions
//! declared outside of controls come before the local ones, by first use.

use std::collections::HashSet;

use super::arch::{Arch, Flavour};
use crate::ir::{
    Action, Annotated, Arg, Block, Callee, Control, Expr, ExprKind, ForIn, Function, Handle,
    KeySet, Package, PackageArg, Parser, Program, State, StmtKind, Table, Transition, Type,
    ValueSet,
};

/// The parts of a program that P4Info shows.
#[derive(Debug, Default)]
pub(super) struct Reachable {
    pub tables: Vec<Handle<Table>>,
    /// One per control-plane name: the first in order.
    pub actions: Vec<Handle<Action>>,
    /// Names of the actions that stand in some table's list; those that are only called have no action data.
    pub in_tables: HashSet<String>,
    pub value_sets: Vec<Handle<ValueSet>>,
    /// Types of `digest` calls with the name that P4Info gives each, first call first (v1model).
    pub digests: Vec<(String, Handle<Type>)>,
    /// Whether any extern function is called (its presence alone makes p4c emit `type_info`).
    pub extern_calls: bool,
}

impl Reachable {
    pub fn of(program: &Program, arch: &Arch) -> Self {
        let mut found = Self::default();
        match &program.package {
            Some(package) => found.package(program, package),
            None => {
                found.tables = program.tables.iter().map(|(h, _)| h).collect();
                let tables = found.tables.clone();
                found.actions_of(program, &tables, &[]);
                found.value_sets = program.value_sets.iter().map(|(h, _)| h).collect();
            }
        }
        if arch.flavour != Flavour::V1Model {
            found.digests.clear();
            found.extern_calls = false;
        }
        found
    }

    fn package(&mut self, program: &Program, package: &Package) {
        for (_, arg) in &package.args {
            match arg {
                PackageArg::Control(control) => self.control(program, *control),
                PackageArg::Parser(parser) => self.parser(program, *parser),
                PackageArg::Package(inner) => self.package(program, inner),
                PackageArg::Extern(_) | PackageArg::Const(_) | PackageArg::Absent => {}
            }
        }
    }

    fn control(&mut self, program: &Program, control: Handle<Control>) {
        let mut walk = Walk::new(program);
        walk.control(control);
        let mut tables = walk.tables.clone();
        tables.sort();
        tables.retain(|t| !self.tables.contains(t));
        self.actions_of(program, &tables, &walk.called);
        for &table in &tables {
            for action in &program.tables[table].actions {
                walk.action(action.action);
            }
        }
        walk.value_sets.sort();
        self.value_sets.extend(walk.value_sets);
        self.tables.extend(tables);
        self.extern_calls |= walk.extern_calls;
        for ty in walk.digests {
            self.digest(program, ty);
        }
    }

    fn parser(&mut self, program: &Program, parser: Handle<Parser>) {
        let mut walk = Walk::new(program);
        walk.parser(parser);
        walk.value_sets.sort();
        walk.value_sets.retain(|v| !self.value_sets.contains(v));
        self.value_sets.extend(walk.value_sets);
    }

    /// Adds the actions that one block's tables name or its body calls: global ones by first use, then local ones by
    /// declaration.
    fn actions_of(
        &mut self,
        program: &Program,
        tables: &[Handle<Table>],
        called: &[Handle<Action>],
    ) {
        let of_tables = tables
            .iter()
            .flat_map(|&t| &program.tables[t].actions)
            .map(|r| r.action);
        self.in_tables.extend(
            of_tables
                .clone()
                .map(|action| program.actions[action].name.control_plane.clone()),
        );
        let (mut ordered, mut local): (Vec<_>, Vec<_>) = of_tables
            .chain(called.iter().copied())
            .partition(|&action| is_global(program, action));
        local.sort();
        ordered.extend(local);
        for action in ordered {
            let name = &program.actions[action].name.control_plane;
            if !self
                .actions
                .iter()
                .any(|&a| program.actions[a].name.control_plane == *name)
            {
                self.actions.push(action);
            }
        }
    }

    /// A digest is named after its type; types without a name are numbered.
    fn digest(&mut self, program: &Program, ty: Handle<Type>) {
        let name = match &program.types[ty] {
            Type::Struct(fields) | Type::Header(fields) | Type::Union(fields) => fields
                .annotations
                .annotation_string("name")
                .unwrap_or_else(|| fields.name.clone()),
            Type::New(new) => new.name.clone(),
            _ => {
                let unnamed = self
                    .digests
                    .iter()
                    .filter(|(name, _)| name.starts_with("digest_"))
                    .count();
                format!("digest_{unnamed}")
            }
        };
        if !self.digests.iter().any(|(known, _)| *known == name) {
            self.digests.push((name, ty));
        }
    }
}

/// Whether an action is declared outside of any control.
fn is_global(program: &Program, action: Handle<Action>) -> bool {
    let action = &program.actions[action];
    let renamed = action
        .annotations
        .annotation_string("name")
        .is_some_and(|name| name.starts_with('.'));
    !renamed && !action.name.control_plane.contains('.')
}

/// Follows every call from a block and notes what it meets.
struct Walk<'a> {
    program: &'a Program,
    tables: Vec<Handle<Table>>,
    value_sets: Vec<Handle<ValueSet>>,
    digests: Vec<Handle<Type>>,
    extern_calls: bool,
    /// Actions that a control's body calls itself; actions called by actions are inlined there.
    called: Vec<Handle<Action>>,
    in_action: bool,
    controls: HashSet<Handle<Control>>,
    parsers: HashSet<Handle<Parser>>,
    actions: HashSet<Handle<Action>>,
    functions: HashSet<Handle<Function>>,
}

impl<'a> Walk<'a> {
    fn new(program: &'a Program) -> Self {
        Self {
            program,
            tables: Vec::new(),
            value_sets: Vec::new(),
            digests: Vec::new(),
            extern_calls: false,
            called: Vec::new(),
            in_action: false,
            controls: HashSet::new(),
            parsers: HashSet::new(),
            actions: HashSet::new(),
            functions: HashSet::new(),
        }
    }

    fn control(&mut self, control: Handle<Control>) {
        if self.controls.insert(control) {
            let control = &self.program.controls[control];
            self.block(&control.locals);
            self.block(&control.body);
        }
    }

    fn parser(&mut self, parser: Handle<Parser>) {
        if self.parsers.insert(parser) {
            let parser = &self.program.parsers[parser];
            self.block(&parser.locals);
            for state in &parser.states {
                self.state(state);
            }
        }
    }

    fn state(&mut self, state: &State) {
        self.block(&state.body);
        let Transition::Select { subjects, cases } = &state.transition else {
            return;
        };
        for &subject in subjects {
            self.expr(subject);
        }
        for set in cases.iter().flat_map(|(sets, _)| sets) {
            if let KeySet::ValueSet(set) = set
                && !self.value_sets.contains(set)
            {
                self.value_sets.push(*set);
            }
        }
    }

    fn action(&mut self, action: Handle<Action>) {
        if self.actions.insert(action) {
            let outer = std::mem::replace(&mut self.in_action, true);
            self.block(&self.program.actions[action].body);
            self.in_action = outer;
        }
    }

    fn table(&mut self, table: Handle<Table>) {
        if self.tables.contains(&table) {
            return;
        }
        self.tables.push(table);
        for key in &self.program.tables[table].keys {
            self.expr(key.expr);
        }
    }

    fn block(&mut self, block: &Block) {
        for stmt in &block.stmts {
            self.stmt(&stmt.kind);
        }
    }

    fn stmt(&mut self, stmt: &StmtKind) {
        match stmt {
            StmtKind::Assign { place, value } => self.exprs(&[*place, *value]),
            StmtKind::Eval(expr) => self.expr(*expr),
            StmtKind::Init { init, .. } => self.exprs(init.as_slice()),
            StmtKind::If {
                cond,
                then,
                otherwise,
            } => self.conditional(*cond, then, otherwise),
            StmtKind::SwitchAction {
                apply,
                cases,
                default,
            } => {
                self.expr(*apply);
                cases.iter().for_each(|case| self.block(&case.body));
                self.block(default);
            }
            StmtKind::Switch {
                subject,
                cases,
                default,
            } => {
                self.expr(*subject);
                cases.iter().for_each(|case| self.block(&case.body));
                self.block(default);
            }
            StmtKind::For {
                init,
                cond,
                update,
                body,
            } => {
                self.block(init);
                self.expr(*cond);
                self.block(update);
                self.block(body);
            }
            StmtKind::ForIn { over, body, .. } => {
                match over {
                    ForIn::Range(low, high) => self.exprs(&[*low, *high]),
                    ForIn::Items(items) => self.expr(*items),
                }
                self.block(body);
            }
            StmtKind::Return(value) => self.exprs(value.as_slice()),
            StmtKind::Block(block) => self.block(block),
            StmtKind::Break | StmtKind::Continue | StmtKind::Exit => {}
        }
    }

    /// A side that a constant condition excludes does not count.
    fn conditional(&mut self, cond: Handle<Expr>, then: &Block, otherwise: &Block) {
        self.expr(cond);
        let constant = match &self.program.exprs[cond].kind {
            ExprKind::Const(crate::ir::Const::Bool(value)) => Some(*value),
            _ => None,
        };
        if constant != Some(false) {
            self.block(then);
        }
        if constant != Some(true) {
            self.block(otherwise);
        }
    }

    fn exprs(&mut self, exprs: &[Handle<Expr>]) {
        exprs.iter().for_each(|&expr| self.expr(expr));
    }

    fn expr(&mut self, expr: Handle<Expr>) {
        match &self.program.exprs[expr].kind {
            ExprKind::Const(_) | ExprKind::Var(_) | ExprKind::InvalidHeader => {}
            ExprKind::Field(base, _)
            | ExprKind::Slice { base, .. }
            | ExprKind::StackNext(base)
            | ExprKind::StackLast(base)
            | ExprKind::StackLastIndex(base)
            | ExprKind::Unary(_, base)
            | ExprKind::Cast(base) => self.expr(*base),
            ExprKind::Index(a, b) | ExprKind::Binary(_, a, b) => self.exprs(&[*a, *b]),
            ExprKind::Mux(a, b, c) => self.exprs(&[*a, *b, *c]),
            ExprKind::Struct(items) => self.exprs(items),
            ExprKind::Call {
                callee,
                type_args,
                args,
            } => self.call(callee, type_args, args),
        }
    }

    fn call(&mut self, callee: &Callee, type_args: &[Handle<Type>], args: &[Arg]) {
        for arg in args {
            if let Arg::In(expr) | Arg::Place(expr) = arg {
                self.expr(*expr);
            }
        }
        match callee {
            Callee::Table(table) => self.table(*table),
            Callee::Control(control) => self.control(*control),
            Callee::Parser(parser) => self.parser(*parser),
            Callee::Action(action) => {
                if !self.in_action {
                    self.called.push(*action);
                }
                self.action(*action);
            }
            Callee::Function(function) => {
                if self.functions.insert(*function) {
                    self.block(&self.program.functions[*function].body);
                }
            }
            Callee::Extern(name) => {
                self.extern_calls = true;
                if name == "digest" {
                    self.digests.extend(type_args.first());
                }
            }
            Callee::Method { .. } | Callee::Packet(_) | Callee::Header(_) => {}
        }
    }
}
