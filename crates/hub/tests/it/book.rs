//! The model: all that was ever accepted, in plain lists, and what of it has to be kept.

use fantail_hub::message::Message;
use fantail_hub::{Epoch, Hub, Limits, Millis, Position};

use crate::ops::CHANNELS;

/// One accepted entry.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) offset: u64,
    pub(crate) data: String,
    pub(crate) event: Option<String>,
    pub(crate) own: Option<String>,
    pub(crate) is_end: bool,
    pub(crate) time: Millis,
}

impl Written {
    fn cost(&self) -> usize {
        let text = |part: &Option<String>| part.as_ref().map_or(0, String::len);
        self.data.len() + text(&self.event) + text(&self.own) + Message::OVERHEAD
    }

    /// The id that it has on the wire.
    pub(crate) fn id(&self, epoch: Epoch) -> String {
        self.own.clone().unwrap_or_else(|| position(epoch, self.offset))
    }
}

pub(crate) fn position(epoch: Epoch, offset: u64) -> String {
    Position { epoch, offset: fantail_hub::Offset(offset) }.to_string()
}

/// One channel.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) name: fantail_hub::ChannelName,
    pub(crate) limits: Limits,
    /// Everything of this epoch.
    pub(crate) all: Vec<Written>,
    /// The first of `all` that is kept.
    pub(crate) kept_from: usize,
    /// A floor that came from other channels, out of the bounded table.
    pub(crate) inherited: u64,
    pub(crate) exists: bool,
    pub(crate) ended: bool,
    pub(crate) watchers: u32,
}

impl Page {
    pub(crate) fn kept(&self) -> &[Written] {
        &self.all[self.kept_from..]
    }

    pub(crate) fn floor(&self) -> u64 {
        let own = self.kept_from.checked_sub(1).map_or(0, |at| self.all[at].offset);
        own.max(self.inherited)
    }

    pub(crate) fn last(&self) -> u64 {
        self.all.last().map_or(0, |written| written.offset).max(self.inherited)
    }

    fn bytes(&self) -> usize {
        self.kept().iter().map(Written::cost).sum()
    }

    fn push(&mut self, written: Written) {
        self.ended = written.is_end;
        self.exists = true;
        self.all.push(written);
        let extra = usize::from(self.ended);
        while self.kept().len() > self.limits.messages.max(1) + extra
            || (self.bytes() > self.limits.bytes && self.kept().len() > 1 + extra)
        {
            self.kept_from += 1;
        }
    }
}

/// Where an id stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    Behind(u64),
    Unknown,
}

/// All channels in one epoch.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) epoch: Epoch,
    pub(crate) pages: Vec<Page>,
    /// Floors were forgotten one by one, so that too many gaps may be told.
    pub(crate) vague: bool,
    collected: usize,
    evicted: u64,
    floors: usize,
    memory: usize,
    /// Somebody has listened.
    listened: bool,
}

impl Book {
    pub(crate) fn new(hub: &Hub, names: &[fantail_hub::ChannelName], limits: impl Fn(usize) -> Limits) -> Self {
        let page = |(at, name): (usize, &fantail_hub::ChannelName)| Page {
            name: name.clone(),
            limits: limits(at),
            all: Vec::new(),
            kept_from: 0,
            inherited: 0,
            exists: false,
            ended: false,
            watchers: 0,
        };
        Self {
            epoch: hub.journal().epoch(),
            pages: names.iter().enumerate().map(page).collect(),
            vague: false,
            collected: 0,
            evicted: 0,
            floors: hub.limits().floors,
            memory: hub.limits().memory,
            listened: false,
        }
    }

    pub(crate) fn add(&mut self, channel: usize, written: Written) {
        assert!(written.offset > self.counter(), "an offset is never used again");
        self.pages[channel].push(written);
    }

    /// Everything older goes.
    pub(crate) fn clear(&mut self, channel: usize) {
        self.pages[channel].kept_from = self.pages[channel].all.len();
    }

    /// The highest offset of all.
    pub(crate) fn counter(&self) -> u64 {
        self.pages.iter().filter_map(|page| page.all.last()).map(|written| written.offset).max().unwrap_or(0)
    }

    pub(crate) fn find(&self, offset: u64) -> Option<(usize, &Written)> {
        self.pages.iter().enumerate().find_map(|(channel, page)| {
            let at = page.all.binary_search_by_key(&offset, |written| written.offset).ok()?;
            Some((channel, &page.all[at]))
        })
    }

    /// What was said to a channel between two offsets, both excluded.
    pub(crate) fn between(&self, channel: usize, after: u64, before: u64) -> impl Iterator<Item = &Written> {
        let all = &self.pages[channel].all;
        let from = all.partition_point(|written| written.offset <= after);
        all[from..].iter().take_while(move |written| written.offset < before)
    }

