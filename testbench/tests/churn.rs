//! Connections stay where they are while endpoints come and go.
//!
//! In: how many connections each Service has open, how many changes there are, and how many a second
//! (`NICPROXY_CHURN_CONNECTIONS`, `NICPROXY_CHURN_CHANGES`, `NICPROXY_CHURN_RATE`, of the ignored tests). Out: a table of what
//! became of the connections. Invariant: none whose endpoint is there is lost or moved (S41, S62), new ones get endpoints
//! that are there (S83), and every answer comes from the address that was called.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

#[path = "churn/traffic.rs"]
mod traffic;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nicproxy::config::{Config, Program};
use serde_json::{Value, json};
use testbench::plane::{Cluster, Plane};
use testbench::probe::Probe;
use testbench::scenario::folder;
use testbench::target::softnic::Embedded;

use traffic::{Connection, Fate, Protocol, Wire};

/// Endpoints that a Service has at most.
const POOL: u8 = 40;
/// Endpoints of these that never leave.
const STAYING: u8 = 10;
/// Packets of open connections between two changes.
const BETWEEN: usize = 24;

/// How much happens.
#[derive(Clone, Copy, Debug)]
struct Extent {
    connections: u16,
    changes: usize,
    /// Changes a second.
    rate: u32,
}

/// A Service, and what became of its connections.
struct Served {
    number: u8,
    protocol: Protocol,
    six: bool,
    present: BTreeSet<u8>,
    open: Vec<Connection>,
    next: usize,
    ports: u16,
    fate: Fate,
    begun: usize,
}

impl Served {
    fn new(number: u8, protocol: Protocol, six: bool) -> Self {
        Self {
            number,
            protocol,
            six,
            present: (0..POOL).step_by(2).chain(0..STAYING).collect(),
            open: Vec::new(),
            next: 0,
            ports: 2_000,
            fate: Fate::default(),
            begun: 0,
        }
    }

    fn service(&self) -> Value {
        let ip = traffic::vip(self.number, self.six);
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("s{}", self.number), "namespace": "churn"},
            "spec": {
                "clusterIP": ip, "clusterIPs": [ip],
                "ports": [{"name": "p", "protocol": self.protocol.name(), "port": 80}],
            },
        })
    }

    fn slice(&self) -> Value {
        let endpoints: Vec<Value> = self
            .present
            .iter()
            .map(|host| {
                json!({
                    "addresses": [traffic::endpoint(*host, self.six)], "nodeName": "worker-b",
                })
            })
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("x{}", self.number), "namespace": "churn",
                "labels": {"kubernetes.io/service-name": format!("s{}", self.number)},
            },
            "addressType": if self.six { "IPv6" } else { "IPv4" },
            "ports": [{"name": "p", "protocol": self.protocol.name(), "port": 8080}],
            "endpoints": endpoints,
        })
    }

    /// One endpoint that may leave comes or goes. UDP connections to one that goes are cut (S63): should it come back, what
    /// their clients send are new ones.
    fn change(&mut self, number: usize) {
        let host = STAYING + ((number * 7) % usize::from(POOL - STAYING)) as u8;
        if !self.present.remove(&host) {
            self.present.insert(host);
        } else if self.protocol == Protocol::Udp {
            self.open.retain(|connection| connection.host != host);
        }
    }

    /// So many new connections; each has to get an endpoint that is there.
    fn begin(&mut self, wire: &Wire<'_>, count: u16) {
        let ports: Vec<u16> = (0..count).map(|number| self.ports + number).collect();
        self.ports += count;
        for ports in ports.chunks(64) {
            let opened = wire.open(self.number, self.protocol, self.six, ports);
            for connection in opened {
                assert!(
                    self.present.contains(&connection.host),
                    "s{}: a new connection went to {}, which is not there",
                    self.number,
                    connection.endpoint()
                );
                self.open.push(connection);
                self.begun += 1;
            }
        }
    }

    /// The next packets, and answers, of open connections.
    fn talk(&mut self, wire: &Wire<'_>, count: usize) {
        let mut some = Vec::new();
        for _ in 0..count.min(self.open.len()) {
            some.push(self.open[self.next % self.open.len()]);
            self.next += 1;
        }
        self.fate += wire.talk(&some);
    }
}

