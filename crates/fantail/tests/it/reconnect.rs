//! Streams that break off behind the proxy and are taken up again while their clients stay: each event once, none in part, and
//! the break where nobody can say how to go on.

use std::collections::HashMap;
use std::time::Duration;

use crate::client::{Client, End, Event, Part, Stream, request};
use crate::server::{TestServer, eventually};
use crate::upstream::{Peer, Upstream, proxied, proxied_to, values};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/// For what must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

fn resumed(upstream: &Upstream, route: &str) -> TestServer {
    proxied(upstream, &format!("reconnect = true\n{route}"), "")
}

/// The application's side of a request: what the client says that it has seen, and a stream.
fn begun(upstream: &Upstream) -> (Option<String>, Peer) {
    let mut peer = upstream.accept();
    let head = peer.read_head();
    peer.send(HEAD);
    (values(&head, "last-event-id").first().map(|&id| id.to_owned()), peer)
}

fn say(peer: &mut Peer, text: impl AsRef<[u8]>) {
    let text = text.as_ref();
    peer.send([format!("{:x}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat());
}

fn end(mut peer: Peer) {
    peer.send("0\r\n\r\n");
    peer.close();
}

fn ask(server: &TestServer, headers: &[(&str, &str)]) -> Client {
    let mut client = server.public();
    client.ask("GET", "/a", headers, b"");
    client
}

/// A stream whose client has been given one event, and the application's side of it.
fn streaming(server: &TestServer, upstream: &Upstream) -> (Stream, Peer) {
    let client = ask(server, &[]);
    let (_, mut peer) = begun(upstream);
    say(&mut peer, "retry: 1\nid: 1\ndata: 1\n\n");
    let mut stream = client.stream();
    assert_eq!(stream.data(1), ["1"]);
    (stream, peer)
}

/// Says no to one request.
fn answer(upstream: &Upstream, answer: &str) -> String {
    let mut peer = upstream.accept();
    let head = peer.read_head();
    peer.send(format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n"));
    head
}

fn nothing_more(upstream: &Upstream) {
    answer(upstream, "204 No Content");
}

#[test]
fn stream_that_is_reset_ended_or_truncated_goes_on_behind_its_last_whole_event() {
    let upstream = Upstream::listen();
    let server = resumed(&upstream, "set_request = { 'X-Env' = 'prod' }");
    let client = ask(&server, &[("Cookie", "sid=1")]);
    let (seen, mut peer) = begun(&upstream);
    assert_eq!(seen, None);
    let mut stream = client.stream();
    say(&mut peer, "retry: 1\n\n: hi\n\nid: 1\nevent: a\ndata: x\ndata: y\n\nid: 2\ndata: part");
    let event = Event { name: "a".into(), data: "x\ny".into(), id: "1".into() };
    let expected = [Part::Retry(1), Part::Comment("hi".into()), Part::Event(event)];
    assert_eq!([(); 3].map(|()| stream.part().unwrap()), expected);
    peer.reset();

    let mut peer = upstream.accept();
    let head = peer.read_head();
    for (name, value) in [("last-event-id", "1"), ("cookie", "sid=1"), ("x-env", "prod")] {
        assert_eq!(values(&head, name), [value], "{head}");
    }
    assert!(head.starts_with("GET /a HTTP/1.1\r\n"), "{head}");
    peer.send(HEAD);
    say(&mut peer, "id: 2\ndata: 2\n\nid: 3\nda");
    assert_eq!(stream.data(1), ["2"]);
    // In good order for HTTP, though not for the event that it is in.
    end(peer);

    let (seen, mut peer) = begun(&upstream);
    assert_eq!(seen.as_deref(), Some("2"));
    say(&mut peer, "id: 3\ndata: 3\n\n");
    assert_eq!(stream.data(1), ["3"]);
    peer.send("20\r\nid: 4\ndata: 4\n");
    peer.close();

    let (seen, mut peer) = begun(&upstream);
    assert_eq!(seen.as_deref(), Some("3"));
    say(&mut peer, "id: 4\ndata: 4\n\n");
    assert_eq!(stream.data(1), ["4"]);
    end(peer);
    nothing_more(&upstream);
    assert_eq!(stream.to_end(), (vec![], End::Said));
    assert!(upstream.is_alone_for(A_WHILE));
    assert_eq!(server.metric("fantail_proxy_reconnects_total"), 3);
}

#[test]
fn stream_goes_on_after_failures_while_its_client_gets_heartbeats() {
    let (upstream, other) = (Upstream::listen(), Upstream::refusing());
    let server = proxied_to(&[&upstream, &other], "reconnect = true\nping = '20ms'", "fail_timeout = '10ms'");
    let (mut stream, peer) = streaming(&server, &upstream);
    peer.reset();
    assert!(answer(&upstream, "503 Service Unavailable").contains("last-event-id: 1\r\n"));
    // No answer at all.
    upstream.accept().reset();
    // Nobody listens.
    drop(upstream);
    for _ in 0..5 {
        assert_eq!(stream.chunk().as_deref(), Ok(&b": hb\n"[..]));
    }
    other.open(16);
    let (seen, mut peer) = begun(&other);
    assert_eq!(seen.as_deref(), Some("1"));
    say(&mut peer, "id: 2\ndata: 2\n\n");
    assert_eq!(stream.data(1), ["2"]);
}

#[test]
fn stream_whose_upstream_has_another_answer_ends_as_it_had() {
    for other in ["404 Not Found", "302 Found\r\nLocation: /b", "200 OK\r\nContent-Type: text/plain", "204 No Content"]
    {
        for broken in [false, true] {
            let upstream = Upstream::listen();
            let server = resumed(&upstream, "");
            let (mut stream, peer) = streaming(&server, &upstream);
            if broken {
                peer.reset();
            } else {
                end(peer);
            }
            answer(&upstream, other);
            // "Nothing more" is an end in good order, whatever was before.
            let expected = if broken && !other.starts_with("204") { End::Closed } else { End::Said };
            assert_eq!(stream.to_end(), (vec![], expected), "{other}");
            assert!(upstream.is_alone_for(Duration::from_millis(50)));
        }
    }
}

#[test]
fn stream_of_events_without_ids_ends_where_its_upstream_does() {
    for (said, broken) in [
        ("data: 1\n\n", true),
        ("data: 1\n\ndata: [DONE]\n", false),
        ("id: 1\ndata: 1\n\ndata: 2\n\n", true),
        ("id: 1\ndata: 1\n\nid\ndata: 2\n\n", true),
        ("id: 1\u{7f}\ndata: an id that no header can carry\n\n", true),
        (": nothing yet\n", true),
        ("", false),
    ] {
        let upstream = Upstream::listen();
        let server = resumed(&upstream, "");
        let client = ask(&server, &[]);
        let (_, mut peer) = begun(&upstream);
        if !said.is_empty() {
            say(&mut peer, said);
        }
        let mut stream = client.stream();
        let mut got = Vec::new();
        while !said.ends_with("[DONE]\n") && got.len() < said.len() {
            got.extend(stream.chunk().expect("what was said"));
        }
        if broken {
            peer.reset();
        } else {
            end(peer);
        }
        while let Ok(chunk) = stream.chunk() {
            got.extend(chunk);
        }
        assert_eq!(String::from_utf8_lossy(&got), said);
        assert_eq!(stream.to_end().1, if broken { End::Closed } else { End::Said }, "{said:?}");
        assert!(upstream.is_alone_for(Duration::from_millis(50)), "{said:?}");
    }
}

#[test]
fn stream_that_began_without_ids_goes_on_once_there_is_one() {
    let upstream = Upstream::listen();
    let server = resumed(&upstream, "");
    let client = ask(&server, &[]);
    let (_, mut peer) = begun(&upstream);
    say(&mut peer, "retry: 1\nevent: hello\ndata: 0\n\nid: 1\ndata: 1\n\nevent: without data\n\n");
    let mut stream = client.stream();
    assert_eq!(stream.data(2), ["0", "1"]);
    peer.reset();
    let (seen, mut peer) = begun(&upstream);
    assert_eq!(seen.as_deref(), Some("1"));
    say(&mut peer, "event: hello\ndata: 0\n\nid: 2\ndata: 2\n\n");
    assert_eq!(stream.data(2), ["0", "2"]);
}

#[test]
fn stream_that_breaks_off_before_its_first_event_goes_on_from_where_its_client_was() {
    let upstream = Upstream::listen();
    let server = resumed(&upstream, "");
    let client = ask(&server, &[("Last-Event-ID", "7")]);
    let (seen, mut peer) = begun(&upstream);
    assert_eq!(seen.as_deref(), Some("7"));
    say(&mut peer, "retry: 1\n\nid: 8\nda");
    let mut stream = client.stream();
    assert_eq!(stream.part(), Ok(Part::Retry(1)));
    peer.reset();
    let (seen, mut peer) = begun(&upstream);
    assert_eq!(seen.as_deref(), Some("7"));
    say(&mut peer, "id: 8\ndata: 8\n\n");
    assert_eq!(stream.data(1), ["8"]);
}

#[test]
fn post_is_never_repeated() {
    let upstream = Upstream::listen();
    let server = resumed(&upstream, "");
    let mut client = server.public();
    client.send(request("POST", "/a", &[], b"pay"));
    let mut peer = upstream.accept();
    let head = peer.read_head();
    assert_eq!(peer.read_body(&head), b"pay");
    peer.send(HEAD);
    say(&mut peer, "retry: 1\nid: 1\ndata: 1\n\nid: 2\nda");
    let mut stream = client.stream();
    assert_eq!(stream.data(1), ["1"]);
    peer.reset();
    assert_eq!(stream.to_end(), (vec![], End::Closed));
    assert!(upstream.is_alone_for(A_WHILE));
}

#[test]
fn client_that_leaves_while_its_stream_is_away_ends_the_asking() {
    let upstream = Upstream::listen();
    let server = resumed(&upstream, "");
    // While an answer is awaited.
    let (stream, peer) = streaming(&server, &upstream);
    peer.reset();
    let mut peer = upstream.accept();
    peer.read_head();
    drop(stream);
    peer.ended();
    // Between two requests.
    let client = ask(&server, &[]);
    let (_, mut peer) = begun(&upstream);
    say(&mut peer, "retry: 1000\nid: 1\ndata: 1\n\n");
    let mut stream = client.stream();
    assert_eq!(stream.data(1), ["1"]);
    peer.reset();
    drop(stream);
    eventually("the stream is over", || server.metric("fantail_proxy_streams") == 0);
    assert!(upstream.is_alone_for(Duration::from_millis(1500)));
}

#[test]
fn stream_that_is_away_when_the_server_stops_ends_in_good_order() {
    let upstream = Upstream::listen();
    let mut server = resumed(&upstream, "");
    let mut client = server.public();
    client.ask("GET", "/a", &[("Accept", "text/event-stream")], b"");
    let (_, mut peer) = begun(&upstream);
    say(&mut peer, "retry: 1\nid: 1\ndata: 1\n\n");
    let mut stream = client.stream();
    assert_eq!(stream.data(1), ["1"]);
    peer.reset();
    let mut peer = upstream.accept();
    peer.read_head();
    server.begin_stop();
    let (parts, end) = stream.to_end();
    assert!(matches!(parts[..], [Part::Retry(_)]) && end == End::Said, "{parts:?} {end:?}");
    peer.ended();
}

#[test]
fn stream_that_is_counted_or_coded_is_left_alone() {
    for field in ["Content-Length: 100", "Content-Encoding: x-own"] {
        let upstream = Upstream::listen();
        let server = resumed(&upstream, "");
        let mut client = ask(&server, &[]);
        let mut peer = upstream.accept();
        peer.read_head();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{field}\r\n"));
        let chunked = field.contains("Encoding");
        let said = "id: 1\ndata: 1\n\nid: 2\nda";
        if chunked {
            peer.send("Transfer-Encoding: chunked\r\n\r\n");
            say(&mut peer, said);
        } else {
            peer.send(format!("\r\n{said}"));
        }
        let head = client.read_head();
        assert_eq!(head.status, 200);
        // The half of an event as well.
        let mut got = Vec::new();
        while !got.ends_with(b"id: 2\nda") {
            got.extend(client.piece().expect("it"));
            if chunked && got.ends_with(b"\r\n") {
                got.truncate(got.len() - 2);
            }
        }
        peer.reset();
        assert!(client.is_closed());
        assert!(upstream.is_alone_for(Duration::from_millis(50)));
    }
}

#[test]
fn stream_goes_on_over_ids_marks_and_line_breaks_of_every_kind() {
    let upstream = Upstream::listen();
    let server = resumed(&upstream, "");
    let client = ask(&server, &[]);
    let (_, mut peer) = begun(&upstream);
    let mut stream = client.stream();
    say(&mut peer, "\u{feff}retry: 1\rid: caf\u{e9}\rdata: 1\r\r");
    assert_eq!(stream.data(1), ["1"]);
    peer.reset();
    let (seen, mut peer) = begun(&upstream);
    assert_eq!(seen.as_deref(), Some("caf\u{e9}"));
    // A byte order mark in the middle of what the client reads would make its line another.
    say(&mut peer, "\u{feff}id: 2\r\ndata: 2\r\n\r");
    say(&mut peer, "\n");
    assert_eq!(stream.data(1), ["2"]);
    assert_eq!(stream.last_event_id(), "2");
    peer.reset();
    let (seen, mut peer) = begun(&upstream);
    assert_eq!(seen.as_deref(), Some("2"));
    say(&mut peer, "id: 3\r");
    say(&mut peer, "\ndata: 3\r");
    say(&mut peer, "\n\r");
    peer.reset();
    let (seen, mut peer) = begun(&upstream);
    assert_eq!(seen.as_deref(), Some("3"), "its blank line was whole");
    say(&mut peer, "id: 4\ndata: 4\n\n");
    assert_eq!(stream.data(2), ["3", "4"]);
}

/// Any stream, broken at any byte: each event once, and nothing else.
#[test]
fn stream_that_is_broken_anywhere_comes_whole() {
    const EVENTS: [&str; 4] = [
        "id: 1\nretry: 1\ndata: a\n\n",
        ": c\r\nid: 2\r\ndata: b\r\ndata: b\r\n\r\n",
        "data: c\rid: 3\r\r",
        "event: d\nid: 4\ndata: \u{e9}\n\n\n",
    ];
    let mut asked: HashMap<String, usize> = HashMap::new();
    let upstream = Upstream::serve(move |head, _| {
        let target = head.split(' ').nth(1).expect("a target").to_owned();
        let first_cut: usize = target[1..].parse().expect("where to cut");
        let seen = values(head, "last-event-id").first().map_or(0, |id| id.parse().expect("an id of ours"));
        let rest = EVENTS[seen..].concat().into_bytes();
        let asked = asked.entry(target).or_default();
        *asked += 1;
        let close = "Content-Type: text/event-stream\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        if rest.is_empty() {
            return b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec();
        }
        // It gets further each time, by whole events or not.
        let cut = rest.len().min(first_cut + (*asked - 1) * 13);
        let size = if cut == 0 { String::new() } else { format!("{cut:x}\r\n") };
        [format!("HTTP/1.1 200 OK\r\n{close}{size}").as_bytes(), &rest[..cut], b"\r\n"].concat()
    });
    let server = resumed(&upstream, "");
    let whole: Vec<_> = [("a", "1"), ("b\nb", "2"), ("c", "3"), ("\u{e9}", "4")]
        .map(|(data, id)| (data.to_owned(), id.to_owned()))
        .into();
    let (server, cuts) = (&server, EVENTS.concat().len());
    let view = |cut: usize| {
        let mut got = Vec::new();
        loop {
            let mut client = server.public();
            client.ask("GET", &format!("/{cut}"), &[], b"");
            let (parts, end) = client.stream().to_end();
            let before = got.len();
            got.extend(parts.into_iter().filter_map(Part::event).map(|event| (event.data, event.id)));
            if end == End::Said {
                return got;
            }
            // Before the first event nobody knows where to go on, and the client comes back by itself.
            assert_eq!(got.len(), before, "cut at {cut}");
        }
    };
    std::thread::scope(|scope| {
        let views: Vec<_> = (0..=cuts).map(|cut| scope.spawn(move || view(cut))).collect();
        for (cut, got) in views.into_iter().enumerate() {
            assert_eq!(got.join().expect("a view"), whole, "cut at {cut}");
        }
    });
}

/// A length that no body follows would make the upstream take the next request on the connection for that body.
#[test]
fn request_that_had_a_body_is_not_asked_again_without_it() {
    let upstream = Upstream::listen();
    let server = resumed(&upstream, "");
    let mut client = server.public();
    client.ask("GET", "/a", &[], b"hello");
    let (_, mut peer) = begun(&upstream);
    assert_eq!(peer.read(5), b"hello");
    say(&mut peer, "retry: 1\nid: 1\ndata: 1\n\n");
    let mut stream = client.stream();
    assert_eq!(stream.data(1), ["1"]);
    peer.reset();
    assert_eq!(stream.to_end(), (vec![], End::Closed));
    assert!(upstream.is_alone_for(A_WHILE), "the request was repeated");
}
