//! What the server may not do, how often it did, and the first few cases in detail.

use std::collections::BTreeMap;

use serde::Serialize;

/// Cases of one kind that are told in detail.
const DETAILED: usize = 4;

/// A promise that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// A subscriber was never given a message that was published, and no gap said so.
    Lost,
    /// It was told of the loss, but nothing had happened that may lose messages.
    LostWithoutCause,
    /// It was told of a gap, and nothing had happened that may lose messages.
    GapWithoutCause,
    /// It was given a message twice.
    Repeated,
    /// It was given a message after one that follows it.
    OutOfOrder,
    /// Two messages had the same place.
    OffsetReused,
    /// One message had two places: it was published twice.
    PublishedTwice,
    /// It was given something that was not published like that.
    Garbled,
    /// It was given a message of a channel that it does not listen to.
    Misdirected,
    /// A publish was refused as if it were wrong.
    Refused,
    /// A subscriber was answered with something other than a stream or a passing refusal.
    NoStream,
    /// A stream ended while only the disk was full.
    StreamEnded,
    /// The server said that it was ready while it refused everything, or did not become ready again.
    Readiness,
    /// The server ended, hung or panicked by itself, or did not start.
    Server,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Violations {
    counts: BTreeMap<Kind, u64>,
    details: Vec<(Kind, String)>,
}

impl Violations {
    /// One more; `detail` is made only for the first few of each kind.
    pub(super) fn add(&mut self, kind: Kind, detail: impl FnOnce() -> String) {
        self.add_many(kind, 1, detail);
    }

    /// So many more, which are one case.
    pub(super) fn add_many(&mut self, kind: Kind, count: u64, detail: impl FnOnce() -> String) {
        *self.counts.entry(kind).or_default() += count;
        if self.details.iter().filter(|(of, _)| *of == kind).count() < DETAILED {
            self.details.push((kind, detail()));
        }
    }

    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    #[cfg(test)]
    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn counts(&self) -> &BTreeMap<Kind, u64> {
        &self.counts
    }

    pub(super) fn details(&self) -> &[(Kind, String)] {
        &self.details
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_all_counted_and_few_are_told() {
        let mut violations = Violations::default();
        for n in 0..100 {
            violations.add(Kind::Lost, || n.to_string());
        }
        violations.add(Kind::Repeated, || "x".into());
        assert_eq!((violations.count(Kind::Lost), violations.count(Kind::Repeated), violations.total()), (100, 1, 101));
        assert_eq!(violations.details().len(), DETAILED + 1);
    }
}
