//! What the demo found, per VIP and in all.
//!
//! In: tallies of the traffic. Out: rows, a verdict in words, a table. A share is held against what the manifests
//! promise, within what whole slots and chance allow.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::plan::{self, Promise};
use super::shop;
use super::traffic::{Tally, Traffic};
use crate::cli::output;
use crate::slowpath;

/// Times and circumstances.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Which program.
    pub program: String,
    /// Where the device is.
    pub target: String,
    /// From the start until the shop was programmed.
    pub ready: Duration,
    /// From the edit of the manifest until the device served it.
    pub scaled_in: Duration,
    /// Packets under way.
    pub traffic: Duration,
    /// Everything.
    pub total: Duration,
    /// Connections that were open while the Service was scaled.
    pub held: usize,
    /// The NIC is in this process; nobody else sends on its ports.
    pub embedded: bool,
    /// What the slow path did.
    pub slow_path: slowpath::Snapshot,
}

/// The demo's findings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Which program ran.
    pub program: String,
    /// Where.
    pub target: String,
    /// One row per VIP, port and protocol.
    pub services: Vec<Row>,
    /// Connections made.
    pub connections: u64,
    /// Packets from clients to endpoints, each checked.
    pub translated: u64,
    /// Packets from endpoints to clients, each checked.
    pub answered: u64,
    /// Connections refused as they should be.
    pub refused: u64,
    /// Packets sent again because nothing came of them.
    pub repeated: u64,
    /// Connections that were open while a Service was scaled.
    pub held: usize,
    /// Of those, connections that did not stay at their endpoint to the end.
    pub moved: u64,
    /// Connections that the control plane set up, where the device does not learn.
    pub set_up: u64,
    /// What the slow path did.
    pub slow_path: BTreeMap<&'static str, u64>,
    /// Milliseconds until the shop was programmed.
    pub ready_ms: f64,
    /// Milliseconds from the edited manifest to the programmed device.
    pub scaled_ms: f64,
    /// Milliseconds of traffic.
    pub traffic_ms: f64,
    /// Milliseconds of everything.
    pub total_ms: f64,
    /// Packets per second through the NIC, sender and checker included.
    pub packets_per_second: f64,
    /// What was not as it must be.
    pub failures: Vec<String>,
}

/// One VIP, port and protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Namespace and name.
    pub service: String,
    /// Name of the port.
    pub port: String,
    /// Protocol.
    pub protocol: String,
    /// Where clients connect.
    pub vip: SocketAddr,
    /// Connections made.
    pub connections: u64,
    /// Packets to endpoints.
    pub translated: u64,
    /// Packets back.
    pub answered: u64,
    /// Connections refused.
    pub refused: u64,
    /// Mistakes.
    pub errors: u64,
    /// Who served them.
    pub endpoints: Vec<Share>,
}

/// One endpoint's part of the new connections.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// Connections that it got.
    pub connections: u64,
    /// Fraction that it got.
    pub share: f64,
    /// Fraction that it was to get.
    pub expected: f64,
    /// The two agree as far as whole slots and chance allow.
    pub fair: bool,
}

/// Whether a promise is of the Service that is scaled.
pub fn is_scaled(promise: &Promise) -> bool {
    &*promise.service.name == shop::SCALED_SERVICE
}

/// Connections per promise: even, but few where all are refused, and the scaled Service gets twice as many.
pub fn counts(promises: &[Promise], connections: usize) -> Vec<usize> {
    let weight = |promise: &Promise| match (promise.shares.is_empty(), is_scaled(promise)) {
        (true, _) => 1,
        (false, true) => 20,
        (false, false) => 10,
    };
    let total: usize = promises.iter().map(weight).sum();
    let mut counts: Vec<usize> = promises
        .iter()
        .map(|p| connections * weight(p) / total.max(1))
        .collect();
    let rest = connections.saturating_sub(counts.iter().sum());
    let served: Vec<usize> = (0..promises.len())
        .filter(|at| !promises[*at].shares.is_empty())
        .collect();
    for at in served
        .iter()
        .cycle()
        .take(if served.is_empty() { 0 } else { rest })
    {
        counts[*at] += 1;
    }
    counts
}

/// Mixes connections, so that all Services are busy at the same time.
pub fn shuffle(connections: &mut [usize], seed: u64) {
    let mut state = seed | 1;
    for at in (1..connections.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        connections.swap(at, (state >> 33) as usize % (at + 1));
    }
}

impl Report {
    /// Adds up. `opened` and `kept` are the tallies of held connections before and after the scaling.
    pub fn new(traffic: &Traffic, opened: &[Tally], kept: &[Tally], summary: Summary) -> Self {
        let services: Vec<Row> = traffic
            .promises()
            .iter()
            .enumerate()
            .map(|(at, promise)| row(promise, &traffic.tallies[at], &opened[at], &kept[at]))
            .collect();
        let sum = |pick: fn(&Row) -> u64| services.iter().map(pick).sum::<u64>();
        let repeated = [&traffic.tallies[..], opened, kept]
            .concat()
            .iter()
            .map(|tally| tally.repeated)
            .sum();
        let moved = kept.iter().map(|tally| tally.errors).sum();
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let mut report = Self {
            connections: sum(|row| row.connections),
            translated: sum(|row| row.translated),
            answered: sum(|row| row.answered),
            refused: sum(|row| row.refused),
            failures: Vec::new(),
            services,
            repeated,
            held: summary.held,
            moved,
            set_up: summary.slow_path.connections,
            slow_path: summary.slow_path.named().into_iter().collect(),
            ready_ms: millis(summary.ready),
            scaled_ms: millis(summary.scaled_in),
            traffic_ms: millis(summary.traffic),
            total_ms: millis(summary.total),
            packets_per_second: traffic.packets as f64 / summary.traffic.as_secs_f64().max(1e-9),
            program: summary.program,
            target: summary.target,
        };
        report.judge(traffic, summary.embedded);
        report
    }

