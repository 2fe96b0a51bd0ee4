//! Messages that two parsers may read differently: each is refused, or reaches the other side as one message that can be read
//! in one way only (RFC 9112 §11).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::server::TestServer;
use crate::upstream::{Peer, Upstream, ok, proxied, values};

/// What is hidden in messages in the hope that it is taken for a request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// The requests that an upstream saw: request line and body.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// An upstream that writes down what it is asked; each message must be delimited in one way.
fn recording() -> (Upstream, Seen) {
    let seen = Seen::default();
    let asked = Arc::clone(&seen);
    let upstream = Upstream::serve(move |head, body| {
        let line = head.split("\r\n").next().unwrap_or_default().to_owned();
        let lengths = values(head, "content-length").len() + values(head, "transfer-encoding").len();
        let hosts = values(head, "host").len();
        let clear = lengths <= 1 && hosts == 1 && !head.replace("\r\n", "").contains(['\r', '\n', '\0']);
        let line = if clear { line } else { format!("unclear: {head:?}") };
        asked.lock().push((line, String::from_utf8_lossy(body).into_owned()));
        ok("seen")
    });
    (upstream, seen)
}

fn take(seen: &Seen) -> Vec<(String, String)> {
    std::mem::take(&mut *seen.lock())
}

/// Whether the server has refused a request with 400 and closed the connection, saying nothing else.
fn refuses(server: &TestServer, request: &[u8]) -> Result<(), String> {
    let mut client = server.public();
    client.send(request);
    let said = String::from_utf8_lossy(&client.rest()).into_owned();
    let once = said.matches("HTTP/1.1 ").count() == 1;
    if said.starts_with("HTTP/1.1 400 ") && once { Ok(()) } else { Err(said) }
}

#[test]
fn requests_whose_length_is_unclear_are_refused_and_their_connection_closed() {
    let (upstream, seen) = recording();
    let server = proxied(&upstream, "", "");
    for fields in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\x0b",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\x0c",
        "Transfer-Encoding: ch\0unked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 5,5",
        "Content-Length: 5, 5",
        "Content-Length: 5 5",
        "Content-Length: 0x5",
        "Content-Length: 5.0",
        "Content-Length: 5e0",
        "Content-Length:",
        "Content-Length: \x0b5",
        "Content-Length: 99999999999999999999",
        "Content-Length : 5",
        "Content-Length:\r\n 5",
        "X: a\r\n Content-Length: 5",
        "X: a\r\n\tb",
        "X: a\rContent-Length: 5",
        "X: a\0b",
        "X: a\x7fb",
        "X\0: a",
        "X\r: a",
        "X a: b",
        "no colon",
        ": no name",
        "X\u{fc}: a",
    ] {
        let request = format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{HIDDEN}");
        refuses(&server, request.as_bytes()).unwrap_or_else(|said| panic!("{fields:?}: {said:?}"));
        assert!(take(&seen).is_empty(), "{fields:?} got through");
    }
    for request in [
        "POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "GET /a HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET /a HTTP/1.1\r\n\tContent-Length: 5\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.1\rHost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\n\rX",
        "GET /a HTTP/1.1\r\r\nHost: a\r\n\r\n",
    ] {
        let request = format!("{request}{HIDDEN}");
        refuses(&server, request.as_bytes()).unwrap_or_else(|said| panic!("{request:?}: {said:?}"));
        assert!(take(&seen).is_empty(), "{request:?} got through");
    }
}

#[test]
fn requests_whose_line_is_unclear_are_refused() {
    let (upstream, seen) = recording();
    let server = proxied(&upstream, "", "");
    for line in [
        "GET  /a HTTP/1.1",
        "GET /a  HTTP/1.1",
        "GET /a HTTP/1.1 ",
        " GET /a HTTP/1.1",
        "GET\t/a HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\tb HTTP/1.1",
        "GET /a\x0bb HTTP/1.1",
        "GET /a\0b HTTP/1.1",
        "GET /a\rb HTTP/1.1",
        "GET /a\x7fb HTTP/1.1",
        "GET a HTTP/1.1",
        "GET /a",
        "GET /a HTTP/1.2",
        "GET /a HTTP/2.0",
        "GET /a HTTP/1.10",
        "GET /a http/1.1",
        "GET /a HTTP/1.1x",
        "G(T /a HTTP/1.1",
        "PRI * HTTP/2.0",
    ] {
        let request = format!("{line}\r\nHost: a\r\n\r\n");
        let mut client = server.public();
        client.send(&request);
        client.half_close();
        let said = String::from_utf8_lossy(&client.rest()).into_owned();
        // What has the form of a request may be one for nobody; and of HTTP/2 there is nothing to say in HTTP/1.
        let refused =
            ["HTTP/1.1 400 ", "HTTP/1.1 404 "].iter().any(|status| said.starts_with(status)) || said.is_empty();
        assert!(refused, "{line:?}: {said:?}");
        assert!(take(&seen).is_empty(), "{line:?} got through");
    }
}

