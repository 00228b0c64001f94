//! Applying tables.
//!
//! In: a table and the packet's values. Out: the chosen action has run. Invariant: what the table handed out stays
//! until the packet's guard is dropped, so nothing is copied but action data into the action's parameters.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::super::bits;
use super::super::super::externs::Color;
use super::super::super::tables::{Found, KeyLayout, MatchTable, Query, param_words};
use super::super::super::trace::{Event, KeyValue};
use super::super::code::{ActionBinding, Operand, Pack, TableCode};
use super::super::machine::LastApply;
use super::{Run, Stop};

impl<'r> Run<'r, '_> {
    /// Applies a table: whether it was hit, and the action that ran.
    pub(crate) fn apply(&mut self, index: u32) -> Result<(bool, Option<u16>), Stop> {
        let machine = self.machine;
        let (Some(Some(code)), Some(table)) = (
            machine.code.tables.get(index as usize),
            machine.tables.get(index as usize),
        ) else {
            return Ok((false, None));
        };
        self.build_key(code, table.key_layout())?;
        let found = self.find(code, table)?;
        self.last = LastApply {
            table: index,
            hit: found.hit,
            entry: found.entry,
            color: found.color,
        };
        let binding = found
            .action
            .and_then(|action| code.actions.get(usize::from(action)));
        if self.tracer.is_some() {
            self.trace_apply(code, table, &found, binding);
        }
        self.state.steps.apply(found.hit, found.action);
        self.load_params(binding, found.data);
        if let (Some((dest, colors)), Some(color)) = (&code.meter, found.color) {
            let address = self.address(&dest.place, true)?;
            self.put(dest, address, color_value(colors, color));
        }
        if let Some(binding) = binding {
            self.call(&binding.call)?;
        }
        Ok((found.hit, found.action))
    }

    /// Puts the table's key into the state.
    fn build_key(&mut self, code: &TableCode, layout: &KeyLayout) -> Result<(), Stop> {
        let mut key = std::mem::take(&mut self.state.key);
        key.clear();
        key.resize(layout.words, 0);
        debug_assert_eq!(code.keys.len(), layout.fields.len());
        for (field, part) in code.keys.iter().zip(&layout.fields) {
            match &field.value {
                Operand::One(ex) => part.put(bits::narrow(&[self.eval(ex)?]), &mut key),
                Operand::Many(agg, slots) => {
                    let address = self.eval_agg(agg)?;
                    part.put(bits::narrow(self.words(address, *slots)), &mut key);
                }
            }
        }
        self.state.key = key;
        Ok(())
    }

    fn find(&mut self, code: &TableCode, table: &'r MatchTable) -> Result<Found<'r>, Stop> {
        let packed = if code.selector.is_empty() {
            bits::BitWriter::default()
        } else {
            self.packed(&code.selector)?
        };
        let query = Query {
            now: self.now,
            selector: packed.bytes(),
            bytes: self.state.packet.len() as u64,
        };
        let found = table.lookup(self.guard, &self.state.key, &query);
        if !code.selector.is_empty() {
            self.state.pack = packed;
        }
        Ok(found)
    }

    /// Puts action data into the action's parameters.
    fn load_params(&mut self, binding: Option<&ActionBinding>, data: &[AtomicU64]) {
        let mut at = 0;
        for &(slot, width, _) in binding.map(|b| b.data.as_slice()).unwrap_or_default() {
            let end = at + param_words(width);
            let words = data.get(at..end).unwrap_or_default().iter();
            let to = self.words_mut(slot, bits::words(width));
            bits::widen(words.map(|word| word.load(Ordering::Relaxed)), to);
            at = end;
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
        table: &MatchTable,
        found: &Found<'_>,
        binding: Option<&ActionBinding>,
    ) {
        let parts = &table.key_layout().fields;
        let key_value = |name: &String, width: u32, words: &mut dyn Iterator<Item = u64>| {
            let mut wide = vec![0; bits::words(width) as usize];
            bits::widen(words, &mut wide);
            KeyValue {
                name: name.clone(),
                value: bits::words_to_bytes(&wide, width),
                width,
            }
        };
        let mut keys: Vec<KeyValue> = Vec::with_capacity(code.keys.len());
        for (field, part) in code.keys.iter().zip(parts) {
            let mut words = (0..part.words()).map(|i| part.word_of(&self.state.key, i));
            keys.push(key_value(&field.name, field.width, &mut words));
        }
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
        let mut data = found.data.iter().map(|word| word.load(Ordering::Relaxed));
        let params = binding.map(|b| b.data.as_slice()).unwrap_or_default();
        let params: Vec<KeyValue> = params
            .iter()
            .map(|(_, width, name)| {
                key_value(name, *width, &mut data.by_ref().take(param_words(*width)))
            })
            .collect();
        self.trace(&Event::TableApply {
            table: code.handle,
            keys: &keys,
            hit: found.hit,
            priority: found.entry.and_then(|entry| table.priority(entry)),
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
