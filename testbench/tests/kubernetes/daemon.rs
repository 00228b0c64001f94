//! The programs under test as processes, against a test's API server.
//!
//! In: a kubeconfig, a configuration. Out: a running `softnic` and a running `nicproxy` that drives it, whose tables and
//! metrics can be read; either can be stopped, killed and started again; both are ended by id when dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nicproxy::config::{Program, SLOW_PATH_PORT};
use testbench::kubernetes::process::Process;
use testbench::kubernetes::{ApiServer, Assets};
use testbench::own;
use testbench::probe::Probe;
use testbench::target::remote::Remote;

/// How long anything may take to become true.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ports, routes and node of the daemon: what a bump in the wire has.
const CONFIG: &str = include_str!("daemon.yaml");

/// The API server's programs, found or built once per test run.
pub fn assets() -> &'static Assets {
    static ASSETS: OnceLock<Assets> = OnceLock::new();
    ASSETS.get_or_init(|| Assets::find().unwrap_or_else(|error| panic!("{error}")))
}

/// A running NIC and the daemon that drives it.
pub struct Daemon {
    /// Before the NIC: dropped first.
    process: Option<Process>,
    nic: Process,
    command: Command,
    folder: tempfile::TempDir,
    device: Remote,
    metrics: SocketAddr,
    probe: Option<Probe>,
    starts: usize,
}

/// An address that nothing listens on.
pub fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

impl Daemon {
    /// Starts both, with the rights of nicproxy's own service account.
    pub fn start(api: &ApiServer, program: Program) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, CONFIG).unwrap();
        let (device, metrics) = (free(), free());
        let nic = start_nic(device, &folder.path().join("softnic.log"));
        let mut command = Command::new(own::program("nicproxy").unwrap());
        command.arg("run").arg("--config").arg(config);
        command
            .arg("--kubeconfig")
            .arg(api.service_account("kube-system", "nicproxy").unwrap());
        command.args([
            "--hostname-override=node-a".to_owned(),
            format!("--device={device}"),
            format!("--program={program}"),
            format!("--metrics-bind-address={metrics}"),
            "--healthz-bind-address=".to_owned(),
        ]);
        let mut daemon = Self {
            process: None,
            nic,
            command,
            folder,
            device: Remote::new(device, program),
            metrics,
            probe: None,
            starts: 0,
        };
        daemon.resume();
        daemon
    }

    /// Starts nicproxy again.
    pub fn resume(&mut self) {
        self.starts += 1;
        let log = self
            .folder
            .path()
            .join(format!("nicproxy-{}.log", self.starts));
        self.process = Some(Process::start("nicproxy", &mut self.command, &log).unwrap());
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.take().unwrap().kill().unwrap();
    }

    /// nicproxy's process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// The value of a metric without labels, or the sum over its labels; `None` as long as it is not served.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = http_get(self.metrics, "/metrics").ok()?;
        let values: Vec<f64> = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Entries of a table.
    pub fn entries(&mut self, table: &str) -> usize {
        let mut probe = match self.probe.take() {
            Some(probe) => probe,
            None => Probe::open(&self.device).unwrap(),
        };
        // Before the program is loaded there are no tables.
        let count = probe.entries(table).map_or(0, |entries| entries.len());
        self.probe = Some(probe);
        count
    }

    /// Waits until a table has so many entries.
    pub fn wait_for_entries(&mut self, table: &str, count: usize) -> Duration {
        let start = Instant::now();
        self.wait(&format!("{table} has {count} entries"), |daemon| {
            daemon.entries(table) == count
        });
        start.elapsed()
    }

    /// Waits until something is true of it.
    pub fn wait(&mut self, what: &str, mut is: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !is(self) {
            let ended = [self.process.as_mut(), Some(&mut self.nic)]
                .into_iter()
                .flatten()
                .find_map(|process| Some((process.ended().unwrap()?, process.last_words())));
            if let Some((status, words)) = ended {
                panic!("ended ({status}):\n{words}");
            }
            assert!(
                start.elapsed() < PATIENCE,
                "not in time: {what}\n{}",
                self.process().last_words()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A softnic that is to be programmed at an address.
pub fn start_nic(address: SocketAddr, log: &Path) -> Process {
    let mut nic = Command::new(own::program("softnic").unwrap());
    nic.args([
        format!("--grpc={address}"),
        format!("--cpu-port={SLOW_PATH_PORT}"),
    ]);
    Process::start("softnic", &mut nic, log).unwrap()
}

/// One request, one answer, as any scraper does it.
pub fn http_get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
