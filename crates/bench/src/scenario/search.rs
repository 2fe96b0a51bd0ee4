//! The highest rate that a server keeps, on a fixed grid of quarters: big steps up until one fails, or down until one passes,
//! then single steps up from the last that passed.

use crate::args::Common;
use crate::report::{Curve, Report};
use crate::scenario::fanout::{Options, step};

/// The grid's first rate, in messages a second; step n is this × 1.25ⁿ.
const FIRST: f64 = 1.0;
/// Where it starts, and how far a big step goes.
const START: i32 = 12;
const STRIDE: i32 = 4;
/// The rule: milliseconds of p99.
const LIMIT: f64 = 250.0;
/// No search goes on above this step (about 100,000 messages a second).
const LAST: i32 = 52;

pub(crate) fn run(common: &Common, options: &Options) -> anyhow::Result<Report> {
    let mut report =
        Report::new("search", format!("{} subscribers, {} bytes, p99 ≤ {LIMIT} ms", options.subscribers, common.size));
    let mut tried = Vec::new();
    let mut attempt = |step_number: i32| -> anyhow::Result<bool> {
        let rate = FIRST * 1.25f64.powi(step_number);
        let found = step(common, &Options { rate, flat_out: false, search: false, ..options.clone() });
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                eprintln!("  {rate:8.1} msg/s: {error:#}");
                return Ok(false);
            }
        };
        let p99 = found.value("latency p99");
        let passed = p99.is_some_and(|p99| p99 <= LIMIT);
        let verdict = p99.map_or_else(|| found.faults.join("; "), |p99| format!("p99 {p99:.1} ms"));
        eprintln!("  {rate:8.1} msg/s: {} ({verdict})", if passed { "kept" } else { "not kept" });
        tried.push((rate, passed, found));
        Ok(passed)
    };

    let (mut at, mut kept, mut failed) = (START, None, None);
    while (0..=LAST).contains(&at) && (kept.is_none() || failed.is_none()) {
        if attempt(at)? {
            kept = Some(at);
            at += STRIDE;
        } else {
            failed = Some(at);
            at -= STRIDE;
        }
    }
    if let (Some(kept), Some(failed)) = (kept, failed) {
        for next in kept + 1..failed {
            if !attempt(next)? {
                break;
            }
        }
    }

    tried.sort_by(|a, b| a.0.total_cmp(&b.0));
    let points = tried.iter().filter_map(|(rate, _, found)| Some((*rate, found.value("latency p99")?))).collect();
    let Some((rate, _, found)) = tried.iter().rev().find(|(_, passed, _)| *passed) else {
        report.faults.push(format!("no rate was kept, down to {FIRST} message a second"));
        return Ok(report);
    };
    report.figure("highest rate", *rate, "msg/s");
    report.figures.extend(found.figures.iter().cloned());
    report.notes.extend(found.notes.iter().cloned());
    report.curve = Curve { x: "messages per second".into(), y: "latency p99, ms".into(), points };
    Ok(report)
}
