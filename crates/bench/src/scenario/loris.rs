//! Honest subscribers beside connections that are held in drops: do they notice? Latency before and during, on the same
//! subscribers.

use std::sync::atomic::Ordering;

use clap::Args;

use crate::args::Common;
use crate::clock::{self, SECOND};
use crate::load::{End, Load, Pace};
use crate::loris::Loris;
use crate::meter::Meter;
use crate::report::Report;
use crate::sockets::allow_descriptors;
use crate::swarm::Swarm;

/// How long the held connections may take to come.
const GATHERING: u64 = 60 * SECOND;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Honest subscribers of one channel
    #[arg(long, default_value_t = 1_000)]
    pub(crate) subscribers: usize,
    /// Connections that are held: a third each sends heads, sends bodies, and takes a stream in drops
    #[arg(long, default_value_t = 10_000)]
    pub(crate) held: usize,
    /// Where held bodies are sent to: a path that takes bodies
    #[arg(long, default_value = "/")]
    pub(crate) body_path: String,
    /// Messages a second, open loop
    #[arg(long, default_value_t = 20.0)]
    pub(crate) rate: f64,
    /// Seconds of publishing, before and during
    #[arg(long, default_value_t = 20.0)]
    pub(crate) seconds: f64,
}

pub(crate) fn run(common: &Common, options: &Options) -> anyhow::Result<Report> {
    let Options { subscribers, held, rate, seconds, .. } = *options;
    let settings = format!("{subscribers} subscribers at {rate} msg/s, {held} connections held, {seconds} s each");
    let mut report = Report::new("loris", settings);
    allow_descriptors(subscribers + held)?;
    let (mut swarm, publish) = common.swarm(2, 1)?;
    for _ in 0..subscribers {
        swarm.add_subscriber(&[0], 0);
    }
    swarm.add_publisher(publish, common.in_flight, 1);
    swarm.connect_all()?;
    swarm.warm_up(0, &[0])?;

    publish_for(&mut swarm, options)?;
    report.percentiles("latency before", &swarm.ledger.groups[0].latency);
    report.faults.extend(swarm.ledger.faults());
    swarm.ledger.restart();

    let stream = swarm.target().request([1].into_iter(), b"");
    let loris = Loris::start(common.sub.address, held, &stream, &options.body_path);
    let figures = loris.figures();
    // Heads are given up while others come: nine of ten is as many as there are at a time.
    let enough = (held - held / 10) as u64;
    swarm.run(clock::now() + GATHERING, |_| figures.open.load(Ordering::Relaxed) >= enough)?;
    let meter = Meter::start(&common.pid);
    publish_for(&mut swarm, options)?;
    let usage = meter.stop();
    report.percentiles("latency during", &swarm.ledger.groups[0].latency);
    for (name, number) in [("held", &figures.open), ("begun", &figures.begun), ("given up", &figures.given_up)] {
        report.figure(&format!("connections {name}"), number.load(Ordering::Relaxed) as f64, "");
    }
    report.usage(&usage, "delivery", swarm.ledger.delivered());
    Ok(report.check(&swarm.ledger))
}

fn publish_for(swarm: &mut Swarm, options: &Options) -> anyhow::Result<()> {
    let first = clock::now() + SECOND / 20;
    let end = first + clock::from_seconds(options.seconds);
    swarm.publishers[0].start(Load::new(vec![0], Pace::Every { first, interval: 1.0 / options.rate }, End::At(end)));
    swarm.run(end + 5 * SECOND, |swarm| swarm.publishers[0].is_done())?;
    swarm.drain()
}
