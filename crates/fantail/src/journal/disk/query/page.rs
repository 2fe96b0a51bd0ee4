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
