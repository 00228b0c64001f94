//! The architectures: which blocks run in which order, and what becomes of the packet in between.
//!
//! In: a packet with its port. Out: transmitted packets, digests, drops. Invariant: every packet and every copy ends
//! in a transmission, a drop, or another pass, and passes are limited.

mod pna;
mod v1model;

use super::interp::{Lower, Run, Slot, Stop};
use super::native::{Fate, Native, Passage, v1model_given};
use super::outputs::{Digest, DropReason};
use super::trace::{Event, Verdict};
use super::{Architecture, Config, LoadError, layout};
use crate::ir::{Control, Handle, Package, PackageArg, Param, Parser, Program, Type};

pub(crate) use pna::Pna;
pub(crate) use v1model::V1Model;

/// A clone that the program asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CloneIntent {
    pub session: u32,
    pub list: Option<u32>,
}

/// What the program asked the architecture for during one pass; the last request of a kind counts.
#[derive(Debug, Default)]
pub(crate) struct Intents {
    pub clone_ingress: Option<CloneIntent>,
    pub clone_egress: Option<CloneIntent>,
    pub resubmit: Option<Option<u32>>,
    pub recirculate: Option<Option<u32>>,
    pub truncate: Option<usize>,
    pub drop: bool,
    pub port: Option<u32>,
    pub digest: Option<Digest>,
    pub checksum_error: bool,
    /// Whether anything else here may differ from what a packet begins with.
    pub used: bool,
    mirrors: Vec<(u32, u32)>,
}

impl Intents {
    /// Requests a mirrored copy; one per slot.
    pub fn mirror(&mut self, slot: u32, session: u32) {
        self.mirrors.retain(|&(known, _)| known != slot);
        self.mirrors.push((slot, session));
    }

    /// Whether anything beyond sending and dropping was asked for.
    pub fn asked(&self) -> bool {
        self.clone_ingress.is_some()
            || self.clone_egress.is_some()
            || self.resubmit.is_some()
            || self.recirculate.is_some()
            || self.truncate.is_some()
            || self.digest.is_some()
            || !self.mirrors.is_empty()
    }

    fn clear(&mut self) {
        let mut mirrors = std::mem::take(&mut self.mirrors);
        mirrors.clear();
        *self = Self {
            mirrors,
            used: self.used,
            ..Self::default()
        };
    }
}

/// Metadata that survives into another pass: slots with their values.
pub(crate) type Kept = Vec<(Slot, Vec<u128>)>;

/// Work that a pass leaves for later.
#[derive(Debug)]
pub(crate) enum Job {
    /// From the parser on.
    Ingress {
        packet: Vec<u8>,
        kind: u32,
        kept: Kept,
    },
    /// Parse, then egress: a clone made in ingress.
    Cloned {
        packet: Vec<u8>,
        copy: Copy,
        kept: Kept,
    },
    /// Egress with the headers at hand.
    Egress {
        packet: Vec<u8>,
        cursor: usize,
        slots: Vec<u128>,
        copy: Copy,
    },
}

/// Where a packet goes in egress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    pub port: u32,
    pub instance: u32,
    pub kind: u32,
    pub truncate: Option<usize>,
}

/// A loaded architecture.
pub(crate) enum Arch {
    V1Model(Box<V1Model>),
    Pna(Box<Pna>),
}

impl Arch {
    /// Binds the package's blocks and lowers them.
    pub fn load(
        kind: Architecture,
        program: &Program,
        package: &Package,
        config: &Config,
        lower: &mut Lower<'_>,
    ) -> Result<Self, LoadError> {
        let blocks = Blocks { program, package };
        Ok(match kind {
            Architecture::V1Model => {
                Self::V1Model(Box::new(V1Model::load(&blocks, config, lower)?))
            }
            Architecture::Pna => Self::Pna(Box::new(Pna::load(&blocks, lower)?)),
        })
    }

