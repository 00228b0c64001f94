//! Machine code of packet, header and extern operations.
//!
//! In: [`Prim`]s. Out: loads from the packet, stores to the outgoing headers, sums, calls of the runtime.
//! Invariant: no load lies outside the packet; the outgoing headers fit the room counted in [`Build::room`].

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Type, Value, types};
use std::mem::offset_of;

use super::super::externs::HashAlgorithm;
use super::super::interp::code::{
    Agg, Checksum, ChecksumAction, Dest, Ex, Extern, Operand, Prim, Shape, Slot,
};
use super::Unsupported;
use super::build::{Build, DROPPED, PORT, SENT, Val};
use super::context::{Context, Site, status};
use super::runtime::algorithm;
use super::support;

/// Where in the packet a field of a header was read: where the header begins, its bytes, and the field's first bit and width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    base: Value,
    end: u32,
    at: u32,
    width: u32,
}

impl Build<'_, '_> {
    /// An operation; the value of those that have one.
    pub fn prim(&mut self, prim: &Prim) -> Result<Val, Unsupported> {
        if !support::prim(prim) {
            let status = self.interpret(Site::Prim(prim));
            self.check(status);
            return Ok(self.scalar());
        }
        match prim {
            Prim::Extern(op) => return self.external(op),
            Prim::Extract { dest, shape, .. } => self.extract(dest.as_ref(), shape)?,
            Prim::Advance(Ex::Const(bits)) => {
                self.take(*bits as u32);
            }
            Prim::Emit { value, headers } => self.emit(value, headers)?,
            Prim::SetValid(dest) => {
                let slot = support::dest(dest).ok_or(Unsupported("a header"))?;
                let one = self.constant(1);
                self.set(slot, one);
            }
            Prim::SetInvalid { dest, headers } => {
                let slot = support::dest(dest).ok_or(Unsupported("a header"))?;
                for &(first, slots) in headers {
                    self.clear(slot + first, slots);
                }
            }
            Prim::Verify(condition, error) => {
                let (condition, error) = (self.cond(condition)?, self.ex(error)?);
                let error = self.narrow(error);
                let error = self.b.ins().ireduce(types::I32, error);
                let word = self.b.ins().iadd_imm_s(error, i64::from(status::ERROR));
                let next = self.b.create_block();
                let stop = self.exits.stop;
                self.brif(condition, next, &[], stop, &[BlockArg::Value(word)]);
                self.enter(next);
            }
            Prim::Advance(_) | Prim::Shift { .. } => return Err(Unsupported("an operation")),
        }
        Ok(self.constant(0))
    }

    /// Takes bits from the packet, or ends the parser; where they begin, in bits.
    fn take(&mut self, bits: u32) -> Value {
        let from = self.cursor();
        let to = self.plus(from, u64::from(bits));
        let short = self.b.ins().icmp(IntCC::UnsignedGreaterThan, to, self.bits);
        let error = self.code.errors.packet_too_short;
        self.stop_if(short, status::ERROR + error);
        self.set_cursor(to);
        from
    }

    fn extract(&mut self, dest: Option<&Dest>, shape: &Shape) -> Result<(), Unsupported> {
        let from = self.take(shape.bits);
        let Some(dest) = dest else {
            return Ok(());
        };
        let slot = support::dest(dest).ok_or(Unsupported("a header"))?;
        let bytes = self.b.ins().ushr_imm_u(from, 3);
        let base = self.b.ins().iadd(self.packet, bytes);
        let one = self.constant(1);
        for header in &shape.headers {
            self.set(slot + header, one);
        }
        let mut at = 0;
        for leaf in &shape.leaves {
            let end = shape.bits / 8;
            let value = self.read((base, end), at, leaf.width);
            if !value.wide {
                self.origins.insert(
                    value.value,
                    Origin {
                        base,
                        end,
                        at,
                        width: leaf.width,
                    },
                );
            }
            self.set(slot + leaf.slot, value);
            at += leaf.width;
        }
        Ok(())
    }

    /// Bits of the packet from a byte-aligned place on, behind which there are at least so many bytes.
    fn read(&mut self, base: (Value, u32), at: u32, width: u32) -> Val {
        if width == 0 {
            return self.constant(0);
        }
        if width > 64 {
            let high = self.read(base, at, width - 64);
            let low = self.read(base, at + width - 64, 64);
            return Val {
                value: self.b.ins().iconcat(low.value, high.value),
                wide: true,
            };
        }
        let (first, last) = (at / 8, (at + width - 1) / 8);
        let bytes = last - first + 1;
        if bytes > 8 {
            let high = self.read(base, at, width - 32);
            let low = self.read(base, at + width - 32, 32);
            let high = self.b.ins().ishl_imm_u(high.value, 32);
            return Val {
                value: self.b.ins().bor(high, low.value),
                wide: false,
            };
        }
        let value = self.load_bytes(base, first, bytes);
        let below = bytes * 8 - at % 8 - width;
        let value = self.shift_right(Val { value, wide: false }, below);
        if at.is_multiple_of(8) && below + width == bytes * 8 {
            return value;
        }
        self.mask_to(value, width)
    }

