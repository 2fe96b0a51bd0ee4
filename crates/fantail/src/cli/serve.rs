//! `fantail serve`: the process around [`Server`], with a configuration of our own or in the place of nginx.

mod banner;
mod daemon;
mod limits;
pub(super) mod log;
mod pid_file;
mod replacement;
mod send;
mod signals;
mod user;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use self::banner::Banner;
use self::signals::Signals;
use super::sources::SourceArgs;
use crate::Server;
use crate::config::Config;

/// The exit code after a second signal, as a shell reports an interrupted program.
const INTERRUPTED: i32 = 130;

#[derive(Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    sources: SourceArgs,
    #[arg(
        short = 's',
        long,
        help = "Send a signal to the process that nginx's pid file names, and end",
        value_name = "SIGNAL",
        requires = "nginx_conf"
    )]
    signal: Option<send::Word>,
    /// Said by the process in the foreground to the one that it starts.
    #[arg(long, hide = true, requires = "nginx_conf")]
    detached: bool,
}

/// Serves until it is told to stop.
pub(super) async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let (config, carried) = args.sources.read()?;
    match (carried, args.signal) {
        (Some(carried), Some(word)) => send::send(&carried, word).map(|()| ExitCode::SUCCESS),
        (Some(carried), None) => replacement::run(args, config, carried).await,
        (None, _) => own(config).await.map(|()| ExitCode::SUCCESS),
    }
}

/// Serves a configuration of our own.
async fn own(config: Config) -> anyhow::Result<()> {
    log::log_to_stderr(&config.log)?;
    limits::raise();
    let stop = Signals::own().context("cannot listen for signals")?.obey(|_| {}, || INTERRUPTED);
    let mut banner = Banner::new(&config);
    let server = Server::new(config)?;
    banner.fill(&server);
    // Whether anyone reads the banner is no reason to stop.
    let mut out = std::io::stdout();
    let _ = write!(out, "{banner}").and_then(|()| out.flush());
    server.run(stop).await?;
    Ok(())
}
