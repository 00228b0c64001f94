//! The embedded NIC, in this process.
//!
//! In: a bundled program, ports, an address. Out: a running softnic whose P4Runtime server is as good as any other's.

use std::net::SocketAddr;

use anyhow::Context;
use softnic::port::Port;
use softnic::{Running, SoftNic};

use crate::config::{Config, PortRole, SLOW_PATH_PORT};

/// Starts an empty NIC; the controller loads its program.
///
/// # Errors
/// When the address is taken.
pub async fn start(
    config: &Config,
    listen: SocketAddr,
    ports: Vec<(u32, Box<dyn Port>)>,
) -> anyhow::Result<Running> {
    let mut builder = SoftNic::builder()
        .device_id(config.device.device_id)
        .cpu_port(SLOW_PATH_PORT)
        .engine(|engine| config.conntrack.profiles(&mut engine.expire_profiles_ns));
    for port in config
        .ports
        .iter()
        .filter(|port| port.role == PortRole::Host)
    {
        builder = builder.host_port(port.port);
    }
    for (number, port) in ports {
        builder = builder.port(number, port);
    }
    builder
        .serve(listen)
        .await
        .context("the embedded NIC does not start; choose another address with --embedded-listen")
}
