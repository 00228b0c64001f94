//! Connections through the NIC: clients on one side, endpoints on the other, every packet checked.
//!
//! In: promises, the two sides' ports, how many connections. Out: a [`Tally`] per promise.
//! Invariant: a packet counts as translated or answered only if its port, MAC addresses, TTL, tuple, transport header,
//! payload and checksums are exactly what they must be. What does not arrive is sent again a few times, then counted as
//! an error; nothing waits for ever.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use softnic::port::{Batch, Port, Received};

use crate::config::{Config, Mac};
use crate::model::Protocol;

use super::frame::{self, Content, Frame, FrameError, Segment, Tuple};
use super::plan::Promise;
use super::script::{self, Direction, Line};

/// TTL that pods send with.
const TTL: u8 = 64;
/// Connections under way at a time.
const WINDOW: usize = 256;
/// How long an answer may take before its cause is sent again, and how often that is done.
const PATIENCE: Duration = Duration::from_millis(400);
const TRIES: u8 = 12;
/// Mistakes that are told in words.
const TOLD: usize = 8;
/// How long to wait on one side before looking at the other.
const TURN: Duration = Duration::from_micros(100);

/// Port numbers of the demo's NIC.
pub const HOST: u32 = 1;
/// See [`HOST`].
pub const NETWORK: u32 = 2;

/// The two sides of the NIC, seen from outside.
pub struct Sides {
    /// Where the clients are.
    pub host: Box<dyn Port>,
    /// Where the endpoints are.
    pub network: Box<dyn Port>,
}

/// What became of one promise's connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Connections made.
    pub connections: u64,
    /// Packets from client to endpoint, right in every respect.
    pub translated: u64,
    /// Packets from endpoint to client, right in every respect.
    pub answered: u64,
    /// Connections refused as they should be.
    pub refused: u64,
    /// Packets that had to be sent again.
    pub repeated: u64,
    /// Packets that were wrong or never came.
    pub errors: u64,
    /// Connections by endpoint.
    pub picks: BTreeMap<SocketAddr, u64>,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    promise: usize,
    client: SocketAddr,
    endpoint: Option<SocketAddr>,
    at: usize,
    until: usize,
    tries: u8,
    /// Some packet of it was sent twice.
    repeated: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    UnderWay,
    Failed,
}

/// Why a packet is not what it must be.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{what} is {found}, must be {right}")]
    Value {
        what: &'static str,
        found: String,
        right: String,
    },
    #[error("{0} is no endpoint of the Service")]
    Stranger(SocketAddr),
    #[error("the connection moved from {from} to {to}")]
    Moved { from: SocketAddr, to: SocketAddr },
    #[error("nothing came within {0:?}")]
    Silence(Duration),
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &'static str,
    found: T,
    right: T,
) -> Result<(), Wrong> {
    if found == right {
        Ok(())
    } else {
        Err(Wrong::Value {
            what,
            found: format!("{found:?}"),
            right: format!("{right:?}"),
        })
    }
}

/// All connections of a run.
pub struct Traffic {
    sides: Sides,
    config: Config,
    promises: Vec<Promise>,
    connections: Vec<Connection>,
    by_client: HashMap<(Protocol, SocketAddr), usize>,
    used: HashSet<(Protocol, SocketAddr)>,
    seed: u64,
    /// One per promise.
    pub tallies: Vec<Tally>,
    /// The first mistakes in words.
    pub told: Vec<String>,
    /// Frames that belong to no connection.
    pub strays: u64,
    /// Frames sent and received.
    pub packets: u64,
}

impl Traffic {
    /// No connections yet. The seed decides addresses and ports of the clients.
    pub fn new(sides: Sides, config: Config, promises: Vec<Promise>, seed: u64) -> Self {
        let tallies = vec![Tally::default(); promises.len()];
        Self {
            sides,
            config,
            promises,
            connections: Vec::new(),
            by_client: HashMap::new(),
            used: HashSet::new(),
            seed: seed | 1,
            tallies,
            told: Vec::new(),
            strays: 0,
            packets: 0,
        }
    }

    /// The promises that packets are held against.
    pub fn promises(&self) -> &[Promise] {
        &self.promises
    }

    /// From now on new connections are held against these promises. Their order must be the same as before.
    pub fn promise(&mut self, promises: Vec<Promise>) {
        self.promises = promises;
    }

