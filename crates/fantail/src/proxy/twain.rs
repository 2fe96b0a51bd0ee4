//! HTTP/2 to a server that is configured for it, in clear text with prior knowledge (RFC 9113 §3.3): one connection, many
//! exchanges. hyper speaks it; here it is only opened, shared, and opened again when it is gone.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;
use super::head::may_trail;
use super::server::Server;
use super::upstream::BodyLimits;
use crate::admission::Pace;

/// How often a connection with exchanges on it is asked whether its server is still there.
const PROBE: Duration = Duration::from_secs(10);
/// How long the server may take to say so.
const PROBED: Duration = Duration::from_secs(10);

/// A request's body on its way to a server.
#[derive(Debug)]
pub(super) struct Outbound {
    /// `None` where there is none.
    body: Option<Incoming>,
    /// Bytes that there may still be.
    left: u64,
    limit: u64,
    pace: Pace,
    course: Arc<Course>,
    /// All of it has been read from the client.
    whole: bool,
    sent: Option<oneshot::Sender<()>>,
}

/// Told when a body has been taken from the client as a whole.
///
/// SECURITY: that the library wants no more of it is not enough. A server may refuse the rest, which then still lies with the
/// client, and would be taken for its next request.
pub(super) type Sent = oneshot::Receiver<()>;

/// How a body on its way fares.
#[derive(Debug, Default)]
struct Course {
    /// What is wrong with it: hyper knows only that something is.
    wrong: parking_lot::Mutex<Option<Failure>>,
    /// Pieces that the server has taken so far.
    taken: AtomicU64,
    /// It is the client that is waited for.
    starved: AtomicBool,
    /// Told when nothing more of it is wanted.
    over: Notify,
}

impl Outbound {
    /// A body within these limits.
    pub(super) fn new(body: Option<Incoming>, limits: BodyLimits) -> (Self, Sent) {
        let (tell, sent) = oneshot::channel();
        let BodyLimits { size: limit, pace, .. } = limits;
        let left = if limit == 0 { u64::MAX } else { limit };
        (Self { body, left, limit, pace, course: Arc::default(), whole: false, sent: Some(tell) }, sent)
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        self.course.starved.store(polled.is_pending(), Ordering::Relaxed);
        self.course.taken.fetch_add(1, Ordering::Relaxed);
        if polled.is_pending() {
            self.pace.waits(std::time::Instant::now());
        }
        let frame = match ready!(polled) {
            None => {
                self.whole = true;
                return Poll::Ready(None);
            }
            Some(Err(_)) => Err(Failure::ClientBody),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.len() as u64 > self.left => Err(Failure::ClientTooLarge(self.limit)),
                Ok(data) if !self.pace.came(data.len(), std::time::Instant::now()) => Err(Failure::ClientSlow),
                Ok(data) => {
                    self.left -= data.len() as u64;
                    Ok(Frame::data(data))
                }
                Err(frame) => {
                    self.whole = true;
                    Ok(Frame::trailers(trailing(frame.into_trailers().unwrap_or_default())))
                }
            },
        };
        Poll::Ready(Some(frame.map_err(|failure| {
            *self.course.wrong.lock() = Some(failure);
            io::ErrorKind::InvalidData.into()
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if let Some(sent) = self.sent.take().filter(|_| self.whole || self.is_end_stream()) {
            // Nobody may want to know any more.
            let _ = sent.send(());
        }
        self.course.over.notify_one();
    }
}

/// Those of some trailers that may be passed on.
pub(super) fn trailing(trailers: HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::with_capacity(trailers.len());
    let mut last = None;
    for (name, value) in trailers {
        last = name.or(last);
        if let Some(name) = last.as_ref().filter(|name| may_trail(name)) {
            passed.append(name.clone(), value);
        }
    }
    passed
}

/// The connection to one server.
#[derive(Debug, Default)]
pub(super) struct Twain {
    /// Held while it is being opened, so that a crowd opens one.
    sender: Mutex<Option<SendRequest<Outbound>>>,
}

impl Twain {
    /// Sends a request and waits for the head of its answer. A client that says nothing more of its body for `silence`
    /// is given up.
    ///
    /// CANCEL SAFETY: dropping it resets the stream.
    pub(super) async fn send(
        server: &Server,
        mut sender: SendRequest<Outbound>,
        request: Request<Outbound>,
        silence: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        let course = Arc::clone(&request.body().course);
        let failed = |source| {
            let theirs = course.wrong.lock().take();
            theirs.unwrap_or_else(|| Failure::Http2 { server: server.label().to_owned(), source })
        };
        sender.ready().await.map_err(failed)?;
        let mut answer = pin!(sender.send_request(request));
        let (idle, first_byte) = (server.limits.idle, server.limits.first_byte);
        // While the body is on its way, what counts is that it moves: the client gives, or the server takes.
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer.map_err(failed),
                () = course.over.notified() => break,
                () = sleep(silence.min(idle)) => {}
            }
            let taken = course.taken.load(Ordering::Relaxed);
            if taken != seen {
                (seen, since) = (taken, Instant::now());
            } else if course.starved.load(Ordering::Relaxed) {
                if since.elapsed() >= silence {
                    return Err(Failure::ClientSilent(silence));
                }
            } else if since.elapsed() >= idle {
                return Err(Failure::Idle(idle));
            }
        }
        timeout(first_byte, answer).await.map_err(|_| Failure::FirstByte(first_byte))?.map_err(failed)
    }

    /// A way to the server, by the connection that there is or a new one.
    pub(super) async fn sender(&self, server: &Server) -> Result<SendRequest<Outbound>, Failure> {
        let mut held = self.sender.lock().await;
        if let Some(sender) = held.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let socket = server.connect().await?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        // Without it a server that vanished would take every request with it, for as long as the kernel repeats itself.
        builder.keep_alive_interval(PROBE).keep_alive_timeout(PROBED);
        let opened = builder.handshake(TokioIo::new(socket)).await;
        let (sender, connection) =
            opened.map_err(|source| Failure::Http2 { server: server.label().to_owned(), source })?;
        let label = server.label().to_owned();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(server = label, %error, "an HTTP/2 connection ended");
            }
        });
        *held = Some(sender.clone());
        Ok(sender)
    }
}
