//! One segment: its log and its index, which is in memory while it is written and in a file afterwards. Knows nothing of
//! limits, nor of the segments beside it.

mod records;
mod view;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fantail_hub::{Millis, Offset};
use parking_lot::{Mutex, RwLock};

pub use records::Records;
pub use view::{Fetched, View};

use super::handles::Handles;
use super::index::file::{Header, Row};
use super::index::{Hole, Index};
use super::log::LogFile;
use super::parts::Parts;
use super::record::{Record, Salt};
use super::stem::Stem;

/// Files of sealed segments that are kept open: so many logs, and so many indexes.
const OPEN_FILES: usize = 96;
/// Channels' parts of sealed segments that are remembered at least, once so many were read: 6 MiB with those before them.
const REMEMBERED_PARTS: usize = (1 << 15) / 8 * 7;
/// Damaged places of a segment that are remembered, so that each is told once.
const MOST_REPORTED: usize = 64;

/// The open files of sealed segments, and what was read of them lately.
#[derive(Debug)]
pub struct Files {
    logs: Handles,
    indexes: Handles,
    parts: Parts,
    /// Counts segments: a rewritten one has its predecessor's offsets and other files.
    next: AtomicU64,
}

/// A stretch of the journal's order.
#[derive(Debug)]
pub struct Segment {
    stem: Stem,
    log_path: PathBuf,
    salt: Salt,
    holes: Vec<Hole>,
    state: State,
    /// Positions of damaged records that were told.
    reported: Mutex<HashSet<u64>>,
    /// Its index was made again: if that is damaged as well, so is the disk.
    mended: bool,
}

#[derive(Debug)]
enum State {
    Live { log: LogFile, live: Box<RwLock<Live>> },
    Sealed(Sealed),
}

#[derive(Debug)]
struct Live {
    index: Index,
    /// Where the last record ends.
    log_bytes: u64,
}

#[derive(Debug)]
struct Sealed {
    header: Arc<Header>,
    index_path: PathBuf,
    index_bytes: u64,
    files: Arc<Files>,
    /// What `files` call it.
    number: u64,
    /// Log and index, when their names are gone and somebody may still read them.
    kept: OnceLock<(Arc<File>, Arc<File>)>,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            logs: Handles::new(OPEN_FILES),
            indexes: Handles::new(OPEN_FILES),
            parts: Parts::new(REMEMBERED_PARTS),
            next: AtomicU64::new(0),
        }
    }
}

impl Segment {
    /// One whose index is in memory: open, or not sealed yet. `log_bytes` is where its last record ends.
    pub fn live(stem: Stem, log: LogFile, index: Index, log_bytes: u64) -> Self {
        let (holes, salt, log_path) = (index.holes().to_vec(), log.salt(), log.path().to_owned());
        let state = State::Live { log, live: Box::new(RwLock::new(Live { index, log_bytes })) };
        Self { stem, log_path, salt, holes, state, reported: Mutex::default(), mended: false }
    }

