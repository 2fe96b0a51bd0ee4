//! The file with the process's number, by which it is found.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::process::Pid;

/// A file that says who we are, for as long as we are.
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Writes it, over what another process may have left there.
    pub(super) fn write(path: PathBuf) -> io::Result<Self> {
        let mut file = File::create(&path)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { path, file })
    }

    /// Takes it away. Who may not do that any more empties it: no number is better than one that will be somebody else's.
    pub(super) fn remove(&self) {
        // A successor may have written it meanwhile.
        if fs::read_to_string(&self.path).is_ok_and(|text| text.trim() != std::process::id().to_string()) {
            return;
        }
        if fs::remove_file(&self.path).is_err() {
            // Then there is nothing that it could still be used for.
            let _ = self.file.set_len(0);
        }
    }
}

/// The process whose file this is.
pub(super) fn read(path: &Path) -> anyhow::Result<Pid> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the pid file {}", path.display()))?;
    let number = text.trim().parse::<i32>().ok().filter(|number| *number > 0);
    let Some(pid) = number.and_then(Pid::from_raw) else {
        bail!("the pid file {} holds no process's number but {:?}", path.display(), text.trim());
    };
    Ok(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_file_is_there_as_long_as_it_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pid");
        let file = PidFile::write(path.clone()).unwrap();
        assert_eq!(read(&path).unwrap(), rustix::process::getpid());
        file.remove();
        assert!(!path.exists());
        let file = PidFile::write(path.clone()).unwrap();
        fs::write(&path, "1\n").unwrap();
        file.remove();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n", "it is another's");
    }

    #[test]
    fn pid_file_without_a_number_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pid");
        for text in ["", "0\n", "-1", "nginx"] {
            fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("holds no process's number"), "{error}");
        }
    }
}
