//! The interpreter: lowers a checked program once, then runs packets over it.
//!
//! In: a checked program, packets. Out: outputs, extern state. `lower` makes `code`, `run` executes it, `machine`
//! owns what both need. Invariant: per-packet state lives in [`PacketState`] alone.

pub(crate) mod code;
mod load;
mod lower;
mod machine;
mod run;

pub(crate) use code::Slot;
pub(crate) use lower::Lower;
pub(crate) use machine::{LastApply, Machine, PacketState, Packets, Received};
pub(crate) use run::{Flow, Run, STANDSTILL, Stop};
