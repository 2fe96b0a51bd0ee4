//! Writes a run of neighbouring segments anew, as one, with what is kept of them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use fantail_hub::{Millis, Offset};

use super::super::checked::temporary;
use super::super::index::{Hole, Index, Posting};
use super::super::log::{LogFile, START};
use super::super::record::Record;
use super::super::segment::{Segment, View};
use super::super::segments::Segments;
use super::super::stem::{Run, Stem};
use super::Resident;

/// Bytes that are written at once.
const CHUNK: usize = 1 << 20;

/// A run, and what is to become of its channels.
#[derive(Debug)]
pub(super) struct Plan {
    /// The first one's number in the list.
    first: usize,
    segments: Vec<Arc<Segment>>,
    /// For each segment and each row of its table, the first entry that is kept.
    starts: Vec<Vec<u32>>,
    /// What channels will have lost by it, by the hash of their names.
    floors: HashMap<u64, Offset>,
}

impl Plan {
    pub(super) fn new(first: usize, segments: &[Arc<Segment>]) -> Self {
        // A row that nobody takes note of stays as it is.
        let starts =
            segments.iter().map(|segment| vec![0; segment.header().map_or(0, |header| header.channels as usize)]);
        Self { first, segments: segments.to_vec(), starts: starts.collect(), floors: HashMap::new() }
    }

    pub(super) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.log_bytes()).sum()
    }

    /// Takes note of a channel. `general` will be the floor of those that are forgotten.
    pub(super) fn note(&mut self, resident: &Resident<'_>, general: Offset) {
        let here = |segment: usize| segment.checked_sub(self.first).filter(|&number| number < self.segments.len());
        // What is merely hidden by a limit is not relied on: the limit may be another one after a restart.
        let elsewhere = resident.places.iter().any(|place| here(place.segment).is_none() && place.part.count > 0);
        let forgotten = resident.sweep.messages() == 0 && resident.sweep.own_floor() <= general && !elsewhere;
        // Newest first; older floors have nothing to say that a newer one does not.
        let mut said = forgotten;
        for place in resident.places {
            let Some(number) = here(place.segment) else {
                said |= place.part.floor > Offset(0);
                continue;
            };
            if place.part.count > 0 {
                self.starts[number][place.row as usize] = place.start;
            }
            let floor = place.part.floor.max(place.dropped);
            if floor > Offset(0) && !std::mem::replace(&mut said, true) {
                let known = self.floors.entry(resident.hash).or_default();
                *known = floor.max(*known);
            }
        }
    }

    /// Empties the logs of a run of which nothing is kept, to make room for what takes their place. Their indexes still say
    /// what was there, so whatever is asked meanwhile is answered as before, or with a gap.
    pub(super) fn give_up_logs(&self) -> io::Result<()> {
        for segment in &self.segments {
            File::options().write(true).open(segment.log_path())?.set_len(0)?;
        }
        Ok(())
    }

    /// Writes the new segment, puts it into the list and takes the old files away. Gives the bytes of the new log, or `None`
    /// if the list has changed meanwhile.
    pub(super) fn carry_out(&self, segments: &Segments, general: Offset) -> io::Result<Option<u64>> {
        let (base, last) = (self.segments[0].base(), self.segments[self.segments.len() - 1].last());
        let generation = self.segments.iter().map(|segment| segment.stem().generation()).max().unwrap_or_default() + 1;
        let stem = Stem { base, run: Some(Run { last, generation }) };
        let mut index = Index::new(base, Millis(0));
        index.raise_all(self.segments.iter().map(|segment| segment.general()).max().unwrap_or_default().max(general));
        for (&hash, &floor) in &self.floors {
            index.raise(hash, floor);
        }
        for hole in self.segments.iter().flat_map(|segment| segment.holes()) {
            index.add_hole(*hole);
        }
        let path = stem.log(segments.dir());
        let written = self.write(&temporary(&path), index).and_then(|mut to| {
            to.index.reach(last);
            to.index.write(&stem.index(segments.dir()), to.log.salt(), to.end)?;
            fs::rename(temporary(&path), &path)?;
            segments.sync()?;
            let new = Arc::new(Segment::sealed(segments.dir(), stem, segments.files(), false)?);
            self.segments.iter().try_for_each(|segment| segment.retire())?;
            Ok((to, new))
        });
        let (to, new) = match written {
            Ok(written) => written,
            Err(error) => {
                // Most likely there is no room: then it is not to be held by a half. And what is not in the list is not to be
                // found by a start beside what takes its place otherwise.
                let index = stem.index(segments.dir());
                for left in [&path, &temporary(&path), &index, &temporary(&index)] {
                    remove(left)?;
                }
                return Err(error);
            }
        };
        // Where nothing is left that anybody could ask for, the new one is only there while the old ones are taken away. The
        // oldest stays: from where it begins on, holes are remembered. So does the newest: the open one is known to follow it.
        let blank = self.first > 0
            && to.index.is_blank()
            && self.is_general_elsewhere(segments, new.general())
            && segments.list().segments().iter().any(|other| other.is_sealed() && other.base() > last);
        if !segments.replace(&self.segments, (!blank).then_some(new)) {
            remove(&stem.index(segments.dir()))?;
            remove(&path)?;
            return Ok(None);
        }
        for segment in &self.segments {
            remove(segment.index_path())?;
            remove(segment.log_path())?;
        }
        if blank {
            remove(&stem.index(segments.dir()))?;
            remove(&path)?;
        }
        Ok(Some(to.end))
    }

    fn write(&self, path: &Path, index: Index) -> io::Result<Target> {
        let log = LogFile::create(path, index.base(), Offset(index.base().0.saturating_sub(1)))?;
        let mut to = Target { log, end: START, bytes: Vec::new(), index };
        for (segment, starts) in self.segments.iter().zip(&self.starts) {
            to.copy(segment, starts)?;
        }
        to.flush()?;
        to.log.sync()?;
        Ok(to)
    }

    fn is_general_elsewhere(&self, segments: &Segments, general: Offset) -> bool {
        let list = segments.list();
        let others = list.segments().iter().filter(|other| !self.segments.iter().any(|own| Arc::ptr_eq(own, other)));
        general == Offset(0) || others.map(|other| other.general()).any(|other| other >= general)
    }
}

