//! One opens, the others wait: for each key at most one request is on its way to the upstream, however many come at once. No
//! lock is held while anybody waits.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::source::Source;

/// What those who wait are told: nothing yet, that nothing is shared, or what.
type Outcome = Option<Option<Arc<Source>>>;

enum Place {
    /// Somebody asks the upstream.
    Opening(watch::Receiver<Outcome>),
    Open(Arc<Source>),
}

/// The sources that can be entered, by key.
pub(super) struct Openings<K> {
    places: Mutex<HashMap<K, Place>>,
}

/// What a request finds under its key.
pub(super) enum Entrance<'o, K: Eq + Hash + Clone> {
    /// Nothing: it is the one to ask the upstream.
    First(Opener<'o, K>),
    /// A source, which has counted its arrival.
    Open(Arc<Source>),
    /// Whoever asked the upstream got an answer that is not for others.
    Declined,
}

/// The right to ask the upstream for all who wait. Dropped without a word, as when the client has left, it passes on to one
/// of them.
pub(super) struct Opener<'o, K: Eq + Hash + Clone> {
    openings: &'o Openings<K>,
    key: K,
    tell: watch::Sender<Outcome>,
}

impl<K: Eq + Hash + Clone> Openings<K> {
    pub(super) fn new() -> Self {
        Self { places: Mutex::new(HashMap::new()) }
    }

    /// Finds the source of a key, or waits while somebody opens it.
    ///
    /// CANCEL SAFETY: a request that is dropped leaves no trace.
    pub(super) async fn enter(&self, key: &K) -> Entrance<'_, K> {
        loop {
            let mut wait = {
                let mut places = self.places.lock();
                match places.get(key) {
                    Some(Place::Open(source)) => {
                        // Under the lock, so that whoever closes it sees the arrival.
                        source.arrive();
                        return Entrance::Open(Arc::clone(source));
                    }
                    Some(Place::Opening(wait)) => wait.clone(),
                    None => {
                        let (tell, wait) = watch::channel(None);
                        places.insert(key.clone(), Place::Opening(wait));
                        return Entrance::First(Opener { openings: self, key: key.clone(), tell });
                    }
                }
            };
            // An error means that the opener is gone: then the next one tries.
            let Ok(outcome) = wait.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) else { continue };
            return match outcome.flatten() {
                Some(source) => {
                    source.arrive();
                    Entrance::Open(source)
                }
                None => Entrance::Declined,
            };
        }
    }

    /// Opens a source for those who come. Returns the one that is open from here on: another, where that came first. It has
    /// counted an arrival.
    pub(super) fn open(&self, key: &K, source: &Arc<Source>) -> Arc<Source> {
        let mut places = self.places.lock();
        let open = match places.get(key) {
            Some(Place::Open(open)) => Arc::clone(open),
            // Whoever opens it at the moment will find this one, and so will those who wait for that.
            Some(Place::Opening(_)) | None => {
                places.insert(key.clone(), Place::Open(Arc::clone(source)));
                Arc::clone(source)
            }
        };
        open.arrive();
        open
    }

    /// Forgets a source, if nobody has arrived since there were so many arrivals; says whether it is forgotten.
    pub(super) fn close(&self, key: &K, source: &Arc<Source>, arrivals: u64) -> bool {
        let mut places = self.places.lock();
        if source.arrivals() != arrivals {
            return false;
        }
        remove(&mut places, key, source);
        true
    }

    /// Forgets a source.
    pub(super) fn forget(&self, key: &K, source: &Arc<Source>) {
        remove(&mut self.places.lock(), key, source);
    }

    /// Whether something is open under a key, or about to be.
    pub(super) fn contains(&self, key: &K) -> bool {
        self.places.lock().contains_key(key)
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.places.lock().len()
    }
}

/// Another may have been opened under the key meanwhile: that one stays.
fn remove<K: Eq + Hash>(places: &mut HashMap<K, Place>, key: &K, source: &Arc<Source>) {
    if matches!(places.get(key), Some(Place::Open(open)) if Arc::ptr_eq(open, source)) {
        places.remove(key);
    }
}

impl<K: Eq + Hash + Clone> Opener<'_, K> {
    /// Lets all in who wait, and those who come; see [`Openings::open`].
    pub(super) fn open(self, source: &Arc<Source>) -> Arc<Source> {
        let open = self.openings.open(&self.key, source);
        self.tell.send_replace(Some(Some(Arc::clone(&open))));
        open
    }

    /// Sends those who wait their own ways.
    pub(super) fn decline(self) {
        // Whoever enters again finds nothing.
        self.leave();
        self.tell.send_replace(Some(None));
    }

    fn leave(&self) {
        let mut places = self.openings.places.lock();
        if let Some(Place::Opening(wait)) = places.get(&self.key)
            && wait.same_channel(&self.tell.subscribe())
        {
            places.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash + Clone> Drop for Opener<'_, K> {
    fn drop(&mut self) {
        self.leave();
    }
}
