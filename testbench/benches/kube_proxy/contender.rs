//! One proxy as a process: started, asked, ended, its rules removed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::jiff::Timestamp;
use nicproxy::config::Program;
use testbench::kubernetes::process::Process;
use testbench::kubernetes::{ApiServer, Assets};
use testbench::netns;
use testbench::own;
use testbench::probe::Probe;
use testbench::site::{Proxy, ask};
use testbench::target::remote::Remote;

use super::Failed;

/// Between two lines about how far it is.
const TELL: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);
/// kube-proxy's name for the time of the last programming.
const TIMESTAMP: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";

/// A proxy and its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nicproxy,
    Nftables,
    Iptables,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nicproxy => "nicproxy (softnic)",
            Self::Nftables => "kube-proxy nftables",
            Self::Iptables => "kube-proxy iptables",
        })
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nicproxy, Self::Nftables, Self::Iptables];

    /// As kube-proxy calls its modes, and as it is named on the command line.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Nicproxy => "nicproxy",
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }

    /// The same for a site.
    pub fn kube_proxy(self) -> Option<Proxy> {
        match self {
            Self::Nicproxy => None,
            Self::Nftables => Some(Proxy::Nftables),
            Self::Iptables => Some(Proxy::Iptables),
        }
    }

    /// Who of these can take part: kube-proxy is not among `setup-envtest`'s binaries, and runs programs. Says who cannot.
    pub fn available(kinds: &[Self], assets: &Assets) -> Vec<Self> {
        let lacks = |kind: &Self| match (kind.kube_proxy(), &assets.kube_proxy) {
            (None, _) => None,
            (Some(_), None) => Some("kube-proxy"),
            (Some(proxy), Some(_)) => proxy.lacks(),
        };
        let can = |kind: &Self| {
            let lacks = lacks(kind);
            if let Some(program) = lacks {
                println!("{kind} is left out: there is no {program}");
            }
            lacks.is_none()
        };
        kinds.iter().copied().filter(can).collect()
    }
}

/// A running proxy.
pub struct Contender {
    kind: Kind,
    process: Process,
    started: SystemTime,
    /// Where it says when it last programmed something.
    says: SocketAddr,
    /// The embedded NIC.
    device: Option<Remote>,
    _folder: tempfile::TempDir,
}

fn free() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

