//! The load tool: subscribers by the ten thousand and publishers at any pace against any Server-Sent Events server, over
//! HTTP only, like a stranger. Every message is checked for loss, repeats and order by every subscriber.

use std::fs;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::args::Common;
use crate::report::Report;
use crate::scenario::{channels, connect, fairness, fanout, idle, polls, publish};
use crate::target::Mode;

mod answers;
mod args;
mod ask;
mod callers;
mod chunked;
mod clock;
mod compare;
mod disk;
mod head;
mod interrupt;
mod journal;
mod ledger;
mod lines;
mod load;
mod loris;
mod meter;
mod metrics;
mod origin;
mod peers;
mod poller;
mod procfs;
mod proxy;
mod publisher;
mod push_stream;
mod reader;
mod report;
mod scenario;
mod sheet;
mod slowest;
mod sockets;
mod stamp;
mod subscriber;
mod svg;
mod swarm;
mod target;
mod torture;

/// Loads Server-Sent Events servers and checks every message
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Many subscribers, few messages: CPU and latency of a delivery
    Fanout {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: fanout::Options,
    },
    /// Everybody connects at once, fresh or behind
    Connect {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: connect::Options,
    },
    /// Many publishes: how many a second, and how long one takes
    Publish {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: publish::Options,
    },
    /// Subscribers that wait: memory and CPU of each
    Idle {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: idle::Options,
    },
    /// Clients that poll: memory of each, CPU and latency of their release
    Polls {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: polls::Options,
    },
    /// Many idle channels: memory of each, cost of a publish beside them
    Channels {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: channels::Options,
    },
    /// Many small channels beside one that is published flat out
    Fairness {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: fairness::Options,
    },
    /// Honest subscribers beside connections that are held in drops
    Loris {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: scenario::loris::Options,
    },
    /// All servers that are installed, the same work in turn, and a table
    Compare {
        #[command(flatten)]
        options: compare::Options,
    },
    /// Reverse proxies before an application, the same work in turn, and a table
    Proxy {
        #[command(flatten)]
        options: proxy::Options,
    },
    /// Push-stream routes beside native ones and nchan's: polls, event streams, streams, `WebSocket`s, and a table
    PushStream {
        #[command(flatten)]
        options: push_stream::Options,
    },
    /// Fantail with each of its journals, the same work in turn, and a table
    Journal {
        #[command(flatten)]
        options: journal::Options,
    },
    /// Kill, starve and damage a Fantail under load, and prove that nothing acknowledged is lost
    Torture {
        #[command(flatten)]
        options: torture::Options,
    },
    /// Serve as the comparison's axum server
    #[command(hide = true)]
    PeerAxum { listen: SocketAddr },
    /// Serve as the comparison's bare `send()` loop
    #[command(hide = true)]
    PeerBare { listen: SocketAddr },
    /// Serve as the application behind Pushpin
    #[command(hide = true)]
    GripOrigin { listen: SocketAddr },
}

fn main() -> ExitCode {
    clock::now();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fantail-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Fanout { common, options } => one(&common, |common| fanout::run(common, &options)),
        Command::Connect { common, options } => one(&common, |common| connect::run(common, &options)),
        Command::Publish { common, options } => one(&common, |common| publish::run(common, &options)),
        Command::Idle { common, options } => one(&common, |common| idle::run(common, &options)),
        Command::Polls { common, options } => {
            one(&Common { mode: Mode::Polls, ..common }, |common| polls::run(common, &options))
        }
        Command::Channels { common, options } => one(&common, |common| channels::run(common, &options)),
        Command::Fairness { common, options } => one(&common, |common| fairness::run(common, &options)),
        Command::Loris { common, options } => one(&common, |common| scenario::loris::run(common, &options)),
        Command::Compare { options } => compare::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Proxy { options } => proxy::run(&options).map(|()| ExitCode::SUCCESS),
        Command::PushStream { options } => push_stream::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Journal { options } => journal::run(&options),
        Command::Torture { options } => torture::run(&options),
        Command::PeerAxum { listen } => peers::axum::serve(listen).map(|()| ExitCode::SUCCESS),
        Command::GripOrigin { listen } => peers::grip_origin::serve(listen).map(|()| ExitCode::SUCCESS),
        Command::PeerBare { listen } => peers::bare::serve(listen).map(|()| ExitCode::SUCCESS),
    }
}

/// Runs one scenario and reports it; a run with faults fails.
fn one(common: &Common, scenario: impl FnOnce(&Common) -> anyhow::Result<Report>) -> anyhow::Result<ExitCode> {
    common.pin()?;
    let report = scenario(common)?;
    print!("{}", report.table());
    if let Some(path) = &common.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &common.svg {
        fs::write(path, svg::plot(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
