//! One update after the other in the memory of the one before.
//!
//! In: an encoded update. Out: the message. Updates of table entries, exact or ternary, fill the message that is there;
//! whatever else there is decodes as ever, so that nothing is read differently than the generated code reads it.

use prost::{DecodeError, Message};
use proto::entity::Entity as Kind;
use proto::field_match::{Exact, FieldMatchType, Ternary};
use proto::table_action::Type as Action;

use super::entry::{
    ACTION_ID, ACTION_PARAM, ENTITY_TABLE_ENTRY, ENTRY_ACTION, ENTRY_IDLE_TIMEOUT, ENTRY_MATCH,
    ENTRY_METADATA, ENTRY_PRIORITY, ENTRY_TABLE_ID, MASK, MATCH_EXACT, MATCH_FIELD_ID,
    MATCH_TERNARY, PARAM_ID, PARAM_VALUE, TABLE_ACTION_ACTION, UPDATE_ENTITY, UPDATE_TYPE, VALUE,
};
use crate::proto::p4::v1 as proto;

/// Memory for one update.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    update: proto::Update,
}

impl Scratch {
    /// The update that these bytes are.
    ///
    /// # Errors
    /// When they are none.
    pub fn load(&mut self, bytes: &[u8]) -> Result<&proto::Update, DecodeError> {
        if update(&mut self.update, bytes).is_none() {
            self.update = proto::Update::decode(bytes)?;
        }
        Ok(&self.update)
    }
}

/// What is left of a message.
pub(super) struct Rest<'a>(pub(super) &'a [u8]);

