//! Protobuf text format and JSON of any message of this crate.
//!
//! In: a message, or its text. Out: the other one. Both forms go through the descriptor pool, so field names are the
//! proto ones (text) or their camel-case JSON names, and unknown fields in the input are errors.

use prost::{Message, Name};
use prost_reflect::text_format::FormatOptions;
use prost_reflect::{DynamicMessage, MessageDescriptor};

/// Why a message has no such form, or why a text is not such a message.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The message is not one of this crate's.
    #[error("no descriptor for message {0}")]
    UnknownMessage(String),
    /// The bytes of the message do not fit its descriptor.
    #[error("message does not fit its descriptor: {0}")]
    Transcode(#[from] prost::DecodeError),
    /// Not protobuf text format of this message.
    #[error("not protobuf text: {0}")]
    Text(#[from] prost_reflect::text_format::ParseError),
    /// Not the JSON form of this message.
    #[error("not protobuf JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Protobuf text format over several lines.
pub fn to_text<M: Message + Name>(message: &M) -> Result<String, TextError> {
    let options = FormatOptions::new().pretty(true);
    Ok(dynamic(message)?.to_text_format_with_options(&options))
}

/// Reads protobuf text format.
pub fn from_text<M: Message + Name + Default>(text: &str) -> Result<M, TextError> {
    let dynamic = DynamicMessage::parse_text_format(descriptor::<M>()?, text)?;
    Ok(dynamic.transcode_to()?)
}

/// JSON over several lines.
pub fn to_json<M: Message + Name>(message: &M) -> Result<String, TextError> {
    Ok(serde_json::to_string_pretty(&dynamic(message)?)?)
}

/// The JSON form as a value, to be put into a larger document.
pub fn to_json_value<M: Message + Name>(message: &M) -> Result<serde_json::Value, TextError> {
    Ok(serde_json::to_value(dynamic(message)?)?)
}

/// Reads JSON.
pub fn from_json<M: Message + Name + Default>(json: &str) -> Result<M, TextError> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let dynamic = DynamicMessage::deserialize(descriptor::<M>()?, &mut reader)?;
    reader.end()?;
    Ok(dynamic.transcode_to()?)
}

fn descriptor<M: Name>() -> Result<MessageDescriptor, TextError> {
    let name = M::full_name();
    crate::descriptor_pool()
        .get_message_by_name(&name)
        .ok_or(TextError::UnknownMessage(name))
}

fn dynamic<M: Message + Name>(message: &M) -> Result<DynamicMessage, TextError> {
    let mut dynamic = DynamicMessage::new(descriptor::<M>()?);
    dynamic.transcode_from(message)?;
    Ok(dynamic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p4::config::v1::{P4Info, Preamble, Table};
    use crate::p4::v1::{TableEntry, Uint128};

    fn info() -> P4Info {
        let preamble = Preamble {
            id: 0x0200_0001,
            name: "ingress.t".into(),
            ..Default::default()
        };
        P4Info {
            tables: vec![Table {
                preamble: Some(preamble),
                size: 1024,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn text_round_trip() {
        let text = to_text(&info()).unwrap();
        assert!(text.contains("name: \"ingress.t\""), "{text}");
        assert_eq!(from_text::<P4Info>(&text).unwrap(), info());
    }

    #[test]
    fn json_round_trip() {
        let json = to_json(&info()).unwrap();
        assert!(json.contains("\"size\": \"1024\""), "{json}");
        assert_eq!(from_json::<P4Info>(&json).unwrap(), info());
    }

    #[test]
    fn unknown_field_is_an_error() {
        assert!(matches!(
            from_text::<TableEntry>("no_such: 1"),
            Err(TextError::Text(_))
        ));
        assert!(matches!(
            from_json::<TableEntry>("{\"noSuch\": 1}"),
            Err(TextError::Json(_))
        ));
        assert!(matches!(
            from_json::<Uint128>("{} trailing"),
            Err(TextError::Json(_))
        ));
    }

    #[test]
    fn any_is_spelled_out_when_known() {
        let role = crate::Any::from_msg(&Uint128 { high: 1, low: 2 }).unwrap();
        let entry = crate::p4::v1::Role {
            name: "r".into(),
            config: Some(role),
            ..Default::default()
        };
        let text = to_text(&entry).unwrap();
        assert!(
            text.contains("[type.googleapis.com/p4.v1.Uint128]"),
            "{text}"
        );
        assert_eq!(from_text::<crate::p4::v1::Role>(&text).unwrap(), entry);
    }
}
