//! A segment's log file: a header, then records. Knows neither channels nor indexes.

use std::io;
use std::path::{Path, PathBuf};

use fantail_hub::Offset;
use thiserror::Error;

use super::record::Salt;

/// Where records begin.
pub const START: u64 = 64;

/// An open log.
#[derive(Debug)]
pub struct LogFile(());

/// Why a file is no log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The system's words.
    #[error("cannot open the log {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The header is not whole, or not one.
    #[error("{path} has no whole header of a log")]
    Header {
        /// Which.
        path: PathBuf,
    },
    /// Another version of Fantail wrote it.
    #[error("{path} has format version {found}, and this build reads {}", LogFile::VERSION)]
    Version {
        /// Which.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
}

impl LogFile {
    /// The version of the format.
    pub const VERSION: u32 = 1;

    /// A new log for offsets from `base` on, with its header written.
    pub fn create(_path: PathBuf, _base: Offset) -> io::Result<Self> {
        unimplemented!()
    }

    /// An existing one, for reading and writing.
    pub fn open(_path: PathBuf) -> Result<Self, LogError> {
        unimplemented!()
    }

    /// The first offset it may hold.
    pub fn base(&self) -> Offset {
        unimplemented!()
    }

    /// What its records' checksums begin with.
    pub fn salt(&self) -> Salt {
        unimplemented!()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        unimplemented!()
    }

    /// Its bytes at present, the header included.
    pub fn size(&self) -> io::Result<u64> {
        unimplemented!()
    }

    /// Writes at a position, which the caller knows to be the end.
    pub fn append(&self, _at: u64, _bytes: &[u8]) -> io::Result<()> {
        unimplemented!()
    }

    /// Waits until what was written is on the disk (fdatasync).
    pub fn sync(&self) -> io::Result<()> {
        unimplemented!()
    }

    /// Cuts it.
    pub fn truncate(&self, _bytes: u64) -> io::Result<()> {
        unimplemented!()
    }

    /// Reads up to `most` bytes into `out`, which is emptied first; fewer only at the end of the file.
    pub fn read(&self, _position: u64, _most: usize, _out: &mut Vec<u8>) -> io::Result<()> {
        unimplemented!()
    }
}
