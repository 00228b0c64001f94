//! How packets end, in words.
//!
//! The names are those of [`crate::telemetry::counters::VERDICTS`]; `docs/metrics.md` has the same table.

use crate::telemetry::counters::VERDICTS;

/// What each verdict means, in the order of [`VERDICTS`].
pub const MEANINGS: [&str; VERDICTS.len()] = [
    "routed: not a Service's packet",
    "translated and sent to the endpoint",
    "translated back and sent to the client",
    "sent to the port's peer as it came",
    "sent out for the control plane",
    "handed to the control plane, which opens the connection",
    "refused: the control plane answers with a TCP RST or an ICMP unreachable",
    "handed to the control plane: another connection has the same answers, this one gets another source port",
    "handed to the control plane, which answers with an ICMP time exceeded",
    "dropped: the Service has no endpoint for this client and is not to refuse, or serves another port there",
    "dropped: the client is in none of the Service's loadBalancerSourceRanges",
    "dropped: the slot that the connection hashes to is empty",
    "dropped: a later fragment to a Service's address, whose ports travelled in the first one",
    "dropped: the headers are cut short or make no sense",
    "dropped: no route leads to its destination",
    "dropped: its SCTP checksum cannot be corrected for the new ports",
    "dropped: it would have to go to the control plane, which does not answer for this port",
    "dropped: its destination is closed by a route, such as an unassigned address of a Service range",
    "dropped: the port is not configured",
    "a later fragment, sent on as it came",
    "sent to the endpoint in a tunnel, which answers the client itself",
    "dropped: it needs another source address and there is none to give",
    "dropped: endpoints that answer directly cannot be reached: no tunnel is configured",
    "an ICMP error about an open connection, translated back with the packet that it quotes",
    "handed to the control plane, which changes how long its connection may be idle and sends it back in",
    "asks for the MAC address of one of the NIC's own addresses: the control plane answers",
];

/// What a verdict means.
pub fn meaning(verdict: &str) -> &'static str {
    let at = VERDICTS.iter().position(|name| *name == verdict);
    at.and_then(|at| MEANINGS.get(at))
        .copied()
        .unwrap_or("not known to this nicproxy")
}
