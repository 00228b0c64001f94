//! Running extern operations.
//!
//! In: operands. Out: results, changes of extern objects, intents for the architecture.
//! Invariant: an index out of range changes nothing.

use super::super::super::arch::CloneIntent;
use super::super::super::bits;
use super::super::super::externs::{Color, InternetSum};
use super::super::super::outputs::{Digest, DropReason};
use super::super::super::tables::param_words;
use super::super::super::trace::Event;
use super::super::code::{Checksum, ChecksumAction, Dest, Ex, Extern, Operand, Pack, Prim, Slot};
use super::table::color_value;
use super::{Run, Stop};
use crate::ir::{ExternInstance, Handle};

impl Run<'_, '_> {
    fn note(&mut self, name: &str, detail: impl FnOnce() -> String) {
        if self.tracer.is_some() {
            let detail = detail();
            self.trace(&Event::Extern {
                name,
                detail: &detail,
            });
        }
    }

    fn note_object(&mut self, instance: Handle<ExternInstance>, detail: impl FnOnce() -> String) {
        let object = self.machine.program().externs.get(instance);
        self.note(
            object.map_or("", |object| object.name.control_plane.as_str()),
            detail,
        );
    }

    /// Writes a result into the place of an out argument, or hands it back.
    fn result(&mut self, dest: Option<&Dest>, value: u128) -> Result<u128, Stop> {
        if let Some(dest) = dest {
            let address = self.address(&dest.place, true)?;
            self.put(dest, address, value);
        }
        Ok(value)
    }

    /// Runs an extern operation; the result of those that have a scalar one.
    pub(super) fn extern_op(&mut self, op: &Extern) -> Result<u128, Stop> {
        match op {
            Extern::Nothing => Ok(1),
            Extern::Count { .. }
            | Extern::CountDirect { .. }
            | Extern::Meter { .. }
            | Extern::DirectMeter { .. }
            | Extern::RegisterRead { .. }
            | Extern::RegisterWrite { .. } => self.object_op(op),
            Extern::Random { low, high, dest } => self.random(low, high, dest.as_ref()),
            Extern::Hash { .. } => self.hash(op),
            Extern::SumClear(slot) => {
                self.set(*slot, 0);
                Ok(0)
            }
            Extern::SumAdd(slot, data) => self.sum(*slot, data, InternetSum::add),
            Extern::SumSubtract(slot, data) => self.sum(*slot, data, InternetSum::subtract),
            Extern::SumGet(slot) => Ok(u128::from(InternetSum(self.slot(*slot) as u16).get())),
            Extern::SumState(slot) => Ok(self.slot(*slot)),
            Extern::SumSetState(slot, value) => {
                let value = self.eval(value)?;
                self.set(*slot, value & 0xffff);
                Ok(0)
            }
            Extern::Assert(condition) => {
                if self.eval(condition)? == 0 {
                    return Err(Stop::Drop(DropReason::Assertion));
                }
                Ok(0)
            }
            Extern::Log { text, data } => self.log(text, data),
            Extern::Digest { ty, receiver, data } => {
                let receiver = self.eval(receiver)? as u32;
                let fields = self.fields(data)?;
                self.note("digest", || format!("{} fields", fields.len()));
                self.state.intents.digest = Some(Digest {
                    ty: *ty,
                    receiver,
                    fields,
                });
                Ok(0)
            }
            Extern::Checksum(checksum) => self.checksum(checksum),
            _ => self.intent(op),
        }
    }

    /// Requests to the architecture.
    fn intent(&mut self, op: &Extern) -> Result<u128, Stop> {
        match op {
            Extern::MarkToDrop { port, group } => {
                self.set(*port, u128::from(self.machine.config.drop_port));
                self.set(*group, 0);
                self.note("mark_to_drop", String::new);
            }
            Extern::Clone {
                egress,
                session,
                list,
            } => {
                let intent = CloneIntent {
                    session: self.eval(session)? as u32,
                    list: *list,
                };
                let place = if *egress {
                    &mut self.state.intents.clone_egress
                } else {
                    &mut self.state.intents.clone_ingress
                };
                *place = Some(intent);
            }
            Extern::Resubmit(list) => self.state.intents.resubmit = Some(*list),
            Extern::RecirculateList(list) => self.state.intents.recirculate = Some(*list),
            Extern::Recirculate => self.state.intents.recirculate = Some(None),
            Extern::Truncate(length) => {
                let length = self.eval(length)?;
                self.state.intents.truncate = Some(usize::try_from(length).unwrap_or(usize::MAX));
            }
            Extern::Drop => {
                self.state.intents.drop = true;
                self.state.intents.port = None;
                self.note("drop_packet", String::new);
            }
            Extern::SendTo(port) => {
                let port = self.eval(port)? as u32;
                self.state.intents.drop = false;
                self.state.intents.port = Some(port);
                self.note("send_to_port", || port.to_string());
            }
            Extern::Mirror { slot, session } => {
                let (slot, session) = (self.eval(slot)? as u32, self.eval(session)? as u32);
                self.state.intents.mirror(slot, session);
            }
            Extern::IsHostPort(port) => {
                let port = self.eval(port)? as u32;
                return Ok(u128::from(self.machine.externs.host_ports.contains(port)));
            }
            Extern::AddEntry {
                action,
                data,
                profile,
            } => return self.add_entry(*action, data, profile),
            Extern::SetExpire(profile) => {
                let profile = self.eval(profile)?;
                let timeout = self.expire_time(profile);
                self.restart_timer(Some(timeout));
            }
            Extern::RestartTimer => self.restart_timer(None),
            _ => {}
        }
        Ok(0)
    }

