//! `[journal]`: where messages get their order and are kept.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Size,
    error::{Problem, require},
    section::{Kind, Setting, choice, section},
    text,
};

/// In the working directory, so that a first try needs neither a flag nor a right.
const DIRECTORY: &str = "fantail-data";
const MEMORY: &str = "memory:";
const DISK: &str = "disk:";
const DURABILITY: Durability = Durability::Os;
const SEGMENT: Size = Size::mib(64);
/// Smaller ones would be more files than data.
const SMALLEST_SEGMENT: Size = Size::mib(1);
/// Larger ones would give space back late.
const LARGEST_SEGMENT: Size = Size::mib(1 << 10);

/// Schemes of journals that other builds may have.
const ABSENT: [&str; 3] = ["redis", "rediss", "nats"];

choice! {
    /// When a message is safe enough for its publisher to be answered.
    pub enum Durability {
        /// The operating system has it.
        Os = "os",
        /// The disk has it.
        Fsync = "fsync",
    }
}

section! {
    /// Where messages get their order and are kept.
    pub struct Journal {
        /// The journal. `disk:DIR` keeps messages in that directory (`--data DIR`), which is made if it is missing;
        /// `memory:` keeps them in this process, so that nothing survives a restart (`--ephemeral`).
        url: JournalUrl = JournalUrl::Disk(PathBuf::from(DIRECTORY)),
        /// When a publisher is answered, and the first subscriber sees the message. `os`: once the operating system has it, so
        /// that nothing is lost when Fantail is killed or crashes. `fsync`: once the disk has it, so that nothing is lost when the
        /// machine does, or its power.
        durability: Durability = DURABILITY,
        /// How large a file of the log grows before the next one is begun, 1 MiB to 1 GiB. Space is given back in files.
        segment: Size = SEGMENT,
    }
}

impl Journal {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        require(
            (SMALLEST_SEGMENT..=LARGEST_SEGMENT).contains(&self.segment),
            "journal.segment",
            format!("{} is not from {SMALLEST_SEGMENT} to {LARGEST_SEGMENT}", self.segment),
        )
    }
}

/// Which journal, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JournalUrl {
    /// `memory:`, in this process.
    Memory,
    /// `disk:DIR`, in that directory; a relative one is below the working directory.
    Disk(PathBuf),
}

impl JournalUrl {
    /// The directory of a journal on disk.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Memory => None,
            Self::Disk(directory) => Some(directory),
        }
    }
}

impl FromStr for JournalUrl {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        if written == MEMORY {
            return Ok(Self::Memory);
        }
        if let Some(directory) = written.strip_prefix(DISK) {
            return match directory {
                "" => Err(format!("\"{DISK}\" names no directory, expected \"{DISK}DIR\"")),
                // A name with a zero byte could not be opened later.
                _ if directory.contains('\0') => Err(format!("\"{DISK}\" names a directory with a zero byte")),
                _ => Ok(Self::Disk(directory.into())),
            };
        }
        // SECURITY: only the scheme is repeated, since the rest may hold a password.
        match written.split_once(':') {
            Some((scheme, _)) if ABSENT.contains(&scheme) => {
                Err(format!("\"{scheme}:\" is not in this build, which has \"{DISK}DIR\" and \"{MEMORY}\""))
            }
            _ => Err(format!("is not the URL of a journal, expected \"{DISK}DIR\" or \"{MEMORY}\"")),
        }
    }
}

impl fmt::Display for JournalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str(MEMORY),
            Self::Disk(directory) => write!(f, "{DISK}{}", directory.display()),
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
    const KIND: Kind = Kind::Value { name: "URL", allowed: "\"disk:DIR\" or \"memory:\"", text: true };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn journal_url_of_a_directory_reads_back_as_it_was_written() {
        for (url, directory) in [
            ("disk:fantail-data", "fantail-data"),
            ("disk:/var/lib/fantail", "/var/lib/fantail"),
            ("disk:a b:c", "a b:c"),
        ] {
            let parsed: JournalUrl = url.parse().unwrap();
            assert_eq!((parsed.directory(), parsed.to_string().as_str()), (Some(Path::new(directory)), url));
        }
        assert_eq!("memory:".parse::<JournalUrl>().unwrap().directory(), None);
        assert!("disk:".parse::<JournalUrl>().unwrap_err().contains("names no directory"));
        assert!("disk:a\0b".parse::<JournalUrl>().is_err());
    }

    #[test]
    fn journal_that_is_not_built_in_is_refused_without_its_password() {
        for (url, scheme) in [("redis://:hunter2@h", "redis"), ("nats://h", "nats")] {
            assert_eq!(
                url.parse::<JournalUrl>().unwrap_err(),
                format!("\"{scheme}:\" is not in this build, which has \"disk:DIR\" and \"memory:\"")
            );
        }
        let error = "postgres://:hunter2@h".parse::<JournalUrl>().unwrap_err();
        assert_eq!(error, "is not the URL of a journal, expected \"disk:DIR\" or \"memory:\"");
    }

    #[test]
    fn journal_segment_has_bounds() {
        let with = |size: &str| Config::from_toml(&format!("[journal]\nsegment = '{size}'\n"));
        assert_eq!(with("1MiB").unwrap().journal.segment, Size::mib(1));
        assert!(with("1GiB").is_ok());
        for size in ["1048575", "1025MiB"] {
            let error = with(size).unwrap_err().to_string();
            assert!(error.contains("journal.segment") && error.contains("from 1MiB to 1GiB"), "{error}");
        }
    }
}
