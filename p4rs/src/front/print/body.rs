//! Printing of parsers, controls and statements.
//!
//! In: [`ParserDecl`], [`ControlDecl`], [`Stmt`]. Out: text in the printer.

use super::super::ast::{
    Block, ControlDecl, ExprKind, ParserDecl, ParserState, Stmt, StmtKind, SwitchCase,
    TransitionKind,
};
use super::Printer;

impl Printer {
    pub(super) fn parser(&mut self, decl: &ParserDecl) {
        self.apply_type("parser", &decl.ty, "");
        if !decl.constructor_params.is_empty() {
            self.params(&decl.constructor_params);
        }
        self.put(" {");
        self.indent += 1;
        for local in &decl.locals {
            self.line();
            self.decl(local);
        }
        for state in &decl.states {
            self.line();
            self.state(state);
        }
        self.indent -= 1;
        self.line();
        self.put("}");
    }

    fn state(&mut self, state: &ParserState) {
        self.annotations(&state.annotations);
        self.fmt(format_args!("state {} {{", state.name));
        self.indent += 1;
        for stmt in &state.stmts {
            self.line();
            self.stmt(stmt);
        }
        if let Some(transition) = &state.transition {
            self.line();
            match &transition.kind {
                TransitionKind::Direct(name) => self.fmt(format_args!("transition {name};")),
                TransitionKind::Select { subjects, cases } => {
                    self.put("transition select(");
                    self.commas(subjects, Self::expr);
                    self.put(") ");
                    self.braces(cases, |this, case| {
                        this.keyset(&case.keyset);
                        this.fmt(format_args!(" : {};", case.target));
                    });
                }
            }
        }
        self.indent -= 1;
        self.line();
        self.put("}");
    }

    pub(super) fn control(&mut self, decl: &ControlDecl) {
        self.apply_type("control", &decl.ty, "");
        if !decl.constructor_params.is_empty() {
            self.params(&decl.constructor_params);
        }
        self.put(" {");
        self.indent += 1;
        for local in &decl.locals {
            self.line();
            self.decl(local);
        }
        self.line();
        self.put("apply ");
        self.block(&decl.body);
        self.indent -= 1;
        self.line();
        self.put("}");
    }

    pub(super) fn block(&mut self, block: &Block) {
        self.annotations(&block.annotations);
        self.braces(&block.stmts, Self::stmt);
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Empty => self.put(";"),
            StmtKind::Assign { .. } | StmtKind::Call(_) => self.simple(stmt, ";"),
            StmtKind::If {
                cond,
                then,
                otherwise,
            } => {
                self.put("if (");
                self.expr(cond);
                self.put(") ");
                // An `else` belongs to the nearest `if`: braces would be a block that the tree does not have, but the
                // parser has never built such a tree without them.
                self.stmt(then);
                if let Some(otherwise) = otherwise {
                    self.put(" else ");
                    self.stmt(otherwise);
                }
            }
            StmtKind::Block(block) => self.block(block),
            StmtKind::Return(None) => self.put("return;"),
            StmtKind::Return(Some(value)) => {
                self.put("return ");
                self.expr(value);
                self.put(";");
            }
            StmtKind::Exit => self.put("exit;"),
            StmtKind::Break => self.put("break;"),
            StmtKind::Continue => self.put("continue;"),
            StmtKind::Switch { subject, cases } => {
                self.put("switch (");
                self.expr(subject);
                self.put(") ");
                self.braces(cases, Self::switch_case);
            }
            StmtKind::For {
                annotations,
                init,
                cond,
                update,
                body,
            } => {
                self.annotations(annotations);
                self.put("for (");
                self.commas(init, |this, stmt| this.simple(stmt, ""));
                self.put("; ");
                self.expr(cond);
                self.put("; ");
                self.commas(update, |this, stmt| this.simple(stmt, ""));
                self.put(") ");
                self.stmt(body);
            }
            StmtKind::ForIn {
                annotations,
                variable,
                collection,
                body,
            } => {
                self.annotations(annotations);
                self.put("for (");
                self.variable(variable, " in ");
                self.expr(collection);
                self.put(") ");
                self.stmt(body);
            }
            StmtKind::Variable(_) => self.simple(stmt, ";"),
            StmtKind::Const(decl) => self.const_decl(decl),
            StmtKind::Instance(decl) => self.instance(decl),
        }
    }

    /// What can stand in the head of a `for`, and after it `end`.
    fn simple(&mut self, stmt: &Stmt, end: &str) {
        match &stmt.kind {
            StmtKind::Assign {
                target, op, value, ..
            } => {
                self.expr(target);
                self.fmt(format_args!(" {}= ", op.map_or("", |op| op.text())));
                self.expr(value);
            }
            StmtKind::Call(call) => self.expr(call),
            StmtKind::Variable(decl) => self.variable(decl, ""),
            _ => {}
        }
        self.put(end);
    }

    fn switch_case(&mut self, case: &SwitchCase) {
        match case.label.kind {
            ExprKind::Default => self.put("default"),
            _ => self.expr(&case.label),
        }
        self.put(":");
        if let Some(body) = &case.body {
            self.put(" ");
            self.block(body);
        }
    }
}
