//! The work that routes are compared by, and which of its figures go into the table.

use clap::ValueEnum;

use super::Options;
use crate::args::defaults;
use crate::peers::Running;
use crate::report::Report;
use crate::scenario::{fanout, polls};
use crate::sheet::Row;
use crate::target::Mode;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Clients that wait for their polls, released by one message and back again
    Polls,
    /// Messages to all subscribers of one channel, as events
    Events,
    /// The same, one behind the other in an answer without end
    Stream,
    /// The same, by WebSocket
    Websocket,
}

impl Case {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Polls => "polls",
            Self::Events => "events",
            Self::Stream => "stream",
            Self::Websocket => "websocket",
        }
    }

    /// How subscribers are sent their messages.
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::Polls => Mode::Polls,
            Self::Events => Mode::Events,
            Self::Stream => Mode::Stream,
            Self::Websocket => Mode::Websocket,
        }
    }

    /// Its rows of the table.
    pub(crate) fn rows(self, options: &Options) -> Vec<Row> {
        let Options { subscribers, rate, .. } = options;
        let (of, lines): (String, &[_]) = match self {
            Self::Polls => (
                format!("{subscribers} polls that wait: "),
                &[
                    ("released by one message, p50", "released p50", "ms"),
                    ("released by one message, p99", "released p99", "ms"),
                    ("released and back again, p50", "released and back again p50", "ms"),
                    ("released and back again, p99", "released and back again p99", "ms"),
                    ("CPU per release and return", "server CPU per release", "µs"),
                    ("memory per client that waits", "memory per client", "bytes"),
                    ("the same after all rounds", "memory per client after the rounds", "bytes"),
                ],
            ),
            Self::Events | Self::Stream | Self::Websocket => (
                match self {
                    Self::Events => format!("{subscribers} event streams, {rate} msg/s: "),
                    Self::Stream => format!("{subscribers} streams, {rate} msg/s: "),
                    _ => format!("{subscribers} WebSockets, {rate} msg/s: "),
                },
                &[
                    ("CPU per delivery", "server CPU per delivery", "µs"),
                    ("latency p50", "latency p50", "ms"),
                    ("latency p99", "latency p99", "ms"),
                ],
            ),
        };
        let row = |&(what, figure, unit)| Row { case: self.name().into(), what: format!("{of}{what}"), figure, unit };
        lines.iter().map(row).collect()
    }

    pub(crate) fn run(self, running: &Running, options: &Options) -> anyhow::Result<Report> {
        let Options { subscribers, seconds, rate, poll_rate, .. } = *options;
        if self == Self::Polls {
            return polls::run(
                &running.common,
                &polls::Options { clients: subscribers, rate: poll_rate, seconds, ..defaults() },
            );
        }
        fanout::run(&running.common, &fanout::Options { subscribers, rate, seconds, ..defaults() })
    }
}
