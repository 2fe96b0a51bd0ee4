//! An upgraded connection: bytes both ways, whatever they mean, until both ends are done or silent for too long. One end may
//! finish before the other.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::time::Instant;

use super::Leave;
use super::client::Client;
use super::upstream::Tunnelled;
use crate::metrics::{self, ProxyMetrics};

/// Passes bytes both ways. `head` is what the client is told first.
pub(super) async fn run(
    client: Client,
    head: Vec<u8>,
    upstream: Tunnelled,
    idle: Duration,
    leave: Leave,
    metrics: Arc<ProxyMetrics>,
) {
    metrics::add(&metrics.tunnels, 1);
    let Client { mut socket, early, place, .. } = client;
    let Tunnelled { socket: mut server, early: answered, busy } = upstream;
    let moved = AtomicU64::new(0);
    let pass = async {
        socket.write_all(&head).await?;
        socket.write_all(&answered).await?;
        server.write_all(&early).await?;
        let mut one = Counting { socket: &mut socket, moved: &moved };
        let mut other = Counting { socket: &mut server, moved: &moved };
        copy_bidirectional(&mut one, &mut other).await.map(drop)
    };
    let passed = tokio::select! {
        passed = pass => passed,
        () = leave => Err(io::Error::other("the client has to go")),
        () = silence(&moved, idle) => Err(io::ErrorKind::TimedOut.into()),
    };
    if let Err(error) = passed {
        tracing::debug!(%error, "a tunnel ended");
    }
    metrics::take(&metrics.tunnels, 1);
    drop((place, busy));
}

/// Returns when nothing has moved for `limit`; never, if that is zero.
async fn silence(moved: &AtomicU64, limit: Duration) {
    if limit.is_zero() {
        return std::future::pending().await;
    }
    let mut seen = 0;
    loop {
        tokio::time::sleep_until(Instant::now() + limit).await;
        let now = moved.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

/// A socket that counts what is read from it.
struct Counting<'a, S> {
    socket: &'a mut S,
    moved: &'a AtomicU64,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counting<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut *self.socket).poll_read(cx, buf);
        if read.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_shutdown(cx)
    }
}
