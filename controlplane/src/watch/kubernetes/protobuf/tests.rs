//! Lists written field by field, with what nobody looks at in between, read in parts of any size.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use proptest::prelude::*;

use super::*;
use crate::watch::convert;

fn number_of(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// A field of bytes.
fn field(number: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let (mut field, bytes) = (Vec::new(), bytes.as_ref());
    number_of(number << 3 | BYTES, &mut field);
    number_of(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}

/// A field of a number.
fn plain(number: u64, value: u64) -> Vec<u8> {
    let mut field = Vec::new();
    number_of(number << 3, &mut field);
    number_of(value, &mut field);
    field
}

fn pair(number: u64, key: &str, value: &str) -> Vec<u8> {
    field(number, [field(1, key), field(2, value)].concat())
}

fn metadata(name: &str, namespace: &str) -> Vec<u8> {
    [
        field(1, name),
        field(2, ""),
        field(3, namespace),
        field(5, "0b7c"),
        field(6, "77"),
        plain(7, 3),
        // managedFields
        field(
            17,
            [field(1, "kubectl"), field(7, field(1, "{\"f:spec\":{}}"))].concat(),
        ),
    ]
    .concat()
}

/// A Service with a name only.
pub fn service(name: &str, namespace: &str) -> Vec<u8> {
    field(1, metadata(name, namespace))
}

/// A list as API servers send it.
pub fn list_of(version: &str, items: &[Vec<u8>]) -> Vec<u8> {
    let mut list = field(1, [field(1, ""), field(2, version), field(3, "")].concat());
    for item in items {
        list.extend(field(2, item));
    }
    let kind = [field(1, "v1"), field(2, "ServiceList")].concat();
    let wrapper = [field(1, kind), field(2, list), field(3, ""), field(4, "")].concat();
    [&MAGIC[..], &wrapper].concat()
}

fn read<M: Item>(bytes: &[u8], parts: usize) -> Result<(Vec<M::Object>, ListMeta), Malformed> {
    let mut reader = ListReader::<M>::new();
    let mut found = Vec::new();
    for part in bytes.chunks(parts.max(1)) {
        reader.take(part, |object| found.push(object))?;
    }
    match reader.is_whole() {
        true => Ok((found, reader.meta)),
        false => Err(Malformed::Short),
    }
}

#[test]
fn a_service_as_json_has_it() {
    let port = [
        field(1, "http"),
        field(2, "UDP"),
        plain(3, 53),
        field(4, plain(2, 5353)),
        plain(5, 30_053),
    ];
    let ingress = [field(1, "192.0.2.7"), field(2, ""), field(3, "Proxy")].concat();
    let spec = [
        field(1, port.concat()),
        pair(2, "app", "dns"),
        field(3, "10.96.0.10"),
        field(4, "LoadBalancer"),
        field(5, "192.0.2.1"),
        field(5, "192.0.2.2"),
        field(7, "ClientIP"),
        field(9, "198.51.100.0/24"),
        field(11, "Local"),
        plain(12, 31_000),
        field(14, field(1, plain(1, 600))),
        field(18, "10.96.0.10"),
        field(18, "fd00::a"),
        field(22, "Local"),
    ];
    let labels = pair(11, "service.kubernetes.io/service-proxy-name", "other");
    let notes = pair(12, "nicproxy.dev/scheduler", "sh");
    let item = [
        field(1, [metadata("dns", "kube-system"), labels, notes].concat()),
        field(2, spec.concat()),
        field(3, field(1, field(1, ingress))),
    ];
    let json = serde_json::json!({
        "metadata": {
            "name": "dns", "namespace": "kube-system",
            "labels": {"service.kubernetes.io/service-proxy-name": "other"},
            "annotations": {"nicproxy.dev/scheduler": "sh"},
        },
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::a"],
            "externalIPs": ["192.0.2.1", "192.0.2.2"], "loadBalancerSourceRanges": ["198.51.100.0/24"],
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}},
            "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
            "ports": [{"name": "http", "protocol": "UDP", "port": 53, "nodePort": 30053}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7", "ipMode": "Proxy"}]}},
    });
    let (found, meta) = read::<Service>(&list_of("78", &[item.concat()]), 7).unwrap();
    let expected: core::Service = serde_json::from_value(json).unwrap();
    let expected = convert::service(&expected).unwrap();
    assert_eq!(convert::service(&found[0]).unwrap(), expected);
    assert!(
        expected.left_out.is_empty() && found.len() == 1,
        "{expected:?}"
    );
    assert_eq!(meta.resource_version, "78");
}

#[test]
fn a_slice_as_json_has_it() {
    let conditions = [plain(1, 0), plain(2, 1), plain(3, 1)].concat();
    let hints = [field(1, field(1, "z1")), field(2, field(1, "n2"))].concat();
    let full = [
        field(1, "10.0.0.1"),
        field(2, conditions),
        field(3, "host"),
        field(4, field(1, "Pod")),
        field(6, "node-a"),
        field(7, "zone-a"),
        field(8, hints),
    ];
    let port = [field(1, ""), field(2, "TCP"), plain(3, 8080)].concat();
    let item = [
        field(
            1,
            [
                metadata("a-x", "shop"),
                pair(11, "kubernetes.io/service-name", "a"),
            ]
            .concat(),
        ),
        field(2, full.concat()),
        field(2, field(1, "10.0.0.2")),
        field(3, port),
        field(4, "IPv4"),
    ];
    let json = serde_json::json!({
        "metadata": {"name": "a-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "a"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
        "endpoints": [
            {
                "addresses": ["10.0.0.1"], "nodeName": "node-a", "zone": "zone-a",
                "conditions": {"ready": false, "serving": true, "terminating": true},
                "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n2"}]},
            },
            {"addresses": ["10.0.0.2"]},
        ],
    });
    let (found, _) = read::<EndpointSlice>(&list_of("1", &[item.concat()]), 1).unwrap();
    let expected: discovery::EndpointSlice = serde_json::from_value(json).unwrap();
    let expected = convert::slice(&expected).unwrap();
    assert_eq!(convert::slice(&found[0]).unwrap(), expected);
    assert_eq!(expected.object.endpoints.len(), 2);
}

