//! A table entry straight to bytes.
//!
//! In: ids and numbers. Out: an encoded update. Lengths are worked out from the inside, so that nothing is written
//! twice; values have the shortest form.

use prost::encoding::encoded_len_varint;

use crate::proto::p4::v1 as proto;

/// Wire type of numbers.
const VARINT: u8 = 0;
/// Wire type of bytes and messages.
const BYTES: u8 = 2;

/// Key of a field on the wire; all of those here take one byte.
pub(super) const fn key(tag: u8, wire_type: u8) -> u8 {
    tag << 3 | wire_type
}

pub(super) const UPDATE_TYPE: u8 = key(1, VARINT);
pub(super) const UPDATE_ENTITY: u8 = key(2, BYTES);
pub(super) const ENTITY_TABLE_ENTRY: u8 = key(2, BYTES);
pub(super) const ENTRY_TABLE_ID: u8 = key(1, VARINT);
pub(super) const ENTRY_MATCH: u8 = key(2, BYTES);
pub(super) const ENTRY_ACTION: u8 = key(3, BYTES);
pub(super) const ENTRY_PRIORITY: u8 = key(4, VARINT);
pub(super) const ENTRY_IDLE_TIMEOUT: u8 = key(9, VARINT);
pub(super) const ENTRY_METADATA: u8 = key(11, BYTES);
pub(super) const MATCH_FIELD_ID: u8 = key(1, VARINT);
pub(super) const MATCH_EXACT: u8 = key(2, BYTES);
pub(super) const MATCH_TERNARY: u8 = key(3, BYTES);
pub(super) const VALUE: u8 = key(1, BYTES);
pub(super) const MASK: u8 = key(2, BYTES);
pub(super) const TABLE_ACTION_ACTION: u8 = key(1, BYTES);
pub(super) const ACTION_ID: u8 = key(1, VARINT);
pub(super) const ACTION_PARAM: u8 = key(4, BYTES);
pub(super) const PARAM_ID: u8 = key(2, VARINT);
pub(super) const PARAM_VALUE: u8 = key(3, BYTES);

/// A table entry whose key elements are all exact, and whose values fit 64 bits.
#[derive(Debug, Clone, Copy)]
pub struct ExactEntry<'a> {
    /// The table's id.
    pub table: u32,
    /// Ids and values of the key's elements.
    pub key: &'a [(u32, u64)],
    /// Id of the action, ids and values of its arguments; none in a deletion.
    pub action: Option<(u32, &'a [(u32, u64)])>,
    /// The controller's note.
    pub metadata: &'a [u8],
}

impl ExactEntry<'_> {
    /// Says where the value of the last key element ended.
    pub(super) fn encode(&self, kind: proto::update::Type, out: &mut Vec<u8>) -> usize {
        let call = self.action.map(|(_, arguments)| {
            let arguments = arguments.iter().map(|one| framed(param_len(one)));
            arguments.sum::<usize>()
        });
        let call = self
            .action
            .zip(call)
            .map(|((id, _), arguments)| number_len(id) + arguments);
        let elements = self.key.iter().map(|one| framed(element_len(one)));
        let mut entry = number_len(self.table) + elements.sum::<usize>();
        entry += call.map_or(0, |call| framed(framed(call)));
        if !self.metadata.is_empty() {
            entry += framed(self.metadata.len());
        }
        let entity = framed(entry);
        out.reserve(2 + framed(entity));
        number(out, UPDATE_TYPE, kind as u32);
        frame(out, UPDATE_ENTITY, entity);
        frame(out, ENTITY_TABLE_ENTRY, entry);
        number(out, ENTRY_TABLE_ID, self.table);
        for one in self.key {
            frame(out, ENTRY_MATCH, element_len(one));
            number(out, MATCH_FIELD_ID, one.0);
            frame(out, MATCH_EXACT, framed(value_len(one.1)));
            value(out, VALUE, one.1);
        }
        let key_end = out.len();
        if let (Some((id, arguments)), Some(call)) = (self.action, call) {
            frame(out, ENTRY_ACTION, framed(call));
            frame(out, TABLE_ACTION_ACTION, call);
            number(out, ACTION_ID, id);
            for one in arguments {
                frame(out, ACTION_PARAM, param_len(one));
                number(out, PARAM_ID, one.0);
                value(out, PARAM_VALUE, one.1);
            }
        }
        if !self.metadata.is_empty() {
            frame(out, ENTRY_METADATA, self.metadata.len());
            out.extend_from_slice(self.metadata);
        }
        key_end
    }
}

fn element_len((id, value): &(u32, u64)) -> usize {
    number_len(*id) + framed(framed(value_len(*value)))
}

fn param_len((id, value): &(u32, u64)) -> usize {
    number_len(*id) + framed(value_len(*value))
}

/// Bytes of the shortest form; zero takes one.
pub(super) fn value_len(value: u64) -> usize {
    8 - (value.leading_zeros() / 8).min(7) as usize
}

/// With key and length before it.
fn framed(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

fn number_len(number: u32) -> usize {
    1 + encoded_len_varint(number.into())
}

fn frame(out: &mut Vec<u8>, key: u8, length: usize) {
    out.push(key);
    varint(length as u64, out);
}

fn number(out: &mut Vec<u8>, key: u8, number: u32) {
    out.push(key);
    varint(number.into(), out);
}

/// Most take one byte.
#[inline]
fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn value(out: &mut Vec<u8>, key: u8, value: u64) {
    let length = value_len(value);
    frame(out, key, length);
    out.extend_from_slice(&value.to_be_bytes()[8 - length..]);
}
