//! A table's actions: how action data becomes bytes and back.
//!
//! In: big-endian parameter values of any length. Out: fixed-width records, parameters in order, each right-aligned
//! in whole bytes. Invariant: stored data fits its parameters.

use smallvec::SmallVec;

use super::super::bits;
use super::entry::{ActionCall, TableError, WeightedAction};
use crate::ir::ActionScope;

/// Bytes of action data.
pub(crate) type DataBytes = SmallVec<[u8; 64]>;

/// One action as a table holds it.
#[derive(Clone, Debug)]
pub(crate) struct ActionPlan {
    /// Width in bits of each action data parameter.
    pub params: Vec<u32>,
    /// Where it may be used.
    pub scope: ActionScope,
}

impl ActionPlan {
    /// Bytes of its data.
    pub fn data_len(&self) -> usize {
        self.params.iter().map(|&width| param_len(width)).sum()
    }

    /// The data as one slice per parameter.
    pub fn split<'a>(&self, data: &'a [u8]) -> SmallVec<[&'a [u8]; 8]> {
        let mut at = 0;
        self.params
            .iter()
            .map(|&width| {
                let end = at + param_len(width);
                let part = data.get(at..end).unwrap_or_default();
                at = end;
                part
            })
            .collect()
    }
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
) -> Result<DataBytes, TableError> {
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
    let mut data = DataBytes::new();
    for (param, (&width, bytes)) in plan.params.iter().zip(call.params).enumerate() {
        if !bits::fits(bytes, width) {
            return Err(TableError::ParamTooWide { param, width });
        }
        let len = param_len(width);
        let significant = &bytes[bytes.len().saturating_sub(len)..];
        data.resize(data.len() + len - significant.len(), 0);
        data.extend_from_slice(significant);
    }
    Ok(data)
}

/// Like [`encode`], for owned parameters.
pub(crate) fn encode_owned(
    plans: &[ActionPlan],
    action: usize,
    params: &[Vec<u8>],
) -> Result<DataBytes, TableError> {
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