    /// Counts anew from here on.
    pub fn take_tallies(&mut self) -> Vec<Tally> {
        std::mem::replace(
            &mut self.tallies,
            vec![Tally::default(); self.promises.len()],
        )
    }

    /// Adds connections to a promise; they are numbered.
    pub fn add(&mut self, promise: usize, count: usize) -> std::ops::Range<usize> {
        let first = self.connections.len();
        for _ in 0..count {
            let client = self.fresh_client(promise);
            let protocol = self.promises[promise].protocol;
            self.by_client
                .insert((protocol, client), self.connections.len());
            self.connections.push(Connection {
                promise,
                client,
                endpoint: None,
                at: 0,
                until: 0,
                tries: 0,
                repeated: false,
                state: State::Idle,
            });
        }
        first..self.connections.len()
    }

    /// A client that no connection had before: a pod of this node and an ephemeral port.
    fn fresh_client(&mut self, promise: usize) -> SocketAddr {
        loop {
            // xorshift64
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            let pod = 2 + (self.seed >> 40) % 200;
            let port = 1024 + ((self.seed >> 8) % 60_000) as u16;
            let ip: IpAddr = match self.promises[promise].vip {
                SocketAddr::V4(_) => Ipv4Addr::new(10, 244, 0, pod as u8).into(),
                SocketAddr::V6(_) => {
                    Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, pod as u16).into()
                }
            };
            let client = SocketAddr::new(ip, port);
            if self.used.insert((self.promises[promise].protocol, client)) {
                return client;
            }
        }
    }

    /// Gives the ports back.
    pub fn into_sides(self) -> Sides {
        self.sides
    }

    /// Takes these connections to where they can be held open, or to their end. `progress` hears of each one done.
    pub fn run(
        &mut self,
        connections: impl Iterator<Item = usize>,
        to_end: bool,
        progress: &mut dyn FnMut(),
    ) {
        let mut waiting: VecDeque<usize> = connections.collect();
        let mut deadlines: VecDeque<(Instant, usize, usize, u8)> = VecDeque::new();
        let mut under_way = 0usize;
        let mut batch = Batch::new(64);
        loop {
            while under_way < WINDOW
                && let Some(at) = waiting.pop_front()
            {
                if self.begin(at, to_end, &mut deadlines) {
                    under_way += 1;
                }
            }
            if under_way == 0 && waiting.is_empty() {
                return;
            }
            let mut quiet = true;
            for port in [HOST, NETWORK] {
                batch.clear();
                let side = if port == HOST {
                    &self.sides.host
                } else {
                    &self.sides.network
                };
                if !matches!(side.receive(&mut batch, TURN), Ok(Received::Packets)) {
                    continue;
                }
                quiet = false;
                let frames: Vec<Vec<u8>> = batch.iter().map(<[u8]>::to_vec).collect();
                for bytes in frames {
                    if self.arrived(port, &bytes, &mut deadlines) {
                        under_way -= 1;
                        progress();
                    }
                }
            }
            if quiet {
                under_way -= self.remind(&mut deadlines, progress);
            }
        }
    }

    /// True if the connection is now under way.
    fn begin(
        &mut self,
        at: usize,
        to_end: bool,
        deadlines: &mut VecDeque<(Instant, usize, usize, u8)>,
    ) -> bool {
        let connection = &mut self.connections[at];
        let promise = &self.promises[connection.promise];
        if connection.state == State::Failed {
            return false;
        }
        let protocol = promise.protocol;
        connection.until = match (promise.shares.is_empty(), to_end) {
            (true, _) => 1,
            (false, true) => script::length(protocol),
            (false, false) => script::opening(protocol),
        };
        if connection.at == 0 {
            self.tallies[connection.promise].connections += 1;
        }
        self.connections[at].state = State::UnderWay;
        self.say(at, deadlines);
        true
    }

    /// Sends the line that the connection stands at.
    fn say(&mut self, at: usize, deadlines: &mut VecDeque<(Instant, usize, usize, u8)>) {
        let connection = &self.connections[at];
        let promise = &self.promises[connection.promise];
        let Some(line) = self.line(at) else { return };
        let (tuple, src_mac, side, port) = match (line.direction, connection.endpoint) {
            (Direction::Answer, Some(endpoint)) => (
                Tuple {
                    protocol: promise.protocol,
                    src: endpoint,
                    dst: connection.client,
                },
                ENDPOINT_MAC,
                &self.sides.network,
                NETWORK,
            ),
            _ => (
                Tuple {
                    protocol: promise.protocol,
                    src: connection.client,
                    dst: promise.vip,
                },
                CLIENT_MAC,
                &self.sides.host,
                HOST,
            ),
        };
        let frame = Frame {
            src_mac,
            dst_mac: self.port_mac(port),
            ttl: TTL,
            tuple,
            segment: line.segment,
            payload: &line.payload,
        };
        if let Ok(bytes) = frame.build() {
            // A port that cannot send shows as silence.
            let _ = side.send(&[&bytes]);
            self.packets += 1;
        }
        deadlines.push_back((
            Instant::now() + PATIENCE,
            at,
            connection.at,
            connection.tries,
        ));
    }

    fn line(&self, at: usize) -> Option<Line> {
        let connection = &self.connections[at];
        let promise = &self.promises[connection.promise];
        let mut line = script::line(promise.protocol, at as u32, connection.at)?;
        if promise.vip.is_ipv6()
            && let Segment::Udp { checksum } = &mut line.segment
        {
            *checksum = true;
        }
        Some(line)
    }

    fn port_mac(&self, port: u32) -> Mac {
        self.config
            .ports
            .iter()
            .find(|known| known.port == port)
            .and_then(|known| known.mac)
            .unwrap_or(Mac([0; 6]))
    }

    /// Takes a frame in; true if it finished a connection's stage.
    fn arrived(
        &mut self,
        port: u32,
        bytes: &[u8],
        deadlines: &mut VecDeque<(Instant, usize, usize, u8)>,
    ) -> bool {
        self.packets += 1;
        let read = frame::read(bytes);
        let Some(at) = self.owner(port, &read) else {
            self.strays += 1;
            if let Err(error) = read {
                self.tell(format!("port {port}: {error}"));
            }
            return false;
        };
        let (promise, until) = (self.connections[at].promise, self.connections[at].until);
        if self.connections[at].state != State::UnderWay {
            return false;
        }
        match self.check(at, port, &read) {
            Ok(()) => {}
            // A packet that was sent twice comes twice, the second time perhaps long after the first; what should come
            // instead is waited for.
            Err(_) if self.connections[at].repeated => return false,
            Err(wrong) => return self.fail(at, &wrong),
        }
        let tally = &mut self.tallies[promise];
        if self.promises[promise].shares.is_empty() {
            tally.refused += 1;
        } else if port == NETWORK {
            tally.translated += 1;
        } else {
            tally.answered += 1;
        }
        if self.connections[at].at == 0
            && let Some(endpoint) = self.connections[at].endpoint
        {
            *tally.picks.entry(endpoint).or_default() += 1;
        }
        let connection = &mut self.connections[at];
        connection.at += 1;
        connection.tries = 0;
        if connection.at >= until {
            connection.state = State::Idle;
            return true;
        }
        self.say(at, deadlines);
        false
    }

    /// The connection that a frame belongs to.
    fn owner(&self, port: u32, read: &Result<frame::Seen<'_>, FrameError>) -> Option<usize> {
        let (protocol, client) = match &read.as_ref().ok()?.content {
            Content::Segment(tuple, ..) if port == NETWORK => (tuple.protocol, tuple.src),
            Content::Segment(tuple, ..) => (tuple.protocol, tuple.dst),
            Content::Unreachable(inner) => (inner.protocol, inner.src),
            Content::Other(_) => return None,
        };
        self.by_client.get(&(protocol, client)).copied()
    }

    /// Holds a frame against the line that the connection stands at.
    fn check(
        &mut self,
        at: usize,
        port: u32,
        read: &Result<frame::Seen<'_>, FrameError>,
    ) -> Result<(), Wrong> {
        let Ok(seen) = read else { return Ok(()) };
        let connection = &self.connections[at];
        let promise = &self.promises[connection.promise];
        let request = Tuple {
            protocol: promise.protocol,
            src: connection.client,
            dst: promise.vip,
        };
        if promise.shares.is_empty() {
            return check_refusal(seen, port, request, self.line(at).map(|line| line.segment));
        }
        let Some(line) = self.line(at) else {
            return Ok(());
        };
        let Content::Segment(tuple, segment, payload) = &seen.content else {
            return same(
                "the packet",
                format!("{:?}", seen.content),
                "translated".to_owned(),
            );
        };
        let expected_port = if line.direction == Direction::Request {
            NETWORK
        } else {
            HOST
        };
        same("the port", port, expected_port)?;
        same("TTL", seen.ttl, TTL - 1)?;
        same("the transport header", *segment, line.segment)?;
        same("the payload", *payload, line.payload.as_slice())?;
        same("source MAC", seen.src_mac, self.port_mac(expected_port))?;
        same(
            "destination MAC",
            Some(seen.dst_mac),
            self.next_hop(tuple.dst.ip()),
        )?;
        match line.direction {
            Direction::Answer => {
                let back = Tuple {
                    protocol: request.protocol,
                    src: request.dst,
                    dst: request.src,
                };
                same("the tuple", *tuple, back)
            }
            Direction::Request => {
                same("the source", tuple.src, request.src)?;
                match connection.endpoint {
                    Some(endpoint) if endpoint != tuple.dst => Err(Wrong::Moved {
                        from: endpoint,
                        to: tuple.dst,
                    }),
                    Some(_) => Ok(()),
                    None if !promise.shares.contains_key(&tuple.dst) => {
                        Err(Wrong::Stranger(tuple.dst))
                    }
                    None => {
                        self.connections[at].endpoint = Some(tuple.dst);
                        Ok(())
                    }
                }
            }
        }
    }

    /// MAC address behind the longest route that covers an address.
    fn next_hop(&self, address: IpAddr) -> Option<Mac> {
        let covering = self
            .config
            .routes
            .iter()
            .filter(|route| route.prefix.contains(&address));
        covering
            .max_by_key(|route| route.prefix.prefix_len())?
            .dst_mac
    }

    /// Sends again what had no effect in time; says how many connections were given up.
    fn remind(
        &mut self,
        deadlines: &mut VecDeque<(Instant, usize, usize, u8)>,
        progress: &mut dyn FnMut(),
    ) -> usize {
        let now = Instant::now();
        let mut given_up = 0;
        while deadlines
            .front()
            .is_some_and(|(deadline, ..)| *deadline <= now)
        {
            let Some((_, at, line, tries)) = deadlines.pop_front() else {
                break;
            };
            let connection = &mut self.connections[at];
            if connection.state != State::UnderWay
                || connection.at != line
                || connection.tries != tries
            {
                continue;
            }
            connection.tries += 1;
            connection.repeated = true;
            if connection.tries >= TRIES {
                self.fail(at, &Wrong::Silence(PATIENCE * u32::from(TRIES)));
                given_up += 1;
                progress();
                continue;
            }
            self.tallies[connection.promise].repeated += 1;
            self.say(at, deadlines);
        }
        given_up
    }

    fn fail(&mut self, at: usize, wrong: &Wrong) -> bool {
        let connection = &mut self.connections[at];
        connection.state = State::Failed;
        self.tallies[connection.promise].errors += 1;
        let promise = &self.promises[connection.promise];
        let text = format!(
            "{}: {} {} > {}, packet {}: {wrong}",
            promise.service, promise.protocol, connection.client, promise.vip, connection.at
        );
        self.tell(text);
        true
    }

    fn tell(&mut self, text: String) {
        if self.told.len() < TOLD {
            self.told.push(text);
        }
    }
}

