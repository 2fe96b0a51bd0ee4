//! `[[route]]`: paths of one's own, and what is done behind them.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    Access, By, Expression, Gap, Host, OPEN, Pattern, Publisher, PushStream, Size, SoftRefusal, Span, Stream,
    Subscriber, TextFile, Upstream, Variable,
    access::validate_name,
    error::{Problem, require},
    header::{Fields, check_name, check_removed, check_set},
    push_stream::endpoint,
    section::{Section, choice, defaults, section},
    spelling::nearest,
};

const ACTION: Action = Action::Subscribe;
const LISTENER: Door = Door::Public;
const PUBLIC_PUBLISH: bool = false;
const INTERNAL: bool = false;
const STRIP_PREFIX: bool = false;
const MAX_BODY: Size = Size::new(0);
const HAND_OVER: bool = true;
const SOFT_FAILURE: bool = false;
const RECONNECT: bool = false;
const SHARE: bool = false;
const SHARE_CREDENTIALS: bool = false;
const RECORD: bool = false;
const IDENTITY: bool = false;
const GRACE: Span = Span::secs(30);
const CHANNELS_STATISTICS: bool = false;
const STORE_MESSAGES: bool = false;
const CHANNEL_INFO: bool = true;
const AUTHORIZED_ONLY: bool = false;
const MESSAGE_TEMPLATE: &str = "~text~";
const TIMEOUT_WITH_BODY: bool = false;
const WEBSOCKET_PUBLISH: bool = false;
const EVENTS_CHANNEL: bool = false;
const DEFAULT_TYPE: &str = "text/plain";

/// The longest channel name, in bytes.
pub(super) const LONGEST_NAME: usize = 255;

/// Where a route is, what it does and with what.
const SUBJECT: [&str; 14] = [
    "path",
    "host",
    "at",
    "action",
    "listener",
    "internal",
    "access",
    "channels",
    "upstream",
    "rewrite",
    "publisher",
    "subscriber",
    "channels_statistics",
    "channels_path",
];

/// The options that are not for every action, and for which they are.
const OPTIONS: [(&str, &[Action]); 55] = [
    ("channels", &[Action::Subscribe, Action::Publish]),
    ("public_publish", &[Action::Publish, Action::PushStream]),
    ("upstream", &[Action::Proxy]),
    ("strip_prefix", &[Action::Proxy]),
    ("rewrite", &[Action::Proxy]),
    ("set_request", &[Action::Proxy]),
    ("remove_request", &[Action::Proxy]),
    ("set_response", &[Action::Proxy]),
    ("remove_response", &[Action::Proxy]),
    ("max_body", &[Action::Proxy, Action::PushStream]),
    ("hand_over", &[Action::Proxy]),
    ("soft_failure", &[Action::Proxy]),
    ("soft_refusal", &[Action::Subscribe, Action::Proxy]),
    ("reconnect", &[Action::Proxy]),
    ("share", &[Action::Proxy]),
    ("share_headers", &[Action::Proxy]),
    ("share_credentials", &[Action::Proxy]),
    ("record_cookies", &[Action::Proxy]),
    ("identity", &[Action::Proxy]),
    ("record", &[Action::Proxy]),
    ("grace", &[Action::Proxy]),
    ("ping", &[Action::Subscribe, Action::Proxy]),
    ("stall_limit", &[Action::Subscribe, Action::Proxy]),
    ("retry", &[Action::Subscribe, Action::Proxy]),
    ("retry_jitter", &[Action::Subscribe, Action::Proxy]),
    ("gap", &[Action::Subscribe, Action::Proxy]),
    ("lifetime", &[Action::Subscribe]),
    ("lifetime_jitter", &[Action::Subscribe]),
    ("start_id", &[Action::Subscribe]),
    ("max_channels", &[Action::Subscribe]),
    ("publisher", &[Action::PushStream]),
    ("subscriber", &[Action::PushStream]),
    ("channels_statistics", &[Action::PushStream]),
    ("channels_path", &[Action::PushStream]),
    ("store_messages", &[Action::PushStream]),
    ("channel_info_on_publish", &[Action::PushStream]),
    ("authorized_channels_only", &[Action::PushStream]),
    ("header_template", &[Action::PushStream]),
    ("header_template_file", &[Action::PushStream]),
    ("message_template", &[Action::PushStream]),
    ("footer_template", &[Action::PushStream]),
    ("wildcard_channel_max_qtd", &[Action::PushStream]),
    ("ping_message_interval", &[Action::PushStream]),
    ("subscriber_connection_ttl", &[Action::PushStream]),
    ("longpolling_connection_ttl", &[Action::PushStream]),
    ("timeout_with_body", &[Action::PushStream]),
    ("websocket_allow_publish", &[Action::PushStream]),
    ("allow_connections_to_events_channel", &[Action::PushStream]),
    ("last_received_message_time", &[Action::PushStream]),
    ("last_received_message_tag", &[Action::PushStream]),
    ("last_event_id", &[Action::PushStream]),
    ("user_agent", &[Action::PushStream]),
    ("padding_by_user_agent", &[Action::PushStream]),
    ("allowed_origins", &[Action::PushStream]),
    ("default_type", &[Action::PushStream]),
];

