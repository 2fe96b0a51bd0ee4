//! Why an upstream gave no answer, or not a whole one: the one table from reason to status, and to the label in the metrics.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

/// Why an exchange with an upstream failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// No connection to a server.
    #[error("cannot connect to {server}")]
    Connect {
        /// The server.
        server: String,
        /// Why not.
        source: io::Error,
    },
    /// A server did not accept the connection in time.
    #[error("{server} did not accept a connection within {limit:?} (connect_timeout)")]
    ConnectTimeout {
        /// The server.
        server: String,
        /// The time it had.
        limit: Duration,
    },
    /// This process has no descriptor left for a connection.
    #[error("no descriptor is left for a connection to {server}")]
    Descriptors {
        /// The server.
        server: String,
        /// What the system said.
        source: io::Error,
    },
    /// Every server is being passed over, and the one that was tried all the same failed.
    #[error("every server of the upstream is failing; the last try: {last}")]
    AllDown {
        /// What the last of them did.
        #[source]
        last: Box<Failure>,
        /// How long until one of them is tried again.
        again: Duration,
    },
    /// The connection broke before the answer began.
    #[error("{server} closed the connection before it answered")]
    NoAnswer {
        /// The server.
        server: String,
        /// What the socket said, where it said more than "end".
        source: Option<io::Error>,
    },
    /// The answer did not begin in time.
    #[error("no answer within {0:?} (first_byte_timeout)")]
    FirstByte(Duration),
    /// Inside a body nothing moved for too long.
    #[error("nothing moved for {0:?} (idle_timeout)")]
    Idle(Duration),
    /// The answer is not HTTP/1.1 as it should be.
    #[error("the upstream's answer is malformed: {0}")]
    Malformed(&'static str),
    /// The answer's head is too large.
    #[error("the head of the upstream's answer is larger than {0} bytes")]
    HeadTooLarge(usize),
    /// The answer ended before its end.
    #[error("the upstream's answer was cut off")]
    Truncated(#[source] Option<io::Error>),
    /// The client's request body did not arrive whole.
    #[error("the request's body ended early or was malformed")]
    ClientBody,
    /// The client's request body stayed silent.
    #[error("the request's body stayed silent for {0:?} (listen.body_timeout)")]
    ClientSilent(Duration),
    /// The client's request body came in drops.
    #[error("the request's body comes too slowly (limits.body_rate)")]
    ClientSlow,
    /// The client's request body is larger than the route allows.
    #[error("the request's body is larger than {0} bytes (max_body)")]
    ClientTooLarge(u64),
    /// The HTTP/2 connection or stream failed.
    #[error("the HTTP/2 exchange with {server} failed")]
    Http2 {
        /// The server.
        server: String,
        /// What the library said.
        source: hyper::Error,
    },
    /// The request has come through here too often.
    #[error("the request came through here {0} times: upstreams point at each other")]
    Loop(usize),
    /// An upgrade over a connection that cannot carry one.
    #[error("an upgrade was answered that nobody asked for")]
    Upgrade,
}

impl Failure {
    /// What the client is told, if it has been told nothing yet.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Connect { .. }
            | Self::NoAnswer { .. }
            | Self::Malformed(_)
            | Self::HeadTooLarge(_)
            | Self::Truncated(_)
            | Self::Http2 { .. }
            | Self::Upgrade => StatusCode::BAD_GATEWAY,
            Self::AllDown { .. } | Self::Descriptors { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout { .. } | Self::FirstByte(_) | Self::Idle(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientBody => StatusCode::BAD_REQUEST,
            Self::ClientSilent(_) | Self::ClientSlow => StatusCode::REQUEST_TIMEOUT,
            Self::ClientTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Loop(_) => StatusCode::LOOP_DETECTED,
        }
    }

    /// Its place in [`crate::metrics::FAILURES`].
    pub fn reason(&self) -> usize {
        match self {
            Self::Connect { .. } => 0,
            Self::ConnectTimeout { .. } => 1,
            Self::AllDown { .. } => 2,
            Self::NoAnswer { .. } => 3,
            Self::FirstByte(_) => 4,
            Self::Idle(_) => 5,
            Self::Malformed(_) | Self::HeadTooLarge(_) | Self::Upgrade => 6,
            Self::Truncated(_) => 7,
            Self::ClientBody | Self::ClientSilent(_) | Self::ClientSlow | Self::ClientTooLarge(_) => 8,
            Self::Http2 { .. } => 9,
            Self::Loop(_) => 10,
            Self::Descriptors { .. } => 11,
        }
    }

    /// Whether the server is to blame, so that it counts against its health.
    pub fn blames_server(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::ConnectTimeout { .. }
                | Self::NoAnswer { .. }
                | Self::FirstByte(_)
                | Self::Malformed(_)
                | Self::HeadTooLarge(_)
                | Self::Http2 { .. }
        )
    }

    /// What is at the bottom of it, where something else said that.
    pub fn cause(&self) -> Option<String> {
        let mut cause = self.source()?;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Some(cause.to_string())
    }

    /// Whether it is the client's doing.
    pub fn blames_client(&self) -> bool {
        matches!(self, Self::ClientBody | Self::ClientSilent(_) | Self::ClientSlow | Self::ClientTooLarge(_))
    }

    /// Whether the request has certainly not been acted upon, so that it may be sent to another server whatever it says.
    pub fn nothing_sent(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Descriptors { .. })
    }
}
