//! State of extern objects: counters, meters, registers, hashes, checksums, packet replication.
//!
//! In: calls from packets and from the control plane, at the same time. Out: values.
//! Invariant: each cell is updated under its own lock or atomically; an index out of range changes nothing.

mod checksum;
mod counter;
mod hash;
mod meter;
mod register;
mod replication;
mod state;

pub(crate) use checksum::InternetSum;
pub(crate) use counter::{CellPath, CounterArray, CounterCells, shard_offset};
pub use counter::{CounterData, CounterUnit};
pub(crate) use hash::{HashAlgorithm, crc32_step};
pub use meter::{Color, MeterConfig, MeterUnit};
pub(crate) use meter::{Meter, MeterArray};
pub(crate) use register::{Plain, RegisterArray, RegisterLeaf};
pub(crate) use replication::Replication;
pub use replication::{CloneSession, Replica};
pub(crate) use state::{Externs, HostPorts, Object, ValueSetState};

/// Why access to an extern object was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExternError {
    /// The program has no object of this kind under this handle.
    #[error("the program has no such object")]
    NoSuchObject,
    /// Index at or above the array's size.
    #[error("index {index} is outside the array of {size}")]
    OutOfRange {
        /// As given.
        index: u64,
        /// Cells.
        size: u64,
    },
    /// A value wider than the cell.
    #[error("a cell has {width} bits, the value needs more")]
    TooWide {
        /// Width in bits.
        width: u32,
    },
    /// Multicast group or clone session 0, or above the architecture's range.
    #[error("id {0} cannot be used")]
    BadId(u32),
    /// The group or session exists, or one replica is listed twice.
    #[error("exists")]
    Exists,
    /// No such group or session.
    #[error("no such group or session")]
    NotFound,
    /// More members than the value set's declared size.
    #[error("the value set holds {0} members")]
    Full(u64),
    /// A member of a value set that does not fit its type.
    #[error("field {0} does not fit the value set")]
    BadMember(usize),
}
