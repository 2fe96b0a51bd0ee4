//! Where log lines go: to standard error, or to a file that can be opened anew after it was moved away.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{Log, LogFormat};

/// Logs to standard error as the configuration says.
pub(in crate::cli) fn log_to_stderr(log: &Log) -> anyhow::Result<()> {
    set_up(log, BoxMakeWriter::new(io::stderr), io::stderr().is_terminal())
}

/// Logs to a file as the configuration says.
pub(super) fn log_to_file(log: &Log, file: &Arc<LogFile>) -> anyhow::Result<()> {
    let file = Arc::clone(file);
    set_up(log, BoxMakeWriter::new(move || Line(file.current())), false)
}

fn set_up(log: &Log, writer: BoxMakeWriter, ansi: bool) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).context("log.level")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        // A line that cannot be written is lost: to say so on stderr would fail as well, and panic in the thread that had
        // something to say. With a log on the disk that is full, that was the journal's.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|error| anyhow::anyhow!("cannot set up logging: {error}"))
}

/// A file for log lines. Each is appended by one write, so that several processes can have the same file.
#[derive(Debug)]
pub(super) struct LogFile(Mutex<(PathBuf, Arc<File>)>);

impl LogFile {
    /// Opens it, or makes it.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        Ok(Self(Mutex::new((path, Arc::new(file)))))
    }

    /// The file as it is open now.
    pub(super) fn current(&self) -> Arc<File> {
        Arc::clone(&self.0.lock().1)
    }

    /// Opens what has this path now, in place of what had it before; or another one. Where that fails, lines go where they went.
    pub(super) fn reopen(&self, path: &Path) -> io::Result<()> {
        let file = append(path)?;
        *self.0.lock() = (path.to_owned(), Arc::new(file));
        Ok(())
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.0.lock().0.clone()
    }

    /// Gives it to a user, who is to open it again later.
    pub(super) fn give_to(&self, user: u32) -> io::Result<()> {
        fchown(&*self.current(), Some(user), None)
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Writes one line to the file that was open when it began.
struct Line(Arc<File>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn log_file_that_was_moved_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        let log = LogFile::open(path.clone()).unwrap();
        let say = |text: &str| Line(log.current()).write_all(text.as_bytes()).unwrap();
        say("one\n");
        let moved = folder.path().join("error.log.1");
        fs::rename(&path, &moved).unwrap();
        say("two\n");
        log.reopen(&path).unwrap();
        say("three\n");
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert!(log.reopen(&folder.path().join("none/error.log")).is_err());
        say("four\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\nfour\n", "lines go where they went");
    }
}
