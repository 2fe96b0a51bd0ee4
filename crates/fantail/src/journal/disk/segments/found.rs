//! What a directory of segments holds when the journal starts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use fantail_hub::Offset;
use parking_lot::{Mutex, RwLock};

use super::super::index::Hole;
use super::super::log::{LogError, LogFile};
use super::super::segment::Segment;
use super::super::stem::Stem;
use super::{List, Segments, mend};

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// All that are sealed.
    pub segments: Segments,
    /// Newest logs without an index that can be read, ascending: the open one, and one that was being sealed when the process
    /// went. They are not among the segments yet.
    pub bare: Vec<LogFile>,
    /// Files that are called logs and are none: their headers are damaged, or cut. They are left alone. What they held is a
    /// hole already, except that of the newest one, which only a fence knows.
    pub broken: Vec<LogError>,
}

/// Lists `dir`; see [`Segments::open`].
pub(super) fn open(dir: &Path) -> Result<Found, LogError> {
    let of = |source| LogError::Io { path: dir.to_owned(), source };
    let stems = tidy(dir).map_err(of)?;
    let segments = Segments {
        dir: dir.to_owned(),
        files: Arc::default(),
        list: RwLock::new(Arc::new(List::default())),
        changing: Mutex::new(()),
        mending: Mutex::new(()),
    };
    let (mut bare, mut broken, mut sealed, mut holes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first offset of the segment behind the one that is looked at.
    let mut bound = Offset(Offset::MAX.0 + 1);
    for &stem in stems.iter().rev() {
        let upto = Offset(bound.0 - 1);
        let path = stem.index(dir);
        match Segment::sealed(dir, stem, &segments.files, false) {
            Ok(segment) => sealed.push(Arc::new(segment)),
            Err(source) if source.kind() != io::ErrorKind::NotFound && !mend::is_damage(&source) => {
                return Err(LogError::Io { path, source });
            }
            Err(source) => match LogFile::open(&stem.log(dir), true) {
                Ok(log) if sealed.is_empty() && stem.run.is_none() => bare.push(log),
                Ok(_) => {
                    tracing::error!(file = %path.display(), %source, "an index cannot be read; it is made again from its log");
                    let made = mend::remake(dir, stem, &segments.files, None, upto);
                    sealed.push(Arc::new(made.map_err(|source| LogError::Io { path, source })?));
                }
                Err(error @ LogError::Header { .. }) => {
                    let upto = stem.run.map_or(upto, |run| run.last);
                    if upto < Offset::MAX {
                        holes.push(Hole { after: Offset(stem.base.0.saturating_sub(1)), upto });
                    }
                    broken.push(error);
                }
                Err(error) => return Err(error),
            },
        }
        bound = stem.base;
    }
    sealed.reverse();
    bare.reverse();
    segments.change(|list| (list.segments, list.between) = (sealed, holes));
    Ok(Found { segments, bare, broken })
}

/// Takes away what a crash left half done, and names the logs that count, ascending.
fn tidy(dir: &Path) -> io::Result<Vec<Stem>> {
    let mut stems = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some((stem, extension)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
        let Some(stem) = Stem::parse(stem) else { continue };
        match extension {
            "log" => _ = stems.insert(stem, true),
            "idx" => _ = stems.entry(stem).or_insert(false),
            "log.tmp" | "idx.tmp" => fs::remove_file(dir.join(&name))?,
            _ => {}
        }
    }
    let logs: Vec<Stem> = stems.iter().filter(|(_, is_log)| **is_log).map(|(stem, _)| *stem).collect();
    let superseded = |stem: Stem| logs.iter().any(|other| other.supersedes(stem));
    for (&stem, &is_log) in &stems {
        if is_log && superseded(stem) {
            fs::remove_file(stem.log(dir))?;
        }
        if !is_log || superseded(stem) {
            match fs::remove_file(stem.index(dir)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(logs.iter().copied().filter(|&stem| !superseded(stem)).collect())
}
