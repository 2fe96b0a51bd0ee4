//! Records of a segment by their positions, which ascend: reads on from where the last one was.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::super::log::read_into;
use super::super::record::{Damage, Record, Salt, claim};
use super::Segment;

/// Bytes that are read at once, unless a record is larger.
const CHUNK: usize = 128 << 10;

/// A reading.
#[derive(Debug)]
pub struct Records {
    file: Arc<File>,
    salt: Salt,
    buffer: Vec<u8>,
    /// Where `buffer` was read.
    start: u64,
    /// Where the last record ends.
    end: u64,
}

impl Segment {
    /// Records by their positions.
    pub fn records(&self) -> io::Result<Records> {
        Ok(Records { file: self.log_file()?, salt: self.salt, buffer: Vec::new(), start: 0, end: self.log_bytes() })
    }
}

impl Records {
    /// The record at `position`.
    pub fn at(&mut self, position: u64) -> io::Result<Result<Record<'_>, Damage>> {
        let wanted = match claim(self.bytes(position, Record::LEAST)?) {
            Some((wanted, _)) if position + wanted as u64 <= self.end => wanted,
            _ => Record::LEAST,
        };
        let salt = self.salt;
        Ok(Record::decode(self.bytes(position, wanted)?, salt).map(|(record, _)| record))
    }

    /// The bytes from `position` on: `wanted` or more, unless the log ends before.
    fn bytes(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let from = position.checked_sub(self.start).filter(|from| from + wanted as u64 <= self.buffer.len() as u64);
        if from.is_none() {
            read_into(&self.file, position, wanted.max(CHUNK), &mut self.buffer)?;
            self.start = position;
        }
        let from = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..).unwrap_or_default())
    }
}
