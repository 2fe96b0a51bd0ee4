//! What becomes of servers' addresses and names: the listeners of Fantail, and the hosts of routes.

use std::net::SocketAddr;

use super::super::draft::Value;
use super::super::scope::named;
use super::route::Seat;
use super::servers::{Place, Server, hosts};
use super::{Door, Mapper, is_carried};

impl<'t> Mapper<'t> {
    /// The addresses of the public listener.
    pub(super) fn listen(&mut self, servers: &[Server<'t>], places: &[Place]) {
        if let [Place { address, tls: true }] = places {
            self.draft.head(format!(
                "nginx spoke TLS at {address}; Fantail speaks none, so a proxy that does has to stand in front."
            ));
            self.public = vec![(places[0], *address)];
            return;
        }
        for place in places {
            // One that is for both families takes what the other takes.
            let both = servers.iter().flat_map(|server| &server.listens).filter_map(|listen| listen.address);
            let both = both.filter(|address| address.port() == place.address.port() && address.ip().is_unspecified());
            let address = both.max_by_key(SocketAddr::is_ipv6).filter(|_| place.address.ip().is_unspecified());
            self.public.push((*place, address.unwrap_or(place.address)));
        }
        let written: Vec<String> = self.public.iter().map(|(_, address)| address.to_string()).collect();
        match written.as_slice() {
            [one] if one == "127.0.0.1:8080" => {}
            [one] => self.draft.section("listen").set_first("public", Value::text(one)),
            all => self.draft.section("listen").set_first("public", Value::list(all)),
        }
    }

    /// Moves the listener whose address is Fantail's own choice where the other's would be the same.
    pub(super) fn keep_apart(&mut self, public: &[Place], control: Option<Place>) {
        let at = |tls: bool, port: u16| public.iter().any(|place| place.tls == tls && place.address.port() == port);
        let free = Value::text("127.0.0.1:8082");
        match control {
            None if at(false, 8081) => self.draft.section("control").set("listen", free),
            Some(control) if public.iter().any(|place| place.tls) && control.address.port() == 8080 => {
                self.draft.section("listen").set_first("public", free);
            }
            _ => {}
        }
    }

    pub(super) fn control(&mut self, servers: &[&Server<'t>], place: Place) {
        let table = self.draft.section("control");
        if place.address.to_string() != "127.0.0.1:8081" {
            table.set("listen", Value::text(&place.address.to_string()));
        }
        if !place.address.ip().is_loopback() {
            let comment = "As in nginx, whoever reaches this address may publish; a control.key is better.";
            table.set_with("open", Value::plain(true), comment);
        }
        let names: Vec<&str> = servers.iter().flat_map(|server| server.names()).map(|(_, name)| name).collect();
        let plain = names.iter().all(|name| !name.contains(['*', '~', '/']));
        if !names.is_empty() && plain {
            table.set("hosts", Value::list(&names));
        }
    }

    /// What is said of the server's addresses.
    pub(super) fn addresses(&mut self, server: &Server<'t>, door: Door, control: Option<Place>) {
        let setting = if door == Door::Public { "listen.public" } else { "control.listen" };
        for listen in &server.listens {
            let Some(directive) = listen.directive else { continue };
            let is_there = |place: Place| match door {
                Door::Public => self.public.iter().any(|(public, _)| *public == place),
                Door::Control => control == Some(place),
            };
            match listen.place() {
                Some(_) if listen.tls => {
                    self.ledger.left(
                        directive,
                        "Fantail speaks no TLS to clients; a proxy that does has to stand in front of it",
                    );
                }
                Some(place) if is_there(place) => {
                    let odd = directive.args.iter().skip(1).find(|arg| !is_usual(arg));
                    match odd {
                        Some(arg) => self.ledger.changed(directive, format!("{setting}; {arg} is not carried over")),
                        None => self.ledger.carried(directive, setting),
                    }
                }
                Some(_) if door == Door::Control => self.ledger.left(directive, "control.listen is one address"),
                Some(_) => self.ledger.left(directive, "another listens at all addresses of this port"),
                None => self.ledger.left(directive, format!("{setting} is an IP address with a port")),
            }
        }
    }

    /// The hosts that the server's routes are for, and where; one that is nothing for all.
    pub(super) fn seats(&mut self, server: &Server<'t>, all: &[Server<'t>], door: Door) -> Vec<Seat> {
        let mut seats: Vec<Seat> = Vec::new();
        if door == Door::Control {
            let note = if server.names().is_empty() { "has no routes for hosts" } else { "control.hosts" };
            for directive in named(server.scope.inner(), "server_name") {
                self.ledger.carried(directive, note);
            }
            return vec![Seat { host: None, at: Vec::new() }];
        }
        let places: Vec<Place> = self.public.iter().map(|(place, _)| *place).collect();
        for place in places.into_iter().filter(|place| server.at(*place).is_some()) {
            for host in self.hosts(server, all, place) {
                match seats.iter_mut().find(|seat| seat.host == host) {
                    Some(seat) => seat.at.push(place),
                    None => seats.push(Seat { host, at: vec![place] }),
                }
            }
        }
        seats
    }

    /// The hosts for which a server is asked at a place.
    fn hosts(&mut self, server: &Server<'t>, all: &[Server<'t>], place: Place) -> Vec<Option<String>> {
        let others: Vec<&Server<'t>> =
            all.iter().filter(|other| other.at(place).is_some() && other.directive.id != server.directive.id).collect();
        let directives = named(server.scope.inner(), "server_name");
        let has_routes = server.flat().into_iter().any(is_carried);
        if others.is_empty() || !has_routes {
            let note = if has_routes {
                "is the only server at its address and answers every host, as in nginx"
            } else {
                "has no routes"
            };
            directives.for_each(|directive| self.ledger.carried(directive, note));
            return vec![None];
        }
        let is_default = default_at(all, place) == Some(server.directive.id);
        // Whose name a pattern of another server would take.
        let is_named = !is_default || others.iter().any(|other| other.names().iter().any(|(_, name)| is_pattern(name)));
        let mut found = Vec::new();
        if is_named {
            for (directive, name) in server.all_names() {
                match hosts(name) {
                    Ok(hosts) => {
                        self.ledger.carried(directive, "host");
                        found.extend(hosts.into_iter().map(Some));
                    }
                    Err(reason) if is_default => {
                        self.ledger.changed(
                            directive,
                            format!("{name} {reason}; its routes are for all hosts that no other names"),
                        );
                    }
                    Err(reason) => self.ledger.left(directive, format!("{name} {reason}")),
                }
            }
        }
        if is_default {
            let note = "host = \"*\": is the default server, and answers what no other server names";
            directives.for_each(|directive| self.ledger.carried(directive, note));
            found.push(Some("*".to_owned()));
        }
        found.dedup();
        found
    }
}

/// The server that nginx asks for hosts that none names: the first at the place, unless one says that it is.
fn default_at(all: &[Server<'_>], place: Place) -> Option<usize> {
    let there = || all.iter().filter_map(|server| Some((server, server.at(place)?)));
    let said = there().find(|(_, listen)| listen.is_default);
    said.or_else(|| there().next()).map(|(server, _)| server.directive.id)
}

fn is_pattern(name: &str) -> bool {
    name.starts_with(['.', '*', '~']) || name.ends_with(".*")
}

/// Parameters of `listen` that say nothing that Fantail would do otherwise.
fn is_usual(arg: &str) -> bool {
    let names = [
        "default_server",
        "default",
        "reuseport",
        "deferred",
        "bind",
        "backlog=",
        "so_keepalive=",
        "ipv6only=",
        "rcvbuf=",
        "sndbuf=",
        "fastopen=",
    ];
    names.iter().any(|name| arg == *name || (name.ends_with('=') && arg.starts_with(name)))
}
