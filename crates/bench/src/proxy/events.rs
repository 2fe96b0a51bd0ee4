//! Streams through a proxy, with events on each, spread evenly over the time: what passing one on costs, and how late it comes.

use anyhow::ensure;

use crate::args::Common;
use crate::clock::{self, SECOND};
use crate::load::{End, Load, Pace};
use crate::meter::Meter;
use crate::origin::Origin;
use crate::proxy::Options;
use crate::report::Report;
use crate::sockets::allow_descriptors;

/// Streams whose latency is told. They wake the reader, the others do not: a proxy's `send()` that wakes a reader on the same
/// machine costs more than one to a client elsewhere.
const WATCHED: usize = 100;
/// How often a second the application sends, at most. Waking for every single event of 50,000 a second would leave its core no
/// time to read them.
const TICKS: u64 = 10_000;
/// How long the application may be late with its last event before the run counts as overloaded.
const LATE: u64 = 5 * SECOND;

pub(crate) fn run(common: &Common, origin: Origin, streams: usize, options: &Options) -> anyhow::Result<Report> {
    let Options { rate, seconds, .. } = *options;
    let settings = format!("{streams} streams, {} bytes, {rate} events/s each, {seconds} s", common.size);
    let mut report = Report::new("events", settings);

    ensure!(rate > 0 && streams > 0, "no events were asked for");
    allow_descriptors(2 * streams)?;
    let (mut swarm, _) = common.swarm(streams, 2)?;
    let stride = streams.div_ceil(WATCHED);
    let (watched, others): (Vec<u32>, Vec<u32>) = (0..streams as u32).partition(|n| n.is_multiple_of(stride as u32));
    for &channel in &watched {
        swarm.add_subscriber(&[channel], 1);
    }
    swarm.make_urgent(0..watched.len());
    for &channel in &others {
        swarm.add_subscriber(&[channel], 0);
    }
    swarm.attach(origin)?;
    swarm.connect_all()?;
    swarm.greet()?;

    let meter = Meter::start(&common.pid);
    let first = clock::now() + SECOND / 20;
    let end = first + clock::from_seconds(seconds);
    let all = rate * streams as u64;
    let size = all.div_ceil(TICKS);
    let pace = Pace::Bursts { first, interval: size as f64 / all as f64, size };
    swarm.feed(Load::new((0..streams as u32).collect(), pace, End::At(end)));
    if !swarm.run(end + LATE, crate::swarm::Swarm::is_fed)? {
        report.faults.push("the application could not send at this rate".into());
    }
    swarm.drain()?;
    let usage = meter.stop();

    let delivered = swarm.ledger.delivered();
    report.figure("events", delivered as f64, "");
    report.percentiles("latency", &swarm.ledger.groups[1].latency);
    report.usage(&usage, "event", delivered);
    Ok(report.check(&swarm.ledger))
}
