//! The channels that somebody may use: patterns of names.

use std::fmt;
use std::sync::Arc;

use crate::config::has_whole_stars;

/// A pattern of channel names: levels separated by dots, where `*` stands for one level and `**`, at the end, for one or more.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// A pattern; nothing for a text that is none.
    pub fn parse(text: &str) -> Option<Self> {
        has_whole_stars(text).then(|| Self(text.into()))
    }

    /// Whether a channel of this name is among those meant.
    pub fn covers(&self, name: &str) -> bool {
        let mut levels = name.split('.');
        for wanted in self.0.split('.') {
            let Some(level) = levels.next() else { return false };
            match wanted {
                "**" => return true,
                "*" => {}
                wanted if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The channels that somebody may use; by default none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grants {
    /// Every channel.
    All,
    /// Those of these patterns.
    Some(Arc<[Pattern]>),
}

impl Default for Grants {
    fn default() -> Self {
        Self::Some(Arc::default())
    }
}

impl FromIterator<Pattern> for Grants {
    fn from_iter<I: IntoIterator<Item = Pattern>>(patterns: I) -> Self {
        Self::Some(patterns.into_iter().collect())
    }
}

impl Grants {
    /// Whether a channel of this name is among them.
    pub fn cover(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(patterns) => patterns.iter().any(|pattern| pattern.covers(name)),
        }
    }

    /// Whether every channel is among them.
    pub fn are_all(&self) -> bool {
        match self {
            Self::All => true,
            Self::Some(patterns) => patterns.iter().any(|pattern| &*pattern.0 == "**"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().covers(name)
    }

    #[test]
    fn pattern_star_is_one_level_and_two_are_the_rest() {
        for (pattern, inside, outside) in [
            ("orders", &["orders"][..], &["orders.1", "order", "ordersx", ""][..]),
            ("orders.*", &["orders.1", "orders.a b", "orders."], &["orders", "orders.1.2", "xorders.1", "orders1"]),
            (
                "user.42.**",
                &["user.42.a", "user.42.a.b", "user.42."],
                &["user.42", "user.421", "user.4.2", "user.42x.a"],
            ),
            ("*.a.*", &["x.a.y"], &["x.a", "a.y", "x.b.y", "x.a.y.z"]),
            ("*", &["a", "a b"], &["a.b"]),
            ("**", &["a", "a.b.c"], &[]),
        ] {
            for name in inside {
                assert!(covers(pattern, name), "{pattern} covers {name}");
            }
            for name in outside {
                assert!(!covers(pattern, name), "{pattern} does not cover {name}");
            }
        }
    }

    #[test]
    fn pattern_with_a_star_within_a_level_is_none() {
        for text in ["", "user-*", "**.a", "a.**.b", "***"] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn grants_cover_what_one_of_their_patterns_does() {
        let grants: Grants = ["a.*", "b"].iter().filter_map(|text| Pattern::parse(text)).collect();
        assert!(grants.cover("a.1") && grants.cover("b") && !grants.cover("c") && !grants.are_all());
        assert!(!Grants::default().cover("a"), "nothing is granted unless it is said");
        assert!(Grants::All.cover("a") && Grants::All.are_all());
        let rest: Grants = Pattern::parse("**").into_iter().collect();
        assert!(rest.are_all() && rest.cover("a.b"));
    }
}
