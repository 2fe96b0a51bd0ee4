//! A place in a channel's history.

use fantail_hub::Offset;
use fantail_hub::journal::Seek;

use super::super::index::id_hash;
use super::super::segment::{Fetched, View};
use super::{At, Past, Query, Stretch, Trouble};

impl Query<'_> {
    /// The first offset that is wanted; `None` if an id is not known (any more).
    pub fn seek(&self, what: Seek<'_>) -> Result<Option<u64>, Trouble> {
        let mut past = self.past(0)?;
        let first = past.sweep.floor().0 + 1;
        let behind = past.sweep.last().0.max(first - 1) + 1;
        match what {
            Seek::Oldest => Ok(Some(first)),
            Seek::Last(0) => Ok(Some(behind)),
            Seek::Last(wanted) => last(&mut past, wanted as u64).map(|found| Some(found.unwrap_or(first))),
            Seek::Time(time) => {
                for (number, stretch) in past.stretches.iter_mut().enumerate() {
                    let Stretch { segment, view, part, start } = stretch;
                    if segment.last_time() < time {
                        continue;
                    }
                    let at = view.partition(part, |posting| posting.time < time).at(segment)?.max(*start);
                    if at < part.count {
                        let oldest = number == 0 && at == *start;
                        return Ok(Some(if oldest { first } else { view.posting(part, at).at(segment)?.offset.0 }));
                    }
                }
                Ok(Some(if past.stretches.is_empty() { first } else { behind }))
            }
            Seek::Id(id) => self.behind_id(id, first),
        }
    }

    /// Behind the newest entry with this own id, if it is kept.
    fn behind_id(&self, id: &str, first: u64) -> Result<Option<u64>, Trouble> {
        let hash = id_hash(self.name, id);
        for segment in self.list.segments().iter().rev().take_while(|segment| segment.last().0 >= first) {
            let mut view = View::new(segment);
            let Some(offset) = view.id(hash).at(segment)? else { continue };
            let kept = offset.0 >= first && self.has_id(&mut view, offset, id).at(segment)?;
            return Ok(kept.then_some(offset.0 + 1));
        }
        Ok(None)
    }

    fn has_id(&self, view: &mut View<'_>, offset: Offset, id: &str) -> std::io::Result<bool> {
        let Some(part) = view.part(self.hash, self.name)? else { return Ok(false) };
        let number = view.partition(&part, |posting| posting.offset < offset)?;
        if number == part.count {
            return Ok(false);
        }
        let (posting, before) = (view.posting(&part, number)?, view.cost_before(&part, number)?);
        let mut entries = Vec::new();
        let fetched = view.fetch(self.name, &[posting], before, &mut entries)?;
        Ok(fetched == Fetched::Whole && entries.iter().all(|entry| entry.message.id() == Some(id)))
    }
}

/// Where the last `wanted` entries begin; `None` if there are no more than that.
fn last(past: &mut Past<'_>, wanted: u64) -> Result<Option<u64>, Trouble> {
    let Some(mut skipped) = past.sweep.messages().checked_sub(wanted).filter(|&skipped| skipped > 0) else {
        return Ok(None);
    };
    for Stretch { segment, view, part, start } in &mut past.stretches {
        let here = u64::from(part.count - *start);
        if skipped < here {
            return Ok(Some(view.posting(part, *start + skipped as u32).at(segment)?.offset.0));
        }
        skipped -= here;
    }
    Ok(None)
}
