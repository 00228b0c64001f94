//! What the device counted, as metrics.
//!
//! In: counters read from the device. Out: text in Prometheus' format. A snapshot replaces the one before it, so
//! frontends that are gone leave the metrics, and a device that starts anew counts its verdicts and frontends from zero;
//! totals of Services and endpoints go on (see [`crate::traffic`]). `docs/metrics.md` lists them all.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

use crate::traffic::{EndpointTotal, ServiceTotal, Traffic};

/// Names of the `verdicts` counter's cells: `VERDICT_*` of the pipeline, in order.
pub const VERDICTS: [&str; 26] = [
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
    "state",
    "neighbor",
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
    /// Service ports.
    pub services: Vec<ServiceTotal>,
    /// Endpoints.
    pub endpoints: Vec<EndpointTotal>,
}

/// Longest wait of a scrape for a new reading; after that it gets the one before.
const PATIENCE: Duration = Duration::from_secs(2);

/// The latest counters; shared by who reads the device and who answers scrapes.
#[derive(Debug)]
pub struct DeviceCounters {
    latest: RwLock<Snapshot>,
    wanted: Notify,
    answers: watch::Sender<u64>,
    /// Show a series per endpoint.
    per_endpoint: bool,
}

impl Default for DeviceCounters {
    fn default() -> Self {
        Self::new(true)
    }
}

impl DeviceCounters {
    /// No counters yet. `per_endpoint` says whether endpoints have series of their own.
    pub fn new(per_endpoint: bool) -> Self {
        Self {
            latest: RwLock::default(),
            wanted: Notify::new(),
            answers: watch::Sender::new(0),
            per_endpoint,
        }
    }

    /// Takes new counters in place of the old ones.
    pub fn replace(&self, snapshot: Snapshot) {
        *self.latest.write() = snapshot;
    }

    /// The latest.
    pub fn snapshot(&self) -> Snapshot {
        self.latest.read().clone()
    }

    /// Asks for new counters and waits for them, if somebody reads, not for long.
    pub async fn renew(&self) {
        let mut answers = self.answers.subscribe();
        self.wanted.notify_one();
        // Whoever reads may be slow, or not there: the scrape goes on.
        let _ = tokio::time::timeout(PATIENCE, answers.changed()).await;
    }

    /// Until somebody asks.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Tells who asked that there is nothing newer to be had.
    pub fn answer(&self) {
        self.answers.send_modify(|count| *count += 1);
    }

    /// As text for a scrape.
    pub fn render(&self) -> String {
        let snapshot = self.latest.read();
        let endpoints = if self.per_endpoint {
            endpoints(&snapshot)
        } else {
            String::new()
        };
        [
            verdicts(&snapshot),
            frontends(&snapshot),
            services(&snapshot),
            endpoints,
            tables(&snapshot),
        ]
        .concat()
    }
}

/// Why a packet with this verdict did not go on; `None` if it did, or was answered.
pub fn drop_reason(verdict: &str) -> Option<&str> {
    verdict.strip_prefix("drop_")
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
    head(
        &mut text,
        "nicproxy_drops_total",
        "counter",
        "Packets that the pipeline dropped, by reason",
    );
    for (name, packets) in VERDICTS.iter().zip(&snapshot.verdicts) {
        if let Some(reason) = drop_reason(name) {
            let _ = writeln!(
                text,
                "nicproxy_drops_total{{reason=\"{reason}\"}} {packets}"
            );
        }
    }
    text
}

/// What Services and endpoints have alike: suffix of the name, type, help, value.
type Carried = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Traffic) -> u64,
);

const CARRIED: [Carried; 5] = [
    (
        "packets_total",
        "counter",
        "Packets from clients to endpoints",
        |traffic| traffic.packets,
    ),
    (
        "bytes_total",
        "counter",
        "Bytes from clients to endpoints",
        |traffic| traffic.bytes,
    ),
    (
        "reply_packets_total",
        "counter",
        "Packets from endpoints to clients",
        |traffic| traffic.reply_packets,
    ),
    (
        "reply_bytes_total",
        "counter",
        "Bytes from endpoints to clients",
        |traffic| traffic.reply_bytes,
    ),
    (
        "connections_total",
        "counter",
        "Connections opened",
        |traffic| traffic.connections,
    ),
];

fn services(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    if snapshot.services.is_empty() {
        return text;
    }
    let rows: Vec<(String, &ServiceTotal)> = snapshot
        .services
        .iter()
        .map(|total| (service_labels(&total.owner, total.port), total))
        .collect();
    let mut series = |name: &str, kind: &str, help: &str, value: &dyn Fn(&ServiceTotal) -> u64| {
        let name = format!("nicproxy_service_{name}");
        head(&mut text, &name, kind, help);
        for (labels, total) in &rows {
            let _ = writeln!(text, "{name}{{{labels}}} {}", value(total));
        }
    };
    for (name, kind, help, value) in &CARRIED {
        series(name, kind, help, &|total| value(&total.traffic));
    }
    let help = "Open connections";
    series("active_flows", "gauge", help, &|total| total.flows);
    let help = "Packets refused because nothing serves them";
    series("rejects_total", "counter", help, &|total| total.rejects);
    text
}

