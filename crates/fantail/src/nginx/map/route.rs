//! From a location to routes: their paths, who may reach them, and what else stands in the location.

use super::super::ImportError;
use super::super::draft::{Table, Value};
use super::super::location::{Location, Paths, choose};
use super::super::scope::Scope;
use super::super::tree::Directive;
use super::super::value;
use super::servers::{Place, Server};
use super::{Door, Mapper, access, is_carried, nchan, proxy, push_stream, settings};

/// How the locations of a server are carried over.
pub(super) struct Way<'s, 't> {
    pub server: &'s Server<'t>,
    pub http: &'s Scope<'t>,
    pub door: Door,
    /// The hosts that its routes are for, and where.
    pub seats: &'s [Seat],
    /// Whether routes with regular expressions come of it.
    pub has_regexes: bool,
}

/// The largest body that nginx takes unless it is told otherwise, and the largest message that Fantail does.
const MESSAGE: u64 = 1 << 20;

/// A host for which a server is asked, and the places at which it is.
#[derive(Debug)]
pub(super) struct Seat {
    /// Nothing for all.
    pub host: Option<String>,
    /// Nothing for the control listener.
    pub at: Vec<Place>,
}

impl<'t> Mapper<'t> {
    /// Makes room for the largest body that any location takes which publishes.
    pub(super) fn largest_message<'s>(&mut self, servers: impl Iterator<Item = &'s Server<'t>>)
    where
        't: 's,
    {
        let locations = servers.flat_map(Server::flat);
        let limits = locations.filter(|location| publishes(location)).map(|location| largest_body(location).1);
        self.message = limits.chain([MESSAGE]).max().unwrap_or(MESSAGE);
        if self.message > MESSAGE {
            let message = Value::text(&value::written_size(self.message));
            self.draft.section("hub").set("message", message);
        }
    }

    /// The largest body of a location that publishes: as the route's, where messages may be larger elsewhere.
    fn body(&mut self, route: &mut Table, location: &Location<'t>) {
        let (directive, bytes) = largest_body(location);
        let own = bytes > 0 && bytes < self.message;
        if own {
            let size = Value::text(&value::written_size(bytes));
            match directive {
                Some(_) => route.set("max_body", size),
                None => route.set_with("max_body", size, "What nginx takes unless it is told otherwise."),
            }
        }
        let Some(directive) = directive else { return };
        match (own, bytes) {
            (true, _) => self.ledger.carried(directive, "max_body"),
            (_, 0) => self.ledger.changed(directive, "a message always has a limit, hub.message"),
            (_, MESSAGE) => self.ledger.carried(directive, "is what Fantail does unless told otherwise"),
            _ => self.ledger.carried(directive, "hub.message"),
        }
    }

