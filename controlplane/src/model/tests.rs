//! Events in, changes out.

use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

fn service(name: &str) -> Service {
    Service {
        key: key(name),
        cluster_ips: vec!["10.96.0.1".parse().unwrap()],
        ..Service::default()
    }
}

fn slice(name: &str, service: &str, addresses: &[&str]) -> EndpointSlice {
    EndpointSlice {
        key: key(name),
        service: Some(service.into()),
        endpoints: addresses
            .iter()
            .map(|address| Endpoint {
                address: Some(address.parse().unwrap()),
                node: Some("node-1".into()),
                ..Endpoint::default()
            })
            .collect(),
        ..EndpointSlice::default()
    }
}

fn changed(changes: &Changes) -> Vec<String> {
    changes.services.iter().map(ObjectKey::to_string).collect()
}

#[test]
fn s16_what_is_known_changes_nothing() {
    let mut model = Model::new();
    assert_eq!(
        changed(&model.apply(Event::ApplyService(service("cart")))),
        ["shop/cart"]
    );
    assert!(model.apply(Event::ApplyService(service("cart"))).is_empty());
    let first = slice("cart-1", "cart", &["10.0.0.1"]);
    assert_eq!(
        changed(&model.apply(Event::ApplySlice(first.clone()))),
        ["shop/cart"]
    );
    assert!(model.apply(Event::ApplySlice(first.clone())).is_empty());
    assert!(model.apply(Event::ReplaceSlices(vec![first])).is_empty());
    assert!(model.apply(Event::DeleteSlice(key("unknown"))).is_empty());
    assert!(model.apply(Event::DeleteService(key("unknown"))).is_empty());
}

#[test]
fn s05_slice_without_service_is_reported_and_ignored() {
    let mut model = Model::new();
    let mut nameless = slice("x", "", &["10.0.0.1"]);
    let changes = model.apply(Event::ApplySlice(nameless.clone()));
    assert!(changes.is_empty());
    assert_eq!(
        changes.problems,
        [Problem::SliceWithoutService { slice: key("x") }]
    );
    nameless.service = None;
    assert!(model.apply(Event::ApplySlice(nameless)).is_empty());
    assert!(model.apply(Event::DeleteSlice(key("x"))).is_empty());
}

#[test]
fn slice_that_changes_its_service_touches_both() {
    let mut model = Model::new();
    model.apply(Event::ApplySlice(slice("x", "cart", &["10.0.0.1"])));
    let changes = model.apply(Event::ApplySlice(slice("x", "pay", &["10.0.0.1"])));
    assert_eq!(changed(&changes), ["shop/cart", "shop/pay"]);
    assert_eq!(model.slices_of(&key("cart")).count(), 0);
    assert_eq!(model.slices_of(&key("pay")).count(), 1);
}

#[test]
fn lists_replace_what_is_not_in_them() {
    let mut model = Model::new();
    model.apply(Event::ReplaceServices(vec![service("a"), service("b")]));
    let mut changed_b = service("b");
    changed_b.headless = true;
    let changes = model.apply(Event::ReplaceServices(vec![changed_b, service("c")]));
    assert_eq!(changed(&changes), ["shop/a", "shop/b", "shop/c"]);
    assert_eq!(model.services().len(), 2);
}

#[test]
fn nodes() {
    let mut model = Model::new();
    let node = Node {
        name: "n1".into(),
        internal_ips: vec!["192.0.2.1".parse().unwrap()],
        labels: [(ZONE.to_owned(), "west".to_owned())].into(),
        ..Node::default()
    };
    assert_eq!(node.zone(), Some("west"));
    assert!(model.apply(Event::ApplyNode(node.clone())).nodes);
    assert!(!model.apply(Event::ReplaceNodes(vec![node])).nodes);
    assert!(model.apply(Event::ReplaceNodes(vec![])).nodes);
    assert!(!model.apply(Event::DeleteNode("n1".into())).nodes);
}

#[test]
fn s79_synced_once_both_lists_came() {
    let mut model = Model::new();
    model.apply(Event::ApplyService(service("a")));
    assert!(!model.is_synced());
    model.apply(Event::ReplaceServices(vec![]));
    assert!(!model.is_synced());
    model.apply(Event::ReplaceSlices(vec![]));
    assert!(model.is_synced());
}

#[test]
fn s46_s22_whatever_the_wiring_depends_on_is_reported_once() {
    let mut model = Model::new();
    let range = ServiceCidr {
        name: "kubernetes".into(),
        cidrs: vec!["10.96.0.0/16".parse().unwrap()],
    };
    assert!(model.apply(Event::ApplyServiceCidr(range.clone())).nodes);
    assert!(
        model
            .apply(Event::ReplaceServiceCidrs(vec![range]))
            .is_empty()
    );
    assert_eq!(model.service_cidrs().len(), 1);
    assert!(
        model
            .apply(Event::DeleteServiceCidr("kubernetes".into()))
            .nodes
    );
    let pod = Pod {
        key: key("a"),
        ..Pod::default()
    };
    assert!(model.apply(Event::ApplyPod(pod.clone())).nodes);
    assert!(model.apply(Event::ApplyPod(pod)).is_empty());
    assert!(model.apply(Event::ReplacePods(vec![])).nodes);
    assert!(model.apply(Event::DeletePod(key("a"))).is_empty());
}

#[test]
fn s75_a_node_about_to_go_is_not_eligible() {
    let mut node = Node {
        taints: vec!["node.kubernetes.io/unreachable".into()],
        ..Node::default()
    };
    assert!(node.is_eligible());
    node.taints.push(DELETION_TAINT.into());
    assert!(!node.is_eligible());
    let leaving = Node {
        deleting: true,
        ..Node::default()
    };
    assert!(!leaving.is_eligible());
}
