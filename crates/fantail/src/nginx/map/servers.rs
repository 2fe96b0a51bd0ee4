//! Servers: where they listen, for which hosts they are, and which of them become the public and the control listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::ImportError;
use super::super::check::refused;
use super::super::location::{Location, Paths};
use super::super::scope::{Scope, named};
use super::super::tree::Directive;
use super::{is_carried, nchan, push_stream};
use crate::config::Host;

/// A server.
pub(super) struct Server<'t> {
    pub directive: &'t Directive,
    pub scope: Scope<'t>,
    pub listens: Vec<Listen<'t>>,
    pub locations: Vec<Location<'t>>,
}

/// Where a server listens.
pub(super) struct Listen<'t> {
    /// Nothing for the address of a server without `listen`.
    pub directive: Option<&'t Directive>,
    /// Nothing for a Unix socket or a name that would have to be looked up.
    pub address: Option<SocketAddr>,
    pub tls: bool,
    pub is_default: bool,
}

impl<'t> Server<'t> {
    pub(super) fn all(http: &Scope<'t>) -> Result<Vec<Self>, ImportError> {
        named(http.inner(), "server").map(|directive| Self::read(http, directive)).collect()
    }

    fn read(http: &Scope<'t>, directive: &'t Directive) -> Result<Self, ImportError> {
        let scope = http.within(directive.children());
        let mut listens = named(scope.inner(), "listen").map(Listen::read).collect::<Result<Vec<_>, _>>()?;
        if listens.is_empty() {
            let address = Some((Ipv4Addr::UNSPECIFIED, 80).into());
            listens.push(Listen { directive: None, address, tls: false, is_default: false });
        }
        let locations = Location::all(&scope)?;
        Ok(Self { directive, scope, listens, locations })
    }

    /// Its locations and those within, in the order in which their regular expressions are looked at.
    pub(super) fn flat(&self) -> Vec<&Location<'t>> {
        let mut all: Vec<_> = self.locations.iter().flat_map(Location::flat).collect();
        // Those within a location come before all of those outside of it.
        all.sort_by_key(|location| location.around.is_none() || !matches!(location.paths, Paths::Regex { .. }));
        all
    }

    /// The listen of this server at an address, plain or by TLS.
    pub(super) fn at(&self, place: Place) -> Option<&Listen<'t>> {
        self.listens.iter().find(|listen| listen.place() == Some(place))
    }

    /// Its names; `_` and the like, which no host has, are none.
    pub(super) fn names(&self) -> Vec<(&'t Directive, &'t str)> {
        let mut names = self.all_names();
        names.retain(|(_, name)| !matches!(*name, "localhost" | "127.0.0.1"));
        names
    }
}

impl<'t> Server<'t> {
    /// Its names, with those that stand in every configuration: where another server is the default, they are names as others.
    pub(super) fn all_names(&self) -> Vec<(&'t Directive, &'t str)> {
        let names = named(self.scope.inner(), "server_name");
        let names = names.flat_map(|directive| directive.args.iter().map(move |name| (directive, name.as_str())));
        names.filter(|(_, name)| !matches!(*name, "" | "_" | "*" | "__" | "--" | "!@#")).collect()
    }
}

impl<'t> Listen<'t> {
    fn read(directive: &'t Directive) -> Result<Self, ImportError> {
        let has = |word: &str| directive.args.iter().skip(1).any(|arg| arg == word);
        let address = address(directive)?;
        let tls = has("ssl") || has("quic");
        Ok(Self { directive: Some(directive), address, tls, is_default: has("default_server") || has("default") })
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.address.map(|address| Place { address: folded(address), tls: self.tls })
    }
}

/// An address, where `[::]` and `0.0.0.0` are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub address: SocketAddr,
    pub tls: bool,
}

fn folded(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { (Ipv4Addr::UNSPECIFIED, address.port()).into() } else { address }
}

