//! The steps of a scenario, as written in steps.yaml.
//!
//! In: YAML. Out: [`Steps`]. One step is a map of one key, the verb.
//!
//! | verb | meaning |
//! |---|---|
//! | `send` | a packet into a port |
//! | `expect` | the packet last sent comes out, but for what is named; TTL one less and MACs of the route |
//! | `tunnelled` | the packet last sent comes out as it is, in a tunnel to an endpoint |
//! | `unaltered` | the packet last sent comes out of this port byte for byte |
//! | `frame` | exactly this frame comes out of this port |
//! | `announced` | these addresses were announced on every port that is configured |
//! | `answer` | the control plane answers the packet last sent |
//! | `dropped` | the packet last sent is counted under this verdict, and nothing comes out |
//! | `silence` | as `dropped`, for packets that the control plane gets and must not answer |
//! | `apply`, `delete` | objects of the cluster change; waits until they are programmed |
//! | `connect`, `exchange` | many connections at once |
//! | `balance` | the control plane looks at open connections and weighs endpoints by them |
//! | `count`, `entries` | counters and tables, read from the switch |
//! | `restart` | the control plane stops and another one starts, which must write so many updates |

use std::collections::BTreeMap;

use serde::Deserialize;

use super::template::{PlaceSpec, Template};

/// A whole steps.yaml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// What the scenario shows, in a sentence.
    pub about: String,
    /// Targets that cannot run it (`pna`, `v1model`, `switch`), with the reason.
    #[serde(default)]
    pub skip: BTreeMap<String, String>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A packet into a port.
    Send(Template),
    /// The packet last sent, translated or routed.
    Expect(Template),
    /// The packet last sent, on its way to an endpoint that answers by itself.
    Tunnelled(Tunnelled),
    /// The packet last sent, bridged.
    Unaltered(u32),
    /// A frame byte for byte.
    Frame(Frame),
    /// Addresses whose owner the switch says it is.
    Announced(Vec<std::net::IpAddr>),
    /// The control plane's answer.
    Answer(Answer),
    /// Counted under this verdict, and nowhere to be seen.
    Dropped(String),
    /// Counted under this verdict, and no answer.
    Silence(String),
    /// Objects of a file.
    Apply(String),
    /// Objects, as `Service/namespace/name` or `Node/name`.
    Delete(Vec<String>),
    /// New connections.
    Connect(Connect),
    /// Data both ways on the connections of this name.
    Exchange(Exchange),
    /// A look at open connections.
    Balance(Balance),
    /// Packets of a frontend.
    Count(Count),
    /// Entries of a table.
    Entries(Entries),
    /// Another control plane.
    Restart(Restart),
}

/// A packet that is not translated.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tunnelled {
    /// How.
    pub via: Tunnel,
    /// Outer source; not of frames on one link.
    #[serde(default)]
    pub from: Option<std::net::IpAddr>,
    /// The endpoint.
    pub to: std::net::IpAddr,
}

/// What is around a packet that is not translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tunnel {
    /// An IP header (RFC 2003, RFC 2473).
    Ipip,
    /// IP and UDP (GUE, variant 1).
    Gue,
    /// Nothing: a frame to the endpoint.
    SameLink,
}

/// A frame.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Port it comes out of.
    pub port: u32,
    /// Its bytes in hexadecimal, without zeros at the end that fill it up.
    pub hex: String,
}

/// A packet that the control plane made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Port it comes out of.
    pub port: u32,
    /// Source; none: not looked at.
    #[serde(default)]
    pub from: Option<PlaceSpec>,
    /// TCP flags: the answer is a segment.
    #[serde(default)]
    pub flags: Option<String>,
    /// Sequence number of the segment.
    #[serde(default)]
    pub seq: Option<u32>,
    /// Acknowledgment number of the segment.
    #[serde(default)]
    pub ack: Option<u32>,
    /// A name of [`super::error::kind`]: the answer is an ICMP error that quotes the packet last sent.
    #[serde(default)]
    pub icmp: Option<String>,
}

