//! Everything known of the cluster at one moment.
//!
//! In: objects that appeared, changed or went away, one by one or whole lists. Out: which Services are to be looked at
//! again. Applying what is already there reports nothing (S16); slices are found by Service, so an endpoint that moves
//! between slices is seen once, whatever the order of events (S15).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::node::Node;
use super::service::{ObjectKey, Service};
use super::slice::EndpointSlice;

/// What happened to the cluster.
#[derive(Debug, Clone)]
pub enum Event {
    /// A Service is there.
    ApplyService(Service),
    /// A Service is gone.
    DeleteService(ObjectKey),
    /// These Services are there and no others: an initial or repeated list.
    ReplaceServices(Vec<Service>),
    /// A slice is there.
    ApplySlice(EndpointSlice),
    /// A slice is gone.
    DeleteSlice(ObjectKey),
    /// These slices are there and no others.
    ReplaceSlices(Vec<EndpointSlice>),
    /// A node is there.
    ApplyNode(Node),
    /// A node is gone.
    DeleteNode(Arc<str>),
    /// These nodes are there and no others.
    ReplaceNodes(Vec<Node>),
}

/// What is to be looked at again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services that changed, or whose slices did; also those that are gone.
    pub services: BTreeSet<ObjectKey>,
    /// Some node changed.
    pub nodes: bool,
    /// Objects that were taken but say nothing, for the log.
    pub problems: Vec<Problem>,
}

impl Changes {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && !self.nodes
    }

    /// Adds what another event changed.
    pub fn merge(&mut self, other: Changes) {
        self.services.extend(other.services);
        self.nodes |= other.nodes;
        self.problems.extend(other.problems);
    }
}

/// An object that cannot be used as it is. It is left out; all others work on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// S05.
    #[error("EndpointSlice {slice} names no Service in the label kubernetes.io/service-name")]
    SliceWithoutService {
        /// The slice.
        slice: ObjectKey,
    },
}

/// The cluster.
#[derive(Debug, Default)]
pub struct Model {
    services: FxHashMap<ObjectKey, Arc<Service>>,
    slices: FxHashMap<ObjectKey, Arc<EndpointSlice>>,
    /// Slices in order of name, by Service.
    by_service: FxHashMap<ObjectKey, BTreeMap<ObjectKey, Arc<EndpointSlice>>>,
    nodes: BTreeMap<Arc<str>, Arc<Node>>,
    /// Node and zone names, each kept once.
    names: FxHashSet<Arc<str>>,
    services_listed: bool,
    slices_listed: bool,
}

impl Model {
    /// An empty cluster.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an event in.
    pub fn apply(&mut self, event: Event) -> Changes {
        let mut changes = Changes::default();
        match event {
            Event::ApplyService(service) => self.apply_service(service, &mut changes),
            Event::DeleteService(key) => self.delete_service(&key, &mut changes),
            Event::ReplaceServices(all) => {
                self.services_listed = true;
                let kept: FxHashSet<_> = all.iter().map(|s| s.key.clone()).collect();
                for key in gone(&self.services, &kept) {
                    self.delete_service(&key, &mut changes);
                }
                for service in all {
                    self.apply_service(service, &mut changes);
                }
            }
            Event::ApplySlice(slice) => self.apply_slice(slice, &mut changes),
            Event::DeleteSlice(key) => self.delete_slice(&key, &mut changes),
            Event::ReplaceSlices(all) => {
                self.slices_listed = true;
                let kept: FxHashSet<_> = all.iter().map(|s| s.key.clone()).collect();
                for key in gone(&self.slices, &kept) {
                    self.delete_slice(&key, &mut changes);
                }
                for slice in all {
                    self.apply_slice(slice, &mut changes);
                }
            }
            Event::ApplyNode(node) => changes.nodes = self.apply_node(node),
            Event::DeleteNode(name) => changes.nodes = self.nodes.remove(&name).is_some(),
            Event::ReplaceNodes(all) => {
                let kept: FxHashSet<_> = all.iter().map(|n| n.name.clone()).collect();
                let before = self.nodes.len();
                self.nodes.retain(|name, _| kept.contains(name));
                changes.nodes = self.nodes.len() != before;
                for node in all {
                    changes.nodes |= self.apply_node(node);
                }
            }
        }
        changes
    }

