//! When each connection has to be looked at again. One entry per connection that counts; nothing is cancelled, what turns
//! up too early is simply put in again. A plain function of the ticks it is given.

use std::time::Duration;

/// Time in a shard, counted in steps of [`TICK`] since its start.
pub(super) type Ticks = u32;

/// How finely deadlines are kept.
pub(super) const TICK: Duration = Duration::from_millis(50);

const BUCKETS: usize = 1024;

/// A connection, and when it wanted to be looked at. One that has since chosen another time knows this entry by that.
pub(super) type Entry = (u32, Ticks);

/// A ring of buckets. Entries further away than its circumference come up early.
pub(super) struct Wheel {
    buckets: Vec<Vec<Entry>>,
    /// Everything up to here has been taken.
    taken: Ticks,
    entries: usize,
}

/// `span` in whole ticks, rounded up, at least one.
pub(super) fn ticks(span: Duration) -> Ticks {
    Ticks::try_from(span.as_millis().div_ceil(TICK.as_millis())).unwrap_or(Ticks::MAX / 4).max(1)
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { buckets: vec![Vec::new(); BUCKETS], taken: 0, entries: 0 }
    }

    /// Lets `key` come up at `at`, or earlier.
    pub(super) fn add(&mut self, key: u32, at: Ticks) {
        let furthest = self.taken + BUCKETS as Ticks;
        let bucket = at.clamp(self.taken + 1, furthest);
        self.buckets[bucket as usize % BUCKETS].push((key, at));
        self.entries += 1;
    }

    /// Moves every entry that has come up by `now` to `out`.
    pub(super) fn take(&mut self, now: Ticks, out: &mut Vec<Entry>) {
        let before = out.len();
        // After a long sleep one round sees every bucket.
        let first = (self.taken + 1).max(now.saturating_sub(BUCKETS as Ticks - 1));
        for tick in first..=now {
            out.append(&mut self.buckets[tick as usize % BUCKETS]);
        }
        self.taken = self.taken.max(now);
        self.entries -= out.len() - before;
    }

    /// When the next key comes up; `None` if there is none.
    pub(super) fn next(&self) -> Option<Ticks> {
        if self.entries == 0 {
            return None;
        }
        (self.taken + 1..=self.taken + BUCKETS as Ticks).find(|&tick| !self.buckets[tick as usize % BUCKETS].is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(wheel: &mut Wheel, now: Ticks) -> Vec<u32> {
        let mut out = Vec::new();
        wheel.take(now, &mut out);
        out.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn take_yields_what_is_due_and_nothing_else() {
        let mut wheel = Wheel::new();
        wheel.add(1, 5);
        wheel.add(2, 7);
        wheel.add(3, 0);
        assert_eq!(wheel.next(), Some(1));
        assert_eq!(take(&mut wheel, 4), [3]);
        assert_eq!((take(&mut wheel, 5), wheel.next()), (vec![1], Some(7)));
        assert_eq!((take(&mut wheel, 100), wheel.next()), (vec![2], None));
    }

    #[test]
    fn add_beyond_the_ring_comes_up_early_and_after_a_long_sleep_once() {
        let mut wheel = Wheel::new();
        wheel.add(1, 1_000_000);
        assert_eq!(wheel.next(), Some(BUCKETS as Ticks));
        assert_eq!(take(&mut wheel, 5_000_000), [1]);
        assert_eq!(take(&mut wheel, 9_000_000), [0; 0]);
    }

    #[test]
    fn ticks_round_up() {
        assert_eq!([0, 1, 50, 51].map(|ms| ticks(Duration::from_millis(ms))), [1, 1, 1, 2]);
    }
}
