//! What a segment's files are called: by the first offset, and, if it was written anew, by the last one and how often.

use std::fmt;
use std::path::{Path, PathBuf};

use fantail_hub::Offset;

/// A segment's name. Sorts by first offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stem {
    /// The first offset that it may hold.
    pub base: Offset,
    /// If it was written anew: then it takes the place of whatever lies within.
    pub run: Option<Run>,
}

/// What a segment that was written anew stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// The last offset.
    pub last: Offset,
    /// One more than the highest of those that it was made of. So its files never have the names of theirs, and what a
    /// crash leaves of either can be told apart.
    pub generation: u32,
}

impl Stem {
    /// Of a segment that is written for the first time.
    pub fn new(base: Offset) -> Self {
        Self { base, run: None }
    }

    /// Reads a file name without its extension.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let mut offset = || parts.next().map(|digits| digits.parse().ok().filter(|&number| number <= Offset::MAX.0));
        let base = Offset(offset()??);
        let run = match offset() {
            Some(last) => Some(Run { last: Offset(last?), generation: parts.next()?.parse().ok()? }),
            None => None,
        };
        let stem = Self { base, run };
        (stem.to_string() == name).then_some(stem)
    }

    /// How often its content was written anew.
    pub fn generation(self) -> u32 {
        self.run.map_or(0, |run| run.generation)
    }

    /// Whether this one takes the place of `other`.
    pub fn supersedes(self, other: Self) -> bool {
        let Some(run) = self.run else { return false };
        let last = other.run.map_or(other.base, |run| run.last);
        self.generation() > other.generation() && self.base <= other.base && last <= run.last
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
        self.run.map_or(Ok(()), |run| write!(f, "-{:020}-{:04}", run.last.0, run.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(base: u64, last: u64, generation: u32) -> Stem {
        Stem { base: Offset(base), run: Some(Run { last: Offset(last), generation }) }
    }

    #[test]
    fn stem_as_text_reads_back_and_foreign_names_are_refused() {
        for stem in [Stem::new(Offset(7)), run(0, Offset::MAX.0, 12_345)] {
            assert_eq!(Stem::parse(&stem.to_string()), Some(stem));
        }
        let digits = "00000000000000000007";
        for name in ["", "7", "lock", "+0000000000000000007", "99999999999999999999"] {
            assert_eq!(Stem::parse(name), None, "{name:?}");
        }
        for rest in ["-", "-00000000000000000009", "-00000000000000000009-1", "-00000000000000000009-0001-"] {
            assert_eq!(Stem::parse(&format!("{digits}{rest}")), None, "{rest:?}");
        }
    }

    #[test]
    fn stem_of_a_rewritten_run_supersedes_what_lies_within() {
        let plain = |base| Stem::new(Offset(base));
        assert!(run(5, 20, 1).supersedes(plain(5)) && run(5, 20, 1).supersedes(plain(20)));
        assert!(run(5, 20, 2).supersedes(run(5, 10, 1)) && run(5, 20, 2).supersedes(run(5, 20, 1)));
        assert!(!run(5, 20, 1).supersedes(plain(21)) && !run(5, 20, 1).supersedes(plain(4)));
        assert!(!run(5, 20, 1).supersedes(run(5, 20, 1)) && !run(5, 10, 1).supersedes(run(5, 20, 2)));
        assert!(!plain(5).supersedes(plain(5)));
    }
}
