//! Questions about one channel, asked of all segments as they were at one moment: where its past begins, a page of it, a
//! place in it. Knows nothing of how the list of segments changes.

#[cfg(test)]
pub(in crate::journal::disk) mod model;
mod page;
mod seek;

use std::io;
use std::sync::Arc;

use fantail_hub::journal::Head;
use fantail_hub::{Limits, Millis};

use super::index::{Part, hash};
use super::segment::{Segment, View};
use super::segments::List;
use super::sweep::Sweep;

/// What is asked about.
#[derive(Debug)]
pub struct Query<'a> {
    list: &'a List,
    name: &'a str,
    hash: u64,
    limits: Limits,
    now: Millis,
}

/// What a segment answered in place of what was wanted.
#[derive(Debug)]
pub struct Trouble {
    /// Which.
    pub segment: Arc<Segment>,
    /// Why. Its index is damaged if this is of kind `InvalidData` or `UnexpectedEof`.
    pub source: io::Error,
}

/// A channel's part of one segment that is kept.
struct Stretch<'a> {
    segment: &'a Arc<Segment>,
    view: View<'a>,
    part: Part,
    /// The first entry that is kept.
    start: u32,
}

/// A channel's past.
struct Past<'a> {
    sweep: Sweep,
    /// Oldest first, each with at least one entry.
    stretches: Vec<Stretch<'a>>,
}

pub(super) trait At<T> {
    /// Names the segment.
    fn at(self, segment: &Arc<Segment>) -> Result<T, Trouble>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, segment: &Arc<Segment>) -> Result<T, Trouble> {
        self.map_err(|source| Trouble { segment: Arc::clone(segment), source })
    }
}

impl<'a> Query<'a> {
    /// About a channel and what it may keep.
    pub fn new(list: &'a List, name: &'a str, limits: Limits, now: Millis) -> Self {
        Self { list, name, hash: hash(name), limits, now }
    }

    /// What is known of the channel.
    pub fn head(&self) -> Result<Head, Trouble> {
        Ok(self.past(0)?.sweep.head())
    }

    /// What is kept in segments that reach to `next` or beyond. A floor below `next` need not be found.
    fn past(&self, next: u64) -> Result<Past<'a>, Trouble> {
        let general = self.list.general();
        // Whether what was forgotten is this channel's can be told from its oldest entry alone.
        let next = if next <= general.0 { 0 } else { next };
        let mut sweep = Sweep::new(self.limits, self.now, general);
        let mut stretches = Vec::new();
        for segment in self.list.segments().iter().rev().take_while(|segment| segment.last().0 >= next) {
            let mut view = View::new(segment);
            let Some(part) = view.part(self.hash, self.name).at(segment)? else { continue };
            let start = sweep.visit(&mut view, &part).at(segment)?;
            if start < part.count {
                stretches.push(Stretch { segment, view, part, start });
            }
            if sweep.is_done() {
                break;
            }
        }
        stretches.reverse();
        Ok(Past { sweep, stretches })
    }
}
