//! A channel: a name, its tail, and who wants to be woken when the tail grows. Does not know what a subscriber is made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Millis;
use crate::message::{Kind, Message, NewMessage};
use crate::name::ChannelName;
use crate::position::Offset;
use crate::retention::{Limits, Rule};
use crate::tail::{Entry, Tail};

/// Somebody who serves subscribers: a fan-out shard, or a single [`crate::Subscription`].
pub trait Watcher: Send + Sync {
    /// The channel that was watched under `token` has something new. Called under the channel's lock, so it must only take
    /// a note; and only once until [`Channel::seen`].
    fn wake(&self, token: usize);
}

/// One watcher of one channel.
struct Watch {
    watcher: Arc<dyn Watcher>,
    /// What the watcher calls this channel.
    token: usize,
    /// How many subscriptions it stands for.
    subscriptions: u32,
    /// It has been woken and has not looked yet.
    dirty: bool,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where the message (not the end behind it) stands.
    pub offset: Offset,
    /// Subscriptions that were in the channel at that moment.
    pub subscribers: u32,
    /// By how much the channel's bytes grew, or shrank.
    pub growth: isize,
    /// The channel had nothing that could expire, so nobody watches its age yet.
    pub unscheduled: bool,
}

/// What is to be appended: a message, an end, or a message and the end behind it in one step.
#[derive(Debug, Clone, Copy)]
pub struct Addition<'a> {
    /// What is said.
    pub said: NewMessage<'a>,
    /// What kind of entry says it.
    pub kind: Kind,
    /// An empty end follows at once.
    pub then_end: bool,
    /// Everything older is dropped.
    pub clears: bool,
}

/// A named, ordered sequence of messages.
pub struct Channel {
    name: ChannelName,
    rule: Rule,
    /// The last offset, doubled, plus one while an append is under way. A reader who loads the journal's counter first and
    /// this word afterwards sees every append up to that counter, either as done or as under way; see [`Channel::reaches`].
    head: AtomicU64,
    state: Mutex<State>,
}

struct State {
    tail: Tail,
    watches: Vec<Watch>,
    /// It stands in the hub's schedule.
    scheduled: bool,
    /// Since when nobody has used it.
    idle_since: Millis,
}

/// What a channel looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Subscriptions of this node.
    pub subscribers: u32,
    /// Entries kept.
    pub messages: usize,
    /// What they cost, in bytes.
    pub bytes: usize,
    /// The newest offset.
    pub last: Offset,
    /// The highest offset that is no longer kept.
    pub floor: Offset,
    /// Entries ever appended.
    pub appended: u64,
    /// Nothing was published since its end.
    pub ended: bool,
}

/// What [`Channel::tend`] found.
pub(crate) enum Tended {
    /// Look again then.
    Due(Millis),
    /// Nothing can expire; the next append or departure will say so.
    Quiet,
    /// It is idle and empty and may go; this is its floor.
    Idle(Offset),
}

impl Channel {
    pub(crate) fn new(name: ChannelName, rule: Rule, floor: Offset, now: Millis) -> Self {
        let state = State { tail: Tail::new(floor), watches: Vec::new(), scheduled: false, idle_since: now };
        Self { name, rule, head: AtomicU64::new(floor.0 << 1), state: Mutex::new(state) }
    }

    /// Its name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Its retention rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Appends under the channel's lock, with offsets taken from `next` there, and wakes the watchers.
    pub fn append(&self, addition: Addition<'_>, now: Millis, limits: Limits, next: impl Fn() -> Offset) -> Appended {
        // Copied before the lock: a large message must not hold up those who read.
        let message = Arc::new(Message::new(now, addition.kind, addition.said));
        let end = addition.then_end.then(|| {
            let said = NewMessage { data: "", event: None, id: None };
            Arc::new(Message::new(now, Kind::End, said))
        });
        let mut state = self.state.lock();
        let before = state.tail.bytes();
        self.head.fetch_or(1, Ordering::SeqCst);
        let offset = next();
        if addition.clears {
            state.tail.clear();
        }
        state.tail.push(Entry { offset, message }, limits);
        if let Some(message) = end {
            state.tail.push(Entry { offset: next(), message }, limits);
        }
        self.head.store(state.tail.last().0 << 1, Ordering::SeqCst);
        let unscheduled = !std::mem::replace(&mut state.scheduled, true);
        state.idle_since = now;
        let mut subscribers = 0;
        for watch in &mut state.watches {
            subscribers += watch.subscriptions;
            watch.wake();
        }
        let growth = state.tail.bytes().cast_signed() - before.cast_signed();
        Appended { offset, subscribers, growth, unscheduled }
    }

