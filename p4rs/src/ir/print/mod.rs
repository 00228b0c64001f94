//! The IR as text, for `p4rs ir` and for tests.
//!
//! In: a program. Out: a text that names instances by their control-plane names and variables by name and number.
//! Invariant: the same program always prints the same text.

mod expr;

use std::fmt::Write;

use crate::ir::arena::Handle;
use crate::ir::{
    Action, ActionRef, ActionScope, Annotation, AnnotationBody, AnnotationValue, Block, Callee,
    Const, Control, Direction, Entry, EntryKey, Expr, ExprKind, ExternInstance, ForIn, Function,
    KeySet, PackageArg, Param, Parser, Program, PropertyValue, StateRef, Stmt, StmtKind, Table,
    Transition, Type, Var,
};

/// The whole program.
pub fn print(program: &Program) -> String {
    let mut printer = Printer {
        program,
        out: String::new(),
        indent: 0,
    };
    printer.program();
    printer.out
}

/// One type as it would be written in P4.
pub fn print_type(program: &Program, ty: Handle<Type>) -> String {
    Printer {
        program,
        out: String::new(),
        indent: 0,
    }
    .ty(ty)
}

/// One expression, close to how it would be written in P4.
pub fn print_expr(program: &Program, expr: Handle<Expr>) -> String {
    Printer {
        program,
        out: String::new(),
        indent: 0,
    }
    .expr(expr)
}

struct Printer<'p> {
    program: &'p Program,
    out: String,
    indent: usize,
}

