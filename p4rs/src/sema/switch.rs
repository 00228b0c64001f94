//! `switch` on the action a table ran, and on values.
//!
//! In: cases as written. Out: cases with fall-through merged. Invariant: labels are distinct; `default` is last.

use super::emit::Typed;
use super::ty::Ty;
use super::{Sema, code};
use crate::front::ast::{Expr, ExprKind as Ast, SwitchCase as AstCase};
use crate::ir::{self, Block, StmtKind, SwitchCase};
use crate::source::Span;

impl<'a> Sema<'a> {
    pub(super) fn switch(
        &mut self,
        subject: &'a Expr,
        cases: &'a [AstCase],
        span: Span,
    ) -> Option<StmtKind> {
        let value = self.expr(subject, None);
        self.check_default(cases);
        match self.resolve(&value.ty) {
            Ty::Error => {
                for body in cases.iter().filter_map(|case| case.body.as_ref()) {
                    self.block(body);
                }
                None
            }
            Ty::ActionRun(table) => {
                let mut seen = Vec::new();
                let label =
                    |sema: &mut Self, label: &'a Expr| sema.action_label(label, table, &mut seen);
                let (cases, default) = self.cases(cases, label)?;
                Some(StmtKind::SwitchAction {
                    apply: value.expr,
                    cases,
                    default,
                })
            }
            ty if self.switchable(&ty) => {
                let mut seen = Vec::new();
                let label =
                    |sema: &mut Self, label: &'a Expr| sema.value_label(label, &ty, &mut seen);
                let (cases, default) = self.cases(cases, label)?;
                let subject = self.settled_subject(value, &ty);
                Some(StmtKind::Switch {
                    subject: subject.expr,
                    cases,
                    default,
                })
            }
            ty => {
                let message = format!("`switch` is not defined on `{}`", self.show(&ty));
                self.err(
                    code::SWITCH,
                    span,
                    message,
                    "use integers, enumerations, errors or `table.apply().action_run`",
                );
                None
            }
        }
    }

    fn settled_subject(&mut self, value: Typed, ty: &Ty) -> Typed {
        Typed {
            ty: ty.clone(),
            ..value
        }
    }

    fn switchable(&mut self, ty: &Ty) -> bool {
        matches!(
            ty,
            Ty::Bits { .. }
                | Ty::Integer
                | Ty::Enum(_)
                | Ty::SerEnum(_)
                | Ty::ErrorCode
                | Ty::Bool
                | Ty::New(_)
        )
    }

    fn check_default(&mut self, cases: &'a [AstCase]) {
        for (index, case) in cases.iter().enumerate() {
            if matches!(case.label.kind, Ast::Default) && index + 1 != cases.len() {
                let message = "`default` must be the last case";
                self.err(code::SWITCH, case.label.span, message, "move it to the end");
            }
        }
    }

    /// Merges fall-through: each body with all labels that lead to it.
    fn cases<L>(
        &mut self,
        cases: &'a [AstCase],
        mut label: impl FnMut(&mut Self, &'a Expr) -> Option<L>,
    ) -> Option<(Vec<SwitchCase<L>>, Block)> {
        let mut result = Vec::new();
        let mut default = Block::default();
        let mut waiting = Vec::new();
        let mut sound = true;
        for case in cases {
            let is_default = matches!(case.label.kind, Ast::Default);
            if !is_default {
                match label(self, &case.label) {
                    Some(one) => waiting.push(one),
                    None => sound = false,
                }
            }
            let Some(body) = &case.body else { continue };
            let body = self.block(body);
            if is_default {
                // Labels that fall into `default` need no case of their own.
                waiting.clear();
                default = body;
            } else {
                result.push(SwitchCase {
                    labels: std::mem::take(&mut waiting),
                    body,
                });
            }
        }
        if !waiting.is_empty() {
            result.push(SwitchCase {
                labels: waiting,
                body: Block::default(),
            });
        }
        sound.then_some((result, default))
    }

    fn action_label(
        &mut self,
        label: &'a Expr,
        table: u32,
        seen: &mut Vec<(usize, Span)>,
    ) -> Option<usize> {
        let Ast::Path(path) = &label.kind else {
            self.err(
                code::SWITCH,
                label.span,
                "a label is the name of one of the table's actions",
                "",
            );
            return None;
        };
        let actions = &self.tables[table as usize].actions;
        let Some(index) = actions.iter().position(|name| *name == path.name.text) else {
            let known: Vec<String> = actions.iter().map(|name| format!("`{name}`")).collect();
            let help = format!("the table has {}", known.join(", "));
            self.err(
                code::SWITCH,
                label.span,
                format!("the table has no action `{}`", path.name),
                &help,
            );
            return None;
        };
        if let Some((_, earlier)) = seen.iter().find(|(other, _)| *other == index) {
            let earlier = *earlier;
            self.err_with(
                code::SWITCH,
                label.span,
                "this label stands twice",
                (earlier, "first here"),
                "",
            );
            return None;
        }
        seen.push((index, label.span));
        Some(index)
    }

    fn value_label(
        &mut self,
        label: &'a Expr,
        ty: &Ty,
        seen: &mut Vec<(ir::Const, Span)>,
    ) -> Option<ir::Handle<ir::Expr>> {
        let value = self.expr(label, Some(ty));
        if value.ty.is_error() {
            return None;
        }
        let target = if *ty == Ty::Integer {
            value.ty.clone()
        } else {
            ty.clone()
        };
        let value = self.convert(value, &target, label.span);
        if value.ty.is_error() {
            return None;
        }
        match self.const_value(value.expr) {
            Some(known) => {
                if let Some((_, earlier)) = seen.iter().find(|(other, _)| *other == known) {
                    let earlier = *earlier;
                    self.err_with(
                        code::SWITCH,
                        label.span,
                        "this label stands twice",
                        (earlier, "first here"),
                        "",
                    );
                    return None;
                }
                seen.push((known, label.span));
            }
            None if value.known => {}
            None => {
                self.err(
                    code::NOT_CONSTANT,
                    label.span,
                    "a label must be a compile-time constant",
                    "",
                );
                return None;
            }
        }
        Some(value.expr)
    }
}
