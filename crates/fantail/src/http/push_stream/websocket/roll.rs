//! Every WebSocket that there is, so that statistics can name the slow ones and somebody can end one: they are in no shard.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fantail_hub::{ChannelName, Cursor, Hub};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::fanout::Slow;
use crate::metrics::{self, Metrics};

/// What their ids begin with; those of subscribers in shards begin with the shard's number.
const PREFIX: &str = "ws-";

/// All of them.
#[derive(Debug)]
pub struct Roll {
    began: Instant,
    last: AtomicU64,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Entry {
    /// When the roll began.
    began: Instant,
    peer: SocketAddr,
    /// Who it is, where that is known.
    identity: Option<Arc<str>>,
    channels: Box<[ChannelName]>,
    /// The first offset that it was not sent.
    next: AtomicU64,
    /// Since when its socket has taken nothing, in milliseconds since the roll began, and one; nothing while it takes all.
    blocked: AtomicU64,
    /// It is to end.
    bell: Notify,
    metrics: Arc<Metrics>,
}

/// An entry, which is struck out when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    roll: Arc<Roll>,
    number: u64,
    entry: Arc<Entry>,
}

impl Default for Roll {
    fn default() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0), entries: Mutex::default() }
    }
}

impl Roll {
    /// Adds one at `peer` that listens to these channels, and counts it.
    pub(super) fn enter(
        self: &Arc<Self>,
        peer: SocketAddr,
        identity: Option<Arc<str>>,
        channels: Box<[ChannelName]>,
        metrics: &Arc<Metrics>,
    ) -> Place {
        let figures = &metrics.websockets;
        metrics::add(&figures.open, 1);
        metrics::add(&figures.opened, 1);
        metrics::add(&figures.subscriptions, channels.len() as u64);
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Arc::new(Entry {
            began: self.began,
            peer,
            identity,
            channels,
            next: AtomicU64::new(u64::MAX),
            blocked: AtomicU64::new(0),
            bell: Notify::new(),
            metrics: Arc::clone(metrics),
        });
        self.entries.lock().insert(number, Arc::clone(&entry));
        Place { roll: Arc::clone(self), number, entry }
    }

    /// Those whose sockets have been full for longest, at most `limit`.
    pub fn slowest(&self, hub: &Hub, limit: usize) -> Vec<Slow> {
        let mut blocked: Vec<_> = {
            let entries = self.entries.lock();
            let since = entries.iter().map(|(number, entry)| (entry.blocked.load(Ordering::Relaxed), *number, entry));
            since
                .filter(|(since, ..)| *since > 0)
                .map(|(since, number, entry)| (since, number, Arc::clone(entry)))
                .collect()
        };
        blocked.sort_unstable_by_key(|(since, number, _)| (*since, *number));
        blocked.truncate(limit);
        blocked.into_iter().map(|(since, number, entry)| entry.describe(hub, number, since)).collect()
    }

    /// Ends the one of this id; false if there is none.
    pub fn end(&self, id: &str) -> bool {
        let number = id.strip_prefix(PREFIX).and_then(|number| number.parse().ok());
        let entry = number.and_then(|number: u64| self.entries.lock().get(&number).cloned());
        entry.inspect(|entry| entry.bell.notify_one()).is_some()
    }
}

impl Entry {
    /// It was sent what comes before `next`.
    pub(super) fn moved(&self, next: Cursor) {
        self.next.store(next.next(), Ordering::Relaxed);
    }

    /// Its socket takes what it is given, or it does not.
    pub(super) fn takes(&self, all: bool) {
        let since = if all { 0 } else { self.now() };
        match (self.blocked.swap(since, Ordering::Relaxed), since) {
            (0, 1..) => metrics::add(&self.metrics.websockets.blocked, 1),
            (1.., 0) => metrics::take(&self.metrics.websockets.blocked, 1),
            _ => {}
        }
    }

