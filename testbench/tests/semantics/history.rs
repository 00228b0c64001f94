//! What happened to a NIC, step by step, and what the semantics say of it.
//!
//! In: steps. Out: nothing, or the first step at which the NIC did something else. Invariant: a history is all that a run
//! depends on: the same steps give the same run, and any part of them is a history, too.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use nicproxy::model::{Changes, EndpointSlice, Model, ObjectKey};
use nicproxy::telemetry::locality::Locality;
use serde::{Deserialize, Serialize};

use super::bench::{Bench, Open, Outcome, Place};
use super::judge::{Choosing, Delivery, Probe, Verdict, answering, healthy, judge, keeps};
use super::world::{Change, Kind, NODES, Protocol, Scheduler, Settings, World, is_pod};

/// Connections that are kept open.
const OPEN: usize = 12;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Objects change, in one batch.
    Change(Vec<Change>),
    /// Another control plane takes over with this configuration.
    Configure(Settings),
    /// Another control plane takes over, and everything is as it was.
    Restart,
    /// A new connection, and its answer.
    Packet(Probe),
    /// As many new connections from one client as show how they are spread.
    Spread(Probe, u16),
    /// All open connections go on; with ICMP errors about them.
    Talk { errors: bool },
    /// One of the open TCP connections ends, or seems to.
    End(End, usize),
    /// The client of one of the open TCP connections calls the endpoint itself, from the same port.
    Direct(usize),
    /// What load balancers' health checks are told.
    Health,
}

/// How a TCP connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// With resets that are not its own: it does not.
    Forged,
    /// FIN both ways.
    Closed,
    /// The client resets it, and calls again.
    Reset,
}

/// What was seen of a run so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub delivered: usize,
    pub tunnelled: usize,
    pub refused: usize,
    pub dropped: usize,
    pub untouched: usize,
    pub masqueraded: usize,
    pub remembered: usize,
    pub spread: usize,
    pub went_on: usize,
    pub cut: usize,
    pub ended: usize,
    pub resets: usize,
    pub twice: usize,
    pub errors: usize,
    pub healthy: usize,
}

type Pin = ((u8, String, Protocol), IpAddr);

/// Endpoints that a client was given by a Service port.
#[derive(Default)]
struct Known {
    /// All of them that stay.
    places: Vec<Place>,
    /// The one that it got last, unless that left since: there is one for a client (S57).
    last: Option<Place>,
}

pub struct Run<'a> {
    pub bench: &'a mut Bench,
    pub world: World,
    /// What the oracle is shown instead of the cluster; for the test of the test.
    lens: fn(&World) -> World,
    open: Vec<Open>,
    /// UDP connections that lost their endpoint, or their Service: as if there had been none (S63-S66).
    cut: Vec<Probe>,
    /// What Service ports that remember clients know of them.
    pins: HashMap<Pin, Known>,
    /// Reply tuples that connections had ever.
    used: HashSet<(Protocol, Place, Place)>,
    pub tally: Tally,
    /// Connections that were reset and are known all the same.
    missed: usize,
}

