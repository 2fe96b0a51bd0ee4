//! Reads one segment: finds channels and entries in its index, and entries' records in its log.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use fantail_hub::tail::Entry;
use fantail_hub::{Kind, Message, Offset, Traits};

use super::super::index::file::Look;
use super::super::index::{Part, Posting};
use super::super::log::read_into;
use super::super::record::{Damage, Record, claim};
use super::{Sealed, Segment, State};

/// Records that are read at once.
const STRETCH: u64 = 128 << 10;
/// Bytes between two records that are read along with them: about what another call would cost.
const GAP: u64 = 4 << 10;

/// Somebody's look at a segment, for as long as one question takes.
#[derive(Debug)]
pub struct View<'a> {
    segment: &'a Segment,
    /// Its index's file, from the first time on that something is read of it.
    look: Option<Look>,
}

/// How far a reading of records came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// All were whole.
    Whole,
    /// The record of this entry is damaged, and those before it were whole.
    Damaged(Offset),
}

impl<'a> View<'a> {
    /// A look at `segment`.
    pub fn new(segment: &'a Segment) -> Self {
        Self { segment, look: None }
    }

    /// At what it looks.
    pub fn segment(&self) -> &'a Segment {
        self.segment
    }

    /// What is here of the channel with this name and its hash.
    pub fn part(&mut self, hash: u64, name: &str) -> io::Result<Option<Part>> {
        match &self.segment.state {
            State::Live { live, .. } => Ok(live.read().index.part(name)),
            State::Sealed(sealed) => {
                sealed.files.parts.get(sealed.number, hash, name, || self.look(sealed)?.part(hash, name))
            }
        }
    }

    /// Where the newest entry with this hash of an own id may stand.
    pub fn id(&mut self, hash: u64) -> io::Result<Option<Offset>> {
        match &self.segment.state {
            State::Live { live, .. } => Ok(live.read().index.id(hash)),
            State::Sealed(sealed) => self.look(sealed)?.id(hash),
        }
    }

    /// Postings of a channel by their numbers, added to `out`.
    pub fn postings(&mut self, part: &Part, range: Range<u32>, out: &mut Vec<Posting>) -> io::Result<()> {
        match &self.segment.state {
            State::Live { live, .. } => out.extend(live.read().index.postings(part, range)),
            State::Sealed(sealed) => self.look(sealed)?.postings(part, range, out)?,
        }
        Ok(())
    }

    fn look(&mut self, sealed: &Sealed) -> io::Result<&mut Look> {
        let look = match self.look.take() {
            Some(look) => look,
            None => sealed.header.look(sealed.index_file()?),
        };
        Ok(self.look.insert(look))
    }

    /// One posting.
    pub fn posting(&mut self, part: &Part, number: u32) -> io::Result<Posting> {
        let mut one = Vec::with_capacity(1);
        self.postings(part, number..number + 1, &mut one)?;
        Ok(one[0])
    }

    /// What the entries before this one cost.
    pub fn cost_before(&mut self, part: &Part, number: u32) -> io::Result<u64> {
        if number == part.count {
            return Ok(part.cost);
        }
        number.checked_sub(1).map_or(Ok(0), |before| Ok(self.posting(part, before)?.cost))
    }

    /// The number of the first posting for which `is_before` does not hold; it holds for all before that one.
    pub fn partition(&mut self, part: &Part, is_before: impl Fn(&Posting) -> bool) -> io::Result<u32> {
        let (mut low, mut high) = (0, part.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(&self.posting(part, middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Reads the entries of `postings`, which are one channel's and ascending, and adds them to `out`. `before` is what the
    /// entries before them cost.
    pub fn fetch(&self, name: &str, postings: &[Posting], before: u64, out: &mut Vec<Entry>) -> io::Result<Fetched> {
        let file = self.segment.log_file()?;
        let end = self.segment.log_bytes();
        let mut buffer = Vec::new();
        let (mut first, mut before) = (0, before);
        while first < postings.len() {
            let start = postings[first].position;
            let (mut upto, mut next, mut cost) = (start, first, before);
            while let Some(posting) = postings.get(next) {
                // A record has its text and little more; so its cost says how far it can reach.
                let most = posting.position + (posting.cost - cost) + Record::AROUND as u64;
                if next > first && (posting.position > upto + GAP || most - start > STRETCH) {
                    break;
                }
                (upto, cost, next) = (upto.max(most.min(end)), posting.cost, next + 1);
            }
            read_into(&file, start, usize::try_from(upto.saturating_sub(start)).unwrap_or(0), &mut buffer)?;
            for posting in &postings[first..next] {
                let from = (posting.position - start) as usize;
                let bytes = buffer.get(from..).unwrap_or_default();
                let mut alone = Vec::new();
                // The end behind a message costs little, and its record is the message's.
                let bytes = match claim(bytes).map(|(wanted, _)| wanted) {
                    Some(wanted) if wanted > bytes.len() && posting.position + wanted as u64 <= end => {
                        read_into(&file, posting.position, wanted, &mut alone)?;
                        &alone
                    }
                    _ => bytes,
                };
                match self.entry(name, posting, bytes) {
                    Ok(message) => {
                        let offset = posting.offset;
                        let number = if message.kind().ends() { 0 } else { offset.0 };
                        out.push(Entry { offset, number, message: Arc::new(message) });
                    }
                    Err(why) => {
                        if self.segment.report(posting.position) {
                            let (file, position) = (self.segment.log_path.display(), posting.position);
                            tracing::error!(%file, position, channel = name, %why, "a record is damaged");
                        }
                        return Ok(Fetched::Damaged(posting.offset));
                    }
                }
            }
            (first, before) = (next, cost);
        }
        Ok(Fetched::Whole)
    }

    fn entry(&self, name: &str, posting: &Posting, bytes: &[u8]) -> Result<Message, Damage> {
        let (record, _) = Record::decode(bytes, self.segment.salt)?;
        if record.channel != name || posting.offset < record.offset || posting.offset > record.last() {
            return Err(Damage::Malformed("it is another than its index says"));
        }
        if posting.offset > record.offset {
            return Ok(Message::kept(record.time, Kind::End, "", None, None));
        }
        let message = Message::kept(record.time, record.kind, record.data, record.event, record.id);
        Ok(message.with(Traits { bytes: record.bytes, transient: false }))
    }
}
