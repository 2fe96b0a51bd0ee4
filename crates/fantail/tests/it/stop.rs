//! The stop, of the real program: every stream is told when to come back, nothing acknowledged is lost, and the end comes.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::client::{Client, End, Part, Stream, request};
use crate::server::{Process, TestServer, eventually};

/// A deadline beyond all patience: whoever waits for it fails.
const NEVER: &str =
    "stop.deadline = '10m'\nlisten.head_timeout = '10m'\nlisten.idle_timeout = '10m'\nlisten.body_timeout = '10m'\n";

fn stats(server: &Process) -> Value {
    Client::connect(server.control).get("/stats").json()
}

fn until_stat(server: &Process, name: &str, value: u64) {
    eventually(&format!("{name} = {value}"), || stats(server)[name] == value);
}

fn publish(server: &Process, channel: &str, data: &str) {
    let answer = Client::connect(server.control).request("POST", &format!("/pub/{channel}"), &[], data.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Reads a stream to its end, which has to be a farewell; returns the last `retry:`.
fn farewell(stream: &mut Stream, expected: End) -> u64 {
    let (parts, end) = stream.to_end();
    assert_eq!(end, expected, "{parts:?}");
    match parts.last() {
        Some(Part::Retry(after)) => *after,
        other => panic!("the last word was {other:?}"),
    }
}

/// A publish whose body the server has begun to wait for.
fn half_a_publish(server: &Process) -> Client {
    let mut client = Client::connect(server.control);
    client.send("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.read_head().status, 100);
    client.send("abc");
    client
}

#[test]
fn stop_tells_idle_streams_to_come_back_spread_and_exits_with_0() {
    const STREAMS: usize = 60;
    let mut server = Process::start(NEVER);
    let mut streams: Vec<_> = (0..STREAMS)
        .map(|n| {
            let mut client = Client::connect(if n % 4 == 0 { server.control } else { server.public });
            // Some of them unchunked.
            if n % 5 == 0 {
                client.send("GET /sub/a HTTP/1.0\r\nHost: localhost\r\n\r\n");
                (client.stream(), End::Closed)
            } else {
                (client.subscribe(if n % 3 == 0 { "/sub/a/b/c" } else { "/sub/a" }), End::Said)
            }
        })
        .collect();
    publish(&server, "a", "last");
    for (stream, _) in &mut streams {
        assert_eq!(stream.data(1), ["last"]);
    }
    server.terminate();
    let told: HashSet<u64> = streams.iter_mut().map(|(stream, end)| farewell(stream, *end)).collect();
    assert!(told.iter().all(|&after| after <= 5_000), "beyond the window: {told:?}");
    assert!(told.len() > STREAMS / 2, "not spread: {told:?}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn stop_lets_a_frame_that_is_taken_finish() {
    let mut server = Process::start(&format!("{NEVER}stop.frame = '5m'\nstop.window = '50ms'"));
    let mut stream = Client::connect(server.public).subscribe("/sub/a");
    let large = "x".repeat(1 << 20);
    publish(&server, "a", &large);
    publish(&server, "a", "behind it");
    until_stat(&server, "blocked", 1);
    server.terminate();
    // Nobody new is let in while that stream lasts.
    eventually("connections are refused", || TcpStream::connect(server.public).is_err());
    eventually("connections are refused", || TcpStream::connect(server.control).is_err());
    assert!(stream.event().data == large, "the frame in which the stop came is whole");
    assert!(farewell(&mut stream, End::Said) <= 50);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn stop_cuts_a_frame_that_is_not_taken() {
    let mut server = Process::start(&format!("{NEVER}stop.frame = '200ms'"));
    let mut stream = Client::connect(server.public).subscribe("/sub/a");
    publish(&server, "a", &"x".repeat(1 << 20));
    until_stat(&server, "blocked", 1);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    let (parts, end) = stream.to_end();
    assert_eq!(end, End::Cut, "a frame that is not whole has no last chunk");
    assert!(parts.iter().all(|part| matches!(part, Part::Retry(_))), "half a frame is no event");
}

#[test]
fn stop_answers_a_publish_in_progress() {
    let mut server = Process::start(NEVER);
    let mut stream = Client::connect(server.public).subscribe("/sub/a");
    let mut publisher = half_a_publish(&server);
    server.terminate();
    farewell(&mut stream, End::Said);
    publisher.send("def");
    let answer = publisher.answer();
    assert_eq!((answer.status, answer.json()["published"].as_array().map(Vec::len)), (200, Some(1)));
    assert!(publisher.is_closed());
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn stop_answers_waiting_requests_at_once() {
    let mut server = Process::start(NEVER);
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(server.public)).collect();
    for client in &mut clients {
        client.ask("GET", "/sub/a?wait=5m", &[], b"");
    }
    until_stat(&server, "subscribers", 10);
    server.terminate();
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!((answer.status, answer.events().len()), (200, 0));
        assert!(client.is_closed());
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn stop_does_not_wait_for_connections_without_a_request() {
    let mut server = Process::start(NEVER);
    let mut fresh = Client::connect(server.public);
    let mut begun = Client::connect(server.public);
    begun.send("GET /su");
    let mut used = Client::connect(server.control);
    assert_eq!(used.get("/readyz").status, 200);
    until_stat(&server, "connections", 4);
    server.terminate();
    assert!(used.is_closed());
    assert!(fresh.is_closed());
    // Its request may still be on its way: it is answered, or the connection goes.
    begun.send("b/a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = begun.rest();
    assert!(answer.is_empty() || answer.ends_with(b"\n\r\n0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&answer));
    // Its listener may be there for another moment.
    if let Ok(mut late) = TcpStream::connect(server.control) {
        let mut said = Vec::new();
        let asked = late.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // It may be cut off before it has said or heard anything.
        let _ = asked.and_then(|()| late.read_to_end(&mut said));
        assert!(!said.starts_with(b"HTTP/1.1 200"), "a server that stops is not ready");
    }
    assert_eq!(server.wait().code(), Some(0));
}

/// A shard walks its members a slice at a time; the stop comes while most of them have not been served.
#[test]
fn stop_in_the_middle_of_a_walk_still_delivers_what_was_acknowledged() {
    let mut server = Process::start("listen.shards = 1");
    let mut streams: Vec<_> = (0..600).map(|_| Client::connect(server.public).subscribe("/sub/a")).collect();
    until_stat(&server, "subscribers", 600);
    let mut publisher = Client::connect(server.control);
    let answer = publisher.request("POST", "/pub/a", &[], b"last");
    server.terminate();
    assert_eq!(answer.status, 200);
    for stream in &mut streams {
        assert_eq!(stream.event().data, "last");
        assert_eq!(stream.to_end().1, End::Said);
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn stop_ends_at_its_deadline_whoever_is_stuck() {
    let mut server = Process::start("stop.deadline = '1s'\nstop.frame = '1s'\nlisten.body_timeout = '10m'");
    let mut stuck = half_a_publish(&server);
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(stuck.is_closed());
}

#[test]
fn stop_told_twice_exits_at_once_with_130() {
    let mut server = Process::start(NEVER);
    let mut stream = Client::connect(server.public).subscribe("/sub/a");
    let _stuck = half_a_publish(&server);
    server.terminate();
    farewell(&mut stream, End::Said);
    server.terminate();
    assert_eq!(server.wait().code(), Some(130));
}

/// Whoever comes while the server stops gets a whole answer, or none: never half of one, and nobody holds the stop up.
#[test]
fn stop_in_a_storm_of_arrivals_leaves_nobody_behind() {
    for round in 0..8 {
        let mut server = TestServer::start(&format!("{NEVER}listen.shards = 3"));
        let address = server.public;
        let clients: Vec<_> = ["/sub/a", "/sub/a?wait=5m", "/sub/a/b", "/sub/b?wait=5m"]
            .map(|target| std::thread::spawn(move || while visit(address, target) {}))
            .into();
        std::thread::sleep(Duration::from_millis(20 + round * 5));
        server.begin_stop();
        for client in clients {
            client.join().expect("every visit is answered in a whole or not at all");
        }
        eventually("the server has stopped", || server.has_stopped());
    }
}

/// Asks once and leaves soon, or stays to the end; false if there is no server any more.
fn visit(address: std::net::SocketAddr, target: &str) -> bool {
    let Ok(mut socket) = TcpStream::connect(address) else { return false };
    let stays = fastrand::bool();
    let patience = if stays { crate::server::PATIENCE } else { Duration::from_millis(1) };
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    let request = request("GET", target, &[], b"");
    let mut answer = Vec::new();
    let sent = socket.write_all(&request);
    match sent.and_then(|()| socket.read_to_end(&mut answer)) {
        Err(error) if stays && error.kind() == std::io::ErrorKind::WouldBlock => panic!("{target} was left hanging"),
        _ => {}
    }
    let text = String::from_utf8_lossy(&answer);
    let begins = ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 503 "];
    assert!(text.is_empty() || begins.iter().any(|begin| text.starts_with(begin)), "{target} was answered {text:?}");
    if stays && target.contains("wait") && text.starts_with(begins[0]) {
        assert!(text.contains("content-length: ") && text.contains("\r\n\r\n"), "{target} was answered {text:?}");
    }
    true
}
