//! Fantail's journals in comparison: each alone on one core with files of its own, the load on the other, the same work in turn,
//! rounds of it, and one table of medians with their ranges.

mod case;
mod herd;
mod mixed;
mod publish;
mod replay;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;

use crate::args::{Common, defaults};
use crate::compare::chosen;
use crate::disk::FileSystem;
use crate::interrupt;
use crate::journal::case::Case;
use crate::peers::stores::Store;
use crate::peers::{Place, process};
use crate::report::Report;
use crate::sheet::{Column, Files, Outcome, Sheet};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Journals to compare
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Store>,
    /// Work to compare them by
    #[arg(long, value_enum, value_delimiter = ',')]
    scenarios: Vec<Case>,
    /// Times that everything is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    place: Place,
    /// Where data directories are made, each for one run; should be on a real disk
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Bytes of data in a message
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Connections that publish, one message at a time on each
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Channels that are published to
    #[arg(long, default_value_t = 1_000)]
    channels: usize,
    /// Subscribers of a live channel
    #[arg(long, default_value_t = 10_000)]
    subscribers: usize,
    /// Messages a second of a live channel
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Messages a second that are written to other channels meanwhile
    #[arg(long, default_value_t = 50_000)]
    beside: u64,
    /// Messages that one subscriber is behind
    #[arg(long, default_value_t = 1_000_000)]
    replayed: u64,
    /// Subscribers that resume at once
    #[arg(long, default_value_t = 1_000)]
    resuming: usize,
    /// Messages that each of them is behind
    #[arg(long, default_value_t = 100_000)]
    behind: u64,
    /// Subscribers of another channel, whose latency is watched meanwhile
    #[arg(long, default_value_t = 1_000)]
    bystanders: usize,
    /// Messages that a start finds
    #[arg(long, default_value_t = 10_000_000)]
    stored: u64,
    /// Channels that hold them
    #[arg(long, default_value_t = 100_000)]
    stored_channels: usize,
    #[command(flatten)]
    files: Files,
}

/// Runs the comparison and writes its table; fails if a run had a fault.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let place = &options.place;
    let common = Common { cpu: Some(place.load_cpu), size: options.size, ..defaults() };
    ensure!(place.fantail.exists(), "{} is not there", place.fantail.display());
    interrupt::listen()?;
    common.pin()?;
    crate::sockets::allow_descriptors(0)?;

    let mut sheet = Sheet { notes: where_data_lies(options)?, ..Sheet::default() };
    let mut stores = chosen(&options.only);
    stores.sort_unstable(); // what others are told against comes first
    for store in &stores {
        let version = process::output(place.fantail.as_os_str(), "--version");
        sheet.columns.push(Column { title: store.title(), version, configuration: store.configuration() });
    }
    let mut cases = chosen(&options.scenarios);
    cases.retain(|case| stores.iter().any(|&store| case.suits(store)));
    sheet.rows = cases.iter().flat_map(|case| case.rows(options)).collect();
    for round in 1..=options.rounds {
        for &case in &cases {
            let first = sheet.outcomes.len();
            for &store in stores.iter().filter(|&&store| case.suits(store)) {
                eprintln!("round {round}, {}, {}", case.name(), store.title());
                let mut report = one(case, store, &common, options);
                interrupt::check()?;
                compare(&mut report, case, &sheet.outcomes[first..]);
                eprint!("{}", report.table());
                let (case, server) = (case.name().to_owned(), store.title());
                sheet.outcomes.push(Outcome { case, server, round, report });
            }
        }
    }
    sheet.publish(&options.files)?;
    Ok(if sheet.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The disk that figures are about.
fn where_data_lies(options: &Options) -> anyhow::Result<Vec<String>> {
    let system = FileSystem::of(&options.dir)?;
    let (dir, FileSystem { kind, source }) = (options.dir.display(), &system);
    let mut notes = vec![format!("data lay in {dir}, on {kind} ({source})")];
    if system.is_memory() {
        notes.push(format!("{kind} is memory: nothing here says what a disk does"));
    }
    Ok(notes)
}

/// One case with a server of its own; what fails is a report too.
fn one(case: Case, store: Store, common: &Common, options: &Options) -> Report {
    let server = store.start(&options.place, common, &options.dir, case.settings());
    Report::or_fault(case.name(), server.and_then(|server| case.run(server, store, options)))
}

/// Adds what figures are beside those of other journals in the same round.
fn compare(report: &mut Report, case: Case, others: &[Outcome]) {
    for &(figure, other, name) in case.ratios() {
        let other = others.iter().find(|outcome| outcome.server == other.title());
        let other = other.and_then(|outcome| outcome.report.value(figure));
        if let (Some(this), Some(other)) = (report.value(figure), other) {
            report.figure(name, this / other, "×");
        }
    }
}

/// For reports.
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn outcome(store: Store, p99: Option<f64>) -> Outcome {
        let mut report = Report::new("live", String::new());
        if let Some(p99) = p99 {
            report.figure("latency p99", p99, "ms");
        }
        Outcome { case: "live".into(), server: store.title(), round: 1, report }
    }

    #[test]
    fn compare_tells_ratios_to_what_was_measured() {
        let mut this = outcome(Store::Os, Some(3.0)).report;
        compare(&mut this, Case::Live, &[outcome(Store::Memory, None)]);
        assert_eq!(this.value("latency p99 by memory's"), None);
        compare(&mut this, Case::Live, &[outcome(Store::Memory, Some(2.0))]);
        assert_eq!(this.value("latency p99 by memory's"), Some(1.5));
    }

    #[test]
    fn options_choose_journals_and_work() {
        let line = ["journal", "--only", "fsync,os", "--scenarios", "start,herd", "--stored", "7"];
        let Line { options } = Line::try_parse_from(line).unwrap();
        assert_eq!(options.only, [Store::Fsync, Store::Os]);
        assert_eq!((options.scenarios, options.stored), (vec![Case::Start, Case::Herd], 7));
        assert!(Line::try_parse_from(["journal", "--only", "tape"]).is_err());
    }

    #[test]
    fn directory_that_is_not_there_is_refused() {
        let Line { options } = Line::try_parse_from(["journal", "--dir", "/nowhere/at/all"]).unwrap();
        assert_eq!(where_data_lies(&options).unwrap_err().to_string(), "cannot find /nowhere/at/all");
    }
}
