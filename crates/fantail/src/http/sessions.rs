//! Connections that are served by tasks of their own, and in no shard: `WebSocket`s, streams and tunnels of upstreams. Here they can
//! be ended by the identity of their client.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep_until};

use crate::fanout::Ticket;

/// Those whose clients are known.
#[derive(Debug, Default)]
pub struct Sessions(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// What ends each, by a number that is its own.
    by_identity: HashMap<Arc<str>, HashMap<u64, oneshot::Sender<()>>>,
    numbers: u64,
}

/// Is done when a client has to go: its time is over, or it was ended. Never, for one that is not known and may stay.
pub struct Leave {
    ended: Option<oneshot::Receiver<()>>,
    over: Option<Pin<Box<Sleep>>>,
    /// Forgets the session when it is dropped.
    _entry: Option<Entry>,
}

struct Entry {
    known: Arc<Mutex<Known>>,
    identity: Arc<str>,
    number: u64,
}

impl Sessions {
    /// A session of whoever has this ticket; it lasts as long as what is returned.
    pub fn begin(&self, ticket: &Ticket) -> Leave {
        let over = ticket.ends.map(|ends: Instant| Box::pin(sleep_until(ends.into())));
        let Some(identity) = &ticket.identity else { return Leave { ended: None, over, _entry: None } };
        let (end, ended) = oneshot::channel();
        let mut known = self.0.lock();
        known.numbers += 1;
        let number = known.numbers;
        known.by_identity.entry(Arc::clone(identity)).or_default().insert(number, end);
        let entry = Entry { known: Arc::clone(&self.0), identity: Arc::clone(identity), number };
        Leave { ended: Some(ended), over, _entry: Some(entry) }
    }

    /// How many sessions there are of this identity.
    pub fn count(&self, identity: &str) -> usize {
        self.0.lock().by_identity.get(identity).map_or(0, HashMap::len)
    }

    /// Ends those of this identity; how many there were.
    pub fn end(&self, identity: &str) -> usize {
        let all = self.0.lock().by_identity.remove(identity).unwrap_or_default();
        // One whose receiver is gone has ended in this moment.
        all.into_values().filter(|end| !end.is_closed()).filter_map(|end| end.send(()).ok()).count()
    }
}

impl Future for Leave {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // A sender that is gone was forgotten with what ends the session.
        let ended = self.ended.as_mut().is_some_and(|ended| Pin::new(ended).poll(cx).is_ready());
        let over = self.over.as_mut().is_some_and(|over| over.as_mut().poll(cx).is_ready());
        if ended || over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut known = self.known.lock();
        if let Some(all) = known.by_identity.get_mut(&self.identity) {
            all.remove(&self.number);
            if all.is_empty() {
                known.by_identity.remove(&self.identity);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ticket(identity: Option<&str>, ends: Option<Instant>) -> Ticket {
        Ticket { identity: identity.map(Arc::from), ends }
    }

    #[tokio::test]
    async fn session_is_ended_by_its_identity_alone() {
        let sessions = Sessions::default();
        let [one, other] = [sessions.begin(&ticket(Some("a"), None)), sessions.begin(&ticket(Some("a"), None))];
        let mut stranger = sessions.begin(&ticket(Some("b"), None));
        assert_eq!((sessions.end("c"), sessions.count("a"), sessions.end("a")), (0, 2, 2));
        one.await;
        other.await;
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut stranger).await.is_err());
        drop(stranger);
        assert_eq!((sessions.count("b"), sessions.end("b")), (0, 0));
        assert!(sessions.0.lock().by_identity.is_empty(), "nothing is kept of those who have gone");
    }

    #[tokio::test]
    async fn session_is_over_when_its_ticket_is() {
        let sessions = Sessions::default();
        sessions.begin(&ticket(None, Some(Instant::now()))).await;
        let mut for_ever = sessions.begin(&ticket(None, None));
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut for_ever).await.is_err());
    }
}
