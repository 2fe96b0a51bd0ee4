//! The push stream module's locations, as routes with the same options.

use std::fmt::Write as _;

use super::super::ImportError;
use super::super::check::refused;
use super::super::draft::{Table, Value};
use super::super::location::Location;
use super::super::report::Ledger;
use super::super::scope::Scope;
use super::super::tree::Directive;
use super::super::value;
use super::super::variables::Variables;
use super::Mapper;
use crate::config::Padding;

const PREFIX: &str = "push_stream_";

/// What a location does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    /// Streaming and `EventSource`.
    Stream,
    Poll,
    WebSocket,
    Statistics,
}

impl Role {
    pub(super) fn subscribes(self) -> bool {
        matches!(self, Self::Stream | Self::Poll | Self::WebSocket)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Flag { default: bool },
    Time,
    Count,
    Text { default: &'static str },
    Expression,
}

const PUBLISHERS: &[Role] = &[Role::Publisher];
const STORERS: &[Role] = &[Role::Publisher, Role::WebSocket];
const SUBSCRIBERS: &[Role] = &[Role::Stream, Role::Poll, Role::WebSocket];
const PINGED: &[Role] = &[Role::Stream, Role::WebSocket];
const CORS: &[Role] = &[Role::Publisher, Role::Stream, Role::Poll];
const SOCKETS: &[Role] = &[Role::WebSocket];
/// A request may ask any stream to be a poll.
const POLLS: &[Role] = &[Role::Stream, Role::Poll];

/// The options of a route: their names, and for whom they are.
const OPTIONS: [(&str, Kind, &[Role]); 19] = [
    ("store_messages", Kind::Flag { default: false }, STORERS),
    ("channel_info_on_publish", Kind::Flag { default: true }, PUBLISHERS),
    ("websocket_allow_publish", Kind::Flag { default: false }, SOCKETS),
    ("authorized_channels_only", Kind::Flag { default: false }, SUBSCRIBERS),
    ("allow_connections_to_events_channel", Kind::Flag { default: false }, SUBSCRIBERS),
    ("wildcard_channel_max_qtd", Kind::Count, SUBSCRIBERS),
    ("header_template", Kind::Text { default: "" }, SUBSCRIBERS),
    ("header_template_file", Kind::Text { default: "" }, SUBSCRIBERS),
    ("message_template", Kind::Text { default: "~text~" }, SUBSCRIBERS),
    ("footer_template", Kind::Text { default: "" }, SUBSCRIBERS),
    ("ping_message_interval", Kind::Time, PINGED),
    ("subscriber_connection_ttl", Kind::Time, SUBSCRIBERS),
    ("longpolling_connection_ttl", Kind::Time, POLLS),
    ("timeout_with_body", Kind::Flag { default: false }, POLLS),
    ("last_received_message_time", Kind::Expression, SUBSCRIBERS),
    ("last_received_message_tag", Kind::Expression, SUBSCRIBERS),
    ("last_event_id", Kind::Expression, SUBSCRIBERS),
    ("user_agent", Kind::Expression, &[Role::Stream]),
    ("allowed_origins", Kind::Expression, CORS),
];

/// The settings of `[push_stream]`.
const GLOBALS: [(&str, Kind); 11] = [
    ("channel_deleted_message_text", Kind::Text { default: "Channel deleted" }),
    ("ping_message_text", Kind::Text { default: " " }),
    ("channel_inactivity_time", Kind::Time),
    ("message_ttl", Kind::Time),
    ("max_subscribers_per_channel", Kind::Count),
    ("max_messages_stored_per_channel", Kind::Count),
    ("max_channel_id_length", Kind::Count),
    ("max_number_of_channels", Kind::Count),
    ("max_number_of_wildcard_channels", Kind::Count),
    ("wildcard_channel_prefix", Kind::Text { default: "" }),
    ("events_channel_id", Kind::Text { default: "" }),
];

/// The types to which nginx adds its charset.
const CHARSET: [&str; 6] =
    ["text/html", "text/xml", "text/plain", "text/vnd.wap.wml", "application/javascript", "application/rss+xml"];

/// Values that need not be written, as they are Fantail's own.
const DEFAULTS: [(&str, u64); 2] = [("channel_inactivity_time", 30_000), ("message_ttl", 1_800_000)];

/// The directive that makes a location one of the module's; of several the last counts.
pub(super) fn handler<'t>(location: &Location<'t>) -> Option<&'t Directive> {
    handlers(location).last()
}

