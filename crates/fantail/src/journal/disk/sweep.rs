//! Finds a channel's floor: goes through its segments, newest first, and says in each where what is kept begins. Knows the
//! limits; a plain function of what it is shown.

use std::io;

use fantail_hub::journal::Head;
use fantail_hub::{Kind, Limits, Millis, Offset};

use super::index::Part;
use super::segment::View;

/// What was found of one channel so far.
#[derive(Debug)]
pub struct Sweep {
    limits: Limits,
    now: Millis,
    /// The floor of channels of which nothing older is known.
    general: Offset,
    /// The oldest entry that is kept, where that may lie at or below `general`.
    oldest: Option<Offset>,
    /// Nothing older is kept.
    gone: bool,
    /// The highest offset that is known to be lost.
    floor: Offset,
    /// The newest entry; 0 before there was one.
    last: Offset,
    /// What that one is, be it kept or just not dropped yet.
    newest: Kind,
    messages: u64,
    bytes: u64,
}

impl Sweep {
    /// Of a channel with these limits, in a journal whose floor of all channels that it has
    /// forgotten is `general`.
    pub fn new(limits: Limits, now: Millis, general: Offset) -> Self {
        let (gone, floor, last, oldest) = (false, Offset(0), Offset(0), None);
        Self { limits, now, general, oldest, gone, floor, last, newest: Kind::Data, messages: 0, bytes: 0 }
    }

    /// Looks at the next older segment that knows the channel; returns the number of the first entry that is kept there.
    pub fn visit(&mut self, view: &mut View<'_>, part: &Part) -> io::Result<u32> {
        if part.count > 0 && self.last == Offset(0) {
            (self.last, self.newest) = (part.last, part.newest);
        }
        let start = if self.gone { part.count } else { self.start(view, part)? };
        self.messages += u64::from(part.count - start);
        if start < part.count {
            self.bytes += part.cost - view.cost_before(part, start)?;
            if self.general >= view.segment().base() {
                self.oldest = Some(view.posting(part, start)?.offset);
            }
        }
        if start > 0 {
            let dropped = if start == part.count { part.last } else { view.posting(part, start - 1)?.offset };
            self.lose(dropped);
        }
        if part.floor > Offset(0) {
            self.lose(part.floor);
        }
        // What a clearing entry cleared lies in older segments if it is the first one here.
        self.gone |= part.clears;
        Ok(start)
    }

    /// The first entry of `part` that is kept, if none of the newer ones has closed the channel's past.
    fn start(&self, view: &mut View<'_>, part: &Part) -> io::Result<u32> {
        let mut start = if part.clears { part.cleared } else { 0 };
        let segment = view.segment();
        if part.floor >= part.last {
            return Ok(part.count);
        }
        if part.floor > Offset(0) {
            start = start.max(view.partition(part, |posting| posting.offset <= part.floor)?);
        }
        // As in a tail: an end does not push out what it stands behind, and the newest stays whatever the limits say.
        let ended = u64::from(self.newest.ends());
        let most = (self.limits.messages.max(1) as u64).saturating_add(ended).saturating_sub(self.messages);
        start = start.max(part.count.saturating_sub(u32::try_from(most).unwrap_or(u32::MAX)));
        let room = (self.limits.bytes as u64).saturating_sub(self.bytes);
        if let Some(excess) = part.cost.checked_sub(room).filter(|&excess| excess > 0) {
            // An entry goes if it and what follows cost too much: if what is before it costs less than the excess.
            let goes = 1 + view.partition(part, |posting| posting.cost < excess)?;
            let least = (1 + ended).saturating_sub(self.messages);
            start = start.max(goes.min(part.count.saturating_sub(u32::try_from(least).unwrap_or(u32::MAX))));
        }
        let expired = |time: Millis| time.plus(self.limits.age) <= self.now;
        if expired(segment.last_time()) {
            start = part.count;
        } else if expired(segment.base_time()) {
            start = start.max(view.partition(part, |posting| expired(posting.time))?);
        }
        Ok(start)
    }

    fn lose(&mut self, upto: Offset) {
        self.floor = self.floor.max(upto);
        self.gone = true;
    }

    /// Whether older segments have nothing more to say.
    pub fn is_done(&self) -> bool {
        self.gone && self.floor > Offset(0)
    }

    /// The highest offset that is known to be lost; 0 if nothing is, as far as it looked.
    pub fn floor(&self) -> Offset {
        // A channel of which older entries are kept was never forgotten: it has lost what it says itself, and no more.
        if self.oldest.is_some_and(|oldest| oldest <= self.general) {
            return self.floor;
        }
        self.floor.max(self.general)
    }

    /// The same, without what channels share that are forgotten.
    pub fn own_floor(&self) -> Offset {
        self.floor
    }

    /// The newest offset; 0 if none is known. Where nothing is left, it is the highest that was lost.
    pub fn last(&self) -> Offset {
        self.last.max(self.floor)
    }

    /// The channel as a whole, if every segment was visited.
    pub fn head(&self) -> Head {
        Head { last: self.last(), floor: self.floor(), newest: self.newest, messages: self.messages, bytes: self.bytes }
    }

    /// Entries that are kept.
    pub fn messages(&self) -> u64 {
        self.messages
    }
}
