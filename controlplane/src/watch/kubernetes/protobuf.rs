//! Lists as the API server encodes them fastest: Protocol Buffers, item by item while they arrive.
//!
//! In: the parts of a response's body. Out: objects of Kubernetes' own types, as far as they are converted further on:
//! what nobody looks at, managed fields and status above all, is skipped without being read. Field numbers are those of
//! `generated.proto` in k8s.io/api and k8s.io/apimachinery.
//!
//! ```text
//! "k8s\0" ─▶ runtime.Unknown ─▶ field 2, the list ─▶ field 1: ListMeta
//!                                                 └▶ field 2: an item, again and again
//! ```

mod objects;
#[cfg(test)]
pub(super) mod tests;

use std::marker::PhantomData;

use prost::Message;

pub use objects::{EndpointSlice, Item, Node, Pod, Service, ServiceCidr};

/// What comes before every object.
const MAGIC: [u8; 4] = *b"k8s\0";
/// Wire type of bytes and messages.
const BYTES: u64 = 2;

/// Why a list cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// It does not begin as Kubernetes' encoding does.
    #[error("the answer does not begin with Kubernetes' mark of Protocol Buffers")]
    Magic,
    /// An item or the list's own data cannot be read.
    #[error("a part of the list cannot be read: {0}")]
    Part(#[from] prost::DecodeError),
    /// A field of a kind that cannot be skipped.
    #[error("field {0} of the list is of an unknown kind")]
    Field(u64),
    /// The body ended in the middle of it.
    #[error("the list broke off")]
    Short,
}

/// What a list says of itself.
#[derive(Clone, PartialEq, Message)]
pub struct ListMeta {
    /// The version that the list is of.
    #[prost(string, tag = "2")]
    pub resource_version: String,
    /// Where the next part begins; empty: this was all.
    #[prost(string, tag = "3")]
    pub next: String,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    /// In the wrapper, before the list.
    Wrapper,
    /// In the list, of which so many bytes are left.
    List(u64),
    /// Behind the list.
    Behind,
}

/// Reads one list.
pub struct ListReader<M> {
    bytes: Vec<u8>,
    /// Of them were read.
    read: usize,
    place: Place,
    /// The list's own data.
    pub meta: ListMeta,
    items: PhantomData<M>,
}

impl<M: Item> ListReader<M> {
    /// Nothing has arrived yet.
    pub fn new() -> Self {
        Self {
            bytes: Vec::new(),
            read: 0,
            place: Place::Start,
            meta: ListMeta::default(),
            items: PhantomData,
        }
    }

    /// Takes a part of the body, and gives each item that is whole by now to `found`.
    ///
    /// # Errors
    /// When this is no such list.
    pub fn take(&mut self, part: &[u8], mut found: impl FnMut(M::Object)) -> Result<(), Malformed> {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(part);
        while self.step(&mut found)? {}
        Ok(())
    }

    /// Whether the list is there as a whole.
    pub fn is_whole(&self) -> bool {
        self.place == Place::Behind
    }

    /// Goes on by one field; `false`: for that something has to arrive yet.
    fn step(&mut self, found: &mut impl FnMut(M::Object)) -> Result<bool, Malformed> {
        let rest = &self.bytes[self.read..];
        match self.place {
            Place::Start => {
                let Some(magic) = rest.get(..MAGIC.len()) else {
                    return match MAGIC.starts_with(rest) {
                        true => Ok(false),
                        false => Err(Malformed::Magic),
                    };
                };
                if magic != MAGIC {
                    return Err(Malformed::Magic);
                }
                self.read += MAGIC.len();
                self.place = Place::Wrapper;
            }
            Place::Wrapper => {
                let Some(field) = Field::read(rest)? else {
                    return Ok(false);
                };
                if field.number == 2 && field.kind == BYTES {
                    self.read += field.head;
                    self.place = Place::List(field.length);
                } else if !self.skip(&field) {
                    return Ok(false);
                }
            }
            Place::List(0) => self.place = Place::Behind,
            Place::List(left) => {
                let Some(field) = Field::read(rest)? else {
                    return Ok(false);
                };
                let Some(body) = field.body(rest) else {
                    return Ok(false);
                };
                match (field.number, field.kind) {
                    (1, BYTES) => self.meta = ListMeta::decode(body)?,
                    (2, BYTES) => found(M::decode(body)?.into_object()),
                    _ => {}
                }
                let whole = field.head + body.len();
                self.read += whole;
                let left = left.checked_sub(whole as u64).ok_or(Malformed::Short)?;
                self.place = Place::List(left);
            }
            // What the wrapper says after the list is of no use.
            Place::Behind => {
                self.read = self.bytes.len();
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn skip(&mut self, field: &Field) -> bool {
        let body = field.body(&self.bytes[self.read..]).map(<[u8]>::len);
        match body {
            Some(body) => {
                self.read += field.head + body;
                true
            }
            None => false,
        }
    }
}

/// A field's beginning.
#[derive(Clone, Copy, Debug)]
struct Field {
    number: u64,
    kind: u64,
    /// Bytes of key and length.
    head: usize,
    /// Bytes of what it holds.
    length: u64,
}

impl Field {
    /// `None`: it has not arrived as a whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some((key, key_len)) = number(bytes)? else {
            return Ok(None);
        };
        let (number_of, kind) = (key >> 3, key & 7);
        let fixed = |length| {
            Ok(Some(Self {
                number: number_of,
                kind,
                head: key_len,
                length,
            }))
        };
        match kind {
            0 => match number(&bytes[key_len..])? {
                Some((_, length)) => fixed(length as u64),
                None => Ok(None),
            },
            1 => fixed(8),
            5 => fixed(4),
            BYTES => match number(&bytes[key_len..])? {
                Some((length, length_len)) => Ok(Some(Self {
                    number: number_of,
                    kind,
                    head: key_len + length_len,
                    length,
                })),
                None => Ok(None),
            },
            _ => Err(Malformed::Field(number_of)),
        }
    }

    /// What it holds; `None`: it has not arrived as a whole.
    fn body<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let length = usize::try_from(self.length).ok()?;
        bytes.get(self.head..self.head.checked_add(length)?)
    }
}

/// A number and how many bytes it takes; `None`: it has not arrived as a whole.
fn number(bytes: &[u8]) -> Result<Option<(u64, usize)>, Malformed> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if at == 10 {
            return Err(Malformed::Short);
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    Ok(None)
}
