//! `[[route]]`: paths of one's own, and what is done behind them.

use super::{
    Gap, Span,
    error::{Problem, require},
    native::is_path,
    section::{choice, section},
};

const ACTION: Action = Action::Subscribe;
const LISTENER: Door = Door::Public;
const PUBLIC_PUBLISH: bool = false;

/// The longest channel name, in bytes.
const LONGEST_NAME: usize = 255;

choice! {
    /// What is done behind a route.
    pub enum Action {
        /// Answers an event stream.
        Subscribe = "subscribe",
        /// Takes messages.
        Publish = "publish",
    }
}

choice! {
    /// The listener that serves a route.
    pub enum Door {
        /// The one for browsers.
        Public = "public",
        /// The one for the application.
        Control = "control",
    }
}

section! {
    /// A path of one's own. The stream's settings override those of `[stream]` on this route.
    pub struct Route {
        /// The path; required. `/live/{channels...}` takes the rest as channels, `/room/{channel}/events` takes one segment,
        /// and a path without a placeholder serves the `channels` listed here.
        path: String = String::new(),
        /// What is done behind it.
        action: Action = ACTION,
        /// The listener that serves it.
        listener: Door = LISTENER,
        /// The channels of a path without a placeholder.
        channels: Vec<String> = Vec::new(),
        /// Allows everyone who reaches the public listener to publish here.
        public_publish: bool = PUBLIC_PUBLISH,
        /// `stream.ping` on this route.
        ping: Option<Span> = None,
        /// `stream.retry` on this route.
        retry: Option<Span> = None,
        /// `stream.retry_jitter` on this route.
        retry_jitter: Option<Span> = None,
        /// `stream.lifetime` on this route.
        lifetime: Option<Span> = None,
        /// `stream.lifetime_jitter` on this route.
        lifetime_jitter: Option<Span> = None,
        /// `stream.stall_limit` on this route.
        stall_limit: Option<Span> = None,
        /// `stream.start_id` on this route.
        start_id: Option<bool> = None,
        /// `stream.gap` on this route.
        gap: Option<Gap> = None,
        /// `stream.max_channels` on this route.
        max_channels: Option<usize> = None,
    }
}

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
        /// Up to and with the `/` before the channels.
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
                    ("channel", _) => Self::Segment { before: before.to_owned(), after: after.to_owned() },
                    ("channels...", "") => Self::Rest { before: before.to_owned() },
                    ("channels...", _) => return wrong("must end with its {channels...}"),
                    _ => {
                        return wrong(&format!(
                            "has an unknown placeholder {{{name}}}, expected {{channel}} or {{channels...}}"
                        ));
                    }
                }
            }
        };
        let literal = match &pattern {
            Self::Literal(path) => is_path(path),
            Self::Segment { before, after } => is_path(before) && is_path(after),
            Self::Rest { before } => is_path(before),
        };
        if literal { Ok(pattern) } else { wrong("holds characters that a URL's path cannot hold as they are") }
    }
}

impl Route {
    pub(super) fn validate_all(all: &[Self]) -> Result<(), Problem> {
        for (index, route) in all.iter().enumerate() {
            route.validate(&format!("route[{index}]"))?;
            let same = |earlier: &&Self| earlier.listener == route.listener && earlier.path == route.path;
            require(
                !all[..index].iter().any(|earlier| same(&earlier)),
                format!("route[{index}].path"),
                format!("\"{}\" has been given before on the {} listener", route.path, route.listener),
            )?;
        }
        Ok(())
    }

    fn validate(&self, section: &str) -> Result<(), Problem> {
        let key = |name: &str| format!("{section}.{name}");
        require(!self.path.is_empty(), key("path"), "is required, such as \"/live/{channels...}\"")?;
        let pattern = Pattern::parse(&self.path).map_err(|reason| Problem { key: key("path"), reason })?;
        let literal = matches!(pattern, Pattern::Literal(_));
        require(
            !literal || !self.channels.is_empty(),
            key("channels"),
            format!(
                "is required as \"{}\" has no placeholder: list the channels, or put {{channel}} or {{channels...}} in the \
                 path",
                self.path
            ),
        )?;
        require(
            literal || self.channels.is_empty(),
            key("channels"),
            format!("cannot be given as \"{}\" takes the channels from the request's path", self.path),
        )?;
        for (index, name) in self.channels.iter().enumerate() {
            require(
                is_channel(name),
                key(&format!("channels[{index}]")),
                format!(
                    "{name:?} is not a channel's name, expected 1 to {LONGEST_NAME} bytes without control characters, \
                     \"/\" or \"*\", and not \"ALL\""
                ),
            )?;
        }
        require(
            self.action != Action::Publish || self.listener != Door::Public || self.public_publish,
            key("action"),
            "\"publish\" on the public listener lets everyone publish: set public_publish = true to allow it, or \
             listener = \"control\"",
        )?;
        for (name, span) in [("ping", self.ping), ("stall_limit", self.stall_limit)] {
            require(span != Some(Span::ZERO), key(name), "must be longer than 0")?;
        }
        require(self.max_channels != Some(0), key("max_channels"), "must be at least 1")
    }
}

/// The hub's rule for names, repeated here so that a wrong one is refused with its line.
fn is_channel(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name != "ALL"
        && !name.contains(|c: char| c == '/' || c == '*' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_of_each_kind_is_taken_apart() {
        assert_eq!(Pattern::parse("/news"), Ok(Pattern::Literal("/news".to_owned())));
        assert_eq!(Pattern::parse("/live/{channels...}"), Ok(Pattern::Rest { before: "/live/".to_owned() }));
        assert_eq!(
            Pattern::parse("/room/{channel}/events"),
            Ok(Pattern::Segment { before: "/room/".to_owned(), after: "/events".to_owned() })
        );
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
            ("/{room}", "has an unknown placeholder {room}, expected {channel} or {channels...}"),
            ("/a b", "holds characters that a URL's path cannot hold as they are"),
            ("/a?b={channel}", "has a placeholder that is not a whole segment between two \"/\""),
        ] {
            assert_eq!(Pattern::parse(path), Err(format!("\"{path}\" {why}")));
        }
    }
}