/// All directives that would.
pub(super) fn handlers<'t>(location: &Location<'t>) -> impl Iterator<Item = &'t Directive> + use<'t> {
    let names = ["push_stream_publisher", "push_stream_subscriber", "push_stream_channels_statistics"];
    location.scope.inner().iter().filter(move |directive| names.contains(&directive.name.as_str()))
}

/// What it makes of the location.
pub(super) fn role(handler: &Directive) -> Role {
    match handler.name.as_str() {
        "push_stream_publisher" => Role::Publisher,
        "push_stream_channels_statistics" => Role::Statistics,
        _ => match handler.first().to_ascii_lowercase().as_str() {
            "websocket" => Role::WebSocket,
            "polling" | "long-polling" => Role::Poll,
            _ => Role::Stream,
        },
    }
}

/// What is for all channels.
pub(super) fn globals(mapper: &mut Mapper<'_>, http: &Scope<'_>) -> Result<(), ImportError> {
    check_wildcards(http)?;
    for (key, kind) in GLOBALS {
        let Some(directive) = http.own(&format!("{PREFIX}{key}")) else { continue };
        let is_name = matches!(key, "wildcard_channel_prefix" | "events_channel_id");
        if is_name && !directive.first().is_empty() && !is_channel(directive.first()) {
            mapper.ledger.left(directive, "no channel of Fantail's has such a name");
            continue;
        }
        if key == "max_number_of_wildcard_channels" && !has_wildcards(http) {
            mapper.ledger.left(directive, "there are no wildcard channels");
            continue;
        }
        let value = match kind {
            Kind::Time => {
                let millis = value::time(directive.first(), true).unwrap_or_default();
                (!DEFAULTS.contains(&(key, millis))).then(|| Value::text(&value::written_time(millis)))
            }
            Kind::Text { default } => (directive.first() != default).then(|| Value::text(directive.first())),
            _ => Some(Value::plain(directive.first())),
        };
        match value {
            Some(value) => {
                mapper.draft.section("push_stream").set(key, value);
                mapper.ledger.carried(directive, format!("push_stream.{key}"));
            }
            None => mapper.ledger.carried(directive, "is what Fantail does unless told otherwise"),
        }
    }
    Ok(())
}

/// Whether a channel can have the name.
fn is_channel(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.contains(|c: char| c.is_control() || c == '/' || c == '*') && name != "ALL"
}

/// Whether there is a prefix with which the names of wildcard channels can begin.
fn has_wildcards(http: &Scope<'_>) -> bool {
    http.own("push_stream_wildcard_channel_prefix").is_some_and(|prefix| is_channel(prefix.first()))
}

fn check_wildcards(http: &Scope<'_>) -> Result<(), ImportError> {
    let prefix =
        http.own("push_stream_wildcard_channel_prefix").map(Directive::first).filter(|prefix| !prefix.is_empty());
    match http.own("push_stream_max_number_of_wildcard_channels") {
        Some(directive) if prefix.is_none() => {
            Err(refused(directive, "has no meaning without push_stream_wildcard_channel_prefix"))
        }
        _ => Ok(()),
    }
}

