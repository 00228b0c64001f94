//! What becomes of a connection: nicproxy judged by the real kube-proxy.
//!
//! In: root with CAP_NET_ADMIN, iproute2, ethtool, nft, iptables, and etcd, kube-apiserver and kube-proxy (built with Go
//! when `KUBEBUILDER_ASSETS` is not set). One API server with one set of objects; each proxy has the same hosts around
//! it and is called by the same clients. Out: a table of who answered, who refused and what stayed silent, with the
//! client's address as endpoints saw it. Every difference from kube-proxy's nftables mode must be among the explained
//! ones, and every explained one must be there. Where there is no iptables, kube-proxy's iptables mode is left out, and
//! the test says so, unless `NICPROXY_REQUIRE_IPTABLES` is set. Run with
//! `cargo test -p testbench --test verdicts -- --ignored`.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

#[path = "verdicts/differences.rs"]
mod differences;
#[path = "verdicts/flows.rs"]
mod flows;
#[path = "verdicts/objects.rs"]
mod objects;
#[path = "verdicts/table.rs"]
mod table;

use std::time::Instant;

use flows::{Client, Flow, Manner, Verdict};
use table::Table;
use testbench::kubernetes::objects::Applier;
use testbench::kubernetes::{ApiServer, Assets};
use testbench::netns::Namespace;
use testbench::site::{Build, Proxy, Site};
use tokio::runtime::Runtime;

/// Times that flows are judged again whose verdicts differ and nothing explains it.
const AGAIN: usize = 2;
/// Set where kube-proxy's iptables mode must take part.
const REQUIRED: &str = "NICPROXY_REQUIRE_IPTABLES";
const RBAC: &str = include_str!("../../controlplane/deploy/manifests/rbac.yaml");
const DOCS: &str = include_str!("../../docs/kube-proxy.md");

#[test]
#[ignore = "needs root, iproute2, nft, iptables and Go or KUBEBUILDER_ASSETS with kube-proxy"]
fn the_same_verdicts_as_kube_proxys() {
    let assets = Assets::find().unwrap_or_else(|error| panic!("{error}"));
    let home = Namespace::new("api").unwrap();
    // The thread moves into the namespace: the API server listens on its loopback.
    let table = home.inside(|| compare(&assets)).unwrap();
    println!("{table}");
    let problems = table.problems();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn compare(assets: &Assets) -> Table {
    let runtime = Runtime::new().unwrap();
    let api = runtime.block_on(async {
        let api = ApiServer::start(assets).await.unwrap();
        let applier = Applier::new(api.client().await.unwrap()).await.unwrap();
        let all = [RBAC.to_owned(), objects::nodes(), objects::services()].concat();
        applier.apply(&all).await.unwrap();
        api
    });
    let proxies = taking_part();
    let mut table = Table::new(&proxies);
    let all = Flow::all();
    add(&mut table, assets, &api, Manner::BRISK, |_| all.clone());
    // An answer that came too late looks like a difference: what is one shows when little else is under way, too. The
    // judge's own verdict may have been the late one, and others may have agreed with it.
    for _ in 0..AGAIN {
        let doubtful = table.unexplained();
        if doubtful.is_empty() {
            break;
        }
        println!("judged again, a few at a time: {} flows", doubtful.len());
        add(&mut table, assets, &api, Manner::PATIENT, |proxy| {
            let concerned = |proxies: &[Proxy]| proxy == table::JUDGE || proxies.contains(&proxy);
            let flows = doubtful.iter().filter(|(_, proxies)| concerned(proxies));
            flows.map(|(flow, _)| *flow).collect()
        });
    }
    table
}

/// All proxies but kube-proxy's iptables mode where there is no iptables.
fn taking_part() -> Vec<Proxy> {
    let required = std::env::var_os(REQUIRED).is_some();
    let takes_part = |proxy: &Proxy| match proxy.lacks() {
        Some(program) if *proxy == Proxy::Iptables && !required => {
            println!("{proxy} is left out: {program} is not on PATH");
            false
        }
        Some(program) => panic!("{proxy}: {program} is not on PATH"),
        None => true,
    };
    Proxy::ALL.into_iter().filter(takes_part).collect()
}

/// Puts what every proxy makes of its flows into the table.
fn add(
    table: &mut Table,
    assets: &Assets,
    api: &ApiServer,
    manner: Manner,
    flows_of: impl Fn(Proxy) -> Vec<Flow>,
) {
    for proxy in table.proxies() {
        let flows = flows_of(proxy);
        if flows.is_empty() {
            continue;
        }
        let began = Instant::now();
        let mut site = match Site::start(Build::new(proxy), assets, api) {
            Ok(site) => site,
            Err(error) => {
                table.absent(proxy, error.to_string());
                continue;
            }
        };
        let ready = began.elapsed();
        for (_, verdicts) in judge(&site, &flows, manner) {
            table.add(proxy, verdicts);
        }
        println!(
            "{proxy}: {} flows in {:.0?}, after {ready:.0?} to start",
            flows.len(),
            began.elapsed() - ready,
        );
        site.check().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The verdict of every flow; clients call at the same time.
fn judge(site: &Site, flows: &[Flow], manner: Manner) -> Vec<(Client, Vec<(Flow, Verdict)>)> {
    let clients = [
        (Client::Pod, &site.topology.pod),
        (Client::Node, &site.topology.node),
        (Client::Outside, &site.topology.outside),
    ];
    std::thread::scope(|scope| {
        let threads = clients.map(|(client, namespace)| {
            let calls = move || (client, flows::judge(client, flows, manner));
            scope.spawn(move || namespace.inside(calls).unwrap())
        });
        threads.map(|thread| thread.join().unwrap()).to_vec()
    })
}

#[test]
fn the_documentation_explains_every_difference() {
    let one_line = DOCS.split_whitespace().collect::<Vec<_>>().join(" ");
    for difference in differences::ALL {
        let why = difference.why.split_whitespace().collect::<Vec<_>>();
        assert!(one_line.contains(&why.join(" ")), "{}", difference.why);
    }
}
