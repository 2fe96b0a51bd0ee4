//! A number of bytes, such as "64KiB".

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    section::{Kind, Setting},
    text,
};

const ALLOWED: &str = "a size such as \"64KiB\", \"1MiB\", \"4MB\" or a number of bytes";

/// The units, from large to small, and their bytes. Sizes are shown in the first that fits without a rest.
const UNITS: [(&str, u64); 6] =
    [("GiB", 1 << 30), ("GB", 1_000_000_000), ("MiB", 1 << 20), ("MB", 1_000_000), ("KiB", 1 << 10), ("KB", 1_000)];

/// The largest size, 4 EiB: what TOML's integers can hold, with room to add.
const LARGEST: u64 = 1 << 62;

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(usize);

impl Size {
    /// `n` bytes.
    pub const fn new(n: usize) -> Self {
        Self(n)
    }

    /// `n` KiB.
    pub const fn kib(n: usize) -> Self {
        Self(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: usize) -> Self {
        Self(n << 20)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        self.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let wrong = || format!("\"{written}\" is not a size, expected {ALLOWED}");
        let (number, unit) = text::number_and_unit(written).ok_or_else(wrong)?;
        let factor = match unit {
            "" | "B" => 1,
            "kB" => 1_000,
            unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
        };
        let too_large = || format!("\"{written}\" is too large for a size");
        let bytes = number.checked_mul(factor).filter(|bytes| *bytes <= LARGEST).ok_or_else(too_large)?;
        usize::try_from(bytes).map(Self).map_err(|_| too_large())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as u64;
        match UNITS.iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", bytes / factor),
            None => write!(f, "{bytes}"),
        }
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Setting for Size {
    const KIND: Kind = Kind::Value { name: "size", allowed: ALLOWED, text: true };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_with_each_unit_is_read() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("10B", 10),
            ("64KiB", 65_536),
            ("1 MiB", 1 << 20),
            ("4MB", 4_000_000),
            ("3kB", 3_000),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(text.parse::<Size>().unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn size_with_unknown_unit_is_refused() {
        for text in ["", "64K", "1.5MiB", "-1", "big"] {
            assert_eq!(
                text.parse::<Size>().unwrap_err(),
                format!(
                    "\"{text}\" is not a size, expected a size such as \"64KiB\", \"1MiB\", \"4MB\" or a number of \
                     bytes"
                )
            );
        }
    }

    #[test]
    fn size_that_overflows_is_refused() {
        assert_eq!(
            "18446744073709551615GiB".parse::<Size>().unwrap_err(),
            "\"18446744073709551615GiB\" is too large for a size"
        );
    }

    #[test]
    fn size_display_round_trips() {
        for text in ["0", "1000001", "64KiB", "4MB", "1MiB", "3GiB", "3KB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }
}
