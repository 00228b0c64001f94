//! Machine code that puts values of any width one behind the other: for headers, hashes, checksums and sums.
//!
//! In: values with their widths, [`Pack`]s. Out: big-endian words, bytes in memory, one's-complement sums.
//! Invariant: the bits are those that the interpreter's writer would have written.

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};

use super::super::bits::{WORD, mask};
use super::super::externs::HashAlgorithm;
use super::super::interp::code::{Pack, Slot};
use super::Unsupported;
use super::build::{Build, Val};
use super::runtime::algorithm;
use super::support;

impl Build<'_, '_> {
    /// Stores packed words, big-endian; no byte beyond `bytes` when they are that many.
    pub fn store_words(&mut self, words: &[Value], to: Value, bytes: u32) {
        let flags = MemFlagsData::trusted();
        let mut left = bytes;
        for (i, &word) in (0..).zip(words) {
            let at = i * 8;
            if left >= 8 {
                let word = self.b.ins().bswap(word);
                self.b.ins().store(flags, word, to, at);
                left -= 8;
                continue;
            }
            // The tail, in pieces.
            let mut done = 0;
            for (size, ty) in [(4, types::I32), (2, types::I16), (1, types::I8)] {
                if left - done < size {
                    continue;
                }
                let shift = 64 - 8 * (done + size);
                let piece = self.b.ins().ushr_imm_u(word, i64::from(shift));
                let piece = self.b.ins().ireduce(ty, piece);
                let piece = if size == 1 {
                    piece
                } else {
                    self.b.ins().bswap(piece)
                };
                self.b.ins().store(flags, piece, to, at + done as i32);
                done += size;
            }
            left = 0;
        }
    }

    /// Values one behind the other, as 64-bit words, the first bit on top; the last word padded with zeros.
    pub fn pack(&mut self, fields: &[(Val, u32)]) -> Vec<Value> {
        let mut words = Vec::new();
        let (mut sum, mut used) = (None::<Value>, 0);
        for &(value, width) in fields {
            let parts = if width > 64 {
                let (low, high) = self.halves(value);
                vec![(high, width - 64), (low, 64)]
            } else {
                vec![(self.narrow(value), width)]
            };
            for (value, width) in parts {
                if width == 0 {
                    continue;
                }
                let room = 64 - used;
                if width < room {
                    sum = Some(self.append(sum, value, width));
                    used += width;
                    continue;
                }
                let rest = width - room;
                let top = if rest == 0 {
                    value
                } else {
                    self.b.ins().ushr_imm_u(value, i64::from(rest))
                };
                let word = self.append(sum, top, room);
                words.push(word);
                used = rest;
                sum = if rest == 0 {
                    None
                } else {
                    let rest = self.mask_to(Val { value, wide: false }, rest);
                    Some(rest.value)
                };
            }
        }
        if let Some(sum) = sum {
            words.push(self.b.ins().ishl_imm_u(sum, i64::from(64 - used)));
        }
        words
    }

    fn append(&mut self, sum: Option<Value>, value: Value, width: u32) -> Value {
        match sum {
            None => value,
            Some(sum) => {
                let sum = self.b.ins().ishl_imm_u(sum, i64::from(width));
                self.b.ins().bor(sum, value)
            }
        }
    }

    /// The values to pack, and how many bits they are; the caller sees to the header that guards them.
    fn fields(&mut self, data: &[Pack]) -> Result<(Vec<(Val, u32)>, u32), Unsupported> {
        let mut fields = Vec::with_capacity(data.len());
        let mut bits = 0;
        for item in data {
            let Pack::Scalar { value, width, .. } = item else {
                return Err(Unsupported("data of several slots"));
            };
            let wide = self.widths.ex(value) > *width;
            let mut value = self.ex(value)?;
            if wide {
                value = self.mask_to(value, *width);
            }
            if *width > WORD {
                return Err(Unsupported("data above 128 bits"));
            }
            fields.push((value, *width));
            bits += width;
        }
        Ok((fields, bits))
    }

