//! What a route with `action = "push_stream"` is: a publisher, a subscriber or statistics; and which options go with which.

use std::fmt;

use crate::config::{
    Expression, Padding, Pattern, PushStream, Route, Span, Variable,
    error::{Problem, require},
    section::{choice, defaults},
};

choice! {
    /// What publishers may do.
    pub enum Publisher {
        /// Publish, and ask for a channel's figures.
        Normal = "normal",
        /// Delete channels too.
        Admin = "admin",
    }
}

choice! {
    /// How subscribers get messages.
    pub enum Subscriber {
        /// One answer without end.
        Streaming = "streaming",
        /// What there is, at once.
        Polling = "polling",
        /// What there is, or else the next message.
        LongPolling = "long-polling",
        /// An event stream.
        EventSource = "eventsource",
        /// Frames of a WebSocket.
        WebSocket = "websocket",
    }
}

/// What a route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Takes messages.
    Publisher(Publisher),
    /// Gives them out.
    Subscriber(Subscriber),
    /// Counts channels and messages.
    Statistics,
}

impl Endpoint {
    /// What a route is; nothing unless it is exactly one.
    pub fn of(route: &Route) -> Option<Self> {
        match (route.publisher, route.subscriber, route.channels_statistics) {
            (Some(kind), None, false) => Some(Self::Publisher(kind)),
            (None, Some(mode), false) => Some(Self::Subscriber(mode)),
            (None, None, true) => Some(Self::Statistics),
            _ => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publisher(kind) => write!(f, "publisher = \"{kind}\""),
            Self::Subscriber(mode) => write!(f, "subscriber = \"{mode}\""),
            Self::Statistics => f.write_str("channels_statistics = true"),
        }
    }
}

/// The routes for which an option is.
#[derive(Clone, Copy)]
enum Scope {
    Publishers,
    Subscribers,
    WebSockets,
    /// Whoever may store a message.
    Writers,
    /// All that pages may ask.
    Pages,
}

impl Scope {
    fn holds(self, endpoint: Endpoint) -> bool {
        let web_socket = endpoint == Endpoint::Subscriber(Subscriber::WebSocket);
        let (publisher, subscriber) =
            (matches!(endpoint, Endpoint::Publisher(_)), matches!(endpoint, Endpoint::Subscriber(_)));
        match self {
            Self::Publishers => publisher,
            Self::Subscribers => subscriber,
            Self::WebSockets => web_socket,
            Self::Writers => publisher || web_socket,
            Self::Pages => publisher || subscriber,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Publishers => "publisher",
            Self::Subscribers => "subscriber",
            Self::WebSockets => "subscriber = \"websocket\"",
            Self::Writers => "publisher and subscriber = \"websocket\"",
            Self::Pages => "publisher and subscriber",
        }
    }
}

/// The options that are not for every kind of route. A client may ask a route for another mode than it has, so that most are
/// for subscribers of every mode.
const SCOPES: [(&str, Scope); 23] = [
    ("public_publish", Scope::Publishers),
    ("max_body", Scope::Publishers),
    ("store_messages", Scope::Writers),
    ("channel_info_on_publish", Scope::Publishers),
    ("authorized_channels_only", Scope::Subscribers),
    ("header_template", Scope::Subscribers),
    ("header_template_file", Scope::Subscribers),
    ("message_template", Scope::Subscribers),
    ("footer_template", Scope::Subscribers),
    ("wildcard_channel_max_qtd", Scope::Subscribers),
    ("ping_message_interval", Scope::Subscribers),
    ("subscriber_connection_ttl", Scope::Subscribers),
    ("longpolling_connection_ttl", Scope::Subscribers),
    ("timeout_with_body", Scope::Subscribers),
    ("websocket_allow_publish", Scope::WebSockets),
    ("allow_connections_to_events_channel", Scope::Subscribers),
    ("last_received_message_time", Scope::Subscribers),
    ("last_received_message_tag", Scope::Subscribers),
    ("last_event_id", Scope::Subscribers),
    ("user_agent", Scope::Subscribers),
    ("padding_by_user_agent", Scope::Subscribers),
    ("allowed_origins", Scope::Pages),
    ("default_type", Scope::Subscribers),
];

