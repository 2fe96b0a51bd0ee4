//! What is remembered of each address, network or subscriber: counters, and when they came. An account is kept while somebody
//! holds it, and after that until it says nothing any more or there are too many.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::bucket::Bucket;

/// Parts of a book, so that few wait for each other.
const SHELVES: usize = 16;

/// What is known of one of them.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) connections: Count,
    pub(super) streams: Count,
    /// When it may connect again.
    pub(super) connects: Bucket,
    /// When it may ask again.
    pub(super) requests: Bucket,
    /// The network of an address, where networks are counted.
    pub(super) network: Option<Arc<Account>>,
}

/// A number of things that are there at present.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU32);

impl Count {
    /// Adds one unless there are `most`; 0 is any number.
    pub(super) fn enter(&self, most: usize) -> bool {
        let more = |n: u32| (most == 0 || (n as usize) < most).then(|| n.saturating_add(1));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(super) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accounts by key.
#[derive(Debug)]
pub(super) struct Book<K> {
    shelves: [Mutex<HashMap<K, Arc<Account>>>; SHELVES],
    hasher: RandomState,
    /// Accounts of a shelf that nobody needs to hold.
    most: usize,
    /// The shelf that is tidied next.
    next: AtomicUsize,
}

impl<K: Hash + Eq> Book<K> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            shelves: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            most: most.div_ceil(SHELVES),
            next: AtomicUsize::new(0),
        }
    }

    /// The account of a key; a new one is as `new` makes it.
    pub(super) fn open<Q>(&self, key: &Q, now: Duration, new: impl FnOnce() -> Account) -> Arc<Account>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let at = self.hasher.hash_one(key) as usize % SHELVES;
        let mut accounts = self.shelves[at].lock();
        if let Some(account) = accounts.get(key) {
            return Arc::clone(account);
        }
        if accounts.len() >= self.most {
            forget(&mut accounts, now);
            if accounts.len() >= self.most {
                // What is left to know is how fast they came: a new burst is the price of being many.
                accounts.retain(|_, account| Arc::strong_count(account) > 1);
            }
        }
        let account = Arc::new(new());
        accounts.insert(key.to_owned(), Arc::clone(&account));
        account
    }

    /// Forgets what says nothing any more, on one shelf after the other.
    pub(super) fn tidy(&self, now: Duration) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % SHELVES;
        let mut accounts = self.shelves[at].lock();
        forget(&mut accounts, now);
        if accounts.capacity() > 4 * accounts.len().max(64) {
            accounts.shrink_to_fit();
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.lock().len()).sum()
    }
}

/// Only whoever holds the shelf makes holders, so one that has none stays without.
fn forget<K: Hash + Eq>(shelf: &mut HashMap<K, Arc<Account>>, now: Duration) {
    shelf.retain(|_, account| {
        Arc::strong_count(account) > 1 || !account.connects.is_full(now) || !account.requests.is_full(now)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::bucket::Rate;

    const SECOND: Duration = Duration::from_secs(1);

    fn open(book: &Book<u32>, key: u32, now: Duration) -> Arc<Account> {
        book.open(&key, now, Account::default)
    }

    #[test]
    fn count_is_bounded_and_gives_back() {
        let count = Count::default();
        assert!(count.enter(2) && count.enter(2));
        assert!(!count.enter(2));
        count.leave();
        assert!(count.enter(2));
        assert!(count.enter(0), "0 is any number");
    }

    #[test]
    fn book_keeps_what_is_held_or_says_something() {
        let book = Book::new(1600);
        let held = open(&book, 1, Duration::ZERO);
        open(&book, 2, Duration::ZERO).connects.take(Rate::new(1, 1).unwrap(), SECOND).unwrap();
        open(&book, 3, Duration::ZERO);
        for _ in 0..SHELVES {
            book.tidy(SECOND);
        }
        assert_eq!(book.len(), 2, "the third was neither");
        assert!(Arc::ptr_eq(&held, &open(&book, 1, SECOND)));
        for _ in 0..SHELVES {
            book.tidy(2 * SECOND);
        }
        assert_eq!(book.len(), 1, "the second's bucket is full again");
        assert_eq!(Arc::strong_count(&held), 2);
    }

    #[test]
    fn book_that_is_full_forgets_rates_and_no_counts() {
        let book = Book::new(SHELVES * 8);
        let rate = Rate::new(1, 100).unwrap();
        let held: Vec<_> = (0..100).map(|key| open(&book, key, SECOND)).collect();
        for key in 100..10_000 {
            open(&book, key, SECOND).connects.take(rate, SECOND).unwrap();
        }
        assert!(book.len() <= 100 + SHELVES * 8, "{} accounts", book.len());
        for (key, account) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(account, &open(&book, key as u32, SECOND)), "{key} was forgotten");
        }
    }
}
