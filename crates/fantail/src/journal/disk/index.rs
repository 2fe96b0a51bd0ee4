//! What a segment holds, by channel, in memory: made as its records are written, or by reading them again. Knows no files
//! but the log that it is rebuilt from; [`file`] keeps the same on the disk.

pub mod file;

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use fantail_hub::{Kind, Message, Millis, Offset};
use sha2::{Digest, Sha256};

use self::file::Row;
use super::log::{LogFile, START};
use super::record::{Damage, Record};
use super::scan::{Scan, Step};

/// Channels in one segment, beyond which it is sealed: each costs about 200 bytes of memory until then.
const MOST_CHANNELS: usize = 1 << 18;
/// Bytes of a log, and cost of its messages, beyond which it is sealed. One more record fits into 32 bits all the same.
const MOST_BYTES: u64 = 2 << 30;

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

/// One channel in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The highest offset that is no longer here; 0 if nothing is missing.
    pub floor: Offset,
    /// Entries that are here.
    pub count: u32,
    /// What they cost.
    pub cost: u64,
    /// The newest of them; 0 if there is none.
    pub last: Offset,
    /// What that one is.
    pub newest: Kind,
    /// The entry from which on the channel was not cleared; 0 is the first.
    pub cleared: u32,
    /// Whether a clearing entry is here.
    pub clears: bool,
    /// Where its postings are.
    lane: u32,
}

/// A segment's channels.
#[derive(Debug)]
pub struct Index {
    base: Offset,
    base_time: Millis,
    last: Offset,
    last_time: Millis,
    /// What all messages cost.
    cost: u64,
    lanes: Vec<Lane>,
    by_name: HashMap<Box<str>, u32>,
    /// Where own ids stand, by [`id_hash`]: the newest entry of each, as a distance from the base.
    ids: HashMap<u64, u32>,
    /// Positions of records with an idempotency key.
    keyed: Vec<u32>,
    /// What channels lost when the segment was written anew, by [`hash`].
    floors: HashMap<u64, Offset>,
    /// The floor of all channels.
    general: Offset,
    holes: Vec<Hole>,
}

/// One channel's entries.
#[derive(Debug)]
struct Lane {
    postings: Vec<Packed>,
    /// One more than the number of the newest entry that clears; 0 if there is none.
    cleared: u32,
    newest: Kind,
}

/// A posting as distances from the segment's base.
#[derive(Debug, Clone, Copy)]
struct Packed {
    offset: u32,
    position: u32,
    time: u32,
    cost: u32,
}

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

/// A channel's name as tables sort it: stable and uniform.
pub fn hash(name: &str) -> u64 {
    first_bytes(Sha256::digest(name))
}

/// An own id in its channel. Two that are alike are told apart by the record.
pub fn id_hash(channel: &str, id: &str) -> u64 {
    first_bytes(Sha256::new().chain_update(channel).chain_update([0]).chain_update(id).finalize())
}

fn first_bytes(digest: impl AsRef<[u8]>) -> u64 {
    let (first, _) = digest.as_ref().split_first_chunk().expect("a digest has 32 bytes");
    u64::from_be_bytes(*first)
}

impl Index {
    /// Of a segment that begins with these. The time is the first record's as soon as there is one.
    pub fn new(base: Offset, base_time: Millis) -> Self {
        Self {
            base,
            base_time,
            last: Offset(base.0.saturating_sub(1)),
            last_time: base_time,
            cost: 0,
            lanes: Vec::new(),
            by_name: HashMap::new(),
            ids: HashMap::new(),
            keyed: Vec::new(),
            floors: HashMap::new(),
            general: Offset(0),
            holes: Vec::new(),
        }
    }

