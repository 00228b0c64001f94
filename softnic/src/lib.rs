//! The embedded NIC: a P4 program between ports, controlled over P4Runtime.
//!
//! In: a P4 program (compiled here, by `p4rs`), ports, controllers. Out: packets as the program has them; a P4Runtime
//! server after the specification.
//!
//! ```text
//!  controllers ──gRPC──▶ p4runtime::server ──▶ switch ─▶ pipeline ──▶ p4rs::engine
//!                              ▲                                        ▲    │
//!                              └──── packet-in, timeouts, digests ─── data_plane ◀──▶ port
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use softnic::{Program, SoftNic};
//!
//! let program = Program::open("p4/nicproxy_v1model.p4".as_ref(), &[], &[])?;
//! let nic = SoftNic::builder().program(program).cpu_port(510).serve("127.0.0.1:0".parse()?).await?;
//! for sent in nic.inject(1, b"an Ethernet frame") {
//!     assert_ne!(sent.port, 510);
//! }
//! nic.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod cli;
pub mod clock;
mod data_plane;
pub mod device_config;
mod difference;
mod nic;
mod pipeline;
pub mod port;
mod program;
mod runner;
mod statistics;
mod switch;
mod trace;

pub use clock::{Clock, ManualClock, SystemClock};
pub use data_plane::Sent;
pub use difference::difference;
pub use nic::{Builder, DEFAULT_GRPC_PORT, Injector, Running, SoftNic, StartError};
pub use program::{Program, ProgramError};
pub use statistics::{PortReport, Statistics};
