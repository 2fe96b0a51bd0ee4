//! From a tree of nginx's directives to Fantail's configuration: which servers become listeners, which locations become
//! routes, and what is said of each directive.

mod access;
mod listener;
mod nchan;
mod proxy;
mod push_stream;
mod route;
mod servers;
mod settings;
mod upstream;

use std::net::SocketAddr;

use self::route::Way;
use self::servers::{Listeners, Place, Server};
use self::upstream::Upstreams;
use super::draft::{Draft, Value};
use super::location::{Location, Paths};
use super::process::Process;
use super::report::{Ledger, Report};
use super::scope::{Scope, named};
use super::tree::{Block, Directive, Tree};
use super::{Front, Import, ImportError};

/// Where Fantail's own routes go, so that they take no path that was nginx's.
const NATIVE: &str = "/fantail/";

/// What is being written.
struct Mapper<'t> {
    ledger: Ledger,
    draft: Draft,
    upstreams: Upstreams,
    /// The directives of `http`.
    http: &'t [Directive],
    /// The places of the public listener, and how they are written.
    public: Vec<(Place, SocketAddr)>,
    /// Place, host and path of each route that there is; no place for those of the control listener.
    taken: Vec<(Option<Place>, Option<String>, String)>,
    open_publishers: Vec<String>,
    /// The largest message that Fantail is to take.
    message: u64,
    front: Front,
}

/// The listener that a server becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Door {
    Public,
    Control,
}

/// Maps a configuration.
pub(super) fn map(tree: &Tree, main: &str) -> Result<Import, ImportError> {
    let http = named(&tree.top, "http").next();
    let mut mapper = Mapper {
        ledger: Ledger::new(tree),
        draft: Draft::default(),
        upstreams: Upstreams::default(),
        http: http.map_or(&[], Directive::children),
        public: Vec::new(),
        taken: Vec::new(),
        open_publishers: Vec::new(),
        message: 0,
        front: Front::Nowhere,
    };
    mapper.draft.head(format!("From {main}. What became of each directive is said by `fantail import --report`."));
    settings::process(&mut mapper, tree);
    if let Some(http) = http {
        mapper.ledger.carried(http, "");
        mapper.http(&Scope::default().within(http.children()))?;
    }
    for top in tree.top.iter().filter(|top| matches!(top.name.as_str(), "mail" | "stream" | "rtmp")) {
        mapper.ledger.leave(top, "Fantail speaks HTTP only");
    }
    for top in &tree.top {
        top.each(&mut |directive| {
            if let (Some(Block::Files(count)), true) = (&directive.block, mapper.ledger.is_open(directive)) {
                let note = match count {
                    0 => "no file is meant by it".to_owned(),
                    1 => String::new(),
                    count => format!("{count} files"),
                };
                mapper.ledger.carried(directive, note);
            }
        });
    }
    let Mapper { ledger, mut draft, upstreams, open_publishers, front, .. } = mapper;
    draft.upstreams = upstreams.into_tables();
    let report: Report = ledger.finish(tree);
    Ok(Import { toml: draft.to_string(), report, open_publishers, front, process: Process::of(tree) })
}

/// Whether a location does something that Fantail does.
fn is_carried(location: &Location<'_>) -> bool {
    push_stream::handler(location).is_some()
        || nchan::handler(location).is_some()
        || location.scope.own("proxy_pass").is_some()
}

impl<'t> Mapper<'t> {
    fn http(&mut self, http: &Scope<'t>) -> Result<(), ImportError> {
        let servers = Server::all(http)?;
        let listeners = Listeners::choose(&servers);
        push_stream::globals(self, http)?;
        let is_public = |server: &&Server<'t>| listeners.public.iter().any(|place| server.at(*place).is_some());
        let public: Vec<&Server<'t>> = servers.iter().filter(is_public).collect();
        let control: Vec<&Server<'t>> = listeners.control.map_or_else(Vec::new, |place| at(&servers, place));
        self.largest_message(public.iter().chain(&control).copied());
        if let Some(place) = listeners.public.first() {
            self.front = if place.tls { Front::Tls(place.address) } else { Front::Plain };
            self.listen(&servers, &listeners.public);
            self.keep_apart(&listeners.public, listeners.control);
            self.draft.section("native").set_with(
                "prefix",
                Value::text(NATIVE),
                "Fantail's own routes, out of the way of those below.",
            );
            for server in &public {
                self.server(server, http, Door::Public, &servers, None)?;
            }
        }
        if let Some(place) = listeners.control {
            self.control(&control, place);
            for server in control {
                if public.iter().all(|other| other.directive.id != server.directive.id) {
                    self.server(server, http, Door::Control, &servers, Some(place))?;
                }
            }
        }
        for server in &servers {
            if self.ledger.is_open(server.directive) {
                let reason = match listeners.public.first() {
                    Some(_) if is_carried_server(server) => "its addresses are none that Fantail listens on",
                    _ => "does nothing that Fantail does",
                };
                self.ledger.leave(server.directive, reason);
            }
        }
        for block in named(self.http, "upstream") {
            if self.ledger.is_open(block) {
                block.each(&mut |inner| self.ledger.carried(inner, "no route leads to it, so it is not needed"));
            }
        }
        Ok(())
    }

    fn server(
        &mut self,
        server: &Server<'t>,
        http: &Scope<'t>,
        door: Door,
        all: &[Server<'t>],
        control: Option<Place>,
    ) -> Result<(), ImportError> {
        self.ledger.carried(server.directive, "");
        settings::server(self, &server.scope);
        self.addresses(server, door, control);
        let seats = self.seats(server, all, door);
        let has_regexes =
            server.flat().iter().any(|location| is_carried(location) && matches!(location.paths, Paths::Regex { .. }));
        let way = Way { server, http, door, seats: &seats, has_regexes };
        for location in server.flat() {
            self.location(&way, location)?;
        }
        for location in server.flat().into_iter().rev() {
            if self.ledger.is_open(location.directive) {
                self.leave(server, location);
            }
        }
        for condition in named(server.scope.inner(), "if") {
            if self.ledger.is_open(condition) {
                self.ledger.leave(condition, "routes have no conditions");
            }
        }
        Ok(())
    }

    /// A setting that is one for all in Fantail.
    fn global(&mut self, section: &'static str, key: &str, value: Value, directive: &Directive) {
        let table = self.draft.section(section);
        match table.value(key) {
            Some(other) if *other == value => self.ledger.carried(directive, format!("{section}.{key}")),
            Some(other) => {
                let note = format!("{section}.{key} is {other}, one for all");
                self.ledger.changed(directive, note);
            }
            None => {
                table.set(key, value);
                self.ledger.carried(directive, format!("{section}.{key}"));
            }
        }
    }
}

fn at<'s, 't>(servers: &'s [Server<'t>], place: Place) -> Vec<&'s Server<'t>> {
    servers.iter().filter(|server| server.at(place).is_some()).collect()
}

fn is_carried_server(server: &Server<'_>) -> bool {
    server.flat().into_iter().any(is_carried)
}
