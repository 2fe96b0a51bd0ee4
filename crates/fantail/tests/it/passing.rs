//! What passes a proxy and what does not: fields, targets, interim answers (RFC 9110 §7.6, §15.2), and who is told what.

use std::io::copy;
use std::net::TcpStream;
use std::time::Duration;

use crate::upstream::{Upstream, ok, proxied, values};

/// Fields of a request as the upstream sees them; the answer is 204.
fn seen(upstream: &Upstream, client: &mut crate::client::Client, request: &str) -> String {
    client.send(request);
    let mut peer = upstream.accept();
    let head = peer.read_head();
    peer.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status, 204);
    head
}

#[test]
fn fields_of_a_clients_connection_stay_there() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let head = seen(
        &upstream,
        &mut server.public(),
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-One, Authorization, Cookie, Host\r\nX-One: 1\r\n\
         Connection: x-two,last-event-id\r\nX-Two: 2\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         TE: gzip, deflate\r\nUpgrade: websocket\r\nProxy-Authorization: Basic x\r\nAuthorization: Bearer y\r\n\
         Cookie: a=b\r\nLast-Event-ID: 7\r\nX-Three: 3\r\n\r\n",
    );
    for gone in
        ["connection", "x-one", "x-two", "keep-alive", "proxy-connection", "te", "upgrade", "proxy-authorization"]
    {
        assert!(values(&head, gone).is_empty(), "{gone}: {head}");
    }
    for (kept, value) in
        [("host", "a"), ("authorization", "Bearer y"), ("cookie", "a=b"), ("last-event-id", "7"), ("x-three", "3")]
    {
        assert_eq!(values(&head, kept), [value], "{head}");
    }
}

#[test]
fn fields_of_an_upstreams_connection_stay_there() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.ask("GET", "/a", &[], b"");
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send(
        "HTTP/1.1 200 OK\r\nConnection: close, X-One, Set-Cookie\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: close\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Accel-Expires: 5\r\n\
         Grip-Channel: a\r\nX-Accel-Buffering: no\r\nSet-Cookie: a=b\r\nServer: x\r\nContent-Length: 0\r\n\r\n",
    );
    let head = client.answer().head.raw;
    for gone in [
        "x-one",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "upgrade",
        "x-accel-expires",
        "x-accel-buffering",
        "grip-channel",
    ] {
        assert!(values(&head, gone).is_empty(), "{gone}: {head}");
    }
    assert_eq!(values(&head, "set-cookie"), ["a=b"]);
    assert_eq!(values(&head, "server"), ["x"]);
    // It was the upstream's connection that ended, not the client's.
    client.ask("GET", "/b", &[], b"");
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send(ok("b"));
    assert_eq!(client.answer().text(), "b");
}

#[test]
fn fields_that_are_repeated_stay_apart_and_in_order() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    let mut request =
        b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-B:\r\nx-a: 2, 3\r\nX-A: 1\r\nX-C: \xfc\xe2\x80\xa6 ".to_vec();
    request.extend(b"\"\r\nLast-Event-ID: \xe2\x80\xa6\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n");
    client.send(request);
    let mut peer = upstream.accept();
    let head = peer.read_until(b"\r\n\r\n");
    let has = |line: &[u8]| head.windows(line.len()).any(|bytes| bytes == line);
    assert!(has(b"\r\nx-c: \xfc\xe2\x80\xa6 \"\r\n") && has(b"\r\nlast-event-id: \xe2\x80\xa6\r\n"), "bytes are kept");
    let text = String::from_utf8_lossy(&head).into_owned();
    assert_eq!(values(&text, "x-a"), ["1", "2, 3", "1"]);
    assert_eq!(values(&text, "x-b"), [""]);
    assert_eq!(values(&text, "cookie"), ["a=b", "c=d"]);
    peer.send(
        "HTTP/1.1 200 OK\r\nX-Z: 1\r\nSet-Cookie: a=b, c\r\nX-Z: 2\r\nSet-Cookie: c=d; Expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n\
         Set-Cookie: a=b, c\r\nX_Under: kept\r\nContent-Length: 0\r\n\r\n",
    );
    let head = client.answer().head.raw;
    let cookies = ["a=b, c", "c=d; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "a=b, c"];
    assert_eq!(values(&head, "set-cookie"), cookies);
    assert_eq!(values(&head, "x-z"), ["1", "2"]);
    assert_eq!(values(&head, "x_under"), ["kept"]);
}