    /// Where a `Last-Event-ID` stands for these channels.
    pub(crate) fn stands(&self, id: &[u8], channels: &[usize]) -> Stands {
        if let Some(position) = Position::parse(id) {
            let known = position.epoch == self.epoch && position.offset.0 <= self.counter();
            return if known { Stands::Behind(position.offset.0) } else { Stands::Unknown };
        }
        let newest = |&channel: &usize| {
            let found = self.pages[channel].kept().iter().rev();
            found.clone().find(|written| written.own.as_ref().is_some_and(|own| own.as_bytes() == id))
        };
        let earliest = channels.iter().filter_map(newest).map(|written| written.offset).min();
        earliest.map_or(Stands::Unknown, Stands::Behind)
    }

    /// Compares with what the hub keeps, and learns what it was free to decide: what was evicted, what expired within the
    /// grain of the schedule, what was collected.
    pub(crate) fn compare(&mut self, hub: &Hub, now: Millis) {
        let evicted = hub.counters().evicted.load(std::sync::atomic::Ordering::Relaxed);
        let mut may_evict = evicted - std::mem::replace(&mut self.evicted, evicted);
        // Dropped for their age, or evicted although their age would have done.
        let mut in_time = 0;
        let mut held = 0;
        for page in &mut self.pages {
            let Some(channel) = hub.find(&page.name) else {
                if page.exists {
                    assert_eq!(page.watchers, 0, "{} was collected while it was watched", page.name);
                    self.collected += 1;
                    self.vague |= self.collected > self.floors;
                    (page.exists, page.ended) = (false, false);
                }
                let gone = page.kept().iter().filter(|written| !expired(written, page.limits, now)).count();
                assert!(gone as u64 <= may_evict, "{} was collected with messages in it", page.name);
                may_evict -= gone as u64;
                in_time += page.kept().len() as u64 - gone as u64;
                page.kept_from = page.all.len();
                continue;
            };
            page.exists = true;
            let (offsets, floor, last) = channel.read(|tail| {
                let offsets: Vec<_> = tail.from(0).map(|entry| entry.offset.0).collect();
                (offsets, tail.floor().0, tail.last().0)
            });
            let before = page.kept().len();
            while page.kept().len() > offsets.len() {
                let oldest = &page.kept()[0];
                if expired(oldest, page.limits, now) {
                    in_time += 1;
                } else {
                    assert!(may_evict > 0, "{} lost offset {} for no reason", page.name, oldest.offset);
                    may_evict -= 1;
                    let newest_of_watched = page.watchers > 0 && page.kept().len() == 1;
                    assert!(!newest_of_watched, "{} lost its newest message while it was watched", page.name);
                }
                page.kept_from += 1;
            }
            let kept: Vec<_> = page.kept().iter().map(|written| written.offset).collect();
            assert_eq!(offsets, kept, "{} keeps other messages than it should (of {before})", page.name);
            if floor != page.floor() {
                assert!(
                    self.vague,
                    "{} has floor {floor}, but {} is the last that was dropped",
                    page.name,
                    page.floor()
                );
                assert!(floor > page.floor() && page.kept().first().is_none_or(|first| first.offset > floor));
                page.inherited = floor;
            }
            assert_eq!(last, page.last());
            let info = channel.info();
            assert_eq!((info.ended, info.subscribers, info.bytes), (page.ended, page.watchers, page.bytes()));
            held += page.bytes();
        }
        assert!(may_evict <= in_time, "evictions were counted that did not happen");
        assert_eq!(hub.counters().bytes.load(std::sync::atomic::Ordering::Relaxed), held);
        assert_eq!(hub.journal().counter().0, self.counter());
    }

    /// After a look, and as long as nobody ever listened also after a publish, the hub holds no more than it may, unless all of
    /// it is the newest of somebody's channel.
    pub(crate) fn check_memory(&mut self, after_look: bool) {
        let held: usize = self.pages.iter().map(Page::bytes).sum();
        let movable = self.pages.iter().any(|page| page.kept().len() > usize::from(page.watchers > 0));
        self.listened |= self.pages.iter().any(|page| page.watchers > 0);
        let free = self.listened && !after_look;
        assert!(held <= self.memory || !movable || free, "{held} bytes are held, more than {}", self.memory);
    }

    /// What must have been dropped by age once the hub was looked after.
    pub(crate) fn check_ages(&self, now: Millis) {
        for page in &self.pages {
            for written in page.kept() {
                let latest = written.time.plus(page.limits.age).plus(std::time::Duration::from_secs(1));
                assert!(latest > now, "{} keeps offset {} beyond its age", page.name, written.offset);
            }
        }
    }

    pub(crate) fn names(channels: u8) -> Vec<usize> {
        let chosen: Vec<_> = (0..CHANNELS).filter(|at| channels >> at & 1 == 1).collect();
        if chosen.is_empty() { vec![0] } else { chosen }
    }
}

fn expired(written: &Written, limits: Limits, now: Millis) -> bool {
    written.time.plus(limits.age) <= now
}
