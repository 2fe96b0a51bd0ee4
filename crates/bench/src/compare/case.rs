//! The work that servers are compared by, and which of its figures go into the table.

use clap::ValueEnum;

use super::Options;
use crate::args::{Common, defaults};
use crate::peers::{Peer, Running};
use crate::report::Report;
use crate::scenario::{channels, connect, fairness, fanout, idle, publish};
use crate::sheet::Row;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// 20 messages a second to all subscribers of one channel
    Fanout,
    /// The highest rate that is kept
    Search,
    /// One channel, as fast as it goes
    FlatOut,
    /// Every subscriber listens to two channels
    Two,
    /// Every subscriber listens to sixteen channels
    Sixteen,
    /// Channels of one subscriber, 32 requests in flight
    Publish,
    /// One POST after the other
    Post,
    /// Everybody reconnects at once, 100 messages behind
    Reconnect,
    /// Small channels beside one that is published flat out
    Fairness,
    /// Subscribers that wait
    Idle,
    /// Publishing by NDJSON batches
    Ndjson,
    /// Many channels of one message
    Channels,
}

/// What the table says, the report's figure, its unit.
type Line = (&'static str, &'static str, &'static str);

impl Case {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::Search => "search",
            Self::FlatOut => "flat-out",
            Self::Two => "two",
            Self::Sixteen => "sixteen",
            Self::Publish => "publish",
            Self::Post => "post",
            Self::Reconnect => "reconnect",
            Self::Fairness => "fairness",
            Self::Idle => "idle",
            Self::Ndjson => "ndjson",
            Self::Channels => "channels",
        }
    }

    /// The server can do this work.
    pub(crate) fn suits(self, peer: Peer) -> bool {
        match self {
            Self::Two | Self::Sixteen | Self::Ndjson => peer == Peer::Fantail,
            Self::Reconnect | Self::Channels => peer.resumes(),
            _ => true,
        }
    }

    /// Its rows of the table.
    pub(crate) fn rows(self) -> impl Iterator<Item = Row> {
        let row = move |&(what, figure, unit): &Line| Row { case: self.name().into(), what: what.into(), figure, unit };
        self.lines().iter().map(row)
    }

    fn lines(self) -> &'static [Line] {
        match self {
            Self::Fanout => &[
                ("server CPU per delivery, 20 msg/s", "server CPU per delivery", "µs"),
                ("latency p50, 20 msg/s", "latency p50", "ms"),
                ("latency p99, 20 msg/s", "latency p99", "ms"),
            ],
            Self::Search => &[
                ("highest rate with p99 ≤ 250 ms, messages", "highest rate", "/s"),
                ("highest rate with p99 ≤ 250 ms, deliveries", "deliveries per second", "/s"),
                ("server CPU per delivery at that rate", "server CPU per delivery", "µs"),
            ],
            Self::FlatOut => &[
                ("published flat out, deliveries", "deliveries per second", "/s"),
                ("published flat out, server CPU per delivery", "server CPU per delivery", "µs"),
            ],
            Self::Two => &[("own channel and a common one, CPU per delivery", "server CPU per delivery", "µs")],
            Self::Sixteen => &[("16 channels each, CPU per delivery", "server CPU per delivery", "µs")],
            Self::Publish => &[
                ("channels of one subscriber, publishes", "publishes per second", "/s"),
                ("channels of one subscriber, server CPU per publish", "server CPU per publish", "µs"),
            ],
            Self::Post => &[
                ("a single POST to its answer, p50", "answer p50", "ms"),
                ("a single POST to its answer, p99", "answer p99", "ms"),
            ],
            Self::Reconnect => &[
                ("all reconnect 100 messages behind, caught up after", "all caught up after", "s"),
                ("p99 of 1,000 others meanwhile", "bystanders p99", "ms"),
            ],
            Self::Fairness => &[
                ("p99 of 1,000 small channels beside one published flat out", "small channels p99", "ms"),
                ("deliveries of the one meanwhile", "hot deliveries per second", "/s"),
            ],
            Self::Idle => &[
                ("memory per idle subscriber", "memory per subscriber", "bytes"),
                ("the same after three rounds of coming and going", "memory per subscriber after the rounds", "bytes"),
                ("server memory without subscribers", "server memory without subscribers", "MiB"),
                ("kernel memory per connection, both ends", "kernel slab per connection, both ends", "bytes"),
                ("CPU of idle subscribers with pings", "server CPU", "%"),
            ],
            Self::Ndjson => &[("NDJSON batches into 1,000 channels, messages", "publishes per second", "/s")],
            Self::Channels => &[
                ("memory per idle channel of one message", "memory per channel", "bytes"),
                ("CPU per publish with 1,000 channels", "server CPU per publish, few", "µs"),
                ("CPU per publish with all of them", "server CPU per publish, all", "µs"),
            ],
        }
    }

    pub(crate) fn run(self, running: &Running, options: &Options) -> anyhow::Result<Report> {
        let Options { subscribers, seconds, .. } = *options;
        let common = &running.common;
        let fanout = fanout::Options { subscribers, seconds, ..defaults() };
        let publish = publish::Options { channels: subscribers, seconds, ..defaults() };
        match self {
            Self::Fanout => fanout::run(common, &fanout),
            Self::Search => fanout::run(common, &fanout::Options { search: true, ..fanout }),
            Self::FlatOut => fanout::run(common, &fanout::Options { flat_out: true, ..fanout }),
            Self::Two => fanout::run(common, &fanout::Options { channels_per_subscriber: 2, ..fanout }),
            Self::Sixteen => fanout::run(common, &fanout::Options { channels_per_subscriber: 16, ..fanout }),
            Self::Publish => publish::run(common, &publish),
            Self::Post => {
                let common = Common { in_flight: 1, ..common.clone() };
                publish::run(&common, &publish::Options { channels: 1, ..publish })
            }
            Self::Reconnect => {
                connect::run(common, &connect::Options { subscribers, behind: 100, bystanders: 1000, ..defaults() })
            }
            Self::Fairness => fairness::run(common, &fairness::Options { subscribers, seconds, ..defaults() }),
            Self::Idle => {
                idle::run(common, &idle::Options { subscribers: options.idle, seconds: 3.0 * seconds, ..defaults() })
            }
            Self::Ndjson => {
                let r#pub = running.batch.as_deref().unwrap_or_default().parse()?;
                let common = Common { r#pub, in_flight: 4, ..common.clone() };
                let rest = publish::Options { channels: 1000, subscribers_per_channel: 0, ndjson: true, ..publish };
                publish::run(&common, &rest)
            }
            Self::Channels => {
                let fill = running.batch.as_deref().map(str::parse).transpose()?;
                channels::run(common, &channels::Options { channels: options.channels, fill, ..defaults() })
            }
        }
    }
}
