//! The command line: `softnic` and `softnic bundle`.
//!
//! In: arguments. Out: a program, ports and limits, or an error that says what to write instead. Each argument is read into its
//! own type once, here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

use crate::port::{Port, PortError, pcap};

/// The embedded NIC: runs a P4 program between ports and serves P4Runtime.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to run.
    #[command(flatten)]
    pub run: Run,
}

/// What else to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a program's source bundle: the device config that controllers push.
    Bundle {
        /// The program.
        #[command(flatten)]
        source: SourceArgs,
        /// Where to write it.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

/// Where a program comes from.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// The P4 program.
    #[arg(value_name = "PROGRAM")]
    pub program: PathBuf,
    /// How to compile it.
    #[command(flatten)]
    pub compile: CompileArgs,
}

/// How to compile.
#[derive(Debug, Clone, Default, Args)]
pub struct CompileArgs {
    /// Where to look for included files; may be repeated.
    #[arg(short = 'I', long = "include", value_name = "DIR")]
    pub include_dirs: Vec<PathBuf>,
    /// Set a macro; may be repeated.
    #[arg(short = 'D', long = "define", value_name = "NAME[=TEXT]")]
    pub defines: Vec<Define>,
}

impl CompileArgs {
    /// Macros as the compiler takes them.
    pub fn macros(&self) -> Vec<(String, String)> {
        self.defines
            .iter()
            .map(|define| (define.name.clone(), define.text.clone()))
            .collect()
    }
}

/// What to run.
#[derive(Debug, Args)]
pub struct Run {
    /// The P4 program to run from the start; without it the switch waits for a controller to push one.
    #[arg(long, value_name = "PROGRAM")]
    pub program: Option<PathBuf>,
    /// How to compile it.
    #[command(flatten)]
    pub compile: CompileArgs,
    /// Where to serve P4Runtime.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9559")]
    pub grpc: SocketAddr,
    /// The device id by which controllers address this switch.
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub device_id: u64,
    /// The port behind which the controllers are.
    #[arg(long, value_name = "PORT")]
    pub cpu_port: Option<u32>,
    /// A port: NUMBER=tap:IFACE, NUMBER=packet:IFACE or NUMBER=pcap:IN.pcap,OUT.pcap (either may be empty); may be
    /// repeated.
    #[arg(long = "port", value_name = "NUMBER=KIND:…")]
    pub ports: Vec<PortSpec>,
    /// PNA: a port on the host's side; may be repeated.
    #[arg(long = "host-port", value_name = "PORT")]
    pub host_ports: Vec<u32>,
    /// Let tables grow beyond the size that the program declares.
    #[arg(long)]
    pub unlimited_tables: bool,
    /// Log every step of every packet.
    #[arg(long)]
    pub trace: bool,
    /// Print statistics every so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub statistics: Option<u64>,
}

/// A macro given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Define {
    name: String,
    text: String,
}

impl FromStr for Define {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, text) = text.split_once('=').unwrap_or((text, "1"));
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// A port given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// Its number.
    pub id: u32,
    /// What it is attached to.
    pub kind: PortKind,
}

/// What a port is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortKind {
    /// A TAP interface.
    Tap(String),
    /// A network interface.
    Packet(String),
    /// Capture files.
    Pcap(Option<PathBuf>, Option<PathBuf>),
}

/// Why text is not a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortSpecError {
    /// No `=`, or no number before it.
    #[error("{0:?} does not begin with a port number and `=`; write for example 1=tap:nic0")]
    Number(String),
    /// Not a kind of port.
    #[error("{0:?} is not a kind of port; there are tap:IFACE, packet:IFACE and pcap:IN,OUT")]
    Kind(String),
}

impl FromStr for PortSpec {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = || PortSpecError::Number(text.to_owned());
        let (id, rest) = text.split_once('=').ok_or_else(number)?;
        let id = id.parse().map_err(|_| number())?;
        let file = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
        let kind = match rest.split_once(':') {
            Some(("tap", interface)) => PortKind::Tap(interface.to_owned()),
            Some(("packet", interface)) => PortKind::Packet(interface.to_owned()),
            Some(("pcap", files)) => {
                let (input, output) = files.split_once(',').unwrap_or((files, ""));
                PortKind::Pcap(file(input), file(output))
            }
            _ => return Err(PortSpecError::Kind(rest.to_owned())),
        };
        Ok(Self { id, kind })
    }
}

impl PortSpec {
    /// Opens the port.
    ///
    /// # Errors
    /// As the port's own `open`.
    pub fn open(&self) -> Result<Box<dyn Port>, PortError> {
        Ok(match &self.kind {
            PortKind::Tap(interface) => open_tap(interface)?,
            PortKind::Packet(interface) => open_packet(interface)?,
            PortKind::Pcap(input, output) => {
                Box::new(pcap::PcapPort::open(input.as_deref(), output.as_deref())?)
            }
        })
    }
}

#[cfg(target_os = "linux")]
fn open_tap(interface: &str) -> Result<Box<dyn Port>, PortError> {
    Ok(Box::new(crate::port::tap::TapPort::open(interface)?))
}

#[cfg(target_os = "linux")]
fn open_packet(interface: &str) -> Result<Box<dyn Port>, PortError> {
    Ok(Box::new(crate::port::packet::PacketPort::open(interface)?))
}

#[cfg(not(target_os = "linux"))]
fn open_tap(interface: &str) -> Result<Box<dyn Port>, PortError> {
    Err(PortError::io(
        interface,
        "opening a TAP interface",
        std::io::ErrorKind::Unsupported.into(),
    ))
}

#[cfg(not(target_os = "linux"))]
fn open_packet(interface: &str) -> Result<Box<dyn Port>, PortError> {
    Err(PortError::io(
        interface,
        "opening a packet socket",
        std::io::ErrorKind::Unsupported.into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_a_number_and_what_they_are_attached_to() {
        let spec = |text: &str| text.parse::<PortSpec>();
        assert_eq!(
            spec("1=tap:nic0").unwrap(),
            PortSpec {
                id: 1,
                kind: PortKind::Tap("nic0".into())
            }
        );
        let files = PortKind::Pcap(Some("a.pcap".into()), Some("b.pcap".into()));
        assert_eq!(
            spec("3=pcap:a.pcap,b.pcap").unwrap(),
            PortSpec { id: 3, kind: files }
        );
        assert_eq!(
            spec("3=pcap:,b").unwrap().kind,
            PortKind::Pcap(None, Some("b".into()))
        );
        assert!(matches!(spec("tap:nic0"), Err(PortSpecError::Number(_))));
        assert!(matches!(spec("1=nic0"), Err(PortSpecError::Kind(_))));
    }

    #[test]
    fn the_command_line_of_the_readme_is_understood() {
        let arguments = "softnic --program p4/nicproxy_pna.p4 --grpc 127.0.0.1:9559 --device-id 1 --cpu-port 255 \
                         --port 1=tap:nic0 --port 2=packet:veth0 --port 3=pcap:in.pcap,out.pcap --trace";
        let cli = Cli::try_parse_from(arguments.split_whitespace()).unwrap();
        assert_eq!(cli.run.ports.len(), 3);
        assert!(cli.command.is_none() && cli.run.trace);
        let bundle =
            Cli::try_parse_from(["softnic", "bundle", "a.p4", "-D", "X=1", "-o", "a.bin"]).unwrap();
        assert!(matches!(bundle.command, Some(Command::Bundle { .. })));
        assert!(Cli::try_parse_from(["softnic", "--device-id", "0"]).is_err());
    }
}