/// The route's options; nothing if it cannot be carried over, and then it was said why.
pub(super) fn route(
    ledger: &mut Ledger,
    location: &Location<'_>,
    http: &Scope<'_>,
    handler: &Directive,
) -> Result<Option<Table>, ImportError> {
    let role = role(handler);
    let scope = &location.scope;
    let variables = Variables::new(scope, location.captures());
    let mut route = Table::default();
    route.set("action", Value::text("push_stream"));
    let word = handler.first().to_ascii_lowercase();
    let (key, value) = match (role, word.as_str()) {
        (Role::Statistics, _) => ("channels_statistics", Value::plain(true)),
        (Role::Publisher, "") => ("publisher", Value::text("normal")),
        (Role::Publisher, mode) => ("publisher", Value::text(mode)),
        (_, "") => ("subscriber", Value::text("streaming")),
        (_, mode) => ("subscriber", Value::text(mode)),
    };
    route.set(key, value);
    check_templates(scope)?;
    check_maximum(scope, http)?;
    if !channels(ledger, &mut route, location, handler, &variables)? {
        return Ok(None);
    }
    for (key, kind, roles) in OPTIONS {
        let Some(directive) = scope.last(&format!("{PREFIX}{key}")) else { continue };
        if key.starts_with("header_template") && header(scope).is_some_and(|holds| holds.id != directive.id) {
            continue;
        }
        if key == "wildcard_channel_max_qtd" && !has_wildcards(http) {
            ledger.left(directive, "there are no wildcard channels");
        } else if roles.contains(&role) {
            option(ledger, &mut route, directive, key, kind, &variables);
        } else if location.scope.own(&directive.name).is_some() {
            ledger.carried(directive, format!("has no effect with {}", handler.name));
        }
    }
    if let Some(directive) = scope.last("push_stream_padding_by_user_agent").filter(|_| role == Role::Stream) {
        padding(directive)?;
        if !directive.first().is_empty() {
            route.set("padding_by_user_agent", Value::text(directive.first()));
        }
        ledger.carried(directive, "padding_by_user_agent");
    }
    if matches!(role, Role::Stream | Role::Poll) && word != "eventsource" {
        default_type(ledger, &mut route, scope);
    }
    ledger.carried(handler, "");
    Ok(Some(route))
}

/// The channels; `false` if they cannot be carried over.
fn channels(
    ledger: &mut Ledger,
    route: &mut Table,
    location: &Location<'_>,
    handler: &Directive,
    variables: &Variables<'_>,
) -> Result<bool, ImportError> {
    // Before version 0.4, the path was the value of a variable.
    let old = ["push_stream_channels_path", "push_stream_channel_id"];
    let (directive, text) = match location.scope.last("push_stream_channels_path") {
        Some(directive) => (directive, directive.first()),
        None => match old.into_iter().find_map(|name| variables.given(name)) {
            Some(set) => (set, set.args.get(1).map_or("", String::as_str)),
            None => {
                return Err(refused(
                    handler,
                    "push_stream_channels_path must be set, as in \"push_stream_channels_path $arg_id;\"",
                ));
            }
        },
    };
    match variables.expand(text) {
        Ok((expression, used)) => {
            route.set("channels_path", Value::text(&expression));
            ledger.carried(directive, "channels_path");
            ledger.put_in(&used);
            Ok(true)
        }
        Err(name) => {
            let reason = format!("which channels are meant is said by \"${name}\", which Fantail does not know");
            ledger.left(directive, reason.clone());
            ledger.left(location.directive, reason);
            Ok(false)
        }
    }
}

