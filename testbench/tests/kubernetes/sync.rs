//! Objects of a real API server become entries, and stay so whatever happens to either side.

use std::time::{Duration, Instant};

use nicproxy::config::Program;
use rustix::process::Signal;
use testbench::cluster::Shape;
use testbench::kubernetes::ApiServer;
use testbench::kubernetes::objects::Applier;
use tokio::runtime::Runtime;

use crate::daemon::{Daemon, assets};

/// What nicproxy may do in a cluster, as it is deployed.
const RBAC: &str = include_str!("../../../controlplane/deploy/manifests/rbac.yaml");
const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: scale}\n";
const SHAPE: Shape = Shape {
    services: 20,
    endpoints: 10,
};

/// An API server and what may be done there.
pub struct World {
    pub api: ApiServer,
    applier: Applier,
    runtime: Runtime,
}

impl World {
    /// An API server with nicproxy's rights and a namespace.
    pub fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let (api, applier) = runtime.block_on(async {
            let api = ApiServer::start(assets()).await.unwrap();
            let applier = Applier::new(api.client().await.unwrap()).await.unwrap();
            applier.apply(RBAC).await.unwrap();
            applier.apply(NAMESPACE).await.unwrap();
            (api, applier)
        });
        Self {
            api,
            applier,
            runtime,
        }
    }

    fn populate(&self, shape: Shape) {
        let populated = self.applier.populate(shape, 0, |_| ());
        self.runtime.block_on(populated).unwrap();
    }

    /// Applies manifests.
    pub fn apply(&self, manifests: &str) {
        self.runtime
            .block_on(self.applier.apply(manifests))
            .unwrap();
    }

    fn delete(&self, manifests: &str) {
        self.runtime
            .block_on(self.applier.delete(manifests))
            .unwrap();
    }
}

/// A frontend for every Service of the shape, and for `kubernetes`, which the API server makes itself.
fn frontends(services: usize) -> usize {
    services + 1
}

#[test]
#[ignore = "needs Go or KUBEBUILDER_ASSETS"]
fn s20_s79_s82_services_of_a_real_api_server_are_programmed_and_a_restart_writes_nothing() {
    let world = World::new();
    world.populate(SHAPE);
    let mut daemon = Daemon::start(&world.api, Program::Pna);
    daemon.wait_for_entries("frontend", frontends(SHAPE.services));

    world.apply(
        &Shape {
            services: 21,
            ..SHAPE
        }
        .service(20),
    );
    daemon.wait_for_entries("frontend", frontends(21));
    world.delete(&SHAPE.service(3));
    daemon.wait_for_entries("frontend", frontends(20));
    let log = daemon.process().log();
    assert!(!log.contains("forbidden"), "{log}");

    daemon.kill();
    daemon.resume();
    daemon.wait("the lists are in the device", |daemon| {
        daemon
            .metric("kubeproxy_sync_proxy_rules_last_timestamp_seconds")
            .is_some()
    });
    assert_eq!(daemon.metric("nicproxy_writes_total").unwrap_or(0.0), 0.0);
    assert_eq!(daemon.entries("frontend"), frontends(20));
}

#[test]
#[ignore = "needs Go or KUBEBUILDER_ASSETS"]
fn a_watch_that_has_expired_is_begun_anew() {
    let mut world = World::new();
    world.populate(SHAPE);
    let mut daemon = Daemon::start(&world.api, Program::Pna);
    daemon.wait_for_entries("frontend", frontends(SHAPE.services));

    // While nicproxy does not run, objects come and go; the API server that it then finds knows nothing of the past.
    daemon.process().signal(Signal::STOP).unwrap();
    for service in 0..10 {
        world.delete(&SHAPE.service(service));
    }
    world.apply(
        &Shape {
            services: 21,
            ..SHAPE
        }
        .service(20),
    );
    world.api.outage().unwrap();
    world.runtime.block_on(world.api.resume()).unwrap();
    daemon.process().signal(Signal::CONT).unwrap();
    daemon.wait_for_entries("frontend", frontends(11));
}

/// How long it takes is printed: the median of three counts, since the machine may have other things to do.
#[test]
#[ignore = "needs Go or KUBEBUILDER_ASSETS"]
fn an_outage_of_the_api_server_loses_nothing_and_is_caught_up_with() {
    let mut world = World::new();
    world.populate(SHAPE);
    let mut daemon = Daemon::start(&world.api, Program::Pna);
    daemon.wait_for_entries("frontend", frontends(SHAPE.services));

    let mut times: Vec<Duration> = (SHAPE.services..SHAPE.services + 3)
        .map(|services| an_outage(&mut world, &mut daemon, services))
        .collect();
    times.sort();
    println!("caught up after the API server's return: {times:?}");
}

/// The API server goes away, comes back, and there is one Service more; how long after its return that is programmed.
fn an_outage(world: &mut World, daemon: &mut Daemon, services: usize) -> Duration {
    world.api.outage().unwrap();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(daemon.entries("frontend"), frontends(services));
        std::thread::sleep(Duration::from_millis(200));
    }
    world.runtime.block_on(world.api.resume()).unwrap();
    let back = Instant::now();
    let one_more = Shape {
        services: services + 1,
        ..SHAPE
    };
    world.apply(&one_more.service(services));
    daemon.wait_for_entries("frontend", frontends(services + 1));
    back.elapsed()
}

#[test]
#[ignore = "needs Go or KUBEBUILDER_ASSETS"]
fn five_thousand_services_are_programmed() {
    let world = World::new();
    let shape = Shape {
        services: 5_000,
        endpoints: 4,
    };
    let start = Instant::now();
    world.populate(shape);
    println!(
        "{} Services created in {:?}",
        shape.services,
        start.elapsed()
    );
    let mut daemon = Daemon::start(&world.api, Program::Pna);
    let programmed = daemon.wait_for_entries("frontend", frontends(shape.services));
    println!("programmed {programmed:?} after the start of nicproxy");
    world.apply(
        &Shape {
            services: 5_001,
            ..shape
        }
        .service(5_000),
    );
    let one = daemon.wait_for_entries("frontend", frontends(5_001));
    println!("one more Service: {one:?} after it was created");
}
