//! The command line: `softnic` and `softnic bundle`.
//!
//! In: arguments. Out: a program, ports and limits, or an error that says what to write instead. Each argument is read into its
//! own type once, here.

mod port_spec;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use p4runtime::tls::{Identity, ServerTls};

use p4rs::engine::Execution;

pub use port_spec::{PortKind, PortSpec, PortSpecError};

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
    /// Serve P4Runtime over TLS only, with this certificate (PEM, those between it and its authority behind it). TLS
    /// files are read again for every connection.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Take only controllers with a certificate that one of these authorities signed (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// The device id by which controllers address this switch.
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub device_id: u64,
    /// The port behind which the controllers are.
    #[arg(long, value_name = "PORT")]
    pub cpu_port: Option<u32>,
    /// A port: NUMBER=tap:IFACE, NUMBER=packet:IFACE, NUMBER=xdp:IFACE or NUMBER=pcap:IN.pcap,OUT.pcap (either may be
    /// empty); may be repeated. Behind an interface, options: `,queues=N` (threads that share the connections; xdp:
    /// the interface's queues unless given), `,offload=off` (packet and tap: unfinished checksums and super-frames are
    /// finished before the program sees them), `,ring=blocks` (packet: TPACKET_V3 instead of V2; less work under load, up
    /// to 1 ms later otherwise), `,mode=native|generic|zero-copy` (xdp: the first that works unless given),
    /// `,busy-poll=N` (after packets, a thread goes on looking for N microseconds before it sleeps: answers sooner, for
    /// processor time).
    #[arg(long = "port", value_name = "NUMBER=KIND:…")]
    pub ports: Vec<PortSpec>,
    /// PNA: a port on the host's side; may be repeated.
    #[arg(long = "host-port", value_name = "PORT")]
    pub host_ports: Vec<u32>,
    /// PNA: how long learned entries of an expiry profile may stay unused; may be repeated.
    #[arg(long = "expire-profile", value_name = "PROFILE=SECONDS")]
    pub expire_profiles: Vec<ExpireProfile>,
    /// Let tables grow beyond the size that the program declares.
    #[arg(long)]
    pub unlimited_tables: bool,
    /// What runs the packets.
    #[arg(long, value_enum, default_value_t)]
    pub engine: Execution,
    /// Log every step of every packet. Traced packets are run by the interpreter.
    #[arg(long)]
    pub trace: bool,
    /// Print statistics every so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub statistics: Option<u64>,
}

impl Run {
    /// TLS, if it was asked for.
    pub fn tls(&self) -> Option<ServerTls> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(ServerTls {
            identity: Identity { certificate, key },
            client_authorities: self.tls_client_ca.clone(),
        })
    }
}

/// An expiry profile given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpireProfile {
    /// Its number.
    pub profile: u8,
    /// Its time.
    pub seconds: u32,
}

impl FromStr for ExpireProfile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("`{text}` is not PROFILE=SECONDS, for instance 5=86400");
        let (profile, seconds) = text.split_once('=').ok_or_else(error)?;
        let seconds: u32 = seconds.trim().parse().map_err(|_| error())?;
        if seconds == 0 {
            return Err("an entry that lasts 0 seconds is none".to_owned());
        }
        Ok(Self {
            profile: profile.trim().parse().map_err(|_| error())?,
            seconds,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_the_readme_is_understood() {
        let arguments = "softnic --program p4/nicproxy_pna.p4 --grpc 127.0.0.1:9559 --device-id 1 --cpu-port 255 \
                         --port 1=tap:nic0 --port 2=packet:veth0,queues=2 --port 3=pcap:in.pcap,out.pcap --trace";
        let cli = Cli::try_parse_from(arguments.split_whitespace()).unwrap();
        assert_eq!(cli.run.ports.len(), 3);
        assert!(cli.command.is_none() && cli.run.trace);
        let bundle =
            Cli::try_parse_from(["softnic", "bundle", "a.p4", "-D", "X=1", "-o", "a.bin"]).unwrap();
        assert!(matches!(bundle.command, Some(Command::Bundle { .. })));
        assert!(Cli::try_parse_from(["softnic", "--device-id", "0"]).is_err());
        let secured = "softnic --tls-cert a.crt --tls-key a.key --tls-client-ca ca.crt";
        let secured = Cli::try_parse_from(secured.split_whitespace()).unwrap();
        let tls = secured.run.tls().unwrap();
        assert_eq!(tls.identity.key, PathBuf::from("a.key"));
        assert_eq!(tls.client_authorities, Some(PathBuf::from("ca.crt")));
        for half in ["--tls-cert a", "--tls-key a", "--tls-client-ca a"] {
            let line = format!("softnic {half}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err());
        }
    }
}