    fn object_op(&mut self, op: &Extern) -> Result<u128, Stop> {
        let length = self.state.packet.len() as u64;
        let externs = &self.machine.externs;
        match op {
            Extern::Count {
                instance,
                index,
                length: given,
            } => {
                let index = self.eval(index)?;
                let bytes = self.given(given.as_ref())?.unwrap_or(length);
                if let Ok(counter) = externs.counter(*instance) {
                    counter.count(index, bytes);
                }
                self.note_object(*instance, || format!("count [{index}]"));
                Ok(0)
            }
            Extern::CountDirect {
                table,
                length: given,
            } => {
                let bytes = self.given(given.as_ref())?.unwrap_or(length);
                self.count_last(*table, bytes);
                Ok(0)
            }
            Extern::Meter {
                instance,
                index,
                length: given,
                colors,
                dest,
            } => {
                let index = self.eval(index)?;
                let bytes = self.given(given.as_ref())?.unwrap_or(length);
                let color = externs
                    .meter(*instance)
                    .ok()
                    .and_then(|meter| meter.execute(index, self.now, bytes));
                let Some(color) = color else {
                    return Ok(color_value(colors, Color::Green));
                };
                self.note_object(*instance, || format!("[{index}] {color:?}"));
                self.result(dest.as_ref(), color_value(colors, color))
            }
            Extern::DirectMeter { colors, dest } => match self.last.color {
                Some(color) => self.result(dest.as_ref(), color_value(colors, color)),
                None => Ok(color_value(colors, Color::Green)),
            },
            Extern::RegisterWrite {
                instance,
                index,
                value,
            } => {
                let index = self.eval(index)?;
                let value = self.operand_words(value)?;
                if let Ok(register) = externs.register(*instance) {
                    register.write(index, &value);
                }
                self.note_object(*instance, || format!("write [{index}]"));
                Ok(0)
            }
            Extern::RegisterRead { .. } => {
                let slot = self.register_read(op)?;
                Ok(slot.map_or(0, |slot| self.slot(slot)))
            }
            _ => Ok(0),
        }
    }

    fn given(&mut self, length: Option<&Ex>) -> Result<Option<u64>, Stop> {
        match length {
            Some(ex) => Ok(Some(self.eval(ex)? as u64)),
            None => Ok(None),
        }
    }

    /// Reads a register cell into its temporary and on to the out argument; `None` for an index out of range.
    fn register_read(&mut self, op: &Extern) -> Result<Option<Slot>, Stop> {
        let Extern::RegisterRead {
            instance,
            index,
            dest,
            slots,
            temp,
        } = op
        else {
            return Ok(None);
        };
        let index = self.eval(index)?;
        let Ok(register) = self.machine.externs.register(*instance) else {
            return Ok(None);
        };
        if !register.read(index, self.words_mut(*temp, *slots)) {
            return Ok(None);
        }
        self.note_object(*instance, || format!("read [{index}]"));
        if let Some(dest) = dest {
            let address = self.address(&dest.place, true)?;
            if *slots == 1 {
                let value = self.slot(*temp);
                self.put(dest, address, value);
            } else {
                self.put_from(dest, address, *temp, *slots);
            }
        }
        Ok(Some(*temp))
    }

    /// An operation whose result takes several slots: the address of the result.
    pub(super) fn prim_agg(&mut self, prim: &Prim) -> Result<Slot, Stop> {
        match prim {
            Prim::Extern(op @ Extern::RegisterRead { .. }) => {
                Ok(self.register_read(op)?.unwrap_or(self.machine.code.zero))
            }
            other => {
                self.prim(other)?;
                Ok(self.machine.code.zero)
            }
        }
    }

    fn random(&mut self, low: &Ex, high: &Ex, dest: Option<&Dest>) -> Result<u128, Stop> {
        let low = self.eval(low)?;
        let high = self.eval(high)?;
        if low > high {
            return Ok(0);
        }
        let externs = &self.machine.externs;
        let number = u128::from(externs.next_random()) << 64 | u128::from(externs.next_random());
        let value = match (high - low).checked_add(1) {
            Some(span) => low + number % span,
            None => number,
        };
        self.result(dest, value)
    }