fn endpoints(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    if snapshot.endpoints.is_empty() {
        return text;
    }
    let port = |owner: &str| {
        let found = snapshot
            .services
            .binary_search_by(|total| (*total.owner).cmp(owner));
        found.map_or(0, |at| snapshot.services[at].port)
    };
    let rows: Vec<(String, &EndpointTotal)> = snapshot
        .endpoints
        .iter()
        .map(|total| {
            let labels = service_labels(&total.owner, port(&total.owner));
            (format!("{labels},endpoint=\"{}\"", total.endpoint), total)
        })
        .collect();
    let mut series = |name: &str, kind: &str, help: &str, value: &dyn Fn(&EndpointTotal) -> u64| {
        let name = format!("nicproxy_endpoint_{name}");
        head(&mut text, &name, kind, help);
        for (labels, total) in &rows {
            let _ = writeln!(text, "{name}{{{labels}}} {}", value(total));
        }
    };
    for (name, kind, help, value) in &CARRIED {
        series(name, kind, help, &|total| value(&total.traffic));
    }
    let help = "Open connections";
    series("active_flows", "gauge", help, &|total| total.flows);
    text
}

fn service_labels(owner: &str, port: u16) -> String {
    let owner = Owner::parse(owner);
    format!(
        "namespace=\"{}\",name=\"{}\",port=\"{port}\",port_name=\"{}\",protocol=\"{}\"",
        escaped(owner.namespace),
        escaped(owner.name),
        escaped(owner.port_name),
        escaped(owner.protocol),
    )
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

    const TRAFFIC: Traffic = Traffic {
        packets: 1,
        bytes: 2,
        reply_packets: 3,
        reply_bytes: 4,
        connections: 5,
    };

    #[test]
    fn every_drop_has_a_reason() {
        let counters = DeviceCounters::default();
        counters.replace(Snapshot {
            verdicts: (0..VERDICTS.len() as u64).collect(),
            ..Snapshot::default()
        });
        let text = counters.render();
        let source = include_str!("../../../p4/core/constants.p4");
        let constants = source.lines().filter_map(|line| {
            let (name, rest) = line
                .strip_prefix("const bit<8> VERDICT_DROP_")?
                .split_once(" = ")?;
            Some((name.to_lowercase(), rest.split(';').next()?.to_owned()))
        });
        let mut count = 0;
        for (reason, value) in constants {
            count += 1;
            let line = format!("nicproxy_drops_total{{reason=\"{reason}\"}} {value}");
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(count >= 12);
    }

    #[tokio::test]
    async fn a_scrape_waits_for_news_and_not_for_ever() {
        let counters = std::sync::Arc::new(DeviceCounters::default());
        counters.renew().await;
        let reader = counters.clone();
        let task = tokio::spawn(async move {
            reader.wanted().await;
            reader.replace(Snapshot {
                verdicts: vec![9],
                ..Snapshot::default()
            });
            reader.answer();
        });
        counters.renew().await;
        assert_eq!(counters.snapshot().verdicts, [9]);
        task.await.unwrap();
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
            services: vec![ServiceTotal {
                owner: "shop/cart:http/TCP".into(),
                port: 80,
                traffic: TRAFFIC,
                flows: 6,
                rejects: 7,
            }],
            endpoints: vec![EndpointTotal {
                owner: "shop/cart:http/TCP".into(),
                endpoint: "10.0.0.1:8080".parse().unwrap(),
                traffic: TRAFFIC,
                flows: 6,
            }],
        });
        let text = counters.render();
        let labels =
            "namespace=\"shop\",name=\"cart\",port=\"80\",port_name=\"http\",protocol=\"TCP\"";
        for (name, value) in [
            ("packets_total", 1),
            ("bytes_total", 2),
            ("reply_packets_total", 3),
            ("reply_bytes_total", 4),
            ("connections_total", 5),
            ("active_flows", 6),
            ("rejects_total", 7),
        ] {
            let line = format!("nicproxy_service_{name}{{{labels}}} {value}");
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
            if value < 7 {
                let endpoint = "endpoint=\"10.0.0.1:8080\"";
                let line = format!("nicproxy_endpoint_{name}{{{labels},{endpoint}}} {value}");
                assert!(text.lines().any(|found| found == line), "{line}\n{text}");
            }
        }
        let few = DeviceCounters::new(false);
        few.replace(counters.snapshot());
        assert!(!few.render().contains("nicproxy_endpoint_"));
        assert!(few.render().contains("nicproxy_service_"));
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
