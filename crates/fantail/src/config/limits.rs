//! `[limits]`: what one address, one network and one subscriber may take of the public listener.

use super::{
    Memory, Network, Size,
    error::{Problem, require},
    section::section,
};

/// Loopback, and what is private or local to a link: proxies, load balancers and the operator's own machines stand there.
const EXEMPT: [&str; 9] = [
    "127.0.0.0/8",
    "::1",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];
const IPV6_PREFIX: usize = 64;
const NETWORK_IPV4: usize = 24;
const NETWORK_IPV6: usize = 48;
const CONNECTIONS_PER_IP: usize = 4096;
const CONNECTIONS_PER_NETWORK: usize = 0;
const STREAMS_PER_IP: usize = 4096;
const STREAMS_PER_NETWORK: usize = 0;
const STREAMS_PER_IDENTITY: usize = 0;
const CONNECTION_RATE: usize = 200;
const CONNECTION_BURST: usize = 5000;
const REQUEST_RATE: usize = 2000;
const REQUEST_BURST: usize = 20_000;
const ADDRESSES: usize = 100_000;
const URL: Size = Size::kib(8);
const BODY_RATE: Size = Size::new(240);
const ANSWER_RATE: Size = Size::new(240);
const MEMORY: Memory = Memory::Size(Size::new(0));

/// More in a second than this cannot be told apart by a clock of nanoseconds with a burst.
const FASTEST: usize = 10_000_000;
/// hyper refuses longer ones by itself.
const LONGEST_URL: Size = Size::new(65_534);
/// Fewer addresses than this are soon forgotten by everybody's coming and going.
const FEWEST_ADDRESSES: usize = 1024;

section! {
    /// What one address, one network and one subscriber may take of the public listener. 0 means as much as they like.
    pub struct Limits {
        /// Networks to whose addresses the limits for addresses and networks do not apply. `listen.trusted_proxies` are
        /// exempt as well: what their clients do counts for these.
        exempt: Vec<Network> = EXEMPT.iter().filter_map(|network| network.parse().ok()).collect(),
        /// How many bits of an IPv6 address stand for one client: nearly everybody has as many addresses as they like.
        ipv6_prefix: usize = IPV6_PREFIX,
        /// How many bits of an IPv4 address are its network.
        network_ipv4: usize = NETWORK_IPV4,
        /// How many bits of an IPv6 address are its network.
        network_ipv6: usize = NETWORK_IPV6,
        /// Most connections of one address at a time, streams included; one more is answered with 429 and closed.
        connections_per_ip: usize = CONNECTIONS_PER_IP,
        /// Most connections of one network at a time.
        connections_per_network: usize = CONNECTIONS_PER_NETWORK,
        /// Most streams of one address at a time: event streams, waiting polls, sockets of web pages and tunnels; one more is
        /// answered with 429.
        streams_per_ip: usize = STREAMS_PER_IP,
        /// Most streams of one network at a time.
        streams_per_network: usize = STREAMS_PER_NETWORK,
        /// Most streams at a time of one subscriber, where it is known who that is.
        streams_per_identity: usize = STREAMS_PER_IDENTITY,
        /// New connections of one address in a second, beyond its burst; one more is answered with 429 and closed.
        connection_rate: usize = CONNECTION_RATE,
        /// How many connections an address may make at once before `connection_rate` counts.
        connection_burst: usize = CONNECTION_BURST,
        /// Requests of one address in a second, beyond its burst; one more is answered with 429.
        request_rate: usize = REQUEST_RATE,
        /// How many requests an address may make at once before `request_rate` counts.
        request_burst: usize = REQUEST_BURST,
        /// How many addresses without a connection are remembered for the rates, at least 1024; beyond them, some are
        /// forgotten and begin anew.
        addresses: usize = ADDRESSES,
        /// Longest target of a request (path and query), at most 65534; a longer one is answered with 414.
        url: Size = URL,
        /// Bytes in a second that a request's body has to come with on average, once `listen.body_timeout` has passed; a
        /// slower one is answered with 408. Bodies in chunks that are passed on to an upstream may take any time.
        body_rate: Size = BODY_RATE,
        /// Bytes in a second that a client has to take of an answer, measured over each minute in which its socket is
        /// full. Event streams have `stream.stall_limit` instead.
        answer_rate: Size = ANSWER_RATE,
        /// Memory that the process may have resident before it turns away new connections and streams with 503; those
        /// that are there stay.
        memory: Memory = MEMORY,
    }
}

impl Limits {
    pub(super) fn validate(&self) -> Result<(), Problem> {
        for (key, bits, most) in [
            ("limits.ipv6_prefix", self.ipv6_prefix, 128),
            ("limits.network_ipv4", self.network_ipv4, 32),
            ("limits.network_ipv6", self.network_ipv6, 128),
        ] {
            require((1..=most).contains(&bits), key, format!("{bits} is no number of bits, expected 1 to {most}"))?;
        }
        require(
            self.network_ipv6 <= self.ipv6_prefix,
            "limits.network_ipv6",
            format!("{} is longer than limits.ipv6_prefix = {}", self.network_ipv6, self.ipv6_prefix),
        )?;
        for (key, rate) in
            [("limits.connection_rate", self.connection_rate), ("limits.request_rate", self.request_rate)]
        {
            require(rate <= FASTEST, key, format!("{rate} is too many, expected 0 (any) to {FASTEST}"))?;
        }
        for (key, burst, rate) in [
            ("limits.connection_burst", self.connection_burst, self.connection_rate),
            ("limits.request_burst", self.request_burst, self.request_rate),
        ] {
            require(burst > 0 || rate == 0, key, "must be at least 1")?;
            require(burst <= FASTEST, key, format!("{burst} is too many, expected at most {FASTEST}"))?;
        }
        require(
            self.addresses >= FEWEST_ADDRESSES,
            "limits.addresses",
            format!("{} is too few, expected at least {FEWEST_ADDRESSES}", self.addresses),
        )?;
        require(
            (1..=LONGEST_URL.bytes()).contains(&self.url.bytes()),
            "limits.url",
            format!("{} is not allowed, expected 1 to {LONGEST_URL}", self.url),
        )
    }
}
