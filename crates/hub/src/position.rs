//! Where something stands in a channel, and the ids that say so on the wire.

use std::fmt;

/// The incarnation of a journal's sequence; offsets of different epochs cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// A new epoch, unlike any before it.
    pub fn random() -> Self {
        // Without the system's randomness nothing else (TLS, hash seeds) works either.
        Self(getrandom::u64().unwrap_or_else(|_| std::process::id().into()))
    }

    /// The epoch with this number, as a journal kept it.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// A message's position in its journal: from 1, only growing, not necessarily consecutive. 0 is "before any message".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The largest offset: a channel keeps one bit of the word for itself.
    pub const MAX: Self = Self(u64::MAX >> 1);
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the total order: everything up to `offset` of `epoch` has been seen.
///
/// As text it is the id that Fantail gives to messages: `~1.EPOCH.OFFSET`, at most 39 bytes of `[0-9a-f.~]`. The tilde and
/// the digit are the format's mark and version; publishers' own ids may not begin with the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The incarnation that the offset belongs to.
    pub epoch: Epoch,
    /// The last offset that was seen.
    pub offset: Offset,
}

impl Position {
    /// How every generated id begins, and no other.
    pub const MARK: char = '~';

    /// Reads an id made by [`Position`]'s `Display`; `None` for anything else, to the byte.
    pub fn parse(id: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(id).ok()?.strip_prefix("~1.")?;
        let (epoch, offset) = text.split_once('.')?;
        let parsed = Self {
            epoch: Epoch(u64::from_str_radix(epoch, 16).ok()?),
            offset: Offset(offset.parse().ok().filter(|&n| n <= Offset::MAX.0)?),
        };
        (parsed.to_string().as_bytes() == id).then_some(parsed)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~1.{}.{}", self.epoch, self.offset)
    }
}

/// How far one subscriber has come, as the first offset that it has *not* seen.
///
/// [`Cursor::BEGIN`] stands before the place where a gap at floor 0 would be told: a subscriber whose past is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(u64);

impl Cursor {
    /// Before everything, the gap before the first message included.
    pub const BEGIN: Self = Self(0);

    /// Behind `offset`: the next one is due.
    pub const fn after(offset: Offset) -> Self {
        Self(offset.0 + 1)
    }

    /// Before the entry at `next`.
    pub(crate) const fn at(next: u64) -> Self {
        Self(next)
    }

    /// The first offset that has not been seen.
    pub const fn next(self) -> u64 {
        self.0
    }

    /// The last offset that has been seen; `None` where the past is unknown.
    pub const fn seen(self) -> Option<Offset> {
        match self.0.checked_sub(1) {
            Some(offset) => Some(Offset(offset)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_as_text_reads_back_and_is_safe_in_a_header() {
        for (epoch, offset) in [(0, 0), (0x9f3a, 17), (u64::MAX, Offset::MAX.0)] {
            let position = Position { epoch: Epoch(epoch), offset: Offset(offset) };
            let text = position.to_string();
            assert_eq!(Position::parse(text.as_bytes()), Some(position));
            assert!(text.len() <= 39, "{text} is longer than promised");
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b)));
        }
    }

    #[test]
    fn position_from_foreign_text_is_refused() {
        for id in
            ["", "7", "~1.", "~1.ff", "~1.ff.", "~1.FF.1", "~1.ff.01", "~1.ff.+1", "~2.ff.1", "~1.ff.1.2", " ~1.ff.1"]
        {
            assert_eq!(Position::parse(id.as_bytes()), None, "{id:?}");
        }
        assert_eq!(Position::parse(b"~1.ff.18446744073709551615"), None);
        assert_eq!(Position::parse(b"\xff"), None);
    }

    #[test]
    fn cursor_after_an_offset_has_seen_it() {
        assert_eq!(Cursor::after(Offset(7)).seen(), Some(Offset(7)));
        assert_eq!(Cursor::after(Offset(0)).next(), 1);
        assert_eq!(Cursor::BEGIN.seen(), None);
    }
}
