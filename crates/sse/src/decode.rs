//! Reads an event stream from chunks cut anywhere (WHATWG HTML §9.2.6). It knows no transport, and no client state beyond the
//! last event ID.

use std::mem;

use memchr::{memchr, memchr2};

pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Buffers above this size, in bytes, are given back after the event that needed them, so that one large event does not
/// weigh on a stream for the rest of its life.
const KEPT_BYTES: usize = 4096;

/// An incremental decoder for one stream.
///
/// Bytes are handed through as they came. The standard decodes the stream as UTF-8 with U+FFFD for what is malformed; that is
/// the caller's affair, and `String::from_utf8_lossy` on a value does it, for line breaks and colons are never part of a longer
/// UTF-8 sequence.
///
/// An event that lies within one chunk is handed out from there and not copied. A new decoder, and one that has only seen
/// such events without ids, owns no memory beyond itself.
#[derive(Debug)]
pub struct Decoder {
    /// The start of the line that the last chunk broke off.
    line: Vec<u8>,
    /// Data lines of the unfinished event, each followed by LF; so empty means that there was none.
    data: Vec<u8>,
    /// Name of the unfinished event; empty means `message`.
    name: Vec<u8>,
    /// The last event ID as of the last blank line.
    last_id: Vec<u8>,
    /// What the next blank line makes the last event ID, if `id_is_staged`; else left over and of no meaning.
    staged_id: Vec<u8>,
    id_is_staged: bool,
    /// A line just ended with CR, so that an LF that comes next belongs to it.
    after_cr: bool,
    /// How many bytes of a leading BOM were seen; its full length once the stream's start is settled either way.
    bom_bytes: usize,
    /// The longest line and the longest data that are accepted.
    max_event_bytes: usize,
    /// What ended the decoding. Nothing after it can be trusted to start at a line.
    failed: Option<DecodeError>,
}

impl Decoder {
    /// The limit of [`Decoder::new`] in bytes: 16 MiB.
    pub const DEFAULT_MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

    /// A decoder at the start of a stream, with the limit [`Decoder::DEFAULT_MAX_EVENT_BYTES`].
    pub fn new() -> Self {
        Self::with_limit(Self::DEFAULT_MAX_EVENT_BYTES)
    }

