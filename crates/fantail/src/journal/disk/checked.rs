//! A file of checked blocks as one stretch of bytes, any part of which is read and checked by itself. Knows no content.
//!
//! A block is 4092 bytes and the checksum of them, begun with the file's salt and the block's number: so a block from
//! elsewhere does not pass. The first one begins with a magic, a version and the salt; content follows at [`START`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BLOCK: usize = 4096;
const PAYLOAD: usize = BLOCK - 4;
/// Blocks that a [`Window`] reads at once when it is read in order.
const AHEAD: usize = 16;

/// Where content begins.
pub const START: u64 = 20;

/// What a file begins with: whose it is, and in which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Whose.
    pub magic: [u8; 12],
    /// Which version.
    pub version: u32,
}

/// Writes a new file from its start to its end, under a temporary name.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    salt: u32,
    /// Blocks that are written.
    blocks: u64,
    /// What is not written yet: whole blocks with their checksums, and the payload of the last one.
    buffer: Vec<u8>,
    /// Where the last block begins in `buffer`.
    open: usize,
}

impl Writer {
    /// Begins the file that will be at `path`.
    pub fn create(path: PathBuf, mark: Mark) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temporary(&path))?;
        let salt = fastrand::u32(..);
        let mut writer = Self { file, path, salt, blocks: 0, buffer: Vec::with_capacity(AHEAD * BLOCK), open: 0 };
        writer.write(&mark.magic)?;
        writer.write(&mark.version.to_le_bytes())?;
        writer.write(&salt.to_le_bytes())?;
        Ok(writer)
    }

    /// Adds bytes.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PAYLOAD - (self.buffer.len() - self.open)));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() - self.open == PAYLOAD {
                self.close_block()?;
            }
        }
        Ok(())
    }

    /// Writes the rest, waits for the disk and gives the file its name. The directory is for the caller to sync.
    pub fn finish(mut self) -> io::Result<u64> {
        if self.buffer.len() > self.open {
            self.buffer.resize(self.open + PAYLOAD, 0);
            self.close_block()?;
        }
        self.file.write_all(&self.buffer)?;
        self.file.sync_all()?;
        fs::rename(temporary(&self.path), &self.path)?;
        Ok(self.blocks * BLOCK as u64)
    }

    fn close_block(&mut self) -> io::Result<()> {
        let checksum = checksum(self.salt, self.blocks, &self.buffer[self.open..]);
        self.buffer.extend_from_slice(&checksum.to_le_bytes());
        self.blocks += 1;
        self.open = self.buffer.len();
        if self.open >= AHEAD * BLOCK {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
            self.open = 0;
        }
        Ok(())
    }
}

/// The name that a file has until it is whole.
pub fn temporary(path: &Path) -> PathBuf {
    path.with_added_extension("tmp")
}

/// Reads any part of a file.
#[derive(Debug, Clone)]
pub struct Reader {
    file: Arc<File>,
    salt: u32,
}

impl Reader {
    /// Reads the file's mark and salt from its first block.
    ///
    /// # Errors
    /// Of kind `InvalidData` if the first block is damaged.
    pub fn open(file: Arc<File>) -> io::Result<(Self, Mark)> {
        let mut block = [0; BLOCK];
        read_whole(&file, 0, &mut block)?;
        let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        let (version, salt) = (word(12), word(16));
        check(salt, 0, &block)?;
        let mut magic = [0; 12];
        magic.copy_from_slice(&block[..12]);
        Ok((Self { file, salt }, Mark { magic, version }))
    }

    /// The same file, when its salt is known.
    pub fn with_salt(file: Arc<File>, salt: u32) -> Self {
        Self { file, salt }
    }

    /// See [`Reader::with_salt`].
    pub fn salt(&self) -> u32 {
        self.salt
    }

    /// Something that reads stretches near each other.
    pub fn window(&self) -> Window {
        Window { reader: self.clone(), first: 0, blocks: 0, buffer: Vec::new() }
    }
}

/// Reads stretches of a file and remembers the blocks of the last one, for the next is often near.
#[derive(Debug)]
pub struct Window {
    reader: Reader,
    /// The number of the first block in `buffer`.
    first: u64,
    blocks: u64,
    buffer: Vec<u8>,
}

impl Window {
    /// Fills `out` with the bytes from `position` on.
    ///
    /// # Errors
    /// Of kind `InvalidData` where a checksum is wrong, `UnexpectedEof` beyond the end.
    pub fn read(&mut self, position: u64, out: &mut [u8]) -> io::Result<()> {
        let (mut position, mut out) = (position, out);
        while !out.is_empty() {
            let (block, within) = (position / PAYLOAD as u64, (position % PAYLOAD as u64) as usize);
            if block < self.first || block >= self.first + self.blocks {
                self.load(block, out.len().saturating_add(within).div_ceil(PAYLOAD))?;
            }
            let start = (block - self.first) as usize * BLOCK + within;
            let bytes = out.len().min(PAYLOAD - within);
            let (now, later) = out.split_at_mut(bytes);
            now.copy_from_slice(&self.buffer[start..start + bytes]);
            position += bytes as u64;
            out = later;
        }
        Ok(())
    }

