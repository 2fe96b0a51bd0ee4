//! Several servers behind one name, and what is done when they fail: whose turn it is, what is tried again, how long is
//! waited, and what the client is told.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::client::Client;
use crate::server::{TestServer, eventually};
use crate::upstream::{Peer, Upstream, ok, proxied, proxied_to};

/// What the statistics say of the servers.
fn servers(server: &TestServer) -> Vec<Value> {
    let stats = server.control().get("/stats").json();
    stats["upstreams"]["app"].as_array().unwrap_or_else(|| panic!("no upstreams in {stats}")).clone()
}

fn failures(server: &TestServer, reason: &str) -> u64 {
    server.metric(&format!("fantail_proxy_failures_total{{reason=\"{reason}\"}}"))
}

/// Sends a request that one of the servers answers.
fn ask(client: &mut Client, upstream: &Upstream, peers: &mut Vec<Peer>) {
    client.ask("GET", "/a", &[], b"");
    let mut peer = upstream.accept();
    peer.read_head();
    peers.push(peer);
}

#[test]
fn requests_go_to_the_server_with_the_fewest() {
    let (one, other) = (Upstream::listen(), Upstream::listen());
    let server = proxied_to(&[&one, &other], "", "");
    let mut clients: Vec<_> = (0..6).map(|_| server.public()).collect();
    for client in &mut clients {
        client.ask("GET", "/a", &[], b"");
    }
    let mut peers = Vec::new();
    let mut others = Vec::new();
    for _ in 0..3 {
        peers.push(one.accept());
        others.push(other.accept());
    }
    // One of them becomes free: the next three are its.
    for mut peer in peers {
        peer.read_head();
        peer.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        peer.ended();
    }
    eventually("one server is idle", || {
        let mut busy: Vec<_> = servers(&server).iter().map(|server| server["busy"].as_u64().unwrap()).collect();
        busy.sort_unstable();
        busy == [0, 3]
    });
    let mut more: Vec<_> = (0..3).map(|_| server.public()).collect();
    let mut peers = Vec::new();
    for client in &mut more {
        ask(client, &one, &mut peers);
    }
    assert!(other.is_alone_for(Duration::from_millis(20)));
}

#[test]
fn servers_that_refuse_are_passed_over_and_come_back() {
    let mut away = Upstream::refusing();
    let here = Upstream::serve(|_, _| ok("here"));
    let server = proxied_to(&[&away, &here], "", "max_fails = 2\nfail_timeout = '300ms'");
    let mut client = server.public();
    for method in ["GET", "POST", "PUT", "POST", "PATCH", "POST"] {
        assert_eq!(client.request(method, "/a", &[], b"body").text(), "here", "{method} goes to the other server");
    }
    let state = |server: &TestServer| {
        let servers = servers(server);
        (servers[0]["failures"].as_u64().unwrap(), servers[0]["out"].as_bool().unwrap())
    };
    let (failed, _) = state(&server);
    assert!(failed >= 2, "{:?}", servers(&server));
    eventually("it is not passed over any more", || !state(&server).1);
    away.open(16);
    away.answer_all(|_, _| ok("back"));
    eventually("it answers again", || client.get("/a").text() == "back");
    assert_eq!(state(&server), (0, false));
}

#[test]
fn upstreams_all_of_whose_servers_fail_say_when_to_come_back() {
    let (one, other) = (Upstream::refusing(), Upstream::refusing());
    let server = proxied_to(&[&one, &other], "", "max_fails = 1\nfail_timeout = '100s'");
    let mut client = server.public();
    assert_eq!(client.get("/a").status, 502);
    let answer = client.get("/a");
    assert_eq!(answer.status, 503);
    let after: u64 = answer.head.get("retry-after").expect("a time to come back").parse().unwrap();
    assert!((1..=101).contains(&after), "{after}");
    assert!(servers(&server).iter().all(|server| server["out"] == true), "{:?}", servers(&server));
}

