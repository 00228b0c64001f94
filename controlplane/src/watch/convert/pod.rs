//! Pods: only what their CNI says of their interfaces.
//!
//! In: a Pod with the annotation `k8s.v1.cni.cncf.io/network-status`, as Multus and other CNIs of the Network Plumbing
//! Working Group write it (its specification, version 1.3, section 4). Out: the interfaces that have a device of their
//! own. An annotation that cannot be read is reported, and the Pod counts as without interfaces.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use serde::Deserialize;

use super::{ConvertError, Converted, Reader, key};
use crate::model::{self, Attachment};

/// One element of the annotation.
#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    ips: Vec<String>,
    #[serde(default)]
    mac: Option<String>,
    #[serde(default, rename = "device-info")]
    device_info: Option<DeviceInfo>,
}

/// Its device: of one kind or another, with the same fields as far as they matter here.
#[derive(Deserialize)]
struct DeviceInfo {
    #[serde(default)]
    pci: Option<Device>,
    #[serde(default)]
    vdpa: Option<Device>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Device {
    #[serde(default)]
    pci_address: Option<String>,
    #[serde(default)]
    representor_device: Option<String>,
}

/// A Pod.
///
/// # Errors
/// When it has no name.
pub fn pod(from: &core::Pod) -> Result<Converted<model::Pod>, ConvertError> {
    let mut reader = Reader::default();
    let key = key(&from.metadata, "Pod")?;
    let annotations = from.metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(model::NETWORK_STATUS));
    let interfaces = text.and_then(|text| {
        reader.take(
            || format!("metadata.annotations[{}]", model::NETWORK_STATUS),
            serde_json::from_str::<Vec<Interface>>(text),
        )
    });
    let interfaces = interfaces.unwrap_or_default();
    let attachments = interfaces
        .into_iter()
        .filter_map(|interface| attachment(interface, &mut reader));
    let node = from
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref());
    let object = model::Pod {
        key,
        node: node.map(Arc::from),
        attachments: attachments.collect(),
    };
    Ok(Converted {
        object,
        left_out: reader.left_out,
    })
}

fn attachment(from: Interface, reader: &mut Reader) -> Option<Attachment> {
    let info = from.device_info?;
    let found = [info.pci, info.vdpa].into_iter().flatten();
    let devices: Vec<Arc<str>> = found
        .flat_map(|device| [device.pci_address, device.representor_device])
        .flatten()
        .filter(|name| !name.is_empty())
        .map(Arc::from)
        .collect();
    if devices.is_empty() {
        return None;
    }
    Some(Attachment {
        devices,
        addresses: reader.addresses("network-status ips", &from.ips),
        mac: from.mac.map(Arc::from),
    })
}
