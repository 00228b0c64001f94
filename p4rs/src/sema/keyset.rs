//! Keysets of select cases.
//!
//! In: the elements of a case and the types that are selected on. Out: one [`KeySet`] per subject, or one that covers all.
//! Invariant: values, masks and bounds have the type of their subject.

use super::expr::Operand;
use super::ty::Ty;
use super::{Sema, code};
use crate::front::ast::{Expr, ExprKind as Ast, Keyset};
use crate::ir::KeySet;
use crate::source::Span;

impl<'a> Sema<'a> {
    pub(super) fn keyset(
        &mut self,
        keyset: &'a Keyset,
        types: &[Ty],
        groups: &[usize],
    ) -> Option<Vec<KeySet>> {
        let mut elements: Vec<&'a Expr> = Vec::new();
        flatten(&keyset.elements, groups, &mut elements);
        if let [only] = elements.as_slice() {
            let only: &'a Expr = only;
            if matches!(only.kind, Ast::Default | Ast::DontCare) {
                return Some(vec![KeySet::Any]);
            }
            if let Some(set) = self.value_set_key(only, types) {
                return set;
            }
            if types.len() > 1
                && let Some(keys) = self.tuple_key(only, types)
            {
                return keys;
            }
        }
        if elements.len() != types.len() {
            let message = format!(
                "{} values are selected on, this case has {}",
                types.len(),
                elements.len()
            );
            self.err(code::SELECT, keyset.span, message, "");
            return None;
        }
        let keys: Vec<Option<KeySet>> = elements
            .iter()
            .zip(types)
            .map(|(element, ty)| self.key_element(element, ty))
            .collect();
        keys.into_iter().collect()
    }

    /// The types of a structure's or tuple's parts, nested ones taken apart.
    fn flat_parts(&mut self, ty: &Ty) -> Vec<Ty> {
        let parts: Vec<Ty> = match self.resolve(ty) {
            ty @ Ty::Fields(..) => self
                .fields_of(&ty)
                .iter()
                .map(|field| field.ty.clone())
                .collect(),
            Ty::Tuple(items) => items.to_vec(),
            other => return vec![other],
        };
        parts
            .iter()
            .flat_map(|part| self.flat_parts(part))
            .collect()
    }

    /// A value set's name, if that is what stands there.
    fn value_set_key(&mut self, element: &'a Expr, types: &[Ty]) -> Option<Option<Vec<KeySet>>> {
        let Ast::Path(path) = &element.kind else {
            return None;
        };
        self.find_name(path)?;
        let Operand::ValueSet(handle, ty) = self.name(path) else {
            return None;
        };
        let ty = self.resolve(&ty);
        let parts = self.flat_parts(&ty);
        let fits = parts.len() == types.len()
            && parts.iter().zip(types).all(|(part, ty)| {
                let (a, b) = (self.strip(part), self.strip(ty));
                self.unify(&a, &b)
            });
        if !fits {
            let message = format!(
                "the value set holds `{}`, which is not what is selected on",
                self.show(&ty)
            );
            self.err(code::SELECT, element.span, message, "");
            return Some(None);
        }
        Some(Some(vec![KeySet::ValueSet(handle)]))
    }

    /// One tuple- or struct-valued expression for several subjects.
    fn tuple_key(&mut self, element: &'a Expr, types: &[Ty]) -> Option<Option<Vec<KeySet>>> {
        if !matches!(
            element.kind,
            Ast::Path(_) | Ast::List(_) | Ast::Member { .. } | Ast::Cast { .. }
        ) {
            return None;
        }
        let value = self.expr(element, None);
        let parts: Vec<Ty> = match self.resolve(&value.ty) {
            Ty::Error => return Some(None),
            Ty::Tuple(items) | Ty::ListLit(items, false) => items.to_vec(),
            ty @ Ty::Fields(..) => self
                .fields_of(&ty)
                .iter()
                .map(|field| field.ty.clone())
                .collect(),
            _ => return None,
        };
        if parts.len() != types.len() {
            return None;
        }
        let mut keys = Vec::with_capacity(parts.len());
        for (index, (part, ty)) in parts.iter().zip(types).enumerate() {
            let one = self.field(value.clone(), index, part.clone(), element.span);
            let one = self.convert(one, ty, element.span);
            if one.ty.is_error() {
                return Some(None);
            }
            keys.push(KeySet::Value(one.expr));
        }
        Some(Some(keys))
    }

    fn key_element(&mut self, element: &'a Expr, ty: &Ty) -> Option<KeySet> {
        let ty = self.resolve(ty);
        if ty.is_error() {
            return None;
        }
        match &element.kind {
            Ast::Default | Ast::DontCare => Some(KeySet::Any),
            Ast::Mask { value, mask } => {
                let under = self.set_type(&ty, element.span, "&&&")?;
                let value = self.key_value(value, &under)?;
                let mask = self.key_value(mask, &under)?;
                Some(KeySet::Mask(value, mask))
            }
            Ast::Range { lo, hi } => {
                let under = self.set_type(&ty, element.span, "..")?;
                let low = self.key_value(lo, &under)?;
                let high = self.key_value(hi, &under)?;
                Some(KeySet::Range(low, high))
            }
            Ast::Call { callee, .. } if !matches!(callee.kind, Ast::Member { .. }) => {
                self.err(
                    code::CALL_PLACE,
                    element.span,
                    "functions cannot be called in a keyset",
                    "",
                );
                None
            }
            _ => {
                let value = self.expr(element, Some(&ty));
                // The representation of an enumeration may stand for it.
                let value = match (&ty, self.resolve(&value.ty)) {
                    (Ty::SerEnum(_), Ty::Bits { .. } | Ty::Integer) => {
                        let under = self.strip_enum(&ty);
                        self.convert(value, &under, element.span)
                    }
                    _ => self.convert(value, &ty, element.span),
                };
                if value.ty.is_error() {
                    None
                } else {
                    Some(KeySet::Value(value.expr))
                }
            }
        }
    }

    /// The type of masks and ranges over a subject: integers only.
    pub(super) fn set_type(&mut self, ty: &Ty, span: Span, op: &str) -> Option<Ty> {
        let under = self.strip(ty);
        if !matches!(under, Ty::Bits { .. }) {
            if !under.is_error() {
                let message = format!("`{op}` is not defined on `{}`", self.show(ty));
                self.err(code::OPERAND, span, message, "");
            }
            return None;
        }
        Some(under)
    }

    fn key_value(
        &mut self,
        element: &'a Expr,
        ty: &Ty,
    ) -> Option<crate::ir::Handle<crate::ir::Expr>> {
        let value = self.expr_as(element, ty);
        if value.ty.is_error() {
            return None;
        }
        if !value.known {
            self.err(
                code::NOT_CONSTANT,
                element.span,
                "masks and bounds must be compile-time constants",
                "",
            );
            return None;
        }
        Some(value.expr)
    }
}

/// The elements of a keyset, one per subject: a list stands for as many as its subject list has, and so do `_` and
/// `default`.
fn flatten<'a>(elements: &'a [Expr], groups: &[usize], into: &mut Vec<&'a Expr>) {
    for (index, element) in elements.iter().enumerate() {
        let group = if elements.len() == groups.len() {
            groups[index]
        } else {
            1
        };
        match &element.kind {
            Ast::List(items) if group > 1 && items.len() == group => into.extend(items),
            Ast::Default | Ast::DontCare if elements.len() > 1 => {
                into.extend(std::iter::repeat_n(element, group))
            }
            _ => into.push(element),
        }
    }
}
