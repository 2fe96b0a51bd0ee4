//! Walks a log in bounded memory, record by record, and finds its way on where bytes are damaged. Knows no channels.

use std::io;

use fantail_hub::Offset;

use super::log::LogFile;
use super::record::{Damage, Record, claim};

/// Bytes that are read at once, unless a record is larger.
const CHUNK: usize = 256 << 10;

/// Bytes whose checksums may be taken in vain in one walk, and the largest record that is looked for in damage behind them. A
/// publisher can write what looks like the beginnings of many large records into one message.
const IN_VAIN: u64 = 2 << 30;
const SMALL: u64 = 4 << 10;

/// A walk.
#[derive(Debug)]
pub struct Scan<'a> {
    log: &'a LogFile,
    position: u64,
    /// The last offset that was found.
    after: Offset,
    bound: Offset,
    /// The file's size when the walk began.
    size: u64,
    buffer: Vec<u8>,
    /// Where `buffer` was read.
    start: u64,
    /// Bytes that were read for nothing.
    in_vain: u64,
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
    pub fn new(log: &'a LogFile, position: u64, after: Offset, bound: Offset) -> io::Result<Self> {
        let size = log.size()?;
        Ok(Self { log, position, after, bound, size, buffer: Vec::new(), start: 0, in_vain: 0 })
    }

    /// The next step; `None` at the end of the file.
    pub fn step(&mut self) -> io::Result<Option<Step<'_>>> {
        let position = self.position;
        if position >= self.size {
            return Ok(None);
        }
        let (after, bound, salt) = (self.after, self.bound, self.log.salt());
        match self.try_record(position, u64::MAX)? {
            Ok((last, bytes)) => {
                self.position += bytes as u64;
                self.after = last;
                let from = (position - self.start) as usize;
                let (record, _) =
                    Record::decode(&self.buffer[from..from + bytes], salt).expect("it was decoded before");
                debug_assert!(record.offset > after && record.last() <= bound);
                Ok(Some(Step::Found { position, record, bytes }))
            }
            Err(why) => {
                let upto = self.resume(position)?;
                self.position = upto;
                Ok(Some(Step::Damaged { position, upto, why }))
            }
        }
    }

    /// Looks for a record of at most so many bytes at `position`, and gives its last offset and its bytes.
    fn try_record(&mut self, position: u64, most: u64) -> io::Result<Result<(Offset, usize), Damage>> {
        let left = usize::try_from(self.size - position).unwrap_or(usize::MAX);
        let wanted = left.min(Record::LEAST);
        let Some((bytes, offset)) = claim(self.bytes(position, wanted)?) else {
            let why = if left < Record::LEAST { Damage::Short } else { Damage::Malformed("it is too short") };
            return Ok(Err(why));
        };
        if bytes > left || bytes as u64 > most {
            return Ok(Err(Damage::Short));
        }
        // Before all its bytes are read: most places where no record begins are told so.
        if offset <= self.after || offset > self.bound {
            return Ok(Err(Damage::Malformed("its offset is not above the last one")));
        }
        let (salt, bound) = (self.log.salt(), self.bound);
        let found = Record::decode(self.bytes(position, bytes)?, salt).and_then(|(record, bytes)| {
            if record.last() > bound {
                return Err(Damage::Malformed("its offset is too high"));
            }
            Ok((record.last(), bytes))
        });
        if found.is_err() {
            self.in_vain += bytes as u64;
        }
        Ok(found)
    }

    /// The next place behind `position` where a record begins, or the end of the file.
    fn resume(&mut self, position: u64) -> io::Result<u64> {
        for place in position + 1..self.size {
            let most = IN_VAIN.saturating_sub(self.in_vain).max(SMALL);
            if self.try_record(place, most)?.is_ok() {
                return Ok(place);
            }
        }
        Ok(self.size)
    }

    /// At least `wanted` bytes from `position` on, which the file has.
    fn bytes(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let end = self.start + self.buffer.len() as u64;
        if position < self.start || position + wanted as u64 > end {
            let left = usize::try_from(self.size - position).unwrap_or(usize::MAX);
            self.log.read(position, wanted.max(CHUNK).min(left), &mut self.buffer)?;
            self.start = position;
        }
        let from = (position - self.start) as usize;
        self.buffer.get(from..).filter(|bytes| bytes.len() >= wanted).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use fantail_hub::{Kind, Millis};

    use super::super::log::START;
    use super::*;

    const EVERY: Offset = Offset::MAX;

    /// A log of `records` messages, and where each begins and the last one ends.
    fn log(path: &Path, records: u64) -> (LogFile, Vec<u64>) {
        let log = LogFile::create(path, Offset(1), Offset(0)).unwrap();
        let mut bytes = Vec::new();
        let mut positions = Vec::new();
        for offset in 1..=records {
            positions.push(START + bytes.len() as u64);
            record(offset, &offset.to_string()).encode(log.salt(), &mut bytes);
        }
        positions.push(START + bytes.len() as u64);
        log.append(START, &bytes).unwrap();
        (log, positions)
    }

    fn record(offset: u64, data: &str) -> Record<'_> {
        Record {
            offset: Offset(offset),
            time: Millis(5),
            kind: Kind::Data,
            then_end: false,
            clears: false,
            bytes: false,
            channel: "c",
            data,
            event: None,
            id: None,
            key: None,
        }
    }

    /// Offsets that are found, and damaged stretches.
    fn walk(log: &LogFile) -> (Vec<u64>, Vec<(u64, u64)>) {
        let mut scan = Scan::new(log, START, Offset(0), EVERY).unwrap();
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        while let Some(step) = scan.step().unwrap() {
            match step {
                Step::Found { record, .. } => {
                    assert_eq!(record.data, record.offset.0.to_string());
                    found.push(record.offset.0);
                }
                Step::Damaged { position, upto, .. } => damaged.push((position, upto)),
            }
        }
        (found, damaged)
    }

    #[test]
    fn log_cut_at_any_byte_gives_what_is_whole_and_names_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let (log, positions) = log(&dir.path().join("a.log"), 4);
        for size in (START..=positions[4]).rev() {
            log.truncate(size).unwrap();
            let whole = positions.partition_point(|&position| position <= size) - 1;
            let rest = (positions[whole] < size).then_some((positions[whole], size));
            assert_eq!(walk(&log), ((1..=whole as u64).collect(), rest.into_iter().collect()), "{size} bytes");
        }
    }

    #[test]
    fn log_with_any_bit_flipped_gives_all_but_one_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let (log, positions) = log(&path, 4);
        let whole = fs::read(&path).unwrap();
        for at in START as usize..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            let hit = positions.partition_point(|&position| position <= at as u64);
            let left = (1..=4).filter(|&offset| offset != hit as u64).collect();
            assert_eq!(walk(&log), (left, vec![(positions[hit - 1], positions[hit])]), "byte {at}");
        }
    }

    #[test]
    fn record_in_a_payload_or_of_another_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (log, positions) = log(&dir.path().join("a.log"), 2);
        let mut bytes = Vec::new();
        record(3, "3").encode(super::super::record::Salt(log.salt().0 ^ 1), &mut bytes);
        record(2, "2").encode(log.salt(), &mut bytes);
        log.append(positions[2], &bytes).unwrap();
        assert_eq!(walk(&log), (vec![1, 2], vec![(positions[2], positions[2] + bytes.len() as u64)]));
    }

    #[test]
    fn record_larger_than_a_chunk_is_found_behind_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (log, positions) = log(&dir.path().join("a.log"), 1);
        let large = "x".repeat(CHUNK * 2);
        let mut bytes = vec![0; 1000];
        record(2, &large).encode(log.salt(), &mut bytes);
        log.append(positions[1], &bytes).unwrap();
        let mut scan = Scan::new(&log, positions[1], Offset(1), EVERY).unwrap();
        let upto = positions[1] + 1000;
        assert!(matches!(scan.step().unwrap(), Some(Step::Damaged { upto: found, .. }) if found == upto));
        assert!(matches!(scan.step().unwrap(), Some(Step::Found { record, .. }) if record.data == large));
    }

    #[test]
    fn damage_that_looks_like_many_large_records_is_not_read_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (log, positions) = log(&dir.path().join("a.log"), 1);
        // Each place claims the whole rest: 4 TiB in all.
        let (claims, rest) = (100_000, 40 << 20);
        let mut bytes = Vec::new();
        for claim in 0..claims {
            bytes.extend_from_slice(&((rest - 40 * claim) as u32).to_le_bytes());
            bytes.extend_from_slice(&[b'x'; 4]);
            bytes.extend_from_slice(&2_u64.to_le_bytes());
            bytes.resize(bytes.len() + 24, b'x');
        }
        bytes.resize(rest + 64, b'x');
        record(2, "2").encode(log.salt(), &mut bytes);
        log.append(positions[1], &bytes).unwrap();
        let mut scan = Scan::new(&log, positions[1], Offset(1), Offset(100)).unwrap();
        assert!(matches!(scan.step().unwrap(), Some(Step::Damaged { .. })));
        assert!(scan.in_vain < IN_VAIN + SMALL * claims as u64, "{} bytes", scan.in_vain);
        assert!(matches!(scan.step().unwrap(), Some(Step::Found { record, .. }) if record.data == "2"));
    }
}
