//! How a request leaves HTTP: what is to be done with the socket, and when it may be taken.
//!
//! The socket may be taken only when hyper has said everything *and* its buffer has been flushed since: counting bytes is
//! not enough, and after a HEAD the body is never polled. One slot per connection; the listener watches it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use fantail_hub::{Framing, Plan};
use parking_lot::Mutex;

use crate::fanout::{Respond, Style};

/// What is to be done with the socket.
#[derive(Debug)]
pub struct Takeover {
    /// What the subscriber listens to, and from where.
    pub plan: Plan,
    /// How its route behaves.
    pub style: Arc<Style>,
    /// How its frames are delimited.
    pub framing: Framing,
    /// What it waits for.
    pub errand: Errand,
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

/// Where a request leaves its takeover for its connection.
#[derive(Debug, Default)]
pub struct Slot {
    takeover: Mutex<Option<Takeover>>,
    state: AtomicU8,
}

impl Slot {
    /// Asks for the socket to be taken over once all is said.
    pub fn ask(&self, takeover: Takeover) {
        *self.takeover.lock() = Some(takeover);
    }

    /// HTTP has nothing more to say to this client.
    pub fn all_said(&self) {
        // hyper may ask again after a flush; that takes nothing back.
        let _ = self.state.compare_exchange(0, SAID, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// hyper's buffer has been emptied.
    pub fn flushed(&self) {
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
}
