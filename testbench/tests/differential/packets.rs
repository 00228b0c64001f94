//! Random packets that a program's parser goes through.
//!
//! In: a program. Out: packets made by walking its parser: every extracted header is drawn, every select takes one of its
//! cases and what it looked at is set accordingly. What the walk does not understand it leaves to chance; a part of the
//! packets is cut, changed in one byte, or noise.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use p4rs::ir::{
    Arg, Block, Callee, Const, Expr, ExprKind, Handle, KeySet, PackageArg, PacketOp, Parser,
    Program, StateRef, StmtKind, Transition, Type,
};
use testbench::random::Random;

use crate::values::Values;

/// States and headers that a walk takes at most.
const STEPS: usize = 24;

/// Longest packet: what a switch adds must still fit.
const LONGEST: usize = 1400;

/// A walk through a parser, and the bits that it left behind.
struct Walk<'a> {
    program: &'a Program,
    random: &'a mut Random,
    values: &'a Values,
    bits: Vec<bool>,
    /// Bits that a lookahead has decided.
    ahead: BTreeMap<usize, bool>,
    /// Where the headers lie that were extracted, by place.
    headers: BTreeMap<String, usize>,
    /// Elements extracted into stacks.
    elements: BTreeMap<String, usize>,
    steps: usize,
}

/// A packet for the program.
pub fn packet(program: &Program, random: &mut Random, values: &Values) -> Vec<u8> {
    if random.once_in(25) {
        let length = 1 + random.below(100);
        return random.bytes(length);
    }
    let parser = program.package.iter().flat_map(|package| &package.args);
    let parser = parser.into_iter().find_map(|(_, of)| match of {
        PackageArg::Parser(parser) => Some(*parser),
        _ => None,
    });
    let mut walk = Walk {
        program,
        random,
        values,
        bits: Vec::new(),
        ahead: BTreeMap::new(),
        headers: BTreeMap::new(),
        elements: BTreeMap::new(),
        steps: 0,
    };
    if let Some(parser) = parser {
        walk.parser(parser);
    }
    let mut bytes = walk.bytes();
    let length = random.below(40);
    bytes.extend(random.bytes(length));
    bytes.truncate(LONGEST);
    if random.once_in(8) {
        bytes.truncate(random.below(bytes.len()));
    }
    if random.once_in(8) && !bytes.is_empty() {
        let at = random.below(bytes.len());
        bytes[at] = random.number() as u8;
    }
    if bytes.is_empty() {
        bytes.push(0);
    }
    bytes
}

