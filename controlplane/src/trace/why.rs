//! What only who knows the cluster can say of a packet's way.
//!
//! In: the frontend that a packet met, the set it was served from, the endpoint it got. Out: what kind of address that is,
//! on what basis the set's endpoints were chosen, what is known of the endpoint.

use std::net::IpAddr;

use async_trait::async_trait;

use super::seen::Seen;
use crate::tables::frontend;

/// Somebody who knows the cluster.
#[async_trait]
pub trait Knowing: Send + Sync {
    /// Answers; `None` if nothing is known of the frontend.
    async fn why(&self, question: Question) -> Option<Why>;
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The frontend that the packet met.
    pub frontend: frontend::Key,
    /// The set that it was served from.
    pub set: Option<u32>,
    /// The endpoint that it got.
    pub endpoint: Option<(IpAddr, u16)>,
}

/// What is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Why {
    /// Kind of address: `ClusterIP`, `NodePort`, `LoadBalancer`, `externalIP`.
    pub entry: String,
    /// On what basis the set's endpoints were chosen.
    pub basis: Option<String>,
    /// Endpoints that serve from the set.
    pub serving: usize,
    /// Endpoints that the Service port has, whatever their state.
    pub endpoints: usize,
    /// Those that are ready.
    pub ready: usize,
    /// Ready ones on this node.
    pub local: usize,
    /// The endpoint that was picked.
    pub picked: Option<Picked>,
}

/// What is known of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Picked {
    /// The node it runs on.
    pub node: Option<String>,
    /// `ready`, `terminating` or `unready`.
    pub state: String,
    /// Fraction of the set's new connections that it gets, where it is known which set serves the client.
    pub share: Option<f64>,
}

impl Question {
    /// The question that a packet's way raises; `None` if it met no frontend.
    pub(super) fn of(seen: &[Seen]) -> Option<Self> {
        let of = |table: &str| seen.iter().find(|seen| seen.table == table);
        let met = of("frontend").filter(|seen| seen.hit)?;
        let slot = of("endpoint");
        // For an open connection nothing is picked: the set is known where there is one for all clients.
        let sets = ["set_id", "outside_set_id"].map(|name| met.datum(name) as u32);
        let only = (sets[0] == sets[1]).then_some(sets[0]);
        let pick = of("affinity")
            .filter(|pin| pin.hit && of("member").is_some_and(|member| member.hit))
            .or(slot.filter(|slot| slot.hit));
        let open = of("flow").filter(|flow| flow.hit).map(|flow| {
            let address = flow.datum_address("dst");
            (address.ip(), flow.datum("dst_port") as u16)
        });
        Some(Self {
            frontend: frontend::Key {
                vpc: met.key("vpc") as u32,
                protocol: met.key("protocol") as u8,
                address: met.key_address("dst"),
                port: met.key("dst_port") as u16,
            },
            set: slot
                .map(|slot| slot.key("set_id") as u32)
                .or(open.and(only)),
            endpoint: open.or(pick.map(|pick| {
                let address = pick.datum_address("endpoint");
                (address.ip(), pick.datum("endpoint_port") as u16)
            })),
        })
    }
}
