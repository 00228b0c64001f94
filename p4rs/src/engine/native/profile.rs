//! Which ways packets take through a program: what some of them decided, one decision after the other.
//!
//! In: packets that the interpreter runs. Out: a tree of decisions, with how many packets took each way. A decision is the
//! outcome of an `if`, the case of a `switch` or of a parser's transition, what a table answered; in the order in which
//! they are made, whatever the node, since each one depends on those before it alone.
//!
//! ```text
//! ether type ─ IPv4: 240 ─ protocol ─ TCP: 238 ─ frontend ─ hit: 236 ─ flow ─ hit: 235 …
//!            └ other: 16            └ UDP: 2
//! ```
//!
//! Invariant: who makes code of the tree meets the decisions in the order in which the interpreter noted them.

use super::context::NO_ACTION;

/// What one packet decided.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    taken: Option<Vec<u32>>,
    passes: u32,
    astray: bool,
}

impl Steps {
    /// Whether a packet is watched.
    #[inline]
    pub fn watches(&self) -> bool {
        self.taken.is_some()
    }

    /// Takes note of the next packet.
    pub fn watch(&mut self) {
        *self = Self {
            taken: Some(Vec::new()),
            ..Self::default()
        };
    }

    /// What was noted since, where it is of a kind that machine code could repeat without help: all of one pass.
    pub fn end(&mut self) -> Option<Vec<u32>> {
        let taken = self.taken.take();
        taken.filter(|_| !self.astray && self.passes == 1)
    }

    /// A decision.
    #[inline]
    pub fn take(&mut self, outcome: u32) {
        if let Some(taken) = &mut self.taken
            && !self.astray
        {
            taken.push(outcome);
        }
    }

    /// What a table answers.
    #[inline]
    pub fn apply(&mut self, hit: bool, action: Option<u16>) {
        self.take(answer(hit, action.map_or(NO_ACTION, u32::from)));
    }

    /// A pass begins.
    #[inline]
    pub fn pass(&mut self) {
        self.passes = self.passes.saturating_add(1);
    }

    /// The packet does what only some do, such as to run a loop.
    #[inline]
    pub fn leave(&mut self) {
        self.astray = true;
    }
}

/// What a table answers, as a decision: whether it was hit, and the action or [`NO_ACTION`].
pub(super) fn answer(hit: bool, action: u32) -> u32 {
    u32::from(hit) << 16 | action
}

/// The two parts of an [`answer`].
pub(super) fn parts(answer: u32) -> (bool, u32) {
    (answer >> 16 != 0, answer & 0xffff)
}

/// Code that is not for one packet in so many is of no use.
pub(super) const USEFUL: u32 = 8;

/// A place in a tree: the beginning, or what follows a decision.
pub(super) type Place = u32;

#[derive(Debug, Default)]
struct Node {
    /// Packets that came here.
    came: u32,
    /// Outcomes, and where they lead.
    next: Vec<(u32, Place)>,
}

/// Decisions of some packets.
#[derive(Debug)]
pub(crate) struct Profile {
    nodes: Vec<Node>,
    /// Packets that did what most do.
    useful: u32,
}

impl Default for Profile {
    /// Of no packet.
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            useful: 0,
        }
    }
}

impl Profile {
    /// Adds what a packet decided; nothing of one that does what only some do.
    pub fn add(&mut self, taken: Option<&[u32]>) {
        let mut at = 0;
        self.came(at);
        self.useful += u32::from(taken.is_some());
        for &outcome in taken.unwrap_or_default() {
            let known = self.outcomes(at as Place);
            let next = known.iter().find(|(other, _)| *other == outcome);
            at = match next {
                Some(&(_, next)) => next as usize,
                None => {
                    let new = self.nodes.len();
                    self.nodes.push(Node::default());
                    if let Some(node) = self.nodes.get_mut(at) {
                        node.next.push((outcome, new as Place));
                    }
                    new
                }
            };
            self.came(at);
        }
    }

    fn came(&mut self, at: usize) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.came += 1;
        }
    }

    /// Packets in all.
    pub fn packets(&self) -> u32 {
        self.count(0)
    }

    /// Whether enough packets did what most do.
    pub fn is_useful(&self) -> bool {
        self.useful * USEFUL >= self.packets()
    }

    /// Packets that came to a place.
    pub fn count(&self, at: Place) -> u32 {
        self.nodes.get(at as usize).map_or(0, |node| node.came)
    }

    /// What was decided at a place.
    fn outcomes(&self, at: Place) -> &[(u32, Place)] {
        self.nodes
            .get(at as usize)
            .map_or(&[], |node| node.next.as_slice())
    }

    /// What at least so many packets decided at a place, most of them first.
    pub fn usual(&self, at: Place, least: u32) -> Vec<(u32, Place)> {
        let mut usual = self.outcomes(at).to_vec();
        usual.retain(|&(_, next)| self.count(next) >= least);
        usual.sort_by_key(|&(outcome, next)| (std::cmp::Reverse(self.count(next)), outcome));
        usual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_counted_decision_by_decision() {
        let mut profile = Profile::default();
        for taken in [&[1, 5][..], &[1, 5], &[1, 6], &[0]] {
            profile.add(Some(taken));
        }
        let first = profile.usual(0, 1);
        assert_eq!(first, [(1, 1), (0, 4)]);
        assert_eq!(profile.usual(0, 2), [(1, 1)]);
        assert_eq!(profile.usual(1, 1), [(5, 2), (6, 3)]);
        assert_eq!([0, 1, 2, 3].map(|at| profile.count(at)), [4, 3, 2, 1]);
        assert_eq!(profile.usual(9, 0), []);
    }

    #[test]
    fn only_one_pass_without_anything_rare_is_of_use() {
        let mut steps = Steps::default();
        steps.take(1);
        assert_eq!(steps.end(), None);
        steps.watch();
        steps.pass();
        steps.take(1);
        steps.apply(true, Some(3));
        steps.apply(false, None);
        let taken = steps.end();
        assert_eq!(taken, Some(vec![1, 0x1_0003, NO_ACTION]));
        assert_eq!(
            (parts(0x1_0003), parts(NO_ACTION)),
            ((true, 3), (false, NO_ACTION))
        );
        for spoil in [Steps::pass, Steps::leave] {
            steps.watch();
            steps.pass();
            spoil(&mut steps);
            assert_eq!(steps.end(), None);
        }
    }
}