impl<'a> Rest<'a> {
    /// The next field's key; keys of one byte only.
    #[inline]
    pub(super) fn key(&mut self) -> Option<u8> {
        let (&key, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(key)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Option<u64> {
        // Almost all of them take one byte.
        if let Some((&byte, rest)) = self.0.split_first()
            && byte < 0x80
        {
            self.0 = rest;
            return Some(byte.into());
        }
        let mut number = 0;
        for (at, &byte) in self.0.iter().enumerate().take(9) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.0 = &self.0[at + 1..];
                return Some(number);
            }
        }
        None
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `None`: something else than a plain table entry; the message holds half of it then.
fn update(to: &mut proto::Update, bytes: &[u8]) -> Option<()> {
    to.r#type = 0;
    let mut rest = Rest(bytes);
    let mut entity = None;
    while !rest.is_empty() {
        match rest.key()? {
            UPDATE_TYPE => to.r#type = rest.number()? as i32,
            // Given twice they would have to be merged.
            UPDATE_ENTITY if entity.is_none() => entity = Some(rest.bytes()?),
            _ => return None,
        }
    }
    let mut rest = Rest(entity?);
    if rest.key()? != ENTITY_TABLE_ENTRY {
        return None;
    }
    let bytes = rest.bytes()?;
    if !rest.is_empty() {
        return None;
    }
    let place = to.entity.get_or_insert_default();
    if !matches!(place.entity, Some(Kind::TableEntry(_))) {
        place.entity = Some(Kind::TableEntry(proto::TableEntry::default()));
    }
    match &mut place.entity {
        Some(Kind::TableEntry(to)) => entry(to, bytes),
        _ => None,
    }
}

fn entry(to: &mut proto::TableEntry, bytes: &[u8]) -> Option<()> {
    let mut matches = std::mem::take(&mut to.r#match);
    let mut action = to.action.take();
    let mut metadata = std::mem::take(&mut to.metadata);
    metadata.clear();
    *to = proto::TableEntry {
        metadata,
        ..Default::default()
    };
    let mut filled = 0;
    let mut rest = Rest(bytes);
    while !rest.is_empty() {
        match rest.key()? {
            ENTRY_TABLE_ID => to.table_id = rest.number()? as u32,
            ENTRY_PRIORITY => to.priority = rest.number()? as i32,
            ENTRY_IDLE_TIMEOUT => to.idle_timeout_ns = rest.number()? as i64,
            ENTRY_METADATA => fill(&mut to.metadata, rest.bytes()?),
            ENTRY_MATCH => {
                element(next(&mut matches, filled)?, rest.bytes()?)?;
                filled += 1;
            }
            ENTRY_ACTION if to.action.is_none() => {
                let mut place = action.take().unwrap_or_default();
                table_action(&mut place, rest.bytes()?)?;
                to.action = Some(place);
            }
            _ => return None,
        }
    }
    matches.truncate(filled);
    to.r#match = matches;
    Some(())
}

fn fill(to: &mut Vec<u8>, bytes: &[u8]) {
    to.clear();
    to.extend_from_slice(bytes);
}

/// The element at this place, made if it is the first that is not there.
fn next<T: Default>(list: &mut Vec<T>, at: usize) -> Option<&mut T> {
    if at == list.len() {
        list.push(T::default());
    }
    list.get_mut(at)
}

fn element(to: &mut proto::FieldMatch, bytes: &[u8]) -> Option<()> {
    to.field_id = 0;
    let mut rest = Rest(bytes);
    let mut given = None;
    while !rest.is_empty() {
        match rest.key()? {
            MATCH_FIELD_ID => to.field_id = rest.number()? as u32,
            kind @ (MATCH_EXACT | MATCH_TERNARY) if given.is_none() => {
                given = Some((kind, rest.bytes()?));
            }
            _ => return None,
        }
    }
    let (kind, bytes) = given?;
    match (kind, &mut to.field_match_type) {
        (MATCH_EXACT, Some(FieldMatchType::Exact(to))) => exact(to, bytes),
        (MATCH_EXACT, place) => {
            let mut fresh = Exact::default();
            exact(&mut fresh, bytes)?;
            *place = Some(FieldMatchType::Exact(fresh));
            Some(())
        }
        (_, Some(FieldMatchType::Ternary(to))) => ternary(to, bytes),
        (_, place) => {
            let mut fresh = Ternary::default();
            ternary(&mut fresh, bytes)?;
            *place = Some(FieldMatchType::Ternary(fresh));
            Some(())
        }
    }
}

fn exact(to: &mut Exact, bytes: &[u8]) -> Option<()> {
    to.value.clear();
    let mut rest = Rest(bytes);
    while !rest.is_empty() {
        match rest.key()? {
            VALUE => fill(&mut to.value, rest.bytes()?),
            _ => return None,
        }
    }
    Some(())
}

fn ternary(to: &mut Ternary, bytes: &[u8]) -> Option<()> {
    to.value.clear();
    to.mask.clear();
    let mut rest = Rest(bytes);
    while !rest.is_empty() {
        match rest.key()? {
            VALUE => fill(&mut to.value, rest.bytes()?),
            MASK => fill(&mut to.mask, rest.bytes()?),
            _ => return None,
        }
    }
    Some(())
}

fn table_action(to: &mut proto::TableAction, bytes: &[u8]) -> Option<()> {
    let mut rest = Rest(bytes);
    if rest.key()? != TABLE_ACTION_ACTION {
        return None;
    }
    let bytes = rest.bytes()?;
    if !rest.is_empty() {
        return None;
    }
    if !matches!(to.r#type, Some(Action::Action(_))) {
        to.r#type = Some(Action::Action(proto::Action::default()));
    }
    match &mut to.r#type {
        Some(Action::Action(to)) => call(to, bytes),
        _ => None,
    }
}

fn call(to: &mut proto::Action, bytes: &[u8]) -> Option<()> {
    to.action_id = 0;
    let mut filled = 0;
    let mut rest = Rest(bytes);
    while !rest.is_empty() {
        match rest.key()? {
            ACTION_ID => to.action_id = rest.number()? as u32,
            ACTION_PARAM => {
                param(next(&mut to.params, filled)?, rest.bytes()?)?;
                filled += 1;
            }
            _ => return None,
        }
    }
    to.params.truncate(filled);
    Some(())
}

fn param(to: &mut proto::action::Param, bytes: &[u8]) -> Option<()> {
    to.param_id = 0;
    to.value.clear();
    let mut rest = Rest(bytes);
    while !rest.is_empty() {
        match rest.key()? {
            PARAM_ID => to.param_id = rest.number()? as u32,
            PARAM_VALUE => fill(&mut to.value, rest.bytes()?),
            _ => return None,
        }
    }
    Some(())
}
