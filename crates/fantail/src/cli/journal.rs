//! `fantail journal`: what lies in the data directory. All but `compact` only look, so that they also work beside the server
//! that has it.

mod compact;
mod dump;
mod list;
mod verify;

use anyhow::bail;
use clap::{Args, Subcommand};
use fantail_hub::{Clock, Limits, Millis, Retention};

use super::sources::DirectoryArgs;
use crate::config::{self, Config};

#[derive(Args)]
pub(super) struct JournalArgs {
    #[command(flatten)]
    directory: DirectoryArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the channels: how much is kept of each, and since when.
    List(list::ListArgs),
    /// Print what is kept of a channel, oldest first.
    Dump(dump::DumpArgs),
    /// Read everything and say what is damaged.
    Verify,
    /// Give back the space of what is no longer kept, in a directory that no server has.
    Compact,
}

/// Runs the command.
pub(super) async fn run(args: &JournalArgs) -> anyhow::Result<()> {
    let config = config::load(&args.directory.sources())?;
    let Some(directory) = config.journal.url.directory() else {
        bail!("journal.url is \"{}\", which leaves nothing on disk: give --data DIR", config.journal.url);
    };
    match &args.command {
        Command::List(args) => list::run(directory, args, &Kept::new(&config)),
        Command::Dump(args) => dump::run(directory, args, &Kept::new(&config)),
        Command::Verify => verify::run(directory),
        Command::Compact => compact::run(&config, directory).await,
    }
}

/// What of a channel is to be kept at this moment.
struct Kept {
    retention: Retention,
    now: Millis,
}

impl Kept {
    fn new(config: &Config) -> Self {
        Self { retention: crate::retention(config), now: Clock::system().now() }
    }

    fn limits(&self, name: &str) -> Limits {
        self.retention.limits(self.retention.rule(name))
    }
}

/// A moment for people and programs, in RFC 3339.
fn time(at: Millis) -> String {
    let at = i64::try_from(at.0).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| "-".to_owned(), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_milliseconds_and_what_is_beyond_the_calendar_is_none() {
        assert_eq!(time(Millis(1_000_000_000_000)), "2001-09-09T01:46:40.000Z");
        assert_eq!(time(Millis(u64::MAX)), "-");
    }
}
