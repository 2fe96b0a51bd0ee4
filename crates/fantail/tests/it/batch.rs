//! `POST /pub` with newline-delimited JSON.

use serde_json::Value;

use crate::client::{Answer, Client, request};
use crate::server::{TestServer, eventually};

const KIND: (&str, &str) = ("Content-Type", "application/x-ndjson");

fn batch(server: &TestServer, body: &str) -> Answer {
    server.control().request("POST", "/pub", &[KIND], body.as_bytes())
}

fn counts(answer: &Answer) -> (u64, u64, Vec<u64>) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    let number = |value: &Value| value.as_u64().expect("a number");
    let refused = json["refused"].as_array().expect("a list").iter().map(|one| number(&one["line"])).collect();
    (number(&json["applied"]), number(&json["published"]), refused)
}

#[test]
fn lines_are_applied_in_order_with_all_they_say() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a/b");
    let body = r#"{"channel":"a","data":"one\r\ntwo"}
{"channel":"b","data":{"n": [1, 2.50, null]},"event":"json","id":"i1"}
{"data":"","channel":"a"}
{"channel":"b","data":17,"key":"k"}
{"channel":"b","data":17,"key":"k"}
{"channel":"a","data":null,"event":null,"id":null,"key":null}
{"channel":"a","data":"\u00fc\ud83d\ude00"}
"#;
    assert_eq!(counts(&batch(&server, body)), (7, 7, vec![]));
    let events = stream.events(6);
    let data: Vec<_> = events.iter().map(|event| &*event.data).collect();
    assert_eq!(data, ["one\ntwo", r#"{"n": [1, 2.50, null]}"#, "", "17", "null", "ü😀"]);
    assert_eq!((&*events[1].name, &*events[1].id), ("json", "i1"));
    assert_eq!(server.stat("published"), 6, "the key was used before");
}

#[test]
fn lines_split_at_every_byte_are_the_same() {
    let server = TestServer::start("");
    let body = "{\"channel\":\"a\",\"data\":\"x\"}\r\n\n{\"channel\":\"ü\",\"data\":[]}\n{bad\n{\"channel\":\"a\",\"data\":\"last\"}";
    let head = format!(
        "POST /pub HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = server.control();
    for at in 0..=body.len() {
        client.send([head.as_bytes(), &body.as_bytes()[..at]].concat());
        std::thread::yield_now();
        client.send(&body.as_bytes()[at..]);
        assert_eq!(counts(&client.answer()), (5, 3, vec![4]), "split at {at}");
    }
    client.send("POST /pub HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n");
    for byte in body.bytes() {
        client.send([b"1\r\n", &[byte][..], b"\r\n"].concat());
    }
    client.send("0\r\n\r\n");
    assert_eq!(counts(&client.answer()), (5, 3, vec![4]));
}

#[test]
fn lines_that_are_wrong_are_named_with_the_reason_and_the_others_applied() {
    let server = TestServer::start("hub.message = '64B'");
    let big = "x".repeat(65);
    let lines = [
        (r#"{"channel":"a","data":"ok"}"#.to_owned(), ""),
        ("{".to_owned(), "EOF"),
        ("[]".to_owned(), "invalid"),
        (r#"{"channel":"a"}"#.to_owned(), "missing field `data`"),
        (r#"{"data":"x"}"#.to_owned(), "missing field `channel`"),
        (r#"{"channel":"a","data":"x","extra":1}"#.to_owned(), "unknown field `extra`"),
        (r#"{"channel":"a","data":"x"} trailing"#.to_owned(), "trailing"),
        (r#"{"channel":"a/b","data":"x"}"#.to_owned(), "'/'"),
        (r#"{"channel":"ALL","data":"x"}"#.to_owned(), "reserved"),
        (r#"{"channel":"","data":"x"}"#.to_owned(), "empty"),
        (r#"{"channel":"a","data":"x","event":"a\nb"}"#.to_owned(), "event name"),
        (r#"{"channel":"a","data":"x","id":"a\rb"}"#.to_owned(), "event id"),
        (r#"{"channel":"a","data":"x","id":"~1"}"#.to_owned(), "'~'"),
        (r#"{"channel":"a","data":"x","id":7}"#.to_owned(), "invalid type"),
        (r#"{"channel":"a","data":"x","key":""}"#.to_owned(), "key"),
        (format!(r#"{{"channel":"a","data":"{big}"}}"#), "65 bytes"),
        (r#"{"channel":"a","channel":"b","data":"x"}"#.to_owned(), "duplicate field"),
        (r#"{"channel":"a","data":"\ud800"}"#.to_owned(), ""),
        (r#"{"channel":"a","data":"ok"}"#.to_owned(), ""),
    ];
    let body = lines.iter().map(|(line, _)| line.clone() + "\n").collect::<String>();
    let answer = batch(&server, &body);
    let json = answer.json();
    assert_eq!((json["applied"].as_u64(), json["published"].as_u64()), (Some(19), Some(2)), "{json}");
    assert_eq!(json["refused_lines"], 17);
    for refused in json["refused"].as_array().unwrap() {
        let line = refused["line"].as_u64().unwrap();
        let (text, reason) = &lines[line as usize - 1];
        assert!(refused["error"].as_str().unwrap().contains(reason), "{text}: {refused}");
    }
    assert_eq!(server.metric("fantail_refused_publishes_total"), 17);
}

#[test]
fn lines_refused_beyond_a_hundred_are_counted() {
    let server = TestServer::start("");
    let body = "{\"channel\":\"a\",\"data\":1}\n{}\n".repeat(700);
    let json = batch(&server, &body).json();
    assert_eq!((json["applied"].as_u64(), json["published"].as_u64()), (Some(1400), Some(700)));
    assert_eq!(json["refused_lines"], 700);
    let refused = json["refused"].as_array().unwrap();
    let lines: Vec<_> = refused.iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, (1..=100).map(|n| n * 2).collect::<Vec<_>>());
}

#[test]
fn lines_not_utf_8_are_refused_one_by_one() {
    let server = TestServer::start("");
    let body = [&b"{\"channel\":\"a\",\"data\":\"\xff\"}\n"[..], b"{\"channel\":\"a\",\"data\":1}\n"].concat();
    let answer = server.control().request("POST", "/pub", &[KIND], &body);
    assert_eq!(counts(&answer), (2, 1, vec![1]));
    assert_eq!(answer.json()["refused"][0]["error"], "not valid UTF-8 at byte 23");
}

#[test]
fn keys_of_other_content_and_full_channels_are_refused_by_line() {
    let server = TestServer::start("hub.channels = 1");
    let body = r#"{"channel":"a","data":1,"key":"k"}
{"channel":"a","data":2,"key":"k"}
{"channel":"b","data":1}
"#;
    let answer = batch(&server, body);
    assert_eq!(counts(&answer), (3, 1, vec![2, 3]));
    let reason = |at: usize| answer.json()["refused"][at]["error"].as_str().unwrap().to_owned();
    assert!(reason(0).contains("idempotency key") && reason(1).contains("hub.channels"));
}

#[test]
fn order_of_a_large_batch_is_kept_in_every_channel() {
    let server = TestServer::start("[hub]\nmessages = 10000\nbytes = '16MiB'");
    let body = (0..5000).map(|n| format!("{{\"channel\":\"c{}\",\"data\":{n}}}\n", n % 3)).collect::<Vec<_>>().concat();
    assert_eq!(counts(&batch(&server, &body)), (5000, 5000, vec![]));
    let mut stream = server.public().subscribe("/sub/c2/c1/c0?from=start");
    assert_eq!(stream.data(5000), (0..5000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn lines_are_applied_while_the_body_arrives() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    let mut client = server.control();
    client.send("POST /pub HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n");
    for n in 0..3 {
        let line = format!("{{\"channel\":\"a\",\"data\":{n}}}\n");
        client.send(format!("{:x}\r\n{line}\r\n", line.len()));
        assert_eq!(stream.event().data, n.to_string());
    }
    client.send("0\r\n\r\n");
    assert_eq!(counts(&client.answer()), (3, 3, vec![]));
}

#[test]
fn body_that_breaks_off_has_applied_what_was_whole() {
    let server = TestServer::start("listen.body_timeout = '200ms'");
    let body = "{\"channel\":\"a\",\"data\":1}\n{\"channel\":\"a\",\"data\":2}\n{\"channel\":\"a\",\"data\":3}";
    let start = |client: &mut Client| {
        client.send(format!(
            "POST /pub HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: 999\r\n\r\n{body}"
        ));
    };
    let mut client = server.control();
    start(&mut client);
    drop(client);
    eventually("two lines were whole", || server.stat("published") == 2);
    // To one that only stops sending it is told how far it came.
    let mut client = server.control();
    start(&mut client);
    let answer = client.answer();
    assert_eq!(answer.status, 408);
    let json = answer.json();
    assert_eq!((json["applied"].as_u64(), json["published"].as_u64()), (Some(2), Some(2)));
    assert!(json["error"].as_str().unwrap().contains("listen.body_timeout"));
    assert_eq!(server.stat("published"), 4);
}

#[test]
fn line_without_an_end_is_refused_before_it_eats_the_memory() {
    let server = TestServer::start("hub.message = '1KiB'");
    let mut client = server.control();
    client.send(request("POST", "/pub", &[KIND, ("Content-Length", "100000")], b"{\"channel\":\"a\",\"data\":1}\n"));
    client.send(vec![b' '; 50_000]);
    let answer = client.answer();
    assert_eq!((answer.status, answer.head.get("connection")), (413, Some("close")));
    assert_eq!(answer.json()["published"], 1);
}

#[test]
fn batch_of_another_type_or_method_is_refused() {
    let server = TestServer::start("");
    for headers in [
        &[("Content-Type", "application/json")][..],
        &[("Content-Type", "text/plain")],
        &[],
        &[KIND, ("Content-Encoding", "gzip")],
    ] {
        let answer = server.control().request("POST", "/pub", headers, b"{\"channel\":\"a\",\"data\":1}\n");
        assert_eq!(answer.status, 415, "{headers:?}");
        assert!(answer.error().contains("application/x-ndjson"), "{}", answer.error());
    }
    for method in ["GET", "PUT", "DELETE"] {
        let answer = server.control().request(method, "/pub", &[KIND], b"");
        assert_eq!((answer.status, answer.head.get("allow")), (405, Some("POST")));
    }
    let empty = batch(&server, "");
    assert_eq!((counts(&empty), empty.json()["refused"].clone()), ((0, 0, vec![]), Value::Array(vec![])));
    assert_eq!(batch(&server, "\n\n").status, 200);
}
