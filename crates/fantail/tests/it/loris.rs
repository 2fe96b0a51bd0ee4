//! Clients that hold what they have for as long as they can: they send heads and bodies in drops, and take answers in drops.
//! Nobody else is to notice.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use crate::client::Client;
use crate::server::{Process, TestServer, eventually};

#[test]
fn body_that_comes_in_drops_is_given_up() {
    let config = "[listen]\nbody_timeout = '300ms'\n[limits]\nbody_rate = 1000\n[[route]]\npath = '/put/{channel}'\n\
                  action = 'publish'\npublic_publish = true\n";
    let server = TestServer::start(config);
    let mut client = server.public();
    client.send("POST /put/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    let mut drops = client.socket.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        // Never silent for as long as would be too long.
        while drops.write_all(b".").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let answer = client.answer();
    assert_eq!((answer.status, answer.head.get("connection")), (408, Some("close")));
    assert_eq!(answer.error(), "the body comes too slowly (limits.body_rate)");
    drop(client);
    dripping.join().unwrap();
    // As slow, but no more than is allowed.
    let mut client = server.public();
    client.send("POST /put/a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(50));
        client.send(".");
    }
    assert_eq!(client.answer().status, 200);
}

#[test]
fn deliveries_go_on_while_many_connections_are_held() {
    const HELD: usize = 300;
    let server = Process::start(
        "[listen]\nhead_timeout = '2s'\nbody_timeout = '2s'\nshards = 1\n[[route]]\npath = '/put/{channel}'\n\
         action = 'publish'\npublic_publish = true\n",
    );
    let mut control = Client::connect(server.control);
    let mut honest: Vec<_> = (0..50).map(|_| Client::connect(server.public).subscribe("/sub/a")).collect();
    let starts = [
        "",
        "GET /sub/a HT",
        "GET /sub/a HTTP/1.1\r\nHost: a\r\nX-",
        "POST /put/b HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n",
        "POST /put/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n",
    ];
    let mut held: Vec<_> = (0..HELD)
        .map(|at| {
            let mut client = Client::connect(server.public);
            client.send(starts[at % starts.len()]);
            client
        })
        .collect();
    for round in 0..20 {
        let data = round.to_string();
        assert_eq!(control.request("POST", "/pub/a", &[], data.as_bytes()).status, 200);
        for stream in &mut honest {
            assert_eq!(stream.event().data, data);
        }
        for client in &mut held {
            // The server may have given it up.
            let _ = client.socket.write_all(b"x");
        }
    }
    let mut newcomer = Client::connect(server.public);
    assert_eq!(newcomer.get("/nothing").status, 404, "there is room for others");
    eventually("all of them are given up", || {
        let connections = control.get("/stats").json()["connections"].as_u64();
        connections.is_some_and(|connections| connections <= 50 + 2)
    });
}

#[test]
fn log_lines_are_lines_whatever_clients_say() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let config = "[log]\nlevel = 'debug'\n[upstream.gone]\nservers = ['http://127.0.0.1:1']\n[limits]\nexempt = []\n\
                  streams_per_ip = 1\n[listen]\ntrusted_proxies = ['127.0.0.1']\n[[route]]\npath = '/gone/{path...}'\n\
                  action = 'proxy'\nupstream = 'gone'\nhand_over = true\n";
    let server = Process::start_with_log(config, Stdio::from(log.reopen().unwrap()));
    for bytes in [
        &b"GET /gone/%0a%1b[31mred HTTP/1.1\r\nHost: a\r\nUser-Agent: \x9b31m\xff\xc2\x9b\r\n\r\n"[..],
        b"GET /gone/\xc2\x9b31m\xe2\x80\xa8 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /gone/a HTTP/1.1\r\nHost: a\x1b[31m\r\n\r\n",
        b"GET /gone/\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x1b[31m / HTTP/1.1\r\n\r\n",
        b"GET /gone/a HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\x1b: x\r\n\r\n",
        b"GET /sub/a%0ab HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: \"\x1b\", 1.2.3.4\r\nLast-Event-ID: \xff\x9b\r\n\r\n",
        b"GET /sub/a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4%0a\r\n\r\n",
        b"POST /gone/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
    ] {
        let mut client = Client::connect(server.public);
        client.send(bytes);
        if bytes.starts_with(b"GET /gone/%") {
            assert_eq!(client.answer().status, 502);
        } else {
            client.half_close();
            client.rest();
        }
    }
    let mut stop = server;
    stop.terminate();
    stop.wait();
    let said = std::fs::read(log.path()).unwrap();
    let said = String::from_utf8(said).expect("the log is text");
    assert!(said.contains("/gone/%0a%1b[31mred"), "what was asked for is told: {said}");
    for line in said.lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.starts_with("20") && line.contains('T'), "a line of its own: {line:?}");
    }
}
