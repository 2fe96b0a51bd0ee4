//! One subscriber in a shard: a socket and a few plain values. They stay plain, because a later hand-over to a new process
//! passes the socket and these.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use fantail_hub::gather::Progress;
use fantail_hub::{Batch, Framing};

use super::room::Seats;
use super::wheel::Ticks;
use super::{Answer, Back, Presence, Style};
use crate::admission::Place;

/// What a connection is doing.
pub(super) enum Doing {
    /// It streams.
    Streaming,
    /// It waits for a single answer.
    Waiting(Box<Answer>),
    /// Its answer is being written; then it rests.
    Answering(Box<Answer>),
    /// It is answered and no subscriber any more. With its next request the socket goes back.
    Resting(Box<Back>),
    /// Its last bytes are being written; then it is shut down.
    Ending,
    /// Everything is written and said; the peer is expected to close.
    Closing,
}

/// The record of one subscriber.
pub(super) struct Conn {
    pub(super) socket: mio::net::TcpStream,
    pub(super) framing: Framing,
    pub(super) doing: Doing,
    pub(super) style: Arc<Style>,
    pub(super) progress: Progress,
    pub(super) seats: Seats,
    /// What its socket would not take yet: the rest of one frame, or nothing when it stopped between two. While this is
    /// there the socket is full and the connection is left alone until it is writable.
    pub(super) unsent: Option<Box<Bytes>>,
    /// Its number in the shard, never used again.
    pub(super) number: u64,
    pub(super) peer: SocketAddr,
    pub(super) identity: Option<Arc<str>>,
    /// Dropped with it.
    pub(super) presence: Option<Box<dyn Presence>>,
    /// Its place among the connections.
    pub(super) permit: Place,
    /// When its socket last took something.
    pub(super) last_write: Ticks,
    /// When its lifetime, its wait or its closing is over; 0 for never.
    pub(super) deadline: Ticks,
    /// The entry of the wheel that counts.
    pub(super) due: Ticks,
    /// It stands in the queue of those that have more to be sent.
    pub(super) queued: bool,
    /// What it is due next is being read from the journal.
    pub(super) reading: bool,
    /// What it was sent last, of which some may be unsent, is its last message.
    pub(super) closing: bool,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrote {
    /// The socket took everything.
    All,
    /// It is full.
    Some,
}

impl Conn {
    pub(super) fn is_blocked(&self) -> bool {
        self.unsent.is_some()
    }

    /// Whether messages are for it: it has not been ended nor closed, its socket takes more, and nothing is read for it.
    pub(super) fn is_ready(&self) -> bool {
        let open = matches!(self.doing, Doing::Streaming | Doing::Waiting(_));
        open && self.unsent.is_none() && !self.closing && !self.reading
    }

    /// Writes a batch and moves the cursor behind what was, or began to be, sent. Returns the bytes that the socket took.
    pub(super) fn send_batch(&mut self, batch: &Batch, now: Ticks) -> io::Result<(Wrote, usize)> {
        let sent = if batch.bytes.is_empty() { 0 } else { self.try_write(&batch.bytes)? };
        if sent == batch.bytes.len() {
            self.progress.advance(batch.next());
            self.last_write = now;
            return Ok((Wrote::All, sent));
        }
        let mut rest = None;
        if sent > 0 {
            let (next, cut) = batch.cut(sent);
            self.progress.advance(next);
            rest = cut;
        }
        // Its patience is counted from the moment at which the socket was found full.
        self.last_write = now;
        self.unsent = Some(Box::new(rest.unwrap_or_default()));
        Ok((Wrote::Some, sent))
    }

    /// Writes bytes that are not part of the log: a ping, an end. What is not taken is kept.
    pub(super) fn send_aside(&mut self, bytes: Bytes, now: Ticks) -> io::Result<Wrote> {
        debug_assert!(self.unsent.is_none(), "something else is on its way");
        self.unsent = Some(Box::new(bytes));
        self.last_write = now;
        self.flush(now).map(|(wrote, _)| wrote)
    }

    /// Writes what is left over. Returns the bytes that the socket took.
    pub(super) fn flush(&mut self, now: Ticks) -> io::Result<(Wrote, usize)> {
        let mut total = 0;
        while let Some(mut unsent) = self.unsent.take() {
            if unsent.is_empty() {
                break;
            }
            let sent = self.try_write(&unsent)?;
            total += sent;
            if sent > 0 {
                self.last_write = now;
            }
            if sent < unsent.len() {
                bytes::Buf::advance(&mut *unsent, sent);
                self.unsent = Some(unsent);
                if sent == 0 {
                    return Ok((Wrote::Some, total));
                }
            }
        }
        Ok((Wrote::All, total))
    }

    /// The bytes that the socket took; 0 when it is full.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.write(bytes) {
                Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => return Ok(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conn_of_one_channel_is_a_few_plain_values() {
        assert!(size_of::<Conn>() <= 256, "a subscriber's record has {} bytes", size_of::<Conn>());
    }
}