choice! {
    /// What is done behind a route.
    pub enum Action {
        /// Answers an event stream.
        Subscribe = "subscribe",
        /// Takes messages.
        Publish = "publish",
        /// Passes requests to an upstream.
        Proxy = "proxy",
        /// Speaks as nginx's push stream module does.
        PushStream = "push_stream",
    }
}

choice! {
    /// The listener that serves a route.
    pub enum Door {
        /// The one for browsers.
        Public = "public",
        /// The one for the application.
        Control = "control",
    }
}

section! {
    /// A path of one's own. The stream's settings override those of `[stream]` on this route.
    pub struct Route {
        /// The path; required. `/live/{channels...}` takes the rest as channels, `/room/{channel}/events` takes one segment,
        /// and a path without a placeholder serves the `channels` listed here. With `action = "proxy"`, `/api/{path...}` takes
        /// everything below `/api/`, and a path without a placeholder takes itself alone. As in nginx's `location` are `~ regex`,
        /// `~* regex` (letters large or small), `^~ /prefix` and `= /path`: these are compared with the path decoded, with slashes
        /// merged and `..` resolved. With `action = "push_stream"` all paths are nginx's, and `/sub` takes whatever begins with it.
        path: String = String::new(),
        /// The host that requests must be for, `app.example`, `*.example`, or `*` for those that no other route names; left out,
        /// every host. The routes of the most specific host come first, but one that takes every path (`/{path...}`) only after
        /// those without a host.
        host: Option<Host> = None,
        /// The addresses of `listen.public` at which it is; left out, all of them.
        at: Vec<SocketAddr> = Vec::new(),
        /// What is done behind it.
        action: Action = ACTION,
        /// The listener that serves it.
        listener: Door = LISTENER,
        /// Reached by an upstream's `X-Accel-Redirect` only; requests from outside are answered with 404.
        internal: bool = INTERNAL,
        /// The channels of a path without a placeholder.
        channels: Vec<String> = Vec::new(),
        /// Who may come in, on the public listener: `open` for everyone, or the name of an `[access.NAME]`. Left out, subscribers
        /// do as `stream.access` says, and all other routes are open, but those that take messages want a `[[key]]`.
        access: Option<String> = None,
        /// Allows everyone who reaches the public listener to publish here.
        public_publish: bool = PUBLIC_PUBLISH,
        /// The name of the upstream that requests are passed to; required with `action = "proxy"`.
        upstream: Option<String> = None,
        /// Removes what stands before `{path...}` from the path that the upstream is asked for: `/api/users` becomes `/users`.
        strip_prefix: bool = STRIP_PREFIX,
        /// The path that the upstream is asked for, such as `/v2/{path...}`; left out, the path as it came.
        rewrite: Option<String> = None,
        /// Header fields that requests to the upstream get, instead of those of that name.
        set_request: Fields = Fields::default(),
        /// Header fields that requests to the upstream lose.
        remove_request: Vec<String> = Vec::new(),
        /// Header fields that answers get, instead of those of that name.
        set_response: Fields = Fields::default(),
        /// Header fields that answers lose.
        remove_response: Vec<String> = Vec::new(),
        /// Largest body of a request; a larger one is refused with 413. 0 means no limit. Where messages are published,
        /// `hub.message` holds as well.
        max_body: Size = MAX_BODY,
        /// Whether `X-Accel-Redirect` and `Grip-*` in the upstream's answers act.
        hand_over: bool = HAND_OVER,
        /// Answers an `EventSource` whose upstream fails (429, 502, 503, 504) with a stream that ends at once, so that it comes
        /// back; any other answer would silence it for good.
        soft_failure: bool = SOFT_FAILURE,
        /// `stream.soft_refusal` on this route.
        soft_refusal: Option<SoftRefusal> = None,
        /// Asks the upstream for the rest of a stream that broke off, by the id of its last event, while the client stays.
        reconnect: bool = RECONNECT,
        /// Requests for the same stream share one connection to the upstream.
        share: bool = SHARE,
        /// Request header fields that tell shared streams apart, beside the URL.
        share_headers: Vec<String> = Vec::new(),
        /// Shares a stream although the request has `Cookie`, `Authorization` or an API key: everyone then sees what the
        /// first may see.
        share_credentials: bool = SHARE_CREDENTIALS,
        /// Records streams, so that whoever was cut off can take up where it left.
        record: bool = RECORD,
        /// The cookies by which the callers of recorded streams are told apart, beside `Authorization` and API keys; if none are
        /// named, all but known counters of analytics.
        record_cookies: Vec<String> = Vec::new(),
        /// Asks the upstream for answers without compression, which holds streams back. That is done by itself where the
        /// request accepts event streams, and on routes that share, record or reconnect; it helps clients that do not say
        /// what they expect, as those of most LLM APIs.
        identity: bool = IDENTITY,
        /// How long a shared or recorded stream goes on after its last viewer has left.
        grace: Span = GRACE,
        /// `stream.ping` on this route; `0` turns it off where `action = "proxy"`.
        ping: Option<Span> = None,
        /// `stream.retry` on this route.
        retry: Option<Span> = None,
        /// `stream.retry_jitter` on this route.
        retry_jitter: Option<Span> = None,
        /// `stream.lifetime` on this route.
        lifetime: Option<Span> = None,
        /// `stream.lifetime_jitter` on this route.
        lifetime_jitter: Option<Span> = None,
        /// `stream.stall_limit` on this route; `0` turns it off where `action = "proxy"`.
        stall_limit: Option<Span> = None,
        /// `stream.start_id` on this route.
        start_id: Option<bool> = None,
        /// `stream.gap` on this route.
        gap: Option<Gap> = None,
        /// `stream.max_channels` on this route.
        max_channels: Option<usize> = None,
        /// Makes it a route that takes messages; `admin` may delete channels too. On the public listener it needs a `[[key]]`,
        /// `access` or `public_publish = true`. This and what follows is for `action = "push_stream"`, and such a route has exactly one of
        /// `publisher`, `subscriber` and `channels_statistics`.
        publisher: Option<Publisher> = None,
        /// Makes it one that gives messages out, in this way.
        subscriber: Option<Subscriber> = None,
        /// Makes it one that says how many channels, messages and subscribers there are.
        channels_statistics: bool = CHANNELS_STATISTICS,
        /// What names the channels of a request, such as `$arg_id`, or `$1` for the first group of the path's regular expression;
        /// required with `action = "push_stream"`. There are `$arg_NAME`, `$http_NAME`, `$cookie_NAME`, `$uri`, `$args`, `$host`,
        /// `$remote_addr`, `$request_method`, and groups by number and name, with text between them.
        channels_path: Option<String> = None,
        /// Stores what is published here for those who come later.
        store_messages: bool = STORE_MESSAGES,
        /// Answers a publish with the channel's figures.
        channel_info_on_publish: bool = CHANNEL_INFO,
        /// Lets subscribers in only where a message is stored, and to wildcard channels.
        authorized_channels_only: bool = AUTHORIZED_ONLY,
        /// What a subscriber is sent first.
        header_template: String = String::new(),
        /// A file with what a subscriber is sent first; read once, when the configuration is loaded. Its path counts from the
        /// directory of the configuration file.
        header_template_file: Option<TextFile> = None,
        /// A message as subscribers get it, with the tokens `~id~`, `~text~`, `~size~`, `~channel~`, `~time~`, `~tag~`, `~event-id~`
        /// and `~event-type~`.
        message_template: String = MESSAGE_TEMPLATE.to_owned(),
        /// What a subscriber is sent last, where the server ends the answer.
        footer_template: String = String::new(),
        /// Most wildcard channels in one subscription, which must name another channel then; left out, as many as
        /// `push_stream.max_number_of_wildcard_channels` says, if it does.
        wildcard_channel_max_qtd: Option<usize> = None,
        /// How long a subscriber hears nothing before it is sent a ping; left out, there are none.
        ping_message_interval: Option<Span> = None,
        /// How long a subscriber's connection lasts; left out, without an end.
        subscriber_connection_ttl: Option<Span> = None,
        /// How long a request waits with `long-polling`; left out, as long as `subscriber_connection_ttl` says.
        longpolling_connection_ttl: Option<Span> = None,
        /// Ends such a wait with a message in a 200, instead of a 304.
        timeout_with_body: bool = TIMEOUT_WITH_BODY,
        /// Publishes what subscribers send over a WebSocket: everyone who reaches the route may publish.
        websocket_allow_publish: bool = WEBSOCKET_PUBLISH,
        /// Lets subscribers in to `push_stream.events_channel_id`.
        allow_connections_to_events_channel: bool = EVENTS_CHANNEL,
        /// What says from which time on messages are missing, such as `$arg_time`; left out, `If-Modified-Since`.
        last_received_message_time: Option<String> = None,
        /// What says the tag of the last message that is not missing, such as `$arg_tag`; left out, `If-None-Match`.
        last_received_message_tag: Option<String> = None,
        /// What says the id of the last event that is not missing, such as `$arg_eventid`; left out, `Last-Event-ID`.
        last_event_id: Option<String> = None,
        /// What names the client's software for `padding_by_user_agent`; left out, `User-Agent`.
        user_agent: Option<String> = None,
        /// Fills up what is sent to clients that show nothing before some bytes have come: `regex,header_min,message_min`, several
        /// separated by `:`.
        padding_by_user_agent: Option<String> = None,
        /// The `Access-Control-Allow-Origin` of answers, such as `*`; left out, pages of other origins are shut out.
        allowed_origins: Option<String> = None,
        /// The media type of answers that have none of their own.
        default_type: String = DEFAULT_TYPE.to_owned(),
    }
}

