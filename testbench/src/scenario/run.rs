//! A scenario against a target.
//!
//! In: both. Out: nothing, or the first step that did not go as it should. The switch is emptied first, then nicproxy's
//! reconciler and slow path run against it over P4Runtime for as long as the scenario takes.
//! Invariant: no frame is left over: whatever comes out of the switch is expected by some step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::expect::{self, PATIENCE, QUIET, Sent, Wanted};
use super::step::{Count, Entries, Step, Tunnelled, VERDICTS};
use super::template::{self, Found, Place, Template, TemplateError};
use super::{Failure, Scenario, ScenarioError};
use crate::packet::show::unhex;
use crate::packet::{Body, Packet};
use crate::plane::{Cluster, Plane};
use crate::probe::Probe;
use crate::target::Target;

mod connections;
mod tunnel;

use connections::Connection;

/// What became of a scenario that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every step went as it should.
    Passed,
    /// Not for this target, and why.
    Skipped(String),
}

/// Runs a scenario.
///
/// # Errors
/// [`Failure`]: the step and what went wrong.
pub fn run(scenario: &Scenario, target: &dyn Target) -> Result<Outcome, Failure> {
    let kind = if target.name().starts_with("switch") {
        "switch"
    } else {
        "softnic"
    };
    let program = target.program().to_string();
    let skip = scenario
        .steps
        .skip
        .iter()
        .find(|(key, _)| **key == program || *key == kind);
    if let Some((_, reason)) = skip {
        return Ok(Outcome::Skipped(reason.clone()));
    }
    let failure = |step: usize, what: String, source| Failure {
        scenario: scenario.name.clone(),
        step,
        what,
        source: Box::new(source),
    };
    let mut run =
        Run::start(scenario, target).map_err(|error| failure(0, "start".to_owned(), error))?;
    let steps = &scenario.steps.steps;
    for (at, step) in steps.iter().enumerate() {
        run.step(step, steps.get(at + 1))
            .map_err(|error| failure(at + 1, step.brief(), error))?;
    }
    let end = run.finish();
    end.map_err(|error| failure(steps.len(), "end".to_owned(), error))?;
    Ok(Outcome::Passed)
}

struct Run<'a> {
    scenario: &'a Scenario,
    target: &'a dyn Target,
    probe: Probe,
    cluster: Cluster,
    plane: Option<Plane>,
    found: Found,
    last: Option<Sent>,
    /// Packets under each verdict before the packet last sent; only where the next step asks.
    before: Option<(usize, u64)>,
    connections: BTreeMap<String, Vec<Connection>>,
}

impl<'a> Run<'a> {
    fn start(scenario: &'a Scenario, target: &'a dyn Target) -> Result<Self, ScenarioError> {
        let mut probe = Probe::open(target)?;
        probe.reset(1)?;
        let mut cluster = Cluster::default();
        cluster.apply(&scenario.manifests("objects.yaml")?)?;
        let plane = Plane::start(target, &scenario.config, &cluster)?;
        // What an earlier scenario left on the wire.
        while target.receive(Instant::now()).is_some() {}
        Ok(Self {
            scenario,
            target,
            probe,
            cluster,
            plane: Some(plane),
            found: Found::new(),
            last: None,
            before: None,
            connections: BTreeMap::new(),
        })
    }

