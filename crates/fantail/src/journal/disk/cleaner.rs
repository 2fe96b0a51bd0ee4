//! Gives space back: writes segments anew without what is not kept any more, and joins small ones. A plain function of what
//! it is given; it knows no thread.

mod rewrite;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fantail_hub::{Millis, Offset, Retention};

use super::census::{Census, Resident};
use super::log::START;
use super::query::Trouble;
use super::segment::Segment;
use super::segments::Segments;
use rewrite::Plan;

/// Time that passes between two passes that only age calls for.
const PAUSE: Duration = Duration::from_mins(1);
/// Rows of tables that one pass keeps in memory, 4 bytes each; what is left is for the next pass.
const MOST_ROWS: u64 = 4 << 20;
/// Channels of a segment that is written anew, whose index is made in memory.
const MOST_CHANNELS: u64 = 1 << 19;
/// The span of offsets or times in one segment, whose index keeps them in 32 bits.
const MOST_SPAN: u64 = (u32::MAX as u64) / 2;

/// When and how it cleans.
#[derive(Debug)]
pub struct Cleaner {
    /// Bytes of a full segment.
    segment: u64,
    /// Floors that are kept of channels that have nothing left.
    floors: usize,
    last: Option<Last>,
}

/// The state in which the last pass left things.
#[derive(Debug)]
struct Last {
    at: Millis,
    /// Bytes of sealed logs, and how many of them are needed.
    sealed: u64,
    live: u64,
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Segments that were looked at.
    pub segments: usize,
    /// Those that were written anew or deleted.
    pub cleaned: usize,
    /// Bytes that their logs had more than those in their places.
    pub freed: u64,
    /// Bytes of logs that are still needed.
    pub live: u64,
}

impl Cleaner {
    /// One for segments of this size, that keeps so many floors of channels that have nothing left.
    pub fn new(segment: u64, floors: usize) -> Self {
        Self { segment, floors, last: None }
    }

    /// Whether a pass is worth its while: much was sealed since the last one, or something may have expired.
    pub fn due(&self, segments: &Segments, retention: &Retention, now: Millis) -> bool {
        let list = segments.list();
        let sealed = || list.segments().iter().filter(|segment| segment.is_sealed());
        let bytes: u64 = sealed().map(|segment| segment.log_bytes()).sum();
        let Some(before) = &self.last else { return bytes > 0 };
        if bytes.saturating_sub(before.sealed) >= (2 * self.segment).max(before.live / 2) {
            return true;
        }
        now >= before.at.plus(PAUSE)
            && sealed().filter(|segment| segment.cost() > 0).any(|segment| {
                let (first, newest) = (segment.base_time(), segment.last_time());
                retention.all().any(|limits| first.plus(limits.age) <= now && newest.plus(limits.age) > before.at)
            })
    }

    /// Looks at all sealed segments and cleans those that are worth it. What readers may still be given is never touched.
    pub fn pass(&mut self, segments: &Segments, retention: &Retention, now: Millis) -> io::Result<Outcome> {
        let list = segments.list();
        // Newer ones can only make less be kept.
        let sealed: Vec<_> = list.segments().iter().take_while(|segment| segment.is_sealed()).cloned().collect();
        let limits = |name: &str| retention.limits(retention.rule(name));
        let census = Census { segments: &sealed, general: list.general(), limits: &limits, now };
        let mut live = vec![0; sealed.len()];
        let mut floors = Highest::new(self.floors);
        let source = |trouble: Trouble| segments.mend_after(trouble);
        census
            .take(|resident| {
                for place in resident.places {
                    live[place.segment] += place.live;
                }
                if resident.sweep.messages() == 0 {
                    floors.add(resident.sweep.own_floor());
                }
                Ok(())
            })
            .map_err(source)?;
        let general = floors.dropped.max(list.general());
        let live: Vec<u64> = sealed.iter().zip(live).map(|(segment, live)| live_bytes(segment, live)).collect();

        let mut plans = self.plans(&sealed, &live);
        census
            .take(|resident| {
                for plan in &mut plans {
                    plan.note(&resident, general);
                }
                Ok(())
            })
            .map_err(source)?;
        let mut outcome = Outcome { segments: sealed.len(), live: live.iter().sum(), ..Outcome::default() };
        for plan in plans {
            let (count, before) = (plan.segments().len(), plan.log_bytes());
            if let Some(after) = plan.carry_out(segments, general)? {
                outcome.cleaned += count;
                outcome.freed += before.saturating_sub(after);
            }
        }
        let list = segments.list();
        let sealed =
            list.segments().iter().filter(|segment| segment.is_sealed()).map(|segment| segment.log_bytes()).sum();
        self.last = Some(Last { at: now, sealed, live: outcome.live });
        Ok(outcome)
    }