/// Out: changes a second.
fn run(program: Program, extent: Extent) -> f64 {
    let config = Config::read(&folder().join("config.yaml")).unwrap();
    let target = Embedded::start(program, &[1, 2, 3]).unwrap();
    Probe::open(&target).unwrap().reset(1).unwrap();
    let mut services = vec![
        Served::new(1, Protocol::Tcp, false),
        Served::new(2, Protocol::Tcp, true),
        Served::new(3, Protocol::Sctp, false),
        Served::new(4, Protocol::Udp, true),
    ];
    let mut cluster = Cluster::default();
    for one in &services {
        cluster.apply(&one.service().to_string()).unwrap();
        cluster.apply(&one.slice().to_string()).unwrap();
    }
    let mut plane = Plane::start(&target, &config, &cluster).unwrap();
    let wire = Wire::new(&target);
    for one in &mut services {
        one.begin(&wire, extent.connections);
    }

    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let pace = Duration::from_secs(1) / extent.rate;
    for number in 0..extent.changes {
        let due = start + pace * number as u32;
        let count = services.len();
        let one = &mut services[number % count];
        // Whoever is early lets packets through in the meantime.
        loop {
            one.talk(&wire, BETWEEN);
            if Instant::now() >= due {
                break;
            }
        }
        one.change(number);
        let began = Instant::now();
        let events = cluster.apply(&one.slice().to_string()).unwrap();
        plane.change(events).unwrap();
        slowest = slowest.max(began.elapsed());
        one.begin(&wire, 1);
    }
    let took = start.elapsed();
    // None of all was lost.
    for one in &mut services {
        one.next = 0;
        one.talk(&wire, one.open.len());
    }
    let rate = extent.changes as f64 / took.as_secs_f64();
    println!("{}", table(program, &services, extent, rate, slowest));
    for one in &services {
        let Fate { lost, moved, .. } = one.fate;
        assert_eq!((lost, moved), (0, 0), "packets of s{}", one.number);
    }
    rate
}

fn table(
    program: Program,
    services: &[Served],
    extent: Extent,
    rate: f64,
    slowest: Duration,
) -> String {
    let mut text = format!(
        "{program}: {} changes, {rate:.0} a second, the slowest in the device after {slowest:.1?}\n\
         SERVICE  PROTOCOL  FAMILY  CONNECTIONS  OPENED MEANWHILE  PACKETS  ENDPOINT LEFT  LOST  MOVED\n",
        extent.changes
    );
    for one in services {
        let left = one.open.iter().filter(|c| !one.present.contains(&c.host));
        let family = if one.six { "IPv6" } else { "IPv4" };
        text += &format!(
            "s{:<7} {:<9} {family:<7} {:>11} {:>17} {:>8} {:>14} {:>5} {:>6}\n",
            one.number,
            one.protocol.name(),
            one.open.len(),
            one.begun - usize::from(extent.connections),
            one.fate.arrived,
            left.count(),
            one.fate.lost,
            one.fate.moved,
        );
    }
    text
}

const SHORT: Extent = Extent {
    connections: 80,
    changes: 60,
    rate: 100,
};

#[test]
fn s41_s62_s83_connections_outlast_changes_on_the_pna_program() {
    run(Program::Pna, SHORT);
}

#[test]
fn s41_s62_s83_connections_outlast_changes_on_the_v1model_program() {
    run(Program::V1model, SHORT);
}

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn run_long(program: Program) {
    let extent = Extent {
        connections: number("NICPROXY_CHURN_CONNECTIONS", 1_000) as u16,
        changes: number("NICPROXY_CHURN_CHANGES", 1_000) as usize,
        rate: number("NICPROXY_CHURN_RATE", 100),
    };
    let rate = run(program, extent);
    assert!(
        rate > 0.9 * f64::from(extent.rate),
        "{rate} changes a second"
    );
}

#[test]
#[ignore = "1,000 connections per Service, 1,000 changes at 100 a second: with --release"]
fn connections_outlast_changes_on_the_pna_program_for_long() {
    run_long(Program::Pna);
}

#[test]
#[ignore = "1,000 connections per Service, 1,000 changes at 100 a second: with --release"]
fn connections_outlast_changes_on_the_v1model_program_for_long() {
    run_long(Program::V1model);
}
