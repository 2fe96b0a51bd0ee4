//! What nginx refuses before it starts: directives where they may not stand, with too many or too few arguments, given
//! twice, or with values that are none. A directive that is not known is let through; it may be a further module's.

use super::ImportError;
use super::known::Contexts;
use super::known::{
    BLOCKS, EVENTS, HTTP, IF, Known, LIMIT_EXCEPT, LOCATION, MAIN, MORE, SERVER, SERVER_IF, UPSTREAM, Value, find,
};
use super::tree::{Block, Directive, Tree};
use super::value;

const CONTEXTS: [(Contexts, &str); 9] = [
    (MAIN, "outside of all blocks"),
    (EVENTS, "in events"),
    (HTTP, "in http"),
    (UPSTREAM, "in upstream"),
    (SERVER, "in server"),
    (LOCATION, "in location"),
    (IF, "in an if of a location"),
    (SERVER_IF, "in an if of a server"),
    (LIMIT_EXCEPT, "in limit_except"),
];

/// Checks a whole configuration.
pub(super) fn check(tree: &Tree) -> Result<(), ImportError> {
    block(&tree.top, MAIN)
}

/// An error that names the directive and where it stands.
pub(super) fn refused(directive: &Directive, reason: impl Into<String>) -> ImportError {
    ImportError::Refused { spot: directive.spot.clone(), directive: directive.name.clone(), reason: reason.into() }
}

fn block(directives: &[Directive], context: Contexts) -> Result<(), ImportError> {
    for (index, directive) in directives.iter().enumerate() {
        let Some(known) = find(&directive.name) else { continue };
        stands(directive, known, context)?;
        arguments(directive, known)?;
        for text in &directive.args {
            one(directive, known.value, text)?;
        }
        // A list may be given in parts; what has one value cannot have two.
        let single = known.value != Value::Any || known.name.starts_with("push_stream_");
        let twin = directives[..index].iter().find(|earlier| earlier.name == directive.name);
        if let (true, false, Some(twin)) = (single, known.may_repeat(), twin) {
            return Err(refused(directive, format!("is duplicate, it was given in {} before", twin.spot)));
        }
        if let Some(inner) = inside(&directive.name, context) {
            block(directive.children(), inner)?;
        }
    }
    Ok(())
}

/// The context that a directive's block is, if what is in it can be checked.
fn inside(name: &str, context: Contexts) -> Option<Contexts> {
    Some(match (name, context) {
        ("events", _) => EVENTS,
        ("http", _) => HTTP,
        ("upstream", _) => UPSTREAM,
        ("server", HTTP) => SERVER,
        ("location", _) => LOCATION,
        ("if", SERVER) => SERVER_IF,
        ("if", _) => IF,
        ("limit_except", _) => LIMIT_EXCEPT,
        _ => return None,
    })
}

fn stands(directive: &Directive, known: &Known, context: Contexts) -> Result<(), ImportError> {
    if known.contexts & context == 0 {
        let places: Vec<&str> =
            CONTEXTS.iter().filter(|(bit, _)| known.contexts & bit != 0).map(|(_, place)| *place).collect();
        return Err(refused(directive, format!("is not allowed here, only {}", places.join(", "))));
    }
    let wants = BLOCKS.contains(&known.name) || (known.name == "server" && context == HTTP);
    let has = matches!(directive.block, Some(Block::Directives(_) | Block::Table(_)));
    match (wants, has) {
        (true, false) => Err(refused(directive, "has no block, expected \"{\"")),
        (false, true) if !matches!(known.name, "mail" | "rtmp" | "http2" | "match") => {
            Err(refused(directive, "cannot have a block, expected \";\""))
        }
        _ => Ok(()),
    }
}

fn arguments(directive: &Directive, known: &Known) -> Result<(), ImportError> {
    let (fewest, most) = known.args;
    let count = directive.args.len();
    if (fewest..=most).contains(&count) {
        return Ok(());
    }
    let expected = match (fewest, most) {
        (0, 0) => "none".to_owned(),
        (fewest, MORE) => format!("at least {fewest}"),
        (fewest, most) if fewest == most => fewest.to_string(),
        (fewest, most) => format!("{fewest} to {most}"),
    };
    let has = match count {
        0 => "has no argument".to_owned(),
        1 => "has 1 argument".to_owned(),
        count => format!("has {count} arguments"),
    };
    Err(refused(directive, format!("{has}, expected {expected}")))
}