impl Printer<'_> {
    fn line(&mut self, text: impl AsRef<str>) {
        for _ in 0..self.indent {
            self.out.push_str("  ");
        }
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    fn nested(&mut self, head: impl AsRef<str>, work: impl FnOnce(&mut Self)) {
        self.line(format!("{} {{", head.as_ref()));
        self.indent += 1;
        work(self);
        self.indent -= 1;
        self.line("}");
    }

    fn program(&mut self) {
        let program = self.program;
        for (_, ty) in program.types.iter() {
            self.type_decl(ty);
        }
        for (_, instance) in program.externs.iter() {
            self.extern_instance(instance);
        }
        for (_, function) in program.functions.iter() {
            self.function(function);
        }
        for (_, action) in program.actions.iter() {
            self.action(action);
        }
        for (_, table) in program.tables.iter() {
            self.table(table);
        }
        for (_, set) in program.value_sets.iter() {
            let text = format!(
                "value_set<{}>({}) {};",
                self.ty(set.ty),
                set.size,
                set.name.control_plane
            );
            self.line(text);
        }
        for (_, parser) in program.parsers.iter() {
            self.parser(parser);
        }
        for (_, control) in program.controls.iter() {
            self.control(control);
        }
        if let Some(package) = &program.package {
            self.nested(format!("package {}", package.name), |p| {
                for (name, arg) in &package.args {
                    let text = p.package_arg(arg);
                    p.line(format!("{name} = {text};"));
                }
            });
        }
    }

    fn package_arg(&self, arg: &PackageArg) -> String {
        match arg {
            PackageArg::Parser(handle) => self.program.parsers[*handle].name.control_plane.clone(),
            PackageArg::Control(handle) => {
                self.program.controls[*handle].name.control_plane.clone()
            }
            PackageArg::Extern(handle) => self.program.externs[*handle].name.control_plane.clone(),
            PackageArg::Package(inner) => {
                let args: Vec<String> = inner
                    .args
                    .iter()
                    .map(|(name, arg)| format!("{name} = {}", self.package_arg(arg)))
                    .collect();
                format!("{}({})", inner.name, args.join(", "))
            }
            PackageArg::Const(value) => self.constant(value),
            PackageArg::Absent => "_".into(),
        }
    }

    fn type_decl(&mut self, ty: &Type) {
        let (word, fields) = match ty {
            Type::Struct(fields) if !fields.name.is_empty() => ("struct", fields),
            Type::Header(fields) => ("header", fields),
            Type::Union(fields) => ("header_union", fields),
            Type::Enum(e) => {
                return self.line(format!("enum {} {{ {} }}", e.name, e.members.join(", ")));
            }
            Type::SerEnum(e) => {
                let members: Vec<String> = e
                    .members
                    .iter()
                    .map(|(name, value)| format!("{name} = {value}"))
                    .collect();
                let text = format!(
                    "enum {} {} {{ {} }}",
                    self.ty(e.under),
                    e.name,
                    members.join(", ")
                );
                return self.line(text);
            }
            Type::New(new) => {
                let text = format!("type {} {};", self.ty(new.under), new.name);
                return self.line(text);
            }
            _ => return,
        };
        let head = format!("{}{word} {}", annotations(&fields.annotations), fields.name);
        self.nested(head, |p| {
            for field in &fields.fields {
                let text = format!(
                    "{}{} {};",
                    annotations(&field.annotations),
                    p.ty(field.ty),
                    field.name
                );
                p.line(text);
            }
        });
    }

    fn ty(&self, ty: Handle<Type>) -> String {
        match &self.program.types[ty] {
            Type::Void => "void".into(),
            Type::Bool => "bool".into(),
            Type::Bits {
                width,
                signed: false,
            } => format!("bit<{width}>"),
            Type::Bits {
                width,
                signed: true,
            } => format!("int<{width}>"),
            Type::Integer => "int".into(),
            Type::Varbit { max } => format!("varbit<{max}>"),
            Type::Error => "error".into(),
            Type::MatchKind => "match_kind".into(),
            Type::String => "string".into(),
            Type::Enum(e) => e.name.clone(),
            Type::SerEnum(e) => e.name.clone(),
            Type::New(new) => new.name.clone(),
            Type::Struct(fields) | Type::Header(fields) | Type::Union(fields) => {
                if fields.name.is_empty() {
                    "struct".into()
                } else {
                    fields.name.clone()
                }
            }
            Type::Stack { elem, size } => format!("{}[{size}]", self.ty(*elem)),
            Type::Tuple(items) => format!("tuple<{}>", self.types(items)),
            Type::List(item) => format!("list<{}>", self.ty(*item)),
            Type::Extern { name, args } if args.is_empty() => name.clone(),
            Type::Extern { name, args } => format!("{name}<{}>", self.types(args)),
            Type::ApplyResult => "apply_result".into(),
        }
    }

    fn types(&self, items: &[Handle<Type>]) -> String {
        items
            .iter()
            .map(|ty| self.ty(*ty))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn var(&self, var: Handle<Var>) -> String {
        format!("{}#{}", self.program.vars[var].name, var.index())
    }

    fn params(&self, params: &[Param]) -> String {
        let param = |param: &Param| {
            let direction = match param.direction {
                Direction::None => "",
                Direction::In => "in ",
                Direction::Out => "out ",
                Direction::InOut => "inout ",
            };
            let ty = self.ty(self.program.vars[param.var].ty);
            format!(
                "{}{direction}{ty} {}",
                annotations(&param.annotations),
                self.var(param.var)
            )
        };
        params.iter().map(param).collect::<Vec<_>>().join(", ")
    }

    fn extern_instance(&mut self, instance: &ExternInstance) {
        let args: Vec<String> = instance
            .args
            .iter()
            .map(|(name, value)| format!("{name} = {}", self.constant(value)))
            .collect();
        let types = if instance.type_args.is_empty() {
            String::new()
        } else {
            format!("<{}>", self.types(&instance.type_args))
        };
        let head = format!(
            "{}extern {}{types}({}) {}",
            annotations(&instance.annotations),
            instance.kind,
            args.join(", "),
            instance.name.control_plane
        );
        if instance.methods.is_empty() {
            return self.line(format!("{head};"));
        }
        self.nested(head, |p| {
            for (name, function) in &instance.methods {
                p.line(format!(
                    "{name} = {}#{};",
                    p.program.functions[*function].name,
                    function.index()
                ));
            }
        });
    }

    fn function(&mut self, function: &Function) {
        let head = format!(
            "function {} {}({})",
            self.ty(function.ret),
            function.name,
            self.params(&function.params)
        );
        self.nested(head, |p| p.block(&function.body));
    }

    fn action(&mut self, action: &Action) {
        let head = format!(
            "{}action {}({})",
            annotations(&action.annotations),
            action.name.control_plane,
            self.params(&action.params)
        );
        self.nested(head, |p| p.block(&action.body));
    }

    fn parser(&mut self, parser: &Parser) {
        let head = format!(
            "parser {}({})",
            parser.name.control_plane,
            self.params(&parser.params)
        );
        self.nested(head, |p| {
            p.block(&parser.locals);
            for state in &parser.states {
                p.nested(format!("state {}", state.name), |p| {
                    p.block(&state.body);
                    p.transition(parser, &state.transition);
                });
            }
        });
    }

    fn state_ref(&self, parser: &Parser, target: StateRef) -> String {
        match target {
            StateRef::Accept => "accept".into(),
            StateRef::Reject => "reject".into(),
            StateRef::State(index) => parser
                .states
                .get(index)
                .map_or("?".into(), |state| state.name.clone()),
        }
    }

    fn transition(&mut self, parser: &Parser, transition: &Transition) {
        match transition {
            Transition::To(target) => {
                let target = self.state_ref(parser, *target);
                self.line(format!("transition {target};"));
            }
            Transition::Select { subjects, cases } => {
                let head = format!("transition select({})", self.exprs(subjects));
                self.nested(head, |p| {
                    for (keys, target) in cases {
                        let keys: Vec<String> = keys.iter().map(|key| p.key_set(key)).collect();
                        let text =
                            format!("({}): {};", keys.join(", "), p.state_ref(parser, *target));
                        p.line(text);
                    }
                });
            }
        }
    }

    fn key_set(&self, key: &KeySet) -> String {
        match key {
            KeySet::Value(value) => self.expr(*value),
            KeySet::Mask(value, mask) => format!("{} &&& {}", self.expr(*value), self.expr(*mask)),
            KeySet::Range(low, high) => format!("{} .. {}", self.expr(*low), self.expr(*high)),
            KeySet::Any => "_".into(),
            KeySet::ValueSet(set) => self.program.value_sets[*set].name.control_plane.clone(),
        }
    }

    fn control(&mut self, control: &Control) {
        let head = format!(
            "control {}({})",
            control.name.control_plane,
            self.params(&control.params)
        );
        self.nested(head, |p| {
            p.block(&control.locals);
            p.nested("apply", |p| p.block(&control.body));
        });
    }

    fn table(&mut self, table: &Table) {
        let head = format!(
            "{}table {}",
            annotations(&table.annotations),
            table.name.control_plane
        );
        self.nested(head, |p| {
            for key in &table.keys {
                let text = format!(
                    "key {}: {} \"{}\";",
                    p.expr(key.expr),
                    key.match_kind,
                    key.name
                );
                p.line(text);
            }
            for action in &table.actions {
                let text = p.action_ref(action);
                p.line(format!("action {text};"));
            }
            let word = if table.const_default {
                "const default"
            } else {
                "default"
            };
            let text = p.action_call(
                table,
                table.default_action.action,
                &table.default_action.data,
            );
            p.line(format!("{word} {text};"));
            for entry in &table.entries {
                let text = p.entry(table, entry);
                p.line(format!("entry {text};"));
            }
            if let Some(size) = table.size {
                p.line(format!("size {size};"));
            }
            for property in &table.properties {
                let value = match &property.value {
                    PropertyValue::Const(value) => p.constant(value),
                    PropertyValue::Extern(instance) => {
                        p.program.externs[*instance].name.control_plane.clone()
                    }
                };
                p.line(format!("{} = {value};", property.name));
            }
        });
    }

    fn action_ref(&self, action: &ActionRef) -> String {
        let scope = match action.scope {
            ActionScope::TableAndDefault => "",
            ActionScope::TableOnly => "tableonly ",
            ActionScope::DefaultOnly => "defaultonly ",
        };
        format!(
            "{scope}{}({})",
            self.program.actions[action.action].name.control_plane,
            self.args(&action.args)
        )
    }

    fn action_call(&self, table: &Table, action: usize, data: &[Const]) -> String {
        let name = table
            .actions
            .get(action)
            .map(|a| self.program.actions[a.action].name.control_plane.as_str());
        let data: Vec<String> = data.iter().map(|value| self.constant(value)).collect();
        format!("{}({})", name.unwrap_or("?"), data.join(", "))
    }

    fn entry(&self, table: &Table, entry: &Entry) -> String {
        let keys: Vec<String> = entry
            .keys
            .iter()
            .map(|key| match key {
                EntryKey::Value(value) => self.constant(value),
                EntryKey::Mask(value, mask) => format!("{value:#x} &&& {mask:#x}"),
                EntryKey::Range(low, high) => format!("{low} .. {high}"),
                EntryKey::Any => "_".into(),
            })
            .collect();
        let priority = entry
            .priority
            .as_ref()
            .map(|p| format!("priority {p} "))
            .unwrap_or_default();
        let word = if entry.is_const { "const " } else { "" };
        let call = self.action_call(table, entry.action.action, &entry.action.data);
        format!("{word}{priority}({}): {call}", keys.join(", "))
    }

    fn block(&mut self, block: &Block) {
        for stmt in &block.stmts {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Assign { place, value } => {
                let text = format!("{} = {};", self.expr(*place), self.expr(*value));
                self.line(text);
            }
            StmtKind::Eval(call) => {
                let text = self.expr(*call);
                self.line(format!("{text};"));
            }
            StmtKind::Init { var, init } => {
                let ty = self.ty(self.program.vars[*var].ty);
                let init = init
                    .map(|init| format!(" = {}", self.expr(init)))
                    .unwrap_or_default();
                let text = format!("var {ty} {}{init};", self.var(*var));
                self.line(text);
            }
            StmtKind::If {
                cond,
                then,
                otherwise,
            } => {
                let head = format!("if {}", self.expr(*cond));
                self.nested(head, |p| p.block(then));
                if !otherwise.stmts.is_empty() {
                    self.nested("else", |p| p.block(otherwise));
                }
            }
            StmtKind::SwitchAction {
                apply,
                cases,
                default,
            } => {
                let head = format!("switch {}.action_run", self.expr(*apply));
                let actions = self.applied_actions(*apply);
                let label = |label: &usize| actions.get(*label).cloned().unwrap_or_default();
                let cases: Vec<(String, &Block)> = cases
                    .iter()
                    .map(|case| {
                        (
                            case.labels.iter().map(label).collect::<Vec<_>>().join(", "),
                            &case.body,
                        )
                    })
                    .collect();
                self.cases(head, cases, default);
            }
            StmtKind::Switch {
                subject,
                cases,
                default,
            } => {
                let head = format!("switch {}", self.expr(*subject));
                let cases = cases
                    .iter()
                    .map(|case| (self.exprs(&case.labels), &case.body))
                    .collect();
                self.cases(head, cases, default);
            }
            StmtKind::For {
                init,
                cond,
                update,
                body,
            } => {
                let head = format!("for {}", self.expr(*cond));
                self.nested(head, |p| {
                    p.nested("init", |p| p.block(init));
                    p.nested("update", |p| p.block(update));
                    p.nested("body", |p| p.block(body));
                });
            }
            StmtKind::ForIn { var, over, body } => {
                let over = match over {
                    ForIn::Range(low, high) => {
                        format!("{} .. {}", self.expr(*low), self.expr(*high))
                    }
                    ForIn::Items(items) => self.expr(*items),
                };
                let head = format!("for {} in {over}", self.var(*var));
                self.nested(head, |p| p.block(body));
            }
            StmtKind::Break => self.line("break;"),
            StmtKind::Continue => self.line("continue;"),
            StmtKind::Return(None) => self.line("return;"),
            StmtKind::Return(Some(value)) => {
                let text = format!("return {};", self.expr(*value));
                self.line(text);
            }
            StmtKind::Exit => self.line("exit;"),
            StmtKind::Block(block) => self.nested("block", |p| p.block(block)),
        }
    }

    fn applied_actions(&self, apply: Handle<Expr>) -> Vec<String> {
        match &self.program.exprs[apply].kind {
            ExprKind::Call {
                callee: Callee::Table(table),
                ..
            } => self.program.tables[*table]
                .actions
                .iter()
                .map(|action| {
                    self.program.actions[action.action]
                        .name
                        .control_plane
                        .clone()
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn cases(&mut self, head: String, cases: Vec<(String, &Block)>, default: &Block) {
        self.nested(head, |p| {
            for (labels, body) in cases {
                p.nested(format!("case {labels}"), |p| p.block(body));
            }
            if !default.stmts.is_empty() {
                p.nested("default", |p| p.block(default));
            }
        });
    }
}

fn annotations(list: &[Annotation]) -> String {
    let value = |value: &AnnotationValue| match value {
        AnnotationValue::String(text) => format!("{text:?}"),
        AnnotationValue::Int(number) => number.to_string(),
        AnnotationValue::Bool(b) => b.to_string(),
    };
    let mut text = String::new();
    for annotation in list {
        // Writing to a string cannot fail.
        let _ = write!(text, "@{}", annotation.name);
        match &annotation.body {
            AnnotationBody::Unstructured(body) if body.is_empty() => {}
            AnnotationBody::Unstructured(body) => {
                let _ = write!(text, "({body})");
            }
            AnnotationBody::Expressions(items) => {
                let _ = write!(
                    text,
                    "[{}]",
                    items.iter().map(value).collect::<Vec<_>>().join(", ")
                );
            }
            AnnotationBody::KeyValues(pairs) => {
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(key, v)| format!("{key}={}", value(v)))
                    .collect();
                let _ = write!(text, "[{}]", pairs.join(", "));
            }
        }
        text.push(' ');
    }
    text
}
