//! What a segment holds, by channel, in memory: made as its records are written, or by reading them again.

use std::io;
use std::path::Path;

use fantail_hub::{Millis, Offset};

use super::log::LogFile;
use super::record::{Damage, Record};

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    /// In the journal's order.
    pub offset: Offset,
    /// In the log.
    pub position: u64,
    /// When it was accepted.
    pub time: Millis,
    /// What all entries of this channel in this segment cost, up to and with this one.
    pub cost: u64,
}

/// Offsets after `after` up to and with `upto` may have been lost, in any channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// The last offset that is known to be whole.
    pub after: Offset,
    /// The last that may be missing.
    pub upto: Offset,
}

/// A segment's channels.
#[derive(Debug)]
pub struct Index(());

/// What reading a log again gave.
#[derive(Debug)]
pub struct Rebuilt {
    /// Of all whole records.
    pub index: Index,
    /// Where the last whole record ends: what lies behind it is to be cut off before anything is written there.
    pub end: u64,
    /// Stretches that are no records: from, to, why. The last one may reach to the end of the file; it is not among the
    /// index's holes, since only a fence knows whether anything stood there.
    pub damaged: Vec<(u64, u64, Damage)>,
}

impl Index {
    /// Of a segment that begins with these.
    pub fn new(_base: Offset, _base_time: Millis) -> Self {
        unimplemented!()
    }

    /// Reads a log from its start, with records up to offset `bound` at most. Damage between whole records becomes a hole.
    pub fn rebuild(_log: &LogFile, _bound: Offset) -> io::Result<Rebuilt> {
        unimplemented!()
    }

    /// Whether a record with these can still be added; if not, the segment is to be sealed.
    pub fn fits(&self, _offset: Offset, _time: Millis, _position: u64) -> bool {
        unimplemented!()
    }

    /// Adds the newest record.
    pub fn add(&mut self, _record: &Record<'_>, _position: u64) {
        unimplemented!()
    }

    /// The last offset that was added; the one before the base if there is none.
    pub fn last(&self) -> Offset {
        unimplemented!()
    }

    /// The last record's time; the base's if there is none.
    pub fn last_time(&self) -> Millis {
        unimplemented!()
    }

    /// Positions of the records that have an idempotency key, ascending.
    pub fn keyed(&self) -> &[u32] {
        unimplemented!()
    }

    /// Writes it as the index file at `path`, of a log with this many bytes.
    pub fn write(&self, _path: &Path, _log_bytes: u64) -> io::Result<()> {
        unimplemented!()
    }
}