    fn step(&mut self, step: &Step, next: Option<&Step>) -> Result<(), ScenarioError> {
        match step {
            Step::Send(template) => {
                self.before = match next {
                    Some(Step::Dropped(verdict) | Step::Silence(verdict)) => {
                        Some(self.verdict(verdict)?)
                    }
                    _ => None,
                };
                let packet = template.fresh(
                    self.scenario.router_mac(template.port.unwrap_or_default()),
                    &self.found,
                )?;
                let port = template
                    .port
                    .ok_or(template::TemplateError::Missing("port"))?;
                self.send(port, packet)
            }
            Step::Expect(template) => self.expect(template),
            Step::Tunnelled(way) => self.tunnelled(way),
            Step::Unaltered(port) => {
                let sent = self.sent()?;
                let wanted = Wanted {
                    port: *port,
                    frame: sent.frame.clone(),
                    finds: Vec::new(),
                    consistent: false,
                };
                expect::one_of(self.target, &[wanted]).map(drop)
            }
            Step::Frame(frame) => {
                let bytes = unhex(&frame.hex).ok_or_else(|| TemplateError::Value {
                    field: "hex",
                    value: frame.hex.clone(),
                    wanted: "hexadecimal",
                })?;
                expect::padded(self.target, frame.port, &bytes)
            }
            Step::Announced(addresses) => self.announced(addresses),
            Step::Answer(answer) => expect::answer(self.target, answer, self.sent()?, &self.found),
            Step::Dropped(_) => self.counted(),
            Step::Silence(_) => {
                self.counted()?;
                expect::nothing(self.target, Instant::now() + QUIET)
            }
            Step::Apply(file) => {
                let changes = self.cluster.apply(&self.scenario.manifests(file)?)?;
                self.plane()?.change(changes)?;
                Ok(())
            }
            Step::Delete(objects) => {
                let changes = self.cluster.delete(objects)?;
                self.plane()?.change(changes)?;
                Ok(())
            }
            Step::Connect(connect) => self.connect(connect),
            Step::Exchange(exchange) => self.exchange(exchange),
            Step::Balance(balance) => {
                let changes = self.plane()?.balance()?;
                same("weights change", changes, balance.changes)
            }
            Step::Count(count) => self.count(count),
            Step::Entries(entries) => self.entries(entries),
            Step::Restart(restart) => {
                self.plane = None;
                let plane = Plane::start(self.target, &self.scenario.config, &self.cluster)?;
                let writes = plane.writes();
                self.plane = Some(plane);
                same("updates written after the restart", writes, restart.writes)
            }
        }
    }

    fn finish(&mut self) -> Result<(), ScenarioError> {
        expect::nothing(self.target, Instant::now())?;
        self.plane = None;
        Ok(())
    }

    fn plane(&mut self) -> Result<&mut Plane, ScenarioError> {
        self.plane
            .as_mut()
            .ok_or_else(|| ScenarioError::Differs("no control plane runs".to_owned()))
    }

    fn sent(&self) -> Result<&Sent, ScenarioError> {
        self.last
            .as_ref()
            .ok_or_else(|| ScenarioError::Differs("nothing was sent before this step".to_owned()))
    }

    fn send(&mut self, port: u32, packet: Packet) -> Result<(), ScenarioError> {
        // A frame from before would be taken for an answer to this one.
        expect::nothing(self.target, Instant::now())?;
        let frame = packet.frame()?;
        self.target.send(port, &frame)?;
        self.last = Some(Sent {
            port,
            packet,
            frame,
        });
        Ok(())
    }

    /// The packet last sent, one hop further.
    fn expect(&mut self, template: &Template) -> Result<(), ScenarioError> {
        let mut base = self.sent()?.packet.clone();
        expect::hop(&mut base);
        let came = self.target.receive(Instant::now() + PATIENCE);
        let mut template = template.clone();
        if let (Some(from), Some((_, frame))) = (&template.from, &came) {
            template.from =
                Some(from.settle(expect::source_port(frame).unwrap_or_default(), &self.found)?);
        }
        let mut wanted = Vec::new();
        for candidate in template.derive(&base, &self.found)? {
            let mut packet = candidate.packet;
            let port = self.routed(&mut packet, &template)?;
            let consistent = packet.cut.is_none()
                && !matches!(&packet.body, Body::Ip(ip) if ip.length.is_some());
            wanted.push(Wanted {
                port,
                frame: packet.frame()?,
                finds: candidate.finds,
                consistent,
            });
        }
        let came = expect::among(came, &wanted)?;
        self.found.extend(wanted.swap_remove(came).finds);
        Ok(())
    }

    /// The packet last sent, one hop further, on the way to an endpoint that has the address itself.
    fn tunnelled(&mut self, way: &Tunnelled) -> Result<(), ScenarioError> {
        let mut packet = self.sent()?.packet.clone();
        expect::hop(&mut packet);
        let Some((port, src, dst)) = self.scenario.hop(way.to) else {
            let to = way.to;
            return Err(ScenarioError::Differs(format!("there is no route to {to}")));
        };
        (packet.src_mac, packet.dst_mac) = (src, dst);
        let mut came = self.target.receive(Instant::now() + PATIENCE);
        if let Some((_, frame)) = &mut came {
            *frame = tunnel::inside(frame, way)?;
        }
        let wanted = Wanted {
            port,
            frame: packet.frame()?,
            finds: Vec::new(),
            consistent: true,
        };
        expect::among(came, &[wanted]).map(drop)
    }

