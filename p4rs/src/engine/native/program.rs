//! The machine code of a whole pass: the blocks of an architecture in their order, and what becomes of the packet.
//!
//! In: a loaded machine. Out: one function. Invariant: whatever the program asks beyond sending or dropping the
//! packet is left to the architecture, with every slot in memory.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value, types};
use std::mem::offset_of;

use super::super::arch::{Arch, Pna, V1Model};
use super::super::bits;
use super::super::interp::code::Slot;
use super::super::outputs::DropReason;
use super::Unsupported;
use super::build::{Build, DROPPED, Exits, Falls, PORT, SENT, UNREACHABLE, Val};
use super::context::{Context, status};
use super::part::Kinds;

/// What a pass returns, unless it drops the packet.
pub(super) mod outcome {
    /// The headers are emitted; the packet leaves by the context's `egress`.
    pub const SEND: u32 = 0;
    /// The architecture decides.
    pub const DECIDE: u32 = 1;
    /// v1model: the architecture goes on behind the egress control.
    pub const EGRESS: u32 = 2;
    /// The packet is of another kind than this code is for: nothing was done.
    pub const ANEW: u32 = 3;
    /// A scout waits for memory.
    pub const WAITS: u32 = 4;
}

/// Slots that the architecture sets, with their widths.
pub(super) fn given(arch: &Arch) -> Vec<(Slot, u32)> {
    match arch {
        Arch::Pna(pna) => pna
            .inputs
            .iter()
            .flat_map(|input| {
                [
                    input.direction,
                    input.pass,
                    input.loopedback,
                    input.port,
                    input.timestamp,
                    input.parser_error,
                ]
            })
            .map(|slot| (slot, 64))
            .collect(),
        Arch::V1Model(arch) => {
            let std = &arch.std;
            [
                std.ingress_port,
                std.egress_spec,
                std.egress_port,
                std.instance_type,
                std.packet_length,
                std.enq_timestamp,
                std.ingress_timestamp,
                std.egress_timestamp,
                std.mcast_grp,
                std.egress_rid,
                std.checksum_error,
                std.parser_error,
            ]
            .map(|slot| (slot, 64))
            .to_vec()
        }
    }
}

impl Build<'_, '_> {
    /// The pass of this machine's architecture; false where there are no packets that this part is for.
    pub fn pass(&mut self, emits: bool) -> Result<bool, Unsupported> {
        let machine = self.machine;
        match &machine.arch {
            Arch::Pna(pna) => self.pna(pna, emits),
            Arch::V1Model(arch) => self.v1model(arch, emits),
        }
    }

    fn given(&mut self, index: usize) -> Val {
        Val {
            value: self.load_fixed(offset_of!(Context, given) + 8 * index),
            wide: false,
        }
    }

    fn leave(&mut self, code: u32) {
        let code = self.b.ins().iconst(types::I32, i64::from(code as i32));
        self.b.ins().return_(&[code]);
    }

    /// A block of the architecture; `after` receives the word that says how it ended.
    fn block(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<Falls, Unsupported>,
    ) -> Result<Block, Unsupported> {
        let (ret, after) = (self.b.create_block(), self.status_block());
        self.exits = Exits {
            ret,
            stop: after,
            turn: None,
        };
        if body(self)? == Falls::Through {
            self.meet();
            self.jump(ret);
        }
        self.enter(ret);
        let fine = self.b.ins().iconst(types::I32, 0);
        self.go(after, &[fine.into()]);
        self.enter(after);
        Ok(after)
    }

