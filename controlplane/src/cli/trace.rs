//! `nicproxy trace`: what becomes of a packet, and why.
//!
//! In: packets, as addresses or in a capture file, and who is to be asked: a running nicproxy, a device, or a folder of
//! manifests, which is programmed into an embedded NIC for that. Out: each packet's story, or one line per packet and
//! a summary where there are many. Nothing is changed on any device.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::args::{DeviceArgs, Endpoint};
use super::output::{self, Format};
use super::rehearsal::Rehearsal;
use super::{admin, reader};
use crate::config::{Mac, Program};
use crate::demo::frame::{Frame, Segment, Tuple};
use crate::model::Protocol;
use crate::trace::{MOST, Request, Traced, Tracer, packet, verdict};

/// Where a running nicproxy answers, unless told otherwise.
const ADMIN: &str = "http://127.0.0.1:10249";

/// Arguments of `nicproxy trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The packet.
    #[command(flatten)]
    pub packet: PacketArgs,
    /// The port that it comes in at [default: the one that its sender is routed to]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u32>,
    /// Who is asked.
    #[command(flatten)]
    pub asked: AskedArgs,
    /// Tell every packet's story, also where there are many
    #[arg(long)]
    pub full: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// A packet: addresses, or a file.
#[derive(Debug, Args)]
pub struct PacketArgs {
    /// A TCP SYN, a UDP packet, an SCTP INIT
    #[arg(
        value_enum,
        ignore_case = true,
        requires = "to",
        required_unless_present = "pcap",
        conflicts_with = "pcap"
    )]
    pub protocol: Option<Transport>,
    /// Its source, address:port
    pub from: Option<SocketAddr>,
    /// Its destination, address:port
    pub to: Option<SocketAddr>,
    /// Flags of the TCP packet
    #[arg(
        long,
        value_name = "FLAGS",
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        default_value = "syn"
    )]
    pub tcp_flags: Vec<Flag>,
    /// The packets of a capture file, pcap or pcapng
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

/// Protocols that have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// Flags of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flag {
    /// Opens a connection
    Syn,
    /// Acknowledges
    Ack,
    /// Closes a direction
    Fin,
    /// Ends the connection
    Rst,
}

/// Who is asked: a folder, a nicproxy or a device, the first of these that is named; else the nicproxy on this host.
#[derive(Debug, Default, Args)]
pub struct AskedArgs {
    /// A running nicproxy: where it serves /metrics [default: http://127.0.0.1:10249]
    #[arg(long, value_name = "URL", conflicts_with = "manifests")]
    pub proxy: Option<Endpoint>,
    /// The node whose NIC the packet comes to, of a nicproxy that programs those of many nodes
    #[arg(long, value_name = "NODE", conflicts_with = "manifests")]
    pub nic: Option<String>,
    /// A device, without knowledge of the cluster.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// A folder or file of manifests, programmed into an embedded NIC for this
    #[arg(long, value_name = "PATH")]
    pub manifests: Option<PathBuf>,
    /// Ports, routes and all other settings, for --manifests
    #[arg(long, value_name = "FILE", requires = "manifests")]
    pub config: Option<PathBuf>,
    /// Name of the node whose view is programmed, for --manifests [default: the configuration's, else the host name]
    #[arg(
        long,
        visible_alias = "hostname-override",
        value_name = "NAME",
        requires = "manifests"
    )]
    pub node_name: Option<String>,
    /// The embedded NIC's program, for --manifests [default: pna]
    #[arg(long, value_name = "PROGRAM", requires = "manifests")]
    pub program: Option<Program>,
}

/// Traces them.
///
/// # Errors
/// When nobody answers, or the packets cannot be read.
pub async fn trace(args: TraceArgs) -> anyhow::Result<()> {
    let request = Request {
        port: args.port,
        packets: args
            .packet
            .packets()?
            .iter()
            .map(|p| packet::to_hex(p))
            .collect(),
    };
    let traced = args.asked.ask(&request).await?;
    let many = args.packet.pcap.is_some() && traced.len() > 1 && !args.full;
    output::print(args.output, &traced, |traced| {
        if many {
            summary(traced)
        } else {
            traced.iter().map(story).collect::<Vec<_>>().join("\n\n")
        }
    })
}

impl AskedArgs {
    /// Asks who is to be asked.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn ask(&self, request: &Request) -> anyhow::Result<Vec<Traced>> {
        if let Some(manifests) = &self.manifests {
            let rehearsal = Rehearsal::start(
                manifests,
                self.config.as_deref(),
                self.node_name.as_deref(),
                self.program.unwrap_or(Program::Pna),
            )
            .await?;
            let traced = rehearsal.trace(request).await;
            rehearsal.end().await;
            return traced;
        }
        if self.proxy.is_none() && self.device.device.is_some() {
            let reader = reader::Reader::open(&self.device).await?;
            let tracer = Tracer::new(reader.client);
            return Ok(tracer.trace(request, None).await?);
        }
        let url = self.proxy.as_ref().map_or(ADMIN, |Endpoint(url)| url);
        let path = match &self.nic {
            Some(node) => format!("/trace/{node}"),
            None => "/trace".to_owned(),
        };
        admin::post(url, &path, request).await.with_context(|| {
            format!(
                "cannot ask the nicproxy at {url}; name a running one with --proxy, a device with --device, or a folder with --manifests"
            )
        })
    }
}

