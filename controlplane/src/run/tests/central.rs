//! One cluster, NICs of three nodes: each has its own view, one that is dead holds up no other, they come and go.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::run::cluster::Cluster;
use crate::run::fleet::Fleet;
use crate::telemetry::roster::Roster;

/// A Service with an endpoint on each of the nodes `a`, `b` and `c`.
fn manifest(name: &str, last: u8, policy: &str) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         clusterIP: 10.96.1.{last}\n  clusterIPs: [10.96.1.{last}]\n  internalTrafficPolicy: {policy}\n  \
         ports: [{{port: 80, targetPort: 8080}}]\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata:\n  name: {name}-x\n  namespace: shop\n  labels: {{kubernetes.io/service-name: {name}}}\n\
         addressType: IPv4\nports: [{{name: '', protocol: TCP, port: 8080}}]\nendpoints:\n"
    );
    for (at, node) in ["a", "b", "c"].iter().enumerate() {
        text.push_str(&format!(
            "  - {{addresses: [10.244.{at}.{last}], nodeName: {node}, conditions: {{ready: true}}}}\n"
        ));
    }
    text
}

fn nics(of: &[(&str, SocketAddr)]) -> BTreeMap<String, Config> {
    let mut text = String::from("device: {pipeline: {bundled: pna}}\nnics:\n");
    for (node, address) in of {
        text.push_str(&format!(
            "  {node}:\n    device: {{address: 'http://{address}'}}\n    \
             ports: [{{port: 1, role: host, mac: 02:00:00:00:00:01}}]\n"
        ));
    }
    let config = Config::parse(&text, Path::new("many.yaml")).unwrap();
    config.validate().unwrap();
    config.each_nic().unwrap()
}

/// Endpoints that a NIC leads to, of the Services whose endpoints end in this.
async fn endpoints(nic: &Running, last: u8) -> BTreeSet<IpAddr> {
    let reader = reader(nic).await;
    let entries = reader.entries(&reader.tables.endpoint).await.unwrap();
    let found = entries.iter().map(|entry| entry.action.address.ip());
    found
        .filter(|ip| matches!(ip, IpAddr::V4(v4) if v4.octets()[3] == last))
        .collect()
}

