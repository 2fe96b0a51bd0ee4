//! Connections: kept alive, pipelined, limited, half closed, and in the hands of those who mean no good.

use std::io::Write;
use std::time::Duration;

use crate::client::{Client, End, request};
use crate::server::{TestServer, eventually};

#[test]
fn keep_alive_leads_to_a_stream_in_the_end() {
    let server = TestServer::start("");
    let mut client = server.control();
    for path in ["/stats", "/healthz", "/nowhere", "/metrics", "/"] {
        client.get(path);
    }
    let mut stream = client.subscribe("/sub/a");
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
    let mut client = server.public();
    client.get("/sub/ALL");
    client.request("OPTIONS", "/sub/a", &[], b"");
    let mut stream = client.subscribe("/sub/a");
    server.publish("a", "y");
    assert_eq!(stream.event().data, "y");
}

#[test]
fn pipelined_requests_before_a_stream_are_answered_first() {
    let server = TestServer::start("");
    for at in [server.public, server.control] {
        let mut client = Client::connect(at);
        let get = |path: &str| request("GET", path, &[], b"");
        client.send([get("/nowhere"), get("/sub/ALL"), get("/sub/a")].concat());
        assert_eq!((client.answer().status, client.answer().status), (404, 400));
        let mut stream = client.stream();
        server.publish("a", "x");
        assert_eq!(stream.event().data, "x");
    }
}

#[test]
fn pipelined_requests_behind_a_stream_are_never_answered() {
    let server = TestServer::start("");
    let two = [request("GET", "/sub/a", &[], b""), request("GET", "/healthz", &[], b"")].concat();
    for mut client in [server.public(), server.control()] {
        client.send(&two);
        let mut stream = client.stream();
        assert_eq!(stream.head.get("connection"), Some("close"), "RFC 9112 §9.6: nothing after this is looked at");
        server.publish("a", "x");
        assert_eq!(stream.event().data, "x");
    }
}

#[test]
fn half_closed_stream_ends_and_is_counted() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    stream.chunk().unwrap();
    server.until_stat("subscribers", 1);
    stream.client.half_close();
    assert_ne!(stream.to_end().1, End::Said);
    server.until_stat("subscribers", 0);
    assert_eq!(server.metric("fantail_left_subscribers_total"), 1);
}

#[test]
fn chatter_on_a_stream_is_read_and_forgotten_up_to_a_bound() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    for _ in 0..100 {
        stream.client.send("GET / HTTP/1.1\r\n\r\n");
    }
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
    // A flood is taken or cut off, and others do not suffer.
    let mut flood = server.public().subscribe("/sub/a");
    let piece = vec![b'x'; 1 << 16];
    for _ in 0..256 {
        if flood.client.socket.write_all(&piece).is_err() {
            break;
        }
    }
    server.publish("a", "y");
    assert_eq!(stream.event().data, "y");
}

#[test]
fn garbage_is_refused_and_the_connection_closed() {
    let server = TestServer::start("");
    for at in [server.public, server.control] {
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"hello\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /sub/a HTTP/1.1\r\nHost : x\r\n\r\n",
            b"GET /sub/\x00 HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST /pub/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
            b"POST /pub/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            b"POST /pub/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\nx",
            b"\0\0\0\0\r\n\r\n",
        ] {
            let mut client = Client::connect(at);
            client.socket.write_all(bytes).unwrap();
            let said = client.rest();
            let mute = bytes.starts_with(b"PRI");
            assert!(mute || !said.is_empty(), "{at}: no answer to {:?}", String::from_utf8_lossy(bytes));
            assert!(
                said.is_empty() || said.starts_with(b"HTTP/1.1 4") || said.starts_with(b"HTTP/1.1 5"),
                "{:?}",
                String::from_utf8_lossy(&said)
            );
            assert!(client.is_closed());
        }
    }
    assert_eq!(server.stat("published"), 0);
}