/// What of the rest of the configuration matters to routes.
pub(super) struct Around<'a> {
    pub(super) upstreams: &'a BTreeMap<String, Upstream>,
    pub(super) push_stream: &'a PushStream,
    pub(super) access: &'a BTreeMap<String, Access>,
    /// What subscribers have to pass where a route says nothing.
    pub(super) stream_access: &'a String,
    /// There are keys for publishers.
    pub(super) keys: bool,
}

impl Route {
    /// The options that have another value than their default, as they are written; without those that say where the route
    /// is, what it does and with what.
    ///
    /// SECURITY: of header fields, whose values may be credentials, only the names.
    pub fn given(&self) -> Vec<String> {
        let (given, default) = (toml::Table::try_from(self).unwrap_or_default(), defaults::<Self>());
        let names = Self::FIELDS.iter().map(|field| field.name).filter(|name| !SUBJECT.contains(name));
        let changed = names
            .filter_map(|name| Some((name, given.get(name)?)).filter(|(_, value)| default.get(name) != Some(value)));
        changed
            .map(|(name, value)| match value {
                toml::Value::Table(fields) => {
                    let fields: Vec<&str> = fields.keys().map(String::as_str).collect();
                    format!("{name} = {{ {} }}", fields.join(", "))
                }
                // On one line, which `toml` would break.
                toml::Value::String(text) => format!("{name} = {}", serde_json::Value::from(text.as_str())),
                value => format!("{name} = {value}"),
            })
            .collect()
    }

