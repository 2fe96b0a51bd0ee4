//! Every channel of this process by name, in stripes so that publishers of different channels do not meet.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::channel::Channel;
use crate::name::ChannelName;

const STRIPES: usize = 64;

/// The map from names to channels. The names are stored in the channels alone.
pub struct Registry {
    stripes: Box<[Mutex<HashTable<Arc<Channel>>>]>,
    hasher: RandomState,
    len: AtomicUsize,
    capacity: usize,
}

/// There are as many channels as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Registry {
    /// Room for `capacity` channels.
    pub fn new(capacity: usize) -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Self { stripes, hasher: RandomState::new(), len: AtomicUsize::new(0), capacity }
    }

    /// The hash by which this process knows a name.
    pub fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    /// The channel of this name, if there is one.
    pub fn get(&self, name: &str) -> Option<Arc<Channel>> {
        let hash = self.hash(name);
        let stripe = self.stripe(hash).lock();
        stripe.find(hash, |channel| channel.name().as_str() == name).map(Arc::clone)
    }

    /// The channel of this name, made by `make` (which is told the name's hash) if there is none.
    ///
    /// # Errors
    /// [`Full`] if there is none and no room for it.
    pub fn get_or_make(&self, name: &ChannelName, make: impl FnOnce(u64) -> Channel) -> Result<Arc<Channel>, Full> {
        let hash = self.hash(name.as_str());
        let mut stripe = self.stripe(hash).lock();
        if let Some(channel) = stripe.find(hash, |channel| channel.name() == name) {
            return Ok(Arc::clone(channel));
        }
        if self.len.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        let channel = Arc::new(make(hash));
        stripe.insert_unique(hash, Arc::clone(&channel), |channel| self.hash(channel.name().as_str()));
        Ok(channel)
    }

    /// Takes this very channel out, if it is still in, by way of `dead`, which decides under the stripe's lock: a name
    /// must not be made anew between its death and what it leaves behind.
    pub fn remove_if<T>(&self, channel: &Arc<Channel>, dead: impl FnOnce(u64) -> (bool, T)) -> T {
        let hash = self.hash(channel.name().as_str());
        let mut stripe = self.stripe(hash).lock();
        let (remove, answer) = dead(hash);
        if remove && let Ok(found) = stripe.find_entry(hash, |other| Arc::ptr_eq(other, channel)) {
            found.remove();
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        answer
    }

    /// How many channels there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits every channel, stripe by stripe; those that come or go meanwhile may be missed.
    pub fn each(&self, mut visit: impl FnMut(&Arc<Channel>)) {
        for stripe in &self.stripes {
            stripe.lock().iter().for_each(&mut visit);
        }
    }

    fn stripe(&self, hash: u64) -> &Mutex<HashTable<Arc<Channel>>> {
        // The table itself uses the lowest and the highest bits.
        &self.stripes[(hash >> 32) as usize % STRIPES]
    }
}
