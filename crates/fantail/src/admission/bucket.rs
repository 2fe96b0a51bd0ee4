//! A token bucket in one number: the moment at which it is full again. Knows no clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often something may happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// One token's time, in nanoseconds.
    interval: u64,
    /// What the bucket holds, as time, in nanoseconds.
    depth: u64,
}

impl Rate {
    /// So many in a second once a burst is used up; `None` for any number.
    pub(super) fn new(per_second: usize, burst: usize) -> Option<Self> {
        let interval = 1_000_000_000_u64.checked_div(per_second as u64)?;
        Some(Self { interval, depth: interval.saturating_mul(burst as u64) })
    }
}

/// The state of one bucket, in nanoseconds since the server's start.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    /// Takes a token, or says in which time there will be one.
    pub(super) fn take(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        let mut missing = 0;
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| {
            let full = full.max(now) + rate.interval;
            missing = (full - now).saturating_sub(rate.depth);
            (missing == 0).then_some(full)
        });
        taken.map(drop).map_err(|_| Duration::from_nanos(missing))
    }

    /// Whether forgetting it changes nothing.
    pub(super) fn is_full(&self, now: Duration) -> bool {
        self.0.load(Ordering::Relaxed) <= nanos(now)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn bucket_gives_its_burst_and_then_its_rate() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 3).unwrap());
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, MS(1000)), Ok(()));
        }
        assert_eq!(bucket.take(rate, MS(1000)), Err(MS(100)));
        assert_eq!(bucket.take(rate, MS(1040)), Err(MS(60)), "what was refused took nothing");
        assert_eq!(bucket.take(rate, MS(1100)), Ok(()));
        assert_eq!(bucket.take(rate, MS(1100)), Err(MS(100)));
        assert!(!bucket.is_full(MS(1399)));
        assert!(bucket.is_full(MS(1400)));
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, MS(9000)), Ok(()), "it never holds more than its burst");
        }
        assert!(bucket.take(rate, MS(9000)).is_err());
    }

    #[test]
    fn bucket_of_no_rate_is_none() {
        assert!(Rate::new(0, 10).is_none());
    }
}
