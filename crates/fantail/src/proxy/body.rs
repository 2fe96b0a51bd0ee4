//! An answer's body as it comes from an upstream. Dropped before its end it aborts the exchange.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::exchange::{Exchange, Piece};
use super::failure::Failure;
use super::pulse::Pulse;
use super::server::{Busy, Server};
use super::twain::{Sent, trailing};
use crate::dialect::relayed::HEARTBEAT;
use crate::metrics::{self, ProxyMetrics};

/// Where a body comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// Over HTTP/1.1.
    Plain(Box<Exchange>),
    /// Over HTTP/2.
    Twain {
        body: Incoming,
        /// Tells when the request's body has been sent; `None` once it has.
        sent: Option<Sent>,
        busy: Busy,
        /// How long it may stay silent; zero for ever.
        idle: Duration,
    },
}

impl Source {
    fn server(&self) -> &Server {
        match self {
            Self::Plain(exchange) => exchange.server(),
            Self::Twain { busy, .. } => busy.server(),
        }
    }
}

/// A body.
#[derive(Debug)]
pub struct Body {
    /// `None` once it has ended.
    source: Option<Source>,
    /// The request behind it had been sent when it ended.
    sent: bool,
    /// For HTTP/2, whose timers are not its exchange's.
    silence: Option<Pin<Box<Sleep>>>,
    /// Puts heartbeats between events, where the body is handed out as frames.
    pulse: Option<Pulse>,
    /// The length that the answer's head gave.
    length: Option<u64>,
    metrics: Arc<ProxyMetrics>,
}

impl Body {
    pub(super) fn new(source: Source, metrics: Arc<ProxyMetrics>) -> Self {
        let mut body = Self { source: Some(source), sent: false, silence: None, pulse: None, length: None, metrics };
        body.let_go();
        body
    }

    /// Silence is no failure: the body is an event stream.
    pub fn endless(&mut self) {
        match &mut self.source {
            Some(Source::Plain(exchange)) => exchange.endless(),
            Some(Source::Twain { idle, .. }) => *idle = Duration::ZERO,
            None => {}
        }
    }

    /// Puts heartbeats between the events of a body that is handed out as frames.
    pub(super) fn beat(&mut self, pulse: Option<Pulse>) {
        self.pulse = pulse;
    }

    pub(super) fn set_length(&mut self, length: Option<u64>) {
        self.length = length;
    }

    /// Whether the request behind it has been sent, so that nothing of the client is needed any more.
    pub(super) fn is_sent(&mut self) -> bool {
        match &mut self.source {
            Some(Source::Plain(exchange)) => exchange.is_sent(),
            Some(Source::Twain { sent, .. }) => {
                // It is told once.
                if sent.as_mut().is_some_and(|sent| sent.try_recv().is_ok()) {
                    *sent = None;
                }
                sent.is_none()
            }
            None => self.sent,
        }
    }

    /// Whether nothing of the request is left to be read, and all of it was sent that could be.
    pub(super) fn is_read(&mut self) -> bool {
        self.is_sent() && !matches!(&self.source, Some(Source::Plain(exchange)) if !exchange.has_request())
    }

    /// Whether the client may still wait for leave to send the body of its request.
    pub(super) fn is_held(&self) -> bool {
        match &self.source {
            Some(Source::Plain(exchange)) => exchange.is_held(),
            Some(Source::Twain { .. }) => false,
            None => !self.sent,
        }
    }

    /// Waits until the request behind it has been sent, which may take longer than the head of its answer.
    ///
    /// CANCEL SAFETY: nothing is lost.
    pub(super) async fn sent(&mut self) -> Result<(), Failure> {
        match &mut self.source {
            Some(Source::Plain(exchange)) => exchange.sent().await,
            Some(Source::Twain { sent, .. }) => {
                if let Some(waiting) = sent {
                    // Nothing is ever sent: it ends.
                    let _ = waiting.await;
                    *sent = None;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Reads what has come into `out`, through `room`; for those who write to sockets themselves.
    pub(super) fn poll_into(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Poll<Result<Piece<()>, Failure>> {
        let piece = match &mut self.source {
            None => return Poll::Ready(Ok(Piece::End(None))),
            Some(Source::Plain(exchange)) => ready!(exchange.poll_into(cx, room, out)),
            Some(Source::Twain { .. }) => match ready!(self.poll_piece(cx)) {
                Ok(Piece::Data(bytes)) => {
                    out.extend_from_slice(&bytes);
                    Ok(Piece::Data(()))
                }
                Ok(Piece::End(trailers)) => Ok(Piece::End(trailers)),
                Err(failure) => Err(failure),
            },
        };
        self.note(&piece);
        Poll::Ready(piece)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece<Bytes>, Failure>> {
        let piece = match &mut self.source {
            None => return Poll::Ready(Ok(Piece::End(None))),
            Some(Source::Plain(exchange)) => ready!(exchange.poll_bytes(cx)),
            Some(Source::Twain { body, busy, idle, .. }) => match http_body::Body::poll_frame(Pin::new(body), cx) {
                Poll::Ready(None) => Ok(Piece::End(None)),
                Poll::Ready(Some(Ok(frame))) => {
                    self.silence = None;
                    match frame.into_data() {
                        Ok(data) => Ok(Piece::Data(data)),
                        Err(frame) => Ok(Piece::End(frame.into_trailers().ok().map(trailing))),
                    }
                }
                Poll::Ready(Some(Err(source))) => {
                    Err(Failure::Http2 { server: busy.server().label().to_owned(), source })
                }
                Poll::Pending if idle.is_zero() => return Poll::Pending,
                Poll::Pending => {
                    let limit = *idle;
                    let due = Instant::now() + limit;
                    let timer = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
                    ready!(timer.as_mut().poll(cx));
                    Err(Failure::Idle(limit))
                }
            },
        };
        self.note(&piece);
        Poll::Ready(piece)
    }

    /// Lets go of the exchange when it is over.
    fn note<T>(&mut self, piece: &Result<Piece<T>, Failure>) {
        match piece {
            Ok(Piece::Data(_)) => self.let_go(),
            Ok(Piece::End(_)) => self.finish(),
            Err(failure) => {
                let source = self.source.take();
                let server = source.as_ref().map(|source| source.server().label());
                let cause = failure.cause();
                metrics::add(&self.metrics.failures[failure.reason()], 1);
                tracing::info!(server, %failure, cause, "an upstream's answer was cut");
            }
        }
    }
}

impl Body {
    /// Lets go of the exchange where the last byte has been read: whoever counts bytes does not ask for what is behind them.
    fn let_go(&mut self) {
        if matches!(&self.source, Some(Source::Plain(exchange)) if exchange.is_read()) {
            self.finish();
        }
    }

    fn finish(&mut self) {
        self.sent = self.is_sent();
        if let Some(Source::Plain(exchange)) = self.source.take() {
            exchange.finish();
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.source.is_none() {
            return Poll::Ready(None);
        }
        match self.poll_piece(cx) {
            Poll::Ready(Ok(Piece::Data(bytes))) => {
                if let Some(pulse) = &mut self.pulse {
                    pulse.follow(&bytes);
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(Ok(Piece::End(trailers))) => Poll::Ready(trailers.map(Frame::trailers).map(Ok)),
            Poll::Ready(Err(failure)) => Poll::Ready(Some(Err(failure))),
            Poll::Pending => {
                let Some(pulse) = &mut self.pulse else { return Poll::Pending };
                ready!(pulse.poll_due(cx));
                metrics::add(&self.metrics.beats, 1);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(HEARTBEAT)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
