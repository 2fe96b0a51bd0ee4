//! `POST|PUT /pub/…`: what is answered, what arrives at the other end, and every refusal.

use std::sync::{Arc, Barrier};

use serde_json::Value;

use crate::client::{Answer, Client, Event};
use crate::server::{TestServer, eventually};

fn post(server: &TestServer, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    server.control().request("POST", target, headers, body)
}

#[test]
fn answer_names_what_was_published_where() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    server.until_stat("subscribers", 1);
    for method in ["POST", "PUT"] {
        let answer = server.control().request(method, "/pub/a", &[], b"x");
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        let [one] = answer["published"].as_array().unwrap().as_slice() else { panic!("{answer}") };
        let mut fields: Vec<_> = one.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["channel", "duplicate", "epoch", "id", "offset", "subscribers"]);
        let (epoch, offset) = (one["epoch"].as_str().unwrap(), one["offset"].as_str().unwrap());
        assert_eq!(one["id"], format!("~1.{epoch}.{offset}"));
        assert!(offset.parse::<u64>().is_ok(), "{offset}");
        assert_eq!((&one["channel"], &one["subscribers"], &one["duplicate"]), (&"a".into(), &1.into(), &false.into()));
        assert_eq!(stream.event().id, one["id"].as_str().unwrap());
    }
}

#[test]
fn channels_are_published_to_in_order_and_each_for_itself() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/c/b/a");
    let answer = post(&server, "/pub/b/a//c/a", &[("Event-Id", "one")], b"x").json();
    let published = answer["published"].as_array().unwrap();
    let names: Vec<_> = published.iter().map(|one| one["channel"].as_str().unwrap()).collect();
    assert_eq!(names, ["b", "a", "c"]);
    let offsets: Vec<u64> = published.iter().map(|one| one["offset"].as_str().unwrap().parse().unwrap()).collect();
    assert!(offsets.is_sorted() && offsets[0] < offsets[2], "{offsets:?}");
    assert!(published.iter().all(|one| one["id"] == "one"));
    assert_eq!(stream.data(3), ["x", "x", "x"]);
    assert!(answer.get("error").is_none());
}

#[test]
fn event_and_id_come_by_header_and_by_query() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    post(&server, "/pub/a", &[("Event-Type", "price"), ("Event-Id", "7")], b"x");
    post(&server, "/pub/a?event=pr%20ice&id=%C3%BC", &[], b"x");
    post(&server, "/pub/a?event=query&id=query", &[("Event-Type", "header"), ("Event-Id", "header")], b"x");
    post(&server, "/pub/a?event=&id=", &[], b"x");
    let events: Vec<_> = stream.events(4).into_iter().map(|Event { name, id, .. }| (name, id)).collect();
    let text = |name: &str, id: &str| (name.to_owned(), id.to_owned());
    assert_eq!(events[..3], [text("price", "7"), text("pr ice", "ü"), text("header", "header")]);
    assert!(events[3].0 == "message" && events[3].1.starts_with("~1."), "an empty one is none: {:?}", events[3]);
}

#[test]
fn data_of_any_text_comes_back_line_by_line() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    for data in [
        "",
        "x",
        " x ",
        "a\nb",
        "a\r\nb",
        "a\rb",
        "\n",
        "\r",
        "\r\n",
        "\n\n\n",
        "\r\r\n\n",
        "a\n",
        "a\r\n\r\nb\n\n",
        "\n\r",
        "\u{feff}x",
        "nul \0 and \u{1b}[0m",
        "ünï…\u{2028}\u{85}",
        ": comment",
        "data: x",
        "\tx",
        "😀\r😀",
        "id: forged\nevent: forged\nretry: 1\n\ndata: forged",
        "0\r\n\r\n",
        "x\u{0}\n\u{0}",
    ] {
        post(&server, "/pub/a", &[], data.as_bytes());
        let lines = data.replace("\r\n", "\n").replace('\r', "\n");
        let event = stream.event();
        assert_eq!((&*event.name, &event.data), ("message", &lines), "{data:?}");
        assert!(event.id.starts_with("~1."));
    }
}

