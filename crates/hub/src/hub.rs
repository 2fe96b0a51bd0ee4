//! The engine as a whole: publish, subscribe, keep in bounds. The only place that ties channels, journal and time together.

use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;

use crate::channel::{Addition, Channel, Info, Tended, Watcher};
use crate::clock::{Clock, Millis};
use crate::floors::Floors;
use crate::gather::{Progress, Start, View};
use crate::idempotency::IdempotencyKey;
use crate::journal::{Append, AppendError, Journal, Page, ReadError, Receipt, Seek};
use crate::message::{Kind, NewMessage, Traits};
use crate::name::ChannelName;
use crate::observer::Observer;
use crate::position::{Cursor, Offset, Position};
use crate::registry::Registry;
use crate::retention::{Limits, Retention, Rule};
use crate::schedule::Schedule;
use crate::subscription::{Plan, StartAt, has_ended};

/// When a channel that might go but is in somebody's hands is looked at again.
const GRACE: Duration = Duration::from_secs(1);

/// Bounds of the whole hub.
#[derive(Debug, Clone, Copy)]
pub struct HubLimits {
    /// What all tails may hold together, in bytes.
    pub memory: usize,
    /// The largest message, in bytes of data.
    pub message: usize,
    /// Channels at once.
    pub channels: usize,
    /// How long an empty channel without subscribers stays.
    pub channel_idle: Duration,
    /// Collected channels whose floor is remembered one by one.
    pub floors: usize,
    /// What the tail of one channel may hold that is stored in the journal as well, in bytes.
    pub tail: usize,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            message: 1 << 20,
            channels: 2_000_000,
            channel_idle: Duration::from_secs(30),
            floors: 1_000_000,
            tail: 1 << 20,
        }
    }
}

/// What a publisher wants.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// Where to.
    pub channel: &'a ChannelName,
    /// What.
    pub said: NewMessage<'a>,
    /// The publisher's name for this publish.
    pub key: Option<&'a IdempotencyKey>,
    /// The channel ends with it.
    pub ends: bool,
    /// What else is to be known of it.
    pub traits: Traits,
}

/// What a publisher is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Where the message stands.
    pub position: Position,
    /// When it was accepted; of a duplicate, when it came again.
    pub time: Millis,
    /// Subscriptions of this node in the channel at that moment.
    pub subscribers: u32,
    /// It had been published before, under the same key.
    pub duplicate: bool,
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The data is larger than a message may be.
    #[error("message has {size} bytes, at most {limit} are allowed (hub.message)")]
    TooLarge {
        /// What was sent.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The id could be taken for one of ours.
    #[error("event id begins with '~', which marks the ids that the server makes")]
    ReservedId,
    /// No client could send the id back: a header's value begins and ends with something visible and holds no control
    /// characters but tabs (RFC 9110 §5.5).
    #[error("event id {0}, which the Last-Event-ID header cannot carry")]
    UnsendableId(&'static str),
    /// As many channels as there may be.
    #[error("there are {0} channels, no more are allowed (hub.channels)")]
    Channels(usize),
    /// The journal did not accept it.
    #[error(transparent)]
    Journal(#[from] AppendError),
}

/// How a channel ends that is fed from one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelEnd {
    /// The source said that this was all.
    Clean,
    /// The source broke off.
    Broken,
}

/// Why a subscription was not granted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubscribeError {
    /// As many channels as there may be.
    #[error("there are {0} channels, no more are allowed (hub.channels)")]
    Channels(usize),
    /// All its channels have ended and it has seen everything.
    #[error("all channels have ended")]
    Ended,
    /// What the channels hold could not be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
}

/// Figures that only grow, and a few that do not.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages accepted, duplicates not counted.
    pub published: AtomicU64,
    /// Publishes answered from an idempotency key.
    pub duplicates: AtomicU64,
    /// Messages dropped for want of memory before their time.
    pub evicted: AtomicU64,
    /// Channels collected.
    pub collected: AtomicU64,
    /// What all tails hold at present, in bytes.
    pub bytes: AtomicUsize,
}

/// Channels, their journal, and what keeps them in bounds.
pub struct Hub {
    registry: Registry,
    journal: Arc<dyn Journal>,
    retention: Retention,
    limits: HubLimits,
    clock: Arc<Clock>,
    /// Of channels that are in memory alone.
    floors: Mutex<Floors>,
    schedule: Mutex<Schedule>,
    /// Held by whoever makes room: what was held after it last did.
    relief: Mutex<usize>,
    /// Channels that were ever made.
    made: AtomicU64,
    observer: Option<Arc<dyn Observer>>,
    counters: Counters,
}