impl<'a> Run<'a> {
    pub fn new(bench: &'a mut Bench, lens: fn(&World) -> World) -> Result<Self, String> {
        let world = World::default();
        bench.reset();
        bench.restart(&world)?;
        Ok(Self {
            bench,
            world,
            lens,
            open: Vec::new(),
            cut: Vec::new(),
            pins: HashMap::new(),
            used: HashSet::new(),
            tally: Tally::default(),
            missed: 0,
        })
    }

    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Change(changes) => {
                for change in changes {
                    self.world.take(change);
                }
                self.forget();
                self.cut();
                self.bench.become_world(&self.world)
            }
            Step::Configure(settings) => {
                self.world.settings = settings.clone();
                // Who takes the tunnels away cuts what goes through them.
                self.open.retain(|open| settings.tunnels || !open.direct);
                self.cut();
                self.bench.restart(&self.world).map(drop)
            }
            // S82.
            Step::Restart => match self.bench.restart(&self.world)? {
                0 => Ok(()),
                writes => Err(format!("a restart wrote {writes} updates")),
            },
            Step::Packet(probe) => self.packet(probe, true).map(drop),
            Step::Spread(probe, count) => self.spread(probe, *count),
            Step::Talk { errors } => self.talk(*errors),
            Step::End(how, which) => self.end(*how, *which),
            Step::Direct(which) => self.direct(*which),
            Step::Health => self.health(),
        }
    }

    /// Clients are remembered as long as their Service port remembers clients (S60), and by endpoints that stay: one that
    /// was away may be chosen anew, or not.
    fn forget(&mut self) {
        let world = (self.lens)(&self.world);
        let remembers = |number: u8, name: &str, protocol: Protocol| {
            let mut services = world.services.iter();
            services.find(|one| {
                let port =
                    |port: &super::world::Port| port.name == name && port.protocol == protocol;
                one.number == number
                    && one.affinity.is_some()
                    && one.hidden.is_none()
                    && !matches!(one.kind, Kind::ExternalName | Kind::Headless)
                    && one.ports.iter().any(port)
            })
        };
        self.pins
            .retain(|((number, name, protocol), client), known| {
                let Some(service) = remembers(*number, name, *protocol) else {
                    return false;
                };
                let there = answering(&world, service, name, client.is_ipv6());
                known.places.retain(|place| there.contains(place));
                known.last = known.last.filter(|place| there.contains(place));
                !known.places.is_empty()
            });
    }

    /// UDP connections end with their endpoint or their Service.
    fn cut(&mut self) {
        let world = (self.lens)(&self.world);
        let (stay, go): (Vec<Open>, Vec<Open>) = self.open.drain(..).partition(|open| {
            open.probe.protocol != Protocol::Udp
                || keeps(&world, &open.probe, open.endpoint, open.direct)
        });
        self.open = stay;
        self.cut.extend(go.iter().map(|open| open.probe));
    }

    /// A new connection; where it went.
    fn packet(&mut self, probe: &Probe, answered: bool) -> Result<Option<Place>, String> {
        let (wanted, choosing) = judge(&(self.lens)(&self.world), probe);
        let found = self
            .bench
            .first(probe)
            .map_err(|problem| format!("should be {wanted:?}; {problem}"))?;
        let differs = || format!("should be {wanted:?}, was {found:?}");
        match (&wanted, &found) {
            (Verdict::Reject, Outcome::Refused) => self.tally.refused += 1,
            (Verdict::Drop, Outcome::Dropped) => self.tally.dropped += 1,
            (Verdict::Untouched, Outcome::Untouched) => {
                self.untouched(probe, (probe.from, probe.source), answered)?;
            }
            (Verdict::Untouched, Outcome::Delivered { to, from })
                if *to == (probe.to, probe.to_port) =>
            {
                self.untouched(probe, *from, answered)?;
            }
            (Verdict::Direct(allowed), Outcome::Tunnelled(to)) => {
                let one = allowed
                    .iter()
                    .find(|one| one.to.0 == *to)
                    .ok_or_else(differs)?;
                self.tally.tunnelled += 1;
                let caller = (probe.from, probe.source);
                let (endpoint, direct) = (one.to, true);
                return self.opened(
                    Open {
                        probe: *probe,
                        endpoint,
                        caller,
                        direct,
                    },
                    answered,
                );
            }
            (Verdict::Deliver(allowed), Outcome::Delivered { to, from }) => {
                let one = allowed
                    .iter()
                    .find(|one| one.to == *to)
                    .ok_or_else(differs)?;
                self.source(probe, one, *from)
                    .map_err(|problem| format!("{}; {problem}", differs()))?;
                if let Some(choosing) = choosing.filter(|choosing| choosing.affinity) {
                    self.remembered(&choosing, probe.from, allowed, *to)?;
                }
                self.tally.delivered += 1;
                let (endpoint, caller, direct) = (*to, *from, false);
                return self.opened(
                    Open {
                        probe: *probe,
                        endpoint,
                        caller,
                        direct,
                    },
                    answered,
                );
            }
            _ => return Err(differs()),
        }
        Ok(None)
    }

    fn opened(&mut self, open: Open, answered: bool) -> Result<Option<Place>, String> {
        if !open.direct {
            self.used
                .insert((open.probe.protocol, open.endpoint, open.caller));
        }
        let endpoint = open.endpoint;
        if answered {
            self.bench.answer(&open, true)?;
            self.open.push(open);
            let spare = self.open.len().saturating_sub(OPEN);
            self.open.drain(..spare);
        }
        Ok(Some(endpoint))
    }

    /// Whose address the endpoint sees, and that nobody else's answers have the same tuple (S47-S53).
    fn source(&mut self, probe: &Probe, wanted: &Delivery, from: Place) -> Result<(), String> {
        let shares = |open: &&Open| {
            !open.direct
                && (open.probe.protocol, open.endpoint, open.caller)
                    == (probe.protocol, wanted.to, from)
        };
        if let Some(other) = self.open.iter().find(shares) {
            return Err(format!("it shares its reply tuple with {:?}", other.probe));
        }
        let own = (probe.from, probe.source);
        let right = match wanted.masquerade {
            Some(address) => from.0 == address,
            // Another port only where another connection had that tuple.
            None => {
                from == own
                    || (from.0 == own.0 && self.used.contains(&(probe.protocol, wanted.to, own)))
            }
        };
        self.tally.masqueraded += usize::from(wanted.masquerade.is_some());
        if right {
            Ok(())
        } else {
            Err(format!("{} sees {from:?} for {own:?}", wanted.to.0))
        }
    }

    /// S57, S59: what the client was given last counts as long as it may serve. Where that cannot be, another one is
    /// remembered instead, and a client may go back to what it had before, as with kube-proxy, or not.
    fn remembered(
        &mut self,
        choosing: &Choosing,
        client: IpAddr,
        allowed: &[Delivery],
        to: Place,
    ) -> Result<(), String> {
        let known = self
            .pins
            .entry((choosing.port.clone(), client))
            .or_default();
        let serving = |place: &&Place| allowed.iter().any(|one| one.to == **place);
        let held = known.last.as_ref().is_some_and(|last| serving(&last));
        let serving: Vec<Place> = known.places.iter().filter(serving).copied().collect();
        if held && !serving.contains(&to) {
            return Err(format!("{client} had {serving:?} before, and now {to:?}"));
        }
        self.tally.remembered += usize::from(held);
        if !known.places.contains(&to) {
            known.places.push(to);
        }
        known.last = Some(to);
        Ok(())
    }

    /// S41, S57: how the connections of one client are spread.
    fn spread(&mut self, first: &Probe, count: u16) -> Result<(), String> {
        let (wanted, choosing) = judge(&(self.lens)(&self.world), first);
        let Some((allowed, choosing)) = allowed(&wanted).zip(choosing) else {
            return self.packet(first, true).map(drop);
        };
        let mut chosen: HashMap<Place, f64> = HashMap::new();
        for number in 0..count {
            let source = first.source + number;
            let probe = Probe { source, ..*first };
            if let Some(place) = self.packet(&probe, false)? {
                *chosen.entry(place).or_default() += 1.0;
            }
        }
        let as_one = choosing.affinity && matches!(wanted, Verdict::Deliver(_))
            || matches!(
                choosing.scheduler,
                Some(Scheduler::SourceHash | Scheduler::DestinationHash | Scheduler::Maglev)
            );
        if as_one {
            self.tally.spread += 1;
            return match chosen.len() {
                1 => Ok(()),
                _ => Err(format!("one client's connections went to {chosen:?}")),
            };
        }
        if choosing.affinity {
            return Ok(());
        }
        self.tally.spread += 1;
        // Endpoints of one address are one in a tunnel: which port is meant cannot be told.
        let mut shares: HashMap<Place, u32> = HashMap::new();
        for one in allowed {
            let place = match wanted {
                Verdict::Direct(_) => allowed
                    .iter()
                    .find(|o| o.to.0 == one.to.0)
                    .map_or(one.to, |o| o.to),
                _ => one.to,
            };
            *shares.entry(place).or_default() += one.weight;
        }
        let total: u32 = shares.values().sum();
        for (place, weight) in shares {
            let expected = f64::from(count) * f64::from(weight) / f64::from(total);
            let found = chosen.get(&place).copied().unwrap_or(0.0);
            // Six standard deviations, and what slots round off.
            if (found - expected).abs() > 6.0 * expected.sqrt() + 0.13 * expected {
                return Err(format!(
                    "{found} of {count} connections went to {place:?}, should be {expected:.0}"
                ));
            }
        }
        Ok(())
    }

    fn talk(&mut self, errors: bool) -> Result<(), String> {
        for probe in std::mem::take(&mut self.cut) {
            let said = self.packet(&probe, true);
            said.map_err(|problem| format!("{probe:?}, whose endpoint went: {problem}"))?;
            self.tally.cut += 1;
        }
        let open = std::mem::take(&mut self.open);
        for one in &open {
            let mut said = self
                .bench
                .go_on(one)
                .and_then(|()| self.bench.answer(one, false));
            if errors && !one.direct {
                said = said.and_then(|()| self.bench.complain(one));
                self.tally.errors += 1;
            }
            said.map_err(|problem| format!("{:?}: {problem}", one.probe))?;
            self.tally.went_on += 1;
        }
        self.open = open;
        Ok(())
    }

    /// S68: what ends a connection, and what does not.
    fn end(&mut self, how: End, which: usize) -> Result<(), String> {
        let is_tcp = |open: &Open| open.probe.protocol == Protocol::Tcp && !open.direct;
        let tcp = (0..self.open.len()).filter(|at| is_tcp(&self.open[*at]));
        let tcp: Vec<usize> = tcp.collect();
        let Some(at) = tcp.get(which % tcp.len().max(1)) else {
            return Ok(());
        };
        let open = self.open[*at].clone();
        let failed = |problem: String| format!("{how:?}, {:?}: {problem}", open.probe);
        self.tally.ended += 1;
        match how {
            End::Forged => {
                self.bench.forge(&open).map_err(failed)?;
                // More than a connection that was reset has.
                self.bench.pass(Duration::from_secs(20));
                return Ok(());
            }
            End::Closed => self.bench.close(&open).map_err(failed)?,
            End::Reset => {
                self.tally.resets += 1;
                if !self.bench.abort(&open).map_err(failed)? {
                    return self.missed(&open);
                }
            }
        }
        self.open.remove(*at);
        if how == End::Reset {
            self.packet(&open.probe, true).map_err(failed)?;
        }
        Ok(())
    }

    /// A connection that was reset is still known. Another one may have taken the place where its state was kept, then it
    /// lasts as long as if it had just gone silent; but that is rare.
    fn missed(&mut self, open: &Open) -> Result<(), String> {
        self.missed += 1;
        if self.missed > 1 + self.tally.resets / 50 {
            return Err(format!(
                "{:?} was reset and is still known, like {} of {} before",
                open.probe,
                self.missed - 1,
                self.tally.resets
            ));
        }
        Ok(())
    }

    /// The client of an open TCP connection calls the endpoint itself, from the same port: both connections go on, and
    /// the endpoint tells them apart.
    fn direct(&mut self, which: usize) -> Result<(), String> {
        let kept = |open: &&Open| {
            let own = (open.probe.from, open.probe.source);
            open.probe.protocol == Protocol::Tcp && !open.direct && open.caller == own
        };
        let kept: Vec<Open> = self.open.iter().filter(kept).cloned().collect();
        let Some(open) = kept.get(which % kept.len().max(1)) else {
            return Ok(());
        };
        let (to, to_port) = open.endpoint;
        let probe = Probe {
            to,
            to_port,
            ..open.probe
        };
        let known = self.open.iter().any(|open| open.probe == probe);
        if known || judge(&(self.lens)(&self.world), &probe).0 != Verdict::Untouched {
            return Ok(());
        }
        self.tally.twice += 1;
        self.packet(&probe, true).map(drop)
    }

    /// A packet that no Service has goes on as it came (S31); but where another connection of its client has the tuple of
    /// its answers, from another port, as Linux has it. The endpoint of a TCP connection answers.
    fn untouched(&mut self, probe: &Probe, from: Place, answered: bool) -> Result<(), String> {
        let (own, to) = ((probe.from, probe.source), (probe.to, probe.to_port));
        let taken = self.used.contains(&(probe.protocol, to, own));
        if from != own && !(taken && from.0 == own.0 && probe.protocol == Protocol::Tcp) {
            return Err(format!("should be untouched, is from {from:?}"));
        }
        self.tally.untouched += 1;
        if probe.protocol != Protocol::Tcp || !is_pod(probe.to) {
            return Ok(());
        }
        let open = Open {
            probe: *probe,
            endpoint: to,
            caller: from,
            direct: false,
        };
        let share = |other: &&Open| {
            !other.direct
                && (other.probe.protocol, other.endpoint, other.caller)
                    == (probe.protocol, to, from)
        };
        if let Some(other) = self.open.iter().find(share) {
            return Err(format!("it shares its reply tuple with {:?}", other.probe));
        }
        if from != own {
            return self.opened(open, answered).map(drop);
        }
        self.bench.answer(&open, true)
    }

    /// S70, S73: which Services are asked for, and what they are told.
    fn health(&mut self) -> Result<(), String> {
        let mut model = Model::new();
        let mut changes = Changes::default();
        for event in self.bench.cluster.lists() {
            changes.merge(model.apply(event));
        }
        for service in &self.world.services {
            let key = ObjectKey::new("o", format!("s{}", service.number).as_str());
            let visible =
                |slice: &&EndpointSlice| slice.proxy_name.is_none() && !slice.headless_label;
            let slices: Vec<&EndpointSlice> = model
                .slices_of(&key)
                .map(|slice| &**slice)
                .filter(visible)
                .collect();
            let known = model
                .service(&key)
                .filter(|one| one.proxy_name.is_none() && !one.headless_label);
            let found = known
                .map(|known| Locality::of(known, &slices, Some(NODES[0])))
                .and_then(|locality| locality.health_check_port.map(|_| locality.ready));
            let wanted = healthy(&self.world, service);
            if found != wanted {
                return Err(format!(
                    "health of s{}: {found:?}, should be {wanted:?}",
                    service.number
                ));
            }
            self.tally.healthy += usize::from(wanted.is_some());
        }
        Ok(())
    }
}

