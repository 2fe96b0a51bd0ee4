//! Upgraded connections: bytes both ways, whatever they mean.

use std::net::Shutdown;
use std::time::Duration;

use crate::client::Client;
use crate::server::TestServer;
use crate::upstream::{Ending, Peer, Upstream, ok, proxied, values};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: y\r\nX-Accel-Expires: 1\r\nContent-Length: 5\r\n\r\n";

/// A tunnel, with what each end sends beside the heads.
fn tunnel(server: &TestServer, upstream: &Upstream, early: &str, answered: &str) -> (Client, Peer) {
    let mut client = server.public();
    client.send(format!("{UPGRADE}{early}"));
    let mut peer = upstream.accept();
    let head = peer.read_head();
    assert_eq!(values(&head, "upgrade"), ["websocket"], "{head}");
    assert!(values(&head, "connection")[0].eq_ignore_ascii_case("upgrade"), "{head}");
    assert_eq!(values(&head, "sec-websocket-key"), ["x3JJHMbDL1EzLkh9GBhXDw=="]);
    peer.send(format!("{SWITCHED}{answered}"));
    let head = client.read_head();
    assert_eq!(head.status, 101);
    assert_eq!(head.get("upgrade"), Some("WebSocket"));
    assert!(head.get("connection").expect("a protocol").eq_ignore_ascii_case("upgrade"), "{}", head.raw);
    assert_eq!((head.get("sec-websocket-accept"), head.get("content-length")), (Some("y"), None), "{}", head.raw);
    assert_eq!(head.get("x-accel-expires"), None);
    (client, peer)
}

#[test]
fn tunnels_pass_bytes_both_ways_with_those_that_came_early() {
    for upstream in [Upstream::listen(), Upstream::listen_unix()] {
        let server = proxied(&upstream, "", "");
        let (mut client, mut peer) = tunnel(&server, &upstream, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(peer.read(18), b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(client.read(19), b"HTTP/1.1 200 OK\r\n\r\n");
        let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (one, other) = (large.clone(), large.clone());
        std::thread::scope(|scope| {
            let mut socket = client.socket.try_clone().unwrap();
            scope.spawn(move || std::io::Write::write_all(&mut socket, &one).unwrap());
            scope.spawn(|| {
                peer.send(&other);
                assert!(peer.read(large.len()) == large, "what the client sent");
            });
            assert!(client.read(large.len()) == large, "what the upstream sent");
        });
    }
}

#[test]
fn tunnels_are_closed_by_halves() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let (mut client, mut peer) = tunnel(&server, &upstream, "", "");
    client.send("last");
    client.half_close();
    assert_eq!(peer.read_rest(), b"last");
    peer.send("still here");
    assert_eq!(client.read(10), b"still here");
    peer.close();
    assert!(client.rest().is_empty());

    let (mut client, mut peer) = tunnel(&server, &upstream, "", "last");
    peer.half_close();
    assert_eq!(client.rest(), b"last");
    client.send("still here");
    assert_eq!(peer.read(10), b"still here");
    client.socket.shutdown(Shutdown::Both).unwrap();
    assert_eq!(peer.ended(), Ending::Finished);
}

#[test]
fn tunnels_end_when_either_end_breaks_off() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let (mut client, peer) = tunnel(&server, &upstream, "", "");
    peer.reset();
    assert!(client.rest().is_empty());
    let (client, mut peer) = tunnel(&server, &upstream, "", "");
    socket2::SockRef::from(&client.socket).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    peer.ended();
}

#[test]
fn tunnels_that_are_silent_for_too_long_end() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "tunnel_timeout = '1s'\nidle_timeout = '100ms'\nfirst_byte_timeout = '10s'");
    let (mut client, mut peer) = tunnel(&server, &upstream, "", "");
    for _ in 0..7 {
        // Words in one direction are enough.
        std::thread::sleep(Duration::from_millis(200));
        client.send("x");
        assert_eq!(peer.read(1), b"x");
    }
    assert!(client.rest().is_empty());
    peer.ended();
}

#[test]
fn upgrades_that_are_refused_are_answers_like_others() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    client.send(UPGRADE);
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send(ok("no"));
    assert_eq!(client.answer().text(), "no");
    client.ask("GET", "/b", &[], b"");
    assert!(peer.read_head().starts_with("GET /b "), "both connections go on");
    peer.send(ok("b"));
    assert_eq!(client.answer().text(), "b");
}

#[test]
fn upgrades_are_only_passed_on_where_they_can_be_tunnelled() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for (line, fields, passed) in [
        (
            "GET /a HTTP/1.1",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            false,
        ),
        ("GET /a HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", false),
        ("GET /a HTTP/1.1", "Connection: Upgrade\r\nUpgrade: H2C\r\n", false),
        ("GET /a HTTP/1.1", "Upgrade: websocket\r\n", false),
        ("GET /a HTTP/1.1", "Connection: Upgrade\r\n", false),
        ("GET /a HTTP/1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n", false),
        ("GET /a HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", false),
        ("GET /a HTTP/1.1", "connection: x\r\nconnection: upgrade\r\nupgrade: Foo/1\r\n", true),
        ("GET /a HTTP/1.1", "Connection: Upgrade\r\nUpgrade: foo\r\nUpgrade: h2c\r\n", true),
    ] {
        let mut client = server.public();
        client.send(format!("{line}\r\nHost: a\r\n{fields}\r\n"));
        let mut peer = upstream.accept();
        let head = peer.read_head();
        for name in ["connection", "upgrade", "http2-settings"] {
            assert!(passed || values(&head, name).is_empty(), "{fields:?}: {head}");
        }
        assert_eq!(values(&head, "upgrade").len(), usize::from(passed), "{fields:?}: {head}");
        if !fields.contains("Content-Length") {
            peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\nfree");
            assert_eq!(client.answer().status, 502, "{fields:?}");
        }
    }
}