impl PacketArgs {
    /// The packets.
    ///
    /// # Errors
    /// When the capture file cannot be read, or the addresses are of two families.
    pub fn packets(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        if let Some(path) = &self.pcap {
            return captured(path);
        }
        let (Some(protocol), Some(src), Some(dst)) = (self.protocol, self.from, self.to) else {
            bail!(
                "no packet; write `tcp FROM TO`, `udp FROM TO` or `sctp FROM TO`, or --pcap FILE"
            );
        };
        let has = |flag| self.tcp_flags.contains(&flag);
        let (protocol, segment, payload) = match protocol {
            Transport::Tcp => {
                let segment = Segment::Tcp {
                    syn: has(Flag::Syn),
                    fin: has(Flag::Fin),
                    rst: has(Flag::Rst),
                    sequence: 0,
                    acknowledgment: has(Flag::Ack).then_some(0),
                };
                (Protocol::Tcp, segment, &b""[..])
            }
            Transport::Udp => (Protocol::Udp, Segment::Udp { checksum: true }, &b""[..]),
            // INIT
            Transport::Sctp => (Protocol::Sctp, Segment::Sctp { tag: 0 }, &[1, 0, 0, 4][..]),
        };
        let frame = Frame {
            src_mac: Mac([2, 0, 0, 0, 0, 0xfe]),
            dst_mac: Mac([2, 0, 0, 0, 0, 0xff]),
            ttl: 64,
            tuple: Tuple { protocol, src, dst },
            segment,
            payload,
        };
        let bytes = frame.build().context("write two addresses of one family")?;
        Ok(vec![bytes])
    }
}

/// The frames of a capture file.
fn captured(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let what = || {
        format!(
            "{} is no capture file in pcap or pcapng format",
            path.display()
        )
    };
    let frames = if bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        pcapng(&bytes).with_context(what)?
    } else {
        pcap(&bytes).with_context(what)?
    };
    if frames.len() > MOST {
        bail!(
            "{} has more than {MOST} packets; take a part of it, for instance with `editcap -r`",
            path.display()
        );
    }
    Ok(frames)
}

fn pcap(bytes: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut reader = pcap_file::pcap::PcapReader::new(bytes)?;
    let link = reader.header().datalink;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.with_context(|| format!("packet {}", frames.len() + 1))?;
        frames.push(frame(link, &packet.data)?);
        if frames.len() > MOST {
            break;
        }
    }
    Ok(frames)
}

fn pcapng(bytes: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    use pcap_file::pcapng::Block;
    let mut reader = pcap_file::pcapng::PcapNgReader::new(bytes)?;
    let mut links = Vec::new();
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.with_context(|| format!("behind packet {}", frames.len()))? {
            Block::SectionHeader(_) => links.clear(),
            Block::InterfaceDescription(interface) => links.push(interface.linktype),
            Block::EnhancedPacket(packet) => {
                let link = usize::try_from(packet.interface_id).ok();
                let link = link
                    .and_then(|at| links.get(at))
                    .context("no such interface")?;
                frames.push(frame(*link, &packet.data)?);
            }
            Block::SimplePacket(packet) => {
                let link = links.first().context("no interface")?;
                frames.push(frame(*link, &packet.data)?);
            }
            _ => {}
        }
        if frames.len() > MOST {
            break;
        }
    }
    Ok(frames)
}

/// A packet as a frame: captures of tunnels have IP packets without Ethernet.
fn frame(link: pcap_file::DataLink, data: &[u8]) -> anyhow::Result<Vec<u8>> {
    use pcap_file::DataLink;
    match link {
        DataLink::ETHERNET => Ok(data.to_vec()),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => {
            let ethertype: [u8; 2] = match data.first().map(|byte| byte >> 4) {
                Some(6) => [0x86, 0xdd],
                _ => [0x08, 0x00],
            };
            let addresses = [2, 0, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, 0xfe];
            Ok([&addresses[..], &ethertype, data].concat())
        }
        other => bail!("it has packets of link type {other:?}; Ethernet and plain IP are known"),
    }
}

/// A packet's story.
pub(super) fn story(traced: &Traced) -> String {
    let width = traced.story.iter().map(|line| line.about.len()).max();
    let width = width.unwrap_or_default();
    let mut text = output::styled(output::HEAD, &traced.packet);
    for line in &traced.story {
        let about = format!("{:width$}", line.about);
        let says = if line.about == "verdict" {
            let style = if traced.dropped.is_some() || traced.verdict == "reject" {
                output::BAD
            } else {
                output::GOOD
            };
            output::styled(style, &line.says)
        } else {
            line.says.clone()
        };
        text += &format!("\n  {}  {says}", output::styled(output::FAINT, about));
    }
    text
}

/// One line per packet, and how many ended how.
pub(super) fn summary(traced: &[Traced]) -> String {
    let packets = output::table(
        ["#", "PORT", "PACKET", "VERDICT", "LEAVES"],
        &[0, 1],
        traced.iter().enumerate().map(|(at, one)| {
            [
                (at + 1).to_string(),
                one.port.to_string(),
                one.packet.clone(),
                one.verdict.clone(),
                if one.leaves.is_empty() {
                    "-".to_owned()
                } else {
                    one.leaves.join(", ")
                },
            ]
        }),
    );
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for one in traced {
        *ends.entry(&one.verdict).or_default() += 1;
    }
    let ends = output::table(
        ["PACKETS", "VERDICT", "MEANING"],
        &[0],
        ends.into_iter().map(|(name, count)| {
            let meaning = verdict::meaning(name).to_owned();
            [count.to_string(), name.to_owned(), meaning]
        }),
    );
    format!("{packets}\n\n{ends}")
}

#[cfg(test)]
mod tests;