    /// Whether there may be an entry at or above `next`. `counter` must have been loaded before the call for the answer to
    /// hold for everything up to it.
    pub fn reaches(&self, next: u64) -> bool {
        let head = self.head.load(Ordering::SeqCst);
        head & 1 == 1 || head >> 1 >= next
    }

    /// Runs `read` on the tail, under its lock.
    pub fn read<T>(&self, read: impl FnOnce(&Tail) -> T) -> T {
        read(&self.state.lock().tail)
    }

    /// Adds one subscription for `watcher`, who calls this channel `token`.
    pub fn watch(&self, watcher: &Arc<dyn Watcher>, token: usize) {
        let mut state = self.state.lock();
        if let Some(watch) = state.watches.iter_mut().find(|watch| watch.is(watcher, token)) {
            watch.subscriptions += 1;
        } else {
            let watch = Watch { watcher: Arc::clone(watcher), token, subscriptions: 1, dirty: false };
            state.watches.reserve_exact(1);
            state.watches.push(watch);
        }
    }

    /// Takes one subscription of `watcher` away. True if the channel now needs to be looked after by the schedule.
    #[must_use = "an unscheduled channel is never collected"]
    pub fn unwatch(&self, watcher: &Arc<dyn Watcher>, token: usize, now: Millis) -> bool {
        let mut state = self.state.lock();
        let at = state.watches.iter().position(|watch| watch.is(watcher, token));
        let at = at.expect("only a watcher takes itself away");
        state.watches[at].subscriptions -= 1;
        if state.watches[at].subscriptions == 0 {
            state.watches.swap_remove(at);
        }
        state.idle_since = now;
        state.watches.is_empty() && !std::mem::replace(&mut state.scheduled, true)
    }

    /// The watcher is about to look: wake it again for what comes from here on.
    pub fn seen(&self, watcher: &Arc<dyn Watcher>, token: usize) {
        if let Some(watch) = self.state.lock().watches.iter_mut().find(|watch| watch.is(watcher, token)) {
            watch.dirty = false;
        }
    }

    /// A summary for statistics.
    pub fn info(&self) -> Info {
        let state = self.state.lock();
        Info {
            subscribers: state.watches.iter().map(|watch| watch.subscriptions).sum(),
            messages: state.tail.len(),
            bytes: state.tail.bytes(),
            last: state.tail.last(),
            floor: state.tail.floor(),
            appended: state.tail.appended(),
            ended: state.tail.ended(),
        }
    }

    /// Marks a channel that was just made as standing in the schedule. True if it did not before.
    pub(crate) fn schedule(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().scheduled, true)
    }

    /// Drops what is too old; says when to come back. `freed` is told the bytes.
    pub(crate) fn tend(&self, now: Millis, limits: Limits, idle: Duration, freed: impl FnOnce(usize)) -> Tended {
        let mut state = self.state.lock();
        let before = state.tail.bytes();
        state.tail.expire(now, limits);
        freed(before - state.tail.bytes());
        if let Some(oldest) = state.tail.oldest() {
            return Tended::Due(oldest.plus(limits.age));
        }
        if !state.watches.is_empty() {
            state.scheduled = false;
            return Tended::Quiet;
        }
        let due = state.idle_since.plus(idle);
        if due > now {
            // What is published meanwhile may be due to go sooner; one look a second is enough.
            return Tended::Due(due.min(now.plus(limits.age.max(Duration::from_secs(1)))));
        }
        Tended::Idle(state.tail.last())
    }

    /// Drops every entry; returns their cost.
    pub(crate) fn clear(&self) -> usize {
        let mut state = self.state.lock();
        let before = state.tail.bytes();
        state.tail.clear();
        before
    }

    /// Drops the oldest entry, for want of memory; returns its cost. The newest stays for those who are connected.
    pub(crate) fn evict(&self) -> Option<usize> {
        let mut state = self.state.lock();
        if state.tail.len() <= 1 && !state.watches.is_empty() {
            return None;
        }
        state.tail.drop_oldest()
    }
}

impl Watch {
    fn is(&self, watcher: &Arc<dyn Watcher>, token: usize) -> bool {
        self.token == token && Arc::ptr_eq(&self.watcher, watcher)
    }

    fn wake(&mut self) {
        if !std::mem::replace(&mut self.dirty, true) {
            self.watcher.wake(self.token);
        }
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("name", &self.name).field("info", &self.info()).finish_non_exhaustive()
    }
}
