//! The client's side: a connector that tonic calls for every connection.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::Uri;

use super::fresh::{Contents, Fresh};
use super::{Identity, TlsError, authorities, certificates, private_key, provider};

/// HTTP/2, as ALPN calls it (RFC 9113).
pub(super) const HTTP2: &[u8] = b"h2";

/// How a client makes sure of a server, and who it is itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Certificates of the authorities that may have signed the server's, in PEM; none: the system's.
    pub authorities: Option<PathBuf>,
    /// For servers that want to know their clients.
    pub identity: Option<Identity>,
    /// The name in the server's certificate; none: the one in its address.
    pub server_name: Option<String>,
}

/// Makes connections; clones share what was read.
#[derive(Clone)]
pub struct Connector {
    config: Arc<Fresh<ClientConfig>>,
    server_name: Option<String>,
    keepalive: Duration,
}

impl Connector {
    /// Reads nothing yet. A peer that is gone is noticed after some times `keepalive`.
    pub fn new(tls: &ClientTls, keepalive: Duration) -> Self {
        let ClientTls {
            authorities,
            identity,
            server_name,
        } = tls.clone();
        let mut paths: Vec<PathBuf> = authorities.iter().cloned().collect();
        if let Some(Identity { certificate, key }) = &identity {
            paths.extend([certificate.clone(), key.clone()]);
        }
        let make =
            move |contents: &Contents| config(authorities.as_ref(), identity.as_ref(), contents);
        Self {
            config: Arc::new(Fresh::new(paths, make)),
            server_name,
            keepalive,
        }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<TlsStream<TcpStream>>, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let config = self.config.get()?;
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError::ServerName(name.to_owned()))?;
        let port = uri.port_u16().unwrap_or(443);
        let at = |source| ConnectError::Tcp {
            address: format!("{host}:{port}"),
            source,
        };
        let stream = TcpStream::connect((host, port)).await.map_err(at)?;
        stream.set_nodelay(true).map_err(at)?;
        sockopt::set_socket_keepalive(&stream, true).map_err(|error| at(error.into()))?;
        sockopt::set_tcp_keepidle(&stream, self.keepalive).map_err(|error| at(error.into()))?;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(ConnectError::Handshake)?;
        Ok(TokioIo::new(stream))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Files are no good.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody there.
    #[error("{address}: {source}")]
    Tcp {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The server is not who it should be, or does not want us.
    #[error("TLS: {0}")]
    Handshake(#[source] std::io::Error),
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

fn config(
    ca: Option<&PathBuf>,
    identity: Option<&Identity>,
    contents: &Contents,
) -> Result<ClientConfig, TlsError> {
    let mut contents = contents.iter();
    let roots = match (ca, ca.and_then(|_| contents.next())) {
        (Some(path), Some(pem)) => authorities(path, pem)?,
        _ => of_the_system()?,
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots);
    let mut config = match (identity, contents.next(), contents.next()) {
        (Some(identity), Some(chain), Some(key)) => config
            .with_client_auth_cert(
                certificates(&identity.certificate, chain)?,
                private_key(&identity.key, key)?,
            )
            .map_err(|source| TlsError::Unusable {
                path: identity.certificate.clone(),
                source,
            })?,
        _ => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}

fn of_the_system() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some that cannot be used are usual among so many.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(ToString::to_string);
        return Err(TlsError::NoSystemAuthorities(
            why.unwrap_or_else(|| "none found".to_owned()),
        ));
    }
    Ok(roots)
}
