//! TLS to a device: which files say who is who.
//!
//! In: paths. Out: settings of a client. The files themselves are read with every new connection, so replaced ones take
//! effect without a restart and without cutting what is open.

use std::path::PathBuf;

use p4runtime::tls::{ClientTls, Identity};
use serde::{Deserialize, Serialize};

use super::Problem;

/// TLS to a device, for an `https` address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceTlsConfig {
    /// Certificates of the authorities that sign the device's certificate, in PEM; none: the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// Certificate that this client shows, with those between it and its authority, in PEM; none: it shows none.
    pub cert_file: Option<PathBuf>,
    /// Private key of that certificate, in PEM.
    pub key_file: Option<PathBuf>,
    /// Name that the device's certificate must be for; none: the host in the device's address.
    pub server_name: Option<String>,
}

impl DeviceTlsConfig {
    /// For a client; none if the address asks for no TLS.
    pub fn client(&self, address: &str) -> Option<ClientTls> {
        let identity = self.cert_file.clone().zip(self.key_file.clone());
        address.starts_with("https://").then(|| ClientTls {
            authorities: self.ca_file.clone(),
            identity: identity.map(|(certificate, key)| Identity { certificate, key }),
            server_name: self.server_name.clone(),
        })
    }

    pub(super) fn check(&self, field: &str, address: &str, problems: &mut Vec<Problem>) {
        if *self != Self::default() && !address.starts_with("https://") {
            problems.push(Problem {
                field: field.to_owned(),
                what: format!("`{address}` is not reached over TLS"),
                advice: "write https://host:port, or leave the TLS settings out",
            });
        }
        for (one, other, missing) in [
            (&self.cert_file, &self.key_file, "key_file"),
            (&self.key_file, &self.cert_file, "cert_file"),
        ] {
            if one.is_some() && other.is_none() {
                problems.push(Problem {
                    field: format!("{field}.{missing}"),
                    what: "a certificate and its key belong together".to_owned(),
                    advice: "give both, or neither",
                });
            }
        }
        if self.server_name.as_deref() == Some("") {
            problems.push(Problem {
                field: format!("{field}.server_name"),
                what: "the name is empty".to_owned(),
                advice: "leave it out to take the host of the address",
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_identity_and_tls_without_https_are_told() {
        let mut problems = Vec::new();
        let tls = DeviceTlsConfig {
            cert_file: Some("/a.crt".into()),
            ..DeviceTlsConfig::default()
        };
        tls.check("device.tls", "http://10.0.0.1:9559", &mut problems);
        let fields: Vec<_> = problems.iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["device.tls", "device.tls.key_file"]);
        assert_eq!(tls.client("http://10.0.0.1:9559"), None);

        let whole = DeviceTlsConfig {
            ca_file: Some("/ca.crt".into()),
            key_file: Some("/a.key".into()),
            ..tls
        };
        problems.clear();
        whole.check("device.tls", "https://10.0.0.1:9559", &mut problems);
        assert_eq!(problems, []);
        let client = whole.client("https://10.0.0.1:9559").unwrap();
        assert_eq!(client.authorities, Some("/ca.crt".into()));
        assert_eq!(client.identity.unwrap().key, PathBuf::from("/a.key"));
    }
}