    /// A decoder at the start of a stream that accepts lines of at most `max_event_bytes` bytes, field name included, and
    /// events of at most that many bytes of data.
    ///
    /// Comments do not add up: a stream may hold any number of them between two events.
    pub fn with_limit(max_event_bytes: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            name: Vec::new(),
            last_id: Vec::new(),
            staged_id: Vec::new(),
            id_is_staged: false,
            after_cr: false,
            bom_bytes: 0,
            max_event_bytes,
            failed: None,
        }
    }

    /// Takes the next bytes of the stream and calls `each` for everything that they complete, in order.
    ///
    /// An event is complete with its blank line; what the stream's end leaves unfinished is never handed out. After an error,
    /// which `each` may have been called before, the decoder stays failed and returns the same error for all further bytes.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Item<'_>)) -> Result<(), DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.decode(bytes, &mut each);
        self.failed = result.err();
        result
    }

    /// The last event ID, to be sent as `Last-Event-ID` on reconnecting; empty when there is none.
    ///
    /// It changes with the blank line that ends a block, also of one without data.
    pub fn last_event_id(&self) -> &[u8] {
        &self.last_id
    }

    fn decode(&mut self, bytes: &[u8], each: &mut impl FnMut(Item<'_>)) -> Result<(), DecodeError> {
        let mut rest = self.skip_bom(bytes);
        let mut carried = mem::take(&mut self.line);
        let mut block = Block::default();

        if !carried.is_empty() {
            let end = self.next_line(&mut rest);
            let piece = end.unwrap_or(rest);
            self.check_line(carried.len() + piece.len())?;
            carried.extend_from_slice(piece);
            if end.is_none() {
                self.line = carried;
                return Ok(());
            }
            self.take_line(&carried, &mut block, each)?;
        }
        while let Some(line) = self.next_line(&mut rest) {
            self.check_line(line.len())?;
            self.take_line(line, &mut block, each)?;
        }
        self.check_line(rest.len())?;

        self.keep(&block);
        empty(&mut carried);
        carried.extend_from_slice(rest);
        self.line = carried;
        Ok(())
    }

    /// Drops one BOM at the very start of the stream. Bytes that only began like one become the start of the first line.
    fn skip_bom<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (begun, rest) = skip_bom(&mut self.bom_bytes, bytes);
        self.line.extend_from_slice(begun);
        rest
    }

    /// Takes a line with its end off `rest`. Where there is none, `rest` is the start of a line.
    fn next_line<'a>(&mut self, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            *rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        let end = memchr2(b'\r', b'\n', rest)?;
        let line = &rest[..end];
        self.after_cr = rest[end] == b'\r';
        *rest = &rest[end + 1..];
        Some(line)
    }

    fn check_line(&self, bytes: usize) -> Result<(), DecodeError> {
        if bytes > self.max_event_bytes {
            return Err(DecodeError::LineTooLong { max: self.max_event_bytes });
        }
        Ok(())
    }

    fn take_line<'a>(
        &mut self,
        line: &'a [u8],
        block: &mut Block<'a>,
        each: &mut impl FnMut(Item<'_>),
    ) -> Result<(), DecodeError> {
        if line.is_empty() {
            self.end_block(block, each);
            return Ok(());
        }
        let (field, value) = split(line);
        match field {
            b"data" => self.take_data(value, block)?,
            b"event" => block.name = Some(value),
            b"id" if memchr(0, value).is_none() => {
                self.staged_id.clear();
                self.staged_id.extend_from_slice(value);
                self.id_is_staged = true;
            }
            b"retry" => {
                if let Some(milliseconds) = decimal(value) {
                    each(Item::Retry(milliseconds));
                }
            }
            b"" => each(Item::Comment(value)),
            _ => {}
        }
        Ok(())
    }

    fn take_data<'a>(&mut self, value: &'a [u8], block: &mut Block<'a>) -> Result<(), DecodeError> {
        if self.data.is_empty() && block.data.is_none() {
            block.data = Some(value);
            return Ok(());
        }
        if let Some(first) = block.data.take() {
            self.append_data(first);
        }
        if self.data.len() + value.len() > self.max_event_bytes {
            return Err(DecodeError::EventTooLong { max: self.max_event_bytes });
        }
        self.append_data(value);
        Ok(())
    }

    fn append_data(&mut self, line: &[u8]) {
        self.data.extend_from_slice(line);
        self.data.push(b'\n');
    }

    fn end_block(&mut self, block: &mut Block<'_>, each: &mut impl FnMut(Item<'_>)) {
        if mem::take(&mut self.id_is_staged) {
            mem::swap(&mut self.last_id, &mut self.staged_id);
        }
        debug_assert!(block.data.is_none() || self.data.is_empty(), "data is borrowed or owned, never both");
        if let Some(data) = block.data.or(self.data.strip_suffix(b"\n")) {
            let name = match block.name.unwrap_or(&self.name) {
                b"" => b"message",
                name => name,
            };
            each(Item::Event(Event { name, data, id: &self.last_id }));
        }
        *block = Block::default();
        empty(&mut self.data);
        empty(&mut self.name);
    }

    /// Copies what an unfinished block has borrowed from the chunk.
    fn keep(&mut self, block: &Block<'_>) {
        if let Some(data) = block.data {
            self.append_data(data);
        }
        if let Some(name) = block.name {
            self.name.clear();
            self.name.extend_from_slice(name);
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// What a stream tells, borrowed for the length of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A message for the application.
    Event(Event<'a>),
    /// The time in milliseconds to wait before connecting again. Numbers beyond a `u64` are its greatest value.
    Retry(u64),
    /// A line that begins with a colon; what follows it, without one leading space. Clients ignore it.
    Comment(&'a [u8]),
}

/// A message as it is dispatched by its blank line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event's type; `message` when none was given.
    pub name: &'a [u8],
    /// The data lines, joined by LF, with no LF after the last.
    pub data: &'a [u8],
    /// The last event ID that holds from this event on; it may have come with an earlier one, and is empty when there is none.
    pub id: &'a [u8],
}

/// Why a stream cannot be decoded any further. Nothing else is an error: the standard gives every sequence of bytes a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A line, finished or not, over the limit.
    #[error("line is longer than {max} bytes")]
    LineTooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// An event whose data lines together are over the limit.
    #[error("event has more than {max} bytes of data")]
    EventTooLong {
        /// The limit in bytes.
        max: usize,
    },
}

/// The part of an unfinished block that still lies in the chunk; it goes before what the decoder owns.
#[derive(Default)]
struct Block<'a> {
    name: Option<&'a [u8]>,
    /// The only data line so far.
    data: Option<&'a [u8]>,
}

fn empty(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BYTES {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}

/// Steps over a BOM at the very start of a stream, of which `seen` bytes had come before. Gives what only began like one, to be put
/// in front of the rest, and the rest.
pub(crate) fn skip_bom<'a>(seen: &mut usize, bytes: &'a [u8]) -> (&'static [u8], &'a [u8]) {
    let mut rest = bytes;
    while *seen < BOM.len() {
        let Some((first, after)) = rest.split_first() else { break };
        if *first != BOM[*seen] {
            return (&BOM[..std::mem::replace(seen, BOM.len())], rest);
        }
        *seen += 1;
        rest = after;
    }
    (&[], rest)
}

/// A line's field name and its value.
pub(crate) fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let (field, value) = match memchr(b':', line) {
        Some(colon) => (&line[..colon], &line[colon + 1..]),
        None => (line, &line[line.len()..]),
    };
    (field, value.strip_prefix(b" ").unwrap_or(value))
}

pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_events(decoder: &mut Decoder, bytes: &[u8]) -> Result<usize, DecodeError> {
        let mut events = 0;
        decoder.feed(bytes, |item| events += usize::from(matches!(item, Item::Event(_))))?;
        Ok(events)
    }

    #[test]
    fn decoder_whole_events_in_one_chunk_own_no_memory() {
        let mut decoder = Decoder::new();
        let wire = b": hb\nretry: 5\nevent: a\ndata: one\n\ndata: two\r\n\r\n";
        assert_eq!(count_events(&mut decoder, wire), Ok(2));
        for buffer in [&decoder.line, &decoder.data, &decoder.name, &decoder.last_id, &decoder.staged_id] {
            assert_eq!(buffer.capacity(), 0);
        }
    }

    #[test]
    fn decoder_whole_event_is_handed_out_from_the_chunk() {
        let wire = b"event: a\ndata: one\n\n";
        let mut seen = false;
        let inside = |part: &[u8]| wire.as_ptr_range().contains(&part.as_ptr());
        let fed = Decoder::new().feed(wire, |item| {
            seen = matches!(item, Item::Event(event) if inside(event.name) && inside(event.data));
        });
        assert_eq!(fed, Ok(()));
        assert!(seen);
    }

    #[test]
    fn decoder_state_of_an_idle_stream_is_small() {
        assert!(size_of::<Decoder>() <= 168, "{} bytes", size_of::<Decoder>());
    }

    #[test]
    fn decoder_large_event_in_pieces_gives_its_memory_back() {
        let mut decoder = Decoder::new();
        let text = [b'x'; 3 * KEPT_BYTES];
        let mut wire = Vec::new();
        crate::encode::event(&mut wire, str::from_utf8(&text).expect("ASCII"));
        crate::encode::data(&mut wire, &text);
        crate::encode::data(&mut wire, &text);
        crate::encode::end(&mut wire);
        let mut events = 0;
        for piece in wire.chunks(1000) {
            events += count_events(&mut decoder, piece).expect("within the limit");
        }
        assert_eq!(events, 1);
        for buffer in [&decoder.line, &decoder.data, &decoder.name] {
            assert!(buffer.capacity() <= KEPT_BYTES, "{} bytes", buffer.capacity());
        }
    }

    #[test]
    fn limit_line_of_just_that_length_passes_and_one_more_fails() {
        for pieces in [1, 3, 100] {
            let mut decoder = Decoder::with_limit(10);
            for piece in b"data: 1234\n\n".chunks(pieces) {
                assert!(decoder.feed(piece, |_| {}).is_ok());
            }
            let failed = b"data: 12345".chunks(pieces).find_map(|piece| decoder.feed(piece, |_| {}).err());
            assert_eq!(failed, Some(DecodeError::LineTooLong { max: 10 }), "pieces of {pieces}");
        }
    }

    #[test]
    fn limit_data_lines_are_counted_together() {
        for pieces in [1, 3, 100] {
            let mut decoder = Decoder::with_limit(10);
            let mut longest = 0;
            for piece in b"data:1234\ndata:12345\n\n".chunks(pieces) {
                let fed = decoder.feed(piece, |item| {
                    if let Item::Event(event) = item {
                        longest = event.data.len();
                    }
                });
                assert_eq!(fed, Ok(()));
            }
            assert_eq!(longest, 10);

            let over = b"data:12345\ndata:12345\n\n";
            let failed = over.chunks(pieces).find_map(|piece| decoder.feed(piece, |_| {}).err());
            assert_eq!(failed, Some(DecodeError::EventTooLong { max: 10 }), "pieces of {pieces}");
        }
    }

    #[test]
    fn limit_comments_without_end_do_not_add_up() {
        let mut decoder = Decoder::with_limit(10);
        for _ in 0..100 {
            assert_eq!(count_events(&mut decoder, b": hb\n"), Ok(0));
        }
        assert_eq!(count_events(&mut decoder, b"data: x\n\n"), Ok(1));
    }

    #[test]
    fn limit_once_exceeded_keeps_failing_after_what_was_complete() {
        let mut decoder = Decoder::with_limit(10);
        let mut events = 0;
        let first = decoder.feed(b"id: 1\ndata: a\n\ndata: 1234567\n\n", |_| events += 1);
        assert_eq!(first, Err(DecodeError::LineTooLong { max: 10 }));
        assert_eq!(events, 1, "the event before the long line was handed out");
        assert_eq!(decoder.last_event_id(), b"1");

        assert_eq!(count_events(&mut decoder, b"\n\ndata: b\n\n"), first.map(|()| 0));
    }

    #[test]
    fn error_message_names_the_limit() {
        assert_eq!(DecodeError::LineTooLong { max: 10 }.to_string(), "line is longer than 10 bytes");
        assert_eq!(DecodeError::EventTooLong { max: 10 }.to_string(), "event has more than 10 bytes of data");
    }
}
