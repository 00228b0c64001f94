//! A real Kubernetes API for tests: etcd and kube-apiserver on loopback, with certificates and RBAC, and no kubelet.
//!
//! In: the pinned Go modules of `testbench/kubernetes`, or the binaries that `KUBEBUILDER_ASSETS` names. Out: an API
//! server with its credentials, ended by process id when it is dropped. Nodes, pods and slices are objects that tests
//! create; nothing runs behind them.
//!
//! | module | holds |
//! |---|---|
//! | [`assets`] | where etcd, kube-apiserver and kube-proxy come from |
//! | [`certificates`] | a certificate authority of the test's own |
//! | [`process`] | a program started, watched and ended by id |
//! | [`server`] | etcd and kube-apiserver together, outages included |
//! | [`objects`] | manifests and synthetic clusters through the real API |

pub mod assets;
pub mod certificates;
pub mod objects;
pub mod process;
pub mod server;

pub use assets::{Assets, AssetsError};
pub use server::{ApiServer, ServerError};
