//! Programs that die under open connections.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nicproxy::config::Program;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testbench::netns::caller::{Call, Outcome, Transport};

use crate::connections::{ask, check, leave_one_pod, open_connections, vip};
use crate::world::{Nic, PATIENCE, Setup, World, curl, in_a_world_of};

const OBJECTS: &str = include_str!("objects.yaml");
/// Connections that the control plane's death must not touch.
pub const MANY: usize = 1000;
/// Connections that the NIC's death meets.
const SOME: usize = 200;

fn own_nic(program: Program) -> Setup {
    Setup {
        nic: Nic::Softnic,
        ..Setup::embedded(program)
    }
}

pub fn serving(setup: Setup, test: impl FnOnce(&mut World) + Send + 'static) {
    // A socket per connection, and some more.
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    in_a_world_of(setup, |world| {
        world.apply(OBJECTS);
        world.until("the first answer", |world| {
            curl(&world.topology.pod, vip(), 80)
        });
        test(world);
    });
}

/// Both while nicproxy is not there and after it came back.
fn the_control_plane_dies(program: Program) {
    serving(own_nic(program), |world| {
        let mut connections = open_connections(world, MANY);
        world.daemon.process.kill().unwrap();
        check(&mut connections);
        world.daemon.resume();
        world.until_programmed();
        check(&mut connections);
        world.until("a new connection", |world| {
            curl(&world.topology.pod, vip(), 80)
        });
    });
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn a_killed_nicproxy_costs_none_of_1000_connections_on_the_pna_program() {
    the_control_plane_dies(Program::Pna);
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn a_killed_nicproxy_costs_none_of_1000_connections_on_the_v1model_program() {
    the_control_plane_dies(Program::V1model);
}

/// The NIC dies under load: everything it knew is gone. nicproxy programs it again, and connections whose endpoint is
/// still the one that is picked for them go on, since nothing but their packets goes into the pick.
fn the_nic_dies(program: Program) {
    serving(own_nic(program), |world| {
        let mut connections = open_connections(world, SOME);
        let load = Load::default();
        std::thread::scope(|scope| {
            let pod = &world.topology.pod;
            let calls = scope.spawn(|| pod.inside(|| load.run()).unwrap());
            // So many that the open connections' last acknowledgements, which hosts hold back, have arrived.
            load.until_answered(100, "before the NIC's death");
            let killed = Instant::now();
            world.nic.as_mut().unwrap().restart();
            while curl(&world.topology.pod, vip(), 80).is_err() {
                assert!(killed.elapsed() < PATIENCE);
            }
            println!(
                "calls are answered {:?} after the NIC's death",
                killed.elapsed()
            );
            load.until_answered(1, "after the NIC's death");
            load.over.store(true, Ordering::Relaxed);
            calls.join().unwrap();
        });
        println!("{load}");
        // What an endpoint sends while the NIC knows nothing reaches the client untranslated, and is answered by a
        // reset: connections that had a packet on its way then may be lost, the others not.
        let lost = (connections.iter_mut())
            .filter_map(|(stream, by)| (ask(stream).as_ref() != Ok(&*by)).then_some(by))
            .count();
        println!("{lost} of {SOME} connections lost");
        assert!(lost <= SOME / 20, "{lost} of {SOME} connections lost");
    });
}

/// Calls one after another, from before the NIC's death until it serves again.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    answered: AtomicUsize,
    lost: AtomicUsize,
}

impl Load {
    /// Calls until it is over.
    fn run(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let call = Call {
            from: None,
            to: std::net::SocketAddr::new(vip(), 7),
            transport: Transport::Udp,
        };
        while !self.over.load(Ordering::Relaxed) {
            let count = match runtime.block_on(call.make(Duration::from_millis(500))) {
                Outcome::Answered { .. } => &self.answered,
                _ => &self.lost,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for answers to calls that begin after this does.
    fn until_answered(&self, count: usize, when: &str) {
        let (start, had) = (Instant::now(), self.answered.load(Ordering::Relaxed));
        // One more: it may be on its way.
        while self.answered.load(Ordering::Relaxed) <= had + count {
            assert!(start.elapsed() < PATIENCE, "no call is answered {when}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let (answered, lost) = (count(&self.answered), count(&self.lost));
        write!(out, "under load: {answered} calls answered, {lost} not")
    }
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn connections_outlive_the_nic_while_endpoints_stay_on_the_pna_program() {
    the_nic_dies(Program::Pna);
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn connections_outlive_the_nic_while_endpoints_stay_on_the_v1model_program() {
    the_nic_dies(Program::V1model);
}

/// What was remembered and cannot be worked out again is lost: connections that drain to an endpoint which left before
/// the NIC died. They end at once, by a reset, and do not hang.
#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn connections_to_endpoints_that_left_before_the_nic_died_are_reset() {
    serving(own_nic(Program::Pna), |world| {
        let mut connections = open_connections(world, SOME);
        let stays = leave_one_pod(world);
        check(&mut connections);
        world.nic.as_mut().unwrap().restart();
        world.until("a new connection", |world| {
            curl(&world.topology.pod, vip(), 80)
        });
        let (mut kept, mut lost) = (0, 0);
        for (stream, by) in &mut connections {
            match ask(stream) {
                Ok(again) => {
                    assert_eq!((again, *by), (stays, stays));
                    kept += 1;
                }
                Err(why) => {
                    assert_ne!(*by, stays, "{why}");
                    // What the socket says when it has waited for as long as it may.
                    let hung = Errno::AGAIN.to_string();
                    assert!(!why.contains(&hung), "{why}");
                    lost += 1;
                }
            }
        }
        println!("{kept} connections went on, {lost} were reset");
        assert!(kept > 0 && lost > 0);
    });
}
