//! The heartbeat of a proxied event stream: where in the stream a comment may be put, and when one is due.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use memchr::memchr2;
use tokio::time::{Instant, Sleep};

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

    /// Whether the stream may be ended here with a last field of ours: between two events, or before anything has come.
    pub(super) fn may_end(self) -> bool {
        self.is_here() || self.at == At::Start
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
        (!interval.is_zero()).then(|| Self {
            boundary: Boundary::new(),
            interval,
            last: Instant::now(),
            fresh: false,
            armed: false,
            timer: Box::pin(tokio::time::sleep(interval)),
        })
    }

    /// The upstream said this, and it is on its way.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        self.boundary.follow(bytes);
        self.last = Instant::now();
        self.fresh = true;
    }

    /// See [`Boundary::may_end`].
    pub(super) fn may_end(&self) -> bool {
        self.boundary.may_end()
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
    use fantail_sse::{Decoder, Item};
    use proptest::prelude::*;

    use super::super::chunks::Chunks;
    use super::*;
    use crate::dialect::relayed::HEARTBEAT;

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

    /// What a client makes of a stream.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        items: Vec<String>,
        last_id: Vec<u8>,
        beats: usize,
    }

    fn seen(stream: &[u8]) -> Seen {
        let (mut decoder, mut seen) = (Decoder::new(), Seen::default());
        let each = |item: Item<'_>| match item {
            Item::Comment(b"hb") => seen.beats += 1,
            other => seen.items.push(format!("{other:?}")),
        };
        decoder.feed(stream, each).unwrap();
        seen.last_id = decoder.last_event_id().to_vec();
        seen
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            8 => prop::sample::select(vec![
                "\n", "\r", "\r\n", "\0", ":", " ", "data", "data:", "data: x\n", "id", "id:", "id: 1\n", "event:", "event: e\n",
                "retry:", "7", "x", "\u{feff}", "\n\n", "\r\r", "\r\n\r\n", "data: \u{1f99c}", ": c\n", "\u{2026}",
            ])
            .prop_map(|part| part.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 1..4),
        ];
        let start = prop::sample::select(vec![&b""[..], b"\xef\xbb\xbf", b"\xef\xbb", b"\xef"]);
        // What comes last shows whether an event that was open before it is still whole.
        (start, prop::collection::vec(part, 0..40))
            .prop_map(|(start, parts)| [start, &parts.concat(), b"\ndata: last\n\n"].concat())
    }

    /// Cuts `bytes` into pieces of these lengths, over and over.
    fn pieces<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for length in lengths.iter().cycle() {
            if bytes.is_empty() {
                break;
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(*length));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }

    fn lengths() -> impl Strategy<Value = Vec<usize>> {
        prop_oneof![Just(vec![usize::MAX]), Just(vec![1]), prop::collection::vec(1..12_usize, 1..20)]
    }

    /// A body in chunks of these lengths, their sizes spelt in one way or another.
    fn in_chunks(stream: &[u8], lengths: &[usize], spelling: usize) -> Vec<u8> {
        let mut coded = Vec::new();
        for piece in pieces(stream, lengths) {
            let size = match spelling {
                0 => format!("{:x}", piece.len()),
                1 => format!("{:X}", piece.len()),
                2 => format!("{:06x} ", piece.len()),
                _ => format!("{:x};a=\"b;c\"", piece.len()),
            };
            coded.extend_from_slice(size.as_bytes());
            coded.extend_from_slice(b"\r\n");
            coded.extend_from_slice(piece);
            coded.extend_from_slice(b"\r\n");
        }
        coded.extend_from_slice([&b"0\r\n\r\n"[..], b"0\r\nX-Sum: 1\r\n\r\n", b"000;x\r\n\r\n"][spelling % 3]);
        coded
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn beats_wherever_they_may_be_change_nothing(
            stream in stream(),
            chunks in lengths(),
            spelling in 0..4_usize,
            reads in lengths(),
            silences in prop::collection::vec(any::<bool>(), 1..8),
        ) {
            let coded = in_chunks(&stream, &chunks, spelling);
            let (mut decoder, mut boundary) = (Chunks::new(), Boundary::new());
            let (mut plain, mut out, mut beats) = (Vec::new(), Vec::new(), 0);
            let mut silences = silences.into_iter().cycle();
            for mut read in pieces(&coded, &reads) {
                while !read.is_empty() {
                    let step = decoder.decode(read).unwrap();
                    plain.extend_from_slice(step.data);
                    out.extend_from_slice(step.data);
                    boundary.follow(step.data);
                    read = &read[step.taken..];
                }
                if boundary.is_here() && silences.next() == Some(true) {
                    out.extend_from_slice(HEARTBEAT);
                    beats += 1;
                }
            }
            prop_assert!(decoder.is_done());
            prop_assert_eq!(&plain, &stream);
            let expected = Seen { beats, ..seen(&stream) };
            prop_assert_eq!(seen(&out), expected, "{}", String::from_utf8_lossy(&out));
        }

        #[test]
        fn end_wherever_it_may_be_adds_only_what_is_said(stream in stream(), cut in any::<prop::sample::Index>()) {
            let part = &stream[..cut.index(stream.len())];
            let mut boundary = Boundary::new();
            boundary.follow(part);
            if boundary.may_end() {
                let mut expected = seen(part);
                expected.items.push(format!("{:?}", Item::Retry(7)));
                prop_assert_eq!(seen(&[part, b"retry: 7\n"].concat()), expected);
            }
        }
    }

    #[test]
    fn boundary_at_the_very_beginning_is_for_an_end_and_not_for_a_beat() {
        let mut boundary = Boundary::new();
        assert!(boundary.may_end() && !boundary.is_here());
        boundary.follow(b"\xef");
        assert!(!boundary.may_end() && !boundary.is_here());
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
