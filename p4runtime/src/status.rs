//! One error per update inside a gRPC status.
//!
//! A failed batch has the status UNKNOWN, whose details (header `grpc-status-details-bin`) carry a
//! `google.rpc.Status` with one `p4.v1.Error` per update in request order, code OK for those that took place.
//! Source: P4Runtime specification, section "Error Reporting Messages".

use p4runtime_proto::Any;
use p4runtime_proto::google::rpc;
use p4runtime_proto::p4::v1 as proto;
use prost::{Message, Name};
use tonic::{Code, Status};

/// Bytes of metadata that a client must be ready for, before those of the updates.
const BASE: usize = 8192;
/// And per update.
const PER_UPDATE: usize = 100;
/// What an error without message takes at most, as it travels.
const BARE: usize = 60;

/// What a status message may take as it travels, percent-encoded: half of what clients must be ready for.
const LONGEST_MESSAGE: usize = BASE / 2;

/// A status whose message fits a response header, whatever it quotes; what is too long is cut and says so.
pub fn refused(code: Code, message: impl Into<String>) -> Status {
    const CUT: &str = " [...]";
    let mut message: String = message.into();
    let travels = |c: char| match c {
        ' '..='~' if c != '%' => 1,
        _ => 3 * c.len_utf8(),
    };
    let mut left = LONGEST_MESSAGE;
    let end = message.char_indices().find(|(_, c)| {
        let fits = travels(*c) <= left;
        left = left.saturating_sub(travels(*c));
        !fits
    });
    if let Some((end, _)) = end {
        message.truncate(end);
        message.push_str(CUT);
    }
    Status::new(code, message)
}

/// What a status says, and what it says of its causes: a transport's own words are little more than "transport error".
pub fn reason(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        // Layers that only repeat the next one add nothing.
        if !text.contains(&more) {
            text = if text.is_empty() {
                more
            } else {
                format!("{text}: {more}")
            };
        }
        cause = error.source();
    }
    text
}

/// Size of the response metadata that a client must allow for a batch of so many updates.
pub fn metadata_allowance(updates: usize) -> usize {
    BASE.saturating_add(updates.saturating_mul(PER_UPDATE))
}

/// The status of a batch of `total` elements of which these failed, in order of their position.
///
/// Messages are kept as long as the whole fits what clients have to allow for; codes always are.
pub fn batch_failed(total: usize, failed: Vec<(usize, Code, String)>) -> Status {
    // A quarter of what is left after the bare errors is lost to base64, some more to the other headers.
    let mut left = metadata_allowance(total).saturating_sub(2048 + total * BARE) / 4 * 3;
    let text = format!("{} of {total} failed", failed.len());
    let mut failed = failed.into_iter().peekable();
    let mut details = Vec::with_capacity(total);
    for at in 0..total {
        let error = match failed.next_if(|(position, ..)| *position == at) {
            None => proto::Error::default(),
            Some((_, code, message)) => {
                let message = if message.len() <= left {
                    message
                } else {
                    String::new()
                };
                left -= message.len();
                proto::Error {
                    canonical_code: code as i32,
                    message,
                    ..Default::default()
                }
            }
        };
        details.push(Any {
            type_url: proto::Error::type_url(),
            value: error.encode_to_vec(),
        });
    }
    let inner = rpc::Status {
        code: Code::Unknown as i32,
        message: text.clone(),
        details,
    };
    Status::with_details(Code::Unknown, text, inner.encode_to_vec().into())
}

/// The errors of a failed batch, in request order; `None` if the status carries none.
pub fn batch_errors(status: &Status) -> Option<Vec<proto::Error>> {
    if status.code() != Code::Unknown || status.details().is_empty() {
        return None;
    }
    let inner = rpc::Status::decode(status.details()).ok()?;
    let errors: Result<Vec<_>, _> = inner.details.iter().map(error).collect();
    errors.ok().filter(|errors| !errors.is_empty())
}

fn error(any: &Any) -> Result<proto::Error, prost::DecodeError> {
    if any.type_url.rsplit('/').next() != Some(proto::Error::full_name().as_str()) {
        // Not an error of an update: unknown, but its place counts.
        return Ok(proto::Error {
            canonical_code: Code::Unknown as i32,
            ..Default::default()
        });
    }
    proto::Error::decode(any.value.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let status = batch_failed(3, vec![(1, Code::NotFound, "entry".into())]);
        assert_eq!(status.code(), Code::Unknown);
        let errors = batch_errors(&status).unwrap();
        assert_eq!(
            errors.iter().map(|e| e.canonical_code).collect::<Vec<_>>(),
            [0, 5, 0]
        );
        assert_eq!(errors[1].message, "entry");
        assert_eq!(batch_errors(&Status::unknown("plain")), None);
        assert_eq!(
            batch_errors(&Status::with_details(Code::Unknown, "", vec![0xff].into())),
            None
        );
    }

    #[test]
    fn long_messages_are_cut_where_a_character_ends() {
        assert_eq!(refused(Code::NotFound, "short").message(), "short");
        for text in ["x", "\n", "%", "é", "漢"] {
            let status = refused(Code::InvalidArgument, text.repeat(20_000));
            let travels: usize = status
                .message()
                .bytes()
                .map(|b| if b == b'x' { 1 } else { 3 })
                .sum();
            assert!(travels <= LONGEST_MESSAGE + 3 * 6, "{text:?}: {travels}");
            assert!(travels > LONGEST_MESSAGE - 12 && status.message().ends_with(" [...]"));
        }
    }

    #[test]
    fn fits_what_clients_allow() {
        for total in [1, 100, 10_000] {
            let failed = (0..total)
                .map(|at| (at, Code::InvalidArgument, "x".repeat(300)))
                .collect();
            let status = batch_failed(total, failed);
            assert!(
                status.details().len().div_ceil(3) * 4 < metadata_allowance(total),
                "{total}"
            );
            assert_eq!(batch_errors(&status).unwrap().len(), total);
        }
    }
}
