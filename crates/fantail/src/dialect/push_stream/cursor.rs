//! Where a subscriber goes on: what its request says about that, which stored message it begins with, and what an answer to a poll
//! says so that the next one can go on. Knows messages as times, tags and ids alone.

use std::borrow::Cow;
use std::time::SystemTime;

use http::HeaderValue;
use percent_encoding::percent_decode;

use super::template::http_date;

/// A message's place among all: of a second, and within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// When it was published, in seconds.
    pub time: u64,
    /// What tells it from others of the same second, and grows.
    pub tag: u64,
}

/// A message that a channel still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Where it stands.
    pub place: Place,
    /// The publisher's own id.
    pub event_id: Option<&'a str>,
}

/// What a request says it has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// A time in seconds.
    pub time: Option<u64>,
    /// A tag of that second.
    pub tag: Option<u64>,
    /// A message's event id.
    pub event_id: Option<Box<[u8]>>,
}

/// Where one channel's replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// How many of its stored messages are passed over, the oldest first.
    pub skip: usize,
    /// Whether an event id was asked for that none of them has, so that something may be missing. Never strictly: there the client
    /// is left to believe that it has seen everything.
    pub unknown: bool,
}

impl Seen {
    /// Reads the three values, whether they come from fields or from the expressions that replace them. They are percent-decoded;
    /// an empty one is none, and so is what is no date or no number.
    pub fn read(time: Option<&[u8]>, tag: Option<&[u8]>, event_id: Option<&[u8]>) -> Self {
        let decoded = |value: Option<&'_ [u8]>| value.map(|value| Cow::from(percent_decode(value)).into_owned());
        let tag = decoded(tag);
        let tag = tag.as_deref().map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag));
        Self {
            time: decoded(time).and_then(|time| seconds(&time)),
            tag: tag.and_then(number),
            event_id: decoded(event_id).filter(|id| !id.is_empty()).map(Into::into),
        }
    }

    /// Where to begin in a channel that has these messages, oldest first, and of which the newest `backtrack` are wanted.
    ///
    /// A backtrack counts alone, whatever was seen. By default an event id counts before it: a client that comes back has the
    /// path that it first came with. If nobody knows the id any more the backtrack is what it gets.
    pub fn start<'a>(
        &self,
        backtrack: usize,
        stored: impl ExactSizeIterator<Item = Stored<'a>> + Clone,
        strict: bool,
    ) -> Start {
        let length = stored.len();
        let newest = length - backtrack.min(length);
        let known = |skip| Start { skip, unknown: false };
        if strict && backtrack > 0 {
            return known(newest);
        }
        if backtrack > 0 && self.event_id.is_none() {
            return known(newest);
        }
        // An id that an older message than the time has tells of an older place: the first that fits decides.
        let time = self.time.filter(|_| backtrack == 0);
        let start = stored.enumerate().find_map(|(at, message)| self.begins(time, &message).map(|after| at + after));
        match start {
            Some(skip) => known(skip),
            None => Start { skip: newest, unknown: !strict && self.event_id.is_some() },
        }
    }

    /// Whether a replay begins at this message (0) or behind it (1).
    fn begins(&self, time: Option<u64>, message: &Stored<'_>) -> Option<usize> {
        if let (Some(seen), Some(id)) = (&self.event_id, message.event_id)
            && **seen == *id.as_bytes()
        {
            return Some(1);
        }
        let Place { time: at, tag } = message.place;
        let time = time?;
        if at > time {
            return Some(0);
        }
        let seen = self.tag.filter(|seen| at == time && tag >= *seen)?;
        Some(usize::from(tag == seen))
    }

    /// What an answer with these messages tells as its place: the newest of them, but none older than what was seen before.
    /// `None` where there are none.
    pub fn newest(&self, messages: impl IntoIterator<Item = Place>) -> Option<Place> {
        let newest = messages.into_iter().max()?;
        let seen = self.time.map(|time| Place { time, tag: self.tag.unwrap_or(0) });
        Some(seen.map_or(newest, |seen| newest.max(seen)))
    }
}

/// `Etag` with a tag: weak, and without quotes.
pub(super) fn etag(tag: u64) -> HeaderValue {
    value(&format!("W/{tag}"))
}

/// `Last-Modified` with a time in seconds.
pub(super) fn last_modified(seconds: u64) -> HeaderValue {
    value(&http_date(seconds))
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, letters and signs are a field's value")
}

fn seconds(date: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(date).ok()?.trim()).ok()?;
    Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

