//! `p4rs run`: packets through a program.
//!
//! In: a program, entries, packets with their ports, from pcap files or as hexadecimal digits. Out: the packets that
//! leave, one `PORT HEX` line each or one pcap file per port; on standard error what became of the others.
//! Packets run in the order of their time stamps, and the engine's clock follows those.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use p4rs::engine::{Config, Engine, Execution, Outputs, Time, entries_text};
use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};

use crate::Outcome;
use crate::program::ProgramArgs;
use crate::trace::print_event;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    program: ProgramArgs,
    /// Write these entries first: lines `add TABLE key=value ... => action(parameter=value, ...)`.
    #[arg(long, value_name = "FILE")]
    entries: Option<PathBuf>,
    /// Packets from a pcap file that arrive at a port.
    #[arg(long = "packets", value_name = "PORT=FILE")]
    files: Vec<AtPort<PathBuf>>,
    /// One packet that arrives at a port.
    #[arg(long = "packet", value_name = "PORT=HEX")]
    packets: Vec<AtPort<Hex>>,
    /// Write the packets that leave to DIR/PORT.pcap instead of standard output.
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// Print every step of every packet to standard error.
    #[arg(long)]
    trace: bool,
    /// A port on the host's side (PNA).
    #[arg(long = "host-port", value_name = "PORT")]
    host_ports: Vec<u32>,
    /// The port by which programs for v1model drop packets.
    #[arg(long, value_name = "PORT", default_value_t = Config::default().drop_port)]
    drop_port: u32,
    /// What runs the packets; traced ones are run by the interpreter.
    #[arg(long, value_enum, default_value_t)]
    engine: Execution,
}

/// `PORT=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AtPort<T> {
    port: u32,
    value: T,
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for AtPort<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, value) = text.split_once('=').ok_or("PORT=… is expected")?;
        let port = port
            .parse()
            .map_err(|_| format!("`{port}` is no port number"))?;
        Ok(Self {
            port,
            value: value.parse().map_err(|error: T::Err| error.to_string())?,
        })
    }
}

/// Bytes as pairs of hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hex(Vec<u8>);

impl FromStr for Hex {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_digit(16).map(|digit| digit as u8))
            .collect();
        let digits = digits.ok_or("only hexadecimal digits make a packet")?;
        if digits.len() % 2 != 0 {
            return Err("the number of hexadecimal digits is odd");
        }
        Ok(Self(
            digits
                .chunks_exact(2)
                .map(|pair| pair[0] << 4 | pair[1])
                .collect(),
        ))
    }
}

/// A packet to run.
struct Arrival {
    stamp: Duration,
    port: u32,
    bytes: Vec<u8>,
}

/// Runs `run`.
pub fn run(args: &RunArgs) -> anyhow::Result<Outcome> {
    let Some(checked) = args.program.checked()? else {
        return Ok(Outcome::Faulty);
    };
    let config = Config {
        host_ports: args.host_ports.clone(),
        drop_port: args.drop_port,
        execution: args.engine,
        ..Config::default()
    };
    let engine = match Engine::new(Arc::new(checked), config) {
        Ok(engine) => engine,
        Err(error) => {
            writeln!(anstream::stderr(), "error: {error}")?;
            return Ok(Outcome::Faulty);
        }
    };
    if let Some(path) = &args.entries {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if let Err(error) = entries_text::load(&engine, Time::default(), &text) {
            writeln!(anstream::stderr(), "error: {}: {error}", path.display())?;
            return Ok(Outcome::Faulty);
        }
    }
    let arrivals = arrivals(args)?;
    let mut sink = match &args.out_dir {
        Some(dir) => Sink::Files {
            dir: dir.clone(),
            open: BTreeMap::new(),
        },
        None => Sink::Lines(BufWriter::new(std::io::stdout())),
    };
    let start = arrivals.first().map_or(Duration::ZERO, |first| first.stamp);
    let mut out = Outputs::default();
    for arrival in &arrivals {
        let now = Time(u64::try_from((arrival.stamp - start).as_nanos()).unwrap_or(u64::MAX));
        engine.tick(now);
        process(&engine, now, arrival, args.trace, &mut out)?;
        for sent in out.transmitted() {
            sink.write(arrival.stamp, sent.port, &sent.to_vec())?;
        }
        out.log
            .iter()
            .try_for_each(|line| writeln!(anstream::stderr(), "log: {line}"))?;
        out.clear();
    }
    sink.finish()?;
    summary(&engine)?;
    Ok(Outcome::Done)
}

