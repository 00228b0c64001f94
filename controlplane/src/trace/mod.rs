//! What a device does with a packet, and why.
//!
//! In: a packet, a device, and somebody who knows the cluster, if there is one. Out: a story of the packet's way: where
//! it came in, who is asking, which Service and which of its endpoints, with which source address, which way out, and how it
//! ends. Invariant: the device is only read, and only the entries that the packet meets, however many it holds.
//!
//! ```text
//! packet ─▶ twin (the device's program in an engine of our own; entries fetched as lookups miss) ─▶ what each table said
//!                                                                       why (the reconciler) ─▶ story
//! ```
//!
//! A device that hashes in another way may pick another endpoint for a new connection; everything else is the same.

pub mod packet;
mod seen;
mod story;
#[cfg(test)]
mod tests;
mod twin;
pub mod verdict;
pub mod why;

use std::sync::Arc;

use p4runtime::client::{Client, ClientError, ReadError};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::tables::port;
use seen::Seen;
use twin::{Ran, Twin};
use why::Knowing;

/// Packets in one request at most.
pub const MOST: usize = 1000;

/// What is to be traced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The port that packets come in at; none: the one where their sender is.
    pub port: Option<u32>,
    /// Frames, in hexadecimal.
    pub packets: Vec<String>,
}

/// One packet's way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traced {
    /// What was traced.
    pub packet: String,
    /// Where it came in.
    pub port: u32,
    /// What happened, in order.
    pub story: Vec<Line>,
    /// Name of what the pipeline counts it as, see [`verdict`].
    pub verdict: String,
    /// The reason under which it is counted in `nicproxy_drops_total`, if it is dropped.
    pub dropped: Option<String>,
    /// What leaves, and where.
    pub leaves: Vec<String>,
    /// The tables' own words.
    pub steps: Vec<Step>,
}

/// One part of the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What it is about: `port`, `frontend`, `endpoint`, ….
    pub about: String,
    /// What happened.
    pub says: String,
}

/// One table's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Table.
    pub table: String,
    /// What was looked up.
    pub key: String,
    /// Whether an entry matched.
    pub hit: bool,
    /// Whose entry.
    pub owner: String,
    /// What runs, with its data.
    pub action: String,
}

/// Why a packet cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The device does not answer.
    #[error("the device does not answer: {0}")]
    Read(#[from] ReadError),
    /// The device does not answer.
    #[error("the device does not answer: {0}")]
    Client(#[from] ClientError),
    /// It runs a program that cannot be run here.
    #[error(
        "the device's program is neither in source form nor one of those bundled with this nicproxy; \
         load a bundled one with `nicproxy run --program`"
    )]
    Program,
    /// The compiler or the engine refuses the program.
    #[error("the device's program cannot be run here: {0}")]
    Load(String),
    /// An entry of the device makes no sense to its own program.
    #[error("an entry of table {table} cannot be taken over: {reason}")]
    Entry {
        /// Table.
        table: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not hexadecimal.
    #[error("packet {0} is not written in hexadecimal")]
    Hex(usize),
    /// Too many.
    #[error("{0} packets are too many at once; at most {MOST}")]
    TooMany(usize),
}

/// Traces packets on one device.
pub struct Tracer {
    client: Client,
    /// Its program, as last seen, by cookie.
    program: Mutex<Option<(u64, Arc<softnic::Program>)>>,
}

impl Tracer {
    /// For the device of a session.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            program: Mutex::new(None),
        }
    }

    /// Traces the packets of a request, one at a time, as if they came in this order.
    ///
    /// # Errors
    /// When the device does not answer, or runs a program that this build cannot run.
    pub async fn trace(
        &self,
        request: &Request,
        knowing: Option<&dyn Knowing>,
    ) -> Result<Vec<Traced>, TraceError> {
        if request.packets.len() > MOST {
            return Err(TraceError::TooMany(request.packets.len()));
        }
        let packets: Vec<Vec<u8>> = request
            .packets
            .iter()
            .enumerate()
            .map(|(at, text)| packet::from_hex(text).ok_or(TraceError::Hex(at + 1)))
            .collect::<Result<_, _>>()?;
        let mut twin = self.twin().await?;
        let mut traced = Vec::with_capacity(packets.len());
        for bytes in &packets {
            let port = match request.port {
                Some(port) => port,
                None => twin.port_of(bytes).await?,
            };
            traced.push(self.one(&mut twin, port, bytes, knowing).await?);
        }
        Ok(traced)
    }

    async fn one(
        &self,
        twin: &mut Twin,
        port: u32,
        bytes: &[u8],
        knowing: Option<&dyn Knowing>,
    ) -> Result<Traced, TraceError> {
        let first = twin.run(port, bytes).await?;
        let then = twin.opened(&first, port).await?;
        let why = match (knowing, why::Question::of(&first.seen)) {
            (Some(knowing), Some(question)) => knowing.why(question).await,
            _ => None,
        };
        let end = then.as_ref().unwrap_or(&first);
        let steps = first
            .seen
            .iter()
            .chain(then.iter().flat_map(|ran| &ran.seen));
        Ok(Traced {
            packet: packet::describe(bytes),
            port,
            story: story::tell(bytes, port, &first, then.as_ref(), why.as_ref()),
            verdict: end.verdict.to_owned(),
            dropped: crate::telemetry::counters::drop_reason(end.verdict).map(str::to_owned),
            leaves: leaving(end),
            steps: steps.map(Seen::step).collect(),
        })
    }

    async fn twin(&self) -> Result<Twin, TraceError> {
        let mut known = self.program.lock().await;
        let cookie = twin::cookie(&self.client).await?;
        let program = match &*known {
            Some((same, program)) if Some(*same) == cookie => program.clone(),
            _ => {
                let program = Arc::new(twin::program(&self.client).await?);
                *known = cookie.map(|cookie| (cookie, program.clone()));
                program
            }
        };
        Twin::new(self.client.clone(), program)
    }
}

fn leaving(ran: &Ran) -> Vec<String> {
    let sent = ran.leaves.iter().map(|(port, bytes)| {
        if *port == port::SLOW_PORT {
            "to the control plane".to_owned()
        } else {
            format!("port {port}: {}", packet::describe(bytes))
        }
    });
    sent.collect()
}
