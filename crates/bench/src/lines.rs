//! Finds the stamped messages in an event stream's bytes. A message counts when its blank line has been read, so that
//! latency runs to the last byte. Made for checking streams of our own messages cheaply; it is no general decoder (one
//! stamped `data:` line a message, lines ended by LF or CRLF).

use crate::stamp::Stamp;

/// What a stream's reader learns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A message of ours, complete, with the bytes of its data.
    Message(Stamp, usize),
    /// An event with data that is not ours, or a named one without a stamp (a gap is told like this).
    Foreign,
    /// An `id:` line's value.
    Id(&'a [u8]),
    /// A comment line: a ping.
    Comment,
}

/// One stream's place between its lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The line that the last piece broke off in; keeps its capacity.
    carry: Vec<u8>,
    pending: Pending,
}

/// What the lines since the last blank one amount to.
#[derive(Clone, Copy, Debug, Default)]
enum Pending {
    #[default]
    Nothing,
    Message(Stamp, usize),
    Foreign,
}

impl Lines {
    /// Takes the next piece of the stream, and tells `sink` what became complete in it.
    pub(crate) fn feed(&mut self, mut piece: &[u8], mut sink: impl FnMut(Event<'_>)) {
        if !self.carry.is_empty() {
            let Some(end) = memchr::memchr(b'\n', piece) else {
                self.carry.extend_from_slice(piece);
                return;
            };
            let mut line = std::mem::take(&mut self.carry);
            line.extend_from_slice(&piece[..end]);
            self.line(&line, &mut sink);
            line.clear();
            self.carry = line;
            piece = &piece[end + 1..];
        }
        while let Some(end) = memchr::memchr(b'\n', piece) {
            self.line(&piece[..end], &mut sink);
            piece = &piece[end + 1..];
        }
        self.carry.extend_from_slice(piece);
    }

    fn line(&mut self, line: &[u8], sink: &mut impl FnMut(Event<'_>)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(value) = line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            self.pending = match (self.pending, Stamp::parse(value)) {
                (Pending::Nothing, Some(stamp)) => Pending::Message(stamp, value.len()),
                _ => Pending::Foreign,
            };
        } else if line.is_empty() {
            match std::mem::take(&mut self.pending) {
                Pending::Message(stamp, len) => sink(Event::Message(stamp, len)),
                Pending::Foreign => sink(Event::Foreign),
                Pending::Nothing => {}
            }
        } else if let Some(value) = line.strip_prefix(b"id:") {
            sink(Event::Id(value.strip_prefix(b" ").unwrap_or(value)));
        } else if line[0] == b':' {
            sink(Event::Comment);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> (Vec<u8>, Stamp) {
        let stamp = Stamp { run: 7, channel: 1, sequence: 2, scheduled: 3 };
        let mut bytes = b"retry: 5\nid: a.0\n\n: ping\nid: a.1\ndata: ".to_vec();
        stamp.write(&mut bytes, 60);
        bytes.extend_from_slice(b"\n\nevent: gap\r\ndata:{}\r\n\r\ndata:");
        stamp.write(&mut bytes, 60);
        bytes.extend_from_slice(b"\r\nid:a.2\r\n\r\n");
        (bytes, stamp)
    }

    fn told(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut told) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, |event| told.push(format!("{event:?}")));
        }
        told
    }

    #[test]
    fn lines_are_the_same_under_every_split() {
        let (bytes, stamp) = stream();
        let whole = told(&[&bytes]);
        assert_eq!(whole.len(), 7);
        assert_eq!(whole.iter().filter(|e| **e == format!("{:?}", Event::Message(stamp, 60))).count(), 2);
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                assert_eq!(told(&[&bytes[..first], &bytes[first..second], &bytes[second..]]), whole);
            }
        }
    }

    #[test]
    fn lines_message_without_its_blank_line_does_not_count() {
        let mut bytes = b"data: ".to_vec();
        Stamp { run: 7, channel: 1, sequence: 2, scheduled: 3 }.write(&mut bytes, 60);
        bytes.push(b'\n');
        assert!(told(&[&bytes]).is_empty());
    }
}
