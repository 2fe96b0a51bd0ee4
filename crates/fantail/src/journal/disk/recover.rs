//! What the last run left: takes it over, finds out what it lost, and says so. Reads the headers of sealed segments and only
//! what is not sealed whole, so that a start does not take longer with the history.
//!
//! The fence decides what is missing. Where the fence itself may lie behind (the machine went down and nothing waited for
//! the disk; the file is damaged or gone), everything that may have been given out counts as lost: too many are told of a
//! gap, never too few.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fantail_hub::idempotency::{Idempotency, Outcome};
use fantail_hub::{ChannelName, IdempotencyKey, Millis, Offset};

use super::OpenError;
use super::commit::Start;
use super::directory::Directory;
use super::fence::{self, Boot, Fence, Found, Mark};
use super::figures::Counts;
use super::holes::Holes;
use super::index::{Hole, Index, Rebuilt};
use super::log::LogFile;
use super::query::{At, Trouble};
use super::segment::Segment;
use super::segments::{List, Segments, StoreError};

/// How many offsets may have been given out behind the last record where no fence says so: far more than anybody publishes
/// to channels that are not stored between two messages that are.
const UNFENCED: u64 = 1 << 32;

/// What matters to a start.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Bytes after which a segment is not continued.
    pub segment: u64,
    /// Whether this run waits for the disk.
    pub fsync: bool,
    /// How long idempotency keys are remembered.
    pub window: Duration,
    /// And how many.
    pub keys: usize,
    /// The present time.
    pub now: Millis,
}

/// A journal that can go on.
#[derive(Debug)]
pub struct Recovered {
    /// All there is.
    pub segments: Arc<Segments>,
    /// Segments that still have to be sealed.
    pub unsealed: Vec<Arc<Segment>>,
    /// Where it goes on.
    pub start: Start,
    /// Keys of the last while.
    pub keys: Idempotency,
}

/// Takes over what lies in `directory`.
pub fn recover(directory: &Directory, terms: Terms, counts: &Counts) -> Result<Recovered, OpenError> {
    let path = directory.path();
    let of = |verb| OpenError::io(verb, path);
    let fence = Fence::read(path).map_err(of("read the fence of"))?;
    let found = Segments::open(path)?;
    let (bare, broken) = (found.bare, found.broken);
    for error in &broken {
        counts.damaged();
        tracing::error!(%error, "a segment is lost");
    }
    let segments = Arc::new(found.segments);
    let sealed = segments.last();
    let takeover = Takeover { segments: &segments, terms, counts, bound: bound(&fence) };
    let bare = takeover.take(bare, sealed).map_err(of("read a log of"))?;
    let last = bare.last;

    let judged = judge(fence, last, directory.is_new());
    let mut holes = open_holes(path, &segments, last)?;
    for hole in bare.holes.into_iter().chain(judged.hole) {
        if holes.cover(hole) {
            continue;
        }
        tracing::error!(
            after = %hole.after, upto = %hole.upto, directory = %path.display(),
            "messages may have been lost; whoever resumes from before is told of a gap"
        );
        holes.add(hole).map_err(of("note what was lost in"))?;
    }
    for &hole in holes.list() {
        segments.add_hole(hole);
    }
    counts.holes(segments.list().holes().len());

    let keys = segments.ask(|list| recall(list, terms));
    let keys = keys.map_err(|StoreError::Io { source, .. }| source).map_err(of("read idempotency keys of"))?;
    // One is left out: where everything begins that is not stored, and gaps are told, no message may stand.
    let given = Offset(judged.given.0 + u64::from(judged.given.0 > 0));
    let mark = Mark {
        stored: judged.stored,
        given,
        reserved: Offset(given.0 + fence::AHEAD),
        fsync: terms.fsync,
        clean: false,
        boot: Boot::current(),
    };
    let fence = Fence::begin(path, mark).map_err(of("write the fence of"))?;
    fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(of("sync"))?;
    directory.found()?;
    let start = Start { open: bare.open, stored: judged.stored, given, fence };
    Ok(Recovered { segments, unsealed: bare.unsealed, start, keys })
}

/// No record has a higher offset.
fn bound(fence: &Found) -> Offset {
    match fence {
        Found::Whole(mark, false) => mark.reserved,
        _ => Offset::MAX,
    }
}

/// What the fence says of what was found.
#[derive(Debug, PartialEq, Eq)]
struct Judged {
    hole: Option<Hole>,
    /// The last offset that may have been stored.
    stored: Offset,
    /// The last that may have been given out.
    given: Offset,
}

fn judge(fence: Found, last: Offset, is_new: bool) -> Judged {
    #[cfg(feature = "faults")]
    if crate::faults::offsets_reused(last).is_some() {
        return Judged { hole: None, stored: last, given: last };
    }
    let (upto, given) = match fence {
        // What a first start that was cut off left says nothing.
        _ if is_new => (last, last),
        Found::Missing | Found::Damaged => {
            tracing::error!("the fence is missing or damaged: what the end of the journal held cannot be told");
            let given = Offset(last.0 + UNFENCED);
            (given, given)
        }
        Found::Whole(mark, doubted) => {
            let behind = !mark.clean && !mark.fsync && mark.boot != Boot::current();
            let given = if mark.clean && !doubted { mark.given } else { mark.reserved };
            if behind {
                tracing::warn!(
                    "the machine went down and the journal did not wait for its disk (journal.durability = \"os\")"
                );
            }
            if doubted {
                tracing::error!("half of the fence is damaged, and may have been the newer half");
            }
            (if behind || doubted { mark.reserved } else { mark.stored }, given)
        }
    };
    let hole = (upto > last).then_some(Hole { after: last, upto });
    Judged { hole, stored: upto.max(last), given: given.max(upto).max(last) }
}

