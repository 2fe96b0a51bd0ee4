//! `-s`: a signal to the process that a pid file names.

use anyhow::{Context, bail};
use clap::ValueEnum;
use rustix::process::{Signal, kill_process};

use super::pid_file;
use crate::cli::nginx::Carried;

/// What a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Word {
    /// End at once
    Stop,
    /// End in good order
    Quit,
    /// Read the configuration again
    Reload,
    /// Open the log again
    Reopen,
}

/// Sends the signal.
pub(super) fn send(carried: &Carried, word: Word) -> anyhow::Result<()> {
    let Some(name) = &carried.process().pid else {
        bail!("{}: there is no pid directive, so the process cannot be found", carried.path().display());
    };
    let path = carried.file(name);
    let pid = pid_file::read(&path)?;
    let signal = match word {
        Word::Stop => Signal::TERM,
        Word::Quit => Signal::QUIT,
        Word::Reload => Signal::HUP,
        Word::Reopen => Signal::USR1,
    };
    kill_process(pid, signal)
        .with_context(|| format!("cannot signal process {} ({})", pid.as_raw_nonzero(), path.display()))
}