    /// Ends the pass when the packet is lost.
    fn lost(&mut self, after: Block) -> Value {
        let word = self.b.block_params(after)[0];
        let (lost, on) = (self.b.create_block(), self.b.create_block());
        let dropped = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, word, 0);
        self.brif(dropped, lost, &[], on, &[]);
        self.enter(lost);
        self.b.ins().return_(&[word]);
        self.enter(on);
        word
    }

    /// A control, and what follows it: for all ways together, or for each one that is hot.
    fn control_then(
        &mut self,
        index: u32,
        rest: impl Fn(&mut Self) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        self.control_apart(index)?;
        if self.is_hot() {
            return self.each_way(rest);
        }
        self.meet();
        rest(self)
    }

    /// A control, behind which ways may be kept apart still.
    fn control_apart(&mut self, index: u32) -> Result<(), Unsupported> {
        let code = self.code;
        let Some(Some((_, body))) = code.controls.get(index as usize) else {
            return Ok(());
        };
        if self.is_hot() {
            return self.hot_control(body);
        }
        if self.splits() {
            let (ret, stop) = (self.b.create_block(), self.status_block());
            self.exits = Exits {
                ret,
                stop,
                turn: None,
            };
            let mut ends = Vec::new();
            let falls = self.stmts(body)?;
            self.ends(falls, &mut ends);
            ends.extend(self.ways.contains_key(&ret).then_some(ret));
            if self.ways.contains_key(&stop) {
                self.enter(stop);
                self.lost(stop);
                self.ends(Falls::Through, &mut ends);
            }
            if self.regroup(ends) == Falls::Away {
                self.nowhere();
            }
            return Ok(());
        }
        let after = self.block(|build| build.stmts(body))?;
        self.lost(after);
        Ok(())
    }

    /// Runs the parser; the error it ended with.
    fn parsed(&mut self, index: u32) -> Result<Val, Unsupported> {
        let after = self.block(|build| build.parser(index))?;
        let word = self.lost(after);
        let error = self.b.ins().iadd_imm_s(word, -i64::from(status::ERROR));
        let raised = self.b.ins().icmp_imm_u(
            IntCC::UnsignedGreaterThanOrEqual,
            word,
            i64::from(status::ERROR),
        );
        let none = self.b.ins().iconst(types::I32, 0);
        let error = self.b.ins().select(raised, error, none);
        Ok(Val {
            value: self.b.ins().uextend(types::I64, error),
            wide: false,
        })
    }

    /// Leaves with everything in memory when the condition holds.
    fn hand_over(&mut self, condition: Value, code: u32) {
        if self.number(condition) == Some(0) {
            return;
        }
        let (over, on) = (self.b.create_block(), self.b.create_block());
        self.brif(condition, over, &[], on, &[]);
        self.b.set_cold_block(over);
        self.enter(over);
        if self.is_hot() {
            self.end_anew();
        } else {
            self.spill();
            self.leave(code);
        }
        self.enter(on);
    }

    /// Leaves with a drop when the condition holds; false where it always does, and the way has ended.
    fn drop_if(&mut self, condition: Value, reason: DropReason) -> Result<bool, Unsupported> {
        let (lost, on) = (self.b.create_block(), self.b.create_block());
        self.brif(condition, lost, &[], on, &[]);
        self.enter(lost);
        self.finish_way()?;
        self.leave(status::DROP | reason as u32);
        self.enter(on);
        let ends = self.is_hot() && self.facts.dead;
        if ends {
            self.b.ins().trap(UNREACHABLE);
        }
        Ok(!ends)
    }

    /// Whether something was asked of the architecture that only the interpreter asks for.
    fn special(&mut self) -> Value {
        if self.sites.is_empty() && !self.interpreted_tables {
            return self.always(false);
        }
        let special = self.load_context(types::I64, offset_of!(Context, special));
        self.b.ins().icmp_imm_u(IntCC::NotEqual, special, 0)
    }

    /// Emits the headers and leaves.
    fn send(&mut self, deparser: u32) -> Result<(), Unsupported> {
        if self.is_scout() {
            self.finish_way()?;
            self.leave(outcome::SEND);
            return Ok(());
        }
        self.control_then(deparser, |build| {
            build.finish_way()?;
            build.keep_cursor();
            let written = build.written();
            build.store_context(written, offset_of!(Context, head_len));
            build.leave(outcome::SEND);
            Ok(())
        })
    }

    /// A pass from its beginning: parses, and goes on with the error. For the usual kinds of packets where everything that
    /// follows emits them; other packets begin anew in the code for all.
    fn each_kind(
        &mut self,
        parser: u32,
        emits: bool,
        begin: &dyn Fn(&mut Self),
        rest: &dyn Fn(&mut Self, Val) -> Result<(), Unsupported>,
    ) -> Result<bool, Unsupported> {
        self.clear_all();
        begin(self);
        if self.is_hot() {
            for way in self.hot_parser(parser)? {
                self.enter(way);
                let none = self.constant(0);
                rest(self, none)?;
            }
            self.room = self.hot.as_ref().map_or(0, |hot| hot.room);
            self.end_hot();
            self.leave(outcome::ANEW);
            return Ok(true);
        }
        if self.part == Kinds::Usual {
            let usual = if emits { self.usual(parser)? } else { None };
            let Some((kinds, other)) = usual else {
                return Ok(false);
            };
            let mut most = 0;
            for kind in kinds {
                self.enter(kind);
                let none = self.constant(0);
                self.split = true;
                rest(self, none)?;
                self.split = false;
                most = most.max(std::mem::take(&mut self.room));
            }
            self.room = most;
            self.enter(other);
            self.leave(outcome::ANEW);
            return Ok(true);
        }
        let error = self.parsed(parser)?;
        rest(self, error)?;
        Ok(true)
    }

    fn pna(&mut self, pna: &Pna, emits: bool) -> Result<bool, Unsupported> {
        let given = [0, 1, 2, 3].map(|index| self.given(index));
        let begin = |build: &mut Self| {
            let [direction, pass, port, now] = given;
            for input in &pna.inputs {
                build.set(input.direction, direction);
                build.set(input.pass, pass);
                build.clear(input.loopedback, 1);
                build.set(input.port, port);
                build.set(input.timestamp, now);
            }
        };
        self.each_kind(pna.parser, emits, &begin, &|build, error| {
            build.pna_parsed(pna, emits, error)
        })
    }

    fn pna_parsed(&mut self, pna: &Pna, emits: bool, error: Val) -> Result<(), Unsupported> {
        for input in &pna.inputs {
            self.set(input.parser_error, error);
        }
        self.control_then(pna.pre, |build| {
            build.control_apart(pna.main)?;
            build.each_way(|build| build.pna_done(pna, emits))
        })
    }

    fn pna_done(&mut self, pna: &Pna, emits: bool) -> Result<(), Unsupported> {
        if !emits {
            self.spill();
            self.leave(outcome::DECIDE);
            return Ok(());
        }
        let special = self.special();
        self.hand_over(special, outcome::DECIDE);
        let dropped = self.decision(DROPPED)?;
        let zero = self.iconst(0);
        let dropped = self.compare_words(IntCC::NotEqual, dropped, zero);
        if !self.drop_if(dropped, DropReason::Ingress)? {
            return Ok(());
        }
        let sent = self.decision(SENT)?;
        let nowhere = self.is(sent, 0);
        if !self.drop_if(nowhere, DropReason::NoDestination)? {
            return Ok(());
        }
        let port = self.decision(PORT)?;
        self.store_context(port, offset_of!(Context, egress));
        self.send(pna.deparser)
    }

    fn v1model(&mut self, arch: &V1Model, emits: bool) -> Result<bool, Unsupported> {
        let std = &arch.std;
        let port = self.given(2);
        let port = self.and_mask(port, arch.port_mask);
        let length = self.b.ins().ushr_imm_u(self.bits, 3);
        let length = self.mask_to(
            Val {
                value: length,
                wide: false,
            },
            32,
        );
        let micros = self.given(3);
        let begin = |build: &mut Self| {
            build.set(std.ingress_port, port);
            build.set(std.packet_length, length);
            build.set(std.ingress_timestamp, micros);
        };
        self.each_kind(arch.parser, emits, &begin, &|build, error| {
            build.v1model_parsed(arch, emits, (error, length))
        })
    }

    fn v1model_parsed(
        &mut self,
        arch: &V1Model,
        emits: bool,
        (error, length): (Val, Val),
    ) -> Result<(), Unsupported> {
        let std = &arch.std;
        self.set(std.parser_error, error);
        self.control_then(arch.verify, |build| {
            if !build.is_hot() {
                let wrong = build.load_context(types::I64, offset_of!(Context, checksum_error));
                let wrong = build.b.ins().icmp_imm_u(IntCC::NotEqual, wrong, 0);
                let (one, before) = (build.constant(1), build.get(std.checksum_error));
                let flag = build.choose(wrong, one, before);
                build.set(std.checksum_error, flag);
            }
            build.control_apart(arch.ingress)?;
            build.each_way(|build| build.v1model_queued(arch, emits, length))
        })
    }

    fn v1model_queued(
        &mut self,
        arch: &V1Model,
        emits: bool,
        length: Val,
    ) -> Result<(), Unsupported> {
        let std = &arch.std;
        let special = self.special();
        let group = self.get(std.mcast_grp);
        let group = self.truth(group);
        let over = self.one_holds(special, group);
        self.hand_over(over, outcome::DECIDE);
        let port = self.get(std.egress_spec);
        let drop = self.constant(arch.drop_port);
        let dropped = self.equal(port, drop);
        if !self.drop_if(dropped, DropReason::Ingress)? {
            return Ok(());
        }

        let port = self.mask_to(port, 32);
        self.store_context(port.value, offset_of!(Context, egress));
        let masked = self.and_mask(port, arch.port_mask);
        self.set(std.egress_port, masked);
        let unset = self.constant((arch.drop_port + 1) & arch.port_mask);
        self.set(std.egress_spec, unset);
        self.clear(std.egress_rid, 1);
        self.set(std.packet_length, length);
        let [queued, left] = [4, 5].map(|index| self.given(index));
        self.set(std.enq_timestamp, queued);
        self.set(std.egress_timestamp, left);
        self.control_then(arch.egress, |build| build.v1model_left(arch, emits))
    }

    fn v1model_left(&mut self, arch: &V1Model, emits: bool) -> Result<(), Unsupported> {
        if !emits {
            self.spill();
            self.leave(outcome::EGRESS);
            return Ok(());
        }
        let special = self.special();
        self.hand_over(special, outcome::EGRESS);
        let port = self.get(arch.std.egress_spec);
        let drop = self.constant(arch.drop_port);
        let dropped = self.equal(port, drop);
        if !self.drop_if(dropped, DropReason::Egress)? {
            return Ok(());
        }
        self.control_then(arch.compute, |build| build.send(arch.deparser))
    }
}

/// The values that the architecture gives a PNA pass.
pub(crate) fn pna_given(direction: u128, pass: u128, port: u32, now: u64) -> [u64; 6] {
    [direction as u64, pass as u64, u64::from(port), now, 0, 0]
}

/// The values that the architecture gives a v1model pass, times in nanoseconds.
pub(crate) fn v1model_given(port: u32, now: u64) -> [u64; 6] {
    let micros = u128::from(now / 1000);
    let cut = |width| (micros & bits::mask(width)) as u64;
    [0, 0, u64::from(port), cut(48), cut(32), cut(48)]
}
