//! The segments of a directory that another process may be writing: seen as they lie there. Nothing is written, taken away or
//! mended on the disk.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use fantail_hub::Offset;
use parking_lot::{Mutex, RwLock};

use super::super::index::{Hole, Index};
use super::super::log::{LogError, LogFile};
use super::super::segment::Segment;
use super::super::stem::Stem;
use super::{List, Segments, mend};

/// Listings that may differ from one to the next before it is given up.
const LISTINGS: usize = 100;

/// What was seen.
#[derive(Debug)]
pub struct Viewed {
    /// All of them; those without an index that can be read have one in memory.
    pub segments: Segments,
    /// Files that are called logs and are none.
    pub broken: Vec<LogError>,
}

impl Segments {
    /// Looks at a directory.
    ///
    /// # Errors
    /// With a source of kind `NotFound` if a file went while it looked.
    pub fn view(dir: &Path) -> Result<Viewed, LogError> {
        let stems = stems(dir).map_err(|source| LogError::Io { path: dir.to_owned(), source })?;
        let segments = Self {
            dir: dir.to_owned(),
            files: Arc::default(),
            list: RwLock::new(Arc::new(List::default())),
            changing: Mutex::new(()),
            mending: Mutex::new(()),
        };
        let (mut list, mut broken, mut between) = (Vec::new(), Vec::new(), Vec::new());
        let mut bound = Offset(Offset::MAX.0 + 1);
        let mut at_end = true;
        for &stem in stems.iter().rev() {
            let upto = Offset(bound.0 - 1);
            let of = |path| move |source| LogError::Io { path, source };
            match Segment::sealed(dir, stem, &segments.files, false) {
                Ok(segment) => {
                    list.push(Arc::new(segment));
                    at_end = false;
                }
                Err(source) if source.kind() != io::ErrorKind::NotFound && !mend::is_damage(&source) => {
                    return Err(of(stem.index(dir))(source));
                }
                Err(_) => match LogFile::open(&stem.log(dir), false) {
                    Ok(log) => {
                        let made = if at_end && stem.run.is_none() {
                            // Its end is for a fence to judge.
                            Index::rebuild(&log, upto).map(|rebuilt| (log, rebuilt))
                        } else {
                            mend::reread(dir, stem, None, upto)
                        };
                        let (log, rebuilt) = made.map_err(of(stem.log(dir)))?;
                        list.push(Arc::new(Segment::live(stem, log, rebuilt.index, rebuilt.end)));
                    }
                    Err(error @ LogError::Header { .. }) => {
                        let upto = stem.run.map_or(upto, |run| run.last);
                        if upto < Offset::MAX {
                            between.push(Hole { after: Offset(stem.base.0.saturating_sub(1)), upto });
                        }
                        broken.push(error);
                    }
                    Err(error) => return Err(error),
                },
            }
            bound = stem.base;
        }
        list.reverse();
        segments.change(|all| (all.segments, all.between) = (list, between));
        Ok(Viewed { segments, broken })
    }

    /// Puts an index in memory in the place of one that turned out to be damaged.
    pub fn reread(&self, segment: &Arc<Segment>) -> io::Result<()> {
        let Some(header) = segment.header() else { return Ok(()) };
        let (log, rebuilt) = mend::reread(&self.dir, segment.stem(), Some(header), header.last)?;
        let live = Segment::live(segment.stem(), log, rebuilt.index, rebuilt.end);
        self.replace(std::slice::from_ref(segment), Some(Arc::new(live)));
        Ok(())
    }
}

/// The logs that count, ascending.
pub fn stems(dir: &Path) -> io::Result<Vec<Stem>> {
    // A listing that is taken while one file replaces another may have neither of them.
    let mut before = logs(dir)?;
    for _ in 0..LISTINGS {
        let now = logs(dir)?;
        if now == before {
            return Ok(now.iter().copied().filter(|&stem| !now.iter().any(|other| other.supersedes(stem))).collect());
        }
        before = now;
    }
    Err(io::Error::other("its files change faster than they can be listed"))
}

fn logs(dir: &Path) -> io::Result<Vec<Stem>> {
    let mut stems = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        stems.extend(name.to_str().and_then(|name| Stem::parse(name.strip_suffix(".log")?)));
    }
    stems.sort_unstable();
    Ok(stems)
}
