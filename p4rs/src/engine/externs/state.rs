//! All extern objects of a loaded program, by instance.
//!
//! In: what the loader makes of the program's instances. Out: objects for packets and for the control plane.
//! Invariant: an object is found only under its own handle and kind.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustc_hash::FxHashSet;

use super::super::bits;
use super::super::tables::OwnedField;
use super::{CounterArray, ExternError, MeterArray, RegisterArray};
use crate::ir::{ExternInstance, Handle, ValueSet};

/// An extern object that keeps state.
#[derive(Debug, Default)]
pub(crate) enum Object {
    /// No state, or state kept elsewhere (direct resources, profiles, checksums).
    #[default]
    Stateless,
    /// Indirect counter.
    Counter(CounterArray),
    /// Indirect meter.
    Meter(MeterArray),
    /// Register.
    Register(RegisterArray),
}

/// One field of a value set member, ready to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueTest {
    /// Value and mask.
    Mask(u128, u128),
    /// Inclusive range.
    Range(u128, u128),
}

impl ValueTest {
    /// Whether the value is in the set.
    pub fn contains(self, value: u128) -> bool {
        match self {
            Self::Mask(want, mask) => value & mask == want & mask,
            Self::Range(low, high) => low <= value && value <= high,
        }
    }
}

/// A parser value set.
#[derive(Debug)]
pub(crate) struct ValueSetState {
    /// Width in bits of each leaf.
    widths: Vec<u32>,
    /// Declared size.
    size: u64,
    written: Vec<Vec<OwnedField>>,
    tests: Vec<Vec<ValueTest>>,
}

impl ValueSetState {
    /// An empty set for members with leaves of these widths.
    pub fn new(widths: Vec<u32>, size: u64) -> Self {
        Self {
            widths,
            size,
            written: Vec::new(),
            tests: Vec::new(),
        }
    }
}

/// PNA: the ports on the host's side. Every packet asks, so usual numbers take no lock.
#[derive(Debug, Default)]
pub(crate) struct HostPorts {
    low: [AtomicU64; 8],
    rest: RwLock<FxHashSet<u32>>,
}

impl HostPorts {
    /// Whether a port is one.
    pub fn contains(&self, port: u32) -> bool {
        match self.low.get(port as usize / 64) {
            Some(bits) => bits.load(Ordering::Relaxed) >> (port % 64) & 1 == 1,
            None => self.rest.read().contains(&port),
        }
    }

    /// Says what a port is.
    pub fn set(&self, port: u32, is_host: bool) {
        let bit = 1 << (port % 64);
        match (self.low.get(port as usize / 64), is_host) {
            (Some(bits), true) => drop(bits.fetch_or(bit, Ordering::Relaxed)),
            (Some(bits), false) => drop(bits.fetch_and(!bit, Ordering::Relaxed)),
            (None, true) => drop(self.rest.write().insert(port)),
            (None, false) => drop(self.rest.write().remove(&port)),
        }
    }
}

/// The objects.
#[derive(Debug, Default)]
pub(crate) struct Externs {
    /// By instance.
    pub objects: Vec<Object>,
    /// By value set.
    pub value_sets: Vec<RwLock<ValueSetState>>,
    /// PNA: ports on the host's side.
    pub host_ports: HostPorts,
    /// State of the random sequence.
    pub random: AtomicU64,
}

impl Externs {
    /// The counter of this instance.
    pub fn counter(&self, instance: Handle<ExternInstance>) -> Result<&CounterArray, ExternError> {
        match self.objects.get(instance.index()) {
            Some(Object::Counter(counter)) => Ok(counter),
            _ => Err(ExternError::NoSuchObject),
        }
    }

    /// The meter of this instance.
    pub fn meter(&self, instance: Handle<ExternInstance>) -> Result<&MeterArray, ExternError> {
        match self.objects.get(instance.index()) {
            Some(Object::Meter(meter)) => Ok(meter),
            _ => Err(ExternError::NoSuchObject),
        }
    }

