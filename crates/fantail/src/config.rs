//! The configuration: what can be set, its defaults, and where it is read from. Knows nothing but serde: no sockets, no
//! hub, no runtime. What [`load`] returns is valid as a whole; nothing is checked later.

mod access;
mod address;
mod addresses;
mod control;
mod cors;
mod error;
mod expression;
mod header;
mod host;
mod hub;
mod idempotency;
mod journal;
mod key;
mod keys;
mod layers;
mod limits;
mod listen;
mod load;
mod log;
mod memory;
mod native;
mod network;
mod padding;
mod pattern;
mod proxy;
mod push_stream;
mod reference;
mod regex;
mod route;
mod secret;
mod section;
mod server;
mod size;
mod span;
mod spelling;
mod stop;
mod stream;
mod text;
mod text_file;
mod upstream;

use std::{collections::BTreeMap, path::Path};

pub use self::{
    access::{Access, Algorithm, BASE64, By, OPEN},
    address::Address,
    addresses::Addresses,
    control::Control,
    cors::Cors,
    error::{ConfigError, Origin},
    expression::{Expression, ExpressionError, Variable, Variables},
    header::{Fields, is_settable},
    host::Host,
    hub::{Hub, Retention},
    idempotency::Idempotency,
    journal::{Durability, Journal, JournalUrl},
    key::{Key, has_whole_stars},
    limits::Limits,
    listen::{ClientField, Listen},
    load::{CONTROL_URL, Flag, PUBLIC_URL, Sources, TOKEN, Text, load},
    log::{Log, LogFormat},
    memory::Memory,
    native::Native,
    network::Network,
    padding::{Least, Padding, PaddingError},
    pattern::Pattern,
    proxy::Proxy,
    push_stream::{
        PushStream,
        endpoint::{Endpoint, Publisher, Subscriber},
    },
    reference::reference,
    regex::Regex,
    route::{Action, Door, Route},
    secret::Secret,
    server::Server,
    size::Size,
    span::Span,
    stop::Stop,
    stream::{Gap, SoftRefusal, Stream},
    text_file::TextFile,
    upstream::Upstream,
};
use self::{
    error::{Problem, require},
    section::section,
};

section! {
    /// The whole configuration.
    pub struct Config {
        /// The public listener, and what one connection may cost.
        listen: Listen = Listen::default(),
        /// What one address, one network and one subscriber may take of the public listener. 0 means as much as they like.
        limits: Limits = Limits::default(),
        /// The control listener: publish, stats, metrics and the dashboard.
        control: Control = Control::default(),
        /// Keys with which applications publish. With one of them the control listener takes messages only from who has a key, and
        /// routes of the public listener that take messages need no `public_publish`.
        key: Vec<Key> = Vec::new(),
        /// Ways in which it is found out who a client is and what it may do. Routes name one (`access = "NAME"`), or `open`.
        access: BTreeMap<String, Access> = BTreeMap::new(),
        /// Fantail's own routes.
        native: Native = Native::default(),
        /// How an event stream behaves on the wire.
        stream: Stream = Stream::default(),
        /// Which pages of other origins may subscribe on the public listener.
        cors: Cors = Cors::default(),
        /// How much is kept, and how many.
        hub: Hub = Hub::default(),
        /// What is kept of the channels whose names begin with a prefix; the longest prefix wins, and what it leaves out is
        /// taken from `[hub]`.
        retention: Vec<Retention> = Vec::new(),
        /// How long publishes with an `Idempotency-Key` are remembered.
        idempotency: Idempotency = Idempotency::default(),
        /// Where messages get their order and are kept.
        journal: Journal = Journal::default(),
        /// Paths of one's own, beside the native ones; the most specific path wins. As in nginx, a regular expression comes before
        /// every path that has a placeholder or is a prefix, unless the longest of these is a `^~`; of several, the first of the file
        /// counts. The stream's settings override those of `[stream]` on the route.
        route: Vec<Route> = Vec::new(),
        /// What holds for all proxied requests.
        proxy: Proxy = Proxy::default(),
        /// The servers that proxy routes lead to. Those of a name do the same, and each request goes to the one with the fewest
        /// requests under way.
        upstream: BTreeMap<String, Upstream> = BTreeMap::new(),
        /// What holds for all routes with `action = "push_stream"`, which speak as nginx's push stream module does; the names are
        /// those of its directives.
        push_stream: PushStream = PushStream::default(),
        /// How the server leaves after SIGTERM or SIGINT.
        stop: Stop = Stop::default(),
        /// What is written to standard error.
        log: Log = Log::default(),
    }
}

impl Config {
    /// Reads a configuration from text alone, as if it were a file named `fantail.toml`.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        load::from_text(Path::new("fantail.toml"), text)
    }

    /// The whole configuration as TOML; secrets are shown as `***`, everything else reads back as it is.
    pub fn effective_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }

    fn validate(&self) -> Result<(), Problem> {
        self.listen.validate()?;
        self.limits.validate()?;
        self.control.validate()?;
        for public in self.listen.public.all() {
            let Some(control) = self.control.listen.socket() else { break };
            // The one that was set is to blame.
            let (key, wrong, other) = if self.control.listen == Control::default().listen {
                ("listen.public", public, format!("control.listen = {control}"))
            } else {
                ("control.listen", &control, format!("listen.public = {public}"))
            };
            let reason = format!("{wrong} collides with {other}, expected another port");
            require(!listen::collide(*public, control), key, reason)?;
        }
        self.native.validate()?;
        self.stream.validate()?;
        self.cors.validate()?;
        self.hub.validate()?;
        Retention::validate_all(&self.retention)?;
        self.idempotency.validate()?;
        self.journal.validate()?;
        self.proxy.validate()?;
        Upstream::validate_all(&self.upstream)?;
        Key::validate_all(&self.key)?;
        Access::validate_all(&self.access, &self.upstream)?;
        self.control.validate_access(&self.access)?;
        access::validate_name("stream.access", &self.stream.access, &self.access)?;
        self.push_stream.validate()?;
        let around = route::Around {
            upstreams: &self.upstream,
            push_stream: &self.push_stream,
            access: &self.access,
            stream_access: &self.stream.access,
            keys: !self.key.is_empty(),
        };
        Route::validate_all(&self.route, &around)?;
        self.validate_doors()?;
        self.stop.validate()?;
        self.log.validate()
    }

    /// Each route is at a listener that there is.
    fn validate_doors(&self) -> Result<(), Problem> {
        let public = &self.listen.public;
        for (index, route) in self.route.iter().enumerate() {
            require(
                route.listener == Door::Public || self.control.listen != Address::Off,
                format!("route[{index}].listener"),
                "is \"control\", and control.listen = \"off\"",
            )?;
            for address in &route.at {
                require(
                    public.all().contains(address),
                    format!("route[{index}].at"),
                    format!("{address} is not one of listen.public, which is {public}"),
                )?;
            }
        }
        Ok(())
    }
}
