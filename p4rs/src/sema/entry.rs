//! Entries written in a table.
//!
//! In: keysets, actions and priorities. Out: IR entries. Invariant: each key of an entry suits its match kind; masks and
//! bounds are patterns of the key's width.

use num_bigint::{BigInt, Sign};
use num_traits::{One, Zero};

use super::consteval::pattern;
use super::table::Draft;
use super::ty::Ty;
use super::{Sema, code};
use crate::front::ast::{self, Expr, ExprKind as Ast, TableProperty};
use crate::ir::{ActionCall, ActionScope, Annotated as _, Const, Entry, EntryKey};
use crate::source::Span;

impl<'a> Sema<'a> {
    pub(super) fn entries(
        &mut self,
        entries: &'a [ast::Entry],
        property: &'a TableProperty,
        decl: &'a ast::TableDecl,
        draft: &Draft<'a>,
    ) -> Vec<Entry> {
        if draft.keys.is_empty() {
            if !entries.is_empty() {
                self.err(
                    code::ENTRY,
                    property.span,
                    "a table without keys cannot have entries",
                    "",
                );
            }
            return Vec::new();
        }
        if !draft.sound {
            return Vec::new();
        }
        self.check_priorities(entries, property, decl, draft);
        entries
            .iter()
            .filter_map(|entry| self.entry(entry, property.is_const, draft))
            .collect()
    }

    fn check_priorities(
        &mut self,
        entries: &'a [ast::Entry],
        property: &TableProperty,
        decl: &'a ast::TableDecl,
        draft: &Draft<'a>,
    ) {
        let with = entries.iter().find(|entry| entry.priority.is_some());
        if let Some(entry) = with {
            let ordered = draft
                .keys
                .iter()
                .any(|key| !matches!(&*key.match_kind, "exact" | "lpm"));
            if property.is_const {
                let message = "`const` entries have no priorities: they match in order";
                self.err(
                    code::ENTRY,
                    entry.span,
                    message,
                    "remove the priority or the table's `const`",
                );
            } else if !ordered {
                let message = "the keys of this table need no priorities";
                self.err(code::ENTRY, entry.span, message, "remove them");
            } else if entries
                .first()
                .is_some_and(|first| first.priority.is_none())
            {
                let message = "the first entry must have a priority when others have";
                self.err(code::ENTRY, entries[0].span, message, "");
            }
        }
        let ordered = draft
            .keys
            .iter()
            .any(|key| !matches!(&*key.match_kind, "exact" | "lpm"));
        if ordered && !property.is_const {
            self.check_overflow(entries, decl);
        }
    }

    /// Priorities left out count on from the last one given; they must stay in range.
    fn check_overflow(&mut self, entries: &'a [ast::Entry], decl: &'a ast::TableDecl) {
        let mut value = |name: &str| match decl
            .properties
            .iter()
            .find(|p| p.name.as_str() == name)
            .map(|p| &p.value)
        {
            Some(ast::PropertyValue::Expr(written)) => Some(self.expr(written, None).expr),
            _ => None,
        };
        let (largest, delta) = (value("largest_priority_wins"), value("priority_delta"));
        let largest = largest.and_then(|expr| self.const_value(expr)) != Some(Const::Bool(false));
        let delta = match delta.and_then(|expr| self.const_value(expr)) {
            Some(Const::Int(delta)) => delta,
            _ => BigInt::one(),
        };
        let step = if largest { -&delta } else { delta.clone() };
        let mut current = if largest {
            BigInt::from(entries.len()) * &delta
        } else {
            BigInt::one()
        };
        for entry in entries {
            if let Some(written) = &entry.priority {
                let Some(given) = self.constant_int(written) else {
                    return;
                };
                current = given;
            }
            if current.sign() == Sign::Minus || current.bits() > 32 {
                let help = "give this entry a priority, or use a smaller `priority_delta`";
                self.err(
                    code::ENTRY,
                    entry.span,
                    "the priority of this entry is out of range",
                    help,
                );
                return;
            }
            current += &step;
        }
    }

    fn entry(
        &mut self,
        entry: &'a ast::Entry,
        all_const: bool,
        draft: &Draft<'a>,
    ) -> Option<Entry> {
        let keys = self.entry_keys(&entry.keyset, draft);
        let call = self.entry_action(&entry.action, draft);
        let priority = self.entry_priority(entry);
        let annotations = self.annotations(&entry.annotations);
        Some(Entry {
            keys: keys?,
            action: call?,
            priority: priority?,
            is_const: all_const || entry.is_const,
            annotations,
            span: entry.span,
        })
    }

    fn entry_action(
        &mut self,
        action: &'a ast::ActionRef,
        draft: &Draft<'a>,
    ) -> Option<ActionCall> {
        let index = self.listed(&action.path, draft)?;
        if draft.refs[index].scope == ActionScope::DefaultOnly {
            let message = format!(
                "`{}` is `@defaultonly`, entries cannot use it",
                action.path.name
            );
            self.err(code::TABLE_ACTION, action.span, message, "");
            return None;
        }
        let data = self.action_data(
            index,
            action.args.as_deref().unwrap_or_default(),
            draft,
            action.span,
        )?;
        Some(ActionCall {
            action: index,
            data,
        })
    }