#[test]
fn commands_to_a_proxy_are_not_taken_from_clients() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let head = seen(
        &upstream,
        &mut server.public(),
        "GET /a HTTP/1.1\r\nHost: a\r\nX-Accel-Redirect: /sub/x\r\nx-accel-buffering: no\r\nGrip-Hold: stream\r\n\
         GRIP-Channel: x\r\nGrip-Sig: y\r\nX_Forwarded_For: 1.2.3.4\r\nX_Own: 1\r\nHTTP2-Settings: AAMAAABk\r\n\
         Accel: kept\r\n\r\n",
    );
    for gone in ["x-accel-redirect", "x-accel-buffering", "grip-hold", "grip-channel", "grip-sig", "http2-settings"] {
        assert!(values(&head, gone).is_empty(), "{head}");
    }
    assert!(!head.split("\r\n").any(|line| line.split(':').next().unwrap().contains('_')), "{head}");
    assert_eq!(values(&head, "accel"), ["kept"]);
}

const WORDS: &str = "GET /a HTTP/1.1\r\nHost: a.example:80\r\nForwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.1\r\n\
    X-Forwarded-For: 192.0.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\nX-Forwarded-Port: 443\r\n\
    X-Forwarded-Prefix: /p\r\nX-Real-IP: 192.0.2.1\r\nConnection: X-Forwarded-For\r\n\r\n";

#[test]
fn words_of_strangers_about_where_they_come_from_are_dropped() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "[listen]\ntrusted_proxies = ['10.0.0.0/8']\n", "");
    let head = seen(&upstream, &mut server.public(), WORDS);
    assert_eq!(values(&head, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&head, "forwarded"), ["for=127.0.0.1;host=\"a.example:80\";proto=http"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["a.example:80"]);
    assert!(!head.contains("192.0.2.") && !head.contains("443") && !head.contains("x-forwarded-prefix"), "{head}");
}

#[test]
fn words_of_trusted_proxies_about_where_requests_come_from_are_kept() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "[listen]\ntrusted_proxies = ['127.0.0.0/8']\n", "");
    let head = seen(&upstream, &mut server.public(), WORDS);
    assert_eq!(values(&head, "x-forwarded-for"), ["192.0.2.1, 192.0.2.2, 127.0.0.1"]);
    assert_eq!(values(&head, "forwarded"), ["for=192.0.2.1, for=127.0.0.1;host=\"a.example:80\";proto=http"]);
    assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["b.example"]);
    assert_eq!(values(&head, "x-forwarded-port"), ["443"]);
    assert_eq!(values(&head, "x-forwarded-prefix"), ["/p"]);
    assert_eq!(values(&head, "x-real-ip"), ["192.0.2.1"]);
}

#[test]
fn via_grows_and_a_circle_is_seen() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "[proxy]\nname = 'edge'\n", "");
    let head = seen(&upstream, &mut server.public(), "GET /a HTTP/1.0\r\nVia: 1.1 other\r\nVia: 1.0 edge\r\n\r\n");
    assert_eq!(values(&head, "via"), ["1.1 other, 1.0 edge, 1.0 edge"]);
    assert_eq!(values(&head, "host").len(), 1, "{head}");

    let address = server.public;
    std::thread::spawn(move || {
        // Until the test is over, what is meant for the upstream goes to Fantail itself.
        loop {
            let from = upstream.accept().into_tcp();
            let to = TcpStream::connect(address).expect("a server");
            let (mut from2, mut to2) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
            std::thread::spawn(move || copy(&mut from2, &mut to2));
            std::thread::spawn(move || copy(&mut { to }, &mut { from }));
        }
    });
    let answer = server.public().get("/a");
    assert_eq!(answer.status, 508);
    assert!(answer.error().contains("upstreams point at each other"), "{answer:?}");
}

#[test]
fn early_hints_are_passed_to_those_who_know_them() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nContent-Length: 5\r\nX-Accel-Redirect: /b\r\n\
                 Connection: x-own\r\nX-Own: 1\r\n\r\n";
    let mut client = server.public();
    client.ask("GET", "/a", &[], b"");
    let mut peer = upstream.accept();
    peer.read_head();
    for _ in 0..2 {
        peer.send(hints);
        // It comes before the answer has begun.
        assert_eq!(client.read_head().raw, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n");
    }
    peer.send(ok("a"));
    assert_eq!(client.answer().text(), "a");

    let mut old = server.public();
    old.send("GET /a HTTP/1.0\r\n\r\n");
    peer.read_head();
    peer.send(hints);
    peer.send(ok("a"));
    let said = String::from_utf8(old.rest()).unwrap();
    assert_eq!(said.matches("HTTP/1.").count(), 1, "{said}");
    assert!(said.ends_with("\r\n\r\na"), "{said}");
}