impl Hub {
    /// An empty hub over `journal`.
    pub fn new(
        journal: Arc<dyn Journal>,
        retention: Retention,
        limits: HubLimits,
        clock: impl Into<Arc<Clock>>,
    ) -> Self {
        // What other channels than the stored ones held before is gone.
        let floors = Floors::new(limits.floors, journal.counter());
        Self {
            registry: Registry::new(limits.channels),
            journal,
            retention,
            limits,
            clock: clock.into(),
            floors: Mutex::new(floors),
            schedule: Mutex::default(),
            relief: Mutex::default(),
            made: AtomicU64::new(0),
            observer: None,
            counters: Counters::default(),
        }
    }

    /// The same hub, which tells `observer` of its channels.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// [`PublishError`]; then nothing was published.
    pub async fn publish(&self, one: Publish<'_>) -> Result<Published, PublishError> {
        self.publish_all(&[one]).await.pop().expect("one answer for one request")
    }

    /// Publishes messages in order, each for itself.
    pub async fn publish_all(&self, batch: &[Publish<'_>]) -> Vec<Result<Published, PublishError>> {
        let now = self.clock.now();
        let opened: Vec<_> = batch.iter().map(|one| self.check(one).and_then(|()| self.open(one.channel))).collect();
        let accepted = batch.iter().zip(&opened).filter_map(|(one, channel)| Some((one, channel.as_ref().ok()?)));
        let appends: Vec<_> = accepted
            .map(|(one, channel)| Append {
                channel,
                addition: Addition {
                    said: one.said,
                    kind: Kind::Data,
                    then_end: one.ends,
                    clears: false,
                    traits: one.traits,
                },
                limits: self.limits_in_memory(channel),
                key: one.key,
                now,
            })
            .collect();
        let mut receipts = self.journal.append(&appends).await.into_iter();
        let answer = |channel: &Result<Arc<Channel>, PublishError>| {
            let channel = channel.as_ref().map_err(PublishError::clone)?;
            let receipt = receipts.next().expect("a receipt for every append");
            Ok(self.account(channel, receipt?, now))
        };
        opened.iter().map(answer).collect()
    }

    /// Drops what a channel holds and ends it, with a last word.
    ///
    /// # Errors
    /// [`PublishError`]; then nothing happened.
    pub async fn end(&self, channel: &ChannelName, last_word: &str) -> Result<Published, PublishError> {
        self.end_with(channel, last_word, Traits::default()).await
    }

    /// The same for a channel that is to be forgotten soon: what is in memory alone keeps its end only for those who are
    /// connected or were cut off a moment ago, and then goes like any empty channel. `bytes` as in [`Traits::bytes`].
    ///
    /// # Errors
    /// [`PublishError`]; then nothing happened.
    pub async fn delete(&self, channel: &ChannelName, last_word: &str, bytes: bool) -> Result<Published, PublishError> {
        // What a journal stores it can only drop behind an end that it stores as well.
        let transient = !self.rule(channel).1;
        self.end_with(channel, last_word, Traits { transient, bytes }).await
    }

    async fn end_with(
        &self,
        channel: &ChannelName,
        last_word: &str,
        traits: Traits,
    ) -> Result<Published, PublishError> {
        let said = NewMessage { data: last_word, event: None, id: None };
        self.check(&Publish { channel, said, key: None, ends: false, traits })?;
        let now = self.clock.now();
        let channel = self.open(channel)?;
        let addition = Addition { said, kind: Kind::End, then_end: false, clears: true, traits };
        let limits = self.limits_in_memory(&channel);
        let append = [Append { channel: &channel, addition, limits, key: None, now }];
        let receipt = self.journal.append(&append).await.pop().expect("a receipt for every append")?;
        Ok(self.account(&channel, receipt, now))
    }

    /// Ends a channel behind what it holds. Nothing is said at such an end.
    pub async fn close(&self, channel: &Arc<Channel>, end: ChannelEnd) {
        let now = self.clock.now();
        let kind = match end {
            ChannelEnd::Clean => Kind::End,
            ChannelEnd::Broken => Kind::Broken,
        };
        let said = NewMessage { data: "", event: None, id: None };
        let addition = Addition { said, kind, then_end: false, clears: false, traits: Traits::default() };
        let limits = self.limits_in_memory(channel);
        let append = [Append { channel, addition, limits, key: None, now }];
        // Without a key there is nothing that a journal could refuse.
        if let Some(Ok(receipt)) = self.journal.append(&append).await.pop() {
            self.account(channel, receipt, now);
        }
    }

    /// Drops all that a channel holds, at once. For channels that are in memory alone.
    pub fn clear(&self, channel: &Channel) {
        channel.clear();
        self.count(channel.settle());
    }

    /// Decides where a subscription to `names` (each once) begins.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub async fn plan(&self, names: &[ChannelName], start: StartAt) -> Result<Plan, SubscribeError> {
        let channels = self.open_all(names)?;
        for channel in &channels {
            if channel.wants_loading() {
                channel.load(self.journal.head(channel).await?);
            }
        }
        let epoch = self.journal.epoch();
        let until = self.journal.counter();
        let (progress, announce) = match start {
            StartAt::Live => (Progress::new(Cursor::after(until), None), true),
            StartAt::Last(n) => self.begin(&channels, Seek::Last(n), until).await?,
            StartAt::Since(time) => self.begin(&channels, Seek::Time(time), until).await?,
            StartAt::Oldest => self.begin(&channels, Seek::Oldest, until).await?,
            StartAt::After(id) => self.resume(&channels, &id, until).await?,
        };
        let mut progress = progress;
        if has_ended(channels.iter().map(|channel| &**channel), &progress) {
            let ends = channels.iter().filter_map(|channel| channel.read(|tail| tail.broken().then(|| tail.last())));
            // That something is missing is said to everybody who asks, also to those who have seen all there was.
            let Some(end) = ends.min() else { return Err(SubscribeError::Ended) };
            progress = Progress::new(Cursor::at(end.0), None);
        }
        let announce = progress.cursor().seen().filter(|_| announce).map(|offset| Position { epoch, offset });
        Ok(Plan { channels, progress, announce })
    }

