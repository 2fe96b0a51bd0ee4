//! How a request leaves HTTP: what is to be done with the socket, and when it may be taken; and what is said before an
//! answer. What a request and its connection know of each other stands in the connection's slot.
//!
//! The socket may be taken only when hyper has said everything *and* its buffer has been flushed since: counting bytes is
//! not enough, and after a HEAD the body is never polled. One slot per connection; the listener watches it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use fantail_hub::{Framing, Plan};
use parking_lot::Mutex;

use crate::admission::Seat;
use crate::fanout::{Presence, Respond, Style, Ticket};
pub use crate::proxy::Client;

/// What is to be done with the socket.
pub enum Takeover {
    /// It goes to a shard.
    Subscriber(Subscriber),
    /// Nothing was sent: it goes to whoever answers the request in HTTP's place, and may come back.
    Guest(Guest),
}

/// Answers a request in HTTP's place.
pub type Guest = Box<dyn FnOnce(Client) + Send>;

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subscriber(subscriber) => subscriber.fmt(f),
            Self::Guest(_) => f.write_str("Guest"),
        }
    }
}

/// A subscriber on its way to a shard.
pub struct Subscriber {
    /// What the subscriber listens to, and from where.
    pub plan: Plan,
    /// How its route behaves.
    pub style: Arc<Style>,
    /// How its frames are delimited.
    pub framing: Framing,
    /// What it was let in with.
    pub ticket: Ticket,
    /// Who has to know of it, if anybody.
    pub presence: Option<Box<dyn Presence>>,
    /// What it waits for.
    pub errand: Errand,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, style, framing, ticket, errand, presence: _ } = self;
        let mut f = f.debug_struct("Subscriber");
        f.field("plan", plan).field("style", style).field("framing", framing).field("ticket", ticket);
        f.field("errand", errand);
        f.finish_non_exhaustive()
    }
}

/// What a subscriber waits for.
pub enum Errand {
    /// Everything: the head of a stream has been sent.
    Stream,
    /// A single answer; nothing has been sent.
    Answer {
        /// How long to wait for something to be due.
        wait: std::time::Duration,
        /// The connection is used again afterwards.
        keep_alive: bool,
        /// The whole answer, around what is due; see [`super::reply::Reply`].
        response: Respond,
    },
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream => f.write_str("Stream"),
            Self::Answer { wait, keep_alive, .. } => {
                f.debug_struct("Answer").field("wait", wait).field("keep_alive", keep_alive).finish_non_exhaustive()
            }
        }
    }
}

/// Nothing is asked while the state is neither of these.
const SAID: u8 = 1;
const FLUSHED: u8 = 2;

/// The most that is said before an answer and not yet sent, in bytes; what is beyond it is not said.
const MAX_INTERIM: usize = 64 << 10;

/// Where a request leaves its takeover for its connection.
#[derive(Debug)]
pub struct Slot {
    peer: SocketAddr,
    /// Which address of its listener the connection came to.
    listener: usize,
    /// For whom the request is that is being answered.
    client: Mutex<SocketAddr>,
    /// What that request was granted.
    seat: Mutex<Seat>,
    takeover: Mutex<Option<Takeover>>,
    state: AtomicU8,
    /// Somebody has to know at once when the client leaves.
    watched: AtomicBool,
    /// Interim answers that have not been sent.
    interim: Mutex<Vec<u8>>,
    /// hyper's buffer has been empty since the request came: nothing of an earlier answer is left in it.
    clean: AtomicBool,
}

impl Slot {
    /// The slot of a connection to the address of that number.
    pub fn new(peer: SocketAddr, listener: usize) -> Self {
        Self {
            peer,
            listener,
            client: Mutex::new(peer),
            seat: Mutex::default(),
            takeover: Mutex::default(),
            state: AtomicU8::new(0),
            watched: AtomicBool::new(false),
            interim: Mutex::default(),
            clean: AtomicBool::new(false),
        }
    }

    /// Who is at the connection's other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// For whom the request is that is being answered: a proxy's client, where the proxy is trusted.
    pub fn client(&self) -> SocketAddr {
        *self.client.lock()
    }

    /// Which address of its listener it came to.
    pub fn listener(&self) -> usize {
        self.listener
    }

    /// Keeps what the request was granted for as long as its stream will last.
    pub fn sit(&self, seat: Seat) {
        *self.seat.lock() = seat;
    }

    /// The request's seat, for whoever carries its stream on.
    pub fn take_seat(&self) -> Seat {
        std::mem::take(&mut *self.seat.lock())
    }

    /// Gives the seat back if the request became no stream.
    pub fn answered(&self) {
        if self.takeover.lock().is_none() {
            self.take_seat();
        }
    }

    /// Asks for the socket to be taken over once all is said.
    pub fn ask(&self, takeover: Takeover) {
        *self.takeover.lock() = Some(takeover);
    }

    /// HTTP has nothing more to say to this client.
    pub fn all_said(&self) {
        // hyper may ask again after a flush; that takes nothing back.
        let _ = self.state.compare_exchange(0, SAID, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Another request is about to be answered, for this client.
    pub fn begin(&self, client: SocketAddr) {
        *self.client.lock() = client;
        self.watch(false);
        self.clean.store(false, Ordering::Relaxed);
    }

    /// hyper's buffer has been emptied.
    pub fn flushed(&self) {
        self.clean.store(true, Ordering::Relaxed);
        // Only what was said before this flush is known to be out.
        let _ = self.state.compare_exchange(SAID, FLUSHED, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The takeover, if hyper has nothing more to write.
    pub fn take(&self) -> Option<Takeover> {
        if self.state.load(Ordering::Acquire) != FLUSHED {
            return None;
        }
        self.takeover.lock().take()
    }

    /// From here on, or from here on no longer, the answer costs somebody else something: the client's leaving ends it at
    /// once, whatever hides it.
    pub fn watch(&self, watched: bool) {
        self.watched.store(watched, Ordering::Relaxed);
    }

    /// See [`Slot::watch`].
    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Says something before the answer (RFC 9110 §15.2).
    pub fn say_before(&self, mut head: Vec<u8>) {
        let mut interim = self.interim.lock();
        if interim.len() + head.len() <= MAX_INTERIM {
            interim.append(&mut head);
        }
    }

    /// What is to be sent before anything else that HTTP says. Where an earlier answer is still on its way, an interim one
    /// would end up inside it, and is not said: nobody counts on one.
    pub fn take_interim(&self) -> Vec<u8> {
        let mut interim = std::mem::take(&mut *self.interim.lock());
        if !self.clean.load(Ordering::Relaxed) {
            interim.clear();
        }
        interim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_answers_do_not_get_into_the_answer_before() {
        let slot = Slot::new("127.0.0.1:1".parse().unwrap(), 0);
        slot.begin(slot.peer());
        slot.say_before(b"103".to_vec());
        assert!(slot.take_interim().is_empty(), "the answer before may not be out yet");
        slot.flushed();
        slot.say_before(b"103".to_vec());
        assert_eq!(slot.take_interim(), b"103");
        slot.begin(slot.peer());
        slot.say_before(b"103".to_vec());
        assert!(slot.take_interim().is_empty());
    }
}
