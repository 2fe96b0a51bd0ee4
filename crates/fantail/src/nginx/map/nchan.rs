//! nchan's locations, as routes of the push stream dialect: its clients are `EventSource`, WebSocket and polls too, with the
//! same headers for their cursors.

use super::super::draft::{Table, Value};
use super::super::location::Location;
use super::super::scope::Scope;
use super::super::tree::Directive;
use super::super::value;
use super::super::variables::{Variables, has_variables};
use super::Mapper;
use super::push_stream::{Role, default_type};

const HANDLERS: [&str; 6] = [
    "nchan_publisher",
    "nchan_publisher_location",
    "nchan_subscriber",
    "nchan_subscriber_location",
    "nchan_pubsub",
    "nchan_pubsub_location",
];

/// Ways of subscribing, as nchan spells them, and as the dialect does. A route has one: of several, the first of these.
const MODES: [(&str, &[&str]); 4] = [
    ("eventsource", &["eventsource", "event-source", "es", "sse"]),
    ("websocket", &["websocket", "websockets", "ws"]),
    ("long-polling", &["longpoll", "long-poll", "longpolling", "long-polling"]),
    (
        "streaming",
        &[
            "http-raw-stream",
            "http-stream",
            "http-chunked",
            "chunked",
            "multipart",
            "http-multipart",
            "multipart-mixed",
        ],
    ),
];

/// The directive that makes a location one of nchan's.
pub(super) fn handler<'t>(location: &Location<'t>) -> Option<&'t Directive> {
    handlers(location).next()
}

/// All directives that would.
pub(super) fn handlers<'t>(location: &Location<'t>) -> impl Iterator<Item = &'t Directive> + use<'t> {
    location.scope.inner().iter().filter(|directive| HANDLERS.contains(&directive.name.as_str()))
}

/// The route's options; nothing if it cannot be carried over, and then it was said why.
pub(super) fn route(mapper: &mut Mapper<'_>, location: &Location<'_>, handler: &Directive) -> Option<Table> {
    let variables = Variables::new(&location.scope, location.captures());
    let mut route = Table::default();
    route.set("action", Value::text("push_stream"));
    let publishes = handler.name.contains("publisher");
    let path = channels(mapper, location, &variables, publishes)?;
    let role = if publishes {
        // nchan lets every publisher delete.
        route.set("publisher", Value::text("admin"));
        mapper.ledger.changed(handler, "publishes over HTTP, with the push stream module's answers");
        Role::Publisher
    } else {
        subscriber(mapper, &mut route, handler)
    };
    route.set("channels_path", path);
    if matches!(role, Role::Publisher | Role::WebSocket) {
        let store = location.scope.last("nchan_store_messages");
        let is_on = store.is_none_or(|directive| directive.first() != "off");
        if is_on && (role == Role::Publisher || route.value("websocket_allow_publish").is_some()) {
            route.set("store_messages", Value::plain(true));
        }
        if let Some(directive) = store {
            mapper.ledger.carried(directive, "store_messages");
        }
    }
    if role != Role::Publisher {
        options(mapper, &mut route, &location.scope, role);
    }
    origin(mapper, &mut route, &location.scope, &variables, role);
    globals(mapper, &location.scope);
    if role == Role::Stream && route.value("subscriber") == Some(&Value::text("streaming")) {
        default_type(&mut mapper.ledger, &mut route, &location.scope);
    }
    Some(route)
}

fn subscriber(mapper: &mut Mapper<'_>, route: &mut Table, handler: &Directive) -> Role {
    let words = &handler.args;
    let named = |names: &[&str]| words.iter().any(|word| names.contains(&word.to_ascii_lowercase().as_str()));
    let is_pubsub = handler.name.contains("pubsub");
    // A page that publishes and subscribes at one URL does so over a WebSocket.
    let (mode, _) = MODES
        .into_iter()
        .find(|(mode, names)| named(names) || (is_pubsub && *mode == "websocket" && !named(MODES[0].1)))
        .unwrap_or(MODES[0]);
    route.set("subscriber", Value::text(mode));
    let publishes = is_pubsub && mode == "websocket";
    if publishes {
        route.set("websocket_allow_publish", Value::plain(true));
    }
    let role = match mode {
        "websocket" => Role::WebSocket,
        "long-polling" => Role::Poll,
        _ => Role::Stream,
    };
    let exact = words.len() == 1 && !is_pubsub;
    let note = match (exact, is_pubsub) {
        (true, _) => format!("subscriber = \"{mode}\"; messages have the push stream module's form"),
        (false, false) => {
            format!("subscriber = \"{mode}\": a route has one way of subscribing, others need routes of their own")
        }
        (false, true) if publishes => {
            "subscribes and publishes over a WebSocket; to publish over HTTP takes a route of its own".to_owned()
        }
        (false, true) => format!("subscriber = \"{mode}\"; to publish takes a route of its own"),
    };
    mapper.ledger.changed(handler, note);
    role
}

