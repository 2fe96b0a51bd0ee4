//! The socket as hyper sees it. What hyper writes is gathered here and leaves when hyper has nothing more to do for the
//! moment, so that the answers to pipelined requests leave together. hyper's own way of doing that (`pipeline_flush`) would
//! keep an answer back for as long as anything is pipelined behind it, be it half a request or a stray line break.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::http::takeover::Slot;

/// What is gathered before hyper has to wait for the socket, in bytes.
const MAX_UNSENT: usize = 64 << 10;

/// A socket on loan to hyper.
pub(super) struct Wire {
    line: Arc<Line>,
    slot: Arc<Slot>,
    /// What was read before this wire was made.
    early: Bytes,
}

/// The socket and what is on its way out, shared by hyper's wire and the connection's task.
pub(super) struct Line {
    socket: TcpStream,
    unsent: Mutex<BytesMut>,
    /// Bytes that the socket ever took.
    sent: AtomicU64,
    /// Bytes may lie in the kernel although the runtime was told that there are none; see [`Line::poll_gone`].
    held: AtomicBool,
}

impl Line {
    pub(super) fn new(socket: TcpStream) -> Arc<Self> {
        Arc::new(Self { socket, unsent: Mutex::default(), sent: AtomicU64::new(0), held: AtomicBool::new(false) })
    }

    /// Sends what was gathered; pending while the socket is full.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut unsent = self.unsent.lock();
        while !unsent.is_empty() {
            match self.socket.try_write(&unsent) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => {
                    unsent.advance(sent);
                    self.sent.fetch_add(sent as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_write_ready(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Adds to what is to be sent.
    pub(super) fn say(&self, bytes: &[u8]) {
        self.unsent.lock().extend_from_slice(bytes);
    }

    /// Ready when the client has left, wholly or by half. hyper does not see that while anything is pipelined behind the
    /// request that is being answered: it has no reason to read on.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(self.socket.poll_read_ready(cx)).is_err() || is_closed(&self.socket) {
                return Poll::Ready(());
            }
            // What lies there is for hyper, later. Until then it must not hide what comes behind it: the runtime is told that
            // there was nothing, so that it tells of the next thing that happens.
            self.held.store(true, Ordering::Relaxed);
            let nothing = self.socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            debug_assert!(nothing.is_err(), "nothing was read");
        }
    }

    /// How much has been sent, in bytes.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How much has not been sent, in bytes.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.lock().len()
    }

    /// The socket, once hyper has given its wire back.
    pub(super) fn into_socket(self: Arc<Self>) -> Option<TcpStream> {
        Arc::into_inner(self).map(|line| line.socket)
    }
}

impl Wire {
    pub(super) fn new(line: Arc<Line>, slot: Arc<Slot>, early: Bytes) -> Self {
        Self { line, slot, early }
    }

    /// What was read and not yet asked for: many requests may be pipelined, of which hyper had no room for all.
    pub(super) fn into_early(self) -> Bytes {
        self.early
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
        if self.line.held.swap(false, Ordering::Relaxed) {
            let socket = SockRef::from(&self.line.socket);
            match (&*socket).read(buf.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(n) => {
                    buf.advance(n);
                    // There may be more of which the runtime knows nothing.
                    self.line.held.store(n > 0, Ordering::Relaxed);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        loop {
            ready!(self.line.socket.poll_read_ready(cx))?;
            match self.line.socket.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.line.unsent() >= MAX_UNSENT {
            ready!(self.line.poll_send(cx))?;
        }
        self.line.say(&self.slot.take_interim());
        self.line.unsent.lock().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper's own buffer is empty. The connection's task sends when hyper has nothing more to do.
        self.slot.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.line.poll_send(cx))?;
        socket2::SockRef::from(&self.line.socket).shutdown(std::net::Shutdown::Write)?;
        Poll::Ready(Ok(()))
    }
}

/// Whether the peer has said that it will send no more, or that there is no connection any more.
fn is_closed(socket: &TcpStream) -> bool {
    let mut watched = [PollFd::new(socket, PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // It fails only for want of memory; then hyper may still find out.
    let _ = rustix::event::poll(&mut watched, Some(&at_once));
    watched[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}