    /// Up to eight bytes as a big-endian number.
    fn load_bytes(&mut self, (base, end): (Value, u32), first: u32, bytes: u32) -> Value {
        let flags = self.unchanged();
        if !bytes.is_power_of_two() && first + 8 <= end {
            // One word with what follows is less work than several pieces.
            let word = self.b.ins().load(types::I64, flags, base, first as i32);
            let word = self.b.ins().bswap(word);
            let rest = i64::from(64 - bytes * 8);
            return self.b.ins().ushr_imm_u(word, rest);
        }
        let mut at = first;
        let mut left = bytes;
        let mut value: Option<Value> = None;
        for (size, ty) in [
            (8, types::I64),
            (4, types::I32),
            (2, types::I16),
            (1, types::I8),
        ] {
            while left >= size {
                let loaded = self.b.ins().load(ty, flags, base, at as i32);
                let part = self.big_endian(loaded, ty);
                value = Some(match value {
                    None => part,
                    Some(before) => {
                        let before = self.b.ins().ishl_imm_u(before, i64::from(size * 8));
                        self.b.ins().bor(before, part)
                    }
                });
                at += size;
                left -= size;
            }
        }
        match value {
            Some(value) => value,
            None => self.iconst(0),
        }
    }

    fn big_endian(&mut self, value: Value, ty: Type) -> Value {
        let value = if ty == types::I8 {
            value
        } else {
            self.b.ins().bswap(value)
        };
        if ty == types::I64 {
            value
        } else {
            self.b.ins().uextend(types::I64, value)
        }
    }

    fn emit(&mut self, value: &Agg, headers: &[(u32, Shape)]) -> Result<(), Unsupported> {
        if self.in_loop() {
            return Err(Unsupported("`emit` in a loop"));
        }
        let end = |(at, shape): &(u32, Shape)| {
            let leaves = shape.leaves.iter().map(|leaf| at + leaf.slot + 1);
            leaves.max().unwrap_or(0).max(at + 1)
        };
        // What lies in slots is read where it is written.
        let (first, values) = match value {
            Agg::Place(place) => (support::fixed(place), Vec::new()),
            _ => {
                let slots = headers.iter().map(end).max().unwrap_or(0);
                (None, self.agg(value, slots)?)
            }
        };
        let get = |build: &mut Self, at: u32| match first {
            Some(first) => build.get(first + at),
            None => values[at as usize],
        };
        for (at, shape) in headers {
            let bytes = shape.bits / 8;
            self.facts.trail.room += bytes;
            self.room += bytes as usize;
            let valid = get(self, *at);
            let valid = self.truth(valid);
            if self.number(valid) == Some(0) {
                continue;
            }
            let (write, after) = (self.b.create_block(), self.b.create_block());
            self.brif(valid, write, &[], after, &[]);
            self.enter(write);
            let fields = shape.leaves.iter().map(|leaf| {
                let value = get(self, at + leaf.slot);
                // As it was read, even if it is known to be a number.
                let origin = first.map_or(Some(value.value), |first| {
                    self.facts.value_of(first + at + leaf.slot)
                });
                let origin = origin.and_then(|value| self.origins.get(&value).copied());
                // A wider field may have the same value.
                let origin = origin.filter(|origin| origin.width == leaf.width);
                (value, leaf.width, origin)
            });
            let fields: Vec<(Val, u32, Option<Origin>)> = fields.collect();
            let fields = self.together(&fields);
            let words = self.pack(&fields);
            let written = self.written();
            let head = self.b.use_var(self.head);
            let to = self.b.ins().iadd(head, written);
            self.store_words(&words, to, bytes);
            let written = self.plus(written, u64::from(bytes));
            self.set_written(written);
            self.jump(after);
            self.enter(after);
        }
        Ok(())
    }

    /// Fields of which some that lie side by side in the packet are read as one, as far as they go into one word.
    fn together(&mut self, fields: &[(Val, u32, Option<Origin>)]) -> Vec<(Val, u32)> {
        let mut made = Vec::with_capacity(fields.len());
        let (mut first, mut to) = (0, 0);
        while let Some(&(value, width, origin)) = fields.get(first) {
            let origin = origin.filter(|origin| origin.at.is_multiple_of(8) && to % 8 == 0);
            let (mut many, mut bits) = (1, width);
            if let Some(origin) = origin {
                let mut end = origin.at + width;
                for (i, (_, width, behind)) in fields.iter().enumerate().skip(first + 1) {
                    let behind = behind.is_some_and(|o| o.base == origin.base && o.at == end);
                    end += width;
                    if !behind || to % 64 + end - origin.at > 64 {
                        break;
                    }
                    if end.is_multiple_of(8) {
                        (many, bits) = (i - first + 1, end - origin.at);
                    }
                }
            }
            let field = match origin {
                Some(origin) if many > 1 => {
                    let value = self.load_bytes((origin.base, origin.end), origin.at / 8, bits / 8);
                    (Val { value, wide: false }, bits)
                }
                _ => (value, width),
            };
            made.push(field);
            to += bits;
            first += many;
        }
        made
    }

