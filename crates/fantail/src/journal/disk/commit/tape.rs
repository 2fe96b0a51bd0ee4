//! Where the committer writes: the open segment, the fence, and the segments that come after. Knows bytes and offsets, and
//! neither publishers nor what is in a batch.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fantail_hub::{AppendError, Millis, Offset};

use super::super::fence::Fence;
use super::super::health::refusal;
use super::super::log::{LogFile, START};
use super::super::medium::Medium;
use super::super::record::{Record, Salt};
use super::super::sealer::Sealer;
use super::super::segment::Segment;
use super::super::segments::Segments;
use super::Shared;

/// The longest that a batch is kept for more to come.
const MOST_WAIT: Duration = Duration::from_millis(2);

/// What a probe of a disk that refused writes: as much as was refused, within these.
const PROBE: std::ops::RangeInclusive<usize> = 4 << 10..=1 << 20;

/// Where a run begins.
#[derive(Debug)]
pub struct Start {
    /// The segment that the last run left open, if it is to be continued, and where its last record ends.
    pub open: Option<(Arc<Segment>, u64)>,
    /// The last offset that was stored.
    pub stored: Offset,
    /// The last offset that was given out.
    pub given: Offset,
    /// Begun.
    pub fence: Fence,
}

/// The end of the log.
pub struct Tape {
    segments: Arc<Segments>,
    sealer: Arc<Sealer>,
    medium: Box<dyn Medium>,
    shared: Arc<Shared>,
    fence: Fence,
    open: Option<Open>,
    stored: Offset,
    given: Offset,
    /// Bytes after which a segment is full.
    full: u64,
    /// Where a full one is next tried to be left: later than `full` if that failed.
    limit: u64,
    fsync: bool,
    /// How long the disk was last waited for.
    last_sync: Duration,
    /// Bytes of the last batch that could not be written.
    failed: usize,
}

#[derive(Debug)]
struct Open {
    segment: Arc<Segment>,
    log: LogFile,
    /// Where its last record ends.
    end: u64,
    /// Bytes behind `end` that could not be cut off.
    torn: bool,
}

impl Tape {
    /// One that goes on from `start`, with segments of about `full` bytes.
    pub fn new(
        start: Start,
        full: u64,
        fsync: bool,
        (segments, sealer): (Arc<Segments>, Arc<Sealer>),
        shared: Arc<Shared>,
        medium: Box<dyn Medium>,
    ) -> Self {
        let Start { open, stored, given, fence } = start;
        let open = open.and_then(|(segment, end)| {
            let log = segment.log()?.clone();
            Some(Open { segment, log, end, torn: false })
        });
        Self {
            segments,
            sealer,
            medium,
            shared,
            fence,
            open,
            stored,
            given,
            full,
            limit: full,
            fsync,
            last_sync: Duration::ZERO,
            failed: 0,
        }
    }

    /// How long it is worth to wait for more to write at once: as long as waiting for the disk takes, within reason.
    pub fn worth_waiting(&self) -> Duration {
        self.last_sync.min(MOST_WAIT)
    }

    /// Sees to it that so many offsets can be given: what the fence reserves is on the disk before it is used.
    ///
    /// # Errors
    /// If it cannot be. What is not stored may be given offsets all the same; what is stored must not.
    pub fn reserve(&mut self, offsets: u64) -> Result<(), AppendError> {
        self.fence.reserve(Offset(self.given.0 + offsets)).map_err(|error| refusal(&error))
    }

    /// Gives the next offset, and with it the `span - 1` behind it.
    pub fn give(&mut self, span: u64) -> Offset {
        let offset = Offset(self.given.0 + 1);
        self.given.0 += span;
        offset
    }

    /// What checksums in the open segment begin with. Only when [ready](Self::make_ready).
    pub fn salt(&self) -> Salt {
        self.ready().log.salt()
    }

    /// Where the next batch begins in the open segment. Only when [ready](Self::make_ready).
    pub fn end(&self) -> u64 {
        self.ready().end
    }

    /// Adds what was written to the open segment's index; its record begins and ends there.
    pub fn add(&self, record: &Record<'_>, start: u64, end: u64) {
        self.ready().segment.extend(end, |index| index.add(record, start));
    }

    fn ready(&self) -> &Open {
        self.open.as_ref().expect("the tape was made ready before")
    }

    /// Whether a record behind so many bytes of the batch would be too much for the open segment.
    pub fn is_full(&self, bytes: usize, time: Millis) -> bool {
        let Some(open) = &self.open else { return true };
        let position = open.end + bytes as u64;
        position >= self.limit || !self.fits(open, position, time)
    }

    fn fits(&self, open: &Open, position: u64, time: Millis) -> bool {
        // The end behind a message takes one more. Messages that overtake each other on their way here are no clock that
        // goes backwards.
        let next = Offset(self.given.0 + 2);
        open.segment.index(|index| index.fits(next, time.max(index.last_time()), position)).unwrap_or(false)
    }