    /// The paths that it takes.
    ///
    /// # Errors
    /// If they are not written as a pattern; the text says what is wrong.
    pub fn pattern(&self) -> Result<Pattern, String> {
        match self.action {
            Action::PushStream => Pattern::location(&self.path),
            _ => Pattern::parse(&self.path),
        }
    }

    /// What a subscriber of a push-stream route is sent first.
    pub fn header(&self) -> &[u8] {
        self.header_template_file.as_ref().map_or(self.header_template.as_bytes(), TextFile::text)
    }

    /// The name of the `[access.NAME]` that requests from outside have to pass, if any.
    pub fn guard<'a>(&'a self, stream: &'a Stream) -> Option<&'a str> {
        let subscribes = match self.action {
            Action::Subscribe => true,
            Action::PushStream => self.subscriber.is_some(),
            Action::Publish | Action::Proxy => false,
        };
        let default = if subscribes { &stream.access } else { OPEN };
        let name = self.access.as_deref().unwrap_or(default);
        (name != OPEN && self.listener == Door::Public && !self.internal).then_some(name)
    }

    /// Whether requests to it publish, or delete, and nothing else.
    pub fn publishes(&self) -> bool {
        self.action == Action::Publish || (self.action == Action::PushStream && self.publisher.is_some())
    }

    pub(super) fn validate_all(all: &[Self], around: &Around<'_>) -> Result<(), Problem> {
        let mut earlier: Vec<(&Self, Pattern)> = Vec::new();
        for (index, route) in all.iter().enumerate() {
            let section = format!("route[{index}]");
            let pattern = route.validate(&section, around)?;
            let twin = earlier.iter().find(|(twin, like)| {
                twin.listener == route.listener
                    && twin.host == route.host
                    && twin.meets(route)
                    && like.is_like(&pattern)
            });
            if let Some((twin, _)) = twin {
                let place = match &route.host {
                    Some(host) => format!("on the {} listener for {host}", route.listener),
                    None => format!("on the {} listener", route.listener),
                };
                let reason = if twin.path == route.path {
                    format!("\"{}\" has been given before {place}", route.path)
                } else {
                    format!("\"{}\" takes the same paths as \"{}\" {place}", route.path, twin.path)
                };
                return Err(Problem { key: format!("{section}.path"), reason });
            }
            earlier.push((route, pattern));
        }
        Ok(())
    }

