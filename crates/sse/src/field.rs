//! Values that a publisher may put into `event:` and `id:`; once parsed, each fits on one line. It knows no wire syntax.

use std::fmt;

use memchr::{memchr, memchr2};

/// The name of an event, as written after `event:` (WHATWG HTML §9.2.6).
///
/// Holds 1 to [`EventName::MAX_BYTES`] bytes of UTF-8 without CR, LF and NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventName(Box<str>);

impl EventName {
    /// The longest name that is accepted, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Accepts `name` as it stands; nothing is trimmed or escaped.
    pub fn parse(name: &str) -> Result<Self, FieldError> {
        one_line("event name", name, Self::MAX_BYTES).map(Self)
    }

    /// The name as the publisher gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A publisher's own id of an event, as written after `id:` and sent back in `Last-Event-ID` (WHATWG HTML §9.2.6).
///
/// Holds 1 to [`EventId::MAX_BYTES`] bytes of UTF-8 without CR, LF and NUL. The empty id is not one: on the wire it makes
/// the client forget the id that it has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventId(Box<str>);

impl EventId {
    /// The longest id that is accepted, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Accepts `id` as it stands; nothing is trimmed or escaped.
    pub fn parse(id: &str) -> Result<Self, FieldError> {
        one_line("event id", id, Self::MAX_BYTES).map(Self)
    }

    /// The id as the publisher gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a value may not stand in a field. `what` says which: "event name" or "event id"; positions and lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Nothing was given.
    #[error("{what} is empty")]
    Empty {
        /// Which value was wrong.
        what: &'static str,
    },
    /// More bytes than the field may have.
    #[error("{what} has {bytes} bytes, more than {max}")]
    TooLong {
        /// Which value was wrong.
        what: &'static str,
        /// The length that was given.
        bytes: usize,
        /// The length that is allowed.
        max: usize,
    },
    /// A CR or LF, which would end the line and let the rest pass for a field of its own.
    #[error("{what} holds a line break at byte {at}")]
    LineBreak {
        /// Which value was wrong.
        what: &'static str,
        /// Where the first line break stands.
        at: usize,
    },
    /// A NUL, for which clients ignore a whole `id:` line.
    #[error("{what} holds a NUL at byte {at}")]
    Nul {
        /// Which value was wrong.
        what: &'static str,
        /// Where the first NUL stands.
        at: usize,
    },
}

fn one_line(what: &'static str, value: &str, max: usize) -> Result<Box<str>, FieldError> {
    if value.is_empty() {
        return Err(FieldError::Empty { what });
    }
    if value.len() > max {
        return Err(FieldError::TooLong { what, bytes: value.len(), max });
    }
    if let Some(at) = memchr2(b'\r', b'\n', value.as_bytes()) {
        return Err(FieldError::LineBreak { what, at });
    }
    if let Some(at) = memchr(0, value.as_bytes()) {
        return Err(FieldError::Nul { what, at });
    }
    Ok(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_name_plain_text_is_kept_as_given() {
        for text in ["price", " leading space", "tab\there", "a:b", "ünï…", "\u{feff}"] {
            assert_eq!(EventName::parse(text).expect("a valid name").as_str(), text);
            assert_eq!(EventId::parse(text).expect("a valid id").as_str(), text);
        }
    }

    #[test]
    fn event_name_of_the_greatest_length_is_accepted_and_one_more_is_not() {
        let longest = "x".repeat(EventName::MAX_BYTES);
        assert_eq!(EventName::parse(&longest).expect("a valid name").as_str(), longest);

        let error = EventName::parse(&(longest + "x")).expect_err("one byte too many");
        assert_eq!(error.to_string(), "event name has 256 bytes, more than 255");
    }

    #[test]
    fn event_id_length_counts_bytes_and_not_characters() {
        assert!(EventId::parse(&"…".repeat(85)).is_ok(), "255 bytes");
        let error = EventId::parse(&"…".repeat(86)).expect_err("258 bytes");
        assert_eq!(error, FieldError::TooLong { what: "event id", bytes: 258, max: EventId::MAX_BYTES });
    }

    #[test]
    fn field_refused_value_names_the_thing_and_the_place() {
        let name = |text| EventName::parse(text).expect_err("an invalid name").to_string();
        let id = |text| EventId::parse(text).expect_err("an invalid id").to_string();

        assert_eq!(name(""), "event name is empty");
        assert_eq!(name("abc\ndata: x"), "event name holds a line break at byte 3");
        assert_eq!(name("abcd\r"), "event name holds a line break at byte 4");
        assert_eq!(name("\0"), "event name holds a NUL at byte 0");
        assert_eq!(id(""), "event id is empty");
        assert_eq!(id("\r\n"), "event id holds a line break at byte 0");
        assert_eq!(id("ab\0"), "event id holds a NUL at byte 2");
    }
}
