//! One channel with a crowd is published to flat out, while many small channels have their own slow traffic: how late
//! does that come?

use clap::Args;

use crate::args::Common;
use crate::clock::{self, SECOND, seconds};
use crate::load::{End, Load, Pace};
use crate::meter::Meter;
use crate::publisher::Publisher;
use crate::report::Report;
use crate::sockets::allow_descriptors;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Subscribers of the hot channel
    #[arg(long, default_value_t = 10_000)]
    pub(crate) subscribers: usize,
    /// Small channels, with one subscriber each
    #[arg(long, default_value_t = 1_000)]
    pub(crate) small: usize,
    /// Messages a second over all small channels together, open loop
    #[arg(long, default_value_t = 1_000.0)]
    pub(crate) rate: f64,
    /// Seconds of publishing
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Messages of the hot channel that may be on their way to its slowest subscriber; must be below what the server keeps
    #[arg(long, default_value_t = 800)]
    pub(crate) window: u64,
}

pub(crate) fn run(common: &Common, options: &Options) -> anyhow::Result<Report> {
    let Options { subscribers, small, rate, .. } = *options;
    let settings = format!("{small} small channels at {rate} msg/s beside one of {subscribers} subscribers flat out");
    let mut report = Report::new("fairness", settings);

    allow_descriptors(subscribers + small)?;
    let (mut swarm, publish) = common.swarm(1 + small, 2)?;
    for _ in 0..subscribers {
        swarm.add_subscriber(&[0], 0);
    }
    let channels: Vec<u32> = (1..=small as u32).collect();
    for channel in &channels {
        swarm.add_subscriber(&[*channel], 1);
    }
    swarm.make_urgent(subscribers..subscribers + small);
    for _ in 0..2 {
        swarm.add_publisher(publish.clone(), common.in_flight, 1);
    }
    swarm.connect_all()?;
    swarm.warm_up(0, &[0])?;
    swarm.warm_up(1, &channels)?;

    swarm.ledger.follow_slowest(0);
    let meter = Meter::start(&common.pid);
    let started = clock::now();
    let end = started + clock::from_seconds(options.seconds);
    swarm.publishers[0].start(Load::new(vec![0], Pace::FlatOut { window: Some(options.window) }, End::At(end)));
    let pace = Pace::Every { first: started + SECOND / 2, interval: 1.0 / rate };
    swarm.publishers[1].start(Load::new(channels, pace, End::At(end)));
    swarm.run(end + 5 * SECOND, |swarm| swarm.publishers.iter().all(Publisher::is_done))?;
    swarm.drain()?;
    let usage = meter.stop();

    let [hot, small] = &swarm.ledger.groups[..] else { unreachable!("there are two groups") };
    let duration = seconds(hot.last_read.saturating_sub(started)).max(f64::EPSILON);
    report.figure("hot deliveries per second", hot.delivered as f64 / duration, "1/s");
    report.percentiles("small channels", &small.latency);
    report.usage(&usage, "delivery", hot.delivered + small.delivered);
    Ok(report.check(&swarm.ledger))
}
