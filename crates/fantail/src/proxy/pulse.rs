//! The heartbeat of a proxied event stream: where in the stream a comment may be put, and when one is due.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use memchr::memchr2;
use tokio::time::{Instant, Sleep};

/// What is said: one comment with some text and a single LF. A lone colon and a blank line behind it both upset clients.
pub(super) const BEAT: &[u8] = b": hb\n";

/// Where a stream stands, as far as a comment is concerned (WHATWG HTML §9.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Nothing has come. The first bytes may be a byte order mark, which counts only at the very beginning.
    Start,
    /// At the beginning of a line.
    Line,
    /// Behind a CR: an LF may belong to it.
    Cr,
    /// Inside a comment.
    Comment,
    /// Inside a field.
    Field,
}

/// Follows a stream to know whether it is between two events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boundary {
    at: At,
    /// There is a field behind the last blank line: the event that it belongs to has not ended.
    open: bool,
}

impl Boundary {
    pub(super) fn new() -> Self {
        Self { at: At::Start, open: false }
    }

    /// Whether a comment may be put here: between two events, at the beginning of a line, and not as the first word. Behind
    /// a CR the LF that may still come would then be a blank line, which between two events says nothing.
    pub(super) fn is_here(self) -> bool {
        !self.open && matches!(self.at, At::Line | At::Cr)
    }

    /// Follows the stream over these bytes.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        if self.at == At::Cr
            && let [b'\n', rest @ ..] = bytes
        {
            self.at = At::Line;
            bytes = rest;
        }
        while let Some(&first) = bytes.first() {
            if let At::Comment | At::Field = self.at {
                let Some(end) = memchr2(b'\r', b'\n', bytes) else { return };
                bytes = self.line_end(&bytes[end..]);
                continue;
            }
            match first {
                b'\r' | b'\n' => {
                    self.open = false;
                    bytes = self.line_end(bytes);
                }
                b':' => self.at = At::Comment,
                _ => {
                    self.open = true;
                    self.at = At::Field;
                }
            }
        }
    }

    /// Steps over the line break that `bytes` begins with.
    fn line_end<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match bytes {
            [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => {
                self.at = At::Line;
                rest
            }
            [_, rest @ ..] => {
                // With more behind it, this CR stands alone.
                self.at = if rest.is_empty() { At::Cr } else { At::Line };
                rest
            }
            [] => bytes,
        }
    }
}

/// When a heartbeat is due. The timer is not touched when an event passes: it looks at the clock when it fires.
#[derive(Debug)]
pub(super) struct Pulse {
    boundary: Boundary,
    interval: Duration,
    /// When something was last sent.
    last: Instant,
    /// `last` is of this very moment: nothing can be due, and the timer need not be looked at.
    fresh: bool,
    /// The timer knows whom to wake.
    armed: bool,
    timer: Pin<Box<Sleep>>,
}

impl Pulse {
    /// A heartbeat after each `interval` of silence; none where there is no interval.
    pub(super) fn new(interval: Duration) -> Option<Self> {
        let timer = || Box::pin(tokio::time::sleep(interval));
        (!interval.is_zero()).then(|| Self {
            boundary: Boundary::new(),
            interval,
            last: Instant::now(),
            fresh: false,
            armed: false,
            timer: timer(),
        })
    }

    /// The upstream said this, and it is on its way.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        self.boundary.follow(bytes);
        self.last = Instant::now();
        self.fresh = true;
    }

    /// Whether the stream is between two events.
    pub(super) fn is_between(&self) -> bool {
        self.boundary.is_here()
    }

    /// Ready when a heartbeat is due here and now; whoever asks then sends one.
    ///
    /// To be polled by one task alone.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh && self.armed && self.last < self.timer.deadline() {
            return Poll::Pending;
        }
        loop {
            self.armed = true;
            std::task::ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let due = self.last + self.interval;
            if due > now {
                self.timer.as_mut().reset(due);
            } else {
                self.last = now;
                self.timer.as_mut().reset(now + self.interval);
                if self.boundary.is_here() {
                    return Poll::Ready(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> bool {
        let mut boundary = Boundary::new();
        boundary.follow(text.as_bytes());
        let mut bytewise = Boundary::new();
        for byte in text.bytes() {
            bytewise.follow(&[byte]);
        }
        assert_eq!(boundary.is_here(), bytewise.is_here(), "{text:?} in one piece and byte by byte");
        boundary.is_here()
    }

    #[test]
    fn boundary_is_where_no_event_is_open() {
        for text in [
            "data: a\n\n",
            "data: a\r\n\r\n",
            "data: a\r\r",
            "data: a\n\r\n",
            "data: a\r\n\n",
            "data: a\n\r",
            ": comment\n",
            "\n",
            "data: a\n\n: comment\r\n",
            "data: a\n\n\n\n",
            "data: a\r\r: c\r",
        ] {
            assert!(after(text), "{text:?}");
        }
    }

    #[test]
    fn boundary_is_nowhere_else() {
        for text in [
            "",
            "data",
            "data: a",
            "data: a\n",
            "data: a\r",
            "data: a\r\n",
            "id: 1\ndata: a\n",
            "data: a\n: comment\n",
            "\n: com",
            "data: a\n\nid: 2\r\n",
            "\u{feff}",
            "\u{feff}data: a\n",
        ] {
            assert!(!after(text), "{text:?}");
        }
    }
}