#[test]
fn targets_that_servers_read_differently_are_refused() {
    let (upstream, seen) = recording();
    let server = proxied(&upstream, "", "");
    for target in [
        "/a\\b",
        "/a\\..\\b",
        "/..",
        "/../b",
        "/a/../b",
        "/a/./b",
        "/a/%2e%2e/b",
        "/a/.%2E/b",
        "/a/..%2fb",
        "/a%2f..%2Fb",
        "/a/..;/b",
        "/a/..;x=y/b",
        "/a/..%3b/b",
        "/a/..%3Bx/b",
        "/a/%2e%2e%3b/b",
        "/a%5cb",
        // Decoded in part, they would be escapes of dots.
        "/a/%%32e%%32e/b",
        "/a/%2%65%2%65/b",
        "/a%",
        "/a%zz",
        "/a%5C..%5Cb",
        "/\u{fc}",
        "/a?\u{fc}",
        "http://b/a/../b",
        "http://me@b/a",
        "http://me:secret@b/a",
    ] {
        let mut client = server.public();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.answer().status, 400, "{target:?}");
        assert!(take(&seen).is_empty(), "{target:?} got through");
    }
    // A fragment is not for servers: what stands before it is the whole target, for the routes and the upstream alike.
    for (target, passed) in [
        ("/a#b", "/a"),
        ("/a?b#c?d", "/a?b"),
        ("/a//b", "/a//b"),
        ("//a/b", "//a/b"),
        ("/a%2Fb%00%0d%0a?%0a", "/a%2Fb%00%0d%0a?%0a"),
        ("/a?b=/../c\\", "/a?b=/../c\\"),
    ] {
        let mut client = server.public();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.answer().status, 200, "{target:?}");
        assert_eq!(take(&seen), [(format!("GET {passed} HTTP/1.1"), String::new())]);
    }
}

#[test]
fn hosts_that_are_none_or_several_are_refused() {
    let (upstream, seen) = recording();
    let server = proxied(&upstream, "", "");
    for hosts in [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a\\b\r\n",
        "Host: me@a\r\n",
        "Host: %61\r\n",
        "Host: <a>\r\n",
        "Host: \"a\"\r\n",
        "Host: \u{fc}\r\n",
        "Host : a\r\n",
        "Host:\r\n a\r\n",
    ] {
        let mut client = server.public();
        client.send(format!("GET /a HTTP/1.1\r\n{hosts}\r\n"));
        assert_eq!(client.answer().status, 400, "{hosts:?}");
        assert!(take(&seen).is_empty(), "{hosts:?} got through");
    }
    for host in ["a", "a:80", "a_b.example.", "[::1]:8080", "a~b!c"] {
        let answer = server.public().request("GET", "/a", &[("Host", host)], b"");
        assert_eq!(answer.status, 200, "{host}");
        assert_eq!(take(&seen).len(), 1);
    }
}

#[test]
fn host_of_an_absolute_target_replaces_the_field() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    for (target, host, passed) in [
        ("http://b/a", "a", "/a"),
        ("http://B:81/a?c", "b", "/a?c"),
        ("HTTP://b", "a", "/"),
        ("http://b?c", "a", "/?c"),
        ("http://b#c", "a", "/"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let mut peer = upstream.accept();
        let head = peer.read_head();
        assert!(head.starts_with(&format!("GET {passed} HTTP/1.1\r\n")), "{head}");
        let [sent] = values(&head, "host")[..] else { panic!("one host: {head}") };
        assert!(target.contains(&format!("//{sent}")), "{head}");
        peer.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status, 204);
    }
}

