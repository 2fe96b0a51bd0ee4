//! What a subscriber was let in with, as far as it matters for as long as it stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who somebody is, and how long that is believed.
#[derive(Debug, Clone, Default)]
pub struct Ticket {
    /// Who it is, where that is known.
    pub identity: Option<Arc<str>>,
    /// When its connection has to end, if that is known.
    pub ends: Option<Instant>,
}

impl Ticket {
    /// How long the connection may last from now on, if `lasts` says no less.
    pub fn limit(&self, lasts: Option<Duration>) -> Option<Duration> {
        let left = self.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        match (lasts, left) {
            (Some(lasts), Some(left)) => Some(lasts.min(left)),
            (lasts, left) => lasts.or(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_limits_what_lasts_longer() {
        let hour = Duration::from_hours(1);
        assert_eq!(Ticket::default().limit(None), None);
        assert_eq!(Ticket::default().limit(Some(hour)), Some(hour));
        let ticket = Ticket { identity: None, ends: Some(Instant::now() + hour) };
        assert!(ticket.limit(None).unwrap() <= hour && ticket.limit(Some(2 * hour)).unwrap() <= hour);
        assert_eq!(ticket.limit(Some(hour / 2)), Some(hour / 2));
        let over = Ticket { identity: None, ends: Some(Instant::now()) };
        assert_eq!(over.limit(Some(hour)), Some(Duration::ZERO));
    }
}
