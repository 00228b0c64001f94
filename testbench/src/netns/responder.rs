//! Servers in a namespace that say who they are and whom they serve, over TCP and UDP.
//!
//! In: a namespace and addresses. Out: one thread that serves all of them until it is dropped. A client gets one line per
//! line (TCP) or datagram (UDP) that it sends: `SERVER CLIENT`, both as addresses.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::thread::JoinHandle;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::oneshot;

use super::Namespace;

/// Connections that may wait to be accepted: bursts of them are opened in tests.
const BACKLOG: i32 = 4096;

/// Running servers.
#[derive(Debug)]
pub struct Responder {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    /// Serves these addresses; when this returns, all of them answer.
    ///
    /// # Errors
    /// When one of them cannot be listened on.
    pub fn start(namespace: &Namespace, addresses: &[SocketAddr]) -> io::Result<Self> {
        let sockets = namespace.inside(|| {
            addresses
                .iter()
                .map(|&address| Ok((listener(address)?, UdpSocket::bind(address)?)))
                .collect::<io::Result<Vec<_>>>()
        })??;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("responder".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    for (tcp, udp) in sockets {
                        tokio::spawn(accept(tcp));
                        tokio::spawn(answer(udp));
                    }
                    // Ends when the other side is dropped, too.
                    let _ = stopped.await;
                });
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // A second call only changes how many may wait.
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn words(server: IpAddr, client: SocketAddr) -> String {
    format!("{server} {}\n", client.ip().to_canonical())
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        // One connection that broke before it was accepted is no end of the server.
        let Ok((stream, client)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        tokio::spawn(converse(stream, client));
    }
}

async fn converse(stream: tokio::net::TcpStream, client: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = words(stream.local_addr()?.ip(), client);
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while lines.next_line().await?.is_some() {
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

async fn answer(socket: UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let own = socket.local_addr()?.ip();
    let mut buffer = [0; 2048];
    loop {
        // An ICMP error about an answer to a client that is gone shows up here.
        if let Ok((_, client)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(words(own, client).as_bytes(), client).await;
        }
    }
}