#[test]
fn both_lengths_are_one_request_by_its_chunks_and_end_the_connection() {
    let (upstream, seen) = recording();
    let server = proxied(&upstream, "", "");
    let body = format!("2\r\nab\r\n0\r\n\r\n{HIDDEN}");
    for fields in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked", body.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}", body.len()),
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2".to_owned(),
    ] {
        let mut client = server.public();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.head.get("connection")), (200, Some("close")), "{fields:?}");
        assert!(client.is_closed(), "{fields:?}: another answer");
        assert_eq!(take(&seen), [("POST /a HTTP/1.1".to_owned(), "ab".to_owned())], "{fields:?}");
    }
}

#[test]
fn both_lengths_end_the_connection_behind_a_stream_too() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    let body = format!("2\r\nab\r\n0\r\n\r\n{HIDDEN}");
    let length = body.len();
    client.send(format!(
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
    ));
    let mut peer = upstream.accept();
    let head = peer.read_head();
    assert_eq!(peer.read_body(&head), b"ab");
    peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.head.get("connection")), (200, Some("close")));
    assert!(client.is_closed(), "another answer");
    assert!(upstream.is_alone_for(Duration::from_millis(20)));
}

#[test]
fn bodies_that_nobody_read_are_not_requests_behind_a_stream() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    let mut peer = upstream.accept();
    peer.read_head();
    // It answers, and takes no body: Fantail is told so when it tries to send it.
    peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1\r\n\r\n\n");
    peer.close();
    let rest = HIDDEN.repeat(100_000 / HIDDEN.len());
    // It may be closed before it has taken all.
    let _ = std::io::Write::write_all(&mut client.socket, rest.as_bytes());
    let said = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(said.matches("HTTP/1.1 ").count() <= 1, "{said}");
    assert!(upstream.is_alone_for(Duration::from_millis(50)));
}

#[test]
fn lengths_that_say_the_same_are_one() {
    let (upstream, seen) = recording();
    let server = proxied(&upstream, "", "");
    for (fields, body) in [
        ("Content-Length: 2\r\nContent-Length: 2", "ab"),
        ("Content-Length:\t2 \t", "ab"),
        ("Content-Length: 0000000002", "ab"),
        ("Transfer-Encoding: Chunked", "2\r\nab\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\t", "2\r\nab\r\n0\r\n\r\n"),
        ("Transfer-Encoding:\tchunked ", "2\r\nab\r\n0\r\n\r\n"),
        ("TRANSFER-ENCODING: chunked", "0000002 \t;a=\"b\"\r\nab\r\n00;c\r\n\r\n"),
    ] {
        let mut client = server.public();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}"));
        assert_eq!(client.answer().status, 200, "{fields:?}");
        assert_eq!(take(&seen), [("POST /a HTTP/1.1".to_owned(), "ab".to_owned())], "{fields:?}");
    }
}

#[test]
fn line_feeds_alone_in_a_head_are_line_ends_for_both_sides() {
    let (upstream, seen) = recording();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.send("\r\n\nPOST /a HTTP/1.1\nHost: a\nX: b\nContent-Length: 2\n\nab");
    assert_eq!(client.answer().status, 200);
    assert_eq!(take(&seen), [("POST /a HTTP/1.1".to_owned(), "ab".to_owned())]);
}

#[test]
fn bodies_of_any_method_belong_to_their_request() {
    let (upstream, seen) = recording();
    let server = proxied(&upstream, "", "");
    let length = HIDDEN.len();
    let chunks = format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n");
    for head in ["GET /a", "HEAD /a", "DELETE /a", "OPTIONS /a", "TRACE /a", "BREW /a"] {
        for (fields, body) in
            [(format!("Content-Length: {length}"), HIDDEN), ("Transfer-Encoding: chunked".to_owned(), chunks.as_str())]
        {
            for upgrade in ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"] {
                let mut client = server.public();
                client.send(format!(
                    "{head} HTTP/1.1\r\nHost: a\r\n{upgrade}{fields}\r\n\r\n{body}GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
                ));
                let first = if head.starts_with("HEAD") { client.answer_to_head() } else { client.answer() };
                assert_eq!((first.status, client.answer().status), (200, 200), "{head} {fields}");
                let expected =
                    [(format!("{head} HTTP/1.1"), HIDDEN.to_owned()), ("GET /b HTTP/1.1".to_owned(), String::new())];
                assert_eq!(take(&seen), expected, "{head} {fields}");
            }
        }
    }
}

