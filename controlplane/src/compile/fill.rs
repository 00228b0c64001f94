//! Which slot leads to which endpoint.
//!
//! In: endpoints with weights. Out: how many slots a set has, and their filling. Both are functions of endpoints and
//! weights alone, never of what was before, so every NIC of a cluster and every restart agrees: several NICs may see
//! packets of one connection to a load balancer's address. An endpoint that comes or goes moves few slots but its own. After Maglev (Eisenbud et al., NSDI 2016, 3.4): every endpoint has a permutation of the slots and takes
//! its favourite free one in turn. Sizes are powers of two, so odd steps make a permutation; weights are turns.

use crate::tables::Address;

/// The most slots a set has: the pipeline's mask has 16 bits.
pub const MAX_SLOTS: usize = 65_536;

/// An endpoint and its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weighted {
    /// The endpoint's address.
    pub address: Address,
    /// Its port.
    pub port: u16,
    /// Its weight, above 0.
    pub weight: u32,
}

/// Slots per endpoint at least: whoever gets the fewest is not far behind either.
const SPREAD: usize = 4;

/// Number of slots for these endpoints: a power of two that gives none more than 12.5 % above its due share, as far as
/// [`MAX_SLOTS`] allow.
///
/// Where all weigh the same it grows with the number of endpoints and never shrinks: while that number doubles it changes
/// at most twice, since it is fair to all numbers below, too. In between a change rewrites slots in place.
pub fn size(endpoints: &[Weighted]) -> usize {
    let count = endpoints.len();
    if count < 2 {
        return 1;
    }
    let least = count.next_power_of_two();
    let mut size = (least * SPREAD).min(MAX_SLOTS);
    for fewer in least / 2 + 1..=count {
        while size < MAX_SLOTS && !is_even(fewer as u64, size as u64) {
            size *= 2;
        }
    }
    while size < MAX_SLOTS && !is_fair(endpoints, size) {
        size *= 2;
    }
    size
}

/// Slots by index into `endpoints`, which are in order of target, each once, at most as many as slots.
///
/// Endpoints beyond the number of slots get none.
pub fn fill(endpoints: &[Weighted], size: usize) -> Vec<u32> {
    let mut slots = vec![u32::MAX; size];
    let endpoints = &endpoints[..endpoints.len().min(size)];
    let quotas = quotas(endpoints, size);
    let Some(rounds) = quotas.iter().copied().max() else {
        return slots;
    };
    let mask = size - 1;
    let mut turns: Vec<(usize, usize)> = endpoints
        .iter()
        .map(|endpoint| {
            let hash = hash(endpoint);
            (hash as usize & mask, mix(hash) as usize | 1)
        })
        .collect();
    for round in 0..u64::from(rounds) {
        for (index, (next, step)) in turns.iter_mut().enumerate() {
            let quota = u64::from(quotas[index]);
            let rounds = u64::from(rounds);
            if (round + 1) * quota / rounds == round * quota / rounds {
                continue;
            }
            while slots[*next] != u32::MAX {
                *next = next.wrapping_add(*step) & mask;
            }
            slots[*next] = index as u32;
        }
    }
    slots
}

fn is_fair(endpoints: &[Weighted], size: usize) -> bool {
    if endpoints.len() > size {
        return false;
    }
    let (size, total) = (size as u64, total(endpoints));
    if total == endpoints.len() as u64 {
        return is_even(total, size);
    }
    quotas(endpoints, size as usize)
        .iter()
        .zip(endpoints)
        .all(|(quota, endpoint)| {
            u64::from(*quota) * total * 8 <= u64::from(endpoint.weight) * size * 9
        })
}

/// Fair to so many of equal weight: the heaviest has the mean, rounded up.
fn is_even(count: u64, size: u64) -> bool {
    count <= size && size.div_ceil(count) * count * 8 <= size * 9
}

fn total(endpoints: &[Weighted]) -> u64 {
    endpoints.iter().map(|e| u64::from(e.weight)).sum()
}

/// Slots per endpoint: the due share, rounded so that the sum is `size` and nobody has none. At most `size` endpoints.
fn quotas(endpoints: &[Weighted], size: usize) -> Vec<u32> {
    let (size, total) = (size as u64, total(endpoints).max(1));
    let due = |at: usize| u64::from(endpoints[at].weight) * size;
    let mut quotas: Vec<u32> = (0..endpoints.len())
        .map(|at| (due(at) / total).max(1) as u32)
        .collect();
    let given: u64 = quotas.iter().map(|quota| u64::from(*quota)).sum();
    if given <= size {
        give(&mut quotas, (size - given) as usize, |at| {
            let floor_is_zero = due(at) < total;
            let left = if floor_is_zero { 0 } else { due(at) % total };
            (std::cmp::Reverse(left), hash(&endpoints[at]))
        });
    } else {
        take(&mut quotas, given - size);
    }
    quotas
}

/// One more for the first `count` in the given order.
fn give<K: Ord>(quotas: &mut [u32], count: usize, order: impl Fn(usize) -> K) {
    if count == 0 || quotas.is_empty() {
        return;
    }
    let mut indices: Vec<usize> = (0..quotas.len()).collect();
    let last = count.min(indices.len()) - 1;
    indices.select_nth_unstable_by_key(last, |at| order(*at));
    for at in &indices[..=last] {
        quotas[*at] += 1;
    }
}

