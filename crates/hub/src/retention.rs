//! How much of a channel is kept: limits by count, age and bytes, with overrides for name prefixes.

use std::time::Duration;

/// What one channel may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages; at least the newest is always kept for those who are connected.
    pub messages: usize,
    /// Time since publication.
    pub age: Duration,
    /// Text and overhead together, see [`crate::message::Message::cost`].
    pub bytes: usize,
    /// A journal that stores keeps it; otherwise it is in memory alone.
    pub stored: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { messages: 1000, age: Duration::from_hours(1), bytes: 4 << 20, stored: true }
    }
}

/// The index of a rule in its [`Retention`]: what a channel remembers instead of the limits themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule(u16);

/// The default limits and those of name prefixes; the longest prefix wins.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Longest prefix first, the empty one last.
    rules: Vec<(String, Limits)>,
}

impl Retention {
    /// Limits for everything, and for the names that begin with a prefix.
    ///
    /// # Panics
    /// With more than 65,534 prefixes.
    pub fn new(default: Limits, prefixes: impl IntoIterator<Item = (String, Limits)>) -> Self {
        let mut rules: Vec<_> = prefixes.into_iter().chain([(String::new(), default)]).collect();
        assert!(rules.len() < usize::from(u16::MAX), "too many retention rules");
        rules.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Self { rules }
    }

    /// The rule for a channel of this name.
    pub fn rule(&self, name: &str) -> Rule {
        let found = self.rules.iter().position(|(prefix, _)| name.starts_with(prefix.as_str()));
        Rule(u16::try_from(found.expect("the empty prefix matches")).expect("checked in `new`"))
    }

    /// The limits of all rules.
    pub fn all(&self) -> impl Iterator<Item = Limits> {
        self.rules.iter().map(|(_, limits)| *limits)
    }

    /// The limits that a rule sets.
    pub fn limits(&self, rule: Rule) -> Limits {
        self.rules[usize::from(rule.0)].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_of_the_longest_prefix_wins() {
        let with = |messages| Limits { messages, ..Limits::default() };
        let retention = Retention::new(with(1), [("a.".to_owned(), with(2)), ("a.b.".to_owned(), with(3))]);
        for (name, messages) in [("a", 1), ("a.x", 2), ("a.b", 2), ("a.b.c", 3), ("b", 1)] {
            assert_eq!(retention.limits(retention.rule(name)).messages, messages, "{name}");
        }
    }
}
