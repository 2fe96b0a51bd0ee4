//! One upstream stream for many viewers, from the application's socket to theirs: who shares, what each of them is given, and
//! when the application is let go.

use std::time::{Duration, Instant};

use crate::client::{Client, End, Part, Stream};
use crate::server::{TestServer, eventually};
use crate::upstream::{Peer, Upstream, proxied, values};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/// For what must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

fn shared(upstream: &Upstream, route: &str) -> TestServer {
    proxied(upstream, &format!("share = true\n{route}"), "")
}

/// The application's side of a stream that it has begun.
fn begun(upstream: &Upstream) -> (String, Peer) {
    let mut peer = upstream.accept();
    let head = peer.read_head();
    peer.send(HEAD);
    (head, peer)
}

fn say(peer: &mut Peer, text: &str) {
    peer.send(format!("{:x}\r\n{text}\r\n", text.len()));
}

fn end(peer: &mut Peer) {
    peer.send("0\r\n\r\n");
}

fn ask(server: &TestServer, target: &str, headers: &[(&str, &str)]) -> Client {
    let mut client = server.public();
    client.ask("GET", target, headers, b"");
    client
}

/// What a stream says from here on until the text of so many bytes has come, without generated ids.
fn raw(stream: &mut Stream, ends_with: &str) -> String {
    let mut said = String::new();
    while !said.ends_with(ends_with) {
        let chunk = stream.chunk().unwrap_or_else(|end| panic!("{end:?} after {said:?}"));
        said.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
    said.split_inclusive('\n').filter(|line| !line.starts_with("id: ~")).collect()
}

#[test]
fn sharing_gives_many_one_upstream_stream_each_event_once_and_in_order() {
    const MANY: usize = 300;
    let upstream = Upstream::listen();
    let server = shared(&upstream, "");
    // All come while the application has not answered yet.
    let clients: Vec<_> = (0..MANY).map(|_| ask(&server, "/scores?a=1", &[])).collect();
    let mut peer = upstream.accept();
    assert!(peer.read_head().starts_with("GET /scores?a=1 HTTP/1.1\r\n"));
    assert!(upstream.is_alone_for(A_WHILE));
    peer.send(HEAD);
    say(&mut peer, "data: 1\n\ndata: 2\n\n");
    let mut streams: Vec<_> = clients.into_iter().map(Client::stream).collect();
    for stream in &mut streams {
        assert_eq!(stream.data(2), ["1", "2"]);
    }
    let mut late = server.public().subscribe("/scores?a=1");
    say(&mut peer, "data: 3\n\n");
    assert_eq!(late.data(3), ["1", "2", "3"]);
    for n in 4..100 {
        say(&mut peer, &format!("data: {n}\n\n"));
    }
    streams.push(late);
    for (at, stream) in streams.iter_mut().enumerate() {
        let first = if at == MANY { 4 } else { 3 };
        let expected: Vec<_> = (first..100).map(|n: usize| n.to_string()).collect();
        assert_eq!(stream.data(expected.len()), expected);
    }
    assert!(upstream.is_alone_for(Duration::ZERO));
    assert_eq!(server.metric("fantail_shared_streams"), 1);
    end(&mut peer);
    for stream in &mut streams {
        assert_eq!(stream.to_end(), (vec![], End::Said));
    }
    eventually("it is forgotten", || server.metric("fantail_shared_streams") == 0);
}

#[test]
fn sharing_lets_the_upstream_go_a_grace_after_the_last_viewer() {
    let upstream = Upstream::listen();
    let grace = Duration::from_millis(700);
    let server = shared(&upstream, "grace = '700ms'");
    let first = ask(&server, "/a", &[]);
    let (_, mut peer) = begun(&upstream);
    let first = first.stream();
    let mut second = server.public().subscribe("/a");
    drop(first);
    say(&mut peer, "data: 1\n\n");
    assert_eq!(second.data(1), ["1"]);
    // Longer than the grace, which does not run while somebody watches.
    assert!(peer.is_silent_for(grace + A_WHILE));
    let left = Instant::now();
    drop(second);
    peer.ended();
    assert!(left.elapsed() >= grace, "after {:?}", left.elapsed());
    assert_eq!(server.metric("fantail_abandoned_streams_total"), 1);
    // The next one opens it anew.
    let next = ask(&server, "/a", &[]);
    begun(&upstream);
    next.stream();
}

#[test]
fn sharing_within_the_grace_goes_on_with_the_same_upstream() {
    let upstream = Upstream::listen();
    let server = shared(&upstream, "grace = '1h'");
    let first = ask(&server, "/a", &[]);
    let (_, mut peer) = begun(&upstream);
    let mut first = first.stream();
    say(&mut peer, "data: 1\n\n");
    let seen = first.event();
    drop(first);
    server.until_stat("subscribers", 0);
    say(&mut peer, "data: 2\n\n");
    let mut anew = server.public().subscribe("/a");
    let mut back = server.public().subscribe_with("/a", &[("Last-Event-ID", &seen.id)]);
    say(&mut peer, "data: 3\n\n");
    assert_eq!(anew.data(3), ["1", "2", "3"]);
    assert_eq!(back.data(2), ["2", "3"]);
    assert!(upstream.is_alone_for(Duration::ZERO));
}

#[test]
fn sharing_is_by_host_path_query_and_named_headers() {
    let upstream = Upstream::listen();
    let server = shared(&upstream, "share_headers = ['X-Tenant']");
    let first = ask(&server, "/a?b=1", &[("Host", "one")]);
    let (_, _peer) = begun(&upstream);
    let first = first.stream();
    for (target, headers) in [
        ("/a?b=1", vec![("Host", "ONE"), ("X-Other", "1"), ("User-Agent", "x")]),
        ("http://one/a?b=1", vec![("Host", "one")]),
    ] {
        drop(ask(&server, target, &headers).stream());
    }
    let mut others = Vec::new();
    for (target, headers) in [
        ("/a?b=2", vec![("Host", "one")]),
        ("/a", vec![("Host", "one")]),
        ("/a?", vec![("Host", "one")]),
        ("/A?b=1", vec![("Host", "one")]),
        ("/a?b=1", vec![("Host", "two")]),
        ("/a?b=1", vec![("Host", "one"), ("X-Tenant", "1")]),
        ("/a?b=1", vec![("Host", "one"), ("X-Tenant", "2")]),
    ] {
        let client = ask(&server, target, &headers);
        others.push((begun(&upstream), client.stream()));
    }
    assert_eq!(server.metric("fantail_shared_streams"), 8);
    drop(first);
}

#[test]
fn sharing_is_not_for_credentials_bodies_other_methods_or_upgrades() {
    let upstream = Upstream::listen();
    let server = shared(&upstream, "");
    let first = ask(&server, "/a", &[]);
    let (_, _peer) = begun(&upstream);
    let _first = first.stream();
    for header in [("Cookie", "sid=1"), ("Authorization", "Bearer x")] {
        let client = ask(&server, "/a", &[header]);
        let (head, mut peer) = begun(&upstream);
        assert_eq!(values(&head, header.0), [header.1]);
        say(&mut peer, "data: mine\n\n");
        assert_eq!(client.stream().data(1), ["mine"]);
    }
    for (method, body) in [("POST", &b"x"[..]), ("GET", b"x"), ("HEAD", b""), ("PUT", b"")] {
        let mut client = server.public();
        client.ask(method, "/a", &[], body);
        let mut peer = upstream.accept();
        let head = peer.read_head();
        assert!(head.starts_with(&format!("{method} /a ")), "{head}");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert_eq!(if method == "HEAD" { client.answer_to_head() } else { client.answer() }.body, b"");
    }
    let mut client = ask(&server, "/a", &[("Connection", "upgrade"), ("Upgrade", "websocket")]);
    let mut peer = upstream.accept();
    assert_eq!(values(&peer.read_head(), "upgrade"), ["websocket"]);
    peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello");
    assert_eq!(client.read_head().status, 101);
    assert_eq!(server.metric("fantail_shared_streams"), 1);
}

#[test]
fn sharing_with_credentials_is_what_the_route_may_say() {
    let upstream = Upstream::listen();
    let server = shared(&upstream, "share_credentials = true");
    let first = ask(&server, "/a", &[("Cookie", "sid=1")]);
    let (head, mut peer) = begun(&upstream);
    assert_eq!(values(&head, "cookie"), ["sid=1"]);
    say(&mut peer, "data: 1\n\n");
    assert_eq!(first.stream().data(1), ["1"]);
    assert_eq!(server.public().subscribe_with("/a", &[("Authorization", "x")]).data(1), ["1"]);
}

#[test]
fn sharing_is_not_for_answers_that_are_no_streams_or_for_one_person() {
    const STREAM: &str = "Content-Type: text/event-stream";
    for (status, fields) in [
        ("404 Not Found", STREAM.to_owned()),
        ("200 OK", "Content-Type: application/json".to_owned()),
        ("200 OK", format!("{STREAM}\r\nSet-Cookie: sid=1")),
        ("200 OK", format!("{STREAM}\r\nCache-Control: no-cache, private")),
        ("200 OK", format!("{STREAM}\r\nVary: Cookie")),
        ("200 OK", format!("{STREAM}\r\nContent-Encoding: gzip")),
    ] {
        let upstream = Upstream::listen();
        let server = shared(&upstream, "");
        let mut clients: Vec<_> = (0..3).map(|_| ask(&server, "/a", &[])).collect();
        let mut peers = Vec::new();
        for n in 0..3 {
            let mut peer = upstream.accept();
            peer.read_head();
            peer.send(format!("HTTP/1.1 {status}\r\n{fields}\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{n}"));
            peers.push(peer);
        }
        let mut bodies: Vec<_> = clients.iter_mut().map(|client| client.answer().text()).collect();
        bodies.sort_unstable();
        assert_eq!(bodies, ["0", "1", "2"], "{status} {fields}");
    }
}

#[test]
fn sharing_after_a_failure_is_one_stream_again() {
    const OTHERS: usize = 5;
    let upstream = Upstream::listen();
    let server = shared(&upstream, "");
    let mut first = ask(&server, "/a", &[]);
    let mut peer = upstream.accept();
    peer.read_head();
    let others: Vec<_> = (0..OTHERS).map(|_| ask(&server, "/a", &[])).collect();
    assert!(upstream.is_alone_for(A_WHILE));
    peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(first.answer().status, 503);
    // The others ask for themselves. One of the answers is for all of them, and for those who come.
    let mut peers: Vec<_> = (0..OTHERS).map(|_| upstream.accept()).collect();
    for peer in &mut peers {
        peer.read_head();
        // Those who come late may have left already.
        let _ = peer.try_send(HEAD.as_bytes());
    }
    let mut streams: Vec<_> = others.into_iter().map(Client::stream).collect();
    streams.push(server.public().subscribe("/a"));
    assert_eq!(server.metric("fantail_shared_streams"), 1);
    for peer in &mut peers {
        let _ = peer.try_send(b"9\r\ndata: 1\n\n\r\n");
    }
    for stream in &mut streams {
        assert_eq!(stream.data(1), ["1"]);
    }
    assert!(upstream.is_alone_for(Duration::ZERO));
}

#[test]
fn sharing_leaves_what_is_handed_over_to_those_who_asked() {
    let upstream = Upstream::serve(|_, _| {
        let held = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nGrip-Hold: stream\r\nGrip-Channel: news";
        format!("{held}\r\nContent-Length: 9\r\n\r\ndata: 1\n\n").into_bytes()
    });
    let server = shared(&upstream, "");
    for _ in 0..2 {
        let mut stream = server.public().subscribe("/a");
        assert!(!stream.head.raw.to_ascii_lowercase().contains("grip"), "{}", stream.head.raw);
        assert_eq!(stream.data(1), ["1"]);
        server.until_stat("subscribers", 1);
        drop(stream);
        server.until_stat("subscribers", 0);
    }
    assert_eq!(server.metric("fantail_shared_streams"), 0);
}

#[test]
fn sharing_of_identity_coded_streams_is_endless_too() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "share = true", "idle_timeout = '100ms'");
    let client = ask(&server, "/a", &[]);
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: identity\r\nX-Accel-Expires: 1\r\n\r\n");
    let mut stream = client.stream();
    assert_eq!(stream.head.get("x-accel-expires"), None);
    assert!(peer.is_silent_for(A_WHILE));
    peer.send("data: 1\n\n");
    assert_eq!(stream.data(1), ["1"]);
}