    fn validate(&self, section: &str, around: &Around<'_>) -> Result<Pattern, Problem> {
        let key = |name: &str| format!("{section}.{name}");
        require(!self.path.is_empty(), key("path"), "is required, such as \"/live/{channels...}\"")?;
        let pattern = self.pattern().map_err(|reason| Problem { key: key("path"), reason })?;
        self.validate_options(section)?;
        self.validate_listener(section)?;
        match self.action {
            Action::Proxy => self.validate_proxy(section, &pattern, around.upstreams)?,
            Action::PushStream => endpoint::validate(self, section, &pattern, around.push_stream)?,
            Action::Subscribe | Action::Publish => {
                self.validate_channels(section, &pattern)?;
                for (name, span) in [("ping", self.ping), ("stall_limit", self.stall_limit)] {
                    require(span != Some(Span::ZERO), key(name), "must be longer than 0")?;
                }
            }
        }
        require(self.max_channels != Some(0), key("max_channels"), "must be at least 1")?;
        self.validate_publishing(section, around)?;
        self.validate_access(section, &pattern, around)?;
        Ok(pattern)
    }

    /// What is not for this action may have no other value than its default.
    fn validate_options(&self, section: &str) -> Result<(), Problem> {
        let (given, default) = (toml::Table::try_from(self).unwrap_or_default(), defaults::<Self>());
        for (name, actions) in OPTIONS {
            let words: Vec<String> = actions.iter().map(|action| format!("\"{action}\"")).collect();
            require(
                actions.contains(&self.action) || given.get(name) == default.get(name),
                format!("{section}.{name}"),
                format!("has no meaning with action = \"{}\", only with {}", self.action, words.join(" and ")),
            )?;
        }
        Ok(())
    }

    fn validate_listener(&self, section: &str) -> Result<(), Problem> {
        let key = |name: &str| format!("{section}.{name}");
        if self.listener == Door::Public {
            return Ok(());
        }
        require(
            self.action != Action::Proxy,
            key("listener"),
            "cannot be \"control\" with action = \"proxy\", as requests to the control listener may carry its key",
        )?;
        require(
            self.host.is_none(),
            key("host"),
            "is for the public listener; control.hosts lists those of the control listener",
        )?;
        require(self.at.is_empty(), key("at"), "is for the public listener; the control listener has one address")?;
        require(!self.internal, key("internal"), "is for the public listener, where upstreams redirect requests")
    }

    /// Who may publish in public has to be said.
    fn validate_publishing(&self, section: &str, around: &Around<'_>) -> Result<(), Problem> {
        let guarded = around.keys || self.access.as_ref().is_some_and(|access| access != OPEN);
        let (setting, said) = match self.action {
            Action::Publish => ("action", "\"publish\" on the public listener"),
            _ => ("publisher", "on the public listener"),
        };
        require(
            !self.publishes() || self.listener == Door::Control || self.public_publish || guarded,
            format!("{section}.{setting}"),
            format!(
                "{said} lets everyone publish: give publishers a [[key]], name an [access.NAME] in access, set \
                 public_publish = true to allow it, or listener = \"control\""
            ),
        )
    }

    fn validate_access(&self, section: &str, pattern: &Pattern, around: &Around<'_>) -> Result<(), Problem> {
        let key = format!("{section}.access");
        if let Some(name) = &self.access {
            validate_name(&key, name, around.access)?;
            require(
                self.listener == Door::Public,
                key.as_str(),
                "is for the public listener; who may use the control listener is said in [control]",
            )?;
            require(
                !self.internal,
                key.as_str(),
                "has no meaning on an internal route, to which only an application leads",
            )?;
            require(
                !self.public_publish,
                key.as_str(),
                "cannot be given together with public_publish, which lets everyone publish",
            )?;
        }
        let default = self.subscriber.is_some().then_some(around.stream_access);
        let Some(name) = self.access.as_ref().or(default) else { return Ok(()) };
        let signed = around.access.get(name).is_some_and(|access| access.by == Some(By::Signed));
        let guarded = signed && !self.internal && self.listener == Door::Public;
        let Some(path) = self.channels_path.as_ref().filter(|_| guarded) else { return Ok(()) };
        // SECURITY: a signature is of the path, and whatever else names the channels could be changed.
        let groups = match pattern {
            Pattern::Regex(regex) => regex.names().flatten().collect(),
            _ => Vec::new(),
        };
        let by_path = Expression::parse(path, &groups).is_ok_and(|expression| {
            expression
                .variables()
                .all(|variable| matches!(variable, Variable::Capture(_) | Variable::Group(_) | Variable::Uri))
        });
        require(
            by_path,
            format!("{section}.channels_path"),
            format!(
                "\"{path}\" names channels by more than the path, which is all that a signed URL vouches for (access = \"{name}\"); \
                 take them from the path, such as \"$1\" with path = \"~ ^/sub/(.*)$\""
            ),
        )
    }

    /// Whether there is an address at which both are.
    fn meets(&self, other: &Self) -> bool {
        self.at.is_empty() || other.at.is_empty() || self.at.iter().any(|address| other.at.contains(address))
    }

