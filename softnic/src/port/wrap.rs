//! Wrappers that go around any port.
//!
//! [`Faulty`] loses, repeats, damages, cuts and swaps packets, as a bad link does: for tests of what must survive that.
//! The sequence of faults follows from the seed alone. [`Tracing`] tells a function about every packet.

use std::time::Duration;

use parking_lot::Mutex;

use super::{Frame, Offload, Port, PortError, PortStatistics, Received, Take};

/// Probabilities of faults per packet, 0 to 1, in either direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The packet vanishes.
    pub lose: f64,
    /// The packet comes twice.
    pub repeat: f64,
    /// One bit is flipped.
    pub damage: f64,
    /// The packet loses its end.
    pub cut: f64,
    /// The packet changes places with the one before it in the same batch.
    pub swap: f64,
}

/// A port that treats packets badly.
pub struct Faulty {
    inner: Box<dyn Port>,
    faults: Faults,
    random: Mutex<Random>,
}

/// xorshift64*: short, seeded, good enough for faults.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// Zero is the one state that the generator never leaves.
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(0x9e37_79b9_7f4a_7c15).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what a double holds.
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            0
        } else {
            (self.next() % bound as u64) as usize
        }
    }
}

impl Faulty {
    /// Wraps a port; the same seed gives the same faults.
    pub fn new(inner: Box<dyn Port>, faults: Faults, seed: u64) -> Self {
        Self {
            inner,
            faults,
            random: Mutex::new(Random::new(seed)),
        }
    }

    fn apply(&self, frames: &[Frame<'_>]) -> Vec<(Vec<u8>, Offload)> {
        let mut random = self.random.lock();
        let mut out: Vec<(Vec<u8>, Offload)> = Vec::new();
        for frame in frames {
            if random.chance(self.faults.lose) {
                continue;
            }
            let mut packet = frame.to_vec();
            if random.chance(self.faults.damage) && !packet.is_empty() {
                let at = random.below(packet.len());
                packet[at] ^= 1 << random.below(8);
            }
            if random.chance(self.faults.cut) {
                packet.truncate(random.below(packet.len()));
            }
            if random.chance(self.faults.repeat) {
                out.push((packet.clone(), frame.offload));
            }
            out.push((packet, frame.offload));
            let last = out.len() - 1;
            if last > 0 && random.chance(self.faults.swap) {
                out.swap(last - 1, last);
            }
        }
        out
    }
}

fn borrowed(frames: &[(Vec<u8>, Offload)]) -> Vec<Frame<'_>> {
    frames
        .iter()
        .map(|(bytes, offload)| Frame {
            offload: *offload,
            ..Frame::whole(bytes)
        })
        .collect()
}

impl Port for Faulty {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn queues(&self) -> usize {
        self.inner.queues()
    }

    fn takes_offloads(&self) -> bool {
        self.inner.takes_offloads()
    }

    fn poll(
        &self,
        queue: usize,
        limit: usize,
        wait: Duration,
        take: &mut Take<'_>,
    ) -> Result<Received, PortError> {
        let mut left = false;
        let received = self.inner.poll(queue, limit, wait, &mut |frames| {
            let out = self.apply(frames);
            if !out.is_empty() {
                left = true;
                take(&borrowed(&out));
            }
        })?;
        Ok(match received {
            Received::Packets if !left => Received::Nothing,
            other => other,
        })
    }

    fn transmit(&self, queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError> {
        self.inner.transmit(queue, &borrowed(&self.apply(frames)))
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    fn statistics(&self) -> PortStatistics {
        self.inner.statistics()
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the switch.
    Receive,
    /// Out of the switch.
    Send,
}

/// Told about every packet of a [`Tracing`] port.
pub type Observer = Box<dyn Fn(Direction, &[u8]) + Send + Sync>;

/// A port that tells about every packet.
pub struct Tracing {
    inner: Box<dyn Port>,
    observer: Observer,
}

impl Tracing {
    /// Wraps a port.
    pub fn new(inner: Box<dyn Port>, observer: Observer) -> Self {
        Self { inner, observer }
    }
}

impl Port for Tracing {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn queues(&self) -> usize {
        self.inner.queues()
    }

    fn takes_offloads(&self) -> bool {
        self.inner.takes_offloads()
    }

    fn poll(
        &self,
        queue: usize,
        limit: usize,
        wait: Duration,
        take: &mut Take<'_>,
    ) -> Result<Received, PortError> {
        self.inner.poll(queue, limit, wait, &mut |frames| {
            for frame in frames {
                (self.observer)(Direction::Receive, frame.bytes);
            }
            take(frames);
        })
    }

    fn transmit(&self, queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError> {
        for frame in frames {
            (self.observer)(Direction::Send, &frame.contiguous());
        }
        self.inner.transmit(queue, frames)
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    fn statistics(&self) -> PortStatistics {
        self.inner.statistics()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Batch, memory};
    use super::*;

    fn through(faults: Faults, seed: u64) -> Vec<Vec<u8>> {
        let (near, far) = memory::pair("t", 1000);
        let faulty = Faulty::new(Box::new(near), faults, seed);
        let packets: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 20]).collect();
        faulty
            .send(&packets.iter().map(Vec::as_slice).collect::<Vec<_>>())
            .unwrap();
        std::iter::from_fn(|| far.pop(Duration::ZERO)).collect()
    }

    #[test]
    fn no_faults_change_nothing_and_all_of_them_lose_everything() {
        assert_eq!(through(Faults::default(), 7).len(), 100);
        assert!(
            through(
                Faults {
                    lose: 1.0,
                    ..Faults::default()
                },
                7
            )
            .is_empty()
        );
        assert_eq!(
            through(
                Faults {
                    repeat: 1.0,
                    ..Faults::default()
                },
                7
            )
            .len(),
            200
        );
    }

    #[test]
    fn faults_follow_from_the_seed() {
        let faults = Faults {
            lose: 0.2,
            repeat: 0.1,
            damage: 0.2,
            cut: 0.1,
            swap: 0.3,
        };
        let first = through(faults, 42);
        assert_eq!(first, through(faults, 42));
        assert_ne!(first, through(faults, 43));
        assert!(first.iter().any(|packet| packet.len() < 20));
    }

    #[test]
    fn a_tracing_port_tells_about_both_directions() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (near, far) = memory::pair("t", 10);
        let log = Arc::clone(&seen);
        let traced = Tracing::new(
            Box::new(near),
            Box::new(move |way, packet| log.lock().push((way, packet.len()))),
        );
        far.push(b"abc");
        traced.receive(&mut Batch::new(4), Duration::ZERO).unwrap();
        traced.send(&[b"de"]).unwrap();
        assert_eq!(
            *seen.lock(),
            [(Direction::Receive, 3), (Direction::Send, 2)]
        );
    }
}
