//! Prefixes to be measured with: spread evenly, and as routers have them.
//!
//! In: how many, a seed. Out: prefixes that are all different, as value and length. As routers have them means: about as
//! long as the Internet's (CIDR Report, 2024: three of five are /24, or /48), nested, and many of them in few blocks.

use std::collections::HashSet;

use crate::program::Random;

/// Prefix `i` of 32 bits: most are /24, all are different.
pub fn even_v4(i: u64) -> (u32, u32) {
    let length = match i % 20 {
        0 => 20,
        1..=4 => 22,
        _ => 24,
    };
    let value = (i as u32).wrapping_mul(0x9e37_79b1) & ((1 << length) - 1);
    (value << (32 - length), length)
}

/// Prefix `i` of 128 bits: /44, /48 and /64.
pub fn even_v6(i: u64) -> (u128, u32) {
    let (length, free) = match i % 10 {
        0..=1 => (44, 28),
        2..=6 => (48, 32),
        _ => (64, 48),
    };
    let value = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & ((1 << free) - 1);
    let value = 0x2001 << free | u128::from(value);
    (value << (128 - length), length)
}

/// Lengths with how many of a thousand have them.
type Lengths = &'static [(u64, u32)];

const V4: Lengths = &[
    (600, 24),
    (100, 23),
    (105, 22),
    (50, 21),
    (45, 20),
    (30, 19),
    (18, 18),
    (12, 17),
    (16, 16),
    (4, 14),
    (10, 29),
    (10, 32),
];
const V6: Lengths = &[
    (460, 48),
    (120, 32),
    (100, 44),
    (100, 40),
    (70, 36),
    (50, 46),
    (40, 47),
    (30, 33),
    (20, 64),
    (10, 128),
];

fn length(lengths: Lengths, random: &mut Random) -> u32 {
    let mut left = random.uniform(1000);
    for &(share, length) in lengths {
        match left.checked_sub(share) {
            Some(rest) => left = rest,
            None => return length,
        }
    }
    24
}

/// One of so many blocks, those with low numbers more often.
fn block(blocks: u64, random: &mut Random) -> u64 {
    let place = random.uniform(blocks);
    random.uniform(place + 1)
}

/// Different prefixes, each drawn until it is new.
fn different<T: Copy + Eq + std::hash::Hash>(size: u64, draw: impl FnMut() -> T) -> Vec<T> {
    let mut seen = HashSet::new();
    std::iter::repeat_with(draw)
        .filter(|&prefix| seen.insert(prefix))
        .take(size as usize)
        .collect()
}

/// As routers of IPv4 have them, in 40,000 blocks of /16.
pub fn routed_v4(size: u64, seed: u64) -> Vec<(u32, u32)> {
    let random = &mut Random(seed);
    different(size, || {
        let high = (block(40_000, random) as u32).wrapping_mul(0x9e37) << 16;
        let length = length(V4, random);
        let value = high | random.next() as u32 & 0xffff;
        (value & (u32::MAX << (32 - length)), length)
    })
}

/// As routers of IPv6 have them, in 60,000 blocks of /32.
pub fn routed_v6(size: u64, seed: u64) -> Vec<(u128, u32)> {
    let random = &mut Random(seed);
    different(size, || {
        let high = block(60_000, random).wrapping_mul(0x9e37_79b1) & 0x1ff_ffff;
        let length = length(V6, random);
        // Networks inside a block are numbered from its beginning.
        let network = random.next() & 0x7fff_ffff >> random.uniform(12);
        let value = u128::from(0x2000_0000 | high) << 96 | u128::from(network) << 65;
        (value & (u128::MAX << (128 - length)), length)
    })
}

/// Addresses of pods, a /64 for each node of 100.
pub fn pods_v6(size: u64) -> Vec<(u128, u32)> {
    let pod = |i: u64| {
        let (node, host) = (u128::from(i / 100), u128::from(i % 100 + 2));
        (0xfd00_0010_0244 << 80 | node << 64 | host, 128)
    };
    (0..size).map(pod).collect()
}
