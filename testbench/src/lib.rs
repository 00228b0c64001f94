//! Scenarios, packet harness, targets and benchmarks of nicproxy.
//!
//! In: scenario folders (Kubernetes manifests, packets to send, packets to expect) and a switch. Out: whether the switch,
//! driven by nicproxy's own control plane over P4Runtime, does what the scenarios say.
//!
//! | module | holds |
//! |---|---|
//! | [`cluster`] | clusters of any size, as manifests |
//! | [`kubernetes`] | a real API server, for tests on real objects |
//! | [`netns`] | hosts as network namespaces, for tests with real TCP stacks |
//! | [`own`] | nicproxy and softnic, built |
//! | [`packet`] | frames described, built and checked |
//! | [`site`] | a Service proxy among its hosts: nicproxy, or kube-proxy |
//! | [`target`] | a switch: ports to send and receive on, a P4Runtime address |
//! | [`plane`] | nicproxy's reconciler and slow path against a target |
//! | [`probe`] | counters and tables, read by a client of its own |
//! | [`random`] | numbers from a seed |
//! | [`scenario`] | the folders, and running one against a target |
//!
//! The checks are independent of the checked: packets are built and verified with etherparse, tables are read over
//! P4Runtime by a client of their own.

pub mod cluster;
pub mod kubernetes;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod own;
pub mod packet;
pub mod plane;
pub mod probe;
pub mod random;
pub mod scenario;
#[cfg(target_os = "linux")]
pub mod site;
pub mod target;