/// The address of a `listen`; nothing for a Unix socket or a name.
fn address(directive: &Directive) -> Result<Option<SocketAddr>, ImportError> {
    let text = directive.first();
    let wrong = || {
        let reason = format!(
            "\"{text}\" is not an address, expected such as \"80\", \"127.0.0.1:8080\", \"[::]:80\" or \"unix:/path\""
        );
        Err(refused(directive, reason))
    };
    let port = |port: &str| port.parse::<u16>().ok().filter(|port| *port != 0);
    if text.starts_with("unix:") {
        return Ok(None);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return port(text).map_or_else(wrong, |port| Ok(Some((Ipv4Addr::UNSPECIFIED, port).into())));
    }
    let (host, number) = match text.rsplit_once(':') {
        Some((host, number)) if !number.ends_with(']') => match port(number) {
            Some(number) => (host, number),
            None => return wrong(),
        },
        _ => (text, 80),
    };
    if host == "*" {
        return Ok(Some((Ipv4Addr::UNSPECIFIED, number).into()));
    }
    if host == "localhost" {
        return Ok(Some((Ipv4Addr::LOCALHOST, number).into()));
    }
    if let Some(ip) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return ip.parse::<Ipv6Addr>().map_or_else(|_| wrong(), |ip| Ok(Some((ip, number).into())));
    }
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(Some((ip, number).into())),
        Err(_)
            if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) =>
        {
            wrong()
        }
        // A name would have to be looked up, which may say something else elsewhere.
        Err(_) => Ok(None),
    }
}

/// Which servers become which listener.
pub(super) struct Listeners {
    /// Where browsers connect, the most important first; nothing if no server has anything that Fantail does.
    pub public: Vec<Place>,
    /// Another address, at which messages are published.
    pub control: Option<Place>,
}

