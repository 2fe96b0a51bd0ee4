//! Clients that poll and wait: a message releases all of them, and they come back. What one release costs, how late it comes,
//! and what memory a client takes that waits.

use clap::Args;

use crate::args::Common;
use crate::clock::{self, SECOND};
use crate::load::{End, Load, Pace};
use crate::meter::Meter;
use crate::procfs;
use crate::report::Report;
use crate::sockets::allow_descriptors;
use crate::swarm::Swarm;

/// What a server may take to come to rest before its memory is read.
const SETTLE: u64 = 3 * SECOND;
/// How long a publisher may be late with its last message before the rate counts as not kept.
const LATE: u64 = 5 * SECOND;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Clients, each with a connection that it keeps
    #[arg(long, default_value_t = 10_000)]
    pub(crate) clients: usize,
    /// Milliseconds between an answer and the next request; those of the push stream module's own client. In the rounds without a
    /// rate there is no pause
    #[arg(long, default_value_t = 100)]
    pub(crate) pause: u64,
    /// Messages a second, open loop: between two of them everybody has time to come back
    #[arg(long, default_value_t = 1.0)]
    pub(crate) rate: f64,
    /// Seconds of publishing at that rate, and then of publishing again as soon as everybody has the last message
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
}

pub(crate) fn run(common: &Common, options: &Options) -> anyhow::Result<Report> {
    let Options { clients, pause, rate, seconds } = *options;
    let mut report = Report::new(
        "polls",
        format!("{clients} clients, {} bytes, {rate} msg/s, {pause} ms, {seconds} s", common.size),
    );

    allow_descriptors(clients)?;
    let (mut swarm, publish) = common.swarm(1, 1)?;
    for _ in 0..clients {
        swarm.add_subscriber(&[0], 0);
    }
    swarm.add_publisher(publish, common.in_flight, 1);
    let memory = || procfs::pss(&procfs::family(&common.pid)) as f64;
    let before = memory();
    swarm.connect_all()?;
    swarm.run(clock::now() + SETTLE, |_| false)?;
    let fresh = memory();
    swarm.pause = pause * SECOND / 1000;
    swarm.warm_up(0, &[0])?;

    let meter = Meter::start(&common.pid);
    let first = clock::now() + SECOND;
    round(&mut swarm, Pace::Every { first, interval: 1.0 / rate }, first, seconds, &mut report)?;
    swarm.drain()?;
    // Whoever read the last message is on its way back.
    swarm.run(clock::now() + SECOND, |_| false)?;
    let usage = meter.stop();
    let group = &swarm.ledger.groups[0];
    report.percentiles("released", &group.latency);
    report.usage(&usage, "release", group.delivered);
    let mut report = report.check(&swarm.ledger);

    swarm.pause = 0;
    swarm.start_counting();
    swarm.ledger.follow_slowest(0);
    let first = clock::now();
    round(&mut swarm, Pace::FlatOut { window: Some(1) }, first, seconds, &mut report)?;
    swarm.drain()?;
    let group = &swarm.ledger.groups[0];
    let curve = std::mem::take(&mut report.curve);
    report.percentiles("released and back again", &group.latency);
    report.curve = curve;
    report.figure("rounds", group.delivered as f64 / clients as f64, "");
    swarm.run(clock::now() + SETTLE, |_| false)?;
    let later = memory();

    let each = |bytes: f64| bytes / clients as f64;
    report.figure("memory per client", each(fresh - before), "bytes");
    report.figure("memory per client after the rounds", each(later - before), "bytes");
    Ok(report.check(&swarm.ledger))
}

/// Publishes for so long, from `first` on.
fn round(swarm: &mut Swarm, pace: Pace, first: u64, seconds: f64, report: &mut Report) -> anyhow::Result<()> {
    let end = first + clock::from_seconds(seconds);
    swarm.publishers[0].start(Load::new(vec![0], pace, End::At(end)));
    if !swarm.run(end + LATE, |swarm| swarm.publishers[0].is_done())? {
        report.faults.push("the server did not take messages at this rate".into());
    }
    Ok(())
}
