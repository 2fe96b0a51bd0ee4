//! Makes an index again from its log, where it is missing or damaged.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use fantail_hub::Offset;

use super::super::index::file::Header;
use super::super::index::{Hole, Index, Rebuilt};
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

/// Makes the index of the segment `stem` anew in its file, as [`reread`] does.
pub(super) fn remake(
    dir: &Path,
    stem: Stem,
    files: &Arc<Files>,
    known: Option<&Arc<Header>>,
    bound: Offset,
) -> io::Result<Segment> {
    let (log, rebuilt) = reread(dir, stem, known, bound)?;
    for (from, upto, why) in &rebuilt.damaged {
        tracing::error!(file = %log.path().display(), from, upto, %why, "a stretch of a log is damaged");
    }
    rebuilt.index.write(&stem.index(dir), log.salt(), rebuilt.end)?;
    File::open(dir)?.sync_all()?;
    Segment::sealed(dir, stem, files, true)
}

/// Makes the index of the segment `stem`, whose offsets do not lie above `bound`, from its log and what is `known` of the
/// index that it had.
pub(super) fn reread(
    dir: &Path,
    stem: Stem,
    known: Option<&Arc<Header>>,
    bound: Offset,
) -> io::Result<(LogFile, Rebuilt)> {
    let log = LogFile::open(&stem.log(dir), false).map_err(io::Error::other)?;
    let last = stem.run.map_or(bound, |run| run.last);
    let mut rebuilt = Index::rebuild(&log, last)?;
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
    Ok((log, rebuilt))
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::super::query::model::{Step, Twin};
    use super::*;

    fn flip(path: &Path, at: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1 << (at % 8);
        fs::write(path, &bytes).unwrap();
    }

    /// Two sealed segments and an open one.
    fn twin(dir: &Path) -> Twin {
        let mut twin = Twin::unlimited(dir);
        for seal in [true, true] {
            (0..6).for_each(|n| twin.say_plain(n % 3, 5));
            twin.apply(&Step::Roll { seal });
        }
        twin.say_plain(0, 5);
        twin
    }

    #[test]
    fn index_with_a_flipped_bit_is_made_again_while_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let twin = twin(dir.path());
        for at in (0..4096).step_by(199) {
            flip(twin.segments.list().segments()[0].index_path(), at);
            twin.check();
            assert!(twin.segments.list().segments()[0].is_mended(), "byte {at}");
            // As if the process had been started again.
            let fresh = Segments::open(dir.path()).unwrap().segments.list().segments()[0].clone();
            twin.segments.replace(&twin.segments.list().segments()[..1], Some(fresh));
        }
    }

    #[test]
    fn index_that_is_cut_flipped_or_missing_is_made_again_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = twin(dir.path());
        let path = twin.segments.list().segments()[0].index_path().to_owned();
        for at in (0..4096).step_by(199) {
            flip(&path, at);
            twin.apply(&Step::Restart);
            twin.check();
        }
        fs::write(&path, &fs::read(&path).unwrap()[..1000]).unwrap();
        twin.apply(&Step::Restart);
        twin.check();
        fs::remove_file(&path).unwrap();
        twin.apply(&Step::Restart);
        twin.check();
    }

    #[test]
    fn log_with_a_damaged_header_is_read_by_its_index_and_is_a_hole_without() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = twin(dir.path());
        let (log, index) = {
            let list = twin.segments.list();
            (list.segments()[0].log_path().to_owned(), list.segments()[0].index_path().to_owned())
        };
        flip(&log, 17);
        twin.apply(&Step::Restart);
        twin.check();
        fs::remove_file(&index).unwrap();
        let found = Segments::open(dir.path()).unwrap();
        assert_eq!(found.broken.len(), 1);
        let next = found.segments.list().segments()[0].base();
        assert_eq!(found.segments.list().holes(), [Hole { after: Offset(0), upto: Offset(next.0 - 1) }]);
    }

    #[test]
    fn damage_inside_a_log_whose_index_is_lost_is_a_hole() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = twin(dir.path());
        let first = Arc::clone(&twin.segments.list().segments()[0]);
        let record = (first.log_bytes() as usize - 64) / 6;
        flip(first.log_path(), 64 + 2 * record);
        fs::remove_file(first.index_path()).unwrap();
        twin.segments = Segments::open(dir.path()).unwrap().segments;
        assert_eq!(twin.segments.list().holes(), [Hole { after: Offset(2), upto: Offset(3) }]);
        let upto_nine = |(seen, lost): (Vec<u64>, Vec<u64>)| {
            (seen.into_iter().filter(|&offset| offset < 7).collect::<Vec<_>>(), lost)
        };
        assert_eq!(upto_nine(twin.walk(2)), (vec![6], vec![3]), "the third was this channel's");
        assert_eq!(upto_nine(twin.walk(0)), (vec![1, 4], vec![3]), "nobody can tell whose it was");
    }

    #[test]
    fn floors_of_a_rewritten_segment_are_saved_or_it_is_a_hole() {
        let dir = tempfile::tempdir().unwrap();
        let mut twin = twin(dir.path());
        let unlimited = twin.limits;
        twin.limits.messages = 3;
        twin.clean(10_000, 100);
        twin.limits = unlimited;
        let rewritten = Arc::clone(&twin.segments.list().segments()[0]);
        assert_eq!(rewritten.stem().generation(), 1);
        let before = twin.walk(0);
        assert_eq!(before.1, [1], "something was dropped");
        let header = Header::clone(rewritten.header().unwrap());
        let made =
            remake(dir.path(), rewritten.stem(), twin.segments.files(), Some(&Arc::new(header)), rewritten.last());
        twin.segments.replace(&[rewritten], Some(Arc::new(made.unwrap())));
        assert_eq!(twin.walk(0), before);
        let rewritten = Arc::clone(&twin.segments.list().segments()[0]);
        fs::remove_file(rewritten.index_path()).unwrap();
        twin.segments = Segments::open(dir.path()).unwrap().segments;
        let whole = Hole { after: Offset(0), upto: rewritten.last() };
        assert_eq!(twin.segments.list().holes(), [whole]);
    }
}
