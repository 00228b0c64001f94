//! Virtual Ethernet between two namespaces.
//!
//! In: two ends. Out: a pair of interfaces that carry single frames of at most the MTU, checksums finished: a NIC that
//! rewrites packets in user space takes frames as they would be on a wire.

use super::{Namespace, NetnsError, run};

/// One end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where the interface is.
    pub namespace: &'a Namespace,
    /// What it is called there.
    pub interface: &'a str,
    /// Its Ethernet address.
    pub mac: &'a str,
}

/// How large frames may be, and whether the ends may leave work to hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// Bytes of an IP packet.
    pub mtu: u32,
    /// Whether checksums and segmentation may be left undone (veth never does them): fastest where both ends are kernels.
    pub offloads: bool,
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            mtu: 1500,
            offloads: false,
        }
    }
}

/// Connects two ends.
///
/// # Errors
/// When the interfaces cannot be made.
pub fn connect(a: End<'_>, b: End<'_>, quality: Quality) -> Result<(), NetnsError> {
    a.namespace.ip(&format!(
        "link add {} address {} mtu {} type veth peer name {} address {} mtu {} netns {}",
        a.interface,
        a.mac,
        quality.mtu,
        b.interface,
        b.mac,
        quality.mtu,
        b.namespace.name(),
    ))?;
    for end in [a, b] {
        if !quality.offloads {
            run(end.namespace.command("ethtool").args([
                "-K",
                end.interface,
                "tx",
                "off",
                "rx",
                "off",
                "tso",
                "off",
                "gso",
                "off",
                "gro",
                "off",
            ]))?;
        }
        end.namespace
            .ip(&format!("link set {} up", end.interface))?;
    }
    Ok(())
}
