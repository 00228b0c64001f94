//! The virtio-net header that packet sockets and TAP devices put before a frame.
//!
//! In: the header and the frame behind it. Out: what is left to do, and back. The checksum field of a frame that is sent
//! unfinished is written from the frame's own addresses, so the program in between may have changed them, and the field,
//! as it liked. Layout: VIRTIO 1.3, §5.1.6, in host byte order.

use super::checksum::{self, Layers, Transport};
use super::{Frame, Offload, Segmentation};

/// Bytes of the header.
pub(super) const LENGTH: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;

fn half(header: &[u8; LENGTH], at: usize) -> u16 {
    u16::from_ne_bytes([header[at], header[at + 1]])
}

/// What is left to do to the frame. A checksum of another protocol than TCP and UDP is completed at once. `None`: the
/// frame cannot be used, because it is to be cut in a way that is not known.
pub(super) fn decode(header: &[u8; LENGTH], frame: &mut [u8]) -> Option<Offload> {
    let needs = header[0] & NEEDS_CHECKSUM != 0;
    let size = half(header, 4);
    let segmentation = match header[1] & !GSO_ECN {
        GSO_NONE => None,
        GSO_TCP_V4 | GSO_TCP_V6 => Some(Segmentation::Tcp {
            size,
            congestion: header[1] & GSO_ECN != 0,
        }),
        GSO_UDP => Some(Segmentation::Udp { size }),
        _ => return None,
    };
    if !needs && segmentation.is_none() {
        return Some(Offload::NONE);
    }
    let (start, offset) = (usize::from(half(header, 6)), usize::from(half(header, 8)));
    let known = Transport::of(frame).filter(|transport| {
        let field = transport.field();
        field.is_some_and(|at| !needs || (transport.start == start && at == start + offset))
    });
    match (segmentation, known) {
        (_, Some(transport)) => Some(Offload {
            checksum: true,
            segmentation,
            behind: frame.len() - transport.start,
            network: transport.start - transport.network,
        }),
        (None, None) => checksum::complete_at(frame, start, offset).then_some(Offload::NONE),
        (Some(_), None) => None,
    }
}

/// What stands before a frame that is sent, and what goes into its checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// The header.
    pub header: [u8; LENGTH],
    /// Where the checksum field is, and what it has to hold.
    pub checksum: Option<(usize, [u8; 2])>,
}

/// The header for a frame; `None` when the frame is none that the kernel could finish.
pub(super) fn encode(frame: &[u8], offload: Offload) -> Option<Prefix> {
    let mut header = [0; LENGTH];
    if offload == Offload::NONE {
        return Some(Prefix {
            header,
            checksum: None,
        });
    }
    let Layers { inner, outer: None } = Layers::of(frame, offload)? else {
        return None;
    };
    let transport = inner;
    let field = transport.field()?;
    header[0] = NEEDS_CHECKSUM;
    if let Some(segmentation) = offload.segmentation {
        let (kind, size, length) = match segmentation {
            Segmentation::Tcp { size, congestion } => {
                let kind = if transport.v6 { GSO_TCP_V6 } else { GSO_TCP_V4 };
                let words = frame.get(transport.start + 12)? >> 4;
                let ecn = if congestion { GSO_ECN } else { 0 };
                (kind | ecn, size, usize::from(words) * 4)
            }
            Segmentation::Udp { size } => (GSO_UDP, size, 8),
        };
        let headers = u16::try_from(transport.start + length).ok()?;
        header[1] = kind;
        header[2..4].copy_from_slice(&headers.to_ne_bytes());
        header[4..6].copy_from_slice(&size.to_ne_bytes());
    }
    let start = u16::try_from(transport.start).ok()?;
    let offset = u16::try_from(field - transport.start).ok()?;
    header[6..8].copy_from_slice(&start.to_ne_bytes());
    header[8..10].copy_from_slice(&offset.to_ne_bytes());
    Some(Prefix {
        header,
        checksum: Some((field, transport.pseudo().to_be_bytes())),
    })
}

impl Prefix {
    /// Header and frame into one piece of memory of just that length.
    pub fn write(&self, frame: &Frame<'_>, to: &mut [u8]) {
        let Some((header, rest)) = to.split_first_chunk_mut::<LENGTH>() else {
            return;
        };
        *header = self.header;
        if rest.len() == frame.len() {
            frame.read(0, rest);
            if let Some((field, sum)) = self.checksum {
                rest[field..field + 2].copy_from_slice(&sum);
            }
        }
    }

    /// Header and frame in pieces, for a gathering write.
    pub fn gather<'a>(&'a self, frame: &Frame<'a>) -> [std::io::IoSlice<'a>; 5] {
        let (bytes, payload) = (frame.bytes, frame.payload);
        let (before, sum, after) = match &self.checksum {
            Some((field, sum)) => (&bytes[..*field], &sum[..], &bytes[*field + 2..]),
            None => (bytes, &[][..], &[][..]),
        };
        [&self.header[..], before, sum, after, payload].map(std::io::IoSlice::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp4() -> Vec<u8> {
        let mut frame = vec![0x02; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x04, 0xd2, 0, 80, 0, 0, 0, 1, 0, 0, 0, 9, 0x50, 0x18, 1, 0]);
        frame.extend([0xaa, 0xbb, 0, 0]);
        frame.extend(*b"0123456789");
        frame
    }

    #[test]
    fn what_is_sent_is_what_was_received_but_for_the_rewritten_sum() {
        let mut frame = tcp4();
        let offload = Offload {
            checksum: true,
            segmentation: Some(Segmentation::Tcp {
                size: 4,
                congestion: true,
            }),
            behind: 30,
            network: 20,
        };
        let prefix = encode(&frame, offload).unwrap();
        assert_eq!(decode(&prefix.header, &mut frame), Some(offload));
        // Another destination: another sum in the field, which is not the frame's own.
        frame[33] = 200;
        let (field, sum) = encode(&frame, offload).unwrap().checksum.unwrap();
        assert_eq!(field, 50);
        let plus = u16::from_be_bytes(sum) - u16::from_be_bytes(prefix.checksum.unwrap().1);
        assert_eq!(plus, 198);
        let frame = Frame::whole(&frame);
        let pieces = prefix.gather(&frame);
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        assert_eq!(all.len(), LENGTH + frame.len());
        assert_eq!(all[LENGTH + 50..LENGTH + 52], prefix.checksum.unwrap().1);
    }

    #[test]
    fn a_finished_frame_has_an_empty_header() {
        let mut frame = tcp4();
        let prefix = encode(&frame, Offload::NONE).unwrap();
        assert_eq!(prefix.header, [0; LENGTH]);
        assert_eq!(decode(&prefix.header, &mut frame), Some(Offload::NONE));
        assert_eq!(frame, tcp4());
    }

    #[test]
    fn other_protocols_are_completed_and_other_cuts_refused() {
        let mut icmp = tcp4();
        icmp[23] = 1;
        let mut header = [0; LENGTH];
        header[0] = NEEDS_CHECKSUM;
        header[6..8].copy_from_slice(&34u16.to_ne_bytes());
        header[8..10].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(decode(&header, &mut icmp), Some(Offload::NONE));
        assert_ne!(icmp[36..38], tcp4()[36..38]);
        header[1] = 3;
        assert_eq!(decode(&header, &mut icmp), None);
        header[1] = GSO_TCP_V4;
        assert_eq!(decode(&header, &mut icmp), None);
        assert_eq!(
            encode(
                &icmp,
                Offload {
                    checksum: true,
                    behind: 30,
                    ..Offload::NONE
                }
            ),
            None
        );
    }
}
