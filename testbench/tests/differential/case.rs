//! Cases from seeds, and divergences made small.
//!
//! In: a sample and a seed. Out: entries and packets; for a case whose packets leave differently, one packet and the entries
//! that it takes, or that it takes earlier packets too.

use testbench::random::Random;

use crate::entries::{PORTS, Writer};
use crate::packets::packet;
use crate::pair::{Case, Run, Sample, Trouble, run};
use crate::values::Values;

/// Runs that making one divergence small may take.
const TRIALS: usize = 40;

/// The case of a seed.
pub fn case(sample: &Sample, seed: u64, packets: usize) -> Case {
    let mut random = Random::new(seed);
    let mut values = Values::default();
    let updates = Writer {
        random: &mut random,
        schema: &sample.schema,
        values: &mut values,
        writable: &sample.writable,
    }
    .updates();
    let program = sample.program.checked.program();
    let packets = (0..packets)
        .map(|_| {
            let port = random.below(PORTS as usize) as u32;
            (port, packet(program, &mut random, &values))
        })
        .collect();
    Case { updates, packets }
}

/// What a packet that leaves differently turned out to be.
pub enum Divergence {
    /// It is one; this is all that it takes.
    Real(Box<Case>, Box<Run>),
    /// A new switch does with the packet alone what softnic does, and softnic keeps nothing between packets either: the
    /// reference switch read what an earlier packet had left in a header that is not valid.
    LeftOver,
}

/// Looks into a packet after which something else left.
pub async fn investigate(
    sample: &Sample,
    case: &Case,
    first: &Run,
    at: usize,
    stateful: bool,
) -> Result<Divergence, Trouble> {
    let mut small = Case {
        updates: case.updates.clone(),
        packets: vec![case.packets[at].clone()],
    };
    let differs = |run: &Run| !run.different().is_empty();
    let alone = run(sample, &small, None).await?;
    let mut trials = 1;
    if alone.different().is_empty() {
        if !stateful && alone.packets[0].0 == first.packets[at].0 {
            return Ok(Divergence::LeftOver);
        }
        small.packets = case.packets[..=at].to_vec();
        (small, _) = shrink(sample, small, &mut trials, differs, |case| {
            &mut case.packets
        })
        .await?;
    }
    let (small, found) = shrink(sample, small, &mut trials, differs, |case| {
        &mut case.updates
    })
    .await?;
    Ok(Divergence::Real(Box::new(small), Box::new(found)))
}

/// Looks into counters that differ although all packets leave alike. They add up: without registers and meters one packet is
/// enough for a divergence, and what needs several is left over from one of them.
pub async fn investigate_counters(
    sample: &Sample,
    case: &Case,
    stateful: bool,
) -> Result<Divergence, Trouble> {
    let differs = |run: &Run| run.state.0 != run.state.1;
    let mut trials = 0;
    let (small, _) = shrink(sample, case.clone(), &mut trials, differs, |case| {
        &mut case.packets
    })
    .await?;
    if small.packets.len() > 1 && !stateful && trials < TRIALS {
        return Ok(Divergence::LeftOver);
    }
    let (small, found) = shrink(sample, small, &mut trials, differs, |case| {
        &mut case.updates
    })
    .await?;
    Ok(Divergence::Real(Box::new(small), Box::new(found)))
}

/// Leaves out ever smaller runs of what `part` names, as long as the run still `differs`.
async fn shrink<T: Clone>(
    sample: &Sample,
    mut small: Case,
    trials: &mut usize,
    differs: impl Fn(&Run) -> bool,
    part: impl Fn(&mut Case) -> &mut Vec<T>,
) -> Result<(Case, Run), Trouble> {
    let mut found = run(sample, &small, None).await?;
    let mut chunk = part(&mut small).len().div_ceil(2);
    while chunk > 0 && *trials < TRIALS {
        let mut from = 0;
        while from < part(&mut small).len() && *trials < TRIALS {
            let mut less = small.clone();
            let all = part(&mut less);
            let end = (from + chunk).min(all.len());
            all.drain(from..end);
            *trials += 1;
            // Updates that name something left out are refused by both; then there is no packet to compare.
            match run(sample, &less, None).await {
                Ok(run) if run.refused().next().is_none() && differs(&run) => {
                    (small, found) = (less, run);
                }
                _ => from += chunk,
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk / 2 };
    }
    Ok((small, found))
}
