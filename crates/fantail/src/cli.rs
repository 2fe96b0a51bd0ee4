//! The command line: what the program's arguments mean, a file for each command. A command that serves uses the server as
//! an embedder does; those that look into a data directory read it where it lies; the others talk to a server over HTTP.

mod check;
mod client;
mod import;
mod journal;
mod nginx;
mod publish;
mod serve;
mod sources;
mod tail;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Fantail, a hub for Server-Sent Events.
// SECURITY: arguments may hold keys, so none of the structs can be printed.
#[derive(Parser)]
#[command(name = "fantail", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::ServeArgs),
    /// Print the effective configuration, or say what is wrong with it, or which route answers a request.
    Check(check::CheckArgs),
    /// Publish a message, or a message for each line of standard input.
    Publish(publish::PublishArgs),
    /// Print the messages of channels as they arrive.
    Tail(tail::TailArgs),
    /// Make keys for publishers, tokens and signed URLs.
    Token(token::TokenArgs),
    /// Look into the data directory, or give space back.
    Journal(journal::JournalArgs),
    /// Print a configuration of nginx as one of Fantail's, and say what became of each directive.
    Import(import::ImportArgs),
}

impl Cli {
    /// Runs the command; errors are said on standard error.
    pub async fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Serve(args) => return said(serve::run(args).await),
            Command::Check(args) => check::run(&args),
            Command::Publish(args) => publish::run(args).await,
            Command::Tail(args) => tail::run(args).await,
            Command::Token(args) => token::run(&args),
            Command::Journal(args) => journal::run(&args).await,
            Command::Import(args) => return said(import::run(&args)),
        };
        said(result.map(|()| ExitCode::SUCCESS))
    }
}

/// The exit code of a command that has ended; an error is said on standard error.
fn said(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error leaves nobody to tell.
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Whether our own output is no longer read, as with `fantail tail news | head -1`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ClosedOutput>().is_some()
}

/// Standard output cannot be written to any more; a broken pipe to the server is another matter.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
struct ClosedOutput;

/// Turns a failed write to standard output into an error that ends the command.
fn output(result: std::io::Result<()>) -> anyhow::Result<()> {
    result.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => ClosedOutput.into(),
        _ => anyhow::Error::new(error).context("cannot write to standard output"),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn output_that_is_closed_is_no_failure() {
        assert!(is_closed_pipe(&output(Err(io::ErrorKind::BrokenPipe.into())).unwrap_err()));
        assert!(!is_closed_pipe(&output(Err(io::ErrorKind::StorageFull.into())).unwrap_err()));
        assert!(!is_closed_pipe(&anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe))));
    }
}
