//! What can be wrong with a configuration, and where it was said. Secrets never get in here: an origin names a variable
//! or an option, not its value.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

/// Where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A `--set`.
    Set,
    /// A flag of its own, such as `--listen`.
    Flag(&'static str),
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Set => f.write_str("--set"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that a setting names cannot be read.
    #[error("{origin}: {key}: cannot read {}", path.display())]
    File {
        /// Where it was named.
        origin: Origin,
        /// The setting.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was given is not TOML, or not `key=value`.
    #[error("{origin}: {reason}")]
    Syntax {
        /// Where.
        origin: Origin,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// A setting is unknown, or its value is not allowed.
    #[error("{origin}: {key}: {reason}")]
    Setting {
        /// Where it was given.
        origin: Origin,
        /// The setting, such as `stream.ping` or `route[0].path`.
        key: String,
        /// What is wrong, and what is allowed.
        reason: String,
    },
}

/// A setting whose value is not allowed, before it is known where it came from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) key: String,
    pub(super) reason: String,
}

/// A check of a value: `reason` says what is wrong with `key` unless `holds`.
pub(super) fn require(holds: bool, key: impl Into<String>, reason: impl Into<String>) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err(Problem { key: key.into(), reason: reason.into() }) }
}
