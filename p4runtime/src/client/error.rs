//! What can go wrong in a call, and whether trying again may help.

use p4runtime_proto::p4::v1 as proto;
use tonic::{Code, Status};

use crate::schema::SchemaError;

/// A call that failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The endpoint or TLS configuration is no good. Permanent.
    #[error("endpoint: {0}")]
    Endpoint(#[from] tonic::transport::Error),
    /// The device answered with an error, or did not answer.
    #[error("{call}: {}: {}", status.code(), crate::status::reason(status))]
    Rpc {
        /// The call.
        call: &'static str,
        /// The answer.
        status: Box<Status>,
    },
    /// There is no stream to the device now.
    #[error("not connected to the device")]
    NotConnected,
    /// The queue of messages to the device is full.
    #[error("the queue to the device is full")]
    Full,
    /// The session was shut down.
    #[error("the session is closed")]
    Closed,
    /// A single update that is larger than a batch may be. Permanent.
    #[error("an update of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// Size of the update.
        bytes: usize,
        /// Limit of a batch.
        limit: usize,
    },
    /// The device has no pipeline.
    #[error("the device has no forwarding pipeline")]
    NoPipeline,
    /// The device's P4Info makes no sense. Permanent.
    #[error("P4Info of the device: {0}")]
    Schema(#[from] SchemaError),
}

impl ClientError {
    pub(super) fn rpc(call: &'static str) -> impl Fn(Status) -> Self {
        move |status| Self::Rpc {
            call,
            status: Box::new(status),
        }
    }

    /// The code of the answer, if there was one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Rpc { status, .. } => Some(status.code()),
            _ => None,
        }
    }

    /// The same call may succeed later without any change on this side.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Rpc { status, .. } => retryable(status.code()),
            Self::NotConnected | Self::Full => true,
            Self::Endpoint(_)
            | Self::Closed
            | Self::TooLarge { .. }
            | Self::NoPipeline
            | Self::Schema(_) => false,
        }
    }

    /// Another client is the primary.
    pub fn not_primary(&self) -> bool {
        self.code() == Some(Code::PermissionDenied)
    }
}

/// Codes of conditions that pass.
pub fn retryable(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled
    )
}

/// One update that did not take place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct UpdateError {
    /// What the specification says of it.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Space of `number`, chosen by the device.
    pub space: String,
    /// The device's own number.
    pub number: i32,
}

impl UpdateError {
    /// The same update may succeed later; the others of the batch say nothing about it.
    pub fn retryable(&self) -> bool {
        retryable(self.code) || self.code == Code::ResourceExhausted
    }

    /// The device's state is not what the controller thinks: read it back.
    pub fn out_of_sync(&self) -> bool {
        matches!(self.code, Code::AlreadyExists | Code::NotFound)
    }
}

/// What became of one update.
pub type UpdateResult = Result<(), UpdateError>;

pub(super) fn update_result(error: &proto::Error) -> UpdateResult {
    match Code::from(error.canonical_code) {
        Code::Ok => Ok(()),
        code => Err(UpdateError {
            code,
            message: error.message.clone(),
            space: error.space.clone(),
            number: error.code,
        }),
    }
}

/// A write that ended before all of its batches were answered.
#[derive(Debug, thiserror::Error)]
#[error("write, after {} of {total} updates: {source}", done.len())]
pub struct WriteError {
    /// Results of the batches before, in order. Of the others, those of one batch may have taken place.
    pub done: Vec<UpdateResult>,
    /// How many updates there were.
    pub total: usize,
    /// Why it ended.
    pub source: ClientError,
}

/// Why a read ended.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// As a whole.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Some requests were refused; the others were answered.
    #[error("{} of {} read requests failed", results.iter().filter(|r| r.is_err()).count(), results.len())]
    Requests {
        /// One per request.
        results: Vec<UpdateResult>,
    },
}