#[test]
fn chunks_that_are_none_cut_the_request_on_both_sides() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let long = format!("2;{}\r\nab\r\n", "x".repeat(20_000));
    for body in [
        "\r\n",
        "0x2\r\nab\r\n",
        "+2\r\nab\r\n",
        "-2\r\nab\r\n",
        " 2\r\nab\r\n",
        "g\r\nab\r\n",
        "2\nab\r\n",
        "2\rab\r\n",
        "2\r\nab\n",
        "2\r\nabc\r\n",
        "2;a\nb\r\nab\r\n",
        "2;a\rb\r\nab\r\n",
        "2 2\r\nab\r\n",
        "2\x0b\r\nab\r\n",
        "10000000000000000\r\nab\r\n",
        "ffffffffffffffffff\r\nab\r\n",
        &long,
        "0\r\nX\r\n\r\n",
        "0\r\nX: a\r\n b\r\n\r\n",
        "0\r\nX : a\r\n\r\n",
        "0\r\nX: a\0\r\n\r\n",
        "0\r\n\rX\r\n",
        "0\r\nX",
    ] {
        let mut client = server.public();
        client.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut peer = upstream.accept();
        peer.read_head();
        client.send(format!("{body}\r\n0\r\n\r\n{HIDDEN}"));
        let passed = String::from_utf8_lossy(&peer.read_rest()).into_owned();
        assert!(!passed.ends_with("0\r\n\r\n"), "{body:?} seems whole: {passed:?}");
        assert!(!passed.contains("hidden") || inside_a_chunk(&passed), "{body:?}: {passed:?}");
        let said = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(said.starts_with("HTTP/1.1 400 "), "{body:?}: {said:?}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{body:?}: {said:?}");
    }
    assert!(upstream.is_alone_for(Duration::from_millis(20)));
}

/// Whether all of a cut body is data of chunks whose size was told.
fn inside_a_chunk(mut passed: &str) -> bool {
    while !passed.is_empty() {
        let Some((size, rest)) = passed.split_once("\r\n") else { return false };
        let Ok(size) = usize::from_str_radix(size, 16) else { return false };
        if rest.len() <= size {
            return true;
        }
        let Some(rest) = rest[size..].strip_prefix("\r\n") else { return false };
        passed = rest;
    }
    true
}

#[test]
fn trailers_cannot_say_what_only_a_head_may() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.send(
        "POST /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n0\r\nX-Sum: 1\r\n\
         Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\nConnection: x\r\nAuthorization: c\r\n\
         X-Accel-Redirect: /d\r\nGrip-Hold: stream\r\nX_Under: e\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\n\
         X-Forwarded-Prefix: /x\r\nVia: 1.1 z\r\nExpect: 100-continue\r\n\r\n",
    );
    let mut peer = upstream.accept();
    assert_eq!(values(&peer.read_head(), "trailer"), ["X-Sum"]);
    assert_eq!(String::from_utf8(peer.read_until(b"\r\n\r\n")).unwrap(), "0\r\nx-sum: 1\r\n\r\n");
    peer.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Content-Length, Host, Set-Cookie, X-Accel-Redirect, Grip-Hold\r\n\r\n\
         0\r\nX-Sum: 2\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\nSet-Cookie: a=b\r\n\
         X-Accel-Redirect: /d\r\nGrip-Hold: stream\r\n\r\n",
    );
    let head = client.read_head();
    assert_eq!(head.status, 200);
    client.half_close();
    assert_eq!(String::from_utf8(client.rest()).unwrap(), "0\r\nx-sum: 2\r\n\r\n");
}

#[test]
fn early_final_answer_to_an_expectation_leaves_nothing_to_be_taken_for_a_request() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    // The client sends its body although it was told not to; or it goes on with another request at once.
    for (sent, then) in [(true, HIDDEN.to_owned()), (false, HIDDEN.to_owned())] {
        let mut client = server.public();
        let length = HIDDEN.len();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"));
        let mut peer = upstream.accept();
        let head = peer.read_head();
        assert_eq!(values(&head, "expect"), ["100-continue"]);
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
        let body = if sent { HIDDEN } else { "" };
        let _ = std::io::Write::write_all(&mut client.socket, format!("{body}{then}").as_bytes());
        assert!(client.rest().is_empty(), "the connection ends");
        assert_eq!(peer.read_rest(), b"", "no body was sent");
    }
    assert!(upstream.is_alone_for(Duration::from_millis(20)));
}

