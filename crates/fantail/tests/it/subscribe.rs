//! `GET /sub/…`: what a stream begins with, how it goes on, and every way to be refused one.

use std::time::Duration;

use crate::client::{Client, End, Part, request};
use crate::server::{TestServer, eventually};

#[test]
fn stream_head_and_start_are_exactly_these_bytes() {
    let server = TestServer::start("stream.retry_jitter = '0s'");
    let mut stream = server.public().subscribe("/sub/a");
    assert!(stream.head.raw.starts_with("HTTP/1.1 200 OK\r\n"));
    let mut head = stream.head.headers.clone();
    head.retain(|(name, _)| name != "date");
    head.sort();
    let expected = [
        ("access-control-allow-origin", "*"),
        ("cache-control", "no-store, no-transform"),
        ("connection", "close"),
        ("content-type", "text/event-stream"),
        ("transfer-encoding", "chunked"),
        ("x-accel-buffering", "no"),
    ];
    assert_eq!(head, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let start = String::from_utf8(stream.chunk().unwrap()).unwrap();
    let epoch = start.strip_prefix("retry: 3000\nid: ~1.").and_then(|rest| rest.strip_suffix(".0\n\n"));
    assert!(epoch.is_some_and(|epoch| epoch.bytes().all(|b| b.is_ascii_hexdigit())), "{start:?}");

    let id = server.publish("a", "x");
    assert_eq!(String::from_utf8(stream.chunk().unwrap()).unwrap(), format!("id: {id}\ndata: x\n\n"));
    assert!(stream.client.is_silent_for(Duration::from_millis(50)), "a message is a chunk and nothing else");
}

#[test]
fn stream_of_an_http_1_0_client_is_raw_and_ends_with_the_connection() {
    let server = TestServer::start("[stream]\nretry_jitter = '0s'\nping = '100ms'");
    let mut client = server.public();
    client.send("GET /sub/a HTTP/1.0\r\n\r\n");
    let mut stream = client.stream();
    assert_eq!((stream.head.get("transfer-encoding"), stream.head.get("content-length")), (None, None));
    let id = server.publish("a", "x\ny");
    assert_eq!(stream.event().data, "x\ny");
    assert!(stream.chunks.concat().ends_with(format!("\n\nid: {id}\ndata: x\ndata: y\n\n").as_bytes()));
    assert_eq!(stream.part(), Ok(Part::Comment("ping".into())));
    assert_eq!(server.control().request("DELETE", "/pub/a", &[], b"").status, 200);
    let (parts, end) = stream.to_end();
    assert_eq!(end, End::Closed);
    assert!(stream.chunks.concat().ends_with(b"event: fantail-end\ndata: \n\n"), "{parts:?}");
}

#[test]
fn stream_of_an_http_1_1_client_that_closes_is_chunked_all_the_same() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe_with("/sub/a", &[("Connection", "close")]);
    assert_eq!(stream.head.get("transfer-encoding"), Some("chunked"));
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
}

#[test]
fn stream_each_message_is_a_chunk_of_its_own_also_when_caught_up() {
    let server = TestServer::start("");
    let ids: Vec<_> = (0..20).map(|n| server.publish("a", &n.to_string())).collect();
    let mut stream = server.public().subscribe("/sub/a?from=start");
    stream.chunk().unwrap();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(String::from_utf8(stream.chunk().unwrap()).unwrap(), format!("id: {id}\ndata: {n}\n\n"));
    }
}

#[test]
fn start_live_hears_only_what_comes() {
    let server = TestServer::start("");
    let before = server.publish("a", "before");
    let mut stream = server.public().subscribe("/sub/a");
    stream.chunk().unwrap();
    assert_eq!(stream.last_event_id(), before, "a client that is cut off now misses nothing");
    server.publish("a", "after");
    assert_eq!(stream.event().data, "after");
}

#[test]
fn start_last_counts_for_each_channel() {
    let server = TestServer::start("");
    for n in 0..5 {
        server.publish("a", &format!("a{n}"));
        server.publish("b", &format!("b{n}"));
    }
    for n in 0..5 {
        server.publish("a", &format!("later{n}"));
    }
    let start = |query: &str, n| server.public().subscribe(&format!("/sub/a/b/none{query}")).data(n);
    assert_eq!(start("?last=2", 4), ["b3", "b4", "later3", "later4"]);
    assert_eq!(start("?last=1", 2), ["b4", "later4"]);
    assert_eq!(start("?last=999", 15).len(), 15);
    let mut none = server.public().subscribe("/sub/a?last=0");
    server.publish("a", "new");
    assert_eq!(none.event().data, "new");
}