    /// Whether it is at this address of the public listener.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        self.at.is_empty() || self.at.contains(&address)
    }

    fn validate_channels(&self, section: &str, pattern: &Pattern) -> Result<(), Problem> {
        let key = |name: &str| format!("{section}.{name}");
        require(
            !matches!(pattern, Pattern::Path { .. }),
            key("path"),
            format!(
                "\"{}\" names no channels, expected {{channel}} or {{channels...}}; {{path...}} is for action = \"proxy\"",
                self.path
            ),
        )?;
        let literal = !pattern.has_placeholder();
        require(
            !literal || !self.channels.is_empty(),
            key("channels"),
            format!(
                "is required as \"{}\" has no placeholder: list the channels, or put {{channel}} or {{channels...}} in the \
                 path",
                self.path
            ),
        )?;
        require(
            literal || self.channels.is_empty(),
            key("channels"),
            format!("cannot be given as \"{}\" takes the channels from the request's path", self.path),
        )?;
        for (index, name) in self.channels.iter().enumerate() {
            require(
                is_channel(name),
                key(&format!("channels[{index}]")),
                format!(
                    "{name:?} is not a channel's name, expected 1 to {LONGEST_NAME} bytes without control characters, \
                     \"/\" or \"*\", and not \"ALL\""
                ),
            )?;
        }
        Ok(())
    }

    fn validate_proxy(
        &self,
        section: &str,
        pattern: &Pattern,
        upstreams: &BTreeMap<String, Upstream>,
    ) -> Result<(), Problem> {
        let key = |name: &str| format!("{section}.{name}");
        require(
            !matches!(pattern, Pattern::Segment { .. } | Pattern::Rest { .. }),
            key("path"),
            format!(
                "\"{}\" has a channel, expected {{path...}} at its end, or no placeholder, with action = \"proxy\"",
                self.path
            ),
        )?;
        known_upstream(self.upstream.as_deref(), upstreams)
            .map_err(|reason| Problem { key: key("upstream"), reason })?;
        self.validate_rewrite(pattern).map_err(|(name, reason)| Problem { key: key(name), reason })?;
        check_set(&key("set_request"), &self.set_request)?;
        check_removed(&key("remove_request"), &self.remove_request)?;
        check_set(&key("set_response"), &self.set_response)?;
        check_removed(&key("remove_response"), &self.remove_response)?;
        require(
            !(self.share && self.record),
            key("share"),
            "cannot be true together with record: a recorded stream belongs to the client that asked for it",
        )?;
        require(
            !(self.reconnect && self.record),
            key("reconnect"),
            "cannot be true together with record: a recorded answer must not be asked for twice",
        )?;
        for (name, given) in
            [("share_headers", !self.share_headers.is_empty()), ("share_credentials", self.share_credentials)]
        {
            require(self.share || !given, key(name), "has no meaning without share = true")?;
        }
        require(
            self.share || self.record || self.grace == GRACE,
            key("grace"),
            "has no meaning without share = true or record = true",
        )?;
        require(
            self.record || self.record_cookies.is_empty(),
            key("record_cookies"),
            "has no meaning without record = true",
        )?;
        for (index, name) in self.share_headers.iter().enumerate() {
            check_name(&key(&format!("share_headers[{index}]")), name)?;
        }
        Ok(())
    }

    /// Checks how paths are changed; the error names the option.
    fn validate_rewrite(&self, pattern: &Pattern) -> Result<(), (&'static str, String)> {
        let has_rest = matches!(pattern, Pattern::Path { .. });
        if self.strip_prefix && !has_rest {
            return Err((
                "strip_prefix",
                format!("needs {{path...}} at the end of the path, \"{}\" has none", self.path),
            ));
        }
        let Some(rewrite) = &self.rewrite else { return Ok(()) };
        if self.strip_prefix {
            return Err(("strip_prefix", "cannot be true together with rewrite, which says the whole path".to_owned()));
        }
        match (Pattern::parse(rewrite).map_err(|reason| ("rewrite", reason))?, has_rest) {
            (Pattern::Path { .. }, true) | (Pattern::Literal(_), false) => Ok(()),
            (_, true) => Err((
                "rewrite",
                format!(
                    "\"{rewrite}\" must end with {{path...}}, as \"{}\" does, such as \"/v2/{{path...}}\"",
                    self.path
                ),
            )),
            (_, false) => Err((
                "rewrite",
                format!("\"{rewrite}\" cannot have a placeholder, as \"{}\" has none to take it from", self.path),
            )),
        }
    }
}

