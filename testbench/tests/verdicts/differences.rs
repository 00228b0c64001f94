//! Where verdicts differ from kube-proxy's nftables mode, and why.
//!
//! In: nothing. Out: rules, each with its reason as it stands in docs/kube-proxy.md. The first that applies counts; one
//! that never applies is a failure of the test.

use testbench::netns::caller::Transport;
use testbench::site::Proxy;

use crate::flows::{Client, Entry, Flow};
use crate::objects::Case;

/// A difference that has a reason.
pub struct Difference {
    /// Where it is.
    pub applies: fn(Proxy, &Flow) -> bool,
    /// The reason.
    pub why: &'static str,
}

fn is_bump(proxy: Proxy) -> bool {
    matches!(proxy, Proxy::Bump | Proxy::BumpV1model)
}

/// Some endpoint is on the client's node.
fn has_local_endpoints(case: Case) -> bool {
    matches!(
        case,
        Case::Local | Case::Internal | Case::Hairpin | Case::Beside | Case::StickyLocal
    )
}

/// Some address of the case refuses or drops what the client's node sends.
fn is_unanswered(case: Case) -> bool {
    matches!(
        case,
        Case::InternalAway
            | Case::Empty
            | Case::EmptyLocal
            | Case::Unready
            | Case::Barred
            | Case::BarredEmpty
    )
}

pub const ALL: &[Difference] = &[
    Difference {
        applies: |_, flow| {
            let unserved = matches!(flow.entry, Entry::UnservedPort | Entry::Unassigned);
            let datagram = flow.transport == Transport::Udp;
            flow.client == Client::Node && datagram && (unserved || is_unanswered(flow.case))
        },
        why: "A program on the node itself is told at once, as an operation that is not permitted, when the kernel drops or \
              refuses its datagram; behind a NIC it hears of a refusal as everybody else does, and of a drop nothing.",
    },
    Difference {
        applies: |_, flow| flow.client == Client::Node && flow.entry == Entry::NodePort,
        why: "A node port called on its own node never reaches the NIC: the host's kernel delivers to itself what goes to its \
              own addresses.",
    },
    Difference {
        applies: |proxy, flow| {
            is_bump(proxy) && flow.client == Client::Pod && flow.entry == Entry::NodePort
        },
        why: "Behind a bump in the wire the same holds for node ports that the node's own pods call.",
    },
    Difference {
        applies: |_, flow| {
            let balanced = matches!(flow.entry, Entry::LoadBalancer | Entry::External);
            flow.client == Client::Node && flow.v6 && balanced
        },
        why: "kube-proxy takes every address of its host for the node's; nicproxy takes those that the Node object or \
              node_addresses lists. The node calls IPv6 load balancers from an address that is in neither, and counts as outside.",
    },
    Difference {
        applies: |proxy, flow| {
            let inside = flow.client != Client::Outside;
            is_bump(proxy) && inside && has_local_endpoints(flow.case)
        },
        why: "Behind a bump in the wire a connection between a client and an endpoint of one node gets the NIC's own source \
              address, since answers would not come by the NIC otherwise; kube-proxy keeps the client's, or takes the node's.",
    },
    Difference {
        applies: |proxy, flow| {
            let outside = flow.client == Client::Outside;
            is_bump(proxy) && outside && has_local_endpoints(flow.case)
        },
        why: "Behind a bump in the wire a client from outside whose source is changed gets, towards endpoints on this node, \
              the address that masquerade.addresses gives with local, or keeps its own where there is none: the kernel would \
              keep answers to the node's address to itself. kube-proxy takes the node's.",
    },
];
