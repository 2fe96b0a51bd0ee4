//! An event stream on its way through, from socket to socket: each read is passed on at once, as one chunk, and heartbeats
//! are put between events. A stream that is silent keeps no buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Sleep;

use super::Leave;
use super::client::Client;
use super::exchange::Piece;
use super::failure::Failure;
use super::head::{may_trail, write_field};
use super::pulse::{Boundary, Pulse};
use super::reconnect::Feed;
use crate::dialect::relayed::HEARTBEAT;
use crate::metrics::{self, ProxyMetrics};

/// Room for one read. One for each thread, not for each stream.
const ROOM: usize = 64 << 10;
/// The most room for what is written that a thread keeps, in bytes.
const MAX_OUT: usize = 2 * ROOM;
/// Room in front of a chunk for its size.
const SIZE: usize = 10;
/// Reads of one stream in a row, before others have their turn.
const BURST: usize = 8;
/// What a client may send behind its request while it is being answered, in bytes.
const MAX_EARLY: usize = 64 << 10;
/// `TCP_NOTSENT_LOWAT` of a connection that carries other things than streams.
const UNSENT_ANY: u32 = u32::MAX;
/// Said where a body of chunks breaks off on a connection that was to be closed behind it: there the `fetch` of Node takes any
/// end for the end of the body. Whoever reads no further than the digits waits for more than will come.
const NO_CHUNK: &[u8] = b"ffff-broken-off\r\n";
/// How long the peer of an ended stream is given to close.
const GOODBYE: Duration = Duration::from_secs(1);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { room: vec![0; ROOM].into(), out: Vec::new() });
}

struct Scratch {
    room: Box<[u8]>,
    out: Vec<u8>,
}

/// How a stream is delimited on its way to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By chunks.
    Chunks,
    /// By the length that the head told.
    Length,
    /// By the connection's end, for HTTP/1.0.
    Close,
}

/// Everything that a relay needs beside its two ends.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) framing: Framing,
    /// The client means to use the connection again.
    pub(super) keeps_alive: bool,
    /// Words of ours may stand in the stream: its bytes are neither coded nor counted.
    pub(super) speaks: bool,
    /// Silence after which a heartbeat is due; zero for none.
    pub(super) ping: Duration,
    /// How long the client may take nothing; zero for ever.
    pub(super) stall_limit: Duration,
    /// `TCP_NOTSENT_LOWAT`, in bytes: how much unsent data makes the client's socket "full".
    pub(super) unsent_low: u32,
    /// The client is an `EventSource`, which can be told when to come back.
    pub(super) comes_back: bool,
    pub(super) metrics: Arc<ProxyMetrics>,
    pub(super) stopping: Stopping,
}

/// Tells that the server stops, and over which time clients are to come back.
#[derive(Debug, Clone)]
pub struct Stopping {
    /// Turns true.
    pub told: watch::Receiver<bool>,
    /// Clients come back after a time drawn from zero to this.
    pub window: Duration,
}

/// What is left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// The stream goes on.
    Streaming,
    /// Its end is being written.
    Ending,
    /// All is said: the peer is expected to close.
    Closing,
}

/// How a relay came to its end.
enum Over {
    /// The client may ask for something else.
    Kept,
    /// The connection is closed.
    Closed,
    /// The client sees an error.
    Cut,
}

struct Relay {
    socket: TcpStream,
    early: BytesMut,
    feed: Feed,
    terms: Terms,
    pulse: Option<Pulse>,
    /// Where the stream stands, where no pulse knows.
    place: Boundary,
    /// What the client's socket would not take yet.
    unsent: Bytes,
    doing: Doing,
    /// Whether the end was the one that the upstream meant.
    clean: bool,
    /// Runs while the client takes nothing, and at the end.
    patience: Option<Pin<Box<Sleep>>>,
    /// Wakes this when the server stops; it is asked once to do so, and then only whether it has.
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    listens: bool,
    /// Is done when the client has to go; not asked any more once it has.
    leave: Leave,
}

