//! The comparison: every server that is installed, each alone on one core, the same work in turn, rounds of it, and one
//! table of medians with their ranges.

mod case;
mod markdown;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::args::{Common, defaults};
use crate::compare::case::Case;
use crate::peers::{Peer, Place};
use crate::report::Report;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Servers to compare
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Peer>,
    /// Work to compare them by
    #[arg(long, value_enum, value_delimiter = ',')]
    scenarios: Vec<Case>,
    /// Times that everything is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The fantail binary
    #[arg(long, default_value = "target/release/fantail")]
    fantail: PathBuf,
    /// The server's core
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// The load's core
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// Subscribers where there are many
    #[arg(long, default_value_t = 10_000)]
    subscribers: usize,
    /// Subscribers that only wait
    #[arg(long, default_value_t = 19_000)]
    idle: usize,
    /// Channels that only hold a message
    #[arg(long, default_value_t = 1_000_000)]
    channels: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Write the table as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Write all reports as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What came of one case with one server in one round.
#[derive(Debug, serde::Serialize)]
struct Outcome {
    case: &'static str,
    #[serde(skip)]
    key: (Case, &'static str),
    server: &'static str,
    round: usize,
    report: Report,
}

/// All that the table is made from.
#[derive(Debug)]
struct Comparison {
    peers: Vec<Peer>,
    cases: Vec<Case>,
    outcomes: Vec<Outcome>,
    /// Servers that could not be measured, and why.
    missing: Vec<String>,
}

/// Runs the comparison and writes its table.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { server_cpu, load_cpu, .. } = *options;
    let place = Place { fantail: options.fantail.clone(), server_cpu, load_cpu };
    let common = Common { cpu: Some(load_cpu), ..defaults() };
    common.pin()?;
    crate::sockets::allow_descriptors(0)?;

    let mut comparison =
        Comparison { peers: Vec::new(), cases: chosen(&options.scenarios), outcomes: Vec::new(), missing: Vec::new() };
    for peer in chosen(&options.only) {
        match peer.missing(&place) {
            None => comparison.peers.push(peer),
            Some(why) => comparison.missing.push(format!("{} was not measured: {why}", peer.title())),
        }
    }
    for round in 1..=options.rounds {
        for &case in &comparison.cases {
            for &peer in comparison.peers.iter().filter(|&&peer| case.suits(peer)) {
                eprintln!("round {round}, {}, {}", case.name(), peer.title());
                let report = one(case, peer, &place, &common, options);
                eprint!("{}", report.table());
                let (name, server) = (case.name(), peer.title());
                comparison.outcomes.push(Outcome { case: name, key: (case, server), server, round, report });
            }
        }
    }

    let table = markdown::table(&comparison, &place);
    println!("{table}");
    let write = |path: &Option<PathBuf>, text: &str| match path {
        Some(path) => fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
        None => Ok(()),
    };
    write(&options.markdown, &table)?;
    write(&options.json, &serde_json::to_string_pretty(&comparison.outcomes)?)
}

/// One case with a server of its own; what fails is a report too.
fn one(case: Case, peer: Peer, place: &Place, common: &Common, options: &Options) -> Report {
    let report = peer.start(place, common).and_then(|running| case.run(&running, options));
    report.unwrap_or_else(|error| {
        let mut report = Report::new(case.name(), String::new());
        report.faults.push(format!("{error:#}"));
        report
    })
}

/// What was asked for, or all there is.
fn chosen<T: ValueEnum>(asked: &[T]) -> Vec<T> {
    if asked.is_empty() { T::value_variants().to_vec() } else { asked.to_vec() }
}
