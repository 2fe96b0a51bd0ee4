//! A segment's log file: a header, then records. Knows neither channels nor indexes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fantail_hub::Offset;
use thiserror::Error;

use super::checked::read_most;
use super::record::Salt;

/// Where records begin.
pub const START: u64 = 64;

const MAGIC: [u8; 12] = *b"fantail-log\n";

/// An open log.
#[derive(Debug, Clone)]
pub struct LogFile {
    file: Arc<File>,
    path: Arc<Path>,
    base: Offset,
    after: Offset,
    salt: Salt,
}

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

impl LogError {
    /// The file that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. } | Self::Header { path } | Self::Version { path, .. } => path,
        }
    }
}

impl LogFile {
    /// The version of the format.
    pub const VERSION: u32 = 1;

    /// A new log for offsets from `base` on, behind the message at `after`, with its header written. The directory is for the
    /// caller to sync.
    pub fn create(path: &Path, base: Offset, after: Offset) -> io::Result<Self> {
        // Not `create_new`: what a failed attempt left must not be in the way of the next.
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let salt = Salt(fastrand::u32(..));
        file.write_all_at(&header(base, after, salt), 0)?;
        Ok(Self { file: Arc::new(file), path: path.into(), base, after, salt })
    }

    /// An existing one, for reading and, where `write`, for cutting and going on.
    pub fn open(path: &Path, write: bool) -> Result<Self, LogError> {
        let of = |source| LogError::Io { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(write).open(path).map_err(of)?;
        let mut bytes = [0; START as usize];
        let read = read_most(&file, 0, &mut bytes).map_err(of)?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (found, salt) = (word(12), Salt(word(16)));
        let offset = |at: usize| Offset(u64::from(word(at)) | u64::from(word(at + 4)) << 32);
        let (base, after) = (offset(20), offset(28));
        if read < bytes.len() || bytes[..12] != MAGIC || word(36) != crc32fast::hash(&bytes[..36]) {
            return Err(LogError::Header { path: path.to_owned() });
        }
        if found != Self::VERSION {
            return Err(LogError::Version { path: path.to_owned(), found });
        }
        Ok(Self { file: Arc::new(file), path: path.into(), base, after, salt })
    }

    /// The last offset that was stored when it was made: between that and its base nothing is missing.
    pub fn after(&self) -> Offset {
        self.after
    }

    /// The first offset it may hold.
    pub fn base(&self) -> Offset {
        self.base
    }

    /// What its records' checksums begin with.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes at present, the header included.
    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes at a position, which the caller knows to be the end.
    pub fn append(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Waits until what was written is on the disk (fdatasync).
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Cuts it.
    pub fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    /// Reads up to `most` bytes into `out`, in place of what is there; fewer only at the end of the file.
    pub fn read(&self, position: u64, most: usize, out: &mut Vec<u8>) -> io::Result<()> {
        read_into(&self.file, position, most, out)
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }
}

pub(super) fn read_into(file: &File, position: u64, most: usize, out: &mut Vec<u8>) -> io::Result<()> {
    // Grown, never shrunk and grown again: what is new in a buffer is cleared first.
    if out.len() < most {
        out.resize(most, 0);
    }
    let read = read_most(file, position, &mut out[..most])?;
    out.truncate(read);
    Ok(())
}

fn header(base: Offset, after: Offset, salt: Salt) -> [u8; START as usize] {
    let mut bytes = [0; START as usize];
    bytes[..12].copy_from_slice(&MAGIC);
    bytes[12..16].copy_from_slice(&LogFile::VERSION.to_le_bytes());
    bytes[16..20].copy_from_slice(&salt.0.to_le_bytes());
    bytes[20..28].copy_from_slice(&base.0.to_le_bytes());
    bytes[28..36].copy_from_slice(&after.0.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..36]);
    bytes[36..40].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn log_that_was_written_opens_with_its_salt_and_base() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let log = LogFile::create(&path, Offset(7 << 40), Offset(5 << 40)).unwrap();
        log.append(START, b"hello").unwrap();
        let again = LogFile::open(&path, false).unwrap();
        assert_eq!((again.base(), again.after(), again.salt()), (Offset(7 << 40), Offset(5 << 40), log.salt()));
        let mut out = Vec::new();
        again.read(START + 1, 100, &mut out).unwrap();
        assert_eq!(out, b"ello");
    }

    #[test]
    fn header_cut_or_flipped_anywhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        LogFile::create(&path, Offset(1), Offset(0)).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..40 {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, &bytes).unwrap();
            assert!(matches!(LogFile::open(&path, false), Err(LogError::Header { .. })), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(matches!(LogFile::open(&path, false), Err(LogError::Header { .. })), "{at} bytes");
        }
    }

    #[test]
    fn log_of_another_version_is_named_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        LogFile::create(&path, Offset(1), Offset(0)).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[12] = 2;
        let checksum = crc32fast::hash(&bytes[..36]);
        bytes[36..40].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        let error = LogFile::open(&path, false).unwrap_err().to_string();
        assert!(error.ends_with("a.log has format version 2, and this build reads 1"), "{error}");
    }
}