    /// Whether packed data is there at all.
    pub fn guarded(&mut self, data: &[Pack]) -> Result<Option<Value>, Unsupported> {
        match support::guard(data) {
            None => Err(Unsupported("data without a fixed place")),
            Some(None) => Ok(None),
            Some(Some(header)) => {
                let header = self.get(header);
                Ok(Some(self.truth(header)))
            }
        }
    }

    /// The sum of 16-bit words, not yet folded to 16 bits, and what it is not above.
    ///
    /// What is added need not be the words themselves: a number with the same remainder by 0xffff that is 0 when they
    /// are gives the same, once folded.
    pub fn raw_sum(&mut self, data: &[Pack]) -> Result<(Value, u64), Unsupported> {
        let guard = self.guarded(data)?;
        let (fields, bits) = self.fields(data)?;
        if bits / 64 > 1 << 16 {
            return Err(Unsupported("too much data"));
        }
        let whole = fields
            .iter()
            .all(|&(value, width)| !value.wide && width.is_multiple_of(16));
        let words = if whole {
            fields
        } else {
            let words = self.pack(&fields).into_iter();
            let word = |value| (Val { value, wide: false }, 64);
            words.map(word).collect()
        };
        let (mut sum, mut most) = (None, 0);
        for (word, width) in words {
            let part = if width > 32 {
                let high = self.b.ins().ushr_imm_u(word.value, 32);
                let low = self.mask_to(word, 32);
                most += u64::from(u32::MAX) * 2;
                self.b.ins().iadd(high, low.value)
            } else {
                most += mask(width) as u64;
                word.value
            };
            sum = Some(match sum {
                None => part,
                Some(sum) => self.b.ins().iadd(sum, part),
            });
        }
        let sum = match sum {
            None => self.iconst(0),
            Some(sum) => sum,
        };
        Ok(match guard {
            None => (sum, most),
            Some(valid) => {
                let zero = self.constant(0);
                let sum = Val {
                    value: sum,
                    wide: false,
                };
                (self.choose(valid, sum, zero).value, most)
            }
        })
    }

    /// Adds to a sum of 16 bits, whose carries count at the lowest one. What was added before is at hand with its carries, as a rule:
    /// they need be added back once only, for the last sum that anyone asks for.
    pub fn sum_up(&mut self, slot: Slot, (more, most): (Value, u64)) {
        let before = self.get(slot);
        let before = self.narrow(before);
        let with_carries = self.unfolded.get(&before).copied();
        let (before, most_before) = match (self.number(before), with_carries) {
            (Some(number), _) => (before, number),
            (None, Some((sum, most))) if most < u64::from(u32::MAX) * 64 => (sum, most),
            _ => (before, 0xffff),
        };
        let sum = self.b.ins().iadd(before, more);
        let most = most.saturating_add(most_before);
        let value = self.fold(sum, most);
        self.unfolded.insert(value, (sum, most));
        self.set(slot, Val { value, wide: false });
    }

    /// Carries added back until 16 bits are left.
    pub fn fold(&mut self, sum: Value, most: u64) -> Value {
        let (mut sum, mut most) = (sum, most);
        while most > 0xffff {
            // Halves that are added twice the other way round carry into each other.
            if most > 0x1_fffe && most <= u64::from(u32::MAX) {
                let word = self.b.ins().ireduce(types::I32, sum);
                let turned = self.b.ins().rotl_imm_u(word, 16);
                let both = self.b.ins().iadd(word, turned);
                let high = self.b.ins().ushr_imm_u(both, 16);
                return self.b.ins().uextend(types::I64, high);
            }
            let high = self.b.ins().ushr_imm_u(sum, 16);
            let low = self.mask_to(
                Val {
                    value: sum,
                    wide: false,
                },
                16,
            );
            sum = self.b.ins().iadd(high, low.value);
            // The last carry leaves no other behind.
            most = if most <= 0x1_fffe {
                0xffff
            } else {
                (most >> 16) + 0xffff
            };
        }
        sum
    }

