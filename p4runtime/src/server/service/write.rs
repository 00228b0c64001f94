//! Write: device, role, primary, pipeline, then each update; one error per update.

use p4runtime_proto::p4::v1 as proto;
use prost::DecodeError;
use tonic::{Code, Status};

use super::{Loaded, Shared, lost_thread, no_pipeline};
use crate::server::events::Hub;
use crate::server::switch::{Op, RoleScope, SwitchError, Writer};
use crate::server::validate::{self, Checked, Collector, Invalid};
use crate::status::batch_failed;
use crate::wire::{Scratch, Updates, WriteRequest};

/// Updates that take less time than it takes to hand them to another thread and to hear of the end.
const SMALL: usize = 256;

/// Why an update was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpdateError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Switch(#[from] SwitchError),
    #[error("the update is malformed: {0}")]
    Malformed(#[from] DecodeError),
}

impl UpdateError {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Invalid(invalid) => invalid.code(),
            Self::Switch(error) => error.code(),
            Self::Malformed(_) => Code::InvalidArgument,
        }
    }
}

impl Shared {
    pub(super) async fn write(&self, request: WriteRequest) -> Result<(), Status> {
        self.check_device(request.device_id)?;
        self.check_primary(&request.role, request.role_id, request.election_id.as_ref())?;
        if request.atomicity != proto::write_request::Atomicity::ContinueOnError as i32 {
            return Err(Status::unimplemented("only CONTINUE_ON_ERROR is supported"));
        }
        let pipelines = self.pipelines.clone().write_owned().await;
        // Another primary may have come while this batch waited.
        let scope =
            self.check_primary(&request.role, request.role_id, request.election_id.as_ref())?;
        let loaded = pipelines.target().cloned().ok_or_else(no_pipeline)?;
        let hub = self.hub.clone();
        let small = request.updates.len() <= SMALL;
        let batch = move || {
            let _one_at_a_time = pipelines;
            apply(&loaded, &hub, &scope, &request.updates)
        };
        let done = if small {
            batch()
        } else {
            tokio::task::spawn_blocking(batch)
                .await
                .map_err(lost_thread)?
        };
        match done {
            Ok(()) => Ok(()),
            Err(Failed { total, errors }) => Err(batch_failed(total, errors)),
        }
    }
}

struct Failed {
    total: usize,
    errors: Vec<(usize, Code, String)>,
}

/// A batch on its way.
struct Batch<'l> {
    loaded: &'l Loaded,
    hub: &'l Hub,
    scope: &'l RoleScope,
    writer: Box<dyn Writer + 'l>,
    errors: Vec<(usize, Code, String)>,
}

fn apply(loaded: &Loaded, hub: &Hub, scope: &RoleScope, updates: &Updates) -> Result<(), Failed> {
    let mut batch = Batch {
        loaded,
        hub,
        scope,
        writer: loaded.pipeline.writer(),
        errors: Vec::new(),
    };
    let mut plain = Collector::new(&loaded.schema, scope);
    let mut scratch = Scratch::default();
    for (at, bytes) in updates.iter().enumerate() {
        if plain.take(bytes) {
            continue;
        }
        // What was gathered comes first; the update may begin something new then.
        if batch.insert(&mut plain, at) && plain.take(bytes) {
            continue;
        }
        let done = scratch
            .load(bytes)
            .map_err(UpdateError::from)
            .and_then(|update| batch.one(update));
        if let Err(error) = done {
            batch.failed(at, &error);
        }
    }
    batch.insert(&mut plain, updates.len());
    match batch.errors {
        errors if errors.is_empty() => Ok(()),
        errors => Err(Failed {
            total: updates.len(),
            errors,
        }),
    }
}

impl Batch<'_> {
    fn failed(&mut self, at: usize, error: &UpdateError) {
        self.errors.push((at, error.code(), error.to_string()));
    }

    /// Inserts what was gathered, which ends before the update at `end`; `false`: nothing was.
    fn insert(&mut self, gathered: &mut Collector<'_, '_>, end: usize) -> bool {
        let Some(rows) = gathered.finish() else {
            return false;
        };
        let first = end - rows.len();
        let errors = &mut self.errors;
        self.writer.insert(&rows, &mut |at, error| {
            errors.push((first + at, error.code(), error.to_string()));
        });
        true
    }

    fn one(&mut self, update: &proto::Update) -> Result<(), UpdateError> {
        let allowed = |id| match self.scope.may_write(id) {
            true => Ok(()),
            false => Err(Invalid::Role { id }),
        };
        match validate::update(&self.loaded.schema, update)? {
            Checked::Nothing => Ok(()),
            Checked::Switch(update) => {
                allowed(validate::object_id(&update.item))?;
                Ok(self.writer.apply(&update)?)
            }
            Checked::Digest { op, digest, config } => {
                allowed(digest.id)?;
                let done = self.hub.with_digests(|queues| match op {
                    Op::Insert => queues.insert(digest.id, config),
                    Op::Modify => queues.modify(digest.id, config),
                    Op::Delete => queues.delete(digest.id),
                });
                match (done, op) {
                    (true, _) => Ok(()),
                    (false, Op::Insert) => Err(SwitchError::AlreadyExists("digest entry").into()),
                    (false, _) => Err(SwitchError::NotFound("digest entry").into()),
                }
            }
        }
    }
}