    /// The same for subscribers that know of each channel where they stand: `next` says for a channel the first offset that
    /// is due, or `None` for what is published from now on. Nothing is announced, and no gap is told for what is not asked.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn plan_each(
        &self,
        names: &[ChannelName],
        mut next: impl FnMut(&Channel) -> Option<u64>,
    ) -> Result<Plan, SubscribeError> {
        let channels = self.open_all(names)?;
        let until = self.journal.counter();
        let live = until.0 + 1;
        let lower: Box<[u64]> = channels.iter().map(|channel| next(channel).unwrap_or(live)).collect();
        let first = lower.iter().copied().min().unwrap_or(live);
        let last = lower.iter().copied().max().unwrap_or(live);
        // One that was found behind `until` holds until the cursor has passed it.
        let start = (first < live || last > live)
            .then(|| Box::new(Start { lower, asked: None, until: until.max(Offset(last - 1)) }));
        let progress = Progress::new(Cursor::at(first), start);
        if has_ended(channels.iter().map(|channel| &**channel), &progress) {
            return Err(SubscribeError::Ended);
        }
        Ok(Plan { channels, progress, announce: None })
    }

    fn open_all(&self, names: &[ChannelName]) -> Result<Vec<Arc<Channel>>, SubscribeError> {
        let full = |_| SubscribeError::Channels(self.limits.channels);
        names.iter().map(|name| self.open(name)).collect::<Result<_, _>>().map_err(full)
    }

    async fn begin(
        &self,
        channels: &[Arc<Channel>],
        seek: Seek<'_>,
        until: Offset,
    ) -> Result<(Progress, bool), ReadError> {
        let mut lower = Vec::with_capacity(channels.len());
        for channel in channels {
            lower.push(self.journal.find(channel, seek).await?.unwrap_or(until.0 + 1));
        }
        let first = lower.iter().copied().min().unwrap_or(until.0 + 1);
        let start = Start { lower: lower.into(), asked: None, until };
        Ok((Progress::new(Cursor::at(first), Some(Box::new(start))), true))
    }

    async fn resume(&self, channels: &[Arc<Channel>], id: &[u8], until: Offset) -> Result<(Progress, bool), ReadError> {
        let position = Position::parse(id);
        let cursor = match position {
            Some(position) if position.epoch == self.journal.epoch() && position.offset <= until => {
                Some(Cursor::after(position.offset))
            }
            // Of another epoch, or of another Fantail whose stream is kept here.
            _ => self.find_own(channels, id).await?,
        };
        if let Some(cursor) = cursor {
            // The publisher's id is the better one to keep: it survives the epoch.
            let ours = position.is_some_and(|position| position.epoch == self.journal.epoch());
            return Ok((Progress::new(cursor, None), ours));
        }
        let asked = String::from_utf8_lossy(id).into();
        let start = Start { lower: Box::default(), asked: Some(asked), until };
        Ok((Progress::new(Cursor::BEGIN, Some(Box::new(start))), false))
    }

    /// Where a publisher's id stands. Of several channels that know it the earliest place counts: the subscriber saw one of
    /// them, and a repeated message is better than a lost one.
    async fn find_own(&self, channels: &[Arc<Channel>], id: &[u8]) -> Result<Option<Cursor>, ReadError> {
        let Ok(id) = std::str::from_utf8(id) else { return Ok(None) };
        let mut found: Option<u64> = None;
        for channel in channels {
            let next = self.journal.find(channel, Seek::Id(id)).await?;
            found = found.into_iter().chain(next).min();
        }
        Ok(found.map(Cursor::at))
    }

    /// The channel of this name, made if there is none.
    ///
    /// # Errors
    /// [`PublishError::Channels`] if there is no room for one more.
    pub fn open(&self, name: &ChannelName) -> Result<Arc<Channel>, PublishError> {
        let now = self.clock.now();
        let mut made = false;
        let channel = self.registry.get_or_make(name, |hash| {
            made = true;
            let (rule, stored) = self.rule(name);
            // Of what is stored the journal knows the floor, and what came before is there.
            let floor = if stored { self.journal.counter() } else { self.floors.lock().take(hash) };
            if let Some(observer) = &self.observer {
                observer.made(name, stored);
            }
            let born = self.made.fetch_add(1, Ordering::Relaxed);
            Channel::new(name.clone(), rule, stored, floor, now).born_after(born)
        });
        let channel = channel.map_err(|_| PublishError::Channels(self.limits.channels))?;
        if made {
            self.look_at(&channel, self.first_look(&channel, now));
        }
        Ok(channel)
    }

    /// The same, and where it has ended, it goes on: whoever subscribes while the answer is held is not told of the end any
    /// more. Those who were subscribed before are, unless they begin anew from an id of ours.
    ///
    /// # Errors
    /// [`SubscribeError::Channels`] if there is no room for one more, or if the journal cannot be read.
    pub async fn reopen(&self, name: &ChannelName) -> Result<Arc<Channel>, SubscribeError> {
        let channel = self.open(name).map_err(|_| SubscribeError::Channels(self.limits.channels))?;
        if channel.wants_loading() {
            channel.load(self.journal.head(&channel).await?);
        }
        channel.reopen();
        Ok(channel)
    }

    /// The retention rule of a channel, and whether the journal stores it.
    fn rule(&self, name: &ChannelName) -> (Rule, bool) {
        let rule = self.retention.rule(name.as_str());
        (rule, self.journal.stores() && !name.is_internal() && self.retention.limits(rule).stored)
    }

    /// What is known of the channel of this name, in memory and in the journal; `None` if it has never been seen, or has been
    /// forgotten.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn describe(&self, name: &ChannelName) -> Result<Option<Info>, ReadError> {
        let open = self.find(name);
        let (rule, stored) = self.rule(name);
        if !stored {
            return Ok(open.map(|channel| channel.info()));
        }
        let now = self.clock.now();
        let known = open.is_some();
        let channel = open.unwrap_or_else(|| Arc::new(Channel::new(name.clone(), rule, true, Offset(0), now)));
        let head = self.journal.head(&channel).await?;
        if !known && head.last == Offset(0) {
            return Ok(None);
        }
        let info = channel.info();
        Ok(Some(Info {
            messages: head.messages as usize,
            bytes: head.bytes as usize,
            last: head.last,
            floor: head.floor,
            appended: info.appended.max(head.messages),
            numbered: info.numbered.max(head.messages),
            // The journal keeps none of them.
            transient: 0,
            ended: head.newest.ends(),
            ..info
        }))
    }

    /// The channel of this name, if it is in memory.
    pub fn find(&self, name: &ChannelName) -> Option<Arc<Channel>> {
        self.registry.get(name.as_str())
    }

    /// A page of a stored channel's history. What is lost by then leaves the tail as well: a gap must stand where no cursor
    /// gets by without it, behind the floor of the tail.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn read(&self, channel: &Channel, next: u64, bytes: usize) -> Result<Page, ReadError> {
        let page = self.journal.read(channel, next, bytes).await?;
        if let Some(lost) = page.lost {
            channel.forget(lost);
            self.count(channel.settle());
        }
        Ok(page)
    }

    /// Takes a subscription away.
    pub fn unwatch(&self, channel: &Arc<Channel>, watcher: &Arc<dyn Watcher>, token: usize) {
        let now = self.clock.now();
        if channel.unwatch(watcher, token, now) {
            self.look_at(channel, self.first_look(channel, now));
        }
    }

    /// Sees to it that a channel is looked at no later than `due`.
    fn look_at(&self, channel: &Arc<Channel>, due: Millis) {
        if channel.schedule(due) {
            self.schedule.lock().add(channel, due);
        }
    }

    /// When a channel that is empty now is to be looked at, so that what is published meanwhile goes in time as well.
    fn first_look(&self, channel: &Channel, now: Millis) -> Millis {
        now.plus(self.limits.channel_idle.min(self.retention.limits(channel.rule()).age))
    }

    /// What may be gathered for a subscription of any channels: all that the journal has counted so far.
    pub fn view(&self) -> View {
        View { epoch: self.journal.epoch(), until: self.journal.counter() }
    }

    /// Does what has become due: drops messages by age, collects idle channels. To be called about once a second.
    pub fn maintain(&self) {
        let now = self.clock.now();
        loop {
            let Some(channels) = self.schedule.lock().due(now) else { break };
            for channel in channels.iter().filter_map(Weak::upgrade) {
                if channel.is_due(now)
                    && let Some(due) = self.tend(&channel, now)
                {
                    self.look_at(&channel, due);
                }
            }
        }
        self.relieve(true);
    }

    fn tend(&self, channel: &Arc<Channel>, now: Millis) -> Option<Millis> {
        let limits = self.retention.limits(channel.rule());
        self.registry.remove_if(channel, |hash| {
            match channel.tend(now, limits, self.limits.channel_idle, |growth| self.count(growth)) {
                Tended::Due(due) => (false, Some(due)),
                Tended::Quiet => (false, None),
                // Whoever holds it is about to publish or to subscribe. Nobody new can get hold of it: that takes the lock
                // under which this runs. The two that remain are the registry's and the one at hand.
                Tended::Idle(_) if Arc::strong_count(channel) > 2 => (false, Some(now.plus(GRACE))),
                Tended::Idle(floor) => {
                    if !channel.is_stored() {
                        self.floors.lock().leave(hash, floor);
                    }
                    self.counters.collected.fetch_add(1, Ordering::Relaxed);
                    if let Some(observer) = &self.observer {
                        observer.collected(channel.name(), channel.is_stored());
                    }
                    (true, None)
                }
            }
        })
    }

    /// Where the hub reads the time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The journal under it.
    pub fn journal(&self) -> &dyn Journal {
        &*self.journal
    }

    /// Its figures.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Its bounds.
    pub fn limits(&self) -> &HubLimits {
        &self.limits
    }

    /// What the channel of this name may keep.
    pub fn limits_of(&self, channel: &Channel) -> Limits {
        self.retention.limits(channel.rule())
    }

    /// The same, as far as memory goes: of what is stored the tail holds only the newest.
    fn limits_in_memory(&self, channel: &Channel) -> Limits {
        let limits = self.limits_of(channel);
        if channel.is_stored() { Limits { bytes: limits.bytes.min(self.limits.tail), ..limits } } else { limits }
    }

    /// How many channels there are.
    pub fn channels(&self) -> usize {
        self.registry.len()
    }

    /// Visits every channel in memory, in no order; those that come or go meanwhile may be missed. Called under locks, so
    /// `visit` must only take notes.
    pub fn each(&self, visit: impl FnMut(&Arc<Channel>)) {
        self.registry.each(visit);
    }

    /// The channels whose names begin with `prefix`, those with most subscribers first, at most `limit`.
    pub fn list(&self, prefix: &str, limit: usize) -> Vec<(ChannelName, Info)> {
        // Ordered by name within equal figures, so that a page does not dance.
        let mut best = BinaryHeap::new();
        self.registry.each(|channel| {
            if channel.name().as_str().starts_with(prefix) {
                let info = channel.info();
                let rank = (std::cmp::Reverse((info.subscribers, info.appended)), channel.name().clone());
                best.push(Ranked { rank, info });
                if best.len() > limit {
                    best.pop();
                }
            }
        });
        best.into_sorted_vec().into_iter().map(|ranked| (ranked.rank.1, ranked.info)).collect()
    }

    fn check(&self, one: &Publish<'_>) -> Result<(), PublishError> {
        if one.said.data.len() > self.limits.message {
            return Err(PublishError::TooLarge { size: one.said.data.len(), limit: self.limits.message });
        }
        match one.said.id {
            // A stream that is kept may come from another Fantail, and its ids are found like any own ones.
            Some(id) if id.as_str().starts_with(Position::MARK) && !one.channel.is_internal() => {
                Err(PublishError::ReservedId)
            }
            Some(id) => unsendable(id.as_str()).map_or(Ok(()), |why| Err(PublishError::UnsendableId(why))),
            None => Ok(()),
        }
    }

    fn account(&self, channel: &Arc<Channel>, receipt: Receipt, now: Millis) -> Published {
        if receipt.duplicate {
            self.counters.duplicates.fetch_add(1, Ordering::Relaxed);
        } else {
            self.counters.published.fetch_add(1, Ordering::Relaxed);
        }
        self.count(channel.settle());
        let limits = self.limits_of(channel);
        self.look_at(channel, channel.expires(limits).unwrap_or(now.plus(limits.age)));
        if self.held() > self.limits.memory {
            self.relieve(false);
        }
        let Receipt { position, subscribers, duplicate } = receipt;
        Published { position, time: now, subscribers, duplicate }
    }

    fn count(&self, growth: isize) {
        // Two's complement: adding a negative growth as usize subtracts.
        self.counters.bytes.fetch_add(growth.cast_unsigned(), Ordering::Relaxed);
    }

    /// What the tails hold, in bytes, as far as it was counted. A message can be dropped and counted as gone before it was counted as
    /// come, so that the count is below nothing for a moment; that must not look like more than any limit.
    pub fn held(&self) -> usize {
        usize::try_from(self.counters.bytes.load(Ordering::Relaxed).cast_signed()).unwrap_or(0)
    }

    /// Drops the oldest message of a channel for want of memory; returns its cost.
    fn evict(&self, channel: &Channel) -> Option<usize> {
        let cost = channel.evict()?;
        self.count(channel.settle());
        if !channel.is_stored() {
            self.counters.evicted.fetch_add(1, Ordering::Relaxed);
        }
        Some(cost)
    }

    /// Makes room when the tails hold more than they may: the oldest message of the channel with the most bytes goes, and
    /// again, until a sixteenth is free, so that the search through all channels is rare. It stays rare where that much cannot
    /// be had, for the newest messages of channels with subscribers stay: then a publish is not `eager`, and waits for another sixteenth.
    fn relieve(&self, eager: bool) {
        let Some(mut left) = self.relief.try_lock() else { return };
        let held = self.held();
        let waits = !eager && held <= left.saturating_add(self.limits.memory / 16);
        if held <= self.limits.memory || waits {
            return;
        }
        let target = self.limits.memory - self.limits.memory / 16;
        let mut by_bytes = Vec::with_capacity(self.registry.len());
        self.registry.each(|channel| by_bytes.push(Heaviest(channel.info().bytes, Arc::clone(channel))));
        let mut by_bytes = BinaryHeap::from(by_bytes);
        while self.held() > target {
            let Some(mut heaviest) = by_bytes.peek_mut() else { break };
            if let Some(cost) = self.evict(&heaviest.1) {
                heaviest.0 = heaviest.0.saturating_sub(cost);
            } else {
                std::collections::binary_heap::PeekMut::pop(heaviest);
            }
        }
        *left = self.held();
    }
}

/// What about an id a header cannot carry; `None` for one that clients can send back.
pub fn unsendable(id: &str) -> Option<&'static str> {
    if id.starts_with([' ', '\t']) || id.ends_with([' ', '\t']) {
        return Some("begins or ends with a space");
    }
    id.bytes().any(|b| b.is_ascii_control() && b != b'\t').then_some("holds a control character")
}

struct Heaviest(usize, Arc<Channel>);

impl Ord for Heaviest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Heaviest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Heaviest {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Heaviest {}

struct Ranked {
    rank: (std::cmp::Reverse<(u32, u64)>, ChannelName),
    info: Info,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Ranked {}
