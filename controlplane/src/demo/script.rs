//! What the two ends of a connection say to each other.
//!
//! In: protocol, position, connection number. Out: direction, transport header and payload. The same input always gives
//! the same packet, so that what arrives can be compared with what was sent.

use crate::model::Protocol;

use super::frame::Segment;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to VIP: translated to an endpoint on the way.
    Request,
    /// Endpoint to client: translated back on the way.
    Answer,
}

/// One packet of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Who sends.
    pub direction: Direction,
    /// Transport header.
    pub segment: Segment,
    /// What follows it.
    pub payload: Vec<u8>,
}

/// Lines up to where a connection can be held open.
pub const fn opening(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Udp => 2,
        Protocol::Tcp | Protocol::Sctp => 4,
    }
}

/// Lines of the whole conversation.
pub const fn length(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Udp => 4,
        Protocol::Tcp | Protocol::Sctp => 9,
    }
}

/// One line; `None` behind the end. `connection` tells conversations apart.
pub fn line(protocol: Protocol, connection: u32, at: usize) -> Option<Line> {
    if at >= length(protocol) {
        return None;
    }
    let direction = if at.is_multiple_of(2) {
        Direction::Request
    } else {
        Direction::Answer
    };
    let (segment, payload) = match protocol {
        Protocol::Tcp => tcp(connection, at),
        // Over IPv4 the checksum may be left out; some clients do.
        Protocol::Udp => (
            Segment::Udp {
                checksum: !connection.is_multiple_of(8),
            },
            text(connection, at),
        ),
        Protocol::Sctp => sctp(connection, at),
    };
    Some(Line {
        direction,
        segment,
        payload,
    })
}

/// Words of varying and often odd length.
fn text(connection: u32, at: usize) -> Vec<u8> {
    let mut text = format!("line {at} of connection {connection}").into_bytes();
    text.resize(text.len() + (connection as usize * 7 + at) % 97, b'.');
    text
}

fn tcp(connection: u32, at: usize) -> (Segment, Vec<u8>) {
    let (client, server) = (
        connection.wrapping_mul(0x9e37_79b9),
        connection.wrapping_mul(0x85eb_ca6b),
    );
    let says = |at: usize| {
        if (2..6).contains(&at) {
            text(connection, at)
        } else {
            Vec::new()
        }
    };
    // Octets that each side has sent before this line; SYN and FIN count one each.
    let sent = |mine: usize| -> u32 {
        (0..at)
            .filter(|line| line % 2 == mine)
            .map(|line| says(line).len() as u32 + u32::from(line < 2 || line == 6 || line == 7))
            .sum()
    };
    let (own, other) = if at.is_multiple_of(2) { (0, 1) } else { (1, 0) };
    let start = |side: usize| if side == 0 { client } else { server };
    let segment = Segment::Tcp {
        syn: at < 2,
        fin: at == 6 || at == 7,
        rst: false,
        sequence: start(own).wrapping_add(sent(own)),
        acknowledgment: (at > 0).then(|| start(other).wrapping_add(sent(other))),
    };
    (segment, says(at))
}

/// Chunk types of RFC 9260, 3.2.
fn sctp(connection: u32, at: usize) -> (Segment, Vec<u8>) {
    const CHUNKS: [u8; 9] = [1, 2, 10, 11, 0, 3, 7, 8, 14];
    let tag = if at == 0 {
        0
    } else {
        connection.wrapping_mul(0xc2b2_ae35) | 1
    };
    let says = if matches!(CHUNKS[at], 7 | 8 | 11 | 14) {
        Vec::new()
    } else {
        text(connection, at)
    };
    let mut chunk = vec![CHUNKS[at], 0];
    chunk.extend((4 + says.len() as u16).to_be_bytes());
    chunk.extend(says);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    (Segment::Sctp { tag }, chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations() {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            assert!(opening(protocol) < length(protocol));
            for at in 0..length(protocol) {
                let this = line(protocol, 77, at).unwrap();
                assert_eq!(line(protocol, 77, at).unwrap(), this);
                assert_eq!(this.direction == Direction::Request, at % 2 == 0);
            }
            assert_eq!(line(protocol, 77, length(protocol)), None);
        }
    }

    #[test]
    fn tcp_numbers_add_up() {
        let numbers = |at| match line(Protocol::Tcp, 5, at).unwrap() {
            Line {
                segment:
                    Segment::Tcp {
                        sequence,
                        acknowledgment,
                        ..
                    },
                payload,
                ..
            } => (sequence, acknowledgment, payload.len() as u32),
            _ => unreachable!(),
        };
        let (client, none, _) = numbers(0);
        let (server, first, _) = numbers(1);
        assert_eq!((none, first), (None, Some(client.wrapping_add(1))));
        let (request, ack, length) = numbers(2);
        assert_eq!(
            (request, ack),
            (client.wrapping_add(1), Some(server.wrapping_add(1)))
        );
        let (_, answered, _) = numbers(3);
        assert_eq!(answered, Some(client.wrapping_add(1).wrapping_add(length)));
    }
}
