//! The host that a route is for: one name, all names below one, or those that no other route names.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    section::{Kind, Setting},
    text,
};

const ALLOWED: &str =
    "a host such as \"app.example\", \"*.example\" for every name below one, or \"*\" for all that no route names";

/// The host that a route is for, in lower case, without port and without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// This one.
    Exact(String),
    /// Every name that has one label or more before this one; `*.example` is kept as `example`.
    Below(String),
    /// Every host that no route is for by its name, and none.
    Other,
}

impl Host {
    /// Whether it is meant by its name by `host`, which is in lower case, without port and without a dot at its end.
    pub fn takes(&self, host: &str) -> bool {
        match self {
            Self::Other => false,
            Self::Exact(name) => host == name,
            Self::Below(name) => host
                .strip_suffix(name.as_str())
                .and_then(|before| before.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty()),
        }
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("\"{written}\" {why}, expected {ALLOWED}"));
        if written == "*" {
            return Ok(Self::Other);
        }
        let name = written.strip_suffix('.').unwrap_or(written).to_ascii_lowercase();
        let (name, below) = match name.strip_prefix("*.") {
            Some(name) => (name.to_owned(), true),
            None => (name, false),
        };
        if name.contains("://") || name.contains('/') {
            return wrong("is not a host alone");
        }
        if is_ipv6(&name) && !below {
            return Ok(Self::Exact(name));
        }
        if name.contains(':') {
            return wrong("has a port, which routes do not look at");
        }
        if !name.is_ascii() {
            return wrong("must be written as on the wire, its labels beginning with \"xn--\"");
        }
        if !is_name(&name) {
            return wrong("is not a host");
        }
        Ok(if below { Self::Below(name) } else { Self::Exact(name) })
    }
}

/// Whether it is a name or an IPv4 address, as far as characters and empty labels tell.
pub(super) fn is_name(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

/// Whether it is an IPv6 address in brackets.
pub(super) fn is_ipv6(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Other => f.write_str("*"),
        }
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Setting for Host {
    const KIND: Kind = Kind::Value { name: "host", allowed: ALLOWED, text: true };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn host_takes_itself_or_what_is_below_it() {
        assert_eq!(host("App.Example."), Host::Exact("app.example".to_owned()));
        assert!(host("app.example").takes("app.example"));
        assert!(!host("app.example").takes("x.app.example"));
        assert!(host("[::1]").takes("[::1]"));
        let below = host("*.Example");
        assert_eq!(below.to_string(), "*.example");
        assert!(below.takes("a.example") && below.takes("a.b.example"));
        assert_eq!(host("*").to_string(), "*");
        assert!(!host("*").takes("a.example"), "by no name");
        for other in ["example", ".example", "aexample", "a.example.org", ""] {
            assert!(!below.takes(other), "{other}");
        }
    }

    #[test]
    fn host_that_is_none_is_refused() {
        let expected = format!("expected {ALLOWED}");
        for (text, why) in [
            ("app.example:80", "has a port, which routes do not look at"),
            ("http://app.example", "is not a host alone"),
            ("app.example/a", "is not a host alone"),
            ("bücher.example", "must be written as on the wire, its labels beginning with \"xn--\""),
            ("a.*.example", "is not a host"),
            ("a..example", "is not a host"),
            ("*.", "is not a host"),
            ("", "is not a host"),
        ] {
            assert_eq!(text.parse::<Host>(), Err(format!("\"{text}\" {why}, {expected}")));
        }
    }
}
