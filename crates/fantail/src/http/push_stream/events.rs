//! The events channel: what happens to the other channels, in the order in which it happened to each. It is noted down where it
//! happens, often under locks, and published by a task.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fantail_hub::hub::Publish;
use fantail_hub::{ChannelName, Hub, NewMessage, Traits};
use fantail_sse::EventName;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::census::Census;
use crate::dialect::push_stream::{ChannelEvent, channel_id};
use crate::fanout;

/// Notes that wait to be published; what comes when there are as many is lost, and counted.
const MOST: usize = 1 << 16;
/// Events that are published together.
const BATCH: usize = 256;
/// How long after a channel's deletion it is said to be destroyed: its subscribers leave before that.
const FAREWELL: Duration = Duration::from_secs(4);

/// What is to be said.
#[derive(Debug, Default)]
pub(super) struct Notes {
    state: Mutex<State>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<(ChannelEvent, ChannelName)>,
    /// Deleted channels, by when they are said to be destroyed.
    deleted: VecDeque<(Instant, ChannelName)>,
    lost: u64,
}

impl State {
    fn add(&mut self, event: ChannelEvent, name: ChannelName) {
        if self.ready.len() < MOST {
            self.ready.push_back((event, name));
        } else {
            self.lost += 1;
        }
    }
}

impl Notes {
    /// Something happened to a channel.
    pub(super) fn add(&self, event: ChannelEvent, name: &ChannelName) {
        self.state.lock().add(event, name.clone());
        self.bell.notify_one();
    }

    /// A channel was deleted.
    pub(super) fn destroyed(&self, name: &ChannelName) {
        let mut state = self.state.lock();
        if state.deleted.len() < MOST {
            state.deleted.push_back((Instant::now() + FAREWELL, name.clone()));
        } else {
            state.add(ChannelEvent::Destroyed, name.clone());
        }
        self.bell.notify_one();
    }

    /// A channel that was deleted is about to be made anew: what is still to be said of the old one is said first.
    pub(super) fn hurry(&self, name: &ChannelName) {
        let mut state = self.state.lock();
        if let Some(at) = state.deleted.iter().position(|(_, deleted)| deleted == name) {
            state.deleted.remove(at);
            state.add(ChannelEvent::Destroyed, name.clone());
            self.bell.notify_one();
        }
    }

    /// The next notes, and when there will be others.
    fn take(&self, now: Instant) -> (Vec<(ChannelEvent, ChannelName)>, Option<Instant>) {
        let mut state = self.state.lock();
        while state.deleted.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, name)) = state.deleted.pop_front() {
                state.add(ChannelEvent::Destroyed, name);
            }
        }
        let lost = std::mem::take(&mut state.lost);
        if lost > 0 {
            tracing::warn!(lost, "more happened to channels than the events channel could take");
        }
        let many = state.ready.len().min(BATCH);
        let next = state.deleted.front().map(|(due, _)| *due);
        (state.ready.drain(..many).collect(), next)
    }

    /// Waits for the next notes.
    ///
    /// CANCEL SAFETY: nothing is taken unless it is returned.
    async fn next(&self) -> Vec<(ChannelEvent, ChannelName)> {
        loop {
            let (notes, next) = self.take(Instant::now());
            if !notes.is_empty() {
                return notes;
            }
            // A bell that rang between the look and the wait is kept by `notify_one`.
            match next {
                None => self.bell.notified().await,
                Some(next) => tokio::select! {
                    () = self.bell.notified() => {}
                    () = tokio::time::sleep_until(next) => {}
                },
            }
        }
    }
}

/// A subscriber, as the events channel tells of it: it came when it is told so, and is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Presence {
    channels: Box<[ChannelName]>,
    notes: Arc<Notes>,
    came: bool,
}

impl Presence {
    /// Somebody who may come to listen to these channels.
    pub(super) fn new(channels: Box<[ChannelName]>, notes: Arc<Notes>) -> Self {
        Self { channels, notes, came: false }
    }

    fn note(&self, event: ChannelEvent) {
        self.channels.iter().for_each(|name| self.notes.add(event, name));
    }
}

impl fanout::Presence for Presence {
    fn came(&mut self) {
        if !std::mem::replace(&mut self.came, true) {
            self.note(ChannelEvent::Subscribed);
        }
    }

