//! A page of a channel's history: entries, and what was lost before them.

use fantail_hub::Offset;
use fantail_hub::journal::Page;

use super::super::segment::Fetched;
use super::{At, Query, Stretch, Trouble};

/// Postings that are looked at at once.
const STEP: u32 = 1024;

impl Query<'_> {
    /// Entries from offset `next` on, none above `until`: at least one if there is any, and about `bytes` of them.
    pub fn page(&self, next: u64, bytes: usize, until: Offset) -> Result<Page, Trouble> {
        let mut past = self.past(next)?;
        let floor = past.sweep.floor();
        let mut page = Page { next, lost: (next <= floor.0).then_some(floor), entries: Vec::new(), until };
        let mut begin = next;
        if let Some(lost) = page.lost {
            begin = lost.0 + 1;
        }
        for hole in self.list.holes() {
            if hole.after.0 >= begin {
                page.until = page.until.min(hole.after);
                break;
            }
            if begin <= hole.upto.0 {
                page.lost = Some(hole.upto);
                begin = hole.upto.0 + 1;
            }
        }
        let mut room = bytes as u64;
        for stretch in &mut past.stretches {
            if stretch.part.last.0 < begin {
                continue;
            }
            if room == 0 || stretch.segment.base() > page.until {
                break;
            }
            if !self.fill(stretch, begin, &mut room, &mut page)? {
                break;
            }
        }
        if room == 0
            && let Some(newest) = page.entries.last()
        {
            page.until = page.until.min(newest.offset);
        }
        // What lies behind the counter now may have been lost in the meantime.
        page.until = page.until.max(page.lost.unwrap_or_default());
        Ok(page)
    }

    /// Adds what one segment has. False where the page ends.
    fn fill(&self, stretch: &mut Stretch<'_>, begin: u64, room: &mut u64, page: &mut Page) -> Result<bool, Trouble> {
        let Stretch { segment, view, part, start } = stretch;
        let mut number = view.partition(part, |posting| posting.offset.0 < begin).at(segment)?.max(*start);
        let mut before = view.cost_before(part, number).at(segment)?;
        let mut postings = Vec::new();
        while number < part.count && *room > 0 {
            postings.clear();
            view.postings(part, number..part.count.min(number + STEP), &mut postings).at(segment)?;
            let here = postings.partition_point(|posting| posting.offset <= page.until);
            let fits = postings.partition_point(|posting| posting.cost - before < *room) + 1;
            let above = here < postings.len() && here < fits;
            postings.truncate(here.min(fits));
            let Some(newest) = postings.last().copied() else { return Ok(false) };
            let mut rest = &postings[..];
            while let Fetched::Damaged(offset) = view.fetch(self.name, rest, before, &mut page.entries).at(segment)? {
                if !page.entries.is_empty() {
                    page.until = Offset(offset.0 - 1);
                    return Ok(false);
                }
                page.lost = Some(offset);
                let at = rest.partition_point(|posting| posting.offset <= offset);
                (before, rest) = (rest[at - 1].cost, &rest[at..]);
            }
            *room = room.saturating_sub(newest.cost - before);
            (before, number) = (newest.cost, number + postings.len() as u32);
            if above {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fantail_hub::Millis;

    use super::super::super::index::Hole;
    use super::super::model::{Step, Twin};
    use super::*;

    #[test]
    fn page_of_the_end_alone_behind_a_large_message_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        let (end, then_end, clears, id, later) = (false, true, false, 0, 1);
        twin.apply(&Step::Say { channel: 0, text: 300_000, end, then_end, clears, id, later });
        twin.apply(&Step::Roll { seal: true });
        twin.check();
    }

    #[test]
    fn page_never_crosses_a_hole_and_the_next_one_tells_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        (0..4).for_each(|_| twin.say_plain(0, 5));
        twin.counter = 9;
        twin.apply(&Step::Roll { seal: true });
        (0..2).for_each(|_| twin.say_plain(0, 5));
        twin.segments.add_hole(Hole { after: Offset(4), upto: Offset(8) });
        let page = |next| {
            let page = twin.segments.page("a", next, 1 << 20, twin.limits, Millis(twin.now), Offset(13)).unwrap();
            (page.lost, page.entries.iter().map(|entry| entry.offset.0).collect::<Vec<_>>(), page.until)
        };
        assert_eq!(page(2), (None, vec![2, 3, 4], Offset(4)));
        assert_eq!(page(4), (None, vec![4], Offset(4)));
        for next in 5..=8 {
            assert_eq!(page(next), (Some(Offset(8)), vec![12, 13], Offset(13)));
        }
        assert_eq!(page(9), (None, vec![12, 13], Offset(13)));
        assert_eq!(page(0), (Some(Offset(0)), vec![1, 2, 3, 4], Offset(4)));
    }

    #[test]
    fn page_far_behind_asks_newer_segments_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        for _ in 0..8 {
            (0..2).for_each(|_| twin.say_plain(0, 5));
            twin.apply(&Step::Roll { seal: true });
        }
        let first = |next| {
            let page = twin.segments.page("a", next, 1, twin.limits, Millis(twin.now), Offset(twin.counter)).unwrap();
            page.entries.first().map(|entry| entry.offset.0)
        };
        assert_eq!(first(1), Some(1));
        let list = twin.segments.list();
        for segment in list.segments().iter().filter(|segment| segment.is_sealed()).skip(1) {
            segment.evict();
            fs::remove_file(segment.index_path()).unwrap();
        }
        assert_eq!(first(2), Some(2), "what newer segments hold is known");
    }

    #[test]
    fn record_with_any_bit_flipped_in_a_sealed_log_is_told_and_the_others_are_given() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        (0..4).for_each(|_| twin.say_plain(0, 5));
        twin.apply(&Step::Roll { seal: true });
        let path = twin.segments.list().segments()[0].log_path().to_owned();
        let whole = fs::read(&path).unwrap();
        let record = (whole.len() - 64) / 4;
        for at in 64..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            let hit = ((at - 64) / record + 1) as u64;
            let left = (1..=4).filter(|&offset| offset != hit).collect();
            assert_eq!(twin.walk(0), (left, vec![hit]), "byte {at}");
        }
    }

    #[test]
    fn clock_set_back_between_segments_hides_what_is_older_than_the_newest_expired() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        let early = twin.now;
        twin.now += 10_000;
        twin.say_plain(0, 5);
        twin.apply(&Step::Roll { seal: true });
        twin.now = early;
        twin.say_plain(0, 5);
        twin.say_plain(0, 5);
        twin.now += 5000;
        twin.limits.age = std::time::Duration::from_millis(5001);
        assert_eq!(
            twin.walk(0),
            (vec![5], vec![4]),
            "4 expired at its time, so 1 is gone, though its time is yet to come"
        );
    }
}
