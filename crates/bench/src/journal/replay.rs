//! One subscriber that comes back far behind: how fast it is given what it missed, and what memory that takes.

use crate::clock::{self, SECOND, seconds};
use crate::journal::case::{BATCH, batches};
use crate::journal::{Options, mebibytes};
use crate::meter::Meter;
use crate::peers::stores::Server;
use crate::procfs;
use crate::report::Report;

/// What a server may take to come to rest before its memory is read.
const SETTLE: u64 = 2 * SECOND;
/// A run is given up after this.
const DEADLINE: u64 = 120 * SECOND;

pub(super) fn run(server: &Server, options: &Options) -> anyhow::Result<Report> {
    let Options { replayed, size, .. } = *options;
    let mut report = Report::new("replay", format!("one subscriber, {replayed} messages of {size} bytes behind"));
    let common = batches(server);
    let (mut swarm, publish) = common.swarm(1, 1)?;
    swarm.add_subscriber(&[0], 0);
    swarm.add_publisher(publish, common.in_flight, BATCH);
    swarm.connect_all()?;
    swarm.fall_behind(0..1, 0, 0, replayed)?;
    swarm.run(clock::now() + SETTLE, |_| false)?;

    let (before, _) = procfs::resident(&common.pid);
    procfs::forget_peak(&common.pid)?;
    let meter = Meter::start(&common.pid);
    let started = clock::now();
    swarm.connect(0..1);
    swarm.run(started + DEADLINE, |swarm| swarm.ledger.outstanding() == 0 || swarm.ledger.ended > 0)?;
    let usage = meter.stop();
    let (_, peak) = procfs::resident(&common.pid);
    swarm.run(clock::now() + SETTLE, |_| false)?;
    let (after, _) = procfs::resident(&common.pid);

    let group = &swarm.ledger.groups[0];
    let took = seconds(group.last_read.saturating_sub(started)).max(f64::EPSILON);
    report.figure("messages per second", group.delivered as f64 / took, "1/s");
    for (name, bytes) in [("memory before", before), ("memory at its peak", peak), ("memory after", after)] {
        report.figure(name, mebibytes(bytes), "MiB");
    }
    report.usage(&usage, "message", group.delivered);
    Ok(report.check(&swarm.ledger))
}
