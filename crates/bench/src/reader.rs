//! Finds the stamped messages in what a subscriber is sent, in whichever way it is sent them. As [`crate::lines`] does for event
//! streams: made for our own messages, no general decoder.

use crate::lines::{Event, Lines};
use crate::stamp::Stamp;
use crate::target::Mode;

/// How messages stand in the bytes, and what the last piece left of one.
#[derive(Debug)]
pub(crate) enum Reader {
    Events(Lines),
    /// One behind the other, each of this many bytes.
    Plain {
        size: usize,
        carry: Vec<u8>,
    },
    /// In WebSocket frames from a server, one in each.
    Frames {
        carry: Vec<u8>,
    },
}

impl Default for Reader {
    fn default() -> Self {
        Self::Events(Lines::default())
    }
}

impl Reader {
    pub(crate) fn new(mode: Mode, size: usize) -> Self {
        match mode {
            Mode::Events => Self::default(),
            Mode::Stream | Mode::Polls => Self::Plain { size, carry: Vec::new() },
            Mode::Websocket => Self::Frames { carry: Vec::new() },
        }
    }

    /// Takes the next piece of what came, and tells `sink` what became complete in it. An error: the server says that this is the end.
    pub(crate) fn feed(&mut self, piece: &[u8], mut sink: impl FnMut(Event<'_>)) -> Result<(), String> {
        let (size, carry) = match self {
            Self::Events(lines) => {
                lines.feed(piece, sink);
                return Ok(());
            }
            Self::Plain { size, carry } => (Some(*size), carry),
            Self::Frames { carry } => (None, carry),
        };
        let mut whole = std::mem::take(carry);
        let mut rest = if whole.is_empty() {
            piece
        } else {
            whole.extend_from_slice(piece);
            &whole
        };
        match size {
            Some(size) => plain(&mut rest, size, &mut sink),
            None => frames(&mut rest, &mut sink)?,
        }
        let left = rest.to_vec();
        *carry = left;
        Ok(())
    }
}

fn plain(rest: &mut &[u8], size: usize, sink: &mut impl FnMut(Event<'_>)) {
    loop {
        while let Some(behind) = rest.strip_prefix(b"\n").or_else(|| rest.strip_prefix(b"\r")) {
            *rest = behind;
        }
        let Some((message, behind)) = rest.split_at_checked(size) else { return };
        *rest = behind;
        sink(event(message));
    }
}

fn frames(rest: &mut &[u8], sink: &mut impl FnMut(Event<'_>)) -> Result<(), String> {
    while let Some((first, content, behind)) = frame(rest) {
        *rest = behind;
        match first {
            0x81 | 0x82 => sink(event(content)),
            0x88 => return Err("a close frame".into()),
            0x89 => sink(Event::Comment),
            _ => sink(Event::Foreign),
        }
    }
    Ok(())
}

/// The first byte of the first frame, what it holds, and what stands behind it.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        126 => rest.split_first_chunk().map(|(bytes, rest)| (u64::from(u16::from_be_bytes(*bytes)), rest))?,
        127 => rest.split_first_chunk().map(|(bytes, rest)| (u64::from_be_bytes(*bytes), rest))?,
        length => (u64::from(length), rest),
    };
    let (content, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((first, content, behind))
}

fn event(message: &[u8]) -> Event<'static> {
    Stamp::parse(message).map_or(Event::Foreign, |stamp| Event::Message(stamp, message.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u32, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        Stamp { run: 7, channel: 1, sequence, scheduled: 3 }.write(&mut bytes, size);
        bytes
    }

    fn told(mode: Mode, pieces: &[&[u8]]) -> Vec<String> {
        let (mut reader, mut told) = (Reader::new(mode, 200), Vec::new());
        for piece in pieces {
            reader.feed(piece, |event| told.push(format!("{event:?}"))).unwrap();
        }
        told
    }

    #[test]
    fn reader_finds_the_same_under_every_split() {
        let plain = [message(1, 200), b"\n".to_vec(), message(2, 200), vec![b'x'; 200], b"\r\n".to_vec()].concat();
        let framed = [
            vec![0x81, 126, 0, 200],
            message(1, 200),
            vec![0x89, 0, 0x81, 127, 0, 0, 0, 0, 0, 0, 0, 200],
            message(2, 200),
            vec![0x81, 1, b'x'],
        ]
        .concat();
        for (mode, bytes, events) in [(Mode::Stream, plain, 3), (Mode::Websocket, framed, 4)] {
            let whole = told(mode, &[&bytes]);
            let messages = [1, 2].map(|n| format!("{:?}", event(&message(n, 200))));
            assert_eq!((whole.len(), &whole[0]), (events, &messages[0]));
            assert_eq!((&whole[events - 2], &*whole[events - 1]), (&messages[1], "Foreign"));
            for first in 0..bytes.len() {
                for second in (first..bytes.len()).step_by(3) {
                    assert_eq!(told(mode, &[&bytes[..first], &bytes[first..second], &bytes[second..]]), whole);
                }
            }
        }
    }

    #[test]
    fn reader_takes_a_close_frame_for_the_end() {
        assert!(Reader::new(Mode::Websocket, 200).feed(&[0x88, 0], |_| {}).is_err());
    }
}
