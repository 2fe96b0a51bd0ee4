//! All segments in order: what the journal holds. Readers take the list as it is and never wait for whoever changes it.

mod found;
mod mend;
mod viewed;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fantail_hub::journal::{Head, Page, Seek};
use fantail_hub::{Limits, Millis, Offset};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

pub use found::Found;
pub use viewed::{Viewed, stems};

use super::index::{Hole, Index};
use super::log::{LogError, LogFile, START};
use super::query::{Query, Trouble};
use super::segment::{Files, Segment};
use super::stem::Stem;

/// The list, and where its files are.
#[derive(Debug)]
pub struct Segments {
    dir: PathBuf,
    files: Arc<Files>,
    /// Swapped as a whole.
    list: RwLock<Arc<List>>,
    /// Held by whoever makes another list out of the present one.
    changing: Mutex<()>,
    /// Held by whoever makes an index again.
    mending: Mutex<()>,
}

/// The segments of one moment.
#[derive(Debug, Clone, Default)]
pub struct List {
    segments: Vec<Arc<Segment>>,
    /// Between segments, from [`Segments::add_hole`].
    between: Vec<Hole>,
    /// All of them, those in segments as well, ascending.
    holes: Vec<Hole>,
    /// The floor of channels that are forgotten.
    general: Offset,
}

/// Why the segments did not say what they hold.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The system's words.
    #[error("cannot read {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Figures for operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Segments.
    pub segments: usize,
    /// Bytes of their logs and indexes.
    pub bytes: u64,
}

impl Segments {
    /// Lists a directory: takes leftovers away, opens what is sealed by its header alone, rebuilds indexes that are missing,
    /// damaged or of another version, except those of the newest logs.
    pub fn open(dir: &Path) -> Result<Found, LogError> {
        found::open(dir)
    }

    /// An entry of the channel `name` from offset `next` on, as far as `limits` keep them at `now`, none above `until`: at
    /// least one if there is any, and about `bytes` of them.
    pub fn page(
        &self,
        name: &str,
        next: u64,
        bytes: usize,
        limits: Limits,
        now: Millis,
        until: Offset,
    ) -> Result<Page, StoreError> {
        self.ask(|list| Query::new(list, name, limits, now).page(next, bytes, until))
    }

    /// The first offset of the channel that is wanted; `None` if an id is not known (any more).
    pub fn find(&self, name: &str, seek: Seek<'_>, limits: Limits, now: Millis) -> Result<Option<u64>, StoreError> {
        self.ask(|list| Query::new(list, name, limits, now).seek(seek))
    }

    /// What is known of the channel.
    pub fn head(&self, name: &str, limits: Limits, now: Millis) -> Result<Head, StoreError> {
        self.ask(|list| Query::new(list, name, limits, now).head())
    }

