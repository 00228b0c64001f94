//! Single calls, over TCP or UDP, and what came of them.
//!
//! In: where from, where to, how long to wait. Out: an [`Outcome`]: what any client program would have seen. The caller's
//! thread is in the namespace that the call comes from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

/// A datagram without an answer is sent again after this.
const AGAIN: Duration = Duration::from_millis(700);

/// What carries the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// A connection.
    Tcp,
    /// A datagram from a socket of its own.
    Udp,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Source address; none: what the host chooses.
    pub from: Option<IpAddr>,
    /// Whom.
    pub to: SocketAddr,
    /// How.
    pub transport: Transport,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Somebody answered.
    Answered {
        /// Who.
        by: IpAddr,
        /// The client's address as the server saw it.
        seen_as: IpAddr,
    },
    /// A reset, or an ICMP port unreachable.
    Refused,
    /// Nothing came back in time.
    Silent,
    /// A router said that there is no way.
    Unreachable,
    /// Anything else, in the system's words.
    Failed(String),
}

impl Call {
    /// Makes it.
    pub async fn make(self, patience: Duration) -> Outcome {
        let exchange = async {
            match self.transport {
                Transport::Tcp => self.connect().await,
                Transport::Udp => self.send(Instant::now() + patience).await,
            }
        };
        match timeout(patience, exchange).await {
            Ok(Ok(line)) => understood(&line),
            Ok(Err(error)) => failed(&error),
            Err(_) => Outcome::Silent,
        }
    }

    async fn connect(self) -> io::Result<Vec<u8>> {
        let socket = match self.to {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let mut stream = socket.connect(self.to).await?;
        stream.write_all(b"who\n").await?;
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if stream.read_buf(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(line)
    }

    async fn send(self, until: Instant) -> io::Result<Vec<u8>> {
        let any: IpAddr = match self.to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(self.from.unwrap_or(any), 0)).await?;
        // A connected socket is told of ICMP errors.
        socket.connect(self.to).await?;
        let mut line = vec![0; 2048];
        loop {
            socket.send(b"who\n").await?;
            let next = (Instant::now() + AGAIN).min(until);
            if let Ok(received) = timeout_at(next, socket.recv(&mut line)).await {
                line.truncate(received?);
                return Ok(line);
            }
        }
    }
}

fn understood(line: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(by)), Some(Ok(seen_as))) => Outcome::Answered { by, seen_as },
        _ => Outcome::Failed(format!("an unexpected answer: {text}")),
    }
}

fn failed(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::TimedOut => Outcome::Silent,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Outcome::Unreachable,
        _ => Outcome::Failed(error.to_string()),
    }
}
