//! Mutated bytes from a seed, a clock that ends the run, and the folder of inputs that failed.
//!
//! In: a seed. Out: the same inputs in the same order for the same seed.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use testbench::random::Random;

/// Changes of inputs.
pub trait Mutate {
    /// A few changes: bits, bytes, cuts, copies, and pieces of `words` put in.
    fn mutate(&mut self, input: &mut Vec<u8>, words: &[&[u8]]);
}

impl Mutate for Random {
    fn mutate(&mut self, input: &mut Vec<u8>, words: &[&[u8]]) {
        for _ in 0..1 + self.below(8) {
            let at = self.below(input.len());
            match self.below(8) {
                0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
                1 if !input.is_empty() => input[at] = self.number() as u8,
                2 => input.truncate(at),
                3 if !input.is_empty() => {
                    let end = (at + self.below(64)).min(input.len());
                    input.drain(at..end);
                }
                4 if !input.is_empty() => {
                    let end = (at + self.below(64)).min(input.len());
                    let piece = input[at..end].to_vec();
                    let to = self.below(input.len());
                    input.splice(to..to, piece);
                }
                5 | 6 if !words.is_empty() => {
                    let word = words[self.below(words.len())];
                    input.splice(at..at, word.iter().copied());
                }
                _ => {
                    let length = self.below(16);
                    let piece = self.bytes(length);
                    input.splice(at..at, piece);
                }
            }
        }
    }
}

/// How long a run lasts and where its inputs begin.
pub struct Turns {
    name: &'static str,
    until: Instant,
    seed: u64,
    count: u64,
}

impl Turns {
    pub fn from_environment(name: &'static str) -> Self {
        let number = |variable: &str| {
            std::env::var(variable)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
        };
        let seconds = number("NICPROXY_FUZZ_SECONDS").unwrap_or(60);
        let seed = number("NICPROXY_FUZZ_SEED").unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.map_or(1, |now| now.as_secs())
        });
        println!("{name}: {seconds} s from NICPROXY_FUZZ_SEED={seed}");
        Self {
            name,
            until: Instant::now() + Duration::from_secs(seconds),
            seed,
            count: 0,
        }
    }

    /// The next turn's generator; `None` when time is over.
    pub fn next(&mut self) -> Option<Random> {
        if Instant::now() >= self.until {
            println!("{}: {} inputs, no finding", self.name, self.count);
            return None;
        }
        self.count += 1;
        Some(Random::new(
            self.seed.wrapping_mul(0x1000_0000).wrapping_add(self.count),
        ))
    }
}

/// Inputs that failed.
pub struct Corpus {
    folder: PathBuf,
}

impl Corpus {
    pub fn new(name: &str) -> Self {
        Self {
            folder: PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("corpus")
                .join(name),
        }
    }

    pub fn kept(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        entries
            .flatten()
            .map(|entry| std::fs::read(entry.path()).unwrap())
            .collect()
    }

    /// Keeps an input that failed; where.
    pub fn keep(&self, input: &[u8]) -> PathBuf {
        std::fs::create_dir_all(&self.folder).unwrap();
        let name = self.folder.join(format!("{:016x}", hash(input)));
        std::fs::write(&name, input).unwrap();
        name
    }

    /// Runs; an input that panics or takes too long is kept and fails the test.
    pub fn guard(&self, input: &[u8], limit: Duration, run: impl FnOnce()) {
        let start = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        let took = start.elapsed();
        if outcome.is_ok() && took <= limit {
            return;
        }
        let name = self.keep(input);
        let what = if outcome.is_err() {
            "panicked".to_owned()
        } else {
            format!("took {took:?}")
        };
        panic!("an input {what}; kept as {}", name.display());
    }
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