/// Connections to open: SYN and SYN+ACK, or the first datagram and its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// Name for later steps.
    pub name: String,
    /// How many; source ports count up,
    pub count: u16,
    /// or, with this, the clients' addresses.
    #[serde(default)]
    pub clients: bool,
    /// Port of the switch behind which the client is.
    pub port: u32,
    /// Client with its first source port.
    pub from: String,
    /// VIP and port.
    pub to: String,
    /// `tcp`, `udp` or `sctp`.
    pub proto: String,
    /// Endpoints that may be chosen.
    pub endpoints: Vec<String>,
    /// How many of them each endpoint has to get, in proportion; an endpoint with 0 gets none.
    #[serde(default)]
    pub shares: Vec<u32>,
    /// Whether every endpoint must be chosen at least once.
    #[serde(default)]
    pub every: bool,
    /// Earlier connections whose one endpoint all of these must get; their own name: all of these get one.
    pub like: Option<String>,
    /// Earlier connections, one by one: each of these must get the same endpoint.
    pub each_like: Option<String>,
    /// Earlier connections, one by one: not all of these may get the same endpoint.
    pub some_unlike: Option<String>,
}

/// Data on open connections.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Name given when they were opened.
    pub name: String,
    /// Close them: FIN both ways.
    #[serde(default)]
    pub close: bool,
}

/// A look at open connections, as the daemon has one every ten seconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balance {
    /// Whether weights have to change by it.
    pub changes: bool,
}

/// Packets counted by a frontend.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// VIP and port.
    pub frontend: String,
    /// `tcp`, `udp` or `sctp`.
    pub proto: String,
    /// At least so many packets have been counted.
    pub at_least: u64,
}

/// Number of entries of a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entries {
    /// Table.
    pub table: String,
    /// How many there must be.
    pub count: usize,
}

/// Another control plane.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Updates it must write.
    pub writes: usize,
}

impl Step {
    /// The verb and what tells the step from others.
    pub fn brief(&self) -> String {
        match self {
            Self::Send(packet) => format!("send on port {}", packet.port.unwrap_or_default()),
            Self::Expect(_) => "expect".to_owned(),
            Self::Tunnelled(way) => format!("tunnelled to {}", way.to),
            Self::Unaltered(port) => format!("unaltered on port {port}"),
            Self::Frame(frame) => format!("frame on port {}", frame.port),
            Self::Announced(addresses) => format!("announced: {addresses:?}"),
            Self::Answer(answer) => format!("answer on port {}", answer.port),
            Self::Dropped(verdict) => format!("dropped: {verdict}"),
            Self::Silence(verdict) => format!("silence: {verdict}"),
            Self::Apply(file) => format!("apply {file}"),
            Self::Delete(objects) => format!("delete {}", objects.join(", ")),
            Self::Connect(connect) => format!("connect {}", connect.name),
            Self::Exchange(exchange) => format!("exchange on {}", exchange.name),
            Self::Balance(_) => "balance".to_owned(),
            Self::Count(count) => format!("count of {}", count.frontend),
            Self::Entries(entries) => format!("entries of {}", entries.table),
            Self::Restart(_) => "restart".to_owned(),
        }
    }
}

/// Names of the verdicts in order of their index in the counter `verdicts`.
pub const VERDICTS: [&str; 26] = [
    "forwarded",
    "translated",
    "replied",
    "bridged",
    "injected",
    "new-flow",
    "reject",
    "conflict",
    "ttl-expired",
    "policy",
    "source",
    "no-endpoint",
    "fragment",
    "malformed",
    "no-route",
    "checksum",
    "no-slow-path",
    "blackhole",
    "port",
    "later-fragment",
    "tunnelled",
    "no-masquerade",
    "no-tunnel",
    "related",
    "state",
    "neighbor",
];