fn one(directive: &Directive, value: Value, text: &str) -> Result<(), ImportError> {
    let zero = |expected: &str| format!("cannot be zero, expected {expected}");
    let time = |whole| value::time(text, whole);
    let reason = match value {
        Value::Any => None,
        Value::Flag => value::flag(text).is_none().then(|| format!("\"{text}\" is neither \"on\" nor \"off\"")),
        Value::Time | Value::SomeTime => match time(false) {
            None => Some(format!("\"{text}\" is not a time, expected such as \"500ms\", \"30s\", \"1h30m\" or \"1d\"")),
            Some(0) if value == Value::SomeTime => Some(zero("a time such as \"30s\"")),
            Some(_) => None,
        },
        Value::Seconds | Value::SomeSeconds => match time(true) {
            None => Some(format!(
                "\"{text}\" is not a time in whole seconds, expected such as \"30s\", \"1h30m\" or \"1d\""
            )),
            Some(0) if value == Value::SomeSeconds => Some(zero("a time such as \"30s\"")),
            Some(_) => None,
        },
        Value::Size => value::size(text).is_none().then(|| {
            format!("\"{text}\" is not a size, expected a number of bytes, or such as \"8k\", \"1m\" or \"1g\"")
        }),
        Value::Count | Value::SomeCount => match value::count(text) {
            None => Some(format!("\"{text}\" is not a whole number")),
            Some(0) if value == Value::SomeCount => Some(zero("a whole number from 1")),
            Some(_) => None,
        },
        Value::Words(words) => (!words.iter().any(|word| word.eq_ignore_ascii_case(text)))
            .then(|| format!("\"{text}\" is not a value that it can have, expected one of: {}", words.join(", "))),
    };
    reason.map_or(Ok(()), |reason| Err(refused(directive, reason)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{tree, wrong};
    use super::*;

    #[test]
    fn check_lets_through_what_nginx_takes() {
        let text = "user www; events { worker_connections 512; } http { keepalive_timeout 65 20; types { a/b c; } \
                    weird 1 2 { anything; } server { listen 80; location / { if ($a) { return 404; } \
                    push_stream_subscriber LONG-POLLING; push_stream_channels_path $1; } } upstream a { server b:1 weight=2; } }";
        assert!(check(&tree(text)).is_ok());
    }

    #[test]
    fn check_refuses_as_nginx_does_and_says_what_is_expected() {
        for (text, why) in [
            ("push_stream_publisher;", "push_stream_publisher: is not allowed here, only in location"),
            ("http { server { listen; } }", "listen: has no argument, expected at least 1"),
            ("http { sendfile on off; }", "sendfile: has 2 arguments, expected 1"),
            ("http { gzip yes; }", "gzip: \"yes\" is neither \"on\" nor \"off\""),
            (
                "http { push_stream_message_ttl 0; }",
                "push_stream_message_ttl: cannot be zero, expected a time such as \"30s\"",
            ),
            (
                "http { push_stream_message_ttl 5ms; }",
                "push_stream_message_ttl: \"5ms\" is not a time in whole seconds, expected such as \"30s\", \"1h30m\" or \"1d\"",
            ),
            (
                "http { client_max_body_size 1x; }",
                "client_max_body_size: \"1x\" is not a size, expected a number of bytes, or such as \"8k\", \"1m\" or \"1g\"",
            ),
            (
                "http { push_stream_max_number_of_channels x; }",
                "push_stream_max_number_of_channels: \"x\" is not a whole number",
            ),
            (
                "http { push_stream_max_number_of_channels 0; }",
                "push_stream_max_number_of_channels: cannot be zero, expected a whole number from 1",
            ),
            (
                "http { server { location / { push_stream_subscriber sse; } } }",
                "push_stream_subscriber: \"sse\" is not a value that it can have, expected one of: streaming, polling, long-polling, eventsource, websocket",
            ),
            ("http { gzip on; gzip off; }", "gzip: is duplicate, it was given in nginx.conf:1 before"),
            ("http;", "http: has no block, expected \"{\""),
            ("http { sendfile on { } }", "sendfile: cannot have a block, expected \";\""),
        ] {
            assert_eq!(wrong(text), format!("nginx.conf:1: {why}"));
        }
    }
}