fn known_upstream(name: Option<&str>, upstreams: &BTreeMap<String, Upstream>) -> Result<(), String> {
    let Some(name) = name else {
        return Err("is required with action = \"proxy\", the NAME of an [upstream.NAME]".to_owned());
    };
    if upstreams.contains_key(name) {
        return Ok(());
    }
    let names = || upstreams.keys().map(String::as_str);
    Err(match nearest(name, names()) {
        Some(near) => format!("there is no [upstream.{name}], did you mean \"{near}\"?"),
        None if upstreams.is_empty() => format!("there is no [upstream.{name}], nor any other"),
        None => format!("there is no [upstream.{name}], known: {}", names().collect::<Vec<_>>().join(", ")),
    })
}

/// The hub's rule for names, repeated here so that a wrong one is refused with its line.
pub(super) fn is_channel(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name != "ALL"
        && !name.contains(|c: char| c == '/' || c == '*' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const UPSTREAM: &str = "[upstream.app]\nservers = ['http://127.0.0.1:3000']\n[[route]]\naction = 'proxy'\n";

    /// What is said of a proxy route to `app` that has these options.
    fn proxy(options: &str) -> Result<(), String> {
        let text = format!("{UPSTREAM}upstream = 'app'\n{options}");
        Config::from_toml(&text).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_each_for_some_action_and_all_are_known() {
        let everywhere = ["path", "host", "at", "action", "listener", "internal", "access"];
        for field in Route::FIELDS {
            let listed = OPTIONS.iter().any(|(name, _)| *name == field.name);
            assert!(listed != everywhere.contains(&field.name), "{}", field.name);
        }
        assert_eq!(OPTIONS.len() + everywhere.len(), Route::FIELDS.len());
    }

    #[test]
    fn proxy_route_that_is_sound_loads() {
        for options in [
            "path = '/{path...}'\n",
            "path = '/exact'\nrewrite = '/v2/exact'\n",
            "path = '/api/{path...}'\nrewrite = '/v2/{path...}'\nping = '0'\nstall_limit = '0'\n",
            "path = '/api/{path...}'\nstrip_prefix = true\nhost = '*.example'\ninternal = true\n",
            "path = '/a'\nset_request = { 'X-Env' = 'prod' }\nremove_request = ['Cookie']\nset_response = {}\n",
            "path = '/a'\nshare = true\nshare_headers = ['Accept-Language']\nshare_credentials = true\ngrace = '1s'\n",
            "path = '/a'\nrecord = true\nsoft_failure = true\ngrace = '0'\nretry = '1s'\nretry_jitter = '1s'\n",
            "path = '/a'\n[[route]]\npath = '/a'\nhost = 'a.example'\nchannels = ['a']\n",
        ] {
            assert_eq!(proxy(options), Ok(()), "{options}");
        }
    }

    #[test]
    fn proxy_route_that_is_unsound_is_refused_with_its_line() {
        for (options, error) in [
            (
                "path = '/{channels...}'\n",
                "6: route[0].path: \"/{channels...}\" has a channel, expected {path...} at its end, or no placeholder, with \
                 action = \"proxy\"",
            ),
            (
                "path = '/a'\nlistener = 'control'\n",
                "7: route[0].listener: cannot be \"control\" with action = \"proxy\", as requests to the control listener may \
                 carry its key",
            ),
            (
                "path = '/a'\nstrip_prefix = true\n",
                "7: route[0].strip_prefix: needs {path...} at the end of the path, \"/a\" has none",
            ),
            (
                "path = '/a/{path...}'\nstrip_prefix = true\nrewrite = '/b/{path...}'\n",
                "7: route[0].strip_prefix: cannot be true together with rewrite, which says the whole path",
            ),
            ("path = '/a'\nrewrite = 'b'\n", "7: route[0].rewrite: \"b\" must begin with \"/\""),
            (
                "path = '/a'\nrewrite = '/b/{path...}'\n",
                "7: route[0].rewrite: \"/b/{path...}\" cannot have a placeholder, as \"/a\" has none to take it from",
            ),
            (
                "path = '/a/{path...}'\nrewrite = '/b'\n",
                "7: route[0].rewrite: \"/b\" must end with {path...}, as \"/a/{path...}\" does, such as \"/v2/{path...}\"",
            ),
            (
                "path = '/a'\n\nset_request = { 'X-A' = 'a', 'Connection' = 'close' }\n",
                "8: route[0].set_request.Connection: \"Connection\" belongs to the connection or says where a message ends, \
                 and can be neither set nor removed",
            ),
            (
                "path = '/a'\nset_response = { 'X-A' = 5 }\n",
                "7: route[0].set_response.X-A: invalid type: integer `5`, expected a table of strings, such as { \"X-Env\" = \
                 \"prod\" }",
            ),
            (
                "path = '/a'\nset_response = 'X-A'\n",
                "7: route[0].set_response: invalid type: string \"X-A\", expected a table of strings, such as { \"X-Env\" = \
                 \"prod\" }",
            ),
            (
                "path = '/a'\nremove_response = [\n  'Server',\n  'X Y',\n]\n",
                "9: route[0].remove_response[1]: \"X Y\" is not the name of a header field, such as \"X-Env\"",
            ),
            (
                "path = '/a'\nshare = true\nrecord = true\n",
                "7: route[0].share: cannot be true together with record: a recorded stream belongs to the client that asked \
                 for it",
            ),
            (
                "path = '/a'\nreconnect = true\nrecord = true\n",
                "7: route[0].reconnect: cannot be true together with record: a recorded answer must not be asked for twice",
            ),
            (
                "path = '/a'\nshare_headers = ['Accept']\n",
                "7: route[0].share_headers: has no meaning without share = true",
            ),
            (
                "path = '/a'\nshare_credentials = true\n",
                "7: route[0].share_credentials: has no meaning without share = true",
            ),
            ("path = '/a'\ngrace = '1s'\n", "7: route[0].grace: has no meaning without share = true or record = true"),
            (
                "path = '/a'\nshare = true\nshare_headers = ['']\n",
                "8: route[0].share_headers[0]: \"\" is not the name of a header field, such as \"X-Env\"",
            ),
            (
                "path = '/a'\nlifetime = '1s'\n",
                "7: route[0].lifetime: has no meaning with action = \"proxy\", only with \"subscribe\"",
            ),
            (
                "path = '/a'\nchannels = ['a']\n",
                "7: route[0].channels: has no meaning with action = \"proxy\", only with \"subscribe\" and \"publish\"",
            ),
            (
                "path = '/a'\nhost = 'a:80'\n",
                "7: route[0].host: \"a:80\" has a port, which routes do not look at, expected a host such as \"app.example\", \
                 \"*.example\" for every name below one, or \"*\" for all that no route names",
            ),
            (
                "path = '/a'\nhost = 'a'\n[[route]]\npath = '/a'\nchannels = ['a']\nhost = 'A.'\n",
                "9: route[1].path: \"/a\" has been given before on the public listener for a",
            ),
            (
                "path = '/a/{path...}'\n[[route]]\npath = '/a/{channels...}'\n",
                "8: route[1].path: \"/a/{channels...}\" takes the same paths as \"/a/{path...}\" on the public listener",
            ),
        ] {
            assert_eq!(proxy(options), Err(format!("fantail.toml:{error}")));
        }
    }

    #[test]
    fn proxy_route_without_its_upstream_is_refused() {
        let error = |text: &str| Config::from_toml(text).unwrap_err().to_string();
        assert_eq!(
            error(&format!("{UPSTREAM}path = '/a'\n")),
            "fantail.toml:3: route[0].upstream: is required with action = \"proxy\", the NAME of an [upstream.NAME]"
        );
        assert_eq!(
            error(&format!("{UPSTREAM}path = '/a'\nupstream = 'apq'\n")),
            "fantail.toml:6: route[0].upstream: there is no [upstream.apq], did you mean \"app\"?"
        );
        assert_eq!(
            error(&format!("{UPSTREAM}path = '/a'\nupstream = 'zebra'\n")),
            "fantail.toml:6: route[0].upstream: there is no [upstream.zebra], known: app"
        );
        assert_eq!(
            error("[[route]]\npath = '/a'\naction = 'proxy'\nupstream = 'zebra'\n"),
            "fantail.toml:4: route[0].upstream: there is no [upstream.zebra], nor any other"
        );
    }

    #[test]
    fn options_of_another_action_are_refused_with_their_line() {
        for (options, error) in [
            ("upstream = 'app'", "upstream: has no meaning with action = \"subscribe\", only with \"proxy\""),
            ("hand_over = false", "hand_over: has no meaning with action = \"subscribe\", only with \"proxy\""),
            (
                "set_request = { A = 'b' }",
                "set_request: has no meaning with action = \"subscribe\", only with \"proxy\"",
            ),
            (
                "action = 'publish'\nping = '1s'",
                "ping: has no meaning with action = \"publish\", only with \"subscribe\" and \"proxy\"",
            ),
            (
                "listener = 'control'\nhost = 'a'",
                "host: is for the public listener; control.hosts lists those of the control listener",
            ),
            (
                "listener = 'control'\ninternal = true",
                "internal: is for the public listener, where upstreams redirect requests",
            ),
        ] {
            let line = 2 + options.lines().count();
            let text = format!("[[route]]\npath = '/{{channel}}'\n{options}\n");
            let said = Config::from_toml(&text).unwrap_err().to_string();
            assert_eq!(said, format!("fantail.toml:{line}: route[0].{error}"));
        }
        let error = Config::from_toml("[[route]]\npath = '/a/{path...}'\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "fantail.toml:2: route[0].path: \"/a/{path...}\" names no channels, expected {channel} or {channels...}; \
             {path...} is for action = \"proxy\""
        );
    }
}
