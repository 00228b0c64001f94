//! A listener of one namespace, reached from another one's loopback.
//!
//! In: where the listener is, and a namespace. Out: the same address in that namespace leads there, until this is
//! dropped. What runs in a namespace reaches a server elsewhere without an interface, an address or a route more.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::Namespace;

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Leads from `address` in `from` to the same address in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the address is taken there.
    pub fn start(from: &Namespace, address: SocketAddr) -> io::Result<Self> {
        let listener = from.inside(|| TcpListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // A thread begins in the namespace of the one that starts it.
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = accept(listener, address) => {}
                        // Ends when the other side is dropped, too.
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, to: SocketAddr) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (mut near, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut far = TcpStream::connect(to).await?;
            tokio::io::copy_bidirectional(&mut near, &mut far)
                .await
                .map(drop)
        });
    }
}