    /// Which one it is.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::V1Model(_) => Architecture::V1Model,
            Self::Pna(_) => Architecture::Pna,
        }
    }

    /// Runs a packet to completion by the interpreter.
    pub fn run(&self, run: &mut Run<'_, '_>, port: u32, packet: &[u8]) {
        run.state.packet.clear();
        run.state.packet.extend_from_slice(packet);
        match self {
            Self::V1Model(arch) => arch.first(run, port),
            Self::Pna(arch) => arch.pass(run, port, 0),
        }
        self.rest(run, port);
    }

    /// What machine code is told of a packet that has just come in.
    pub fn given(&self, run: &Run<'_, '_>, port: u32) -> [u64; 6] {
        match self {
            Self::V1Model(_) => v1model_given(port, run.now.0),
            Self::Pna(arch) => arch.given(run, port, 0),
        }
    }

    /// Runs a packet to completion by machine code, which was told what is given to packets of its port.
    #[inline]
    pub fn run_native<'p>(
        &self,
        run: &mut Run<'_, 'p>,
        (native, passage): (&Native, &mut Passage<'_>),
        port: u32,
        packet: &'p [u8],
    ) {
        run.begin_machine();
        let fate = native.run(run, passage, Some(packet));
        if fate != Fate::Sent || !run.state.queue.is_empty() {
            self.conclude(run, port, fate);
        }
    }

    /// What follows the first pass of a packet, which machine code ran.
    pub fn conclude(&self, run: &mut Run<'_, '_>, port: u32, fate: Fate) {
        match self {
            Self::V1Model(arch) => arch.conclude(run, fate),
            Self::Pna(arch) => arch.conclude(run, fate),
        }
        self.rest(run, port);
    }

    /// What the passes so far left to do.
    fn rest(&self, run: &mut Run<'_, '_>, port: u32) {
        match self {
            Self::V1Model(arch) => arch.rest(run),
            Self::Pna(arch) => arch.rest(run, port),
        }
    }
}

/// A value region that blocks share.
#[derive(Clone, Copy, Debug)]
struct Region {
    slot: Slot,
    slots: u32,
}

/// The blocks of a package.
struct Blocks<'p> {
    program: &'p Program,
    package: &'p Package,
}

impl<'p> Blocks<'p> {
    fn parser(
        &self,
        index: usize,
        name: &'static str,
    ) -> Result<(Handle<Parser>, &'p [Param]), LoadError> {
        match self.package.args.get(index) {
            Some((_, PackageArg::Parser(handle))) => {
                Ok((*handle, &self.program.parsers[*handle].params))
            }
            _ => Err(LoadError::MissingBlock(name)),
        }
    }

    fn control(
        &self,
        index: usize,
        name: &'static str,
    ) -> Result<(Handle<Control>, &'p [Param]), LoadError> {
        match self.package.args.get(index) {
            Some((_, PackageArg::Control(handle))) => {
                Ok((*handle, &self.program.controls[*handle].params))
            }
            _ => Err(LoadError::MissingBlock(name)),
        }
    }

    fn param(
        &self,
        params: &'p [Param],
        block: &str,
        index: usize,
    ) -> Result<&'p Param, LoadError> {
        params.get(index).ok_or_else(|| LoadError::BlockParameter {
            block: block.to_owned(),
            index,
        })
    }

    /// A region for the values of a parameter.
    fn region(&self, lower: &mut Lower<'_>, param: &Param) -> Region {
        let slots = layout::slots(self.program, self.program.vars[param.var].ty);
        Region {
            slot: lower.alloc(slots),
            slots,
        }
    }

    /// Binds parameters of a block to regions, by position.
    fn bind(
        &self,
        lower: &mut Lower<'_>,
        params: &'p [Param],
        block: &str,
        regions: &[(usize, Region)],
    ) -> Result<(), LoadError> {
        for &(index, region) in regions {
            let param = self.param(params, block, index)?;
            if layout::slots(self.program, self.program.vars[param.var].ty) != region.slots {
                return Err(LoadError::BlockParameter {
                    block: block.to_owned(),
                    index,
                });
            }
            lower.bind(param.var, region.slot);
        }
        Ok(())
    }

    /// The slot of a field of a metadata parameter; a slot of its own where the type has no such field.
    fn field(&self, lower: &mut Lower<'_>, param: &Param, region: Region, name: &str) -> Slot {
        let parts = layout::parts(self.program, self.program.vars[param.var].ty);
        match parts.iter().find(|(_, _, field)| field == name) {
            Some((offset, ..)) => region.slot + offset,
            None => lower.alloc(1),
        }
    }

    /// The type of a field of a metadata parameter.
    fn field_type(&self, param: &Param, name: &str) -> Option<&'p Type> {
        let parts = layout::parts(self.program, self.program.vars[param.var].ty);
        let (_, ty, _) = parts.iter().find(|(_, _, field)| field == name)?;
        Some(&self.program.types[self.program.resolve(*ty)])
    }
}

