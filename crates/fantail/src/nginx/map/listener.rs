//! What becomes of servers' addresses and names: the listeners of Fantail, and the hosts of routes.

use std::net::SocketAddr;

use super::super::draft::Value;
use super::super::scope::named;
use super::servers::{Place, Server, hosts};
use super::{Door, Mapper, is_carried};

impl<'t> Mapper<'t> {
    /// The address of the public listener.
    pub(super) fn listen(&mut self, servers: &[&Server<'t>], place: Place) {
        if place.tls {
            self.draft.head(format!(
                "nginx spoke TLS at {}; Fantail speaks none, so a proxy that does has to stand in front.",
                place.address
            ));
        } else {
            // One that is for both families takes what the other takes.
            let both = servers.iter().flat_map(|server| &server.listens).filter_map(|listen| listen.address);
            let both = both.filter(|address| address.port() == place.address.port() && address.ip().is_unspecified());
            let address = both.max_by_key(SocketAddr::is_ipv6).filter(|_| place.address.ip().is_unspecified());
            let address = address.unwrap_or(place.address);
            if address.to_string() != "127.0.0.1:8080" {
                self.draft.section("listen").set_first("public", Value::text(&address.to_string()));
            }
        }
    }

    /// Moves the listener whose address is Fantail's own choice where the other's would be the same.
    pub(super) fn keep_apart(&mut self, public: Place, control: Option<Place>) {
        let free = Value::text("127.0.0.1:8082");
        match control {
            None if !public.tls && public.address.port() == 8081 => self.draft.section("control").set("listen", free),
            Some(control) if public.tls && control.address.port() == 8080 => {
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
    pub(super) fn addresses(&mut self, server: &Server<'t>, door: Door) {
        let setting = if door == Door::Public { "listen.public" } else { "control.listen" };
        let mut taken = None;
        for listen in &server.listens {
            let Some(directive) = listen.directive else { continue };
            let is_first = taken.is_none_or(|port| {
                listen.address.is_some_and(|address| address.port() == port && address.ip().is_unspecified())
            });
            match listen.address {
                Some(_) if listen.tls => {
                    self.ledger.left(
                        directive,
                        "Fantail speaks no TLS to clients; a proxy that does has to stand in front of it",
                    );
                }
                Some(address) if is_first => {
                    taken = Some(address.port());
                    let odd = directive.args.iter().skip(1).find(|arg| !is_usual(arg));
                    match odd {
                        Some(arg) => self.ledger.changed(directive, format!("{setting}; {arg} is not carried over")),
                        None => self.ledger.carried(directive, setting),
                    }
                }
                Some(_) => self.ledger.left(directive, format!("{setting} is one address")),
                None => self.ledger.left(directive, format!("{setting} is an IP address with a port")),
            }
        }
    }

    /// The hosts that the server's routes are for; one that is nothing for all.
    pub(super) fn hosts(&mut self, server: &Server<'t>, door: Door, one_of_many: bool) -> Vec<Option<String>> {
        let names = server.names();
        let all = named(server.scope.inner(), "server_name");
        if !one_of_many || names.is_empty() || door == Door::Control {
            let note = match door {
                Door::Control if !names.is_empty() => "control.hosts",
                _ if !server.flat().into_iter().any(is_carried) => "has no routes",
                _ if one_of_many => "answers all hosts, those of other servers too where these have no route",
                _ => "is the only server at its address and answers every host, as in nginx",
            };
            for directive in all {
                if one_of_many {
                    self.ledger.changed(directive, note);
                } else {
                    self.ledger.carried(directive, note);
                }
            }
            return vec![None];
        }
        let mut found = Vec::new();
        for (directive, name) in names {
            match hosts(name) {
                Ok(hosts) => {
                    self.ledger.carried(directive, "host");
                    found.extend(hosts.into_iter().map(Some));
                }
                Err(reason) => self.ledger.left(directive, format!("{name} {reason}")),
            }
        }
        if server.listens.iter().any(|listen| listen.is_default) {
            self.ledger
                .changed(server.directive, "a request for a host that no server names is answered with 404, not here");
        }
        found.dedup();
        found
    }
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
