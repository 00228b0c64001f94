//! A table's actions: how action data becomes words and back.
//!
//! In: big-endian parameter values of any length. Out: words, parameters in order, laid out as the table module's
//! contract says. Invariant: stored data fits its parameters.

use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::super::bits;
use super::entry::{ActionCall, TableError, WeightedAction};
use crate::ir::ActionScope;

/// Words of action data.
pub(crate) type DataWords = SmallVec<[u64; 8]>;

/// One action as a table holds it.
#[derive(Clone, Debug)]
pub(crate) struct ActionPlan {
    /// Width in bits of each action data parameter.
    pub params: Vec<u32>,
    /// Where it may be used.
    pub scope: ActionScope,
}

impl ActionPlan {
    /// Words of its data.
    pub fn data_words(&self) -> usize {
        self.at(self.params.len())
    }

    /// First word of a parameter.
    pub fn at(&self, param: usize) -> usize {
        self.params
            .iter()
            .take(param)
            .map(|&w| param_words(w))
            .sum()
    }

    /// The data as big-endian bytes, one value per parameter.
    pub fn bytes(&self, data: &[AtomicU64]) -> SmallVec<[SmallVec<[u8; 16]>; 8]> {
        let mut words = data.iter().map(|word| word.load(Ordering::Relaxed));
        self.params
            .iter()
            .map(|&width| {
                let mut number: DataWords = words.by_ref().take(param_words(width)).collect();
                number.reverse();
                let bytes: SmallVec<[u8; 16]> =
                    number.iter().flat_map(|word| word.to_be_bytes()).collect();
                let from = bytes.len().saturating_sub(param_len(width));
                SmallVec::from_slice(&bytes[from..])
            })
            .collect()
    }
}

/// Words of one parameter.
pub(crate) const fn param_words(width: u32) -> usize {
    if width == 0 {
        1
    } else {
        width.div_ceil(64) as usize
    }
}

/// Data that packets may read.
pub(crate) fn shared(data: &[u64]) -> Box<[AtomicU64]> {
    data.iter().map(|&word| AtomicU64::new(word)).collect()
}

/// Bytes of one parameter.
pub(crate) const fn param_len(width: u32) -> usize {
    if width == 0 {
        1
    } else {
        width.div_ceil(8) as usize
    }
}

/// An action with its data, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedAction {
    /// One action: index into the table's `actions`, and parameter values.
    Direct {
        /// Index into the table's `actions`.
        action: usize,
        /// Action data in parameter order, big-endian.
        params: Vec<Vec<u8>>,
    },
    /// A member of the table's action profile or selector.
    Member(u32),
    /// A group of the table's action selector.
    Group(u32),
    /// A set of weighted actions.
    OneShot(Vec<WeightedAction>),
}

/// Checks and encodes an action call.
pub(crate) fn encode(
    plans: &[ActionPlan],
    call: ActionCall<'_>,
    as_default: bool,
) -> Result<DataWords, TableError> {
    let plan = plans.get(call.action).ok_or(TableError::NoSuchAction {
        action: call.action,
    })?;
    let refused = if as_default {
        ActionScope::TableOnly
    } else {
        ActionScope::DefaultOnly
    };
    if plan.scope == refused {
        return Err(TableError::ActionScope {
            action: call.action,
        });
    }
    if plan.params.len() != call.params.len() {
        return Err(TableError::ParamCount {
            expected: plan.params.len(),
            got: call.params.len(),
        });
    }
    let mut data = DataWords::new();
    for (param, (&width, bytes)) in plan.params.iter().zip(call.params).enumerate() {
        if !bits::fits(bytes, width) {
            return Err(TableError::ParamTooWide { param, width });
        }
        let end = data.len() + param_words(width);
        let significant = &bytes[bytes.len().saturating_sub(param_len(width))..];
        data.extend(significant.rchunks(8).map(|chunk| {
            chunk
                .iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte))
        }));
        data.resize(end, 0);
    }
    Ok(data)
}

/// Like [`encode`], for owned parameters.
pub(crate) fn encode_owned(
    plans: &[ActionPlan],
    action: usize,
    params: &[Vec<u8>],
) -> Result<DataWords, TableError> {
    let params: SmallVec<[&[u8]; 8]> = params.iter().map(Vec::as_slice).collect();
    encode(
        plans,
        ActionCall {
            action,
            params: &params,
        },
        false,
    )
}