fn allowed(verdict: &Verdict) -> Option<&[Delivery]> {
    match verdict {
        Verdict::Deliver(all) | Verdict::Direct(all) => Some(all),
        _ => None,
    }
}

/// How many connections show a spread; none if it would take too many.
pub fn sample(world: &World, probe: &Probe) -> Option<u16> {
    let (verdict, _) = judge(world, probe);
    let all = allowed(&verdict)?;
    let total: u32 = all.iter().map(|one| one.weight).sum();
    let least = all.iter().map(|one| one.weight).min()?;
    let parts = total.div_ceil(least.max(1));
    (parts <= 6).then_some(48 * parts as u16)
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        let sums = self.counts().into_iter().zip(more.counts());
        let sums: Vec<usize> = sums.map(|(a, b)| a + b).collect();
        for (own, sum) in self.counts_mut().into_iter().zip(sums) {
            *own = sum;
        }
    }
}

impl Tally {
    fn counts(&self) -> [usize; 15] {
        let mut copy = *self;
        copy.counts_mut().map(|count| *count)
    }

    fn counts_mut(&mut self) -> [&mut usize; 15] {
        [
            &mut self.delivered,
            &mut self.tunnelled,
            &mut self.refused,
            &mut self.dropped,
            &mut self.untouched,
            &mut self.masqueraded,
            &mut self.remembered,
            &mut self.spread,
            &mut self.went_on,
            &mut self.cut,
            &mut self.ended,
            &mut self.resets,
            &mut self.twice,
            &mut self.errors,
            &mut self.healthy,
        ]
    }

    /// What was judged least often.
    pub fn least(&self) -> usize {
        self.counts().into_iter().min().unwrap_or(0)
    }
}
