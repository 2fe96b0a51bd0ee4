//! Bodies on their way through: as they come, no faster than they are taken, and in both directions at once.

use std::time::Duration;

use crate::upstream::{Ending, Upstream, ok, proxied, send_until_blocked, values};

/// More than all sockets and buffers between two ends hold, in bytes.
const BOUND: usize = 64 << 20;
/// After this long without progress both ends are taken to be blocked.
const BLOCKED: Duration = Duration::from_millis(200);

#[test]
fn request_bodies_are_passed_on_as_they_come() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na");
    let mut peer = upstream.accept();
    assert_eq!(values(&peer.read_head(), "content-length"), ["4"]);
    assert_eq!(peer.read(1), b"a");
    client.send("bc");
    assert_eq!(peer.read(2), b"bc");
    client.send("d");
    assert_eq!(peer.read(1), b"d");
    peer.send(ok("e"));
    assert_eq!(client.answer().text(), "e");

    client.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    assert_eq!(values(&peer.read_head(), "transfer-encoding"), ["chunked"]);
    assert_eq!(peer.read(6), b"1\r\na\r\n");
    client.send("2;x\r\nbc\r\n");
    assert_eq!(peer.read(7), b"2\r\nbc\r\n");
    client.send("0\r\n\r\n");
    assert_eq!(peer.read(5), b"0\r\n\r\n");
    peer.send(ok("e"));
    assert_eq!(client.answer().text(), "e");
}

#[test]
fn request_bodies_wait_for_an_upstream_that_does_not_read() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40));
    let mut peer = upstream.accept();
    peer.read_head();
    let sent = send_until_blocked(&mut client.socket, &vec![b'x'; 64 << 10], BLOCKED);
    assert!(sent < BOUND, "{sent} bytes went somewhere");
    assert_eq!(peer.read(sent).len(), sent, "none of them is lost");
    client.send("more");
    assert_eq!(peer.read(4), b"more");
    // Who does not wait for the answer does not keep the upstream busy.
    drop(client);
    peer.ended();
}

#[test]
fn answers_wait_for_a_client_that_does_not_read() {
    for framing in ["Content-Length: 1099511627776\r\n", "Transfer-Encoding: chunked\r\n", ""] {
        let upstream = Upstream::listen();
        let server = proxied(&upstream, "", "");
        let mut client = server.public();
        client.ask("GET", "/a", &[], b"");
        let mut peer = upstream.accept();
        peer.read_head();
        peer.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n"));
        let piece = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
        let sent = peer.send_until_blocked(&piece, BLOCKED);
        assert!(sent < BOUND, "{framing}: {sent} bytes went somewhere");
        assert_eq!(client.read_head().status, 200);
        drop(client);
        assert_eq!(peer.ended(), Ending::Reset, "what was left unread is not taken for read");
    }
}

#[test]
fn answers_begin_before_their_request_has_ended() {
    for (framing, one, two) in
        [("Content-Length: 4", "ab", "cd"), ("Transfer-Encoding: chunked", "2\r\nab\r\n", "2\r\ncd\r\n0\r\n\r\n")]
    {
        let upstream = Upstream::listen();
        let server = proxied(&upstream, "", "");
        let mut client = server.public();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{one}"));
        let mut peer = upstream.accept();
        peer.read_head();
        assert_eq!(peer.read(one.len()), one.as_bytes());
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nAB\r\n");
        assert_eq!(client.read_head().status, 200);
        assert_eq!(client.read(7), b"2\r\nAB\r\n");
        client.send(two);
        assert_eq!(peer.read(two.len()), two.as_bytes());
        peer.send("2\r\nCD\r\n0\r\n\r\n");
        assert_eq!(client.read(12), b"2\r\nCD\r\n0\r\n\r\n");
        client.ask("GET", "/b", &[], b"");
        assert!(peer.read_head().starts_with("GET /b "), "both connections go on");
        peer.send(ok("b"));
        assert_eq!(client.answer().text(), "b");
    }
}

#[test]
fn event_streams_begin_before_their_request_has_ended() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "ping = '0'", "");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
    assert_eq!(peer.read(2), b"ab");
    let mut stream = client.stream();
    assert_eq!(stream.event().data, "1");
    stream.client.send("cd");
    assert_eq!(peer.read(2), b"cd");
    peer.send("data: 2\n\n");
    assert_eq!(stream.event().data, "2");
}

