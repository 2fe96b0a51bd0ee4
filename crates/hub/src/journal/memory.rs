//! The memory journal: a channel's tail is all there is, and nothing survives the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Append, AppendError, Head, Journal, Page, Pending, ReadError, Receipt, Seek};
use crate::channel::{Channel, Draft};
use crate::idempotency::{Idempotency, Outcome};
use crate::position::{Epoch, Offset, Position};

/// Offsets from a counter, taken under each channel's own lock.
pub struct MemoryJournal {
    epoch: Epoch,
    counter: AtomicU64,
    keys: Mutex<Idempotency>,
}

impl MemoryJournal {
    /// An empty journal of a new epoch, which remembers idempotency keys for `window` and `keys` of them in all.
    pub fn new(window: Duration, keys: usize) -> Self {
        Self { epoch: Epoch::random(), counter: AtomicU64::new(0), keys: Mutex::new(Idempotency::new(window, keys)) }
    }

    fn append_one(&self, one: &Append<'_>) -> Result<Receipt, AppendError> {
        let Some(key) = one.key else { return Ok(self.add(one)) };
        // Held across the append: a second request with the key waits here for the first.
        let mut keys = self.keys.lock();
        let digest = one.addition.said.digest(one.addition.then_end);
        if let Some(done) = keys.outcome(one.channel.name(), key, one.now) {
            if done.digest != digest {
                return Err(AppendError::KeyReused);
            }
            return Ok(Receipt {
                position: Position { epoch: self.epoch, offset: done.offset },
                subscribers: one.channel.info().subscribers,
                duplicate: true,
            });
        }
        let receipt = self.add(one);
        let outcome = Outcome { digest, offset: receipt.position.offset };
        keys.remember(one.channel.name(), key.clone(), outcome, one.now);
        Ok(receipt)
    }

    fn add(&self, one: &Append<'_>) -> Receipt {
        let next = || Offset(self.counter.fetch_add(1, Ordering::SeqCst) + 1);
        let appended = one.channel.append(&Draft::new(one.addition, one.now), one.limits, next);
        Receipt {
            position: Position { epoch: self.epoch, offset: appended.offset },
            subscribers: appended.subscribers,
            duplicate: false,
        }
    }
}

impl Journal for MemoryJournal {
    fn describe(&self) -> String {
        "memory: (nothing survives a restart)".to_owned()
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn counter(&self) -> Offset {
        Offset(self.counter.load(Ordering::SeqCst))
    }

    fn append<'a>(&'a self, batch: &'a [Append<'a>]) -> Pending<'a, Vec<Result<Receipt, AppendError>>> {
        Box::pin(std::future::ready(batch.iter().map(|one| self.append_one(one)).collect()))
    }

    fn stores(&self) -> bool {
        false
    }

    fn health(&self) -> Result<(), AppendError> {
        Ok(())
    }

    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        next: u64,
        until: Offset,
        bytes: usize,
    ) -> Pending<'a, Result<Page, ReadError>> {
        Box::pin(std::future::ready(Ok(channel.page(next, until, bytes))))
    }

    fn find<'a>(&'a self, channel: &'a Channel, what: Seek<'a>) -> Pending<'a, Result<Option<u64>, ReadError>> {
        Box::pin(std::future::ready(Ok(channel.seek(what))))
    }

    fn head<'a>(&'a self, channel: &'a Channel) -> Pending<'a, Result<Head, ReadError>> {
        Box::pin(std::future::ready(Ok(channel.head())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::contract;
    use super::*;

    #[test]
    fn memory_journal_keeps_the_contract() {
        contract::run(|| Arc::new(MemoryJournal::new(Duration::from_mins(2), 1000)));
    }
}