#[test]
fn start_since_takes_spans_and_times() {
    let server = TestServer::start("");
    server.publish("a", "old");
    std::thread::sleep(Duration::from_millis(400));
    let between = jiff::Timestamp::now();
    std::thread::sleep(Duration::from_millis(20));
    server.publish("a", "new");
    let first = |query: &str| server.public().subscribe(&format!("/sub/a?{query}")).event().data;
    assert_eq!(first("since=1h"), "old");
    assert_eq!(first(&format!("since={between}")), "new");
    // An offset as people paste it, with its plus sign as it is, and as a form would encode it.
    let zoned = |plus: &str| {
        let there = between.to_string().replace('Z', "") + plus + "00:00";
        first(&format!("since={there}"))
    };
    assert_eq!((zoned("+"), zoned("%2B"), zoned("-")), ("new".into(), "new".into(), "new".into()));
    let mut none = server.public().subscribe("/sub/a?since=0s");
    server.publish("a", "newest");
    assert_eq!(none.event().data, "newest");
}

#[test]
fn start_from_start_is_all_that_is_kept_without_a_gap() {
    let server = TestServer::start("hub.messages = 3");
    (0..5).for_each(|n| drop(server.publish("a", &n.to_string())));
    let mut stream = server.public().subscribe("/sub/a?from=start");
    assert_eq!(stream.data(3), ["2", "3", "4"]);
}

#[test]
fn start_id_can_be_turned_off_by_query_and_by_setting() {
    let server = TestServer::start(
        "[stream]\nretry_jitter = '0s'\nretry = '50ms'\n[[route]]\npath = '/plain'\nchannels = ['a']\nstart_id = false",
    );
    let first = |target: &str| String::from_utf8(server.public().subscribe(target).chunk().unwrap()).unwrap();
    assert_eq!(first("/sub/a?start-id=0"), "retry: 50\n");
    assert_eq!(first("/plain"), "retry: 50\n");
    assert!(first("/plain?start-id=1").starts_with("retry: 50\nid: ~1."));
    assert!(first("/sub/a?start-id=1").ends_with(".0\n\n"));
}