#[test]
fn early_answers_arrive_although_the_client_still_sends() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nab");
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "no"));
    peer.ended();
    // The rest of the body is nobody's, and is not taken for requests.
    let _ = std::io::Write::write_all(&mut client.socket, b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.rest().is_empty(), "the connection ends");
    assert!(upstream.is_alone_for(Duration::from_millis(20)));
}

#[test]
fn answers_of_servers_that_stop_reading_arrive() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for _ in 0..20 {
        let mut client = server.public();
        client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        client.send(vec![b'x'; 50_000]);
        let mut peer = upstream.accept();
        peer.read_head();
        peer.read(50_000);
        peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        peer.close();
        let _ = std::io::Write::write_all(&mut client.socket, &vec![b'x'; 50_000]);
        assert_eq!(client.answer().status, 403);
    }
}

#[test]
fn request_bodies_over_the_routes_limit_are_refused() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "max_body = '1KiB'", "");
    let mut client = server.public();
    let answer = client.request("POST", "/a", &[], &[b'x'; 1025]);
    assert_eq!((answer.status, answer.head.get("connection")), (413, Some("close")));
    assert!(answer.error().contains("1024 bytes"), "{answer:?}");
    let answer = server.public().request("POST", "/a", &[("Expect", "100-continue"), ("Content-Length", "1025")], b"");
    assert_eq!(answer.status, 413);
    assert!(upstream.is_alone_for(Duration::from_millis(20)), "nothing was sent");

    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n");
    client.send([b'x'; 1024]);
    let mut peer = upstream.accept();
    peer.read_head();
    peer.read_until(b"400\r\n");
    peer.read(1024);
    client.send("\r\n1\r\nx\r\n0\r\n\r\n");
    assert_eq!(client.answer().status, 413);
    let rest = peer.read_rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it does not seem whole: {rest:?}");

    let mut client = server.public();
    client.ask("POST", "/a", &[], &[b'x'; 1024]);
    let mut peer = upstream.accept();
    let head = peer.read_head();
    assert_eq!(peer.read_body(&head).len(), 1024);
    peer.send(ok("a"));
    assert_eq!(client.answer().status, 200);
}

#[test]
fn request_bodies_that_break_off_break_off() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for start in ["Content-Length: 4\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"] {
        let mut client = server.public();
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{start}"));
        let mut peer = upstream.accept();
        peer.read_head();
        peer.read_until(b"ab");
        drop(client);
        let rest = peer.read_rest();
        assert!(rest == b"" || rest == b"\r\n", "it does not seem whole: {rest:?}");
    }
}

#[test]
fn leaving_of_a_client_reaches_the_upstream_at_once() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for begun in [false, true] {
        let mut client = server.public();
        client.ask("GET", "/a", &[], b"");
        let mut peer = upstream.accept();
        peer.read_head();
        if begun {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
            client.read_head();
        }
        drop(client);
        peer.ended();
    }
}

#[test]
fn lengths_of_answers_to_head_are_kept() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    let mut peer = None;
    for (method, said, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234567\r\n\r\n", Some("1234567")),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234567\r\nETag: \"a\"\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
        ("POST", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", Some("0")),
    ] {
        client.ask(method, "/a", &[], b"");
        // One connection serves them all: none of these answers leaves anything behind.
        let peer = peer.get_or_insert_with(|| upstream.accept());
        peer.read_head();
        peer.send(said);
        let head = client.answer_to_head().head;
        assert_eq!(head.get("content-length"), length, "{said:?}: {}", head.raw);
    }
    client.ask("GET", "/a", &[], b"");
    let mut peer = peer.unwrap();
    peer.read_head();
    peer.send(ok("a"));
    assert_eq!(client.answer().text(), "a");
}

#[test]
fn answers_in_chunks_reach_old_clients_without_them() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "ping = '0'", "");
    for kind in ["text/plain", "text/event-stream"] {
        let mut client = server.public();
        client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let mut peer = upstream.accept();
        peer.read_head();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"));
        let head = client.read_head();
        assert_eq!((head.get("transfer-encoding"), head.get("content-length")), (None, None), "{}", head.raw);
        assert_ne!(head.get("connection"), Some("keep-alive"), "{}", head.raw);
        assert_eq!(client.read(2), b"ab");
        peer.send("1\r\nc\r\n0\r\nX-Sum: 1\r\n\r\n");
        assert_eq!(client.rest(), b"c", "the connection's end is the body's");
        peer.reset();
    }
}