fn open_holes(path: &Path, segments: &Segments, last: Offset) -> Result<Holes, OpenError> {
    let oldest = segments.list().segments().first().map_or(Offset(0), |segment| segment.base());
    match Holes::open(path, oldest) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::error!(directory = %path.display(), %error, "all messages before this start are taken for lost");
            let mut holes = Holes::anew(path);
            holes.add(Hole { after: Offset(0), upto: last }).map_err(OpenError::io("note what was lost in", path))?;
            Ok(holes)
        }
        holes => holes.map_err(OpenError::io("read what was lost in", path)),
    }
}

/// Takes over logs that have no index.
struct Takeover<'a> {
    segments: &'a Segments,
    terms: Terms,
    counts: &'a Counts,
    bound: Offset,
}

/// What came of them.
struct Taken {
    /// The newest offset of all.
    last: Offset,
    open: Option<(Arc<Segment>, u64)>,
    unsealed: Vec<Arc<Segment>>,
    holes: Vec<Hole>,
}

impl Takeover<'_> {
    fn take(&self, bare: Vec<LogFile>, sealed: Offset) -> io::Result<Taken> {
        let mut taken = Taken { last: sealed, open: None, unsealed: Vec::new(), holes: Vec::new() };
        // What a log holds that was not stored when the next one was begun had been refused, and could not be cut off.
        let bounds: Vec<_> = bare.iter().skip(1).map(|next| next.after().min(self.bound)).collect();
        for (number, log) in bare.into_iter().enumerate() {
            let before = log.after();
            if before > taken.last {
                taken.holes.push(Hole { after: taken.last, upto: before });
            }
            // Also where it holds nothing: what came before it may have been cleaned away since.
            taken.last = taken.last.max(before);
            self.take_one(log, bounds.get(number).copied(), &mut taken)?;
        }
        let list = self.segments.list();
        let newest = list.segments().iter().rev().find(|segment| segment.last() >= segment.base());
        if let Some(newest) = newest.filter(|newest| newest.last_time() > self.terms.now) {
            let ahead = newest.last_time().since(self.terms.now);
            tracing::warn!(?ahead, "the clock stands behind the newest message: messages are kept that much longer");
        }
        Ok(taken)
    }

    /// Takes one over that holds nothing above `bound`, or is the newest.
    fn take_one(&self, log: LogFile, bound: Option<Offset>, taken: &mut Taken) -> io::Result<()> {
        let is_newest = bound.is_none();
        let size = log.size()?;
        let rebuilt = Index::rebuild(&log, bound.unwrap_or(self.bound))?;
        #[cfg(feature = "faults")]
        let rebuilt = match crate::faults::offsets_reused(rebuilt.index.last()) {
            Some(bound) if is_newest => Index::rebuild(&log, bound)?,
            _ => rebuilt,
        };
        let Rebuilt { index, end, damaged } = rebuilt;
        let file = log.path().display();
        for (position, upto, why) in &damaged {
            self.counts.damaged();
            if *upto < size {
                tracing::error!(%file, position, upto, %why, "damage between whole messages; what is whole is served");
            } else {
                tracing::warn!(%file, position, bytes = upto - position, %why, "the end of the log is no whole message; it is cut off");
            }
        }
        let is_whole = damaged.iter().all(|(_, upto, _)| *upto >= size);
        if size > end {
            log.truncate(end)?;
        }
        if index.is_empty() && !is_newest {
            return fs::remove_file(log.path());
        }
        taken.last = taken.last.max(index.last());
        let goes_on = is_newest && is_whole && end < self.terms.segment && index.last_time() <= self.terms.now;
        let segment = self.segments.push(log, index, end);
        if goes_on {
            taken.open = Some((segment, end));
        } else {
            taken.unsealed.push(segment);
        }
        Ok(())
    }
}

/// Idempotency keys of the window, as many as are remembered: read from the newest segments on.
fn recall(list: &List, terms: Terms) -> Result<Idempotency, Trouble> {
    let mut keys = Idempotency::new(terms.window, terms.keys);
    let since = terms.now.minus(terms.window);
    // Newest segment first, oldest key first in each.
    let mut recent = Vec::new();
    let mut count = 0;
    for segment in list.segments().iter().rev() {
        if count >= terms.keys {
            break;
        }
        // Times need not ascend from segment to segment, and an empty one has none.
        if segment.last_time() < since {
            continue;
        }
        let mut here = VecDeque::new();
        let read = segment.keyed(since, |record| {
            let Some(keyed) = record.key else { return };
            let parsed = ChannelName::parse(record.channel).ok().zip(IdempotencyKey::parse(keyed.key));
            if let Some((channel, key)) = parsed {
                here.push_back((channel, key, Outcome { digest: keyed.digest, offset: record.offset }, record.time));
            }
            if here.len() > terms.keys {
                here.pop_front();
            }
        });
        read.at(segment)?;
        count += here.len();
        recent.push(here);
    }
    for (channel, key, outcome, time) in recent.into_iter().rev().flatten() {
        keys.remember(&channel, key, outcome, time);
    }
    Ok(keys)
}
