//! Subscribers that wait: what memory and what CPU each of them costs the server, fresh and after much coming and going.

use clap::Args;

use crate::args::Common;
use crate::clock::{self, SECOND};
use crate::meter::Meter;
use crate::procfs;
use crate::report::Report;
use crate::sockets::allow_descriptors;

/// What a server may take to come to rest before its memory is read.
const SETTLE: u64 = 3 * SECOND;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Subscribers, each a connection
    #[arg(long, default_value_t = 19_000)]
    pub(crate) subscribers: usize,
    /// Channels that they are spread over
    #[arg(long, default_value_t = 1)]
    pub(crate) channels: usize,
    /// Times that all leave and come back
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Seconds of waiting over which CPU is measured
    #[arg(long, default_value_t = 30.0)]
    pub(crate) seconds: f64,
}

pub(crate) fn run(common: &Common, options: &Options) -> anyhow::Result<Report> {
    let Options { subscribers, channels, rounds, seconds } = *options;
    let settings = format!("{subscribers} subscribers, {channels} channels, {rounds} rounds, {seconds} s");
    let mut report = Report::new("idle", settings);
    anyhow::ensure!(!common.pid.is_empty(), "idle measures the server's memory: it needs --pid");

    allow_descriptors(subscribers)?;
    let (mut swarm, _) = common.swarm(channels, 1)?;
    for n in 0..subscribers {
        swarm.add_subscriber(&[(n % channels) as u32], 0);
    }
    let memory = || procfs::pss(&procfs::family(&common.pid)) as f64;
    let (before, kernel_before) = (memory(), procfs::kernel());
    swarm.connect_all()?;
    swarm.run(clock::now() + SETTLE, |_| false)?;
    let (fresh, kernel) = (memory(), procfs::kernel());

    let meter = Meter::start(&common.pid);
    swarm.run(clock::now() + clock::from_seconds(seconds), |_| false)?;
    let usage = meter.stop();

    for _ in 0..rounds {
        swarm.leave(0..subscribers);
        swarm.run(clock::now() + SETTLE, |_| false)?;
        swarm.connect_all()?;
    }
    swarm.run(clock::now() + SETTLE, |_| false)?;
    let later = memory();

    let each = |bytes: f64| bytes / subscribers as f64;
    report.figure("memory per subscriber", each(fresh - before), "bytes");
    report.figure("memory per subscriber after the rounds", each(later - before), "bytes");
    report.figure("server memory without subscribers", before / 1024.0 / 1024.0, "MiB");
    let kernel = [(kernel.0, kernel_before.0), (kernel.1, kernel_before.1)].map(|(a, b)| each(a as f64 - b as f64));
    report.figure("kernel TCP buffers per connection", kernel[0], "bytes");
    report.figure("kernel slab per connection, both ends", kernel[1], "bytes");
    report.figure("comments read", swarm.ledger.comments as f64, "");
    report.usage(&usage, "subscriber", subscribers as u64);
    Ok(report.check(&swarm.ledger))
}
