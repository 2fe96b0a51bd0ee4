//! The upstreams that are printed: those of the file that routes lead to, and those that `proxy_pass` names by address.

use super::super::draft::{Table, Value};
use super::super::report::Ledger;
use super::super::tree::Directive;
use super::super::value;
use crate::config::Server;

/// What a route wants of its upstream; where two want something else, there are two upstreams.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Wanted {
    /// In milliseconds, as all of these.
    pub read_timeout: Option<u64>,
    pub connect_timeout: Option<u64>,
    pub tunnels: bool,
    pub retries: Option<u64>,
}

/// The upstreams so far.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    made: Vec<(String, Wanted, Table, String)>,
}

impl Upstreams {
    /// The name of the upstream for a block of the file, with what is wanted; nothing if no server of it can be reached.
    pub(super) fn of_block(&mut self, ledger: &mut Ledger, block: &Directive, wanted: &Wanted) -> Option<String> {
        let mut table = Table::default();
        let servers = servers(ledger, block, &mut table);
        if servers.is_empty() {
            return None;
        }
        for directive in block.children().iter().filter(|directive| directive.name == "keepalive") {
            if directive.first() != "64" {
                table.set("keep", Value::plain(directive.first()));
            }
            ledger.carried(directive, "keep");
        }
        for directive in block.children().iter().filter(|directive| directive.name == "keepalive_timeout") {
            let millis = value::time(directive.first(), false).unwrap_or_default();
            if millis > 0 && millis != 60_000 {
                table.set("keep_timeout", Value::text(&value::written_time(millis)));
            }
            ledger.carried(directive, "keep_timeout");
        }
        ledger.carried(block, "");
        Some(self.named(&clean(block.first()), &servers, table, wanted))
    }

    /// The name of the upstream for one server.
    pub(super) fn of_server(&mut self, server: &Server, wanted: &Wanted) -> String {
        let name = match server {
            Server::Tcp { host, .. } if host.parse::<std::net::IpAddr>().is_err() && host != "localhost" => clean(host),
            Server::Tcp { .. } | Server::Unix(_) => "app".to_owned(),
        };
        self.named(&name, &[server.to_string()], Table::default(), wanted)
    }

    pub(super) fn into_tables(self) -> Vec<(String, Table)> {
        self.made.into_iter().map(|(name, _, table, _)| (name, table)).collect()
    }

    fn named(&mut self, name: &str, servers: &[String], mut table: Table, wanted: &Wanted) -> String {
        let key = servers.join(" ");
        let known = self.made.iter().find(|(_, other, _, other_key)| other == wanted && *other_key == key);
        if let Some((name, ..)) = known {
            return name.clone();
        }
        let is_free = |name: &str| self.made.iter().all(|(other, ..)| other != name);
        let mut free = name.to_owned();
        let mut number = 2;
        while !is_free(&free) {
            free = format!("{name}-{number}");
            number += 1;
        }
        table.set_first("servers", Value::list(servers));
        wanted.write(&mut table);
        self.made.push((free.clone(), wanted.clone(), table, key));
        free
    }
}

impl Wanted {
    fn write(&self, table: &mut Table) {
        let mut time = |key: &str, millis: Option<u64>, own: u64| {
            if let Some(millis) = millis.filter(|millis| *millis != own && *millis > 0) {
                table.set(key, Value::text(&value::written_time(millis)));
            }
        };
        time("connect_timeout", self.connect_timeout, 5_000);
        time("first_byte_timeout", self.read_timeout, 60_000);
        time("idle_timeout", self.read_timeout, 60_000);
        time("tunnel_timeout", self.read_timeout.filter(|_| self.tunnels), 600_000);
        if let Some(retries) = self.retries.filter(|retries| *retries != 1) {
            table.set("retries", Value::plain(retries));
        }
    }
}

/// The servers of a block, as Fantail writes them.
fn servers(ledger: &mut Ledger, block: &Directive, table: &mut Table) -> Vec<String> {
    let mut servers: Vec<String> = Vec::new();
    let all: Vec<&Directive> = block.children().iter().filter(|directive| directive.name == "server").collect();
    let is_active = |directive: &Directive| !directive.args.iter().skip(1).any(|arg| arg == "down" || arg == "backup");
    for (key, name) in [("max_fails", "max_fails="), ("fail_timeout", "fail_timeout=")] {
        let mut given = all.iter().filter(|directive| is_active(directive)).map(|directive| parameter(directive, name));
        // One value for all servers, or none.
        let Some(Some(first)) = given.next() else { continue };
        if given.any(|other| other != Some(first)) {
            continue;
        }
        if key == "max_fails" {
            table.set(key, Value::plain(value::count(first).unwrap_or(3)));
        } else {
            let millis = value::time(first, true).filter(|millis| *millis > 0);
            table.set(key, Value::text(&value::written_time(millis.unwrap_or(10_000))));
        }
    }
    for directive in all {
        let has = |word: &str| directive.args.iter().skip(1).any(|arg| arg == word);
        if has("down") {
            ledger.carried(directive, "is down, and left out as nginx leaves it out");
            continue;
        }
        if has("backup") {
            ledger.left(directive, "servers of an upstream all have their share, there are none that wait");
            continue;
        }
        let text = directive.first();
        let written = if text.starts_with("unix:") { text.to_owned() } else { format!("http://{text}") };
        match written.parse::<Server>() {
            Ok(server) => {
                let shown = server.to_string();
                if !servers.contains(&shown) {
                    servers.push(shown);
                }
            }
            Err(reason) => {
                ledger.left(directive, reason);
                continue;
            }
        }
        let others: Vec<&str> =
            directive.args.iter().skip(1).map(String::as_str).filter(|arg| !is_carried(arg, table)).collect();
        if others.is_empty() {
            ledger.carried(directive, "servers");
        } else {
            let others = others.join(" and ");
            let note = format!("servers; without {others}, each request goes to the server with the fewest");
            ledger.changed(directive, note);
        }
    }
    servers
}

fn parameter<'d>(directive: &'d Directive, name: &str) -> Option<&'d str> {
    directive.args.iter().skip(1).find_map(|arg| arg.strip_prefix(name))
}

fn is_carried(arg: &str, table: &Table) -> bool {
    let one = |name: &str, key: &str| arg.starts_with(name) && table.value(key).is_some();
    one("max_fails=", "max_fails") || one("fail_timeout=", "fail_timeout") || arg == "weight=1"
}

/// A name that an upstream can have.
fn clean(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(plain).collect();
    if name.is_empty() { "app".to_owned() } else { name }
}
