//! Key fields of tables and their control-plane names.
//!
//! In: key elements as written. Out: IR keys in the table under construction. Invariant: a key without `@name` is named as
//! the reference compiler names it (`frontends/p4/tableKeyNames.cpp`), so that P4Info is the same.

use std::sync::Arc;

use super::names::{Context, Entity, Found};
use super::table::Draft;
use super::ty::Ty;
use super::{Sema, code};
use crate::front::ast::{self, Expr, ExprKind as Ast, KeyElement};
use crate::ir::{self, Key};

impl<'a> Sema<'a> {
    /// Lowers one key field.
    pub(super) fn key(&mut self, key: &'a KeyElement, draft: &mut Draft<'a>) {
        let saved = std::mem::replace(&mut self.frame.context, Context::Apply);
        let value = self.expr(&key.expr, None);
        self.frame.context = saved;
        let ty = self.resolve(&value.ty);
        let kind = &key.match_kind;
        if !self.match_kinds.contains_key(&kind.text) {
            let mut known: Vec<String> = self
                .match_kinds
                .keys()
                .map(|kind| format!("`{kind}`"))
                .collect();
            known.sort();
            let help = format!("the architecture has {}", known.join(", "));
            self.err(
                code::KEY,
                kind.span,
                format!("there is no match kind `{kind}`"),
                &help,
            );
            draft.sound = false;
        }
        let under = self.strip(&ty);
        let scalar = matches!(
            under,
            Ty::Bits { .. } | Ty::Bool | Ty::Enum(_) | Ty::ErrorCode | Ty::Error | Ty::Param(_)
        );
        if !scalar {
            let message = format!("a key cannot have type `{}`", self.show(&ty));
            let help = if under == Ty::Integer {
                "give the number a width"
            } else {
                "match on its fields"
            };
            self.err(code::KEY, key.expr.span, message, help);
        }
        draft.sound &= scalar && !ty.is_error();
        let given = self.name_annotation(&key.annotations);
        let name = given.or_else(|| self.key_name(&key.expr));
        let name = match name {
            Some(name) => name,
            None => {
                if !ty.is_error() {
                    let help = "add `@name(\"...\")` after the match kind";
                    self.err(
                        code::KEY,
                        key.expr.span,
                        "this key has no name for the control plane",
                        help,
                    );
                }
                String::new()
            }
        };
        let annotations = self.annotations(&key.annotations);
        draft.keys.push(Key {
            expr: value.expr,
            match_kind: kind.to_string(),
            name,
            annotations,
        });
        draft.key_types.push(ty);
    }

    /// The name a key gets from its expression, as the reference compiler forms it; complex expressions have none.
    fn key_name(&mut self, expr: &'a Expr) -> Option<String> {
        match &expr.kind {
            Ast::Path(path) => {
                let dot = if path.absolute { "." } else { "" };
                match self.find_name(path) {
                    Some(Found::Local(Entity::Const { expr: value, .. })) => {
                        self.constant_name(value)
                    }
                    Some(Found::Global(ids)) => {
                        let id = *ids.last()?;
                        match self.global_entity(id, path.span)? {
                            Entity::Const { expr: value, .. } => self.constant_name(value),
                            _ => Some(format!("{dot}{}", path.name)),
                        }
                    }
                    _ => Some(format!("{dot}{}", path.name)),
                }
            }
            Ast::Int(literal) => Some(int_name(&literal.text, &literal.value)),
            Ast::Member { base, name } => {
                let field = self.external_field(base, &name.text);
                match field.strip_prefix('.') {
                    Some(absolute) => Some(absolute.to_string()),
                    None => Some(format!("{}.{field}", self.key_name(base)?)),
                }
            }
            Ast::Index { base, index } => Some(format!(
                "{}[{}]",
                self.key_name(base)?,
                self.key_name(index)?
            )),
            Ast::Slice { base, hi, lo } => {
                let (base, hi, lo) = (self.key_name(base)?, self.key_name(hi)?, self.key_name(lo)?);
                Some(format!("{base}[{hi}:{lo}]"))
            }
            Ast::Binary {
                op: ast::BinaryOp::BitAnd,
                lhs,
                rhs,
                ..
            } => Some(format!("{} & {}", self.key_name(lhs)?, self.key_name(rhs)?)),
            Ast::Call { callee, args, .. } if args.is_empty() => match &callee.kind {
                Ast::Member { base, name } if name.as_str() == "isValid" => {
                    Some(format!("{}.$valid$", self.key_name(base)?))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn constant_name(&self, value: ir::Handle<ir::Expr>) -> Option<String> {
        match self.const_value(value)? {
            ir::Const::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A field's control-plane name: its `@name`, if it has one.
    fn external_field(&mut self, base: &'a Expr, name: &Arc<str>) -> String {
        let value = self.expr(base, None);
        let ty = self.resolve(&value.ty);
        if matches!(ty, Ty::Fields(..)) {
            let infos = self.fields_of(&ty);
            if let Some(info) = infos.iter().find(|info| info.name == *name)
                && let Some(given) = self.name_annotation(&info.ast.annotations)
            {
                return given;
            }
        }
        name.to_string()
    }
}

/// An integer in a key's name: without width, in the base it was written in.
fn int_name(text: &str, value: &num_bigint::BigUint) -> String {
    let digits = text
        .rsplit_once(['w', 's'])
        .map_or(text, |(_, digits)| digits);
    match digits.get(..2) {
        Some("0x" | "0X") => format!("0x{value:x}"),
        Some("0b" | "0B") => format!("0b{value:b}"),
        Some("0o" | "0O") => format!("0o{value:o}"),
        _ => value.to_string(),
    }
}
