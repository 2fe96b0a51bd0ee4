//! A socket's way out of HTTP and back: `?wait=`, pipelined bytes behind it, HEAD before GET, full sockets.

use std::time::Duration;

use crate::client::{Client, End, request};
use crate::server::TestServer;

fn get(target: &str) -> Vec<u8> {
    request("GET", target, &[], b"")
}

#[test]
fn wait_answer_and_next_requests_share_one_connection() {
    let server = TestServer::start("");
    let mut client = server.public();
    client.ask("GET", "/sub/a?wait=1m", &[], b"");
    server.until_stat("subscribers", 1);
    server.publish("a", "one");
    let answer = client.answer();
    assert_eq!((answer.status, answer.head.get("connection")), (200, Some("keep-alive")));
    assert_eq!(answer.events().iter().map(|event| &*event.data).collect::<Vec<_>>(), ["one"]);
    server.until_stat("subscribers", 0);

    // What came in between is answered at once, from where the last answer ended.
    server.publish("a", "two");
    server.publish("a", "three");
    let id = answer.last_event_id();
    let answer = client.request("GET", "/sub/a?wait=1m", &[("Last-Event-ID", &id)], b"");
    assert_eq!(answer.events().iter().map(|event| &*event.data).collect::<Vec<_>>(), ["two", "three"]);

    // Nothing in time is an answer too, and keeps the place.
    let id = answer.last_event_id();
    let answer = client.request("GET", "/sub/a?wait=50ms", &[("Last-Event-ID", &id)], b"");
    assert_eq!((answer.status, answer.events().len(), answer.last_event_id()), (200, 0, id.clone()));
    assert_eq!(client.get("/nothing/here").status, 404);
    server.publish("a", "four");
    let mut stream = client.subscribe_with("/sub/a", &[("Last-Event-ID", &id)]);
    assert_eq!(stream.data(1), ["four"]);
    server.publish("a", "five");
    assert_eq!(stream.data(1), ["five"]);
}

#[test]
fn wait_with_pipelined_requests_behind_answers_all_in_order() {
    let server = TestServer::start("");
    server.publish("kept", "old");
    let mut client = server.public();
    let all = [
        get("/sub/a?wait=1m"),
        get("/sub/kept?last=1&wait=1m"),
        get("/nope"),
        get("/sub/b?wait=1m"),
        get("/sub/kept?last=1"),
    ];
    client.send(all.concat());
    server.until_stat("subscribers", 1);
    server.publish("a", "one");
    let mut answer = || client.answer();
    assert_eq!(answer().events()[0].data, "one");
    assert_eq!(answer().events()[0].data, "old");
    assert_eq!(answer().status, 404);
    server.until_stat("subscribers", 1);
    server.publish("b", "two");
    assert_eq!(answer().events()[0].data, "two");
    assert_eq!(client.stream().data(1), ["old"]);
}

/// Part of the next request is read with the first, part waits in the kernel, part comes after the answer.
#[test]
fn wait_with_a_torn_request_behind_loses_no_byte() {
    let server = TestServer::start("");
    server.publish("kept", "old");
    let next = get("/sub/kept?last=1&wait=1m");
    for (first, second) in
        [(1, 2), (4, 30), (20, next.len() - 1), (0, next.len()), (0, 0), (next.len() - 1, next.len() - 1)]
    {
        let mut client = server.public();
        client.send([&get("/sub/a?wait=1m"), &next[..first]].concat());
        server.until_stat("subscribers", 1);
        client.send(&next[first..second]);
        server.publish("a", "one");
        assert_eq!(client.answer().events()[0].data, "one");
        client.send(&next[second..]);
        assert_eq!(client.answer().events()[0].data, "old");
        // Not to be taken for the next one's.
        server.until_stat("subscribers", 0);
    }
}

#[test]
fn wait_left_by_its_client_is_forgotten_even_with_bytes_behind() {
    let server = TestServer::start("");
    for behind in [Vec::new(), get("/sub/a?wait=1m"), b"GET /sub".to_vec()] {
        let mut client = server.public();
        client.send([get("/sub/a?wait=5m"), behind].concat());
        server.until_stat("subscribers", 1);
        drop(client);
        server.until_stat("subscribers", 0);
        // Only the one that asks.
        server.until_stat("connections", 1);
    }
}