#[test]
fn fields_cannot_be_injected_by_event_or_id() {
    let server = TestServer::start("");
    for target in [
        "/pub/a?event=x%0Adata:forged",
        "/pub/a?event=x%0D",
        "/pub/a?id=1%0A%0Adata:forged",
        "/pub/a?id=1%0D",
        "/pub/a?id=1%00",
        "/pub/a?event=%00",
    ] {
        let answer = post(&server, target, &[], b"x");
        assert_eq!(answer.status, 400, "{target}");
        assert!(answer.error().starts_with("event "), "{}", answer.error());
    }
    let long = "x".repeat(256);
    assert_eq!(post(&server, &format!("/pub/a?id={long}"), &[], b"x").status, 400);
    assert_eq!(post(&server, "/pub/a", &[("Event-Type", &long)], b"x").status, 400);
    // hyper would refuse line breaks in headers; a NUL or bytes that are not UTF-8 are ours to refuse.
    let mut client = server.control();
    client.send(b"POST /pub/a HTTP/1.1\r\nHost: localhost\r\nEvent-Id: \xff\r\nContent-Length: 1\r\n\r\nx");
    let answer = client.answer();
    assert_eq!((answer.status, answer.error().contains("event-id is not valid UTF-8")), (400, true));
    assert_eq!(server.stat("published"), 0);
}

#[test]
fn data_that_is_not_utf_8_is_refused_with_its_byte() {
    let server = TestServer::start("");
    for (data, at) in [(&b"\xff"[..], 0), (b"abc\xc3", 3), (b"\xed\xa0\x80", 0), (b"ok \xc0\xaf", 3)] {
        let answer = post(&server, "/pub/a", &[], data);
        assert_eq!((answer.status, answer.error()), (400, format!("data is not valid UTF-8 at byte {at}")));
    }
    assert_eq!(server.stat("channels"), 0, "a refused publish makes no channel");
    assert_eq!(server.metric("fantail_refused_publishes_total"), 4);
}

#[test]
fn size_of_a_mebibyte_is_taken_and_one_byte_more_is_not() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    let most = vec![b'x'; 1 << 20];
    assert_eq!(post(&server, "/pub/a", &[], &most).status, 200);
    assert_eq!(stream.event().data.len(), 1 << 20);
    // All of it in one chunk.
    assert_eq!(stream.chunks.len(), 2);

    let mut client = server.control();
    client.send(format!("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", (1 << 20) + 1));
    let answer = client.answer();
    assert_eq!((answer.status, answer.head.get("connection")), (413, Some("close")));
    assert!(answer.error().contains("1048576 bytes (hub.message)"), "{}", answer.error());

    let mut client = server.control();
    client.send("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(b"80000\r\n");
    client.send(vec![b'x'; 1 << 19]);
    client.send(b"\r\n80000\r\n");
    client.send(vec![b'x'; 1 << 19]);
    client.send(b"\r\n1\r\nx\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.head.get("connection")), (413, Some("close")));
    assert_eq!(server.stat("published"), 1);
}

#[test]
fn size_too_large_is_told_also_to_a_client_that_sends_everything_first() {
    let server = TestServer::start("hub.message = '1KiB'");
    for _ in 0..10 {
        let mut client = server.control();
        let answer = client.request("POST", "/pub/a", &[], &vec![b'x'; 300_000]);
        assert_eq!(answer.status, 413);
    }
}

#[test]
fn body_in_chunks_of_any_cut_is_one_message() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    let mut client = server.control();
    client.send("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in ["1\r\na\r\n", "3;ext=1\r\n", "bcd\r", "\n", "2\r\ne\n\r\n0\r\n", "Trailer: x\r\n\r\n"] {
        client.send(piece);
    }
    assert_eq!(client.answer().status, 200);
    assert_eq!(stream.event().data, "abcde\n");
    assert_eq!(client.get("/healthz").status, 200, "the connection goes on");
}

