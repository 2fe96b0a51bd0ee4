//! Cuts an event stream into blocks that can be kept and sent one by one: the raw bytes up to and including the blank line
//! that ends an event. It changes nothing of what clients read, and knows no transport.

use std::mem;

use memchr::memchr2;

use crate::decode::{BOM, decimal, skip_bom, split};

/// Buffers above this size, in bytes, are given back after the block that needed them.
const KEPT_BYTES: usize = 4096;

/// An incremental cutter for one stream.
///
/// Whatever stands between two blank lines stays in its block as it came: comments, unknown fields, any kind of line break,
/// bytes that are not UTF-8. What differs no client can tell: a leading BOM is dropped; a block that begins with a BOM in the middle
/// of a stream, where it makes its line an unknown field, begins with a colon instead, so that it may stand at the start of an
/// answer; a block whose last line ends with a lone CR ends with CRLF, so that anything may be written behind it; and
/// comments that a chunk ends with are handed out without waiting for an event, since a stream may hold any number of
/// them.
///
/// A block that lies within one chunk is handed out from there and not copied.
#[derive(Debug)]
pub struct Blocks {
    /// The start of the block that the last chunk broke off.
    open: Vec<u8>,
    /// How many bytes of the unfinished line there are.
    line_bytes: usize,
    /// The first of them.
    line_begin: u8,
    /// No line of the unfinished block is anything but a comment.
    only_comments: bool,
    /// A line just ended with CR, so that an LF that comes next belongs to it.
    after_cr: bool,
    /// How many bytes of a leading BOM were seen; its full length once the stream's start is settled either way.
    bom_bytes: usize,
    /// The largest block that is accepted.
    max_bytes: usize,
    /// What ended the cutting.
    failed: Option<BlockTooLong>,
}

/// A block over the limit, finished or not: the stream cannot be cut any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event has more than {max} bytes, fields and comments included")]
pub struct BlockTooLong {
    /// The limit in bytes.
    pub max: usize,
}

/// What a client takes from one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts<'a> {
    /// It dispatches an event.
    pub data: bool,
    /// Its blank line has something to act upon: data, a name that is dropped for want of data, or an id.
    pub blank_line: bool,
    /// It sets the last event ID, or with nothing resets it.
    pub id: Option<&'a [u8]>,
    /// It sets the time in milliseconds to wait before connecting again.
    pub retry: Option<u64>,
}

impl Blocks {
    /// A cutter at the start of a stream that accepts blocks of at most `max_bytes` bytes.
    pub fn with_limit(max_bytes: usize) -> Self {
        Self {
            open: Vec::new(),
            line_bytes: 0,
            line_begin: 0,
            only_comments: true,
            after_cr: false,
            bom_bytes: 0,
            max_bytes,
            failed: None,
        }
    }

