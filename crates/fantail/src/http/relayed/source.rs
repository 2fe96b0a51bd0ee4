//! A channel that one upstream feeds: what its viewers are told first, and how those who watch and those who feed know of
//! each other. Does not know who may watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fantail_hub::{Channel, Hub, Offset, Position, StartAt};
use fantail_sse::Facts;
use http::response::Parts;
use tokio::sync::watch;

/// What becomes of the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is read.
    Fed,
    /// Somebody wants it to stop.
    Stopping,
    /// It has ended and so has the channel.
    Over,
}

/// A channel with its upstream.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) channel: Arc<Channel>,
    /// The head of every viewer's answer.
    pub(super) head: Parts,
    /// What the one who opened it asked the upstream to go on from: the channel begins behind that.
    asked: Option<Box<[u8]>>,
    /// Everything up to here was published before the channel was made.
    before: Offset,
    /// Viewers that were ever let in. Whoever is counted here is on its way to a shard, where it will be counted as a subscriber.
    arrivals: AtomicU64,
    state: watch::Sender<State>,
}

impl Source {
    /// A source for a channel without messages.
    pub(super) fn new(hub: &Hub, channel: Arc<Channel>, head: Parts, asked: Option<&[u8]>) -> Arc<Self> {
        Arc::new(Self {
            channel,
            head,
            asked: asked.map(Into::into),
            before: hub.view().until,
            arrivals: AtomicU64::new(0),
            state: watch::Sender::new(State::Fed),
        })
    }

    /// A viewer has been let in.
    pub(super) fn arrive(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// See the field.
    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Relaxed)
    }

    /// Where a viewer without a past begins: behind nothing, so that it is told if something is no longer kept.
    pub(super) fn beginning(&self, hub: &Hub) -> StartAt {
        after(hub, self.before)
    }

    /// Where a viewer begins that has seen the event with this id.
    pub(super) fn behind_id(&self, hub: &Hub, id: &[u8]) -> StartAt {
        if self.asked.as_deref() == Some(id) {
            return self.beginning(hub);
        }
        match Position::parse(id).filter(|position| position.epoch == hub.journal().epoch()) {
            Some(position) => self.behind(hub, position.offset),
            None => StartAt::After(id.into()),
        }
    }

    /// Where a viewer begins that has seen the event at `offset`. One of another channel, or of this stream before it was opened
    /// anew, says nothing about this one: then everything is due, behind a gap.
    pub(super) fn behind(&self, hub: &Hub, offset: Offset) -> StartAt {
        let was_here = self.channel.read(|tail| {
            let kept = tail.from(offset.0).next().is_some_and(|entry| entry.offset == offset);
            kept || (self.before < offset && offset <= tail.floor())
        });
        if was_here { after(hub, offset) } else { StartAt::After(b"elsewhere".as_slice().into()) }
    }

    /// Where a viewer begins that has seen so many events; `None` where they can no longer be counted.
    pub(super) fn behind_events(&self, hub: &Hub, seen: usize) -> Option<StartAt> {
        if seen == 0 {
            return Some(self.beginning(hub));
        }
        if self.channel.read(|tail| tail.floor() > self.before) {
            return None;
        }
        let entries = self.channel.page(self.before.0 + 1, Offset(u64::MAX), usize::MAX).entries;
        let mut events = entries.iter().filter(|entry| Facts::of(entry.message.data().as_bytes()).data);
        let last = events.nth(seen - 1).or(entries.last());
        Some(after(hub, last.map_or(self.before, |entry| entry.offset)))
    }

    /// Whether the upstream has ended in good order and no event is left for a viewer that has seen everything below `next`.
    pub(super) fn has_nothing_for(&self, next: u64) -> bool {
        self.channel.read(|tail| {
            let mut left = tail.from(next).map(|entry| &entry.message);
            let says_nothing = left.all(|message| message.kind().ends() || !Facts::of(message.data().as_bytes()).data);
            tail.ended() && !tail.broken() && next > tail.floor().0 && says_nothing
        })
    }

    /// Where the newest event stands.
    pub(super) fn newest(&self) -> Offset {
        let says = |entry: &&fantail_hub::tail::Entry| Facts::of(entry.message.data().as_bytes()).data;
        self.channel.read(|tail| tail.newest_first().find(says).map_or(tail.floor(), |entry| entry.offset))
    }

    /// Whether the upstream, or Fantail, broke the stream off.
    pub(super) fn is_broken(&self) -> bool {
        self.channel.read(fantail_hub::tail::Tail::broken)
    }

    /// Stops the upstream and waits until the channel has ended.
    ///
    /// CANCEL SAFETY: the upstream stops all the same.
    pub(super) async fn stop(&self) {
        self.state
            .send_if_modified(|state| *state == State::Fed && std::mem::replace(state, State::Stopping) == State::Fed);
        // It fails only when the sender is gone, which is here.
        let _ = self.state.subscribe().wait_for(|state| *state == State::Over).await;
    }

    /// Waits until somebody wants the upstream to stop.
    ///
    /// CANCEL SAFETY: nothing is lost.
    pub(super) async fn told_to_stop(&self) {
        let _ = self.state.subscribe().wait_for(|state| *state != State::Fed).await;
    }

    /// The channel has ended.
    pub(super) fn set_over(&self) {
        self.state.send_replace(State::Over);
    }
}

fn after(hub: &Hub, offset: Offset) -> StartAt {
    let position = Position { epoch: hub.journal().epoch(), offset };
    StartAt::After(position.to_string().into_bytes().into())
}
