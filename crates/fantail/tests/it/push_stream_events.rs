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

/// A server whose subscriber routes are named after their modes.
fn with_subscribers() -> TestServer {
    let route = |mode: &str| {
        format!(
            "[[route]]\npath = '= /{mode}'\naction = 'push_stream'\nsubscriber = '{mode}'\nchannels_path = '$arg_id'\n\
             allow_connections_to_events_channel = true\n"
        )
    };
    let routes = ["eventsource", "streaming", "polling", "long-polling"].map(route).concat();
    server(&format!("strict = true\n{routes}"))
}

/// What an event says, in two words.
fn short(event: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(event).expect("JSON");
    let word = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("no {name} in {json}"));
    format!("{} {}", word("type"), word("channel"))
}

/// What is said from here on, up to an event that is made for this.
fn said(server: &TestServer, events: &mut Stream, mark: &str) -> Vec<String> {
    assert_eq!(request(server, "POST", mark, "x"), 200);
    let mut said = Vec::new();
    loop {
        let told = short(&next(events));
        if told.ends_with(&format!(" {mark}")) {
            return said;
        }
        said.push(told);
    }
}

#[test]
fn push_stream_events_tell_of_subscribers_that_come_and_go() {
    let server = with_subscribers();
    let mut events = server.public().subscribe("/sub/events");
    assert_eq!(request(&server, "POST", "a/b", "x"), 200);
    assert_eq!(said(&server, &mut events, "1"), ["channel_created a", "channel_created b"]);
    let come = ["client_subscribed a", "client_subscribed b"];
    let go = ["client_unsubscribed a", "client_unsubscribed b"];
    let expect = |events: &mut Stream, expected: &[&str]| {
        for expected in expected {
            assert_eq!(short(&next(events)), *expected);
        }
    };
    for mode in ["eventsource", "streaming"] {
        let mut client = server.public();
        client.ask("GET", &format!("/{mode}?id=a/b"), &[], b"");
        expect(&mut events, &come);
        drop(client);
        expect(&mut events, &go);
    }
    // A poll that waits, until it is answered.
    let mut poll = server.public();
    poll.ask("GET", "/long-polling?id=a/b", &[], b"");
    expect(&mut events, &come);
    assert_eq!(request(&server, "POST", "a", "now"), 200);
    assert_eq!(poll.answer().text(), "now");
    expect(&mut events, &go);
    // Polls that are answered at once.
    assert_eq!(poll.get("/polling?id=a/b").status, 304);
    assert_eq!(poll.get("/long-polling?id=a.b1/b").text(), "now");
    assert_eq!(said(&server, &mut events, "2"), [""; 0]);
    // A deletion sends them away before it is told.
    poll.ask("GET", "/long-polling?id=b", &[], b"");
    expect(&mut events, &["client_subscribed b"]);
    assert_eq!(request(&server, "DELETE", "b", ""), 200);
    expect(&mut events, &["client_unsubscribed b", "channel_destroyed b"]);
}

#[test]
fn push_stream_events_are_for_those_whom_the_route_lets_in() {
    let server = with_subscribers();
    let mut client = server.public();
    client.ask("GET", "/eventsource?id=events/a", &[], b"");
    let mut stream = client.stream_of("text/event-stream; charset=utf-8");
    let told = |stream: &mut Stream| {
        let event = stream.event();
        (event.name, event.data)
    };
    let event =
        |kind: &str, channel: &str| (kind.to_owned(), format!(r#"{{"type": "{kind}", "channel": "{channel}"}}"#));
    // Its own coming, but for the events channel.
    assert_eq!(told(&mut stream), event("channel_created", "a"));
    assert_eq!(told(&mut stream), event("client_subscribed", "a"));
    assert_eq!(request(&server, "POST", "b", "x"), 200);
    assert_eq!(told(&mut stream), event("channel_created", "b"));
}