    /// Which runs of segments to write anew, oldest first.
    fn plans(&self, sealed: &[Arc<Segment>], live: &[u64]) -> Vec<Plan> {
        let (mut plans, mut rows) = (Vec::new(), 0);
        let mut first = 0;
        while first < sealed.len() {
            let mut end = first;
            let mut run = Run::default();
            while end < sealed.len()
                && self.wants(&sealed[end], live[end])
                && run.takes(&sealed[end], live[end], self.segment)
            {
                end += 1;
            }
            if end > first && run.is_worth_it() {
                rows += run.channels;
                if rows > MOST_ROWS && !plans.is_empty() {
                    break;
                }
                plans.push(Plan::new(first, &sealed[first..end]));
            }
            first = end.max(first + 1);
        }
        plans
    }

    /// Whether a segment is small, or mostly dead.
    fn wants(&self, segment: &Segment, live: u64) -> bool {
        live <= self.segment / 2 || is_wasteful(segment, live)
    }
}

/// Less than half of what it holds is needed.
fn is_wasteful(segment: &Segment, live: u64) -> bool {
    segment.log_bytes() - START > 2 * live
}

/// How many bytes of a log hold messages that cost `live` in all.
fn live_bytes(segment: &Segment, live: u64) -> u64 {
    let bytes = u128::from(segment.log_bytes() - START) * u128::from(live);
    bytes.checked_div(segment.cost().into()).map_or(0, |bytes| bytes as u64)
}

/// Neighbours that may become one.
#[derive(Debug, Default)]
struct Run {
    count: usize,
    wasteful: bool,
    live: u64,
    largest: u64,
    channels: u64,
    base: Offset,
    /// The first record's time, and the last one's; `None` before there is a record.
    times: Option<(Millis, Millis)>,
}

impl Run {
    /// Adds the next segment, unless they would not fit into one.
    fn takes(&mut self, segment: &Segment, live: u64, most: u64) -> bool {
        if self.count == 0 {
            self.base = segment.base();
        }
        let (mut times, channels) =
            (self.times, self.channels + u64::from(segment.header().map_or(0, |header| header.channels)));
        if segment.cost() > 0 {
            let (first, last) = (segment.base_time(), segment.last_time());
            times = Some((self.times.map_or(first, |times| times.0), last));
            // Within a segment, times never decrease.
            let ordered = self.times.is_none_or(|(_, before)| first >= before);
            if !ordered || times.is_some_and(|(first, last)| last.0 - first.0 > MOST_SPAN) {
                return self.count == 0;
            }
        }
        let fits = self.live + live <= most && channels <= MOST_CHANNELS && segment.last().0 - self.base.0 <= MOST_SPAN;
        if self.count > 0 && !fits {
            return false;
        }
        self.wasteful |= is_wasteful(segment, live);
        (self.count, self.live, self.largest) = (self.count + 1, self.live + live, self.largest.max(live));
        (self.times, self.channels) = (times, channels);
        true
    }

    /// Space is given back; or, where there are only small ones, none is written again and again to take up a crumb.
    fn is_worth_it(&self) -> bool {
        self.wasteful || (self.count > 1 && self.live - self.largest >= self.largest / 2)
    }
}

/// The highest of many floors, and what the others would be told by.
struct Highest {
    most: usize,
    kept: BinaryHeap<Reverse<Offset>>,
    /// The highest that is not among them.
    dropped: Offset,
}

impl Highest {
    fn new(most: usize) -> Self {
        Self { most, kept: BinaryHeap::new(), dropped: Offset(0) }
    }

    fn add(&mut self, floor: Offset) {
        self.kept.push(Reverse(floor));
        if self.kept.len() > self.most
            && let Some(Reverse(lowest)) = self.kept.pop()
        {
            self.dropped = self.dropped.max(lowest);
        }
    }
}
