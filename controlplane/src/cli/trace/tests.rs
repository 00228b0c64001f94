//! Stories, word by word, of packets in an embedded NIC that a folder of manifests is programmed into.

use super::*;

/// Manifests and configuration in a folder, and packets traced there.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("manifests")).unwrap();
        let files = [
            ("manifests/cluster.yaml", include_str!("cluster.yaml")),
            ("nic.yaml", include_str!("nic.yaml")),
        ];
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    async fn ask(&self, program: Program, packets: &[Vec<u8>]) -> Vec<Traced> {
        let asked = AskedArgs {
            manifests: Some(self.0.path().join("manifests")),
            config: Some(self.0.path().join("nic.yaml")),
            program: Some(program),
            ..AskedArgs::default()
        };
        let request = Request {
            port: None,
            packets: packets.iter().map(|p| packet::to_hex(p)).collect(),
        };
        asked.ask(&request).await.unwrap()
    }
}

fn packet(protocol: Transport, from: &str, to: &str, flags: &[Flag]) -> Vec<u8> {
    let args = PacketArgs {
        protocol: Some(protocol),
        from: Some(from.parse().unwrap()),
        to: Some(to.parse().unwrap()),
        tcp_flags: flags.to_vec(),
        pcap: None,
    };
    args.packets().unwrap().remove(0)
}

fn syn(from: &str, to: &str) -> Vec<u8> {
    packet(Transport::Tcp, from, to, &[Flag::Syn])
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn stories(traced: &[Traced]) -> String {
    let stories: Vec<String> = traced.iter().map(|one| plain(&story(one))).collect();
    stories.join("\n\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_explained_on_pna() {
    let folder = Folder::new();
    let packets = [
        // A cluster IP; the same connection again; and its answer.
        syn("10.244.0.9:4000", "10.96.0.10:443"),
        packet(
            Transport::Tcp,
            "10.244.0.9:4000",
            "10.96.0.10:443",
            &[Flag::Ack],
        ),
        packet(
            Transport::Tcp,
            "10.244.1.20:8443",
            "10.244.0.9:4000",
            &[Flag::Syn, Flag::Ack],
        ),
        // Policy Local without an endpoint here: from outside, and from a pod.
        syn("198.51.100.7:4000", "192.0.2.10:30080"),
        syn("10.244.0.9:4001", "192.0.2.10:30080"),
        // Admitted and not admitted by source ranges.
        syn("198.51.100.7:4001", "203.0.113.10:80"),
        syn("198.51.101.7:4001", "203.0.113.10:80"),
        // Source NAT, of a client from outside, and of an endpoint that calls itself.
        syn("198.51.100.7:4002", "192.0.2.10:30081"),
        syn("10.244.1.22:4003", "10.96.0.12:80"),
        // Nobody serves; an unknown port; an unassigned address; a Service that is none.
        syn("10.244.0.9:4004", "10.96.0.13:80"),
        syn("10.244.0.9:4005", "10.96.0.10:81"),
        syn("10.244.0.9:4006", "10.96.99.99:80"),
        syn("10.244.0.9:4007", "198.51.100.7:80"),
        // Session affinity: two connections of one client.
        syn("10.244.0.9:4008", "10.96.0.14:80"),
        syn("10.244.0.9:4010", "10.96.0.14:80"),
        // Topology, and an endpoint that is going away.
        syn("10.244.0.9:4009", "10.96.0.15:80"),
        packet(Transport::Udp, "10.244.0.9:4011", "10.96.0.16:53", &[]),
    ];
    let traced = folder.ask(Program::Pna, &packets).await;
    insta::assert_snapshot!("pna", stories(&traced));
    let verdicts: Vec<&str> = traced.iter().map(|one| one.verdict.as_str()).collect();
    assert_eq!(
        verdicts,
        [
            "translated",
            "translated",
            "replied",
            "drop_policy",
            "translated",
            "drop_policy",
            "drop_source",
            "translated",
            "translated",
            "reject",
            "reject",
            "drop_blackhole",
            "forwarded",
            "translated",
            "translated",
            "translated",
            "translated",
        ]
    );
    // The same client keeps its endpoint, and the story says so.
    let keeps = &traced[14].story;
    assert!(
        keeps
            .iter()
            .any(|line| line.says.starts_with("the client keeps 10.244.1.3"))
    );
    assert_eq!(traced[3].dropped.as_deref(), Some("policy"));
    let json = serde_json::to_string(&traced).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Traced>>(&json).unwrap(), traced);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_v1model_the_control_plane_opens_connections() {
    let folder = Folder::new();
    let packets = [
        syn("10.244.0.9:4000", "10.96.0.10:443"),
        packet(
            Transport::Tcp,
            "10.244.0.9:4000",
            "10.96.0.10:443",
            &[Flag::Ack],
        ),
        syn("198.51.100.7:4002", "192.0.2.10:30081"),
        syn("198.51.101.7:4001", "203.0.113.10:80"),
    ];
    let traced = folder.ask(Program::V1model, &packets).await;
    insta::assert_snapshot!("v1model", stories(&traced));
}

/// "Fragmentation needed", quoting what came out for `sent`, from a router on the way.
fn too_big(sent: &[u8]) -> Vec<u8> {
    use etherparse::icmpv4::DestUnreachableHeader;
    use etherparse::{Icmpv4Type, PacketBuilder};
    let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 2])
        .ipv4([10, 244, 1, 1], [10, 244, 0, 9], 60)
        .icmpv4(Icmpv4Type::DestinationUnreachable(kind));
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &sent[14..14 + 28]).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_with_many_packets_is_summed_up() {
    let folder = Folder::new();
    let out = packet(
        Transport::Tcp,
        "10.244.0.9:4000",
        "10.244.1.20:8443",
        &[Flag::Ack],
    );
    let frames = [
        syn("10.244.0.9:4000", "10.96.0.10:443"),
        packet(
            Transport::Tcp,
            "10.244.1.20:8443",
            "10.244.0.9:4000",
            &[Flag::Syn, Flag::Ack],
        ),
        packet(
            Transport::Tcp,
            "10.244.0.9:4000",
            "10.96.0.10:443",
            &[Flag::Ack],
        ),
        too_big(&out),
        syn("198.51.101.7:4001", "203.0.113.10:80"),
        b"no packet at all".to_vec(),
    ];
    let path = folder.0.path().join("capture.pcap");
    let mut writer =
        pcap_file::pcap::PcapWriter::new(std::fs::File::create(&path).unwrap()).unwrap();
    for frame in &frames {
        let length = u32::try_from(frame.len()).unwrap();
        let time = std::time::Duration::ZERO;
        let packet = pcap_file::pcap::PcapPacket::new(time, length, frame);
        writer.write_packet(&packet).unwrap();
    }
    drop(writer);
    let args = PacketArgs {
        protocol: None,
        from: None,
        to: None,
        tcp_flags: Vec::new(),
        pcap: Some(path),
    };
    let packets = args.packets().unwrap();
    assert_eq!(packets, frames);
    let traced = folder.ask(Program::Pna, &packets).await;
    insta::assert_snapshot!("pcap", plain(&summary(&traced)));
    insta::assert_snapshot!("related", plain(&story(&traced[3])));
}

