//! nginx's configurations, read and carried over: a directive by directive account of what becomes of an `nginx.conf` in
//! Fantail, and the `fantail.toml` that comes of it. Reads files and nothing else; serves nothing.

mod check;
mod draft;
mod files;
mod known;
mod lexer;
mod location;
mod map;
mod process;
mod report;
mod scope;
mod tree;
mod value;
mod variables;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::files::Files;
pub use self::process::Process;
pub use self::report::{Entry, Report, Verdict};
pub use self::tree::Spot;

/// What comes of a configuration of nginx.
#[derive(Debug)]
pub struct Import {
    /// The text of a `fantail.toml`.
    pub toml: String,
    /// What became of each directive.
    pub report: Report,
    /// What is for the process rather than for what it serves.
    pub process: Process,
    /// The locations where everyone who reaches the public listener may publish, as in nginx.
    pub open_publishers: Vec<String>,
    /// Where the public listener is to be.
    pub front: Front,
}

/// Where a public listener stood in nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// Nowhere: no server does anything that Fantail does.
    Nowhere,
    /// At the addresses that the configuration names.
    Plain,
    /// At this address and no other, where it spoke TLS.
    Tls(SocketAddr),
}

/// Why a configuration cannot be carried over.
#[derive(Debug, Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("{}cannot read {}", by.as_ref().map(|by| format!("{by}: include: ")).unwrap_or_default(), path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The `include` that names it; nothing for the main file.
        by: Option<Spot>,
        /// Why not.
        source: io::Error,
    },
    /// What is read is not in nginx's syntax.
    #[error("{spot}: {reason}")]
    Syntax {
        /// Where.
        spot: Spot,
        /// What is wrong.
        reason: String,
    },
    /// nginx would not start with it.
    #[error("{spot}: {directive}: {reason}")]
    Refused {
        /// Where it stands.
        spot: Spot,
        /// The directive.
        directive: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
}

/// Carries a configuration over. `stood_in` is the directory in which the main file stood when it was in use, if it was
/// copied from there with all that it includes: paths below it are read beside the main file.
///
/// # Errors
/// If a file cannot be read, or nginx would refuse what it says.
pub fn import(main: &Path, stood_in: Option<&Path>) -> Result<Import, ImportError> {
    import_with(main, stood_in, "")
}

/// The same, with directives that stand before those of the file, as `nginx -g` takes them.
///
/// # Errors
/// As [`import`].
pub fn import_with(main: &Path, stood_in: Option<&Path>, globals: &str) -> Result<Import, ImportError> {
    let files = Files::new(main, stood_in);
    let tree = tree::read(main, &files, globals)?;
    check::check(&tree)?;
    map::map(&tree, &files.shown(main))
}

#[cfg(test)]
mod tests;