#[test]
fn sharing_resumes_viewers_by_the_upstreams_ids_and_by_generated_ones() {
    let upstream = Upstream::listen();
    let server = shared(&upstream, "");
    let first = ask(&server, "/a", &[("Last-Event-ID", "zero")]);
    let (head, mut peer) = begun(&upstream);
    assert_eq!(values(&head, "last-event-id"), ["zero"]);
    let mut first = first.stream();
    say(&mut peer, "id: one\ndata: 1\n\ndata: 2\n\nid: dr\u{e9}i\ndata: 3\n\ndata: 4\n\n");
    let events = first.events(4);
    assert_eq!(events[0].id, "one");
    assert!(events[1].id.starts_with("~1."), "{events:?}");
    let behind = |id: &str| server.public().subscribe_with("/a", &[("Last-Event-ID", id)]);
    let mut back: Vec<_> = ["zero", &events[0].id, &events[1].id, &events[2].id, &events[3].id].map(behind).into();
    say(&mut peer, "data: 5\n\n");
    for (seen, stream) in back.iter_mut().enumerate() {
        let expected: Vec<_> = (seen + 1..=5).map(|n| n.to_string()).collect();
        assert_eq!(stream.data(expected.len()), expected);
    }
    // One who has seen what nobody knows is told that something may be missing.
    let mut stranger = behind("unknown");
    assert_eq!(stranger.part(), Ok(Part::Comment("fantail-gap".into())));
    assert_eq!(stranger.data(5), ["1", "2", "3", "4", "5"]);
}

