//! Parser states, transitions and value sets.
//!
//! In: states as written. Out: IR states by index. Invariant: states see each other whatever their order; `accept` and
//! `reject` are built in; a state without transition rejects.

use std::sync::Arc;

use num_traits::ToPrimitive;
use rustc_hash::FxHashMap;

use super::names::{Context, Entity};
use super::ty::Ty;
use super::{Sema, code};
use crate::front::ast::{self, Expr, Name, SelectCase, StructKind, TransitionKind};
use crate::ir::{self, State, StateRef, Transition};
use crate::source::Span;

type States = FxHashMap<Arc<str>, (usize, Span)>;

impl<'a> Sema<'a> {
    /// Lowers all states; the second result is the index of `start`.
    pub(super) fn states(&mut self, decl: &'a ast::ParserDecl) -> (Vec<State>, usize) {
        let mut known = States::default();
        for (index, state) in decl.states.iter().enumerate() {
            let name = &state.name;
            if matches!(name.as_str(), "accept" | "reject") {
                self.err(
                    code::STATE,
                    name.span,
                    format!("the state `{name}` is built in"),
                    "choose another name",
                );
            } else if let Some((_, earlier)) = known.get(&name.text) {
                let message = format!("state `{name}` is declared twice");
                self.err_with(
                    code::DUPLICATE,
                    name.span,
                    message,
                    (*earlier, "first here"),
                    "rename one of them",
                );
            } else {
                known.insert(name.text.clone(), (index, name.span));
            }
        }
        let start = match known.get("start") {
            Some((index, _)) => *index,
            None => {
                let message = format!("parser `{}` has no `start` state", decl.ty.name);
                self.err(code::STATE, decl.ty.name.span, message, "");
                0
            }
        };
        if self.checking() {
            self.check_ending(decl, &known, start);
        }
        self.frame.context = Context::State;
        let states = decl
            .states
            .iter()
            .map(|state| self.state(state, &known))
            .collect();
        (states, start)
    }

    /// Some path from `start` must lead to `accept` or `reject`.
    fn check_ending(&mut self, decl: &'a ast::ParserDecl, known: &States, start: usize) {
        let mut seen = vec![false; decl.states.len()];
        let mut waiting = vec![start];
        while let Some(index) = waiting.pop() {
            let Some(state) = decl.states.get(index) else {
                return;
            };
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let targets: Vec<&Name> = match state.transition.as_ref().map(|t| &t.kind) {
                None => return,
                Some(TransitionKind::Direct(name)) => vec![name],
                Some(TransitionKind::Select { cases, .. }) => {
                    cases.iter().map(|case| &case.target).collect()
                }
            };
            for name in targets {
                match known.get(&name.text) {
                    Some((next, _)) => waiting.push(*next),
                    None => return,
                }
            }
        }
        let message = format!(
            "parser `{}` never reaches `accept` or `reject`",
            decl.ty.name
        );
        self.err(code::STATE, decl.ty.name.span, message, "");
    }

    fn state(&mut self, state: &'a ast::ParserState, known: &States) -> State {
        self.scoped(|sema| {
            let body = sema.statements(&state.stmts);
            let transition = match &state.transition {
                None => Transition::To(StateRef::Reject),
                Some(transition) => match &transition.kind {
                    TransitionKind::Direct(name) => Transition::To(sema.state_ref(name, known)),
                    TransitionKind::Select { subjects, cases } => {
                        sema.select(subjects, cases, known)
                    }
                },
            };
            State {
                name: state.name.to_string(),
                body,
                transition,
                span: state.span,
            }
        })
    }

    fn state_ref(&mut self, name: &Name, known: &States) -> StateRef {
        match (name.as_str(), known.get(&name.text)) {
            ("accept", _) => StateRef::Accept,
            ("reject", _) => StateRef::Reject,
            (_, Some((index, _))) => StateRef::State(*index),
            _ => {
                self.err(
                    code::STATE,
                    name.span,
                    format!("there is no state `{name}`"),
                    "",
                );
                StateRef::Reject
            }
        }
    }

    fn select(
        &mut self,
        subjects: &'a [Expr],
        cases: &'a [SelectCase],
        known: &States,
    ) -> Transition {
        let mut lowered = Vec::with_capacity(subjects.len());
        let mut types = Vec::with_capacity(subjects.len());
        let mut groups = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let value = self.expr(subject, None);
            let ty = self.resolve(&value.ty);
            // A list or tuple among the subjects counts with its elements.
            match (&ty, self.parts(value.expr)) {
                (Ty::ListLit(items, false), parts) => {
                    groups.push(items.len());
                    types.extend(items.iter().cloned());
                    lowered.extend(parts);
                }
                _ => {
                    groups.push(1);
                    types.push(ty);
                    lowered.push(value.expr);
                }
            }
        }
        for (ty, subject) in types.iter().zip(subjects.iter().cycle()) {
            self.check_selectable(ty, subject.span);
        }
        let mut result = Vec::with_capacity(cases.len());
        for case in cases {
            let target = self.state_ref(&case.target, known);
            if let Some(keys) = self.keyset(&case.keyset, &types, &groups) {
                result.push((keys, target));
            }
        }
        Transition::Select {
            subjects: lowered,
            cases: result,
        }
    }

    fn check_selectable(&mut self, ty: &Ty, span: Span) {
        let fits = match ty {
            Ty::Error => true,
            Ty::Tuple(items) => {
                for item in items.iter() {
                    self.check_selectable(item, span);
                }
                true
            }
            _ => matches!(
                ty,
                Ty::Bits { .. } | Ty::SerEnum(_) | Ty::Bool | Ty::Enum(_) | Ty::Param(_)
            ),
        };
        if *ty == Ty::Integer {
            let help = "give the number a width, such as `8w1`";
            self.err(
                code::NOT_INFERRED,
                span,
                "the width of this number is not known",
                help,
            );
        } else if !fits {
            let message = format!("`select` is not defined on `{}`", self.show(ty));
            self.err(
                code::SELECT,
                span,
                message,
                "select on its fields, or cast it to `bit<>`",
            );
        }
    }

    /// Declares a value set.
    pub(super) fn value_set(&mut self, decl: &'a ast::ValueSetDecl) {
        let ty = self.type_of(&decl.element);
        let under = self.strip(&ty);
        let stored = matches!(
            under,
            Ty::Bits { .. } | Ty::Bool | Ty::Enum(_) | Ty::Tuple(_) | Ty::Param(_)
        ) || matches!(under, Ty::Fields(StructKind::Struct, ..) | Ty::Error);
        if !stored {
            let message = format!("a value set cannot hold `{}`", self.show(&ty));
            self.err(code::VALUE_SET, decl.element.span, message, "");
        }
        let size = match self.constant_int(&decl.size) {
            Some(size) => match size.to_u64() {
                Some(size) => size,
                None => {
                    self.err(
                        code::VALUE_SET,
                        decl.size.span,
                        format!("a value set cannot have {size} elements"),
                        "",
                    );
                    0
                }
            },
            None => 0,
        };
        let name = self.object_name(&decl.name.text, &decl.annotations);
        let annotations = self.annotations(&decl.annotations);
        let ir_ty = self.ir_type(&ty);
        let handle = self.ir.value_sets.push(ir::ValueSet {
            name,
            ty: ir_ty,
            size,
            annotations,
        });
        self.bind(&decl.name, Entity::ValueSet { handle, ty });
    }
}