/// Passes a stream on until either end is done. `head` is the answer's, ready to be written.
pub(super) async fn run(client: Client, head: Vec<u8>, feed: Feed, terms: Terms, leave: Leave) {
    let metrics = Arc::clone(&terms.metrics);
    metrics::add(&metrics.streams_ever, 1);
    metrics::add(&metrics.streams, 1);
    let _counted = Counted(&metrics);
    let Client { socket, early, place, back } = client;
    let pulse = if terms.speaks { Pulse::new(terms.ping) } else { None };
    let mut told = terms.stopping.told.clone();
    let stop = terms.comes_back.then(|| -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            // An error means that whoever could stop us is gone.
            let _ = told.wait_for(|told| *told).await;
        })
    });
    // Else the kernel would hold megabytes for a client that reads nothing. Only the worse bound if it fails.
    let _ = SockRef::from(&socket).set_tcp_notsent_lowat(terms.unsent_low);
    let mut relay = Relay {
        socket,
        early: BytesMut::from(&early[..]),
        feed,
        terms,
        pulse,
        place: Boundary::new(),
        unsent: head.into(),
        doing: Doing::Streaming,
        clean: true,
        patience: None,
        stop,
        listens: false,
        leave,
    };
    drop(early);
    let over = std::future::poll_fn(|cx| relay.poll(cx)).await;
    let Relay { socket, early, terms, .. } = relay;
    match over {
        Ok(Over::Kept) => {
            let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_ANY);
            back(socket, place, early.freeze());
        }
        Ok(Over::Cut) | Err(_) if terms.framing == Framing::Close => {
            // Nothing in the body can say it: the connection's end has to be an error.
            let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        Ok(Over::Closed | Over::Cut) | Err(_) => {}
    }
}

struct Counted<'a>(&'a ProxyMetrics);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        metrics::take(&self.0.streams, 1);
    }
}

impl Relay {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Over>> {
        if self.hears_the_end(cx) {
            if self.doing != Doing::Closing {
                metrics::add(&self.terms.metrics.clients_left, 1);
            }
            return Poll::Ready(Ok(Over::Closed));
        }
        if self.doing == Doing::Streaming && self.leave.as_mut().poll(cx).is_ready() {
            self.dismiss();
        }
        SCRATCH.with_borrow_mut(|scratch| self.move_on(cx, scratch))
    }