    /// Asks all of them. An index that turns out to be damaged is made again, and it is asked anew.
    pub(super) fn ask<T>(&self, query: impl Fn(&List) -> Result<T, Trouble>) -> Result<T, StoreError> {
        loop {
            let list = self.list();
            let Trouble { segment, source } = match query(&list) {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let path = segment.index_path().to_owned();
            if !mend::is_damage(&source) || segment.is_mended() || !segment.is_sealed() {
                return Err(StoreError::Io { path, source });
            }
            tracing::error!(file = %path.display(), %source, "an index is damaged; it is made again from its log");
            self.mend(&segment).map_err(|source| StoreError::Io { path, source })?;
        }
    }

    /// Makes a new open segment and puts it at the end. The segment before it stays readable as it is until it is
    /// [sealed](Self::seal). Where `wait`, its file is on the disk when this returns; where not, a machine that goes down
    /// may leave none of it, which a start can tell by what comes before and after, and by the fence.
    pub fn begin(&self, base: Offset, after: Offset, time: Millis, wait: bool) -> io::Result<Arc<Segment>> {
        let path = Stem::new(base).log(&self.dir);
        let made = LogFile::create(&path, base, after).and_then(|log| {
            if wait {
                log.sync()?;
                self.sync()?;
            }
            Ok(log)
        });
        // Half a segment in the middle of the one that goes on would be in the way of the next start.
        let log = made.inspect_err(|_| _ = fs::remove_file(&path))?;
        Ok(self.push(log, Index::new(base, time), START))
    }

    /// Puts a segment whose index is in memory at the end. `log_bytes` is where its last record ends.
    pub fn push(&self, log: LogFile, index: Index, log_bytes: u64) -> Arc<Segment> {
        let segment = Arc::new(Segment::live(Stem::new(log.base()), log, index, log_bytes));
        self.change(|list| list.segments.push(Arc::clone(&segment)));
        segment
    }

    /// Writes a segment's index beside it and swaps it for its sealed self, which reads from the file. Its log must be whole
    /// and written no more. Meant for a thread in the background.
    pub fn seal(&self, segment: &Arc<Segment>) -> io::Result<()> {
        let Some(log) = segment.log() else { return Ok(()) };
        log.sync()?;
        let (stem, bytes) = (segment.stem(), segment.log_bytes());
        segment.index(|index| index.write(&stem.index(&self.dir), log.salt(), bytes)).transpose()?;
        self.sync()?;
        let sealed = Segment::sealed(&self.dir, stem, &self.files, false)?;
        self.replace(std::slice::from_ref(segment), Some(Arc::new(sealed)));
        Ok(())
    }

    /// Puts `new` in the place of the run `old`; nothing, if somebody was faster.
    pub(super) fn replace(&self, old: &[Arc<Segment>], new: Option<Arc<Segment>>) -> bool {
        let mut done = false;
        self.change(|list| {
            let is_old = |segment: &Arc<Segment>| old.iter().any(|old| Arc::ptr_eq(old, segment));
            let Some(first) = list.segments.iter().position(is_old) else { return };
            done = list.segments.iter().filter(|&segment| is_old(segment)).count() == old.len();
            if done {
                list.segments.splice(first..first + old.len(), new);
            }
        });
        done
    }

    /// All of them, as they are now.
    pub fn list(&self) -> Arc<List> {
        Arc::clone(&self.list.read())
    }

    /// The newest offset of all; 0 if there is none.
    pub fn last(&self) -> Offset {
        self.list().segments.iter().rev().map(|segment| segment.last()).max().unwrap_or_default()
    }

    /// Adds what may have been lost between or behind segments.
    pub fn add_hole(&self, hole: Hole) {
        self.change(|list| list.between.push(hole));
    }

    /// Figures.
    pub fn totals(&self) -> Totals {
        let list = self.list();
        Totals { segments: list.segments.len(), bytes: list.segments.iter().map(|segment| segment.bytes()).sum() }
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// Makes a damaged index again, so that what failed for it can be tried again later, and says why it failed.
    pub(super) fn mend_after(&self, trouble: Trouble) -> io::Error {
        let Trouble { segment, source } = trouble;
        if mend::is_damage(&source) && !segment.is_mended() {
            let file = segment.index_path().display();
            tracing::error!(%file, %source, "an index is damaged; it is made again from its log");
            return self.mend(&segment).err().unwrap_or(source);
        }
        source
    }

    /// Waits until the directory's names are on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn change(&self, change: impl FnOnce(&mut List)) {
        let _changing = self.changing.lock();
        let mut list = List::clone(&self.list());
        change(&mut list);
        list.holes = list.segments.iter().flat_map(|segment| segment.holes()).chain(&list.between).copied().collect();
        list.holes.sort_by_key(|hole| (hole.after, hole.upto));
        list.general = list.segments.iter().map(|segment| segment.general()).max().unwrap_or_default();
        *self.list.write() = Arc::new(list);
    }
}

impl List {
    /// Oldest first.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// What may be missing, ascending.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// The floor of channels that are forgotten: that had nothing left, and more of them than floors are kept of.
    pub fn general(&self) -> Offset {
        self.general
    }
}
