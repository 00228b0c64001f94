//! Tables: match kinds, actions, entries, learning.
//!
//! In: the program's tables. Out: findings. Invariant checked: action indices and data fit, every entry can be stored
//! under its match kinds, a learning table can learn.

use super::{Validator, code};
use crate::ir::{
    ActionCall, Const, Direction, Entry, EntryKey, Property, PropertyValue, Table, Type,
};
use crate::source::Span;

/// The match kinds the engine has.
const KINDS: &[&str] = &["exact", "lpm", "ternary", "range", "optional", "selector"];

impl Validator<'_> {
    pub(super) fn tables(&mut self) {
        let program = self.program;
        for (_, table) in program.tables.iter() {
            self.keys(table);
            if self.actions(table) {
                self.action_call(table, &table.default_action, table.span);
                for entry in &table.entries {
                    self.entry(table, entry);
                }
                self.learning(table);
            }
        }
    }

    fn keys(&mut self, table: &Table) {
        for key in &table.keys {
            if !Self::has(&self.program.exprs, key.expr) {
                self.broken(table.span, "a key without expression");
                continue;
            }
            if !KINDS.contains(&key.match_kind.as_str()) {
                let message = format!(
                    "the match kind `{}` is not supported by the engine",
                    key.match_kind
                );
                self.report(code::TABLE, table.span, message, "");
            }
        }
        let of_kind = |kind: &str| {
            table
                .keys
                .iter()
                .filter(|key| key.match_kind == kind)
                .count()
        };
        if of_kind("lpm") > 1 {
            let help = "use `ternary` for all but one of them";
            self.report(
                code::TABLE,
                table.span,
                "a table has at most one `lpm` key",
                help,
            );
        }
        if of_kind("selector") > 0 && !table.properties.iter().any(is_implementation) {
            let help = "give the table an action selector as `implementation`";
            self.report(
                code::TABLE,
                table.span,
                "a `selector` key in a table without an action selector",
                help,
            );
        }
    }

    fn actions(&mut self, table: &Table) -> bool {
        let mut sound = true;
        for listed in &table.actions {
            let Some(action) = self.program.actions.get(listed.action) else {
                self.broken(table.span, "a table lists an action that is not there");
                sound = false;
                continue;
            };
            let directed: Vec<_> = action
                .params
                .iter()
                .filter(|p| p.direction != Direction::None)
                .cloned()
                .collect();
            self.args(&directed, &listed.args, table.span);
            for param in action
                .params
                .iter()
                .filter(|p| p.direction == Direction::None)
            {
                let var = &self.program.vars[param.var];
                let ty = &self.program.types[self.program.resolve(var.ty)];
                if !matches!(ty, Type::Bits { .. } | Type::Bool) {
                    let message =
                        format!("the action data `{}` is not a number or boolean", var.name);
                    self.report(
                        code::CONSTRUCT,
                        var.span,
                        message,
                        "action data are set by the control plane as bytes",
                    );
                }
            }
        }
        if table.actions.is_empty() {
            self.broken(table.span, "a table without actions");
            sound = false;
        }
        sound
    }

    fn action_call(&mut self, table: &Table, call: &ActionCall, span: Span) {
        let Some(listed) = table.actions.get(call.action) else {
            return self.broken(span, "an action that the table does not list");
        };
        let params = &self.program.actions[listed.action].params;
        let data = params
            .iter()
            .filter(|p| p.direction == Direction::None)
            .count();
        if data != call.data.len() {
            self.broken(span, "an action with the wrong number of data");
        }
    }

    fn entry(&mut self, table: &Table, entry: &Entry) {
        self.action_call(table, &entry.action, entry.span);
        if entry.keys.len() != table.keys.len() {
            return self.broken(entry.span, "an entry with the wrong number of keys");
        }
        for (key, value) in table.keys.iter().zip(&entry.keys) {
            let width = self
                .program
                .width(self.program.exprs[key.expr].ty)
                .unwrap_or(0);
            let refused = match (key.match_kind.as_str(), value) {
                ("exact", EntryKey::Value(_)) => None,
                ("exact", _) => Some("an `exact` key needs a value"),
                ("lpm" | "ternary", EntryKey::Range(..)) => {
                    Some("a range only matches a `range` key")
                }
                ("lpm", EntryKey::Mask(_, mask)) if !is_prefix(mask, width) => {
                    Some("the mask of an `lpm` key must be a run of ones from the top")
                }
                ("range", EntryKey::Mask(..)) => Some("a mask cannot match a `range` key"),
                ("optional", EntryKey::Mask(..) | EntryKey::Range(..)) => {
                    Some("an `optional` key needs a value or `_`")
                }
                _ => None,
            };
            if let Some(message) = refused {
                self.report(code::ENTRY, entry.span, message, "");
            }
        }
    }

    /// A table that learns: exact keys only, and a miss that carries no data from the control plane.
    fn learning(&mut self, table: &Table) {
        let learns = table.properties.iter().any(|p| {
            p.name == "add_on_miss" && matches!(p.value, PropertyValue::Const(Const::Bool(true)))
        });
        if !learns {
            return;
        }
        if table.keys.is_empty() || table.keys.iter().any(|key| key.match_kind != "exact") {
            let message = "a table with `add_on_miss` has `exact` keys only";
            self.report(code::TABLE, table.span, message, "");
        }
        if !table.default_action.data.is_empty() {
            let message = "the default action of a table with `add_on_miss` has no action data";
            self.report(code::TABLE, table.span, message, "");
        }
    }
}

fn is_implementation(property: &Property) -> bool {
    matches!(
        property.name.as_str(),
        "implementation" | "pna_implementation"
    ) && matches!(property.value, PropertyValue::Extern(_))
}

/// Whether a pattern is ones followed by zeros.
fn is_prefix(mask: &num_bigint::BigInt, width: u32) -> bool {
    let one = num_bigint::BigInt::from(1);
    let all: num_bigint::BigInt = (&one << width) - &one;
    let holes: num_bigint::BigInt = all - mask.clone();
    let overlap: num_bigint::BigInt = &holes & (&holes + &one);
    overlap == num_bigint::BigInt::ZERO
}
