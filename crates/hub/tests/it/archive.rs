//! A journal that stores, in memory: what a disk journal promises, without a disk. Its pages are small, it forgets what it is
//! told to, and it can lose a stretch of offsets as a damaged log would.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fantail_hub::channel::{Channel, Draft};
use fantail_hub::journal::{Append, AppendError, Head, Journal, Page, Pending, ReadError, Receipt, Seek};
use fantail_hub::message::Kind;
use fantail_hub::tail::Entry;
use fantail_hub::{Epoch, Offset, Position};

pub(crate) struct Archive {
    epoch: Epoch,
    counter: AtomicU64,
    channels: Mutex<HashMap<String, Kept>>,
    /// After the first and up to the second, anything may have been lost in any channel.
    holes: Mutex<Vec<(u64, u64)>>,
    /// Entries in a page, at most.
    page: usize,
    /// Pages that were asked for.
    reads: AtomicU64,
}

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) entries: Vec<Entry>,
    pub(crate) floor: u64,
}

impl Archive {
    pub(crate) fn new(page: usize) -> Self {
        let (counter, channels, holes) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Self { epoch: Epoch::random(), counter, channels, holes, page, reads: AtomicU64::new(0) }
    }

    /// Forgets the oldest of a channel.
    pub(crate) fn forget(&self, channel: &str, messages: usize) {
        let mut channels = self.channels.lock().unwrap();
        let kept = channels.entry(channel.to_owned()).or_default();
        for entry in kept.entries.drain(..messages.min(kept.entries.len())) {
            kept.floor = entry.offset.0;
        }
    }

    /// Loses the next offsets, of whatever channel.
    pub(crate) fn lose(&self, offsets: u64) {
        let from = self.counter.fetch_add(offsets, Ordering::SeqCst);
        self.holes.lock().unwrap().push((from, from + offsets));
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn holes(&self) -> Vec<(u64, u64)> {
        self.holes.lock().unwrap().clone()
    }

    fn page(&self, name: &str, next: u64, upto: Offset, bytes: usize) -> Page {
        let mut channels = self.channels.lock().unwrap();
        let kept = channels.entry(name.to_owned()).or_default();
        let mut until = self.counter.load(Ordering::SeqCst).min(upto.0);
        let mut lost = (next <= kept.floor).then_some(kept.floor);
        for (from, to) in self.holes() {
            let begin = lost.map_or(next, |lost| lost + 1);
            if (from + 1..=to).contains(&begin) {
                lost = Some(to);
            } else if begin <= from {
                until = from;
                break;
            }
        }
        let begin = lost.map_or(next, |lost| lost + 1);
        let due = kept.entries.iter().filter(|entry| (begin..=until).contains(&entry.offset.0));
        let mut room = bytes;
        let mut entries = Vec::new();
        for entry in due {
            if entries.len() == self.page || room == 0 {
                until = entry.offset.0 - 1;
                break;
            }
            room = room.saturating_sub(entry.message.cost());
            entries.push(entry.clone());
        }
        Page { next, lost: lost.map(Offset), entries, until: Offset(until.max(lost.unwrap_or_default())) }
    }
}

impl Journal for Archive {
    fn describe(&self) -> String {
        "an archive".to_owned()
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn counter(&self) -> Offset {
        Offset(self.counter.load(Ordering::SeqCst))
    }

    fn stores(&self) -> bool {
        true
    }

    fn health(&self) -> Result<(), AppendError> {
        Ok(())
    }

    fn append<'a>(&'a self, batch: &'a [Append<'a>]) -> Pending<'a, Vec<Result<Receipt, AppendError>>> {
        let one = |one: &Append<'_>| {
            let draft = Draft::new(one.addition, one.now);
            let first = self.counter().0 + 1;
            let mut channels = self.channels.lock().unwrap();
            let kept = channels.entry(one.channel.name().to_string()).or_default();
            if draft.clears {
                kept.floor = kept.entries.last().map_or(kept.floor, |entry| entry.offset.0);
                kept.entries.clear();
            }
            kept.entries.push(Entry { offset: Offset(first), number: first, message: Arc::clone(&draft.message) });
            let end = Arc::new(Draft::end_behind(&draft.message));
            kept.entries.extend(draft.then_end.then_some(Entry { offset: Offset(first + 1), number: 0, message: end }));
            let mut next = first - 1;
            let appended = one.channel.append(&draft, one.limits, || {
                next += 1;
                Offset(next)
            });
            self.counter.store(next, Ordering::SeqCst);
            Ok(Receipt {
                position: Position { epoch: self.epoch, offset: appended.offset },
                subscribers: appended.subscribers,
                duplicate: false,
            })
        };
        Box::pin(std::future::ready(batch.iter().map(one).collect()))
    }

    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        next: u64,
        until: Offset,
        bytes: usize,
    ) -> Pending<'a, Result<Page, ReadError>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(self.page(channel.name().as_str(), next, until, bytes))))
    }

    fn find<'a>(&'a self, channel: &'a Channel, what: Seek<'a>) -> Pending<'a, Result<Option<u64>, ReadError>> {
        let mut channels = self.channels.lock().unwrap();
        let kept = channels.entry(channel.name().to_string()).or_default();
        let begin = kept.floor + 1;
        let found = match what {
            Seek::Last(n) => {
                let at = kept.entries.len().saturating_sub(n);
                let behind = kept.entries.last().map_or(begin, |entry| entry.offset.0 + 1);
                Some(kept.entries.get(at).map_or(behind, |entry| entry.offset.0))
            }
            Seek::Oldest => Some(begin),
            Seek::Id(_) | Seek::Time(_) => None,
        };
        Box::pin(std::future::ready(Ok(found)))
    }

    fn head<'a>(&'a self, channel: &'a Channel) -> Pending<'a, Result<Head, ReadError>> {
        let mut channels = self.channels.lock().unwrap();
        let kept = channels.entry(channel.name().to_string()).or_default();
        // A hole is newer than what it may have swallowed.
        let hole = self.holes().last().map_or(0, |hole| hole.1);
        let last = kept.entries.last().map_or(kept.floor, |entry| entry.offset.0).max(hole);
        let newest = kept.entries.last().map_or(Kind::Data, |entry| entry.message.kind());
        let (messages, bytes) = (kept.entries.len() as u64, 0);
        Box::pin(std::future::ready(Ok(Head {
            last: Offset(last),
            floor: Offset(kept.floor),
            newest,
            messages,
            bytes,
        })))
    }
}
