//! What leaves by each port, and what was expected to.
//!
//! In: packets that left, expectations, both in order. Out: what does not agree, per port.
//! Invariant: only ports that the script names are looked at; each has to see the expected packets and no other.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What an expected packet looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    /// Hexadecimal digits, none for `*`. Empty and not exact: any packet.
    pub digits: Vec<Option<u8>>,
    /// Nothing may follow the digits.
    pub exact: bool,
}

impl Pattern {
    /// Whether a packet begins like this, or is this.
    pub fn matches(&self, packet: &[u8]) -> bool {
        let length = packet.len() * 2;
        let fits = if self.exact {
            length == self.digits.len()
        } else {
            length >= self.digits.len()
        };
        let digits = packet.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        fits && self
            .digits
            .iter()
            .zip(digits)
            .all(|(wanted, digit)| wanted.is_none_or(|wanted| wanted == digit))
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.digits.is_empty() && !self.exact {
            return f.write_str("any packet");
        }
        for digit in &self.digits {
            match digit {
                Some(digit) => write!(f, "{digit:x}")?,
                None => f.write_str("*")?,
            }
        }
        f.write_str(if self.exact { "$" } else { "…" })
    }
}

/// What was wrong at a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// A packet is not as expected.
    #[error("port {port}: expected {wanted}, got {got}")]
    Packet {
        /// Egress port.
        port: u32,
        /// As in the script.
        wanted: Pattern,
        /// Hexadecimal digits.
        got: String,
    },
    /// An expected packet did not come.
    #[error("port {port}: expected {wanted}, got no more packets")]
    Missing {
        /// Egress port.
        port: u32,
        /// As in the script.
        wanted: Pattern,
    },
    /// A packet came that was not expected.
    #[error("port {port}: not expected: {got}")]
    Unexpected {
        /// Egress port.
        port: u32,
        /// Hexadecimal digits.
        got: String,
    },
}

#[derive(Debug, Default)]
struct Port {
    sent: Vec<Vec<u8>>,
    /// With the line of each.
    expected: Vec<(usize, Pattern)>,
    named: bool,
}

/// All ports.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<u32, Port>);

/// Hexadecimal digits of a packet.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Ports {
    /// The script names a port.
    pub fn name(&mut self, port: u32) {
        self.0.entry(port).or_default().named = true;
    }

    /// A packet left.
    pub fn sent(&mut self, port: u32, packet: &[u8]) {
        self.0.entry(port).or_default().sent.push(packet.to_vec());
    }

    /// A packet should leave.
    pub fn expect(&mut self, line: usize, port: u32, pattern: Pattern) {
        self.name(port);
        let port = self.0.entry(port).or_default();
        port.expected.push((line, pattern));
    }

    /// What does not agree, with the line of the expectation if there is one.
    pub fn differences(&self) -> Vec<(Option<usize>, Difference)> {
        let mut found = Vec::new();
        for (&number, port) in self.0.iter().filter(|(_, port)| port.named) {
            for (i, (line, wanted)) in port.expected.iter().enumerate() {
                let (port_number, wanted) = (number, wanted.clone());
                match port.sent.get(i) {
                    Some(packet) if wanted.matches(packet) => {}
                    Some(packet) => found.push((
                        Some(*line),
                        Difference::Packet {
                            port: port_number,
                            wanted,
                            got: hex(packet),
                        },
                    )),
                    None => found.push((
                        Some(*line),
                        Difference::Missing {
                            port: port_number,
                            wanted,
                        },
                    )),
                }
            }
            let more = port.sent.get(port.expected.len()..).unwrap_or_default();
            found.extend(more.iter().map(|packet| {
                let got = hex(packet);
                (None, Difference::Unexpected { port: number, got })
            }));
        }
        found
    }
}
