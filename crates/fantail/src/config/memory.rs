//! An amount of memory: a size, or a share of what the machine, or this process's control group, has.

use std::{fmt, fs, path::Path, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Size,
    section::{Kind, Setting},
    text,
};

const ALLOWED: &str = "a share of the memory such as \"25%\" (1% to 100%), or a size such as \"512MiB\"";

/// What is taken for the machine's memory where the system does not tell.
const UNKNOWN_MACHINE: u64 = 1 << 30;

/// A size, or a share of the memory that this process may use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Memory {
    /// A share in percent, 1 to 100.
    Percent(u8),
    /// A fixed size.
    Size(Size),
}

impl Memory {
    /// The number of bytes; a share is taken of the machine's memory, or of the control group's limit if that is smaller.
    /// Reads files under `/proc` and `/sys`, so ask once.
    pub fn bytes(self) -> usize {
        match self {
            Self::Percent(percent) => share(percent, available(Path::new("/"))),
            Self::Size(size) => size.bytes(),
        }
    }
}

fn share(percent: u8, total: u64) -> usize {
    usize::try_from(u128::from(total) * u128::from(percent) / 100).unwrap_or(usize::MAX)
}

/// The bytes this process may use, with the system's files looked up under `root`.
fn available(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total(&text));
    let machine = machine.unwrap_or(UNKNOWN_MACHINE);
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups.lines().filter_map(|line| group_limit(root, line)).fold(machine, u64::min)
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The smallest limit of a control group and those above it; `line` is one of `/proc/self/cgroup`.
fn group_limit(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, group) = (parts.next()?, parts.next()?);
    let (mount, file) = if controllers.is_empty() {
        ("sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return None;
    };
    // A container may see its host's path here while its own group is mounted at the top: the walk ends there anyhow.
    Path::new(group.trim_start_matches('/'))
        .ancestors()
        .filter_map(|group| fs::read_to_string(root.join(mount).join(group).join(file)).ok())
        .filter_map(|limit| limit.trim().parse().ok())
        .min()
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let wrong = || format!("\"{written}\" is not an amount of memory, expected {ALLOWED}");
        match written.strip_suffix('%') {
            Some(percent) => match percent.trim_end().parse() {
                Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => written.parse().map(Self::Size).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Size(size) => size.fmt(f),
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Setting for Memory {
    const KIND: Kind = Kind::Value { name: "share or size", allowed: ALLOWED, text: true };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn memory_share_and_size_are_read() {
        assert_eq!("25%".parse(), Ok(Memory::Percent(25)));
        assert_eq!("512MiB".parse(), Ok(Memory::Size(Size::mib(512))));
        assert_eq!(Memory::Size(Size::mib(1)).bytes(), 1 << 20);
        assert_eq!(Memory::Percent(25).to_string(), "25%");
        assert!(Memory::Percent(100).bytes() > 0);
    }

    #[test]
    fn memory_share_out_of_range_is_refused() {
        for text in ["0%", "101%", "%", "a lot", "-5%"] {
            assert_eq!(
                text.parse::<Memory>().unwrap_err(),
                format!(
                    "\"{text}\" is not an amount of memory, expected a share of the memory such as \"25%\" (1% to \
                     100%), or a size such as \"512MiB\""
                )
            );
        }
    }

    #[test]
    fn memory_without_group_is_the_machines() {
        let root = system(&[("proc/meminfo", "MemTotal:        8000 kB\nMemFree: 1 kB\n")]);
        assert_eq!(available(root.path()), 8_192_000);
        assert_eq!(share(25, 8_192_000), 2_048_000);
    }

    #[test]
    fn memory_in_a_group_is_the_smallest_limit_above_it() {
        let root = system(&[
            ("proc/meminfo", "MemTotal:        8000 kB\n"),
            ("proc/self/cgroup", "0::/app/web\n"),
            ("sys/fs/cgroup/app/web/memory.max", "max\n"),
            ("sys/fs/cgroup/app/memory.max", "4096000\n"),
        ]);
        assert_eq!(available(root.path()), 4_096_000);
    }

    #[test]
    fn memory_in_an_old_group_is_its_limit() {
        let root = system(&[
            ("proc/meminfo", "MemTotal:        8000 kB\n"),
            ("proc/self/cgroup", "5:cpu,memory:/docker/abc\n4:pids:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1024000\n"),
        ]);
        assert_eq!(available(root.path()), 1_024_000);
    }

    #[test]
    fn memory_of_an_unknown_system_is_assumed() {
        assert_eq!(available(Path::new("/nowhere")), UNKNOWN_MACHINE);
    }
}
