//! Streams through a proxy that have brought an event and now wait: what memory each of them costs.

use crate::args::Common;
use crate::clock::{self, SECOND};
use crate::origin::Origin;
use crate::procfs;
use crate::proxy::Options;
use crate::report::Report;
use crate::sockets::allow_descriptors;

/// What a proxy may take to come to rest before its memory is read.
const SETTLE: u64 = 3 * SECOND;

pub(crate) fn run(common: &Common, origin: Origin, options: &Options) -> anyhow::Result<Report> {
    let streams = options.idle;
    let mut report = Report::new("memory", format!("{streams} streams that wait"));

    allow_descriptors(2 * streams)?;
    let (mut swarm, _) = common.swarm(streams, 1)?;
    for channel in 0..streams as u32 {
        swarm.add_subscriber(&[channel], 0);
    }
    swarm.attach(origin)?;
    let memory = || procfs::pss(&procfs::family(&common.pid)) as f64;
    let (before, kernel_before) = (memory(), procfs::kernel().1 as f64);
    swarm.connect_all()?;
    swarm.greet()?;
    swarm.run(clock::now() + SETTLE, |_| false)?;
    let (after, kernel) = (memory(), procfs::kernel().1 as f64);

    report.figure("memory per stream", (after - before) / streams as f64, "bytes");
    report.figure("memory without streams", before / 1024.0 / 1024.0, "MiB");
    report.figure("kernel slab per stream, all four ends", (kernel - kernel_before) / streams as f64, "bytes");
    Ok(report.check(&swarm.ledger))
}
