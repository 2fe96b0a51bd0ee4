//! The application is asked who may come in: what it is told, what its answers mean, how long they are remembered, and that
//! nobody is let in without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::client::End;
use crate::server::{TestServer, eventually};
use crate::upstream::{Upstream, values};

fn guarded(app: &Upstream, settings: &str) -> TestServer {
    TestServer::start(&format!(
        "stream.access = 'app'\nstream.soft_refusal = 'off'\n[upstream.app]\nservers = ['{}']\n\
         [access.app]\nby = 'callback'\nupstream = 'app'\npath = '/may-listen'\n{settings}",
        app.name
    ))
}

fn said(status: &str, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 5\r\n\r\nhello").into_bytes()
}

#[test]
fn application_is_told_who_asks_for_what() {
    let app = Upstream::listen();
    let server = guarded(&app, "pass_headers = ['Cookie', 'X-Tenant']");
    let mut client = server.public();
    let headers = [
        ("Host", "app.example"),
        ("Cookie", "sid=1"),
        ("X-Tenant", "t"),
        ("Authorization", "Bearer x"),
        ("X-Original-URI", "/forged"),
    ];
    client.ask("GET", "/sub/a%20b?last=1", &headers, b"");
    let mut peer = app.accept();
    let head = peer.read_head();
    assert!(head.starts_with("GET /may-listen HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", "app.example"),
        ("cookie", "sid=1"),
        ("x-tenant", "t"),
        ("x-original-uri", "/sub/a%20b?last=1"),
        ("x-original-method", "GET"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(values(&head, name), [value], "{head}");
    }
    assert!(values(&head, "authorization").is_empty() && values(&head, "content-length").is_empty(), "{head}");
    peer.send("HTTP/1.1 204 No Content\r\n\r\n");
    let mut stream = client.stream();
    server.publish("a%20b", "x");
    assert_eq!(stream.event().data, "x");
}

#[test]
fn answer_grants_channels_a_name_and_a_time() {
    let app = Upstream::serve(|_, _| {
        said(
            "200 OK",
            "X-Fantail-Channels: a.*\r\nX-Fantail-Channels: b, c\r\nX-Fantail-Sub: 42\r\nX-Fantail-Lifetime: 2\r\n",
        )
    });
    let server = guarded(&app, "");
    let mut stream = server.public().subscribe("/sub/a.1/b/c");
    let answer = server.public().get("/sub/a.1/d");
    assert_eq!((answer.status, answer.error()), (403, "channel \"d\" is not granted to you".to_owned()));
    let list = server.control().get("/subscribers?sub=42").json();
    assert_eq!(list["subscribers"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(stream.to_end().1, End::Said, "its time is over");
    let mut stream = server.public().subscribe("/sub/b");
    server.until_stat("subscribers", 1);
    assert_eq!(server.control().request("DELETE", "/subscribers?sub=42", &[], b"").json(), json!({ "ended": 1 }));
    assert_eq!(stream.to_end().1, End::Said);
}

#[test]
fn answer_that_is_no_yes_lets_nobody_in() {
    for (answer, status, error) in [
        (said("401 Unauthorized", ""), 401, "the application does not know you"),
        (said("403 Forbidden", ""), 403, "the application does not let you in"),
        (said("404 Not Found", ""), 503, "said neither yes nor no"),
        (said("302 Found", "Location: /login\r\n"), 503, "said neither yes nor no"),
        (said("500 Oops", ""), 503, "said neither yes nor no"),
        (said("200 OK", "X-Fantail-Channels: user-*\r\n"), 503, "named channels that are no patterns"),
        (said("200 OK", "X-Fantail-Lifetime: soon\r\n"), 503, "gave a time that is no number of seconds"),
        (b"nonsense\r\n\r\n".to_vec(), 503, "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nX-Fantail-Sub: 42\r\n".to_vec(), 503, "cannot be reached"),
    ] {
        let text = String::from_utf8_lossy(&answer).into_owned();
        let app = Upstream::serve(move |_, _| {
            if answer.ends_with(b"hello") { answer.clone() } else { [&answer[..], b"connection: close"].concat() }
        });
        let server = guarded(&app, "timeout = '500ms'");
        let told = server.public().get("/sub/a");
        assert_eq!(told.status, status, "{text}: {}", told.error());
        assert!(told.error().contains(error), "{text}: {}", told.error());
    }
}

#[test]
fn application_that_is_away_or_silent_lets_nobody_in() {
    let gone = Upstream::refusing();
    let answer = guarded(&gone, "").public().get("/sub/a");
    assert_eq!((answer.status, answer.head.get("retry-after")), (503, Some("5")));
    assert_eq!(answer.error(), "who may come in cannot be found out at present: the application cannot be reached");
    let silent = Upstream::listen();
    let server = guarded(&silent, "timeout = '100ms'");
    let answer = server.public().get("/sub/a");
    assert_eq!(answer.status, 503);
    assert!(answer.error().contains("did not answer within 100ms"), "{}", answer.error());
    assert_eq!(server.metric("fantail_access_denied_total{reason=\"unavailable\"}"), 1);
}

#[test]
fn answer_is_remembered_for_the_same_question_alone() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let app = Upstream::serve(move |head, _| {
        count.fetch_add(1, Ordering::SeqCst);
        // So that others come meanwhile.
        std::thread::sleep(Duration::from_millis(100));
        if head.contains("sid=good") { said("200 OK", "") } else { said("403 Forbidden", "") }
    });
    let server = guarded(&app, "cache = '1h'\ncache_refusals = '1h'");
    let ask = |cookie: &str, target: &str| server.public().request("GET", target, &[("Cookie", cookie)], b"").status;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(ask("sid=good", "/sub/a?wait=1ms"), 200));
        }
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1, "they share one question");
    assert_eq!((ask("sid=bad", "/sub/a?wait=1ms"), ask("sid=bad", "/sub/a?wait=1ms")), (403, 403));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(ask("sid=good", "/sub/b?wait=1ms"), 200, "another channel is another question");
    assert_eq!(server.public().get("/sub/a?wait=1ms").status, 403, "and so is somebody without a cookie");
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    assert_eq!(server.metric("fantail_access_questions_total"), 4);
    assert_eq!(server.metric("fantail_access_remembered_total"), 8);

    let forgetful = guarded(&app, "cache = '0'\ncache_refusals = '0'");
    let before = asked.load(Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(forgetful.public().request("GET", "/sub/a?wait=1ms", &[("Cookie", "sid=good")], b"").status, 200);
    }
    assert_eq!(asked.load(Ordering::SeqCst), before + 2);
}

