//! The NICs of many nodes, programmed by one process (central mode): what each has that the others have not.
//!
//! In: the map `nics`, by node, and the rest of the file as what they share. Out: one [`Config`] per node, as if its NIC
//! had a file and a process of its own. Invariant: no device is there twice; everything else is checked per NIC.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{
    AttachmentConfig, Config, DeviceTlsConfig, MasqueradeConfig, NodeRoutesConfig, PipelineConfig,
    PortConfig, Problem, RouteConfig, VportConfig,
};

/// The NIC of one of several nodes. What it leaves out is as the rest of the file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicConfig {
    /// Its P4Runtime server.
    pub device: NicDeviceConfig,
    /// Its ports that carry traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortConfig>>,
    /// Where its packets leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<RouteConfig>>,
    /// Its routes that follow from Node objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_routes: Option<NodeRoutesConfig>,
    /// The node's addresses, the primary one of each family first; none: those of its Node object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_addresses: Option<Vec<IpAddr>>,
    /// Source addresses that connections through it get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masquerade: Option<MasqueradeConfig>,
    /// Where it sits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<AttachmentConfig>,
    /// Ports of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vports: Option<Vec<VportConfig>>,
}

/// The P4Runtime server of one of several NICs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicDeviceConfig {
    /// Its address, as `http://host:port` or `https://host:port`.
    pub address: String,
    /// Device id in every P4Runtime message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<u64>,
    /// TLS, for an `https` address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DeviceTlsConfig>,
    /// What to load when the device runs nothing or something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineConfig>,
}

impl NicConfig {
    fn within(&self, node: &str, all: &Config) -> Config {
        fn set<T: Clone>(field: &mut T, given: &Option<T>) {
            if let Some(given) = given {
                field.clone_from(given);
            }
        }
        let mut one = Config {
            node_name: node.to_owned(),
            ..all.shared()
        };
        one.device.address.clone_from(&self.device.address);
        set(&mut one.device.device_id, &self.device.device_id);
        set(&mut one.device.tls, &self.device.tls);
        if self.device.pipeline.is_some() {
            one.device.pipeline.clone_from(&self.device.pipeline);
        }
        set(&mut one.ports, &self.ports);
        set(&mut one.routes, &self.routes);
        if self.node_routes.is_some() {
            one.node_routes.clone_from(&self.node_routes);
        }
        set(&mut one.node_addresses, &self.node_addresses);
        set(&mut one.masquerade, &self.masquerade);
        set(&mut one.attachment, &self.attachment);
        set(&mut one.vports, &self.vports);
        one
    }
}

impl Config {
    /// What is said of each node's NIC, by node; none: this process programs its own node's NIC only.
    pub fn each_nic(&self) -> Option<BTreeMap<String, Config>> {
        let nics = self.nics.as_ref()?.iter();
        Some(
            nics.map(|(node, nic)| (node.clone(), nic.within(node, self)))
                .collect(),
        )
    }

    /// What the NICs share.
    fn shared(&self) -> Config {
        Config {
            nics: None,
            ..self.clone()
        }
    }

    /// What is wrong with the NICs; what is wrong with all of them is told once, where it stands.
    pub(super) fn check_nics(&self, nics: &BTreeMap<String, NicConfig>) -> Vec<Problem> {
        let mut shared = self.shared().problems();
        // Only a NIC's own address says whether it is reached over TLS.
        let of_address = |problem: &Problem| {
            problem.field.starts_with("device.address") || problem.field.starts_with("device.tls")
        };
        shared.retain(|problem| !nics.is_empty() || !of_address(problem));
        let mut own = Vec::new();
        let mut devices = BTreeSet::new();
        let mut each = Vec::new();
        for (node, nic) in nics {
            let one = nic.within(node, self);
            let mut wrong = |field: &str, what: String, advice| {
                own.push(Problem {
                    field: format!("nics.{node}{field}"),
                    what,
                    advice,
                });
            };
            if node.is_empty() {
                let advice = "write the name of the node that the NIC is in";
                wrong("", "a node has no name".to_owned(), advice);
            }
            if !devices.insert((nic.device.address.clone(), one.device.device_id)) {
                let (id, address) = (one.device.device_id, &nic.device.address);
                wrong(
                    ".device",
                    format!("another NIC is device {id} at {address}, too"),
                    "a device is of one node: keep one of them",
                );
            }
            let problems = one.problems();
            shared.retain(|problem| problems.contains(problem));
            each.push((node, problems));
        }
        for (node, problems) in each {
            let problems = problems.into_iter().filter(|one| !shared.contains(one));
            own.extend(problems.map(|problem| Problem {
                field: format!("nics.{node}.{}", problem.field),
                ..problem
            }));
        }
        shared.append(&mut own);
        shared
    }
}