#[test]
fn pages_of_failures_are_for_their_readers_and_name_no_server() {
    let away = Upstream::refusing();
    let server = proxied(&away, "", "");
    let mut client = server.public();
    let answer = client.get("/a");
    assert_eq!((answer.status, answer.error().as_str()), (502, "the application cannot be reached"));
    let accept = [("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let page = client.request("GET", "/a", &accept, b"");
    assert_eq!((page.status, page.head.get("content-type")), (502, Some("text/html; charset=utf-8")));
    assert!(page.text().starts_with("<!doctype html>") && page.text().contains("502 Bad Gateway"), "{}", page.text());
    let head = client.request("HEAD", "/a", &accept, b"");
    assert_eq!(head.status, 502);
    for text in [answer.text(), page.text(), answer.head.raw, page.head.raw] {
        assert!(!text.contains(&away.address().port().to_string()) && !text.contains("127.0.0.1"), "{text}");
    }
    eventually("all three are counted", || failures(&server, "connect") == 3);
}

#[test]
fn timers_run_out_by_name() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "first_byte_timeout = '150ms'");
    let mut client = server.public();
    client.ask("GET", "/a", &[], b"");
    let mut peer = upstream.accept();
    peer.read_head();
    let answer = client.answer();
    assert_eq!((answer.status, answer.error().as_str()), (504, "the application did not answer in time"));
    peer.ended();
    assert_eq!(failures(&server, "first_byte_timeout"), 1);

    let server = proxied(&upstream, "ping = '0'", "idle_timeout = '150ms'");
    let mut client = server.public();
    client.ask("GET", "/a", &[], b"");
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    assert_eq!(client.read_head().status, 200);
    assert_eq!(client.rest(), b"ab", "the body is cut");
    peer.ended();
    assert_eq!(failures(&server, "idle_timeout"), 1);

    // Event streams may be silent, over both ways that they take.
    let mut streams = Vec::new();
    for length in ["", "Content-Length: 1000\r\n"] {
        let mut client = server.public();
        client.ask("GET", "/a", &[], b"");
        let mut peer = upstream.accept();
        peer.read_head();
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{length}\r\ndata: 1\n\n"));
        streams.push((client, peer));
    }
    std::thread::sleep(Duration::from_millis(400));
    for (client, mut peer) in streams {
        peer.send("data: 2\n\n");
        assert_eq!(client.stream().data(2), ["1", "2"], "the stream goes on");
    }
}

#[test]
fn first_byte_timer_runs_from_the_requests_end() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "first_byte_timeout = '1s'");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n");
    let mut peer = upstream.accept();
    peer.read_head();
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(200));
        client.send("x");
    }
    assert_eq!(peer.read(6), b"xxxxxx");
    peer.send(ok("a"));
    assert_eq!(client.answer().text(), "a");
}

#[test]
fn servers_that_do_not_accept_in_time_are_given_up() {
    let (full, here) = (Upstream::refusing(), Upstream::serve(|_, _| ok("here")));
    full.open(0);
    // The kernel answers no connection for which the queue has no place.
    let tight = Duration::from_millis(100);
    let queue: Vec<_> = (0..8).map_while(|_| TcpStream::connect_timeout(&full.address(), tight).ok()).collect();
    assert!(queue.len() < 8, "the queue is full");
    let server = proxied(&full, "", "connect_timeout = '500ms'");
    let answer = server.public().request("POST", "/a", &[], b"body");
    assert_eq!((answer.status, answer.error().as_str()), (504, "the application did not answer in time"));
    assert_eq!(failures(&server, "connect_timeout"), 1);
    let server = proxied_to(&[&full, &here], "", "connect_timeout = '500ms'");
    for _ in 0..2 {
        assert_eq!(server.public().request("POST", "/a", &[], b"body").text(), "here", "nothing was sent to the other");
    }
    drop(queue);
}

#[test]
fn requests_that_may_be_repeated_are_where_a_kept_connection_was_closed() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for (method, body, again) in [
        ("GET", "", true),
        ("HEAD", "", true),
        ("OPTIONS", "", true),
        ("DELETE", "", true),
        ("POST", "", false),
        ("PATCH", "", false),
        ("PUT", "body", false),
    ] {
        let mut client = server.public();
        client.ask("GET", "/first", &[], b"");
        let mut peer = upstream.accept();
        peer.read_head();
        peer.send(ok("first"));
        assert_eq!(client.answer().text(), "first");
        // It has the request, and closes all the same: as if it had wanted to before.
        client.ask(method, "/a", &[], body.as_bytes());
        assert!(peer.read_head().starts_with(&format!("{method} /a ")));
        peer.reset();
        if again {
            let mut second = upstream.accept();
            assert!(second.read_head().starts_with(&format!("{method} /a ")));
            second.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
            assert_eq!(client.answer_to_head().status, 204, "{method}");
        } else {
            assert_eq!(client.answer().status, 502, "{method}");
            assert!(upstream.is_alone_for(Duration::from_millis(20)), "{method} is not sent twice");
        }
    }
}

