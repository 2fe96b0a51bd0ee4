//! Small answers through a proxy, as fast as they come, one request at a time on each of some kept connections: what one costs,
//! and how many there are.

use anyhow::ensure;

use crate::answers::Answer;
use crate::args::Common;
use crate::callers::{Callers, Questions};
use crate::clock::{self, SECOND, seconds};
use crate::meter::Meter;
use crate::origin::{BODY, Origin};
use crate::proxy::Options;
use crate::report::Report;
use crate::sockets::allow_descriptors;

/// Requests are not counted before this.
const WARM_UP: u64 = SECOND;
/// Below this share of its core it was not the proxy that limited the rate.
const PROXY_BUSY: f64 = 90.0;

/// The same request each time.
struct Gets {
    request: Vec<u8>,
}

impl Questions for Gets {
    fn next(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.request);
    }

    fn check(&self, answer: &Answer) -> anyhow::Result<()> {
        ensure!(answer.status == 200, "status {}", answer.status);
        ensure!(answer.body.len() == BODY, "an answer of {} bytes", answer.body.len());
        Ok(())
    }
}

pub(crate) fn run(common: &Common, origin: Origin, options: &Options) -> anyhow::Result<Report> {
    let Options { connections, seconds: duration, .. } = *options;
    let mut report = Report::new("get", format!("{connections} connections, {BODY} bytes, {duration} s"));
    allow_descriptors(2 * connections)?;
    let address = common.sub.address;
    let request = format!("GET /get HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n").into_bytes();
    let mut load = Callers::new(address, connections, Gets { request })?;
    load.attach(origin)?;
    load.run(clock::now() + WARM_UP)?;

    load.restart();
    let meter = Meter::start(&common.pid);
    load.run(clock::now() + clock::from_seconds(duration))?;
    let usage = meter.stop();

    let answered = load.books().answered;
    report.figure("requests per second", answered as f64 / seconds(usage.elapsed), "1/s");
    if let Some(server) = usage.server {
        report.figure("requests per core-second", answered as f64 / seconds(server.max(1)), "");
    }
    report.usage(&usage, "request", answered);
    if let Some(busy) = report.value("server CPU").filter(|&busy| busy < PROXY_BUSY) {
        report.notes.push(format!("the proxy was busy for {busy:.0} % of the time only: the rate is not its limit"));
    }
    Ok(report)
}
