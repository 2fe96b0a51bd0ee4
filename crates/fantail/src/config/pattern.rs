//! A route's path, taken apart: text, with at most one placeholder; or a path as nginx's `location` has them.

use std::fmt;

use super::{native::is_path, regex::Regex};

const CHANNEL: &str = "channel";
const CHANNELS: &str = "channels...";
const PATH: &str = "path...";

/// A route's path, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// As nginx's `location = /path`: this path, decoded and resolved.
    Exact(String),
    /// As nginx's `location /path`: whatever begins with it, decoded and resolved.
    Prefix {
        /// What it begins with.
        before: String,
        /// As `location ^~ /path`: where it is the longest, no regular expression is looked at.
        firm: bool,
    },
    /// As nginx's `location ~ regex`: a path, decoded and resolved, in which the expression is found.
    Regex(Regex),
}

impl Pattern {
    /// Takes a path apart; the error says what is wrong and what is allowed.
    pub fn parse(path: &str) -> Result<Self, String> {
        if path.starts_with(['=', '^', '~']) {
            return Self::location(path);
        }
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
            Self::Exact(_) | Self::Prefix { .. } | Self::Regex(_) => true,
        };
        if literal { Ok(pattern) } else { wrong("holds characters that a URL's path cannot hold as they are") }
    }

    /// Takes a path apart that is written as in nginx: `= /path`, `^~ /path`, `~ regex`, `~* regex`, or `/path` alone, which
    /// is the beginning of paths there.
    pub(super) fn location(path: &str) -> Result<Self, String> {
        let regex = |text: &str, ignores_case| Regex::new(text.trim_start(), ignores_case).map(Self::Regex);
        let text = |text: &str| plain(path, text.trim_start());
        if let Some(pattern) = path.strip_prefix("~*") {
            regex(pattern, true)
        } else if let Some(pattern) = path.strip_prefix('~') {
            regex(pattern, false)
        } else if let Some(before) = path.strip_prefix("^~") {
            Ok(Self::Prefix { before: text(before)?, firm: true })
        } else if let Some(exact) = path.strip_prefix('=') {
            Ok(Self::Exact(text(exact)?))
        } else {
            Ok(Self::Prefix { before: plain(path, path)?, firm: false })
        }
    }

    /// Whether it takes every path there is.
    pub fn is_catch_all(&self) -> bool {
        matches!(self, Self::Rest { before } | Self::Path { before } | Self::Prefix { before, .. } if before == "/")
    }

    /// Whether it says by a placeholder which part of the path counts.
    pub(super) fn has_placeholder(&self) -> bool {
        matches!(self, Self::Segment { .. } | Self::Rest { .. } | Self::Path { .. })
    }

    /// Whether it is compared with the path as nginx sees it: decoded and resolved.
    pub fn is_location(&self) -> bool {
        matches!(self, Self::Exact(_) | Self::Prefix { .. } | Self::Regex(_))
    }

    /// Whether both take the same paths, whatever they make of them.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let beginning = |pattern: &Self| match pattern {
            Self::Rest { before } | Self::Path { before } | Self::Prefix { before, .. } => Some(before.clone()),
            _ => None,
        };
        match (self, other) {
            (Self::Literal(path) | Self::Exact(path), Self::Literal(p) | Self::Exact(p)) => path == p,
            _ => self == other || beginning(self).is_some_and(|before| beginning(other) == Some(before)),
        }
    }
}

/// The text of a path that is written as in nginx.
fn plain(path: &str, text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("\"{path}\" {why}"));
    if !text.starts_with('/') {
        return wrong("has no path that begins with \"/\"");
    }
    if text.contains(['{', '}']) {
        return wrong(
            "has a placeholder, which nginx's paths do not know; take a part of the path with \"~ ^/a/(.*)$\"",
        );
    }
    if text.contains(char::is_control) {
        return wrong("holds control characters");
    }
    Ok(text.to_owned())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(path) => f.write_str(path),
            Self::Segment { before, after } => write!(f, "{before}{{{CHANNEL}}}{after}"),
            Self::Rest { before } => write!(f, "{before}{{{CHANNELS}}}"),
            Self::Path { before } => write!(f, "{before}{{{PATH}}}"),
            Self::Exact(path) => write!(f, "= {path}"),
            Self::Prefix { before, firm: true } => write!(f, "^~ {before}"),
            Self::Prefix { before, firm: false } => f.write_str(before),
            Self::Regex(regex) if regex.ignores_case() => write!(f, "~* {}", regex.as_str()),
            Self::Regex(regex) => write!(f, "~ {}", regex.as_str()),
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
    fn pattern_of_nginx_is_taken_apart() {
        let regex = |text, ignores_case| Pattern::Regex(Regex::new(text, ignores_case).unwrap());
        let prefix = |before: &str, firm| Pattern::Prefix { before: before.to_owned(), firm };
        for (path, pattern) in [
            ("= /a b", Pattern::Exact("/a b".to_owned())),
            ("^~ /images/", prefix("/images/", true)),
            ("~ ^/sub/(.*)$", regex("^/sub/(.*)$", false)),
            ("~* \\.GIF$", regex("\\.GIF$", true)),
        ] {
            assert_eq!(Pattern::parse(path), Ok(pattern.clone()));
            assert_eq!(Pattern::location(path), Ok(pattern.clone()));
            assert_eq!(pattern.to_string(), path);
            assert!(pattern.is_location() && !pattern.has_placeholder());
        }
        assert_eq!(Pattern::parse("=/a"), Ok(Pattern::Exact("/a".to_owned())));
        assert_eq!(Pattern::parse("~^/a"), Ok(regex("^/a", false)));
        assert_eq!(Pattern::location("/pub"), Ok(prefix("/pub", false)));
        assert_eq!(prefix("/pub", false).to_string(), "/pub");
    }

    #[test]
    fn pattern_of_nginx_that_is_malformed_is_refused() {
        for (path, why) in [
            ("= a", "has no path that begins with \"/\""),
            ("^ /a", "has no path that begins with \"/\""),
            ("^~", "has no path that begins with \"/\""),
            (
                "^~ /api/{path...}",
                "has a placeholder, which nginx's paths do not know; take a part of the path with \"~ ^/a/(.*)$\"",
            ),
            ("= /a\n", "holds control characters"),
        ] {
            assert_eq!(Pattern::parse(path), Err(format!("\"{path}\" {why}")));
        }
        assert_eq!(Pattern::parse("~ (a"), Err("\"(a\" is not a regular expression: unclosed group".to_owned()));
    }

    #[test]
    fn pattern_is_like_what_takes_the_same_paths() {
        let is_like = |a, b| Pattern::parse(a).unwrap().is_like(&Pattern::parse(b).unwrap());
        for (a, b) in [("/a/{path...}", "/a/{channels...}"), ("^~ /a/", "/a/{path...}"), ("= /a", "/a"), ("~ a", "~a")]
        {
            assert!(is_like(a, b) && is_like(b, a), "{a} {b}");
        }
        for (a, b) in [("~ a", "~* a"), ("= /a/", "^~ /a/"), ("/{channel}", "/{channels...}"), ("~ a", "~ b")] {
            assert!(!is_like(a, b) && !is_like(b, a), "{a} {b}");
        }
    }

    #[test]
    fn pattern_that_takes_every_path_is_a_catch_all() {
        let is_catch_all = |path| Pattern::parse(path).unwrap().is_catch_all();
        assert!(is_catch_all("/{path...}") && is_catch_all("/{channels...}") && is_catch_all("^~ /"));
        assert!(!is_catch_all("= /") && !is_catch_all("~ /"));
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
