//! Reverse proxies in comparison: each alone on one core, the load and the application behind it on the other, the same work
//! in turn, rounds of it, and one table of medians with their ranges.

mod case;
mod events;
mod get;
mod memory;
mod shared;

use clap::Args;

use crate::args::{Common, defaults};
use crate::compare::chosen;
use crate::origin::Origin;
use crate::peers::Place;
use crate::peers::proxies::Proxy;
use crate::proxy::case::{Case, Work};
use crate::report::Report;
use crate::sheet::{Files, Outcome, Sheet};

/// Figures that are also told as what they are above the direct connection's.
const ADDED: [(&str, &str); 2] = [("latency p50", "added latency p50"), ("latency p99", "added latency p99")];

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Proxies to compare
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Proxy>,
    /// Work to compare them by
    #[arg(long, value_enum, value_delimiter = ',')]
    scenarios: Vec<Case>,
    /// Times that everything is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    place: Place,
    /// Streams that are sent events; each number is a measurement of its own
    #[arg(long, value_delimiter = ',', default_value = "1000,5000")]
    streams: Vec<usize>,
    /// Events a second on each of them
    #[arg(long, default_value_t = 10)]
    rate: u64,
    /// Streams that only wait
    #[arg(long, default_value_t = 5_000)]
    idle: usize,
    /// Connections with GETs, one at a time on each
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Viewers of one shared stream
    #[arg(long, default_value_t = 10_000)]
    viewers: usize,
    /// Events a second of the shared stream
    #[arg(long, default_value_t = 20.0)]
    shared_rate: f64,
    /// Bytes of data in an event
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    #[command(flatten)]
    files: Files,
}

/// Runs the comparison and writes its table.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let place = &options.place;
    let common = Common { cpu: Some(place.load_cpu), size: options.size, ..defaults() };
    common.pin()?;
    crate::sockets::allow_descriptors(0)?;

    let mut sheet = Sheet::default();
    let mut proxies = chosen(&options.only);
    proxies.retain(|proxy| {
        sheet.admit(proxy.title(), proxy.missing(place), || (proxy.version(place), proxy.configuration()))
    });
    let mut works: Vec<Work> = chosen(&options.scenarios).into_iter().flat_map(|case| case.works(options)).collect();
    works.retain(|work| proxies.iter().any(|&proxy| work.suits(proxy)));
    sheet.rows = works.iter().flat_map(|work| work.rows(options)).collect();
    for round in 1..=options.rounds {
        for &work in &works {
            let first = sheet.outcomes.len();
            for &proxy in proxies.iter().filter(|&&proxy| work.suits(proxy)) {
                let (case, server) = (work.name(), proxy.title());
                eprintln!("round {round}, {case}, {server}");
                let mut report = one(work, proxy, &common, options);
                let direct = sheet.outcomes[first..].iter().find(|outcome| outcome.server == Proxy::Direct.title());
                if let Some(direct) = direct {
                    compare(&mut report, &direct.report);
                }
                eprint!("{}", report.table());
                sheet.outcomes.push(Outcome { case, server, round, report });
            }
        }
    }
    sheet.publish(&options.files)
}

/// One kind of work with a proxy and an application of its own; what fails is a report too.
fn one(work: Work, proxy: Proxy, common: &Common, options: &Options) -> Report {
    let report = Origin::listen().and_then(|origin| {
        let running = proxy.start(&options.place, common, origin.address, work == Work::Shared)?;
        work.run(running, origin, common, options)
    });
    Report::or_fault(&work.name(), report)
}

/// Adds what the proxy's latencies are above the direct connection's of the same round.
fn compare(report: &mut Report, direct: &Report) {
    for (figure, added) in ADDED {
        if let (Some(with), Some(without)) = (report.value(figure), direct.value(figure)) {
            report.figure(added, with - without, "ms");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compare_tells_what_was_added() {
        let (mut report, mut direct) = (Report::new("a", String::new()), Report::new("b", String::new()));
        report.figure("latency p99", 3.0, "ms");
        compare(&mut report, &direct);
        assert_eq!(report.value("added latency p99"), None);
        direct.figure("latency p99", 2.0, "ms");
        compare(&mut report, &direct);
        assert_eq!(report.value("added latency p99"), Some(1.0));
        assert_eq!(report.value("added latency p50"), None);
    }
}
