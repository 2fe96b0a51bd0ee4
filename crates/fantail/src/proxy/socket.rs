//! A connection to a server, over TCP or a Unix socket.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Server as Address;
use crate::metrics::{self, ProxyMetrics};

/// How long a server may be silent before the kernel asks whether it is there.
const SILENCE: Duration = Duration::from_secs(30);
/// How often it then asks, and how many times in vain.
const PROBE: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// A connected socket.
#[derive(Debug)]
pub(super) struct Socket {
    kind: Kind,
    _open: Open,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Counts a connection while it is open.
#[derive(Debug)]
struct Open(Arc<ProxyMetrics>);

impl Drop for Open {
    fn drop(&mut self) {
        metrics::take(&self.0.open, 1);
    }
}

impl Socket {
    /// Connects. A name that has several addresses is tried at each.
    pub(super) async fn connect(address: &Address, metrics: &Arc<ProxyMetrics>) -> io::Result<Self> {
        // Counted before it is there: many may be on their way.
        metrics::add(&metrics.open, 1);
        let open = Open(Arc::clone(metrics));
        let kind = match address {
            Address::Tcp { host, port } => {
                let socket = TcpStream::connect((host.as_str(), *port)).await?;
                // Only a latency: a socket that cannot do it still works.
                let _ = socket.set_nodelay(true);
                // Only the time until a server that vanished is missed.
                let _ = doubt_silence(&socket);
                Kind::Tcp(socket)
            }
            Address::Unix(path) => Kind::Unix(UnixStream::connect(path).await?),
        };
        Ok(Self { kind, _open: open })
    }

    /// Whether an idle connection is still one: neither closed nor talked on.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        // Asked of the kernel: the runtime may not have heard of the end yet.
        let peeked = match &self.kind {
            Kind::Tcp(socket) => SockRef::from(socket).peek(&mut byte),
            Kind::Unix(socket) => SockRef::from(socket).peek(&mut byte),
        };
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Has the kernel ask now and then whether a silent server is still there. Event streams and tunnels may be silent for ever, and
/// with our heartbeats in them no client would see that nobody feeds them any more.
fn doubt_silence(socket: &TcpStream) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(SILENCE).with_interval(PROBE).with_retries(PROBES);
    // No `TCP_USER_TIMEOUT`: it would also end a server that reads nothing for a while, which our own timers allow.
    SockRef::from(socket).set_tcp_keepalive(&probes)
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Kind::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Kind::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept back here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Kind::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn socket_of_a_silent_server_is_doubted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let metrics = Arc::new(ProxyMetrics::default());
        let connected = Socket::connect(&address, &metrics).await.unwrap();
        assert_eq!(metrics::read(&metrics.open), 1);
        let Kind::Tcp(socket) = &connected.kind else { panic!("it is TCP") };
        let socket = SockRef::from(socket);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap() * PROBES + SILENCE, Duration::from_mins(1));
        drop(connected);
        assert_eq!(metrics::read(&metrics.open), 0);
    }
}
