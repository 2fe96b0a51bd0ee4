//! Live messages to many subscribers of one channel while another connection writes much to other channels: how late the first become,
//! and what the server's memory holds afterwards.

use crate::clock::{self, SECOND, seconds};
use crate::journal::case::{BATCHES, batches};
use crate::journal::{Options, mebibytes};
use crate::load::{End, Load, Pace};
use crate::meter::Meter;
use crate::peers::stores::Server;
use crate::procfs;
use crate::publisher::Publisher;
use crate::report::Report;
use crate::sockets::allow_descriptors;
use crate::target::PublishTarget;

/// Batches a second that the writer's messages come in.
const BATCHES_PER_SECOND: u64 = 100;
/// How long publishers may be late with their last message before the rate counts as not kept.
const LATE: u64 = 5 * SECOND;
/// What a server may take to come to rest before its memory is read.
const SETTLE: u64 = 2 * SECOND;
/// Where the subscribers are; the others come behind it.
const LIVE: u32 = 0;
/// What the server counts.
const SEGMENTS: &str = "fantail_journal_segments";

pub(super) fn run(server: &Server, options: &Options) -> anyhow::Result<Report> {
    let Options { subscribers, channels, rate, beside, seconds: duration, .. } = *options;
    let settings = format!("{subscribers} subscribers, {rate} msg/s, beside {beside} msg/s to {channels} channels");
    let mut report = Report::new("mixed", settings);

    allow_descriptors(subscribers)?;
    let common = &server.common;
    let (mut swarm, publish) = common.swarm(1 + channels, 1)?;
    for _ in 0..subscribers {
        swarm.add_subscriber(&[LIVE], 0);
    }
    let together = (beside / BATCHES_PER_SECOND).max(1);
    let batches = batches(server);
    let beside_target = PublishTarget { template: batches.r#pub, format: batches.format, ..publish.clone() };
    let live = swarm.add_publisher(publish, common.in_flight, 1);
    let writer = swarm.add_publisher(beside_target, BATCHES, together as usize);
    swarm.connect_all()?;
    swarm.warm_up(live, &[LIVE])?;

    let meter = Meter::start(&common.pid);
    let first = clock::now() + SECOND / 20;
    let end = first + clock::from_seconds(duration);
    let pace = Pace::Every { first, interval: 1.0 / rate };
    swarm.publishers[live].start(Load::new(vec![LIVE], pace, End::At(end)));
    let others = (LIVE + 1..=channels as u32).collect();
    let pace = Pace::Bursts { first, interval: together as f64 / beside.max(1) as f64, size: together };
    swarm.publishers[writer].start(Load::new(others, pace, End::At(end)));
    if !swarm.run(end + LATE, |swarm| swarm.publishers.iter().all(Publisher::is_done))? {
        report.faults.push("the server did not take messages at this rate".into());
    }
    let written = &swarm.publishers[writer];
    let (accepted, took) = (written.accepted, written.last_accepted.saturating_sub(first));
    swarm.drain()?;
    let usage = meter.stop();
    swarm.run(clock::now() + SETTLE, |_| false)?;
    let ((resident, _), held) = (procfs::resident(&common.pid), server.held()?);

    let group = &swarm.ledger.groups[0];
    report.percentiles("latency", &group.latency);
    report.figure("written beside per second", accepted as f64 / seconds(took).max(duration), "1/s");
    report.figure("memory after", mebibytes(resident), "MiB");
    report.figure("memory in tails", mebibytes(held), "MiB");
    report.figure("memory besides tails", mebibytes(resident.saturating_sub(held)), "MiB");
    if let Some(segments) = server.metrics()?.value(SEGMENTS) {
        report.figure("segments", segments, "");
    }
    if let Some(bytes) = server.stored()? {
        report.figure("on disk", mebibytes(bytes), "MiB");
    }
    report.usage(&usage, "delivery", group.delivered);
    Ok(report.check(&swarm.ledger))
}
