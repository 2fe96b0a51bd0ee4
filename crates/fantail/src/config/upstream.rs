//! `[upstream.NAME]`: the servers that proxy routes lead to.

use std::collections::BTreeMap;

use super::{
    Server, Span,
    error::{Problem, require},
    section::section,
};

const HTTP2: bool = false;
const CONNECT_TIMEOUT: Span = Span::secs(5);
const FIRST_BYTE_TIMEOUT: Span = Span::secs(60);
const IDLE_TIMEOUT: Span = Span::secs(60);
const TUNNEL_TIMEOUT: Span = Span::secs(600);
const KEEP: usize = 64;
const KEEP_TIMEOUT: Span = Span::secs(60);
const MAX_FAILS: usize = 3;
const FAIL_TIMEOUT: Span = Span::secs(10);
const RETRIES: usize = 1;

section! {
    /// Servers that do the same, of which each request goes to the one with the fewest requests under way.
    pub struct Upstream {
        /// The servers; required. `http://host:port` or `unix:/path/to/socket`.
        servers: Vec<Server> = Vec::new(),
        /// Whether they are spoken to in HTTP/2, which they must expect without being asked (h2c with prior knowledge).
        http2: bool = HTTP2,
        /// How long a connection may take to come about.
        connect_timeout: Span = CONNECT_TIMEOUT,
        /// How long the head of an answer may take, from the request's end.
        first_byte_timeout: Span = FIRST_BYTE_TIMEOUT,
        /// How long a body may stay silent; event streams may stay silent for ever.
        idle_timeout: Span = IDLE_TIMEOUT,
        /// How long a tunnel (WebSocket and other upgrades) may stay silent in both directions.
        tunnel_timeout: Span = TUNNEL_TIMEOUT,
        /// Most idle connections that are kept for each server; 0 keeps none.
        keep: usize = KEEP,
        /// How long an idle connection is kept.
        keep_timeout: Span = KEEP_TIMEOUT,
        /// Consecutive failures after which a server is passed over; 0 means never.
        max_fails: usize = MAX_FAILS,
        /// How long it is passed over.
        fail_timeout: Span = FAIL_TIMEOUT,
        /// Further servers or connections that are tried where that is safe.
        retries: usize = RETRIES,
    }
}

impl Upstream {
    pub(super) fn validate_all(all: &BTreeMap<String, Self>) -> Result<(), Problem> {
        for (name, upstream) in all {
            let key = format!("upstream.{name}");
            require(
                is_name(name),
                key.as_str(),
                format!("{name:?} is not a name for an upstream, expected small letters, digits, \"-\" and \"_\""),
            )?;
            upstream.validate(&key)?;
        }
        Ok(())
    }

    fn validate(&self, section: &str) -> Result<(), Problem> {
        let key = |name: &str| format!("{section}.{name}");
        require(
            !self.servers.is_empty(),
            key("servers"),
            "is required, a list of servers such as [\"http://127.0.0.1:3000\"]",
        )?;
        for (index, server) in self.servers.iter().enumerate() {
            require(
                !self.servers[..index].contains(server),
                key(&format!("servers[{index}]")),
                format!("\"{server}\" has been given before"),
            )?;
        }
        for (name, span) in [
            ("connect_timeout", self.connect_timeout),
            ("first_byte_timeout", self.first_byte_timeout),
            ("idle_timeout", self.idle_timeout),
            ("tunnel_timeout", self.tunnel_timeout),
            ("keep_timeout", self.keep_timeout),
            ("fail_timeout", self.fail_timeout),
        ] {
            require(!span.is_zero(), key(name), "must be longer than 0")?;
        }
        Ok(())
    }
}

/// Small letters only, since environment variables cannot tell them from large ones; no dots, since `--set` takes them apart.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_')
}