    /// One whose files are in `dir`. Only its index's header is read.
    ///
    /// # Errors
    /// Of kind `InvalidData` or `UnexpectedEof` if the index is damaged.
    pub fn sealed(dir: &Path, stem: Stem, files: &Arc<Files>, mended: bool) -> io::Result<Self> {
        let index_path = stem.index(dir);
        let file = Arc::new(File::open(&index_path)?);
        let header = Header::read(&file)?;
        if header.base != stem.base || stem.run.is_some_and(|run| header.last != run.last) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is another segment's"));
        }
        let index_bytes = file.metadata()?.len();
        let number = files.next.fetch_add(1, Ordering::Relaxed);
        let (holes, header, files) = (header.holes.clone(), Arc::new(header), Arc::clone(files));
        let sealed = Sealed { header, index_path, index_bytes, files, number, kept: OnceLock::new() };
        let (salt, log_path) = (sealed.header.log_salt, stem.log(dir));
        Ok(Self { stem, log_path, salt, holes, state: State::Sealed(sealed), reported: Mutex::default(), mended })
    }

    /// What its files are called.
    pub fn stem(&self) -> Stem {
        self.stem
    }

    /// The first offset it may hold.
    pub fn base(&self) -> Offset {
        self.stem.base
    }

    /// The last offset it holds; the one before its base if there is none.
    pub fn last(&self) -> Offset {
        self.look(Index::last, |sealed| sealed.header.last)
    }

    /// Its first record's time.
    pub fn base_time(&self) -> Millis {
        self.look(Index::base_time, |sealed| sealed.header.base_time)
    }

    /// Its last record's time.
    pub fn last_time(&self) -> Millis {
        self.look(Index::last_time, |sealed| sealed.header.last_time)
    }

    /// What all its messages cost.
    pub fn cost(&self) -> u64 {
        self.look(Index::cost, |sealed| sealed.header.cost)
    }

    /// The floor of channels that are forgotten, as it knows it.
    pub fn general(&self) -> Offset {
        self.look(|_| Offset(0), |sealed| sealed.header.general)
    }

    /// What may be missing inside, ascending.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Whether its index is in a file.
    pub fn is_sealed(&self) -> bool {
        matches!(self.state, State::Sealed(_))
    }

    /// Whether its index was made again since the start.
    pub fn is_mended(&self) -> bool {
        self.mended
    }

    /// Its log, for the committer; `None` of one that is sealed.
    pub fn log(&self) -> Option<&LogFile> {
        match &self.state {
            State::Live { log, .. } => Some(log),
            State::Sealed(_) => None,
        }
    }

    /// Where its last record ends.
    pub fn log_bytes(&self) -> u64 {
        match &self.state {
            State::Live { live, .. } => live.read().log_bytes,
            State::Sealed(sealed) => sealed.header.log_bytes,
        }
    }

    /// Bytes of both its files.
    pub fn bytes(&self) -> u64 {
        self.log_bytes() + self.look(|_| 0, |sealed| sealed.index_bytes)
    }

    /// Rows of its table from `first` on, at most `most` of them; all of them, where its index is in memory.
    pub fn rows(&self, first: u32, most: u32) -> io::Result<Vec<Row>> {
        match &self.state {
            State::Live { live, .. } => Ok(live.read().index.rows().split_off(first as usize)),
            State::Sealed(sealed) => {
                let (mut look, mut names) =
                    (sealed.header.look(sealed.index_file()?), sealed.header.look(sealed.index_file()?));
                let last = sealed.header.channels.min(first.saturating_add(most));
                (first..last).map(|number| look.row(number, &mut names)).collect()
            }
        }
    }

    /// Its index's header, if it is sealed.
    pub fn header(&self) -> Option<&Arc<Header>> {
        match &self.state {
            State::Live { .. } => None,
            State::Sealed(sealed) => Some(&sealed.header),
        }
    }

    /// The file that an error of its index is about.
    pub fn index_path(&self) -> &Path {
        match &self.state {
            State::Live { log, .. } => log.path(),
            State::Sealed(sealed) => &sealed.index_path,
        }
    }

    /// The file that holds its records.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Changes the index in memory: adds what was written, under a lock that readers of this segment wait for.
    /// `log_bytes` is where the last record ends now.
    ///
    /// # Panics
    /// If it is sealed.
    pub fn extend<T>(&self, log_bytes: u64, with: impl FnOnce(&mut Index) -> T) -> T {
        let State::Live { live, .. } = &self.state else { panic!("a sealed segment cannot grow") };
        let mut live = live.write();
        live.log_bytes = log_bytes;
        with(&mut live.index)
    }

    /// Runs `read` on the index in memory; `None` if it is sealed.
    pub fn index<T>(&self, read: impl FnOnce(&Index) -> T) -> Option<T> {
        match &self.state {
            State::Live { live, .. } => Some(read(&live.read().index)),
            State::Sealed(_) => None,
        }
    }

    /// Calls `with` for each record that has an idempotency key and is not older than `since`, oldest first. Damaged ones
    /// are left out.
    pub fn keyed(&self, since: Millis, mut with: impl FnMut(&Record<'_>)) -> io::Result<()> {
        if self.last_time() < since {
            return Ok(());
        }
        let positions: Vec<u64> = match &self.state {
            State::Live { live, .. } => live.read().index.keyed().iter().map(|&at| u64::from(at)).collect(),
            State::Sealed(sealed) => {
                let mut look = sealed.header.look(sealed.index_file()?);
                (0..sealed.header.keyed).map(|number| look.keyed(number)).collect::<io::Result<_>>()?
            }
        };
        let mut records = self.records()?;
        for position in positions {
            if let Ok(record) = records.at(position)?
                && record.time >= since
            {
                with(&record);
            }
        }
        Ok(())
    }

    /// Keeps its files open for those who still read it, for their names are about to go.
    pub fn retire(&self) -> io::Result<()> {
        if let State::Sealed(sealed) = &self.state {
            let files = (self.log_file()?, sealed.index_file()?);
            // Whoever was first has opened the same files.
            let _ = sealed.kept.set(files);
            sealed.files.logs.close(sealed.number);
            sealed.files.indexes.close(sealed.number);
        }
        Ok(())
    }

    /// Closes its files, as happens when many others are read.
    #[cfg(test)]
    pub(super) fn evict(&self) {
        if let State::Sealed(sealed) = &self.state {
            sealed.files.logs.close(sealed.number);
            sealed.files.indexes.close(sealed.number);
        }
    }

    fn log_file(&self) -> io::Result<Arc<File>> {
        match &self.state {
            State::Live { log, .. } => Ok(Arc::clone(log.file())),
            State::Sealed(sealed) => match sealed.kept.get() {
                Some((log, _)) => Ok(Arc::clone(log)),
                None => sealed.files.logs.open(sealed.number, &self.log_path),
            },
        }
    }

    /// Takes note that the record at `position` is damaged, and says whether that is new.
    fn report(&self, position: u64) -> bool {
        let mut reported = self.reported.lock();
        reported.len() < MOST_REPORTED && reported.insert(position)
    }

    fn look<T>(&self, live: impl FnOnce(&Index) -> T, sealed: impl FnOnce(&Sealed) -> T) -> T {
        match &self.state {
            State::Live { live: state, .. } => live(&state.read().index),
            State::Sealed(state) => sealed(state),
        }
    }
}

