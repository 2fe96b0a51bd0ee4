//! One request and its answer over one HTTP/1.1 connection to a server (RFC 9112). Both directions move at once: an answer may
//! begin before its request has ended. Dropped before its end it closes the connection, which is how a server is told that
//! nobody waits any more.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::failure::Failure;
use super::head::{self, Head, Length, MAX_HEAD};
use super::server::{Link, Server};
use super::socket::Socket;
use super::upload::Upload;

/// How long a body waits for `100 Continue` before it is sent all the same (RFC 9110 §10.1.1).
const CONTINUE: Duration = Duration::from_secs(1);
/// Room for one read of a large body.
const READ: usize = 16 << 10;
/// Room for one read of anything else.
const SMALL_READ: usize = 4 << 10;

/// An exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    link: Link,
    method: Method,
    upload: Upload,
    length: Length,
    /// The server means to go on with the connection.
    keeps_alive: bool,
    /// Something of the answer has come.
    begun: bool,
    patience: Patience,
    /// How long a client's body may stay silent.
    client: Duration,
    /// Silence is no failure: the answer is an event stream.
    endless: bool,
}

/// What came of an answer's body.
#[derive(Debug)]
pub(super) enum Piece<T> {
    Data(T),
    End(Option<HeaderMap>),
}

/// A timer that is only looked at when it fires.
#[derive(Debug)]
struct Patience {
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn moved(&mut self) {
        self.last = Instant::now();
    }

    fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        if limit.is_zero() {
            return Poll::Pending;
        }
        let due = self.last + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        loop {
            if due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

impl Exchange {
    pub(super) fn new(link: Link, method: Method, upload: Upload, client: Duration) -> Self {
        let patience = Patience { last: Instant::now(), timer: None };
        let length = Length::Close;
        Self { link, method, upload, length, keeps_alive: false, begun: false, patience, client, endless: false }
    }

    /// Whether it failed before the server can have acted on it: on a connection that was used before and closed meanwhile.
    pub(super) fn was_stale(&self) -> bool {
        self.link.reused && !self.begun
    }

    /// The server that it is with.
    pub(super) fn server(&self) -> &Server {
        self.link.busy.server()
    }

    /// The upload, to be tried with another server.
    pub(super) fn into_upload(self) -> Upload {
        self.upload
    }

    /// Whether nothing of the request's body is left to be read.
    pub(super) fn has_request(&self) -> bool {
        self.upload.is_read()
    }

    /// Whether the whole request has been sent, so that nothing of its body is left with the client.
    pub(super) fn is_sent(&self) -> bool {
        self.upload.is_done()
    }

    /// Whether the client still waits for leave to send its body.
    pub(super) fn is_held(&self) -> bool {
        self.upload.is_held()
    }

    /// Whether nothing more of the answer is to come.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.length, Length::Bytes(0))
    }

    /// Silence is no failure from here on.
    pub(super) fn endless(&mut self) {
        self.endless = true;
        self.patience.timer = None;
    }

    /// The connection and what was read of it, for something else than HTTP.
    pub(super) fn into_socket(self) -> (Socket, BytesMut, super::server::Busy) {
        (self.link.socket, self.link.buffer, self.link.busy)
    }

    /// The next head: an interim one (1xx) or the answer's.
    ///
    /// CANCEL SAFETY: nothing is lost.
    pub(super) async fn head(&mut self) -> Result<Head, Failure> {
        std::future::poll_fn(|cx| self.poll_head(cx)).await
    }

    /// Waits until the request has been sent, as far as the server takes it.
    ///
    /// CANCEL SAFETY: nothing is lost.
    pub(super) async fn sent(&mut self) -> Result<(), Failure> {
        std::future::poll_fn(|cx| {
            loop {
                self.poll_upload(cx)?;
                if self.upload.is_over() {
                    return Poll::Ready(Ok(()));
                }
                ready!(self.poll_patience(cx, false))?;
            }
        })
        .await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        loop {
            self.poll_upload(cx)?;
            if !self.begun {
                head::skip_blank_lines(&mut self.link.buffer);
            }
            if let Some(head) = Head::take(&mut self.link.buffer, &self.method)? {
                if head.status.is_informational() {
                    if self.upload.release() {
                        self.patience.moved();
                    }
                } else {
                    self.keeps_alive = head.keeps_alive;
                }
                self.begun = true;
                self.patience.moved();
                return Poll::Ready(Ok(head));
            }
            match self.poll_read(cx, MAX_HEAD) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.no_answer(None))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.no_answer(Some(error)))),
                Poll::Pending => ready!(self.poll_patience(cx, true))?,
            }
        }
    }

    fn no_answer(&self, source: Option<io::Error>) -> Failure {
        if self.link.buffer.is_empty() {
            Failure::NoAnswer { server: self.link.busy.server().label().to_owned(), source }
        } else {
            Failure::Malformed("the connection ended within the head")
        }
    }

    /// Notes how the answer's body is delimited.
    pub(super) fn expect(&mut self, length: Length) {
        self.length = length;
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let (upload, patience) = (&mut self.upload, &mut self.patience);
        match upload.poll(cx, &mut self.link.socket, || patience.moved()) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Ready with a failure when it has waited for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>, head: bool) -> Poll<Result<(), Failure>> {
        let limits = self.link.busy.server().limits;
        if self.upload.is_over() {
            let (limit, failure) = match head {
                true => (limits.first_byte, Failure::FirstByte(limits.first_byte)),
                false if self.endless => return Poll::Pending,
                false => (limits.idle, Failure::Idle(limits.idle)),
            };
            ready!(self.patience.poll(cx, limit));
            return Poll::Ready(Err(failure));
        }
        if self.upload.waits_for_server() {
            if self.upload.is_held() {
                ready!(self.patience.poll(cx, CONTINUE));
                self.upload.release();
                self.patience.moved();
                return Poll::Ready(Ok(()));
            }
            ready!(self.patience.poll(cx, limits.idle));
            return Poll::Ready(Err(Failure::Idle(limits.idle)));
        }
        ready!(self.patience.poll(cx, self.client));
        Poll::Ready(Err(Failure::ClientSilent(self.client)))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let buffer = &mut self.link.buffer;
        debug_assert!(buffer.len() < most + READ, "what is read is bounded");
        buffer.reserve(match self.length {
            // A large body is worth fewer and larger reads.
            Length::Bytes(left) => usize::try_from(left).unwrap_or(READ).clamp(SMALL_READ, READ),
            Length::Chunks(_) | Length::Close => SMALL_READ,
        });
        // The future holds nothing: it may be made anew for every look.
        pin!(self.link.socket.read_buf(buffer)).poll(cx)
    }

    /// The next piece of the body, without a copy.
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece<Bytes>, Failure>> {
        loop {
            self.poll_upload(cx)?;
            if let Some(piece) = self.cut()? {
                return Poll::Ready(Ok(piece));
            }
            match self.poll_read(cx, READ) {
                Poll::Ready(Ok(0)) => return Poll::Ready(self.ended(None).map(Piece::End)),
                Poll::Ready(Ok(_)) => self.patience.moved(),
                Poll::Ready(Err(error)) => return Poll::Ready(self.ended(Some(error)).map(Piece::End)),
                Poll::Pending => ready!(self.poll_patience(cx, false))?,
            }
        }
    }

    /// Takes the next piece from what was read.
    fn cut(&mut self) -> Result<Option<Piece<Bytes>>, Failure> {
        if let Some(end) = self.end()? {
            return Ok(Some(end));
        }
        let buffer = &mut self.link.buffer;
        match &mut self.length {
            _ if buffer.is_empty() => Ok(None),
            Length::Bytes(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= n as u64;
                Ok(Some(Piece::Data(buffer.split_to(n).freeze())))
            }
            Length::Close => Ok(Some(Piece::Data(buffer.split().freeze()))),
            Length::Chunks(chunks) => {
                let step = chunks.decode(buffer)?;
                let (taken, data) = (step.taken, step.data.len());
                let piece = buffer.split_to(taken).freeze();
                if data > 0 {
                    return Ok(Some(Piece::Data(piece.slice(taken - data..))));
                }
                self.end()
            }
        }
    }

    /// Whether the body has been read to its end, and with which trailers.
    fn end<T>(&self) -> Result<Option<Piece<T>>, Failure> {
        match &self.length {
            Length::Bytes(0) => Ok(Some(Piece::End(None))),
            Length::Chunks(chunks) if chunks.is_done() => Ok(Some(Piece::End(head::trailers(chunks.trailers())?))),
            _ => Ok(None),
        }
    }

    /// Appends to `out` what has come of the body, read through `room`; nothing stays behind in buffers of its own.
    pub(super) fn poll_into(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Poll<Result<Piece<()>, Failure>> {
        let early = std::mem::take(&mut self.link.buffer);
        let before = out.len();
        let taken = digest(&mut self.length, &early, out)?;
        self.link.buffer.extend_from_slice(&early[taken..]);
        drop(early);
        loop {
            if out.len() > before {
                return Poll::Ready(Ok(Piece::Data(())));
            }
            if let Some(end) = self.end()? {
                return Poll::Ready(Ok(end));
            }
            let mut read = ReadBuf::new(room);
            match Pin::new(&mut self.link.socket).poll_read(cx, &mut read) {
                Poll::Pending => {
                    ready!(self.poll_patience(cx, false))?;
                    continue;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(self.ended(Some(error)).map(Piece::End)),
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    return Poll::Ready(self.ended(None).map(Piece::End));
                }
                Poll::Ready(Ok(())) => {}
            }
            if !self.endless {
                self.patience.moved();
            }
            let input = read.filled();
            let taken = digest(&mut self.length, input, out)?;
            // Only behind the end of a body is anything left.
            self.link.buffer.extend_from_slice(&input[taken..]);
        }
    }

    /// What the end of the connection means for the body.
    fn ended(&self, error: Option<io::Error>) -> Result<Option<HeaderMap>, Failure> {
        match self.length {
            Length::Close if error.is_none() => Ok(None),
            _ => Err(Failure::Truncated(error)),
        }
    }

    /// The body has been read to its end: the connection is used again, if it can be.
    pub(super) fn finish(self) {
        if self.keeps_alive && self.upload.is_done() && self.link.buffer.is_empty() {
            self.link.keep();
        }
    }
}

/// Appends to `out` the data of `input`; says how much of the input it was.
fn digest(length: &mut Length, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Failure> {
    match length {
        Length::Close => {
            out.extend_from_slice(input);
            Ok(input.len())
        }
        Length::Bytes(left) => {
            let n = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
            *left -= n as u64;
            out.extend_from_slice(&input[..n]);
            Ok(n)
        }
        Length::Chunks(chunks) => {
            let mut taken = 0;
            loop {
                let step = chunks.decode(&input[taken..])?;
                taken += step.taken;
                out.extend_from_slice(step.data);
                if step.data.is_empty() {
                    return Ok(taken);
                }
            }
        }
    }
}
