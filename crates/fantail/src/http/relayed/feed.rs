//! The task that reads an upstream's event stream into its channel, as fast as it comes: what is kept is bounded by the channel's
//! retention. It ends with the stream, when it is told to, or a while after the last viewer has left.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::hub::{Publish, unsendable};
use fantail_hub::{ChannelEnd, Hub, NewMessage, PublishError, Traits};
use fantail_sse::{Blocks, EventId, Facts};
use http_body::Body;
use http_body_util::BodyExt;
use thiserror::Error;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::source::Source;
use crate::metrics::{self, Metrics};

/// How long a viewer that was let in may take until its shard counts it.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How often a feed looks for viewers, at most and at least.
const LOOKS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With its upstream, in good order.
    Whole,
    /// It was stopped by name.
    Stopped,
    /// The upstream broke off or sent what cannot be kept, or nobody was left to see it.
    Broken,
}

/// Why a stream broke off.
#[derive(Debug, Error)]
enum Break {
    #[error("the upstream broke off")]
    Upstream(#[source] Box<dyn Error + Send + Sync>),
    #[error("{0} (hub.message)")]
    TooLong(#[from] fantail_sse::BlockTooLong),
    #[error(transparent)]
    Refused(#[from] PublishError),
}

/// Who watches, seen by the feed from time to time.
#[derive(Debug)]
struct Attendance {
    grace: Duration,
    /// Arrivals at the last look.
    arrivals: u64,
    /// Since when nobody has been there, and how long that may last.
    alone: Option<(Instant, Duration)>,
}

impl Attendance {
    fn new(grace: Duration) -> Self {
        Self { grace, arrivals: 0, alone: None }
    }

    /// Whether everybody has left for good.
    fn is_over(&mut self, now: Instant, subscribers: u32, arrivals: u64) -> bool {
        let came = std::mem::replace(&mut self.arrivals, arrivals) != arrivals;
        if subscribers > 0 {
            self.alone = None;
            return false;
        }
        if came {
            self.alone = Some((now, self.grace.max(ARRIVAL)));
        }
        let (since, patience) = *self.alone.get_or_insert((now, self.grace));
        now - since >= patience
    }
}

/// A feed that is about to begin.
pub(super) struct Feed {
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) source: Arc<Source>,
    pub(super) grace: Duration,
}

impl Feed {
    /// Feeds the channel until it is over, and ends it. `close` is asked when nobody is left: it keeps newcomers away, unless
    /// somebody has arrived since there were so many arrivals; then it says no and the stream goes on.
    pub(super) async fn run<B>(&self, body: B, close: impl Fn(u64) -> bool) -> Ended
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Error + Send + Sync + 'static,
    {
        let source = &self.source;
        let ended = tokio::select! {
            read = self.read(body) => match read {
                Ok(()) => Ended::Whole,
                Err(error) => {
                    metrics::add(&self.metrics.relayed.broken, 1);
                    let why: &dyn Error = &error;
                    let cause = why.source().map(tracing::field::display);
                    tracing::warn!(channel = %source.channel.name(), %error, cause, "an event stream broke off");
                    Ended::Broken
                }
            },
            () = source.told_to_stop() => Ended::Stopped,
            () = self.until_alone(self.grace, close) => {
                metrics::add(&self.metrics.relayed.left, 1);
                Ended::Broken
            }
        };
        let end = if ended == Ended::Broken { ChannelEnd::Broken } else { ChannelEnd::Clean };
        self.hub.close(&source.channel, end).await;
        source.set_over();
        ended
    }

    /// Waits until nobody needs what the channel holds, and drops it.
    pub(super) async fn drain(&self) {
        self.until_alone(Duration::ZERO, |_| true).await;
        self.hub.clear(&self.source.channel);
    }

    async fn until_alone(&self, grace: Duration, close: impl Fn(u64) -> bool) {
        let mut attendance = Attendance::new(grace);
        let mut looks = interval((grace / 4).clamp(LOOKS.0, LOOKS.1));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = looks.tick().await;
            let arrivals = self.source.arrivals();
            let subscribers = self.source.channel.info().subscribers;
            if attendance.is_over(now, subscribers, arrivals) && close(arrivals) {
                return;
            }
        }
    }

    /// Reads the body to its end.
    async fn read<B>(&self, mut body: B) -> Result<(), Break>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Error + Send + Sync + 'static,
    {
        let mut blocks = Blocks::with_limit(self.hub.limits().message);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Break::Upstream(error.into()))?;
            // Trailers have nowhere to go.
            let Ok(bytes) = frame.into_data() else { continue };
            let mut cut = Vec::new();
            let fed = blocks.feed(&bytes, |block| cut.push(Kept::new(block)));
            self.publish(&cut, false).await?;
            fed?;
        }
        // Clients drop what no blank line has ended, or they do not; a proxy passes it on.
        if !blocks.rest().is_empty() {
            self.publish(&[Kept { text: String::from_utf8_lossy(blocks.rest()).into(), id: None }], true).await?;
        }
        Ok(())
    }

    async fn publish(&self, blocks: &[Kept], ends: bool) -> Result<(), PublishError> {
        let channel = self.source.channel.name();
        let publish = |block| Publish { channel, said: Kept::said(block), key: None, ends, traits: Traits::default() };
        let batch: Vec<_> = blocks.iter().map(publish).collect();
        self.hub.publish_all(&batch).await.into_iter().try_for_each(|result| result.map(drop))
    }
}

/// A block on its way into the channel.
struct Kept {
    text: String,
    /// The upstream's own id, where a client can send it back.
    id: Option<EventId>,
}

impl Kept {
    fn new(block: &[u8]) -> Self {
        // Clients read U+FFFD in place of what is not UTF-8.
        let text = String::from_utf8_lossy(block).into_owned();
        let id = Facts::of(text.as_bytes()).id.and_then(|id| EventId::parse(std::str::from_utf8(id).ok()?).ok());
        Self { id: id.filter(|id| unsendable(id.as_str()).is_none()), text }
    }

    fn said(&self) -> NewMessage<'_> {
        NewMessage { data: &self.text, event: None, id: self.id.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attendance_counts_the_grace_from_the_last_viewer() {
        let grace = Duration::from_secs(10);
        let mut attendance = Attendance::new(grace);
        let start = Instant::now();
        let mut look = |seconds, subscribers, arrivals| {
            attendance.is_over(start + Duration::from_secs(seconds), subscribers, arrivals)
        };
        assert!(!look(0, 0, 1));
        assert!(!look(1, 1, 1));
        assert!(!look(100, 1, 1));
        assert!(!look(101, 0, 1));
        assert!(!look(110, 0, 1));
        // Somebody is on the way.
        assert!(!look(111, 0, 2));
        assert!(!look(120, 0, 2));
        assert!(look(121, 0, 2));
    }

    #[test]
    fn attendance_without_grace_waits_for_those_who_are_on_their_way() {
        let mut attendance = Attendance::new(Duration::ZERO);
        let start = Instant::now();
        assert!(!attendance.is_over(start, 0, 1));
        assert!(!attendance.is_over(start + ARRIVAL / 2, 0, 1));
        assert!(attendance.is_over(start + ARRIVAL, 0, 1));
        assert!(!attendance.is_over(start + ARRIVAL, 1, 1));
        assert!(attendance.is_over(start + ARRIVAL, 0, 1));
    }
}