    /// Gives a packet the addresses of its route, and says where that leads.
    fn routed(&self, packet: &mut Packet, template: &Template) -> Result<u32, ScenarioError> {
        let Body::Ip(ip) = &packet.body else {
            return template
                .port
                .ok_or(template::TemplateError::Missing("port").into());
        };
        let hop = self.scenario.hop(ip.to);
        let Some((port, src, dst)) = hop else {
            return Err(ScenarioError::Differs(format!(
                "the configuration has no route to {}",
                ip.to
            )));
        };
        if template.src_mac.is_none() {
            packet.src_mac = src;
        }
        if template.dst_mac.is_none() {
            packet.dst_mac = dst;
        }
        Ok(template.port.unwrap_or(port))
    }

    /// Index and present count of a verdict.
    fn verdict(&mut self, name: &str) -> Result<(usize, u64), ScenarioError> {
        let index = VERDICTS.iter().position(|verdict| *verdict == name);
        let index =
            index.ok_or_else(|| ScenarioError::Differs(format!("there is no verdict {name:?}")))?;
        Ok((index, self.probe.counter("verdicts", index as i64)?))
    }

    /// Waits until the packet last sent is counted under its verdict; nothing may have come out by then.
    fn counted(&mut self) -> Result<(), ScenarioError> {
        let Some((index, before)) = self.before.take() else {
            return Err(ScenarioError::Differs(
                "a `send` must stand right before this step".to_owned(),
            ));
        };
        let deadline = Instant::now() + PATIENCE;
        let mut now = before;
        while now == before && Instant::now() < deadline {
            expect::nothing(
                self.target,
                Instant::now() + std::time::Duration::from_millis(10),
            )?;
            now = self.probe.counter("verdicts", index as i64)?;
        }
        same(VERDICTS[index], now - before, 1)?;
        expect::nothing(self.target, Instant::now())
    }

    /// Waits until addresses were announced on all ports; nothing else may come by then.
    fn announced(&mut self, addresses: &[std::net::IpAddr]) -> Result<(), ScenarioError> {
        let ports = self.scenario.config.ports.iter().map(|port| port.port);
        let wanted: BTreeSet<_> = ports
            .flat_map(|port| addresses.iter().map(move |address| (port, *address)))
            .collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let soon = Instant::now() + std::time::Duration::from_millis(20);
            expect::nothing(self.target, soon)?;
            let missing: Vec<_> = wanted
                .difference(&self.target.announced())
                .cloned()
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let text = format!("not announced, by port: {missing:?}");
                return Err(ScenarioError::Differs(text));
            }
        }
    }

    fn count(&mut self, count: &Count) -> Result<(), ScenarioError> {
        let vip = template::place(&count.frontend, &self.found)?;
        let key = frontend_key(vip, &count.proto)?;
        let (packets, bytes) = self.probe.direct_counter("frontend", &key)?;
        if packets < count.at_least || bytes < packets * 20 {
            return Err(ScenarioError::Differs(format!(
                "{packets} packets, {bytes} bytes"
            )));
        }
        Ok(())
    }

    /// Waits until a table has so many entries: flows are installed while packets already move.
    fn entries(&mut self, entries: &Entries) -> Result<(), ScenarioError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.probe.entries(&entries.table)?;
            if found.len() == entries.count {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return same("entries", found.len(), entries.count);
            }
            expect::nothing(
                self.target,
                Instant::now() + std::time::Duration::from_millis(20),
            )?;
        }
    }
}

fn frontend_key(vip: Place, proto: &str) -> Result<[u128; 5], ScenarioError> {
    let protocol = match proto {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        other => {
            return Err(ScenarioError::Differs(format!(
                "{other:?} is no protocol with ports"
            )));
        }
    };
    let (hi, lo) = halves(vip.ip);
    Ok([
        0,
        protocol,
        hi,
        lo,
        u128::from(vip.port.unwrap_or_default()),
    ])
}

/// An address as tables have it: two 64-bit halves, IPv4 as ::ffff:a.b.c.d.
pub fn halves(ip: std::net::IpAddr) -> (u128, u128) {
    let number = match ip {
        std::net::IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        std::net::IpAddr::V6(v6) => u128::from(v6),
    };
    (number >> 64, number & u128::from(u64::MAX))
}

fn same<T: PartialEq + std::fmt::Display>(
    what: &str,
    found: T,
    wanted: T,
) -> Result<(), ScenarioError> {
    if found == wanted {
        return Ok(());
    }
    Err(ScenarioError::Differs(format!(
        "{what}: {found}, should be {wanted}"
    )))
}