impl Listeners {
    /// Chooses: the public listener is where routes are, without TLS if there is a choice; the control listener where there are
    /// publishers and statistics alone.
    pub(super) fn choose(servers: &[Server<'_>]) -> Self {
        let mut places: Vec<Place> = Vec::new();
        for place in servers.iter().flat_map(|server| &server.listens).filter_map(Listen::place) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let count = |place: Place, is: &dyn Fn(&Location<'_>) -> bool| {
            let there = servers.iter().filter(|server| server.at(place).is_some());
            there.flat_map(Server::flat).filter(|location| is(location)).count()
        };
        let score = |place: Place| {
            (count(place, &subscribes).min(1), !place.tls, count(place, &subscribes), count(place, &is_carried))
        };
        let carried = places.iter().copied().filter(|place| count(*place, &is_carried) > 0);
        // Of equal ones the first.
        let best = carried.clone().rev().max_by_key(|place| score(*place));
        let control = places.iter().copied().find(|place| {
            let passes = |location: &Location<'_>| is_carried(location) && !is_control(location);
            !place.tls
                && best.is_some_and(|best| best.address.port() != place.address.port())
                && count(*place, &is_control) > 0
                && count(*place, &passes) == 0
        });
        let mut public: Vec<Place> = best.into_iter().collect();
        public.extend(carried.filter(|place| {
            let is_best = Some(*place) == best || Some(*place) == control;
            !is_best && !place.tls && best.is_some_and(|best| !best.tls)
        }));
        // What listens at all addresses takes the port from those that listen at one.
        let everywhere =
            |port| public.iter().any(|place| place.address.ip().is_unspecified() && place.address.port() == port);
        let public = public.iter().copied();
        let public = public.filter(|place| place.address.ip().is_unspecified() || !everywhere(place.address.port()));
        Self { public: public.collect(), control }
    }
}

fn subscribes(location: &Location<'_>) -> bool {
    push_stream::handler(location).is_some_and(|handler| push_stream::role(handler).subscribes())
        || nchan::handler(location).is_some_and(|handler| handler.name.contains("sub"))
}

fn is_control(location: &Location<'_>) -> bool {
    is_carried(location)
        && !subscribes(location)
        && (push_stream::handler(location).is_some() || nchan::handler(location).is_some())
}

/// The hosts that a server's names mean; the error is for a name that Fantail cannot have.
pub(super) fn hosts(name: &str) -> Result<Vec<String>, String> {
    let own = |name: &str| name.parse::<Host>().map(|host| vec![host.to_string()]);
    if name.starts_with('~') {
        return Err("is a regular expression, and a host of Fantail's is one name or all below one".to_owned());
    }
    match name.strip_prefix('.') {
        Some(below) => Ok([own(below)?, own(&format!("*.{below}"))?].concat()),
        None => own(name),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::tree;
    use super::*;

    fn listeners(text: &str) -> (Option<String>, Option<String>) {
        let tree = tree(text);
        let servers = Server::all(&Scope::default().within(&tree.top)).unwrap();
        let found = Listeners::choose(&servers);
        let shown = |place: &Place| format!("{}{}", place.address, if place.tls { " tls" } else { "" });
        let public: Vec<String> = found.public.iter().map(shown).collect();
        ((!public.is_empty()).then(|| public.join(", ")), found.control.as_ref().map(shown))
    }

    const SUB: &str = "location /sub { push_stream_subscriber; push_stream_channels_path $arg_id; }";
    const PUB: &str = "location /pub { push_stream_publisher; push_stream_channels_path $arg_id; }";

    #[test]
    fn listeners_are_chosen_by_what_is_there() {
        let one = |public: &str| (Some(public.to_owned()), None);
        assert_eq!(listeners(&format!("server {{ {SUB} {PUB} }}")), one("0.0.0.0:80"));
        assert_eq!(listeners(&format!("server {{ listen 443 ssl; listen 8080; {SUB} }}")), one("0.0.0.0:8080"));
        assert_eq!(listeners(&format!("server {{ listen [::1]:443 ssl; {SUB} }}")), one("[::1]:443 tls"));
        assert_eq!(
            listeners(&format!("server {{ listen 127.0.0.1:9080; {PUB} }} server {{ listen 80; {SUB} }}")),
            (Some("0.0.0.0:80".to_owned()), Some("127.0.0.1:9080".to_owned()))
        );
        assert_eq!(listeners("server { location / { root /a; } }"), (None, None));
        assert_eq!(
            listeners(&format!(
                "server {{ listen 81; {PUB} }} server {{ listen 80; listen 82; listen 127.0.0.1:80; {SUB} {PUB} }}"
            )),
            (Some("0.0.0.0:80, 0.0.0.0:82".to_owned()), Some("0.0.0.0:81".to_owned()))
        );
    }

    #[test]
    fn listen_is_read_as_nginx_reads_it() {
        let read = |text: &str| {
            let tree = tree(&format!("listen {text};"));
            address(&tree.top[0])
                .map(|address| address.map(|address| address.to_string()))
                .map_err(|error| error.to_string())
        };
        let at = |address: &str| Ok(Some(address.to_owned()));
        assert_eq!(read("8000"), at("0.0.0.0:8000"));
        assert_eq!(read("*:8000"), at("0.0.0.0:8000"));
        assert_eq!(read("127.0.0.1"), at("127.0.0.1:80"));
        assert_eq!(read("[::1]:81"), at("[::1]:81"));
        assert_eq!(read("localhost:81"), at("127.0.0.1:81"));
        assert_eq!(read("unix:/run/a.sock"), Ok(None));
        for wrong in ["0", "70000", "127.0.0.1:x", ":80", "[::1"] {
            assert!(read(wrong).is_err_and(|error| error.contains("is not an address")), "{wrong}");
        }
    }

    #[test]
    fn name_of_a_server_is_one_host_or_two() {
        assert_eq!(hosts("A.example").unwrap(), ["a.example"]);
        assert_eq!(hosts(".a.example").unwrap(), ["a.example", "*.a.example"]);
        assert!(hosts("~^a").is_err() && hosts("www.*").is_err());
    }
}
