//! Everybody comes at once: fresh, or back from an interruption with messages to catch up on, while others listen.

use clap::Args;

use crate::args::Common;
use crate::clock::{self, SECOND, seconds};
use crate::load::{End, Load, Pace};
use crate::meter::Meter;
use crate::report::Report;
use crate::sockets::allow_descriptors;
use crate::swarm::Swarm;

/// A run is given up after this.
const DEADLINE: u64 = 120 * SECOND;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Clients that come at once
    #[arg(long, default_value_t = 10_000)]
    pub(crate) subscribers: usize,
    /// Messages that were published while they were away, each of which they must get
    #[arg(long, default_value_t = 0)]
    pub(crate) behind: u64,
    /// Subscribers of another channel, whose latency is watched meanwhile
    #[arg(long, default_value_t = 0)]
    pub(crate) bystanders: usize,
    /// Messages a second for the bystanders
    #[arg(long, default_value_t = 20.0)]
    pub(crate) rate: f64,
}

pub(crate) fn run(common: &Common, options: &Options) -> anyhow::Result<Report> {
    let Options { subscribers, behind, bystanders, .. } = *options;
    let settings = format!("{subscribers} clients at once, {behind} messages behind, {bystanders} bystanders");
    let mut report = Report::new("connect", settings);

    allow_descriptors(subscribers + bystanders)?;
    let (mut swarm, publish) = common.swarm(2, 2)?;
    for n in 0..subscribers + bystanders {
        let other = u8::from(n >= subscribers);
        swarm.add_subscriber(&[u32::from(other)], other);
    }
    swarm.make_urgent(subscribers..subscribers + bystanders);
    for _ in 0..2 {
        swarm.add_publisher(publish.clone(), common.in_flight, 1);
    }
    if behind > 0 {
        swarm.connect_all()?;
        swarm.warm_up(1, &[1])?;
        swarm.fall_behind(0..subscribers, 0, 0, behind)?;
    } else if bystanders > 0 {
        swarm.connect(subscribers..subscribers + bystanders);
        swarm.wait_open(bystanders as u64)?;
        swarm.warm_up(1, &[1])?;
    }

    let started = clock::now() + SECOND;
    if bystanders > 0 {
        let pace = Pace::Every { first: started - SECOND / 2, interval: 1.0 / options.rate };
        swarm.publishers[1].start(Load::new(vec![1], pace, End::At(started + DEADLINE)));
    }
    swarm.run(started, |_| false)?;
    let meter = Meter::start(&common.pid);
    let started = clock::now();
    swarm.connect_window = subscribers;
    swarm.connect(0..subscribers);
    let everybody = (subscribers + bystanders) as u64;
    let done = |swarm: &Swarm| {
        swarm.ledger.ended > 0 || swarm.ledger.open == everybody && swarm.ledger.groups[0].outstanding() == 0
    };
    if !swarm.run(started + DEADLINE, done)? {
        report.faults.push(format!("{} of {everybody} streams open after two minutes", swarm.ledger.open));
    }
    let usage = meter.stop();
    let took = usage.elapsed;
    swarm.publishers[1].load = None;
    swarm.drain()?;

    let what = if behind > 0 { "all caught up after" } else { "all connected after" };
    report.figure(what, seconds(took), "s");
    report.percentiles("stream open", &swarm.ledger.opening);
    if bystanders > 0 {
        report.percentiles("bystanders", &swarm.ledger.groups[1].latency);
    }
    report.usage(&usage, "client", subscribers as u64);
    Ok(report.check(&swarm.ledger))
}
