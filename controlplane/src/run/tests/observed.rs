//! What can be seen of a running daemon: counters, totals, the way of a packet.

use super::*;
use crate::cli::trace::{AskedArgs, Flag, PacketArgs, Transport};
use crate::config::Mac;
use crate::demo::frame::{Frame, Segment, Tuple};
use crate::device::Device;
use crate::model::Protocol;
use crate::telemetry::counters::Snapshot;
use crate::telemetry::registry::Registry;
use crate::telemetry::roster::{self, Roster};
use crate::telemetry::server;
use crate::trace::{Request, packet};
use p4runtime::proto::p4::v1 as proto;

const CART: &str = "shop/cart:http/TCP";

fn frame(src: &str, dst: &str, syn: bool) -> Vec<u8> {
    let frame = Frame {
        src_mac: Mac([2, 0, 0, 0, 0, 9]),
        dst_mac: Mac([2, 0, 0, 0, 0, 1]),
        ttl: 64,
        tuple: Tuple {
            protocol: Protocol::Tcp,
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
        },
        segment: Segment::Tcp {
            syn,
            fin: false,
            rst: false,
            sequence: 1,
            acknowledgment: (!syn).then_some(1),
        },
        payload: b"",
    };
    frame.build().unwrap()
}

async fn shop(program: Program) -> (Running, Playing, Image, Config, tempfile::TempDir) {
    let nic = nic().await;
    let mut config = config(&nic);
    config.device.pipeline = Some(PipelineConfig::Bundled(program));
    let image = Image::load(config.device.pipeline.as_ref().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    shop::write(folder.path()).unwrap();
    let daemon = start(&config, &image, folder.path()).await;
    (nic, daemon, image, config, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_of_the_device() {
    let (nic, daemon, ..) = shop(Program::Pna).await;
    nic.inject(1, b"not much of a frame");
    let snapshot = counters::read(&*daemon.link.device).await.unwrap().unwrap();
    assert_eq!(
        snapshot.frontends.len(),
        shop::objects().unwrap().promises().len()
    );
    assert_eq!(snapshot.verdicts.iter().sum::<u64>(), 1, "{snapshot:?}");
    assert_eq!(snapshot.tables[0].0, "frontend");
    daemon.end().await;
    nic.shutdown().await;
}

/// Refreshes until the snapshot is as it should be.
async fn seen(daemon: &Playing, fits: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let wait = async {
        loop {
            let snapshot = counters::refresh(&*daemon.link.device)
                .await
                .unwrap()
                .unwrap();
            if fits(&snapshot) {
                return snapshot;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("in time")
}

fn cart(snapshot: &Snapshot) -> &crate::traffic::ServiceTotal {
    let mut services = snapshot.services.iter();
    services.find(|total| &*total.owner == CART).unwrap()
}

async fn traffic_of_services_and_endpoints(program: Program) {
    let (nic, daemon, ..) = shop(program).await;
    for port in 1000..1020 {
        nic.inject(
            1,
            &frame(&format!("10.244.0.9:{port}"), "10.96.10.2:80", true),
        );
    }
    // Where the control plane opens connections, packets come back a little later.
    seen(&daemon, |s| cart(s).traffic.packets == 20).await;
    let reader = reader(&nic).await;
    let rows = get::flows(&reader, Wanted(None)).await.unwrap();
    assert_eq!(rows.len(), 20);
    for row in &rows {
        let (from, to) = (row.endpoint.to_string(), row.source.to_string());
        nic.inject(2, &frame(&from, &to, false));
    }
    nic.inject(1, &frame("10.244.0.9:1000", "10.96.10.2:80", false));
    // A Service without endpoints refuses.
    nic.inject(1, &frame("10.244.0.9:1000", "10.96.10.13:80", true));
    let rejects = |s: &Snapshot| {
        let mut services = s.services.iter();
        services
            .find(|total| &*total.owner == "shop/returns:http/TCP")
            .unwrap()
            .rejects
    };
    let snapshot = seen(&daemon, |s| {
        rejects(s) == 1 && cart(s).traffic.packets == 21
    })
    .await;
    let total = cart(&snapshot);
    assert_eq!((total.port, total.flows), (80, 20));
    let traffic = total.traffic;
    assert_eq!(
        (traffic.packets, traffic.reply_packets, traffic.connections),
        (21, 20, 20)
    );
    assert!(traffic.bytes >= 21 * 40 && traffic.reply_bytes >= 20 * 40);
    let own = snapshot
        .endpoints
        .iter()
        .filter(|total| &*total.owner == CART);
    let own: Vec<_> = own.collect();
    assert!(own.len() > 1);
    assert_eq!(own.iter().map(|e| e.traffic.packets).sum::<u64>(), 21);
    assert_eq!(own.iter().map(|e| e.flows).sum::<u64>(), 20);
    for endpoint in &own {
        let mine = rows.iter().filter(|row| row.endpoint == endpoint.endpoint);
        let mine = mine.count() as u64;
        let traffic = endpoint.traffic;
        assert_eq!((traffic.connections, traffic.reply_packets), (mine, mine));
    }
    // The same numbers straight from the device.
    let shown = get::endpoints(&reader, Wanted(Some("shop/cart")))
        .await
        .unwrap();
    let packets: u64 = shown.iter().filter_map(|row| row.packets).sum();
    let back: u64 = shown.iter().filter_map(|row| row.reply_packets).sum();
    assert_eq!((packets, back), (21, 20));
    daemon.end().await;
    nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_of_services_and_endpoints_on_pna() {
    traffic_of_services_and_endpoints(Program::Pna).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_of_services_and_endpoints_on_v1model() {
    traffic_of_services_and_endpoints(Program::V1model).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_go_on_after_a_restart_and_what_nobody_has_is_cleared() {
    let (nic, daemon, image, config, folder) = shop(Program::Pna).await;
    for port in 1000..1010 {
        nic.inject(
            1,
            &frame(&format!("10.244.0.9:{port}"), "10.96.10.2:80", true),
        );
    }
    // What a run before this one may have left: nobody has this number.
    let stale = 200_000;
    let schema = daemon.link.device.schema().unwrap();
    let counter = schema.counters.named("endpoint_counter").unwrap().id;
    let cell = proto::CounterEntry {
        counter_id: counter,
        index: Some(proto::Index { index: stale }),
        data: Some(proto::CounterData {
            packet_count: 55,
            byte_count: 5500,
        }),
    };
    let entity = proto::Entity {
        entity: Some(proto::entity::Entity::CounterEntry(cell)),
    };
    let update = proto::Update {
        r#type: proto::update::Type::Modify as i32,
        entity: Some(entity),
    };
    daemon.link.device.write(vec![update]).await.unwrap();
    let reader = reader(&nic).await;
    let index = u32::try_from(stale).unwrap();
    let cells = reader.cells("endpoint_counter", &[index]).await.unwrap();
    assert_eq!(cells[&index], (55, 5500));
    daemon.end().await;

    let daemon = start(&config, &image, folder.path()).await;
    let snapshot = seen(&daemon, |s| cart(s).traffic.packets > 0).await;
    let traffic = cart(&snapshot).traffic;
    assert_eq!((traffic.packets, traffic.connections), (10, 10));
    assert_eq!(
        snapshot
            .services
            .iter()
            .map(|s| s.traffic.packets)
            .sum::<u64>(),
        10
    );
    let cells = reader.cells("endpoint_counter", &[index]).await.unwrap();
    assert_eq!(cells[&index], (0, 0));
    // Endpoints that leave take nothing with them.
    let mut daemon = daemon;
    daemon.after(|| shop::scale(folder.path()).unwrap()).await;
    nic.inject(1, &frame("10.244.0.9:1000", "10.96.10.2:80", false));
    let snapshot = seen(&daemon, |s| cart(s).traffic.packets != 10).await;
    assert_eq!(cart(&snapshot).traffic.packets, 11);
    assert_eq!(cart(&snapshot).flows, 10);
    daemon.end().await;
    nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_of_a_packet_by_a_device_and_by_a_running_nicproxy() {
    let nic = nic().await;
    let config = config(&nic);
    let image = Image::load(config.device.pipeline.as_ref().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    shop::write(folder.path()).unwrap();
    let link = Link::start(&config, Some(image)).unwrap();
    let (notices, heard) = crate::watch::channel();
    let _source = ManifestSource::start(folder.path(), notices).unwrap();
    let health = Arc::new(Health::new(config.sync.sync_period.0));
    let (daemon, mut status) = Daemon::new(&config, link.device.clone(), heard, health.clone());
    let stop = CancellationToken::new();
    let shown = server::Shown {
        handle: None,
        roster: Arc::new(Roster::alone(roster::Shown {
            health,
            registry: Registry::default(),
            device: Arc::default(),
            slow_path: None,
            client: None,
            explainer: Some(Arc::new(server::Explainer::new(
                link.client.clone(),
                daemon.inquiries(),
            ))),
        })),
        config: watch::channel(Arc::new(config)).1,
    };
    let admin = server::metrics("127.0.0.1:0".parse().unwrap(), shown, stop.clone());
    let admin = admin.await.unwrap();
    let task = tokio::spawn(daemon.run(stop.clone()));
    let clean = status.wait_for(|status| status.last.as_ref().is_some_and(Report::is_clean));
    tokio::time::timeout(DEADLINE, clean)
        .await
        .expect("in time")
        .unwrap();

    let device = AskedArgs {
        device: DeviceArgs {
            device: Some(Endpoint(format!("http://{}", nic.address()))),
            ..DeviceArgs::default()
        },
        ..AskedArgs::default()
    };
    let proxy = AskedArgs {
        proxy: Some(Endpoint(format!("http://{}", admin.address))),
        ..AskedArgs::default()
    };
    for (to, verdict, table, owner) in [
        ("10.96.10.2:80", "translated", "frontend", CART),
        (
            "10.96.10.13:80",
            "reject",
            "frontend",
            "shop/returns:http/TCP",
        ),
        ("10.96.10.2:81", "reject", "vip", "shop/cart"),
        ("10.96.99.99:80", "drop_blackhole", "route", "route"),
        ("10.244.1.1:80", "forwarded", "route", "route"),
    ] {
        let packet = PacketArgs {
            protocol: Some(Transport::Tcp),
            from: Some("10.244.0.9:1234".parse().unwrap()),
            to: Some(to.parse().unwrap()),
            tcp_flags: vec![Flag::Syn],
            pcap: None,
        };
        let request = Request {
            port: None,
            packets: packet
                .packets()
                .unwrap()
                .iter()
                .map(|p| packet::to_hex(p))
                .collect(),
        };
        let by_device = device.ask(&request).await.unwrap().remove(0);
        let by_proxy = proxy.ask(&request).await.unwrap().remove(0);
        assert_eq!((by_device.verdict.as_str(), by_device.port), (verdict, 1));
        let step = by_device
            .steps
            .iter()
            .rfind(|step| step.table == table)
            .unwrap();
        assert!(step.hit && step.owner == owner, "{step:?}");
        assert_eq!(by_device.steps, by_proxy.steps);
        assert_eq!(by_device.leaves, by_proxy.leaves);
        let knows = by_proxy
            .story
            .iter()
            .any(|line| line.says.contains("ClusterIP of shop/"));
        assert_eq!(knows, table == "frontend", "{:?}", by_proxy.story);
    }
    let reader = reader(&nic).await;
    assert_eq!(
        get::flows(&reader, Wanted(None)).await.unwrap(),
        [],
        "nothing is changed on the device"
    );
    let wrong = Request {
        port: None,
        packets: vec!["0g".to_owned()],
    };
    let error = proxy.ask(&wrong).await.unwrap_err();
    assert!(format!("{error:#}").contains("hexadecimal"), "{error:#}");
    stop.cancel();
    task.await.unwrap();
    link.shutdown().await;
    nic.shutdown().await;
}
