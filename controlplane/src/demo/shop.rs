//! The bundled shop: manifests of a small cluster, and the configuration of the NIC on one of its nodes.
//!
//! In: files of `controlplane/demo/`, taken in when this is compiled. Out: the same files in a folder for the manifest
//! source, and what they say. [`scale`] edits one of them the way an operator's deployment would.

use std::path::Path;

use crate::config::{Config, ConfigError};
use crate::model::{EndpointSlice, Model, Service};
use crate::watch::manifest::document::{self, DocumentError, Object};

use super::plan::{self, Promise};

/// Manifests by file name.
pub const MANIFESTS: [(&str, &str); 15] = [
    ("cart.yaml", include_str!("../../demo/cart.yaml")),
    ("catalog.yaml", include_str!("../../demo/catalog.yaml")),
    ("checkout.yaml", include_str!("../../demo/checkout.yaml")),
    ("ignored.yaml", include_str!("../../demo/ignored.yaml")),
    ("inventory.yaml", include_str!("../../demo/inventory.yaml")),
    ("kube-dns.yaml", include_str!("../../demo/kube-dns.yaml")),
    ("metrics.yaml", include_str!("../../demo/metrics.yaml")),
    ("nodes.yaml", include_str!("../../demo/nodes.yaml")),
    ("payments.yaml", include_str!("../../demo/payments.yaml")),
    (
        "recommendations.yaml",
        include_str!("../../demo/recommendations.yaml"),
    ),
    ("returns.yaml", include_str!("../../demo/returns.yaml")),
    ("search.yaml", include_str!("../../demo/search.yaml")),
    ("sessions.yaml", include_str!("../../demo/sessions.yaml")),
    ("signaling.yaml", include_str!("../../demo/signaling.yaml")),
    (
        "storefront.yaml",
        include_str!("../../demo/storefront.yaml"),
    ),
];

/// The NIC of the demo's node.
const NIC: &str = include_str!("../../demo/nic-config.yaml");

/// The file that is edited while connections are open, and what takes its place.
pub const SCALED_FILE: &str = "cart.yaml";
const SCALED: &str = include_str!("../../demo/scaled/cart.yaml");

/// The Service in it.
pub const SCALED_SERVICE: &str = "cart";

/// The demo's configuration.
///
/// # Errors
/// None unless the bundle is broken.
pub fn config() -> Result<Config, ConfigError> {
    Config::parse(NIC, Path::new("nic-config.yaml"))
}

/// Writes the manifests into a folder.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path) -> std::io::Result<()> {
    for (name, text) in MANIFESTS {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// Scales one Service: one endpoint goes, others come.
///
/// # Errors
/// When the folder cannot be written.
pub fn scale(folder: &Path) -> std::io::Result<()> {
    let fresh = folder.join(".cart.yaml.new");
    std::fs::write(&fresh, SCALED)?;
    std::fs::rename(fresh, folder.join(SCALED_FILE))
}

/// What the manifests say.
#[derive(Debug, Default)]
pub struct Objects {
    model: Model,
}

/// The shop's objects before it is scaled.
///
/// # Errors
/// None unless the bundle is broken.
pub fn objects() -> Result<Objects, DocumentError> {
    let mut objects = Objects::default();
    for (_, text) in MANIFESTS {
        objects.take(text)?;
    }
    Ok(objects)
}

impl Objects {
    fn take(&mut self, text: &str) -> Result<(), DocumentError> {
        use crate::model::Event;
        for object in document::read_yaml(text)? {
            self.model.apply(match object {
                Object::Service(service) => Event::ApplyService(service),
                Object::Slice(slice) => Event::ApplySlice(slice),
                Object::Node(node) => Event::ApplyNode(node),
                Object::ServiceCidr(range) => Event::ApplyServiceCidr(range),
                Object::Pod(pod) => Event::ApplyPod(pod),
            });
        }
        Ok(())
    }

    /// The shop after it is scaled.
    ///
    /// # Errors
    /// None unless the bundle is broken.
    pub fn scaled(mut self) -> Result<Self, DocumentError> {
        self.take(SCALED)?;
        Ok(self)
    }

    /// What the manifests promise.
    pub fn promises(&self) -> Vec<Promise> {
        let services: Vec<&Service> = self.model.services().map(AsRef::as_ref).collect();
        plan::promises(services, |key| {
            self.model
                .slices_of(key)
                .map(AsRef::<EndpointSlice>::as_ref)
                .collect()
        })
    }
}
