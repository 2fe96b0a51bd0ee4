//! A moment in the past, as whoever asks for history says it: how long ago, or when.

use std::borrow::Cow;
use std::time::Duration;

use fantail_hub::Millis;

/// A span before `now`, or an RFC 3339 time.
pub fn since(value: &str, now: Millis) -> Option<Millis> {
    if let Some(span) = parse_span(value) {
        return Some(now.minus(span));
    }
    // In a query a plus sign that was not encoded is a space: here that can only be the one before the zone.
    let time = value.split_once(['T', 't']).filter(|(_, time)| time.contains(' '));
    let value = time.map_or(Cow::Borrowed(value), |(date, time)| format!("{date}T{}", time.replace(' ', "+")).into());
    let time: jiff::Timestamp = value.parse().ok()?;
    Some(Millis(u64::try_from(time.as_millisecond()).unwrap_or(0)))
}

/// `250ms`, `30s`, `10m`, `2h`, `1d`.
pub fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_spans_and_rfc_3339() {
        let now = Millis(1_000_000_000_000);
        assert_eq!(since("10m", now), Some(Millis(999_999_400_000)));
        assert_eq!(since("2001-09-09T01:46:40Z", now), Some(now));
        assert_eq!(since("2001-09-09T03:46:40.5+02:00", now), Some(Millis(1_000_000_000_500)));
        assert_eq!(since("2001-09-09T03:46:40 02:00", now), Some(now));
        for bad in ["yesterday", "2001-09-09", "2001-09-09T01:46:40", "", "10"] {
            assert_eq!(since(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn parse_span_wants_a_unit() {
        assert_eq!(parse_span("10m"), Some(Duration::from_mins(10)));
        for bad in ["10", "m", "-1s", "1.5s", "1w", "99999999999999999d"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
    }
}