#[test]
fn body_without_a_length_is_asked_for() {
    let server = TestServer::start("");
    let mut client = server.control();
    client.send("POST /pub/a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 411);
    assert!(answer.error().contains("Content-Length"), "{}", answer.error());
    assert_eq!(client.request("POST", "/pub/a", &[], b"").status, 200, "an empty message is one");
    let mut stream = server.public().subscribe("/sub/a?last=1");
    assert_eq!(stream.event().data, "");
}

#[test]
fn body_with_an_encoding_is_refused() {
    let server = TestServer::start("");
    for coding in ["gzip", "br", "identity"] {
        let answer = post(&server, "/pub/a", &[("Content-Encoding", coding)], b"\x1f\x8b");
        assert_eq!(answer.status, 415, "{coding}");
        assert!(answer.error().contains("Content-Encoding"), "{}", answer.error());
    }
}

#[test]
fn body_that_does_not_come_is_given_up() {
    let server = TestServer::start("listen.body_timeout = '500ms'\nlimits.body_rate = 0");
    let mut client = server.control();
    client.send("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf");
    let answer = client.answer();
    assert_eq!((answer.status, answer.head.get("connection")), (408, Some("close")));
    assert!(answer.error().contains("listen.body_timeout"), "{}", answer.error());
    assert!(client.is_closed());
    // One that goes on slowly is not silent.
    let mut client = server.control();
    client.send("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n");
    for _ in 0..6 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        client.send("x");
    }
    assert_eq!(client.answer().status, 200, "the setting says: how long a body may stay silent");
}

#[test]
fn body_that_breaks_off_publishes_nothing() {
    let server = TestServer::start("");
    let mut client = server.control();
    client.send("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf");
    client.half_close();
    client.rest();
    assert_eq!(server.stat("published"), 0);
}

#[test]
fn expect_100_is_answered_before_the_body_and_not_where_it_would_be_refused() {
    let server = TestServer::start("");
    let mut client = server.control();
    client.send("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(client.read_head().status, 100);
    client.send("x");
    assert_eq!(client.answer().status, 200);
    client.send("POST /pub/a HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n");
    assert_eq!(client.answer().status, 413);
}

#[test]
fn names_are_refused_as_for_subscribers() {
    let server = TestServer::start("");
    let many = (0..65).map(|n| format!("/c{n}")).collect::<Vec<_>>().concat();
    for path in ["/pub/ALL", "/pub/a%2Fb", "/pub/a*", "/pub/%ff", "/pub/", &format!("/pub{many}")] {
        for method in ["POST", "GET", "DELETE", "PUT"] {
            assert_eq!(server.control().request(method, path, &[], b"x").status, 400, "{method} {path}");
        }
    }
    for method in ["PATCH", "OPTIONS"] {
        let answer = server.control().request(method, "/pub/a", &[], b"");
        assert_eq!((answer.status, answer.head.get("allow")), (405, Some("GET, POST, PUT, DELETE")));
    }
}

#[test]
fn key_repeated_answers_with_the_first_result_and_publishes_nothing() {
    let server = TestServer::start("");
    let key = [("Idempotency-Key", "k-1")];
    let first = post(&server, "/pub/a", &key, b"x").json();
    server.publish("a", "between");
    let again = post(&server, "/pub/a", &key, b"x").json();
    let [first, again] = [&first["published"][0], &again["published"][0]];
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&Value::Bool(false), &Value::Bool(true)));
    for field in ["offset", "epoch", "id", "channel"] {
        assert_eq!(first[field], again[field]);
    }
    for (target, headers, body) in [
        ("/pub/a", &key[..], &b"y"[..]),
        ("/pub/a?event=e", &key, b"x"),
        ("/pub/a?id=i", &key, b"x"),
        ("/pub/a?end=1", &key, b"x"),
    ] {
        let other = post(&server, target, headers, body);
        assert_eq!(other.status, 409, "{target}");
        assert!(other.error().contains("idempotency key"), "{}", other.error());
    }
    assert_eq!(post(&server, "/pub/b", &key, b"y").json()["published"][0]["duplicate"], false, "a key is per channel");
    assert_eq!(server.stat("published"), 3);
    assert_eq!(server.metric("fantail_duplicates_total"), 1);
    for bad in ["", &"k".repeat(256)] {
        let answer = post(&server, "/pub/a", &[("Idempotency-Key", bad)], b"x");
        assert_eq!((answer.status, answer.error().contains("Idempotency-Key")), (400, true));
    }
}