#[test]
fn early_hints_do_not_get_into_the_answer_before() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.ask("GET", "/long", &[], b"");
    client.ask("GET", "/next", &[], b"");
    let mut first = upstream.accept();
    first.read_head();
    first.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
    // Whole pieces, until everything between here and the client is full.
    let sent = first.send_until_blocked(&piece, Duration::from_millis(150));
    let teller = std::thread::spawn(move || {
        first.send(&piece[sent % piece.len()..]);
        first.send("0\r\n\r\n");
        // All of it has been read, though not by the client: its connection serves the next request.
        assert!(first.read_head().starts_with("GET /next "));
        first.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        first.send(ok("next"));
    });
    // Slowly, so that much of the long answer is still held when the hints come.
    while !teller.is_finished() {
        client.read_some(4096);
        std::thread::sleep(Duration::from_micros(200));
    }
    let long = client.answer();
    assert!(long.body.iter().all(|&byte| byte == b'x'), "something else is in the body");
    // Whether they are said depends on when the last of it left: no client counts on them.
    match client.answer_to_head().status {
        103 => assert_eq!(client.answer().text(), "next"),
        other => assert_eq!(other, 200),
    }
    teller.join().unwrap();
}

#[test]
fn continue_is_said_when_the_upstream_says_so() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
    let mut peer = upstream.accept();
    assert_eq!(values(&peer.read_head(), "expect"), ["100-continue"]);
    assert!(client.is_silent_for(Duration::from_millis(50)), "nobody has asked for the body");
    peer.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.read_head().status, 100);
    client.send("ab");
    assert_eq!(peer.read(2), b"ab");
    peer.send(ok("c"));
    assert_eq!(client.answer().text(), "c");
    // Nothing is left over: the connection goes on.
    client.ask("GET", "/b", &[], b"");
    assert!(peer.read_head().starts_with("GET /b "));
    peer.send(ok("b"));
    assert_eq!(client.answer().text(), "b");
}

#[test]
fn continue_is_said_to_those_whom_the_upstream_keeps_waiting() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let mut peer = upstream.accept();
    peer.read_head();
    assert_eq!(client.read_head().status, 100);
    client.send("ab");
    assert_eq!(peer.read(2), b"ab");
    peer.send(ok("c"));
    assert_eq!(client.answer().text(), "c");
}

#[test]
fn targets_are_rewritten_and_fields_changed_as_the_route_says() {
    let upstream = Upstream::listen();
    let server = proxied(
        &upstream,
        "set_request = { X-Env = 'prod', Host = 'inner' }\nremove_request = ['Cookie']\n\
         set_response = { X-Frame-Options = 'DENY' }\nremove_response = ['Server', 'Set-Cookie']\n\
         [[route]]\npath = '/strip/{path...}'\naction = 'proxy'\nupstream = 'app'\nstrip_prefix = true\n\
         [[route]]\npath = '/old/{path...}'\naction = 'proxy'\nupstream = 'app'\nrewrite = '/v2/{path...}'\n\
         [[route]]\npath = '/health'\naction = 'proxy'\nupstream = 'app'\nrewrite = '/v2/ok'\n\
         [[route]]\nhost = 'b.example'\npath = '/{path...}'\naction = 'proxy'\nupstream = 'app'\nrewrite = '/b/{path...}'\n",
        "",
    );
    let mut client = server.public();
    client.send("GET /a?b HTTP/1.1\r\nHost: a\r\nX-Env: mine\r\nCookie: a=b\r\nConnection: x-env\r\n\r\n");
    let mut peer = upstream.accept();
    let head = peer.read_head();
    assert!(head.starts_with("GET /a?b HTTP/1.1\r\n"), "{head}");
    assert_eq!((values(&head, "x-env"), values(&head, "host")), (vec!["prod"], vec!["inner"]));
    assert!(values(&head, "cookie").is_empty(), "{head}");
    assert_eq!(values(&head, "x-forwarded-host"), ["a"]);
    peer.send(
        "HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nX-Frame-Options: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    let raw = client.answer().head.raw;
    assert!(values(&raw, "server").is_empty() && values(&raw, "set-cookie").is_empty(), "{raw}");
    assert_eq!(values(&raw, "x-frame-options"), ["DENY"]);
    for (host, target, passed) in [
        ("a", "/strip/", "/"),
        ("a", "/strip/a%2Fb//c?d=/e", "/a%2Fb//c?d=/e"),
        ("a", "/strip//b.example/a", "//b.example/a"),
        ("a", "/%73trip/a", "/a"),
        ("a", "/old/a", "/v2/a"),
        ("a", "/health?x", "/v2/ok?x"),
        ("B.example.:81", "/a", "/b/a"),
        ("c.example", "/a", "/a"),
    ] {
        let head = seen(&upstream, &mut client, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(head.starts_with(&format!("GET {passed} HTTP/1.1\r\n")), "{host}{target}: {head}");
    }
}

#[test]
fn compression_is_left_to_the_client_but_for_event_streams() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    let plain = "GET /a HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n\r\n";
    assert_eq!(values(&seen(&upstream, &mut client, plain), "accept-encoding"), ["gzip, br"]);
    let stream = "GET /a HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nAccept-Encoding: gzip, br\r\n\r\n";
    assert_eq!(values(&seen(&upstream, &mut client, stream), "accept-encoding"), ["identity"]);
}
