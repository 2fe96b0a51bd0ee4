//! What the committer asks of the disk. One implementation passes it on; tests have others, which fail.

use std::io;
use std::sync::Arc;

use fantail_hub::{Millis, Offset};

use super::fence::Fence;
use super::log::LogFile;
use super::segment::Segment;
use super::segments::Segments;

/// The disk, as far as the committer goes.
pub trait Medium: Send {
    /// Writes at the end of a log.
    fn append(&mut self, log: &LogFile, at: u64, bytes: &[u8]) -> io::Result<()> {
        log.append(at, bytes)
    }

    /// Waits until a log is on the disk.
    fn sync(&mut self, log: &LogFile) -> io::Result<()> {
        log.sync()
    }

    /// Cuts a log.
    fn truncate(&mut self, log: &LogFile, bytes: u64) -> io::Result<()> {
        log.truncate(bytes)
    }

    /// Makes a new segment.
    fn begin(
        &mut self,
        segments: &Segments,
        base: Offset,
        after: Offset,
        time: Millis,
        wait: bool,
    ) -> io::Result<Arc<Segment>> {
        segments.begin(base, after, time, wait)
    }

    /// Moves the fence.
    fn advance(&mut self, fence: &mut Fence, stored: Offset, given: Offset) -> io::Result<()> {
        fence.advance(stored, given)
    }
}

/// The machine's.
#[derive(Debug)]
pub struct Disk;

impl Medium for Disk {}
