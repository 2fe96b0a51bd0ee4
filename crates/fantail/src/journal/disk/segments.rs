//! All segments in order: what the journal holds. Readers take the list as it is and never wait for whoever changes it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use fantail_hub::{Millis, Offset};
use thiserror::Error;

use super::index::{Hole, Index};
use super::log::{LogError, LogFile};
use super::segment::Segment;

/// The list.
#[derive(Debug)]
pub struct Segments(());

/// What a directory holds.
#[derive(Debug)]
pub struct Found {
    /// With an index that can be read, or one that was rebuilt (sealed segments whose index was damaged).
    pub segments: Segments,
    /// Logs without an index, ascending by base: at most the open one and one that was being sealed when the process went.
    pub bare: Vec<LogFile>,
    /// Files that are no logs although they are called so: their headers are damaged.
    pub broken: Vec<LogError>,
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
    /// Lists a directory: takes leftovers away, opens what is sealed by its header alone, rebuilds indexes that are of an
    /// older version or damaged.
    pub fn open(_dir: PathBuf) -> io::Result<Found> {
        unimplemented!()
    }

    /// Makes a new open segment and puts it at the end; syncs the directory.
    pub fn begin(&self, _base: Offset, _time: Millis) -> io::Result<Arc<Segment>> {
        unimplemented!()
    }

    /// Puts a segment whose index is in memory at the end.
    pub fn push(&self, _log: LogFile, _index: Index, _log_bytes: u64) -> Arc<Segment> {
        unimplemented!()
    }

    /// Writes a segment's index beside it and swaps it for its sealed self, which reads from the file. Meant for a thread in
    /// the background.
    pub fn seal(&self, _segment: &Arc<Segment>) -> io::Result<()> {
        unimplemented!()
    }

    /// The newest offset of all; 0 if there is none.
    pub fn last(&self) -> Offset {
        unimplemented!()
    }

    /// All of them, oldest first, as they are now.
    pub fn list(&self) -> Arc<[Arc<Segment>]> {
        unimplemented!()
    }

    /// Adds what may have been lost between or behind segments.
    pub fn add_hole(&self, _hole: Hole) {
        unimplemented!()
    }

    /// Raises the floor of every channel.
    pub fn raise(&self, _floor: Offset) {
        unimplemented!()
    }

    /// Figures.
    pub fn totals(&self) -> Totals {
        unimplemented!()
    }
}