    /// Reads a log from its start, with records up to offset `bound` at most. Damage between whole records becomes a hole.
    pub fn rebuild(log: &LogFile, bound: Offset) -> io::Result<Rebuilt> {
        let mut index = Self::new(log.base(), Millis(0));
        let (mut end, mut damaged, mut broken) = (START, Vec::new(), false);
        let mut scan = Scan::new(log, START, index.last, bound)?;
        while let Some(step) = scan.step()? {
            match step {
                Step::Found { position, record, bytes } => {
                    if std::mem::take(&mut broken) {
                        index.holes.push(Hole { after: index.last, upto: Offset(record.offset.0 - 1) });
                    }
                    if u32::try_from(position).is_err() {
                        return Err(io::Error::other("the log is larger than any that is written"));
                    }
                    index.add(&record, position);
                    end = position + bytes as u64;
                }
                Step::Damaged { position, upto, why } => {
                    damaged.push((position, upto, why));
                    broken = true;
                }
            }
        }
        // Where no offset lies between, nothing that was given an offset is missing.
        index.holes.retain(|hole| hole.upto > hole.after);
        Ok(Rebuilt { index, end, damaged })
    }

    /// Whether a record with these can still be added; if not, the segment is to be sealed. A record has less than 1 GiB.
    pub fn fits(&self, offset: Offset, time: Millis, position: u64) -> bool {
        let distance = |from: u64, to: u64| to.checked_sub(from).is_some_and(|far| far < u64::from(u32::MAX));
        distance(self.base.0, offset.0)
            && (self.is_empty() || (time >= self.last_time && distance(self.base_time.0, time.0)))
            && position < MOST_BYTES
            && self.cost < MOST_BYTES
            && self.lanes.len() < MOST_CHANNELS
    }

    /// Adds the newest record.
    pub fn add(&mut self, record: &Record<'_>, position: u64) {
        debug_assert!(record.offset > self.last, "a segment cannot regress");
        if self.is_empty() {
            (self.base_time, self.last_time) = (record.time, record.time);
        }
        self.last_time = self.last_time.max(record.time);
        let distance = |from: u64, to: u64| u32::try_from(to - from).expect("it was asked whether it fits");
        let at = Packed {
            offset: distance(self.base.0, record.offset.0),
            position: distance(0, position),
            time: distance(self.base_time.0, self.last_time.0),
            cost: 0,
        };
        let text = record.data.len() + record.event.map_or(0, str::len) + record.id.map_or(0, str::len);
        let lane = self.by_name.get(record.channel).copied().unwrap_or_else(|| {
            self.by_name.insert(record.channel.into(), self.lanes.len() as u32);
            self.lanes.push(Lane { postings: Vec::new(), cleared: 0, newest: Kind::Data });
            self.lanes.len() as u32 - 1
        });
        let lane = &mut self.lanes[lane as usize];
        lane.push(at, text + Message::OVERHEAD);
        self.cost += (text + Message::OVERHEAD) as u64;
        if record.clears {
            lane.cleared = lane.postings.len() as u32;
        }
        lane.newest = record.kind;
        if record.then_end {
            lane.push(Packed { offset: at.offset + 1, ..at }, Message::OVERHEAD);
            self.cost += Message::OVERHEAD as u64;
            lane.newest = Kind::End;
        }
        if let Some(id) = record.id {
            self.ids.insert(id_hash(record.channel, id), at.offset);
        }
        if record.key.is_some() {
            self.keyed.push(at.position);
        }
        self.last = record.last();
    }

    /// Says that the channels with this hash lost what was up to `floor`.
    pub fn raise(&mut self, hash: u64, floor: Offset) {
        let known = self.floors.entry(hash).or_default();
        *known = floor.max(*known);
    }

    /// Says that channels that are forgotten lost what was up to `floor`.
    pub fn raise_all(&mut self, floor: Offset) {
        self.general = self.general.max(floor);
    }

    /// Adds what may be missing inside.
    pub fn add_hole(&mut self, hole: Hole) {
        self.holes.push(hole);
        self.holes.sort_by_key(|hole| hole.after);
    }

    /// Says that it covers offsets up to `last`, whether or not the last ones are here.
    pub fn reach(&mut self, last: Offset) {
        self.last = self.last.max(last);
    }

