//! Finishes L4 checksums that a sender on this host left to hardware.
//!
//! In: an Ethernet frame whose TCP or UDP checksum holds only the pseudo header's part. Out: the frame with the
//! checksum of RFC 9293 and RFC 768. Anything else is left as it is.

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn add(sum: u64, bytes: &[u8]) -> u64 {
    let pairs = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u64::from(low)));
    pairs.fold(sum, |sum, pair| sum + pair)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Where the network header begins, behind any VLAN tags, and its EtherType.
fn network(frame: &[u8]) -> Option<(u16, usize)> {
    let mut at = ETHERNET;
    let mut kind = word(frame, at - 2)?;
    while matches!(kind, 0x8100 | 0x88a8) {
        at += 4;
        kind = word(frame, at - 2)?;
    }
    Some((kind, at))
}

/// Protocol, where L4 begins and ends, and the sum over the addresses.
fn transport(frame: &[u8]) -> Option<(u8, usize, usize, u64)> {
    let (kind, at) = network(frame)?;
    match kind {
        0x0800 => {
            let header = usize::from(frame.get(at)? & 0x0f) * 4;
            let total = usize::from(word(frame, at + 2)?);
            let fragment = word(frame, at + 6)? & 0x3fff;
            let addresses = frame.get(at + 12..at + 20)?;
            (header >= 20 && fragment == 0)
                .then(|| (frame[at + 9], at + header, at + total, add(0, addresses)))
        }
        0x86dd => {
            let length = usize::from(word(frame, at + 4)?);
            let addresses = frame.get(at + 8..at + 40)?;
            Some((frame[at + 6], at + 40, at + 40 + length, add(0, addresses)))
        }
        _ => None,
    }
}

/// Writes the full checksum into the frame; `false` if there is nothing to finish.
pub(super) fn complete(frame: &mut [u8]) -> bool {
    let Some((protocol, start, end, addresses)) = transport(frame) else {
        return false;
    };
    let field = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return false,
    };
    let Some(segment) = frame
        .get_mut(start..end)
        .filter(|segment| segment.len() >= field + 2)
    else {
        return false;
    };
    segment[field..field + 2].fill(0);
    let sum = fold(add(
        addresses + u64::from(protocol) + segment.len() as u64,
        segment,
    ));
    // Zero means "none" in UDP, so that a computed zero is sent as all ones.
    let sum = if protocol == UDP && sum == 0 {
        0xffff
    } else {
        sum
    };
    segment[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp4() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([
            0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend([0x04, 0xd2, 0x00, 0x35, 0, 11, 0xab, 0xcd]);
        frame.extend(*b"abc");
        frame
    }

    /// The sum over pseudo header and segment of a good checksum is all ones.
    fn verifies(frame: &[u8]) -> bool {
        let (protocol, start, end, addresses) = transport(frame).unwrap();
        fold(add(
            addresses + u64::from(protocol) + (end - start) as u64,
            &frame[start..end],
        )) == 0
    }

    #[test]
    fn a_partial_checksum_is_finished() {
        let mut frame = udp4();
        assert!(!verifies(&frame));
        assert!(complete(&mut frame));
        assert!(verifies(&frame));
    }

    #[test]
    fn vlan_tags_and_ipv6_are_seen_through() {
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0x00, 0x00, 0x07, 0x86, 0xdd]);
        frame.extend([0x60, 0, 0, 0, 0, 20, 6, 64]);
        frame.extend([0x11; 32]);
        frame.extend([
            0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff, 0x12, 0x34, 0, 0,
        ]);
        assert!(complete(&mut frame));
        assert!(verifies(&frame));
    }

    #[test]
    fn what_is_short_or_no_ip_is_left_alone() {
        let whole = udp4();
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            assert!(!complete(&mut cut));
            assert_eq!(cut, whole[..length]);
        }
        assert!(!complete(&mut [0xff; 64]));
    }
}
