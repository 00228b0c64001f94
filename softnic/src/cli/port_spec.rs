//! Ports as they are written: `1=tap:nic0`, `2=packet:eth0,queues=4,ring=blocks`, `2=xdp:eth0`, `3=pcap:in.pcap,out.pcap`.
//!
//! In: text. Out: a number and what is attached to it, or an error that says what to write instead.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::port::busy::Busy;
use crate::port::{PacketOptions, Port, PortError, Ring, TapOptions, XdpMode, XdpOptions, pcap};

/// A port given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// Its number.
    pub id: u32,
    /// What it is attached to.
    pub kind: PortKind,
    /// For how long its threads go on looking after packets, before they sleep.
    pub busy_poll: Duration,
}

/// What a port is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortKind {
    /// A TAP interface.
    Tap(String, TapOptions),
    /// A network interface, through a packet socket.
    Packet(String, PacketOptions),
    /// A network interface, through AF_XDP.
    Xdp(String, XdpOptions),
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
    #[error(
        "{0:?} is not a kind of port; there are tap:IFACE, packet:IFACE, xdp:IFACE and pcap:IN,OUT"
    )]
    Kind(String),
    /// An option that the kind does not have.
    #[error("{kind} ports have no option {option:?}; there are {known}")]
    Option {
        /// The kind.
        kind: &'static str,
        /// What was written.
        option: String,
        /// What could have been.
        known: &'static str,
    },
    /// A value that the option does not have.
    #[error("{value:?} is no value of the option {option}; write {known}")]
    Value {
        /// The option.
        option: String,
        /// What was written.
        value: String,
        /// What could have been.
        known: &'static str,
    },
}

impl FromStr for PortSpec {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = || PortSpecError::Number(text.to_owned());
        let (id, rest) = text.split_once('=').ok_or_else(number)?;
        let id = id.parse().map_err(|_| number())?;
        let file = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
        let mut busy_poll = Duration::ZERO;
        let kind = match rest.split_once(':') {
            Some(("tap", rest)) => {
                let mut options = TapOptions::default();
                let interface = read(rest, |option| match option.key {
                    "queues" => option.count(&mut options.queues),
                    "offload" => option.switch(&mut options.offload),
                    "busy-poll" => option.microseconds(&mut busy_poll),
                    _ => Err(option.unknown("tap", "queues=N, offload=on|off and busy-poll=N")),
                })?;
                PortKind::Tap(interface, options)
            }
            Some(("packet", rest)) => {
                let mut options = PacketOptions::default();
                let interface = read(rest, |option| match option.key {
                    "queues" => option.count(&mut options.queues),
                    "offload" => option.switch(&mut options.offload),
                    "ring" => option.ring(&mut options.ring),
                    "busy-poll" => option.microseconds(&mut busy_poll),
                    _ => Err(option.unknown(
                        "packet",
                        "queues=N, offload=on|off, ring=frames|blocks and busy-poll=N",
                    )),
                })?;
                PortKind::Packet(interface, options)
            }
            Some(("xdp", rest)) => {
                let mut options = XdpOptions::default();
                let interface = read(rest, |option| match option.key {
                    "queues" => option.count(&mut options.queues),
                    "mode" => option.mode(&mut options.mode),
                    "busy-poll" => option.microseconds(&mut busy_poll),
                    _ => Err(option.unknown(
                        "xdp",
                        "queues=N, mode=native|generic|zero-copy and busy-poll=N",
                    )),
                })?;
                PortKind::Xdp(interface, options)
            }
            Some(("pcap", files)) => {
                let (input, output) = files.split_once(',').unwrap_or((files, ""));
                PortKind::Pcap(file(input), file(output))
            }
            _ => return Err(PortSpecError::Kind(rest.to_owned())),
        };
        Ok(Self {
            id,
            kind,
            busy_poll,
        })
    }
}

/// `key=value` behind an interface.
struct Written<'a> {
    key: &'a str,
    value: &'a str,
}

/// Reads the interface, and each option by `apply`.
fn read(
    text: &str,
    mut apply: impl FnMut(Written<'_>) -> Result<(), PortSpecError>,
) -> Result<String, PortSpecError> {
    let mut words = text.split(',');
    let interface = words.next().unwrap_or_default();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        apply(Written { key, value })?;
    }
    Ok(interface.to_owned())
}

impl Written<'_> {
    fn unknown(&self, kind: &'static str, known: &'static str) -> PortSpecError {
        PortSpecError::Option {
            kind,
            option: self.key.to_owned(),
            known,
        }
    }

    fn bad(&self, known: &'static str) -> PortSpecError {
        PortSpecError::Value {
            option: self.key.to_owned(),
            value: self.value.to_owned(),
            known,
        }
    }

    fn count(&self, to: &mut u16) -> Result<(), PortSpecError> {
        let count = self
            .value
            .parse()
            .ok()
            .filter(|count| (1..=64).contains(count));
        *to = count.ok_or_else(|| self.bad("a number from 1 to 64"))?;
        Ok(())
    }

    /// At most what a person would still call a moment: the thread does not see meanwhile that it should stop.
    fn microseconds(&self, to: &mut Duration) -> Result<(), PortSpecError> {
        let number = self.value.parse().ok().filter(|n| *n <= 10_000);
        *to = number
            .map(Duration::from_micros)
            .ok_or_else(|| self.bad("a number of microseconds up to 10000"))?;
        Ok(())
    }

    fn switch(&self, to: &mut bool) -> Result<(), PortSpecError> {
        *to = match self.value {
            "on" => true,
            "off" => false,
            _ => return Err(self.bad("on or off")),
        };
        Ok(())
    }

    fn mode(&self, to: &mut XdpMode) -> Result<(), PortSpecError> {
        *to = match self.value {
            "native" => XdpMode::Native,
            "generic" => XdpMode::Generic,
            "zero-copy" => XdpMode::ZeroCopy,
            _ => return Err(self.bad("native, generic or zero-copy")),
        };
        Ok(())
    }

    fn ring(&self, to: &mut Ring) -> Result<(), PortSpecError> {
        *to = match self.value {
            "frames" => Ring::Frames,
            "blocks" => Ring::Blocks,
            _ => return Err(self.bad("frames or blocks")),
        };
        Ok(())
    }
}

