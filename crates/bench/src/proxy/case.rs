//! The work that proxies are compared by, and which of its figures go into the table.

use clap::ValueEnum;

use crate::args::Common;
use crate::origin::Origin;
use crate::peers::Running;
use crate::peers::proxies::Proxy;
use crate::proxy::{Options, events, get, memory, shared};
use crate::report::Report;
use crate::sheet::Row;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Many streams with events on each
    Events,
    /// Streams that wait
    Memory,
    /// Small answers on kept connections
    Get,
    /// Viewers of one shared stream, and the hub's own fan-out beside it
    Shared,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// On so many streams.
    Events(usize),
    Memory,
    Get,
    Shared,
}

impl Case {
    /// Its measurements.
    pub(crate) fn works(self, options: &Options) -> Vec<Work> {
        match self {
            Self::Events => options.streams.iter().copied().map(Work::Events).collect(),
            Self::Memory => vec![Work::Memory],
            Self::Get => vec![Work::Get],
            Self::Shared => vec![Work::Shared],
        }
    }
}

impl Work {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Events(streams) => format!("events of {streams} streams"),
            Self::Memory => "memory".into(),
            Self::Get => "get".into(),
            Self::Shared => "shared".into(),
        }
    }

    /// It can be done with this proxy.
    pub(crate) fn suits(self, proxy: Proxy) -> bool {
        match self {
            Self::Memory => proxy != Proxy::Direct,
            Self::Shared => proxy == Proxy::Fantail,
            Self::Events(_) | Self::Get => true,
        }
    }

    /// Its rows of the table.
    pub(crate) fn rows(self, options: &Options) -> Vec<Row> {
        let Options { rate, idle, connections, viewers, shared_rate, .. } = options;
        let (of, lines): (String, &[_]) = match self {
            Self::Events(streams) => (
                format!("{streams} streams, {rate} events/s each: "),
                &[
                    ("proxy CPU per event", "server CPU per event", "µs"),
                    ("latency p50", "latency p50", "ms"),
                    ("latency p99", "latency p99", "ms"),
                    ("added to direct, p50", "added latency p50", "ms"),
                    ("added to direct, p99", "added latency p99", "ms"),
                ],
            ),
            Self::Memory => (
                format!("{idle} idle streams: "),
                &[
                    ("proxy memory per stream", "memory per stream", "bytes"),
                    ("proxy memory without streams", "memory without streams", "MiB"),
                ],
            ),
            Self::Get => (
                format!("GET of 1 KiB, {connections} connections: "),
                &[
                    ("requests", "requests per second", "/s"),
                    ("requests per second of the proxy's CPU", "requests per core-second", ""),
                    ("proxy CPU per request", "server CPU per request", "µs"),
                ],
            ),
            Self::Shared => (
                format!("{viewers} viewers of a shared stream, {shared_rate} events/s: "),
                &[
                    ("connections to the application", "origin connections", ""),
                    ("CPU per delivery", "server CPU per delivery", "µs"),
                    ("CPU per delivery of the hub's own fan-out", "hub CPU per delivery", "µs"),
                    ("the one through the other", "shared by hub", ""),
                    ("latency p99", "latency p99", "ms"),
                    ("latency p99 of the hub's own fan-out", "hub latency p99", "ms"),
                ],
            ),
        };
        let row = |&(what, figure, unit)| Row { case: self.name(), what: format!("{of}{what}"), figure, unit };
        lines.iter().map(row).collect()
    }

    pub(crate) fn run(
        self,
        running: Running,
        origin: Origin,
        common: &Common,
        options: &Options,
    ) -> anyhow::Result<Report> {
        match self {
            Self::Events(streams) => events::run(&running.common, origin, streams, options),
            Self::Memory => memory::run(&running.common, origin, options),
            Self::Get => get::run(&running.common, origin, options),
            Self::Shared => shared::run(running, origin, common, options),
        }
    }
}