    /// Data packed into memory: where, and how many bytes.
    pub fn packed(&mut self, data: &[Pack]) -> Result<(Value, Value, u32), Unsupported> {
        let guard = self.guarded(data)?;
        let (fields, bits) = self.fields(data)?;
        let words = self.pack(&fields);
        let slot = self.stack((words.len() as u32 * 8).max(8));
        let at = self.b.ins().stack_addr(types::I64, slot, 0);
        let bytes = bits.div_ceil(8);
        self.store_words(&words, at, bytes.next_multiple_of(8));
        let len = self.iconst(u64::from(bytes));
        let len = match guard {
            None => len,
            Some(valid) => {
                let zero = self.iconst(0);
                self.b.ins().select(valid, len, zero)
            }
        };
        Ok((at, len, bits))
    }

    /// A hash over packed data.
    pub fn hashed(&mut self, which: HashAlgorithm, data: &[Pack]) -> Result<Value, Unsupported> {
        match which {
            HashAlgorithm::Crc32 => return self.crc32(data),
            HashAlgorithm::Identity => return self.first_bytes(data),
            _ => {}
        }
        let number = algorithm(which).ok_or(Unsupported("a hash algorithm"))?;
        let number = self.iconst(number as u64);
        let (at, len, _) = self.packed(data)?;
        let call = self.b.ins().call(self.imports.hash, &[number, at, len]);
        Ok(self.b.inst_results(call)[0])
    }

    /// Packed data as words; how many bytes; what says whether it is there at all.
    fn guarded_words(
        &mut self,
        data: &[Pack],
    ) -> Result<(Vec<Value>, u32, Option<Value>), Unsupported> {
        let guard = self.guarded(data)?;
        let (fields, bits) = self.fields(data)?;
        Ok((self.pack(&fields), bits.div_ceil(8), guard))
    }

    /// The value, or 0 where the guard says that no data is there.
    fn unless_absent(&mut self, guard: Option<Value>, value: Value) -> Value {
        match guard {
            None => value,
            Some(valid) => {
                let zero = self.iconst(0);
                self.b.ins().select(valid, value, zero)
            }
        }
    }

    /// CRC-32 over words as they are packed: eight bytes at a time, nothing in memory. That of no bytes is 0.
    fn crc32(&mut self, data: &[Pack]) -> Result<Value, Unsupported> {
        let (words, bytes, guard) = self.guarded_words(data)?;
        let mut crc = self.iconst(u64::from(u32::MAX));
        let mut left = bytes;
        for word in words {
            let part = left.min(8);
            left -= part;
            let word = self.b.ins().bswap(word);
            let mixed = self.b.ins().bxor(word, crc);
            if part == 8 {
                crc = self.crc_step(mixed);
                continue;
            }
            // Powers that a shorter word does not have are zero; what of the remainder lies behind it is only moved.
            let word = self.b.ins().ishl_imm_u(mixed, i64::from(64 - 8 * part));
            let step = self.crc_step(word);
            let moved = self.b.ins().ushr_imm_u(crc, i64::from(8 * part));
            crc = self.b.ins().bxor(step, moved);
        }
        let all = self.iconst(u64::from(u32::MAX));
        let crc = self.b.ins().bxor(crc, all);
        Ok(self.unless_absent(guard, crc))
    }

    fn crc_step(&mut self, word: Value) -> Value {
        let call = self.b.ins().call(self.imports.crc32_step, &[word]);
        self.b.inst_results(call)[0]
    }

    /// The first eight bytes as a number.
    fn first_bytes(&mut self, data: &[Pack]) -> Result<Value, Unsupported> {
        let (words, bytes, guard) = self.guarded_words(data)?;
        let Some(&first) = words.first() else {
            return Ok(self.iconst(0));
        };
        let number = match 64 - 8 * bytes.min(8) {
            0 => first,
            behind => self.b.ins().ushr_imm_u(first, i64::from(behind)),
        };
        Ok(self.unless_absent(guard, number))
    }
}
