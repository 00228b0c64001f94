//! The embedded NIC, in this process.
//!
//! In: a bundled program, ports, an address. Out: a running softnic whose P4Runtime server is as good as any other's, and
//! the configuration with where that server really is: port 0 takes a free one.

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

/// Makes a running NIC the configuration's device.
pub fn attach(config: &mut Config, nic: &Running) {
    config.device.address = format!("http://{}", nic.address());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::link::Link;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_free_port_is_found_again() {
        let mut config = Config::default();
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        config.device.address = format!("http://{listen}");
        let nic = start(&config, listen, Vec::new()).await.unwrap();
        attach(&mut config, &nic);
        assert!(
            !config.device.address.ends_with(":0"),
            "{}",
            config.device.address
        );
        let link = Link::start_beside(&config, None, Some(&nic)).unwrap();
        assert!(link.client.wait_primary(Duration::from_secs(60)).await);
        link.shutdown().await;
        nic.shutdown().await;
    }
}