/// Checks the options of such a route.
pub(in crate::config) fn validate(
    route: &Route,
    section: &str,
    pattern: &Pattern,
    all: &PushStream,
) -> Result<(), Problem> {
    let key = |name: &str| format!("{section}.{name}");
    let endpoint = Endpoint::of(route).ok_or_else(|| not_one(route, section))?;
    let (given, default) = (toml::Table::try_from(route).unwrap_or_default(), defaults::<Route>());
    for (name, scope) in SCOPES {
        require(
            scope.holds(endpoint) || given.get(name) == default.get(name),
            key(name),
            format!("has no meaning with {endpoint}, only with {}", scope.words()),
        )?;
    }
    require(
        route.channels_path.is_some(),
        key("channels_path"),
        "is required, what names the channels, such as \"$arg_id\", or \"$1\" with path = \"~ ^/sub/(.*)$\"",
    )?;
    validate_expressions(route, section, pattern)?;
    require(
        route.header_template.is_empty() || route.header_template_file.is_none(),
        key("header_template_file"),
        "cannot be given together with header_template",
    )?;
    require(
        !route.message_template.is_empty() || endpoint == Endpoint::Subscriber(Subscriber::EventSource),
        key("message_template"),
        "cannot be blank, expected a text with tokens, such as \"~text~\"",
    )?;
    for (name, span, otherwise) in [
        ("ping_message_interval", route.ping_message_interval, "no pings"),
        ("subscriber_connection_ttl", route.subscriber_connection_ttl, "connections without an end"),
        ("longpolling_connection_ttl", route.longpolling_connection_ttl, "what subscriber_connection_ttl says"),
    ] {
        require(span != Some(Span::ZERO), key(name), format!("cannot be zero, leave it out for {otherwise}"))?;
    }
    validate_wildcards(route, section, all)?;
    Padding::parse(route.padding_by_user_agent.as_deref().unwrap_or_default())
        .map_err(|error| Problem { key: key("padding_by_user_agent"), reason: error.to_string() })?;
    let kind = &route.default_type;
    require(
        !kind.is_empty() && kind.trim_ascii() == kind && kind.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        key("default_type"),
        format!("{kind:?} is not a media type, such as \"text/plain\""),
    )
}

fn not_one(route: &Route, section: &str) -> Problem {
    let given = [
        ("publisher", route.publisher.is_some()),
        ("subscriber", route.subscriber.is_some()),
        ("channels_statistics", route.channels_statistics),
    ];
    let mut given = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
    match (given.next(), given.next()) {
        (Some(first), Some(second)) => Problem {
            key: format!("{section}.{second}"),
            reason: format!("cannot be given together with {first}, a route is one of them"),
        },
        _ => Problem {
            key: format!("{section}.action"),
            reason: "\"push_stream\" needs one of publisher = \"normal\" or \"admin\", subscriber = \"streaming\", \"polling\", \
                     \"long-polling\", \"eventsource\" or \"websocket\", or channels_statistics = true"
                .to_owned(),
        },
    }
}