#[test]
fn key_over_several_channels_publishes_what_was_missing() {
    let server = TestServer::start("");
    let key = [("Idempotency-Key", "k")];
    post(&server, "/pub/a", &key, b"x");
    let answer = post(&server, "/pub/a/b", &key, b"x").json();
    assert_eq!(
        (&answer["published"][0]["duplicate"], &answer["published"][1]["duplicate"]),
        (&true.into(), &false.into())
    );
    // Where a later channel refuses, the answer names those that stand, and why the rest does not.
    post(&server, "/pub/d", &key, b"other");
    let answer = post(&server, "/pub/c/d/e", &key, b"x");
    assert_eq!(answer.status, 409);
    let answer = answer.json();
    assert_eq!(answer["published"].as_array().unwrap().len(), 1, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("idempotency key"));
}

#[test]
fn key_in_many_requests_at_once_publishes_once() {
    let server = TestServer::start("");
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (control, start) = (server.control, Arc::clone(&start));
            std::thread::spawn(move || {
                let mut client = Client::connect(control);
                start.wait();
                client.request("POST", "/pub/a", &[("Idempotency-Key", "k")], b"x").json()["published"][0].clone()
            })
        })
        .collect();
    let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(answers.iter().filter(|one| one["duplicate"] == false).count(), 1);
    assert!(answers.iter().all(|one| one["offset"] == answers[0]["offset"]));
    assert_eq!(server.stat("published"), 1);
}

#[test]
fn key_is_forgotten_after_its_window_and_over_the_number() {
    let server = TestServer::start("[idempotency]\nwindow = '100ms'\nkeys = 2");
    let duplicate = |key: &str| {
        post(&server, "/pub/a", &[("Idempotency-Key", key)], b"x").json()["published"][0]["duplicate"] == true
    };
    assert!(!duplicate("1"));
    eventually("the key is forgotten", || !{
        std::thread::sleep(std::time::Duration::from_millis(120));
        duplicate("1")
    });
    let server = TestServer::start("idempotency.keys = 2");
    let duplicate = |key: &str| {
        post(&server, "/pub/a", &[("Idempotency-Key", key)], b"x").json()["published"][0]["duplicate"] == true
    };
    assert_eq!(["1", "2", "3", "2", "3", "1"].map(duplicate), [false, false, false, true, true, false]);
}

#[test]
fn channels_that_have_no_room_are_told() {
    let server = TestServer::start("hub.channels = 2");
    server.publish("a", "x");
    let _stream = server.public().subscribe("/sub/b");
    let full = post(&server, "/pub/c", &[], b"x");
    assert_eq!((full.status, full.error()), (507, "there are 2 channels, no more are allowed (hub.channels)".into()));
    assert_eq!(post(&server, "/pub/a/b", &[], b"x").status, 200);
    let refused = server.public().get("/sub/c");
    assert_eq!((refused.status, refused.head.get("retry-after")), (503, Some("5")));
    assert!(refused.error().contains("hub.channels"));
    assert_eq!(server.stat("channels"), 2);
}

#[test]
fn pipelined_publishes_are_answered_in_order() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    let mut client = server.control();
    let mut all = Vec::new();
    for n in 0..100 {
        all.extend(crate::client::request(
            "POST",
            "/pub/a",
            &[("Event-Id", &format!("n{n}"))],
            n.to_string().as_bytes(),
        ));
        if n % 10 == 0 {
            all.extend(crate::client::request("GET", "/nowhere", &[], b""));
        }
    }
    client.send(&all);
    for n in 0..100 {
        assert_eq!(client.answer().json()["published"][0]["id"], format!("n{n}"));
        if n % 10 == 0 {
            assert_eq!(client.answer().status, 404);
        }
    }
    assert_eq!(stream.data(100), (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}
