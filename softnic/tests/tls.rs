//! P4Runtime over TLS: who is let in, what is said to who is not, and certificates replaced while connections are open.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use p4runtime::client::{Client, Config};
use p4runtime::tls::{ClientTls, Identity, ServerTls};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use softnic::{Running, SoftNic};
use tempfile::TempDir;

/// Longest wait for something that must happen.
const SOON: Duration = Duration::from_secs(20);

/// Signs for one test.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    /// Writes `NAME.crt` and `NAME.key`, in the place of former ones.
    fn sign(
        &self,
        folder: &Path,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity {
            certificate: put(folder, &format!("{name}.crt"), &chain),
            key: put(folder, &format!("{name}.key"), &key.serialize_pem()),
        }
    }
}

/// Replaced at once, as kubelet replaces secrets.
fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (path, fresh) = (folder.join(name), folder.join(format!("{name}.new")));
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    path
}

/// A server refuses a client's certificate after the client's side of the handshake is over (RFC 8446, 2): its alert may
/// come, or only the end of the connection.
fn tells_or_hangs_up(said: &str, reason: &str) -> bool {
    let said = said.to_lowercase();
    [
        reason,
        "connection closed",
        "broken pipe",
        "connection reset",
    ]
    .iter()
    .any(|part| said.contains(part))
}

struct Rig {
    files: TempDir,
    authority: Authority,
    nic: Running,
}

impl Rig {
    async fn start(mutual: bool) -> Self {
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::new("first");
        let tls = ServerTls {
            identity: authority.sign(files.path(), "server", |_| {}),
            client_authorities: mutual
                .then(|| put(files.path(), "clients.crt", &authority.certificate)),
        };
        put(files.path(), "ca.crt", &authority.certificate);
        let nic = SoftNic::builder().tls(tls).serve(free()).await.unwrap();
        Self {
            files,
            authority,
            nic,
        }
    }

    fn path(&self) -> &Path {
        self.files.path()
    }

    /// Settings that a server without clients' certificates takes.
    fn config(&self) -> Config {
        let mut config = Config::new(format!("https://{}", self.nic.address()));
        config.tls = Some(ClientTls {
            authorities: Some(self.path().join("ca.crt")),
            ..ClientTls::default()
        });
        config
    }

    /// What keeps a client out.
    async fn refused(&self, config: Config) -> String {
        match tokio::time::timeout(SOON, Client::connect(config)).await {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(_)) => panic!("let in"),
            Err(_) => panic!("neither let in nor kept out"),
        }
    }
}