    /// An index that is out of range when it does not fit a word.
    pub fn index(&mut self, ex: &Ex) -> Result<Value, Unsupported> {
        let index = self.ex(ex)?;
        if !index.wide {
            return Ok(index.value);
        }
        let (low, high) = self.b.ins().isplit(index.value);
        let fits = self.b.ins().icmp_imm_u(IntCC::Equal, high, 0);
        let never = self.iconst(u64::MAX);
        Ok(self.b.ins().select(fits, low, never))
    }

    /// The packet's length in bytes, unless one is given.
    fn length(&mut self, given: Option<&Ex>) -> Result<Value, Unsupported> {
        match given {
            Some(ex) => {
                let value = self.ex(ex)?;
                Ok(self.narrow(value))
            }
            None => Ok(self.b.ins().ushr_imm_u(self.bits, 3)),
        }
    }

    fn out(&mut self, dest: Option<&Dest>, value: Val) -> Result<(), Unsupported> {
        match dest {
            Some(dest) => self.put(dest, value),
            None => Ok(()),
        }
    }

    fn external(&mut self, op: &Extern) -> Result<Val, Unsupported> {
        match op {
            Extern::Nothing => return Ok(self.constant(1)),
            Extern::Count {
                instance,
                index,
                length,
            } => {
                let index = self.index(index)?;
                let bytes = self.length(length.as_ref())?;
                self.count(*instance, index, bytes);
            }
            Extern::CountDirect { table, length } => {
                let bytes = self.length(length.as_ref())?;
                self.count_direct(*table, bytes);
            }
            Extern::RegisterRead { .. } | Extern::RegisterWrite { .. } => return self.register(op),
            Extern::Hash { .. } => return self.hash(op),
            Extern::SumClear(slot) => self.clear(*slot, 1),
            Extern::SumAdd(slot, data) => {
                let more = self.raw_sum(data)?;
                self.sum_up(*slot, more);
            }
            Extern::SumSubtract(slot, data) => {
                let (sum, most) = self.raw_sum(data)?;
                let sum = self.fold(sum, most);
                let inverted = self.b.ins().bxor_imm_u(sum, 0xffff);
                self.sum_up(*slot, (inverted, 0xffff));
            }
            Extern::SumGet(slot) => {
                let sum = self.get(*slot);
                let sum = self.narrow(sum);
                let value = self.b.ins().bxor_imm_u(sum, 0xffff);
                return Ok(Val { value, wide: false });
            }
            Extern::SumState(slot) => return Ok(self.get(*slot)),
            Extern::SumSetState(slot, value) => {
                let value = self.ex(value)?;
                let value = self.mask_to(value, 16);
                self.set(*slot, value);
            }
            Extern::MarkToDrop { port, group } => {
                let drop = self.constant(u128::from(self.machine.config.drop_port));
                self.set(*port, drop);
                self.clear(*group, 1);
            }
            Extern::Drop if self.is_hot() => {
                let (yes, no) = (self.iconst(1), self.iconst(0));
                self.decide(&[(DROPPED, yes), (SENT, no)]);
            }
            Extern::SendTo(port) if self.is_hot() => {
                let port = self.ex(port)?;
                let port = self.mask_to(port, 32);
                let (yes, no) = (self.iconst(1), self.iconst(0));
                self.decide(&[(DROPPED, no), (SENT, yes), (PORT, port.value)]);
            }
            Extern::AddEntry { .. } if self.is_hot() => self.begin_anew(),
            Extern::Drop => {
                let (yes, no) = (self.iconst(1), self.iconst(0));
                self.store_context(yes, offset_of!(Context, dropped));
                self.store_context(no, offset_of!(Context, sent));
            }
            Extern::SendTo(port) => {
                let port = self.ex(port)?;
                let port = self.mask_to(port, 32);
                let (yes, no) = (self.iconst(1), self.iconst(0));
                self.store_context(no, offset_of!(Context, dropped));
                self.store_context(yes, offset_of!(Context, sent));
                self.store_context(port.value, offset_of!(Context, port));
            }
            Extern::SetExpire(profile) => {
                let profile = self.index(profile)?;
                self.restart(Some(profile));
            }
            Extern::RestartTimer => self.restart(None),
            Extern::AddEntry {
                action,
                data,
                profile,
            } => return self.add_entry(*action, data, profile),
            Extern::Checksum(checksum) => self.checksum(checksum)?,
            _ => return Err(Unsupported("an extern")),
        }
        Ok(self.constant(0))
    }

