//! Connections that publish one message at a time: how many a second all of them bring in, how many of these become one batch, and
//! what one connection alone does where each publish waits for the disk.

use anyhow::ensure;

use crate::answers::Answer;
use crate::callers::{Callers, Questions};
use crate::clock::{self, SECOND, seconds};
use crate::journal::Options;
use crate::ledger::Ledger;
use crate::meter::Meter;
use crate::peers::stores::{Server, Store};
use crate::report::Report;
use crate::target::PublishTarget;

/// Publishes are not counted before this.
const WARM_UP: u64 = SECOND;
/// What the server counts.
const MESSAGES: &str = "fantail_journal_messages_total";
const BATCHES: &str = "fantail_journal_batches_total";

/// A message to each channel in turn.
struct Posts {
    target: PublishTarget,
    ledger: Ledger,
    channel: u32,
    body: Vec<u8>,
}

impl Questions for Posts {
    fn next(&mut self, out: &mut Vec<u8>) {
        let stamp = self.ledger.publish(self.channel, clock::now());
        self.channel = (self.channel + 1) % self.ledger.channels.len() as u32;
        self.target.request(&[stamp], &mut self.body, out);
    }

    fn check(&self, answer: &Answer) -> anyhow::Result<()> {
        let why = String::from_utf8_lossy(&answer.body);
        ensure!((200..300).contains(&answer.status), "publish refused: {} {}", answer.status, why.trim());
        Ok(())
    }
}

pub(super) fn run(server: &Server, store: Store, options: &Options) -> anyhow::Result<Report> {
    let Options { connections, channels, size, seconds: duration, .. } = *options;
    let settings = format!("{connections} connections, {channels} channels, {size} bytes, {duration} s");
    let mut report = Report::new("publish", settings);

    let mut load = posts(server, connections, channels)?;
    let (meter, before) = (Meter::start(&server.common.pid), server.metrics()?);
    load.run(clock::now() + clock::from_seconds(duration))?;
    let (usage, after) = (meter.stop(), server.metrics()?);

    let answered = load.books().answered;
    let rate = answered as f64 / seconds(usage.elapsed);
    report.figure("publishes per second", rate, "1/s");
    report.percentiles("answer", &load.books().latency);
    report.usage(&usage, "publish", answered);
    if let (Some(messages), Some(batches)) = (after.since(&before, MESSAGES), after.since(&before, BATCHES))
        && batches > 0.0
    {
        report.figure("mean batch", messages / batches, "");
    }
    drop(load);

    if store == Store::Fsync {
        let mut load = posts(server, 1, channels)?;
        let started = clock::now();
        load.run(started + clock::from_seconds(duration))?;
        let alone = load.books().answered as f64 / seconds(clock::now() - started);
        report.figure("publishes per second, one connection", alone, "1/s");
        report.figure("publishes by one connection's", rate / alone, "×");
    }
    Ok(report)
}

/// So many connections, warmed up.
fn posts(server: &Server, connections: usize, channels: usize) -> anyhow::Result<Callers<Posts>> {
    let common = &server.common;
    let (swarm, target) = common.swarm(channels, 1)?;
    let posts = Posts { target, ledger: swarm.ledger, channel: 0, body: Vec::new() };
    let mut load = Callers::new(common.r#pub.address, connections, posts)?;
    load.run(clock::now() + WARM_UP)?;
    load.restart();
    Ok(load)
}
