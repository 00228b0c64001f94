//! nicproxy beside the real kube-proxy: programming time, memory and CPU time at several sizes, from one API server; and
//! what connections get through a Service and past it.
//!
//! In: root with CAP_NET_ADMIN, nft, iptables, iperf3, and etcd, kube-apiserver and kube-proxy (built with Go when
//! `KUBEBUILDER_ASSETS` is not set); `--sizes 100,1000,10000`, `--endpoints 10`, `--runs 3`, `--changes 5`,
//! `--modes nicproxy,nftables,iptables` (who takes part; kernel routing is on the data path beside them),
//! `--patience 600` (seconds that anything may take), `--only programming|path`, `--ports xdp+packet+offload` (kinds of
//! softnic's ports, with options behind a comma; `offload`: packet sockets that take what hosts leave undone), `--svg
//! FILE`. Out: tables of medians, and pictures when a file is named: FILE, and one with `-path` in its name. Everything
//! runs in network namespaces made for it.
//!
//! Both sides are measured alike: from the start of the process, or from the request that creates one Service (and its
//! slice, at once; proxies that had nothing to do for two seconds), to the time that the process itself says it was
//! programmed (kube-proxy by the metric `sync_proxy_rules_last_timestamp_seconds`; nicproxy, which has that metric too, by
//! `lastUpdated` of its `/healthz`, since its metrics tell of every endpoint and take a second to be read), and only when
//! the rules, or the table, hold every Service. Memory and CPU time are the process's; nicproxy's has its NIC in it,
//! kube-proxy's rules are in the kernel and not counted.
#![allow(clippy::print_stdout, reason = "the result is printed")]

#[cfg(target_os = "linux")]
#[path = "kube_proxy/mod.rs"]
mod beside;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    beside::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("kube-proxy runs on Linux only");
}
