//! Who may come in, and how much of it: limits for each address, network and subscriber, and for the process as a whole. Knows
//! addresses and fields of requests; no sockets and no routes.

mod book;
mod bucket;
mod memory;
mod pace;
mod place;
mod trust;
mod turned;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::config::{Config, Limits, Network};
use crate::metrics::{self, Metrics, TURNED};
use book::{Account, Book};
use bucket::Rate;
use memory::Memory;
pub use pace::Pace;
pub use place::{Place, Seat, Visit};
pub use trust::Trust;
pub use turned::Turned;

/// How often a reason is told in the log; all else is counted.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// The rules and what is remembered for them.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    trust: Trust,
    connection_rate: Option<Rate>,
    request_rate: Option<Rate>,
    addresses: Book<IpAddr>,
    networks: Book<IpAddr>,
    identities: Book<String>,
    memory: Memory,
    metrics: Arc<Metrics>,
    /// When a reason was told last, in seconds since `started`.
    told: [AtomicU64; TURNED.len()],
    started: Instant,
}

impl Admission {
    /// The rules of a configuration.
    pub fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let limits = config.limits.clone();
        Self {
            trust: Trust::new(&config.listen),
            connection_rate: Rate::new(limits.connection_rate, limits.connection_burst),
            request_rate: Rate::new(limits.request_rate, limits.request_burst),
            addresses: Book::new(limits.addresses),
            networks: Book::new(limits.addresses),
            identities: Book::new(limits.addresses),
            memory: Memory::new(limits.memory.bytes()),
            metrics: Arc::clone(metrics),
            told: Default::default(),
            started: Instant::now(),
            limits,
        }
    }

    /// Whose words about clients are believed.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Who asks; see [`Trust::client`].
    pub fn client(&self, peer: SocketAddr, request: &HeaderMap) -> SocketAddr {
        self.trust.client(peer, request)
    }

    /// The most bytes of a request's target.
    pub fn longest_target(&self) -> usize {
        self.limits.url.bytes()
    }

    /// Lets a connection of this address in.
    ///
    /// # Errors
    /// If there are too many, or they come too fast.
    pub fn connection(&self, peer: IpAddr) -> Result<Visit, Turned> {
        self.tell(peer, self.visit(peer, self.started.elapsed()))
    }

    /// Lets a request of this address in.
    ///
    /// # Errors
    /// If they come too fast.
    pub fn request(&self, client: IpAddr) -> Result<(), Turned> {
        let Some(rate) = self.request_rate else { return Ok(()) };
        let now = self.started.elapsed();
        let Some(account) = self.account(client, now) else { return Ok(()) };
        self.tell(client, account.requests.take(rate, now).map_err(Turned::RequestRate))
    }

    /// Lets a stream in, of this address and of whoever listens, if that is known.
    ///
    /// # Errors
    /// If there are too many.
    pub fn stream(&self, client: IpAddr, identity: Option<&str>) -> Result<Seat, Turned> {
        self.tell(client, self.seat(client, identity, self.started.elapsed()))
    }

    /// Notes that somebody was turned away for a reason that others found.
    pub fn turn_away(&self, peer: IpAddr, turned: Turned) {
        // Only counted and told.
        let _ = self.tell::<()>(peer, Err(turned));
    }

    /// Looks at the memory and forgets who has not come for long. To be called about twice a second.
    pub fn tidy(&self) {
        let now = self.started.elapsed();
        self.addresses.tidy(now);
        self.networks.tidy(now);
        self.identities.tidy(now);
        self.memory.look();
        self.metrics.remembered.store(self.addresses.len() as u64, Ordering::Relaxed);
    }

    fn visit(&self, peer: IpAddr, now: Duration) -> Result<Visit, Turned> {
        if self.memory.is_short() {
            return Err(Turned::Memory);
        }
        let limits = &self.limits;
        if limits.connections_per_ip == 0 && limits.connections_per_network == 0 && self.connection_rate.is_none() {
            return Ok(Visit::default());
        }
        let Some(account) = self.account(peer, now) else { return Ok(Visit::default()) };
        if !account.connections.enter(limits.connections_per_ip) {
            return Err(Turned::ConnectionsPerIp(limits.connections_per_ip));
        }
        let network = account.network.clone();
        if network.is_some_and(|network| !network.connections.enter(limits.connections_per_network)) {
            account.connections.leave();
            return Err(Turned::ConnectionsPerNetwork(limits.connections_per_network));
        }
        // From here on dropping the visit takes both back.
        let visit = Visit(Some(Arc::clone(&account)));
        match self.connection_rate {
            Some(rate) => account.connects.take(rate, now).map(|()| visit).map_err(Turned::ConnectionRate),
            None => Ok(visit),
        }
    }

    fn seat(&self, client: IpAddr, identity: Option<&str>, now: Duration) -> Result<Seat, Turned> {
        if self.memory.is_short() {
            return Err(Turned::Memory);
        }
        let limits = &self.limits;
        let mut seat = Seat::default();
        if (limits.streams_per_ip > 0 || limits.streams_per_network > 0)
            && let Some(account) = self.account(client, now)
        {
            if !account.streams.enter(limits.streams_per_ip) {
                return Err(Turned::StreamsPerIp(limits.streams_per_ip));
            }
            let network = account.network.clone();
            if network.is_some_and(|network| !network.streams.enter(limits.streams_per_network)) {
                account.streams.leave();
                return Err(Turned::StreamsPerNetwork(limits.streams_per_network));
            }
            seat.address = Some(account);
        }
        if let Some(identity) = identity.filter(|_| limits.streams_per_identity > 0) {
            let account = self.identities.open(identity, now, Account::default);
            if !account.streams.enter(limits.streams_per_identity) {
                return Err(Turned::StreamsPerIdentity(limits.streams_per_identity));
            }
            seat.identity = Some(account);
        }
        Ok(seat)
    }

    /// The account of an address, unless it is exempt.
    fn account(&self, address: IpAddr, now: Duration) -> Option<Arc<Account>> {
        let limits = &self.limits;
        let address = address.to_canonical();
        if limits.exempt.iter().any(|network| network.contains(address)) || self.trust.has(address) {
            return None;
        }
        let of = |v4: usize, v6: usize| Network::around(address, if address.is_ipv4() { v4 } else { v6 } as u8);
        let counts_networks = limits.connections_per_network > 0 || limits.streams_per_network > 0;
        let network = || {
            let key = of(limits.network_ipv4, limits.network_ipv6);
            counts_networks.then(|| self.networks.open(&key, now, Account::default))
        };
        let key = of(32, limits.ipv6_prefix);
        Some(self.addresses.open(&key, now, || Account { network: network(), ..Account::default() }))
    }

    /// Counts who is turned away, and says so in the log, of each reason once in a while.
    fn tell<T>(&self, client: IpAddr, admitted: Result<T, Turned>) -> Result<T, Turned> {
        if let Err(turned) = &admitted {
            let reason = turned.reason();
            metrics::add(&self.metrics.turned[reason], 1);
            let now = self.started.elapsed().as_secs();
            let last = self.told[reason].load(Ordering::Relaxed);
            if (last == 0 || now >= last + TOLD_EVERY.as_secs())
                && self.told[reason].compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                let (reason, for_now) = (TURNED[reason], "further ones are only counted for a minute");
                tracing::warn!(%client, reason, why = %turned, "a client was turned away; {for_now}");
            }
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn admission(limits: &str) -> Admission {
        let toml = format!("[limits]\n{limits}\n[listen]\ntrusted_proxies = ['192.0.2.0/24']");
        Admission::new(&Config::from_toml(&toml).unwrap(), &Arc::new(Metrics::new(1)))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_of_an_address_are_bounded_and_given_back() {
        let admission = admission("connections_per_ip = 2");
        let first = admission.connection(ip("203.0.113.1")).unwrap();
        let _second = admission.connection(ip("::ffff:203.0.113.1")).unwrap();
        assert_eq!(admission.connection(ip("203.0.113.1")).unwrap_err(), Turned::ConnectionsPerIp(2));
        assert!(admission.connection(ip("203.0.113.2")).is_ok());
        drop(first);
        assert!(admission.connection(ip("203.0.113.1")).is_ok());
        assert_eq!(metrics::read(&admission.metrics.turned[Turned::ConnectionsPerIp(2).reason()]), 1);
    }

    #[test]
    fn connections_of_an_ipv6_prefix_are_one_address() {
        let admission = admission("connections_per_ip = 1");
        let _first = admission.connection(ip("2001:db8:1:2::1")).unwrap();
        assert!(admission.connection(ip("2001:db8:1:2:ffff::9")).is_err());
        assert!(admission.connection(ip("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn connections_of_a_network_are_bounded_over_its_addresses() {
        let admission = admission("connections_per_network = 2\nstreams_per_network = 1");
        let _first = admission.connection(ip("203.0.113.1")).unwrap();
        let second = admission.connection(ip("203.0.113.2")).unwrap();
        assert_eq!(admission.connection(ip("203.0.113.3")).unwrap_err(), Turned::ConnectionsPerNetwork(2));
        assert!(admission.connection(ip("203.0.114.3")).is_ok());
        drop(second);
        assert!(admission.connection(ip("203.0.113.3")).is_ok());
        let _stream = admission.stream(ip("2001:db8:1:2::1"), None).unwrap();
        assert_eq!(admission.stream(ip("2001:db8:1:3::1"), None).unwrap_err(), Turned::StreamsPerNetwork(1));
    }

    #[test]
    fn connections_that_come_too_fast_are_turned_away_and_not_counted() {
        let admission = admission("connection_rate = 1\nconnection_burst = 2\nconnections_per_ip = 2");
        let visit = |at| admission.visit(ip("203.0.113.1"), at);
        assert!(visit(NOW).is_ok() && visit(NOW).is_ok());
        let after = Duration::from_secs(1);
        assert_eq!(visit(NOW).unwrap_err(), Turned::ConnectionRate(after));
        let kept = visit(NOW + after).unwrap();
        assert!(visit(NOW + 2 * after).is_ok(), "the refused one was not counted");
        drop(kept);
    }

    #[test]
    fn requests_that_come_too_fast_say_when_to_come_back() {
        let admission = admission("request_rate = 1\nrequest_burst = 1");
        assert_eq!(admission.request(ip("203.0.113.1")), Ok(()));
        let turned = admission.request(ip("203.0.113.1")).unwrap_err();
        assert!(matches!(turned, Turned::RequestRate(_)));
        assert_eq!(turned.retry_seconds(), 1);
        assert_eq!(admission.request(ip("203.0.113.2")), Ok(()));
    }

    #[test]
    fn streams_of_an_identity_are_bounded_wherever_they_come_from() {
        let admission = admission("streams_per_identity = 1\nstreams_per_ip = 1");
        let first = admission.stream(ip("203.0.113.1"), Some("ada")).unwrap();
        assert_eq!(admission.stream(ip("203.0.113.2"), Some("ada")).unwrap_err(), Turned::StreamsPerIdentity(1));
        let _bob = admission.stream(ip("203.0.113.2"), Some("bob")).expect("the refused one was given back");
        drop(first);
        assert!(admission.stream(ip("10.0.0.1"), Some("ada")).is_ok());
    }

    #[test]
    fn exempt_and_trusted_addresses_are_not_limited() {
        let admission = admission(
            "connections_per_ip = 1\nstreams_per_ip = 1\nconnection_rate = 1\nconnection_burst = 1\nrequest_rate = 1\n\
             request_burst = 1",
        );
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.9", "10.1.2.3", "fd00::1", "192.0.2.9"] {
            let visits: Vec<_> = (0..5).map(|_| admission.connection(ip(address)).unwrap()).collect();
            assert_eq!(visits.len(), 5);
            assert!((0..5).all(|_| admission.request(ip(address)).is_ok()));
            assert!(admission.stream(ip(address), None).unwrap().address.is_none(), "{address}");
        }
        assert_eq!(admission.addresses.len(), 0);
    }
}
