//! Who is the primary: a state machine without streams, clocks or locks.
//!
//! In: claims and departures of streams. Out: which notices go to whom, and whether a writer is the primary.
//! Invariant: per role at most one live stream is the primary, and its election id is the highest that was ever
//! claimed for the role; when it leaves, nobody takes its place until a claim reaches that id again.
//! Source: P4Runtime specification, section "Client Arbitration and Controller Replication".
//!
//! ```text
//!            claim(id >= highest)                  claim(id < highest) or claim(unset)
//!  stream ─────────────────────────▶ primary ──────────────────────────────────────▶ backup
//!            everybody is told          │ leave: everybody is told, no primary           only it is told
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use p4runtime_proto::Any;
use p4runtime_proto::google::rpc;
use p4runtime_proto::p4::v1 as proto;
use tonic::Code;

use super::switch::RoleScope;

/// A connected stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// What a stream claims.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The device.
    pub device_id: u64,
    /// The role; empty is the default role.
    pub role: String,
    /// Configuration of the role as given.
    pub config: Option<Any>,
    /// What the configuration means.
    pub scope: Arc<RoleScope>,
    /// `None` never becomes primary.
    pub election_id: Option<u128>,
}

/// Why a claim ends the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArbitrationError {
    /// No such device.
    #[error("device {0} is not known")]
    UnknownDevice(u64),
    /// Another live stream of the role has it.
    #[error("election id {0} is in use")]
    IdInUse(u128),
    /// Too many live streams for the role.
    #[error("more than {0} streams for one role")]
    TooManyStreams(usize),
    /// The device of a stream is fixed.
    #[error("the stream belongs to another device")]
    DeviceChanged,
    /// The role of a stream is fixed.
    #[error("the stream belongs to another role")]
    RoleChanged,
}

impl ArbitrationError {
    /// The code that the specification wants.
    pub fn code(&self) -> Code {
        match self {
            Self::UnknownDevice(_) => Code::NotFound,
            Self::IdInUse(_) => Code::InvalidArgument,
            Self::TooManyStreams(_) => Code::ResourceExhausted,
            Self::DeviceChanged | Self::RoleChanged => Code::FailedPrecondition,
        }
    }
}

/// A message to a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The stream.
    pub to: StreamId,
    /// The message.
    pub update: proto::MasterArbitrationUpdate,
}

/// What follows from a claim.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// To be sent at once.
    pub now: Vec<Notice>,
    /// To be sent when the writes in flight are over.
    pub after_writes: Vec<Notice>,
}

/// Arbitration of one device.
#[derive(Debug)]
pub struct Arbiter {
    device_id: u64,
    max_streams: usize,
    roles: BTreeMap<String, Role>,
    role_of: HashMap<StreamId, String>,
}

#[derive(Debug, Default)]
struct Role {
    highest: Option<u128>,
    primary: Option<StreamId>,
    config: Option<Any>,
    scope: Arc<RoleScope>,
    live: BTreeMap<StreamId, Option<u128>>,
}

impl Arbiter {
    /// Arbitration for `device_id`, with at most so many streams per role.
    pub fn new(device_id: u64, max_streams: usize) -> Self {
        Self {
            device_id,
            max_streams,
            roles: BTreeMap::new(),
            role_of: HashMap::new(),
        }
    }

    /// The device.
    pub fn device_id(&self) -> u64 {
        self.device_id
    }

    /// Handles an arbitration message; after an error the stream has to be closed.
    pub fn claim(&mut self, stream: StreamId, claim: Claim) -> Result<Outcome, ArbitrationError> {
        let known = self.role_of.get(&stream);
        if claim.device_id != self.device_id {
            return Err(match known {
                Some(_) => ArbitrationError::DeviceChanged,
                None => ArbitrationError::UnknownDevice(claim.device_id),
            });
        }
        if known.is_some_and(|role| *role != claim.role) {
            return Err(ArbitrationError::RoleChanged);
        }
        if let Some(role) = self.roles.get(&claim.role) {
            role.admit(stream, claim.election_id, self.max_streams)?;
        } else if self.max_streams == 0 {
            return Err(ArbitrationError::TooManyStreams(0));
        }
        self.role_of.insert(stream, claim.role.clone());
        let role = self.roles.entry(claim.role.clone()).or_default();
        Ok(role.update(self.device_id, stream, claim))
    }

    /// A stream is gone; the others of its role are told if it was the primary.
    pub fn leave(&mut self, stream: StreamId) -> Vec<Notice> {
        let Some(name) = self.role_of.remove(&stream) else {
            return Vec::new();
        };
        let Some(role) = self.roles.get_mut(&name) else {
            return Vec::new();
        };
        role.live.remove(&stream);
        if role.primary != Some(stream) {
            return Vec::new();
        }
        role.primary = None;
        role.live
            .keys()
            .map(|to| role.notice(self.device_id, &name, *to))
            .collect()
    }

