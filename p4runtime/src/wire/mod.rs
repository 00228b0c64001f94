//! Writes as they travel: updates stay bytes until each is looked at.
//!
//! In: updates, or a request from the wire. Out: a request, or one update after the other. A batch of thousands of
//! entries is one block of memory on either side instead of a dozen small ones per entry; that is most of what a cold
//! start costs otherwise. On the wire nothing differs from the generated message, which a test compares.
//! Invariant: every update of a decoded request is well-formed, so none can spoil a batch that has begun.

mod entry;
mod request;
mod scratch;
#[cfg(test)]
mod tests;

use prost::{DecodeError, Message};

use crate::proto::p4::v1 as proto;

pub use entry::ExactEntry;
pub use request::WriteRequest;
pub use scratch::Scratch;

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
    pub fn push_exact(&mut self, kind: proto::update::Type, entry: &ExactEntry<'_>) {
        entry.encode(kind, &mut self.bytes);
        self.ends.push(self.bytes.len());
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
