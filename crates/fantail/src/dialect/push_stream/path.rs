//! The list of channels that a request names: decoded, split, each with how many old messages are wanted of it. Knows nothing of
//! where the text comes from, nor of limits beyond a name's length.

use std::borrow::Cow;

use fantail_hub::{ChannelName, NameError};
use percent_encoding::percent_decode;

use super::explain::Refusal;

/// The kind of the internal channel that stands for the module's channel without a name.
const NAMELESS: &str = "nameless";

/// A channel that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The channel, as the hub has it.
    pub channel: ChannelName,
    /// How many of its newest messages are wanted (`.bN`).
    pub backtrack: usize,
}

/// The elements of a channels path, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked(Vec<(Box<[u8]>, usize)>);

/// What a request for statistics is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The server as a whole.
    Summary,
    /// Every channel.
    All,
    /// The channels whose id begins so.
    Prefix(String),
    /// These, as far as there are such.
    Channels(Vec<ChannelName>),
}

impl Asked {
    /// Takes a channels path apart. It is percent-decoded first, whatever was decoded before, so `%2F` separates too; `+` is no
    /// space.
    ///
    /// Strictly, an empty element is a channel without a name, and one that is named twice counts twice. By default the former
    /// are passed over, and the latter count once, with the larger backtrack.
    pub fn parse(path: &[u8], strict: bool) -> Self {
        let path = decoded(path);
        let mut asked = Vec::new();
        if path.is_empty() {
            return Self(asked);
        }
        // The scan stops once the text is used up, so that a slash at its end adds nothing.
        let path = path.strip_suffix(b"/").unwrap_or(&path);
        for element in path.split(|&byte| byte == b'/') {
            let (id, backtrack) = backtrack(element);
            if !strict && id.is_empty() {
                continue;
            }
            match asked.iter_mut().find(|(known, _)| !strict && **known == *id) {
                Some((_, known)) => *known = backtrack.max(*known),
                None => asked.push((Box::from(id), backtrack)),
            }
        }
        Self(asked)
    }

    /// The channels to publish to or to listen to, which other checks may still refuse, left to right. `longest` is what the
    /// settings allow for a name, in bytes.
    ///
    /// An iterator, because the module checks a channel in every respect before it looks at the next.
    pub fn channels(&self, longest: Option<usize>) -> impl Iterator<Item = Result<Requested, Refusal>> {
        self.0
            .iter()
            .map(move |(id, backtrack)| Ok(Requested { channel: channel_name(id, longest)?, backtrack: *backtrack }))
    }

    /// Whether no channel is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What statistics are asked for: the first `ALL`, or element with a `*`, decides alone.
    ///
    /// # Errors
    /// [`Refusal::TooLong`]. A name that no channel can have is not one of those that exist.
    pub fn scope(&self, longest: Option<usize>) -> Result<Scope, Refusal> {
        if self.is_empty() {
            return Ok(Scope::Summary);
        }
        let mut channels = Vec::new();
        for (id, _) in &self.0 {
            if &**id == b"ALL" {
                return Ok(Scope::All);
            }
            if let Some(star) = memchr::memchr(b'*', id) {
                // What is not UTF-8 begins no channel's name, and neither does U+FFFD in its place by any likelihood.
                return Ok(Scope::Prefix(String::from_utf8_lossy(&id[..star]).into_owned()));
            }
            match channel_name(id, longest) {
                Ok(channel) => channels.push(channel),
                Err(Refusal::TooLong) => return Err(Refusal::TooLong),
                Err(_) => {}
            }
        }
        Ok(Scope::Channels(channels))
    }
}

/// The hub's channel of an id. What the module allows and the hub does not (control characters, bytes that are not UTF-8) is
/// refused as the module refuses `ALL` and `*`.
///
/// # Errors
/// [`Refusal::Reserved`], [`Refusal::TooLong`].
pub fn channel_name(id: &[u8], longest: Option<usize>) -> Result<ChannelName, Refusal> {
    if id == b"ALL" || id.contains(&b'*') {
        return Err(Refusal::Reserved);
    }
    if id.len() > longest.unwrap_or(ChannelName::MAX_BYTES) {
        return Err(Refusal::TooLong);
    }
    if id.is_empty() {
        return Ok(ChannelName::internal(NAMELESS, 0));
    }
    let id = std::str::from_utf8(id).map_err(|_| Refusal::Reserved)?;
    ChannelName::parse(id).map_err(|error| match error {
        NameError::TooLong(_) => Refusal::TooLong,
        _ => Refusal::Reserved,
    })
}

/// The id by which the module's clients know a channel of the hub: its name, but for the channel without one.
pub fn channel_id(channel: &ChannelName) -> &str {
    if channel.is_internal() && *channel == ChannelName::internal(NAMELESS, 0) { "" } else { channel.as_str() }
}

/// Percent-decoded; what is not an encoding stays as it is. A question mark ends the text, as in nginx's own decoding: it still
/// belongs to it. The spec has measured that of an encoded one; a plain one was encoded before the path's first decoding.
fn decoded(path: &[u8]) -> Cow<'_, [u8]> {
    let mut path: Cow<'_, [u8]> = percent_decode(path).into();
    if let Some(at) = memchr::memchr(b'?', &path) {
        path.to_mut().truncate(at + 1);
    }
    path
}

