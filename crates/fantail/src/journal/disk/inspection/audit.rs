//! Reads every block and every record of a data directory and compares indexes with their logs. Says what it finds and
//! changes nothing, also while a server has the directory.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use fantail_hub::Offset;

use super::super::checked;
use super::super::directory;
use super::super::fence::{self, Fence, Found, Mark};
use super::super::holes;
use super::super::index::{Hole, Index, Part, Rebuilt};
use super::super::log::{LogError, LogFile, START};
use super::super::segment::{Segment, View};
use super::super::segments::stems;
use super::super::stem::Stem;
use super::InspectError;

/// How long the end of a log may be in the middle of a write.
const MOMENT: Duration = Duration::from_millis(50);
/// How often that is waited for.
const MOMENTS: usize = 5;
/// Rows of an index that are read at once.
const ROWS: u32 = 1024;

/// What an audit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A log and its index were read.
    Read {
        /// The log.
        file: PathBuf,
        /// Whole messages, the ends behind them included.
        messages: u64,
        /// Bytes of both files.
        bytes: u64,
        /// Whether there is an index.
        sealed: bool,
    },
    /// Something is wrong.
    Damage {
        /// With which file.
        file: PathBuf,
        /// Where in it.
        position: Option<u64>,
        /// What.
        what: String,
    },
    /// It is known that these may have been lost; readers are told.
    Known(Hole),
}

/// Reads the directory `dir`.
///
/// # Errors
/// [`InspectError`] if something cannot be read at all.
pub fn audit(dir: &Path, mut say: impl FnMut(Finding)) -> Result<(), InspectError> {
    directory::epoch(dir)?;
    // Before the logs: so they hold at least what it says.
    let fence = Fence::read(dir).map_err(of(&dir.join(fence::NAME)))?;
    let mut last = Offset(0);
    let mut done = HashSet::new();
    loop {
        let stems = stems(dir).map_err(of(dir))?;
        let Some(&stem) = stems.iter().find(|stem| !done.contains(*stem)) else { break };
        done.insert(stem);
        match Reading::new(dir, stem).read(&mut say) {
            Ok(read) => last = last.max(read),
            // Another has taken its place, and comes later.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !stem.log(dir).exists() => {}
            Err(error) => return Err(of(&stem.log(dir))(error)),
        }
    }
    let known = match holes::read(dir) {
        Ok(known) => known,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let what = error.to_string();
            say(Finding::Damage { file: dir.to_owned(), position: None, what });
            Vec::new()
        }
        Err(error) => return Err(of(dir)(error)),
    };
    let damage = match fence {
        Found::Whole(Mark { stored, .. }, false) if stored > last && known.iter().all(|hole| hole.upto < stored) => {
            Some(format!("messages up to offset {stored} were acknowledged, and the log ends at {last}"))
        }
        Found::Whole(_, false) => None,
        Found::Whole(_, true) => Some("half of it is damaged, and may have been the newer half".to_owned()),
        Found::Missing if done.is_empty() => None,
        Found::Missing => Some("it is missing, so that a loss at the end of the log could not be told".to_owned()),
        Found::Damaged => Some("it is damaged, so that a loss at the end of the log could not be told".to_owned()),
    };
    if let Some(what) = damage {
        say(Finding::Damage { file: dir.join(fence::NAME), position: None, what });
    }
    for hole in known {
        say(Finding::Known(hole));
    }
    Ok(())
}

fn of(path: &Path) -> impl FnOnce(io::Error) -> InspectError {
    let path = path.to_owned();
    move |source| InspectError::Io { path, source }
}

/// One segment that is read.
struct Reading<'a> {
    dir: &'a Path,
    stem: Stem,
    log: PathBuf,
    index: PathBuf,
}

impl<'a> Reading<'a> {
    fn new(dir: &'a Path, stem: Stem) -> Self {
        Self { dir, stem, log: stem.log(dir), index: stem.index(dir) }
    }

