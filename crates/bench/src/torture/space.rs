//! The room on the data directory's disk, which can be taken away and given back: a tmpfs of its own whose size is changed
//! where mounting is allowed, else a limit on the size of the server's files.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use super::server::Server;

/// Set for a process that has its mounts for itself.
const OWN_MOUNTS: &str = "TORTURE_OWN_MOUNTS";

/// How the data directory's disk is made full.
#[derive(Debug)]
pub(super) enum Space {
    /// A tmpfs of so many bytes.
    Mounted { directory: PathBuf, bytes: u64 },
    /// No file may grow: an error of another kind (EFBIG), and one for the fence too.
    Limited,
}

/// Runs this program again in mounts of its own where that is allowed, so that whatever it mounts goes with it.
pub(super) fn leave_for_own_mounts() -> anyhow::Result<()> {
    if std::env::var_os(OWN_MOUNTS).is_some() {
        return Ok(());
    }
    let mut ways = [vec!["--mount", "--propagation", "private"], vec!["--map-root-user", "--mount"]].into_iter();
    let allowed = |way: &Vec<&str>| {
        let mut command = Command::new("unshare");
        command.args(way).args(["--", "mount", "-t", "tmpfs", "none", "/mnt"]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let Some(way) = ways.find(allowed) else { return Ok(()) };
    let program = std::env::current_exe().context("cannot find this program")?;
    let error = Command::new("unshare")
        .args(way)
        .arg("--")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(OWN_MOUNTS, "1")
        .exec();
    bail!("cannot run in mounts of its own: {error}")
}

impl Space {
    /// Mounts a tmpfs of this size on the directory, if this process has its mounts for itself.
    pub(super) fn prepare(directory: &Path, bytes: u64) -> anyhow::Result<Self> {
        if std::env::var_os(OWN_MOUNTS).is_none() {
            return Ok(Self::Limited);
        }
        mount("fantail-torture", directory, "tmpfs", MountFlags::empty(), Some(&*options(bytes)))
            .with_context(|| format!("cannot mount a tmpfs on {}", directory.display()))?;
        Ok(Self::Mounted { directory: directory.to_owned(), bytes })
    }

    /// Leaves no room but for about so many bytes.
    pub(super) fn fill(&self, but: u64, server: &Server) -> anyhow::Result<()> {
        let Self::Mounted { directory, .. } = self else { return server.limit_files(Some(0)) };
        let statistics = rustix::fs::statvfs(directory).context("cannot ask for the room on the disk")?;
        let used = (statistics.f_blocks - statistics.f_bfree) * statistics.f_frsize;
        self.resize(directory, used + but)
    }

    /// Gives the room back.
    pub(super) fn free(&self, server: &Server) -> anyhow::Result<()> {
        match self {
            Self::Mounted { directory, bytes } => self.resize(directory, *bytes),
            Self::Limited => server.limit_files(None),
        }
    }

    fn resize(&self, directory: &Path, bytes: u64) -> anyhow::Result<()> {
        let resized = mount_remount(directory, MountFlags::empty(), options(bytes));
        resized.with_context(|| format!("cannot give {self:?} {bytes} bytes"))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if let Self::Mounted { directory, .. } = self {
            // If it is still in use it goes with this process.
            let _ = unmount(&**directory, UnmountFlags::DETACH);
        }
    }
}

fn options(bytes: u64) -> std::ffi::CString {
    std::ffi::CString::new(format!("size={bytes}")).expect("digits hold no NUL")
}