#[test]
fn chunks_that_are_malformed_publish_nothing() {
    let server = TestServer::start("");
    for body in ["x\r\n", "5\r\nabc\r\n0\r\n\r\n", "-1\r\n", "fffffffffffffffff\r\n", "1\r\nab\r\n0\r\n\r\n"] {
        let mut client = server.control();
        client.send(format!("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        client.half_close();
        let said = String::from_utf8(client.rest()).unwrap();
        assert!(!said.contains(" 200 "), "{body:?}: {said}");
    }
    assert_eq!(server.stat("published"), 0);
}

#[test]
fn head_too_large_or_with_too_many_fields_is_refused() {
    let server = TestServer::start("[listen]\nhead_size = '8KiB'\nheaders = 20");
    for at in [server.public, server.control] {
        let long = format!("GET /sub/a HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(9000));
        let endless = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000));
        let many = format!("GET /sub/a HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(30));
        for head in [long, endless, many] {
            let mut client = Client::connect(at);
            client.socket.write_all(head.as_bytes()).ok();
            let said = String::from_utf8(client.rest()).unwrap();
            assert!(said.starts_with("HTTP/1.1 431 "), "{at} {}: {said:?}", &head[..40]);
            assert!(client.is_closed());
        }
        let most = format!("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(19));
        let mut client = Client::connect(at);
        client.send(most);
        assert_eq!(client.answer().status, 404);
    }
}

#[test]
fn head_that_comes_too_slowly_is_not_waited_for() {
    let server = TestServer::start("listen.head_timeout = '400ms'");
    for at in [server.public, server.control] {
        let mut silent = Client::connect(at);
        let mut slow = Client::connect(at);
        slow.send("GET /sub/a HTTP/1.1\r\nHo");
        assert!(silent.rest().is_empty() && silent.is_closed());
        let said = String::from_utf8(slow.rest()).unwrap();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    }
    eventually("all are gone", || server.stat("connections") <= 1);
}

#[test]
fn idle_connection_is_closed_after_its_time() {
    let server = TestServer::start("listen.idle_timeout = '400ms'");
    let mut client = server.control();
    assert_eq!(client.get("/healthz").status, 200);
    assert!(client.is_closed());
}

#[test]
fn connections_over_the_limit_are_told_and_places_come_back() {
    let server = TestServer::start("listen.connections = 2");
    let mut control = server.control();
    let stream = server.public().subscribe("/sub/a");
    let idle = server.public();
    eventually("all are counted", || control.get("/stats").json()["connections"] == 3);
    let mut refused = server.public();
    let answer = refused.answer();
    assert_eq!(
        (answer.status, answer.head.get("retry-after"), answer.head.get("connection")),
        (503, Some("5"), Some("close"))
    );
    assert!(answer.error().contains("listen.connections"), "{}", answer.error());
    assert!(refused.is_closed());
    // One that has already sent its request is told as well.
    let mut refused = server.public();
    refused.ask("GET", "/sub/a", &[], b"");
    assert_eq!(refused.answer().status, 503);
    drop(stream);
    drop(idle);
    eventually("places come back", || control.get("/stats").json()["connections"] == 1);
    server.public().subscribe("/sub/a");
    let text = control.get("/metrics").text();
    assert!(text.contains("\nfantail_refused_connections_total 2\n"), "{text}");
}

#[test]
fn stop_with_a_request_half_sent_still_answers_it() {
    let mut server = TestServer::start("[stop]\ndeadline = '15s'");
    let mut pending: Vec<_> = ["/readyz", "/healthz", "/stats", "/sub/a", "/sub/a?wait=1m", "/metrics"]
        .map(|path| {
            let mut client = server.control();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: loc"));
            (path, client)
        })
        .into();
    let mut publish = server.control();
    publish.send("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha");
    let mut stream = server.public().subscribe("/sub/a");
    stream.chunk().unwrap();
    server.until_stat("connections", 9);
    server.begin_stop();
    assert_eq!(stream.to_end().1, End::Said);
    std::thread::sleep(Duration::from_millis(50));
    for (path, client) in &mut pending {
        client.send("alhost\r\n\r\n");
        if *path == "/sub/a" {
            // Not refused, which would silence a browser for good: told to come back.
            client.read_head();
            let rest = String::from_utf8_lossy(&client.rest()).into_owned();
            assert_eq!((rest.matches("retry: ").count(), rest.ends_with("0\r\n\r\n")), (2, true), "{rest}");
            continue;
        }
        let answer = client.answer();
        let expected = if *path == "/readyz" { 503 } else { 200 };
        assert_eq!(answer.status, expected, "{path}");
        if expected == 503 {
            assert_eq!((answer.head.get("retry-after"), answer.error()), (Some("5"), "the server is stopping".into()));
        }
    }
    publish.send("lf");
    assert_eq!(publish.answer().status, 200);
    drop((pending, publish, stream));
    eventually("it stops before its deadline", || server.has_stopped());
}
