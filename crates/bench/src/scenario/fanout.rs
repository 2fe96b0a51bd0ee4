//! Many subscribers, few messages: what one delivery costs, and how late it comes.

use clap::Args;

use crate::args::Common;
use crate::clock::{self, SECOND, seconds};
use crate::load::{End, Load, Pace};
use crate::meter::Meter;
use crate::report::Report;
use crate::scenario::search;
use crate::sockets::allow_descriptors;
use crate::swarm::Swarm;

/// How long a publisher may be late with its last message before the rate counts as not kept.
const LATE: u64 = 5 * SECOND;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Subscribers, each a connection
    #[arg(long, default_value_t = 10_000)]
    pub(crate) subscribers: usize,
    /// Channels that the subscribers are spread over and that are published to in turn
    #[arg(long, default_value_t = 1)]
    pub(crate) channels: usize,
    /// Channels of each subscriber: one that all share and that is published to, the others its own
    #[arg(long, default_value_t = 1)]
    pub(crate) channels_per_subscriber: usize,
    /// Messages a second, open loop
    #[arg(long, default_value_t = 20.0)]
    pub(crate) rate: f64,
    /// Seconds of publishing
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Publish as fast as the server answers
    #[arg(long)]
    pub(crate) flat_out: bool,
    /// With --flat-out: messages that may be on their way to the slowest subscriber (of several channels: the
    /// average one); must be below what the server keeps
    #[arg(long, default_value_t = 800)]
    pub(crate) window: u64,
    /// Find the highest rate, in steps of a quarter, at which every subscriber gets every message with a p99 of at most
    /// 250 ms
    #[arg(long)]
    pub(crate) search: bool,
}

pub(crate) fn run(common: &Common, options: &Options) -> anyhow::Result<Report> {
    if options.search { search::run(common, options) } else { step(common, options) }
}

/// One run at one rate, with a swarm of its own.
pub(crate) fn step(common: &Common, options: &Options) -> anyhow::Result<Report> {
    let Options { subscribers, channels, channels_per_subscriber: per, rate, .. } = *options;
    let (size, pace) = (common.size, if options.flat_out { "flat out".into() } else { format!("{rate:.1} msg/s") });
    let settings = format!("{subscribers} subscribers, {channels} channels, {per} each, {size} bytes, {pace}");
    let mut report = Report::new("fanout", settings);

    let (mut swarm, published) = populate(common, options)?;
    swarm.connect_all()?;
    swarm.warm_up(0, &published)?;

    let meter = Meter::start(&common.pid);
    let first = clock::now() + SECOND / 20;
    let end = first + clock::from_seconds(options.seconds);
    let pace = if options.flat_out {
        if channels == 1 {
            swarm.ledger.follow_slowest(0);
        }
        Pace::FlatOut { window: Some(options.window) }
    } else {
        Pace::Every { first, interval: 1.0 / rate }
    };
    swarm.publishers[0].start(Load::new(published, pace, End::At(end)));
    if !swarm.run(end + LATE, |swarm| swarm.publishers[0].is_done())? {
        report.faults.push("the server did not take messages at this rate".into());
    }
    swarm.drain()?;
    let usage = meter.stop();

    let group = &swarm.ledger.groups[0];
    let duration = seconds(group.last_read.saturating_sub(first)).max(options.seconds);
    report.figure("deliveries", group.delivered as f64, "");
    report.figure("deliveries per second", group.delivered as f64 / duration, "1/s");
    report.percentiles("latency", &group.latency);
    report.usage(&usage, "delivery", group.delivered);
    Ok(report.check(&swarm.ledger))
}

/// All subscribers and one publisher; says which channels to publish to.
fn populate(common: &Common, options: &Options) -> anyhow::Result<(Swarm, Vec<u32>)> {
    let Options { subscribers, channels, channels_per_subscriber: per, .. } = *options;
    allow_descriptors(subscribers)?;
    let own = per.max(1) - 1;
    let (mut swarm, publish) = common.swarm(channels + own * subscribers, 1)?;
    for n in 0..subscribers {
        let first_own = channels + n * own;
        let mine: Vec<u32> =
            std::iter::once(n % channels).chain(first_own..first_own + own).map(|c| c as u32).collect();
        swarm.add_subscriber(&mine, 0);
    }
    swarm.add_publisher(publish, common.in_flight, 1);
    Ok((swarm, (0..channels as u32).collect()))
}