const CONFIG: &str = "\
ports:
  - {port: 1, role: host, peer: 2, mac: \"02:00:00:00:00:01\"}
  - {port: 2, role: network, peer: 1, mac: \"02:00:00:00:00:02\"}
routes:
  - {prefix: 0.0.0.0/0, port: 2, dst_mac: \"02:00:00:00:ff:01\"}
";

impl Contender {
    /// Starts it.
    pub fn start(kind: Kind, assets: &Assets, api: &ApiServer) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let kubeconfig = api.kubeconfig("proxy", &["system:masters"])?;
        let (metrics, health, listen) = (free()?, free()?, free()?);
        let mut device = None;
        let mut command = match (kind, &assets.kube_proxy) {
            (Kind::Nicproxy, _) => {
                let config = folder.path().join("config.yaml");
                std::fs::write(&config, CONFIG)?;
                device = Some(Remote::new(listen, Program::Pna));
                let mut command = Command::new(own::program("nicproxy")?);
                command.args(["run", "--embedded=pna"]);
                command
                    .arg(format!("--embedded-listen={listen}"))
                    .arg(format!("--healthz-bind-address={health}"))
                    .arg("--config")
                    .arg(config);
                command
            }
            (_, Some(program)) => {
                let mut command = Command::new(program);
                command.arg(format!("--proxy-mode={}", kind.mode())).args([
                    format!("--healthz-bind-address={health}"),
                    // Kernel settings of the whole machine are not ours to change.
                    "--conntrack-max-per-core=0".to_owned(),
                    "--conntrack-tcp-timeout-established=0s".to_owned(),
                    "--conntrack-tcp-timeout-close-wait=0s".to_owned(),
                    "--cluster-cidr=10.244.0.0/16".to_owned(),
                ]);
                command
            }
            (_, None) => return Err("there is no kube-proxy".into()),
        };
        command.arg("--kubeconfig").arg(kubeconfig).args([
            "--hostname-override=node-a".to_owned(),
            format!("--metrics-bind-address={metrics}"),
        ]);
        let started = SystemTime::now();
        let process = Process::start(&kind.to_string(), &mut command, &folder.path().join("log"))?;
        Ok(Self {
            kind,
            process,
            started,
            says: match kind {
                Kind::Nicproxy => health,
                _ => metrics,
            },
            device,
            _folder: folder,
        })
    }

    /// When its process was started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Waits until so many Services are programmed; how long after `since` they were. Says how far it is now and then.
    pub fn programmed(
        &mut self,
        services: usize,
        since: SystemTime,
        patience: Duration,
    ) -> Result<Duration, Failed> {
        let begun = Instant::now();
        let mut told = begun;
        let mut counted = None;
        loop {
            // The time is taken first: what it says was done is certainly in what is counted after it.
            let at = self.timestamp().filter(|&at| at > since);
            // To count takes both sides' time: once for each time that something was done.
            if let Some(at) = at.filter(|at| counted.replace(*at) != Some(*at))
                && self.held()? == services
            {
                // What came between the time and the count may have been what was waited for.
                let at = self.timestamp().map_or(at, |later| later.max(at));
                return Ok(at.duration_since(since)?);
            }
            if let Some(status) = self.process.ended()? {
                let words = self.process.last_words();
                return Err(format!("it ended ({status}):\n{words}").into());
            }
            if begun.elapsed() > patience {
                let words = self.process.last_words();
                return Err(format!("not done after {patience:?}:\n{words}").into());
            }
            if told.elapsed() > TELL {
                told = Instant::now();
                let held = self.held()?;
                let seconds = begun.elapsed().as_secs();
                println!(
                    "  {}: {held} of {services} Services after {seconds} s",
                    self.kind
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// When it last programmed what it knows of IPv4.
    fn timestamp(&self) -> Option<SystemTime> {
        if self.kind == Kind::Nicproxy {
            // Its metrics are megabytes: six series of every endpoint. To ask for them would be most of what is measured.
            let text = ask(self.says, "/healthz").ok()?;
            let state: serde_json::Value =
                serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
            let time: Timestamp = state["lastUpdated"].as_str()?.parse().ok()?;
            return Some(time.into());
        }
        let text = ask(self.says, "/metrics").ok()?;
        let line = text
            .lines()
            .find(|line| line.starts_with(TIMESTAMP) && !line.contains("IPv6"))?;
        let seconds: f64 = line.rsplit(' ').next()?.parse().ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds))
    }

    /// Services with endpoints whose cluster IP is programmed: the API server's own has none.
    fn held(&mut self) -> Result<usize, Failed> {
        if let Some(device) = &self.device {
            let entries = Probe::open(device)?.entries("frontend").unwrap_or_default();
            return Ok(entries
                .iter()
                .filter(|entry| entry.action == "serve")
                .count());
        }
        let count = |program: &str, words: &[&str], is: &dyn Fn(&str) -> bool| -> usize {
            netns::run(Command::new(program).args(words))
                .map_or(0, |text| text.lines().filter(|line| is(line)).count())
        };
        Ok(match self.kind {
            Kind::Nftables => count(
                "nft",
                &["list", "map", "ip", "kube-proxy", "service-ips"],
                &|line| line.contains("goto service-"),
            ),
            _ => count("iptables-save", &["-t", "nat"], &|line| {
                line.starts_with("-A KUBE-SERVICES -d") && line.contains("-j KUBE-SVC-")
            }),
        })
    }

    /// Peak memory in MiB, and CPU time.
    pub fn used(&self) -> Result<(f64, Duration), Failed> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib: f64 = peak
            .and_then(|line| line.split_whitespace().nth(1))
            .unwrap_or("0")
            .parse()?;
        Ok((kib / 1024.0, self.process.cpu_time()?))
    }

    /// Ends it and removes its rules, which outlive it.
    pub fn end(mut self) -> Result<(), Failed> {
        self.process.end()?;
        if self.device.is_none() {
            netns::run(Command::new("nft").args(["flush", "ruleset"]))?;
            for table in ["nat", "filter", "mangle"] {
                netns::run(Command::new("iptables").args(["-t", table, "-F"]))?;
                netns::run(Command::new("iptables").args(["-t", table, "-X"]))?;
            }
        }
        Ok(())
    }
}
