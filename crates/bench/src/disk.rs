//! Where data lies: the file system of a directory, and the bytes that it takes there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;

/// File systems that are memory.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// What a directory is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    pub(crate) kind: String,
    /// What is mounted there.
    pub(crate) source: String,
}

impl FileSystem {
    /// That of this directory, as the kernel's list of mounts tells it.
    pub(crate) fn of(directory: &Path) -> anyhow::Result<Self> {
        let directory = directory.canonicalize().with_context(|| format!("cannot find {}", directory.display()))?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        parse_mounts(&mounts, &directory).with_context(|| format!("no mount holds {}", directory.display()))
    }

    pub(crate) fn is_memory(&self) -> bool {
        IN_MEMORY.contains(&self.kind.as_str())
    }
}

/// The deepest mount above a directory; of several at one point, the last covers the others.
fn parse_mounts(mounts: &str, directory: &Path) -> Option<FileSystem> {
    let mut found: Option<(usize, FileSystem)> = None;
    for line in mounts.lines() {
        let (place, device) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?.replace("\\040", " ");
        let mut device = device.split(' ');
        let (kind, source) = (device.next()?.to_owned(), device.next()?.to_owned());
        if directory.starts_with(&point) && found.as_ref().is_none_or(|&(depth, _)| point.len() >= depth) {
            found = Some((point.len(), FileSystem { kind, source }));
        }
    }
    found.map(|(_, system)| system)
}

/// Bytes that a directory's files take on the disk. Files that vanish meanwhile count nothing.
pub(crate) fn taken(directory: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(about) = entry.metadata() else { continue };
        sum += if about.is_dir() { taken(&entry.path())? } else { about.blocks() * 512 };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        23 22 0:21 / /tmp rw - tmpfs tmpfs rw,size=1k\n\
        24 22 0:22 / /srv/my\\040data rw - xfs /dev/vdb rw\n\
        25 22 0:23 / /srv/my\\040data rw - btrfs /dev/vdc rw\n";

    #[test]
    fn file_system_is_that_of_the_deepest_and_last_mount() {
        let of = |path: &str| parse_mounts(MOUNTS, Path::new(path)).unwrap();
        assert_eq!(of("/tmpx/y"), FileSystem { kind: "ext4".into(), source: "/dev/vda".into() });
        assert_eq!(of("/srv/my data/x").kind, "btrfs");
        assert!(of("/tmp/x").is_memory() && !of("/tmp2").is_memory());
    }

    #[test]
    fn taken_bytes_are_those_of_all_files_below() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("below")).unwrap();
        let before = taken(directory.path()).unwrap();
        fs::write(directory.path().join("below/file"), vec![1; 100_000]).unwrap();
        fs::File::open(directory.path().join("below/file")).unwrap().sync_all().unwrap();
        assert!(taken(directory.path()).unwrap() >= before + 100_000);
        assert!(FileSystem::of(directory.path()).is_ok());
    }
}
