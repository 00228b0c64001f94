//! Which ways through a parser most packets take: those of IPv4 and IPv6 packets with TCP or UDP.
//!
//! In: a parser. Out: the shortest way to the end for each of these kinds, as a tree. What kinds there are is read from
//! the transitions: an EtherType in a field of 16 bits, then a protocol in one of 8. Another choice costs time, and nothing
//! else. Invariant: states on such a way do no more than to take headers and to set variables; to go back to the beginning
//! undoes them.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use super::super::interp::STANDSTILL;
use super::super::interp::code::{
    Agg, Dest, Ex, Goto, Next, Number, Operand, ParserCode, Prim, Slot, Stmt, Test,
};
use super::support;

/// EtherTypes and protocols, as IANA has them.
const ETHER_TYPES: [u128; 2] = [0x0800, 0x86dd];
const PROTOCOLS: [u128; 2] = [6, 17];

/// A state on the way, and where it leads: by number of the case, to the end or to another state.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub state: usize,
    pub next: Vec<(usize, Option<Node>)>,
}

impl Node {
    /// States on the longest way.
    pub fn depth(&self) -> usize {
        let next = self.next.iter().filter_map(|(_, next)| next.as_ref());
        1 + next.map(Node::depth).max().unwrap_or(0)
    }
}

/// A place on a way: a state, and what the packet is known to be.
type Place = (usize, Option<usize>, Option<usize>);
/// States, and the cases that lead on from them.
type Way = Vec<(usize, usize)>;

/// The usual ways, the first `most` kinds; none where the parser has no such kinds, or does more on them than code for them may.
pub(super) fn usual(parser: &ParserCode, memory: &[bool], most: usize) -> Option<Node> {
    let tree = tree(parser, memory, most)?;
    let fits = plain(&parser.locals, memory) && tree.depth() < STANDSTILL as usize;
    fits.then_some(tree)
}

fn tree(parser: &ParserCode, memory: &[bool], most: usize) -> Option<Node> {
    let mut tree: Option<Node> = None;
    for way in ways(parser, memory).iter().take(most) {
        let (&(start, _), _) = way.split_first()?;
        let root = tree.get_or_insert_with(|| Node {
            state: start,
            next: Vec::new(),
        });
        add(root, way);
    }
    tree
}

fn add(node: &mut Node, way: &[(usize, usize)]) {
    let Some((&(_, case), rest)) = way.split_first() else {
        return;
    };
    let at = match node.next.iter().position(|(other, _)| *other == case) {
        Some(at) => at,
        None => {
            let next = rest.first().map(|&(state, _)| Node {
                state,
                next: Vec::new(),
            });
            node.next.push((case, next));
            node.next.len() - 1
        }
    };
    if let Some((_, Some(next))) = node.next.get_mut(at) {
        add(next, rest);
    }
}

/// For each kind its way.
fn ways(parser: &ParserCode, memory: &[bool]) -> Vec<Way> {
    let mut found: Vec<((usize, usize), Way)> = Vec::new();
    let start: Place = (parser.start, None, None);
    let mut seen: FxHashSet<Place> = FxHashSet::default();
    seen.insert(start);
    let mut open: VecDeque<(Place, Way)> = VecDeque::from([(start, Vec::new())]);
    while let Some(((state, ether, protocol), way)) = open.pop_front() {
        let Some(code) = parser.states.get(state) else {
            continue;
        };
        if !plain(&code.body, memory) || !support::select(&code.next) {
            continue;
        }
        for (case, tests, goto) in transitions(&code.next) {
            let (mut ether, mut protocol) = (ether, protocol);
            if let Some((tests, subjects)) = tests {
                for (test, subject) in tests.iter().zip(subjects) {
                    match ether {
                        None => ether = kind(test, subject, 16, &ETHER_TYPES),
                        Some(_) => {
                            protocol = protocol.or_else(|| kind(test, subject, 8, &PROTOCOLS));
                        }
                    }
                }
            }
            let mut way = way.clone();
            way.push((state, case));
            match (goto, ether, protocol) {
                (Goto::Accept, Some(ether), Some(protocol))
                    if found.iter().all(|(other, _)| *other != (ether, protocol)) =>
                {
                    found.push(((ether, protocol), way));
                }
                (Goto::State(next), ..) if seen.insert((next, ether, protocol)) => {
                    open.push_back(((next, ether, protocol), way));
                }
                _ => {}
            }
        }
    }
    found.sort_by_key(|((ether, protocol), _)| (*protocol, *ether));
    found.into_iter().map(|(_, way)| way).collect()
}

/// The cases of a state's transition, with their tests and what they test.
type Case<'a> = (usize, Option<(&'a [Test], &'a [Number])>, Goto);

fn transitions(next: &Next) -> Vec<Case<'_>> {
    match next {
        Next::To(goto) => vec![(0, None, *goto)],
        Next::Select { subjects, cases } => {
            if !subjects.iter().all(|subject| one(&subject.value)) {
                return Vec::new();
            }
            let cases = cases.iter().enumerate();
            cases
                .map(|(case, (tests, goto))| (case, Some((&tests[..], &subjects[..])), *goto))
                .collect()
        }
    }
}

