//! A client's leaving reaches the upstream at once, whatever hides it. How long that took is printed; it has to be less than
//! patience, where every timer of the proxy is longer.

use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::client::Client;
use crate::relay::{EVENTS, chunk};
use crate::server::TestServer;
use crate::upstream::{Peer, Upstream, proxied};

/// Nothing of this may be what ends the exchange.
const ROUTE: &str = "ping = '0s'";
const TIMERS: &str = "first_byte_timeout = '10m'\nidle_timeout = '10m'";

/// What an upstream had been doing when the client left.
const MOMENTS: [&str; 5] = ["thinking", "in a body", "in a stream", "in a silent stream", "in a stream with a length"];

/// How it left.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Closes,
    HalfCloses,
    Resets,
}

/// Leaves, and says after how long the upstream knew.
fn leave(client: Client, way: Way, peer: &mut Peer) -> Duration {
    let start = Instant::now();
    let kept = match way {
        Way::HalfCloses => {
            client.half_close();
            Some(client)
        }
        Way::Resets => {
            SockRef::from(&client.socket).set_linger(Some(Duration::ZERO)).expect("a socket");
            drop(client);
            None
        }
        Way::Closes => {
            drop(client);
            None
        }
    };
    peer.ended();
    drop(kept);
    start.elapsed()
}

/// A request, and what stands behind it, up to the moment.
fn up_to(server: &TestServer, upstream: &Upstream, moment: &str, request: &str, behind: &[u8]) -> (Client, Peer) {
    let mut client = server.public();
    client.send([request.as_bytes(), behind].concat());
    let mut peer = upstream.accept();
    peer.read_until(b"\r\n\r\n");
    if request.starts_with("POST") {
        peer.read(2);
    }
    match moment {
        "thinking" => {}
        "in a body" => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"),
        "in a stream" => peer.send([EVENTS.as_bytes(), &chunk("data: a\n\n")].concat()),
        "in a silent stream" => peer.send(EVENTS),
        "in a stream with a length" => {
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\ndata: a\n\n");
        }
        other => panic!("no such moment: {other}"),
    }
    if moment != "thinking" {
        client.read_head();
    }
    match moment {
        "in a body" => drop(client.read(3)),
        "in a stream" => drop(client.read_chunk()),
        "in a stream with a length" => drop(client.read(9)),
        _ => {}
    }
    (client, peer)
}

#[test]
fn leaving_reaches_the_upstream_at_every_moment_in_every_way() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, ROUTE, TIMERS);
    for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"] {
        for moment in MOMENTS {
            for way in [Way::Closes, Way::HalfCloses, Way::Resets] {
                let (client, mut peer) = up_to(&server, &upstream, moment, request, b"");
                let took = leave(client, way, &mut peer);
                println!("{} {moment}, {way:?}: {:.1} ms", &request[..4], took.as_secs_f64() * 1e3);
            }
        }
    }
}

#[test]
fn leaving_is_not_hidden_by_what_is_pipelined_behind_the_request() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, ROUTE, TIMERS);
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
    let long = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4_000).into_bytes();
    for request in [get, post] {
        for moment in MOMENTS {
            for behind in [&b"G"[..], b"\r\n", &long[..20_000], &long[..110_000]] {
                let is_long = behind.len() > 20_000;
                // What is too much is answered by the connection's end.
                if is_long && moment != "thinking" {
                    continue;
                }
                if is_long && request == post {
                    continue;
                }
                for way in [Way::Closes, Way::HalfCloses, Way::Resets] {
                    let (client, mut peer) = up_to(&server, &upstream, moment, request, behind);
                    let took = leave(client, way, &mut peer);
                    let (ms, behind) = (took.as_secs_f64() * 1e3, behind.len());
                    println!("{} {moment}, {behind} bytes behind it, {way:?}: {ms:.1} ms", &request[..4]);
                }
            }
        }
    }
}

#[test]
fn leaving_in_the_middle_of_an_upload_reaches_the_upstream() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, ROUTE, TIMERS);
    for (head, part) in [("Content-Length: 100", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n")] {
        for answered in [false, true] {
            for way in [Way::Closes, Way::HalfCloses, Way::Resets] {
                let mut client = server.public();
                client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n{part}"));
                let mut peer = upstream.accept();
                peer.read_until(b"hello");
                if answered {
                    peer.send(EVENTS);
                    client.read_head();
                }
                let took = leave(client, way, &mut peer);
                println!("upload ({head}), answered: {answered}, {way:?}: {:.1} ms", took.as_secs_f64() * 1e3);
            }
        }
    }
}

#[test]
fn leaving_reaches_an_upstream_that_does_not_read_the_upload() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, ROUTE, TIMERS);
    let mut client = server.public();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
    let mut peer = upstream.accept();
    peer.read_until(b"\r\n\r\n");
    let sent =
        crate::upstream::send_until_blocked(&mut client.socket, &vec![b'x'; 64 << 10], Duration::from_millis(300));
    assert!(sent < 64 << 20, "{sent} bytes are held for an upstream that reads nothing");
    // A close would wait behind what the kernel still has to send; a reset does not.
    let took = leave(client, Way::Resets, &mut peer);
    println!("blocked upload, reset: {:.1} ms", took.as_secs_f64() * 1e3);
}

#[test]
fn talking_on_and_on_behind_a_stream_is_leaving() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, ROUTE, TIMERS);
    let (mut client, mut peer) = up_to(&server, &upstream, "in a stream", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"");
    let piece = [b'x'; 16 << 10];
    let start = Instant::now();
    let mut sent = 0;
    while std::io::Write::write_all(&mut client.socket, &piece).is_ok() {
        sent += piece.len();
        assert!(sent < 64 << 20, "the server reads for ever");
    }
    peer.ended();
    println!("{sent} bytes behind a stream: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
}
