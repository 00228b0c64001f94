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

/// Nobody answers at the addresses of the case that the world outside knows.
fn has_no_endpoints(case: Case) -> bool {
    matches!(
        case,
        Case::Empty | Case::EmptyLocal | Case::Unready | Case::BarredEmpty
    )
}

pub const ALL: &[Difference] = &[
    Difference {
        applies: |proxy, flow| {
            proxy == Proxy::Iptables
                && matches!(flow.entry, Entry::UnservedPort | Entry::Unassigned)
        },
        why: "kube-proxy's iptables mode has no rules for ports that a Service does not have and for cluster IPs that nobody \
              has: such packets go where the routes say. Its nftables mode refuses the first and drops the second, as nicproxy does.",
    },
    Difference {
        applies: |proxy, flow| proxy == Proxy::Iptables && flow.entry == Entry::OtherNodeAddress,
        why: "--nodeport-addresses, where it is not given, means every address of the node in iptables mode, and the primary \
              ones in nftables mode and with nicproxy.",
    },
    Difference {
        applies: |proxy, flow| {
            proxy == Proxy::Iptables && flow.entry == Entry::Loopback && !flow.v6
        },
        why: "In iptables mode node ports answer at 127.0.0.1 too: it sets route_localnet, unless \
              --iptables-localhost-nodeports=false says otherwise. Nothing else does so, and nothing does at ::1.",
    },
    Difference {
        applies: |proxy, flow| {
            let outer = matches!(flow.entry, Entry::LoadBalancer | Entry::External);
            let own = flow.client == Client::Node && outer;
            proxy == Proxy::Iptables && own && has_no_endpoints(flow.case)
        },
        why: "In iptables mode load balancers' and external addresses without endpoints refuse what comes in and what is \
              forwarded, but not what the node itself sends: that goes where the routes say.",
    },
    Difference {
        applies: |proxy, flow| {
            let outer = flow.client != Client::Node && flow.entry == Entry::LoadBalancer;
            proxy == Proxy::Iptables && outer && flow.case == Case::BarredEmpty
        },
        why: "Without endpoints iptables mode refuses clients that are not within the source ranges; nftables mode and \
              nicproxy look at the ranges first and drop.",
    },
    Difference {
        applies: |proxy, flow| {
            let unserved = matches!(flow.entry, Entry::UnservedPort | Entry::Unassigned);
            let datagram = flow.transport == Transport::Udp;
            let told = datagram && (unserved || is_unanswered(flow.case));
            !proxy.is_kube_proxy() && flow.client == Client::Node && told
        },
        why: "A program on the node itself is told at once, as an operation that is not permitted, when the kernel drops or \
              refuses its datagram; behind a NIC it hears of a refusal as everybody else does, and of a drop nothing.",
    },
    Difference {
        applies: |proxy, flow| {
            let own = flow.client == Client::Node && flow.entry == Entry::NodePort;
            !proxy.is_kube_proxy() && own
        },
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
        applies: |proxy, flow| {
            let balanced = matches!(flow.entry, Entry::LoadBalancer | Entry::External);
            !proxy.is_kube_proxy() && flow.client == Client::Node && flow.v6 && balanced
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
