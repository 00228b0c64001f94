//! Network namespaces of a test's own, and interfaces in them.

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use softnic::port::packet::PacketPort;
use softnic::port::tap::TapPort;
use softnic::port::xdp::XdpPort;
use softnic::port::{PacketOptions, Port, PortError, Ring, TapOptions, XdpMode, XdpOptions};

/// Every way to attach to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tap,
    Packet(Ring),
    Xdp(XdpMode),
}

pub const KINDS: [Kind; 5] = [
    Kind::Tap,
    Kind::Packet(Ring::Frames),
    Kind::Packet(Ring::Blocks),
    Kind::Xdp(XdpMode::Native),
    Kind::Xdp(XdpMode::Generic),
];

impl Kind {
    pub fn try_open(self, interface: &str, queues: u16) -> Result<Box<dyn Port>, PortError> {
        Ok(match self {
            Self::Tap => Box::new(TapPort::open_with(
                interface,
                TapOptions {
                    queues,
                    ..TapOptions::default()
                },
            )?),
            Self::Packet(ring) => Box::new(PacketPort::open_with(
                interface,
                PacketOptions {
                    queues,
                    ring,
                    ..PacketOptions::default()
                },
            )?),
            Self::Xdp(mode) => Box::new(XdpPort::open(interface, XdpOptions { queues, mode })?),
        })
    }

    pub fn open(self, interface: &str) -> Box<dyn Port> {
        self.try_open(interface, 1)
            .unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// The port on an interface `near`, and the interface where what it sends arrives.
    pub fn with_cable(self, mtu: u32) -> (Box<dyn Port>, &'static str) {
        match self {
            Self::Tap => {
                let port = self.open("near");
                ip(&format!("link set near mtu {mtu}"));
                (port, "near")
            }
            Self::Packet(_) | Self::Xdp(_) => {
                cable(mtu, 1);
                (self.open("near"), "far")
            }
        }
    }
}

/// A pair of interfaces, `near` and `far`, with so many queues each.
pub fn cable(mtu: u32, queues: u16) {
    let queues = format!("numrxqueues {queues} numtxqueues {queues}");
    ip(&format!(
        "link add near mtu {mtu} {queues} type veth peer name far mtu {mtu} {queues}"
    ));
    ip("link set near up");
    ip("link set far up");
}

fn run(program: &str, words: &str) -> Result<(), String> {
    let output = Command::new(program)
        .args(words.split_whitespace())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{program} {words}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

/// Runs `ip` in the calling thread's namespace.
pub fn ip(words: &str) {
    run("ip", words).unwrap_or_else(|error| panic!("{error}"));
}

/// A namespace; it goes when dropped.
pub struct Namespace(String);

impl Namespace {
    /// `None`, with a word about it, where there can be none and none is required.
    pub fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("snt-{}-{number}", std::process::id());
        match run("ip", &format!("netns add {name}")) {
            Ok(()) => Some(Self(name)),
            Err(error) if std::env::var_os("SOFTNIC_REQUIRE_INTERFACES").is_some() => {
                panic!("{error}")
            }
            Err(error) => {
                eprintln!("not run: {error}");
                None
            }
        }
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// Moves the calling thread inside, for good.
    pub fn enter(&self) {
        let handle = std::fs::File::open(format!("/run/netns/{}", self.0)).unwrap();
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(handle.as_fd(), Some(kind)).unwrap();
    }

    /// Runs something on a thread inside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run("ip", &format!("netns del {}", self.0));
    }
}

/// Runs a test in a namespace where nothing else sends.
pub fn alone(test: impl FnOnce() + Send) {
    let Some(namespace) = Namespace::new() else {
        return;
    };
    namespace.inside(|| {
        run("sysctl", "-qw net.ipv6.conf.default.disable_ipv6=1").unwrap();
        test();
    });
}
