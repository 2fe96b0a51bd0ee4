//! Locations with `proxy_pass`, as routes with `action = "proxy"`.

use super::super::draft::{Table, Value};
use super::super::location::{Location, Paths};
use super::super::scope::{Scope, named};
use super::super::tree::Directive;
use super::super::value;
use super::super::variables::{Variables, has_variables};
use super::Mapper;
use super::settings::flag;
use super::upstream::Wanted;
use crate::config::{Server, is_settable};

/// What nginx is told to say in a request, and Fantail says by itself.
const ITSELF: [(&str, &[&str]); 8] = [
    ("host", &["$host", "$http_host", "$host:$server_port", "$http_host:$server_port"]),
    ("x-real-ip", &["$remote_addr"]),
    ("x-forwarded-for", &["$proxy_add_x_forwarded_for", "$remote_addr", "$http_x_forwarded_for"]),
    ("x-forwarded-proto", &["$scheme", "$http_x_forwarded_proto"]),
    ("x-forwarded-host", &["$host", "$http_host"]),
    ("upgrade", &["$http_upgrade", "websocket"]),
    ("connection", &["", "upgrade", "Upgrade", "$connection_upgrade", "$http_connection", "keep-alive", "close"]),
    ("accept-encoding", &["$http_accept_encoding"]),
];

/// The routes of a location: one, or two where its path is taken with and without more behind it; none if it cannot be carried
/// over, and then it was said why.
pub(super) fn routes<'t>(
    mapper: &mut Mapper<'t>,
    location: &Location<'t>,
    pass: &Directive,
    has_regexes: bool,
) -> Option<Vec<Table>> {
    let target = target(mapper, location, pass)?;
    let scope = &location.scope;
    let paths = match paths(location, target.uri.as_deref(), has_regexes) {
        Ok(paths) => paths,
        Err(reason) => {
            mapper.ledger.left(pass, reason.clone());
            mapper.ledger.left(location.directive, reason);
            return None;
        }
    };
    let wanted = wanted(mapper, scope);
    let name = match &target.to {
        To::Block(block) => mapper.upstreams.of_block(&mut mapper.ledger, block, &wanted),
        To::Server(server) => Some(mapper.upstreams.of_server(server, &wanted)),
    };
    let Some(name) = name else {
        mapper.ledger.left(pass, "its upstream has no server that Fantail can reach");
        mapper.ledger.left(location.directive, "its upstream has no server that Fantail can reach");
        return None;
    };
    let mut common = Table::default();
    common.set("action", Value::text("proxy"));
    common.set("upstream", Value::text(&name));
    let mut rest = Table::default();
    let says_host = fields(mapper, &mut rest, scope);
    answers(mapper, &mut rest, scope);
    others(mapper, &mut rest, scope);
    if let Some(directive) = scope.last("client_max_body_size") {
        let bytes = value::size(directive.first()).unwrap_or_default();
        if bytes > 0 {
            rest.set("max_body", Value::text(&value::written_size(bytes)));
        }
        mapper.ledger.carried(directive, "max_body");
    }
    if scope.own("internal").is_some_and(|internal| {
        mapper.ledger.carried(internal, "internal");
        true
    }) {
        rest.set("internal", Value::plain(true));
    }
    match (&target.to, says_host) {
        (To::Server(Server::Tcp { host, .. }), false)
            if host.parse::<std::net::IpAddr>().is_err() && host != "localhost" =>
        {
            mapper.ledger.changed(pass, "the upstream is told the client's Host, not its own name");
        }
        _ => mapper.ledger.carried(pass, format!("upstream.{name}")),
    }
    if let Some(note) = paths.note {
        mapper.ledger.changed(location.directive, note);
    }
    let routes = paths.routes.into_iter().map(|(path, rewrite)| {
        let mut route = Table::default();
        route.set("path", Value::text(&path));
        route.extend(&common);
        match rewrite {
            Rewrite::None => {}
            Rewrite::Strip => route.set("strip_prefix", Value::plain(true)),
            Rewrite::To(path) => route.set("rewrite", Value::text(&path)),
        }
        route.extend(&rest);
        route
    });
    Some(routes.collect())
}