    /// What is decided about the packet, on a way that is hot.
    fn decide(&mut self, decisions: &[(Slot, Value)]) {
        for &(place, value) in decisions {
            self.know(self.cursor_place() + place, value);
        }
    }

    fn hash(&mut self, op: &Extern) -> Result<Val, Unsupported> {
        let Extern::Hash {
            algorithm,
            base,
            max,
            data,
            dest,
            mask,
        } = op
        else {
            return Err(Unsupported("a hash"));
        };
        let hash = self.hashed(*algorithm, data)?;
        let value = match max {
            Some(max) => {
                let (base, max) = (self.ex(base)?, self.ex(max)?);
                let (base, max) = (self.narrow(base), self.narrow(max));
                let one = self.iconst(1);
                let max = self.b.ins().umax(max, one);
                let rest = self.b.ins().urem(hash, max);
                self.b.ins().iadd(rest, base)
            }
            None => hash,
        };
        let value = self.and_mask(Val { value, wide: false }, *mask);
        self.out(dest.as_ref(), value)?;
        Ok(value)
    }

    fn add_entry(
        &mut self,
        action: u16,
        data: &[(Operand, u32)],
        profile: &Ex,
    ) -> Result<Val, Unsupported> {
        // Once for each entry.
        if let Some(block) = self.b.current_block() {
            self.b.set_cold_block(block);
        }
        let words = self.words_of(data)?;
        let profile = self.index(profile)?;
        let at = self.in_memory(&words);
        let (action, count) = (
            self.iconst(u64::from(action)),
            self.iconst(words.len() as u64),
        );
        let args = [self.context, action, at, count, profile];
        let call = self.b.ins().call(self.imports.learn, &args);
        Ok(Val {
            value: self.b.inst_results(call)[0],
            wide: false,
        })
    }

    fn checksum(&mut self, checksum: &Checksum) -> Result<(), Unsupported> {
        let (work, after) = (self.b.create_block(), self.b.create_block());
        let condition = self.cond(&checksum.condition)?;
        self.brif(condition, work, &[], after, &[]);
        self.enter(work);
        if let ChecksumAction::Verify {
            guard: Some(header),
            ..
        } = &checksum.action
        {
            let header = support::fixed(header).ok_or(Unsupported("a header"))?;
            let header = self.get(header);
            let valid = self.truth(header);
            let more = self.b.create_block();
            self.brif(valid, more, &[], after, &[]);
            self.enter(more);
        }
        let value = self.checksum_value(checksum)?;
        let value = self.and_mask(value, checksum.mask);
        match &checksum.action {
            ChecksumAction::Verify { stored, .. } => {
                let stored = self.ex(stored)?;
                let same = self.equal(stored, value);
                let wrong = self.b.create_block();
                self.brif(same, after, &[], wrong, &[]);
                self.enter(wrong);
                if self.is_hot() {
                    self.end_anew();
                    self.enter(after);
                    return Ok(());
                }
                let yes = self.iconst(1);
                self.store_context(yes, offset_of!(Context, checksum_error));
            }
            ChecksumAction::Update(dest) => self.put(dest, value)?,
        }
        self.jump(after);
        self.enter(after);
        Ok(())
    }

    fn checksum_value(&mut self, checksum: &Checksum) -> Result<Val, Unsupported> {
        let value = if checksum.payload {
            let number = algorithm(checksum.algorithm).ok_or(Unsupported("a hash algorithm"))?;
            let number = self.iconst(number as u64);
            if self.is_scout() {
                self.begin_anew();
                return Ok(self.constant(0));
            }
            let guard = self.guarded(&checksum.data)?;
            let (at, _, bits) = self.packed(&checksum.data)?;
            let bits = self.iconst(u64::from(bits));
            let bits = match guard {
                None => bits,
                Some(valid) => {
                    let zero = self.iconst(0);
                    self.b.ins().select(valid, bits, zero)
                }
            };
            self.keep_cursor();
            let args = [self.context, number, at, bits];
            let call = self.b.ins().call(self.imports.payload_hash, &args);
            self.b.inst_results(call)[0]
        } else if checksum.algorithm == HashAlgorithm::Csum16 {
            let (sum, most) = self.raw_sum(&checksum.data)?;
            let sum = self.fold(sum, most);
            self.b.ins().bxor_imm_u(sum, 0xffff)
        } else {
            self.hashed(checksum.algorithm, &checksum.data)?
        };
        Ok(Val { value, wide: false })
    }
}