#[test]
fn retry_is_drawn_from_its_range() {
    let server = TestServer::start("[stream]\nretry = '1s'\nretry_jitter = '400ms'");
    let retries: Vec<_> = (0..30)
        .map(|_| match server.public().subscribe("/sub/a").part() {
            Ok(Part::Retry(after)) => after,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(retries.iter().all(|after| (1000..=1400).contains(after)), "{retries:?}");
    assert!(retries.iter().any(|after| *after != retries[0]), "{retries:?}");
}

#[test]
fn ping_is_one_line_in_a_chunk_and_comes_only_in_silence() {
    let server = TestServer::start("stream.ping = '100ms'");
    let mut client = server.public();
    client.ask("GET", "/sub/a", &[], b"");
    let mut stream = client.stream();
    stream.chunk().unwrap();
    for _ in 0..3 {
        assert_eq!(stream.chunk().unwrap(), b": ping\n");
    }
    server.publish("a", "x");
    // It may have been just then.
    let parts: Vec<_> =
        std::iter::from_fn(|| stream.part().ok()).take_while(|part| *part == Part::Comment("ping".into())).collect();
    assert!(parts.len() < 10, "{}", parts.len());
}

#[test]
fn lifetime_ends_the_stream_with_its_last_chunk() {
    let server = TestServer::start("[stream]\nlifetime = '100ms'\nlifetime_jitter = '100ms'\nping = '10s'");
    let start = std::time::Instant::now();
    let mut stream = server.public().subscribe("/sub/a");
    let (_, end) = stream.to_end();
    assert_eq!(end, End::Said);
    assert!(start.elapsed() >= Duration::from_millis(90), "{:?}", start.elapsed());
    assert!(stream.client.is_closed());
    drop(stream);
    eventually("it is counted", || server.metric("fantail_ended_subscribers_total") == 1);
}

#[test]
fn channels_repeated_and_empty_segments_are_folded() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a//b/a/b//");
    stream.chunk().unwrap();
    server.until_stat("subscriptions", 2);
    server.publish("a", "1");
    server.publish("b", "2");
    assert_eq!(stream.data(2), ["1", "2"]);
}

#[test]
fn channels_names_are_decoded_once() {
    let server = TestServer::start("");
    for (on_the_way_in, on_the_way_out) in
        [("a%20b", "a%20b"), ("%C3%BC", "ü"), ("100%2525", "100%2525"), ("x+y", "x+y"), ("~.-_", "%7E.-_")]
    {
        let mut stream = server.public().subscribe(&format!("/sub/{on_the_way_out}?from=start"));
        let answer = server.control().request("POST", &format!("/pub/{on_the_way_in}"), &[], b"x");
        assert_eq!(stream.event().data, "x");
        let name = answer.json()["published"][0]["channel"].as_str().unwrap().to_owned();
        let decoded = percent_encoding::percent_decode_str(on_the_way_in).decode_utf8().unwrap();
        assert_eq!(name, decoded);
    }
}

#[test]
fn channels_names_that_are_not_allowed_are_refused_with_the_reason() {
    let server = TestServer::start("");
    let long = "x".repeat(256);
    let many = (0..65).map(|n| format!("/c{n}")).collect::<Vec<_>>().concat();
    for (path, reason) in [
        ("/sub/ALL", "channel name \"ALL\" is reserved"),
        ("/sub/a*", "holds '*' at byte 1"),
        ("/sub/a%2Fb", "holds '/' at byte 1"),
        ("/sub/a%0Ab", "holds '\\n' at byte 1"),
        ("/sub/a%00", "holds '\\0' at byte 1"),
        ("/sub/%ff", "not valid UTF-8"),
        ("/sub/ok/ALL", "reserved"),
        (&format!("/sub/{long}"), "has 256 bytes, at most 255"),
        ("/sub/", "no channel was named"),
        ("/sub///", "no channel was named"),
        (&format!("/sub{many}"), "65 channels were named, at most 64 are allowed (stream.max_channels)"),
        ("/sub/a?last=x", "parameter last=\"x\" is not a whole number"),
        ("/sub/a?last=-1", "parameter last"),
        ("/sub/a?since=yesterday", "parameter since"),
        ("/sub/a?from=middle", "parameter from=\"middle\""),
        ("/sub/a?wait=2", "parameter wait"),
        ("/sub/a?wait=10m", "at most 5m"),
        ("/sub/a?start-id=perhaps", "parameter start-id"),
    ] {
        let mut client = server.public();
        let answer = client.get(path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.error().contains(reason), "{path}: {}", answer.error());
        assert_eq!(answer.head.get("access-control-allow-origin"), Some("*"), "a page may read the reason");
        assert_eq!(client.get("/sub/ALL").status, 400, "the connection goes on");
    }
    let most = (0..64).map(|n| format!("/c{n}")).collect::<Vec<_>>().concat();
    server.public().subscribe(&format!("/sub{most}"));
    assert_eq!(server.metric("fantail_refused_subscribes_total"), 36);
}

#[test]
fn channels_more_than_a_route_allows_are_refused() {
    let server = TestServer::start("stream.max_channels = 2");
    server.public().subscribe("/sub/a/b/a");
    assert_eq!(server.public().get("/sub/a/b/c").status, 400);
}

#[test]
fn head_gets_the_head_of_a_stream_and_no_stream() {
    let server = TestServer::start("");
    let mut client = server.public();
    let head = client.request("HEAD", "/sub/a", &[], b"");
    assert_eq!((head.status, head.head.get("content-type")), (200, Some("text/event-stream")));
    assert_eq!(head.head.get("cache-control"), Some("no-store, no-transform"));
    assert_eq!(head.head.get("x-accel-buffering"), Some("no"));
    assert_eq!(head.head.get("content-length"), None, "RFC 9110 §8.6: a length that GET would not have");
    assert_eq!(client.request("HEAD", "/sub/ALL", &[], b"").status, 400);
    client.subscribe("/sub/a");
}

#[test]
fn options_for_everyone_says_what_a_page_may_do() {
    let server = TestServer::start("");
    let ask = [("Origin", "https://x.example"), ("Access-Control-Request-Method", "GET")];
    let answer = server.public().request("OPTIONS", "/sub/a", &ask, b"");
    assert_eq!(answer.status, 204);
    assert_eq!(answer.head.get("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.head.get("access-control-allow-credentials"), None);
    assert_eq!(answer.head.get("allow"), Some("GET, HEAD, OPTIONS"));
    assert!(answer.head.get("access-control-allow-headers").unwrap().contains("Last-Event-ID"));
    assert!(answer.head.get("access-control-allow-methods").unwrap().contains("GET"));
    assert_eq!(answer.head.get("access-control-max-age"), Some("86400"));
}

#[test]
fn cors_with_listed_origins_answers_each_its_own_and_with_credentials() {
    let server =
        TestServer::start("[cors]\norigins = ['https://a.example', 'https://b.example:8443']\ncredentials = true");
    for (origin, allowed) in
        [("https://a.example", true), ("https://b.example:8443", true), ("https://b.example", false), ("null", false)]
    {
        for method in ["GET", "OPTIONS", "HEAD"] {
            let mut client = server.public();
            client.ask(method, "/sub/a", &[("Origin", origin)], b"");
            let head = client.read_head();
            let said = (head.get("access-control-allow-origin"), head.get("access-control-allow-credentials"));
            let expected = if allowed { (Some(origin), Some("true")) } else { (None, None) };
            assert_eq!(said, expected, "{method} from {origin}");
            assert_eq!(head.get("vary"), Some("Origin"));
        }
    }
    let head = server.public().subscribe("/sub/a").head;
    assert_eq!(head.get("access-control-allow-origin"), None);
}

#[test]
fn methods_that_a_stream_has_not_are_refused_with_those_it_has() {
    let server = TestServer::start("");
    for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
        let answer = server.public().request(method, "/sub/a", &[], b"x");
        assert_eq!((answer.status, answer.head.get("allow")), (405, Some("GET, HEAD, OPTIONS")), "{method}");
        assert_eq!(answer.error(), format!("{method} is not allowed here, only GET, HEAD, OPTIONS"));
    }
}

#[test]
fn paths_outside_the_routes_are_not_found() {
    let server = TestServer::start("");
    for path in ["/", "/sub", "/subs/a", "/SUB/a", "/pub/a", "/stats", "/metrics", "/healthz"] {
        let answer = server.public().get(path);
        assert_eq!((answer.status, answer.error()), (404, format!("there is nothing at {path}")));
    }
}

#[test]
fn subscriptions_over_their_limit_are_refused_for_a_while() {
    let server = TestServer::start("hub.subscriptions = 3");
    let _one = server.public().subscribe("/sub/a/b");
    server.until_stat("subscriptions", 2);
    let refused = server.public().get("/sub/a/b");
    assert_eq!((refused.status, refused.head.get("retry-after")), (503, Some("5")));
    assert!(refused.error().contains("hub.subscriptions"), "{}", refused.error());
    server.public().subscribe("/sub/c");
}

#[test]
fn many_subscribers_of_mixed_framing_hear_the_same() {
    let server = TestServer::start("listen.shards = 3");
    let mut streams: Vec<_> = (0..30)
        .map(|n| {
            let mut client = Client::connect(server.public);
            if n % 3 == 0 {
                client.send("GET /sub/a/b HTTP/1.0\r\n\r\n");
            } else {
                client.send(request("GET", if n % 3 == 1 { "/sub/a/b" } else { "/sub/a/c" }, &[], b""));
            }
            client.stream()
        })
        .collect();
    server.until_stat("subscribers", 30);
    let answer = server.control().request("POST", "/pub/a", &[], b"x").json();
    assert_eq!(answer["published"][0]["subscribers"], 30);
    assert_eq!(server.control().request("POST", "/pub/b", &[], b"y").json()["published"][0]["subscribers"], 20);
    for (n, stream) in streams.iter_mut().enumerate() {
        assert_eq!(stream.event().data, "x");
        if n % 3 != 2 {
            assert_eq!(stream.event().data, "y");
        }
    }
    drop(streams);
    server.until_stat("subscribers", 0);
    server.until_stat("subscriptions", 0);
}
