//! The data directory: one process has it, and its format is one that this build reads. Knows nothing of what lies in it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fantail_hub::Epoch;
use thiserror::Error;

use super::checked::temporary;

/// The version of the directory's format: which files there are and what they mean.
const VERSION: u32 = 1;

const FORMAT: &str = "format";
const LOCK: &str = "lock";

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    epoch: Epoch,
    is_new: bool,
    /// Holds the lock.
    _lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// The system's words.
    #[error("cannot {verb} {path} (journal.url, --data)")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it.
    #[error("data directory {path} is in use by process {by} (journal.url, --data)")]
    InUse {
        /// Which.
        path: PathBuf,
        /// Its id, as it wrote it down.
        by: String,
    },
    /// A later Fantail made it.
    #[error(
        "data directory {path} was written by a newer Fantail (format {found}, this one reads up to {VERSION}): start that \
         version, or give another --data"
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// There is nothing to look at.
    #[error("data directory {path} {what} (journal.url, --data)")]
    None {
        /// Which.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// It is not one of ours, or no longer.
    #[error("data directory {path} {what}: give another --data, or move this one away")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Directory {
    /// Takes the directory at `path`, made if there is none. A new one is a journal's only when it was
    /// [founded](Self::found).
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let of = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| DirectoryError::Io { verb, path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(of("make", path))?;
        let lock = lock(path)?;
        let name = path.join(FORMAT);
        let (epoch, is_new) = match fs::read(&name) {
            Ok(text) => (parse(&text, path)?, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if has_logs(path).map_err(of("list", path))? {
                    let what = "holds segments of a journal, but not the file `format` that belongs to them";
                    return Err(DirectoryError::Foreign { path: path.to_owned(), what });
                }
                (Epoch::random(), true)
            }
            Err(source) => return Err(of("read", &name)(source)),
        };
        Ok(Self { path: path.to_owned(), epoch, is_new, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that it is a journal's, if it was none before. That is the last thing to be done before anything is stored: a
    /// first start that is cut off has begun nothing.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn found(&self) -> Result<(), DirectoryError> {
        if !self.is_new {
            return Ok(());
        }
        let text = format!("fantail-journal {VERSION}\nepoch {}\n", self.epoch);
        let path = self.path.join(FORMAT);
        replace(&self.path, FORMAT, text.as_bytes()).map_err(|source| DirectoryError::Io {
            verb: "write",
            path,
            source,
        })
    }

    /// Whether it was none before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The incarnation of the sequence in it.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// Writes a small file whole: whoever reads it, also after a crash, finds the old or the new content.
pub fn replace(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let path = directory.join(name);
    let temporary = temporary(&path);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(directory)?.sync_all()
}

/// The incarnation of the sequence in a directory that need not be ours. Nothing is made or locked.
///
/// # Errors
/// [`DirectoryError`], also if there is no journal.
pub fn epoch(path: &Path) -> Result<Epoch, DirectoryError> {
    let name = path.join(FORMAT);
    match fs::read(&name) {
        Ok(text) => parse(&text, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = if path.exists() { "holds no journal" } else { "does not exist" };
            Err(DirectoryError::None { path: path.to_owned(), what })
        }
        Err(source) => Err(DirectoryError::Io { verb: "read", path: name, source }),
    }
}

fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join(LOCK);
    let failed = |verb| {
        let path = path.clone();
        move |source| DirectoryError::Io { verb, path, source }
    };
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = options.map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            // Whoever has just taken it may not have written its id yet.
            let _ = file.read_to_string(&mut by);
            let by = if by.trim().is_empty() { "(unknown)" } else { by.trim() };
            return Err(DirectoryError::InUse { path: directory.to_owned(), by: by.to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
    }
    // For people alone, and not worth a refusal: a full disk must not keep what it holds from being served.
    let _ = file.set_len(0).and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    Ok(file)
}

fn parse(text: &[u8], directory: &Path) -> Result<Epoch, DirectoryError> {
    let foreign = || {
        let what = "has a file `format` that is not a journal's, or is damaged";
        DirectoryError::Foreign { path: directory.to_owned(), what }
    };
    let text = std::str::from_utf8(text).map_err(|_| foreign())?;
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("fantail-journal "));
    let found: u32 = version.and_then(|version| version.parse().ok()).ok_or_else(foreign)?;
    if found > VERSION {
        return Err(DirectoryError::Newer { path: directory.to_owned(), found });
    }
    let epoch = lines.next().and_then(|line| line.strip_prefix("epoch "));
    let epoch = epoch.and_then(|epoch| u64::from_str_radix(epoch, 16).ok()).ok_or_else(foreign)?;
    // A file that was cut is not taken for a shorter number.
    if found == 0 || !text.ends_with('\n') {
        return Err(foreign());
    }
    Ok(Epoch::new(epoch))
}

fn has_logs(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        if Path::new(&entry?.file_name()).extension().is_some_and(|extension| extension == "log") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directory_made_and_opened_again_keeps_its_epoch() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/data");
        let new = Directory::open(&path).unwrap();
        let epoch = new.epoch();
        new.found().unwrap();
        drop(new);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(Directory::open(&path).unwrap().epoch(), epoch);
        assert_ne!(Directory::open(&temp.path().join("b")).unwrap().epoch(), epoch);
    }

    #[test]
    fn directory_in_use_is_refused_with_who_uses_it() {
        let temp = tempfile::tempdir().unwrap();
        let held = Directory::open(temp.path()).unwrap();
        let error = Directory::open(temp.path()).unwrap_err().to_string();
        let expected = format!(
            "data directory {} is in use by process {} (journal.url, --data)",
            temp.path().display(),
            std::process::id()
        );
        assert_eq!(error, expected);
        drop(held);
        Directory::open(temp.path()).unwrap();
    }

    #[test]
    fn format_that_is_newer_or_foreign_is_refused_with_what_to_do() {
        let temp = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            fs::write(temp.path().join(FORMAT), text).unwrap();
            Directory::open(temp.path()).unwrap_err().to_string()
        };
        let newer = refused("fantail-journal 7\nepoch 1f\nsomething: else\n");
        let expected = "was written by a newer Fantail (format 7, this one reads up to 1): start that version, or give another \
                        --data";
        assert!(newer.ends_with(expected), "{newer}");
        for text in ["", "fantail-journal", "fantail-journal 0\nepoch 1\n", "fantail-journal 1\nepoch 1f", "hello\n"] {
            let foreign = refused(text);
            let expected = "has a file `format` that is not a journal's, or is damaged: give another --data, or move this one away";
            assert!(foreign.ends_with(expected), "{text:?}: {foreign}");
        }
        fs::remove_file(temp.path().join(FORMAT)).unwrap();
        fs::write(temp.path().join("1.log"), "").unwrap();
        let lost = Directory::open(temp.path()).unwrap_err().to_string();
        assert!(lost.contains("not the file `format` that belongs to them"), "{lost}");
    }
}
