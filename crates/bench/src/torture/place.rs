//! Where a message stands in the server's order, as its generated ids say it (`~1.EPOCH.OFFSET`). For everybody else such
//! an id is opaque; the checker alone looks into it.

use std::fmt;

/// A place in one epoch's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) epoch: u64,
    pub(super) offset: u64,
}

impl Place {
    /// Reads a generated id; `None` for a publisher's own.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let (epoch, offset) = id.strip_prefix("~1.")?.split_once('.')?;
        Self::new(epoch, offset)
    }

    /// From the two numbers of a publisher's answer.
    pub(super) fn new(epoch: &str, offset: &str) -> Option<Self> {
        Some(Self { epoch: u64::from_str_radix(epoch, 16).ok()?, offset: offset.parse().ok()? })
    }

    /// Whether this comes at or before another place of the same epoch.
    pub(super) fn is_upto(self, other: Self) -> bool {
        self.epoch == other.epoch && self.offset <= other.offset
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~1.{:x}.{}", self.epoch, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_an_id_is_read_and_told() {
        let place = Place::parse("~1.ab.7").unwrap();
        assert_eq!(place, Place { epoch: 0xab, offset: 7 });
        assert_eq!(place.to_string(), "~1.ab.7");
        for other in ["own-1", "~2.ab.7", "~1.xy.7", "~1.ab", ""] {
            assert_eq!(Place::parse(other), None, "{other}");
        }
    }

    #[test]
    fn place_of_another_epoch_is_not_before() {
        let place = |epoch, offset| Place { epoch, offset };
        assert!(place(1, 2).is_upto(place(1, 2)));
        assert!(!place(1, 3).is_upto(place(1, 2)));
        assert!(!place(1, 1).is_upto(place(2, 2)));
    }
}