#[test]
fn nodes_ranges_and_pods() {
    let meta = [metadata("n", ""), field(9, plain(1, 1_700_000_000))].concat();
    let node = [
        field(
            1,
            [meta, pair(11, "topology.kubernetes.io/zone", "z")].concat(),
        ),
        field(
            2,
            [
                field(1, "10.1.0.0/24"),
                field(5, [field(1, "gone"), field(3, "NoSchedule")].concat()),
                field(7, "10.1.0.0/24"),
                field(7, "fd00::/64"),
            ]
            .concat(),
        ),
        field(
            3,
            field(5, [field(1, "InternalIP"), field(2, "192.0.2.9")].concat()),
        ),
    ];
    let (found, _) = read::<Node>(&list_of("1", &[node.concat()]), 5).unwrap();
    let node = convert::node(&found[0]).unwrap().object;
    assert!(node.deleting && node.pod_cidrs.len() == 2 && node.labels.len() == 1);
    assert_eq!((&*node.taints[0], node.internal_ips.len()), ("gone", 1));

    let range = [
        field(1, metadata("default", "")),
        field(2, field(1, "10.96.0.0/16")),
    ]
    .concat();
    let (found, _) = read::<ServiceCidr>(&list_of("1", &[range]), 64).unwrap();
    assert_eq!(
        convert::service_cidr(&found[0]).unwrap().object.cidrs.len(),
        1
    );

    let pod = [
        field(1, metadata("p", "shop")),
        field(2, field(10, "node-b")),
    ]
    .concat();
    let (found, _) = read::<Pod>(&list_of("1", &[pod]), 64).unwrap();
    let pod = convert::pod(&found[0]).unwrap().object;
    assert_eq!(
        (pod.key.to_string().as_str(), pod.node.as_deref()),
        ("shop/p", Some("node-b"))
    );
}

#[test]
fn an_empty_list() {
    let (found, meta) = read::<Service>(&list_of("3", &[]), 2).unwrap();
    assert!(found.is_empty() && meta.resource_version == "3");
    assert_eq!(read::<Service>(b"k8s\0", 1).unwrap_err(), Malformed::Short);
    assert_eq!(
        read::<Service>(b"{\"kind\":", 1).unwrap_err(),
        Malformed::Magic
    );
}

proptest! {
    #[test]
    fn parts_of_any_size_and_lists_that_are_cut(names in prop::collection::vec("[a-z]{1,300}", 0..20), parts in 1usize..400, cut in 1usize..50) {
        let items: Vec<_> = names.iter().map(|name| service(name, "x")).collect();
        let list = list_of("9", &items);
        let (found, _) = read::<Service>(&list, parts).unwrap();
        let found: Vec<_> = found.into_iter().filter_map(|one| one.metadata.name).collect();
        prop_assert_eq!(found, names);
        // Short of the wrapper's last, empty fields.
        let short = &list[..list.len().saturating_sub(4 + cut)];
        prop_assert!(read::<Service>(short, parts).is_err());
    }

    #[test]
    fn anything_else_is_an_error_and_no_more(bytes in prop::collection::vec(any::<u8>(), 0..200), parts in 1usize..50) {
        let _ = read::<EndpointSlice>(&bytes, parts);
        let _ = read::<Service>(&[&MAGIC[..], &bytes].concat(), parts);
    }
}
