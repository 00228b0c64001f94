//! Files that are no good are named, with the reason; files that were good stay in use until better ones come.

use rcgen::{CertificateParams, KeyPair};

use super::fresh::{Contents, Fresh};
use super::*;

struct Pair {
    certificate: String,
    key: String,
}

fn pair() -> Pair {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["nic.test".to_owned()]).unwrap();
    Pair {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

async fn server(files: &Path, certificate: &str, key: &str, ca: Option<&str>) -> String {
    let put = |name: &str, text: &str| {
        let path = files.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let tls = ServerTls {
        identity: Identity {
            certificate: put("tls.crt", certificate),
            key: put("tls.key", key),
        },
        client_authorities: ca.map(|text| put("ca.crt", text)),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    match Incoming::new(listener, &tls) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_with_its_name() {
    let files = tempfile::tempdir().unwrap();
    let at = files.path();
    let (good, other) = (pair(), pair());
    assert_eq!(server(at, &good.certificate, &good.key, None).await, "");
    assert_eq!(
        server(at, &good.certificate, &good.key, Some(&other.certificate)).await,
        ""
    );
    let broken = "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n";
    for (certificate, key, ca, file, why) in [
        (
            good.key.as_str(),
            good.key.as_str(),
            None,
            "tls.crt",
            "no certificate",
        ),
        (
            &good.certificate,
            &good.certificate,
            None,
            "tls.key",
            "no private key",
        ),
        (&good.certificate, "", None, "tls.key", "no private key"),
        (broken, &good.key, None, "tls.crt", "not PEM"),
        (
            &good.certificate,
            &other.key,
            None,
            "tls.crt",
            "cannot be used",
        ),
        (
            &good.certificate,
            &good.key,
            Some(""),
            "ca.crt",
            "no certificate",
        ),
    ] {
        let said = server(at, certificate, key, ca).await;
        assert!(said.contains(file) && said.contains(why), "{file}: {said}");
    }
    std::fs::remove_file(at.join("tls.crt")).unwrap();
    let missing = ServerTls {
        identity: Identity {
            certificate: at.join("tls.crt"),
            key: at.join("tls.key"),
        },
        client_authorities: None,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = Incoming::new(listener, &missing).unwrap_err().to_string();
    assert!(
        error.contains("cannot read") && error.contains("tls.crt"),
        "{error}"
    );
}

#[test]
fn what_could_be_used_stays_until_something_better_comes() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("tls.crt");
    let fresh = Fresh::new(vec![path.clone()], {
        let path = path.clone();
        move |contents: &Contents| certificates(&path, &contents[0]).map(|found| found.len())
    });
    assert!(fresh.get().is_err(), "there is no file yet");
    let one = pair().certificate;
    std::fs::write(&path, &one).unwrap();
    let first = fresh.get().unwrap();
    assert!(
        Arc::ptr_eq(&first, &fresh.get().unwrap()),
        "nothing changed"
    );
    std::fs::write(&path, "half a fi").unwrap();
    assert!(Arc::ptr_eq(&first, &fresh.get().unwrap()));
    std::fs::remove_file(&path).unwrap();
    assert!(Arc::ptr_eq(&first, &fresh.get().unwrap()));
    std::fs::write(&path, format!("{one}{one}")).unwrap();
    assert_eq!(*fresh.get().unwrap(), 2);
}