/// What is being written.
struct Target {
    log: LogFile,
    /// Where `bytes` will begin.
    end: u64,
    bytes: Vec<u8>,
    index: Index,
}

impl Target {
    /// Copies what is kept of a segment, in the order of offsets.
    fn copy(&mut self, segment: &Segment, starts: &[u32]) -> io::Result<()> {
        let mut view = View::new(segment);
        let mut kept: Vec<(u32, u32)> = Vec::new();
        let mut postings: Vec<Posting> = Vec::new();
        let mut first = 0;
        while (first as usize) < starts.len() {
            let rows = segment.rows(first, 1024)?;
            for (row, &start) in rows.iter().zip(&starts[first as usize..]) {
                postings.clear();
                view.postings(&row.part, start.min(row.part.count)..row.part.count, &mut postings)?;
                let far = |offset: Offset| u32::try_from(offset.0 - segment.base().0).unwrap_or(u32::MAX);
                kept.extend(postings.iter().map(|posting| (posting.position as u32, far(posting.offset))));
            }
            first += rows.len().max(1) as u32;
        }
        kept.sort_unstable();
        // A message and the end behind it are one record.
        kept.dedup_by_key(|(position, _)| *position);
        let mut records = segment.records()?;
        for (position, far) in kept {
            match records.at(position.into())? {
                Ok(record) => self.add(&record)?,
                Err(why) => {
                    let (file, offset) = (segment.log_path().display(), segment.base().0 + u64::from(far));
                    tracing::error!(%file, position, offset, %why, "a record is damaged and is left behind");
                    self.index.add_hole(Hole { after: Offset(offset - 1), upto: Offset(offset) });
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.index.add(record, self.end + self.bytes.len() as u64);
        record.encode(self.log.salt(), &mut self.bytes);
        if self.bytes.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.append(self.end, &self.bytes)?;
        self.end += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
