//! Which publishes were already applied: keys that publishers chose, remembered for a while and in bounded number.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Millis;
use crate::name::ChannelName;
use crate::position::Offset;

/// A publisher's name for one publish: 1 to 255 bytes, compared as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Box<[u8]>);

impl IdempotencyKey {
    /// The longest key, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Takes a copy of `bytes`; `None` if there are none or too many.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        (1..=Self::MAX_BYTES).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What became of a publish with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// A digest of what was published.
    pub digest: u64,
    /// Where it stands.
    pub offset: Offset,
}

type Keyed = (ChannelName, IdempotencyKey);

/// The keys of the last while.
#[derive(Debug)]
pub struct Idempotency {
    outcomes: HashMap<Keyed, Outcome>,
    /// When each was remembered, and for which offset: the same key may have been remembered anew since.
    order: VecDeque<(Millis, Offset, Keyed)>,
    window: Duration,
    capacity: usize,
}

impl Idempotency {
    /// Remembers each key for `window`, and the newest `capacity` of all.
    pub fn new(window: Duration, capacity: usize) -> Self {
        Self { outcomes: HashMap::new(), order: VecDeque::new(), window, capacity }
    }

    /// What became of the publish to `channel` with this key, if it is remembered at `now`.
    pub fn outcome(&mut self, channel: &ChannelName, key: &IdempotencyKey, now: Millis) -> Option<Outcome> {
        while self.order.front().is_some_and(|(time, ..)| time.plus(self.window) <= now) {
            self.forget_oldest();
        }
        self.outcomes.get(&(channel.clone(), key.clone())).copied()
    }

    /// Remembers an outcome; the key must not be known, see [`Idempotency::outcome`].
    pub fn remember(&mut self, channel: &ChannelName, key: IdempotencyKey, outcome: Outcome, now: Millis) {
        if self.capacity == 0 {
            return;
        }
        while self.order.len() >= self.capacity {
            self.forget_oldest();
        }
        let keyed = (channel.clone(), key);
        self.order.push_back((now, outcome.offset, keyed.clone()));
        self.outcomes.insert(keyed, outcome);
    }

    /// Forgets what was remembered at `offset`: it came to nothing after all.
    pub fn forget(&mut self, channel: &ChannelName, key: &IdempotencyKey, offset: Offset) {
        self.remove(&(channel.clone(), key.clone()), offset);
    }

    fn forget_oldest(&mut self) {
        if let Some((_, offset, keyed)) = self.order.pop_front() {
            self.remove(&keyed, offset);
        }
    }

    fn remove(&mut self, keyed: &Keyed, offset: Offset) {
        if self.outcomes.get(keyed).is_some_and(|outcome| outcome.offset == offset) {
            self.outcomes.remove(keyed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_is_remembered_per_channel_for_the_window_and_in_bounded_number() {
        let mut keys = Idempotency::new(Duration::from_mins(2), 2);
        let [a, b] = ["a", "b"].map(|name| ChannelName::parse(name).unwrap());
        let [k1, k2, k3] = [b"1", b"2", b"3"].map(|key| IdempotencyKey::parse(key).unwrap());
        let done = Outcome { digest: 1, offset: Offset(1) };
        keys.remember(&a, k1.clone(), done, Millis(0));
        assert_eq!(keys.outcome(&a, &k1, Millis(119_999)), Some(done));
        assert_eq!(keys.outcome(&b, &k1, Millis(119_999)), None);
        assert_eq!(keys.outcome(&a, &k1, Millis(120_000)), None);
        for key in [&k1, &k2, &k3] {
            keys.remember(&a, key.clone(), done, Millis(200_000));
        }
        assert_eq!([&k1, &k2, &k3].map(|k| keys.outcome(&a, k, Millis(200_000)).is_some()), [false, true, true]);
    }

    #[test]
    fn key_forgotten_and_remembered_anew_outlives_its_first_time() {
        let mut keys = Idempotency::new(Duration::from_mins(2), 10);
        let (a, key) = (ChannelName::parse("a").unwrap(), IdempotencyKey::parse(b"1").unwrap());
        let [first, second] = [1, 2].map(|offset| Outcome { digest: 1, offset: Offset(offset) });
        keys.remember(&a, key.clone(), first, Millis(0));
        keys.forget(&a, &key, Offset(2));
        assert_eq!(keys.outcome(&a, &key, Millis(1)), Some(first), "another outcome is not forgotten");
        keys.forget(&a, &key, Offset(1));
        assert_eq!(keys.outcome(&a, &key, Millis(1)), None);
        keys.remember(&a, key.clone(), second, Millis(60_000));
        assert_eq!(keys.outcome(&a, &key, Millis(130_000)), Some(second));
    }

    #[test]
    fn key_empty_or_too_long_is_refused() {
        assert!(IdempotencyKey::parse(b"").is_none());
        assert!(IdempotencyKey::parse(&[b'x'; 256]).is_none());
        assert!(IdempotencyKey::parse(&[b'x'; 255]).is_some());
    }
}
