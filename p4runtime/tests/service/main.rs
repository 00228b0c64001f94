//! The client, and requests of any kind, against the service over a switch in memory.
//!
//! | module | asks |
//! |---|---|
//! | `session` | through real gRPC on loopback |
//! | `local` | in the client's own process |
//! | `malformed` | with requests that nobody would make |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod double;
mod local;
mod malformed;
mod session;
