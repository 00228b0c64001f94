//! Real TCP and UDP stacks through a switch, with everything that Linux leaves to hardware left to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use softnic::port::{Port, Ring, XdpMode};
use softnic::{Program, SoftNic, Statistics};

use crate::net::{Kind, Namespace, ip};

const WIRE: &str = include_str!("../programs/wire.p4");

/// Bytes of one transfer.
const BULK: usize = 8 << 20;

/// Two hosts, and a namespace with the switch's ends of their cables.
pub struct Hosts {
    pub client: Namespace,
    pub server: Namespace,
    nic: Namespace,
}

/// Opens an interface.
pub type Open<'a> = &'a (dyn Fn(&str) -> Box<dyn Port> + Sync);

impl Hosts {
    pub fn new() -> Option<Self> {
        let hosts = Self {
            client: Namespace::new()?,
            server: Namespace::new()?,
            nic: Namespace::new()?,
        };
        for (host, number) in [(&hosts.client, 1), (&hosts.server, 2)] {
            let (nic, port) = (hosts.nic.name(), format!("port{number}"));
            host.inside(|| {
                ip(&format!(
                    "link add eth0 type veth peer name {port} netns {nic}"
                ));
                ip(&format!("addr add 10.9.0.{number}/24 dev eth0"));
                ip(&format!("addr add fd00:9::{number}/64 dev eth0 nodad"));
                ip("link set lo up");
                ip("link set eth0 up");
            });
            hosts.nic.inside(|| ip(&format!("link set {port} up")));
        }
        Some(hosts)
    }

    /// Runs a switch between the hosts' cables while they do something, and returns what it counted.
    pub fn through(&self, open: [Open<'_>; 2], work: impl FnOnce() + Send) -> Statistics {
        self.nic.inside(|| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let ports =
                [(1, open[0]), (2, open[1])].map(|(id, open)| (id, open(&format!("port{id}"))));
            let nic = runtime.block_on(start(ports));
            work();
            let statistics = nic.statistics();
            runtime.block_on(nic.shutdown());
            statistics
        })
    }
}

impl Hosts {
    /// Connects the cables by a bridge of the kernel.
    pub fn bridge(&self) {
        self.nic.inside(|| {
            ip("link add bridge type bridge");
            ip("link set bridge up");
            ip("link set port1 master bridge");
            ip("link set port2 master bridge");
        });
    }
}

async fn start(ports: [(u32, Box<dyn Port>); 2]) -> softnic::Running {
    let program = Program::from_text("wire.p4", WIRE).unwrap();
    let mut builder = SoftNic::builder().program(program);
    for (id, port) in ports {
        builder = builder.port(id, port);
    }
    builder.serve("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

fn content(seed: u8) -> Vec<u8> {
    let mut byte = seed;
    let next = || {
        byte = byte.wrapping_mul(13).wrapping_add(7);
        byte
    };
    std::iter::repeat_with(next).take(BULK).collect()
}

/// Sends in both directions, over IPv4 or IPv6, and compares.
fn transfer(hosts: &Hosts, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = hosts.server.inside(|| TcpListener::bind(address).unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            let mut came = vec![0; BULK];
            stream.read_exact(&mut came).unwrap();
            assert!(came == content(1), "damaged on the way to the server");
            stream.write_all(&content(2)).unwrap();
        });
        let mut stream = hosts
            .client
            .inside(|| TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap());
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.write_all(&content(1)).unwrap();
        let mut came = vec![0; BULK];
        stream.read_exact(&mut came).unwrap();
        assert!(came == content(2), "damaged on the way to the client");
    });
}

/// Datagrams of every kind of length, answered.
fn datagrams(hosts: &Hosts) {
    let server = hosts
        .server
        .inside(|| UdpSocket::bind("10.9.0.2:53").unwrap());
    let client = hosts
        .client
        .inside(|| UdpSocket::bind("10.9.0.1:0").unwrap());
    for socket in [&server, &client] {
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
    }
    let mut buffer = [0; 2048];
    for length in [0, 1, 2, 3, 100, 1471, 1472] {
        let sent = &content(3)[..length];
        client.send_to(sent, "10.9.0.2:53").unwrap();
        let (came, from) = server.recv_from(&mut buffer).unwrap();
        assert!(buffer[..came] == *sent);
        server.send_to(&buffer[..came], from).unwrap();
        assert_eq!(client.recv_from(&mut buffer).unwrap().0, length);
    }
}

fn stacks_talk(kinds: [Kind; 2]) -> Option<Statistics> {
    let hosts = Hosts::new()?;
    let [one, two] = kinds.map(|kind| move |name: &str| kind.open(name));
    Some(hosts.through([&one, &two], || {
        transfer(&hosts, "10.9.0.2:80");
        transfer(&hosts, "[fd00:9::2]:80");
        datagrams(&hosts);
    }))
}

const FRAMES: Kind = Kind::Packet(Ring::Frames);

#[test]
fn super_frames_pass_between_packet_sockets_as_they_are() {
    for kind in [FRAMES, Kind::Packet(Ring::Blocks)] {
        let Some(statistics) = stacks_talk([kind, kind]) else {
            return;
        };
        let sent = &statistics.ports[1].counters;
        let mean = sent.tx_bytes / sent.tx_packets.max(1);
        assert!(
            mean > 1514,
            "{kind:?}: {mean} bytes per packet, so they were cut"
        );
    }
}

#[test]
fn super_frames_are_cut_for_ports_that_take_none() {
    let Some(statistics) = stacks_talk([FRAMES, Kind::Xdp(XdpMode::Native)]) else {
        return;
    };
    let (from, to) = (&statistics.ports[0].counters, &statistics.ports[1].counters);
    // Acknowledgements come in one by one; nothing but cutting makes more packets of fewer.
    assert!(to.tx_packets > from.rx_packets + 1000, "{from:?} {to:?}");
    assert!(to.tx_bytes / to.tx_packets < 1600, "{to:?}");
    assert!(to.tx_bytes > BULK as u64);
}

/// veth's senders leave checksums undone; XDP does not say so.
#[test]
fn stacks_talk_through_xdp() {
    let native = Kind::Xdp(XdpMode::Native);
    stacks_talk([native, native]);
}