/// The number of a constant among those that a test of a field of this width asks for.
fn kind(test: &Test, subject: &Number, width: u32, numbers: &[u128]) -> Option<usize> {
    match test {
        Test::Value(Operand::One(Ex::Const(number))) if subject.width == width => {
            numbers.iter().position(|other| other == number)
        }
        _ => None,
    }
}

/// Whether statements do no more than to take headers from the packet and to set variables outside of memory.
pub(super) fn plain(stmts: &[Stmt], memory: &[bool]) -> bool {
    let free = |slot: Slot, slots: u32| {
        (slot..slot.saturating_add(slots)).all(|slot| memory.get(slot as usize) == Some(&false))
    };
    let place = |to: &Dest| support::dest(to).is_some_and(|slot| free(slot, to.slots));
    stmts.iter().all(|stmt| {
        support::stmt(stmt)
            && match stmt {
                Stmt::Set(slot, ex) => free(*slot, 1) && support::pure(ex),
                Stmt::Assign(to, value) => place(to) && one(value),
                Stmt::Clear(slot, slots) => free(*slot, *slots),
                Stmt::Init(slot, value) => {
                    let slots = match value {
                        Operand::One(_) => 1,
                        Operand::Many(_, slots) => *slots,
                    };
                    free(*slot, slots) && one(value)
                }
                Stmt::If(cond, then, otherwise) => {
                    support::pure(cond) && plain(then, memory) && plain(otherwise, memory)
                }
                Stmt::Block(body) => plain(body, memory),
                Stmt::Prim(prim) => match &**prim {
                    Prim::Extract { dest, .. } => dest.as_ref().is_none_or(place),
                    Prim::SetValid(to) | Prim::SetInvalid { dest: to, .. } => place(to),
                    Prim::Advance(_) => true,
                    Prim::Verify(condition, error) => {
                        support::pure(condition) && support::pure(error)
                    }
                    _ => false,
                },
                _ => false,
            }
    })
}

fn one(value: &Operand) -> bool {
    match value {
        Operand::One(ex) => support::pure(ex),
        Operand::Many(agg, _) => matches!(agg, Agg::Place(_)) && support::agg(agg),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::interp::code::StateCode;
    use super::*;

    fn subject(slot: Slot, width: u32) -> Number {
        Number {
            value: Operand::One(Ex::Slot(slot)),
            width,
            signed: false,
        }
    }

    fn select(slot: Slot, width: u32, cases: &[(u128, Goto)], default: Goto) -> Next {
        let case = |&(number, goto): &_| (vec![Test::Value(Operand::One(Ex::Const(number)))], goto);
        let mut cases: Vec<_> = cases.iter().map(case).collect();
        cases.push((vec![Test::Any], default));
        Next::Select {
            subjects: vec![subject(slot, width)],
            cases,
        }
    }

    /// Ethernet, a tag, IPv4 and IPv6, TCP and UDP; what the state of TCP does is given.
    fn parser(tcp: Vec<Stmt>) -> ParserCode {
        let network = [(0x800, Goto::State(2)), (0x86dd, Goto::State(3))];
        let tagged = [(0x8100, Goto::State(1)), network[0], network[1]];
        let transport = [(17, Goto::State(5)), (6, Goto::State(4))];
        let nexts = [
            select(0, 16, &tagged, Goto::Accept),
            select(1, 16, &network, Goto::Accept),
            select(2, 8, &transport, Goto::Accept),
            select(3, 8, &transport, Goto::Reject),
            Next::To(Goto::Accept),
            Next::To(Goto::Accept),
        ];
        let mut parser = ParserCode::default();
        for next in nexts {
            parser.states.push(StateCode {
                name: String::new(),
                body: Vec::new(),
                next,
            });
        }
        parser.states[4].body = tcp;
        parser
    }

    fn node(state: usize, next: Vec<(usize, Option<Node>)>) -> Node {
        Node { state, next }
    }

    #[test]
    fn each_kind_has_its_shortest_way() {
        let found = usual(&parser(Vec::new()), &[false; 8], 9).unwrap();
        let transport = |state| {
            let end = |state| Some(node(state, vec![(0, None)]));
            Some(node(state, vec![(1, end(4)), (0, end(5))]))
        };
        assert_eq!(found, node(0, vec![(1, transport(2)), (2, transport(3))]));
        assert_eq!(found.depth(), 3);
    }

    #[test]
    fn the_first_kinds_come_first() {
        let found = usual(&parser(Vec::new()), &[false; 8], 1).unwrap();
        let end = Some(node(4, vec![(0, None)]));
        assert_eq!(found, node(0, vec![(1, Some(node(2, vec![(1, end)])))]));
        assert_eq!(usual(&parser(Vec::new()), &[false; 8], 0), None);
    }

    #[test]
    fn what_cannot_be_undone_is_on_no_way() {
        let set = || vec![Stmt::Set(5, Ex::Const(1))];
        let mut memory = [false; 8];
        assert_eq!(ways(&parser(set()), &memory).len(), 4);
        memory[5] = true;
        assert_eq!(ways(&parser(set()), &memory).len(), 2);
        assert_eq!(ways(&parser(vec![Stmt::Apply(0)]), &[false; 8]).len(), 2);
    }
}
