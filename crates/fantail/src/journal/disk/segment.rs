//! One segment: its log and its index, which is in memory or in a file.

use std::io;

use fantail_hub::{Millis, Offset};

use super::index::{Hole, Index};
use super::log::LogFile;

/// A stretch of the journal's order.
#[derive(Debug)]
pub struct Segment(());

impl Segment {
    /// One whose index is in memory: open, or not sealed yet. `log_bytes` is where its last record ends.
    pub fn in_memory(_log: LogFile, _index: Index, _log_bytes: u64) -> Self {
        unimplemented!()
    }

    /// The first offset it may hold.
    pub fn base(&self) -> Offset {
        unimplemented!()
    }

    /// The last offset it holds.
    pub fn last(&self) -> Offset {
        unimplemented!()
    }

    /// Its last record's time.
    pub fn last_time(&self) -> Millis {
        unimplemented!()
    }

    /// What is damaged inside.
    pub fn holes(&self) -> &[Hole] {
        unimplemented!()
    }

    /// Its log, for the committer; `None` of one that is sealed.
    pub fn log(&self) -> Option<&LogFile> {
        unimplemented!()
    }

    /// Changes the index in memory: adds what was written, under a lock that readers of this segment wait for.
    /// `log_bytes` is where the last record ends now.
    ///
    /// # Panics
    /// If it is sealed.
    pub fn extend<T>(&self, _log_bytes: u64, _with: impl FnOnce(&mut Index) -> T) -> T {
        unimplemented!()
    }

    /// Calls `with` for each record that has an idempotency key and is not older than `since`, oldest first.
    pub fn keyed(&self, _since: Millis, _with: impl FnMut(&super::record::Record<'_>)) -> io::Result<()> {
        unimplemented!()
    }
}