    pub(super) fn location(&mut self, way: &Way<'_, 't>, location: &Location<'t>) -> Result<(), ImportError> {
        let &Way { server, http, door, seats, has_regexes } = way;
        let push = push_stream::handler(location);
        let nchan = nchan::handler(location);
        let pass = location.scope.own("proxy_pass");
        if push.is_none() && nchan.is_none() && pass.is_none() {
            return Ok(());
        }
        if let Err(reason) = usable(location) {
            self.ledger.leave_own(location.directive, &reason);
            return Ok(());
        }
        if let Some(other) = hidden_by(server, location) {
            self.ledger.leave_own(location.directive, &format!("is never reached, \"{other}\" takes its paths"));
            return Ok(());
        }
        let guards = access::guards(location);
        let mut routes = match (push, nchan, pass) {
            (Some(handler), ..) => {
                let route = push_stream::route(&mut self.ledger, location, http, handler)?;
                route.into_iter().map(|route| self.dialect(location, &route, handler)).collect()
            }
            (None, Some(handler), _) => {
                let route = nchan::route(self, location, handler);
                route.into_iter().map(|route| self.dialect(location, &route, handler)).collect()
            }
            (None, None, Some(pass)) if guards.is_empty() && door == Door::Public => {
                proxy::routes(self, location, pass, has_regexes).unwrap_or_default()
            }
            _ => {
                let reason = match guards.first() {
                    Some(_) => {
                        let said = access::said(&guards).unwrap_or_default();
                        format!("is protected by {said}, and Fantail would pass everyone on")
                    }
                    None => "the control listener passes no requests on".to_owned(),
                };
                self.ledger.leave_own(location.directive, &reason);
                return Ok(());
            }
        };
        if routes.is_empty() {
            // It was said why.
            self.ledger.leave_own(location.directive, "");
            return Ok(());
        }
        let handler = push.or(nchan).or(pass);
        for other in push_stream::handlers(location).chain(nchan::handlers(location)).chain(pass) {
            if handler.is_none_or(|handler| handler.id != other.id) {
                self.ledger.left(other, "a route does one thing, and this location does another");
            }
        }
        let publishes = push.or(nchan).is_some_and(|handler| handler.name.contains("publisher"));
        let is_hidden = location.scope.own("internal").filter(|_| publishes || !guards.is_empty());
        let door = if guards.is_empty() && is_hidden.is_none() { door } else { Door::Control };
        self.guarded(location, &guards, is_hidden, door);
        for route in &mut routes {
            if door == Door::Control {
                // No upstream redirects requests to the control listener.
                route.remove("internal");
                match access::said(&guards) {
                    Some(said) => {
                        let comment =
                            format!("nginx protects it by {said}; here, whoever reaches the control listener gets in.");
                        route.set_with("listener", Value::text("control"), comment);
                    }
                    None => route.set("listener", Value::text("control")),
                }
            } else if publishes {
                route.set_with(
                    "public_publish",
                    Value::plain(true),
                    "As in nginx, whoever reaches this path may publish.",
                );
                self.open_publishers.push(location.directive.args.join(" "));
            }
        }
        self.within(location);
        settings::location(self, &location.scope);
        for condition in location.scope.inner().iter().filter(|inner| inner.name == "if") {
            self.condition(condition, push.is_some() || nchan.is_some());
        }
        self.put(location, &routes, door, seats);
        Ok(())
    }