impl Walk<'_> {
    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            (0..8).fold(0, |sum, at| {
                sum << 1 | u8::from(bits.get(at) == Some(&true))
            })
        };
        self.bits.chunks(8).map(byte).collect()
    }

    /// True when the packet is done with.
    fn parser(&mut self, parser: Handle<Parser>) -> bool {
        let program = self.program;
        let parser = &program.parsers[parser];
        let mut at = parser.start;
        loop {
            self.steps += 1;
            let Some(state) = parser.states.get(at).filter(|_| self.steps < STEPS) else {
                return true;
            };
            if self.block(&state.body) {
                return true;
            }
            let next = match &state.transition {
                Transition::To(next) => *next,
                Transition::Select { subjects, cases } => {
                    let at = self.random.below(cases.len());
                    let Some((sets, next)) = cases.get(at) else {
                        return false;
                    };
                    for (subject, set) in subjects.iter().zip(sets) {
                        self.satisfy(*subject, set);
                    }
                    *next
                }
            };
            match next {
                StateRef::Accept => return false,
                StateRef::Reject => return true,
                StateRef::State(next) => at = next,
            }
        }
    }

    fn block(&mut self, block: &Block) -> bool {
        for stmt in &block.stmts {
            let done = match &stmt.kind {
                StmtKind::Eval(call) => self.call(*call),
                StmtKind::Block(inner) => self.block(inner),
                StmtKind::If {
                    then, otherwise, ..
                } => {
                    let then = if self.random.once_in(2) {
                        then
                    } else {
                        otherwise
                    };
                    self.block(then)
                }
                _ => false,
            };
            if done {
                return true;
            }
        }
        false
    }

    fn call(&mut self, call: Handle<Expr>) -> bool {
        let program = self.program;
        let ExprKind::Call {
            callee,
            args,
            type_args,
        } = &program.exprs[call].kind
        else {
            return false;
        };
        let place = args.iter().find_map(|arg| match arg {
            Arg::Place(place) => Some(*place),
            _ => None,
        });
        match callee {
            Callee::Parser(parser) => return self.parser(*parser),
            Callee::Packet(PacketOp::Extract) => match (place, type_args.first()) {
                (Some(place), _) => self.extract(place),
                (None, Some(ty)) => {
                    let width = program.width(*ty).unwrap_or(0);
                    self.draw(width);
                }
                _ => {}
            },
            Callee::Packet(PacketOp::ExtractVarbit) => {
                if let Some(place) = place {
                    self.extract(place);
                    let bytes = self.random.below(6) as u32;
                    self.draw(bytes * 8);
                }
            }
            Callee::Packet(PacketOp::Advance) => {
                let bits = args.iter().find_map(|arg| match arg {
                    Arg::In(bits) => self.constant(*bits),
                    _ => None,
                });
                let bits = bits.and_then(|bits| u32::try_from(bits).ok());
                self.draw(bits.unwrap_or(8).min(512));
            }
            _ => {}
        }
        self.bits.len() > LONGEST * 8
    }

    fn extract(&mut self, place: Handle<Expr>) {
        let program = self.program;
        let at = self.bits.len();
        if let Some(name) = self.name(place) {
            self.headers.insert(name, at);
        }
        if let ExprKind::StackNext(stack) = program.exprs[place].kind
            && let Some(stack) = self.name(stack)
        {
            let element = self.elements.entry(stack.clone()).or_default();
            self.headers.insert(format!("{stack}[{element}]"), at);
            *element += 1;
        }
        let ty = program.resolve(program.exprs[place].ty);
        match &program.types[ty] {
            Type::Header(fields) => {
                for field in &fields.fields {
                    self.draw(program.width(field.ty).unwrap_or(0));
                }
            }
            _ => self.draw(program.width(ty).unwrap_or(0)),
        }
    }

    /// Draws a field behind what is there.
    fn draw(&mut self, width: u32) {
        if width == 0 {
            return;
        }
        let value = self.values.draw(self.random, width);
        let above = value.len() as u32 * 8 - width;
        for at in above..above + width {
            let drawn = value[at as usize / 8] >> (7 - at % 8) & 1 == 1;
            let here = self.bits.len();
            self.bits
                .push(self.ahead.get(&here).copied().unwrap_or(drawn));
        }
    }

    /// Makes a subject of a select be in a set, where it is known where it lies.
    fn satisfy(&mut self, subject: Handle<Expr>, set: &KeySet) {
        let (value, mask) = match set {
            KeySet::Value(value) | KeySet::Range(value, _) => (self.constant(*value), None),
            KeySet::Mask(value, mask) => (self.constant(*value), self.constant(*mask)),
            KeySet::Any | KeySet::ValueSet(_) => return,
        };
        let (Some(value), Some((at, width))) = (value, self.location(subject)) else {
            return;
        };
        for bit in 0..width {
            let matters = mask.as_ref().is_none_or(|mask| mask.bit(u64::from(bit)));
            if matters {
                self.set(at + (width - 1 - bit) as usize, value.bit(u64::from(bit)));
            }
        }
    }

    fn set(&mut self, at: usize, value: bool) {
        match self.bits.get_mut(at) {
            Some(bit) => *bit = value,
            None => {
                self.ahead.insert(at, value);
            }
        }
    }

    /// First bit and width of an expression that stands for bits of the packet.
    fn location(&self, expr: Handle<Expr>) -> Option<(usize, u32)> {
        let program = self.program;
        let width = program.width(program.exprs[expr].ty)?;
        match &program.exprs[expr].kind {
            ExprKind::Field(header, index) => {
                let at = *self.headers.get(&self.name(*header)?)?;
                let ty = program.resolve(program.exprs[*header].ty);
                let Type::Header(fields) = &program.types[ty] else {
                    return None;
                };
                let before = fields.fields.iter().take(*index as usize);
                let before = before
                    .map(|field| program.width(field.ty).unwrap_or(0))
                    .sum::<u32>();
                Some((at + before as usize, width))
            }
            ExprKind::Slice { base, hi, lo } => {
                let (at, of) = self.location(*base)?;
                Some((at + of.checked_sub(1 + hi)? as usize, hi - lo + 1))
            }
            ExprKind::Cast(inner) => {
                let (at, of) = self.location(*inner)?;
                let skipped = of.saturating_sub(width);
                Some((at + skipped as usize, of - skipped))
            }
            ExprKind::Call {
                callee: Callee::Packet(PacketOp::Lookahead),
                ..
            } => Some((self.bits.len(), width)),
            _ => None,
        }
    }

    /// What tells one place of headers from another.
    fn name(&self, place: Handle<Expr>) -> Option<String> {
        Some(match &self.program.exprs[place].kind {
            ExprKind::Var(var) => format!("{var:?}"),
            ExprKind::Field(of, index) => format!("{}.{index}", self.name(*of)?),
            ExprKind::Index(of, index) => {
                format!("{}[{}]", self.name(*of)?, self.constant(*index)?)
            }
            ExprKind::StackNext(of) | ExprKind::StackLast(of) => {
                format!("{}[last]", self.name(*of)?)
            }
            ExprKind::Cast(of) => self.name(*of)?,
            _ => return None,
        })
    }

    fn constant(&self, expr: Handle<Expr>) -> Option<BigInt> {
        match &self.program.exprs[expr].kind {
            ExprKind::Const(Const::Int(value)) => Some(value.clone()),
            ExprKind::Const(Const::Bool(value)) => Some(BigInt::from(u8::from(*value))),
            ExprKind::Cast(inner) => self.constant(*inner),
            _ => None,
        }
    }
}
