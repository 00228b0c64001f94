//! What people ask for: Services, endpoints, tables. Plain data for printing as table or JSON.

use std::net::IpAddr;

use serde::Serialize;

/// One Service port as it is programmed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Name of the port; may be empty.
    pub port_name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port of the VIPs.
    pub port: u16,
    /// Addresses that answer.
    pub vips: Vec<IpAddr>,
    /// Addresses that answer, with what becomes of connections there.
    pub frontends: Vec<FrontendView>,
    /// How endpoints are picked, by IPVS's name.
    pub scheduler: String,
    /// Idle seconds for which a client keeps its endpoint.
    pub affinity_seconds: Option<u32>,
    /// State per address family.
    pub families: Vec<FamilyView>,
    /// What is wrong with the objects, or was refused by the device.
    pub problems: Vec<String>,
}

/// One address at which a Service port answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FrontendView {
    /// `ClusterIP`, `LoadBalancer`, `externalIP` or `NodePort`.
    pub entry: String,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// What becomes of connections of pods and of this node.
    pub inside: String,
    /// What becomes of all others.
    pub outside: String,
    /// Whose connections get another source address.
    pub masquerade: String,
    /// Only admitted sources are served.
    pub checks_source: bool,
}

/// One endpoint set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SetView {
    /// `Cluster` or `Local`.
    pub policy: String,
    /// Number.
    pub id: u32,
    /// On what basis its endpoints were chosen.
    pub basis: String,
    /// Slots.
    pub slots: usize,
    /// Endpoints.
    pub endpoints: usize,
}

/// One address family of a Service port.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FamilyView {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// What the cluster IP says: `serve`, `reject` or `drop`.
    pub action: String,
    /// Sets that frontends serve from.
    pub sets: Vec<SetView>,
    /// Sources that addresses of load balancers admit; none: all.
    pub source_ranges: Vec<String>,
    /// The device holds this.
    pub installed: bool,
}

/// One endpoint of a Service port.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointView {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Name of the port; may be empty.
    pub port_name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Weight.
    pub weight: u32,
    /// Slots that lead here.
    pub slots: usize,
    /// Fraction of new connections expected here.
    pub share: f64,
    /// Node it runs on.
    pub node: Option<String>,
    /// `ready`, `terminating` (serving while it goes away) or `unready`.
    pub state: String,
    /// Why it serves, or does not, where any endpoint will do.
    pub cluster: String,
    /// Why it serves, or does not, where the policy asks for this node.
    pub local: String,
    /// Number by which it is counted; 0: none.
    pub endpoint_id: u32,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableView {
    /// Name in the program.
    pub table: String,
    /// Entries wanted.
    pub desired: usize,
    /// Entries the device holds, as far as known.
    pub installed: Option<usize>,
    /// Entries the program asks room for.
    pub size: Option<u64>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntryView {
    /// Table.
    pub table: String,
    /// Key, `name=value` separated by spaces.
    pub key: String,
    /// Action with arguments.
    pub action: String,
    /// Owner, or empty.
    pub owner: String,
}