fn option(
    ledger: &mut Ledger,
    route: &mut Table,
    directive: &Directive,
    key: &str,
    kind: Kind,
    variables: &Variables<'_>,
) {
    let text = directive.first();
    let value = match kind {
        Kind::Flag { default } => value::flag(text).filter(|flag| *flag != default).map(Value::plain),
        Kind::Time => value::time(text, false).map(|millis| Value::text(&value::written_time(millis))),
        Kind::Count => Some(Value::plain(text)),
        Kind::Text { default } => (text != default).then(|| Value::text(text)),
        Kind::Expression => match variables.expand(text) {
            Ok((expression, used)) => {
                ledger.put_in(&used);
                (!expression.is_empty()).then(|| Value::text(&expression))
            }
            Err(name) => {
                ledger.left(directive, format!("\"${name}\" is not known to Fantail"));
                return;
            }
        },
    };
    if let Some(value) = value {
        route.set(key, value);
    }
    if key == "header_template_file" && !text.starts_with('/') {
        ledger.changed(directive, "is found from the directory of fantail.toml");
    } else {
        ledger.carried(directive, key);
    }
}

/// The type of a stream, and of a poll's answer.
pub(super) fn default_type(ledger: &mut Ledger, route: &mut Table, scope: &Scope<'_>) {
    let directive = scope.last("default_type");
    let is_type = |kind: &str| {
        !kind.is_empty() && kind.trim_ascii() == kind && kind.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    if let Some(wrong) = directive.filter(|directive| !is_type(directive.first())) {
        ledger.left(wrong, "is no media type");
        return;
    }
    let mut kind = directive.map_or("text/plain", Directive::first).to_owned();
    if let Some(charset) = scope.last("charset") {
        if charset.first() != "off" && is_type(charset.first()) && CHARSET.contains(&kind.as_str()) {
            let _ = write!(kind, "; charset={}", charset.first());
        }
        ledger.carried(charset, "default_type");
    }
    if kind != "text/plain" {
        route.set("default_type", Value::text(&kind));
    }
    if let Some(directive) = directive {
        ledger.carried(directive, "default_type");
    }
    for types in scope.all("types") {
        let note = "a channel whose name ends as a file's does has the type of default_type, like all others";
        ledger.changed(types, note);
    }
}

/// The header's text or file, whichever stands further in.
fn header<'t>(scope: &Scope<'t>) -> Option<&'t Directive> {
    let is_header = |directive: &&Directive| directive.name.starts_with("push_stream_header_template");
    scope.levels().filter_map(|level| level.iter().rfind(is_header)).last()
}

fn check_templates(scope: &Scope<'_>) -> Result<(), ImportError> {
    if let Some(directive) = scope.last("push_stream_message_template").filter(|directive| directive.first().is_empty())
    {
        return Err(refused(directive, "cannot be blank, expected a text such as \"~text~\""));
    }
    for level in scope.levels() {
        let level = Scope::default().within(level);
        if let (Some(directive), Some(twin)) =
            (level.own("push_stream_header_template_file"), level.own("push_stream_header_template"))
        {
            let reason = format!("is duplicate, push_stream_header_template in {} says the same", twin.spot);
            return Err(refused(directive, reason));
        }
    }
    Ok(())
}

fn check_maximum(scope: &Scope<'_>, http: &Scope<'_>) -> Result<(), ImportError> {
    let Some(directive) = scope.last("push_stream_wildcard_channel_max_qtd") else { return Ok(()) };
    let prefix = http.own("push_stream_wildcard_channel_prefix").map_or("", Directive::first);
    if prefix.is_empty() {
        return Err(refused(directive, "has no meaning without push_stream_wildcard_channel_prefix"));
    }
    let all = http.own("push_stream_max_number_of_wildcard_channels").and_then(|all| value::count(all.first()));
    match (value::count(directive.first()), all) {
        (Some(most), Some(all)) if most > all => Err(refused(
            directive,
            format!("{most} is more than push_stream_max_number_of_wildcard_channels, expected at most {all}"),
        )),
        _ => Ok(()),
    }
}

fn padding(directive: &Directive) -> Result<(), ImportError> {
    let expected = "expected such as \"MSIE,254,0:Safari,1024,1\"";
    let parsed = Padding::parse(directive.first());
    parsed.map(drop).map_err(|error| refused(directive, format!("{error}, {expected}")))
}
