//! What a channel holds in memory: its newest entries in offset order, and the floor below which nothing is kept.
//! Plain data under somebody else's lock; knows nothing of time passing, of journals or of who reads.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::clock::Millis;
use crate::message::{Kind, Message};
use crate::position::Offset;
use crate::retention::Limits;

/// A message in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands in the journal's order.
    pub offset: Offset,
    /// The channel's own 1, 2, 3 …, where it is in memory alone; its offset, where it is stored. 0 of an end.
    pub number: u64,
    /// What it says.
    pub message: Arc<Message>,
}

/// The newest part of one channel.
#[derive(Debug)]
pub struct Tail {
    /// Ascending by offset.
    entries: VecDeque<Entry>,
    /// The highest offset that was ever dropped here: a cursor below it has lost something, unless a journal keeps it.
    floor: Offset,
    /// The highest offset that was ever here, or was lost.
    last: Offset,
    /// What `entries` cost together, in bytes.
    bytes: usize,
    /// How many entries were ever appended.
    appended: u64,
    /// How many messages there were since the channel was made or cleared by its end.
    numbered: u64,
    /// How many of `entries` are transient.
    transients: usize,
    /// What the newest entry is, whether it is still here or not; [`Kind::Data`] while there is none.
    newest: Kind,
    /// Where publishers' own ids stand, by hash; made by the first of them.
    #[expect(clippy::box_collection, reason = "most channels have none, and each pays for the field")]
    ids: Option<Box<HashMap<u64, Offset>>>,
}

/// How long a transient message is kept for those who were cut off.
const TRANSIENT: Duration = Duration::from_secs(30);

