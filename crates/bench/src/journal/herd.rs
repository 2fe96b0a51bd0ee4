//! Many subscribers that come back at once, all far behind, while others are sent live messages: how fast they are given what they
//! missed, what memory that takes, and how late the others' messages become. Ends when the time is over, whether all have caught up
//! or not.

use crate::clock::{self, SECOND, seconds};
use crate::journal::case::{BATCH, batches};
use crate::journal::{Options, mebibytes};
use crate::ledger::histogram;
use crate::load::{End, Load, Pace};
use crate::meter::Meter;
use crate::peers::stores::Server;
use crate::procfs;
use crate::report::Report;
use crate::sockets::allow_descriptors;

/// What a server may take to come to rest before its memory is read.
const SETTLE: u64 = 2 * SECOND;
/// Channels of those who resume, and of the others; and their groups in the books.
const MISSED: u32 = 0;
const LIVE: u32 = 1;

pub(super) fn run(server: &Server, options: &Options) -> anyhow::Result<Report> {
    let Options { resuming, behind, bystanders, rate, seconds: duration, .. } = *options;
    let settings = format!("{resuming} subscribers {behind} messages behind, {bystanders} bystanders, {duration} s");
    let mut report = Report::new("herd", settings);

    allow_descriptors(resuming + bystanders)?;
    let common = batches(server);
    let (mut swarm, publish) = common.swarm(2, 2)?;
    for _ in 0..resuming {
        swarm.add_subscriber(&[MISSED], MISSED as u8);
    }
    for _ in 0..bystanders {
        swarm.add_subscriber(&[LIVE], LIVE as u8);
    }
    swarm.make_urgent(resuming..resuming + bystanders);
    let filler = swarm.add_publisher(publish.clone(), common.in_flight, BATCH);
    let live = swarm.add_publisher(publish, common.in_flight, 1);
    swarm.connect_all()?;
    swarm.warm_up(live, &[LIVE])?;
    swarm.fall_behind(0..resuming, filler, MISSED, behind)?;
    swarm.run(clock::now() + SETTLE, |_| false)?;

    let (before, _) = procfs::resident(&common.pid);
    procfs::forget_peak(&common.pid)?;
    let first = clock::now() + SECOND / 20;
    let length = clock::from_seconds(duration);
    let pace = Pace::Every { first, interval: 1.0 / rate };
    swarm.publishers[live].start(Load::new(vec![LIVE], pace, End::At(u64::MAX)));
    swarm.run(first + length / 2, |_| false)?;
    let alone = std::mem::replace(&mut swarm.ledger.groups[LIVE as usize].latency, histogram());

    let meter = Meter::start(&common.pid);
    swarm.connect_window = resuming;
    swarm.connect(0..resuming);
    let caught_up = swarm.run(clock::now() + length, |swarm| {
        swarm.ledger.ended > 0 || swarm.ledger.groups[MISSED as usize].outstanding() == 0
    })?;
    let usage = meter.stop();
    let (_, peak) = procfs::resident(&common.pid);
    let delivered = swarm.ledger.groups[MISSED as usize].delivered;
    swarm.publishers[live].load = None;
    swarm.leave(0..resuming);
    if !caught_up {
        swarm.ledger.excuse(MISSED as usize);
    }
    swarm.drain()?;
    swarm.run(clock::now() + SETTLE, |_| false)?;
    let (after, _) = procfs::resident(&common.pid);

    report.figure("messages per second", delivered as f64 / seconds(usage.elapsed), "1/s");
    report.figure("read in time", 100.0 * delivered as f64 / (behind * resuming as u64).max(1) as f64, "%");
    report.percentiles("bystanders alone", &alone);
    report.percentiles("bystanders", &swarm.ledger.groups[LIVE as usize].latency);
    for (name, bytes) in [("memory before", before), ("memory at its peak", peak), ("memory after", after)] {
        report.figure(name, mebibytes(bytes), "MiB");
    }
    report.usage(&usage, "message", delivered);
    Ok(report.check(&swarm.ledger))
}
