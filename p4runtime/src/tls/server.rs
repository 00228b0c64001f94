//! The server's side: accepted connections, each with its handshake done.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;

use super::client::HTTP2;
use super::fresh::{Contents, Fresh};
use super::{Identity, TlsError, authorities, certificates, private_key, provider};

/// Time for a handshake; who needs longer does not keep others waiting, and is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that wait for the server to take them.
const WAITING: usize = 16;
/// Wait after the system could not accept: it has no file descriptors left, most likely.
const RETRY: Duration = Duration::from_millis(100);

/// Who the server is, and which clients it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The server itself.
    pub identity: Identity,
    /// Certificates of the authorities that must have signed a client's, in PEM; none: clients need no certificate.
    pub client_authorities: Option<PathBuf>,
}

/// Connections whose handshake is done. The task that accepts them ends when this is dropped.
#[derive(Debug)]
pub struct Incoming {
    ready: mpsc::Receiver<TlsStream<TcpStream>>,
    task: JoinHandle<()>,
}

impl Incoming {
    /// Reads the files, to fail early, and begins to accept.
    ///
    /// # Errors
    /// When the files cannot be used.
    pub fn new(listener: TcpListener, tls: &ServerTls) -> Result<Self, TlsError> {
        let mut paths = vec![tls.identity.certificate.clone(), tls.identity.key.clone()];
        paths.extend(tls.client_authorities.clone());
        let tls = tls.clone();
        let config = Fresh::new(paths, move |contents: &Contents| config(&tls, contents));
        config.get()?;
        let (sender, ready) = mpsc::channel(WAITING);
        let task = tokio::spawn(accept(listener, Arc::new(config), sender));
        Ok(Self { ready, task })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stream for Incoming {
    type Item = io::Result<TlsStream<TcpStream>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(cx).map(|next| next.map(Ok))
    }
}

async fn accept(
    listener: TcpListener,
    config: Arc<Fresh<ServerConfig>>,
    ready: mpsc::Sender<TlsStream<TcpStream>>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(handshake(stream, peer, config.clone(), ready.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn handshake(
    stream: TcpStream,
    peer: SocketAddr,
    config: Arc<Fresh<ServerConfig>>,
    ready: mpsc::Sender<TlsStream<TcpStream>>,
) {
    let config = match config.get() {
        Ok(config) => config,
        Err(error) => return tracing::warn!(%peer, %error, "no TLS for a client"),
    };
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%peer, %error, "a client is gone");
    }
    let shaken = TlsAcceptor::from(config).accept(stream);
    let stream = tokio::select! {
        () = ready.closed() => return,
        shaken = tokio::time::timeout(HANDSHAKE, shaken) => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::warn!(%peer, %error, "a client was refused"),
            Err(_) => return tracing::warn!(%peer, "a client took too long for its handshake"),
        },
    };
    // A server that is gone takes no connections.
    let _ = ready.send(stream).await;
}

fn config(tls: &ServerTls, contents: &Contents) -> Result<ServerConfig, TlsError> {
    let Identity { certificate, key } = &tls.identity;
    let of = |at: usize| contents.get(at).map_or(&[][..], Vec::as_slice);
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let config = match &tls.client_authorities {
        None => config.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path, of(2))?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            config.with_client_cert_verifier(verifier.map_err(|source| TlsError::Authorities {
                path: path.clone(),
                source,
            })?)
        }
    };
    let mut config = config
        .with_single_cert(certificates(certificate, of(0))?, private_key(key, of(1))?)
        .map_err(|source| TlsError::Unusable {
            path: certificate.clone(),
            source,
        })?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}
