//! Event streams through the proxy: what passes, when, and how it ends.

use std::time::Duration;

use socket2::SockRef;

use crate::client::{Client, End, Stream, request};
use crate::server::TestServer;
use crate::upstream::{Ending, Peer, Upstream, ok, proxied, values};

/// The head of an answer that is an event stream in chunks.
pub(crate) const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The last chunk.
pub(crate) const LAST: &str = "0\r\n\r\n";

/// A chunk.
pub(crate) fn chunk(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [format!("{:x}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat()
}

/// A stream that has just begun, and its upstream. The client is an `EventSource`.
pub(crate) fn begun(server: &TestServer, upstream: &Upstream) -> (Stream, Peer) {
    let mut client = server.public();
    client.ask("GET", "/events", &[("Accept", "text/event-stream")], b"");
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send(EVENTS);
    (client.stream(), peer)
}

/// The same with this head of the answer and this client's request.
fn begun_with(server: &TestServer, upstream: &Upstream, head: &str, request: &[u8]) -> (Client, Peer) {
    let mut client = server.public();
    client.send(request);
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send(head);
    (client, peer)
}

fn get() -> Vec<u8> {
    request("GET", "/", &[], b"")
}

#[test]
fn relay_sends_the_head_before_there_is_an_event() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let (stream, _peer) = begun(&server, &upstream);
    let head = &stream.head;
    assert!(head.raw.starts_with("HTTP/1.1 200 OK\r\n"), "{}", head.raw);
    assert_eq!(head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(head.get("cache-control"), Some("no-store, no-transform"));
    assert_eq!(head.get("x-accel-buffering"), Some("no"));
    assert!(head.get("date").is_some() && head.get("content-length").is_none() && head.get("connection").is_none());
}

#[test]
fn relay_passes_each_write_on_before_there_is_another() {
    const TEXT: &str = "\u{feff}id: 1\ndata: gr\u{fc}\u{df}e\r\n\r\n: c\rdata\r\r\0";
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    for byte in TEXT.bytes() {
        peer.send(chunk([byte]));
        assert_eq!(stream.client.read_chunk(), Ok(vec![byte]));
    }
    // Also where the upstream's chunks are cut.
    for byte in chunk(TEXT) {
        peer.send([byte]);
        std::thread::yield_now();
    }
    let mut got = Vec::new();
    while got.len() < TEXT.len() {
        got.extend(stream.client.read_chunk().unwrap());
    }
    assert_eq!(got, TEXT.as_bytes());
    peer.send("5\r\nab");
    assert_eq!(stream.client.read_chunk(), Ok(b"ab".to_vec()), "half a chunk is passed on as well");
    peer.send("cde\r\n0\r\n\r\n");
    assert_eq!(stream.client.read_chunk(), Ok(b"cde".to_vec()));
    assert_eq!(stream.client.read_chunk(), Err(End::Said));
}

#[test]
fn relay_keeps_many_events_of_one_read_in_order() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    let numbers: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    let events: Vec<u8> = numbers.iter().flat_map(|n| chunk(format!("data: {n}\n\n"))).collect();
    peer.send(events);
    peer.send(LAST);
    assert_eq!(stream.data(numbers.len()), numbers);
    assert_eq!(stream.to_end(), (vec![], End::Said));
}

#[test]
fn relay_knows_a_stream_by_the_answers_media_type_whatever_was_asked() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let requests = [get(), request("POST", "/", &[("Content-Type", "application/json")], b"{}")];
    for request in requests {
        for kind in [
            "text/event-stream",
            "Text/EVENT-Stream",
            "text/event-stream; charset=utf-8",
            " text/event-stream ;",
            "text/event-stream\t;a=b",
        ] {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type:{kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
            let (mut client, mut peer) = begun_with(&server, &upstream, &head, &request);
            let head = client.read_head();
            assert_eq!(head.get("content-type"), Some(kind.trim()), "as the application wrote it");
            assert_eq!(head.get("x-accel-buffering"), Some("no"), "{kind}");
            peer.send(chunk("data: a\n\n"));
            assert_eq!(client.read_chunk(), Ok(b"data: a\n\n".to_vec()));
        }
        for (status, kind) in [
            (200, "text/event-streams"),
            (200, "application/x-ndjson; a=text/event-stream"),
            (200, "text/plain"),
            (404, "text/event-stream"),
        ] {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
            let (mut client, mut peer) = begun_with(&server, &upstream, &head, &request);
            let head = client.read_head();
            assert_eq!((head.get("x-accel-buffering"), head.get("cache-control")), (None, None), "{status} {kind}");
            // Whatever it is, nobody keeps it back.
            peer.send(chunk("a"));
            assert_eq!(client.read_chunk(), Ok(b"a".to_vec()));
        }
    }
}

#[test]
fn relay_forbids_to_transform_and_keeps_what_the_application_said_of_caching() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for (fields, expected) in [
        ("", "no-store, no-transform"),
        ("Cache-Control: no-cache\r\n", "no-cache, no-transform"),
        ("Cache-Control: private, No-Transform\r\n", "private, No-Transform"),
        ("Cache-Control: no-cache\r\nCache-Control: private\r\n", "no-cache, private, no-transform"),
        ("Cache-Control:\r\n", "no-store, no-transform"),
        ("X-Accel-Buffering: yes\r\nX-Accel-Limit-Rate: 1\r\n", "no-store, no-transform"),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{fields}\r\n");
        let (mut client, _peer) = begun_with(&server, &upstream, &head, &get());
        let head = client.read_head();
        assert_eq!(head.get("cache-control"), Some(expected), "{fields:?}");
        assert_eq!(head.get("x-accel-buffering"), Some("no"));
        assert_eq!(head.get("x-accel-limit-rate"), None);
    }
}

