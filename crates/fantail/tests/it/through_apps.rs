//! Applications as people write them, behind the server: their streams pass event by event, and the rest as it is.

use crate::apps::{App, Kind};
use crate::client::{Client, End, Event};

/// What a browser says that wants events.
const WANTS_EVENTS: [(&str, &str); 2] =
    [("Accept", "text/event-stream"), ("Accept-Encoding", "gzip, deflate, br, zstd")];

fn event(k: usize) -> Event {
    Event { name: "message".into(), data: format!("event {k}: grüße 🦜"), id: k.to_string() }
}

/// Every event comes before the next is sent, in the form in which it was sent.
fn streams_pass(kind: Kind) {
    let app = App::start(kind);
    let server = app.behind_server();
    let mut alone = Client::connect(app.address);
    alone.ask("GET", "/events?n=1&gap=0", &WANTS_EVENTS, b"");
    let compressed = alone.read_head().get("content-encoding").is_some();
    assert_eq!(compressed, kind.compresses_streams(), "what {kind:?} does by itself");

    let mut client = Client::connect(server.public);
    client.ask("GET", "/steps?n=4", &WANTS_EVENTS, b"");
    // The head comes although there is no event yet, where it was sent.
    if !kind.sends_heads_early() {
        app.step();
    }
    let mut stream = client.stream_of(kind.stream_type());
    assert_eq!(stream.head.get("content-encoding"), None);
    assert_eq!(stream.head.get("x-accel-buffering"), Some("no"));
    let kept = stream.head.get("cache-control").expect("it says that nothing may be kept or changed");
    assert!(kept.contains("no-transform"), "{kept}");
    for k in 0..4 {
        if k > 0 || kind.sends_heads_early() {
            app.step();
        }
        assert_eq!(stream.event(), event(k));
    }
    app.step();
    let (rest, end) = stream.to_end();
    assert_eq!(rest.into_iter().filter_map(crate::client::Part::event).collect::<Vec<_>>(), []);
    assert_eq!(end, End::Said);

    // The connection is usable after a stream. This one is sent as fast as it can be.
    let mut client = stream.client;
    client.ask("GET", "/events?n=500&gap=0", &WANTS_EVENTS, b"");
    let mut stream = client.stream_of(kind.stream_type());
    assert_eq!(stream.events(500), (0..500).map(event).collect::<Vec<_>>());
    assert_eq!(stream.to_end().1, End::Said);
}

/// The answer to a POST is a stream like any other.
fn answers_to_posts_stream(kind: Kind) {
    let app = App::start(kind);
    let server = app.behind_server();
    let mut client = Client::connect(server.public);
    let headers = [WANTS_EVENTS[0], WANTS_EVENTS[1], ("Content-Type", "application/json")];
    client.ask("POST", "/llm", &headers, br#"{"prompt":"one two three"}"#);
    if !kind.sends_heads_early() {
        app.step();
    }
    let mut stream = client.stream_of(kind.stream_type());
    for (k, word) in ["one", "two", "three"].into_iter().enumerate() {
        if k > 0 || kind.sends_heads_early() {
            app.step();
        }
        let data: serde_json::Value = serde_json::from_str(&stream.event().data).expect("JSON");
        assert_eq!(data["choices"][0]["delta"]["content"], word);
    }
    assert_eq!(stream.event().data, "[DONE]");
    assert_eq!(stream.to_end().1, End::Said);
}

/// An application learns that its client has left.
fn leaving_is_passed_on(kind: Kind) {
    let mut app = App::start(kind);
    let server = app.behind_server();
    let mut client = Client::connect(server.public);
    client.ask("GET", "/forever", &WANTS_EVENTS, b"");
    let mut stream = client.stream_of(kind.stream_type());
    assert_eq!(stream.event(), event(0));
    drop(stream);
    app.until_said("gone");
    if kind.notices_in_silence() {
        // Before there is a head.
        let mut client = Client::connect(server.public);
        client.ask("GET", "/never", &WANTS_EVENTS, b"");
        app.until_said("asked");
        drop(client);
        app.until_said("gone");
    }
}

/// What is no stream passes as it is, over one connection.
fn pages_pass(kind: Kind) {
    let app = App::start(kind);
    let server = app.behind_server();
    let mut client = Client::connect(server.public);

    let page = client.get("/page");
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.head.get("content-encoding"), None);
    let json: serde_json::Value = serde_json::from_slice(&page.body).expect("JSON");
    assert_eq!(json["page"], "x".repeat(1024));
    let cookies = page.head.headers.iter().filter(|(name, _)| name == "set-cookie");
    let cookies: Vec<_> = cookies.map(|(_, value)| value.trim_start().split(';').next().expect("a cookie")).collect();
    assert_eq!(cookies, ["first=1", "second=2"]);

    let compressed = client.request("GET", "/page", &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(compressed.head.get("content-encoding"), Some("gzip"));
    assert!(compressed.body.starts_with(&[0x1f, 0x8b]) && compressed.body.len() < 512, "{compressed:?}");

    let body: Vec<u8> = (0..1024 * 1024_u64).map(|k| (k * k / 7) as u8).collect();
    let echo = client.request("POST", "/echo", &[("Content-Type", "application/x-test")], &body);
    assert_eq!((echo.status, echo.head.get("content-type")), (200, Some("application/x-test")));
    assert!(echo.body == body, "{} bytes came back, in part others", echo.body.len());

    let big = client.get("/big").body;
    let expected: Vec<_> = (0..64 * 8192).map(|line| format!("{line:07}\n")).collect();
    assert!(big == expected.concat().as_bytes(), "{} bytes came, in part others", big.len());

    assert_eq!(client.get("/absent").status, 404);
}

#[test]
fn stream_that_is_compressed_all_the_same_passes_as_it_is() {
    let app = App::start(Kind::Express);
    let server = app.behind_server();
    // Nothing in this request tells that events will come.
    let get =
        |address| Client::connect(address).request("GET", "/events?n=3&gap=120", &[("Accept-Encoding", "gzip")], b"");
    let (alone, through) = (get(app.address), get(server.public));
    assert_eq!(through.head.get("content-encoding"), Some("gzip"));
    assert_eq!(through.body, alone.body, "a heartbeat would break it");
}

macro_rules! through {
    ($($app:ident: $kind:expr),+) => { $(
        mod $app {
            use super::Kind;

            #[test]
            fn streams_pass_event_by_event() {
                super::streams_pass($kind);
            }

            #[test]
            fn answers_to_posts_stream() {
                super::answers_to_posts_stream($kind);
            }

            #[test]
            fn leaving_is_passed_on() {
                super::leaving_is_passed_on($kind);
            }

            #[test]
            fn pages_pass_as_they_are() {
                super::pages_pass($kind);
            }
        }
    )+ };
}

through! {
    express: Kind::Express,
    fastapi: Kind::FastApi,
    django_asgi: Kind::DjangoAsgi,
    django_wsgi: Kind::DjangoWsgi,
    php: Kind::Php
}
