//! Many viewers of one stream that Fantail shares: one connection to the application, and what a delivery costs beside one of
//! the hub's own fan-out, measured right after it.

use crate::args::{Common, defaults};
use crate::clock::{self, SECOND};
use crate::load::{End, Load, Pace};
use crate::meter::Meter;
use crate::origin::Origin;
use crate::peers::{Peer, Running};
use crate::proxy::Options;
use crate::report::Report;
use crate::scenario::fanout;
use crate::sockets::allow_descriptors;
use crate::swarm::Swarm;

/// How long the application may be late with its last event before the run counts as overloaded.
const LATE: u64 = 5 * SECOND;

/// `like`: how the hub's server is loaded.
pub(crate) fn run(running: Running, origin: Origin, like: &Common, options: &Options) -> anyhow::Result<Report> {
    let mut report = viewers(&running.common, origin, options)?;
    drop(running);

    let hub = Peer::Fantail.start(&options.place, like)?;
    let Options { viewers: subscribers, shared_rate: rate, seconds, .. } = *options;
    let hub = fanout::run(&hub.common, &fanout::Options { subscribers, rate, seconds, ..defaults() })?;
    report.faults.extend(hub.faults.iter().map(|fault| format!("the hub's own fan-out: {fault}")));
    if !report.faults.is_empty() {
        report.figures.clear();
    }
    report.notes.extend(hub.notes.iter().map(|note| format!("the hub's own fan-out: {note}")));
    if let Some(p99) = hub.value("latency p99") {
        report.figure("hub latency p99", p99, "ms");
    }
    let each = "server CPU per delivery";
    if let (Some(shared), Some(hub)) = (report.value(each), hub.value(each)) {
        report.figure("hub CPU per delivery", hub, "µs");
        report.figure("shared by hub", shared / hub, "");
    }
    Ok(report)
}

fn viewers(common: &Common, origin: Origin, options: &Options) -> anyhow::Result<Report> {
    let Options { viewers, shared_rate: rate, seconds, .. } = *options;
    let settings = format!("{viewers} viewers of one stream, {} bytes, {rate} events/s, {seconds} s", common.size);
    let mut report = Report::new("shared", settings);

    allow_descriptors(viewers)?;
    let (mut swarm, _) = common.swarm(1, 1)?;
    for _ in 0..viewers {
        swarm.add_subscriber(&[0], 0);
    }
    swarm.attach(origin)?;
    swarm.connect_all()?;
    swarm.greet()?;

    let meter = Meter::start(&common.pid);
    let first = clock::now() + SECOND / 20;
    let end = first + clock::from_seconds(seconds);
    swarm.feed(Load::new(vec![0], Pace::Every { first, interval: 1.0 / rate }, End::At(end)));
    if !swarm.run(end + LATE, Swarm::is_fed)? {
        report.faults.push("the application could not send at this rate".into());
    }
    swarm.drain()?;
    let usage = meter.stop();

    let opened = swarm.origin.as_ref().map_or(0, |origin| origin.opened);
    if opened != 1 {
        report.faults.push(format!("the application was asked for the stream {opened} times"));
    }
    let group = &swarm.ledger.groups[0];
    report.figure("origin connections", opened as f64, "");
    report.percentiles("latency", &group.latency);
    report.usage(&usage, "delivery", group.delivered);
    Ok(report.check(&swarm.ledger))
}
