//! Applying tables.
//!
//! In: a table and the packet's values. Out: the chosen action has run. Invariant: the table is not locked while the
//! action runs.

use super::super::super::bits;
use super::super::super::externs::Color;
use super::super::super::tables::{Found, MatchTable, Query, param_len};
use super::super::super::trace::{Event, KeyValue};
use super::super::code::{ActionBinding, Operand, Pack, TableCode};
use super::{Run, Stop};

impl Run<'_> {
    /// Applies a table: whether it was hit, and the action that ran.
    pub(super) fn apply(&mut self, index: u32) -> Result<(bool, Option<u16>), Stop> {
        let machine = self.machine;
        let (Some(Some(code)), Some(table)) = (
            machine.code.tables.get(index as usize),
            machine.tables.get(index as usize),
        ) else {
            return Ok((false, None));
        };
        let mut key = std::mem::take(&mut self.state.key);
        let mut data = std::mem::take(&mut self.state.data);
        let found = self.find(code, table, &mut key, &mut data);
        if let Ok(found) = &found {
            let binding = found
                .action
                .and_then(|action| code.actions.get(usize::from(action)));
            if self.tracer.is_some() {
                self.trace_apply(code, found, &key, binding, &data);
            }
            self.load_params(binding, &data);
            let last = &mut self.state.last;
            last.table = index;
            last.hit = found.hit;
            last.color = found.color;
            std::mem::swap(&mut last.key, &mut key);
        }
        self.state.key = key;
        self.state.data = data;
        let found = found?;
        if let (Some((dest, colors)), Some(color)) = (&code.meter, found.color) {
            let address = self.address(&dest.place, true)?;
            self.put(dest, address, color_value(colors, color));
        }
        if let Some(binding) = found
            .action
            .and_then(|action| code.actions.get(usize::from(action)))
        {
            self.call(&binding.call)?;
        }
        Ok((found.hit, found.action))
    }

    fn find(
        &mut self,
        code: &TableCode,
        table: &MatchTable,
        key: &mut Vec<u8>,
        data: &mut Vec<u8>,
    ) -> Result<Found, Stop> {
        key.clear();
        for field in &code.keys {
            let len = param_len(field.width);
            match &field.value {
                Operand::One(ex) => {
                    let bytes = self.eval(ex)?.to_be_bytes();
                    key.extend_from_slice(
                        bytes.get(bytes.len() - len.min(16)..).unwrap_or_default(),
                    );
                }
                Operand::Many(agg, slots) => {
                    let address = self.eval_agg(agg)?;
                    key.extend(bits::words_to_bytes(
                        self.words(address, *slots),
                        field.width,
                    ));
                }
            }
        }
        debug_assert_eq!(key.len(), table.key_len());
        let bytes = self.state.packet.len() as u64;
        if code.selector.is_empty() {
            return Ok(table.lookup(
                &Query {
                    now: self.now,
                    key,
                    selector: &[],
                    bytes,
                },
                data,
            ));
        }
        let packed = self.packed(&code.selector)?;
        let found = table.lookup(
            &Query {
                now: self.now,
                key,
                selector: packed.bytes(),
                bytes,
            },
            data,
        );
        self.state.pack = packed;
        Ok(found)
    }

    /// Puts action data into the action's parameters.
    fn load_params(&mut self, binding: Option<&ActionBinding>, data: &[u8]) {
        let mut at = 0;
        for &(slot, width, _) in binding.map(|b| b.data.as_slice()).unwrap_or_default() {
            let len = param_len(width);
            let bytes = data.get(at..at + len).unwrap_or_default();
            let to = self.words_mut(slot, bits::words(width));
            bits::read_words(bytes, (len * 8) - width as usize, width, to);
            at += len;
        }
    }

    /// Bits packed for a hash; the writer is the packet's and must be given back.
    pub(super) fn packed(&mut self, items: &[Pack]) -> Result<bits::BitWriter, Stop> {
        let mut writer = std::mem::take(&mut self.state.pack);
        writer.clear();
        self.pack_into(items, &mut writer)?;
        Ok(writer)
    }

    pub(super) fn pack_into(
        &mut self,
        items: &[Pack],
        writer: &mut bits::BitWriter,
    ) -> Result<(), Stop> {
        for item in items {
            let guard = match item {
                Pack::Scalar { guard, .. } | Pack::Leaves { guard, .. } => guard,
            };
            if let Some(header) = guard {
                let header = self.address(header, false)?;
                if self.slot(header) == 0 {
                    continue;
                }
            }
            match item {
                Pack::Scalar { value, width, .. } => {
                    let value = self.eval(value)?;
                    writer.put(value, *width);
                }
                Pack::Leaves { value, leaves, .. } => {
                    let base = self.eval_agg(value)?;
                    for leaf in leaves {
                        if leaf
                            .header
                            .is_none_or(|header| self.slot(base + header) != 0)
                        {
                            let at = (base + leaf.slot) as usize;
                            super::packet::put_leaf(
                                writer,
                                self.state.slots.get(at..).unwrap_or_default(),
                                leaf,
                            );
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn trace_apply(
        &mut self,
        code: &TableCode,
        found: &Found,
        key: &[u8],
        binding: Option<&ActionBinding>,
        data: &[u8],
    ) {
        let split = |fields: &mut dyn Iterator<Item = (&String, u32)>, bytes: &[u8]| {
            let mut at = 0;
            let mut out = Vec::new();
            for (name, width) in fields {
                let len = param_len(width);
                let value = bytes.get(at..at + len).unwrap_or_default().to_vec();
                out.push(KeyValue {
                    name: name.clone(),
                    value,
                    width,
                });
                at += len;
            }
            out
        };
        let mut keys = split(&mut code.keys.iter().map(|k| (&k.name, k.width)), key);
        for (item, name) in code.selector.iter().zip(&code.selector_names) {
            if let Pack::Scalar { value, width, .. } = item
                && let Ok(word) = self.eval(value)
            {
                keys.push(KeyValue {
                    name: name.clone(),
                    value: bits::words_to_bytes(&[word], *width),
                    width: *width,
                });
            }
        }
        let params = binding.map(|b| b.data.as_slice()).unwrap_or_default();
        let params = split(
            &mut params.iter().map(|(_, width, name)| (name, *width)),
            data,
        );
        self.trace(&Event::TableApply {
            table: code.handle,
            keys: &keys,
            hit: found.hit,
            priority: found.priority,
            action: binding.map_or("", |b| b.name.as_str()),
            data: &params,
        });
    }
}

/// The value of a colour in its enum.
pub(super) fn color_value(colors: &[u128; 3], color: Color) -> u128 {
    match color {
        Color::Green => colors[0],
        Color::Yellow => colors[1],
        Color::Red => colors[2],
    }
}
