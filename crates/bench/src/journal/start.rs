//! A start after a crash under load, on much that is stored: how long until the server is ready, answers a publish, and has given a
//! subscriber that comes back what it missed. What was acknowledged in that subscriber's channel is checked to be there.

use crate::clock::{self, SECOND, seconds};
use crate::journal::case::{BATCH, batches};
use crate::journal::{Options, mebibytes};
use crate::load::{End, Load, Pace};
use crate::peers::stores::Server;
use crate::procfs;
use crate::report::Report;

/// How long more is written before the server is killed in the middle of it.
const UNDER_LOAD: u64 = SECOND;
/// A resume is given up after this.
const DEADLINE: u64 = 60 * SECOND;
/// The channel whose subscriber comes back. Nothing is written to it when the server is killed, so that all of it was acknowledged.
const WATCHED: u32 = 0;

pub(super) fn run(mut server: Server, options: &Options) -> anyhow::Result<Report> {
    let Options { stored, stored_channels: channels, size, .. } = *options;
    anyhow::ensure!(channels > 1, "--stored-channels must be more than 1");
    let mut report = Report::new("start", format!("{stored} messages of {size} bytes in {channels} channels"));
    let common = batches(&server);
    let (mut swarm, publish) = common.swarm(channels, 1)?;
    swarm.add_subscriber(&[WATCHED], 0);
    swarm.add_publisher(publish, common.in_flight, BATCH);
    swarm.connect_all()?;
    swarm.fall_behind(0..1, 0, WATCHED, 1)?;
    let all: Vec<u32> = (0..channels as u32).collect();
    let others = all[1..].to_vec();
    let began = clock::now();
    swarm.send(0, all, stored)?;
    report.figure("stored per second", stored as f64 / seconds(clock::now() - began), "1/s");
    if let Some(bytes) = server.stored()? {
        report.figure("on disk", mebibytes(bytes), "MiB");
    }

    swarm.publishers[0].start(Load::new(others, Pace::FlatOut { window: None }, End::At(u64::MAX)));
    swarm.run(clock::now() + UNDER_LOAD, |_| false)?;
    server.kill()?;
    swarm.publishers.clear();

    let started = clock::now();
    let ready = server.start()?;
    report.figure("ready after", seconds(ready), "s");
    server.publish()?;
    report.figure("first publish answered after", seconds(clock::now() - started), "s");
    let started = clock::now();
    swarm.connect(0..1);
    swarm.run(started + DEADLINE, |swarm| swarm.ledger.delivered() > 0 || swarm.ledger.ended > 0)?;
    report.figure("first message resumed after", seconds(clock::now() - started), "s");
    swarm.run(started + DEADLINE, |swarm| swarm.ledger.outstanding() == 0 || swarm.ledger.ended > 0)?;
    report.figure("first resume caught up after", seconds(clock::now() - started), "s");
    report.figure("memory after", mebibytes(procfs::resident(&server.common.pid).0), "MiB");
    Ok(report.check(&swarm.ledger))
}