    /// Reads `block` and as many behind it as are wanted: more where it follows the last one, for then all will be read.
    fn load(&mut self, block: u64, wanted: usize) -> io::Result<()> {
        let follows = self.blocks > 0 && block == self.first + self.blocks;
        let wanted = if follows { AHEAD } else { wanted.min(AHEAD) };
        self.blocks = 0;
        self.buffer.resize(wanted * BLOCK, 0);
        let bytes = read_most(&self.reader.file, block * BLOCK as u64, &mut self.buffer)?;
        let whole = bytes / BLOCK;
        if whole == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, bytes) in (block..).zip(self.buffer[..whole * BLOCK].chunks_exact(BLOCK)) {
            if let Err(error) = check(self.reader.salt, number, bytes) {
                // What lies ahead may never be asked for.
                if number == block {
                    return Err(error);
                }
                break;
            }
            self.blocks += 1;
        }
        self.first = block;
        Ok(())
    }
}

/// Reads a whole file and gives the positions of blocks that are damaged; of the first one, if the file has no salt that
/// could be told.
pub fn damaged(file: &File) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; AHEAD * BLOCK];
    let (mut position, mut damaged, mut salt) = (0, Vec::new(), 0);
    loop {
        let read = read_most(file, position, &mut bytes)?;
        for (number, block) in (position / BLOCK as u64..).zip(bytes[..read].chunks(BLOCK)) {
            if number == 0 && block.len() == BLOCK {
                salt = u32::from_le_bytes([block[16], block[17], block[18], block[19]]);
            }
            if block.len() < BLOCK || check(salt, number, block).is_err() {
                damaged.push(number * BLOCK as u64);
                if number == 0 {
                    return Ok(damaged);
                }
            }
        }
        position += read as u64;
        if read < bytes.len() {
            return Ok(damaged);
        }
    }
}

fn checksum(salt: u32, block: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&block.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn check(salt: u32, number: u64, block: &[u8]) -> io::Result<()> {
    let (payload, expected) = block.split_at(PAYLOAD);
    if checksum(salt, number, payload).to_le_bytes() == expected {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("the checksum of block {number} is wrong")))
}

fn read_whole(file: &File, at: u64, out: &mut [u8]) -> io::Result<()> {
    if read_most(file, at, out)? < out.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it ends in its first block"));
    }
    Ok(())
}

/// Fills as much of `out` as the file has.
pub(super) fn read_most(file: &File, at: u64, out: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < out.len() {
        match file.read_at(&mut out[read..], at + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { magic: *b"fantail-test", version: 7 };

    fn write(path: &Path, content: &[u8]) {
        let mut writer = Writer::create(path.to_owned(), MARK).unwrap();
        for piece in content.chunks(1000) {
            writer.write(piece).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), fs::metadata(path).unwrap().len());
    }

    fn open(path: &Path) -> io::Result<Reader> {
        Reader::open(Arc::new(File::open(path)?)).map(|(reader, mark)| {
            assert_eq!(mark, MARK);
            reader
        })
    }

    #[test]
    fn stretch_anywhere_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.idx");
        let content: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        write(&path, &content);
        let reader = open(&path).unwrap();
        let mut window = reader.window();
        for (at, bytes) in [(0, 1), (4071, 2), (4072, 5000), (5000, 190_000), (199_999, 1), (3, 4), (100_000, 8)] {
            let mut out = vec![0; bytes];
            window.read(START + at as u64, &mut out).unwrap();
            assert_eq!(out, content[at..at + bytes], "{bytes} bytes at {at}");
        }
        assert_eq!(window.read(300_000, &mut [0]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn flipped_bit_fails_its_own_block_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.idx");
        write(&path, &[5; 3 * PAYLOAD]);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            let Ok(reader) = Reader::open(Arc::new(File::open(&path).unwrap())) else {
                assert!(at < BLOCK, "byte {at} is not in the first block");
                continue;
            };
            let hit = (at / BLOCK * BLOCK) as u64;
            assert_eq!(damaged(&File::open(&path).unwrap()).unwrap(), [hit], "byte {at}");
            let mut window = reader.0.window();
            for block in 1..3 {
                let read = window.read((block * PAYLOAD) as u64, &mut [0; 16]);
                assert_eq!(read.is_err(), at / BLOCK == block, "byte {at}, block {block}");
            }
        }
    }

    #[test]
    fn block_of_another_place_does_not_pass() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.idx");
        write(&path, &[5; 3 * PAYLOAD]);
        let mut bytes = fs::read(&path).unwrap();
        bytes.copy_within(BLOCK..2 * BLOCK, 2 * BLOCK);
        fs::write(&path, &bytes).unwrap();
        let reader = open(&path).unwrap();
        let error = reader.window().read(2 * PAYLOAD as u64, &mut [0]).unwrap_err();
        assert_eq!(error.to_string(), "the checksum of block 2 is wrong");
    }
}
