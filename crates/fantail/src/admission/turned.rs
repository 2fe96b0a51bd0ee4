//! Why somebody was turned away: what they are told, and under which word it is counted.

use std::time::Duration;

use thiserror::Error;

/// When to come back where nobody knows better.
const RETRY: Duration = Duration::from_secs(5);

/// Why a connection, a request or a stream was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Turned {
    /// There are as many connections as there may be.
    #[error("too many connections (see listen.connections)")]
    Places,
    /// The process has no descriptor left.
    #[error("no descriptors are left for more connections")]
    Descriptors,
    /// The process has too much memory resident.
    #[error("the server is short of memory (limits.memory)")]
    Memory,
    /// An address has too many connections.
    #[error("this address has {0} connections, no more are allowed (limits.connections_per_ip)")]
    ConnectionsPerIp(usize),
    /// A network has.
    #[error("this network has {0} connections, no more are allowed (limits.connections_per_network)")]
    ConnectionsPerNetwork(usize),
    /// An address connects too often.
    #[error("this address connects too often (limits.connection_rate)")]
    ConnectionRate(Duration),
    /// An address asks too often.
    #[error("this address asks too often (limits.request_rate)")]
    RequestRate(Duration),
    /// An address has too many streams.
    #[error("this address has {0} streams, no more are allowed (limits.streams_per_ip)")]
    StreamsPerIp(usize),
    /// A network has.
    #[error("this network has {0} streams, no more are allowed (limits.streams_per_network)")]
    StreamsPerNetwork(usize),
    /// A subscriber has.
    #[error("this subscriber has {0} streams, no more are allowed (limits.streams_per_identity)")]
    StreamsPerIdentity(usize),
}

impl Turned {
    /// Whether it is the client that there is too much of, and not something that all share.
    pub fn blames_client(self) -> bool {
        !matches!(self, Self::Places | Self::Descriptors | Self::Memory)
    }

    /// When it makes sense to come back, in whole seconds.
    pub fn retry_seconds(self) -> u64 {
        let after = match self {
            Self::ConnectionRate(after) | Self::RequestRate(after) => after,
            _ => RETRY,
        };
        after.as_secs() + u64::from(after.subsec_nanos() > 0)
    }

    /// Where it is counted; see [`crate::metrics::TURNED`].
    pub fn reason(self) -> usize {
        match self {
            Self::Places => 0,
            Self::Descriptors => 1,
            Self::Memory => 2,
            Self::ConnectionsPerIp(_) => 3,
            Self::ConnectionsPerNetwork(_) => 4,
            Self::ConnectionRate(_) => 5,
            Self::RequestRate(_) => 6,
            Self::StreamsPerIp(_) => 7,
            Self::StreamsPerNetwork(_) => 8,
            Self::StreamsPerIdentity(_) => 9,
        }
    }
}