fn free() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn works(client: &Client) {
    assert!(client.wait_primary(SOON).await);
    assert!(!client.capabilities().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_believed_that_the_right_authority_vouches_for() {
    let rig = Rig::start(false).await;
    let (client, _notifications) = Client::connect(rig.config()).await.unwrap();
    works(&client).await;
    client.shutdown().await;

    let mut plain = rig.config();
    plain.endpoint = format!("http://{}", rig.nic.address());
    plain.tls = None;
    plain.connect_timeout = Duration::from_secs(2);
    rig.refused(plain).await;

    let mut stranger = rig.config();
    let other = put(
        rig.path(),
        "other.crt",
        &Authority::new("second").certificate,
    );
    stranger.tls.as_mut().unwrap().authorities = Some(other);
    let said = rig.refused(stranger).await;
    assert!(said.contains("UnknownIssuer"), "{said}");

    // The system's authorities know nothing of ours, wherever this runs.
    let mut system = rig.config();
    system.tls = None;
    let said = rig.refused(system).await;
    assert!(
        said.contains("UnknownIssuer") || said.contains("authorities"),
        "{said}"
    );

    let mut renamed = rig.config();
    renamed.tls.as_mut().unwrap().server_name = Some("nic.example".to_owned());
    let said = rig.refused(renamed).await;
    assert!(said.contains("nic.example"), "{said}");

    let mut named = rig.config();
    named.tls.as_mut().unwrap().server_name = Some("localhost".to_owned());
    let (client, _notifications) = Client::connect(named).await.unwrap();
    works(&client).await;

    let mut nothing = rig.config();
    nothing.tls.as_mut().unwrap().authorities = Some(rig.path().join("absent.crt"));
    let said = rig.refused(nothing).await;
    assert!(
        said.contains("cannot read") && said.contains("absent.crt"),
        "{said}"
    );
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused_on_either_side() {
    let expired = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    };
    let rig = Rig::start(true).await;
    let mut late = rig.config();
    late.tls.as_mut().unwrap().identity = Some(rig.authority.sign(rig.path(), "late", expired));
    let said = rig.refused(late).await;
    assert!(tells_or_hangs_up(&said, "expired"), "{said}");

    rig.authority.sign(rig.path(), "server", expired);
    let mut config = rig.config();
    config.tls.as_mut().unwrap().identity = Some(rig.authority.sign(rig.path(), "good", |_| {}));
    let said = rig.refused(config).await;
    assert!(said.contains("expired"), "{said}");
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_to_know_its_clients_takes_no_others() {
    let rig = Rig::start(true).await;
    let said = rig.refused(rig.config()).await;
    assert!(tells_or_hangs_up(&said, "certificate"), "{said}");

    let mut stranger = rig.config();
    let other = Authority::new("second").sign(rig.path(), "stranger", |_| {});
    stranger.tls.as_mut().unwrap().identity = Some(other);
    rig.refused(stranger).await;

    let mut known = rig.config();
    known.tls.as_mut().unwrap().identity = Some(rig.authority.sign(rig.path(), "client", |_| {}));
    let (client, _notifications) = Client::connect(known).await.unwrap();
    works(&client).await;
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_under_open_connections() {
    let rig = Rig::start(true).await;
    let mut config = rig.config();
    config.tls.as_mut().unwrap().identity = Some(rig.authority.sign(rig.path(), "client", |_| {}));
    let (before, _notifications) = Client::connect(config.clone()).await.unwrap();
    works(&before).await;
    let mut session = before.state();
    session.mark_unchanged();

    // Another authority for everything; the server's files are replaced one by one, so they do not fit for a while.
    let next = Authority::new("second");
    let half = next.sign(rig.path(), "next", |_| {});
    let certificate = std::fs::read_to_string(&half.certificate).unwrap();
    put(rig.path(), "server.crt", &certificate);
    config.election_id = None;
    let (meanwhile, _notifications) = Client::connect(config.clone()).await.unwrap();
    assert!(
        !meanwhile.capabilities().await.unwrap().is_empty(),
        "the former pair still serves"
    );
    let key = std::fs::read_to_string(&half.key).unwrap();
    put(rig.path(), "server.key", &key);
    let said = rig.refused(config.clone()).await;
    assert!(said.contains("UnknownIssuer"), "the new one does: {said}");

    // A client that follows: the same settings, other contents.
    put(rig.path(), "ca.crt", &next.certificate);
    put(rig.path(), "clients.crt", &next.certificate);
    next.sign(rig.path(), "client", |_| {});
    let (after, _notifications) = Client::connect(config).await.unwrap();
    assert!(!after.capabilities().await.unwrap().is_empty());

    assert!(
        !session.has_changed().unwrap(),
        "the first connection never broke"
    );
    works(&before).await;
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_reconnects_with_what_the_files_say_then() {
    let rig = Rig::start(true).await;
    let mut config = rig.config();
    config.tls.as_mut().unwrap().identity = Some(rig.authority.sign(rig.path(), "client", |_| {}));
    config.backoff.initial = Duration::from_millis(5);
    let (client, _notifications) = Client::connect(config).await.unwrap();
    works(&client).await;

    let next = Authority::new("second");
    next.sign(rig.path(), "server", |_| {});
    for file in ["ca.crt", "clients.crt"] {
        put(rig.path(), file, &next.certificate);
    }
    next.sign(rig.path(), "client", |_| {});
    let address = rig.nic.address();
    let files = rig.files;
    rig.nic.shutdown().await;
    let mut state = client.state();
    let gone = state.wait_for(|state| !state.connected());
    tokio::time::timeout(SOON, gone).await.unwrap().unwrap();
    let tls = ServerTls {
        identity: Identity {
            certificate: files.path().join("server.crt"),
            key: files.path().join("server.key"),
        },
        client_authorities: Some(files.path().join("clients.crt")),
    };
    let nic = SoftNic::builder().tls(tls).serve(address).await.unwrap();
    works(&client).await;
    nic.shutdown().await;
}

#[tokio::test]
async fn a_switch_without_its_certificate_does_not_start() {
    let tls = ServerTls {
        identity: Identity {
            certificate: "/nowhere/tls.crt".into(),
            key: "/nowhere/tls.key".into(),
        },
        client_authorities: None,
    };
    let started = SoftNic::builder().tls(tls).serve(free()).await;
    let said = started.err().expect("no certificate").to_string();
    assert!(said.contains("/nowhere/tls.crt"), "{said}");
}