    fn judge(&mut self, traffic: &Traffic, embedded: bool) {
        let errors: u64 = self.services.iter().map(|row| row.errors).sum();
        if errors > 0 {
            self.failures
                .push(format!("{errors} connections went wrong"));
        }
        if self.moved > 0 {
            self.failures.push(format!(
                "{} connections did not survive the scaling",
                self.moved
            ));
        }
        if embedded && traffic.strays > 0 {
            self.failures.push(format!(
                "{} packets belong to no connection",
                traffic.strays
            ));
        }
        for row in &self.services {
            for share in row.endpoints.iter().filter(|share| !share.fair) {
                self.failures.push(format!(
                    "{} {}: {} got {:.1} % of the connections, expected {:.1} %",
                    row.service,
                    row.vip,
                    share.endpoint,
                    share.share * 100.0,
                    share.expected * 100.0
                ));
            }
        }
        if errors > 0 || !self.failures.is_empty() {
            self.failures.extend(traffic.told.iter().cloned());
        }
    }
}

fn row(promise: &Promise, tally: &Tally, opened: &Tally, kept: &Tally) -> Row {
    let all = |pick: fn(&Tally) -> u64| pick(tally) + pick(opened) + pick(kept);
    // Shares are those of the new connections: the held ones were spread over the endpoints of before.
    let total: u64 = tally.picks.values().sum();
    let endpoints: BTreeMap<SocketAddr, Share> = promise
        .shares
        .iter()
        .map(|(endpoint, expected)| {
            let connections = tally.picks.get(endpoint).copied().unwrap_or_default();
            let off = (connections as f64 - total as f64 * expected).abs();
            let share = Share {
                endpoint: *endpoint,
                connections,
                share: connections as f64 / total.max(1) as f64,
                expected: *expected,
                fair: off <= plan::tolerance(total, *expected),
            };
            (*endpoint, share)
        })
        .collect();
    Row {
        service: promise.service.to_string(),
        port: promise.port.clone(),
        protocol: promise.protocol.to_string(),
        vip: promise.vip,
        connections: all(|tally| tally.connections),
        translated: all(|tally| tally.translated),
        answered: all(|tally| tally.answered),
        refused: all(|tally| tally.refused),
        errors: all(|tally| tally.errors),
        endpoints: endpoints.into_values().collect(),
    }
}

/// For people.
pub fn table(report: &Report) -> String {
    let mut lines = Vec::new();
    for row in &report.services {
        let head = [
            row.service.clone(),
            format!("{} {}", row.vip, row.protocol),
            row.connections.to_string(),
            row.translated.to_string(),
            row.answered.to_string(),
            row.refused.to_string(),
            row.errors.to_string(),
        ];
        let mut endpoints = row.endpoints.iter();
        let tail = |share: Option<&Share>| match share {
            Some(share) => [
                share.endpoint.to_string(),
                format!("{:.1} %", share.share * 100.0),
                format!("{:.1} %", share.expected * 100.0),
            ],
            None => ["none".to_owned(), "-".to_owned(), "-".to_owned()],
        };
        lines.push(join(head, tail(endpoints.next())));
        lines.extend(endpoints.map(|share| join(Default::default(), tail(Some(share)))));
    }
    let heading = [
        "SERVICE",
        "VIP",
        "CONNECTIONS",
        "TRANSLATED",
        "ANSWERED",
        "REFUSED",
        "ERRORS",
        "ENDPOINT",
        "SHARE",
        "EXPECTED",
    ];
    let table = output::table(heading, &[2, 3, 4, 5, 6, 8, 9], lines);
    format!("{table}\n\n{}", summary(report))
}

fn join(head: [String; 7], tail: [String; 3]) -> [String; 10] {
    let [a, b, c, d, e, f, g] = head;
    let [h, i, j] = tail;
    [a, b, c, d, e, f, g, h, i, j]
}

fn summary(report: &Report) -> String {
    let verdict = match report.failures.len() {
        0 => output::styled(output::GOOD, "every packet was as it must be"),
        count => output::styled(output::BAD, format!("{count} checks failed")),
    };
    format!(
        "program nicproxy_{} on {}: programmed after {:.0} ms\n\
         {} connections, {} packets translated, {} answered, {} connections refused; {} packets sent again\n\
         {} connections were open while {} was scaled (programmed after {:.0} ms): {} moved\n\
         {} connections set up by the control plane; {:.2} s of traffic, {:.0} packets/s, {:.2} s in all\n{verdict}",
        report.program,
        report.target,
        report.ready_ms,
        report.connections,
        report.translated,
        report.answered,
        report.refused,
        report.repeated,
        report.held,
        shop::SCALED_SERVICE,
        report.scaled_ms,
        report.moved,
        report.set_up,
        report.traffic_ms / 1000.0,
        report.packets_per_second,
        report.total_ms / 1000.0,
    )
}