/// The pods' MAC address, as the demo's routes have it.
const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0x0a, 1]);
/// Some router's.
const ENDPOINT_MAC: Mac = Mac([2, 0, 0, 0, 0x0b, 1]);

/// A refusal: TCP RST from the VIP (RFC 9293, 3.5.2), or an ICMP error that quotes the packet.
fn check_refusal(
    seen: &frame::Seen<'_>,
    port: u32,
    request: Tuple,
    sent: Option<Segment>,
) -> Result<(), Wrong> {
    same("the port", port, HOST)?;
    same("destination MAC", seen.dst_mac, CLIENT_MAC)?;
    match (&seen.content, sent) {
        (Content::Unreachable(inner), _) => same("the quoted tuple", *inner, request),
        (
            Content::Segment(
                tuple,
                Segment::Tcp {
                    rst: true,
                    acknowledgment,
                    ..
                },
                _,
            ),
            Some(Segment::Tcp { sequence, .. }),
        ) => {
            same(
                "the tuple",
                *tuple,
                Tuple {
                    protocol: request.protocol,
                    src: request.dst,
                    dst: request.src,
                },
            )?;
            same(
                "the acknowledgment",
                *acknowledgment,
                Some(sequence.wrapping_add(1)),
            )
        }
        (other, _) => same("the packet", format!("{other:?}"), "a refusal".to_owned()),
    }
}