    /// What is said of those who are let in.
    fn guarded(
        &mut self,
        location: &Location<'t>,
        guards: &[&'t Directive],
        hidden: Option<&'t Directive>,
        door: Door,
    ) {
        if guards.is_empty() {
            for rule in access::addresses(&location.scope) {
                self.ledger.carried(rule, "everyone is let in");
            }
        }
        if guards.is_empty() && hidden.is_none() {
            return;
        }
        debug_assert!(door == Door::Control, "what is protected is not public");
        for guard in guards.iter().copied().chain(hidden).chain(access::beside(location)) {
            guard.each(&mut |inner| {
                self.ledger.changed(inner, "the route is on the control listener, not on the public one");
            });
        }
    }

    /// The path of a route of the push stream dialect, and what else such routes have.
    fn dialect(&mut self, location: &Location<'t>, options: &Table, handler: &Directive) -> Table {
        let mut route = Table::default();
        let path = match &location.paths {
            Paths::Exact(path) => format!("= {path}"),
            Paths::Prefix { before, .. } if location.is_firm() => format!("^~ {before}"),
            Paths::Prefix { before, .. } => before.clone(),
            Paths::Regex { text, ignores_case: true, .. } => format!("~* {text}"),
            Paths::Regex { text, .. } => format!("~ {text}"),
            Paths::Named => String::new(),
        };
        route.set("path", Value::text(&path));
        route.extend(options);
        let publishes = handler.name.contains("publisher");
        if let Some(internal) = location.scope.own("internal").filter(|_| !publishes) {
            route.set("internal", Value::plain(true));
            self.ledger.carried(internal, "internal");
        }
        if publishes {
            self.body(&mut route, location);
        } else if let Some(limit) = location.scope.own("client_max_body_size") {
            let note = if handler.name.contains("pubsub") || route.value("websocket_allow_publish").is_some() {
                "what comes by a WebSocket has no limit in nginx, and hub.message here"
            } else {
                "no body is read here"
            };
            self.ledger.carried(limit, note);
        }
        for field in location.scope.all("add_header") {
            self.field(&mut route, field);
        }
        route
    }

    /// A field that is added to answers of the dialect.
    fn field(&mut self, route: &mut Table, field: &Directive) {
        let value = field.args.get(1).map_or("", String::as_str);
        let name = field.first().to_ascii_lowercase();
        let is_known = matches!(value, "*" | "$http_origin") || (value.starts_with("http") && !value.contains('$'));
        let takes_origins = route.value("channels_statistics").is_none();
        match name.as_str() {
            "access-control-allow-origin" if is_known && takes_origins => {
                if route.value("allowed_origins").is_none() {
                    route.set("allowed_origins", Value::text(value));
                }
                self.ledger.changed(field, "allowed_origins, which adds the methods and fields that are allowed too");
            }
            "access-control-allow-methods" | "access-control-allow-headers" => {
                self.ledger.changed(field, "allowed_origins adds the dialect's own");
            }
            "cache-control" | "pragma" | "expires" => {
                self.ledger.changed(field, "answers of the dialect say themselves that they are not to be kept");
            }
            "x-accel-buffering" | "content-type" | "connection" | "transfer-encoding" => {
                self.ledger.changed(field, "answers of the dialect say themselves how they are to be passed on");
            }
            _ => self.ledger.left(field, "answers of the dialect have its fields alone"),
        }
    }

    /// An `if` in a location that is carried over.
    fn condition(&mut self, condition: &Directive, is_dialect: bool) {
        let is_preflight =
            condition.first().contains("$request_method") && condition.args.iter().any(|arg| arg.contains("OPTIONS"));
        if is_dialect && is_preflight {
            condition.each(&mut |inner| {
                if self.ledger.is_open(inner) {
                    self.ledger.changed(inner, "requests with OPTIONS are answered by the dialect");
                }
            });
        } else if self.ledger.is_open(condition) {
            self.ledger.leave(condition, "routes have no conditions");
        } else {
            // It is a guard, and the route is where only the application comes.
            condition.each(&mut |inner| {
                if self.ledger.is_open(inner) {
                    self.ledger.changed(inner, "the route is on the control listener, not on the public one");
                }
            });
        }
    }

    /// What a location within another one loses.
    fn within(&mut self, location: &Location<'t>) {
        let Some(around) = location.around else { return };
        let name = around.args.join(" ");
        match &location.paths {
            Paths::Regex { .. } => {
                let note = format!("is looked at for all paths, not only within \"{name}\"");
                self.ledger.changed(location.directive, note);
            }
            _ if around.args.first().is_some_and(|arg| arg.starts_with('~')) => {
                self.ledger
                    .changed(location.directive, format!("is looked at for all paths, not only within \"{name}\""));
            }
            _ => {}
        }
    }

    /// Puts routes into the draft, for each host.
    fn put(&mut self, location: &Location<'t>, routes: &[Table], door: Door, seats: &[Seat]) {
        // The control listener has no routes for one host.
        let controlled = [Seat { host: None, at: Vec::new() }];
        let seats = if door == Door::Control { &controlled[..] } else { seats };
        if seats.is_empty() {
            self.ledger.left(location.directive, "none of its server's names is a host that Fantail can have");
        }
        for Seat { host, at } in seats {
            for route in routes {
                let path = same(&route.value("path").map(Value::to_string).unwrap_or_default());
                let places = if at.is_empty() { vec![None] } else { at.iter().copied().map(Some).collect() };
                let keys = places.into_iter().map(|place| (place, host.clone(), path.clone()));
                let free: Vec<_> = keys.filter(|key| !self.taken.contains(key)).collect();
                if free.is_empty() {
                    self.ledger.left(location.directive, "another route takes the same paths");
                    continue;
                }
                let mut own = Table::default();
                own.comment(location.directive.spot.to_string());
                own.set("path", Value::text(""));
                if let Some(host) = host {
                    own.set("host", Value::text(host));
                }
                let is_at = |place: &Place| free.iter().any(|(at, ..)| at.as_ref() == Some(place));
                let at: Vec<String> = self
                    .public
                    .iter()
                    .filter(|(place, _)| is_at(place))
                    .map(|(_, address)| address.to_string())
                    .collect();
                if door == Door::Public && at.len() < self.public.len() {
                    own.set("at", Value::list(&at));
                }
                self.taken.extend(free);
                own.extend(route);
                self.draft.routes.push(own);
            }
        }
        self.ledger.carried(location.directive, "");
    }

    /// Leaves out a location that does nothing that Fantail does, and says who answers its paths.
    pub(super) fn leave(&mut self, server: &Server<'t>, location: &Location<'t>) {
        let inner = location.scope.inner();
        let has = |names: &[&str]| inner.iter().any(|directive| names.contains(&directive.name.as_str()));
        let what = match &location.paths {
            Paths::Named => "is reached from other locations only",
            _ if has(&["return"]) => "answers by itself",
            _ if has(&["fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass"]) => {
                "is passed on by another protocol than HTTP"
            }
            _ if has(&["stub_status", "nchan_stub_status"]) => "the control listener has /metrics",
            _ if has(&["nchan_group_location", "nchan_subscriber_info", "nchan_benchmark"]) => "has no counterpart",
            _ => "serves files",
        };
        let kept = |other: &Location<'_>| is_carried(other) && !self.is_left(other);
        let next = match &location.paths {
            Paths::Exact(path) | Paths::Prefix { before: path, .. } => {
                choose(&server.locations, path.as_bytes(), &kept)
            }
            _ => None,
        };
        let reason = match next {
            Some(next) => format!("{what}; its paths are answered by \"{}\" now", next.directive.args.join(" ")),
            None => what.to_owned(),
        };
        self.ledger.leave_own(location.directive, &reason);
    }

    fn is_left(&self, location: &Location<'_>) -> bool {
        self.ledger.is_left(location.directive)
    }
}

/// The location that takes all paths of one that stands within another; routes do not stand within each other, and this one
/// would come first by its length.
fn hidden_by(server: &Server<'_>, location: &Location<'_>) -> Option<String> {
    location.around?;
    let (Paths::Exact(path) | Paths::Prefix { before: path, .. }) = &location.paths else { return None };
    let is_exact = matches!(location.paths, Paths::Exact(_));
    let counts = |other: &Location<'_>| match &other.paths {
        Paths::Exact(text) => is_exact || text != path,
        Paths::Prefix { .. } => true,
        Paths::Regex { .. } | Paths::Named => false,
    };
    let chosen = choose(&server.locations, path.as_bytes(), &counts)?;
    (chosen.directive.id != location.directive.id).then(|| chosen.directive.args.join(" "))
}

