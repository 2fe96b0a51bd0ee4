//! Which channels there are: how many, which of them were deleted and wait to be forgotten, and what is to be said of their coming
//! and going in the events channel.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fantail_hub::{Channel, ChannelName, Hub, Observer};
use parking_lot::Mutex;

use super::events::{Notes, Presence};
use crate::config;
use crate::dialect::grip;
use crate::dialect::push_stream::{ChannelEvent, Refusal, Wildcards, channel_id, channel_name};

/// How many channels there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Count {
    /// Those that are no wildcards.
    pub normal: usize,
    /// Those that are.
    pub wildcard: usize,
    /// Those that were deleted, and are kept for a moment for those who have not been told.
    pub deleted: usize,
}

/// Observes the hub.
#[derive(Debug)]
pub struct Census {
    wildcards: Wildcards,
    normal: AtomicUsize,
    wildcard: AtomicUsize,
    /// Channels that were deleted here and that the hub still has. Those that are used again by other routes than push-stream's
    /// are taken out when they are counted.
    deleted: Mutex<HashSet<ChannelName>>,
    /// Messages that the hub has counted and clients of the module are not told of: events, and what was said of deleted channels.
    apart: AtomicU64,
    /// Held from the look at the caps until the channel is made.
    making: Mutex<()>,
    events: Option<Events>,
}

#[derive(Debug)]
struct Events {
    channel: ChannelName,
    notes: Arc<Notes>,
}

impl Census {
    /// Nothing has been counted yet.
    pub fn new(settings: &config::PushStream) -> Self {
        let id = settings.events_channel_id.as_deref();
        let events = id.and_then(|id| channel_name(id.as_bytes(), None).ok());
        let prefix = settings.wildcard_channel_prefix.clone().unwrap_or_default();
        Self {
            wildcards: Wildcards { prefix, most: None },
            normal: AtomicUsize::new(0),
            wildcard: AtomicUsize::new(0),
            deleted: Mutex::default(),
            apart: AtomicU64::new(0),
            making: Mutex::default(),
            events: events.map(|channel| Events { channel, notes: Arc::default() }),
        }
    }

    /// The channel in which it is said what happens to the others.
    pub(super) fn events_channel(&self) -> Option<&ChannelName> {
        Some(&self.events.as_ref()?.channel)
    }

    /// What is to be said there.
    pub(super) fn notes(&self) -> Option<&Arc<Notes>> {
        Some(&self.events.as_ref()?.notes)
    }

    /// Whether this is a wildcard channel.
    pub(super) fn is_wildcard(&self, name: &ChannelName) -> bool {
        self.wildcards.contains(channel_id(name))
    }

    /// Whether clients of the module may know of a channel. What other parts of the server keep for themselves they may not.
    pub(super) fn is_listed(name: &ChannelName) -> bool {
        let nameless = channel_id(name).is_empty();
        nameless || !name.is_internal() && !name.as_str().starts_with(grip::PREFIX)
    }

    /// How many channels there are.
    pub(super) fn count(&self, hub: &Hub) -> Count {
        // The hub is asked without the lock, which it takes itself where it collects a channel.
        let names: Vec<_> = self.deleted.lock().iter().cloned().collect();
        let alive: Vec<_> = names.into_iter().filter(|name| !is_ended(hub, name)).collect();
        let mut deleted = self.deleted.lock();
        for name in &alive {
            deleted.remove(name);
        }
        let wildcards = deleted.iter().filter(|name| self.is_wildcard(name)).count();
        let less = |all: &AtomicUsize, gone: usize| all.load(Ordering::Relaxed).saturating_sub(gone);
        Count {
            normal: less(&self.normal, deleted.len() - wildcards),
            wildcard: less(&self.wildcard, wildcards),
            deleted: deleted.len(),
        }
    }

    /// How many messages were published.
    pub(super) fn published(&self, hub: &Hub) -> u64 {
        // This first: what is counted meanwhile is counted there before.
        let apart = self.apart.load(Ordering::Acquire);
        hub.counters().published.load(Ordering::Relaxed).saturating_sub(apart)
    }

    /// Something was published that is not counted so.
    pub(super) fn set_apart(&self) {
        self.apart.fetch_add(1, Ordering::Release);
    }

    /// Makes the channel of this name if there is none, unless there are `most` of its kind. Whether it did.
    pub(super) fn make(&self, hub: &Hub, name: &ChannelName, most: Option<usize>) -> Result<bool, Refusal> {
        let _alone = most.map(|_| self.making.lock());
        let there = hub.find(name).is_some();
        let new = !there || self.deleted.lock().contains(name);
        if let Some(most) = most.filter(|_| new) {
            let count = self.count(hub);
            if most <= if self.is_wildcard(name) { count.wildcard } else { count.normal } {
                return Err(Refusal::TooManyChannels);
            }
        }
        hub.open(name).map_err(|_| Refusal::TooManyChannels)?;
        Ok(!there)
    }

    /// A channel was opened for a client of the module; `made` if it was not in memory before.
    pub(super) fn opened(&self, channel: &Channel, made: bool) {
        let name = channel.name();
        if self.deleted.lock().remove(name) {
            self.note_destroyed_now(name);
            self.note(ChannelEvent::Created, name);
        } else if made && channel.is_stored() && channel.info().last.0 == 0 {
            // Of what is stored only its first use makes it.
            self.note(ChannelEvent::Created, name);
        }
    }

    /// A channel is about to be deleted.
    pub(super) fn delete(&self, name: &ChannelName) {
        if self.deleted.lock().insert(name.clone())
            && let Some(events) = self.events_about(name)
        {
            events.notes.destroyed(name);
        }
    }

    /// What tells of a subscriber to these channels.
    pub(super) fn presence(&self, names: &[ChannelName]) -> Option<Presence> {
        let events = self.events.as_ref()?;
        let names = names.iter().filter(|name| **name != events.channel).cloned();
        Some(Presence::new(names.collect(), Arc::clone(&events.notes)))
    }

    fn counter(&self, name: &ChannelName) -> Option<&AtomicUsize> {
        Self::is_listed(name).then(|| if self.is_wildcard(name) { &self.wildcard } else { &self.normal })
    }

    /// Where it is said what happens to this channel. Nothing is said of the events channel itself.
    fn events_about(&self, name: &ChannelName) -> Option<&Events> {
        self.events.as_ref().filter(|events| events.channel != *name && Self::is_listed(name))
    }

    fn note(&self, event: ChannelEvent, name: &ChannelName) {
        if let Some(events) = self.events_about(name) {
            events.notes.add(event, name);
        }
    }

    fn note_destroyed_now(&self, name: &ChannelName) {
        if let Some(events) = self.events_about(name) {
            events.notes.hurry(name);
        }
    }
}

impl Observer for Census {
    fn made(&self, name: &ChannelName, stored: bool) {
        if let Some(counter) = self.counter(name) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if !stored {
            self.note(ChannelEvent::Created, name);
        }
    }

    fn collected(&self, name: &ChannelName, stored: bool) {
        if let Some(counter) = self.counter(name) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
        // Of one that was deleted it has been said. What is stored lives on in the journal.
        if !self.deleted.lock().remove(name) && !stored {
            self.note(ChannelEvent::Destroyed, name);
        }
    }
}

fn is_ended(hub: &Hub, name: &ChannelName) -> bool {
    hub.find(name).is_some_and(|channel| channel.info().ended)
}