enum To<'t> {
    Block(&'t Directive),
    Server(Server),
}

struct Target<'t> {
    to: To<'t>,
    /// What stands behind the server's address.
    uri: Option<String>,
}

/// Where `proxy_pass` leads.
fn target<'t>(mapper: &mut Mapper<'t>, location: &Location<'t>, pass: &Directive) -> Option<Target<'t>> {
    match find_target(mapper, location, pass) {
        Ok(target) => Some(target),
        Err(reason) => {
            mapper.ledger.left(pass, reason.clone());
            mapper.ledger.left(location.directive, reason);
            None
        }
    }
}

fn find_target<'t>(mapper: &mut Mapper<'t>, location: &Location<'t>, pass: &Directive) -> Result<Target<'t>, String> {
    let variables = Variables::new(&location.scope, location.captures());
    // The path as it came is what is passed on without these.
    let written = pass.first().strip_suffix("$request_uri").unwrap_or(pass.first());
    let (text, used) = variables
        .expand(written)
        .map_err(|name| format!("\"${name}\" depends on the request, an upstream does not"))?;
    if has_variables(&text) {
        return Err("where it leads depends on the request, an upstream does not".to_owned());
    }
    mapper.ledger.put_in(&used);
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(match text.split_once("://") {
            Some(("https", _)) => {
                "Fantail does not speak TLS to upstreams; a tunnel that does may stand between".to_owned()
            }
            _ => "is not a URL that begins with \"http://\"".to_owned(),
        });
    };
    if let Some(socket) = rest.strip_prefix("unix:") {
        let (path, uri) = socket.split_once(':').map_or((socket, None), |(path, uri)| (path, Some(uri.to_owned())));
        let to = To::Server(format!("unix:{path}").parse()?);
        return Ok(Target { to, uri: uri.filter(|uri| !uri.is_empty()) });
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, uri) = rest.split_at(end);
    let uri = (!uri.is_empty()).then(|| uri.to_owned());
    // With variables in it, the URI is not put in the place of the location's.
    if has_variables(written) && uri.is_some() {
        return Err("a path behind an address that has variables takes the place of the whole, which no rewrite says"
            .to_owned());
    }
    let block = named(mapper.http, "upstream").find(|block| block.first() == authority);
    let to = match block {
        Some(block) => To::Block(block),
        None => To::Server(format!("http://{authority}").parse()?),
    };
    Ok(Target { to, uri })
}

enum Rewrite {
    None,
    Strip,
    To(String),
}

struct Routes {
    routes: Vec<(String, Rewrite)>,
    note: Option<String>,
}

/// The paths that routes have for a location, and what becomes of them on the way.
fn paths(location: &Location<'_>, uri: Option<&str>, has_regexes: bool) -> Result<Routes, String> {
    if uri.is_some_and(|uri| uri.contains(['?', '{', '}'])) {
        return Err("a query behind the address is not added to requests".to_owned());
    }
    let one = |path: String, rewrite| Ok(Routes { routes: vec![(path, rewrite)], note: None });
    match &location.paths {
        Paths::Exact(path) => match uri {
            Some(uri) if uri != path => one(format!("= {path}"), Rewrite::To(uri.to_owned())),
            _ => one(format!("= {path}"), Rewrite::None),
        },
        Paths::Regex { text, ignores_case, .. } if uri.is_none() => {
            one(format!("{} {text}", if *ignores_case { "~*" } else { "~" }), Rewrite::None)
        }
        Paths::Regex { .. } => Err("a path behind the address takes no part of a regular expression's".to_owned()),
        Paths::Prefix { before, .. } => {
            prefix(before, location.is_firm(), uri.filter(|uri| uri != before), has_regexes)
        }
        Paths::Named => Err("is reached from other locations only".to_owned()),
    }
}