/// Checks that all variables are known, those of the path's groups too.
fn validate_expressions(route: &Route, section: &str, pattern: &Pattern) -> Result<(), Problem> {
    let names: Vec<Option<&str>> = match pattern {
        Pattern::Regex(regex) => regex.names().collect(),
        _ => Vec::new(),
    };
    let groups: Vec<&str> = names.iter().flatten().copied().collect();
    for (name, text) in [
        ("channels_path", &route.channels_path),
        ("last_received_message_time", &route.last_received_message_time),
        ("last_received_message_tag", &route.last_received_message_tag),
        ("last_event_id", &route.last_event_id),
        ("user_agent", &route.user_agent),
        ("allowed_origins", &route.allowed_origins),
    ] {
        let Some(text) = text else { continue };
        let key = format!("{section}.{name}");
        let expression = Expression::parse(text, &groups)
            .map_err(|error| Problem { key: key.clone(), reason: error.to_string() })?;
        let highest = expression.variables().filter_map(|variable| match variable {
            Variable::Capture(number) => Some(*number),
            _ => None,
        });
        let (highest, there) = (highest.max().unwrap_or(0), names.len().saturating_sub(1));
        require(
            highest <= there,
            key,
            format!(
                "\"${highest}\" in \"{text}\" is a group that the path \"{pattern}\" does not have (it has {there})"
            ),
        )?;
    }
    Ok(())
}

