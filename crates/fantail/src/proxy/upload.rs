//! A request on its way to a server: its head, and its body as the client sends it and as fast as the server takes it.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http_body::Body as _;
use hyper::body::Incoming;
use tokio::io::AsyncWrite;

use super::failure::Failure;
use super::head::{may_trail, write_field};
use super::socket::Socket;
use super::upstream::BodyLimits;

/// What is gathered before it is written, in bytes, so that a head and a small body leave together.
const GATHER: usize = 16 << 10;

/// How a request's body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// By its length, which the head tells; also where there is no body.
    Length,
    /// By chunks.
    Chunks,
}

/// A request that is being sent.
#[derive(Debug)]
pub(super) struct Upload {
    unsent: Vec<u8>,
    sent: usize,
    body: Option<Incoming>,
    coding: Coding,
    /// The client waits for `100 Continue`, and so does its body.
    waits: bool,
    /// Bytes of the body so far.
    seen: u64,
    limits: BodyLimits,
    /// The server takes no more. It may have answered all the same.
    refused: bool,
}

impl Upload {
    pub(super) fn new(head: &[u8], body: Option<Incoming>, coding: Coding, waits: bool, limits: BodyLimits) -> Self {
        Self { unsent: head.to_vec(), sent: 0, body, coding, waits, seen: 0, limits, refused: false }
    }

    /// Whether everything has been handed over.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_none() && self.sent == self.unsent.len() && !self.refused
    }

    /// Whether nothing more is to be handed over, or nothing more can be.
    pub(super) fn is_over(&self) -> bool {
        self.refused || self.is_done()
    }

    /// Whether the body has been read to its end, whether or not the server took it.
    pub(super) fn is_read(&self) -> bool {
        self.body.is_none()
    }

    /// Whether it is the server that is waited for, and not the client.
    pub(super) fn waits_for_server(&self) -> bool {
        self.waits || self.sent < self.unsent.len()
    }

    /// Whether the client waits for leave to send its body.
    pub(super) fn is_held(&self) -> bool {
        self.waits
    }

    /// The body may be sent: the server said so, or it has been silent for too long.
    pub(super) fn release(&mut self) -> bool {
        std::mem::take(&mut self.waits)
    }

    /// The body, if nothing of it has been read.
    pub(super) fn into_untouched(self) -> Option<Incoming> {
        self.body.filter(|_| self.seen == 0)
    }

    /// Sends what can be sent. Ready when there is nothing more to do; `progress` is called whenever something moved.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        mut progress: impl FnMut(),
    ) -> Poll<Result<(), Failure>> {
        while !self.is_over() {
            let gathered = self.gather(cx)?;
            if self.sent == self.unsent.len() {
                if self.body.is_none() {
                    break;
                }
                ready!(gathered);
                continue;
            }
            match ready!(Pin::new(&mut *socket).poll_write(cx, &self.unsent[self.sent..])) {
                Ok(0) | Err(_) => self.refused = true,
                Ok(n) => {
                    self.sent += n;
                    progress();
                }
            }
            if self.sent == self.unsent.len() {
                self.unsent.clear();
                self.sent = 0;
            }
        }
        // Room that an idle stream would keep.
        self.unsent = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Takes from the body what is there. Ready if something came, or all has.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Failure> {
        if self.waits {
            return Ok(Poll::Pending);
        }
        let mut came = false;
        while self.unsent.len() < GATHER
            && let Some(body) = &mut self.body
        {
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Pending if came => break,
                Poll::Pending => {
                    self.limits.pace.waits(Instant::now());
                    return Ok(Poll::Pending);
                }
                Poll::Ready(frame) => frame,
            };
            came = true;
            let frame = match frame {
                None => {
                    if self.coding == Coding::Chunks {
                        self.unsent.extend_from_slice(b"0\r\n\r\n");
                    }
                    self.body = None;
                    break;
                }
                Some(Err(_)) => return Err(Failure::ClientBody),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    self.seen += data.len() as u64;
                    let most = self.limits.size;
                    if most != 0 && self.seen > most {
                        return Err(Failure::ClientTooLarge(most));
                    }
                    if !self.limits.pace.came(data.len(), Instant::now()) {
                        return Err(Failure::ClientSlow);
                    }
                    if self.coding == Coding::Length {
                        self.unsent.extend_from_slice(&data);
                    } else if !data.is_empty() {
                        // Writing to a Vec cannot fail.
                        let _ = write!(self.unsent, "{:x}\r\n", data.len());
                        self.unsent.extend_from_slice(&data);
                        self.unsent.extend_from_slice(b"\r\n");
                    }
                }
                Err(frame) => {
                    // Trailers are the last frame.
                    if let (Ok(trailers), Coding::Chunks) = (frame.into_trailers(), self.coding) {
                        self.unsent.extend_from_slice(b"0\r\n");
                        for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name)) {
                            write_field(&mut self.unsent, name, value);
                        }
                        self.unsent.extend_from_slice(b"\r\n");
                        self.body = None;
                    }
                }
            }
        }
        Ok(Poll::Ready(()))
    }
}
