//! The socket as hyper sees it, which notes in the connection's slot when hyper's bytes are out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::http::takeover::Slot;

/// A socket on loan to hyper.
pub(super) struct Wire {
    socket: TcpStream,
    /// What was read before this wire was made.
    early: Bytes,
    slot: Arc<Slot>,
}

impl Wire {
    pub(super) fn new(socket: TcpStream, early: Bytes, slot: Arc<Slot>) -> Self {
        Self { socket, early, slot }
    }

    /// The socket, and what was read of it and not yet asked for.
    pub(super) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.socket, self.early)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let n = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early[..n]);
            self.early.advance(n);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.slot.full(wrote.is_pending());
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when its own buffer is empty.
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.slot.flushed();
        Poll::Ready(Ok(()))
    }

    /// Nothing yet: the connection may have a last word, and drops the socket at once behind it.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.slot.full(wrote.is_pending());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
