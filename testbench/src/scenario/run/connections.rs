//! Many connections at once: opened, spoken on, closed.
//!
//! In: a client, a VIP, the endpoints that may be chosen. Out: connections, each with the endpoint that it got. Every packet of
//! a connection must reach that same endpoint, and every answer must come from the VIP.

use std::collections::BTreeSet;

use super::super::ScenarioError;
use super::super::expect::{self, Wanted};
use super::super::step::{Connect, Exchange};
use super::super::template::{self, Place, Template, TemplateError};
use super::Run;
use crate::packet::{Packet, Transport};

/// One open connection.
#[derive(Clone, Debug)]
pub struct Connection {
    port: u32,
    client: Place,
    vip: Place,
    endpoint: Place,
    proto: String,
}

const SYN: u8 = 2;
const SYN_ACK: u8 = 18;
const PSH_ACK: u8 = 24;
const FIN_ACK: u8 = 17;

impl Run<'_> {
    pub(super) fn connect(&mut self, connect: &Connect) -> Result<(), ScenarioError> {
        let first = template::place(&connect.from, &self.found)?;
        let vip = template::place(&connect.to, &self.found)?;
        let endpoints: Vec<Place> = connect
            .endpoints
            .iter()
            .map(|text| template::place(text, &self.found))
            .collect::<Result<_, _>>()?;
        let mut chosen = BTreeSet::new();
        let mut opened = Vec::new();
        for number in 0..connect.count {
            let client = if connect.clients {
                Place {
                    ip: counted(first.ip, number),
                    ..first
                }
            } else {
                Place {
                    port: first.port.map(|port| port.wrapping_add(number)),
                    ..first
                }
            };
            let mut connection = Connection {
                port: connect.port,
                client,
                vip,
                endpoint: vip,
                proto: connect.proto.clone(),
            };
            connection.endpoint = self.request(&connection, SYN, b"", &endpoints)?;
            self.response(&connection, SYN_ACK, b"")?;
            chosen.insert(connection.endpoint);
            opened.push(connection);
        }
        if connect.every && chosen.len() != endpoints.len() {
            let text: Vec<String> = chosen.iter().map(ToString::to_string).collect();
            return Err(ScenarioError::Differs(format!(
                "only {} were chosen",
                text.join(", ")
            )));
        }
        shares(connect, &endpoints, &opened)?;
        self.compare(connect, &opened)?;
        self.connections
            .entry(connect.name.clone())
            .or_default()
            .extend(opened);
        if let Some(like) = &connect.like {
            let earlier = self.connections.get(like).into_iter().flatten();
            chosen.extend(earlier.map(|connection| connection.endpoint));
            if chosen.len() != 1 {
                let text: Vec<String> = chosen.iter().map(ToString::to_string).collect();
                return Err(ScenarioError::Differs(format!(
                    "not one endpoint, but {}",
                    text.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Connections with earlier ones, one by one.
    fn compare(&self, connect: &Connect, opened: &[Connection]) -> Result<(), ScenarioError> {
        let alike = |name: &String| {
            let earlier = self.connections.get(name).into_iter().flatten();
            let pairs = opened.iter().zip(earlier);
            pairs
                .filter(|(one, other)| one.endpoint == other.endpoint)
                .count()
        };
        let all = opened.len();
        if let Some(alike) = connect.each_like.as_ref().map(alike).filter(|n| *n != all) {
            return Err(ScenarioError::Differs(format!(
                "only {alike} of {all} clients got the same endpoint as before"
            )));
        }
        if connect.some_unlike.as_ref().map(alike) == Some(all) {
            return Err(ScenarioError::Differs(
                "every client got the same endpoint as before".to_owned(),
            ));
        }
        Ok(())
    }

    pub(super) fn exchange(&mut self, exchange: &Exchange) -> Result<(), ScenarioError> {
        let open = self.connections.get(&exchange.name).cloned();
        let open = open.ok_or_else(|| {
            ScenarioError::Differs(format!("no connections are called {}", exchange.name))
        })?;
        for connection in &open {
            let flags = if exchange.close { FIN_ACK } else { PSH_ACK };
            self.request(connection, flags, b"GET / HTTP/1.1", &[connection.endpoint])?;
            self.response(connection, flags, b"HTTP/1.1 200 OK, and more")?;
        }
        if exchange.close {
            self.connections.remove(&exchange.name);
        }
        Ok(())
    }

    /// From the client to the VIP; which of the endpoints got it.
    fn request(
        &mut self,
        connection: &Connection,
        flags: u8,
        payload: &[u8],
        endpoints: &[Place],
    ) -> Result<Place, ScenarioError> {
        let Connection {
            port, client, vip, ..
        } = connection;
        let packet = self.packet(*port, *client, *vip, connection, flags, payload)?;
        let mut wanted = Vec::new();
        for endpoint in endpoints {
            wanted.push(self.arrival(&packet, *client, *endpoint)?);
        }
        self.send(*port, packet)?;
        Ok(endpoints[expect::one_of(self.target, &wanted)?])
    }

    /// From the endpoint back to the client, who must see the VIP.
    fn response(
        &mut self,
        connection: &Connection,
        flags: u8,
        payload: &[u8],
    ) -> Result<(), ScenarioError> {
        let Connection {
            client,
            vip,
            endpoint,
            ..
        } = connection;
        let (port, ..) = self
            .scenario
            .hop(endpoint.ip)
            .ok_or(TemplateError::Missing("a route to the endpoint"))?;
        let packet = self.packet(port, *endpoint, *client, connection, flags, payload)?;
        let wanted = self.arrival(&packet, *vip, *client)?;
        self.send(port, packet)?;
        expect::one_of(self.target, &[wanted]).map(drop)
    }

    fn packet(
        &self,
        port: u32,
        from: Place,
        to: Place,
        connection: &Connection,
        flags: u8,
        payload: &[u8],
    ) -> Result<Packet, ScenarioError> {
        let text = |place: Place| Some(template::PlaceSpec::One(place.to_string()));
        let template = Template {
            from: text(from),
            to: text(to),
            proto: Some(connection.proto.clone()),
            ..Template::default()
        };
        let base = template.fresh(self.scenario.router_mac(port), &self.found)?;
        let transport = match connection.proto.as_str() {
            "tcp" => Transport::Tcp {
                src: 0,
                dst: 0,
                seq: 1,
                ack: 1,
                flags,
                options: Vec::new(),
            },
            "udp" => Transport::Udp {
                src: 0,
                dst: 0,
                checksum: true,
            },
            _ => Transport::Sctp {
                src: 0,
                dst: 0,
                tag: 7,
            },
        };
        // SCTP carries whole chunks, each a multiple of four bytes; COOKIE ACK is the shortest.
        let mut payload = payload.to_vec();
        if connection.proto == "sctp" && payload.is_empty() {
            payload = vec![11, 0, 0, 4];
        }
        payload.resize(payload.len().next_multiple_of(4), 0);
        Ok(expect::datagram(&base, from, to, transport, &payload))
    }

    /// The packet with another tuple, one hop further.
    fn arrival(&self, sent: &Packet, from: Place, to: Place) -> Result<Wanted, ScenarioError> {
        let mut packet = sent.clone();
        expect::hop(&mut packet);
        if let crate::packet::Body::Ip(ip) = &mut packet.body {
            (ip.from, ip.to) = (from.ip, to.ip);
            ip.transport
                .set_ports(from.port.unwrap_or_default(), to.port.unwrap_or_default());
        }
        let port = self.routed(&mut packet, &Template::default())?;
        Ok(Wanted {
            port,
            frame: packet.frame()?,
            finds: Vec::new(),
            consistent: true,
        })
    }
}

/// How connections are spread: three standard deviations, and what slots round off.
fn shares(
    connect: &Connect,
    endpoints: &[Place],
    opened: &[Connection],
) -> Result<(), ScenarioError> {
    let total: u32 = connect.shares.iter().sum();
    for (endpoint, share) in endpoints.iter().zip(&connect.shares) {
        let found = opened.iter().filter(|one| one.endpoint == *endpoint);
        let (found, all) = (found.count() as f64, opened.len() as f64);
        let part = f64::from(*share) / f64::from(total.max(1));
        let spread = 3.0 * (all * part * (1.0 - part)).sqrt() + 0.02 * all;
        if (found - all * part).abs() > spread || (*share == 0 && found > 0.0) {
            return Err(ScenarioError::Differs(format!(
                "{found} of {all} connections went to {endpoint}, should be {:.0}",
                all * part
            )));
        }
    }
    Ok(())
}

/// The address so many further.
fn counted(ip: std::net::IpAddr, number: u16) -> std::net::IpAddr {
    match ip {
        std::net::IpAddr::V4(v4) => {
            std::net::Ipv4Addr::from(u32::from(v4).wrapping_add(number.into())).into()
        }
        std::net::IpAddr::V6(v6) => {
            std::net::Ipv6Addr::from(u128::from(v6).wrapping_add(number.into())).into()
        }
    }
}