#[test]
fn relay_of_a_stream_with_a_length_keeps_it_and_adds_nothing() {
    const BODY: &str = "data: a\n\ndata: b\n\n";
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "ping = '20ms'", "");
    let length = BODY.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {length}\r\n\r\n");
    let (mut client, mut peer) = begun_with(&server, &upstream, &head, &get());
    assert_eq!(client.read_head().get("content-length"), Some(&*length.to_string()));
    peer.send(&BODY[..9]);
    assert_eq!(client.read(9), &BODY.as_bytes()[..9]);
    assert!(client.is_silent_for(Duration::from_millis(200)));
    peer.send(&BODY[9..]);
    assert_eq!(client.read(9), &BODY.as_bytes()[9..]);
    // Both connections go on.
    client.ask("GET", "/next", &[], b"");
    assert!(peer.read_head().starts_with("GET /next "));
    peer.send(ok("next"));
    assert_eq!(client.answer().text(), "next");
}

#[test]
fn relay_adds_nothing_to_what_is_coded_or_signed() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "ping = '20ms'", "");
    for field in [
        "Content-Encoding: gzip",
        "Repr-Digest: sha-256=:AAAA:",
        "Content-Digest: sha-256=:AAAA:",
        "Digest: sha-256=AAAA",
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{field}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let (mut client, mut peer) = begun_with(&server, &upstream, &head, &get());
        let (name, value) = field.split_once(": ").unwrap();
        assert_eq!(client.read_head().get(&name.to_lowercase()), Some(value));
        peer.send(chunk(b"\x1f\x8b\n\n"));
        assert_eq!(client.read_chunk(), Ok(b"\x1f\x8b\n\n".to_vec()));
        assert!(client.is_silent_for(Duration::from_millis(100)), "{field}");
    }
}

#[test]
fn relay_to_an_http_1_0_client_has_no_chunks_and_ends_with_the_connection() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "ping = '20ms'", "");
    let (mut client, mut peer) =
        begun_with(&server, &upstream, EVENTS, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let head = client.read_head();
    assert_eq!((head.get("transfer-encoding"), head.get("connection")), (None, Some("close")), "{}", head.raw);
    peer.send(chunk("data: a\n\n"));
    assert_eq!(client.read(14), b"data: a\n\n: hb\n");
    peer.send(LAST);
    let rest = client.rest();
    assert_eq!(String::from_utf8(rest.clone()).unwrap(), ": hb\n".repeat(rest.len() / 5));
}

#[test]
fn relay_gives_the_connection_back_after_a_clean_end() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    // The next request comes in the middle of the stream, the one behind it in two parts.
    stream.client.send(b"GET /second HTTP/1.1\r\nHost: localhost\r\n\r\nGET /third HTTP/1.1\r\nHo");
    peer.send(chunk("data: a\n\n"));
    assert_eq!(stream.event().data, "a");
    peer.send(LAST);
    assert_eq!(stream.to_end(), (vec![], End::Said));
    for n in 0..3 {
        let path = ["/second", "/third", "/fourth"][n];
        assert!(peer.read_head().starts_with(&format!("GET {path} ")), "over the same connection");
        peer.send(ok(path));
        assert_eq!(stream.client.answer().text(), path);
        match n {
            0 => stream.client.send(b"st: localhost\r\n\r\n"),
            1 => stream.client.ask("GET", "/fourth", &[], b""),
            _ => {}
        }
    }
    // And a stream again.
    stream.client.ask("GET", "/events", &[], b"");
    peer.read_head();
    peer.send([EVENTS.as_bytes(), &chunk("data: b\n\n"), LAST.as_bytes()].concat());
    let mut stream = stream.client.stream();
    assert_eq!(stream.event().data, "b");
    assert_eq!(stream.to_end(), (vec![], End::Said));
}