#[test]
fn sharing_that_breaks_off_is_an_error_to_viewers_who_open_it_anew() {
    for reset in [false, true] {
        let upstream = Upstream::listen();
        let server = shared(&upstream, "");
        let first = ask(&server, "/a", &[]);
        let (_, mut peer) = begun(&upstream);
        let mut first = first.stream();
        let mut second = server.public().subscribe("/a");
        say(&mut peer, "id: 1\ndata: 1\n\ndata: part");
        for stream in [&mut first, &mut second] {
            assert_eq!(stream.data(1), ["1"]);
        }
        if reset {
            peer.reset();
        } else {
            peer.close();
        }
        for stream in [&mut first, &mut second] {
            assert_eq!(stream.to_end(), (vec![], End::Broken));
        }
        eventually("it is forgotten", || server.metric("fantail_shared_streams") == 0);
        let clients = [(); 2].map(|()| ask(&server, "/a", &[("Last-Event-ID", "1")]));
        let (head, mut peer) = begun(&upstream);
        assert_eq!(values(&head, "last-event-id"), ["1"]);
        say(&mut peer, "id: 2\ndata: 2\n\n");
        for client in clients {
            let mut stream = client.stream();
            assert_eq!(stream.part().ok().and_then(Part::event).map(|event| event.data), Some("2".into()));
        }
        assert!(upstream.is_alone_for(Duration::ZERO));
    }
}

