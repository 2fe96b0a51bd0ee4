//! nginx's spellings of flags, times, sizes and numbers. What nginx refuses is refused here.

/// Ten years: the longest time that a configuration of Fantail can say.
const LONGEST: u64 = 3_650 * 86_400_000;

/// `on` or `off`, in any case.
pub(super) fn flag(text: &str) -> Option<bool> {
    match () {
        () if text.eq_ignore_ascii_case("on") => Some(true),
        () if text.eq_ignore_ascii_case("off") => Some(false),
        () => None,
    }
}

/// A whole number.
pub(super) fn count(text: &str) -> Option<u64> {
    // `parse` takes a sign, nginx does not.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|count| i64::try_from(*count).is_ok())
}

/// Bytes: a whole number, with `k`, `m` or `g` behind it or without.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, factor) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&text[..text.len() - 1], 1 << 10),
        b'm' => (&text[..text.len() - 1], 1 << 20),
        b'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1_u64),
    };
    count(number)?.checked_mul(factor).filter(|size| i64::try_from(*size).is_ok())
}

/// The units of times, from large to small, and their milliseconds.
const UNITS: [(&str, u64); 8] = [
    ("y", 365 * 86_400_000),
    ("M", 30 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Milliseconds: numbers with units, from large to small (`1h 30m`), at the end perhaps one without, in seconds. Where
/// `whole` seconds are counted, there are no milliseconds.
pub(super) fn time(text: &str, whole: bool) -> Option<u64> {
    let (mut rest, mut sum, mut above) = (text, 0_u64, u64::MAX);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = count(&rest[..digits])?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = if letters == 0 {
            // Without a unit it is seconds, and the last.
            rest.is_empty().then_some(1_000)?
        } else {
            UNITS.iter().find(|(name, _)| *name == &rest[..letters])?.1
        };
        if unit >= above || (whole && unit == 1) {
            return None;
        }
        above = unit;
        sum = sum.checked_add(number.checked_mul(unit)?)?;
        rest = rest[letters..].trim_start_matches(' ');
    }
    Some(sum.min(LONGEST))
}

/// A time as a configuration of Fantail writes it.
pub(super) fn written_time(millis: u64) -> String {
    let units = UNITS.iter().filter(|(name, _)| !matches!(*name, "y" | "M" | "w"));
    let whole = units.into_iter().find(|(_, unit)| millis != 0 && millis.is_multiple_of(*unit));
    whole.map_or_else(|| "0".to_owned(), |(name, unit)| format!("{}{name}", millis / unit))
}

/// A size as a configuration of Fantail writes it.
pub(super) fn written_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1_u64 << 10)];
    let whole = units.into_iter().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read_as_nginx_reads_it() {
        for (text, millis) in [
            ("30", 30_000),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1h 30m", 5_400_000),
            ("1m30", 90_000),
            ("500ms", 500),
            ("1M", 30 * 86_400_000),
            ("0", 0),
            ("99y", LONGEST),
        ] {
            assert_eq!(time(text, false), Some(millis), "{text}");
        }
        for text in ["", "s", "1x", "30s1m", "1s1s", "-1", "1.5s", "1 s", "99999999999999999999"] {
            assert_eq!(time(text, false), None, "{text}");
        }
        assert_eq!(time("500ms", true), None);
    }

    #[test]
    fn size_and_count_are_read_as_nginx_reads_them() {
        assert_eq!(size("8k"), Some(8192));
        assert_eq!(size("1M"), Some(1 << 20));
        assert_eq!(size("0"), Some(0));
        for text in ["", "k", "1kb", "-1", "1.5m", "9999999999999g"] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(count("+1"), None);
    }

    #[test]
    fn values_are_written_in_their_largest_unit() {
        assert_eq!(["0", "30s", "90s", "2h", "250ms"], [0, 30_000, 90_000, 7_200_000, 250].map(written_time));
        assert_eq!(["0", "1MiB", "10KiB", "1500"], [0, 1 << 20, 10 << 10, 1500].map(written_size));
    }
}