    /// Waits until somebody ends it.
    ///
    /// CANCEL SAFETY: what is not waited out is told to whoever waits next.
    pub(super) async fn ended(&self) {
        self.bell.notified().await;
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn describe(&self, hub: &Hub, number: u64, since: u64) -> Slow {
        let next = self.next.load(Ordering::Relaxed);
        let mut slow = Slow {
            id: format!("{PREFIX}{number}"),
            peer: self.peer.to_string(),
            identity: self.identity.as_deref().map(str::to_owned),
            channels: self.channels.iter().map(ToString::to_string).collect(),
            behind_messages: 0,
            behind_bytes: 0,
            blocked_ms: self.now().saturating_sub(since),
        };
        for channel in self.channels.iter().filter_map(|name| hub.find(name)) {
            slow.add_behind(&channel, next);
        }
        slow
    }
}

impl Place {
    /// What it holds.
    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.entry.takes(true);
        self.roll.entries.lock().remove(&self.number);
        let figures = &self.entry.metrics.websockets;
        metrics::take(&figures.open, 1);
        metrics::take(&figures.subscriptions, self.entry.channels.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fantail_hub::hub::Publish;
    use fantail_hub::journal::MemoryJournal;
    use fantail_hub::{Clock, HubLimits, Limits, NewMessage, Offset, Retention, Traits};

    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[tokio::test]
    async fn roll_names_those_whose_sockets_are_full() {
        let journal = Arc::new(MemoryJournal::new(Duration::ZERO, 0));
        let clock = Clock::manual(fantail_hub::Millis(1));
        let hub = Hub::new(journal, Retention::new(Limits::default(), []), HubLimits::default(), clock);
        let name = ChannelName::parse("a").unwrap();
        for data in ["1", "22", "333"] {
            let said = NewMessage { data, event: None, id: None };
            let publish = Publish { channel: &name, said, key: None, ends: false, traits: Traits::default() };
            hub.publish(publish).await.unwrap();
        }
        let (roll, metrics) = (Arc::new(Roll::default()), Arc::new(Metrics::new(1)));
        let enter = |port| roll.enter(peer(port), None, [name.clone()].into(), &metrics);
        let (first, second, third) = (enter(1), enter(2), enter(3));
        let ids = || roll.slowest(&hub, 2).into_iter().map(|slow| slow.id).collect::<Vec<_>>();
        let counted = || metrics::read(&metrics.websockets.blocked);
        assert_eq!((ids(), counted()), (vec![], 0));
        second.entry().moved(Cursor::after(Offset(1)));
        second.entry().takes(false);
        second.entry().takes(false);
        let slow = roll.slowest(&hub, 2).remove(0);
        assert_eq!(
            (slow.id.as_str(), slow.peer.as_str(), slow.channels),
            ("ws-2", "127.0.0.1:2", vec!["a".to_owned()])
        );
        assert_eq!((slow.behind_messages, slow.behind_bytes > 5), (2, true));
        // Of the same moment those come first who were there first.
        third.entry().blocked.store(second.entry().blocked.load(Ordering::Relaxed), Ordering::Relaxed);
        first.entry().blocked.store(second.entry().blocked.load(Ordering::Relaxed) + 60_000, Ordering::Relaxed);
        assert_eq!(ids(), ["ws-2", "ws-3"]);
        second.entry().takes(true);
        assert_eq!((ids(), counted()), (vec!["ws-3".to_owned(), "ws-1".to_owned()], 0));
        metrics::add(&metrics.websockets.blocked, 2);
        drop((first, second, third));
        assert_eq!((ids(), counted(), metrics::read(&metrics.websockets.subscriptions)), (vec![], 0, 0));
    }

    #[tokio::test]
    async fn roll_ends_the_one_that_is_named() {
        let (roll, metrics) = (Arc::new(Roll::default()), Arc::new(Metrics::new(1)));
        let (one, other) =
            (roll.enter(peer(1), None, [].into(), &metrics), roll.enter(peer(2), None, [].into(), &metrics));
        for id in ["ws-3", "ws-", "2", "0-2", "ws-2x", ""] {
            assert!(!roll.end(id), "{id}");
        }
        assert!(roll.end("ws-2"));
        other.entry().ended().await;
        assert!(tokio::time::timeout(Duration::ZERO, one.entry().ended()).await.is_err());
        drop(other);
        assert!(!roll.end("ws-2"));
    }
}