/// Takes back what the lightest got beyond their due, from the heaviest first.
fn take(quotas: &mut [u32], mut count: u64) {
    let mut heaviest: Vec<usize> = (0..quotas.len()).collect();
    heaviest.sort_by_key(|at| std::cmp::Reverse(quotas[*at]));
    while count > 0 {
        let before = count;
        for at in &heaviest {
            if count > 0 && quotas[*at] > 1 {
                quotas[*at] -= 1;
                count -= 1;
            }
        }
        if count == before {
            return;
        }
    }
}

/// Part of the format: another hash would move connections on every upgrade.
fn hash(endpoint: &Weighted) -> u64 {
    let address = mix(mix(endpoint.address.hi) ^ endpoint.address.lo);
    mix(address ^ u64::from(endpoint.port))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::Address;

    fn endpoints(weights: &[u32]) -> Vec<Weighted> {
        weights
            .iter()
            .enumerate()
            .map(|(at, weight)| Weighted {
                address: Address {
                    hi: 0,
                    lo: 0xffff_0a01_0000 + at as u64,
                },
                port: 8080,
                weight: *weight,
            })
            .collect()
    }

    fn counts(slots: &[u32], endpoints: usize) -> Vec<usize> {
        let mut counts = vec![0; endpoints];
        for slot in slots {
            counts[*slot as usize] += 1;
        }
        counts
    }

    #[test]
    fn sizes() {
        for (count, expected) in [
            (0, 1),
            (1, 1),
            (2, 8),
            (3, 16),
            (4, 16),
            (5, 32),
            (8, 32),
            (9, 64),
            (10, 64),
            (14, 64),
            (15, 128),
            (20, 128),
            (21, 256),
            (25, 256),
            (41, 256),
            (42, 512),
            (8192, 65_536),
            (65_536, 65_536),
        ] {
            assert_eq!(
                size(&endpoints(&vec![1; count])),
                expected,
                "{count} endpoints"
            );
        }
        assert_eq!(size(&endpoints(&[3, 1])), 8);
        assert_eq!(size(&endpoints(&[0; 0])), 1);
        assert_eq!(size(&endpoints(&[100, 1])), 128);
        assert_eq!(size(&endpoints(&[65_535, 1])), 65_536);
        assert_eq!(size(&endpoints(&[1; 70_000])), MAX_SLOTS);
    }

    #[test]
    fn sizes_never_shrink_and_change_at_most_twice_while_endpoints_double() {
        let sizes: Vec<usize> = (1..2000).map(|n| size(&endpoints(&vec![1; n]))).collect();
        assert!(sizes.is_sorted());
        for n in 1..1000 {
            let mut between = sizes[n - 1..2 * n].to_vec();
            between.dedup();
            assert!(between.len() <= 3, "{n}: {between:?}");
        }
    }

    #[test]
    fn filling_is_part_of_the_format() {
        let slots = fill(&endpoints(&[1, 1, 1]), 8);
        assert_eq!(slots, FORMAT);
        assert_eq!(counts(&fill(&endpoints(&[3, 1]), 4), 2), [3, 1]);
    }

    #[test]
    fn one_endpoint_moves_little_but_its_own() {
        // Of so many endpoints one leaves; so many of the slots may move between those that stay.
        for (count, most) in [
            (3, 3),
            (6, 4),
            (10, 9),
            (14, 14),
            (20, 20),
            (25, 32),
            (100, 72),
        ] {
            let all = endpoints(&vec![1; count]);
            let slots = size(&all);
            let before = fill(&all, slots);
            let mut worst = 0;
            for gone in 0..count {
                let mut left = all.clone();
                left.remove(gone);
                let after = fill(&left, slots);
                let moved = (0..slots)
                    .filter(|slot| before[*slot] != gone as u32)
                    .filter(|slot| {
                        all[before[*slot] as usize].address != left[after[*slot] as usize].address
                    })
                    .count();
                worst = worst.max(moved);
            }
            assert!(
                worst <= most,
                "{count} endpoints: {worst} of {slots} slots moved between endpoints that stay"
            );
        }
    }

    proptest! {
        #[test]
        fn all_slots_are_filled_and_shares_are_due(
            weights in prop::collection::vec(1u32..20, 1..80),
        ) {
            let endpoints = endpoints(&weights);
            let size = size(&endpoints);
            let slots = fill(&endpoints, size);
            prop_assert!(slots.iter().all(|slot| (*slot as usize) < endpoints.len()));
            let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            for (count, weight) in counts(&slots, weights.len()).iter().zip(&weights) {
                let due = f64::from(*weight) * size as f64 / total as f64;
                prop_assert!(*count as f64 <= due * 1.125 + 1e-9, "{count} slots, due {due} of {size}");
                prop_assert!(*count >= 1);
            }
        }

        #[test]
        fn any_weights_fill_any_size(
            weights in prop::collection::vec(1u32..=65_535, 1..40),
            bits in 0u32..10,
        ) {
            let size = 1usize << bits;
            let endpoints = endpoints(&weights);
            let slots = fill(&endpoints, size);
            prop_assert!(slots.iter().all(|slot| (*slot as usize) < endpoints.len()));
            let used = counts(&slots, weights.len()).iter().filter(|count| **count > 0).count();
            prop_assert_eq!(used, weights.len().min(size));
        }
    }

    /// Worked out by another implementation of the same description.
    const FORMAT: [u32; 8] = [1, 0, 0, 1, 0, 2, 2, 1];
}