/// An ARP request of a host of the network.
fn who_has(address: [u8; 4]) -> Vec<u8> {
    let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 9]].concat();
    frame.extend([
        8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 192, 0, 2, 99,
    ]);
    frame.extend([0; 6]);
    frame.extend(address);
    frame
}

const FRONT: &str = "
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: front}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.40
  clusterIPs: [10.96.0.40]
  ports: [{name: http, port: 80, protocol: TCP}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.11}]}}
";

/// A neighbour solicitation of a host of the network.
fn solicitation(target: &str) -> Vec<u8> {
    let target: std::net::Ipv6Addr = target.parse().unwrap();
    let (src, dst) = ("2001:db8::99", "ff02::1:ff00:210");
    let [src, dst] = [src, dst].map(|ip| ip.parse::<std::net::Ipv6Addr>().unwrap().octets());
    let mut bytes = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], [0x33, 0x33, 0xff, 0, 2, 0x10])
        .ipv6(src, dst, 255)
        .icmpv6_raw(135, 0, [0; 4])
        .write(&mut bytes, &target.octets())
        .unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_an_address_of_the_nic_is_told_why_it_answers() {
    let folder = Folder::new();
    let nic = folder.0.path().join("nic.yaml");
    let own = "masquerade: {addresses: [{address: 192.0.2.210}, {address: \"2001:db8::210\"}]}\n";
    let all = "answer_neighbors: load-balancers\n";
    let text = [include_str!("nic.yaml"), own, all].concat();
    std::fs::write(nic, text).unwrap();
    std::fs::write(folder.0.path().join("manifests/front.yaml"), FRONT).unwrap();
    let packets = [
        who_has([192, 0, 2, 210]),
        who_has([203, 0, 113, 11]),
        // Policy Local without an endpoint here: another node's.
        who_has([203, 0, 113, 10]),
        who_has([10, 96, 0, 10]),
        solicitation("2001:db8::210"),
        solicitation("2001:db8::211"),
    ];
    for program in [Program::Pna, Program::V1model] {
        let traced = folder.ask(program, &packets).await;
        let verdicts: Vec<&str> = traced.iter().map(|one| one.verdict.as_str()).collect();
        let [own, other] = ["neighbor", "drop_no_route"];
        assert_eq!(verdicts, [own, own, other, other, own, other]);
        let asked = |one: &Traced| {
            let mut lines = one.story.iter().filter(|line| line.about == "asked for");
            lines.next().unwrap().says.clone()
        };
        let asked: Vec<String> = traced.iter().map(asked).collect();
        assert_eq!(
            asked,
            [
                "192.0.2.210 is the NIC's own",
                "203.0.113.11 is a load balancer's, of shop/front",
                "203.0.113.10 is none of the NIC's: its owner answers",
                "10.96.0.10 is none of the NIC's: its owner answers",
                "2001:db8::210 is the NIC's own",
                "2001:db8::211 is none of the NIC's: its owner answers",
            ]
        );
    }
}

#[test]
fn captures_of_other_kinds() {
    use pcap_file::DataLink;
    let ip = &syn("10.0.0.1:1", "10.0.0.2:2")[14..];
    let framed = frame(DataLink::RAW, ip).unwrap();
    assert_eq!(packet::describe(&framed), "TCP 10.0.0.1:1 > 10.0.0.2:2 SYN");
    assert!(frame(DataLink::PPP, ip).is_err());
    let path = tempfile::NamedTempFile::new().unwrap();
    for bytes in [
        &b""[..],
        b"not a capture",
        &[0x0a, 0x0d, 0x0d, 0x0a],
        &[0xd4, 0xc3, 0xb2, 0xa1],
    ] {
        std::fs::write(path.path(), bytes).unwrap();
        assert!(captured(path.path()).is_err(), "{bytes:?}");
    }
}