#[test]
fn relay_to_a_client_that_wants_no_more_closes_behind_the_end() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let request = request("GET", "/", &[("Connection", "close")], b"");
    let (client, mut peer) = begun_with(&server, &upstream, EVENTS, &request);
    let mut stream = client.stream();
    assert_eq!(stream.head.get("connection"), Some("close"));
    peer.send([&chunk("data: a\n\n")[..], LAST.as_bytes()].concat());
    assert_eq!(stream.event().data, "a");
    assert_eq!(stream.to_end(), (vec![], End::Said));
    assert!(stream.client.is_closed());
}

#[test]
fn relay_that_is_over_does_not_listen_for_ever_to_a_client_that_talks_on() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let request = request("GET", "/", &[("Connection", "close")], b"");
    let (client, mut peer) = begun_with(&server, &upstream, EVENTS, &request);
    let mut stream = client.stream();
    peer.send(LAST);
    assert_eq!(stream.to_end(), (vec![], End::Said));
    // Faster than anybody reads.
    let flood = vec![b'x'; 1 << 20];
    let end = std::time::Instant::now() + crate::server::PATIENCE;
    while std::io::Write::write_all(&mut stream.client.socket, &flood).is_ok() {
        assert!(std::time::Instant::now() < end, "the connection was not closed");
    }
}

#[test]
fn relay_asks_for_events_as_they_are() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for (accept, expected) in
        [("text/event-stream", "identity"), ("*/*, Text/Event-Stream;q=0.9", "identity"), ("*/*", "gzip, br")]
    {
        let mut client = server.public();
        client.ask("GET", "/", &[("Accept", accept), ("Accept-Encoding", "gzip, br")], b"");
        let mut peer = upstream.accept();
        assert_eq!(values(&peer.read_head(), "accept-encoding"), [expected], "{accept}");
    }
}

#[test]
fn relay_passes_the_last_event_id_on_as_the_bytes_it_is() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let id = b"\xe2\x80\xa6 \xff\x80 \"(),:;<=>?@[\\]{}";
    let mut client = server.public();
    client.send([b"GET / HTTP/1.1\r\nHost: a\r\nLast-Event-ID: ", &id[..], b"\r\n\r\n"].concat());
    let mut peer = upstream.accept();
    peer.read_until(b"last-event-id: ");
    assert_eq!(peer.read_until(b"\r\n"), [&id[..], b"\r\n"].concat());
}

#[test]
fn relay_waits_for_events_however_long_bodies_may_be_silent() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "ping = '0s'", "idle_timeout = '200ms'");
    let (mut stream, mut peer) = begun(&server, &upstream);
    let silence = Duration::from_millis(600);
    assert!(stream.client.is_silent_for(silence));
    peer.send(chunk("data: a\n"));
    assert_eq!(stream.chunk(), Ok(b"data: a\n".to_vec()));
    assert!(stream.client.is_silent_for(silence));
    peer.send("9\r\ndata: b");
    assert_eq!(stream.chunk(), Ok(b"data: b".to_vec()));
    assert!(stream.client.is_silent_for(silence));
    peer.send("\n\n\r\n0\r\n\r\n");
    assert_eq!(stream.event().data, "a\nb");
    assert_eq!(stream.to_end(), (vec![], End::Said));
}

#[test]
fn relay_of_what_was_cut_off_is_cut_off() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let chunked = request("GET", "/", &[], b"");
    let old = b"GET / HTTP/1.0\r\n\r\n".to_vec();
    for request in [chunked, old] {
        for how in ["closes", "resets", "closes in a chunk", "lies about a chunk"] {
            let (client, mut peer) = begun_with(&server, &upstream, EVENTS, &request);
            let mut stream = client.stream();
            peer.send(chunk("data: a\n\n"));
            assert_eq!(stream.event().data, "a");
            match how {
                "closes in a chunk" => peer.send("5\r\nid"),
                "lies about a chunk" => peer.send("1\r\nid\r\n"),
                _ => {}
            }
            if how == "resets" {
                peer.reset();
            } else {
                peer.close();
            }
            let (parts, end) = stream.to_end();
            let old = request.windows(8).any(|word| word == b"HTTP/1.0");
            assert!(parts.is_empty(), "{parts:?}");
            assert!(if old { end == End::Cut } else { end != End::Said }, "{how}, old: {old}: {end:?}");
        }
    }
    // A length that is not kept: neither is ours.
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\n";
    let (mut client, mut peer) = begun_with(&server, &upstream, head, &get());
    client.read_head();
    peer.send("data: a\n\n");
    peer.close();
    assert_eq!(client.rest(), b"data: a\n\n");
}

