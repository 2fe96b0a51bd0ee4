//! A channel: a name, its tail, and who wants to be woken when the tail grows. Does not know what a subscriber is made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Millis;
use crate::journal::{Head, Page, Seek};
use crate::message::{Kind, Message, NewMessage, Traits};
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
    /// What else is to be known of it.
    pub traits: Traits,
}

/// An addition on its way: copied before any lock is taken, for a large message must not hold up those who read.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What is said.
    pub message: Arc<Message>,
    /// See [`Addition::then_end`].
    pub then_end: bool,
    /// See [`Addition::clears`].
    pub clears: bool,
}

impl Draft {
    /// Copies what is said.
    pub fn new(addition: Addition<'_>, now: Millis) -> Self {
        let message = Arc::new(Message::new(now, addition.kind, addition.said).with(addition.traits));
        Self { message, then_end: addition.then_end, clears: addition.clears }
    }

    /// The end that follows a message in one step with it.
    pub fn end_behind(message: &Message) -> Message {
        Message::kept(message.time(), Kind::End, "", None, None)
    }
}

/// A named, ordered sequence of messages.
pub struct Channel {
    name: ChannelName,
    /// How many channels had been made before it: they are listed in this order.
    born: u64,
    rule: Rule,
    /// What is not in the tail (any more) may be in the journal.
    stored: bool,
    /// The last offset, doubled, plus one while an append is under way. A reader who loads the journal's counter first and
    /// this word afterwards sees every append up to that counter, either as done or as under way; see [`Channel::reaches`].
    head: AtomicU64,
    state: Mutex<State>,
}

struct State {
    tail: Tail,
    watches: Vec<Watch>,
    /// What the hub has counted of the tail's bytes.
    counted: usize,
    /// When the hub looks at it again; see [`UNSCHEDULED`].
    due: Millis,
    /// The tail knows the channel's newest entry, from the journal or because it came since; a channel that is not stored
    /// has no other past.
    loaded: bool,
    /// Since when nobody has used it.
    idle_since: Millis,
}

/// The due time of a channel that stands nowhere in the hub's schedule.
const UNSCHEDULED: Millis = Millis(u64::MAX);

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
    /// Messages since the channel was made, or was last ended by being cleared.
    pub numbered: u64,
    /// Of those kept, how many are [transient](Traits::transient).
    pub transient: usize,
    /// Nothing was published since its end.
    pub ended: bool,
}

/// What [`Channel::tend`] found.
pub(crate) enum Tended {
    /// Look again then.
    Due(Millis),
    /// Nothing can expire; the next append or departure will say so.
    Quiet,
    /// It is idle and nothing is lost if it goes; this is its floor.
    Idle(Offset),
}

impl Channel {
    /// A channel whose tail begins behind `floor`. If it is `stored`, everything up to there may be in the journal.
    pub(crate) fn new(name: ChannelName, rule: Rule, stored: bool, floor: Offset, now: Millis) -> Self {
        let tail = Tail::new(floor);
        let state = State { tail, watches: Vec::new(), counted: 0, due: UNSCHEDULED, loaded: !stored, idle_since: now };
        Self { name, born: 0, rule, stored, head: AtomicU64::new(floor.0 << 1), state: Mutex::new(state) }
    }

    /// The same channel, made after so many others.
    pub(crate) fn born_after(self, born: u64) -> Self {
        Self { born, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// How many channels of this process had been made before it.
    pub fn born(&self) -> u64 {
        self.born
    }

    /// Its retention rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Whether the journal keeps what is not in the tail.
    pub fn is_stored(&self) -> bool {
        self.stored
    }

    /// Whether its newest entry is not known yet; see [`Channel::load`].
    pub fn wants_loading(&self) -> bool {
        !self.state.lock().loaded
    }

    /// Learns from the journal what its newest entry is, unless something came meanwhile. It still reaches to its floor: what
    /// was lost behind that entry is told to those who pass.
    pub fn load(&self, head: Head) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.loaded, true) {
            state.tail.restore(head.last, head.newest);
            self.head.store(state.tail.floor().0 << 1, Ordering::SeqCst);
        }
    }

    /// Appends under the channel's lock, with offsets taken from `next` there, and wakes the watchers.
    ///
    /// The tail of a stored channel is kept for those who listen: while there are none, it stays empty.
    pub fn append(&self, draft: &Draft, limits: Limits, mut next: impl FnMut() -> Offset) -> Appended {
        let end = draft.then_end.then(|| Arc::new(Draft::end_behind(&draft.message)));
        let mut state = self.state.lock();
        self.head.fetch_or(1, Ordering::SeqCst);
        let offset = next();
        if draft.clears {
            state.tail.clear();
        }
        let number = state.tail.number(offset, draft.message.kind(), self.stored);
        state.tail.push(Entry { offset, number, message: Arc::clone(&draft.message) }, limits);
        if let Some(message) = end {
            state.tail.push(Entry { offset: next(), number: 0, message }, limits);
        }
        if self.stored && state.watches.is_empty() {
            state.tail.clear();
        }
        self.head.store(state.tail.last().0 << 1, Ordering::SeqCst);
        state.loaded = true;
        state.idle_since = draft.message.time();
        let mut subscribers = 0;
        for watch in &mut state.watches {
            subscribers += watch.subscriptions;
            watch.wake();
        }
        Appended { offset, subscribers }
    }

