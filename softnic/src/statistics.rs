//! What the switch counted.
//!
//! In: counters of ports, engine and data plane. Out: a copy of them at one moment, and text for people.

use std::fmt;

use p4rs::engine;

use crate::port::PortStatistics;

/// One port at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortReport {
    /// Port number.
    pub id: u32,
    /// Kind and interface or file.
    pub name: String,
    /// The link is up.
    pub up: bool,
    /// Packets and bytes.
    pub counters: PortStatistics,
}

/// Everything counted since the switch was made; the engine's part since its program was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Ports by number.
    pub ports: Vec<PortReport>,
    /// Packets through the program and drops by reason; `None` while there is no program.
    pub engine: Option<engine::Statistics>,
    /// Packets that a controller's stream took.
    pub packet_in: u64,
    /// Packets for controllers that none took: no primary, or its queue was full.
    pub packet_in_dropped: u64,
    /// Packets on the CPU port shorter than the packet-in header.
    pub packet_in_malformed: u64,
    /// Packets from controllers.
    pub packet_out: u64,
    /// Packets that came while there was no program.
    pub no_program: u64,
    /// Packets for ports that are not there.
    pub no_port: u64,
    /// Digest messages.
    pub digests: u64,
    /// Super-frames that the program made into something that cannot be cut.
    pub unfinished: u64,
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for port in &self.ports {
            let c = &port.counters;
            let state = if port.up { "up" } else { "down" };
            writeln!(
                f,
                "port {:<5} {} ({state}): received {} packets {} bytes, sent {} packets {} bytes, lost {} in {} out{}",
                port.id,
                port.name,
                c.rx_packets,
                c.rx_bytes,
                c.tx_packets,
                c.tx_bytes,
                c.rx_dropped,
                c.tx_dropped,
                match c.reopened {
                    0 => String::new(),
                    times => format!(", reopened {times} times"),
                }
            )?;
        }
        if let Some(engine) = &self.engine {
            write!(
                f,
                "program: {} packets in, {} out",
                engine.received, engine.transmitted
            )?;
            for (reason, packets) in engine.drops.iter().filter(|(_, packets)| *packets > 0) {
                write!(f, ", {packets} dropped ({reason})")?;
            }
            writeln!(f)?;
        }
        write!(
            f,
            "controller: {} packets to it ({} lost), {} from it, {} digests; {} packets without program, {} without port, {} that could not be cut",
            self.packet_in,
            self.packet_in_dropped,
            self.packet_out,
            self.digests,
            self.no_program,
            self.no_port,
            self.unfinished
        )
    }
}
