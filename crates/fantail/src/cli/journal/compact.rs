//! `fantail journal compact`: takes the data directory and gives back the space of what is no longer kept.

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use fantail_hub::Clock;

use crate::StartError;
use crate::cli::{output, serve::log::log_to_stderr};
use crate::config::Config;
use crate::journal::disk::{OpenError, directory::DirectoryError, inspection::Inspection};

/// `directory` is that of `config`.
pub(super) async fn run(config: &Config, directory: &Path) -> anyhow::Result<()> {
    // What the last server left is taken over as at a start, and what that finds is said as there.
    log_to_stderr(&config.log)?;
    // One that was mistyped is not made.
    Inspection::open(directory)?;
    let opened = match crate::disk(config, &crate::retention(config), &Arc::new(Clock::system())) {
        Err(StartError::Journal(error @ OpenError::Directory(DirectoryError::InUse { .. }))) => {
            bail!("{error}: ask that server with POST /journal/compact on its control listener");
        }
        opened => opened?,
    };
    let disk = opened.context("there is no data directory")?;
    let before = disk.figures().bytes;
    let outcome = disk.compact().await.context("the journal could not be compacted; the log says why")?;
    let after = disk.figures().bytes;
    disk.close();
    let (cleaned, segments) = (outcome.cleaned, outcome.segments);
    output(writeln!(io::stdout(), "{cleaned} of {segments} segments cleaned, {before} bytes before, {after} after"))
}
