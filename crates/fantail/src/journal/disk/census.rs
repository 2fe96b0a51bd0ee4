//! Goes through all channels of some segments, in the order of their names' hashes: for each, what is kept in which segment.
//! Holds a few rows of each segment's table at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use fantail_hub::{Limits, Millis, Offset};

use super::index::Part;
use super::index::file::Row;
use super::query::{At, Trouble};
use super::segment::{Segment, View};
use super::sweep::Sweep;

/// Rows of a segment's table that are read at once, about 100 bytes each.
const BATCH: u32 = 128;

/// What is to be counted.
pub struct Census<'a, L> {
    /// Oldest first.
    pub segments: &'a [Arc<Segment>],
    /// See [`Sweep::new`].
    pub general: Offset,
    /// What a channel may keep.
    pub limits: &'a L,
    /// The present.
    pub now: Millis,
}

/// One channel.
#[derive(Debug)]
pub struct Resident<'a> {
    /// Of its name.
    pub hash: u64,
    /// Empty where only a floor is left.
    pub name: &'a str,
    /// Where it is known, newest first.
    pub places: &'a [Place],
    /// What was found of it.
    pub sweep: &'a Sweep,
}

/// A channel in one segment.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The segment's number in the list.
    pub segment: usize,
    /// The row in its table.
    pub row: u32,
    /// What is there.
    pub part: Part,
    /// The first entry that is kept.
    pub start: u32,
    /// What those that are kept cost.
    pub live: u64,
    /// The last entry there that is not kept; 0 if all are.
    pub dropped: Offset,
}

/// Where a table is being read.
struct Cursor {
    next: u32,
    /// A number follows each row.
    rows: VecDeque<(u32, Row)>,
    at_end: bool,
}

impl<L: Fn(&str) -> Limits> Census<'_, L> {
    /// Calls `each` for every channel.
    pub fn take(&self, mut each: impl FnMut(Resident<'_>) -> io::Result<()>) -> Result<(), Trouble> {
        let cursor = || Cursor { next: 0, rows: VecDeque::new(), at_end: false };
        let mut cursors: Vec<_> = self.segments.iter().map(|_| cursor()).collect();
        let mut same: Vec<(usize, u32, Row)> = Vec::new();
        let mut places = Vec::new();
        loop {
            let mut lowest = None;
            for (cursor, segment) in cursors.iter_mut().zip(self.segments) {
                if let Some(hash) = cursor.hash(segment).at(segment)? {
                    lowest = Some(lowest.map_or(hash, |lowest: u64| lowest.min(hash)));
                }
            }
            let Some(hash) = lowest else { return Ok(()) };
            same.clear();
            for (number, (cursor, segment)) in cursors.iter_mut().zip(self.segments).enumerate().rev() {
                while cursor.hash(segment).at(segment)? == Some(hash) {
                    same.extend(cursor.rows.pop_front().map(|(row_number, row)| (number, row_number, row)));
                }
            }
            let mut names: Vec<&str> = same.iter().map(|(_, _, row)| &*row.name).collect();
            names.sort_unstable();
            names.dedup();
            if names.len() > 1 && names[0].is_empty() {
                names.remove(0);
            }
            for name in names {
                let sweep = self.visit(name, &same, &mut places)?;
                let Some(place) = places.first() else { continue };
                let segment = &self.segments[place.segment];
                each(Resident { hash, name, places: &places, sweep: &sweep }).at(segment)?;
            }
        }
    }

    /// What is kept of the channel `name` among rows of the same hash.
    fn visit(&self, name: &str, same: &[(usize, u32, Row)], places: &mut Vec<Place>) -> Result<Sweep, Trouble> {
        places.clear();
        let mut sweep = Sweep::new((self.limits)(name), self.now, self.general);
        for group in same.chunk_by(|a, b| a.0 == b.0) {
            let floor = group.iter().map(|(.., row)| row.part.floor).max().unwrap_or_default();
            let own = group.iter().find(|(.., row)| *row.name == *name && row.part.count > 0);
            let (number, row, part) = match own {
                Some((number, row_number, row)) => (*number, *row_number, row.part.with_floor(floor)),
                None if floor > Offset(0) => (group[0].0, group[0].1, Part::floor_only(floor)),
                None => continue,
            };
            let segment = &self.segments[number];
            let mut view = View::new(segment);
            let start = sweep.visit(&mut view, &part).at(segment)?;
            let live = part.cost - view.cost_before(&part, start).at(segment)?;
            let dropped = match start {
                0 => Offset(0),
                start if start == part.count => part.last,
                start => view.posting(&part, start - 1).at(segment)?.offset,
            };
            places.push(Place { segment: number, row, part, start, live, dropped });
        }
        Ok(sweep)
    }
}

impl Cursor {
    /// The next row's hash; `None` at the end.
    fn hash(&mut self, segment: &Segment) -> io::Result<Option<u64>> {
        if self.rows.is_empty() && !self.at_end {
            let rows = segment.rows(self.next, BATCH)?;
            let first = self.next;
            self.next += rows.len() as u32;
            self.at_end = rows.is_empty() || !segment.is_sealed();
            self.rows.extend((first..).zip(rows));
        }
        Ok(self.rows.front().map(|(_, row)| row.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::super::query::model::{Step, Twin};
    use super::*;

    #[test]
    fn channels_are_each_named_once_with_what_a_question_would_answer() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        for (seal, channels) in [(true, 1), (false, 2), (true, 3)] {
            (0..3).for_each(|n| twin.say_plain(n % channels, 5));
            twin.apply(&Step::Roll { seal });
        }
        twin.say_plain(0, 5);
        twin.limits.messages = 2;
        let mut found = Vec::new();
        let now = fantail_hub::Millis(twin.now);
        let list = twin.segments.list();
        let limits = |_: &str| twin.limits;
        let census = Census { segments: list.segments(), general: list.general(), limits: &limits, now };
        let taken = census.take(|resident| {
            found.push((resident.name.to_owned(), resident.sweep.head()));
            Ok(())
        });
        assert!(taken.is_ok());
        assert!(found.is_sorted_by_key(|(name, _)| super::super::index::hash(name)));
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = ["a", "b", "channel.of.somebody"]
            .map(|name| (name.to_owned(), twin.segments.head(name, twin.limits, now).unwrap()));
        assert_eq!(found, expected);
    }
}