#[test]
fn sharing_never_tells_an_upstream_what_was_made_here() {
    let upstream = Upstream::listen();
    let server = shared(&upstream, "");
    let first = ask(&server, "/a", &[]);
    let (_, mut peer) = begun(&upstream);
    say(&mut peer, "data: 1\n\n");
    let mut first = first.stream();
    let id = first.event().id;
    end(&mut peer);
    assert_eq!(first.to_end(), (vec![], End::Said));
    eventually("it is forgotten", || server.metric("fantail_shared_streams") == 0);
    let back = ask(&server, "/a", &[("Last-Event-ID", &id)]);
    // The connection is used again.
    let head = peer.read_head();
    assert!(values(&head, "last-event-id").is_empty(), "{head}");
    peer.send(HEAD);
    say(&mut peer, "data: 2\n\n");
    assert_eq!(back.stream().data(1), ["2"]);
}

#[test]
fn sharing_of_a_stream_that_ends_at_once_ends_it_for_everybody() {
    let upstream = Upstream::serve(|_, _| {
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let server = shared(&upstream, "");
    // A 204 would silence every browser among them.
    for round in 0..20 {
        let headers = &[("Last-Event-ID", "x")][..round % 2];
        let clients: Vec<_> = (0..5).map(|_| ask(&server, "/a", headers)).collect();
        for mut client in clients {
            let answer = client.answer();
            assert_eq!((answer.status, answer.head.get("content-type")), (200, Some("text/event-stream")));
            assert_eq!(answer.body, b"");
        }
    }
}

#[test]
fn sharing_passes_events_on_as_they_are() {
    let upstream = Upstream::listen();
    let server = shared(&upstream, "");
    let client = ask(&server, "/a", &[]);
    let (_, mut peer) = begun(&upstream);
    let mut stream = client.stream();
    // A byte order mark counts at the start of the stream alone, which viewers do not see.
    say(&mut peer, "\u{feff}data: first\n\n");
    assert_eq!(raw(&mut stream, "first\n\n"), "data: first\n\n");
    for (said, expected) in [
        ("event: a\r\ndata: 1\r\ndata:  2\r\n\r\n", "event: a\r\ndata: 1\r\ndata:  2\r\n\r\n"),
        (": a comment\nid: own\ndata\nunknown: x\n\n", ": a comment\nid: own\ndata\nunknown: x\n\n"),
        ("retry: 2500\n\ndata: z\n\n", "retry: 2500\ndata: z\n\n"),
        ("data: cr\r\rdata: z\n\n", "data: cr\r\r\ndata: z\n\n"),
        ("event: nothing\n\ndata: z\n\n", "event: nothing\n\ndata: z\n\n"),
    ] {
        say(&mut peer, said);
        assert_eq!(raw(&mut stream, &expected[expected.len() - 3..]), expected);
    }
    // Cut anywhere, it is put together.
    for byte in "id: 7\r\ndata: slow\r\n\r\ndata: z\n\n".split_inclusive(|_| true) {
        say(&mut peer, byte);
    }
    assert_eq!(raw(&mut stream, "z\n\n"), "id: 7\r\ndata: slow\r\n\r\ndata: z\n\n");
}

#[test]
fn sharing_beats_while_the_upstream_is_silent_and_never_inside_an_event() {
    let upstream = Upstream::listen();
    let server = shared(&upstream, "ping = '20ms'");
    let client = ask(&server, "/a", &[]);
    let (_, mut peer) = begun(&upstream);
    let mut stream = client.stream();
    assert_eq!(stream.chunk().as_deref(), Ok(&b": hb\n"[..]));
    say(&mut peer, "data: on");
    // It goes on, and the half of the event waits.
    for _ in 0..3 {
        assert_eq!(stream.chunk().as_deref(), Ok(&b": hb\n"[..]));
    }
    say(&mut peer, "e\n\n");
    assert_eq!(stream.data(1), ["one"]);
}

#[test]
fn sharing_serves_clients_of_http_1_0() {
    for breaks in [false, true] {
        let upstream = Upstream::listen();
        let server = shared(&upstream, "");
        let mut client = server.public();
        client.send("GET /a HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let (_, mut peer) = begun(&upstream);
        say(&mut peer, "data: 1\n\n");
        let mut stream = client.stream();
        assert_eq!(stream.head.get("transfer-encoding"), None);
        assert_eq!(stream.data(1), ["1"]);
        if breaks {
            peer.close();
        } else {
            end(&mut peer);
        }
        // A reset is all that can tell it there.
        let expected = if breaks { End::Cut } else { End::Closed };
        assert_eq!(stream.to_end(), (vec![], expected));
    }
}

#[test]
fn sharing_whose_first_viewer_leaves_before_the_answer_is_opened_by_the_next() {
    let upstream = Upstream::listen();
    let server = shared(&upstream, "");
    let first = ask(&server, "/a", &[]);
    let mut peer = upstream.accept();
    peer.read_head();
    let others: Vec<_> = (0..20).map(|_| ask(&server, "/a", &[])).collect();
    assert!(upstream.is_alone_for(A_WHILE));
    drop(first);
    peer.ended();
    let (_, mut peer) = begun(&upstream);
    say(&mut peer, "data: 1\n\n");
    for client in others {
        assert_eq!(client.stream().data(1), ["1"]);
    }
    assert!(upstream.is_alone_for(Duration::ZERO));
}

#[test]
fn sharing_is_not_held_up_by_a_slow_viewer() {
    let upstream = Upstream::listen();
    let server = shared(&upstream, "");
    let slow = ask(&server, "/a", &[]);
    let (_, mut peer) = begun(&upstream);
    let mut fast = server.public().subscribe("/a");
    let text = "x".repeat(32 << 10);
    // More than sockets and the channel hold.
    for n in 0..600 {
        say(&mut peer, &format!("data: {n} {text}\n\n"));
        let got = fast.event().data;
        assert!(got.starts_with(&format!("{n} ")), "{}", &got[..8]);
    }
    say(&mut peer, "data: end\n\n");
    assert_eq!(fast.data(1), ["end"]);
    let mut slow = slow.stream();
    let (mut next, mut gaps) = (0, 0);
    loop {
        match slow.part().expect("it goes on") {
            Part::Comment(comment) if comment == "fantail-gap" => gaps += 1,
            Part::Event(event) if event.data == "end" => break,
            Part::Event(event) => {
                let n: i32 = event.data.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
                assert!(n == next || (n > next && gaps > 0), "{n} in place of {next}");
                next = n + 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(gaps > 0, "it has read everything: this was no slow viewer");
}

#[test]
fn sharing_ends_in_good_order_when_the_server_stops() {
    let upstream = Upstream::listen();
    let mut server = shared(&upstream, "");
    let client = ask(&server, "/a", &[]);
    let (_, mut peer) = begun(&upstream);
    say(&mut peer, "data: 1\n\n");
    let mut stream = client.stream();
    assert_eq!(stream.data(1), ["1"]);
    server.begin_stop();
    let (parts, end) = stream.to_end();
    assert!(matches!(parts[..], [Part::Retry(_)]) && end == End::Said, "{parts:?} {end:?}");
    peer.ended();
}
