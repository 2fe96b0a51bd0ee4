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
/// What a stream's buffer may keep between two reads, in bytes: most streams are silent most of the time.
const KEPT: usize = 4096;
/// How long to wait before the upstream is asked again, unless it said something else.
const RETRY: Duration = Duration::from_secs(1);
/// The shortest wait, whatever it said: one that ends every stream at once is not asked all the time.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest wait, however often it has failed.
const LONGEST: Duration = Duration::from_secs(30);
/// Failures in a row after which the stream ends.
const MOST_FAILURES: u32 = 10;

/// What an upstream said when it was asked again.
pub(super) enum Again {
    /// The stream goes on.
    Stream(Box<Body>),
    /// There is nothing more.
    Nothing,
    /// Something else, which the client is to get for itself.
    Other,
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
    /// What the client has seen last. `None` where nobody can say that: behind an event without an id, or with one that no
    /// header can carry.
    last: Option<Vec<u8>>,
    retry: Duration,
    failures: u32,
    doing: Doing,
    /// What was read and not yet cut.
    raw: Vec<u8>,
}

/// How a stream ended.
type End = Result<Piece<()>, Failure>;

enum Doing {
    Reading,
    Waiting(Pin<Box<Sleep>>, End),
    Asking(Asking, End),
    /// The client is told of it, whatever is left to say.
    Ending(End),
}

impl Feed {
    /// A stream as it comes.
    pub(super) fn plain(body: Body) -> Self {
        Self { body, again: None }
    }

    /// A stream that is taken up again. `last` is what its client has seen before, as far as it said so.
    pub(super) fn resumed(body: Body, asker: Asker, last: Option<&[u8]>) -> Self {
        let again = Resumption {
            asker,
            blocks: Blocks::with_limit(MAX_EVENT),
            last: last.map(<[u8]>::to_vec),
            retry: RETRY,
            failures: 0,
            doing: Doing::Reading,
            raw: Vec::new(),
        };
        Self { body, again: Some(Box::new(again)) }
    }

    /// Appends to `out` what has come. Not to be polled behind an end.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
        out: &mut Vec<u8>,
        metrics: &ProxyMetrics,
    ) -> Poll<End> {
        let Some(again) = &mut self.again else { return self.body.poll_into(cx, room, out) };
        loop {
            match std::mem::replace(&mut again.doing, Doing::Reading) {
                Doing::Reading => {
                    again.raw.clear();
                    match ready!(self.body.poll_into(cx, room, &mut again.raw)) {
                        Ok(Piece::Data(())) => {
                            let before = out.len();
                            again.cut(out)?;
                            if out.len() > before {
                                return Poll::Ready(Ok(Piece::Data(())));
                            }
                        }
                        end if again.last.is_some() => again.wait(end),
                        end => {
                            again.doing = Doing::Ending(end);
                            if again.flush(out) {
                                return Poll::Ready(Ok(Piece::Data(())));
                            }
                        }
                    }
                }
                Doing::Waiting(mut timer, end) => {
                    if timer.as_mut().poll(cx).is_pending() {
                        again.doing = Doing::Waiting(timer, end);
                        return Poll::Pending;
                    }
                    let last = again.last.as_deref().unwrap_or_default();
                    again.doing = Doing::Asking((again.asker)(last), end);
                }
                Doing::Asking(mut asking, end) => match asking.as_mut().poll(cx) {
                    Poll::Pending => {
                        again.doing = Doing::Asking(asking, end);
                        return Poll::Pending;
                    }
                    Poll::Ready(Again::Stream(body)) => {
                        metrics::add(&metrics.reconnects, 1);
                        self.body = *body;
                        again.blocks = Blocks::with_limit(MAX_EVENT);
                        again.failures = 0;
                    }
                    Poll::Ready(Again::Later) if again.failures < MOST_FAILURES => again.wait(end),
                    Poll::Ready(Again::Nothing) => return Poll::Ready(Ok(Piece::End(None))),
                    Poll::Ready(Again::Later | Again::Other) => return Poll::Ready(end),
                },
                Doing::Ending(end) => return Poll::Ready(end),
            }
        }
    }
}

impl Resumption {
    /// Appends to `out` the events that are whole.
    fn cut(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let Self { blocks, last, retry, raw, .. } = self;
        let cut = blocks.feed(raw, |block| {
            let facts = Facts::of(block);
            if facts.id.is_some() || facts.data {
                // An empty one makes clients forget.
                match facts.id.filter(|id| !id.is_empty() && can_be_sent(id)) {
                    None => *last = None,
                    Some(id) => {
                        let last = last.get_or_insert_default();
                        last.clear();
                        last.extend_from_slice(id);
                    }
                }
            }
            if let Some(asked) = facts.retry {
                *retry = Duration::from_millis(asked).min(LONGEST);
            }
            out.extend_from_slice(block);
        });
        if raw.capacity() > KEPT {
            *raw = Vec::new();
        }
        cut.map_err(|_| Failure::Malformed("an event is too large to be held until it is whole"))
    }

    /// Appends to `out` what no blank line has ended, at an end in good order. Clients drop it, or they do not.
    fn flush(&mut self, out: &mut Vec<u8>) -> bool {
        let left = matches!(self.doing, Doing::Ending(Ok(_))) && !self.blocks.rest().is_empty();
        if left {
            out.extend_from_slice(self.blocks.rest());
        }
        left
    }

    fn wait(&mut self, end: End) {
        let delay = delay(self.retry, self.failures);
        // Many streams may have broken off in the same moment.
        let jitter = delay.mul_f64(fastrand::f64() / 4.0);
        self.failures += 1;
        self.doing = Doing::Waiting(Box::pin(tokio::time::sleep(delay + jitter)), end);
    }
}

/// Whether a header can carry an id (RFC 9110 §5.5).
fn can_be_sent(id: &[u8]) -> bool {
    id.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

/// How long to wait after so many failures.
fn delay(retry: Duration, failures: u32) -> Duration {
    retry.max(SHORTEST).saturating_mul(1 << failures.min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_can_be_sent_unless_it_has_control_characters() {
        for (id, can) in [("1", true), ("a b\tc", true), ("\u{e9}", true), ("\u{1}", false), ("a\u{7f}", false)] {
            assert_eq!(can_be_sent(id.as_bytes()), can, "{id:?}");
            assert_eq!(http::HeaderValue::from_bytes(id.as_bytes()).is_ok(), can, "{id:?}");
        }
    }

    #[test]
    fn delay_is_what_was_asked_for_and_grows_with_failures() {
        let ms = Duration::from_millis;
        assert_eq!(delay(ms(2000), 0), ms(2000));
        assert_eq!([0, 1, 2, 10, u32::MAX].map(|failures| delay(RETRY, failures).as_secs()), [1, 2, 4, 30, 30]);
        assert_eq!(delay(ms(0), 0), SHORTEST);
        assert_eq!(delay(Duration::MAX, 3), LONGEST);
    }
}
