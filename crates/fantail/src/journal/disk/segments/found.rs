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
                // It was begun when the machine went down, and nothing of it was on the disk. What stood in it, if
                // anything did, is told by the log behind it, or by the fence.
                Err(LogError::Header { path }) if sealed.is_empty() && stem.run.is_none() && is_empty(&path) => {
                    fs::remove_file(&path).map_err(|source| LogError::Io { path, source })?;
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

fn is_empty(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() == 0)
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

#[cfg(test)]
mod tests {
    use super::super::super::query::model::{Step, Twin};
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn leftovers_of_a_crash_in_the_middle_of_cleaning_are_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = Twin::unlimited(dir.path());
        for _ in 0..3 {
            (0..6).for_each(|n| twin.say_plain(n % 3, 5));
            twin.apply(&Step::Roll { seal: true });
        }
        let before: Vec<_> = names(dir.path())
            .into_iter()
            .map(|name| (name.clone(), fs::read(dir.path().join(name)).unwrap()))
            .collect();
        twin.limits.messages = 2;
        assert_eq!(twin.clean(3000, 100).cleaned, 3);
        let after = names(dir.path());
        assert_eq!(after.len(), 3, "one segment, and the open one: {after:?}");
        // It crashed before it had taken all of the old ones away, and again while it wrote others.
        for (name, bytes) in before.iter().skip(1) {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        for name in [
            "00000000000000000001-00000000000000000050-0002.idx",
            "00000000000000000001.log.tmp",
            "00000000000000000001.idx.tmp",
        ] {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        twin.apply(&Step::Restart);
        twin.check();
        assert_eq!(names(dir.path()), after);
    }

    #[test]
    fn files_that_are_not_its_own_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lock", "fence", "a.log", "00000000000000000001.txt", "1.log.tmp"] {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        let found = Segments::open(dir.path()).unwrap();
        assert!(found.bare.is_empty() && found.broken.is_empty() && found.segments.list().segments().is_empty());
        assert_eq!(names(dir.path()).len(), 5);
    }

    #[test]
    fn log_of_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Twin::unlimited(dir.path()));
        let path = dir.path().join("00000000000000000001.log");
        let mut bytes = fs::read(&path).unwrap();
        bytes[12] = 9;
        let checksum = crc32fast::hash(&bytes[..36]);
        bytes[36..40].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Segments::open(dir.path()), Err(LogError::Version { found: 9, .. })));
    }
}
