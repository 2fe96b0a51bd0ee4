//! Takes the chunked framing (RFC 9112 §7.1) off a body, incrementally and without allocating or copying: what comes out
//! are slices of what went in.

/// The bytes were not chunked framing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Where in the framing the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the size's digits; how many there were.
    Size(u8),
    /// Between the digits and the end of the size line.
    Extension,
    /// In the chunk's data; `left` says how much remains.
    Data,
    /// Behind the data, before its line end.
    DataEnd,
    /// Behind the last chunk; the bytes of the trailer line so far.
    Trailer(u8),
    /// The body is over.
    Done,
}

/// One body's framing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunked {
    state: State,
    /// The size being read, then what remains of the data.
    left: u64,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self { state: State::Size(0), left: 0 }
    }

    /// The last chunk and its trailer have been read.
    pub(crate) fn is_done(self) -> bool {
        self.state == State::Done
    }

    /// The next piece of the body in `input`, which moves on behind it. `None` means that `input` is used up, or that
    /// the body is over and what remains belongs to the next response.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
        while self.state != State::Done {
            if self.state == State::Data {
                if input.is_empty() {
                    return Ok(None);
                }
                let (piece, rest) = input.split_at(input.len().min(usize::try_from(self.left).unwrap_or(usize::MAX)));
                *input = rest;
                self.left -= piece.len() as u64;
                if self.left == 0 {
                    self.state = State::DataEnd;
                }
                return Ok(Some(piece));
            }
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            self.state = self.step(byte)?;
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = (byte & 15) + if byte > b'9' { 9 } else { 0 };
                self.left = self.left << 4 | u64::from(digit);
                State::Size(digits + 1)
            }
            (State::Size(0), _) => return Err(Malformed),
            (State::Size(_) | State::Extension, b'\n') if self.left == 0 => State::Trailer(0),
            (State::Size(_) | State::Extension, b'\n') => State::Data,
            (State::Size(_), b'\r' | b';' | b' ' | b'\t') | (State::Extension, _) => State::Extension,
            (State::DataEnd, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => {
                self.left = 0;
                State::Size(0)
            }
            (State::Trailer(seen), b'\r') => State::Trailer(seen),
            (State::Trailer(0), b'\n') => State::Done,
            (State::Trailer(_), b'\n') => State::Trailer(0),
            (State::Trailer(_), _) => State::Trailer(1),
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunked: &mut Chunked, mut input: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
        while let Some(piece) = chunked.next(&mut input)? {
            out.extend_from_slice(piece);
        }
        Ok(input.len())
    }

    #[test]
    fn chunked_body_is_the_same_under_every_split() {
        let body =
            b"5\r\nhello\r\nC;ext=\"x\"\r\n, wide world\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nT: x\r\n\r\n";
        for first in 0..body.len() {
            for second in first..body.len() {
                let (mut chunked, mut out) = (Chunked::new(), Vec::new());
                for piece in [&body[..first], &body[first..second], &body[second..]] {
                    assert_eq!(decode(&mut chunked, piece, &mut out), Ok(0));
                }
                assert_eq!(out, b"hello, wide worldabcdefghijklmnopqrstuvwxyz");
                assert!(chunked.is_done());
            }
        }
    }

    #[test]
    fn chunked_end_leaves_the_next_response() {
        let (mut chunked, mut out) = (Chunked::new(), Vec::new());
        assert_eq!(decode(&mut chunked, b"1\r\nx\r\n0\r\n\r\nHTTP/1.1", &mut out), Ok(8));
        assert_eq!(out, b"x");
    }

    #[test]
    fn chunked_garbage_is_refused() {
        for bad in [&b"\r\n"[..], b"xyz\r\n", b"2\r\nabc\r\n", b"fffffffffffffffffff\r\n"] {
            assert_eq!(decode(&mut Chunked::new(), bad, &mut Vec::new()), Err(Malformed), "{bad:?}");
        }
    }
}
