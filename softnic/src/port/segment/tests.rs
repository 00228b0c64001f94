use super::*;

/// A TCP super-frame with FIN, PSH, ACK and CWR over so many bytes.
fn super_frame(v6: bool, payload: usize) -> Vec<u8> {
    let mut frame = vec![0x02; 12];
    let length = 32 + payload;
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((length as u16).to_be_bytes());
        frame.extend([6, 64]);
        frame.extend([0xfd; 32]);
    } else {
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend((20 + length as u16).to_be_bytes());
        frame.extend([0xff, 0xff, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    frame.extend([0x04, 0xd2, 0, 80, 0xff, 0xff, 0xff, 0x00, 0, 0, 0, 9]);
    frame.extend([
        0x80, 0x99, 1, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    frame.extend((0..payload).map(|at| at as u8));
    if !v6 {
        let sum = checksum::header(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// What a port says of such a frame when it comes in.
fn offload(bytes: &[u8], segmentation: Option<Segmentation>) -> Offload {
    let network = if bytes.get(12) == Some(&0x86) { 40 } else { 20 };
    Offload {
        checksum: true,
        segmentation,
        behind: bytes.len().saturating_sub(14 + network),
        network,
    }
}

fn finished(bytes: &[u8], segmentation: Option<Segmentation>) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let offload = offload(bytes, segmentation);
    let frame = Frame {
        offload,
        ..Frame::whole(bytes)
    };
    finish(&frame, &mut |packet| {
        out.push(packet.to_vec());
    });
    out
}

/// What a receiver would check: another computation of the same must change nothing.
fn is_sound(packet: &[u8]) -> bool {
    let mut again = packet.to_vec();
    let transport = Transport::of(packet).unwrap();
    let network = &packet[transport.network..transport.start];
    checksum::complete(&mut again)
        && again == packet
        && transport.end == packet.len()
        && (transport.v6 || checksum::header(network) == 0)
}

#[test]
fn a_super_frame_becomes_segments_with_their_own_numbers_flags_and_checksums() {
    for v6 in [false, true] {
        let frame = super_frame(v6, 2500);
        let how = Segmentation::Tcp {
            size: 1000,
            congestion: true,
        };
        let segments = finished(&frame, Some(how));
        assert_eq!(segments.len(), 3);
        let at = Transport::of(&frame).unwrap().start;
        let mut payload = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            assert!(is_sound(segment), "segment {index}");
            let number = u32::from_be_bytes(segment[at + 4..at + 8].try_into().unwrap());
            assert_eq!(number, 0xffff_ff00u32.wrapping_add(payload.len() as u32));
            payload.extend_from_slice(&segment[at + 32..]);
            if !v6 {
                let id = u16::from_be_bytes([segment[18], segment[19]]);
                assert_eq!(id, 0xffffu16.wrapping_add(index as u16));
            }
        }
        assert_eq!(payload, frame[at + 32..]);
        let flags: Vec<u8> = segments.iter().map(|segment| segment[at + 13]).collect();
        assert_eq!(flags, [0x90, 0x10, 0x19]);
    }
}

#[test]
fn a_large_datagram_becomes_small_ones() {
    let mut frame = super_frame(false, 100);
    frame[23] = UDP;
    let segments = finished(&frame, Some(Segmentation::Udp { size: 50 }));
    // 132 bytes behind the IPv4 header, 8 of which are UDP's.
    let lengths: Vec<usize> = segments.iter().map(|s| s.len() - 34).collect();
    assert_eq!(lengths, [58, 58, 32]);
    assert!(segments.iter().all(|segment| is_sound(segment)));
    assert!(segments.iter().all(|s| usize::from(s[39]) == s.len() - 34));
}

#[test]
fn without_segmentation_only_the_checksum_is_written() {
    let frame = super_frame(true, 10);
    let out = finished(&frame, None);
    assert_eq!(out.len(), 1);
    assert!(is_sound(&out[0]) && out[0].len() == frame.len());
}

#[test]
fn what_cannot_be_cut_is_dropped() {
    let how = Some(Segmentation::Tcp {
        size: 100,
        congestion: false,
    });
    let frame = super_frame(false, 500);
    for length in 0..frame.len() {
        assert!(finished(&frame[..length], how).is_empty(), "{length}");
    }
    let mut other = frame.clone();
    other[23] = UDP;
    assert!(finished(&other, how).is_empty());
    let mut short = frame.clone();
    short[46] = 0x10;
    assert!(finished(&short, how).is_empty());
    let none = Segmentation::Tcp {
        size: 0,
        congestion: false,
    };
    assert!(finished(&frame, Some(none)).is_empty());
}

/// VXLAN around the frame, with or without a checksum of its own.
fn in_a_tunnel(frame: &[u8], sum: u8) -> Vec<u8> {
    let mut outer = vec![0x04; 12];
    let length = (frame.len() + 16) as u16;
    outer.extend([0x08, 0x00, 0x45, 0]);
    outer.extend((length + 20).to_be_bytes());
    outer.extend([0, 7, 0, 0, 64, 17, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2]);
    outer.extend([0x12, 0x34, 0x12, 0xb5]);
    outer.extend(length.to_be_bytes());
    outer.extend([0, sum, 0x08, 0, 0, 0, 0, 0, 5, 0]);
    outer.extend(frame);
    outer
}

#[test]
fn what_the_program_put_into_a_tunnel_is_finished_inside_and_out() {
    let how = Segmentation::Tcp {
        size: 1000,
        congestion: false,
    };
    for (v6, sum) in [(false, 0), (true, 0), (false, 1)] {
        let frame = super_frame(v6, 2500);
        for segmentation in [None, Some(how)] {
            let offload = offload(&frame, segmentation);
            let tunnel = in_a_tunnel(&frame, sum);
            let left = |bytes| Frame {
                offload,
                ..Frame::whole(bytes)
            };
            assert!(!is_plain(&left(&tunnel)));
            assert!(is_plain(&left(&frame)));
            let mut out = Vec::new();
            finish(&left(&tunnel), &mut |packet| out.push(packet.to_vec()));
            assert_eq!(out.len(), segmentation.map_or(1, |_| 3));
            for packet in &out {
                assert!(is_sound(&packet[50..]), "inside");
                let outer = Transport::of(packet).unwrap();
                assert_eq!(outer.end, packet.len());
                let length = u16::from_be_bytes([packet[38], packet[39]]);
                assert_eq!(usize::from(length), packet.len() - 34);
                if sum == 0 {
                    assert_eq!(packet[40..42], [0, 0]);
                } else {
                    let mut again = packet.clone();
                    checksum::complete(&mut again);
                    assert_eq!(&again, packet, "outside");
                }
            }
        }
    }
}