fn validate_wildcards(route: &Route, section: &str, all: &PushStream) -> Result<(), Problem> {
    let key = format!("{section}.wildcard_channel_max_qtd");
    let Some(own) = route.wildcard_channel_max_qtd else { return Ok(()) };
    require(
        own > 0,
        key.as_str(),
        "cannot be zero, leave it out for what push_stream.max_number_of_wildcard_channels says",
    )?;
    require(
        all.wildcard_channel_prefix.is_some(),
        key.as_str(),
        "has no meaning without push_stream.wildcard_channel_prefix",
    )?;
    let most = all.max_number_of_wildcard_channels.unwrap_or(usize::MAX);
    require(
        own <= most,
        key,
        format!("{own} is more than there can be: push_stream.max_number_of_wildcard_channels = {most}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, section::Section};

    const SUBSCRIBER: &str = "path = '~ ^/sub/(?<mode>x)/(.*)$'\nsubscriber = 'eventsource'\nchannels_path = '$2'\n";
    const PUBLISHER: &str = "path = '/pub'\npublisher = 'normal'\nchannels_path = '$arg_id'\npublic_publish = true\n";

    fn loaded(options: &str) -> Result<Route, String> {
        let config = Config::from_toml(&format!("[[route]]\naction = 'push_stream'\n{options}\n"));
        config.map(|mut config| config.route.remove(0)).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoint_options_that_have_a_scope_are_known() {
        for (name, _) in SCOPES {
            assert!(Route::FIELDS.iter().any(|field| field.name == name), "{name}");
        }
    }

    #[test]
    fn endpoint_of_each_kind_loads() {
        for (options, endpoint) in [
            (PUBLISHER, Endpoint::Publisher(Publisher::Normal)),
            (
                "path = '= /pub'\nlistener = 'control'\npublisher = 'admin'\nchannels_path = '$arg_id'\nstore_messages = \
                 true\nchannel_info_on_publish = false\nallowed_origins = '*'",
                Endpoint::Publisher(Publisher::Admin),
            ),
            (SUBSCRIBER, Endpoint::Subscriber(Subscriber::EventSource)),
            (
                "path = '~* ^/ws/(.*)$'\nsubscriber = 'websocket'\nchannels_path = '/$1'\nwebsocket_allow_publish = \
                 true\nstore_messages = true\nping_message_interval = '10s'",
                Endpoint::Subscriber(Subscriber::WebSocket),
            ),
            ("path = '^~ /stats'\nchannels_statistics = true\nchannels_path = '$arg_id'", Endpoint::Statistics),
        ] {
            assert_eq!(loaded(options).map(|route| Endpoint::of(&route)), Ok(Some(endpoint)), "{options}");
        }
        assert_eq!(loaded(&format!("{SUBSCRIBER}message_template = ''")).unwrap().message_template, "");
        let path = loaded(PUBLISHER).unwrap().pattern();
        assert_eq!(path, Ok(Pattern::Prefix { before: "/pub".to_owned(), firm: false }));
    }

    #[test]
    fn endpoint_must_be_one() {
        let error = |options: &str| loaded(options).unwrap_err();
        assert_eq!(
            error("path = '/a'\nchannels_path = 'a'"),
            "fantail.toml:2: route[0].action: \"push_stream\" needs one of publisher = \"normal\" or \"admin\", subscriber = \
             \"streaming\", \"polling\", \"long-polling\", \"eventsource\" or \"websocket\", or channels_statistics = true"
        );
        assert_eq!(
            error(&format!("{SUBSCRIBER}publisher = 'normal'")),
            "fantail.toml:4: route[0].subscriber: cannot be given together with publisher, a route is one of them"
        );
        assert_eq!(
            error(&format!("{PUBLISHER}channels_statistics = true")),
            "fantail.toml:7: route[0].channels_statistics: cannot be given together with publisher, a route is one of them"
        );
        assert_eq!(
            error("path = '/a'\npublisher = 'root'"),
            "fantail.toml:4: route[0].publisher: unknown variant `root`, expected \"normal\" or \"admin\""
        );
        assert!(error("path = '/a'\nsubscriber = 'x'").contains(
            "unknown variant `x`, expected \"streaming\" or \"polling\" or \"long-polling\" or \"eventsource\" or \"websocket\""
        ));
    }

    #[test]
    fn endpoint_options_of_another_kind_are_refused() {
        for (kind, option, error) in [
            (
                PUBLISHER,
                "footer_template = 'x'",
                "footer_template: has no meaning with publisher = \"normal\", only with subscriber",
            ),
            (
                SUBSCRIBER,
                "channel_info_on_publish = false",
                "channel_info_on_publish: has no meaning with subscriber = \"eventsource\", only with publisher",
            ),
            (
                SUBSCRIBER,
                "store_messages = true",
                "store_messages: has no meaning with subscriber = \"eventsource\", only with publisher and subscriber = \
                 \"websocket\"",
            ),
            (
                SUBSCRIBER,
                "max_body = '1KiB'",
                "max_body: has no meaning with subscriber = \"eventsource\", only with publisher",
            ),
            (
                SUBSCRIBER,
                "websocket_allow_publish = true",
                "websocket_allow_publish: has no meaning with subscriber = \"eventsource\", only with subscriber = \"websocket\"",
            ),
            (
                "path = '/s'\nchannels_statistics = true\nchannels_path = 'ALL'\n\n",
                "allowed_origins = '*'",
                "allowed_origins: has no meaning with channels_statistics = true, only with publisher and subscriber",
            ),
            (
                SUBSCRIBER,
                "ping = '1s'",
                "ping: has no meaning with action = \"push_stream\", only with \"subscribe\" and \"proxy\"",
            ),
        ] {
            let line = 3 + kind.lines().count();
            assert_eq!(loaded(&format!("{kind}{option}")), Err(format!("fantail.toml:{line}: route[0].{error}")));
        }
        let error =
            Config::from_toml("[[route]]\npath = '/{channel}'\nstore_messages = true\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "fantail.toml:3: route[0].store_messages: has no meaning with action = \"subscribe\", only with \"push_stream\""
        );
    }

    #[test]
    fn endpoint_options_that_are_unsound_are_refused_with_their_line() {
        for (option, error) in [
            (
                "message_template = ''\nsubscriber = 'streaming'",
                "message_template: cannot be blank, expected a text with tokens, such as \"~text~\"",
            ),
            ("ping_message_interval = '0'", "ping_message_interval: cannot be zero, leave it out for no pings"),
            (
                "subscriber_connection_ttl = '0s'",
                "subscriber_connection_ttl: cannot be zero, leave it out for connections without an end",
            ),
            (
                "longpolling_connection_ttl = '0'",
                "longpolling_connection_ttl: cannot be zero, leave it out for what subscriber_connection_ttl says",
            ),
            (
                "wildcard_channel_max_qtd = 0",
                "wildcard_channel_max_qtd: cannot be zero, leave it out for what push_stream.max_number_of_wildcard_channels says",
            ),
            (
                "wildcard_channel_max_qtd = 1",
                "wildcard_channel_max_qtd: has no meaning without push_stream.wildcard_channel_prefix",
            ),
            (
                "last_event_id = '$3'",
                "last_event_id: \"$3\" in \"$3\" is a group that the path \"~ ^/sub/(?<mode>x)/(.*)$\" does not have (it has 2)",
            ),
            ("user_agent = '$'", "user_agent: \"$\" at byte 0 of \"$\" is not followed by a variable's name"),
            ("default_type = ''", "default_type: \"\" is not a media type, such as \"text/plain\""),
            (
                "padding_by_user_agent = 'MSIE'",
                "padding_by_user_agent: \"MSIE\" is not REGEX,HEADER_MIN,MESSAGE_MIN with two whole numbers",
            ),
            (
                "header_template_file = 'a'\nheader_template = 'a'",
                "header_template_file: cannot be given together with header_template",
            ),
            ("header_template_file = ''", "header_template_file: is empty, expected the path of a file"),
        ] {
            let options = if option.contains("subscriber = ") {
                format!("path = '/a'\n\nchannels_path = 'a'\n{option}")
            } else {
                format!("{SUBSCRIBER}{option}")
            };
            assert_eq!(loaded(&options), Err(format!("fantail.toml:6: route[0].{error}")));
        }
        assert_eq!(
            loaded("path = '/a'\nsubscriber = 'polling'"),
            Err("fantail.toml:1: route[0].channels_path: is required, what names the channels, such as \"$arg_id\", or \"$1\" with \
                 path = \"~ ^/sub/(.*)$\""
                .to_owned())
        );
        assert!(
            loaded("path = '/a'\nsubscriber = 'polling'\nchannels_path = '$room'")
                .unwrap_err()
                .contains("unknown variable \"$room\"")
        );
        assert!(loaded(&SUBSCRIBER.replace("$2", "$mode.b3")).is_ok(), "a group's name");
    }

    #[test]
    fn endpoint_wildcards_may_not_exceed_the_whole() {
        let error = loaded(&format!(
            "{SUBSCRIBER}wildcard_channel_max_qtd = 3\n[push_stream]\nwildcard_channel_prefix = 'b_'\n\
             max_number_of_wildcard_channels = 2"
        ));
        assert_eq!(
            error,
            Err("fantail.toml:6: route[0].wildcard_channel_max_qtd: 3 is more than there can be: \
                 push_stream.max_number_of_wildcard_channels = 2"
                .to_owned())
        );
        assert!(
            loaded(&format!("{SUBSCRIBER}wildcard_channel_max_qtd = 3\n[push_stream]\nwildcard_channel_prefix = 'b_'"))
                .is_ok()
        );
    }

    #[test]
    fn endpoint_that_publishes_in_public_must_say_so() {
        let options = PUBLISHER.replace("public_publish = true\n", "");
        assert_eq!(
            loaded(&options),
            Err("fantail.toml:4: route[0].publisher: on the public listener lets everyone publish: give publishers a [[key]], \
                 name an [access.NAME] in access, set public_publish = true to allow it, or listener = \"control\""
                .to_owned())
        );
        assert!(loaded(&format!("{options}listener = 'control'")).is_ok());
    }

    #[test]
    fn endpoint_path_with_a_placeholder_is_refused() {
        assert_eq!(
            loaded(&SUBSCRIBER.replace("~ ^/sub/(?<mode>x)/(.*)$", "/sub/{channels...}")),
            Err("fantail.toml:3: route[0].path: \"/sub/{channels...}\" has a placeholder, which nginx's paths do not know; take a \
                 part of the path with \"~ ^/a/(.*)$\""
                .to_owned())
        );
    }
}
