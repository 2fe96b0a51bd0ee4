//! A length of time, such as "15s".

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    section::{Kind, Setting},
    text,
};

const ALLOWED: &str = "a duration such as \"250ms\", \"15s\", \"10m\", \"1h\" or \"2d\", or \"0\"";

/// The units, from large to small, and their milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest span: ten years. It keeps sums of times from overflowing.
const LONGEST: u64 = 3_650 * 86_400_000;

/// A length of time in whole milliseconds, at most ten years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Span {
    /// No time at all; several settings take it as "off".
    pub const ZERO: Self = Self(0);

    /// A span of `n` milliseconds, cut to ten years.
    pub const fn millis(n: u64) -> Self {
        Self(if n > LONGEST { LONGEST } else { n })
    }

    /// A span of `n` seconds, cut to ten years.
    pub const fn secs(n: u64) -> Self {
        Self::millis(n.saturating_mul(1_000))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let wrong = || format!("\"{written}\" is not a duration, expected {ALLOWED}");
        let (number, unit) = text::number_and_unit(written).ok_or_else(wrong)?;
        if number == 0 && unit.is_empty() {
            return Ok(Self::ZERO);
        }
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        match number.checked_mul(*millis) {
            Some(total) if total <= LONGEST => Ok(Self(total)),
            _ => Err(format!("\"{written}\" is too long, the longest duration is \"3650d\"")),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, millis)| self.0 != 0 && self.0.is_multiple_of(*millis)) {
            Some((unit, millis)) => write!(f, "{}{unit}", self.0 / millis),
            None => f.write_str("0"),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Setting for Span {
    const KIND: Kind = Kind::Value { name: "duration", allowed: ALLOWED, text: true };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_with_each_unit_is_read() {
        for (text, millis) in
            [("0", 0), ("0s", 0), ("250ms", 250), ("15s", 15_000), ("10 m", 600_000), ("1h", 3_600_000)]
        {
            assert_eq!(text.parse::<Span>().unwrap().get(), Duration::from_millis(millis), "{text}");
        }
        assert_eq!("2d".parse(), Ok(Span::secs(172_800)));
    }

    #[test]
    fn span_without_unit_is_refused() {
        for text in ["15", "", "s", "-1s", "1.5s", "15 parsecs", "1h30m", "99999999999999999999s"] {
            let error = text.parse::<Span>().unwrap_err();
            assert_eq!(
                error,
                format!(
                    "\"{text}\" is not a duration, expected a duration such as \"250ms\", \"15s\", \"10m\", \"1h\" or \
                     \"2d\", or \"0\""
                )
            );
        }
    }

    #[test]
    fn span_beyond_ten_years_is_refused() {
        assert_eq!("3651d".parse::<Span>().unwrap_err(), "\"3651d\" is too long, the longest duration is \"3650d\"");
        assert!("18446744073709551615d".parse::<Span>().is_err());
    }

    #[test]
    fn span_display_takes_the_largest_exact_unit() {
        for (span, text) in [
            (Span::ZERO, "0"),
            (Span::millis(1_500), "1500ms"),
            (Span::secs(90), "90s"),
            (Span::secs(7_200), "2h"),
            (Span::secs(86_400), "1d"),
        ] {
            assert_eq!(span.to_string(), text);
            assert_eq!(text.parse(), Ok(span));
        }
    }
}
