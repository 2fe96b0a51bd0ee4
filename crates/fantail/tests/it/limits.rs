//! What one address, one network and the whole process may take, and what those are told who come beyond it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use fantail::auth::sign;

use crate::access::{SECRET, seconds};
use crate::client::Client;
use crate::server::{PATIENCE, Process, TestServer, eventually};

/// A connection from an address of this machine.
fn from(address: [u8; 4], to: SocketAddr) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::from(address), 0)).into()).expect("an address of loopback");
    socket.connect(&to.into()).expect("a connection");
    Client::over(socket.into())
}

const ADA: [u8; 4] = [127, 7, 0, 1];
const BOB: [u8; 4] = [127, 7, 0, 2];
const EVE: [u8; 4] = [127, 7, 9, 1];

fn refusal(status: &str, seconds: u64, why: &str) -> String {
    let body = format!("{{\"error\":\"{why}\"}}\n");
    format!(
        "HTTP/1.1 {status}\r\nRetry-After: {seconds}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn connections_of_an_address_beyond_its_limit_are_told() {
    let server = TestServer::start("[limits]\nexempt = []\nconnections_per_ip = 2");
    let stream = from(ADA, server.public).subscribe("/sub/a");
    let _idle = from(ADA, server.public);
    eventually("both are counted", || server.stat("connections") == 3);
    let why = "this address has 2 connections, no more are allowed (limits.connections_per_ip)";
    let told = String::from_utf8(from(ADA, server.public).rest()).unwrap();
    assert_eq!(told, refusal("429 Too Many Requests", 5, why));
    // One that has already sent its request reads it as well.
    let mut eager = from(ADA, server.public);
    eager.ask("GET", "/sub/a", &[], b"");
    assert_eq!(eager.answer().error(), why);
    assert_eq!(from(BOB, server.public).get("/nothing").status, 404, "others are not concerned");
    drop(stream);
    eventually("a place comes back", || {
        from(ADA, server.public).try_exchange(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n") == Some(404)
    });
    assert!(server.control().get("/metrics").text().contains("turned_away_total{reason=\"connections_per_ip\"}"));
}

#[test]
fn connections_of_a_network_beyond_its_limit_are_told() {
    let server = TestServer::start("[limits]\nexempt = []\nconnections_per_network = 2");
    let _held = [from(ADA, server.public).subscribe("/sub/a"), from(BOB, server.public).subscribe("/sub/a")];
    let why = "this network has 2 connections, no more are allowed (limits.connections_per_network)";
    let told = String::from_utf8(from([127, 7, 0, 3], server.public).rest()).unwrap();
    assert_eq!(told, refusal("429 Too Many Requests", 5, why));
    from(EVE, server.public).subscribe("/sub/a");
}

#[test]
fn connections_that_come_too_fast_are_told_when_to_come_back() {
    let server = TestServer::start("[limits]\nexempt = []\nconnection_rate = 1\nconnection_burst = 2");
    for _ in 0..2 {
        assert_eq!(from(ADA, server.public).get("/nothing").status, 404);
    }
    let told = String::from_utf8(from(ADA, server.public).rest()).unwrap();
    assert_eq!(told, refusal("429 Too Many Requests", 1, "this address connects too often (limits.connection_rate)"));
    assert_eq!(from(BOB, server.public).get("/nothing").status, 404);
    assert_eq!(from(ADA, server.control).get("/healthz").status, 200, "operating the server is something else");
}

#[test]
fn requests_that_come_too_fast_are_told_and_the_connection_stays() {
    let server = TestServer::start("[limits]\nexempt = []\nrequest_rate = 1\nrequest_burst = 2");
    let mut client = from(ADA, server.public);
    for _ in 0..2 {
        assert_eq!(client.get("/nothing").status, 404);
    }
    let answer = client.get("/nothing");
    assert_eq!(answer.status, 429);
    assert_eq!(answer.head.get("retry-after"), Some("1"));
    assert_eq!(answer.error(), "this address asks too often (limits.request_rate)");
    assert_eq!(from(BOB, server.public).get("/nothing").status, 404);
    eventually("there is a token again", || client.get("/nothing").status == 404);
}

#[test]
fn streams_are_counted_apart_from_requests() {
    let server = TestServer::start("[limits]\nexempt = []\nstreams_per_ip = 2");
    let mut stream = from(ADA, server.public).subscribe("/sub/a");
    let mut waiting = from(ADA, server.public);
    waiting.ask("GET", "/sub/a?wait=1m", &[], b"");
    server.until_stat("subscribers", 2);
    let mut third = from(ADA, server.public);
    let answer = third.get("/sub/a");
    assert_eq!((answer.status, answer.head.get("retry-after")), (429, Some("5")));
    assert_eq!(answer.error(), "this address has 2 streams, no more are allowed (limits.streams_per_ip)");
    assert_eq!(third.get("/nothing").status, 404, "its requests are still answered");
    from(BOB, server.public).subscribe("/sub/a");
    // A poll that is answered gives its seat back, and so does a refusal.
    server.publish("a", "x");
    assert_eq!(waiting.answer().status, 200);
    assert_eq!(stream.event().data, "x");
    for _ in 0..3 {
        assert_eq!(waiting.get("/sub/a?wait=1ms").status, 200);
    }
    drop(stream);
    eventually("its seat comes back", || server.stat("subscribers") <= 1);
    let _two = [from(ADA, server.public).subscribe("/sub/a"), from(ADA, server.public).subscribe("/sub/a")];
    assert_eq!(from(ADA, server.public).get("/sub/a").status, 429);
}

#[test]
fn streams_are_counted_for_a_trusted_proxys_client() {
    let config = "[limits]\nstreams_per_ip = 1\n[listen]\ntrusted_proxies = ['127.0.0.1']";
    let server = TestServer::start(config);
    let get = |client: &str| {
        let mut connection = server.public();
        connection.ask("GET", "/sub/a", &[("X-Forwarded-For", client)], b"");
        connection
    };
    let _first = get("6.6.6.6, 203.0.113.7").stream();
    assert_eq!(get("203.0.113.7").read_head().status, 429);
    let _second = get("203.0.113.7, 6.6.6.7").stream();
    let _third = get("2001:db8::1").stream();
    assert_eq!(get("2001:db8::ffff:2").read_head().status, 429, "of the same prefix");
    // Who is no proxy names nobody.
    let config = "[limits]\nstreams_per_ip = 1";
    let server = TestServer::start(config);
    let _all: Vec<_> =
        (0..3).map(|_| server.public().subscribe_with("/sub/a", &[("X-Forwarded-For", "203.0.113.7")])).collect();
}

#[test]
fn streams_of_a_subscriber_are_counted_wherever_they_come_from() {
    let config = format!(
        "[limits]\nstreams_per_identity = 1\n[stream]\naccess = 'links'\n[access.links]\nby = 'signed'\nsecret = '{SECRET}'\n"
    );
    let server = TestServer::start(&config);
    let url = |path, who| sign(SECRET.as_bytes(), path, seconds(60).try_into().unwrap(), Some(who));
    let first = from(ADA, server.public).subscribe(&url("/sub/a", "42"));
    let answer = from(BOB, server.public).get(&url("/sub/b", "42"));
    assert_eq!(answer.status, 429);
    assert_eq!(answer.error(), "this subscriber has 1 streams, no more are allowed (limits.streams_per_identity)");
    // An `EventSource` would not come back from that: it is told by a stream that ends.
    let mut browser = from(BOB, server.public);
    browser.ask("GET", &url("/sub/b", "42"), &[("Accept", "text/event-stream")], b"");
    let told = browser.answer();
    assert_eq!((told.status, told.head.get("content-type")), (200, Some("text/event-stream")));
    assert!(told.text().contains("limits.streams_per_identity") && told.text().contains("retry: "), "{}", told.text());
    from(BOB, server.public).subscribe(&url("/sub/b", "43"));
    drop(first);
    eventually("its seat comes back", || {
        let mut client = from(BOB, server.public);
        client.ask("GET", &url("/sub/b", "42"), &[], b"");
        client.read_head().status == 200
    });
}

#[test]
fn target_that_is_too_long_is_told_its_length() {
    let server = TestServer::start("limits.url = 100");
    let mut client = server.public();
    assert_eq!(client.get(&format!("/{}", "a".repeat(99))).status, 404);
    let answer = client.get(&format!("/{}?{}", "a".repeat(50), "b".repeat(49)));
    assert_eq!(answer.status, 414);
    assert_eq!(answer.error(), "the request's target has 101 bytes, at most 100 are allowed (limits.url)");
    assert_eq!(client.get("/nothing").status, 404);
}

#[test]
fn memory_beyond_its_limit_turns_newcomers_away_and_nobody_else() {
    // No process has so little.
    let server = TestServer::start("limits.memory = 1");
    let told = || String::from_utf8(server.public().rest()).unwrap();
    let expected = refusal("503 Service Unavailable", 5, "the server is short of memory (limits.memory)");
    eventually("it has looked", || {
        let mut client = server.public();
        client.ask("GET", "/nothing", &[], b"");
        client.answer().status == 503
    });
    assert_eq!(told(), expected);
    assert_eq!(server.control().get("/healthz").status, 200);
}

#[test]
fn descriptors_that_run_out_are_told_and_subscribers_stay() {
    let toml = "[listen]\nconnections = 10000\nshards = 1\n";
    let server = Process::start_with_descriptors(toml, 128);
    let mut control = Client::connect(server.control);
    let mut streams: Vec<_> = (0..20).map(|_| Client::connect(server.public).subscribe("/sub/a")).collect();
    let expected = refusal("503 Service Unavailable", 5, "no descriptors are left for more connections");
    // As many as there is room for, and then everybody is told.
    let mut held = Vec::new();
    let told = loop {
        let mut client = Client::connect(server.public);
        client.ask("GET", "/nothing", &[], b"");
        let answer = client.answer();
        if answer.status != 404 {
            break format!("{}{}", answer.head.raw, answer.text());
        }
        held.push(client);
        assert!(held.len() < 200, "there is no end of descriptors");
    };
    assert_eq!(told, expected);
    for _ in 0..200 {
        let mut client = Client::connect(server.public);
        let answer = client.answer();
        assert_eq!((answer.status, answer.head.get("connection")), (503, Some("close")));
    }
    let answer = control.request("POST", "/pub/a", &[], b"still here");
    assert_eq!(answer.status, 200);
    for stream in &mut streams {
        assert_eq!(stream.event().data, "still here");
    }
    held.clear();
    eventually("newcomers are served again", || {
        let mut client = Client::connect(server.public);
        client.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        client.try_exchange(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n") == Some(404)
    });
}

mod announced {
    //! The PROXY protocol.

    use super::*;

    const CONFIG: &str = "[limits]\nstreams_per_ip = 1\n[listen]\nproxy_protocol = true\nhead_timeout = '400ms'\n\
                          trusted_proxies = ['127.0.0.1']\n";

    #[test]
    fn clients_are_known_by_their_balancers_word() {
        let server = TestServer::start(CONFIG);
        let get = |header: &[u8]| {
            let mut client = server.public();
            client.send([header, b"GET /sub/a HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
            client
        };
        let mut six = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
        six.extend([0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9]);
        six.extend([0; 16]);
        six.extend([0x12, 0x67, 0, 80]);
        let _stream = get(&six).stream();
        let mut same_prefix = b"PROXY TCP6 2001:db8:1:2::77 ::1 4711 80\r\n".to_vec();
        let answer = get(&same_prefix).answer();
        assert_eq!(answer.error(), "this address has 1 streams, no more are allowed (limits.streams_per_ip)");
        same_prefix[21] = b'3';
        get(&same_prefix).stream();
        // The balancer itself, as for its health checks, is not limited.
        let _local = [get(b"PROXY UNKNOWN\r\n").stream(), get(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").stream()];
        let stats = server.control().get("/stats").text();
        assert!(stats.contains("\"subscribers\":"), "{stats}");
    }

    #[test]
    fn connections_without_a_word_or_of_strangers_are_closed() {
        let server = TestServer::start(CONFIG);
        for start in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 1.2.3.4\r\n", "", "PROXY TCP4 1"] {
            let mut client = server.public();
            client.send(start);
            assert!(client.rest().is_empty(), "{start}");
        }
        let mut stranger = from(BOB, server.public);
        let header = "PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        // The server may have closed it already.
        let _ = std::io::Write::write_all(&mut stranger.socket, header.as_bytes());
        assert!(stranger.rest().is_empty());
        assert_eq!(server.metric("fantail_unannounced_connections_total"), 5);
        assert_eq!(server.control().get("/healthz").status, 200, "the control listener is as it was");
    }

    #[test]
    fn word_that_comes_in_pieces_is_put_together() {
        let server = TestServer::start(&CONFIG.replace("400ms", "20s"));
        let mut client = server.public();
        for piece in ["PROXY TC", "P4 203.0.113.9 127.0.0.1 1 2\r", "\nGET /nothing HTTP/1.1\r\n", "Host: a\r\n\r\n"] {
            client.send(piece);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(client.answer().status, 404);
    }
}
