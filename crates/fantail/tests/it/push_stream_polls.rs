//! Polls of push-stream routes: what is there at once, what comes while the client waits, and the place that goes back and forth in
//! `Last-Modified` and `Etag`.

use std::io::Read;

use crate::client::Answer;
use crate::push_stream_subscriber::{publish, server};
use crate::server::TestServer;

const JSON: &str = r#"{"id":~id~,"text":"~text~"}"#;

fn routes() -> Vec<(&'static str, String)> {
    let options = |mode: &str, more: &str| {
        format!(
            "subscriber = '{mode}'\nchannels_path = '$arg_id'\nmessage_template = '{JSON}'\ndefault_type = 'application/json'\n{more}"
        )
    };
    vec![
        ("/poll", options("polling", "")),
        ("/lp", options("long-polling", "longpolling_connection_ttl = '300ms'")),
        (
            "/body",
            options(
                "long-polling",
                "longpolling_connection_ttl = '300ms'\ntimeout_with_body = true\nheader_template = '['\nfooter_template = ']'",
            ),
        ),
        ("/wrapped", options("polling", "header_template = '<'\nfooter_template = '>'")),
        ("/sub", options("streaming", "longpolling_connection_ttl = '300ms'\nheader_template = 'H'")),
        ("/ev", "subscriber = 'eventsource'\nchannels_path = '$arg_id'".to_owned()),
    ]
}

fn start(strict: bool) -> TestServer {
    let routes = routes();
    let routes: Vec<_> = routes.iter().map(|(path, options)| (*path, options.as_str())).collect();
    server(&format!("strict = {strict}"), &routes)
}