    /// The register of this instance.
    pub fn register(
        &self,
        instance: Handle<ExternInstance>,
    ) -> Result<&RegisterArray, ExternError> {
        match self.objects.get(instance.index()) {
            Some(Object::Register(register)) => Ok(register),
            _ => Err(ExternError::NoSuchObject),
        }
    }

    /// Cells of an array.
    pub fn array_size(&self, instance: Handle<ExternInstance>) -> Result<u64, ExternError> {
        match self.objects.get(instance.index()) {
            Some(Object::Counter(counter)) => Ok(counter.size()),
            Some(Object::Meter(meter)) => Ok(meter.size()),
            Some(Object::Register(register)) => Ok(register.size()),
            _ => Err(ExternError::NoSuchObject),
        }
    }

    /// The next pseudo-random number (splitmix64).
    pub fn next_random(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .random
            .fetch_add(STEP, Ordering::Relaxed)
            .wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Whether the values are a member of the set.
    pub fn value_set_contains(&self, set: usize, values: &[u128]) -> bool {
        self.value_sets.get(set).is_some_and(|set| {
            let matches = |tests: &Vec<ValueTest>| {
                tests.iter().zip(values).all(|(test, &v)| test.contains(v))
            };
            set.read().tests.iter().any(matches)
        })
    }

    /// Replaces the members of a value set.
    pub fn set_value_set(
        &self,
        set: Handle<ValueSet>,
        members: &[Vec<OwnedField>],
    ) -> Result<(), ExternError> {
        let set = self
            .value_sets
            .get(set.index())
            .ok_or(ExternError::NoSuchObject)?;
        let mut set = set.write();
        if members.len() as u64 > set.size {
            return Err(ExternError::Full(set.size));
        }
        let mut tests = Vec::with_capacity(members.len());
        for (i, member) in members.iter().enumerate() {
            if members.get(..i).unwrap_or_default().contains(member) {
                return Err(ExternError::Exists);
            }
            tests.push(compile(&set.widths, member)?);
        }
        set.written = members.to_vec();
        set.tests = tests;
        Ok(())
    }

    /// The members of a value set, as written.
    pub fn value_set(&self, set: Handle<ValueSet>) -> Result<Vec<Vec<OwnedField>>, ExternError> {
        self.value_sets
            .get(set.index())
            .map(|set| set.read().written.clone())
            .ok_or(ExternError::NoSuchObject)
    }

    /// Width in bits of each field of a value set's members.
    pub fn value_set_widths(&self, set: Handle<ValueSet>) -> Result<Vec<u32>, ExternError> {
        self.value_sets
            .get(set.index())
            .map(|set| set.read().widths.clone())
            .ok_or(ExternError::NoSuchObject)
    }

    /// Says on which side a port is.
    pub fn set_host_port(&self, port: u32, is_host: bool) {
        self.host_ports.set(port, is_host);
    }
}

fn compile(widths: &[u32], member: &[OwnedField]) -> Result<Vec<ValueTest>, ExternError> {
    if widths.len() != member.len() {
        return Err(ExternError::BadMember(member.len()));
    }
    let scalar = |i: usize, bytes: &[u8], width: u32| {
        bits::bytes_to_words(bytes, width)
            .and_then(|w| w.first().copied())
            .ok_or(ExternError::BadMember(i))
    };
    widths
        .iter()
        .zip(member)
        .enumerate()
        .map(|(i, (&width, field))| {
            let all = bits::mask(width);
            Ok(match field {
                OwnedField::DontCare => ValueTest::Mask(0, 0),
                OwnedField::Exact(value) | OwnedField::Optional(value) => {
                    ValueTest::Mask(scalar(i, value, width)?, all)
                }
                OwnedField::Ternary(value, mask) => {
                    ValueTest::Mask(scalar(i, value, width)?, scalar(i, mask, width)?)
                }
                OwnedField::Range(low, high) => {
                    ValueTest::Range(scalar(i, low, width)?, scalar(i, high, width)?)
                }
                OwnedField::Lpm(value, prefix) => {
                    let host = width
                        .checked_sub(*prefix)
                        .ok_or(ExternError::BadMember(i))?;
                    ValueTest::Mask(scalar(i, value, width)?, all & !bits::mask(host))
                }
            })
        })
        .collect()
}