    /// Says what there is to say, and gives the last offset.
    fn read(&self, say: &mut impl FnMut(Finding)) -> io::Result<Offset> {
        let mut damage = |file: &Path, position, what| say(Finding::Damage { file: file.to_owned(), position, what });
        let index = match File::open(&self.index) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut whole = index.is_some();
        if let Some(file) = &index {
            for position in checked::damaged(file)? {
                whole = false;
                damage(&self.index, Some(position), "the checksum of a block is wrong".to_owned());
            }
        }
        let log = match LogFile::open(&self.log, false) {
            Ok(log) => log,
            Err(LogError::Io { source, .. }) => return Err(source),
            Err(error) => {
                damage(&self.log, Some(0), error.to_string());
                return Ok(Offset(0));
            }
        };
        let rebuilt = self.scan(&log, index.is_none())?;
        let size = log.size()?;
        for (from, upto, why) in &rebuilt.damaged {
            let what = if *upto < size || index.is_some() {
                format!("{} bytes are damaged: {why}", upto - from)
            } else {
                format!("the last {} bytes are no whole message; the next start cuts them off: {why}", upto - from)
            };
            damage(&self.log, Some(*from), what);
        }
        // What is missing in the log is said already, and the index has it still.
        if whole && rebuilt.damaged.is_empty() {
            let segment = Segment::sealed(self.dir, self.stem, &Arc::default(), false)?;
            if let Some(what) = disagreement(&segment, &log, &rebuilt)? {
                damage(&self.index, None, what);
            }
            say(self.finding(&rebuilt, segment.bytes(), true));
            return Ok(segment.last());
        }
        say(self.finding(&rebuilt, rebuilt.end + index.map_or(Ok(0), |file| file.metadata().map(|m| m.len()))?, whole));
        Ok(rebuilt.index.last())
    }

    fn finding(&self, rebuilt: &Rebuilt, bytes: u64, sealed: bool) -> Finding {
        let messages = rebuilt.index.rows().iter().map(|row| u64::from(row.part.count)).sum();
        Finding::Read { file: self.log.clone(), messages, bytes, sealed }
    }

    /// Reads all records. The end of a log that is being written is looked at again, for a write may be under way.
    fn scan(&self, log: &LogFile, open: bool) -> io::Result<Rebuilt> {
        let bound = self.stem.run.map_or(Offset::MAX, |run| run.last);
        let mut rebuilt = Index::rebuild(log, bound)?;
        for _ in 0..MOMENTS {
            // Where records follow, it is not the end.
            let at_end = rebuilt.damaged.last().is_some_and(|(position, ..)| *position >= rebuilt.end);
            if !open || !at_end {
                break;
            }
            sleep(MOMENT);
            rebuilt = Index::rebuild(log, bound)?;
        }
        Ok(rebuilt)
    }
}

/// In what an index and its log, read again, do not agree.
fn disagreement(segment: &Segment, log: &LogFile, rebuilt: &Rebuilt) -> io::Result<Option<String>> {
    let Some(header) = segment.header() else { return Ok(None) };
    let index = &rebuilt.index;
    if header.log_salt != log.salt() {
        return Ok(Some("it belongs to another log".to_owned()));
    }
    if header.log_bytes != rebuilt.end.max(START) {
        let (said, found) = (header.log_bytes, rebuilt.end);
        return Ok(Some(format!("it says that the log's messages end at {said}, and they end at {found}")));
    }
    let mut view = View::new(segment);
    let (mut known, mut first) = (0, 0);
    while first < header.channels {
        for row in segment.rows(first, ROWS)?.into_iter().filter(|row| row.part.count > 0) {
            known += 1;
            let found = index.part(&row.name);
            let agrees = found.as_ref().is_some_and(|found| same(found, &row.part));
            let mut postings = Vec::new();
            if agrees {
                view.postings(&row.part, 0..row.part.count, &mut postings)?;
            }
            if !agrees || !found.is_some_and(|found| index.postings(&found, 0..found.count).eq(postings)) {
                return Ok(Some(format!("what it says of channel {:?} is not what the log holds", row.name)));
            }
        }
        first = first.saturating_add(ROWS);
    }
    let held = index.rows().len();
    if known != held {
        return Ok(Some(format!("it knows {known} channels, and the log holds {held}")));
    }
    for (hash, offset) in index.ids() {
        if view.id(hash)? != Some(offset) {
            return Ok(Some(format!("it does not know the publisher's id of the message at offset {offset}")));
        }
    }
    let mut look = header.look(Arc::new(File::open(segment.index_path())?));
    let keyed: Vec<u64> = (0..header.keyed).map(|number| look.keyed(number)).collect::<io::Result<_>>()?;
    let agrees = keyed.iter().copied().eq(index.keyed().iter().map(|&at| u64::from(at)));
    Ok((!agrees).then(|| "it does not know all idempotency keys of the log".to_owned()))
}

/// Whether two say the same of a channel's entries. Floors stand in the index alone.
fn same(a: &Part, b: &Part) -> bool {
    let of = |part: &Part| (part.count, part.cost, part.last, part.newest, part.cleared, part.clears);
    of(a) == of(b)
}