/// Hashes own ids. One for the process: ids are publishers', but a guessable hash would still be a gift.
static IDS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Tail {
    /// An empty tail that has dropped everything up to `floor`.
    pub fn new(floor: Offset) -> Self {
        Self {
            entries: VecDeque::new(),
            floor,
            last: floor,
            bytes: 0,
            appended: 0,
            numbered: 0,
            transients: 0,
            newest: Kind::Data,
            ids: None,
        }
    }

    /// Makes an empty tail that of a channel whose newest entry, of kind `newest`, is the one at `last`, and not here. Its floor
    /// stays where it was, behind `last`: what was lost between them only the journal can tell.
    pub fn restore(&mut self, last: Offset, newest: Kind) {
        debug_assert!(self.entries.is_empty() && self.appended == 0, "only a new tail is restored");
        (self.last, self.floor, self.newest) = (last, self.floor.max(last), newest);
    }

    /// Adds the newest entry and drops what `limits` no longer allow, by count and by bytes.
    ///
    /// # Panics
    /// If `entry` is not the newest: the tail cannot regress.
    pub fn push(&mut self, entry: Entry, limits: Limits) {
        assert!(entry.offset > self.last, "the tail cannot regress: {} after {}", entry.offset, self.last);
        self.last = entry.offset;
        self.appended += 1;
        self.bytes += entry.message.cost();
        self.transients += usize::from(entry.message.traits().transient);
        self.newest = entry.message.kind();
        if let Some(id) = entry.message.id() {
            self.ids.get_or_insert_default().insert(IDS.hash_one(id), entry.offset);
        }
        if self.entries.is_empty() {
            // Most channels hold one message; the first growth of a deque would reserve four.
            self.entries.reserve_exact(1);
        }
        self.entries.push_back(entry);
        // The newest stays whatever the limits say, for those who are connected; so does what an end stands behind.
        let least = 1 + usize::from(self.ended());
        let most = limits.messages.max(1).saturating_add(usize::from(self.ended()));
        while self.entries.len() > most || (self.bytes > limits.bytes && self.entries.len() > least) {
            self.drop_oldest();
        }
    }

    /// Drops what stands at or below `lost`, and remembers that something there is gone. Then no cursor gets past `lost` without
    /// being told.
    pub fn forget(&mut self, lost: Offset) {
        while self.entries.front().is_some_and(|entry| entry.offset <= lost) {
            self.drop_oldest();
        }
        self.floor = self.floor.max(lost);
        self.last = self.last.max(lost);
    }

    /// Drops the entries that are older than `limits` allow at `now`; transient ones, once they are the oldest, soon.
    pub fn expire(&mut self, now: Millis, limits: Limits) {
        while self.expires(limits).is_some_and(|time| time <= now) {
            self.drop_oldest();
        }
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        }
    }

    /// Drops every entry.
    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.ids = None;
        self.bytes = 0;
        self.transients = 0;
        self.floor = self.floor.max(self.last);
    }

    /// Goes on behind its end. The end itself stays for those who have not seen it.
    pub fn reopen(&mut self) {
        self.newest = Kind::Data;
    }

    /// Drops the oldest entry and returns what it cost; `None` when there is none.
    pub fn drop_oldest(&mut self) -> Option<usize> {
        let entry = self.entries.pop_front()?;
        let cost = entry.message.cost();
        self.bytes -= cost;
        self.transients -= usize::from(entry.message.traits().transient);
        self.floor = entry.offset;
        if let (Some(id), Some(ids)) = (entry.message.id(), &mut self.ids) {
            let hash = IDS.hash_one(id);
            if ids.get(&hash) == Some(&entry.offset) {
                ids.remove(&hash);
            }
        }
        Some(cost)
    }

    /// The entries from offset `next` on, oldest first.
    pub fn from(&self, next: u64) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.index(next)..)
    }

    /// All entries, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    /// The lowest `next` for which [`Tail::from`] yields the same.
    pub fn earliest_alike(&self, next: u64) -> u64 {
        let before = self.index(next).checked_sub(1).map_or(self.floor, |at| self.entries[at].offset);
        before.0 + 1
    }

    fn index(&self, next: u64) -> usize {
        // Nearly always the newest one or none: look there before searching.
        match self.entries.back() {
            Some(newest) if newest.offset.0 < next => self.entries.len(),
            _ => self.entries.partition_point(|entry| entry.offset.0 < next),
        }
    }

    /// When the oldest entry is to go, with these limits; `None` when there is none.
    pub fn expires(&self, limits: Limits) -> Option<Millis> {
        let oldest = &self.entries.front()?.message;
        let age = if oldest.traits().transient { limits.age.min(TRANSIENT) } else { limits.age };
        Some(oldest.time().plus(age))
    }

    /// The offset at which the last `n` entries begin that are not transient; the floor's successor if there are fewer.
    pub fn start_of_last(&self, n: usize) -> u64 {
        if self.transients > 0 && n > 0 {
            let mut lasting = self.newest_first().filter(|entry| !entry.message.traits().transient);
            return lasting.nth(n - 1).map_or(self.floor.0 + 1, |entry| entry.offset.0);
        }
        match self.entries.len().checked_sub(n) {
            Some(at) if at > 0 => self.entries.get(at).map_or(self.last.0 + 1, |entry| entry.offset.0),
            _ => self.floor.0 + 1,
        }
    }

    /// The offset of the first entry that is not older than `time`.
    pub fn start_at(&self, time: Millis) -> u64 {
        let at = self.entries.partition_point(|entry| entry.message.time() < time);
        match self.entries.get(at) {
            _ if at == 0 => self.floor.0 + 1,
            Some(entry) => entry.offset.0,
            None => self.last.0 + 1,
        }
    }

    /// Where the newest entry with this publisher's id stands.
    pub fn find_id(&self, id: &str) -> Option<Offset> {
        let offset = *self.ids.as_ref()?.get(&IDS.hash_one(id))?;
        let entry = self.from(offset.0).next()?;
        (entry.message.id() == Some(id)).then_some(offset)
    }

    /// See the field.
    pub fn floor(&self) -> Offset {
        self.floor
    }

    /// The offset of the newest entry that was ever here.
    pub fn last(&self) -> Offset {
        self.last
    }

    /// When the oldest entry was published; `None` when there is none.
    pub fn oldest(&self) -> Option<Millis> {
        self.entries.front().map(|entry| entry.message.time())
    }

    /// How many entries are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the kept entries cost, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number for the next entry, at `offset`; see [`Entry::number`]. Numbers begin anew behind an end that cleared the tail.
    pub(crate) fn number(&mut self, offset: Offset, kind: Kind, stored: bool) -> u64 {
        if kind.ends() {
            if self.is_empty() {
                self.numbered = 0;
            }
            return 0;
        }
        self.numbered += 1;
        if stored { offset.0 } else { self.numbered }
    }

    /// How many messages there were since the channel was made or cleared by its end.
    pub fn numbered(&self) -> u64 {
        self.numbered
    }

    /// How many of the kept entries are transient.
    pub fn transients(&self) -> usize {
        self.transients
    }

    /// How many entries there ever were.
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// See the field.
    pub fn newest(&self) -> Kind {
        self.newest
    }

    /// Whether the channel has ended and nobody has published since.
    pub fn ended(&self) -> bool {
        self.newest.ends()
    }

    /// Whether it has ended because what fed it broke off.
    pub fn broken(&self) -> bool {
        self.newest == Kind::Broken
    }
}

