//! Writes as they travel: updates stay bytes until each is looked at.
//!
//! In: updates, or a request from the wire. Out: a request, or one update after the other. A batch of thousands of
//! entries is one block of memory on either side instead of a dozen small ones per entry; that is most of what a cold
//! start costs otherwise. On the wire nothing differs from the generated message, which a test compares.
//! Invariant: every update of a decoded request is well-formed, so none can spoil a batch that has begun.

mod entry;
mod plain;
mod request;
mod scratch;
#[cfg(test)]
mod tests;

use prost::{DecodeError, Message};

use crate::proto::p4::v1 as proto;

pub use entry::ExactEntry;
use entry::value_len;
pub(crate) use plain::{Field, PlainInsert};
pub use request::WriteRequest;
pub use scratch::Scratch;

/// An update of a batch as the mold of others, which have another value of the last key element.
#[derive(Debug, Clone, Copy)]
pub struct Mold {
    start: usize,
    end: usize,
    /// Where the value is, from the start of the update.
    value: (usize, usize),
}

/// Updates, encoded, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Updates {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Updates {
    /// With room for so many updates of so many bytes together.
    pub fn with_capacity(updates: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(updates),
        }
    }

    /// Adds one.
    pub fn push(&mut self, update: &proto::Update) {
        self.bytes.reserve(update.encoded_len());
        update.encode_raw(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Adds one of a table entry whose key elements are all exact.
    pub fn push_exact(&mut self, kind: proto::update::Type, entry: &ExactEntry<'_>) -> Mold {
        let start = self.bytes.len();
        let key_end = entry.encode(kind, &mut self.bytes) - start;
        self.ends.push(self.bytes.len());
        let value = entry.key.last().map_or(0, |(_, value)| value_len(*value));
        Mold {
            start,
            end: self.bytes.len(),
            value: (key_end - value, key_end),
        }
    }

    /// Adds one like another of this batch, which differs in the value of the last key element alone; `false`: it would
    /// take more bytes, or fewer.
    pub fn push_like(&mut self, mold: Mold, value: u64) -> bool {
        let (from, to) = mold.value;
        let length = value_len(value);
        // A mold of another batch may lie anywhere.
        if to - from != length || mold.end > self.bytes.len() {
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_within(mold.start..mold.end);
        self.bytes[start + from..start + to].copy_from_slice(&value.to_be_bytes()[8 - length..]);
        self.ends.push(self.bytes.len());
        true
    }

    fn push_encoded(&mut self, update: &[u8]) {
        self.bytes.extend_from_slice(update);
        self.ends.push(self.bytes.len());
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Each as it was encoded, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut from = 0;
        self.ends.iter().map(move |&end| {
            let update = self.bytes.get(from..end).unwrap_or_default();
            from = end;
            update
        })
    }

    /// All of them as messages.
    ///
    /// # Errors
    /// When one is malformed; those of a decoded request never are.
    pub fn decode(&self) -> Result<Vec<proto::Update>, DecodeError> {
        self.iter().map(proto::Update::decode).collect()
    }
}

impl From<&[proto::Update]> for Updates {
    fn from(updates: &[proto::Update]) -> Self {
        let mut all = Self::default();
        for update in updates {
            all.push(update);
        }
        all
    }
}
