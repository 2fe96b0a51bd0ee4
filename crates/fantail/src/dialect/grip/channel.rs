//! Where GRIP's channels live in the hub: under names of their own, so that whoever may subscribe to or publish in native
//! channels does not for that reason reach what an application gives to those whom it let in.

use std::fmt::Write as _;

use fantail_hub::{ChannelName, NameError};
use thiserror::Error;

/// What the hub's names of GRIP channels begin with.
pub const PREFIX: &str = "grip:";

/// Why a GRIP channel cannot be one of the hub's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChannelError {
    /// It has no name.
    #[error("a channel's name is empty")]
    Empty,
    /// Its name is too long once it is written as one of the hub's.
    #[error("channel {name:?} has too long a name: {source}")]
    Name {
        /// As it was given.
        name: String,
        /// What the hub says.
        source: NameError,
    },
}

/// The hub's name of a GRIP channel. GRIP allows any text: what the hub does not is percent-encoded, as is the percent sign.
///
/// # Errors
/// [`ChannelError`]; a name of up to 83 bytes always fits, one of plain characters up to 250.
pub fn channel(name: &str) -> Result<ChannelName, ChannelError> {
    if name.is_empty() {
        return Err(ChannelError::Empty);
    }
    let mut text = String::with_capacity(PREFIX.len() + name.len());
    text.push_str(PREFIX);
    for c in name.chars() {
        if c.is_control() || matches!(c, '/' | '*' | '%') {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        } else {
            text.push(c);
        }
    }
    ChannelName::parse(&text).map_err(|source| ChannelError::Name { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_of_any_text_is_a_name_of_its_own() {
        for (name, expected) in [
            ("a", "grip:a"),
            ("ALL", "grip:ALL"),
            ("events-a b", "grip:events-a b"),
            ("a/b*c%d", "grip:a%2Fb%2Ac%25d"),
            ("a%2Fb", "grip:a%252Fb"),
            ("x\ny\u{85}", "grip:x%0Ay%C2%85"),
            ("ü", "grip:ü"),
        ] {
            assert_eq!(channel(name).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn channel_without_room_is_refused() {
        assert!(channel(&"x".repeat(250)).is_ok() && channel(&"/".repeat(83)).is_ok());
        assert_eq!(channel("").unwrap_err().to_string(), "a channel's name is empty");
        let error = channel(&"/".repeat(84)).unwrap_err().to_string();
        assert!(error.ends_with("has too long a name: channel name has 257 bytes, at most 255 are allowed"), "{error}");
    }
}