    /// The scope of the role if the election id is that of its live primary.
    pub fn primary_scope(&self, role: &str, election_id: Option<u128>) -> Option<Arc<RoleScope>> {
        let role = self.roles.get(role)?;
        let primary = role.primary?;
        let held = role.live.get(&primary).copied().flatten()?;
        (election_id == Some(held)).then(|| role.scope.clone())
    }

    /// The scope of a role, for reads; unknown roles are unrestricted.
    pub fn scope(&self, role: &str) -> Option<Arc<RoleScope>> {
        self.roles.get(role).map(|role| role.scope.clone())
    }

    /// Whether the stream is the primary of its role.
    pub fn is_primary(&self, stream: StreamId) -> bool {
        self.role_of
            .get(&stream)
            .and_then(|role| self.roles.get(role))
            .is_some_and(|r| r.primary == Some(stream))
    }

    /// The primary of every role, with its scope.
    pub fn primaries(&self) -> impl Iterator<Item = (StreamId, &RoleScope)> {
        self.roles
            .values()
            .filter_map(|role| Some((role.primary?, role.scope.as_ref())))
    }
}

impl Role {
    fn admit(
        &self,
        stream: StreamId,
        id: Option<u128>,
        max_streams: usize,
    ) -> Result<(), ArbitrationError> {
        if let Some(id) = id
            && self
                .live
                .iter()
                .any(|(other, held)| *other != stream && *held == Some(id))
        {
            return Err(ArbitrationError::IdInUse(id));
        }
        if !self.live.contains_key(&stream) && self.live.len() >= max_streams {
            return Err(ArbitrationError::TooManyStreams(max_streams));
        }
        Ok(())
    }

    fn update(&mut self, device_id: u64, stream: StreamId, claim: Claim) -> Outcome {
        self.live.insert(stream, claim.election_id);
        let was_primary = self.primary == Some(stream);
        let wins = claim
            .election_id
            .is_some_and(|id| self.highest.is_none_or(|highest| id >= highest));
        if wins {
            self.highest = claim.election_id;
            self.primary = Some(stream);
            self.config = claim.config;
            self.scope = claim.scope;
        } else if was_primary {
            self.primary = None;
        }
        let notice = |to: &StreamId| self.notice(device_id, &claim.role, *to);
        if wins {
            let now = self
                .live
                .keys()
                .filter(|to| **to != stream)
                .map(notice)
                .collect();
            Outcome {
                now,
                after_writes: vec![notice(&stream)],
            }
        } else if was_primary {
            Outcome {
                now: self.live.keys().map(notice).collect(),
                ..Default::default()
            }
        } else {
            Outcome {
                now: vec![notice(&stream)],
                ..Default::default()
            }
        }
    }

    fn notice(&self, device_id: u64, name: &str, to: StreamId) -> Notice {
        let (code, message) = match self.primary {
            Some(primary) if primary == to => (rpc::Code::Ok, "primary"),
            Some(_) => (rpc::Code::AlreadyExists, "backup"),
            None => (rpc::Code::NotFound, "there is no primary"),
        };
        let role = (!name.is_empty() || self.config.is_some()).then(|| proto::Role {
            name: name.to_owned(),
            config: self.config.clone(),
            ..Default::default()
        });
        let status = rpc::Status {
            code: code as i32,
            message: message.to_owned(),
            details: Vec::new(),
        };
        let update = proto::MasterArbitrationUpdate {
            device_id,
            role,
            election_id: self.highest.map(to_proto),
            status: Some(status),
        };
        Notice { to, update }
    }
}

/// An election id as a number.
pub fn from_proto(id: &proto::Uint128) -> u128 {
    u128::from(id.high) << 64 | u128::from(id.low)
}