    fn entry_priority(&mut self, entry: &'a ast::Entry) -> Option<Option<BigInt>> {
        let given = match &entry.priority {
            Some(written) => {
                let value = self.constant_int(written)?;
                if value.sign() == Sign::Minus || value.bits() > 32 {
                    self.err(
                        code::ENTRY,
                        written.span,
                        format!("{value} is not a priority"),
                        "",
                    );
                    return None;
                }
                Some(value)
            }
            None => self
                .annotations(&entry.annotations)
                .annotation_int("priority"),
        };
        Some(given)
    }

    fn entry_keys(&mut self, keyset: &'a ast::Keyset, draft: &Draft<'a>) -> Option<Vec<EntryKey>> {
        let mut elements: Vec<&'a Expr> = keyset.elements.iter().collect();
        if let [only] = keyset.elements.as_slice()
            && let Ast::List(items) = &only.kind
            && items.len() == draft.keys.len()
        {
            elements = items.iter().collect();
        }
        let covers_all = matches!(elements.as_slice(), [only] if matches!(only.kind, Ast::Default | Ast::DontCare));
        if covers_all && draft.keys.len() > 1 {
            elements = vec![elements[0]; draft.keys.len()];
        }
        if elements.len() != draft.keys.len() {
            let message = format!(
                "the table has {} keys, this entry {}",
                draft.keys.len(),
                elements.len()
            );
            self.err(code::ENTRY, keyset.span, message, "");
            return None;
        }
        let keys: Vec<Option<EntryKey>> = elements
            .iter()
            .enumerate()
            .map(|(index, element)| {
                let kind = draft.keys[index].match_kind.clone();
                self.entry_key(element, &draft.key_types[index], &kind)
            })
            .collect();
        keys.into_iter().collect()
    }

    fn entry_key(&mut self, element: &'a Expr, ty: &Ty, kind: &str) -> Option<EntryKey> {
        match &element.kind {
            Ast::Default | Ast::DontCare => Some(EntryKey::Any),
            Ast::Mask { value, mask } => {
                let (under, width) = self.integer_key(ty, element.span, "&&&")?;
                let value = pattern(&self.entry_int(value, &under)?, width);
                let mask = pattern(&self.entry_int(mask, &under)?, width);
                if kind == "lpm" && !is_prefix(&mask, width) {
                    let message = "the mask of an `lpm` key is a run of ones from the top";
                    self.err(code::ENTRY, element.span, message, "");
                    return None;
                }
                Some(EntryKey::Mask(value, mask))
            }
            Ast::Range { lo, hi } => {
                let (under, _) = self.integer_key(ty, element.span, "..")?;
                let low = self.entry_int(lo, &under)?;
                let high = self.entry_int(hi, &under)?;
                if low > high {
                    self.err(
                        code::ENTRY,
                        element.span,
                        format!("the range {low}..{high} is empty"),
                        "",
                    );
                    return None;
                }
                Some(EntryKey::Range(low, high))
            }
            _ => {
                let value = self.entry_value(element, ty)?;
                Some(EntryKey::Value(value))
            }
        }
    }

    fn integer_key(&mut self, ty: &Ty, span: Span, op: &str) -> Option<(Ty, u32)> {
        let under = self.set_type(ty, span, op)?;
        match under {
            Ty::Bits { width, .. } => Some((under, width)),
            _ => None,
        }
    }

    fn entry_int(&mut self, written: &'a Expr, ty: &Ty) -> Option<BigInt> {
        match self.entry_value(written, ty)? {
            Const::Int(number) => Some(number),
            _ => None,
        }
    }

    fn entry_value(&mut self, written: &'a Expr, ty: &Ty) -> Option<Const> {
        let value = self.expr(written, Some(ty));
        let value = match (self.resolve(ty), self.resolve(&value.ty)) {
            (Ty::SerEnum(_), Ty::Bits { .. }) => {
                let under = self.strip_enum(ty);
                self.convert(value, &under, written.span)
            }
            _ => self.convert(value, ty, written.span),
        };
        if value.ty.is_error() {
            return None;
        }
        let constant = self.const_value(value.expr);
        match constant {
            Some(constant) => Some(constant),
            None if value.known && self.checking() => Some(Const::Int(BigInt::zero())),
            None => {
                self.err(
                    code::NOT_CONSTANT,
                    written.span,
                    "an entry's key must be a compile-time constant",
                    "",
                );
                None
            }
        }
    }
}

/// Whether a pattern is ones followed by zeros.
fn is_prefix(mask: &BigInt, width: u32) -> bool {
    let all: BigInt = (BigInt::one() << width) - 1u32;
    let holes: BigInt = &all - mask;
    let overlap: BigInt = &holes & (&holes + BigInt::one());
    overlap.is_zero()
}
