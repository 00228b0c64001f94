//! The messages of P4Runtime 1.5 and P4Info as Rust types, and their text and JSON forms.
//!
//! In: the `.proto` files beside this crate, whose names, numbers and types are the specification's (a test compares
//! them with a listing of the published descriptors). Out: `prost` messages under their proto package names, the
//! descriptor pool, and [`text`]. No service and no gRPC: compilers of P4 programs depend on this crate too.
//! Maps are ordered, so that encoding a message twice gives the same bytes.

use std::sync::OnceLock;

use prost_reflect::DescriptorPool;

pub mod text;

pub use prost_types::Any;

/// Package `p4`.
pub mod p4 {
    /// Package `p4.config`.
    pub mod config {
        /// Package `p4.config.v1`: P4Info.
        #[allow(missing_docs, clippy::all)]
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/p4.config.v1.rs"));
        }
    }
    /// Package `p4.v1`: entities, requests and responses of P4Runtime.
    #[allow(missing_docs, clippy::all)]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/p4.v1.rs"));
    }
}

/// Package `google`.
pub mod google {
    /// Package `google.rpc`: status and code.
    #[allow(missing_docs, clippy::all)]
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
    }
}

/// Version of the P4Runtime specification that the messages follow.
pub const SPEC_VERSION: &str = "1.5.0";

/// The compiled `.proto` files, as a serialized `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Descriptors of every message of this crate and of `google.protobuf.Any`.
///
/// The bytes are made by this crate's own build, so decoding them cannot fail; should they be unreadable all the
/// same, the pool is empty and [`text`] reports every message as unknown.
pub fn descriptor_pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTOR_SET).unwrap_or_default())
}