    fn left(&mut self, channel: &ChannelName) {
        let stay = |name: &&ChannelName| *name != channel;
        let others: Box<[_]> = self.channels.iter().filter(stay).cloned().collect();
        if self.came && others.len() < self.channels.len() {
            self.notes.add(ChannelEvent::Unsubscribed, channel);
        }
        self.channels = others;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.came {
            self.note(ChannelEvent::Unsubscribed);
        }
    }
}

/// The task that publishes the notes. It ends with this.
#[derive(Debug)]
pub(super) struct Writer(JoinHandle<()>);

impl Writer {
    /// Starts it over this hub, if there is an events channel. Strictly, the ids of channels stand in the events as they are.
    ///
    /// # Panics
    /// Outside of a runtime, if there is one.
    pub(super) fn start(census: &Arc<Census>, strict: bool, hub: &Arc<Hub>) -> Option<Self> {
        let (notes, channel) = (Arc::clone(census.notes()?), census.events_channel()?.clone());
        let (census, hub) = (Arc::clone(census), Arc::clone(hub));
        // Held, so that it is there from the start and never collected.
        let held = hub.open(&channel);
        Some(Self(tokio::spawn(async move {
            let _held = held;
            loop {
                let notes = notes.next().await;
                let texts: Vec<_> = notes.iter().map(|(event, name)| event.text(channel_id(name), strict)).collect();
                let names: Vec<_> = notes.iter().map(|(event, _)| EventName::parse(event.name()).ok()).collect();
                let said = texts.iter().zip(&names).map(|(text, name)| Publish {
                    channel: &channel,
                    said: NewMessage { data: text, event: name.as_ref(), id: None },
                    key: None,
                    ends: false,
                    traits: Traits::default(),
                });
                for published in hub.publish_all(&said.collect::<Vec<_>>()).await {
                    match published {
                        Ok(_) => census.set_apart(),
                        Err(error) => tracing::warn!(%error, "an event could not be published in the events channel"),
                    }
                }
            }
        })))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::Presence as _;

    fn name(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    fn said(notes: &Notes, now: Instant) -> Vec<String> {
        let (notes, _) = notes.take(now);
        notes.into_iter().map(|(event, name)| format!("{} {name}", event.name())).collect()
    }

    #[test]
    fn deleted_channel_is_destroyed_a_moment_later_or_before_it_is_made_anew() {
        let (notes, begin) = (Notes::default(), Instant::now());
        notes.destroyed(&name("a"));
        notes.destroyed(&name("b"));
        notes.add(ChannelEvent::Unsubscribed, &name("a"));
        assert_eq!(said(&notes, begin), ["client_unsubscribed a"]);
        assert!(notes.take(begin).1.is_some_and(|due| due > begin));
        notes.hurry(&name("b"));
        notes.add(ChannelEvent::Created, &name("b"));
        notes.hurry(&name("c"));
        assert_eq!(said(&notes, begin), ["channel_destroyed b", "channel_created b"]);
        assert_eq!(said(&notes, begin + FAREWELL * 2), ["channel_destroyed a"]);
    }

    #[test]
    fn notes_beyond_the_bound_are_lost_and_counted() {
        let notes = Notes::default();
        for _ in 0..=MOST {
            notes.add(ChannelEvent::Created, &name("a"));
        }
        let counted = |state: &State| (state.ready.len(), state.lost);
        assert_eq!(counted(&notes.state.lock()), (MOST, 1));
        assert_eq!(notes.take(Instant::now()).0.len(), BATCH);
        assert_eq!(counted(&notes.state.lock()), (MOST - BATCH, 0));
    }

    #[test]
    fn presence_that_never_came_is_not_told_of() {
        let notes = Arc::new(Notes::default());
        let presence = || Presence::new([name("a"), name("b")].into(), Arc::clone(&notes));
        drop(presence());
        assert_eq!(said(&notes, Instant::now()), [""; 0]);
        let mut one = presence();
        one.came();
        one.came();
        one.left(&name("c"));
        one.left(&name("a"));
        one.left(&name("a"));
        drop(one);
        let expected = ["client_subscribed a", "client_subscribed b", "client_unsubscribed a", "client_unsubscribed b"];
        assert_eq!(said(&notes, Instant::now()), expected);
    }
}