    /// Whether it says nothing: neither of what is here, nor of what was.
    pub fn is_blank(&self) -> bool {
        self.is_empty() && self.floors.is_empty() && self.holes.is_empty()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The first offset it may hold.
    pub fn base(&self) -> Offset {
        self.base
    }

    /// The last offset that was added; the one before the base if there is none.
    pub fn last(&self) -> Offset {
        self.last
    }

    /// The first record's time.
    pub fn base_time(&self) -> Millis {
        self.base_time
    }

    /// The last record's time; the base's if there is none.
    pub fn last_time(&self) -> Millis {
        self.last_time
    }

    /// What all messages cost.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// What may be missing inside, ascending.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Positions of the records that have an idempotency key, ascending.
    pub fn keyed(&self) -> &[u32] {
        &self.keyed
    }

    /// Where the newest entries with own ids stand, by [`id_hash`].
    pub fn ids(&self) -> impl Iterator<Item = (u64, Offset)> {
        self.ids.iter().map(|(&hash, &far)| (hash, Offset(self.base.0 + u64::from(far))))
    }

    /// All channels, with their names' hashes, in their order.
    pub fn rows(&self) -> Vec<Row> {
        let row = |name: &str| Some(Row { hash: hash(name), name: name.into(), part: self.part(name)? });
        let mut rows: Vec<_> = self.by_name.keys().filter_map(|name| row(name)).collect();
        rows.sort_unstable_by(|a, b| (a.hash, &a.name).cmp(&(b.hash, &b.name)));
        rows
    }

    /// What is here of a channel.
    pub fn part(&self, name: &str) -> Option<Part> {
        let floor = if self.floors.is_empty() { None } else { self.floors.get(&hash(name)).copied() };
        let Some(&number) = self.by_name.get(name) else {
            return floor.map(Part::floor_only);
        };
        let lane = &self.lanes[number as usize];
        let newest = lane.postings.last()?;
        Some(Part {
            floor: floor.unwrap_or_default(),
            count: lane.postings.len() as u32,
            cost: newest.cost.into(),
            last: Offset(self.base.0 + u64::from(newest.offset)),
            newest: lane.newest,
            cleared: lane.cleared.saturating_sub(1),
            clears: lane.cleared > 0,
            lane: number,
        })
    }

    /// Postings of a channel by their numbers.
    pub fn postings(&self, part: &Part, range: Range<u32>) -> impl Iterator<Item = Posting> {
        let range = range.start as usize..range.end as usize;
        self.lanes[part.lane as usize].postings[range].iter().map(|packed| packed.unpack(self.base, self.base_time))
    }

    /// Where the newest entry with this [`id_hash`] may stand.
    pub fn id(&self, hash: u64) -> Option<Offset> {
        self.ids.get(&hash).map(|&far| Offset(self.base.0 + u64::from(far)))
    }
}

impl Lane {
    fn push(&mut self, at: Packed, cost: usize) {
        if self.postings.is_empty() {
            // Most channels have one message; the first growth of a list would reserve four.
            self.postings.reserve_exact(1);
        }
        let before = self.postings.last().map_or(0, |packed| packed.cost);
        self.postings.push(Packed { cost: before + cost as u32, ..at });
    }
}

impl Packed {
    fn unpack(self, base: Offset, base_time: Millis) -> Posting {
        Posting {
            offset: Offset(base.0 + u64::from(self.offset)),
            position: self.position.into(),
            time: Millis(base_time.0 + u64::from(self.time)),
            cost: self.cost.into(),
        }
    }
}

impl Part {
    /// The same, with this floor.
    #[must_use]
    pub fn with_floor(self, floor: Offset) -> Self {
        Self { floor, ..self }
    }

    /// Of a channel that has lost all it had.
    pub fn floor_only(floor: Offset) -> Self {
        let (last, newest) = (Offset(0), Kind::Data);
        Self { floor, count: 0, cost: 0, last, newest, cleared: 0, clears: false, lane: 0 }
    }
}
