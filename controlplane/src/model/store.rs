//! Everything known of the cluster at one moment.
//!
//! In: objects that appeared, changed or went away, one by one or whole lists. Out: which Services are to be looked at
//! again. Applying what is already there reports nothing (S16); slices are found by Service, so an endpoint that moves
//! between slices is seen once, whatever the order of events (S15).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::node::Node;
use super::pod::Pod;
use super::service::{ObjectKey, Service};
use super::service_cidr::ServiceCidr;
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
    /// A range of cluster IPs is there.
    ApplyServiceCidr(ServiceCidr),
    /// A range of cluster IPs is gone.
    DeleteServiceCidr(Arc<str>),
    /// These ranges of cluster IPs are there and no others.
    ReplaceServiceCidrs(Vec<ServiceCidr>),
    /// A pod is there.
    ApplyPod(Pod),
    /// A pod is gone.
    DeletePod(ObjectKey),
    /// These pods are there and no others.
    ReplacePods(Vec<Pod>),
}

/// What is to be looked at again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services that changed, or whose slices did; also those that are gone.
    pub services: BTreeSet<ObjectKey>,
    /// Some node, pod or range of cluster IPs changed: the wiring is to be looked at again.
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

/// The cluster. A copy shares its objects.
#[derive(Clone, Debug, Default)]
pub struct Model {
    services: FxHashMap<ObjectKey, Arc<Service>>,
    slices: FxHashMap<ObjectKey, Arc<EndpointSlice>>,
    /// Slices in order of name, by Service.
    by_service: FxHashMap<ObjectKey, BTreeMap<ObjectKey, Arc<EndpointSlice>>>,
    nodes: BTreeMap<Arc<str>, Arc<Node>>,
    service_cidrs: BTreeMap<Arc<str>, Arc<ServiceCidr>>,
    pods: BTreeMap<ObjectKey, Arc<Pod>>,
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
            Event::ApplyNode(node) => {
                changes.nodes = apply(&mut self.nodes, node.name.clone(), node);
            }
            Event::DeleteNode(name) => changes.nodes = self.nodes.remove(&name).is_some(),
            Event::ReplaceNodes(all) => {
                let all = all.into_iter().map(|node| (node.name.clone(), node));
                changes.nodes = replace(&mut self.nodes, all);
            }
            Event::ApplyServiceCidr(range) => {
                changes.nodes = apply(&mut self.service_cidrs, range.name.clone(), range);
            }
            Event::DeleteServiceCidr(name) => {
                changes.nodes = self.service_cidrs.remove(&name).is_some();
            }
            Event::ReplaceServiceCidrs(all) => {
                let all = all.into_iter().map(|range| (range.name.clone(), range));
                changes.nodes = replace(&mut self.service_cidrs, all);
            }
            Event::ApplyPod(pod) => {
                changes.nodes = apply(&mut self.pods, pod.key.clone(), pod);
            }
            Event::DeletePod(key) => changes.nodes = self.pods.remove(&key).is_some(),
            Event::ReplacePods(all) => {
                let all = all.into_iter().map(|pod| (pod.key.clone(), pod));
                changes.nodes = replace(&mut self.pods, all);
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

    /// All ranges of cluster IPs, in order of name.
    pub fn service_cidrs(&self) -> impl ExactSizeIterator<Item = &Arc<ServiceCidr>> {
        self.service_cidrs.values()
    }

    /// All pods that a source told of, in order of name.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &Arc<Pod>> {
        self.pods.values()
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

/// Puts an object in; `false` if it is there already.
fn apply<K: Ord, T: PartialEq>(map: &mut BTreeMap<K, Arc<T>>, key: K, object: T) -> bool {
    match map.get(&key) {
        Some(known) if **known == object => false,
        _ => {
            map.insert(key, Arc::new(object));
            true
        }
    }
}

/// Puts objects in the place of all there are; `false` if they are the same.
fn replace<K: Ord + Clone, T: PartialEq>(
    map: &mut BTreeMap<K, Arc<T>>,
    objects: impl Iterator<Item = (K, T)>,
) -> bool {
    let mut gone: BTreeSet<K> = map.keys().cloned().collect();
    let mut changed = false;
    for (key, object) in objects {
        gone.remove(&key);
        changed |= apply(map, key, object);
    }
    for key in &gone {
        map.remove(key);
    }
    changed || !gone.is_empty()
}
