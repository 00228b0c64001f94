//! The address plan of the small cluster.
//!
//! In: the number of a node, the number of a pod on it. Out: their addresses in both families, and the node's Ethernet
//! address. No two places share one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A node's place in the address plan: number 0 is the client node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub u8);

impl Place {
    /// Where the outside client is: in the nodes' network, without pods.
    pub const OUTSIDE: Self = Self(99);

    /// Address of the host.
    pub fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 7, self.0 + 1)
    }

    /// Address of the host.
    pub fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, u16::from(self.0) + 1)
    }

    /// Address of one of its pods.
    pub fn pod_v4(self, pod: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.0, pod)
    }

    /// Address of one of its pods.
    pub fn pod_v6(self, pod: u8) -> Ipv6Addr {
        Ipv6Addr::new(
            0xfd00,
            0x10,
            0x244,
            u16::from(self.0),
            0,
            0,
            0,
            u16::from(pod),
        )
    }

    /// Addresses of the host, IPv4 first.
    pub fn hosts(self) -> [IpAddr; 2] {
        [self.v4().into(), self.v6().into()]
    }

    /// Addresses of one of its pods, IPv4 first.
    pub fn pods(self, pod: u8) -> [IpAddr; 2] {
        [self.pod_v4(pod).into(), self.pod_v6(pod).into()]
    }

    /// Ethernet address of its interface.
    pub fn mac(self) -> String {
        format!("02:00:00:00:07:{:02x}", self.0 + 1)
    }
}