fn process<'p>(
    engine: &Engine,
    now: Time,
    arrival: &'p Arrival,
    trace: bool,
    out: &mut Outputs<'p>,
) -> std::io::Result<()> {
    if !trace {
        engine.process(now, arrival.port, &arrival.bytes, out);
        return Ok(());
    }
    let mut failed = Ok(());
    let mut stderr = anstream::stderr();
    let mut tracer = |event: &p4rs::engine::Event<'_>| {
        if failed.is_ok() {
            failed = print_event(&mut stderr, engine.program(), event);
        }
    };
    engine.process_traced(now, arrival.port, &arrival.bytes, out, &mut tracer);
    failed
}

/// All packets in the order of their time stamps; those given as digits come first.
fn arrivals(args: &RunArgs) -> anyhow::Result<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    for AtPort { port, value: path } in &args.files {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let unreadable = || format!("{} is no readable pcap file", path.display());
        let mut reader = PcapReader::new(BufReader::new(file)).with_context(unreadable)?;
        while let Some(packet) = reader.next_packet() {
            let packet = packet.with_context(unreadable)?;
            arrivals.push(Arrival {
                stamp: packet.timestamp,
                port: *port,
                bytes: packet.data.into_owned(),
            });
        }
    }
    arrivals.sort_by_key(|arrival| arrival.stamp);
    let stamp = arrivals.first().map_or(Duration::ZERO, |first| first.stamp);
    let given = args.packets.iter().map(|AtPort { port, value }| Arrival {
        stamp,
        port: *port,
        bytes: value.0.clone(),
    });
    arrivals.splice(0..0, given.collect::<Vec<_>>());
    Ok(arrivals)
}

/// Where packets go that leave.
enum Sink {
    Lines(BufWriter<std::io::Stdout>),
    Files {
        dir: PathBuf,
        open: BTreeMap<u32, PcapWriter<BufWriter<File>>>,
    },
}

impl Sink {
    fn write(&mut self, stamp: Duration, port: u32, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Sink::Lines(out) => {
                write!(out, "{port} ")?;
                bytes
                    .iter()
                    .try_for_each(|byte| write!(out, "{byte:02x}"))?;
                writeln!(out)?;
            }
            Sink::Files { dir, open } => {
                let writer = match open.entry(port) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        let path = dir.join(format!("{port}.pcap"));
                        let cannot = || format!("cannot write {}", path.display());
                        std::fs::create_dir_all(&*dir).with_context(cannot)?;
                        let file = File::create(&path).with_context(cannot)?;
                        entry.insert(PcapWriter::new(BufWriter::new(file)).with_context(cannot)?)
                    }
                };
                let length =
                    u32::try_from(bytes.len()).context("a packet is too long for a pcap file")?;
                writer
                    .write_packet(&PcapPacket::new(stamp, length, bytes))
                    .context("cannot write a packet")?;
            }
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Sink::Lines(mut out) => out.flush()?,
            Sink::Files { open, .. } => {
                for writer in open.into_values() {
                    writer
                        .into_writer()
                        .flush()
                        .context("cannot write a pcap file")?;
                }
            }
        }
        Ok(())
    }
}

fn summary(engine: &Engine) -> std::io::Result<()> {
    let statistics = engine.statistics();
    let mut err = anstream::stderr();
    write!(
        err,
        "{} packets in, {} out",
        statistics.received, statistics.transmitted
    )?;
    for (reason, count) in statistics.drops.iter().filter(|(_, count)| *count > 0) {
        write!(err, ", {count} dropped ({reason})")?;
    }
    writeln!(err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_given_as_digits() {
        assert_eq!(
            "3=00 fF".parse(),
            Ok(AtPort {
                port: 3,
                value: Hex(vec![0, 0xff])
            })
        );
        for faulty in ["00ff", "x=00", "1=0", "1=0g"] {
            assert!(faulty.parse::<AtPort<Hex>>().is_err(), "{faulty}");
        }
    }
}