#[test]
fn relay_of_what_ended_well_ends_well() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    // The connection's end is the stream's where nothing else tells it.
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    ] {
        let (client, mut peer) = begun_with(&server, &upstream, head, &get());
        let mut stream = client.stream();
        peer.send("data: a\n\ndata: half");
        assert_eq!(stream.event().data, "a");
        peer.close();
        assert_eq!(stream.to_end(), (vec![], End::Said));
        let all = stream.chunks.concat();
        assert_eq!(all, b"data: a\n\ndata: half", "nothing is added, no blank line either");
    }
}

#[test]
fn relay_passes_trailers_on() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    peer.send("0\r\nX-Sum: 1\r\nContent-Length: 7\r\nX-More: 2\r\n\r\n");
    let expected = b"0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n";
    assert_eq!(stream.client.read(expected.len()), expected);
    stream.client.ask("GET", "/", &[], b"");
    peer.read_head();
    peer.send(ok("kept"));
    assert_eq!(stream.client.answer().text(), "kept");
}

#[test]
fn relay_passes_an_event_of_a_mebibyte() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    let text = (0..180_000_u32).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let said = text.clone();
    let talk = std::thread::spawn(move || {
        peer.send(chunk(format!("data: {said}\n\n")));
        peer.send(LAST);
        peer
    });
    assert!(text.len() > 1 << 20 && stream.event().data == text, "the event came as it was");
    assert_eq!(stream.to_end(), (vec![], End::Said));
    talk.join().unwrap();
}

#[test]
fn relay_to_a_slow_client_makes_the_upstream_wait() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    SockRef::from(&stream.client.socket).set_recv_buffer_size(16 << 10).unwrap();
    let piece = chunk(format!("data: {}\n\n", "x".repeat(16 << 10)));
    let length = piece.len();
    let sent = peer.send_until_blocked(&piece, Duration::from_millis(300));
    // The kernel's buffers on both sides, and one read of ours.
    assert!(sent < 32 << 20, "{sent} bytes are held for a client that reads nothing");
    // It wakes up, and everything is there.
    let talk = std::thread::spawn(move || {
        peer.send(&piece[sent % length..]);
        peer.send(LAST);
        peer
    });
    let (parts, end) = stream.to_end();
    assert_eq!((parts.len(), end), (sent / length + 1, End::Said));
    talk.join().unwrap();
}

#[test]
fn relay_to_a_client_that_takes_nothing_is_dropped_at_both_ends() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "stall_limit = '300ms'", "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    SockRef::from(&stream.client.socket).set_recv_buffer_size(16 << 10).unwrap();
    let piece = chunk(format!("data: {}\n\n", "x".repeat(64 << 10)));
    while peer.try_send(&piece).is_ok() {}
    let (_, end) = stream.to_end();
    assert_ne!(end, End::Said);
    // One who only pauses is not.
    let (mut stream, mut peer) = begun(&server, &upstream);
    std::thread::sleep(Duration::from_millis(700));
    peer.send(chunk("data: a\n\n"));
    assert_eq!(stream.event().data, "a");
    drop(stream);
    assert!(matches!(peer.ended(), Ending::Finished | Ending::Reset));
}

#[test]
fn relay_of_an_answer_to_head_has_no_body() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "ping = '20ms'", "");
    let (mut client, mut peer) = begun_with(&server, &upstream, EVENTS, &request("HEAD", "/", &[], b""));
    assert_eq!(client.answer_to_head().status, 200);
    assert!(client.is_silent_for(Duration::from_millis(100)));
    client.ask("GET", "/", &[], b"");
    peer.read_head();
    peer.send(ok("next"));
    assert_eq!(client.answer().text(), "next", "on both connections");
}

/// An upstream that answers before it has read the request's body, and then breaks off, leaves the rest of that body on the
/// client's connection. It must never be taken for another request.
#[test]
fn relay_never_takes_the_rest_of_a_body_for_a_request() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let body: Vec<u8> = smuggled.iter().copied().cycle().take(smuggled.len() * 400_000).collect();
    for _ in 0..5 {
        let mut client = server.public();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
        let mut peer = upstream.accept();
        peer.read_head();
        let sender = {
            let (mut socket, body) = (client.socket.try_clone().unwrap(), body.clone());
            std::thread::spawn(move || drop(std::io::Write::write_all(&mut socket, &body)))
        };
        // Until the proxy stands in the middle of its upload.
        std::thread::sleep(Duration::from_millis(100));
        peer.send([EVENTS.as_bytes(), &chunk("data: a\n\n"), LAST.as_bytes()].concat());
        peer.reset();
        assert!(upstream.is_alone_for(Duration::from_millis(200)), "the body came as requests");
        client.socket.shutdown(std::net::Shutdown::Both).ok();
        sender.join().unwrap();
    }
}