    /// Sees to it that there is a segment to which a record can be written.
    ///
    /// # Errors
    /// If there is none, and none can be made.
    pub fn make_ready(&mut self, time: Millis) -> Result<(), AppendError> {
        if self.open.as_ref().is_some_and(|open| open.torn) {
            self.cut();
        }
        if !self.is_full(0, time) {
            return Ok(());
        }
        match self.begin(time) {
            Ok(()) => Ok(()),
            Err(error) => {
                let Some(open) = &self.open else { return Err(error) };
                // It goes on for a while where it is, rather than refuse.
                if open.end >= self.full + self.full / 4 || !self.fits(open, open.end, time) {
                    return Err(error);
                }
                self.limit = open.end + self.full / 16;
                Ok(())
            }
        }
    }

    /// Leaves the open segment to the sealer and begins another.
    fn begin(&mut self, time: Millis) -> Result<(), AppendError> {
        self.sealer.room()?;
        if let Some(empty) = self.open.take_if(|open| open.end == START) {
            // It could not go on anyway, and the next one may have its name.
            self.leave(empty);
        }
        // Many offsets may have been given since to what is not stored.
        let base = self.given.0.saturating_sub(u64::from(u32::MAX / 2));
        let base = Offset(base.max(self.stored.0 + 1));
        let segment =
            self.medium.begin(&self.segments, base, self.stored, time, self.fsync).map_err(|error| refusal(&error))?;
        let log = segment.log().expect("a new segment is not sealed").clone();
        if let Some(old) = self.open.replace(Open { segment, log, end: START, torn: false }) {
            self.leave(old);
        }
        self.limit = self.full;
        Ok(())
    }

    /// Leaves a segment to the sealer. One to which nothing was written is nothing.
    fn leave(&self, open: Open) {
        if open.end > START {
            self.sealer.add(open.segment);
            return;
        }
        self.segments.replace(std::slice::from_ref(&open.segment), None);
        if let Err(error) = fs::remove_file(open.log.path()) {
            tracing::warn!(file = %open.log.path().display(), %error, "an empty log stays until the next start");
        }
    }

    /// Writes a batch to the open segment, as durably as is promised, and moves the fence behind `last`.
    ///
    /// # Errors
    /// Then nothing of it is there, and nothing of it will be after a restart.
    pub fn write(&mut self, bytes: &[u8], last: Offset) -> Result<(), AppendError> {
        let open = self.open.as_mut().expect("the tape was made ready before");
        let wrote = self.medium.append(&open.log, open.end, bytes);
        let synced = wrote.map_err(|error| (error, false)).and_then(|()| {
            if !self.fsync {
                return Ok(());
            }
            let begun = Instant::now();
            self.medium.sync(&open.log).map_err(|error| (error, true))?;
            self.last_sync = begun.elapsed();
            self.shared.counts.synced(self.last_sync);
            Ok(())
        });
        let fenced = synced
            .and_then(|()| self.medium.advance(&mut self.fence, last, self.given).map_err(|error| (error, false)));
        match fenced {
            Ok(()) => {
                open.end += bytes.len() as u64;
                self.stored = last;
                self.failed = 0;
                Ok(())
            }
            Err((error, untrusted)) => {
                self.failed = bytes.len();
                self.cut();
                if untrusted {
                    // The kernel may have dropped what it could not write, and say nothing the next time.
                    self.give_up();
                }
                Err(refusal(&error))
            }
        }
    }

    /// Cuts off what was not accepted. Where that cannot be, the segment is given up: what lies behind its end is not in its
    /// index.
    fn cut(&mut self) {
        let Some(open) = &mut self.open else { return };
        let Err(error) = self.medium.truncate(&open.log, open.end) else {
            open.torn = false;
            return;
        };
        if std::mem::replace(&mut open.torn, true) {
            self.give_up();
        } else {
            let (file, end) = (open.log.path().display(), open.end);
            tracing::error!(%file, end, %error, "cannot cut off what was not accepted");
        }
    }

    fn give_up(&mut self) {
        if let Some(open) = self.open.take() {
            self.leave(open);
        }
    }

    /// Tries whether what failed would succeed now, without leaving anything.
    pub fn probe(&mut self, time: Millis) -> Result<(), AppendError> {
        self.reserve(1)?;
        self.make_ready(time)?;
        let open = self.open.as_mut().expect("it is ready");
        let bytes = vec![0; self.failed.clamp(*PROBE.start(), *PROBE.end())];
        let mut outcome = self.medium.append(&open.log, open.end, &bytes);
        if outcome.is_ok() && self.fsync {
            outcome = self.medium.sync(&open.log);
        }
        self.cut();
        let outcome = outcome.and_then(|()| self.medium.advance(&mut self.fence, self.stored, self.given));
        outcome.map_err(|error| refusal(&error))
    }

    /// Puts everything on the disk, and says so in the fence.
    pub fn close(&mut self) {
        let list = self.segments.list();
        // Also those that wait to be sealed.
        let mut logs = list.segments().iter().filter_map(|segment| segment.log());
        let synced = logs.try_for_each(|log| self.medium.sync(log)).and_then(|()| self.segments.sync());
        if let Err(error) = synced.and_then(|()| self.fence.close(self.given)) {
            tracing::error!(%error, "cannot put the end of the journal on the disk; the next start will look for losses");
        }
    }
}