fn prefix(before: &str, firm: bool, uri: Option<&str>, has_regexes: bool) -> Result<Routes, String> {
    let one = |path: String, rewrite, note| Ok(Routes { routes: vec![(path, rewrite)], note });
    let firmly = (firm && has_regexes).then(|| "regular expressions are looked at before it".to_owned());
    match (uri, before.ends_with('/')) {
        (None, true) if !firm || !has_regexes => one(format!("{before}{{path...}}"), Rewrite::None, None),
        (None, _) if firm || !has_regexes => one(format!("^~ {before}"), Rewrite::None, None),
        (None, _) => Ok(Routes {
            routes: vec![(format!("= {before}"), Rewrite::None), (format!("{before}/{{path...}}"), Rewrite::None)],
            note: Some(format!("takes {before} and what is below it, not such as {before}x")),
        }),
        (Some("/"), true) => one(format!("{before}{{path...}}"), Rewrite::Strip, firmly),
        (Some(uri), true) if uri.ends_with('/') => {
            one(format!("{before}{{path...}}"), Rewrite::To(format!("{uri}{{path...}}")), firmly)
        }
        (Some(uri), false) if !uri.ends_with('/') => Ok(Routes {
            routes: vec![
                (format!("= {before}"), Rewrite::To(uri.to_owned())),
                (format!("{before}/{{path...}}"), Rewrite::To(format!("{uri}/{{path...}}"))),
            ],
            note: Some(format!("takes {before} and what is below it, not such as {before}x")),
        }),
        (Some(uri), _) => Err(format!(
            "{uri} in the place of {before} joins what is behind to another segment, which no rewrite says"
        )),
    }
}

/// What the location wants of its upstream.
fn wanted(mapper: &mut Mapper<'_>, scope: &Scope<'_>) -> Wanted {
    let mut wanted = Wanted::default();
    let millis = |directive: &Directive| value::time(directive.first(), false).filter(|millis| *millis > 0);
    if let Some(directive) = scope.last("proxy_read_timeout") {
        wanted.read_timeout = millis(directive);
        mapper.ledger.carried(directive, "first_byte_timeout and idle_timeout; event streams may be silent for ever");
    }
    if let Some(directive) = scope.last("proxy_connect_timeout") {
        wanted.connect_timeout = millis(directive);
        mapper.ledger.carried(directive, "connect_timeout");
    }
    wanted.tunnels = scope.all("proxy_set_header").iter().any(|field| field.first().eq_ignore_ascii_case("upgrade"));
    if let Some(directive) = scope.last("proxy_next_upstream") {
        if directive.first() == "off" {
            wanted.retries = Some(0);
            mapper.ledger.carried(directive, "retries");
        } else {
            mapper.ledger.changed(directive, "another server is tried wherever that is safe");
        }
    }
    if let Some(directive) = scope.last("proxy_next_upstream_tries") {
        match value::count(directive.first()) {
            Some(0) | None => mapper.ledger.changed(directive, "retries is 1, and cannot be without a limit"),
            Some(tries) => {
                wanted.retries = wanted.retries.or(Some(tries - 1));
                mapper.ledger.carried(directive, "retries");
            }
        }
    }
    wanted
}

