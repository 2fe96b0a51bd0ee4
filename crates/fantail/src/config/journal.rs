//! `[journal]`: where messages get their order and are kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    section::{Kind, Setting, section},
    text,
};

const URL: JournalUrl = JournalUrl::Memory;
const MEMORY: &str = "memory:";

/// Schemes of journals that other builds may have.
const ABSENT: [&str; 4] = ["disk", "redis", "rediss", "nats"];

section! {
    /// Where messages get their order and are kept.
    pub struct Journal {
        /// The journal; `memory:` keeps messages in this process, so that nothing survives a restart.
        url: JournalUrl = URL,
    }
}

/// Which journal, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JournalUrl {
    /// `memory:`, in this process.
    Memory,
}

impl FromStr for JournalUrl {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        if written == MEMORY {
            return Ok(Self::Memory);
        }
        // SECURITY: only the scheme is repeated, since the rest may hold a password.
        match written.split_once(':') {
            Some((scheme, _)) if ABSENT.contains(&scheme) => {
                Err(format!("\"{scheme}:\" is not in this build, which has only \"{MEMORY}\""))
            }
            _ => Err(format!("is not the URL of a journal, expected \"{MEMORY}\"")),
        }
    }
}

impl fmt::Display for JournalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str(MEMORY),
        }
    }
}

impl Serialize for JournalUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JournalUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Setting for JournalUrl {
    const KIND: Kind = Kind::Value { name: "URL", allowed: "\"memory:\"", text: true };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_that_is_not_built_in_is_refused_without_its_password() {
        for (url, scheme) in [("disk:/var/lib/fantail", "disk"), ("redis://:hunter2@h", "redis"), ("nats://h", "nats")]
        {
            assert_eq!(
                url.parse::<JournalUrl>().unwrap_err(),
                format!("\"{scheme}:\" is not in this build, which has only \"memory:\"")
            );
        }
        let error = "postgres://:hunter2@h".parse::<JournalUrl>().unwrap_err();
        assert_eq!(error, "is not the URL of a journal, expected \"memory:\"");
    }
}
