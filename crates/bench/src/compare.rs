//! The comparison: every server that is installed, each alone on one core, the same work in turn, rounds of it, and one
//! table of medians with their ranges.

mod case;

use clap::{Args, ValueEnum};

use crate::args::{Common, defaults};
use crate::compare::case::Case;
use crate::peers::{Peer, Place};
use crate::report::Report;
use crate::sheet::{Files, Outcome, Sheet};

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
    #[command(flatten)]
    place: Place,
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
    #[command(flatten)]
    files: Files,
}

/// Runs the comparison and writes its table.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let place = &options.place;
    let common = Common { cpu: Some(place.load_cpu), ..defaults() };
    common.pin()?;
    crate::sockets::allow_descriptors(0)?;

    let mut sheet = Sheet::default();
    let cases = chosen(&options.scenarios);
    sheet.rows = cases.iter().flat_map(|case| case.rows()).collect();
    let mut peers = chosen(&options.only);
    peers.retain(|peer| sheet.admit(peer.title(), peer.missing(place), || (peer.version(place), peer.configuration())));
    for round in 1..=options.rounds {
        for &case in &cases {
            for &peer in peers.iter().filter(|&&peer| case.suits(peer)) {
                eprintln!("round {round}, {}, {}", case.name(), peer.title());
                let report = one(case, peer, place, &common, options);
                eprint!("{}", report.table());
                let (case, server) = (case.name().to_owned(), peer.title());
                sheet.outcomes.push(Outcome { case, server, round, report });
            }
        }
    }
    sheet.publish(&options.files)
}

/// One case with a server of its own; what fails is a report too.
fn one(case: Case, peer: Peer, place: &Place, common: &Common, options: &Options) -> Report {
    let report = peer.start(place, common).and_then(|running| case.run(&running, options));
    Report::or_fault(case.name(), report)
}

/// What was asked for, or all there is.
pub(crate) fn chosen<T: ValueEnum>(asked: &[T]) -> Vec<T> {
    if asked.is_empty() { T::value_variants().to_vec() } else { asked.to_vec() }
}
