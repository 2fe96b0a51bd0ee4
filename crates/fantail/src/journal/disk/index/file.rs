//! An index as a file: a header, then tables that are searched where they lie. Knows the layout and nothing of its use.
//!
//! Behind the header: holes; channels, sorted by the hash of their names; postings, channel by channel; own ids, sorted by
//! hash; positions of keyed records; names. A channel without a name is the floor of one that is not here.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use fantail_hub::{Kind, Millis, Offset};

use super::super::checked::{self, Mark, Reader, Window, Writer};
use super::super::record::{Salt, kind_from_byte, kind_to_byte};
use super::{Hole, Index, Packed, Part, Posting};

const MARK: Mark = Mark { magic: *b"fantail-idx\n", version: 1 };
const HEADER: u64 = 11 * 8;
const HOLE: u64 = 16;
const CHANNEL: u64 = 44;
const POSTING: u64 = 16;
const ID: u64 = 12;
const KEYED: u64 = 4;
/// Steps of a search by interpolation, after which it halves: hashes are uniform, so few are ever needed.
const GUESSES: u32 = 8;

/// What an index says of its segment as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The first offset that the segment may hold.
    pub base: Offset,
    /// The last one.
    pub last: Offset,
    /// The first record's time.
    pub base_time: Millis,
    /// The last record's.
    pub last_time: Millis,
    /// Where the log's last record ends.
    pub log_bytes: u64,
    /// What checksums in the log begin with, so that a damaged header of the log does no harm.
    pub log_salt: Salt,
    /// What all messages cost.
    pub cost: u64,
    /// The floor of channels that are forgotten.
    pub general: Offset,
    /// What may be missing inside, ascending.
    pub holes: Vec<Hole>,
    /// Channels, and floors of such as are not here.
    pub channels: u32,
    /// Keyed records.
    pub keyed: u32,
    postings: u32,
    ids: u32,
    /// The file's salt, which every reader of it needs.
    salt: u32,
}

/// One channel of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Of its name.
    pub hash: u64,
    /// Empty where only a floor is left.
    pub name: Box<str>,
    /// What is here.
    pub part: Part,
}

impl Index {
    /// Writes it as the index file at `path`, of a log with this salt whose last record ends at `log_bytes`. The directory is for the
    /// caller to sync.
    pub fn write(&self, path: &Path, salt: Salt, log_bytes: u64) -> io::Result<u64> {
        let mut rows: Vec<_> =
            self.by_name.iter().map(|(name, &lane)| (super::hash(name), &**name, Some(lane))).collect();
        rows.sort_unstable();
        let here: Vec<u64> = rows.iter().map(|&(hash, ..)| hash).collect();
        rows.extend(self.floors.keys().filter(|hash| here.binary_search(hash).is_err()).map(|&hash| (hash, "", None)));
        rows.sort_unstable();
        let postings: usize = self.lanes.iter().map(|lane| lane.postings.len()).sum();
        let mut ids: Vec<_> = self.ids.iter().map(|(&hash, &offset)| (hash, offset)).collect();
        ids.sort_unstable();

        let mut writer = Writer::create(path.to_owned(), MARK)?;
        let counts = [rows.len(), postings, ids.len(), self.keyed.len(), self.holes.len()].map(|count| count as u64);
        for number in [
            self.base.0,
            self.last.0,
            self.base_time.0,
            self.last_time.0,
            log_bytes,
            self.cost,
            self.general.0,
            counts[0] | counts[1] << 32,
            counts[2] | counts[3] << 32,
            counts[4],
            salt.0.into(),
        ] {
            writer.write(&number.to_le_bytes())?;
        }
        for hole in &self.holes {
            writer.write(&hole.after.0.to_le_bytes())?;
            writer.write(&hole.upto.0.to_le_bytes())?;
        }
        let (mut first, mut name_at) = (0, 0);
        for &(hash, name, lane) in &rows {
            let floor = self.floors.get(&hash).copied().unwrap_or_default();
            let lane = lane.map(|lane| &self.lanes[lane as usize]);
            let count = lane.map_or(0, |lane| lane.postings.len() as u32);
            let newest = lane.and_then(|lane| lane.postings.last());
            let mut row = [0; CHANNEL as usize];
            row[..8].copy_from_slice(&hash.to_le_bytes());
            row[8..16].copy_from_slice(&floor.0.to_le_bytes());
            let numbers = [
                first,
                count,
                name_at,
                lane.map_or(0, |lane| lane.cleared),
                newest.map_or(0, |newest| newest.cost),
                newest.map_or(0, |newest| newest.offset),
            ];
            for (to, number) in row[16..40].chunks_exact_mut(4).zip(numbers) {
                to.copy_from_slice(&number.to_le_bytes());
            }
            row[40] = u8::try_from(name.len()).expect("a name has at most 255 bytes");
            row[41] = lane.map_or(0, |lane| kind_to_byte(lane.newest));
            writer.write(&row)?;
            first += count;
            name_at += name.len() as u32;
        }
        for packed in rows.iter().filter_map(|row| row.2).flat_map(|lane| &self.lanes[lane as usize].postings) {
            writer.write(&packed.bytes())?;
        }
        for (hash, offset) in ids {
            writer.write(&hash.to_le_bytes())?;
            writer.write(&offset.to_le_bytes())?;
        }
        for position in &self.keyed {
            writer.write(&position.to_le_bytes())?;
        }
        for (_, name, _) in rows {
            writer.write(name.as_bytes())?;
        }
        writer.finish()
    }
}