    /// By how much its bytes have grown, or shrunk, since the hub last counted them. Not told by who appends: a publisher may be
    /// gone by the time that its message is here.
    pub(crate) fn settle(&self) -> isize {
        self.state.lock().settle()
    }

    /// What the tail holds from `next` up to `until`, as far as `bytes` go. For channels whose tail is all there is.
    pub fn page(&self, next: u64, until: Offset, bytes: usize) -> Page {
        self.read(|tail| {
            let lost = (next <= tail.floor().0).then(|| tail.floor());
            let mut room = bytes;
            let mut entries = Vec::new();
            let mut end = until.min(tail.last()).max(lost.unwrap_or_default());
            for entry in tail.from(next).take_while(|entry| entry.offset <= until) {
                if room == 0 {
                    break;
                }
                room = room.saturating_sub(entry.message.cost());
                end = entry.offset;
                entries.push(entry.clone());
            }
            Page { next, lost, entries, until: end }
        })
    }

    /// Where in the tail something begins. For channels whose tail is all there is.
    pub fn seek(&self, what: Seek<'_>) -> Option<u64> {
        self.read(|tail| match what {
            Seek::Id(id) => tail.find_id(id).map(|offset| offset.0 + 1),
            Seek::Last(n) => Some(tail.start_of_last(n)),
            Seek::Time(time) => Some(tail.start_at(time)),
            Seek::Oldest => Some(tail.floor().0 + 1),
        })
    }

    /// What the tail knows. For channels whose tail is all there is.
    pub fn head(&self) -> Head {
        self.read(|tail| Head {
            last: tail.last(),
            floor: tail.floor(),
            newest: tail.newest(),
            messages: tail.len() as u64,
            bytes: tail.bytes() as u64,
        })
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
        state.watches.is_empty() && state.due == UNSCHEDULED
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
            numbered: state.tail.numbered(),
            transient: state.tail.transients(),
            ended: state.tail.ended(),
        }
    }

    /// It is to be looked at no later than `due`. True if the hub has to put it into its schedule for that, where the entry that
    /// it may have already is from here on none.
    pub(crate) fn schedule(&self, due: Millis) -> bool {
        let mut state = self.state.lock();
        let sooner = due < state.due;
        if sooner {
            state.due = due;
        }
        sooner
    }

    /// The same for when its oldest message is to go, or for `otherwise` if it has none: when the hub has to put it into its
    /// schedule, if it has to. In one step, for it follows every publish.
    pub(crate) fn schedule_expiry(&self, limits: Limits, otherwise: Millis) -> Option<Millis> {
        let mut state = self.state.lock();
        let due = state.tail.expires(limits).unwrap_or(otherwise);
        let sooner = due < state.due;
        if sooner {
            state.due = due;
        }
        sooner.then_some(due)
    }

    /// Whether an entry of the schedule that has come is the one that counts.
    pub(crate) fn is_due(&self, now: Millis) -> bool {
        self.state.lock().due <= now
    }

    /// Drops what is too old; says when to come back. `grown` is told what [`settle`](Self::settle) says.
    pub(crate) fn tend(&self, now: Millis, limits: Limits, idle: Duration, grown: impl FnOnce(isize)) -> Tended {
        let mut state = self.state.lock();
        state.due = UNSCHEDULED;
        state.tail.expire(now, limits);
        let unwatched = self.stored && state.watches.is_empty();
        let idle_at = state.idle_since.plus(idle);
        if unwatched && idle_at <= now {
            state.tail.clear();
        }
        grown(state.settle());
        if let Some(expires) = state.tail.expires(limits) {
            return Tended::Due(if unwatched { expires.min(idle_at) } else { expires });
        }
        if !state.watches.is_empty() {
            return Tended::Quiet;
        }
        if idle_at > now {
            // What is published meanwhile may be due to go sooner; one look a second is enough.
            return Tended::Due(idle_at.min(now.plus(limits.age.max(Duration::from_secs(1)))));
        }
        Tended::Idle(state.tail.last())
    }

    /// See [`Tail::forget`].
    pub(crate) fn forget(&self, lost: Offset) {
        let mut state = self.state.lock();
        if lost > state.tail.floor() {
            state.tail.forget(lost);
            self.head.store(state.tail.last().0 << 1, Ordering::SeqCst);
        }
    }

    /// Goes on behind its end, if it has ended: whoever comes from here on may wait for what will be published.
    pub(crate) fn reopen(&self) {
        self.state.lock().tail.reopen();
    }

    /// Drops every entry.
    pub(crate) fn clear(&self) {
        self.state.lock().tail.clear();
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

impl State {
    fn settle(&mut self) -> isize {
        let bytes = self.tail.bytes();
        bytes.cast_signed() - std::mem::replace(&mut self.counted, bytes).cast_signed()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::Retention;

    #[test]
    fn load_of_an_older_entry_leaves_what_was_lost_behind_it_within_reach() {
        let name = ChannelName::parse("a").unwrap();
        let rule = Retention::new(Limits::default(), []).rule("a");
        let channel = Channel::new(name, rule, true, Offset(9), Millis(0));
        let head = Head { last: Offset(4), floor: Offset(0), newest: Kind::Data, messages: 1, bytes: 1 };
        channel.load(head);
        assert_eq!((channel.read(Tail::last), channel.read(Tail::floor)), (Offset(4), Offset(9)));
        assert!(channel.reaches(9), "a reader at 9 has to ask the journal");
        assert!(!channel.reaches(10));
    }
}
