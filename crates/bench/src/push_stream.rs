//! The ways in which subscribers can be sent messages, in comparison: Fantail's push-stream routes beside its native ones and nchan's,
//! each alone on one core, the same work in turn, rounds of it, and one table of medians with their ranges.

mod case;

use clap::Args;

use crate::args::{Common, defaults};
use crate::compare::chosen;
use crate::peers::Place;
use crate::peers::routes::Routes;
use crate::push_stream::case::Case;
use crate::report::Report;
use crate::sheet::{Files, Outcome, Sheet};

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Routes to compare
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Routes>,
    /// Work to compare them by
    #[arg(long, value_enum, value_delimiter = ',')]
    scenarios: Vec<Case>,
    /// Times that everything is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    place: Place,
    /// Subscribers, or clients that poll
    #[arg(long, default_value_t = 10_000)]
    subscribers: usize,
    /// Messages a second to those who need not come back for each
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Messages a second to those who poll
    #[arg(long, default_value_t = 1.0)]
    poll_rate: f64,
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
    sheet.rows = cases.iter().flat_map(|case| case.rows(options)).collect();
    let mut servers = chosen(&options.only);
    servers.retain(|routes| {
        sheet.admit(routes.title(), routes.missing(place), || (routes.version(place), routes.configuration()))
    });
    for round in 1..=options.rounds {
        for &case in &cases {
            for &routes in servers.iter().filter(|routes| routes.knows(case.mode())) {
                eprintln!("round {round}, {}, {}", case.name(), routes.title());
                let report = one(case, routes, &common, options);
                eprint!("{}", report.table());
                sheet.outcomes.push(Outcome { case: case.name().into(), server: routes.title(), round, report });
            }
        }
    }
    sheet.publish(&options.files)
}

/// One case with a server of its own; what fails is a report too.
fn one(case: Case, routes: Routes, common: &Common, options: &Options) -> Report {
    let report = routes.start(&options.place, common, case.mode()).and_then(|running| case.run(&running, options));
    Report::or_fault(case.name(), report)
}