/// The place that an answer tells, as the next request says it.
fn place(answer: &Answer) -> [(&'static str, String); 2] {
    let field = |name| answer.head.get(name).unwrap_or_else(|| panic!("no {name} in {answer:?}")).to_owned();
    [("If-Modified-Since", field("last-modified")), ("If-None-Match", field("etag"))]
}

fn get(server: &TestServer, target: &str, headers: &[(&'static str, String)]) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    server.public().request("GET", target, &headers, b"")
}

fn not_modified(answer: &Answer) {
    assert_eq!((answer.status, answer.body.len()), (304, 0), "{answer:?}");
    assert_eq!(answer.head.get("cache-control"), Some("no-cache, no-store, must-revalidate"));
}

#[test]
fn poll_is_answered_at_once_and_tells_its_place() {
    for strict in [true, false] {
        let server = start(strict);
        let first = get(&server, "/poll?id=a", &[]);
        not_modified(&first);
        assert_eq!(first.head.get("etag").is_some(), !strict, "strictly nobody learns where it stands: {first:?}");
        for text in ["one", "two", "three"] {
            publish(&server, "/pub?id=a", &[], text.as_bytes());
        }
        let answer = get(&server, "/poll?id=a.b2", &[]);
        assert_eq!(answer.text(), r#"{"id":2,"text":"two"}{"id":3,"text":"three"}"#);
        assert_eq!(answer.head.get("content-type"), Some("application/json"));
        assert_eq!(answer.head.get("expires"), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
        assert!(answer.head.get("etag").is_some_and(|tag| tag.starts_with("W/")), "{answer:?}");
        let seen = place(&answer);
        let nothing = get(&server, "/poll?id=a", &seen);
        not_modified(&nothing);
        assert_eq!(place(&nothing), seen, "it is told back");
        publish(&server, "/pub?id=a", &[], b"four");
        assert_eq!(get(&server, "/poll?id=a", &seen).text(), r#"{"id":4,"text":"four"}"#);
        assert_eq!(get(&server, "/poll?id=a", &seen[..1]).status, 304, "a time alone is the end of its second");
        assert_eq!(get(&server, "/wrapped?id=a.b1", &[]).text(), r#"<{"id":4,"text":"four"}>"#);
        assert_eq!(get(&server, "/wrapped?id=new", &[]).body, b"");
        if !strict {
            assert_eq!(get(&server, "/poll?id=a", &place(&first)).text().matches("id").count(), 4);
        }
    }
}

#[test]
fn long_poll_gets_what_comes_first_and_its_connection_is_used_again() {
    for strict in [true, false] {
        let server = start(strict);
        let mut client = server.public();
        client.ask("GET", "/lp?id=a/b", &[], b"");
        server.until_stat("subscribers", 1);
        publish(&server, "/pub?id=b", &[], b"x");
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"id":1,"text":"x"}"#));
        assert_eq!(answer.head.get("etag"), Some("W/1"));
        assert_eq!(answer.head.get("cache-control"), Some("no-cache, no-store, must-revalidate"));
        publish(&server, "/pub?id=a", &[], b"y");
        publish(&server, "/pub?id=b", &[], b"z");
        let seen = place(&answer);
        let headers: Vec<_> = seen.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = client.request("GET", "/lp?id=a/b", &headers, b"");
        assert_eq!(answer.text(), r#"{"id":1,"text":"y"}{"id":2,"text":"z"}"#);
        let seen = place(&answer);
        let headers: Vec<_> = seen.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = client.request("GET", "/lp?id=a/b", &headers, b"");
        not_modified(&answer);
        if strict {
            assert_eq!(answer.head.get("etag"), Some("W/0"));
        }
        publish(&server, "/pub?id=a", &[], b"missed");
        let answer = get(&server, "/lp?id=a/b", &place(&answer));
        assert!(answer.text().ends_with(r#"{"id":2,"text":"missed"}"#), "{}", answer.text());
    }
}

/// By default a client that comes back with its place finds what was said to the connected alone in the moment between two polls.
#[test]
fn long_poll_by_default_misses_nothing_between_two_polls() {
    for strict in [true, false] {
        let server = start(strict);
        let waited = get(&server, "/lp?id=a", &[]);
        assert_eq!(waited.status, 304);
        publish(&server, "/say?id=other", &[], b"-");
        publish(&server, "/say?id=a", &[], b"x");
        let answer = get(&server, "/lp?id=a", &place(&waited));
        if strict {
            assert_eq!(answer.status, 304, "it was not stored");
        } else {
            assert_eq!(answer.text(), r#"{"id":1,"text":"x"}"#);
            publish(&server, "/say?id=a", &[], b"y");
            let next = get(&server, "/lp?id=a", &place(&answer));
            assert_eq!(next.text(), r#"{"id":2,"text":"y"}"#);
        }
    }
}

#[test]
fn long_poll_may_be_told_in_a_body_that_nothing_came() {
    let server = start(true);
    let answer = get(&server, "/body?id=a", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"[{"id":-3,"text":"Timed out"}]"#));
    assert_eq!(answer.head.get("etag"), Some("W/0"));
    assert_eq!(get(&server, "/body?id=a&callback=f", &[]).text(), r#"[f([{"id":-3,"text":"Timed out"}]);]"#);
}

#[test]
fn long_poll_ends_with_each_deletion() {
    for strict in [true, false] {
        let server = start(strict);
        let mut client = server.public();
        client.ask("GET", "/lp?id=a/b", &[], b"");
        server.until_stat("subscribers", 1);
        assert_eq!(server.public().request("DELETE", "/pub?id=b", &[], b"").status, 200);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"id":-2,"text":"Channel deleted"}"#));
        assert_eq!(answer.head.get("etag") == Some("W/0"), strict, "{answer:?}");
        publish(&server, "/pub?id=b", &[], b"new");
        let answer = get(&server, "/lp?id=a/b", &place(&answer));
        assert_eq!(answer.text(), r#"{"id":1,"text":"new"}"#);
    }
}

#[test]
fn poll_by_callback_is_a_call_of_it() {
    let server = start(true);
    for text in ["y", "z"] {
        publish(&server, "/pub?id=a", &[], text.as_bytes());
    }
    publish(&server, "/pub?id=b", &[], b"w");
    let answer = get(&server, "/poll?id=a.b2/b.b1&callback=cb", &[]);
    assert_eq!(answer.text(), r#"cb([{"id":1,"text":"y"},{"id":2,"text":"z"},{"id":1,"text":"w"}]);"#);
    assert_eq!(answer.head.get("content-type"), Some("application/javascript"));
    assert_eq!(get(&server, "/wrapped?id=a.b1&CALLBACK=a.b", &[]).text(), r#"<a.b([{"id":2,"text":"z"}]);>"#);
    assert_eq!(get(&server, "/poll?id=a&callback=cb", &[]).status, 304);
    assert_eq!(
        get(&server, "/poll?id=a.b1&callback=a%20b%3Cscript%3E", &[]).text(),
        r#"a b<script>([{"id":2,"text":"z"}]);"#
    );
    let mut client = server.public();
    client.ask("GET", "/lp?id=c&callback=live", &[], b"");
    server.until_stat("subscribers", 1);
    publish(&server, "/say?id=c", &[], b"q");
    assert_eq!(client.answer().text(), r#"live([{"id":1,"text":"q"}]);"#);

    let server = start(false);
    publish(&server, "/pub?id=a", &[], b"y");
    let refused = get(&server, "/poll?id=a.b1&callback=a%20b%3Cscript%3E", &[]);
    assert_eq!((refused.status, refused.body.len()), (400, 0), "a link cannot make a page run anything");
    let answer = get(&server, "/poll?id=a.b1&callback=PushStreamManager_0_onmessage_17", &[]);
    assert_eq!(answer.text(), r#"PushStreamManager_0_onmessage_17([{"id":1,"text":"y"}]);"#);
    assert_eq!(answer.head.get("x-content-type-options"), Some("nosniff"));
}

#[test]
fn mode_is_what_the_request_asks_for_where_it_may() {
    let server = start(true);
    publish(&server, "/pub?id=a", &[("Event-Id", "e")], b"x");
    let asked =
        |target: &str, mode: &str| server.public().request("GET", target, &[("X-Nginx-PushStream-Mode", mode)], b"");
    for mode in ["polling", "Long-Polling"] {
        assert_eq!(asked("/sub?id=a.b1", mode).text(), r#"H{"id":1,"text":"x"}"#, "{mode}");
    }
    assert_eq!(asked("/sub?id=a", "polling").status, 304);
    assert_eq!(asked("/sub?id=a", "long-polling").head.get("etag"), Some("W/0"), "it waited");
    assert_eq!(asked("/lp?id=a", "polling").head.get("etag"), Some("W/0"), "a long poll stays one");
    assert_eq!(asked("/poll?id=a", "polling").head.get("etag"), None);
    let events = asked("/ev?id=a.b1", "polling");
    assert_eq!(events.text(), ": \nid: e\ndata: x\n\n");
    assert_eq!(events.head.get("content-type"), Some("text/plain"));
}

#[test]
fn polls_are_packed_for_clients_that_accept_it() {
    let server = start(true);
    let text = "x".repeat(2000);
    publish(&server, "/pub?id=a", &[], text.as_bytes());
    for target in ["/poll?id=a.b1", "/lp?id=a.b1"] {
        let answer = server.public().request("GET", target, &[("Accept-Encoding", "gzip, br")], b"");
        assert_eq!(answer.head.get("content-encoding"), Some("gzip"), "{target}");
        let mut plain = String::new();
        flate2::read::GzDecoder::new(&*answer.body).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, format!(r#"{{"id":1,"text":"{text}"}}"#));
    }
}

#[test]
fn bytes_that_are_no_text_come_back_as_they_were() {
    let all: Vec<u8> = (0..=255).collect();
    let template = "subscriber = 'polling'\nchannels_path = '$arg_id'\nmessage_template = '~size~:~text~'";
    for strict in [true, false] {
        let server = server(&format!("strict = {strict}"), &[("/poll", template)]);
        publish(&server, "/pub?id=a", &[], &all);
        assert_eq!(get(&server, "/poll?id=a.b1", &[]).body, [b"256:", &*all].concat());
    }
}