impl Packed {
    fn bytes(self) -> [u8; POSTING as usize] {
        let mut bytes = [0; POSTING as usize];
        for (to, number) in bytes.chunks_exact_mut(4).zip([self.offset, self.position, self.time, self.cost]) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Self {
        Self { offset: word(bytes, 0), position: word(bytes, 4), time: word(bytes, 8), cost: word(bytes, 12) }
    }
}

impl Header {
    /// Reads a file's header.
    ///
    /// # Errors
    /// Of kind `InvalidData` or `UnexpectedEof` if it is damaged, cut, or of another version.
    pub fn read(file: &Arc<File>) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let (reader, mark) = Reader::open(Arc::clone(file))?;
        if mark != MARK {
            return Err(invalid("it is not an index of this version"));
        }
        let mut bytes = [0; HEADER as usize];
        let mut window = reader.window();
        window.read(checked::START, &mut bytes)?;
        let holes = word(&bytes, 72);
        let mut header = Self {
            base: Offset(long(&bytes, 0)),
            last: Offset(long(&bytes, 8)),
            base_time: Millis(long(&bytes, 16)),
            last_time: Millis(long(&bytes, 24)),
            log_bytes: long(&bytes, 32),
            log_salt: Salt(word(&bytes, 80)),
            cost: long(&bytes, 40),
            general: Offset(long(&bytes, 48)),
            holes: Vec::new(),
            channels: word(&bytes, 56),
            postings: word(&bytes, 60),
            ids: word(&bytes, 64),
            keyed: word(&bytes, 68),
            salt: reader.salt(),
        };
        if u64::from(holes) * HOLE > file.metadata()?.len() {
            return Err(invalid("it is cut"));
        }
        for number in 0..u64::from(holes) {
            let mut bytes = [0; HOLE as usize];
            window.read(checked::START + HEADER + number * HOLE, &mut bytes)?;
            header.holes.push(Hole { after: Offset(long(&bytes, 0)), upto: Offset(long(&bytes, 8)) });
        }
        if header.names() > file.metadata()?.len() {
            return Err(invalid("it is cut"));
        }
        Ok(header)
    }

    /// Something that searches the file that this is the header of.
    pub fn look(self: &Arc<Self>, file: Arc<File>) -> Look {
        Look { window: Reader::with_salt(file, self.salt).window(), header: Arc::clone(self) }
    }

    fn table(&self) -> u64 {
        checked::START + HEADER + self.holes.len() as u64 * HOLE
    }

    fn postings(&self) -> u64 {
        self.table() + u64::from(self.channels) * CHANNEL
    }

    fn ids(&self) -> u64 {
        self.postings() + u64::from(self.postings) * POSTING
    }

    fn keyed(&self) -> u64 {
        self.ids() + u64::from(self.ids) * ID
    }

    fn names(&self) -> u64 {
        self.keyed() + u64::from(self.keyed) * KEYED
    }
}

/// Searches an index file. Every method fails with `InvalidData` or `UnexpectedEof` where the file is damaged.
#[derive(Debug)]
pub struct Look {
    header: Arc<Header>,
    window: Window,
}

impl Look {
    /// What is here of a channel.
    pub fn part(&mut self, hash: u64, name: &str) -> io::Result<Option<Part>> {
        let (count, table) = (self.header.channels, self.header.table());
        let Some(first) = self.search(count, table, CHANNEL, hash)? else { return Ok(None) };
        let (mut floor, mut found) = (Offset(0), None);
        for number in first..count {
            let (row, name_at, length) = self.row_without_name(number)?;
            if row.hash != hash {
                break;
            }
            floor = floor.max(row.part.floor);
            // Names are told apart only where another has the same hash, or something is wrong.
            if length > 0 && length == name.len() && *self.name(name_at, length)? == *name {
                found = Some(row.part);
            }
        }
        Ok(match found {
            Some(part) => Some(Part { floor, ..part }),
            None => (floor > Offset(0)).then(|| Part::floor_only(floor)),
        })
    }