fn number(digits: &[u8]) -> Option<u64> {
    // `parse` takes a plus sign too.
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 22 Nov 2026 14:50:49 GMT";
    const AT: u64 = 1_795_359_049;

    fn seen(time: &str, tag: &str, event_id: &str) -> Seen {
        Seen::read(Some(time.as_bytes()), Some(tag.as_bytes()), Some(event_id.as_bytes()))
    }

    /// Five messages: a, b and c in the first second, d without an id and e in later ones.
    fn start(seen: &Seen, backtrack: usize, strict: bool) -> Start {
        let stored = [(0, 1, Some("a")), (0, 3, Some("b")), (0, 4, Some("c")), (2, 1, None), (3, 1, Some("e"))];
        let stored = stored.map(|(time, tag, event_id)| Stored { place: Place { time: AT + time, tag }, event_id });
        seen.start(backtrack, stored.into_iter(), strict)
    }

    fn skipped(seen: &Seen, backtrack: usize) -> [usize; 2] {
        [true, false].map(|strict| start(seen, backtrack, strict).skip)
    }

    #[test]
    fn seen_is_read_from_dates_tags_and_ids() {
        let date = |time: &str| seen(time, "", "").time;
        assert_eq!(date(DATE), Some(AT));
        assert_eq!(date("Sun%2C%2022%20Nov%202026%2014%3A50%3A49%20GMT"), Some(AT));
        for bad in ["", "yesterday", "1795359049", "Sun,+22+Nov+2026+14:50:49+GMT", "%FF"] {
            assert_eq!(date(bad), None, "{bad}");
        }
        let tag = |tag: &str| seen("", tag, "").tag;
        for (text, expected) in [("3", 3), ("W/3", 3), ("W%2F3", 3), ("0", 0), ("007", 7)] {
            assert_eq!(tag(text), Some(expected), "{text}");
        }
        for bad in ["", "\"3\"", "W/\"3\"", "w/3", "W/", "-1", "+1", "3x", "99999999999999999999"] {
            assert_eq!(tag(bad), None, "{bad}");
        }
        let id = |id: &str| seen("", "", id).event_id;
        assert_eq!((id(""), id("e%201"), id("e+1")), (None, Some(b"e 1"[..].into()), Some(b"e+1"[..].into())));
        assert_eq!(Seen::read(None, None, None), Seen::default());
        assert_eq!(Seen::read(None, None, Some(b"%FF")).event_id, Some(b"\xff"[..].into()));
    }

    #[test]
    fn start_with_a_backtrack_is_that_many_before_the_end() {
        for (backtrack, skip) in [(1, 4), (2, 3), (5, 0), (6, 0), (usize::MAX, 0)] {
            assert_eq!(skipped(&Seen::default(), backtrack), [skip; 2]);
            assert_eq!(skipped(&seen(DATE, "1", ""), backtrack), [skip; 2], "the time does not matter");
        }
    }

    #[test]
    fn start_without_anything_is_the_end() {
        assert_eq!(skipped(&Seen::default(), 0), [5; 2]);
        assert_eq!(skipped(&seen("", "1", ""), 0), [5; 2], "a tag alone says nothing");
    }

    #[test]
    fn start_by_id_is_behind_its_message() {
        for (id, skip) in [("a", 1), ("c", 3), ("e", 5), ("A", 5), ("zz", 5)] {
            assert_eq!(skipped(&seen("", "", id), 0), [skip; 2], "{id}");
        }
    }

    #[test]
    fn start_by_time_is_at_the_first_later_one() {
        for (time, tag, skip) in [
            (AT - 1, "", 0),
            (AT - 1, "9", 0),
            (AT, "", 3),
            (AT, "0", 0),
            (AT, "1", 1),
            (AT, "2", 1),
            (AT, "3", 2),
            (AT, "4", 3),
            (AT, "5", 3),
            (AT + 1, "1", 3),
            (AT + 2, "", 4),
            (AT + 2, "1", 4),
            (AT + 2, "0", 3),
            (AT + 3, "1", 5),
            (AT + 9, "", 5),
        ] {
            assert_eq!(skipped(&seen(&http_date(time), tag, ""), 0), [skip; 2], "{time} {tag}");
        }
    }

    #[test]
    fn start_by_id_and_time_is_the_first_that_fits() {
        assert_eq!(skipped(&seen(&http_date(AT + 2), "", "a"), 0), [1; 2]);
        assert_eq!(skipped(&seen(&http_date(AT), "1", "c"), 0), [1; 2]);
        assert_eq!(skipped(&seen(DATE, "", "unknown"), 0), [3; 2]);
    }

    #[test]
    fn start_by_id_counts_before_a_backtrack_unless_strict() {
        assert_eq!(skipped(&seen("", "", "c"), 1), [4, 3]);
        assert_eq!(skipped(&seen(DATE, "", "unknown"), 1), [4, 4]);
        assert_eq!(skipped(&seen(DATE, "", "e"), 3), [2, 5]);
    }

    #[test]
    fn start_by_an_unknown_id_is_told_unless_strict() {
        for (id, backtrack, strict, unknown) in [
            ("x", 0, false, true),
            ("x", 2, false, true),
            ("x", 0, true, false),
            ("a", 0, false, false),
            ("", 0, false, false),
        ] {
            assert_eq!(start(&seen("", "", id), backtrack, strict).unknown, unknown, "{id} {backtrack} {strict}");
        }
        let newest = seen(&http_date(AT + 3), "1", "x");
        assert_eq!(start(&newest, 0, false), Start { skip: 5, unknown: false }, "the time tells where it stands");
        let nothing = std::iter::empty::<Stored<'_>>();
        assert_eq!(seen(DATE, "", "").start(3, nothing, true), Start { skip: 0, unknown: false });
    }

    #[test]
    fn newest_is_never_older_than_what_was_seen() {
        let place = |time, tag| Place { time: AT + time, tag };
        let newest = |seen: &Seen| seen.newest([place(1, 5), place(2, 1), place(0, 9)]);
        assert_eq!(newest(&Seen::default()), Some(place(2, 1)));
        assert_eq!(newest(&seen(&http_date(AT + 2), "7", "")), Some(place(2, 7)));
        assert_eq!(newest(&seen(&http_date(AT + 1), "7", "")), Some(place(2, 1)));
        assert_eq!(newest(&seen(&http_date(AT + 3), "", "")), Some(place(3, 0)));
        assert_eq!(seen(DATE, "1", "").newest([]), None);
    }

    #[test]
    fn place_is_told_as_the_next_poll_sends_it() {
        assert_eq!((etag(3), last_modified(AT)), (HeaderValue::from_static("W/3"), HeaderValue::from_static(DATE)));
        let next = Seen::read(Some(last_modified(AT).as_bytes()), Some(etag(3).as_bytes()), None);
        assert_eq!((next.time, next.tag), (Some(AT), Some(3)));
    }
}