impl PortSpec {
    /// Opens the port.
    ///
    /// # Errors
    /// As the port's own `open`.
    pub fn open(&self) -> Result<Box<dyn Port>, PortError> {
        let port: Box<dyn Port> = match &self.kind {
            PortKind::Tap(interface, options) => open_tap(interface, *options)?,
            PortKind::Packet(interface, options) => open_packet(interface, *options)?,
            PortKind::Xdp(interface, options) => open_xdp(interface, *options)?,
            PortKind::Pcap(input, output) => {
                Box::new(pcap::PcapPort::open(input.as_deref(), output.as_deref())?)
            }
        };
        Ok(match self.busy_poll {
            Duration::ZERO => port,
            window => Box::new(Busy::new(port, window)),
        })
    }
}

#[cfg(target_os = "linux")]
fn open_tap(interface: &str, options: TapOptions) -> Result<Box<dyn Port>, PortError> {
    let port = crate::port::tap::TapPort::open_with(interface, options)?;
    Ok(Box::new(port))
}

#[cfg(target_os = "linux")]
fn open_packet(interface: &str, options: PacketOptions) -> Result<Box<dyn Port>, PortError> {
    let port = crate::port::packet::PacketPort::open_with(interface, options)?;
    Ok(Box::new(port))
}

#[cfg(target_os = "linux")]
fn open_xdp(interface: &str, options: XdpOptions) -> Result<Box<dyn Port>, PortError> {
    Ok(Box::new(crate::port::xdp::XdpPort::open(
        interface, options,
    )?))
}

#[cfg(not(target_os = "linux"))]
fn open_xdp(interface: &str, _: XdpOptions) -> Result<Box<dyn Port>, PortError> {
    unsupported(interface, "opening an AF_XDP socket")
}

#[cfg(not(target_os = "linux"))]
fn open_tap(interface: &str, _: TapOptions) -> Result<Box<dyn Port>, PortError> {
    unsupported(interface, "opening a TAP interface")
}

#[cfg(not(target_os = "linux"))]
fn open_packet(interface: &str, _: PacketOptions) -> Result<Box<dyn Port>, PortError> {
    unsupported(interface, "opening a packet socket")
}

#[cfg(not(target_os = "linux"))]
fn unsupported(interface: &str, action: &'static str) -> Result<Box<dyn Port>, PortError> {
    let kind = std::io::ErrorKind::Unsupported;
    Err(PortError::io(interface, action, kind.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<PortSpec, PortSpecError> {
        text.parse()
    }

    #[test]
    fn ports_are_a_number_and_what_they_are_attached_to() {
        assert_eq!(
            spec("1=tap:nic0").unwrap(),
            PortSpec {
                id: 1,
                kind: PortKind::Tap("nic0".into(), TapOptions::default()),
                busy_poll: Duration::ZERO,
            }
        );
        let files = PortKind::Pcap(Some("a.pcap".into()), Some("b.pcap".into()));
        let spec_of_files = spec("3=pcap:a.pcap,b.pcap").unwrap();
        assert_eq!((spec_of_files.id, spec_of_files.kind), (3, files));
        assert_eq!(
            spec("3=pcap:,b").unwrap().kind,
            PortKind::Pcap(None, Some("b".into()))
        );
        assert!(matches!(spec("tap:nic0"), Err(PortSpecError::Number(_))));
        assert!(matches!(spec("1=nic0"), Err(PortSpecError::Kind(_))));
    }

    #[test]
    fn interfaces_take_the_options_of_their_kind() {
        let options = PacketOptions {
            queues: 4,
            ring: Ring::Blocks,
            offload: false,
        };
        assert_eq!(
            spec("2=packet:eth0,queues=4,ring=blocks,offload=off")
                .unwrap()
                .kind,
            PortKind::Packet("eth0".into(), options)
        );
        let options = XdpOptions {
            queues: 2,
            mode: XdpMode::Generic,
        };
        assert_eq!(
            spec("1=xdp:eth0,mode=generic,queues=2").unwrap().kind,
            PortKind::Xdp("eth0".into(), options)
        );
        assert_eq!(
            spec("1=xdp:eth0").unwrap().kind,
            PortKind::Xdp("eth0".into(), XdpOptions::default())
        );
        for kind in ["tap", "packet", "xdp"] {
            let spec = spec(&format!("1={kind}:eth0,busy-poll=50")).unwrap();
            assert_eq!(spec.busy_poll, Duration::from_micros(50));
        }
        let refused = |text| spec(text).unwrap_err().to_string();
        assert_eq!(
            refused("1=tap:nic0,ring=blocks"),
            "tap ports have no option \"ring\"; there are queues=N, offload=on|off and busy-poll=N"
        );
        assert_eq!(
            refused("1=tap:nic0,queues=0"),
            "\"0\" is no value of the option queues; write a number from 1 to 64"
        );
        assert!(refused("1=packet:eth0,offload").contains("on or off"));
        assert!(refused("1=xdp:eth0,mode=fast").contains("zero-copy"));
        assert!(refused("1=xdp:eth0,busy-poll=1s").contains("microseconds"));
        assert!(refused("1=packet:eth0,ring=v3").contains("frames or blocks"));
    }
}
