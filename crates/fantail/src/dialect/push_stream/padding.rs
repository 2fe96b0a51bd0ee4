//! Filler behind short pieces of a stream, for clients that show nothing before they have read some more. Which clients, and how
//! much, is `config::Padding`'s.

/// What the filler is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filler {
    /// Line breaks, for plain streams.
    LineBreaks,
    /// A comment, for event streams.
    Comment,
}

/// Appends filler behind a piece of `length` bytes that should have `least`: the next hundred above what is missing, but no more
/// than `most`, the largest `least` of all settings.
pub fn pad(out: &mut Vec<u8>, length: usize, least: usize, most: usize, filler: Filler) {
    let missing = least.saturating_sub(length);
    if missing == 0 {
        return;
    }
    let size = ((missing / 100 + 1) * 100).min(most);
    match filler {
        Filler::LineBreaks => out.extend(b"\r\n".iter().cycle().take(size)),
        Filler::Comment => {
            out.extend(std::iter::repeat_n(b':', size.saturating_sub(1)));
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(length: usize, least: usize, most: usize, filler: Filler) -> Vec<u8> {
        let mut out = Vec::new();
        pad(&mut out, length, least, most, filler);
        out
    }

    #[test]
    fn pad_fills_up_to_the_next_hundred() {
        for (length, least, most, size) in [
            (10, 0, 4096, 0),
            (10, 10, 4096, 0),
            (11, 10, 4096, 0),
            (9, 10, 4096, 100),
            (1, 100, 4096, 100),
            (0, 100, 4096, 200),
            (0, 199, 4096, 200),
            (0, 250, 250, 250),
            (0, 100, 100, 100),
        ] {
            for filler in [Filler::LineBreaks, Filler::Comment] {
                assert_eq!(padded(length, least, most, filler).len(), size, "{length} of {least}, {filler:?}");
            }
        }
    }

    #[test]
    fn pad_is_nothing_to_those_who_read_it() {
        let breaks = padded(0, 99, 4096, Filler::LineBreaks);
        assert_eq!(breaks, b"\r\n".repeat(50));
        let comment = padded(0, 99, 4096, Filler::Comment);
        assert_eq!(comment, [&b":".repeat(99)[..], b"\n"].concat());
    }
}
