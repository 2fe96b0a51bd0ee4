//! A route's path, taken apart: text, with at most one placeholder.

use std::fmt;

use super::native::is_path;

const CHANNEL: &str = "channel";
const CHANNELS: &str = "channels...";
const PATH: &str = "path...";

/// A route's path, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// The whole path, as it stands.
    Literal(String),
    /// One segment is the channel's name: what stands before it, with its last `/`, and what follows it.
    Segment {
        /// Up to and with the `/` before the channel.
        before: String,
        /// What follows the channel: nothing, or a `/` and more.
        after: String,
    },
    /// All segments from here on are channels' names: what stands before them, with its last `/`.
    Rest {
        /// Up to and with the `/` before the first channel.
        before: String,
    },
    /// Everything from here on, be it nothing, is a path of the upstream: what stands before it, with its last `/`.
    Path {
        /// Up to and with the `/` before the rest.
        before: String,
    },
}

impl Pattern {
    /// Takes a path apart; the error says what is wrong and what is allowed.
    pub fn parse(path: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("\"{path}\" {why}"));
        if !path.starts_with('/') {
            return wrong("must begin with \"/\"");
        }
        let pattern = match path.split_once('{') {
            None => Self::Literal(path.to_owned()),
            Some((before, rest)) => {
                let Some((name, after)) = rest.split_once('}') else {
                    return wrong("has a \"{\" without a \"}\"");
                };
                if after.contains('{') {
                    return wrong("has more than one placeholder");
                }
                if !before.ends_with('/') || !(after.is_empty() || after.starts_with('/')) {
                    return wrong("has a placeholder that is not a whole segment between two \"/\"");
                }
                match (name, after) {
                    (CHANNEL, _) => Self::Segment { before: before.to_owned(), after: after.to_owned() },
                    (CHANNELS, "") => Self::Rest { before: before.to_owned() },
                    (PATH, "") => Self::Path { before: before.to_owned() },
                    (CHANNELS | PATH, _) => return wrong(&format!("must end with its {{{name}}}")),
                    _ => {
                        return wrong(&format!(
                            "has an unknown placeholder {{{name}}}, expected {{{CHANNEL}}}, {{{CHANNELS}}} or {{{PATH}}}"
                        ));
                    }
                }
            }
        };
        let literal = match &pattern {
            Self::Literal(path) => is_path(path),
            Self::Segment { before, after } => is_path(before) && is_path(after),
            Self::Rest { before } | Self::Path { before } => is_path(before),
        };
        if literal { Ok(pattern) } else { wrong("holds characters that a URL's path cannot hold as they are") }
    }

    /// Whether it takes every path there is.
    pub fn is_catch_all(&self) -> bool {
        matches!(self, Self::Rest { before } | Self::Path { before } if before == "/")
    }

    /// Whether both take the same paths, whatever they make of them.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rest { before } | Self::Path { before }, Self::Rest { before: b } | Self::Path { before: b }) => {
                before == b
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(path) => f.write_str(path),
            Self::Segment { before, after } => write!(f, "{before}{{{CHANNEL}}}{after}"),
            Self::Rest { before } => write!(f, "{before}{{{CHANNELS}}}"),
            Self::Path { before } => write!(f, "{before}{{{PATH}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_of_each_kind_is_taken_apart() {
        for (path, pattern) in [
            ("/news", Pattern::Literal("/news".to_owned())),
            ("/live/{channels...}", Pattern::Rest { before: "/live/".to_owned() }),
            ("/room/{channel}/events", Pattern::Segment { before: "/room/".to_owned(), after: "/events".to_owned() }),
            ("/api/{path...}", Pattern::Path { before: "/api/".to_owned() }),
            ("/{path...}", Pattern::Path { before: "/".to_owned() }),
        ] {
            assert_eq!(Pattern::parse(path), Ok(pattern.clone()));
            assert_eq!(pattern.to_string(), path);
        }
    }

    #[test]
    fn pattern_that_takes_every_path_is_a_catch_all() {
        let is_catch_all = |path| Pattern::parse(path).unwrap().is_catch_all();
        assert!(is_catch_all("/{path...}") && is_catch_all("/{channels...}"));
        assert!(!is_catch_all("/a/{path...}") && !is_catch_all("/{channel}") && !is_catch_all("/"));
    }

    #[test]
    fn pattern_that_is_malformed_is_refused() {
        for (path, why) in [
            ("news", "must begin with \"/\""),
            ("/a/{channel", "has a \"{\" without a \"}\""),
            ("/{channel}/{channel}", "has more than one placeholder"),
            ("/a{channel}", "has a placeholder that is not a whole segment between two \"/\""),
            ("/{channel}x", "has a placeholder that is not a whole segment between two \"/\""),
            ("/{channels...}/x", "must end with its {channels...}"),
            ("/{path...}/x", "must end with its {path...}"),
            ("/{room}", "has an unknown placeholder {room}, expected {channel}, {channels...} or {path...}"),
            ("/a b", "holds characters that a URL's path cannot hold as they are"),
            ("/a?b={channel}", "has a placeholder that is not a whole segment between two \"/\""),
        ] {
            assert_eq!(Pattern::parse(path), Err(format!("\"{path}\" {why}")));
        }
    }
}