fn channels(
    mapper: &mut Mapper<'_>,
    location: &Location<'_>,
    variables: &Variables<'_>,
    publishes: bool,
) -> Option<Value> {
    let own = if publishes { "nchan_publisher_channel_id" } else { "nchan_subscriber_channel_id" };
    let names = [own, "nchan_pubsub_channel_id", "nchan_channel_id"];
    let Some(directive) = names.into_iter().find_map(|name| location.scope.last(name)) else {
        mapper.ledger.left(location.directive, "says no channel, expected nchan_channel_id");
        return None;
    };
    // Several ids are several channels, which a path separates by slashes.
    let path = match variables.expand(&directive.args.join("/")) {
        Ok((expression, used)) => {
            mapper.ledger.put_in(&used);
            Value::text(&expression)
        }
        Err(name) => {
            let reason = format!("which channels are meant is said by \"${name}\", which Fantail does not know");
            mapper.ledger.left(directive, reason.clone());
            mapper.ledger.left(location.directive, reason);
            return None;
        }
    };
    match location.scope.last("nchan_channel_id_split_delimiter") {
        Some(delimiter) if delimiter.first() == "/" => {
            mapper.ledger.carried(delimiter, "channels are separated by \"/\"");
            mapper.ledger.carried(directive, "channels_path");
        }
        Some(delimiter) => {
            mapper.ledger.left(delimiter, "channels are separated by \"/\" alone");
            mapper.ledger.carried(directive, "channels_path");
        }
        None => mapper.ledger.changed(directive, "channels_path: a \"/\" in a request's value separates channels"),
    }
    Some(path)
}

fn options(mapper: &mut Mapper<'_>, route: &mut Table, scope: &Scope<'_>, role: Role) {
    let ping =
        if role == Role::WebSocket { "nchan_websocket_ping_interval" } else { "nchan_eventsource_ping_interval" };
    for (name, key) in [("nchan_subscriber_timeout", "subscriber_connection_ttl"), (ping, "ping_message_interval")] {
        let Some(directive) = scope.last(name) else { continue };
        match value::time(directive.first(), true) {
            Some(millis) if millis > 0 => {
                route.set(key, Value::text(&value::written_time(millis)));
                mapper.ledger.carried(directive, key);
            }
            _ => mapper.ledger.carried(directive, "is off, as it is without being told"),
        }
    }
    if let Some(directive) = scope.last("nchan_subscribe_existing_channels_only") {
        if value::flag(directive.first()) == Some(true) {
            route.set("authorized_channels_only", Value::plain(true));
            mapper
                .ledger
                .changed(directive, "authorized_channels_only: a channel exists for it once a message is stored there");
        } else {
            mapper.ledger.carried(directive, "is off, as it is without being told");
        }
    }
    if let Some(directive) = scope.last("nchan_subscriber_first_message") {
        if directive.first() == "newest" {
            mapper.ledger.carried(directive, "a stream begins with what is published after it was opened");
        } else {
            let note = "a stream begins with what is published after it was opened, or with the last N of a channel that is named \"NAME.bN\"";
            mapper.ledger.changed(directive, note);
        }
    }
    if let Some(directive) = scope.last("nchan_subscriber_last_message_id") {
        let note = "a cursor comes in Last-Event-ID, or If-Modified-Since and If-None-Match";
        if has_variables(&directive.args.join(" ")) {
            mapper.ledger.changed(directive, note);
        } else {
            mapper.ledger.left(directive, note);
        }
    }
}

fn origin(mapper: &mut Mapper<'_>, route: &mut Table, scope: &Scope<'_>, variables: &Variables<'_>, role: Role) {
    let Some(directive) = scope.last("nchan_access_control_allow_origin") else {
        if role != Role::WebSocket {
            // nchan lets every page in unless told otherwise.
            route.set("allowed_origins", Value::text("$http_origin"));
        }
        return;
    };
    match variables.expand(directive.first()) {
        Ok((origin, _)) => {
            if role != Role::WebSocket {
                route.set("allowed_origins", Value::text(&origin));
            }
            mapper.ledger.carried(directive, "allowed_origins");
        }
        Err(name) => mapper.ledger.left(directive, format!("\"${name}\" is not known to Fantail")),
    }
}

/// What is set for a location in nchan, and for all channels here.
fn globals(mapper: &mut Mapper<'_>, scope: &Scope<'_>) {
    for (name, key, is_time) in [
        ("nchan_message_timeout", "message_ttl", true),
        ("nchan_message_buffer_length", "max_messages_stored_per_channel", false),
        ("nchan_max_channel_id_length", "max_channel_id_length", false),
        ("nchan_max_channel_subscribers", "max_subscribers_per_channel", false),
        ("nchan_channel_timeout", "channel_inactivity_time", true),
    ] {
        let Some(directive) = scope.last(name) else { continue };
        let text = directive.first();
        let value = if is_time {
            value::time(text, true).filter(|millis| *millis > 0).map(|millis| Value::text(&value::written_time(millis)))
        } else {
            value::count(text).filter(|count| *count > 0).map(Value::plain)
        };
        match value {
            Some(value) => mapper.global("push_stream", key, value, directive),
            None if has_variables(text) => {
                mapper.ledger.left(directive, format!("push_stream.{key} is one value for all"));
            }
            None => mapper
                .ledger
                .changed(directive, format!("\"{text}\" is no limit in nchan; push_stream.{key} is not set")),
        }
    }
}