    /// Takes the next bytes of the stream and calls `each` for every block that they complete, in order.
    ///
    /// After an error, which `each` may have been called before, the same error is returned for all further bytes.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), BlockTooLong> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.cut(bytes, &mut each);
        self.failed = result.err();
        result
    }

    /// What no blank line has ended. Clients drop it at the stream's end.
    pub fn rest(&self) -> &[u8] {
        &self.open
    }

    fn cut(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) -> Result<(), BlockTooLong> {
        let bytes = self.skip_bom(bytes);
        let bytes = self.skip_lf(bytes);
        // The first byte that is neither handed out nor in `open`, and the first of the unfinished line.
        let (mut begin, mut line) = (0, 0);
        while let Some(found) = memchr2(b'\r', b'\n', &bytes[line..]) {
            let end = line + found;
            let first = if self.line_bytes > 0 { self.line_begin } else { bytes[line] };
            let is_blank = self.line_bytes == 0 && end == line;
            self.line_bytes = 0;
            line = end + 1;
            if bytes[end] == b'\r' {
                self.after_cr = line == bytes.len();
                line += usize::from(bytes.get(line) == Some(&b'\n'));
            }
            if is_blank {
                self.hand_out(&bytes[begin..line], each)?;
                begin = line;
            } else if first != b':' {
                self.only_comments = false;
            }
        }
        if self.only_comments && line > begin {
            self.hand_out(&bytes[begin..line], each)?;
            begin = line;
        }
        if self.line_bytes == 0
            && let Some(first) = bytes.get(line)
        {
            self.line_begin = *first;
        }
        self.line_bytes += bytes.len() - line;
        self.check(bytes.len() - begin)?;
        self.open.extend_from_slice(&bytes[begin..]);
        Ok(())
    }

    fn hand_out(&mut self, piece: &[u8], each: &mut impl FnMut(&[u8])) -> Result<(), BlockTooLong> {
        self.check(piece.len())?;
        if self.open.is_empty() && piece.ends_with(b"\n") && !piece.starts_with(BOM) {
            each(piece);
        } else {
            self.open.extend_from_slice(piece);
            if self.open.starts_with(BOM) {
                self.open.splice(..BOM.len(), [b':']);
            }
            if !piece.ends_with(b"\n") {
                self.open.push(b'\n');
            }
            each(&self.open);
            if self.open.capacity() > KEPT_BYTES {
                self.open = Vec::new();
            } else {
                self.open.clear();
            }
        }
        self.only_comments = true;
        Ok(())
    }

    fn check(&self, more: usize) -> Result<(), BlockTooLong> {
        if self.open.len() + more > self.max_bytes {
            return Err(BlockTooLong { max: self.max_bytes });
        }
        Ok(())
    }

    /// Drops one BOM at the very start of the stream. Bytes that only began like one become the start of the first line.
    fn skip_bom<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (begun, rest) = skip_bom(&mut self.bom_bytes, bytes);
        if let Some(first) = begun.first() {
            self.open.extend_from_slice(begun);
            self.line_bytes = begun.len();
            self.line_begin = *first;
        }
        rest
    }

    /// Takes the LF of a CRLF that the last chunk cut in two. Behind a block it is not missing: the block got one.
    fn skip_lf<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if bytes.is_empty() || !mem::take(&mut self.after_cr) {
            return bytes;
        }
        let Some(rest) = bytes.strip_prefix(b"\n") else { return bytes };
        if !self.open.is_empty() {
            self.open.push(b'\n');
        }
        rest
    }
}

impl<'a> Facts<'a> {
    /// Reads a block. Where a field is repeated the last one counts, as it does for clients.
    pub fn of(block: &'a [u8]) -> Self {
        let mut facts = Self::default();
        let mut rest = block;
        // A CRLF reads as a line and a blank one, which says nothing within a block.
        while let Some(end) = memchr2(b'\r', b'\n', rest) {
            let (field, value) = split(&rest[..end]);
            rest = &rest[end + 1..];
            facts.blank_line |= matches!(field, b"data" | b"event" | b"id");
            match field {
                b"data" => facts.data = true,
                b"id" if !value.contains(&0) => facts.id = Some(value),
                b"retry" => facts.retry = decimal(value).or(facts.retry),
                _ => {}
            }
        }
        facts
    }
}

