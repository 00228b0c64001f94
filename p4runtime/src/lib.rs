//! P4Runtime for controllers and for switches.
//!
//! * [`value`]: byte strings and integers;
//! * [`schema`]: a program's objects by name, from P4Info;
//! * [`entity`]: entries and packets by name;
//! * [`client`]: a controller's session with a device;
//! * [`server`]: the service over any switch;
//! * [`status`]: one error per update inside a gRPC status;
//! * [`tls`]: connections from certificate files that may be replaced;
//! * [`wire`]: writes of many entries without a message per entry.

pub mod client;
pub mod entity;
pub mod schema;
pub mod server;
pub mod status;
pub mod tls;
pub mod value;
pub mod wire;

pub use p4runtime_proto as proto;

/// The generated gRPC stubs.
#[allow(missing_docs, clippy::all)]
pub mod rpc {
    tonic::include_proto!("p4.v1");
}