fn ips(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The cluster, what keeps its NICs, and a folder that it is made from.
struct World {
    fleet: Fleet,
    roster: Arc<Roster>,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    intake: JoinHandle<()>,
    _source: ManifestSource,
}

impl World {
    fn new(folder: tempfile::TempDir) -> Self {
        let (notices, heard) = crate::watch::channel();
        let source = ManifestSource::start(folder.path(), notices).unwrap();
        let cluster = Arc::new(Cluster::default());
        let roster = Arc::new(Roster::many());
        let stop = CancellationToken::new();
        let intake = tokio::spawn({
            let (cluster, stop) = (cluster.clone(), stop.clone());
            async move { cluster.follow(heard, stop).await }
        });
        Self {
            fleet: Fleet::new(cluster, roster.clone()),
            roster,
            folder,
            stop,
            intake,
            _source: source,
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    async fn status(&self, node: &str, fits: impl Fn(&Status) -> bool) -> Status {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let mut status = loop {
            if let Some(status) = self.fleet.status(node) {
                break status;
            }
            assert!(tokio::time::Instant::now() < deadline, "{node} never began");
            tokio::task::yield_now().await;
        };
        let found = tokio::time::timeout_at(deadline, status.wait_for(|now| fits(now))).await;
        found.expect("in time").expect("running").clone()
    }

    async fn gauge(&self, node: &str) -> Option<String> {
        let text = self.roster.render(String::new()).await;
        let wanted = format!("nicproxy_device_connected{{node=\"{node}\"}} ");
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(&wanted).map(str::to_owned))
    }

    async fn end(self) {
        self.fleet.end().await;
        assert_eq!(self.roster.nodes(), Vec::<String>::new());
        self.stop.cancel();
        self.intake.await.unwrap();
    }
}

fn clean(status: &Status) -> bool {
    status.last.as_ref().is_some_and(Report::is_clean)
}

#[tokio::test(flavor = "multi_thread")]
async fn nics_of_three_nodes_one_of_them_dead() {
    let (first, second) = (nic().await, nic().await);
    // Nobody listens there until later.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let third = dead.local_addr().unwrap();
    drop(dead);
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder);
    world.write("all.yaml", &manifest("all", 1, "Cluster"));
    world.write("near.yaml", &manifest("near", 2, "Local"));
    let all = [
        ("a", first.address()),
        ("b", second.address()),
        ("c", third),
    ];
    world.fleet.bring(nics(&all)).await;
    let everywhere = ips(&["10.244.0.1", "10.244.1.1", "10.244.2.1"]);
    let both = |status: &Status| clean(status) && status.noticed >= status.programmed;
    for (node, nic, near) in [("a", &first, "10.244.0.2"), ("b", &second, "10.244.1.2")] {
        world.status(node, both).await;
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while endpoints(nic, 2).await != ips(&[near]) || endpoints(nic, 1).await != everywhere {
            assert!(tokio::time::Instant::now() < deadline, "{node}");
        }
    }
    let last = world.status("c", |status| status.last.is_some()).await;
    let outcome = last.last.unwrap().outcome;
    assert_eq!(outcome, crate::reconcile::Outcome::NotConnected);
    assert_eq!(world.gauge("a").await.as_deref(), Some("1"));
    assert_eq!(world.gauge("c").await.as_deref(), Some("0"));

    // The others follow the cluster meanwhile.
    let before = world.status("a", clean).await.noticed;
    world.write("more.yaml", &manifest("more", 3, "Local"));
    for (node, nic, near) in [("a", &first, "10.244.0.3"), ("b", &second, "10.244.1.3")] {
        let news = |status: &Status| status.noticed > before && status.programmed == status.noticed;
        world.status(node, news).await;
        assert_eq!(endpoints(nic, 3).await, ips(&[near]));
    }
    let behind = world.status("c", |status| status.noticed > before).await;
    assert!(behind.programmed < behind.noticed);

    // It comes to life, and gets all of it in its own view.
    let late = SoftNic::builder().cpu_port(SLOW_PATH_PORT);
    let late = late.serve(third).await.unwrap();
    world.status("c", clean).await;
    assert_eq!(endpoints(&late, 1).await, everywhere);
    assert_eq!(endpoints(&late, 2).await, ips(&["10.244.2.2"]));
    assert_eq!(endpoints(&late, 3).await, ips(&["10.244.2.3"]));
    assert_eq!(world.gauge("c").await.as_deref(), Some("1"));

    // One leaves: its entries stay, its series go; the others do not notice.
    let kept = world.fleet.status("a").unwrap();
    world
        .fleet
        .bring(nics(&[("a", first.address()), ("c", third)]))
        .await;
    assert!(world.fleet.status("b").is_none() && world.gauge("b").await.is_none());
    assert_eq!(world.roster.nodes(), ["a", "c"]);
    assert!(kept.same_channel(&world.fleet.status("a").unwrap()));
    assert_eq!(endpoints(&second, 1).await, everywhere);
    // What happens now it does not hear of, until it comes back: the cluster is known by then.
    world.write("last.yaml", &manifest("last", 4, "Cluster"));
    let everywhere = ips(&["10.244.0.4", "10.244.1.4", "10.244.2.4"]);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while endpoints(&first, 4).await != everywhere {
        assert!(tokio::time::Instant::now() < deadline);
    }
    assert_eq!(endpoints(&second, 4).await, ips(&[]));
    world.fleet.bring(nics(&all)).await;
    let back = world.status("b", clean).await.last.unwrap();
    assert_eq!(endpoints(&second, 4).await, everywhere);
    assert!(back.full && back.deletes == 0, "{back:?}");
    assert!(kept.same_channel(&world.fleet.status("a").unwrap()));
    world.end().await;
    for nic in [first, second, late] {
        nic.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_do_not_fight_and_one_follows_the_other() {
    let device = nic().await;
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [mut one, mut other] = folders.map(World::new);
    let of = nics(&[("a", device.address())]);
    let text = manifest("all", 1, "Cluster");
    one.write("all.yaml", &text);
    other.write("all.yaml", &text);
    one.fleet.bring(of.clone()).await;
    one.status("a", clean).await;
    let everywhere = ips(&["10.244.0.1", "10.244.1.1", "10.244.2.1"]);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while endpoints(&device, 1).await != everywhere {
        assert!(tokio::time::Instant::now() < deadline);
    }
    let before = one
        .status("a", |status| {
            clean(status) && status.programmed == status.noticed
        })
        .await;
    other.fleet.bring(of).await;
    other.status("a", |status| status.last.is_some()).await;
    let late = std::time::SystemTime::now() + Duration::from_secs(3600);
    // It stands by, and that is no illness.
    loop {
        let client = other.roster.nic("a").and_then(|nic| nic.client);
        let state = client.map(|client| client.state().borrow().clone());
        if matches!(state, Some(p4runtime::client::State::Backup { .. }))
            && other.roster.livez(late).healthy
        {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{state:?}");
        tokio::task::yield_now().await;
    }
    let after = one.status("a", clean).await;
    assert_eq!(
        before.last, after.last,
        "the first one went on without a word"
    );

    // The first one goes: the other one follows, and finds everything in place.
    one.end().await;
    let now = other.status("a", clean).await.last.unwrap();
    assert_eq!(now.writes(), 0, "{now:?}");
    other.write("more.yaml", &manifest("more", 2, "Cluster"));
    while endpoints(&device, 2).await.len() != 3 {
        assert!(tokio::time::Instant::now() < deadline);
    }
    other.end().await;
    device.shutdown().await;
}
