//! The run's clock: monotonic nanoseconds since the tool started. Stamps carry these, so one process must both publish
//! and subscribe.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One second on this clock.
pub(crate) const SECOND: u64 = 1_000_000_000;

static START: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since the first call.
pub(crate) fn now() -> u64 {
    nanos(START.get_or_init(Instant::now).elapsed())
}

/// A duration in this clock's unit.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds, for reports.
pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / SECOND as f64
}

/// Nanoseconds from an option in seconds.
pub(crate) fn from_seconds(seconds: f64) -> u64 {
    nanos(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}
