//! What a machine may do to the end of a file while nobody looks: cut it, or change bits of it. Only the newest log file is
//! touched, and only between two runs of the server.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The most that is cut off, and how far from the end bits are flipped, as a rule.
const REACH: u64 = 128 << 10;

/// What was done.
#[derive(Debug)]
pub(super) struct Damage {
    file: PathBuf,
    /// The first offset that the file holds, by its name; 0 if that does not tell.
    pub(super) base: u64,
    how: How,
}

#[derive(Debug)]
enum How {
    /// From so many bytes to so many.
    Cut(u64, u64),
    /// Bits of these bytes.
    Flipped(Vec<u64>),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.file_name().unwrap_or_default().to_string_lossy();
        match &self.how {
            How::Cut(from, to) => write!(f, "{file} cut from {from} to {to} bytes"),
            How::Flipped(at) => write!(f, "{file}: a bit flipped at {at:?}"),
        }
    }
}

/// Damages the newest log below this directory; `None` if there is none with anything in it.
pub(super) fn inflict(directory: &Path, rng: &mut fastrand::Rng) -> anyhow::Result<Option<Damage>> {
    let Some(file) = newest(directory)? else { return Ok(None) };
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let base = name.split('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let log = OpenOptions::new().read(true).write(true).open(&file).context("cannot open the log to damage it")?;
    let len = log.metadata()?.len();
    if len == 0 {
        return Ok(None);
    }
    let reach = if rng.u8(..16) == 0 { len } else { REACH.min(len) };
    let how = if rng.bool() {
        let to = len - 1 - rng.u64(..reach);
        log.set_len(to)?;
        How::Cut(len, to)
    } else {
        let mut places: Vec<u64> = (0..rng.usize(1..4)).map(|_| len - 1 - rng.u64(..reach)).collect();
        places.sort_unstable();
        places.dedup();
        for &place in &places {
            let mut byte = [0];
            log.read_exact_at(&mut byte, place)?;
            byte[0] ^= 1 << rng.u8(..8);
            log.write_all_at(&byte, place)?;
        }
        How::Flipped(places)
    };
    Ok(Some(Damage { file, base, how }))
}

fn newest(directory: &Path) -> anyhow::Result<Option<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        }
    }
    Ok(logs.into_iter().max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_hits_the_newest_log_alone() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["00000000000000000001.log", "00000000000000000044.log", "00000000000000000044.idx", "zz"];
        let whole = vec![7; 4096];
        for seed in 0..50 {
            for file in files {
                fs::write(directory.path().join(file), &whole).unwrap();
            }
            let damage = inflict(directory.path(), &mut fastrand::Rng::with_seed(seed)).unwrap().unwrap();
            assert_eq!(damage.base, 44);
            let hit = |file: &str| fs::read(directory.path().join(file)).unwrap() != whole;
            assert_eq!(files.map(hit), [false, true, false, false], "{damage}");
        }
    }

    #[test]
    fn damage_without_a_log_is_none() {
        let directory = tempfile::tempdir().unwrap();
        assert!(inflict(directory.path(), &mut fastrand::Rng::with_seed(1)).unwrap().is_none());
        fs::write(directory.path().join("1.log"), b"").unwrap();
        assert!(inflict(directory.path(), &mut fastrand::Rng::with_seed(1)).unwrap().is_none());
    }
}
