//! Applications that hand their clients over to subscriber routes of the push-stream dialect: they say who may listen to what, and
//! Fantail holds.

use std::fmt::Write as _;

use crate::client::Answer;
use crate::grip::Application;
use crate::push_stream_subscriber::publish;
use crate::server::TestServer;

const MODES: [&str; 4] = ["streaming", "eventsource", "long-polling", "polling"];

/// A server whose application hands `/MODE` over to an internal route of that mode, for the channel `room`.
fn handed_over(target: &str, more: &str) -> TestServer {
    let fields = format!(
        "X-Accel-Redirect: {target}\nContent-Type: text/html\nSet-Cookie: a=1\nSet-Cookie: b=2\nCache-Control: public\n\
         Access-Control-Allow-Origin: https://app.example"
    );
    let answers = MODES.map(|mode| format!("200 OK\n{}", fields.replace("MODE", mode)));
    let paths = ["/streaming", "/eventsource", "/long-polling", "/polling"];
    let answers: Vec<_> = paths.iter().zip(&answers).map(|(path, head)| (*path, head.as_str(), "not shown")).collect();
    let mut routes =
        "[[route]]\naction = 'push_stream'\npath = '= /pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n\
                      public_publish = true\nstore_messages = true\n"
            .to_owned();
    for mode in MODES {
        let _ = write!(
            routes,
            "[[route]]\naction = 'push_stream'\npath = '~ ^/private/{mode}/(.*)$'\nsubscriber = '{mode}'\ninternal = true\n\
             channels_path = '$1'\nallowed_origins = '*'\n"
        );
    }
    Application::start(&answers).served(&format!("{routes}{more}"))
}

fn cookies(headers: &[(String, String)]) -> Vec<&str> {
    headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str()).collect()
}

fn check(answer: &Answer, body: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (200, body));
    assert_eq!(cookies(&answer.head.headers), ["a=1", "b=2"], "{}", answer.head.raw);
    assert_eq!(answer.head.get("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(answer.head.get("cache-control"), Some("no-cache, no-store, must-revalidate"));
    assert_eq!(answer.head.get("content-type"), Some("text/plain"));
}

#[test]
fn handed_over_subscriber_is_held_in_every_mode() {
    let server = handed_over("/private/MODE/room.b1", "[push_stream]\nstrict = true\n");
    publish(&server, "/pub?id=room", &[], b"0");
    publish(&server, "/pub?id=room", &[], b"1");
    for mode in MODES {
        let inside = format!("/private/{mode}/room");
        assert_eq!(server.public().get(&inside).status, 404, "{inside} is not for requests from outside");
    }
    for mode in ["polling", "long-polling"] {
        check(&server.public().get(&format!("/{mode}")), "1");
    }
    for (mode, kind, replayed, live) in [
        ("streaming", "text/plain", &["1"][..], "2"),
        ("eventsource", "text/event-stream; charset=utf-8", &[": \n", "data: 2\n\n"], "data: 3\n\n"),
    ] {
        let mut client = server.public();
        client.ask("GET", &format!("/{mode}"), &[], b"");
        let mut stream = client.stream_of(kind);
        assert_eq!(cookies(&stream.head.headers), ["a=1", "b=2"], "{}", stream.head.raw);
        assert_eq!(stream.head.get("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(stream.head.get("cache-control"), Some("no-cache, no-store, must-revalidate"));
        let mut chunk = || stream.chunk().map(|chunk| String::from_utf8(chunk).unwrap());
        for piece in replayed {
            assert_eq!(chunk().as_deref(), Ok(*piece));
        }
        publish(&server, "/pub?id=room", &[], live.trim_end().trim_start_matches("data: ").as_bytes());
        assert_eq!(chunk().as_deref(), Ok(live));
    }
}

#[test]
fn handed_over_poll_waits_and_goes_on_from_what_its_client_has_seen() {
    let server = handed_over("/private/MODE/room", "[push_stream]\nstrict = true\n");
    let mut client = server.public();
    client.ask("GET", "/long-polling", &[], b"");
    server.until_stat("subscribers", 1);
    publish(&server, "/pub?id=room", &[], b"1");
    let answer = client.answer();
    check(&answer, "1");
    publish(&server, "/pub?id=room", &[], b"2");
    let place = ["last-modified", "etag"].map(|name| answer.head.get(name).unwrap());
    let seen = [("If-Modified-Since", place[0]), ("If-None-Match", place[1])];
    check(&client.request("GET", "/long-polling", &seen, b""), "2");
    check(&client.request("GET", "/polling", &seen, b""), "2");
}

#[test]
fn handed_over_subscriber_is_refused_by_the_route() {
    let server = handed_over("/private/MODE/ALL", "[push_stream]\nstrict = true\n");
    for mode in MODES {
        let answer = server.public().get(&format!("/{mode}"));
        assert_eq!(
            (answer.status, answer.head.get("x-nginx-pushstream-explain")),
            (403, Some("Channel id not authorized for this method."))
        );
        assert_eq!(cookies(&answer.head.headers), ["a=1", "b=2"]);
        // A HEAD stays one, and the module has none; anything else becomes a GET.
        let head = server.public().request("HEAD", &format!("/{mode}"), &[], b"");
        assert_eq!((head.status, head.head.get("allow")), (405, Some("GET")));
        assert_eq!(server.public().request("POST", &format!("/{mode}"), &[], b"x").status, 403);
    }
}

#[test]
fn hand_over_to_what_is_no_subscriber_over_http_is_502() {
    let route = |path: &str, what: &str| {
        format!("[[route]]\naction = 'push_stream'\npath = '= {path}'\nchannels_path = 'a'\ninternal = true\n{what}\n")
    };
    for (path, what) in [
        ("/publisher", "publisher = 'normal'\npublic_publish = true"),
        ("/socket", "subscriber = 'websocket'"),
        ("/statistics", "channels_statistics = true"),
    ] {
        let server = handed_over(path, &route(path, what));
        let answer = server.public().get("/polling");
        assert_eq!(answer.status, 502, "{path}");
        assert!(answer.error().contains("has no subscribers over HTTP"), "{}", answer.error());
    }
}
