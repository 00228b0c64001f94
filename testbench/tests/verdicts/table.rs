//! The table of verdicts, and its comparison.
//!
//! In: the verdicts of every proxy. Out: one line per verdict that flows share, in text; differences that nobody has
//! explained, and explanations of what is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use testbench::netns::caller::Outcome;
use testbench::netns::place::Place;
use testbench::netns::topology::PODS;

use crate::differences::{self, Difference};
use crate::flows::{Flow, Verdict};
use crate::objects::Case;
use testbench::site::Proxy;

/// Whose verdicts the others are compared with.
pub const JUDGE: Proxy = Proxy::Nftables;

/// Verdicts by flow and proxy.
#[derive(Debug)]
pub struct Table {
    proxies: Vec<Proxy>,
    rows: BTreeMap<Flow, BTreeMap<Proxy, String>>,
    absent: Vec<String>,
    lost: BTreeMap<Proxy, usize>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(proxies: &[Proxy]) -> Self {
        Self {
            proxies: proxies.to_vec(),
            rows: BTreeMap::new(),
            absent: Vec::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Its columns.
    pub fn proxies(&self) -> Vec<Proxy> {
        self.proxies.clone()
    }

    /// Adds a column.
    pub fn add(&mut self, proxy: Proxy, verdicts: Vec<(Flow, Verdict)>) {
        for (flow, verdict) in verdicts {
            let cell = words(&flow, &verdict);
            *self.lost.entry(proxy).or_default() += verdict.lost;
            self.rows.entry(flow).or_default().insert(proxy, cell);
        }
    }

    /// A column that there is none of: a failure, but not before the others are there.
    pub fn absent(&mut self, proxy: Proxy, why: String) {
        self.absent.push(format!("{proxy}: {why}"));
    }

    /// Flows whose verdicts differ and nothing explains it, and the proxies whose verdicts these are.
    pub fn unexplained(&self) -> BTreeMap<Flow, Vec<Proxy>> {
        let mut flows: BTreeMap<Flow, Vec<Proxy>> = BTreeMap::new();
        for (flow, proxy, _) in self.differing() {
            if explanation(proxy, flow).is_none() {
                flows.entry(*flow).or_default().push(proxy);
            }
        }
        flows
    }

    /// What is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.absent.clone();
        let mut used = BTreeSet::new();
        for (flow, proxy, cell) in self.differing() {
            match explanation(proxy, flow) {
                Some(at) => drop(used.insert(at)),
                None => problems.push(format!(
                    "unexplained: {flow}: {proxy}: {cell}; kube-proxy nftables: {}",
                    (self.rows[flow].get(&JUDGE)).map_or("", String::as_str)
                )),
            }
        }
        for (at, difference) in differences::ALL.iter().enumerate() {
            if !used.contains(&at) && self.may_have(difference) {
                problems.push(format!("explained, but not there: {}", difference.why));
            }
        }
        problems
    }

    /// Whether one of the columns may differ in that way.
    fn may_have(&self, difference: &Difference) -> bool {
        let applies = |proxy: &Proxy| {
            self.rows
                .keys()
                .any(|flow| (difference.applies)(*proxy, flow))
        };
        self.proxies.iter().any(applies) || !Proxy::ALL.iter().any(applies)
    }

    /// Verdicts other than the judge's.
    fn differing(&self) -> impl Iterator<Item = (&Flow, Proxy, &String)> {
        self.rows.iter().flat_map(|(flow, cells)| {
            let judge = cells.get(&JUDGE);
            (cells.iter())
                .filter(move |(_, cell)| Some(*cell) != judge)
                .map(move |(proxy, cell)| (flow, *proxy, cell))
        })
    }
}

/// Which of the differences it is.
fn explanation(proxy: Proxy, flow: &Flow) -> Option<usize> {
    (differences::ALL.iter()).position(|difference| (difference.applies)(proxy, flow))
}

/// A verdict in words: who answered as who saw the client, or what else came of it.
fn words(flow: &Flow, verdict: &Verdict) -> String {
    let mut parts = Vec::new();
    if !verdict.by.is_empty() {
        let by = match flow.case {
            // Which one is a matter of luck.
            Case::Sticky | Case::StickyLocal => format!("{} endpoint", verdict.by.len()),
            _ => names(&verdict.by),
        };
        parts.push(format!("{by} sees {}", names(&verdict.seen_as)));
    }
    for other in &verdict.others {
        parts.push(match other {
            Outcome::Failed(why) => format!("failed: {why}"),
            other => format!("{other:?}").to_lowercase(),
        });
    }
    parts.join(", ")
}

fn names(addresses: &BTreeSet<IpAddr>) -> String {
    let remote: BTreeSet<String> = (1..=2)
        .flat_map(|node| (1..=PODS).map(move |pod| format!("{}{pod}", ["", "b", "c"][node])))
        .collect();
    let mut found: BTreeSet<String> = addresses.iter().map(|&address| name(address)).collect();
    if found.is_superset(&remote) {
        found.retain(|name| !remote.contains(name));
        found.insert("all remote".to_owned());
    }
    found.into_iter().collect::<Vec<_>>().join("+")
}

fn name(address: IpAddr) -> String {
    let hosts = [
        (Place(0), "node"),
        (Place(1), "node-b"),
        (Place(2), "node-c"),
        (Place::OUTSIDE, "outside"),
    ];
    for (place, name) in hosts {
        if place.hosts().contains(&address) {
            return name.to_owned();
        }
    }
    let pods = [
        (Place(0), ["pod", "peer"]),
        (Place(1), ["b1", "b2"]),
        (Place(2), ["c1", "c2"]),
    ];
    for (place, names) in pods {
        for (pod, name) in (1..).zip(names) {
            if place.pods(pod).contains(&address) {
                return name.to_owned();
            }
        }
    }
    match address.to_string().as_str() {
        "192.168.7.250" | "fd00:7::fa" => "nic".to_owned(),
        other => other.to_owned(),
    }
}

impl std::fmt::Display for Table {
    /// One line per case, client, entry and set of verdicts: transports and families that agree share it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines: Vec<(String, Vec<String>, Vec<String>)> = Vec::new();
        for (flow, cells) in &self.rows {
            let subject = format!("{:?} → {} {:?}", flow.client, flow.case.name(), flow.entry);
            let row =
                (self.proxies.iter()).map(|proxy| cells.get(proxy).cloned().unwrap_or_default());
            let row: Vec<String> = row.collect();
            let family = if flow.v6 { "6" } else { "4" };
            let which = format!("{}{family}", flow.transport);
            match lines.iter_mut().find(|l| l.0 == subject && l.2 == row) {
                Some(line) => line.1.push(which),
                None => lines.push((subject, vec![which], row)),
            }
        }
        write!(f, "| flow | over |")?;
        for proxy in &self.proxies {
            write!(f, " {proxy} |")?;
        }
        writeln!(f, "\n|---|---|{}", "---|".repeat(self.proxies.len()))?;
        for (subject, which, row) in lines {
            let over = match which.len() {
                4 => "all".to_owned(),
                _ => which.join(" "),
            };
            writeln!(f, "| {subject} | {over} | {} |", row.join(" | "))?;
        }
        writeln!(
            f,
            "\ncalls without an answer among answered ones: {:?}",
            self.lost
        )?;
        Ok(())
    }
}
