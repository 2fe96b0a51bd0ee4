//! The chunked coding of an answer (RFC 9112 §7.1), decoded as it comes: nothing is kept but numbers, and the trailer
//! section once it has begun. Strict: what two parsers might read differently is refused.

use super::failure::Failure;

/// The most bytes that a chunk's extensions may have.
const MAX_EXTENSION: usize = 1024;
/// The most bytes that the trailer section may have.
const MAX_TRAILERS: usize = 8 << 10;
/// The most hexadecimal digits of a chunk's size.
const MAX_DIGITS: u8 = 16;

/// Where in the coding the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    End,
}

/// A decoder.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    /// Of the size: what was read so far. Of the data: what is left.
    left: u64,
    digits: u8,
    extension: usize,
    trailers: Vec<u8>,
}

/// What one look at the input gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step<'a> {
    /// Bytes of the input that are done with, those of `data` included: they are its end.
    pub(super) taken: usize,
    /// Data; empty where there was none before the input ended, or the body did.
    pub(super) data: &'a [u8],
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { at: At::Size, left: 0, digits: 0, extension: 0, trailers: Vec::new() }
    }

    /// Whether the whole body has been read.
    pub(super) fn is_done(&self) -> bool {
        self.at == At::End
    }

    /// The trailer section as it came, without the blank line behind it.
    pub(super) fn trailers(&self) -> &[u8] {
        self.trailers.strip_suffix(b"\r\n").unwrap_or_default()
    }

    /// Reads up to and with the next piece of data.
    pub(super) fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Failure> {
        let mut taken = 0;
        while let Some(&byte) = input.get(taken) {
            if self.at == At::Data {
                let rest = &input[taken..];
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                self.left -= n as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                return Ok(Step { taken: taken + n, data: &rest[..n] });
            }
            if self.at == At::End {
                break;
            }
            taken += 1;
            self.byte(byte)?;
        }
        Ok(Step { taken, data: &[] })
    }

    fn byte(&mut self, byte: u8) -> Result<(), Failure> {
        let bad = |what| Err(Failure::Malformed(what));
        match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digits += 1;
                if self.digits > MAX_DIGITS {
                    return bad("a chunk's size has too many digits");
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.left = self.left << 4 | u64::from(digit);
            }
            (At::Size, _) if self.digits == 0 => return bad("a chunk has no size"),
            (At::Size | At::Extension, b'\r') => self.at = At::SizeLf,
            // Old servers pad the size with blanks.
            (At::Size, b';' | b' ' | b'\t') => self.at = At::Extension,
            (At::Size, _) => return bad("a chunk's size is not hexadecimal"),
            (At::Extension, 0..=8 | 10..=31 | 127) => return bad("a chunk's extension holds a control character"),
            (At::Extension, _) => {
                self.extension += 1;
                if self.extension > MAX_EXTENSION {
                    return bad("a chunk's extensions are too long");
                }
            }
            (At::SizeLf, b'\n') => {
                self.digits = 0;
                self.extension = 0;
                self.at = if self.left == 0 { At::Trailers } else { At::Data };
            }
            (At::SizeLf, _) => return bad("a chunk's size ends with a CR alone"),
            (At::DataCr, b'\r') => self.at = At::DataLf,
            (At::DataLf, b'\n') => self.at = At::Size,
            (At::DataCr | At::DataLf, _) => return bad("a chunk is longer than its size"),
            (At::Trailers, _) => {
                if self.trailers.len() >= MAX_TRAILERS {
                    return bad("the trailer section is too long");
                }
                self.trailers.push(byte);
                if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
                    self.at = At::End;
                }
            }
            (At::Data | At::End, _) => unreachable!("data and the end are not read byte by byte"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, and whether the body was whole; what was left of the input.
    fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, bool, usize), String> {
        let (mut chunks, mut data, mut read) = (Chunks::new(), Vec::new(), 0);
        for part in input.chunks(piece) {
            let mut at = 0;
            while at < part.len() && !chunks.is_done() {
                let step = chunks.decode(&part[at..]).map_err(|error| error.to_string())?;
                data.extend_from_slice(step.data);
                at += step.taken;
            }
            read += at;
        }
        Ok((data, chunks.is_done(), input.len() - read))
    }

    #[test]
    fn decode_of_any_split_is_the_same() {
        let input = b"5\r\nhello\r\n00A;x=\"y\"\r\n, world...\r\n0 \r\nX-Sum: 1\r\n\r\nHTTP";
        for piece in 1..input.len() {
            assert_eq!(decode(input, piece), Ok((b"hello, world...".to_vec(), true, 4)), "pieces of {piece}");
        }
    }

    #[test]
    fn decode_gives_the_trailers() {
        let mut chunks = Chunks::new();
        assert_eq!(chunks.decode(b"0\r\nA: b\r\nC: d\r\n\r\n").unwrap().taken, 17);
        assert!(chunks.is_done());
        assert_eq!(chunks.trailers(), b"A: b\r\nC: d\r\n");
        let mut plain = Chunks::new();
        plain.decode(b"0\r\n\r\n").unwrap();
        assert_eq!(plain.trailers(), b"");
    }

    #[test]
    fn decode_of_what_parsers_disagree_on_is_refused() {
        for (input, why) in [
            (&b"\r\n"[..], "no size"),
            (b"0x5\r\nhello\r\n", "not hexadecimal"),
            (b"+5\r\nhello\r\n", "no size"),
            (b"-1\r\n", "no size"),
            (b" 5\r\nhello\r\n", "no size"),
            (b"5\nhello\r\n", "not hexadecimal"),
            (b"5\rhello\r\n", "CR alone"),
            (b"5\r\nhello!\r\n", "longer than its size"),
            (b"5\r\nhello\n", "longer than its size"),
            (b"5;a\nb\r\n", "control character"),
            (b"5;a\0b\r\n", "control character"),
            (b"00000000000000005\r\n", "too many digits"),
            (b"10000000000000000\r\n", "too many digits"),
        ] {
            let error = decode(input, 64).unwrap_err();
            assert!(error.contains(why), "{:?}: {error}", String::from_utf8_lossy(input));
        }
        let long = [b"5;".as_slice(), &[b'x'; MAX_EXTENSION + 1], b"\r\n"].concat();
        assert!(decode(&long, 64).unwrap_err().contains("extensions are too long"));
        let long = [b"0\r\n".as_slice(), &[b'x'; MAX_TRAILERS + 1]].concat();
        assert!(decode(&long, 64).unwrap_err().contains("trailer section is too long"));
    }

    #[test]
    fn decode_that_is_cut_off_is_not_done() {
        for cut in 0..14 {
            let (_, done, _) = decode(&b"5\r\nhello\r\n0\r\n\r\n"[..cut], 64).unwrap();
            assert!(!done, "after {cut} bytes");
        }
    }
}