/// An election id as a message.
pub fn to_proto(id: u128) -> proto::Uint128 {
    proto::Uint128 {
        high: (id >> 64) as u64,
        low: id as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: i32 = 0;
    const NOT_FOUND: i32 = 5;
    const ALREADY_EXISTS: i32 = 6;

    enum Step {
        Claim(u64, &'static str, Option<u128>),
        Leave(u64),
    }
    use Step::{Claim as C, Leave as L};

    fn run(
        arbiter: &mut Arbiter,
        step: &Step,
    ) -> Result<Vec<(u64, i32, Option<u128>)>, ArbitrationError> {
        let notices = match step {
            C(stream, role, election_id) => {
                let claim = Claim {
                    device_id: 1,
                    role: (*role).into(),
                    config: None,
                    scope: Arc::default(),
                    election_id: *election_id,
                };
                let outcome = arbiter.claim(StreamId(*stream), claim)?;
                outcome
                    .now
                    .into_iter()
                    .chain(outcome.after_writes)
                    .collect()
            }
            L(stream) => arbiter.leave(StreamId(*stream)),
        };
        let told = |n: Notice| {
            (
                n.to.0,
                n.update.status.unwrap().code,
                n.update.election_id.as_ref().map(from_proto),
            )
        };
        Ok(notices.into_iter().map(told).collect())
    }

    /// Step, who is told what (stream, status, highest id).
    type Told = &'static [(u64, i32, Option<u128>)];

    #[test]
    fn conversations() {
        let cases: &[(&str, &[(Step, Told)])] = &[
            (
                "first becomes primary",
                &[(C(1, "", Some(5)), &[(1, OK, Some(5))])],
            ),
            (
                "zero is a legal id",
                &[(C(1, "", Some(0)), &[(1, OK, Some(0))])],
            ),
            (
                "unset is backup, with no primary ever",
                &[(C(1, "", None), &[(1, NOT_FOUND, None)])],
            ),
            (
                "lower id is backup and only it is told",
                &[
                    (C(1, "", Some(5)), &[(1, OK, Some(5))]),
                    (C(2, "", Some(4)), &[(2, ALREADY_EXISTS, Some(5))]),
                ],
            ),
            (
                "higher id takes over",
                &[
                    (C(1, "", Some(5)), &[(1, OK, Some(5))]),
                    (
                        C(2, "", Some(6)),
                        &[(1, ALREADY_EXISTS, Some(6)), (2, OK, Some(6))],
                    ),
                ],
            ),
            (
                "nobody is promoted when the primary leaves",
                &[
                    (C(1, "", Some(5)), &[(1, OK, Some(5))]),
                    (C(2, "", Some(4)), &[(2, ALREADY_EXISTS, Some(5))]),
                    (L(1), &[(2, NOT_FOUND, Some(5))]),
                    (C(2, "", Some(4)), &[(2, NOT_FOUND, Some(5))]),
                    (C(2, "", Some(5)), &[(2, OK, Some(5))]),
                ],
            ),
            (
                "a backup leaves in silence",
                &[
                    (C(1, "", Some(5)), &[(1, OK, Some(5))]),
                    (C(2, "", None), &[(2, ALREADY_EXISTS, Some(5))]),
                    (L(2), &[]),
                ],
            ),
            (
                "a primary steps down",
                &[
                    (C(1, "", Some(5)), &[(1, OK, Some(5))]),
                    (C(2, "", Some(4)), &[(2, ALREADY_EXISTS, Some(5))]),
                    (
                        C(1, "", Some(3)),
                        &[(1, NOT_FOUND, Some(5)), (2, NOT_FOUND, Some(5))],
                    ),
                ],
            ),
            (
                "roles do not see each other",
                &[
                    (C(1, "a", Some(5)), &[(1, OK, Some(5))]),
                    (C(2, "b", Some(5)), &[(2, OK, Some(5))]),
                ],
            ),
            (
                "a primary repeats itself",
                &[
                    (C(1, "", Some(5)), &[(1, OK, Some(5))]),
                    (C(2, "", None), &[(2, ALREADY_EXISTS, Some(5))]),
                    (
                        C(1, "", Some(5)),
                        &[(2, ALREADY_EXISTS, Some(5)), (1, OK, Some(5))],
                    ),
                ],
            ),
        ];
        for (name, steps) in cases {
            let mut arbiter = Arbiter::new(1, 8);
            for (at, (step, told)) in steps.iter().enumerate() {
                assert_eq!(run(&mut arbiter, step).unwrap(), *told, "{name}, step {at}");
            }
        }
    }

    #[test]
    fn refusals() {
        let mut arbiter = Arbiter::new(1, 2);
        run(&mut arbiter, &C(1, "", Some(5))).unwrap();
        assert_eq!(
            run(&mut arbiter, &C(2, "", Some(5))),
            Err(ArbitrationError::IdInUse(5))
        );
        assert_eq!(
            run(&mut arbiter, &C(1, "x", Some(5))),
            Err(ArbitrationError::RoleChanged)
        );
        run(&mut arbiter, &C(2, "", None)).unwrap();
        assert_eq!(
            run(&mut arbiter, &C(3, "", None)),
            Err(ArbitrationError::TooManyStreams(2))
        );
        let elsewhere = Claim {
            device_id: 0,
            role: "".into(),
            config: None,
            scope: Arc::default(),
            election_id: None,
        };
        assert_eq!(
            arbiter.claim(StreamId(9), elsewhere.clone()),
            Err(ArbitrationError::UnknownDevice(0))
        );
        assert_eq!(
            arbiter.claim(StreamId(1), elsewhere),
            Err(ArbitrationError::DeviceChanged)
        );
        assert!(arbiter.primary_scope("", Some(5)).is_some());
        assert!(arbiter.primary_scope("", Some(6)).is_none());
        assert!(arbiter.primary_scope("", None).is_none());
        assert!(arbiter.primary_scope("x", Some(5)).is_none());
        arbiter.leave(StreamId(1));
        assert!(arbiter.primary_scope("", Some(5)).is_none());
    }
}
