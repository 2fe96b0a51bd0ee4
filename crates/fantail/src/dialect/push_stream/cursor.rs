//! Where a subscriber goes on: what its request says about that, and what an answer to a poll says so that the next one can go on.
//! Knows messages as times, tags and ids alone; which of them there are is not known here.

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
