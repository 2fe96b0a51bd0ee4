//! Makes an index again from its log, where it is missing or damaged.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use fantail_hub::Offset;

use super::super::index::file::Header;
use super::super::index::{Hole, Index};
use super::super::log::LogFile;
use super::super::segment::{Files, Segment};
use super::super::stem::Stem;
use super::Segments;

/// Whether an index file said so of itself.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

impl Segments {
    /// Puts a segment with a new index in the place of one whose index is damaged.
    pub(super) fn mend(&self, segment: &Arc<Segment>) -> io::Result<()> {
        let Some(header) = segment.header() else { return Ok(()) };
        let _one = self.mending.lock();
        if !self.list().segments().iter().any(|other| Arc::ptr_eq(other, segment)) {
            return Ok(());
        }
        let made = remake(&self.dir, segment.stem(), &self.files, Some(header), header.last)?;
        self.replace(std::slice::from_ref(segment), Some(Arc::new(made)));
        Ok(())
    }
}

/// Makes the index of the segment `stem`, whose offsets do not lie above `bound`.
pub(super) fn remake(
    dir: &Path,
    stem: Stem,
    files: &Arc<Files>,
    known: Option<&Arc<Header>>,
    bound: Offset,
) -> io::Result<Segment> {
    let log = LogFile::open(&stem.log(dir), false).map_err(io::Error::other)?;
    let last = stem.run.map_or(bound, |run| run.last);
    let mut rebuilt = Index::rebuild(&log, last)?;
    for (from, upto, why) in &rebuilt.damaged {
        tracing::error!(file = %log.path().display(), from, upto, %why, "a stretch of a log is damaged");
    }
    let index = &mut rebuilt.index;
    let end = log.size()?.max(rebuilt.end);
    if let Some(header) = known {
        index.reach(header.last);
        index.raise_all(header.general);
        header.holes.iter().for_each(|&hole| index.add_hole(hole));
    }
    let behind = Hole { after: index.last(), upto: last };
    if known.is_none() && rebuilt.end < end && behind.upto > behind.after {
        // How far it reached cannot be told any more, but it did not reach the next one.
        index.add_hole(behind);
        index.reach(behind.upto);
    }
    if stem.run.is_some() {
        index.reach(last);
        let floors = known.map(|header| floors(&stem.index(dir), header, index));
        if !matches!(floors, Some(Ok(()))) {
            // What its channels had lost stood in the index alone. A hole tells too many of a gap, but never too few.
            index.add_hole(Hole { after: Offset(stem.base.0.saturating_sub(1)), upto: last });
        }
    }
    rebuilt.index.write(&stem.index(dir), log.salt(), rebuilt.end)?;
    File::open(dir)?.sync_all()?;
    Segment::sealed(dir, stem, files, true)
}

/// Saves the floors of a damaged index. Fails if not all of them can be read.
fn floors(path: &Path, header: &Arc<Header>, index: &mut Index) -> io::Result<()> {
    let mut look = header.look(Arc::new(File::open(path)?));
    for number in 0..header.channels {
        let (hash, floor) = look.floor(number)?;
        if floor > Offset(0) {
            index.raise(hash, floor);
        }
    }
    Ok(())
}
