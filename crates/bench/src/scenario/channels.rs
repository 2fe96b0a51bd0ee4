//! Many channels that hold one message and that nobody reads: what memory each costs, and whether publishing to some of
//! them costs more than if they were alone.

use clap::Args;

use crate::args::Common;
use crate::clock::{self, SECOND};
use crate::meter::Meter;
use crate::procfs;
use crate::report::Report;
use crate::sockets::allow_descriptors;
use crate::swarm::Swarm;
use crate::target::{Format, PublishTarget, Template};

/// What a server may take to come to rest before its memory is read.
const SETTLE: u64 = 2 * SECOND;
/// Messages in a request that fills channels.
const BATCH: usize = 1000;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Channels in the end
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) channels: usize,
    /// Channels to begin with, and those that are published to when the cost is measured
    #[arg(long, default_value_t = 1_000)]
    pub(crate) few: usize,
    /// Publishes when the cost is measured
    #[arg(long, default_value_t = 200_000)]
    pub(crate) publishes: u64,
    /// The server's NDJSON endpoint, to fill the channels faster than by one POST each
    #[arg(long)]
    pub(crate) fill: Option<Template>,
}

pub(crate) fn run(common: &Common, options: &Options) -> anyhow::Result<Report> {
    let Options { channels, few, publishes, .. } = *options;
    let mut report = Report::new("channels", format!("{channels} channels of one message, {few} published to"));
    anyhow::ensure!(!common.pid.is_empty(), "channels measures the server's memory: it needs --pid");
    anyhow::ensure!(0 < few && few < channels, "--few must be between 0 and --channels");

    allow_descriptors(0)?;
    let (mut swarm, publish) = common.swarm(channels, 1)?;
    swarm.add_publisher(publish.clone(), common.in_flight, 1);
    let (fill, batch) = match &options.fill {
        Some(template) => (PublishTarget { template: template.clone(), format: Format::Ndjson, ..publish }, BATCH),
        None => (publish, 1),
    };
    swarm.add_publisher(fill, common.in_flight.min(4 * BATCH / batch), batch);

    let first: Vec<u32> = (0..few as u32).collect();
    let rest: Vec<u32> = (few as u32..channels as u32).collect();
    let spread: Vec<u32> = rest.iter().copied().step_by((rest.len() / few).max(1)).take(few).collect();
    let memory = || procfs::pss(&procfs::family(&common.pid)) as f64;

    swarm.send(1, first.clone(), few as u64)?;
    cost(&mut swarm, common, &mut report, "few", first, publishes)?;
    let before = memory();
    let count = rest.len() as u64;
    swarm.send(1, rest, count)?;
    swarm.run(clock::now() + SETTLE, |_| false)?;
    let after = memory();
    report.figure("memory per channel", (after - before) / count as f64, "bytes");
    cost(&mut swarm, common, &mut report, "all", spread, publishes)?;
    Ok(report.check(&swarm.ledger))
}

/// What a publish costs with few channels or with all.
fn cost(
    swarm: &mut Swarm,
    common: &Common,
    report: &mut Report,
    with: &str,
    channels: Vec<u32>,
    publishes: u64,
) -> anyhow::Result<()> {
    let meter = Meter::start(&common.pid);
    swarm.send(0, channels, publishes)?;
    let usage = meter.stop();
    let rate = publishes as f64 * SECOND as f64 / usage.elapsed as f64;
    report.figure(&format!("publishes per second, {with}"), rate, "1/s");
    let server = usage.server.unwrap_or(0) as f64;
    report.figure(&format!("server CPU per publish, {with}"), server / 1000.0 / publishes as f64, "µs");
    Ok(())
}