#[cfg(test)]
mod tests {
    use fantail_sse::EventId;

    use super::*;
    use crate::message::NewMessage;

    fn entry(offset: u64, id: Option<&str>) -> Entry {
        let id = id.map(|id| EventId::parse(id).unwrap());
        let said = NewMessage { data: "x", event: None, id: id.as_ref() };
        Entry {
            offset: Offset(offset),
            number: offset,
            message: Arc::new(Message::new(Millis(offset * 1000), Kind::Data, said)),
        }
    }

    fn tail(limits: Limits, offsets: &[u64]) -> Tail {
        let mut tail = Tail::new(Offset(0));
        for &offset in offsets {
            tail.push(entry(offset, Some("same")), limits);
        }
        tail
    }

    fn offsets(tail: &Tail, next: u64) -> Vec<u64> {
        tail.from(next).map(|entry| entry.offset.0).collect()
    }

    #[test]
    fn push_over_the_count_raises_the_floor() {
        let tail = tail(Limits { messages: 2, ..Limits::default() }, &[3, 5, 9]);
        assert_eq!((offsets(&tail, 0), tail.floor(), tail.last()), (vec![5, 9], Offset(3), Offset(9)));
        assert_eq!(tail.bytes(), 2 * entry(1, Some("same")).message.cost());
    }

    #[test]
    fn push_over_the_bytes_keeps_the_newest() {
        let tail = tail(Limits { bytes: 1, ..Limits::default() }, &[3, 5]);
        assert_eq!(offsets(&tail, 0), [5]);
    }

    #[test]
    fn restore_leaves_what_was_lost_behind_the_newest_to_the_journal() {
        let mut tail = Tail::new(Offset(9));
        tail.restore(Offset(4), Kind::Data);
        assert_eq!((tail.last(), tail.floor()), (Offset(4), Offset(9)));
        tail.clear();
        assert_eq!(tail.floor(), Offset(9), "clearing takes nothing back");
        let mut tail = Tail::new(Offset(2));
        tail.restore(Offset(4), Kind::Data);
        assert_eq!(tail.floor(), Offset(4));
    }

    #[test]
    fn expire_drops_by_age_alone() {
        let limits = Limits { age: Duration::from_secs(4), ..Limits::default() };
        let mut tail = tail(limits, &[3, 5, 9]);
        tail.expire(Millis(9_000), limits);
        assert_eq!((offsets(&tail, 0), tail.floor()), (vec![9], Offset(5)));
        tail.expire(Millis(13_000), limits);
        assert_eq!((tail.len(), tail.bytes(), tail.floor()), (0, 0, Offset(9)));
    }

    #[test]
    fn from_any_cursor_yields_what_is_due() {
        let tail = tail(Limits::default(), &[3, 5, 9]);
        assert_eq!(offsets(&tail, 4), [5, 9]);
        assert_eq!(offsets(&tail, 9), [9]);
        assert!(offsets(&tail, 10).is_empty());
    }

    #[test]
    fn starts_by_count_and_time_stand_before_the_first_wanted_entry() {
        let tail = tail(Limits::default(), &[3, 5, 9]);
        assert_eq!([0, 1, 2, 3, 4].map(|n| tail.start_of_last(n)), [10, 9, 5, 1, 1]);
        assert_eq!([0, 3000, 3001, 9000, 9001].map(|t| tail.start_at(Millis(t))), [1, 1, 5, 9, 10]);
    }

    #[test]
    fn find_id_of_equal_ids_gives_the_newest_and_forgets_dropped_ones() {
        let mut tail = tail(Limits::default(), &[3, 5]);
        assert_eq!(tail.find_id("same"), Some(Offset(5)));
        assert_eq!(tail.find_id("other"), None);
        tail.drop_oldest();
        assert_eq!(tail.find_id("same"), Some(Offset(5)));
        tail.drop_oldest();
        assert_eq!(tail.find_id("same"), None);
    }

    #[test]
    #[should_panic(expected = "the tail cannot regress")]
    fn push_of_an_old_offset_is_a_bug() {
        tail(Limits::default(), &[5, 5]);
    }
}
