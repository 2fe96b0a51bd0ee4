//! The events channel of the push-stream dialect.

use crate::client::Stream;
use crate::server::TestServer;

fn server(settings: &str) -> TestServer {
    TestServer::start(&format!(
        "[push_stream]\nevents_channel_id = 'events'\n{settings}\n\
         [[route]]\npath = '= /pub'\naction = 'push_stream'\npublisher = 'admin'\nchannels_path = '$arg_id'\n\
         public_publish = true\nstore_messages = true\n"
    ))
}

fn request(server: &TestServer, method: &str, id: &str, body: &str) -> u16 {
    server.public().request(method, &format!("/pub?id={id}"), &[], body.as_bytes()).status
}

/// The next event, which is one of its kind in every respect.
fn next(stream: &mut Stream) -> String {
    let event = stream.event();
    let json: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
    assert_eq!(json["type"].as_str(), Some(event.name.as_str()), "the event's type is its name");
    assert!(event.id.starts_with('~'), "it has no id of its own: {event:?}");
    event.data
}

#[test]
fn push_stream_events_tell_of_channels_that_come_and_go() {
    let server = server("strict = true");
    let mut events = server.public().subscribe("/sub/events");
    assert_eq!(request(&server, "POST", "a", "x"), 200);
    assert_eq!(next(&mut events), r#"{"type": "channel_created", "channel": "a"}"#);
    // Also by a message that is refused; not by one that finds the channel.
    assert_eq!(request(&server, "POST", "b", ""), 400);
    assert_eq!(request(&server, "POST", "a", "x"), 200);
    assert_eq!(request(&server, "GET", "none", ""), 404);
    assert_eq!(next(&mut events), r#"{"type": "channel_created", "channel": "b"}"#);
    // A native subscriber makes a channel like any other.
    let _native = server.public().subscribe("/sub/c");
    assert_eq!(next(&mut events), r#"{"type": "channel_created", "channel": "c"}"#);
    assert_eq!(request(&server, "DELETE", "a", ""), 200);
    assert_eq!(next(&mut events), r#"{"type": "channel_destroyed", "channel": "a"}"#);
    // One that is made again before that has been said.
    assert_eq!(request(&server, "DELETE", "b", ""), 200);
    assert_eq!(request(&server, "POST", "b", "x"), 200);
    assert_eq!(next(&mut events), r#"{"type": "channel_destroyed", "channel": "b"}"#);
    assert_eq!(next(&mut events), r#"{"type": "channel_created", "channel": "b"}"#);
}

#[test]
fn push_stream_events_tell_of_idle_channels_that_are_collected() {
    let server = server("channel_inactivity_time = '1s'\nmessage_ttl = '1s'");
    let mut events = server.public().subscribe("/sub/events");
    assert_eq!(request(&server, "POST", "%22q", "x"), 200);
    assert_eq!(next(&mut events), r#"{"type": "channel_created", "channel": "\"q"}"#);
    assert_eq!(next(&mut events), r#"{"type": "channel_destroyed", "channel": "\"q"}"#);
    assert_eq!(request(&server, "GET", "%22q", ""), 404);
    assert_eq!(request(&server, "GET", "events", ""), 200, "the events channel itself is never collected");
}

#[test]
fn push_stream_events_are_stored() {
    let server = server("");
    assert_eq!(request(&server, "POST", "a", "x"), 200);
    let mut events = server.public().subscribe("/sub/events?last=5");
    assert_eq!(next(&mut events), r#"{"type": "channel_created", "channel": "a"}"#);
}