/// The request's fields; whether the host is among them.
fn fields(mapper: &mut Mapper<'_>, route: &mut Table, scope: &Scope<'_>) -> bool {
    let (mut set, mut removed, mut says_host) = (Vec::new(), Vec::new(), false);
    for directive in scope.all("proxy_set_header") {
        let (name, value) = (directive.first(), directive.args.get(1).map_or("", String::as_str));
        let lower = name.to_ascii_lowercase();
        says_host |= lower == "host";
        let itself = ITSELF.iter().find(|(own, _)| *own == lower);
        if itself.is_some_and(|(_, values)| values.contains(&value)) {
            mapper.ledger.carried(directive, "Fantail says it by itself");
        } else if value.is_empty() {
            removed.push(name);
            mapper.ledger.carried(directive, "remove_request");
        } else if has_variables(value) {
            mapper.ledger.left(directive, "set_request has fixed values");
        } else if !is_settable(name, value) {
            mapper.ledger.left(directive, "is no field that a route can set");
        } else {
            set.push((name.to_owned(), value.to_owned()));
            mapper.ledger.carried(directive, "set_request");
        }
    }
    if !set.is_empty() {
        route.set("set_request", Value::table(&set));
    }
    if !removed.is_empty() {
        route.set("remove_request", Value::list(removed));
    }
    says_host
}

/// The answer's fields.
fn answers(mapper: &mut Mapper<'_>, route: &mut Table, scope: &Scope<'_>) {
    let mut set: Vec<(String, String)> = Vec::new();
    for directive in scope.all("add_header") {
        let (name, value) = (directive.first(), directive.args.get(1).map_or("", String::as_str));
        let is_twin = set.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        if has_variables(value) {
            mapper.ledger.left(directive, "set_response has fixed values");
        } else if is_twin || value.is_empty() || !is_settable(name, value) {
            mapper.ledger.left(directive, "is no field that a route can set");
        } else {
            set.push((name.to_owned(), value.to_owned()));
            if directive.args.len() == 3 {
                mapper.ledger.carried(directive, "set_response");
            } else {
                mapper.ledger.changed(
                    directive,
                    "set_response: is set in every answer, errors too, and replaces the upstream's",
                );
            }
        }
    }
    if !set.is_empty() {
        route.set("set_response", Value::table(&set));
    }
    let hidden: Vec<&Directive> =
        scope.all("proxy_hide_header").into_iter().filter(|hidden| is_settable(hidden.first(), "x")).collect();
    if !hidden.is_empty() {
        route.set("remove_response", Value::list(hidden.iter().map(|directive| directive.first())));
    }
    for directive in hidden {
        mapper.ledger.carried(directive, "remove_response");
    }
}

fn others(mapper: &mut Mapper<'_>, route: &mut Table, scope: &Scope<'_>) {
    for (name, wanted, note) in [
        ("proxy_buffering", false, "answers are passed on as they come"),
        ("proxy_request_buffering", false, "bodies are passed on as they come"),
        ("proxy_pass_request_headers", true, "a request's fields are passed on"),
        ("proxy_pass_request_body", true, "a request's body is passed on"),
        ("proxy_intercept_errors", false, "an upstream's errors are passed on"),
        ("proxy_ignore_client_abort", false, "a client's leaving closes the upstream's connection"),
    ] {
        if let Some(directive) = scope.last(name) {
            flag(mapper, directive, wanted, note);
        }
    }
    if let Some(directive) = scope.last("proxy_http_version") {
        if directive.first() == "1.1" {
            mapper.ledger.carried(directive, "Fantail speaks HTTP/1.1 to upstreams");
        } else {
            mapper.ledger.changed(directive, "Fantail speaks HTTP/1.1 to upstreams");
        }
    }
    for directive in scope.all("proxy_redirect") {
        if directive.first() == "off" {
            mapper.ledger.carried(directive, "redirects are passed on as they are");
        } else {
            mapper.ledger.left(directive, "redirects are passed on as they are");
        }
    }
    for directive in scope.all("proxy_ignore_headers") {
        let is = |name: &str| directive.args.iter().any(|arg| arg.eq_ignore_ascii_case(name));
        if is("X-Accel-Redirect") {
            route.set("hand_over", Value::plain(false));
            mapper.ledger.carried(directive, "hand_over");
        } else {
            mapper.ledger.carried(directive, "these do nothing in Fantail");
        }
    }
}