    /// A row of the table. Rows and names are far from each other, so whoever reads many has another look at the names.
    pub fn row(&mut self, number: u32, names: &mut Self) -> io::Result<Row> {
        let (row, name_at, length) = self.row_without_name(number)?;
        let name = if length > 0 { names.name(name_at, length)? } else { row.name };
        Ok(Row { name, ..row })
    }

    /// A row's hash and floor, which need no name.
    pub fn floor(&mut self, number: u32) -> io::Result<(u64, Offset)> {
        self.row_without_name(number).map(|(row, ..)| (row.hash, row.part.floor))
    }

    fn row_without_name(&mut self, number: u32) -> io::Result<(Row, u32, usize)> {
        let mut bytes = [0; CHANNEL as usize];
        self.window.read(self.header.table() + u64::from(number) * CHANNEL, &mut bytes)?;
        let (lane, count, name_at, cleared) = (word(&bytes, 16), word(&bytes, 20), word(&bytes, 24), word(&bytes, 28));
        let last = if count > 0 { self.header.base.0 + u64::from(word(&bytes, 36)) } else { 0 };
        let part = Part {
            floor: Offset(long(&bytes, 8)),
            count,
            cost: word(&bytes, 32).into(),
            last: Offset(last),
            newest: kind_from_byte(bytes[41]).unwrap_or(Kind::Data),
            cleared: cleared.saturating_sub(1),
            clears: cleared > 0,
            lane,
        };
        Ok((Row { hash: long(&bytes, 0), name: "".into(), part }, name_at, bytes[40].into()))
    }

    fn name(&mut self, at: u32, length: usize) -> io::Result<Box<str>> {
        let mut bytes = vec![0; length];
        self.window.read(self.header.names() + u64::from(at), &mut bytes)?;
        let name = String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(name.into_boxed_str())
    }

    /// Postings of a channel by their numbers.
    pub fn postings(&mut self, part: &Part, range: Range<u32>, out: &mut Vec<Posting>) -> io::Result<()> {
        let mut bytes = vec![0; range.len() * POSTING as usize];
        let first = u64::from(part.lane) + u64::from(range.start);
        self.window.read(self.header.postings() + first * POSTING, &mut bytes)?;
        let unpack = |bytes| Packed::read(bytes).unpack(self.header.base, self.header.base_time);
        out.extend(bytes.chunks_exact(POSTING as usize).map(unpack));
        Ok(())
    }

    /// Where the newest entry with this hash of an own id may stand.
    pub fn id(&mut self, hash: u64) -> io::Result<Option<Offset>> {
        let Some(number) = self.search(self.header.ids, self.header.ids(), ID, hash)? else { return Ok(None) };
        let mut bytes = [0; ID as usize];
        self.window.read(self.header.ids() + u64::from(number) * ID, &mut bytes)?;
        Ok(Some(Offset(self.header.base.0 + u64::from(word(&bytes, 8)))))
    }

    /// The position of a keyed record, by its number.
    pub fn keyed(&mut self, number: u32) -> io::Result<u64> {
        let mut bytes = [0; KEYED as usize];
        self.window.read(self.header.keyed() + u64::from(number) * KEYED, &mut bytes)?;
        Ok(word(&bytes, 0).into())
    }

    /// The first of `count` items of `size` bytes from `start` on that begins with `wanted`; they are sorted by that.
    fn search(&mut self, count: u32, start: u64, size: u64, wanted: u64) -> io::Result<Option<u32>> {
        let mut hash_at = |number: u32| {
            let mut bytes = [0; 8];
            self.window.read(start + u64::from(number) * size, &mut bytes).map(|()| u64::from_le_bytes(bytes))
        };
        // The first one lies in `low..=high`; those before are lower, those from `high` on are not.
        let (mut low, mut high) = (0, count);
        let (mut low_hash, mut high_hash) = (0, u64::MAX);
        let mut guesses = 0;
        while low < high {
            let wide = u128::from(high - low);
            let middle = if guesses < GUESSES {
                let far = u128::from(wanted - low_hash) * wide / (u128::from(high_hash - low_hash) + 1);
                low + far as u32
            } else {
                low + (high - low) / 2
            };
            guesses += 1;
            let hash = hash_at(middle)?;
            if hash < wanted {
                (low, low_hash) = (middle + 1, hash);
            } else {
                (high, high_hash) = (middle, hash);
            }
        }
        Ok(if low < count && hash_at(low)? == wanted { Some(low) } else { None })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
