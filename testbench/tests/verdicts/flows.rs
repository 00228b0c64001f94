//! The flows: who calls which address, and what came of several calls.
//!
//! In: nothing. Out: the list of flows, in the order of the table; verdicts.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use testbench::netns::caller::{Call, Outcome, Transport};
use testbench::netns::place::Place;
use testbench::netns::topology::NODE_SECOND_ADDRESSES;

use crate::objects::Case;

/// Calls of one flow at most. With four endpoints all answer but once in a hundred thousand times.
const CALLS: usize = 48;
/// Calls, per endpoint that is known, after which no further one is expected.
const MORE: usize = 16;
/// Calls after the first one when that was not answered.
const UNANSWERED: usize = 2;
/// Calls without an answer, among others that were answered, after which no more are made.
const LOST: usize = 4;

/// How calls are made.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Flows of a client under way at one time.
    pub at_once: usize,
    /// How long a call may take.
    pub patience: Duration,
}

impl Manner {
    /// The first retransmission of a SYN comes after one second, the second two later.
    pub const BRISK: Self = Self {
        at_once: 12,
        patience: Duration::from_millis(3500),
    };
    /// Little at one time, and long enough for an answer from a machine that has much else to do. What stays silent
    /// costs the machine nothing, but the test three times that patience, one after the other.
    pub const PATIENT: Self = Self {
        at_once: 4,
        patience: Duration::from_secs(16),
    };
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    Pod,
    Node,
    Outside,
}

/// Which address of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    ClusterIp,
    /// The cluster IP, a port that the Service does not have.
    UnservedPort,
    /// A cluster IP that no Service has.
    Unassigned,
    NodePort,
    /// The node port at another address of the node than its primary one.
    OtherNodeAddress,
    /// The node port at the client's own loopback address.
    Loopback,
    LoadBalancer,
    External,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    pub case: Case,
    pub client: Client,
    pub entry: Entry,
    pub transport: Transport,
    pub v6: bool,
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = if self.v6 { "IPv6" } else { "IPv4" };
        write!(
            f,
            "{:?} → {} {:?} {family} {}",
            self.client,
            self.case.name(),
            self.entry,
            self.transport
        )
    }
}

/// What came of the calls of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Who answered.
    pub by: BTreeSet<IpAddr>,
    /// The client's address as they saw it.
    pub seen_as: BTreeSet<IpAddr>,
    /// Calls that were not answered.
    pub others: BTreeSet<Outcome>,
    /// Calls that stayed silent while others of the flow were answered.
    pub lost: usize,
}

impl Flow {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut flows = Vec::new();
        for (case, client, entry) in Case::ALL.into_iter().flat_map(combinations) {
            for v6 in [false, true] {
                for transport in [Transport::Tcp, Transport::Udp] {
                    flows.push(Self {
                        case,
                        client,
                        entry,
                        transport,
                        v6,
                    });
                }
            }
        }
        flows
    }

    /// The address that it calls.
    fn target(&self) -> SocketAddr {
        let udp = self.transport == Transport::Udp;
        let port = if udp { 7 } else { 80 };
        let (node, v6) = (Place(0), self.v6);
        let at = usize::from(v6);
        let (address, port) = match self.entry {
            Entry::ClusterIp => (self.case.cluster_ip(v6), port),
            Entry::UnservedPort => (self.case.cluster_ip(v6), 81),
            Entry::Unassigned if v6 => ("fd00:10:96::7:fa".parse().unwrap(), port),
            Entry::Unassigned => ("10.96.7.250".parse().unwrap(), port),
            Entry::NodePort => (node.hosts()[at], self.case.node_port(udp)),
            Entry::OtherNodeAddress => {
                let address = NODE_SECOND_ADDRESSES[at].parse().unwrap();
                (address, self.case.node_port(udp))
            }
            Entry::Loopback if v6 => (Ipv6Addr::LOCALHOST.into(), self.case.node_port(udp)),
            Entry::Loopback => (Ipv4Addr::LOCALHOST.into(), self.case.node_port(udp)),
            Entry::LoadBalancer => (self.case.load_balancer(v6), port),
            Entry::External => (self.case.external(v6), port),
        };
        SocketAddr::new(address, port)
    }

    async fn judge(self, patience: Duration) -> (Self, Verdict) {
        let call = Call {
            from: None,
            to: self.target(),
            transport: self.transport,
        };
        let mut verdict = Verdict::default();
        let (mut left, mut nothing_new) = (CALLS, 0);
        while left > 0 && nothing_new < MORE * verdict.by.len().max(1) {
            left -= 1;
            nothing_new += 1;
            match call.make(patience).await {
                Outcome::Answered { by, seen_as } => {
                    if verdict.by.insert(by) {
                        nothing_new = 0;
                    }
                    verdict.seen_as.insert(seen_as);
                }
                other => {
                    verdict.lost += usize::from(other == Outcome::Silent);
                    verdict.others.insert(other);
                    if verdict.by.is_empty() || verdict.lost > LOST {
                        left = left.min(UNANSWERED);
                    }
                }
            }
        }
        if verdict.by.is_empty() {
            verdict.lost = 0;
        } else {
            verdict.others.remove(&Outcome::Silent);
        }
        (self, verdict)
    }
}

/// Judges a client's flows, some at a time; the thread is in its namespace.
pub fn judge(client: Client, flows: &[Flow], manner: Manner) -> Vec<(Flow, Verdict)> {
    let flows = flows.iter().copied().filter(|flow| flow.client == client);
    let judged = futures::stream::iter(flows.map(|flow| flow.judge(manner.patience)))
        .buffer_unordered(manner.at_once)
        .collect();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(judged)
}

/// Clients and entries of a case. Every case is called by all of its addresses by all clients; what no Service answers,
/// or only the node itself may have answered, needs one case only.
fn combinations(case: Case) -> Vec<(Case, Client, Entry)> {
    use Client::{Node, Outside, Pod};
    let clients = [Pod, Node, Outside];
    let mut entries = vec![
        Entry::ClusterIp,
        Entry::NodePort,
        Entry::LoadBalancer,
        Entry::External,
    ];
    if case == Case::Web {
        entries.extend([
            Entry::UnservedPort,
            Entry::Unassigned,
            Entry::OtherNodeAddress,
        ]);
    }
    let all = clients
        .into_iter()
        .flat_map(|client| entries.iter().map(move |&entry| (case, client, entry)));
    let loopback = (case == Case::Web).then_some((case, Node, Entry::Loopback));
    all.chain(loopback).collect()
}
