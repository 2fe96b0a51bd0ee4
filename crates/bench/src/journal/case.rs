//! The work that journals are compared by, and which of its figures go into the table.

use clap::ValueEnum;

use crate::args::{Common, defaults};
use crate::journal::{Options, herd, mixed, publish, replay, start};
use crate::peers::stores::{Server, Store};
use crate::report::Report;
use crate::scenario;
use crate::sheet::Row;
use crate::target::Format;

/// For histories that nothing may drop.
const KEEP_ALL: &[&str] = &["hub.messages=100000000", "hub.bytes=\"64GiB\"", "hub.age=\"1d\""];
/// Batches that wait for their answers.
pub(super) const BATCHES: usize = 4;
/// Messages in a batch.
pub(super) const BATCH: usize = 1_000;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Connections that publish one message at a time
    Publish,
    /// Publishing by NDJSON batches
    Ndjson,
    /// Messages to all subscribers of one channel
    Live,
    /// One subscriber far behind
    Replay,
    /// Many subscribers far behind at once, beside others
    Herd,
    /// Messages to all subscribers of one channel while much is written to others
    Mixed,
    /// A start after a crash under load
    Start,
}

/// What the table says, the report's figure, its unit.
type Line = (&'static str, &'static str, &'static str);

impl Case {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Ndjson => "ndjson",
            Self::Live => "live",
            Self::Replay => "replay",
            Self::Herd => "herd",
            Self::Mixed => "mixed",
            Self::Start => "start",
        }
    }

    /// It tells something about this journal.
    pub(super) fn suits(self, store: Store) -> bool {
        match self {
            Self::Publish | Self::Mixed => true,
            Self::Ndjson | Self::Live | Self::Replay | Self::Herd => store != Store::Fsync,
            Self::Start => store == Store::Os,
        }
    }

    /// Settings of the server, as for `--set`.
    pub(super) fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Replay | Self::Herd | Self::Start => KEEP_ALL,
            _ => &[],
        }
    }

    /// Figures that are also told beside another journal's, and as what.
    pub(super) fn ratios(self) -> &'static [(&'static str, Store, &'static str)] {
        match self {
            Self::Publish => &[
                ("publishes per second", Store::Memory, "publishes by memory's"),
                ("publishes per second", Store::Os, "publishes by os's"),
            ],
            Self::Ndjson => &[("publishes per second", Store::Memory, "publishes by memory's")],
            Self::Live => &[
                ("latency p50", Store::Memory, "latency p50 by memory's"),
                ("latency p99", Store::Memory, "latency p99 by memory's"),
            ],
            Self::Replay => &[("messages per second", Store::Memory, "replay by memory's")],
            Self::Herd | Self::Mixed | Self::Start => &[],
        }
    }

    /// Its rows of the table.
    pub(super) fn rows(self, options: &Options) -> Vec<Row> {
        let of = self.heading(options);
        let row = |&(what, figure, unit): &Line| {
            let what = format!("{of}: {what}");
            Row { case: self.name().to_owned(), what, figure, unit }
        };
        self.lines().iter().map(row).collect()
    }

    fn heading(self, options: &Options) -> String {
        let Options { connections, channels, subscribers, rate, beside, replayed, .. } = options;
        let Options { resuming, behind, bystanders, stored, stored_channels, .. } = options;
        match self {
            Self::Publish => format!("{connections} connections, one message at a time, {channels} channels"),
            Self::Ndjson => format!("NDJSON batches into {channels} channels"),
            Self::Live => format!("{subscribers} subscribers, {rate} msg/s"),
            Self::Replay => format!("one subscriber, {replayed} messages behind"),
            Self::Herd => format!("{resuming} subscribers, {behind} messages behind, {bystanders} bystanders"),
            Self::Mixed => format!("{subscribers} subscribers, {rate} msg/s, beside {beside} msg/s to other channels"),
            Self::Start => format!("killed under load with {stored} messages in {stored_channels} channels"),
        }
    }

    fn lines(self) -> &'static [Line] {
        match self {
            Self::Publish => &[
                ("publishes", "publishes per second", "/s"),
                ("publishes, of memory's", "publishes by memory's", "×"),
                ("publishes, of os's", "publishes by os's", "×"),
                ("POST to answer, p50", "answer p50", "ms"),
                ("POST to answer, p99", "answer p99", "ms"),
                ("messages that became one batch, mean", "mean batch", ""),
                ("one connection's publishes, a sync each", "publishes per second, one connection", "/s"),
                ("publishes, of one connection's", "publishes by one connection's", "×"),
            ],
            Self::Ndjson => {
                &[("messages", "publishes per second", "/s"), ("messages, of memory's", "publishes by memory's", "×")]
            }
            Self::Live => &[
                ("latency p50", "latency p50", "ms"),
                ("latency p50, of memory's", "latency p50 by memory's", "×"),
                ("latency p99", "latency p99", "ms"),
                ("latency p99, of memory's", "latency p99 by memory's", "×"),
                ("server CPU per delivery", "server CPU per delivery", "µs"),
            ],
            Self::Replay => &[
                ("messages", "messages per second", "/s"),
                ("messages, of memory's", "replay by memory's", "×"),
                ("server memory before", "memory before", "MiB"),
                ("server memory, peak", "memory at its peak", "MiB"),
                ("server memory after", "memory after", "MiB"),
            ],
            Self::Herd => &[
                ("messages to them", "messages per second", "/s"),
                ("part of what they missed that was read in time", "read in time", "%"),
                ("bystanders' p99 before", "bystanders alone p99", "ms"),
                ("bystanders' p99 meanwhile", "bystanders p99", "ms"),
                ("server memory before", "memory before", "MiB"),
                ("server memory, peak", "memory at its peak", "MiB"),
                ("server memory after", "memory after", "MiB"),
            ],
            Self::Mixed => &[
                ("latency p50", "latency p50", "ms"),
                ("latency p99", "latency p99", "ms"),
                ("latency p99.9", "latency p99.9", "ms"),
                ("written to the others", "written beside per second", "/s"),
                ("server memory after", "memory after", "MiB"),
                ("of that, messages in tails", "memory in tails", "MiB"),
                ("of that, everything else", "memory besides tails", "MiB"),
                ("segments", "segments", ""),
                ("on disk", "on disk", "MiB"),
            ],
            Self::Start => &[
                ("stored before, messages", "stored per second", "/s"),
                ("on disk", "on disk", "MiB"),
                ("ready after", "ready after", "s"),
                ("first publish answered after", "first publish answered after", "s"),
                ("first resume, its first message after", "first message resumed after", "s"),
                ("first resume, caught up after", "first resume caught up after", "s"),
                ("server memory then", "memory after", "MiB"),
            ],
        }
    }

    /// Does the work with this server, which is of this kind.
    pub(super) fn run(self, server: Server, store: Store, options: &Options) -> anyhow::Result<Report> {
        let Options { subscribers, rate, seconds, channels, .. } = *options;
        match self {
            Self::Publish => publish::run(&server, store, options),
            Self::Ndjson => {
                let rest = scenario::publish::Options {
                    channels,
                    subscribers_per_channel: 0,
                    seconds,
                    ndjson: true,
                    batch: BATCH,
                    ..defaults()
                };
                scenario::publish::run(&batches(&server), &rest)
            }
            Self::Live => {
                let rest = scenario::fanout::Options { subscribers, rate, seconds, ..defaults() };
                scenario::fanout::run(&server.common, &rest)
            }
            Self::Replay => replay::run(&server, options),
            Self::Herd => herd::run(&server, options),
            Self::Mixed => mixed::run(&server, options),
            Self::Start => start::run(server, options),
        }
    }
}

/// How to load a server by batches.
pub(super) fn batches(server: &Server) -> Common {
    let (r#pub, in_flight) = (server.batch.clone(), BATCHES);
    Common { r#pub, in_flight, format: Format::Ndjson, ..server.common.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_rows_and_are_of_journals_that_are_measured() {
        for &case in Case::value_variants() {
            for &(figure, other, name) in case.ratios() {
                assert!(case.suits(other), "{}: {name}", case.name());
                for wanted in [figure, name] {
                    assert!(case.lines().iter().any(|line| line.1 == wanted), "{}: {wanted}", case.name());
                }
            }
        }
    }
}