/// Whether messages are published there in bodies.
fn publishes(location: &Location<'_>) -> bool {
    let handler = push_stream::handler(location).or_else(|| nchan::handler(location));
    handler.is_some_and(|handler| handler.name.contains("publisher"))
}

/// The directive that limits a location's bodies, and the limit; 0 is none.
fn largest_body<'t>(location: &Location<'t>) -> (Option<&'t Directive>, u64) {
    let directive = location.scope.last("client_max_body_size");
    (directive, directive.map_or(MESSAGE, |directive| value::size(directive.first()).unwrap_or_default()))
}

/// Whether Fantail can have the location's paths.
fn usable(location: &Location<'_>) -> Result<(), String> {
    let text = match &location.paths {
        Paths::Regex { .. } if location.within_firm => {
            return Err(
                "the location around it takes all of its paths before regular expressions are looked at".to_owned()
            );
        }
        Paths::Exact(text) | Paths::Prefix { before: text, .. } => text,
        Paths::Regex { compiled, .. } => return compiled.as_ref().map(|_| ()).map_err(Clone::clone),
        Paths::Named => return Err("is reached from other locations only".to_owned()),
    };
    if !text.starts_with('/') {
        return Err("no request has such a path".to_owned());
    }
    if text.contains(['{', '}']) || text.contains(char::is_control) {
        return Err("a route's path has no braces and no control characters".to_owned());
    }
    Ok(())
}

/// A path in one spelling, so that two that take the same are seen.
fn same(path: &str) -> String {
    let path = path.trim_matches(['"', '\'']);
    let path = path.strip_prefix("^~ ").unwrap_or(path);
    path.strip_suffix("{path...}").unwrap_or(path).to_owned()
}
