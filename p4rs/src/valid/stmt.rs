//! Bodies: statements, parser states, parameters.
//!
//! In: functions, actions, parsers, controls. Out: findings. Invariant checked: every handle is of this program,
//! conditions are boolean, assignments keep their type.

use super::Validator;
use crate::ir::{Block, Expr, ForIn, Handle, KeySet, Parser, StateRef, StmtKind, Transition, Type};
use crate::source::Span;

impl Validator<'_> {
    pub(super) fn bodies(&mut self) {
        let program = self.program;
        for (_, function) in program.functions.iter() {
            self.params_known(&function.params, Span::NONE);
            self.block(&function.body);
        }
        for (_, action) in program.actions.iter() {
            self.params_known(&action.params, action.span);
            self.block(&action.body);
        }
        for (_, control) in program.controls.iter() {
            self.params_known(&control.params, Span::NONE);
            self.block(&control.locals);
            self.block(&control.body);
        }
        for (_, parser) in program.parsers.iter() {
            self.params_known(&parser.params, Span::NONE);
            self.block(&parser.locals);
            self.states(parser);
        }
    }

    fn states(&mut self, parser: &Parser) {
        if parser.start >= parser.states.len() {
            self.broken(Span::NONE, "a parser without a start state");
        }
        for state in &parser.states {
            self.block(&state.body);
            match &state.transition {
                Transition::To(target) => self.state_ref(parser, *target, state.span),
                Transition::Select { subjects, cases } => {
                    self.known_exprs(subjects, state.span);
                    for (keys, target) in cases {
                        self.state_ref(parser, *target, state.span);
                        for key in keys {
                            self.key_set(key, state.span);
                        }
                        let whole = matches!(keys.as_slice(), [KeySet::Any | KeySet::ValueSet(_)]);
                        if !whole && keys.len() != subjects.len() {
                            self.broken(state.span, "a select case with the wrong number of keys");
                        }
                    }
                }
            }
        }
    }

    fn state_ref(&mut self, parser: &Parser, target: StateRef, span: Span) {
        if let StateRef::State(index) = target
            && index >= parser.states.len()
        {
            self.broken(span, "a transition to a state that is not there");
        }
    }

    fn key_set(&mut self, key: &KeySet, span: Span) {
        match key {
            KeySet::Value(value) => {
                self.known_exprs(&[*value], span);
            }
            KeySet::Mask(a, b) | KeySet::Range(a, b) => {
                self.known_exprs(&[*a, *b], span);
            }
            KeySet::Any => {}
            KeySet::ValueSet(set) => {
                if !Self::has(&self.program.value_sets, *set) {
                    self.broken(span, "a value set that is not there");
                }
            }
        }
    }

    fn known_exprs(&mut self, exprs: &[Handle<Expr>], span: Span) -> bool {
        let sound = exprs
            .iter()
            .all(|expr| Self::has(&self.program.exprs, *expr));
        if !sound {
            self.broken(span, "a statement names an expression that is not there");
        }
        sound
    }

    fn block(&mut self, block: &Block) {
        for stmt in &block.stmts {
            self.stmt(&stmt.kind, stmt.span);
        }
    }

    fn condition(&mut self, cond: Handle<Expr>, span: Span) {
        if self.known_exprs(&[cond], span)
            && !matches!(
                self.program.types[self.program.resolve(self.program.exprs[cond].ty)],
                Type::Bool
            )
        {
            self.broken(span, "a condition that is not boolean");
        }
    }

    fn stmt(&mut self, kind: &StmtKind, span: Span) {
        let program = self.program;
        match kind {
            StmtKind::Assign { place, value } => {
                if !self.known_exprs(&[*place, *value], span) {
                    return;
                }
                if !self.is_place(*place) {
                    self.broken(span, "an assignment to something that cannot be assigned");
                }
                if !self.same(program.exprs[*place].ty, program.exprs[*value].ty) {
                    self.broken(span, "an assignment of another type");
                }
            }
            StmtKind::Eval(call) => {
                self.known_exprs(&[*call], span);
            }
            StmtKind::Init { var, init } => self.init(*var, *init, span),
            StmtKind::If {
                cond,
                then,
                otherwise,
            } => {
                self.condition(*cond, span);
                self.block(then);
                self.block(otherwise);
            }
            StmtKind::SwitchAction {
                apply,
                cases,
                default,
            } => {
                self.known_exprs(&[*apply], span);
                for case in cases {
                    self.block(&case.body);
                }
                self.block(default);
            }
            StmtKind::Switch {
                subject,
                cases,
                default,
            } => {
                self.known_exprs(&[*subject], span);
                for case in cases {
                    self.known_exprs(&case.labels, span);
                    self.block(&case.body);
                }
                self.block(default);
            }
            StmtKind::For {
                init,
                cond,
                update,
                body,
            } => {
                self.condition(*cond, span);
                for part in [init, update, body] {
                    self.block(part);
                }
            }
            StmtKind::ForIn { var, over, body } => {
                let over = match over {
                    ForIn::Range(low, high) => vec![*low, *high],
                    ForIn::Items(items) => vec![*items],
                };
                self.known_exprs(&over, span);
                self.init(*var, None, span);
                self.block(body);
            }
            StmtKind::Return(Some(value)) => {
                self.known_exprs(&[*value], span);
            }
            StmtKind::Return(None) | StmtKind::Break | StmtKind::Continue | StmtKind::Exit => {}
            StmtKind::Block(block) => self.block(block),
        }
    }

    fn init(&mut self, var: Handle<crate::ir::Var>, init: Option<Handle<Expr>>, span: Span) {
        if !Self::has(&self.program.vars, var) {
            return self.broken(span, "a declaration of a variable that is not there");
        }
        if let Some(init) = init
            && self.known_exprs(&[init], span)
            && !self.same(self.program.vars[var].ty, self.program.exprs[init].ty)
        {
            self.broken(span, "a variable with a first value of another type");
        }
    }
}
