//! Gives space back: writes segments anew without what is not kept any more, and joins small ones. A plain function of what
//! it is given; it knows no thread.

mod rewrite;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// How long records with an idempotency key are spared, so that the key is known after a restart.
    window: Duration,
    /// A pass ends early when this is set: nobody who stops is to wait for it.
    stop: Arc<AtomicBool>,
    last: Option<Last>,
}

/// The state in which the last pass left things.
#[derive(Debug)]
struct Last {
    at: Millis,
    /// Bytes of sealed logs, and how many of them are needed.
    sealed: u64,
    live: u64,
    /// When something that it spared for the sake of its keys may be cleaned.
    spared: Option<Millis>,
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
        Self { segment, floors, window: Duration::ZERO, stop: Arc::default(), last: None }
    }

    /// The same, which spares segments that hold idempotency keys for as long as those are remembered.
    #[must_use]
    pub fn sparing_keys(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// The same, whose passes end with an error of kind `Interrupted` once `stop` is set.
    #[must_use]
    pub fn until(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..self }
    }

    fn go_on(&self) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
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
        if before.spared.is_some_and(|until| until <= now) {
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
                self.go_on()
            })
            .map_err(source)?;
        let general = floors.dropped.max(list.general());
        let live: Vec<u64> = sealed.iter().zip(live).map(|(segment, live)| live_bytes(segment, live)).collect();

        let mut plans = self.plans(&sealed, &live, now);
        census
            .take(|resident| {
                for (plan, _) in &mut plans {
                    plan.note(&resident, general);
                }
                self.go_on()
            })
            .map_err(source)?;
        let mut outcome = Outcome { segments: sealed.len(), live: live.iter().sum(), ..Outcome::default() };
        let mut failed = None;
        for (plan, live) in plans {
            self.go_on()?;
            let (count, before) = (plan.segments().len(), plan.log_bytes());
            let mut done = plan.carry_out(segments, general);
            if live == 0 && done.as_ref().is_err_and(is_full) {
                // Otherwise a full disk would keep what is dead for want of room to say that it is.
                done = plan.give_up_logs().and_then(|()| plan.carry_out(segments, general));
            }
            match done {
                Ok(None) => {}
                Ok(Some(after)) => {
                    outcome.cleaned += count;
                    outcome.freed += before.saturating_sub(after);
                }
                // The next one may need less room.
                Err(error) if is_full(&error) => failed = failed.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let spared = || sealed.iter().zip(&live).filter(|(segment, live)| self.wants(segment, **live));
        let spared = spared().filter_map(|(segment, _)| self.spared(segment)).filter(|&until| until > now).min();
        let list = segments.list();
        let sealed =
            list.segments().iter().filter(|segment| segment.is_sealed()).map(|segment| segment.log_bytes()).sum();
        self.last = Some(Last { at: now, sealed, live: outcome.live, spared });
        Ok(outcome)
    }

    /// Which runs of segments to write anew, oldest first, and how many bytes of each are needed.
    fn plans(&self, sealed: &[Arc<Segment>], live: &[u64], now: Millis) -> Vec<(Plan, u64)> {
        let (mut plans, mut rows) = (Vec::new(), 0);
        let mut first = 0;
        while first < sealed.len() {
            let mut end = first;
            let mut run = Run::default();
            while end < sealed.len()
                && self.wants(&sealed[end], live[end])
                && self.spared(&sealed[end]).is_none_or(|until| until <= now)
                && run.takes(&sealed[end], live[end], self.segment)
            {
                end += 1;
            }
            if end > first && run.is_worth_it() {
                rows += run.channels;
                if rows > MOST_ROWS && !plans.is_empty() {
                    break;
                }
                plans.push((Plan::new(first, &sealed[first..end]), run.live));
            }
            first = end.max(first + 1);
        }
        plans
    }

    /// Until when a segment is not written anew, for it holds keys.
    fn spared(&self, segment: &Segment) -> Option<Millis> {
        let has_keys = segment.header().is_some_and(|header| header.keyed > 0);
        has_keys.then(|| segment.last_time().plus(self.window))
    }

    /// Whether a segment is small, or mostly dead.
    fn wants(&self, segment: &Segment, live: u64) -> bool {
        live <= self.segment / 2 || is_wasteful(segment, live)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
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
        let fits = self.live + live <= most
            && channels <= MOST_CHANNELS
            && segment.last().0.saturating_sub(self.base.0) <= MOST_SPAN;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::query::Query;
    use super::super::query::model::{Step, Twin};
    use super::*;

    fn files(twin: &Twin) -> usize {
        fs::read_dir(twin.segments.dir()).unwrap().count()
    }

    fn sealed(twin: &mut Twin, segments: usize, each: usize) {
        for _ in 0..segments {
            (0..each).for_each(|n| twin.say_plain(n % 3, 5));
            twin.apply(&Step::Roll { seal: true });
        }
    }

    /// Writes one segment anew, and no other.
    fn rewrite(twin: &Twin, number: usize) {
        let list = twin.segments.list();
        let sealed: Vec<_> = list.segments().iter().filter(|segment| segment.is_sealed()).cloned().collect();
        let mut plan = Plan::new(number, &sealed[number..=number]);
        let (limits, now) = (|_: &str| twin.limits, Millis(twin.now));
        let census = Census { segments: &sealed, general: list.general(), limits: &limits, now };
        let noted = census.take(|resident| {
            plan.note(&resident, list.general());
            Ok(())
        });
        assert!(noted.is_ok() && plan.carry_out(&twin.segments, list.general()).unwrap().is_some());
    }

    #[test]
    fn pass_where_all_has_expired_leaves_floors_and_no_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        sealed(&mut twin, 3, 9);
        twin.limits.age = Duration::from_secs(1);
        twin.now += 5000;
        let outcome = twin.clean(10_000, 100);
        assert_eq!((outcome.segments, outcome.cleaned, outcome.live), (3, 3, 0));
        assert!(outcome.freed > 1000);
        twin.check();
        assert_eq!((files(&twin), twin.segments.list().segments()[0].log_bytes()), (3, START));
        let again = twin.clean(10_000, 100);
        assert_eq!(again.cleaned, 0, "floors alone are not written again");
    }

    #[test]
    fn pass_that_is_told_to_stop_leaves_all_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        sealed(&mut twin, 3, 9);
        twin.limits.age = Duration::from_secs(1);
        twin.now += 5000;
        let before = files(&twin);
        let mut cleaner = Cleaner::new(10_000, 100).until(Arc::new(AtomicBool::new(true)));
        let stopped = cleaner.pass(&twin.segments, &Retention::new(twin.limits, []), Millis(twin.now));
        assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert_eq!(files(&twin), before);
        twin.check();
    }

    #[test]
    fn pass_where_nothing_is_left_to_tell_takes_the_segment_away() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        sealed(&mut twin, 3, 3);
        twin.limits.age = Duration::from_secs(1);
        twin.now += 5000;
        rewrite(&twin, 1);
        assert_eq!(twin.segments.list().segments().len(), 4, "its floors are all that is left of it");
        rewrite(&twin, 2);
        rewrite(&twin, 1);
        assert_eq!((twin.segments.list().segments().len(), files(&twin)), (3, 5), "the newer one has newer floors");
        rewrite(&twin, 0);
        assert_eq!(twin.segments.list().segments()[0].base(), Offset(1), "the oldest stays");
        twin.check();
    }

    #[test]
    fn logs_that_are_given_up_on_a_full_disk_change_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        sealed(&mut twin, 3, 9);
        twin.limits.age = Duration::from_secs(1);
        twin.now += 5000;
        let plan = Plan::new(0, &twin.segments.list().segments()[..2]);
        plan.give_up_logs().unwrap();
        assert_eq!(fs::metadata(twin.segments.list().segments()[0].log_path()).unwrap().len(), 0);
        twin.check();
        twin.apply(&Step::Restart);
        twin.check();
        assert_eq!(twin.clean(10_000, 100).cleaned, 3);
        twin.check();
    }

    #[test]
    fn floors_beyond_the_limit_are_told_by_one_that_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        let clear =
            |channel| Step::Say { channel, text: 5, end: false, then_end: false, clears: true, id: 0, later: 1 };
        twin.say_plain(0, 5);
        twin.say_plain(1, 5);
        twin.say_plain(2, 5);
        twin.apply(&Step::Roll { seal: true });
        // Channel 0 goes on from its first message; the others expire.
        let old = twin.limits;
        twin.limits.age = Duration::from_secs(1);
        let limits = |name: &str| if name == "a" { old } else { twin.limits };
        twin.now += 5000;
        let retention = Retention::new(twin.limits, [("a".to_owned(), old)]);
        Cleaner::new(10_000, 1).pass(&twin.segments, &retention, Millis(twin.now)).unwrap();
        assert_eq!(twin.segments.list().general(), Offset(2));
        let head = |name| twin.segments.head(name, limits(name), Millis(twin.now)).unwrap();
        assert_eq!((head("a").floor, head("a").messages), (Offset(0), 1), "what is there is not hidden");
        assert_eq!((head("b").floor, head("b").last), (Offset(2), Offset(0)), "it is forgotten, but not its gap");
        assert_eq!((head("never").floor, head("channel.of.somebody").floor), (Offset(2), Offset(3)));
        // Whoever comes back is behind the floor.
        twin.apply(&clear(1));
        assert_eq!(twin.segments.head("b", old, Millis(twin.now)).unwrap().floor, Offset(2));
    }

    #[test]
    fn limit_that_is_raised_later_shows_no_gap_as_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        sealed(&mut twin, 2, 9);
        let unlimited = twin.limits;
        twin.limits.messages = 1;
        // The first one is written anew; the second one is cut by the limit alone.
        rewrite(&twin, 0);
        twin.limits = unlimited;
        assert_eq!(twin.walk(0), (vec![12, 15, 18], vec![7]));
    }

    #[test]
    fn reader_in_the_middle_keeps_the_segments_that_it_began_with() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        sealed(&mut twin, 3, 9);
        let list = twin.segments.list();
        let page = |now| Query::new(&list, "a", twin.limits, now).page(1, 1 << 20, Offset(100)).unwrap();
        let before = page(Millis(twin.now));
        let mut limits = twin.limits;
        limits.messages = 1;
        let retention = Retention::new(limits, []);
        Cleaner::new(10_000, 100).pass(&twin.segments, &retention, Millis(twin.now)).unwrap();
        assert_eq!(before.entries.len(), 9);
        list.segments().iter().for_each(|segment| segment.evict());
        assert_eq!(page(Millis(twin.now)), before);
    }

    #[test]
    fn damaged_record_is_left_behind_as_a_hole() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        sealed(&mut twin, 1, 9);
        let first = Arc::clone(&twin.segments.list().segments()[0]);
        let mut bytes = fs::read(first.log_path()).unwrap();
        let record = (bytes.len() - 64) / 9;
        bytes[64 + 6 * record + 20] ^= 1;
        fs::write(first.log_path(), bytes).unwrap();
        twin.limits.messages = 2;
        rewrite(&twin, 0);
        assert_eq!(twin.segments.list().holes().len(), 1);
        assert_eq!(twin.walk(0), (vec![4], vec![1, 7]), "1 was dropped, 7 was damaged");
        assert_eq!(twin.walk(1).0, [5, 8]);
        rewrite(&twin, 0);
        assert_eq!(twin.walk(0), (vec![4], vec![1, 7]), "it is not forgotten when that is written anew");
    }

    #[test]
    fn small_segments_are_joined_and_large_ones_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        sealed(&mut twin, 4, 9);
        twin.say_plain(0, 9000);
        twin.apply(&Step::Roll { seal: true });
        sealed(&mut twin, 4, 9);
        twin.clean(10_000, 100);
        assert_eq!(twin.segments.list().segments().len(), 4, "four, the large one, four, the open one");
        twin.check();
        assert_eq!(twin.clean(10_000, 100).cleaned, 0);
    }

    #[test]
    fn pass_is_due_when_much_was_sealed_or_something_may_have_expired() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        twin.limits.age = Duration::from_mins(3);
        let retention = Retention::new(twin.limits, []);
        let mut cleaner = Cleaner::new(400, 100);
        assert!(!cleaner.due(&twin.segments, &retention, Millis(twin.now)), "nothing is sealed");
        sealed(&mut twin, 1, 3);
        assert!(cleaner.due(&twin.segments, &retention, Millis(twin.now)));
        cleaner.pass(&twin.segments, &retention, Millis(twin.now)).unwrap();
        assert!(!cleaner.due(&twin.segments, &retention, Millis(twin.now)));
        assert!(!cleaner.due(&twin.segments, &retention, Millis(twin.now + 90_000)), "nothing is old enough");
        assert!(cleaner.due(&twin.segments, &retention, Millis(twin.now + 180_000)));
        sealed(&mut twin, 3, 9);
        assert!(cleaner.due(&twin.segments, &retention, Millis(twin.now)), "much was sealed");
    }
}
