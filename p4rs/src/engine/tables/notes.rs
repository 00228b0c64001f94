//! What the control plane wants back with an entry as it wrote it.
//!
//! In: metadata, numbers, whether the program made the entry. Out: the same, by entry number. Few tables have long
//! metadata, numbers or const entries, so only short metadata lie beside the entry.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::stripe::{Ledger, Stripe};

/// Bytes of metadata that lie beside the entry.
const SHORT: usize = 15;

/// The control plane's own data of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notes<'a> {
    pub metadata: &'a [u8],
    pub controller_metadata: u64,
    pub is_const: bool,
}

impl Stripe {
    /// Stores the control plane's own data.
    pub fn note(&self, ledger: &mut Ledger, entry: u32, notes: Notes<'_>) {
        let short = notes.metadata.len() <= SHORT;
        if !short {
            ledger.long_metadata.insert(entry, notes.metadata.into());
        } else if !ledger.long_metadata.is_empty() {
            ledger.long_metadata.remove(&entry);
        }
        let written = if short { notes.metadata } else { &[] };
        if !written.is_empty() || self.metadata.get(entry).is_some() {
            let mut bytes = [0; SHORT + 1];
            bytes[0] = written.len() as u8;
            bytes[1..=written.len()].copy_from_slice(written);
            for (cell, word) in self.metadata.make(entry).iter().zip(bytes.chunks_exact(8)) {
                let word = word.iter().rev().fold(0, |w, &b| w << 8 | u64::from(b));
                cell.store(word, Ordering::Relaxed);
            }
        }
        if notes.controller_metadata != 0 {
            ledger.numbers.insert(entry, notes.controller_metadata);
        } else if !ledger.numbers.is_empty() {
            ledger.numbers.remove(&entry);
        }
        if notes.is_const {
            ledger.consts.insert(entry, ());
        } else if !ledger.consts.is_empty() {
            ledger.consts.remove(&entry);
        }
    }

    pub(super) fn short_metadata(&self, entry: u32) -> SmallVec<[u8; 16]> {
        let words = self.metadata.get(entry).unwrap_or_default();
        let bytes: SmallVec<[u8; 16]> = words
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        let len = bytes.first().map_or(0, |&len| usize::from(len));
        SmallVec::from_slice(bytes.get(1..=len).unwrap_or_default())
    }
}