#[test]
fn wait_asked_to_close_closes_behind_its_answer() {
    let server = TestServer::start("");
    server.publish("kept", "old");
    let mut client = server.public();
    let answer = client.request("GET", "/sub/kept?last=1&wait=1m", &[("Connection", "close")], b"");
    assert_eq!((answer.events().len(), answer.head.get("connection")), (1, Some("close")));
    assert!(client.is_closed());

    let mut client = server.public();
    client.send("GET /sub/kept?last=1&wait=1m HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().events().len(), 1);
    assert!(client.is_closed());
}

#[test]
fn head_before_a_stream_leaves_the_connection_usable() {
    let server = TestServer::start("");
    server.publish("kept", "old");
    for listener in [server.public, server.control] {
        let mut client = Client::connect(listener);
        let head = client.request("HEAD", "/sub/kept", &[], b"").head;
        assert_eq!((head.status, head.get("content-type")), (200, Some("text/event-stream")));
        assert_eq!(head.get("content-length"), None, "a stream has no length");
        let mut stream = client.subscribe("/sub/kept?last=1");
        assert_eq!(stream.data(1), ["old"]);
    }
    // Pipelined, where that is served.
    let mut client = server.public();
    client.send([request("HEAD", "/sub/kept", &[], b""), get("/sub/kept?last=1")].concat());
    assert_eq!(client.answer_to_head().status, 200);
    assert_eq!(client.stream().data(1), ["old"]);
}

#[test]
fn stream_with_bytes_behind_it_is_taken_on_both_listeners() {
    let server = TestServer::start("");
    for mut client in [server.public(), server.control()] {
        client.send([get("/sub/a"), get("/sub/b")].concat());
        let mut stream = client.stream();
        server.publish("a", "one");
        assert_eq!(stream.data(1), ["one"]);
        // What came behind is not for this connection any more.
        server.publish("b", "lost");
        server.publish("a", "two");
        assert_eq!(stream.data(1), ["two"]);
    }
}

#[test]
fn stream_behind_pipelined_publishes_comes_behind_their_answers() {
    let server = TestServer::start("");
    let mut other = server.control().subscribe("/sub/a");
    let mut client = server.control();
    let publish = request("POST", "/pub/a", &[], b"pipelined");
    client.send([publish.clone(), publish, get("/sub/a?last=1")].concat());
    assert_eq!((client.answer().status, client.answer().status), (200, 200));
    assert_eq!(client.stream().data(1), ["pipelined"]);
    assert_eq!(other.data(2), ["pipelined", "pipelined"]);
}

/// What trails a request is no reason to keep its answer back.
#[test]
fn answer_with_half_a_request_behind_it_leaves_at_once() {
    let server = TestServer::start("");
    for behind in ["\n", "\r\n", "GET /he", "nonsense\r\n\r\n"] {
        let mut client = server.control();
        client.send([&request("POST", "/pub/a", &[], b"x"), behind.as_bytes()].concat());
        assert_eq!(client.answer().status, 200, "{behind:?}");
    }
}

/// hyper's buffer cannot be flushed when the stream is asked for: its head may leave only behind the answers before it.
#[test]
fn stream_asked_for_on_a_full_socket_comes_behind_all_answers() {
    // More than both kernels' buffers hold.
    const BEFORE: usize = 700;
    let server = TestServer::start("[limits]\nurl = '13KiB'\n");
    server.publish("kept", "old");
    let mut client = server.public();
    let long = "x".repeat(12_000);
    let writer = client.socket.try_clone().expect("a socket");
    let sender = std::thread::spawn(move || {
        let mut requests: Vec<u8> = (0..BEFORE).flat_map(|n| get(&format!("/{n}/{long}"))).collect();
        requests.extend(get("/sub/kept?from=start"));
        std::io::Write::write_all(&mut &writer, &requests).expect("a server that reads on");
    });
    // A head start for the answers to fill the socket; without it the test only shows less.
    std::thread::sleep(Duration::from_millis(300));
    server.publish("kept", "new");
    for n in 0..BEFORE {
        let answer = client.answer();
        assert_eq!(answer.status, 404);
        assert!(answer.error().contains(&format!(" /{n}/xxx")), "answer {n} is out of order");
    }
    sender.join().expect("all was sent");
    let mut stream = client.stream();
    assert_eq!(stream.data(2), ["old", "new"]);
    server.publish("kept", "live");
    assert_eq!(stream.data(1), ["live"]);
}

#[test]
fn stream_for_http_1_0_ends_with_its_connection() {
    let server = TestServer::start("");
    let mut client = server.public();
    client.send("GET /sub/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let mut stream = client.stream();
    assert_eq!(stream.head.get("transfer-encoding"), None);
    server.publish("a", "one");
    assert_eq!(stream.data(1), ["one"]);
    assert_eq!(server.control().request("DELETE", "/pub/a", &[], b"bye").status, 200);
    let end = stream.event();
    assert_eq!((&*end.name, &*end.data), ("fantail-end", "bye"));
    assert_eq!(stream.to_end().1, End::Closed);
}
