//! Waits for a client that takes nothing of an answer, or takes it in drops. One that reads slowly keeps the socket full as well,
//! for as long as a large answer lasts: what counts is how much it takes meanwhile.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long a client may take nothing, or less than it has to.
const UNREAD: Duration = Duration::from_mins(1);

/// The wait, from the moment at which the socket was found full.
pub(super) struct Patience {
    /// What the client takes at least while one wait lasts, in bytes.
    least: u64,
    /// Bytes that it had taken when the wait began.
    sent: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// For clients that take at least so many bytes in a second.
    pub(super) fn new(rate: u64) -> Self {
        Self { least: rate.saturating_mul(UNREAD.as_secs()).max(1), sent: 0, timer: None }
    }

    /// Ready when a client that has taken `sent` bytes in all, and takes no more at the moment, has taken too few for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, sent: u64) -> Poll<()> {
        let begins = self.timer.is_none();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(UNREAD)));
        if begins {
            self.sent = sent;
        } else if sent - self.sent >= self.least {
            self.sent = sent;
            timer.as_mut().reset(Instant::now() + UNREAD);
        }
        timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn patience_begins_anew_once_enough_was_taken() {
        let mut patience = Patience::new(2);
        let mut deadline = async |sent| {
            // So that the next wait does not begin in the same moment.
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(poll_fn(|cx| Poll::Ready(patience.poll(cx, sent))).await.is_pending());
            patience.timer.as_ref().map(|timer| timer.deadline())
        };
        let first = deadline(1000).await;
        assert_eq!(deadline(1000).await, first, "nothing was taken");
        assert_eq!(deadline(1119).await, first, "119 of 120 bytes");
        let second = deadline(1120).await;
        assert!(second > first, "a slow client is not one that takes nothing");
        assert_eq!(deadline(1239).await, second);
    }
}
