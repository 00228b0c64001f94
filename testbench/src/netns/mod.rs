//! Hosts as Linux network namespaces: real TCP stacks around a NIC.
//!
//! In: nothing but root with CAP_NET_ADMIN and iproute2. Out: namespaces with interfaces, addresses and routes, in which
//! programs run; all of them go when they are dropped. Nothing outside the namespaces is touched: names carry the
//! process id, and every interface is created inside.
//!
//! | module | holds |
//! |---|---|
//! | [`cable`] | virtual Ethernet between two namespaces |
//! | [`place`] | the address plan |
//! | [`topology`] | a client node, its NIC, backend nodes, an outside client |
//! | [`responder`] | servers that say who they are and whom they serve |
//! | [`caller`] | single calls, and what came of them |
//! | [`relay`] | a listener of one namespace, reached from another one's loopback |

pub mod cable;
pub mod caller;
pub mod place;
pub mod relay;
pub mod responder;
pub mod topology;

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// A program is missing.
    #[error("{program} does not run: {source}; install the package that has it")]
    Missing {
        /// Which.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A command failed.
    #[error("`{command}` failed: {output}")]
    Failed {
        /// The command line.
        command: String,
        /// What it said.
        output: String,
    },
}

/// Runs a command to its end.
///
/// # Errors
/// When it is missing or fails.
pub fn run(command: &mut Command) -> Result<String, NetnsError> {
    let line = format!("{command:?}").replace('"', "");
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().map_err(|source| NetnsError::Missing {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let output = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(NetnsError::Failed {
        command: line,
        output,
    })
}

/// One namespace; its interfaces and everything behind them go with it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A namespace with its loopback interface up, which forwards packets as a node does.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN or iproute2.
    pub fn new(role: &str) -> Result<Self, NetnsError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("np-{}-{number}-{role}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        namespace.sysctl("net.ipv6.conf.all.accept_dad", "0")?;
        namespace.sysctl("net.ipv6.conf.default.accept_dad", "0")?;
        namespace.sysctl("net.ipv4.ip_forward", "1")?;
        namespace.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        // Every refusal is told: a test that calls many times in a second wants to hear all of them.
        namespace.sysctl("net.ipv4.icmp_ratemask", "0")?;
        namespace.sysctl("net.ipv6.icmp.ratelimit", "0")?;
        // Asymmetric paths are what a bump in the wire is about.
        namespace.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
        namespace.sysctl("net.ipv4.conf.default.rp_filter", "0")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name])
            .arg(program.as_ref());
        command
    }

    /// Runs `ip` with these words inside.
    ///
    /// # Errors
    /// When it fails.
    pub fn ip(&self, words: &str) -> Result<String, NetnsError> {
        run(Command::new("ip")
            .args(["-n", &self.name])
            .args(words.split_whitespace()))
    }

    /// Moves the calling thread inside, for good: its sockets, and the programs that it starts, are the namespace's.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN.
    pub fn enter(&self) -> std::io::Result<()> {
        let handle = std::fs::File::open(format!("/run/netns/{}", self.name))?;
        Ok(rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&handle),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )?)
    }

    /// Runs something on a thread of its own that is inside; what it opens stays inside.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| work()));
            match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Sets a kernel variable inside.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), NetnsError> {
        run(self
            .command("sysctl")
            .args(["-qw", &format!("{name}={value}")]))
        .map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run(Command::new("ip").args(["netns", "del", &self.name]));
    }
}
