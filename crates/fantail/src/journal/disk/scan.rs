//! Walks a log in bounded memory, record by record, and finds its way on where bytes are damaged.

use std::io;

use fantail_hub::Offset;

use super::log::LogFile;
use super::record::{Damage, Record};

/// A walk.
#[derive(Debug)]
pub struct Scan<'a> {
    _log: &'a LogFile,
}

/// What a walk comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole record.
    Found {
        /// Where it begins.
        position: u64,
        /// Itself.
        record: Record<'a>,
        /// Its bytes.
        bytes: usize,
    },
    /// A stretch that is no record.
    Damaged {
        /// Where it begins.
        position: u64,
        /// Where whole records begin again, or the end of the file.
        upto: u64,
        /// What is wrong with its beginning.
        why: Damage,
    },
}

impl<'a> Scan<'a> {
    /// A walk from `position` on. Offsets lie above `after` and not above `bound`, in ascending order: whatever else claims
    /// to be a record is none.
    pub fn new(_log: &'a LogFile, _position: u64, _after: Offset, _bound: Offset) -> Self {
        unimplemented!()
    }

    /// The next step; `None` at the end of the file.
    pub fn step(&mut self) -> io::Result<Option<Step<'_>>> {
        unimplemented!()
    }
}