    fn move_on(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<Over>> {
        for _ in 0..BURST {
            if !self.unsent.is_empty() && self.poll_unsent(cx)?.is_pending() {
                let limit = self.terms.stall_limit;
                if !limit.is_zero() {
                    let timer = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                    ready!(timer.as_mut().poll(cx));
                    metrics::add(&self.terms.metrics.stalled, 1);
                    return Poll::Ready(Ok(Over::Cut));
                }
                return Poll::Pending;
            }
            match self.doing {
                Doing::Streaming => {}
                Doing::Ending if !self.clean => return Poll::Ready(Ok(Over::Cut)),
                Doing::Ending if self.terms.keeps_alive => return Poll::Ready(Ok(Over::Kept)),
                Doing::Ending => {
                    // What is on its way arrives before the connection ends.
                    if SockRef::from(&self.socket).shutdown(std::net::Shutdown::Write).is_err() {
                        return Poll::Ready(Ok(Over::Closed));
                    }
                    self.doing = Doing::Closing;
                    self.patience = Some(Box::pin(tokio::time::sleep(GOODBYE)));
                }
                Doing::Closing => {
                    let timer = self.patience.as_mut().expect("it was set when the closing began");
                    ready!(timer.as_mut().poll(cx));
                    return Poll::Ready(Ok(Over::Closed));
                }
            }
            if self.doing != Doing::Streaming {
                continue;
            }
            self.patience = None;
            ready!(self.poll_feed(cx, scratch))?;
        }
        // There may be more at once, for others as well.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes the next piece of the stream and sends it, or what is to be said instead.
    fn poll_feed(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        // Also where the upstream never pauses.
        if self.is_told() && self.may_end() {
            self.say_farewell();
            return Poll::Ready(Ok(()));
        }
        let Scratch { room, out } = scratch;
        out.clear();
        // One large event is no reason to keep its room for good.
        out.shrink_to(MAX_OUT);
        // Its place is in front of the data, so that both leave in one write without a copy.
        out.extend_from_slice(&[0; SIZE]);
        match self.feed.poll(cx, room, out, &self.terms.metrics) {
            // An empty chunk would be the last.
            Poll::Ready(Ok(Piece::Data(()))) if out.len() == SIZE => Poll::Ready(Ok(())),
            Poll::Ready(Ok(Piece::Data(()))) => {
                match &mut self.pulse {
                    Some(pulse) => pulse.follow(&out[SIZE..]),
                    None if self.terms.speaks => self.place.follow(&out[SIZE..]),
                    None => {}
                }
                metrics::add(&self.terms.metrics.stream_bytes, (out.len() - SIZE) as u64);
                self.send(cx, out)?;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(Piece::End(trailers))) => {
                self.end(trailers.as_ref());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(failure)) => {
                self.fail(&failure);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                if !self.listens
                    && let Some(stop) = &mut self.stop
                {
                    self.listens = true;
                    if stop.as_mut().poll(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                }
                let Some(pulse) = &mut self.pulse else { return Poll::Pending };
                ready!(pulse.poll_due(cx));
                metrics::add(&self.terms.metrics.beats, 1);
                out.extend_from_slice(HEARTBEAT);
                self.send(cx, out)?;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Whether the server stops, and the client is one that can be told so.
    fn is_told(&self) -> bool {
        // An error means that whoever could stop us is gone.
        self.stop.is_some() && self.terms.stopping.told.has_changed().unwrap_or(true)
    }

    /// Whether the stream is where it can end without cutting an event in two. One that we cannot speak in is broken off
    /// anywhere.
    fn may_end(&self) -> bool {
        !self.terms.speaks || self.pulse.as_ref().map_or(self.place.may_end(), Pulse::may_end)
    }

    /// Sends `out`, whose first bytes are room for a chunk's size. What the socket does not take is kept.
    fn send(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> io::Result<()> {
        let start = self.frame(out);
        let mut rest = &out[start..];
        while !rest.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, rest)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => rest = &rest[n..],
                Poll::Pending => {
                    self.unsent = Bytes::copy_from_slice(rest);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Makes a chunk of `out`, where chunks are wanted; returns where it begins.
    fn frame(&self, out: &mut Vec<u8>) -> usize {
        if self.terms.framing != Framing::Chunks {
            return SIZE;
        }
        // Digit by digit from the end: this is done for every event, and formatting costs more than the rest of it.
        let mut left = out.len() - SIZE;
        let mut start = SIZE - 2;
        out[start..SIZE].copy_from_slice(b"\r\n");
        while start > 0 {
            start -= 1;
            out[start] = b"0123456789abcdef"[left & 15];
            left >>= 4;
            if left == 0 {
                break;
            }
        }
        debug_assert_eq!(left, 0, "a read's size fits into its room");
        out.extend_from_slice(b"\r\n");
        start
    }

    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, &self.unsent)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => {
                    bytes::Buf::advance(&mut self.unsent, n);
                    // It moves: its patience begins anew.
                    self.patience = None;
                }
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        self.unsent = Bytes::new();
        Ok(Poll::Ready(()))
    }

    /// The upstream has ended its answer.
    fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.doing = Doing::Ending;
        if self.terms.framing == Framing::Chunks {
            let mut end = b"0\r\n".to_vec();
            for (name, value) in trailers.into_iter().flatten().filter(|(name, _)| may_trail(name)) {
                write_field(&mut end, name, value);
            }
            end.extend_from_slice(b"\r\n");
            self.unsent = end.into();
        }
    }

    /// The upstream's answer was cut: so is this one.
    fn fail(&mut self, failure: &Failure) {
        tracing::debug!(%failure, "an event stream was cut");
        self.doing = Doing::Ending;
        self.clean = false;
        if self.terms.framing == Framing::Chunks && !self.terms.keeps_alive {
            self.unsent = Bytes::from_static(NO_CHUNK);
        }
    }

    /// The client has to go. It is told as at the stop where it understands that, and what it is in the middle of is cut.
    fn dismiss(&mut self) {
        // What its socket has not taken ends within an event, or a chunk.
        if self.unsent.is_empty() && self.terms.comes_back && self.may_end() {
            return self.say_farewell();
        }
        self.doing = Doing::Ending;
        self.clean = false;
        self.terms.keeps_alive = false;
        let whole = self.unsent.is_empty() && self.terms.framing == Framing::Chunks;
        self.unsent = if whole { Bytes::from_static(NO_CHUNK) } else { Bytes::new() };
    }

    /// The server stops: the client is told when to come back.
    fn say_farewell(&mut self) {
        self.doing = Doing::Ending;
        self.terms.keeps_alive = false;
        if !self.terms.speaks {
            // An `EventSource` comes back from an error as well.
            self.clean = false;
            return;
        }
        let window = u64::try_from(self.terms.stopping.window.as_millis()).unwrap_or(u64::MAX);
        let mut words = Vec::new();
        fantail_sse::encode::retry(&mut words, fastrand::u64(0..=window));
        self.unsent = match self.terms.framing {
            Framing::Chunks => {
                let size = format!("{:x}\r\n", words.len());
                [size.as_bytes(), &words, b"\r\n0\r\n\r\n"].concat().into()
            }
            Framing::Length | Framing::Close => words.into(),
        };
    }

    /// Reads what the client says behind its request. True if it has left: half a close counts as leaving here, since nobody
    /// who still waits for a stream has a reason for it; and so does saying more than is kept.
    fn hears_the_end(&mut self, cx: &mut Context<'_>) -> bool {
        let mut room = [0; 512];
        for _ in 0..BURST {
            let mut read = ReadBuf::new(&mut room);
            match Pin::new(&mut self.socket).poll_read(cx, &mut read) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => return true,
                Poll::Ready(Ok(())) if read.filled().is_empty() => return true,
                Poll::Ready(Ok(())) if self.doing == Doing::Closing => {}
                Poll::Ready(Ok(())) => {
                    self.early.extend_from_slice(read.filled());
                    if self.early.len() > MAX_EARLY {
                        return true;
                    }
                }
            }
        }
        // Whoever talks without a pause must not keep the stream and its timers from their turn.
        cx.waker().wake_by_ref();
        false
    }
}