#[test]
fn failure_is_never_remembered() {
    let app = Upstream::listen();
    let server = guarded(&app, "cache = '1h'\ncache_refusals = '1h'");
    let mut client = server.public();
    client.ask("GET", "/sub/a?wait=1ms", &[], b"");
    let mut peer = app.accept();
    peer.read_head();
    peer.send(said("500 Oops", ""));
    assert_eq!(client.answer().status, 503);
    drop(peer);
    let mut app = app;
    app.answer_all(|_, _| said("200 OK", ""));
    eventually("the application is back", || server.public().get("/sub/a?wait=1ms").status == 200);
}

#[test]
fn page_of_another_site_is_not_let_in_by_a_cookie() {
    let app = Upstream::serve(|_, _| said("200 OK", ""));
    let server = guarded(&app, "");
    let ask = |headers: &[(&str, &str)]| server.public().request("GET", "/sub/a?wait=1ms", headers, b"").status;
    let (cookie, evil) = (("Cookie", "sid=1"), ("Origin", "https://evil.example"));
    assert_eq!(ask(&[cookie, evil]), 403);
    assert_eq!(ask(&[cookie, ("Origin", "http://localhost")]), 200);
    assert_eq!(ask(&[evil]), 200, "without a cookie it is as good as anybody");
}