    fn hash(&mut self, op: &Extern) -> Result<u128, Stop> {
        let Extern::Hash {
            algorithm,
            base,
            max,
            data,
            dest,
            mask,
        } = op
        else {
            return Ok(0);
        };
        let packed = self.packed(data)?;
        let hash = algorithm.hash(packed.bytes());
        self.state.pack = packed;
        let value = match max {
            Some(max) => {
                let base = self.eval(base)? as u64;
                let max = (self.eval(max)? as u64).max(1);
                u128::from((hash % max).wrapping_add(base))
            }
            None => u128::from(hash),
        };
        self.note("hash", || format!("{:#x}", value & mask));
        self.result(dest.as_ref(), value & mask)
    }

    fn sum(
        &mut self,
        slot: Slot,
        data: &[Pack],
        update: fn(InternetSum, &[u8]) -> InternetSum,
    ) -> Result<u128, Stop> {
        let packed = self.packed(data)?;
        let sum = update(InternetSum(self.slot(slot) as u16), packed.bytes());
        self.state.pack = packed;
        self.set(slot, u128::from(sum.0));
        Ok(0)
    }

    fn checksum(&mut self, checksum: &Checksum) -> Result<u128, Stop> {
        if self.eval(&checksum.condition)? == 0 {
            return Ok(0);
        }
        if let ChecksumAction::Verify {
            guard: Some(header),
            ..
        } = &checksum.action
        {
            let header = self.address(header, false)?;
            if self.slot(header) == 0 {
                return Ok(0);
            }
        }
        let mut packed = self.packed(&checksum.data)?;
        if checksum.payload {
            packed.put_bytes(self.state.payload());
        }
        let value = u128::from(checksum.algorithm.hash(packed.bytes())) & checksum.mask;
        self.state.pack = packed;
        match &checksum.action {
            ChecksumAction::Verify { stored, .. } => {
                if self.eval(stored)? != value {
                    self.state.intents.checksum_error = true;
                }
            }
            ChecksumAction::Update(dest) => {
                let address = self.address(&dest.place, true)?;
                self.put(dest, address, value);
            }
        }
        Ok(0)
    }

    /// Leaf fields as bytes of their full width.
    fn fields(&mut self, data: &[Pack]) -> Result<Vec<Vec<u8>>, Stop> {
        let mut out = Vec::new();
        for item in data {
            match item {
                Pack::Scalar { value, width, .. } => {
                    let value = self.eval(value)?;
                    out.push(bits::words_to_bytes(&[value], *width));
                }
                Pack::Leaves { value, leaves, .. } => {
                    let base = self.eval_agg(value)?;
                    for leaf in leaves {
                        let at = (base + leaf.slot + u32::from(leaf.varbit)) as usize;
                        let words = self.state.slots.get(at..).unwrap_or_default();
                        out.push(bits::words_to_bytes(words, leaf.width));
                    }
                }
            }
        }
        Ok(out)
    }

    fn log(&mut self, text: &str, data: &[Pack]) -> Result<u128, Stop> {
        let mut values = self.fields(data)?.into_iter();
        let mut message = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("{}") {
            message.push_str(&rest[..at]);
            if let Some(bytes) = values.next() {
                message.push_str(&num_bigint::BigUint::from_bytes_be(&bytes).to_string());
            }
            rest = &rest[at + 2..];
        }
        message.push_str(rest);
        self.note("log_msg", || message.clone());
        self.out.log.push(message);
        Ok(0)
    }

    /// `add_entry`: the key is that of the lookup that missed.
    fn add_entry(
        &mut self,
        action: u16,
        data: &[(Operand, u32)],
        profile: &Ex,
    ) -> Result<u128, Stop> {
        let mut words: smallvec::SmallVec<[u64; 8]> = smallvec::SmallVec::new();
        for (operand, width) in data {
            let operand = self.operand_words(operand)?;
            words.extend(bits::narrow(&operand).take(param_words(*width)));
        }
        let profile = self.eval(profile)?;
        let timeout = self.expire_time(profile);
        let added = self.learn(action, &words, timeout);
        self.note("add_entry", || {
            String::from(if added { "added" } else { "not added" })
        });
        Ok(u128::from(added))
    }

    #[inline]
    pub(crate) fn expire_time(&self, profile: u128) -> u64 {
        let profiles = &self.machine.config.expire_profiles_ns;
        let index = usize::try_from(profile).unwrap_or(usize::MAX);
        profiles
            .get(index)
            .or(profiles.last())
            .copied()
            .unwrap_or(0)
    }

    #[inline]
    pub(crate) fn restart_timer(&mut self, timeout_ns: Option<u64>) {
        let table = self.machine.tables.get(self.last.table as usize);
        if let (Some(table), Some(entry)) = (table, self.last.entry) {
            match timeout_ns {
                Some(timeout) => table.set_expiry(self.now, entry, timeout),
                None => table.restart(self.now, entry),
            }
        }
        self.note("expire timer", || String::from("restarted"));
    }
}