    /// Services and slices were both listed once: before that nothing may be programmed (S79).
    pub fn is_synced(&self) -> bool {
        self.services_listed && self.slices_listed
    }

    /// A Service by key.
    pub fn service(&self, key: &ObjectKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// All Services, in no order.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// The slices of a Service, in order of name.
    pub fn slices_of(&self, service: &ObjectKey) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.by_service
            .get(service)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// All slices, in no order.
    pub fn slices(&self) -> impl ExactSizeIterator<Item = &Arc<EndpointSlice>> {
        self.slices.values()
    }

    /// All nodes, in order of name.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    fn apply_service(&mut self, service: Service, changes: &mut Changes) {
        match self.services.get(&service.key) {
            Some(known) if **known == service => {}
            _ => {
                changes.services.insert(service.key.clone());
                self.services.insert(service.key.clone(), Arc::new(service));
            }
        }
    }

    fn delete_service(&mut self, key: &ObjectKey, changes: &mut Changes) {
        if self.services.remove(key).is_some() {
            changes.services.insert(key.clone());
        }
    }

    fn apply_slice(&mut self, mut slice: EndpointSlice, changes: &mut Changes) {
        let known = self.slices.get(&slice.key);
        if known.is_some_and(|known| **known == slice) {
            return;
        }
        let before = known.and_then(|known| known.service_key());
        let service = slice.service_key();
        if before != service
            && let Some(before) = before
        {
            self.unlink(&before, &slice.key, changes);
        }
        for endpoint in &mut slice.endpoints {
            endpoint.node = endpoint.node.take().map(|name| self.name(name));
            endpoint.zone = endpoint.zone.take().map(|name| self.name(name));
        }
        slice.endpoints.shrink_to_fit();
        let slice = Arc::new(slice);
        self.slices.insert(slice.key.clone(), slice.clone());
        match service {
            Some(service) => {
                let slices = self.by_service.entry(service.clone()).or_default();
                slices.insert(slice.key.clone(), slice);
                changes.services.insert(service);
            }
            None => changes.problems.push(Problem::SliceWithoutService {
                slice: slice.key.clone(),
            }),
        }
    }

    fn delete_slice(&mut self, key: &ObjectKey, changes: &mut Changes) {
        if let Some(service) = self
            .slices
            .remove(key)
            .and_then(|known| known.service_key())
        {
            self.unlink(&service, key, changes);
        }
    }

    fn unlink(&mut self, service: &ObjectKey, slice: &ObjectKey, changes: &mut Changes) {
        if let Some(slices) = self.by_service.get_mut(service) {
            slices.remove(slice);
            if slices.is_empty() {
                self.by_service.remove(service);
            }
        }
        changes.services.insert(service.clone());
    }

    fn apply_node(&mut self, node: Node) -> bool {
        match self.nodes.get(&node.name) {
            Some(known) if **known == node => false,
            _ => {
                self.nodes.insert(node.name.clone(), Arc::new(node));
                true
            }
        }
    }

    fn name(&mut self, name: Arc<str>) -> Arc<str> {
        match self.names.get(&name) {
            Some(known) => known.clone(),
            None => {
                self.names.insert(name.clone());
                name
            }
        }
    }
}

fn gone<T>(map: &FxHashMap<ObjectKey, T>, kept: &FxHashSet<ObjectKey>) -> Vec<ObjectKey> {
    map.keys()
        .filter(|key| !kept.contains(*key))
        .cloned()
        .collect()
}
