//! What the device counted, as metrics.
//!
//! In: counters read from the device. Out: text in Prometheus' format. A snapshot replaces the one before it, so
//! frontends that are gone leave the metrics, and a device that starts anew counts from zero.

use std::fmt::Write;
use std::net::IpAddr;

use parking_lot::RwLock;

/// Names of the `verdicts` counter's cells: `VERDICT_*` of the pipeline, in order.
pub const VERDICTS: [&str; 24] = [
    "forwarded",
    "translated",
    "replied",
    "bridged",
    "injected",
    "new_flow",
    "reject",
    "conflict",
    "ttl_expired",
    "drop_policy",
    "drop_source",
    "drop_no_endpoint",
    "drop_fragment",
    "drop_malformed",
    "drop_no_route",
    "drop_checksum",
    "drop_no_slow_path",
    "drop_blackhole",
    "drop_port",
    "fragment",
    "tunnelled",
    "drop_no_masquerade",
    "drop_no_tunnel",
    "related",
];

/// One frontend's counter.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontendCount {
    /// `namespace/name:port/PROTOCOL`.
    pub owner: String,
    /// Address.
    pub vip: IpAddr,
    /// Port.
    pub port: u16,
    /// Packets from clients.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Counters of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Packets by verdict, in order of [`VERDICTS`].
    pub verdicts: Vec<u64>,
    /// Frontends.
    pub frontends: Vec<FrontendCount>,
    /// Entries by table, and room for them.
    pub tables: Vec<(String, u64, u64)>,
}

/// The latest counters; shared by who reads the device and who answers scrapes.
#[derive(Debug, Default)]
pub struct DeviceCounters(RwLock<Snapshot>);

impl DeviceCounters {
    /// Takes new counters in place of the old ones.
    pub fn replace(&self, snapshot: Snapshot) {
        *self.0.write() = snapshot;
    }

    /// The latest.
    pub fn snapshot(&self) -> Snapshot {
        self.0.read().clone()
    }

    /// As text for a scrape.
    pub fn render(&self) -> String {
        let snapshot = self.0.read();
        [verdicts(&snapshot), frontends(&snapshot), tables(&snapshot)].concat()
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn verdicts(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    if snapshot.verdicts.is_empty() {
        return text;
    }
    head(
        &mut text,
        "nicproxy_packets_total",
        "counter",
        "Packets by what the pipeline did with them",
    );
    for (name, packets) in VERDICTS.iter().zip(&snapshot.verdicts) {
        let _ = writeln!(
            text,
            "nicproxy_packets_total{{verdict=\"{name}\"}} {packets}"
        );
    }
    text
}

fn frontends(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    type Pick = fn(&FrontendCount) -> u64;
    let series: [(&str, &str, Pick); 2] = [
        (
            "nicproxy_frontend_packets_total",
            "Packets that clients sent to a VIP",
            |count| count.packets,
        ),
        (
            "nicproxy_frontend_bytes_total",
            "Bytes that clients sent to a VIP",
            |count| count.bytes,
        ),
    ];
    for (name, help, value) in series.iter().filter(|_| !snapshot.frontends.is_empty()) {
        head(&mut text, name, "counter", help);
        for count in &snapshot.frontends {
            let owner = Owner::parse(&count.owner);
            let _ = writeln!(
                text,
                "{name}{{namespace=\"{}\",service=\"{}\",port_name=\"{}\",protocol=\"{}\",vip=\"{}\",port=\"{}\"}} {}",
                escaped(owner.namespace),
                escaped(owner.name),
                escaped(owner.port_name),
                escaped(owner.protocol),
                count.vip,
                count.port,
                value(count),
            );
        }
    }
    text
}

fn tables(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    if snapshot.tables.is_empty() {
        return text;
    }
    head(
        &mut text,
        "nicproxy_table_entries",
        "gauge",
        "Entries in a table of the device",
    );
    for (table, entries, _) in &snapshot.tables {
        let _ = writeln!(
            text,
            "nicproxy_table_entries{{table=\"{}\"}} {entries}",
            escaped(table)
        );
    }
    head(
        &mut text,
        "nicproxy_table_size",
        "gauge",
        "Entries that a table of the device has room for",
    );
    for (table, _, size) in &snapshot.tables {
        let _ = writeln!(
            text,
            "nicproxy_table_size{{table=\"{}\"}} {size}",
            escaped(table)
        );
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Parts of an owner, `namespace/name:port/PROTOCOL`. Missing parts are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Service.
    pub name: &'a str,
    /// Name of the port.
    pub port_name: &'a str,
    /// Protocol.
    pub protocol: &'a str,
}

impl<'a> Owner<'a> {
    /// Takes an owner apart.
    pub fn parse(text: &'a str) -> Self {
        let (namespace, rest) = text.split_once('/').unwrap_or(("", text));
        let (rest, protocol) = rest.rsplit_once('/').unwrap_or((rest, ""));
        let (name, port_name) = rest.split_once(':').unwrap_or((rest, ""));
        Self {
            namespace,
            name,
            port_name,
            protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_pipeline() {
        let source = include_str!("../../../p4/core/constants.p4");
        for (at, name) in VERDICTS.iter().enumerate() {
            let constant = format!("VERDICT_{} = {at};", name.to_uppercase());
            assert!(source.contains(&constant), "{constant}");
        }
        assert_eq!(
            source.matches("const bit<8> VERDICT_").count(),
            VERDICTS.len()
        );
    }

    #[test]
    fn text_for_prometheus() {
        let counters = DeviceCounters::default();
        assert_eq!(counters.render(), "");
        counters.replace(Snapshot {
            verdicts: vec![1, 2],
            frontends: vec![FrontendCount {
                owner: "shop/cart:ht\"tp/TCP".to_owned(),
                vip: "fd00::1".parse().unwrap(),
                port: 80,
                packets: 7,
                bytes: 70,
            }],
            tables: vec![("flow".to_owned(), 3, 1024)],
        });
        let text = counters.render();
        for line in [
            "nicproxy_packets_total{verdict=\"translated\"} 2",
            "nicproxy_frontend_packets_total{namespace=\"shop\",service=\"cart\",port_name=\"ht\\\"tp\",protocol=\"TCP\",vip=\"fd00::1\",port=\"80\"} 7",
            "nicproxy_table_entries{table=\"flow\"} 3",
            "nicproxy_table_size{table=\"flow\"} 1024",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(
            !text.contains("replied"),
            "cells that the device does not have are not invented"
        );
    }

    #[test]
    fn owners() {
        let owner = Owner::parse("ns/name:port/TCP");
        assert_eq!(
            (owner.namespace, owner.name, owner.port_name, owner.protocol),
            ("ns", "name", "port", "TCP")
        );
        let owner = Owner::parse("ns/name:/UDP");
        assert_eq!(
            (owner.name, owner.port_name, owner.protocol),
            ("name", "", "UDP")
        );
        assert_eq!(Owner::parse("route").name, "route");
    }
}
