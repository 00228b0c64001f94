//! Entries to messages and back, on a program with exactly these tables.

use super::*;
use crate::device::simulated::Simulated;
use crate::tables::flow::Tuple;

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn round<T: Table>(table: &T, key: T::Key, action: T::Action)
where
    T::Key: PartialEq + fmt::Debug,
    T::Action: PartialEq + fmt::Debug,
{
    let entry = table.entry(&key, &action);
    assert_eq!(entry.table_id, table.id());
    assert!(table.key(&key).action.is_none());
    assert_eq!(table.decode(&entry), Some((key, action)), "{}", T::NAME);
    let other = proto::TableEntry {
        table_id: 1,
        ..entry
    };
    assert_eq!(table.decode(&other), None);
}

#[test]
fn entries_come_back_as_they_went() {
    let tables = Simulated::new().tables();
    let attach = port::Action {
        vpc: 0,
        role: 2,
        peer_port: 1,
        slow_port: 255,
    };
    round(&tables.port, port::Key { ingress_port: 2 }, attach);
    round(
        &tables.egress,
        egress::Key { egress_port: 3 },
        egress::Action { port: 3 },
    );
    let key = frontend::Key {
        vpc: 7,
        protocol: 6,
        address: address("fd00::1"),
        port: 80,
    };
    let serve = frontend::Action::Serve {
        set_id: 9,
        slot_mask: 255,
        outside_set_id: 8,
        outside_slot_mask: 7,
        service_id: 4,
        flags: 0x3ff,
        affinity_profile: frontend::NO_PROFILE,
    };
    round(&tables.frontend, key, serve);
    round(
        &tables.frontend,
        key,
        frontend::Action::Reject { service_id: 1 },
    );
    round(
        &tables.frontend,
        key,
        frontend::Action::Drop { service_id: 0 },
    );
    let target = endpoint::Target {
        address: address("10.0.0.1"),
        port: 8080,
        flags: endpoint::LOCAL,
        endpoint_id: 70_000,
    };
    round(
        &tables.endpoint,
        endpoint::Key { set_id: 9, slot: 0 },
        target,
    );
    let pinned = affinity::Key {
        affinity_id: 4,
        client: address("10.9.0.1"),
    };
    let pin = endpoint::Target {
        flags: 0,
        endpoint_id: 0,
        ..target
    };
    round(&tables.affinity, pinned, pin);
    let tuple = Tuple {
        src: address("10.9.0.1"),
        dst: address("::"),
        src_port: 0,
        dst_port: 53,
    };
    let key = flow::Key {
        vpc: 1,
        protocol: 17,
        tuple,
    };
    round(&tables.flow, key, tuple.reversed());
    round(&tables.reply, key, tuple);
    let key = vip::Key {
        vpc: 0,
        address: address("10.96.0.1"),
    };
    round(&tables.vip, key, vip::Action::Reject);
    round(&tables.vip, key, vip::Action::Drop);
    round(&tables.vip, key, vip::Action::Own);
    let key = member::Key {
        set_id: 9,
        address: address("10.0.0.1"),
        port: 8080,
    };
    let known = member::IsMember {
        flags: 1,
        endpoint_id: 77,
    };
    round(tables.member.as_ref().unwrap(), key, known);
    let source = address("fd00::5");
    for family in [Family::V4, Family::V6] {
        for local in [false, true] {
            let action = masquerade::Action {
                address: source,
                port_base: 61_440,
                port_mask: 0xfff,
            };
            let key = masquerade::Key {
                vpc: 7,
                family,
                local,
            };
            round(tables.masquerade.as_ref().unwrap(), key, action);
        }
        let key = tunnel::Key { vpc: 7, family };
        round(
            tables.tunnel.as_ref().unwrap(),
            key,
            tunnel::Action::Ipip { source },
        );
        round(
            tables.tunnel.as_ref().unwrap(),
            key,
            tunnel::Action::Gue { source, port: 6080 },
        );
        round(tables.tunnel.as_ref().unwrap(), key, tunnel::Action::SameL2);
    }
    let key = sctp_checksum::Key {
        port_change: 5 << 16,
        length: 1480,
    };
    round(
        &tables.sctp_checksum,
        key,
        sctp_checksum::Action { change: u32::MAX },
    );
    for prefix in [
        "10.0.0.0/8",
        "0.0.0.0/0",
        "::/0",
        "fd00::/65",
        "fd00::1/128",
        "1.2.3.4/32",
    ] {
        let prefix = prefix.parse::<ipnet::IpNet>().unwrap().into();
        let key = route::Key { vpc: 0, prefix };
        round(&tables.route, key, route::Action::Blackhole);
        round(
            &tables.route,
            key,
            route::Action::Forward {
                port: 1,
                src_mac: 2,
                dst_mac: 3,
            },
        );
        let key = source_range::Key {
            range_id: 4,
            source: prefix,
        };
        round(&tables.source_range, key, source_range::Allow);
        let key = client::Key {
            vpc: 7,
            source: prefix,
        };
        round(tables.client.as_ref().unwrap(), key, client::Class::Pod);
        round(tables.client.as_ref().unwrap(), key, client::Class::Node);
    }
}

#[test]
fn what_is_dont_care_is_left_out() {
    let tables = Simulated::new().tables();
    let key = |text: &str| route::Key {
        vpc: 0,
        prefix: text.parse::<ipnet::IpNet>().unwrap().into(),
    };
    let fields = |text| {
        let entry = tables.route.key(&key(text));
        (entry.r#match.len(), entry.priority)
    };
    assert_eq!(fields("::/0"), (1, 1));
    assert_eq!(fields("fd00::/64"), (2, 65));
    assert_eq!(fields("0.0.0.0/0"), (3, 97));
    assert_eq!(fields("10.0.0.1/32"), (3, 129));
    assert_eq!(key("10.1.0.0/16").prefix.to_string(), "10.1.0.0/16");
    assert_eq!(key("fd00::/8").prefix.to_string(), "fd00::/8");
    assert!(key("10.1.0.0/16").prefix.covers(address("10.1.2.3")));
    assert!(!key("10.1.0.0/16").prefix.covers(address("10.2.2.3")));
}

#[test]
fn addresses() {
    for text in [
        "10.1.2.3",
        "0.0.0.0",
        "::",
        "::1",
        "fd00::1",
        "64:ff9b::a01:203",
    ] {
        assert_eq!(address(text).to_string(), text);
    }
    assert_eq!(
        address("10.0.0.1"),
        Address {
            hi: 0,
            lo: 0x0000_ffff_0a00_0001
        }
    );
}
