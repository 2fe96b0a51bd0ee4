//! Time, handed in so that tests set it by hand. Knows nothing of timers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, as the hub's clock counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// This moment plus a span; stays at the end of time rather than wrap.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This moment minus a span; stays at the epoch rather than wrap.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where the hub reads the time.
#[derive(Debug)]
pub enum Clock {
    /// The wall clock as it stood at the start, carried on by the monotonic one: a wall clock that is set forward or back
    /// while the process runs neither expires every message at once nor keeps them for ever.
    System {
        /// Wall time at `start`.
        origin: Millis,
        /// The monotonic anchor.
        start: Instant,
    },
    /// Set by hand, in tests.
    Manual(AtomicU64),
}

impl Clock {
    /// The machine's time.
    pub fn system() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::System { origin: Millis::default().plus(wall), start: Instant::now() }
    }

    /// A clock that stands at `now` until [`Clock::advance`] moves it.
    pub fn manual(now: Millis) -> Self {
        Self::Manual(AtomicU64::new(now.0))
    }

    /// The present.
    pub fn now(&self) -> Millis {
        match self {
            Self::System { origin, start } => origin.plus(start.elapsed()),
            Self::Manual(now) => Millis(now.load(Ordering::Relaxed)),
        }
    }

    /// Moves a manual clock forward. A system clock goes its own way.
    pub fn advance(&self, span: Duration) {
        if let Self::Manual(now) = self {
            now.store(self.now().plus(span).0, Ordering::Relaxed);
        }
    }
}
