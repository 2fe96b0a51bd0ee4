//! How fast a client sends what it has announced. Only the time counts in which nothing was there and more was waited for.

use std::time::{Duration, Instant};

/// The pace of one body.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Bytes in a second; 0 for any.
    least: u64,
    /// What is not counted at first.
    grace: Duration,
    waited: Duration,
    since: Option<Instant>,
    bytes: u64,
}

impl Pace {
    /// At least so many bytes in a second on average, once the grace is over.
    pub fn new(least: usize, grace: Duration) -> Self {
        Self { least: least as u64, grace, waited: Duration::ZERO, since: None, bytes: 0 }
    }

    /// Any number of bytes in a second.
    pub fn any() -> Self {
        Self::new(0, Duration::ZERO)
    }

    /// Nothing is there: from here on it is waited.
    pub fn waits(&mut self, now: Instant) {
        if self.least > 0 {
            self.since.get_or_insert(now);
        }
    }

    /// So many bytes came; whether that is fast enough.
    pub fn came(&mut self, bytes: usize, now: Instant) -> bool {
        self.bytes += bytes as u64;
        let Some(since) = self.since.take() else { return true };
        self.waited += now.saturating_duration_since(since);
        let counted = self.waited.saturating_sub(self.grace);
        u128::from(self.bytes) * 1000 >= u128::from(self.least) * counted.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn pace_counts_what_came_against_what_was_waited() {
        let start = Instant::now();
        let mut pace = Pace::new(100, MS(1000));
        pace.waits(start);
        assert!(pace.came(1, start + MS(1000)), "within its grace");
        // Time in which it was not waited for more is not the client's.
        pace.waits(start + MS(90_000));
        pace.waits(start + MS(90_400));
        assert!(pace.came(49, start + MS(90_500)), "50 bytes in half a second");
        pace.waits(start + MS(90_500));
        assert!(!pace.came(1, start + MS(91_100)), "51 bytes in 1.1 seconds");
    }

    #[test]
    fn pace_of_any_is_never_too_slow() {
        let (start, mut pace) = (Instant::now(), Pace::any());
        pace.waits(start);
        assert!(pace.came(0, start + MS(1_000_000)));
    }
}
