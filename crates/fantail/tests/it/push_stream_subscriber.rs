//! Streams of push-stream routes: who is let in, what they are sent first, meanwhile and last, and where they go on.

use std::fmt::Write as _;

use crate::client::{Answer, End, Stream};
use crate::server::{TestServer, eventually};

const TEMPLATE: &str = "<~id~:~channel~:~text~>";

/// A server with publisher routes (`/pub` stores, `/say` does not) and these subscriber routes, of which each is a path and
/// options. `all` goes under `[push_stream]`.
pub(crate) fn server(all: &str, routes: &[(&str, &str)]) -> TestServer {
    let mut toml = format!("[push_stream]\n{all}\n");
    let publisher = "publisher = 'admin'\npublic_publish = true\nchannels_path = '$arg_id'\n";
    let pub_routes =
        [("/pub", format!("{publisher}store_messages = true")), ("/say", format!("{publisher}store_messages = false"))];
    let given = routes.iter().map(|(path, options)| (*path, (*options).to_owned()));
    for (path, options) in pub_routes.into_iter().chain(given) {
        let _ = write!(toml, "[[route]]\naction = 'push_stream'\npath = '{path}'\n{options}\n");
    }
    TestServer::start(&toml)
}

pub(crate) fn publish(server: &TestServer, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let answer = server.public().request("POST", target, headers, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

fn open(server: &TestServer, target: &str) -> Stream {
    open_with(server, target, &[])
}

fn open_with(server: &TestServer, target: &str, headers: &[(&str, &str)]) -> Stream {
    let mut client = server.public();
    client.ask("GET", target, headers, b"");
    let head = client.read_head();
    assert_eq!(head.status, 200, "{}", head.raw);
    client.stream_behind(head)
}

/// Reads chunks until as much has come as is expected, and compares. Each piece is a chunk.
fn expect(stream: &mut Stream, pieces: &[&str]) {
    let mut said = Vec::new();
    for _ in pieces {
        match stream.chunk() {
            Ok(chunk) => said.push(String::from_utf8_lossy(&chunk).into_owned()),
            Err(end) => panic!("{end:?} after {said:?}, not {pieces:?}"),
        }
    }
    assert_eq!(said, pieces);
}

fn refused(answer: &Answer, status: u16, explain: Option<&str>) {
    assert_eq!((answer.status, answer.head.get("x-nginx-pushstream-explain")), (status, explain), "{answer:?}");
    assert_eq!((answer.head.get("content-length"), answer.head.get("content-type")), (Some("0"), None));
    assert_eq!(answer.head.get("expires"), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
    assert_eq!(answer.head.get("cache-control"), Some("no-cache, no-store, must-revalidate"));
}

#[test]
fn subscriber_is_refused_as_the_module_refuses() {
    let server = server(
        "strict = true\nmax_channel_id_length = 6\nmax_subscribers_per_channel = 1\nevents_channel_id = 'events'\n\
         wildcard_channel_prefix = 'all_'\nmax_number_of_wildcard_channels = 2\nmax_number_of_channels = 3",
        &[
            (
                "/sub",
                "subscriber = 'streaming'\nchannels_path = '$arg_id'\nallowed_origins = '$http_origin'\nwildcard_channel_max_qtd = 1",
            ),
            ("/known", "subscriber = 'eventsource'\nchannels_path = '$arg_id'\nauthorized_channels_only = true"),
        ],
    );
    let get = |target: &str| server.public().get(target);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = server.public().request(method, "/sub?id=a", &[], b"");
        refused(&answer, 405, None);
        assert_eq!(answer.head.get("allow"), Some("GET"));
    }
    let answer = server.public().request("HEAD", "/sub?id=a", &[], b"");
    assert_eq!((answer.status, answer.head.get("allow")), (405, Some("GET")));

    let answer = server.public().request("OPTIONS", "/sub", &[("Origin", "http://a.example")], b"");
    assert_eq!((answer.status, answer.head.get("content-length")), (200, Some("0")));
    assert_eq!(answer.head.get("access-control-allow-origin"), Some("http://a.example"));
    assert_eq!(answer.head.get("access-control-allow-methods"), Some("GET"));
    assert_eq!((answer.head.get("expires"), answer.head.get("cache-control")), (None, None));

    refused(&get("/sub"), 400, Some("No channel id provided."));
    refused(&get("/sub?id="), 400, Some("No channel id provided."));
    for id in ["ALL", "a*", "b/ALL"] {
        refused(&get(&format!("/sub?id={id}")), 403, Some("Channel id not authorized for this method."));
    }
    refused(&get("/sub?id=1234567"), 400, Some("Channel id is too large."));
    refused(&get("/sub?id=events"), 403, Some("Subscription to events channel is not allowed."));
    for id in ["all_a", "a/all_a/all_b"] {
        refused(&get(&format!("/sub?id={id}")), 403, Some("Subscribed too much wildcard channels."));
    }

    // The module looks at each channel in every respect before the next.
    refused(&get("/known?id=new/1234567"), 403, Some("Subscriber could not create channels."));
    refused(&get("/known?id=1234567/new"), 400, Some("Channel id is too large."));
    refused(&get("/known?id=new"), 403, Some("Subscriber could not create channels."));
    publish(&server, "/say?id=a", &[], b"not stored");
    refused(&get("/known?id=a"), 403, Some("Subscriber could not create channels."));
    publish(&server, "/pub?id=a", &[], b"stored");
    let mut known = open(&server, "/known?id=a/all_a");
    expect(&mut known, &[": \n"]);
    eventually("it is counted", || server.stat("subscribers") == 1);
    refused(&get("/sub?id=a"), 403, Some("Subscribers limit per channel has been exceeded."));

    // "events" and "a" are two already.
    let mut third = open(&server, "/sub?id=b");
    refused(&get("/sub?id=c"), 403, Some("Number of channels were exceeded."));
    publish(&server, "/say?id=b", &[], b"x");
    expect(&mut third, &["x"]);
}

#[test]
fn stream_has_header_messages_pings_and_footer_each_as_a_chunk() {
    let options = format!(
        "subscriber = 'streaming'\nchannels_path = '$1'\nheader_template = 'HDR'\nfooter_template = 'FTR'\n\
         message_template = '{TEMPLATE}'\nping_message_interval = '300ms'\nsubscriber_connection_ttl = '1500ms'\n\
         allowed_origins = '*'"
    );
    let server = server("strict = true\nping_message_text = 'p'", &[("~ ^/sub/(.*)$", &options)]);
    publish(&server, "/pub?id=a", &[], b"1");
    publish(&server, "/pub?id=a", &[], b"2");
    publish(&server, "/pub?id=b", &[], b"other");
    let mut stream = open(&server, "/sub/a.b1/b");
    assert_eq!(stream.head.get("content-type"), Some("text/plain"));
    assert_eq!(stream.head.get("expires"), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
    assert_eq!(stream.head.get("cache-control"), Some("no-cache, no-store, must-revalidate"));
    assert_eq!(stream.head.get("access-control-allow-origin"), Some("*"));
    let absent = ["etag", "last-modified", "x-accel-buffering", "x-content-type-options", "vary"];
    assert!(absent.iter().all(|name| stream.head.get(name).is_none()), "{}", stream.head.raw);
    expect(&mut stream, &["HDR", "<2:a:2>"]);
    publish(&server, "/say?id=b", &[], b"live\n");
    expect(&mut stream, &["<2:b:live\n>", "<-1::p>"]);
    let mut last = Vec::new();
    let end = loop {
        match stream.chunk() {
            Ok(chunk) => last.push(String::from_utf8(chunk).unwrap()),
            Err(end) => break end,
        }
    };
    assert_eq!((end, last.pop().as_deref()), (End::Said, Some("FTR")), "its time is over");
    assert!(last.iter().all(|piece| piece == "<-1::p>"), "{last:?}");
}

#[test]
fn stream_type_is_that_of_its_paths_ending_or_the_default() {
    let options = "subscriber = 'streaming'\nchannels_path = '$1'\ndefault_type = 'text/html; charset=utf-8'";
    for all in ["strict = true", ""] {
        let server = server(all, &[("~ ^/sub/(.*)$", options)]);
        for (path, kind) in [("/sub/room.json", "application/json"), ("/sub/room", "text/html; charset=utf-8")] {
            let stream = open(&server, path);
            assert_eq!(stream.head.get("content-type"), Some(kind), "{path}");
        }
    }
}

#[test]
fn stream_to_a_client_of_http_1_0_has_no_chunks() {
    let options = "subscriber = 'streaming'\nchannels_path = '$arg_id'\nheader_template = 'HDR'";
    let server = server("strict = true", &[("/sub", options)]);
    let mut client = server.public();
    client.send("GET /sub?id=a HTTP/1.0\r\nHost: a\r\n\r\n");
    let head = client.read_head();
    assert_eq!((head.status, head.get("transfer-encoding")), (200, None));
    let mut said = client.piece().unwrap();
    publish(&server, "/say?id=a", &[], b"x");
    while said.len() < 4 {
        said.extend(client.piece().unwrap());
    }
    assert_eq!(said, b"HDRx");
}

#[test]
fn event_stream_is_strictly_the_modules_to_the_byte() {
    let options = "subscriber = 'eventsource'\nchannels_path = '$arg_id'\nfooter_template = 'bye'\n\
                   ping_message_interval = '300ms'\nsubscriber_connection_ttl = '1s'";
    let server = server("strict = true", &[("/ev", options)]);
    let mut stream = open(&server, "/ev?id=a");
    assert_eq!(stream.head.get("content-type"), Some("text/event-stream; charset=utf-8"));
    expect(&mut stream, &[": \n"]);
    let named = [("Event-Id", "e1"), ("Event-Type", "ty")];
    publish(&server, "/pub?id=a", &named, b"l1\n\nl2\rl3\r\nl4");
    let message = "id: e1\nevent: ty\ndata: l1\ndata: l2\ndata: l3\ndata: l4\n\n";
    expect(&mut stream, &[message, ": -1\n"]);
    publish(&server, "/say?id=a", &[], b"x");
    expect(&mut stream, &["data: x\n\n"]);
    let mut all = Vec::new();
    let end = loop {
        match stream.chunk() {
            Ok(chunk) => all.push(String::from_utf8(chunk).unwrap()),
            Err(end) => break end,
        }
    };
    assert_eq!((end, all.pop().as_deref()), (End::Said, Some(": bye\n")));
}

#[test]
fn deletion_is_told_and_ends_those_who_had_nothing_else() {
    for strict in [true, false] {
        let server = server(
            &format!("strict = {strict}"),
            &[
                ("/ev", "subscriber = 'eventsource'\nchannels_path = '$arg_id'\nfooter_template = 'bye'"),
                (
                    "/sub",
                    "subscriber = 'streaming'\nchannels_path = '$arg_id'\nheader_template = 'H'\nmessage_template = '<~id~:~channel~:~text~:~tag~:~time~>'",
                ),
            ],
        );
        let mut events = open(&server, "/ev?id=a");
        let mut both = open(&server, "/sub?id=a/b");
        events.chunk().unwrap();
        expect(&mut both, &["H"]);
        let answer = server.public().request("DELETE", "/pub?id=a", &[], b"");
        assert_eq!((answer.status, answer.head.get("x-nginx-pushstream-explain")), (200, Some("Channel deleted.")));
        expect(&mut both, &["<-2:a:Channel deleted:0:Thu, 01 Jan 1970 00:00:00 GMT>"]);
        let rest: Vec<_> =
            std::iter::from_fn(|| events.chunk().ok()).map(|chunk| String::from_utf8(chunk).unwrap()).collect();
        let deleted = rest[0].lines().filter(|line| !line.starts_with("id: ")).collect::<Vec<_>>().join("\n");
        assert_eq!(
            (deleted.as_str(), rest.last().map(String::as_str)),
            ("data: Channel deleted\n", Some(": bye\n")),
            "{rest:?}"
        );
        assert!(!strict || rest[0] == "data: Channel deleted\n\n");

        // It begins anew, and who asks for its past is not told of its end.
        let mut again = open(&server, "/sub?id=a.b5");
        expect(&mut again, &["H"]);
        publish(&server, "/pub?id=a", &[], b"new");
        let piece = String::from_utf8(again.chunk().unwrap()).unwrap();
        assert!(piece.starts_with("<1:a:new:"), "{piece}");
        let answer = server.public().request("DELETE", "/pub?id=a/b", &[], b"own\nwords");
        assert_eq!(answer.status, 200);
        let said = String::from_utf8(again.chunk().unwrap()).unwrap();
        assert_eq!(said, "<-2:a:own\nwords:0:Thu, 01 Jan 1970 00:00:00 GMT>");
        assert_eq!(again.chunk(), Err(End::Said));
    }
}

/// In the module a deletion takes the channel from its subscribers, whatever they still have; by default they find it again.
#[test]
fn stream_of_several_channels_strictly_leaves_one_that_is_deleted() {
    let events = "events_channel_id = 'events'\n";
    let options = "subscriber = 'streaming'\nchannels_path = '$arg_id'\nheader_template = 'H'\nfooter_template = 'F'";
    let told = "subscriber = 'polling'\nchannels_path = 'events.b99'\nmessage_template = \"~text~\\n\"\n\
                allow_connections_to_events_channel = true";
    for strict in [true, false] {
        let server = server(&format!("strict = {strict}\n{events}"), &[("/sub", options), ("/events", told)]);
        let mut both = open(&server, "/sub?id=a/b");
        expect(&mut both, &["H"]);
        server.until_stat("subscribers", 1);
        let delete = |id: &str| server.public().request("DELETE", &format!("/pub?id={id}"), &[], b"gone").status;
        assert_eq!(delete("a"), 200);
        expect(&mut both, &["gone"]);
        publish(&server, "/pub?id=a", &[], b"again");
        let subscribers =
            || server.public().get("/pub?id=a").json()["subscribers"].as_u64().expect("a number of subscribers");
        publish(&server, "/pub?id=b", &[], b"b");
        if strict {
            expect(&mut both, &["b"]);
            assert_eq!((subscribers(), server.stat("subscriptions")), (0, 1));
        } else {
            expect(&mut both, &["again", "b"]);
            assert_eq!((subscribers(), server.stat("subscriptions")), (1, 2));
            assert_eq!(delete("a"), 200);
            expect(&mut both, &["gone"]);
        }
        assert_eq!(delete("b"), 200);
        expect(&mut both, &["gone", "F"]);
        assert_eq!(both.chunk(), Err(End::Said));
        server.until_stat("subscribers", 0);
        // Who goes is told channel by channel, and once.
        eventually("it is told", || server.public().get("/events").text().contains("unsubscribed\", \"channel\": \"b"));
        let told = server.public().get("/events").text();
        let gone: Vec<_> = told.lines().filter(|line| line.contains("client_unsubscribed")).collect();
        let [first, second] = gone.as_slice() else { panic!("{told}") };
        assert!(first.contains(r#""channel": "a""#) && second.contains(r#""channel": "b""#), "{told}");
    }
}

/// Where a stream goes on, by what its request says. Messages: 1 (id x), 2, 3 (id z), 4 of channel a, all of one second.
#[test]
fn stream_goes_on_behind_what_its_request_has_seen() {
    let options = format!(
        "subscriber = 'streaming'\nchannels_path = '$arg_id'\nheader_template = 'H'\nmessage_template = '{TEMPLATE}'\n\
         last_received_message_time = '$arg_time'\nlast_received_message_tag = '$arg_tag'\nlast_event_id = '$arg_eventid'"
    );
    let plain = format!(
        "subscriber = 'streaming'\nchannels_path = '$arg_id'\nheader_template = 'H'\nmessage_template = '{TEMPLATE}'"
    );
    let poll = "subscriber = 'polling'\nchannels_path = '$arg_id'\nmessage_template = \"~time~|~tag~\\n\"";
    let server = server("strict = true", &[("/sub", &options), ("/plain", &plain), ("/poll", poll)]);
    for (body, id) in [("1", "x"), ("2", ""), ("3", "z"), ("4", "")] {
        let headers = if id.is_empty() { vec![] } else { vec![("Event-Id", id)] };
        publish(&server, "/pub?id=a", &headers, body.as_bytes());
    }
    publish(&server, "/say?id=a", &[], b"never stored");
    let answer = server.public().get("/poll?id=a.b9").text();
    let places: Vec<(&str, &str)> = answer.lines().map(|line| line.split_once('|').unwrap()).collect();
    assert_eq!(places.len(), 4, "{answer}");
    let (time, tag) = places[1];
    let same_second = places.iter().all(|(other, _)| *other == time);
    let encoded = time.replace(' ', "%20");
    let epoch = "Thu, 01 Jan 1970 00:00:00 GMT".replace(' ', "%20");

    let check = |target: &str, headers: &[(&str, &str)], expected: &[&str]| {
        let mut stream = open_with(&server, target, headers);
        let mut said = Vec::new();
        expect(&mut stream, &["H"]);
        for _ in expected {
            said.push(String::from_utf8(stream.chunk().unwrap()).unwrap());
        }
        let wanted: Vec<_> = expected.iter().map(|n| format!("<{n}:a:{n}>")).collect();
        assert_eq!(said, wanted, "{target} {headers:?}");
        // Nothing else: what is published now comes next.
        publish(&server, "/say?id=a", &[], b"now");
        let next = String::from_utf8(stream.chunk().unwrap()).unwrap();
        assert!(next.ends_with(":a:now>"), "{target} {headers:?}: {next}");
    };
    check("/sub?id=a", &[], &[]);
    check("/sub?id=a&time=&tag=&eventid=", &[], &[]);
    check("/sub?id=a.b2", &[], &["3", "4"]);
    check("/sub?id=a.b99", &[], &["1", "2", "3", "4"]);
    check("/sub?id=a.b0", &[], &[]);
    check("/sub?id=a&eventid=x", &[], &["2", "3", "4"]);
    check("/sub?id=a&eventid=unknown", &[], &[]);
    check("/sub?id=a.b1&eventid=x", &[], &["4"]);
    check(&format!("/sub?id=a&time={epoch}"), &[], &["1", "2", "3", "4"]);
    check(&format!("/sub?id=a&time={epoch}&eventid=z"), &[], &["1", "2", "3", "4"]);
    check("/sub?id=a&time=yesterday&tag=1", &[], &[]);
    check("/sub?id=a&tag=1", &[], &[]);
    if same_second {
        check(&format!("/sub?id=a&time={encoded}&tag={tag}"), &[], &["3", "4"]);
        check(&format!("/sub?id=a&time={encoded}&tag=W/{tag}"), &[], &["3", "4"]);
        check(&format!("/sub?id=a&time={encoded}&tag=0"), &[], &["1", "2", "3", "4"]);
        check(&format!("/sub?id=a&time={encoded}"), &[], &[]);
        check(&format!("/sub?id=a&time={encoded}&tag=%223%22"), &[], &[]);
        check("/plain?id=a", &[("If-Modified-Since", time), ("If-None-Match", &format!("W/{tag}"))], &["3", "4"]);
        // Where an option says what was seen, the fields no longer do.
        check("/sub?id=a", &[("If-Modified-Since", time), ("If-None-Match", "0"), ("Last-Event-Id", "x")], &[]);
    }
    check("/plain?id=a", &[("Last-Event-ID", "z")], &["4"]);
}

#[test]
fn event_stream_by_default_has_ids_to_resume_from() {
    let server = server("", &[("/ev", "subscriber = 'eventsource'\nchannels_path = '$arg_id'")]);
    let mut stream = open(&server, "/ev?id=a/a//b");
    let opening = String::from_utf8(stream.chunk().unwrap()).unwrap();
    let lines: Vec<_> = opening.lines().collect();
    assert_eq!((lines[0], lines.len(), lines[3]), (": ", 4, ""), "{opening:?}");
    assert!(lines[1].starts_with("retry: ") && lines[2].starts_with("id: ~1."), "{opening:?}");
    assert_eq!(stream.head.get("x-accel-buffering"), Some("no"));
    publish(&server, "/pub?id=a", &[], b"1\n\n1");
    publish(&server, "/say?id=b", &[], b"2");
    publish(&server, "/pub?id=a", &[("Event-Id", "own")], b"3");
    publish(&server, "/say?id=a", &[], b"4");
    let first = stream.event();
    assert_eq!(first.data, "1\n\n1", "blank lines are kept");
    assert_eq!(stream.data(3), ["2", "3", "4"]);
    drop(stream);

    let data = |id: &str, n: usize| {
        let mut stream = open_with(&server, "/ev?id=a.b1/b", &[("Last-Event-ID", id)]);
        stream.data(n)
    };
    assert_eq!(data(&first.id, 3), ["2", "3", "4"], "it counts before .bN, and finds what was for the connected alone");
    assert_eq!(data("own", 1), ["4"]);
    let mut lost = open_with(&server, "/ev?id=a", &[("Last-Event-ID", "unknown")]);
    let gap = lost.event();
    assert_eq!(gap.name, "fantail-gap");
    assert!(gap.data.contains("\"asked\":\"unknown\""), "{gap:?}");
    assert_eq!(lost.data(2), ["1\n\n1", "3"], "and everything that is kept");
}

#[test]
fn padding_is_for_those_whose_user_agent_asks_for_it() {
    let padding = "padding_by_user_agent = '[T|t]est 1,50,60:[T|t]est 2,0,500'";
    let streaming = format!("subscriber = 'streaming'\nchannels_path = '$arg_id'\nheader_template = 'H'\n{padding}");
    let events = format!("subscriber = 'eventsource'\nchannels_path = '$arg_id'\nuser_agent = '$arg_ua'\n{padding}");
    let server = server("strict = true", &[("/sub", &streaming), ("/ev", &events)]);
    let lengths = |target: &str, agent: &str| {
        let mut stream = open_with(&server, target, &[("User-Agent", agent)]);
        let head = stream.chunk().unwrap();
        publish(&server, "/say?id=a", &[], b"0123456789");
        let message = stream.chunk().unwrap();
        (head.len(), message.len(), String::from_utf8(message).unwrap())
    };
    let (head, message, text) = lengths("/sub?id=a", "a test 1");
    assert_eq!((head, message), (101, 110));
    assert_eq!(text.trim_end_matches("\r\n"), "0123456789");
    assert_eq!(lengths("/sub?id=a", "Test 2").1, 510);
    assert_eq!(lengths("/sub?id=a", "other").1, 10);
    let (head, message, text) = lengths("/ev?id=a&ua=Test%202", "Test 1");
    assert_eq!((head, message), (3, 18), "the option has it as it stands in the query: {text}");
    let (head, message, text) = lengths("/ev?id=a&ua=test.1", "Test 1");
    assert_eq!((head, message), (3, 18), "{text}");
}

#[test]
fn stop_ends_streams_with_their_footer_and_polls_with_304() {
    for strict in [true, false] {
        let mut server = server(
            &format!("strict = {strict}"),
            &[
                (
                    "/sub",
                    "subscriber = 'streaming'\nchannels_path = '$arg_id'\nheader_template = 'H'\nfooter_template = 'F'",
                ),
                ("/ev", "subscriber = 'eventsource'\nchannels_path = '$arg_id'\nfooter_template = 'F'"),
                ("/lp", "subscriber = 'long-polling'\nchannels_path = '$arg_id'\nfooter_template = 'F'"),
            ],
        );
        let mut stream = open(&server, "/sub?id=a");
        let mut events = open(&server, "/ev?id=a");
        let mut poll = server.public();
        poll.ask("GET", "/lp?id=a", &[], b"");
        server.until_stat("subscribers", 3);
        expect(&mut stream, &["H"]);
        events.chunk().unwrap();
        server.begin_stop();
        expect(&mut stream, &["F"]);
        assert_eq!(stream.chunk(), Err(End::Said));
        let said: Vec<_> =
            std::iter::from_fn(|| events.chunk().ok()).map(|chunk| String::from_utf8(chunk).unwrap()).collect();
        assert_eq!(said.last().map(String::as_str), Some(": F\n"));
        assert_eq!(said.len(), if strict { 1 } else { 2 }, "by default clients are told when to come back: {said:?}");
        let answer = poll.answer();
        assert_eq!(answer.status, 304);
        assert!(answer.head.get("etag").is_some());
        drop((stream, events, poll));
        eventually("it stops", || server.has_stopped());
    }
}
