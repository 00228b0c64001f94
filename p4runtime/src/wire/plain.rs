//! An insertion of a table entry as it lies on the wire.
//!
//! In: an encoded update. Out: its parts, borrowed, if they come in the order in which every encoder writes them: type,
//! table, exact key elements, one action with its arguments, perhaps a note, and nothing else. Invariant: what is read
//! here the generated code reads in the same way.

use super::entry::{
    ACTION_ID, ACTION_PARAM, ENTITY_TABLE_ENTRY, ENTRY_ACTION, ENTRY_MATCH, ENTRY_METADATA,
    ENTRY_TABLE_ID, MATCH_EXACT, MATCH_FIELD_ID, PARAM_ID, PARAM_VALUE, TABLE_ACTION_ACTION,
    UPDATE_ENTITY, UPDATE_TYPE, VALUE,
};
use super::scratch::Rest;
use crate::proto::p4::v1 as proto;

/// An insertion. Its elements and arguments are read when they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlainInsert<'u> {
    /// Id of the table.
    pub table: u32,
    /// Id of the action.
    pub action: u32,
    /// The controller's note.
    pub metadata: &'u [u8],
    key: &'u [u8],
    params: &'u [u8],
}

/// A key element or an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'u> {
    /// Its id.
    pub id: u32,
    value: &'u [u8],
}

impl Field<'_> {
    /// The value, if there is one and it takes no more than eight bytes.
    pub fn number(&self) -> Option<u64> {
        let number = |value: &[u8]| value.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
        matches!(self.value.len(), 1..=8).then(|| number(self.value))
    }
}

impl<'u> PlainInsert<'u> {
    /// `None`: it is something else.
    pub fn read(update: &'u [u8]) -> Option<Self> {
        let mut rest = Rest(update);
        if rest.key()? != UPDATE_TYPE || rest.number()? != proto::update::Type::Insert as u64 {
            return None;
        }
        let mut entity = Rest(rest.last(UPDATE_ENTITY)?);
        let mut entry = Rest(entity.last(ENTITY_TABLE_ENTRY)?);
        if entry.key()? != ENTRY_TABLE_ID {
            return None;
        }
        let table = entry.id()?;
        let key = entry.run(ENTRY_MATCH)?;
        if entry.key()? != ENTRY_ACTION {
            return None;
        }
        let mut action = Rest(entry.bytes()?);
        let metadata = match entry.is_empty() {
            true => &[],
            false => entry.last(ENTRY_METADATA)?,
        };
        let mut call = Rest(action.last(TABLE_ACTION_ACTION)?);
        if call.key()? != ACTION_ID {
            return None;
        }
        let action = call.id()?;
        let params = call.run(ACTION_PARAM)?;
        call.is_empty().then_some(Self {
            table,
            action,
            metadata,
            key,
            params,
        })
    }

    /// The elements of the key, in the order given; `None` for what is no exact element.
    pub fn key(&self) -> impl Iterator<Item = Option<Field<'u>>> + use<'u> {
        let mut rest = Rest(self.key);
        std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| {
                rest.key()?;
                let mut element = Rest(rest.bytes()?);
                let id = element.id_of(MATCH_FIELD_ID)?;
                let value = Rest(element.last(MATCH_EXACT)?).last(VALUE)?;
                Some(Field { id, value })
            })
        })
    }

    /// The arguments, in the order given; `None` for what is none.
    pub fn params(&self) -> impl Iterator<Item = Option<Field<'u>>> + use<'u> {
        let mut rest = Rest(self.params);
        std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| {
                rest.key()?;
                let mut param = Rest(rest.bytes()?);
                let id = param.id_of(PARAM_ID)?;
                let value = param.last(PARAM_VALUE)?;
                Some(Field { id, value })
            })
        })
    }
}

impl<'u> Rest<'u> {
    fn id(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    /// The number that comes next, if that is this field.
    fn id_of(&mut self, key: u8) -> Option<u32> {
        if self.key()? != key {
            return None;
        }
        self.id()
    }

    /// The bytes that come next and last, if that is this field.
    fn last(&mut self, key: u8) -> Option<&'u [u8]> {
        if self.key()? != key {
            return None;
        }
        let bytes = self.bytes()?;
        self.is_empty().then_some(bytes)
    }

    /// All fields of this kind that come next, as they are.
    fn run(&mut self, key: u8) -> Option<&'u [u8]> {
        let all = self.0;
        while self.0.first() == Some(&key) {
            self.key()?;
            self.bytes()?;
        }
        all.get(..all.len() - self.0.len())
    }
}
