//! The name of a channel, valid by construction. Knows nothing of URLs: decoding is the border's affair.

use std::fmt;

use thiserror::Error;

/// A channel's name: 1 to 255 bytes of UTF-8 without control characters, `/` or `*`, and not `ALL`.
/// Levels are separated by `.` where patterns look at them. Channels that Fantail makes for itself have names beyond these,
/// see [`ChannelName::internal`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Box<str>);

/// Why a text cannot name a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("channel name is empty")]
    Empty,
    /// More than [`ChannelName::MAX_BYTES`].
    #[error("channel name has {0} bytes, at most 255 are allowed")]
    TooLong(usize),
    /// A control character, `/` or `*`.
    #[error("channel name holds {found:?} at byte {at}; control characters, '/' and '*' are not allowed")]
    Character {
        /// The character that is not allowed.
        found: char,
        /// Its place, in bytes from the start.
        at: usize,
    },
    /// The word that statistics use for every channel.
    #[error("channel name \"ALL\" is reserved")]
    Reserved,
    /// The bytes are not UTF-8.
    #[error("channel name is not valid UTF-8")]
    NotUtf8,
}

impl ChannelName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Checks `text` and takes a copy of it.
    ///
    /// # Errors
    /// [`NameError`] says what about `text` is not allowed.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong(text.len()));
        }
        if text == "ALL" {
            return Err(NameError::Reserved);
        }
        match text.char_indices().find(|&(_, c)| c.is_control() || c == '/' || c == '*') {
            Some((at, found)) => Err(NameError::Character { found, at }),
            None => Ok(Self(text.into())),
        }
    }

    /// The name of a channel that no request can say, for [`ChannelName::parse`] refuses it: `/KIND/NUMBER`.
    pub fn internal(kind: &'static str, number: u64) -> Self {
        Self(format!("/{kind}/{number}").into_boxed_str())
    }

    /// Whether it was made by [`ChannelName::internal`].
    pub fn is_internal(&self) -> bool {
        self.0.starts_with('/')
    }

    /// The number of an internal channel.
    pub fn number(&self) -> Option<u64> {
        self.0.strip_prefix('/')?.rsplit_once('/')?.1.parse().ok()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_plain_names_are_kept_as_given() {
        for name in ["news", "user.42", "a b", "Straße", "all", "~x", &"x".repeat(255)] {
            assert_eq!(ChannelName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn internal_names_cannot_be_parsed() {
        let name = ChannelName::internal("record", 17);
        assert_eq!((name.as_str(), name.is_internal(), name.number()), ("/record/17", true, Some(17)));
        assert!(ChannelName::parse(name.as_str()).is_err());
        let plain = ChannelName::parse("record.17").unwrap();
        assert_eq!((plain.is_internal(), plain.number()), (false, None));
    }

    #[test]
    fn parse_bad_names_say_what_was_wrong() {
        assert_eq!(ChannelName::parse(""), Err(NameError::Empty));
        assert_eq!(ChannelName::parse(&"x".repeat(256)), Err(NameError::TooLong(256)));
        assert_eq!(ChannelName::parse("ALL"), Err(NameError::Reserved));
        for (text, found, at) in [("a/b", '/', 1), ("*", '*', 0), ("ab\n", '\n', 2), ("\u{85}", '\u{85}', 0)] {
            assert_eq!(ChannelName::parse(text), Err(NameError::Character { found, at }));
        }
    }
}
