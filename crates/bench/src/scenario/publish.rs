//! Many publishes: how many a second one connection brings in, and how long one takes from its POST to its 200.

use clap::Args;

use crate::args::Common;
use crate::clock::{self, SECOND, seconds};
use crate::load::{End, Load, Pace};
use crate::meter::Meter;
use crate::report::Report;
use crate::sockets::allow_descriptors;
use crate::target::Format;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Channels that are published to in turn
    #[arg(long, default_value_t = 10_000)]
    pub(crate) channels: usize,
    /// Subscribers of each channel
    #[arg(long, default_value_t = 1)]
    pub(crate) subscribers_per_channel: usize,
    /// Seconds of publishing
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Messages a second, open loop, instead of as fast as answers come
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Publish by batches in NDJSON; --pub is then the batch endpoint
    #[arg(long)]
    pub(crate) ndjson: bool,
    /// With --ndjson: messages in a request
    #[arg(long, default_value_t = 1000)]
    pub(crate) batch: usize,
}

pub(crate) fn run(common: &Common, options: &Options) -> anyhow::Result<Report> {
    let Options { channels, subscribers_per_channel: per, .. } = *options;
    let in_flight = common.in_flight;
    let batch = if options.ndjson { options.batch } else { 1 };
    let settings =
        format!("{channels} channels, {per} subscribers each, {in_flight} requests in flight, {batch} messages each");
    let mut report = Report::new("publish", settings);

    allow_descriptors(channels * per)?;
    let (mut swarm, mut publish) = common.swarm(channels, 1)?;
    if options.ndjson {
        publish.format = Format::Ndjson;
    }
    for n in 0..channels * per {
        swarm.add_subscriber(&[(n % channels) as u32], 0);
    }
    swarm.add_publisher(publish, in_flight, batch);
    swarm.connect_all()?;
    let all: Vec<u32> = (0..channels as u32).collect();
    swarm.warm_up(0, &all)?;

    let meter = Meter::start(&common.pid);
    let first = clock::now();
    let end = first + clock::from_seconds(options.seconds);
    let pace = options.rate.map_or(Pace::FlatOut { window: None }, |rate| Pace::Every { first, interval: 1.0 / rate });
    swarm.publishers[0].start(Load::new(all, pace, End::At(end)));
    swarm.run(end + 5 * SECOND, |swarm| swarm.publishers[0].is_done())?;
    swarm.drain()?;
    let usage = meter.stop();

    let publisher = &swarm.publishers[0];
    let duration = seconds(publisher.last_accepted.saturating_sub(first)).max(f64::EPSILON);
    report.figure("publishes per second", publisher.accepted as f64 / duration, "1/s");
    report.percentiles("latency", &swarm.ledger.groups[0].latency);
    report.percentiles("answer", &publisher.latency);
    report.usage(&usage, "publish", publisher.accepted);
    Ok(report.check(&swarm.ledger))
}