/// A block that needs no blank line, without it. Several clients that have once seen an id take every blank line behind it for
/// an event without data, so one behind a mere comment does harm.
pub fn trim(block: &[u8]) -> &[u8] {
    let Some(lines) = block.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest)) else {
        return block;
    };
    // What ends with its only line end has no blank line.
    if lines.is_empty() || lines.ends_with(b"\n") || lines.ends_with(b"\r") { lines } else { block }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(stream: &str, pieces: usize) -> Vec<String> {
        let mut blocks = Blocks::with_limit(1000);
        let mut out = Vec::new();
        for piece in stream.as_bytes().chunks(pieces) {
            let keep = |block: &[u8]| out.push(String::from_utf8(block.into()).expect("text in, text out"));
            blocks.feed(piece, keep).expect("far below the limit");
        }
        out
    }

    #[test]
    fn blocks_keep_what_stands_between_blank_lines() {
        let stream = "event: a\ndata: 1\n\n: c\nid: 7\nodd\ndata: 2\r\n\r\n\ndata: unfinished\n";
        assert_eq!(blocks(stream, 1000), ["event: a\ndata: 1\n\n", ": c\nid: 7\nodd\ndata: 2\r\n\r\n", "\n"]);
    }

    #[test]
    fn blocks_end_with_lf_wherever_chunks_end() {
        for pieces in 1..20 {
            assert_eq!(blocks("data: 1\r\n\r\ndata: 2\r\n\r\n", pieces), ["data: 1\r\n\r\n", "data: 2\r\n\r\n"]);
            assert_eq!(blocks("data: 1\r\rdata: 2\r\r", pieces), ["data: 1\r\r\n", "data: 2\r\r\n"]);
        }
    }

    #[test]
    fn comments_at_a_chunks_end_do_not_wait() {
        let mut cutter = Blocks::with_limit(10);
        for _ in 0..100 {
            let mut seen = 0;
            cutter.feed(b": hb\n", |block| seen += block.len()).expect("comments do not add up");
            assert_eq!(seen, 5);
        }
        assert_eq!(blocks("data: 1\n: hb\n\n: hb\n", 1000), ["data: 1\n: hb\n\n", ": hb\n"]);
        assert_eq!(blocks("data: 1\n: hb\n\n", 8), ["data: 1\n: hb\n\n"], "a comment within an event stays there");
    }

    #[test]
    fn bom_is_dropped_at_the_start_alone() {
        for pieces in 1..12 {
            assert_eq!(blocks("\u{feff}data: 1\n\n\u{feff}: 2\n\n", pieces), ["data: 1\n\n", ":: 2\n\n"]);
        }
    }

    #[test]
    fn limit_block_of_just_that_length_passes_and_one_more_fails_for_good() {
        for pieces in [1, 3, 100] {
            let mut cutter = Blocks::with_limit(10);
            for piece in b"data: 12\n\n".chunks(pieces) {
                assert!(cutter.feed(piece, |_| {}).is_ok());
            }
            let failed = b"data: 123\n\n".chunks(pieces).find_map(|piece| cutter.feed(piece, |_| {}).err());
            assert_eq!(failed, Some(BlockTooLong { max: 10 }), "pieces of {pieces}");
            assert!(cutter.feed(b"\n\n", |_| {}).is_err());
        }
    }

    #[test]
    fn large_block_in_pieces_gives_its_memory_back() {
        let mut cutter = Blocks::with_limit(1 << 20);
        let stream = format!("data: {}\n\n", "x".repeat(3 * KEPT_BYTES));
        for piece in stream.as_bytes().chunks(1000) {
            cutter.feed(piece, |_| {}).expect("within the limit");
        }
        assert!(cutter.open.capacity() <= KEPT_BYTES);
    }

    #[test]
    fn facts_are_what_a_client_takes() {
        let none = Facts::default();
        for (block, expected) in [
            ("data\n\n", Facts { data: true, blank_line: true, ..none }),
            ("id: 1\r\nid:2\r\rdata: x\n\n", Facts { data: true, blank_line: true, id: Some(b"2"), ..none }),
            ("id\n\n", Facts { blank_line: true, id: Some(b""), ..none }),
            ("id: a\0b\ndatax: y\n: data: z\n\n", Facts { blank_line: true, ..none }),
            ("event: x\n\n", Facts { blank_line: true, ..none }),
            ("retry: 5\nretry: x\n\n", Facts { retry: Some(5), ..none }),
            (": comment\nodd\n\n", none),
            ("data: unfinished", none),
        ] {
            assert_eq!(Facts::of(block.as_bytes()), expected, "{block:?}");
        }
    }

    #[test]
    fn trim_takes_the_blank_line_alone() {
        for (block, expected) in [
            (": c\n\n", ": c\n"),
            (": c\r\n\r\n", ": c\r\n"),
            (": c\r\r\n", ": c\r"),
            (": c\n", ": c\n"),
            (": c\r\n", ": c\r\n"),
            ("\n", ""),
            ("\r\n", ""),
            ("x", "x"),
        ] {
            assert_eq!(trim(block.as_bytes()), expected.as_bytes(), "{block:?}");
        }
    }
}