impl Sealed {
    fn index_file(&self) -> io::Result<Arc<File>> {
        match self.kept.get() {
            Some((_, index)) => Ok(Arc::clone(index)),
            None => self.files.indexes.open(self.number, &self.index_path),
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let State::Sealed(sealed) = &self.state {
            sealed.files.logs.close(sealed.number);
            sealed.files.indexes.close(sealed.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use fantail_hub::Kind;

    use super::super::log::START;
    use super::super::record::Keyed;
    use super::*;

    #[test]
    fn keyed_records_are_given_oldest_first_from_a_time_on() {
        let dir = tempfile::tempdir().unwrap();
        let stem = Stem::new(Offset(1));
        let log = LogFile::create(&stem.log(dir.path()), Offset(1), Offset(0)).unwrap();
        let (mut index, mut bytes) = (Index::new(Offset(1), Millis(0)), Vec::new());
        let large = "x".repeat(200_000);
        for offset in 1..=6 {
            let key = (offset % 2 == 0).then_some(Keyed { key: b"key", digest: offset });
            let record = Record {
                offset: Offset(offset),
                time: Millis(offset * 10),
                kind: Kind::Data,
                then_end: false,
                clears: false,
                bytes: false,
                channel: "c",
                data: if offset == 4 { &large } else { "x" },
                event: None,
                id: None,
                key,
            };
            index.add(&record, START + bytes.len() as u64);
            record.encode(log.salt(), &mut bytes);
        }
        log.append(START, &bytes).unwrap();
        let end = START + bytes.len() as u64;
        index.write(&stem.index(dir.path()), log.salt(), end).unwrap();
        let sealed = Segment::sealed(dir.path(), stem, &Arc::default(), false).unwrap();
        for segment in [Segment::live(stem, log, index, end), sealed] {
            let digests = |since| {
                let mut digests = Vec::new();
                segment.keyed(Millis(since), |record| digests.extend(record.key.map(|key| key.digest))).unwrap();
                digests
            };
            assert_eq!((digests(0), digests(40), digests(61)), (vec![2, 4, 6], vec![4, 6], vec![]));
        }
    }
}