#[test]
fn requests_are_not_repeated_once_their_answer_has_begun() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    for said in ["HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "HTTP/1.1 200"] {
        let mut client = server.public();
        client.ask("GET", "/first", &[], b"");
        let mut peer = upstream.accept();
        peer.read_head();
        peer.send(ok("first"));
        assert_eq!(client.answer().text(), "first");
        client.ask("GET", "/a", &[], b"");
        peer.read_head();
        peer.send(said);
        peer.half_close();
        let mut answer = client.answer();
        if answer.status == 103 {
            answer = client.answer();
        }
        assert_eq!(answer.status, 502, "{said:?}");
        assert!(upstream.is_alone_for(Duration::from_millis(20)));
    }
}

#[test]
fn requests_that_a_server_dropped_are_tried_with_another_where_that_is_safe() {
    for (method, again) in [("GET", true), ("POST", false)] {
        let (one, other) = (Upstream::listen(), Upstream::listen());
        let server = proxied_to(&[&one, &other], "", "");
        let mut client = server.public();
        client.ask(method, "/a", &[], b"");
        let (first, second) = loop {
            if !one.is_alone_for(Duration::from_millis(5)) {
                break (&one, &other);
            }
            if !other.is_alone_for(Duration::from_millis(5)) {
                break (&other, &one);
            }
        };
        let mut peer = first.accept();
        peer.read_head();
        peer.close();
        if again {
            let mut peer = second.accept();
            peer.read_head();
            peer.send(ok("second"));
            assert_eq!(client.answer().text(), "second");
            assert_eq!(server.metric("fantail_proxy_retries_total"), 1);
        } else {
            assert_eq!(client.answer().status, 502);
            assert!(second.is_alone_for(Duration::from_millis(20)), "{method} is not sent twice");
            assert_eq!(failures(&server, "no_answer"), 1);
        }
    }
}

#[test]
fn connections_are_used_again_as_far_as_they_are_kept() {
    for (keep, kept) in [(0, 0), (2, 2), (64, 3)] {
        let upstream = Upstream::listen();
        let server = proxied(&upstream, "", &format!("keep = {keep}"));
        let mut clients: Vec<_> = (0..3).map(|_| server.public()).collect();
        let mut peers = Vec::new();
        for client in &mut clients {
            ask(client, &upstream, &mut peers);
        }
        for peer in &mut peers {
            peer.send(ok("a"));
        }
        for client in &mut clients {
            assert_eq!(client.answer().text(), "a");
        }
        eventually("the rest is closed", || {
            let server = &servers(&server)[0];
            server["busy"] == 0 && server["idle"] == kept
        });
        // The next ones go over those that were kept, and further ones over new connections.
        for client in &mut clients {
            client.ask("GET", "/b", &[], b"");
        }
        for _ in kept..3 {
            upstream.accept().read_head();
        }
        assert!(upstream.is_alone_for(Duration::from_millis(20)), "keep = {keep}");
        assert_eq!(server.metric("fantail_proxy_reused_total"), kept);
    }
}

#[test]
fn connections_that_have_been_idle_for_long_are_closed() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "keep_timeout = '50ms'");
    let mut client = server.public();
    client.ask("GET", "/a", &[], b"");
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send(ok("a"));
    assert_eq!(client.answer().text(), "a");
    peer.ended();
    assert_eq!(servers(&server)[0]["idle"], 0);
}

#[test]
fn connections_that_the_server_closes_are_not_used() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let mut client = server.public();
    for method in ["POST", "POST", "GET"] {
        client.ask(method, "/a", &[], b"");
        let mut peer = upstream.accept();
        peer.read_head();
        peer.send(ok("a"));
        assert_eq!(client.answer().text(), "a");
        peer.close();
    }
}

#[test]
fn sockets_that_are_gone_are_failures_like_others() {
    let upstream = Upstream::listen_unix();
    let server = proxied(&upstream, "", "");
    drop(upstream);
    let answer = server.public().get("/a");
    assert_eq!((answer.status, answer.error().as_str()), (502, "the application cannot be reached"));
    assert_eq!(failures(&server, "connect"), 1);
}
