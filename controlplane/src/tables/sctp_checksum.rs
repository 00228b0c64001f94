//! Table `sctp_checksum`: how a change of ports changes the checksum of an SCTP packet of a given length.
//!
//! CRC32c is linear: the difference depends on the difference of the ports and on how many bytes follow, not on what
//! they are (RFC 9260, 6.8 and appendix A). [`changes`] computes it; the pipeline XORs it into the packet.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::{Interface, Table};

/// A change of ports in a packet of some length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// XOR of the source ports before and after in the upper half, of the destination ports in the lower.
    pub port_change: u32,
    /// Bytes of the SCTP packet: common header and chunks.
    pub length: u16,
}

/// `change_checksum`: XOR difference of the checksum field as it stands in the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action {
    /// The difference.
    pub change: u32,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct SctpChecksum {
    key: KeyLayout<3>,
    change_checksum: ActionLayout<1>,
}

impl Table for SctpChecksum {
    type Key = Key;
    type Action = Action;
    const NAME: &'static str = "sctp_checksum";

    fn requirements(_: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("src_port_change", MatchKind::Exact, 16)
                .field("dst_port_change", MatchKind::Exact, 16)
                .field("length", MatchKind::Exact, 16)
                .uses("change_checksum"),
            Requirement::action("change_checksum", &[("change", 32)]),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(
                schema,
                Self::NAME,
                ["src_port_change", "dst_port_change", "length"],
            )?,
            change_checksum: ActionLayout::resolve(
                schema,
                Self::NAME,
                "change_checksum",
                ["change"],
            )?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key.exact([
            (key.port_change >> 16).into(),
            (key.port_change & 0xffff).into(),
            key.length.into(),
        ])
    }

    fn action(&self, action: &Action) -> proto::TableAction {
        self.change_checksum.call([action.change.into()])
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Action)> {
        let [src_port_change, dst_port_change, length] = self.key.read_exact(entry)?;
        let [change] = self.change_checksum.read(entry)?;
        Some((
            Key {
                port_change: (src_port_change as u32) << 16 | dst_port_change as u32,
                length: length as u16,
            },
            Action {
                change: change as u32,
            },
        ))
    }
}

/// Shortest SCTP packet with a chunk: common header 12 bytes, chunk header 4.
pub const SHORTEST: u16 = 16;
/// Chunks are padded to this many bytes.
pub const STEP: u16 = 4;

/// What a change of ports does to the checksum fields of packets of [`SHORTEST`], `SHORTEST + STEP`, … up to
/// `longest` bytes.
pub fn changes(port_change: u32, longest: u16) -> impl Iterator<Item = (Key, Action)> {
    // The state after the four bytes of ports; every byte that follows is a zero in the difference.
    let mut state = zeros(
        port_change
            .to_be_bytes()
            .iter()
            .fold(0, |state, b| byte(state, *b)),
        SHORTEST - 4,
    );
    (SHORTEST..=longest)
        .step_by(STEP as usize)
        .map(move |length| {
            let change = state.swap_bytes();
            state = zeros(state, STEP);
            (
                Key {
                    port_change,
                    length,
                },
                Action { change },
            )
        })
}

fn zeros(state: u32, count: u16) -> u32 {
    (0..count).fold(state, |state, _| byte(state, 0))
}

/// One byte of CRC32c (Castagnoli, reflected).
fn byte(state: u32, byte: u8) -> u32 {
    TABLE[usize::from(state as u8 ^ byte)] ^ state >> 8
}

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ 0x82f6_3b78
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum field of a packet whose field is zero, as it stands on the wire.
    fn field(packet: &[u8]) -> u32 {
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(packet);
        u32::from_be_bytes(crc.to_le_bytes())
    }

    #[test]
    fn change_is_that_of_a_full_computation() {
        let (before, after) = ([0x9c, 0x40, 0x0b, 0x59], [0x9c, 0x40, 0x0f, 0xa0]);
        let port_change = u32::from_be_bytes(before) ^ u32::from_be_bytes(after);
        let mut lengths = 0;
        for (key, action) in changes(port_change, 1480) {
            let mut packet: Vec<u8> = (0..key.length)
                .map(|at| (at as u8).wrapping_mul(29))
                .collect();
            packet[8..12].fill(0);
            packet[..4].copy_from_slice(&before);
            let old = field(&packet);
            packet[..4].copy_from_slice(&after);
            assert_eq!(old ^ field(&packet), action.change, "length {}", key.length);
            lengths += 1;
        }
        assert_eq!(lengths, (1480 - 16) / 4 + 1);
    }

    #[test]
    fn too_short_an_mtu_has_no_entries() {
        assert_eq!(changes(1, 15).count(), 0);
        assert_eq!(changes(1, u16::MAX).count(), (65_535 - 16) / 4 + 1);
    }
}