/// Sends one request and has the upstream answer with these bytes; what the client got, to its connection's end.
fn answered(server: &TestServer, upstream: &Upstream, method: &str, bytes: &[u8]) -> (String, Peer) {
    let mut client = server.public();
    client.ask(method, "/a", &[("Connection", "close")], b"");
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send(bytes);
    peer.half_close();
    (String::from_utf8_lossy(&client.rest()).into_owned(), peer)
}

#[test]
fn answers_that_are_unclear_are_not_passed_on() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "max_fails = 0");
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(1000));
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nX Y: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX(: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n X: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n\tContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\rX: a\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "<html>old</html>",
        "\x16\x03\x01",
        "HTTP/1.1 200 OK\r\nX: a\r\n",
        "HTTP/1.1 200",
        "",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfree",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        &many,
        &huge,
        &flood,
    ] {
        let (said, _) = answered(&server, &upstream, "POST", bytes.as_bytes());
        let last = said.rfind("HTTP/1.1 ").map(|at| &said[at..]).unwrap_or_default();
        assert!(last.starts_with("HTTP/1.1 502 "), "{:?}: {said:?}", &bytes[..bytes.len().min(100)]);
        let before = said.matches("HTTP/1.1 103 ").count();
        assert!(before <= 32, "a flood of {before} interim answers was passed on");
    }
}

#[test]
fn answers_of_old_or_lenient_servers_are_passed_on_in_one_form() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for (bytes, body) in [
        ("HTTP/1.0 200 OK\r\n\r\nab", "2\r\nab\r\n0\r\n\r\n"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", "ab"),
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab", "ab"),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nab", "ab"),
        ("\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "ab"),
        ("HTTP/1.1 200 OK\r\nContent-Length:2 \t\r\n\r\nab", "ab"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n002 ;x\r\nab\r\n0\r\n\r\n", "2\r\nab\r\n0\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n\r\nhidden", "ab"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhidden", "0\r\n\r\n"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nab", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nab", ""),
    ] {
        let (said, _) = answered(&server, &upstream, "POST", bytes.as_bytes());
        let (head, passed) = said.split_once("\r\n\r\n").expect("a head");
        assert_eq!(passed, body, "{bytes:?}: {said:?}");
        let lengths = values(head, "content-length").len() + values(head, "transfer-encoding").len();
        let bodiless = ["204", "304"].iter().any(|status| head.starts_with(&format!("HTTP/1.1 {status}")));
        assert!(lengths == 1 || bodiless, "{bytes:?}: {said:?}");
        assert!(!head.contains("204 ") || lengths == 0, "a 204 has no length: {said:?}");
    }
}

#[test]
fn answers_that_break_off_break_off() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: a\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0x0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nffffffffffffffffff\r\n",
    ] {
        let (said, _) = answered(&server, &upstream, "GET", bytes.as_bytes());
        // A head that was not out yet is lost with the rest.
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 200 "), "{bytes:?}: {said:?}");
        assert!(!said.ends_with("\r\n0\r\n\r\n"), "{bytes:?} seems whole: {said:?}");
    }
}

#[test]
fn connections_are_not_used_again_behind_what_nobody_asked_for() {
    for extra in ["x", "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden"] {
        for (now, later) in [(extra, ""), ("", extra)] {
            for body in ["Content-Length: 2\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"] {
                let upstream = Upstream::listen();
                let server = proxied(&upstream, "", "");
                let mut client = server.public();
                client.ask("GET", "/a", &[], b"");
                let mut peer = upstream.accept();
                peer.read_head();
                peer.send(format!("HTTP/1.1 200 OK\r\n{body}{now}"));
                assert_eq!(client.answer().text(), "ab");
                peer.send(later);
                client.ask("GET", "/b", &[], b"");
                let mut second = upstream.accept();
                assert!(second.read_head().starts_with("GET /b "), "{extra:?}");
                second.send(ok("b"));
                assert_eq!(client.answer().text(), "b", "{extra:?}");
            }
        }
    }
}

#[test]
fn answers_without_a_body_have_none_whatever_they_say() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n"),
    ] {
        let mut client = server.public();
        client.ask(method, "/a", &[], b"");
        let mut peer = upstream.accept();
        peer.read_head();
        peer.send(format!("{head}hidden"));
        assert!(matches!(client.answer_to_head().status, 200 | 204 | 304));
        client.ask("GET", "/b", &[], b"");
        let mut second = upstream.accept();
        second.read_head();
        second.send(ok("b"));
        assert_eq!(client.answer().text(), "b", "{method} {head:?}");
    }
}
