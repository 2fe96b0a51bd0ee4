//! `[listen]`: the public listener and what one connection may cost.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    Addresses, Network, Size, Span,
    error::{Problem, require},
    section::{choice, section},
};

const PUBLIC: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const SHARDS: usize = 0;
const CONNECTIONS: usize = 0;
const HEAD_TIMEOUT: Span = Span::secs(10);
const IDLE_TIMEOUT: Span = Span::secs(75);
const BODY_TIMEOUT: Span = Span::secs(30);
const HEAD_SIZE: Size = Size::kib(16);
const HEADERS: usize = 100;
const PROXY_PROTOCOL: bool = false;
const REQUESTS: usize = 0;

/// More threads than this are a slip of the finger.
const MOST_SHARDS: usize = 1024;
/// hyper reads a request's head into a buffer of at least this size.
const SMALLEST_HEAD: Size = Size::kib(8);

choice! {
    /// The field in which trusted proxies say for whom they ask.
    pub enum ClientField {
        /// `X-Forwarded-For`.
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
    }
}

section! {
    /// The public listener, and what one connection may cost.
    pub struct Listen {
        /// Where browsers connect; one address, or a list.
        public: Addresses = PUBLIC.into(),
        /// Fan-out threads, each with its own share of the subscribers; 0 means one per core.
        shards: usize = SHARDS,
        /// Most connections that are open at a time; 0 means the descriptor limit less 256.
        connections: usize = CONNECTIONS,
        /// How long a client may take to send a request's head.
        head_timeout: Span = HEAD_TIMEOUT,
        /// How long a kept-alive connection may wait for its next request.
        idle_timeout: Span = IDLE_TIMEOUT,
        /// How long a request's body may stay silent before the connection is closed.
        body_timeout: Span = BODY_TIMEOUT,
        /// Largest request head, at least 8KiB; a larger one is answered with 431.
        head_size: Size = HEAD_SIZE,
        /// Most header fields in a request; one with more is answered with 431.
        headers: usize = HEADERS,
        /// Most requests on one connection, which is closed after the last of them; 0 means that there is no limit.
        requests: usize = REQUESTS,
        /// Networks of proxies and load balancers in front of Fantail, such as `["10.0.0.0/8", "::1"]`. Who the client is, for
        /// limits, logs and `$remote_addr`, is taken from their `client_field`; what they say in `Forwarded` and
        /// `X-Forwarded-*` is passed on to upstreams and extended, what everyone else says there is replaced.
        trusted_proxies: Vec<Network> = Vec::new(),
        /// The field that names the client; its last address counts that is no trusted proxy's. The proxy in front must
        /// set it, or clients could choose who they are.
        client_field: ClientField = ClientField::XForwardedFor,
        /// Every connection begins with a header of the PROXY protocol (version 1 or 2), which names the client. It is taken
        /// from `trusted_proxies` alone, and a connection without it is closed.
        proxy_protocol: bool = PROXY_PROTOCOL,
    }
}

impl Listen {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        let public = self.public.all();
        for (index, address) in public.iter().enumerate() {
            let twin = public[..index].iter().find(|twin| collide(**twin, *address) && !is_pair(**twin, *address));
            if let Some(twin) = twin {
                require(false, "listen.public", format!("{address} collides with {twin}, expected another port"))?;
            }
        }
        require(
            self.shards <= MOST_SHARDS,
            "listen.shards",
            format!("{} is too many, expected 0 (one per core) to {MOST_SHARDS}", self.shards),
        )?;
        for (key, span) in [
            ("listen.head_timeout", self.head_timeout),
            ("listen.idle_timeout", self.idle_timeout),
            ("listen.body_timeout", self.body_timeout),
        ] {
            require(!span.is_zero(), key, "must be longer than 0")?;
        }
        require(
            self.head_size >= SMALLEST_HEAD,
            "listen.head_size",
            format!("{} is too small, expected at least {SMALLEST_HEAD}", self.head_size),
        )?;
        require(self.headers > 0, "listen.headers", "must be at least 1")?;
        require(
            !self.proxy_protocol || !self.trusted_proxies.is_empty(),
            "listen.proxy_protocol",
            "is believed only from listen.trusted_proxies, which is empty: expected the networks of the load balancers there",
        )
    }
}

/// Whether two listeners cannot both be there.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    overlap && one.port() == other.port() && one.port() != 0
}

/// Whether these two are for all addresses of one family each, which can both be there.
fn is_pair(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip().is_unspecified() && other.ip().is_unspecified() && one.is_ipv4() != other.is_ipv4()
}
