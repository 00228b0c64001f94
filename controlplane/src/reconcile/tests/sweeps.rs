//! S63–S66: what the reconciler says of connections that may lead nowhere.

use super::*;
use crate::device::Device;
use crate::device::stale::Stale;
use crate::model::sample::{cluster, conditions, endpoint, service, slice, slice_port};
use crate::model::{ObjectKey, Protocol, Service, SessionAffinity};
use crate::tables::Address;

const VIP: &str = "10.96.0.53";

fn dns(vip: &str) -> Service {
    let mut dns = service("dns", &[vip]);
    dns.ports[0].protocol = Protocol::Udp;
    dns
}

fn endpoints(addresses: &[&str]) -> crate::model::EndpointSlice {
    let mut all = slice("dns", "a", addresses);
    all.ports = vec![slice_port("http", Protocol::Udp, 5353)];
    all
}

fn at(vip: &str) -> frontend::Key {
    frontend::Key {
        vpc: 0,
        protocol: 17,
        address: address(vip),
        port: 80,
    }
}

fn address(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn told(bench: &Bench) -> Option<Stale> {
    let sweeps = bench.device.sweeps()?;
    let stale = sweeps.begin();
    sweeps.end();
    stale.map(Arc::unwrap_or_clone)
}

fn serving(stale: &Stale, vip: &str) -> Option<Vec<(Address, u16)>> {
    stale.frontends.get(&at(vip)).map(|all| all.to_vec())
}

async fn started() -> Bench {
    let both = &["10.0.0.1", "10.0.0.2"];
    let mut bench = Bench::new(cluster(
        vec![dns(VIP), service("web", &["10.96.0.1"])],
        vec![endpoints(both), slice("web", "a", both)],
    ));
    assert!(bench.sync().await.is_clean());
    bench
}

#[tokio::test]
async fn s63_s67_only_what_went_away_is_looked_for() {
    let mut bench = started().await;
    let first = told(&bench).unwrap();
    assert!(first.everything, "nobody knows what was before");
    assert_eq!(first.frontends.len(), 1, "UDP alone (S62)");
    let both = vec![(address("10.0.0.1"), 5353), (address("10.0.0.2"), 5353)];
    assert_eq!(serving(&first, VIP), Some(both));

    let more = &["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    bench.apply(Event::ApplySlice(endpoints(more))).await;
    assert_eq!(told(&bench), None, "nothing went away");
    bench
        .apply(Event::ApplySlice(slice("web", "a", &["10.0.0.9"])))
        .await;
    assert_eq!(told(&bench), None, "TCP drains (S62)");

    bench.apply(Event::ApplySlice(endpoints(&more[1..]))).await;
    let stale = told(&bench).unwrap();
    let left = vec![(address("10.0.0.2"), 5353), (address("10.0.0.3"), 5353)];
    assert_eq!(serving(&stale, VIP), Some(left));
    assert!(!stale.concerns_pins());
}

#[tokio::test]
async fn s64_an_endpoint_that_still_answers_keeps_its_connections() {
    let mut bench = started().await;
    told(&bench);
    let mut going = endpoints(&["10.0.0.2"]);
    let mut one = endpoint("10.0.0.1");
    one.conditions = conditions(false, true, true);
    going.endpoints.push(one.clone());
    bench.apply(Event::ApplySlice(going.clone())).await;
    assert_eq!(told(&bench), None, "terminating, and serving");
    one.conditions = conditions(false, false, true);
    going.endpoints[1] = one;
    bench.apply(Event::ApplySlice(going)).await;
    let left = vec![(address("10.0.0.2"), 5353)];
    assert_eq!(serving(&told(&bench).unwrap(), VIP), Some(left));
}

/// As of Services that publish endpoints before they are ready (S19).
#[tokio::test]
async fn s64_an_endpoint_that_gets_connections_keeps_them_although_it_says_that_it_does_not_serve()
{
    let mut bench = started().await;
    told(&bench);
    let mut early = endpoints(&["10.0.0.2"]);
    let mut one = endpoint("10.0.0.1");
    one.conditions = conditions(true, false, false);
    early.endpoints.push(one);
    bench.apply(Event::ApplySlice(early)).await;
    assert_eq!(told(&bench), None);
}

/// Who comes back while connections are still being removed keeps those that are left, from before the device has it.
#[tokio::test]
async fn s64_a_clean_up_that_goes_on_is_told_of_what_serves_again() {
    let mut bench = started().await;
    told(&bench);
    bench
        .apply(Event::ApplySlice(endpoints(&["10.0.0.2"])))
        .await;
    let sweeps = bench.device.sweeps().unwrap();
    sweeps.begin();
    bench.device.break_after(0);
    let both = &["10.0.0.1", "10.0.0.2"];
    bench.apply(Event::ApplySlice(endpoints(both))).await;
    let present = bench.device.sweeps().unwrap().present().unwrap();
    let both = vec![(address("10.0.0.1"), 5353), (address("10.0.0.2"), 5353)];
    assert_eq!(serving(&present, VIP), Some(both));
}

#[tokio::test]
async fn s66_nothing_may_serve_a_service_without_endpoints_or_one_that_is_gone() {
    let mut bench = started().await;
    told(&bench);
    bench.apply(Event::ApplySlice(endpoints(&[]))).await;
    assert_eq!(serving(&told(&bench).unwrap(), VIP), Some(vec![]));
    bench
        .apply(Event::ApplySlice(endpoints(&["10.0.0.1"])))
        .await;
    assert_eq!(told(&bench), None);
    // Another address: the old one has nothing any more.
    bench.apply(Event::ApplyService(dns("10.96.0.54"))).await;
    assert_eq!(serving(&told(&bench).unwrap(), VIP), Some(vec![]));
    bench
        .apply(Event::DeleteService(ObjectKey::new("shop", "dns")))
        .await;
    assert_eq!(serving(&told(&bench).unwrap(), "10.96.0.54"), Some(vec![]));
}

/// A Service that was deleted while nobody watched.
#[tokio::test]
async fn s66_a_restart_finds_what_went_away_meanwhile() {
    let mut bench = started().await;
    told(&bench);
    bench
        .model
        .apply(Event::DeleteService(ObjectKey::new("shop", "dns")));
    bench.restart();
    assert!(bench.sync().await.is_clean());
    let stale = told(&bench).unwrap();
    assert!(stale.everything && serving(&stale, VIP).is_none());
}

/// Connections are looked for only once new ones go elsewhere, and again after what failed.
#[tokio::test]
async fn a_device_that_takes_nothing_is_not_told_before_it_does() {
    let mut bench = started().await;
    told(&bench);
    bench.device.break_after(0);
    let report = bench
        .apply(Event::ApplySlice(endpoints(&["10.0.0.2"])))
        .await;
    assert!(!report.is_clean());
    assert_eq!(told(&bench), None);
    assert!(bench.sync().await.is_clean());
    let left = vec![(address("10.0.0.2"), 5353)];
    assert_eq!(serving(&told(&bench).unwrap(), VIP), Some(left));
}

#[tokio::test]
async fn pins_to_what_is_gone_are_removed_for_every_protocol() {
    let mut bench = started().await;
    let mut web = service("web", &["10.96.0.1"]);
    web.session_affinity = SessionAffinity::ClientIp {
        timeout_seconds: 10_800,
    };
    bench.apply(Event::ApplyService(web)).await;
    told(&bench);
    bench
        .apply(Event::ApplySlice(slice("web", "a", &["10.0.0.2"])))
        .await;
    let stale = told(&bench).unwrap();
    assert!(stale.frontends.is_empty(), "its connections drain");
    let pins: Vec<_> = stale.pins.values().map(|all| all.to_vec()).collect();
    assert_eq!(pins, [vec![(address("10.0.0.2"), 8080)]]);
    // Nobody is remembered any more (S60).
    bench
        .apply(Event::ApplyService(service("web", &["10.96.0.1"])))
        .await;
    let pins: Vec<_> = told(&bench).unwrap().pins.into_values().collect();
    assert_eq!(pins.len(), 1);
    assert!(pins[0].is_empty());
}