impl<'r> Run<'r, '_> {
    /// The machine code, unless someone watches the steps.
    fn native(&self) -> Option<&'r Native> {
        self.machine
            .native
            .as_ref()
            .filter(|_| self.tracer.is_none() && !self.state.steps.watches())
    }
}

/// Steps that both architectures share.
impl Run<'_, '_> {
    /// A fresh pass: values zero, nothing parsed, nothing asked for.
    fn begin(&mut self) {
        self.state.slots.fill(0);
        self.state.steps.pass();
        self.begin_machine();
        self.state.intents.used = true;
    }

    /// What machine code needs of a fresh pass: it sees to the values itself.
    pub(crate) fn begin_machine(&mut self) {
        self.state.cursor = 0;
        if std::mem::take(&mut self.state.intents.used) {
            self.state.intents.clear();
        }
    }

    /// Counts a pass; false when there were too many.
    fn pass(&mut self) -> bool {
        self.state.passes += 1;
        self.state.passes <= self.machine.config.max_passes
    }

    fn drop_packet(&mut self, reason: DropReason) {
        self.out.drops.push(reason);
        self.trace(&Event::Verdict(Verdict::Drop(reason)));
    }

    /// Runs a control to its end or `exit`; `Err` when the packet is lost.
    fn run_control(&mut self, index: u32) -> Result<(), DropReason> {
        match self.control(index) {
            Err(Stop::Drop(reason)) => Err(reason),
            _ => Ok(()),
        }
    }

    /// Runs the parser; the error it ended with.
    fn run_parser(&mut self, index: u32) -> Result<u32, DropReason> {
        let parsed = self.parser(index);
        if parsed.is_err() {
            self.state.steps.leave();
        }
        match parsed {
            Err(Stop::Drop(reason)) => Err(reason),
            Err(Stop::ParserError(error)) => {
                if self.tracer.is_some() {
                    let name = self.machine.error_name(error).to_owned();
                    self.trace(&Event::ParserError { error: &name });
                }
                Ok(error)
            }
            _ => Ok(0),
        }
    }

    /// Deparses: headers into the writer; the payload follows them.
    fn deparse(&mut self, deparser: u32) -> Result<(), DropReason> {
        self.state.writer.clear();
        self.run_control(deparser)
    }

    /// The deparsed packet as bytes of its own, cut to `limit`.
    fn deparsed(&self, limit: Option<usize>) -> Vec<u8> {
        let mut bytes = [self.state.writer.bytes(), self.state.payload()].concat();
        bytes.truncate(limit.unwrap_or(usize::MAX));
        bytes
    }

    /// Sends the deparsed packet.
    fn transmit(&mut self, port: u32, limit: Option<usize>) {
        let limit = limit.unwrap_or(usize::MAX);
        let head = self.state.writer.bytes();
        let head = head.get(..limit.min(head.len())).unwrap_or_default();
        let payload = self.state.payload();
        let payload = payload
            .get(..(limit - head.len()).min(payload.len()))
            .unwrap_or_default();
        self.out.push(port, head, payload);
        let length = head.len() + payload.len();
        self.trace(&Event::Verdict(Verdict::Transmit { port, length }));
    }
}
