//! A socket that fails when its peer has taken nothing for too long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::roll::Entry;

/// The socket.
pub(super) struct Patient<S> {
    socket: S,
    /// Zero for ever.
    limit: Duration,
    /// Who is to know whether it takes anything.
    entry: Arc<Entry>,
    blocked: bool,
    /// Runs while it takes nothing.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Writes fail with [`io::ErrorKind::TimedOut`] once nothing was taken for `limit`; never, if that is zero.
    pub(super) fn new(socket: S, limit: Duration, entry: Arc<Entry>) -> Self {
        Self { socket, limit, entry, blocked: false, timer: None }
    }

    /// The socket.
    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() != self.blocked {
            self.blocked = written.is_pending();
            self.entry.takes(!self.blocked);
        }
        if written.is_ready() || self.limit.is_zero() {
            self.timer = None;
            return written;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::roll::Roll;
    use super::*;
    use crate::metrics::{self, Metrics};

    #[tokio::test]
    async fn patience_ends_with_a_peer_that_takes_nothing_and_not_with_a_slow_one() {
        let (ours, mut theirs) = duplex(8);
        let (roll, metrics) = (Arc::new(Roll::default()), Arc::new(Metrics::new(1)));
        let place = roll.enter(([127, 0, 0, 1], 1).into(), [].into(), &metrics);
        let mut patient = Patient::new(ours, Duration::from_millis(200), Arc::clone(place.entry()));
        let blocked = || metrics::read(&metrics.websockets.blocked);
        let slow = async {
            let mut byte = [0; 4];
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(80)).await;
                theirs.read_exact(&mut byte).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(patient.write_all(&[0; 24]), slow);
        written.unwrap();
        assert_eq!(blocked(), 0);
        let error = patient.write_all(&[0; 24]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(blocked(), 1);
        drop(theirs);
    }
}
