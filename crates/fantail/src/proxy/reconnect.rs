//! The upstream's side of a relayed stream. Where the route says so, it is taken up again when the upstream breaks off or ends,
//! with the id of the last event, and the client does not notice: only whole events are passed on, so that none is cut in two.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fantail_sse::{Blocks, Facts};
use tokio::time::Sleep;

use super::body::Body;
use super::exchange::Piece;
use super::failure::Failure;
use crate::metrics::{self, ProxyMetrics};

/// The largest event that is held until it is whole, in bytes.
const MAX_EVENT: usize = 16 << 20;
/// How long to wait before the upstream is asked again, unless it said something else.
const RETRY: Duration = Duration::from_secs(1);
/// The longest wait, however often it has failed.
const LONGEST: Duration = Duration::from_secs(30);
/// Failures in a row after which the stream ends.
const MOST_FAILURES: u32 = 10;

/// What an upstream said when it was asked again.
pub(super) enum Again {
    /// The stream goes on.
    Stream(Box<Body>),
    /// It is over: there is nothing more, or another answer that the client is to get for itself.
    Over,
    /// Not now.
    Later,
}

/// Asks an upstream again, for what comes behind this id.
pub(super) type Asker = Box<dyn Fn(&[u8]) -> Asking + Send>;
/// The answer to it, once it comes.
pub(super) type Asking = Pin<Box<dyn Future<Output = Again> + Send>>;

/// The upstream's side of a relay.
pub(super) struct Feed {
    body: Body,
    again: Option<Box<Resumption>>,
}

/// What is needed to take a stream up again.
struct Resumption {
    asker: Asker,
    blocks: Blocks,
    /// The id of the last event, once there was one.
    last: Option<Vec<u8>>,
    /// An event came without an id: nobody can say where it stands.
    lost: bool,
    retry: Duration,
    failures: u32,
    doing: Doing,
    /// What was read and not yet cut.
    raw: Vec<u8>,
}

enum Doing {
    Reading,
    Waiting(Pin<Box<Sleep>>),
    Asking(Asking),
}

impl Feed {
    /// A stream as it comes.
    pub(super) fn plain(body: Body) -> Self {
        Self { body, again: None }
    }

    /// A stream that is taken up again.
    pub(super) fn resumed(body: Body, asker: Asker) -> Self {
        let again = Resumption {
            asker,
            blocks: Blocks::with_limit(MAX_EVENT),
            last: None,
            lost: false,
            retry: RETRY,
            failures: 0,
            doing: Doing::Reading,
            raw: Vec::new(),
        };
        Self { body, again: Some(Box::new(again)) }
    }

    /// Appends to `out` what has come.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
        out: &mut Vec<u8>,
        metrics: &ProxyMetrics,
    ) -> Poll<Result<Piece<()>, Failure>> {
        let Some(again) = &mut self.again else { return self.body.poll_into(cx, room, out) };
        loop {
            match &mut again.doing {
                Doing::Reading => {
                    again.raw.clear();
                    let end = match ready!(self.body.poll_into(cx, room, &mut again.raw)) {
                        Ok(Piece::Data(())) => {
                            let before = out.len();
                            again.cut(out)?;
                            if out.len() > before {
                                return Poll::Ready(Ok(Piece::Data(())));
                            }
                            continue;
                        }
                        end => end,
                    };
                    if again.lost || again.last.is_none() {
                        return Poll::Ready(end);
                    }
                    again.wait();
                }
                Doing::Waiting(timer) => {
                    ready!(timer.as_mut().poll(cx));
                    let last = again.last.as_deref().unwrap_or_default();
                    again.doing = Doing::Asking((again.asker)(last));
                }
                Doing::Asking(asking) => match ready!(asking.as_mut().poll(cx)) {
                    Again::Stream(body) => {
                        metrics::add(&metrics.reconnects, 1);
                        self.body = *body;
                        again.blocks = Blocks::with_limit(MAX_EVENT);
                        again.doing = Doing::Reading;
                    }
                    Again::Later if again.failures < MOST_FAILURES => again.wait(),
                    Again::Later | Again::Over => return Poll::Ready(Ok(Piece::End(None))),
                },
            }
        }
    }
}

impl Resumption {
    /// Appends to `out` the events that are whole.
    fn cut(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let Self { blocks, last, lost, retry, failures, raw, .. } = self;
        let cut = blocks.feed(raw, |block| {
            let facts = Facts::of(block);
            *lost |= facts.data && facts.id.is_none_or(<[u8]>::is_empty);
            if let Some(id) = facts.id {
                *last = Some(id.to_vec());
            }
            if let Some(asked) = facts.retry {
                *retry = Duration::from_millis(asked).min(LONGEST);
            }
            *failures = 0;
            out.extend_from_slice(block);
        });
        cut.map_err(|_| Failure::Malformed("an event is too large to be held until it is whole"))
    }

    fn wait(&mut self) {
        let longer = self.retry.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        // Many streams may have broken off in the same moment.
        let jitter = longer.mul_f64(fastrand::f64() / 4.0);
        self.failures += 1;
        self.doing = Doing::Waiting(Box::pin(tokio::time::sleep(longer + jitter)));
    }
}
