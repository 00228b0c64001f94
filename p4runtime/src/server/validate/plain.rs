//! Insertions of the plainest kind, in numbers: almost all that a controller writes into an empty switch.
//!
//! In: encoded updates, one after the other. Out: [`Rows`] of those that follow one another, insert into one table and
//! run one action, with exact keys of the order of P4Info and values of at most 64 bits. Whatever is different, or wrong,
//! is left to [`update`](super::update), which says so. Invariant: what is taken here is what would come out there.

use super::action::Place;
use crate::schema::{ActionRef, MatchKind, Schema, Table, Width};
use crate::server::switch::{RoleScope, Rows};
use crate::wire::{Field, PlainInsert};

/// Id and width of a key element or parameter.
type Value = (u32, u32);

/// What the rows at hand have in common.
#[derive(Debug, Default)]
struct Form {
    table: u32,
    action: u32,
    key: Vec<Value>,
    params: Vec<Value>,
}

/// Gathers rows.
#[derive(Debug)]
pub struct Collector<'s, 'u> {
    schema: &'s Schema,
    scope: &'s RoleScope,
    form: Form,
    rows: Option<Rows<'s, 'u>>,
}

/// Rows that are handed on together: few enough to stay in the processor's cache.
const TOGETHER: usize = 512;

impl<'s, 'u> Collector<'s, 'u> {
    /// Nothing gathered yet.
    pub fn new(schema: &'s Schema, scope: &'s RoleScope) -> Self {
        Self {
            schema,
            scope,
            form: Form::default(),
            rows: None,
        }
    }

    /// Takes an update; `false`: it does not belong to what is at hand, or is none that is taken here.
    pub fn take(&mut self, update: &'u [u8]) -> bool {
        let Some(insert) = PlainInsert::read(update) else {
            return false;
        };
        if self.rows.is_none() && !self.begin(&insert) {
            return false;
        }
        match &mut self.rows {
            Some(rows) if rows.metadata.len() < TOGETHER => self.form.add(&insert, rows),
            _ => false,
        }
    }

    /// What was gathered since the last time.
    pub fn finish(&mut self) -> Option<Rows<'s, 'u>> {
        self.rows.take()
    }

    /// Makes this the first of its kind.
    fn begin(&mut self, first: &PlainInsert<'_>) -> bool {
        let known = self.schema.tables.get(first.table);
        let Some(table) = known.filter(|table| self.scope.may_write(table.id)) else {
            return false;
        };
        let action = table.action_by_id(first.action);
        let Some((form, action)) = action.and_then(|action| Form::of(table, action)) else {
            return false;
        };
        self.form = form;
        self.rows = Some(Rows::new(table, &action.action));
        true
    }
}

impl Form {
    /// `None`: entries of this kind are not taken here.
    fn of<'s>(table: &Table, action: &'s ActionRef) -> Option<(Self, &'s ActionRef)> {
        let takes = table.action_profile.is_none()
            && !table.is_const
            && !table.fields.is_empty()
            && action.scope.allows(Place::Entry);
        let exact = table.fields.iter().all(|f| f.kind == MatchKind::Exact);
        let number = |id, width| match width {
            Width::Bits(bits) => Some((id, bits)),
            Width::String => None,
        };
        let key = table.fields.iter().map(|f| number(f.id, f.width));
        let params = action.action.params.iter().map(|p| number(p.id, p.width));
        let form = Self {
            table: table.id,
            action: action.action.id,
            key: key.collect::<Option<_>>()?,
            params: params.collect::<Option<_>>()?,
        };
        (takes && exact).then_some((form, action))
    }

    /// Adds a row if it is of this form.
    fn add<'u>(&self, insert: &PlainInsert<'u>, rows: &mut Rows<'_, 'u>) -> bool {
        if insert.table != self.table || insert.action != self.action {
            return false;
        }
        let (keys, params) = (rows.keys.len(), rows.params.len());
        let whole = put(insert.key(), &self.key, &mut rows.keys)
            && put(insert.params(), &self.params, &mut rows.params);
        if whole {
            rows.metadata.push(insert.metadata);
        } else {
            rows.keys.truncate(keys);
            rows.params.truncate(params);
        }
        whole
    }
}

/// Puts the values down if they are these, in this order, and fit.
fn put<'u>(
    mut given: impl Iterator<Item = Option<Field<'u>>>,
    wanted: &[Value],
    to: &mut Vec<u64>,
) -> bool {
    for &(id, width) in wanted {
        let Some(Some(field)) = given.next() else {
            return false;
        };
        let fits = |value: &u64| width >= 64 || value >> width == 0;
        match field.number().filter(fits) {
            Some(value) if field.id == id => to.push(value),
            _ => return false,
        }
    }
    given.next().is_none()
}