/// An element without its `.bN`, and N; none is 0.
fn backtrack(element: &[u8]) -> (&[u8], usize) {
    let digits = element.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, digits) = element.split_at(element.len() - digits);
    match before.strip_suffix(b".b") {
        Some(id) if !digits.is_empty() => {
            let number = digits
                .iter()
                .fold(0_usize, |number, digit| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')));
            (id, number)
        }
        _ => (element, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str, strict: bool) -> Vec<(String, usize)> {
        let Asked(asked) = Asked::parse(path.as_bytes(), strict);
        asked.into_iter().map(|(id, backtrack)| (String::from_utf8(id.into_vec()).unwrap(), backtrack)).collect()
    }

    fn list(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
        expected.iter().map(|&(id, backtrack)| (id.to_owned(), backtrack)).collect()
    }

    #[test]
    fn path_is_split_with_its_backtracks() {
        for (path, expected) in [
            ("a", &[("a", 0)][..]),
            ("a.b10/c/d.b2", &[("a", 10), ("c", 0), ("d", 2)]),
            ("ch.b", &[("ch.b", 0)]),
            ("a.b10x", &[("a.b10x", 0)]),
            ("room.b18.beautiful.b3", &[("room.b18.beautiful", 3)]),
            ("a.b0", &[("a", 0)]),
            ("a/", &[("a", 0)]),
            ("a.b99999999999999999999", &[("a", usize::MAX)]),
            ("a.B2", &[("a.B2", 0)]),
            ("42", &[("42", 0)]),
        ] {
            for strict in [true, false] {
                assert_eq!(asked(path, strict), list(expected), "{path} {strict}");
            }
        }
    }

    #[test]
    fn path_with_empty_elements_strictly_names_a_channel_without_a_name() {
        for (path, strict, default) in [
            ("/a", &[("", 0), ("a", 0)][..], &[("a", 0)][..]),
            ("a//b", &[("a", 0), ("", 0), ("b", 0)], &[("a", 0), ("b", 0)]),
            ("a//", &[("a", 0), ("", 0)], &[("a", 0)]),
            (".b5", &[("", 5)], &[]),
            ("/", &[("", 0)], &[]),
        ] {
            assert_eq!(asked(path, true), list(strict), "{path}");
            assert_eq!(asked(path, false), list(default), "{path}");
        }
    }

    #[test]
    fn path_with_a_channel_twice_counts_it_twice_only_strictly() {
        assert_eq!(asked("a/b/a", true), list(&[("a", 0), ("b", 0), ("a", 0)]));
        assert_eq!(asked("a/b.b3/a.b2/b.b1", false), list(&[("a", 2), ("b", 3)]));
    }

    #[test]
    fn path_is_decoded_before_it_is_split() {
        for (path, expected) in [
            ("a%2Fb", &[("a", 0), ("b", 0)][..]),
            ("%61%2Eb7", &[("a", 7)]),
            ("a%2520b", &[("a%20b", 0)]),
            ("a+b", &[("a+b", 0)]),
            ("ab%3Fcd/e", &[("ab?", 0)]),
            ("ab?cd", &[("ab?", 0)]),
            ("a%zz%", &[("a%zz%", 0)]),
        ] {
            assert_eq!(asked(path, true), list(expected), "{path}");
        }
    }

    #[test]
    fn path_without_anything_names_no_channel() {
        for strict in [true, false] {
            assert!(Asked::parse(b"", strict).is_empty());
        }
    }

    #[test]
    fn channels_are_checked_left_to_right() {
        let refused = |path: &str, longest| {
            let asked = Asked::parse(path.as_bytes(), true);
            asked.channels(longest).map(Result::err).collect::<Vec<_>>()
        };
        assert_eq!(
            refused("a/ALL/b*c/*", None),
            [None, Some(Refusal::Reserved), Some(Refusal::Reserved), Some(Refusal::Reserved)]
        );
        assert_eq!(refused("all/ALLE", None), [None, None]);
        assert_eq!(refused("abc/abcd/ab*d", Some(3)), [None, Some(Refusal::TooLong), Some(Refusal::Reserved)]);
        assert_eq!(refused(&"x".repeat(256), None), [Some(Refusal::TooLong)]);
        assert_eq!(refused(&"x".repeat(256), Some(1000)), [Some(Refusal::TooLong)]);
        assert_eq!(refused("a%00b/%FF/a%0Ab", None), [Some(Refusal::Reserved); 3]);
    }

    #[test]
    fn channel_without_a_name_has_one_in_the_hub() {
        let nameless = channel_name(b"", None).unwrap();
        assert!(nameless.is_internal());
        assert_eq!(channel_id(&nameless), "");
        assert_eq!(channel_id(&channel_name(b"a", None).unwrap()), "a");
        assert_eq!(channel_id(&ChannelName::internal("record", 0)), "/record/0");
    }

    #[test]
    fn scope_is_decided_by_the_first_pattern() {
        let name = |text| ChannelName::parse(text).unwrap();
        for (path, expected) in [
            ("", Scope::Summary),
            ("ALL", Scope::All),
            ("a/ALL/b*", Scope::All),
            ("*", Scope::Prefix(String::new())),
            ("t*k", Scope::Prefix("t".to_owned())),
            ("a/t*/ALL", Scope::Prefix("t".to_owned())),
            ("a", Scope::Channels(vec![name("a")])),
            ("a/b/c", Scope::Channels(vec![name("a"), name("b"), name("c")])),
            ("a%0A/b", Scope::Channels(vec![name("b")])),
        ] {
            assert_eq!(Asked::parse(path.as_bytes(), false).scope(None), Ok(expected), "{path}");
        }
        assert_eq!(Asked::parse(b"a/bcd/ALL", false).scope(Some(2)), Err(Refusal::TooLong));
        assert_eq!(Asked::parse(b"ALL/bcd", false).scope(Some(2)), Ok(Scope::All));
    }
}
