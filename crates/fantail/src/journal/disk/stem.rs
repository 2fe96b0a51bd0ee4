//! What a segment's files are called: by the first offset, and by the last one as well if it was written anew.

use std::fmt;
use std::path::{Path, PathBuf};

use fantail_hub::Offset;

/// A segment's name. Sorts by first offset; of those that begin alike, the one that was written anew comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stem {
    /// The first offset that it may hold.
    pub base: Offset,
    /// The last one, if it was written anew: then it takes the place of whatever lies between.
    pub last: Option<Offset>,
}

impl Stem {
    /// Of a segment that is written for the first time.
    pub fn new(base: Offset) -> Self {
        Self { base, last: None }
    }

    /// Reads a file name without its extension.
    pub fn parse(name: &str) -> Option<Self> {
        let number = |digits: &str| {
            let offset = digits.parse().ok().filter(|&offset| offset <= Offset::MAX.0)?;
            (digits.len() == 20).then_some(Offset(offset))
        };
        let stem = match name.split_once('-') {
            None => Self::new(number(name)?),
            Some((base, last)) => Self { base: number(base)?, last: Some(number(last)?) },
        };
        (stem.to_string() == name).then_some(stem)
    }

    /// Whether this one takes the place of `other`.
    pub fn supersedes(self, other: Self) -> bool {
        let Some(last) = self.last else { return false };
        self != other && self.base <= other.base && other.last.unwrap_or(other.base) <= last
    }

    /// Its log in a directory.
    pub fn log(self, dir: &Path) -> PathBuf {
        dir.join(format!("{self}.log"))
    }

    /// Its index.
    pub fn index(self, dir: &Path) -> PathBuf {
        dir.join(format!("{self}.idx"))
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.base.0)?;
        self.last.map_or(Ok(()), |last| write!(f, "-{:020}", last.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stem_as_text_reads_back_and_foreign_names_are_refused() {
        for stem in [Stem::new(Offset(7)), Stem { base: Offset(0), last: Some(Offset::MAX) }] {
            assert_eq!(Stem::parse(&stem.to_string()), Some(stem));
        }
        for name in ["", "7", "lock", "00000000000000000007-", "+0000000000000000007", "99999999999999999999"] {
            assert_eq!(Stem::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn stem_of_a_rewritten_run_supersedes_what_lies_within() {
        let run = |base, last| Stem { base: Offset(base), last: Some(Offset(last)) };
        let plain = |base| Stem::new(Offset(base));
        assert!(run(5, 20).supersedes(plain(5)) && run(5, 20).supersedes(plain(20)));
        assert!(run(5, 20).supersedes(run(5, 10)) && run(5, 20).supersedes(run(11, 20)));
        assert!(!run(5, 20).supersedes(plain(21)) && !run(5, 20).supersedes(plain(4)));
        assert!(!run(5, 20).supersedes(run(5, 20)) && !run(5, 10).supersedes(run(5, 20)));
        assert!(!plain(5).supersedes(plain(5)));
    }
}
