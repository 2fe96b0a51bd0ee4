//! The stop, as those see it whose streams come from an upstream.

use std::time::Duration;

use crate::client::{End, Part, request};
use crate::relay::{EVENTS, LAST, begun, chunk};
use crate::server::eventually;
use crate::upstream::{Ending, Upstream, proxied};

/// Long: nobody is to be waited for until then.
const STOP: &str = "[stop]\ndeadline = '120s'\nframe = '100ms'\nwindow = '5s'\n";

fn assert_farewell(parts: &[Part], end: End) {
    assert!(matches!(parts, [Part::Retry(0..=5_000)]), "{parts:?}");
    assert_eq!(end, End::Said);
}

#[test]
fn farewell_is_said_between_two_events() {
    for ping in ["ping = '1h'", "ping = '0s'"] {
        let upstream = Upstream::listen();
        let mut server = proxied(&upstream, &format!("{ping}\n{STOP}"), "");
        let (mut waiting, mut peer) = begun(&server, &upstream);
        let (mut inside, mut inside_peer) = begun(&server, &upstream);
        let (mut unborn, mut unborn_peer) = begun(&server, &upstream);
        peer.send(chunk("data: a\n\n"));
        assert_eq!(waiting.event().data, "a");
        inside_peer.send(chunk("data: b\nda"));
        assert_eq!(inside.chunk(), Ok(b"data: b\nda".to_vec()));
        server.begin_stop();
        let (parts, end) = waiting.to_end();
        assert_farewell(&parts, end);
        assert!(waiting.client.is_closed());
        assert!(matches!(peer.ended(), Ending::Finished | Ending::Reset));
        let (parts, end) = unborn.to_end();
        assert_farewell(&parts, end);
        unborn_peer.ended();
        assert!(inside.client.is_silent_for(Duration::from_millis(100)), "an event is not cut in two");
        inside_peer.send(chunk("ta: c\n\n"));
        assert_eq!(inside.event().data, "b\nc");
        let (parts, end) = inside.to_end();
        assert_farewell(&parts, end);
        inside_peer.ended();
        drop((waiting, inside, unborn));
        eventually("the stop is over long before its deadline", || server.has_stopped());
    }
}

#[test]
fn farewell_comes_to_an_end_with_an_upstream_that_never_pauses() {
    let upstream = Upstream::listen();
    let mut server = proxied(&upstream, STOP, "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    let events = chunk("data: a\n\n").repeat(1_000);
    let talk = std::thread::spawn(move || while peer.try_send(&events).is_ok() {});
    assert_eq!(stream.event().data, "a");
    server.begin_stop();
    let (mut parts, end) = stream.to_end();
    parts.retain(|part| !matches!(part, Part::Event(_)));
    assert_farewell(&parts, end);
    talk.join().unwrap();
}

#[test]
fn farewell_to_an_http_1_0_client_is_a_clean_end() {
    let upstream = Upstream::listen();
    let mut server = proxied(&upstream, STOP, "");
    let mut client = server.public();
    client.send("GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send([EVENTS.as_bytes(), &chunk("data: a\n\n")].concat());
    let mut stream = client.stream();
    assert_eq!(stream.event().data, "a");
    server.begin_stop();
    let (parts, end) = stream.to_end();
    assert!(matches!(parts[..], [Part::Retry(0..=5_000)]), "{parts:?}");
    assert_eq!(end, End::Closed);
}

/// Nothing can be said within such a stream: it breaks off, and an `EventSource` comes back from that too.
#[test]
fn farewell_is_not_said_where_bytes_are_coded_or_counted() {
    for field in [
        "Content-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Digest: x\r\nTransfer-Encoding: chunked",
        "Content-Length: 100",
    ] {
        let upstream = Upstream::listen();
        let mut server = proxied(&upstream, STOP, "");
        let mut client = server.public();
        client.ask("GET", "/", &[("Accept", "text/event-stream")], b"");
        let mut peer = upstream.accept();
        peer.read_head();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{field}\r\n\r\n"));
        client.read_head();
        let coded = chunk("data: a\n\n");
        peer.send(&coded);
        assert_eq!(client.read(coded.len()), coded);
        server.begin_stop();
        assert_eq!(client.rest(), b"", "{field}");
        peer.ended();
        eventually("the stop is over long before its deadline", || server.has_stopped());
    }
}

#[test]
fn farewell_lets_the_answer_to_a_post_finish() {
    let upstream = Upstream::listen();
    let mut server = proxied(&upstream, STOP, "");
    let mut client = server.public();
    client.send(request("POST", "/", &[], b"{}"));
    let mut peer = upstream.accept();
    peer.read_until(b"{}");
    peer.send([EVENTS.as_bytes(), &chunk("data: a\n\n")].concat());
    let mut stream = client.stream();
    assert_eq!(stream.event().data, "a");
    server.begin_stop();
    assert!(stream.client.is_silent_for(Duration::from_millis(200)));
    assert!(!server.has_stopped());
    peer.send([&chunk("data: b\n\n")[..], LAST.as_bytes()].concat());
    assert_eq!(stream.event().data, "b");
    assert_eq!(stream.to_end(), (vec![], End::Said));
    eventually("the server stops behind it", || server.has_stopped());
}

#[test]
fn farewell_to_the_answer_to_a_post_is_an_error_at_the_deadline() {
    let upstream = Upstream::listen();
    let mut server = proxied(&upstream, "[stop]\ndeadline = '300ms'\nframe = '100ms'", "");
    let mut client = server.public();
    client.send(request("POST", "/", &[], b"{}"));
    let mut peer = upstream.accept();
    peer.read_until(b"{}");
    peer.send([EVENTS.as_bytes(), &chunk("data: a\n\n")].concat());
    let mut stream = client.stream();
    assert_eq!(stream.event().data, "a");
    server.begin_stop();
    let (parts, end) = stream.to_end();
    assert!(parts.is_empty() && end != End::Said, "{parts:?} {end:?}");
    peer.ended();
}
