//! The request of a Write call, with its updates as bytes.

use bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};
use tonic::{IntoRequest, Request};

use super::{Scratch, Updates};
use crate::proto::p4::v1 as proto;

/// `p4.v1.WriteRequest`.
#[derive(Debug, Clone, Default)]
pub struct WriteRequest {
    /// The device.
    pub device_id: u64,
    /// Replaced by `role`.
    pub role_id: u64,
    /// Empty is the default role.
    pub role: String,
    /// Must be the primary's.
    pub election_id: Option<proto::Uint128>,
    /// What to do.
    pub updates: Updates,
    /// A `proto::write_request::Atomicity`.
    pub atomicity: i32,
    /// Where updates are looked at while a request is decoded.
    checked: Checked,
}

#[derive(Debug, Clone, Default)]
struct Checked {
    bytes: Vec<u8>,
    update: Scratch,
}

impl From<proto::WriteRequest> for WriteRequest {
    fn from(request: proto::WriteRequest) -> Self {
        Self {
            device_id: request.device_id,
            role_id: request.role_id,
            role: request.role,
            election_id: request.election_id,
            updates: request.updates.as_slice().into(),
            atomicity: request.atomicity,
            checked: Checked::default(),
        }
    }
}

impl IntoRequest<WriteRequest> for proto::WriteRequest {
    fn into_request(self) -> Request<WriteRequest> {
        Request::new(self.into())
    }
}

impl Message for WriteRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if self.device_id != 0 {
            encoding::uint64::encode(1, &self.device_id, buf);
        }
        if self.role_id != 0 {
            encoding::uint64::encode(2, &self.role_id, buf);
        }
        if let Some(id) = &self.election_id {
            encoding::message::encode(3, id, buf);
        }
        for update in self.updates.iter() {
            encoding::encode_key(4, WireType::LengthDelimited, buf);
            encoding::encode_varint(update.len() as u64, buf);
            buf.put_slice(update);
        }
        if self.atomicity != 0 {
            encoding::int32::encode(5, &self.atomicity, buf);
        }
        if !self.role.is_empty() {
            encoding::string::encode(6, &self.role, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::uint64::merge(wire_type, &mut self.device_id, buf, context),
            2 => encoding::uint64::merge(wire_type, &mut self.role_id, buf, context),
            3 => {
                let id = self.election_id.get_or_insert_default();
                encoding::message::merge(wire_type, id, buf, context)
            }
            4 => {
                let Checked { bytes, update } = &mut self.checked;
                encoding::bytes::merge(wire_type, bytes, buf, context)?;
                update.load(bytes)?;
                self.updates.push_encoded(bytes);
                Ok(())
            }
            5 => encoding::int32::merge(wire_type, &mut self.atomicity, buf, context),
            6 => encoding::string::merge(wire_type, &mut self.role, buf, context),
            _ => encoding::skip_field(wire_type, tag, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let number = |tag, value: u64| match value {
            0 => 0,
            value => encoding::uint64::encoded_len(tag, &value),
        };
        let updates = self.updates.iter().map(|update| {
            encoding::key_len(4) + encoding::encoded_len_varint(update.len() as u64) + update.len()
        });
        number(1, self.device_id)
            + number(2, self.role_id)
            + self
                .election_id
                .as_ref()
                .map_or(0, |id| encoding::message::encoded_len(3, id))
            + updates.sum::<usize>()
            + match self.atomicity {
                0 => 0,
                value => encoding::int32::encoded_len(5, &value),
            }
            + match self.role.as_str() {
                "" => 0,
                _ => encoding::string::encoded_len(6, &self.role),
            }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
