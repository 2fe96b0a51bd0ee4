//! Recorded answers, from an upstream through the real proxy to the clients that people use: they lose the page, the network or
//! their patience, and nothing that was paid for is lost or paid for twice.

use std::time::Duration;

use serde_json::{Value, json};

use crate::apps::{App, Kind};
use crate::browser::Browser;
use crate::client::{Client, End, Event, Part, Stream};
use crate::clients::Script;
use crate::cut::Cutter;
use crate::server::{PATIENCE, TestServer, eventually};
use crate::through_clients::{Api, CHAT, MESSAGES, RESPONSES, sdk_works};
use crate::upstream::{Peer, Upstream, proxied, values};

const RECORD: &str = "record = true\nping = '50ms'\ngrace = '10m'";
/// What must not happen has not happened for so long.
const A_WHILE: Duration = Duration::from_millis(150);
/// No connection is used twice, so that whoever is asked again is connected to again.
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nX-Own: head\r\n\r\n";
const MINE: (&str, &str) = ("Authorization", "Bearer mine");
const THEIRS: (&str, &str) = ("Authorization", "Bearer theirs");

/// A request that is on its way to its answer, as both ends see it.
struct Asked {
    client: Client,
    peer: Peer,
}

/// A recorded answer that has begun.
struct Recorded {
    stream: Stream,
    peer: Peer,
    url: String,
}

/// Sends a request, which the upstream reads whole.
fn ask(server: &TestServer, upstream: &Upstream, headers: &[(&str, &str)]) -> Asked {
    let mut client = server.public();
    client.ask("POST", "/chat", headers, b"a prompt");
    let mut peer = upstream.accept();
    let head = peer.read_head();
    assert_eq!(peer.read_body(&head), b"a prompt");
    Asked { client, peer }
}

/// The same, answered with the head of a stream.
fn record(server: &TestServer, upstream: &Upstream, headers: &[(&str, &str)]) -> Recorded {
    let Asked { client, mut peer } = ask(server, upstream, headers);
    peer.send(HEAD);
    let stream = client.stream();
    let url = stream.head.get("fantail-stream").expect("it is recorded").to_owned();
    Recorded { stream, peer, url }
}

fn say(peer: &mut Peer, data: &str) {
    let block = format!("data: {data}\n\n");
    peer.send(format!("{:x}\r\n{block}\r\n", block.len()));
}

/// What a stream says until it ends in good order.
fn rest(stream: &mut Stream) -> Vec<String> {
    let (parts, end) = stream.to_end();
    assert_eq!(end, End::Said, "{parts:?}");
    parts.into_iter().filter_map(Part::event).map(|event| event.data).collect()
}

fn resume(server: &TestServer, url: &str, headers: &[(&str, &str)]) -> Stream {
    server.public().subscribe_with(url, headers)
}

fn status(server: &TestServer, method: &str, url: &str, headers: &[(&str, &str)]) -> u16 {
    server.public().request(method, url, headers, b"").status
}

#[test]
fn openai_for_node_works_as_without_recording() {
    sdk_works("openai_sdk.mjs", &[CHAT, RESPONSES], "record = true\ngrace = '0'\n");
}

#[test]
fn openai_for_python_works_as_without_recording() {
    sdk_works("openai_sdk.py", &[CHAT, RESPONSES], "record = true\ngrace = '0'\n");
}

#[test]
fn anthropic_for_node_works_as_without_recording() {
    sdk_works("anthropic_sdk.mjs", &[MESSAGES], "record = true\ngrace = '0'\n");
}

#[test]
fn anthropic_for_python_works_as_without_recording() {
    sdk_works("anthropic_sdk.py", &[MESSAGES], "record = true\ngrace = '0'\n");
}

/// Drives a script of tests/clients that loses, stops and repeats streams of the SDKs.
fn sdks_resume(script: &str) {
    let mut app = App::start(Kind::Llm);
    let server = app.behind_server_with("record = true\n");
    let mut script = Script::start(script, &[&format!("http://{}", server.public)]);
    eventually("the script is done", || {
        app.try_step();
        script.is_done()
    });
    let mut expected = Vec::new();
    for api in [CHAT, MESSAGES] {
        let events: Vec<Value> =
            api.events().into_iter().map(|data| json!({ "report": "event", "data": data })).collect();
        let begin = |what| json!({ "report": "begin", "what": format!("{} {what}", api.name) });
        let end = |status| json!({ "report": "end", "status": status });
        expected.push(begin("lost"));
        expected.extend(events.iter().cloned().chain([end(200)]));
        expected.extend([begin("stopped"), events[0].clone(), end(200), events[0].clone(), end(204), end(404)]);
        expected.push(begin("twice"));
        for _ in 0..2 {
            expected.extend(events.iter().cloned().chain([json!({ "report": "end", "same": true })]));
        }
    }
    assert_eq!(script.reports(), expected);
    // What was lost or repeated was asked once, what was stopped has been left.
    let lines = |api: Api| {
        let asked = |model| format!("asked POST {} {model}", api.path);
        [asked("steps"), asked("endless"), "gone".to_owned(), asked("steps")]
    };
    let lines: Vec<_> = [CHAT, MESSAGES].into_iter().flat_map(lines).collect();
    app.until_said_enough("what it was asked", |said| said.ends_with(&lines));
}

#[test]
fn sdks_for_node_resume_stop_and_repeat() {
    sdks_resume("resume_sdk.mjs");
}

#[test]
fn sdks_for_python_resume_stop_and_repeat() {
    sdks_resume("resume_sdk.py");
}

#[test]
fn page_that_is_reloaded_goes_on_from_anywhere_exactly_once() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    let Recorded { mut stream, mut peer, url } = record(&server, &upstream, &[MINE]);
    assert_eq!(stream.head.get("x-own"), Some("head"));
    assert_eq!(stream.head.get("x-accel-buffering"), Some("no"));
    assert_eq!(stream.head.get("link"), Some(&*format!("<{url}>; rel=\"resume\"")));
    peer.send("f\r\n: working\n\ndata\r\n8\r\n: 1\n\nid:\r\n10\r\n own\ndata: 2\n\n\r\n\r\n");
    assert_eq!(stream.part(), Ok(Part::Comment("working".into())));
    let events = stream.events(2);
    let first: &Event = &events[0];
    assert!(first.data == "1" && first.id.starts_with("~2."), "{first:?}");
    assert_eq!((&*events[1].data, &*events[1].id), ("2", "own"));
    drop(stream);
    server.until_stat("subscribers", 0);
    say(&mut peer, "3");

    let all = ["1", "2", "3", "4"];
    let mut viewers = vec![];
    for (query, id, seen) in [
        ("", None, 0),
        ("?from=start", None, 0),
        ("", Some(&*first.id), 1),
        ("", Some("own"), 2),
        (&*format!("?lastEventId={}", first.id), None, 1),
        ("?offset=2", None, 2),
        ("?offset=3", None, 3),
    ] {
        let id = id.map(|id| ("Last-Event-ID", id));
        let headers: Vec<_> = [MINE].into_iter().chain(id).collect();
        let mut viewer = resume(&server, &format!("{url}{query}"), &headers);
        assert_eq!(viewer.data(3 - seen), all[seen..3], "{query} {id:?}");
        viewers.push(viewer);
    }
    viewers.push(resume(&server, &format!("{url}?from=live"), &[MINE]));
    server.until_stat("subscribers", viewers.len() as u64);
    // They wait at the end of what there is, with a sign of life.
    for viewer in &mut viewers {
        assert_eq!(viewer.part(), Ok(Part::Comment("hb".into())));
    }
    say(&mut peer, "4");
    peer.send("0\r\n\r\n");
    let mut last = String::new();
    for viewer in &mut viewers {
        assert_eq!(rest(viewer), ["4"]);
        last = viewer.last_event_id();
    }
    for (query, id) in [("", Some(&*last)), ("?offset=4", None), ("?from=live", None)] {
        let id = id.map(|id| ("Last-Event-ID", id));
        let headers: Vec<_> = [MINE].into_iter().chain(id).collect();
        let over = server.public().request("GET", &format!("{url}{query}"), &headers, b"");
        assert_eq!((over.status, over.body.len()), (204, 0), "{query} {id:?}");
    }
    assert_eq!(rest(&mut resume(&server, &url, &[MINE])), all, "it can be seen again");
    assert!(upstream.is_alone_for(A_WHILE), "it was asked once");
}

#[test]
fn network_that_is_cut_anywhere_loses_and_repeats_nothing() {
    const COUNT: usize = 60;
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    let cutter = Cutter::start(server.public);
    let mut client = Client::connect(cutter.addr());
    cutter.cut_after_bytes(700);
    client.ask("POST", "/chat", &[MINE], b"a prompt");
    let mut peer = upstream.accept();
    let head = peer.read_head();
    peer.read_body(&head);
    peer.send(HEAD);
    let mut stream = client.stream();
    let url = stream.head.get("fantail-stream").expect("it is recorded").to_owned();
    let (mut seen, mut cuts) = (vec![], 0);
    let mut said = 0;
    loop {
        while said < COUNT.min(seen.len() + 5) {
            say(&mut peer, &said.to_string());
            said += 1;
        }
        match stream.part() {
            Ok(Part::Event(event)) => seen.push(event.data),
            Ok(_) => {}
            Err(End::Said) => break,
            Err(_) => {
                cuts += 1;
                // Somewhere else each time, in heads, ids and events.
                cutter.cut_after_bytes(500 + 97 * cuts);
                let id = stream.last_event_id();
                let headers = [MINE, ("Last-Event-ID", &id)];
                let mut again = Client::connect(cutter.addr());
                again.ask("GET", &url, &headers, b"");
                stream = again.stream();
            }
        }
        if seen.len() == COUNT && said == COUNT {
            peer.try_send(b"0\r\n\r\n").expect("it is read");
            said += 1;
        }
    }
    assert!(cuts > 2, "{cuts} cuts");
    assert_eq!(seen, (0..COUNT).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn second_tab_is_one_more_viewer_of_the_same_answer() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    let Recorded { mut stream, mut peer, url } = record(&server, &upstream, &[MINE]);
    say(&mut peer, "1");
    assert_eq!(stream.data(1), ["1"]);
    let mut tab = resume(&server, &url, &[MINE]);
    assert_eq!(tab.data(1), ["1"]);
    assert_eq!(tab.head.get("fantail-stream"), Some(&*url));
    say(&mut peer, "2");
    peer.send("0\r\n\r\n");
    for viewer in [&mut stream, &mut tab] {
        assert_eq!(rest(viewer), ["2"]);
    }
    assert!(upstream.is_alone_for(A_WHILE));
    assert_eq!((server.metric("fantail_recordings"), server.metric("fantail_relayed_viewers_total")), (1, 2));
}

#[test]
fn stop_ends_the_upstream_and_all_viewers_in_good_order() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    let Recorded { mut stream, mut peer, url } = record(&server, &upstream, &[MINE, ("Idempotency-Key", "k")]);
    say(&mut peer, "1");
    assert_eq!(stream.data(1), ["1"]);
    let mut tab = resume(&server, &url, &[MINE]);
    assert_eq!(tab.data(1), ["1"]);
    for headers in [&[THEIRS][..], &[]] {
        assert_eq!(status(&server, "DELETE", &url, headers), 404);
    }
    for _ in 0..2 {
        assert_eq!(status(&server, "DELETE", &url, &[MINE]), 204);
    }
    peer.ended();
    let id = stream.last_event_id();
    for viewer in [&mut stream, &mut tab] {
        assert_eq!(rest(viewer), [""; 0]);
    }
    assert_eq!(status(&server, "GET", &url, &[MINE, ("Last-Event-ID", &id)]), 204);
    assert_eq!(rest(&mut resume(&server, &url, &[MINE])), ["1"]);
    eventually("no upstream is read", || server.metric("fantail_recording_streams") == 0);
}

#[test]
fn upstream_that_nobody_watches_is_ended_after_the_grace() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "record = true\ngrace = '300ms'", "");
    let Recorded { mut stream, mut peer, url } = record(&server, &upstream, &[MINE]);
    say(&mut peer, "1");
    assert_eq!(stream.data(1), ["1"]);
    let id = stream.last_event_id();
    drop(stream);
    peer.ended();
    eventually("it was given up", || server.metric("fantail_abandoned_streams_total") == 1);
    for (headers, left) in [(&[MINE][..], 1), (&[MINE, ("Last-Event-ID", &id)], 0)] {
        let (parts, end) = resume(&server, &url, headers).to_end();
        assert_eq!((parts.into_iter().filter_map(Part::event).count(), end), (left, End::Broken));
    }
    // A client of HTTP/1.0, such as a stock nginx, knows it by the reset.
    let mut old = server.public();
    old.send(format!("GET {url} HTTP/1.0\r\nHost: x\r\n{}: {}\r\n\r\n", MINE.0, MINE.1));
    let mut old = old.stream();
    assert_eq!(old.event().data, "1");
    assert_eq!(old.to_end(), (vec![], End::Cut));
}

#[test]
fn recording_that_is_over_is_forgotten_with_age() {
    let upstream = Upstream::listen();
    let age = "[hub]\nage = '1s'\nchannel_idle = '1s'";
    let server = proxied(&upstream, RECORD, age);
    let Recorded { mut stream, mut peer, url } = record(&server, &upstream, &[MINE, ("Idempotency-Key", "k")]);
    say(&mut peer, "1");
    peer.send("0\r\n\r\n");
    assert_eq!(rest(&mut stream), ["1"]);
    for figure in ["fantail_recordings", "fantail_recording_streams", "fantail_subscribers", "fantail_channels"] {
        eventually(&format!("{figure} is 0"), || server.metric(figure) == 0);
    }
    assert_eq!(status(&server, "GET", &url, &[MINE]), 404);
}

#[test]
fn upstream_that_breaks_off_is_broken_for_all_and_asked_again_under_its_key() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    let key = ("Idempotency-Key", "k");
    let Recorded { mut stream, mut peer, url } = record(&server, &upstream, &[MINE, key]);
    say(&mut peer, "1");
    assert_eq!(stream.data(1), ["1"]);
    let mut tab = resume(&server, &url, &[MINE]);
    assert_eq!(tab.data(1), ["1"]);
    peer.send("14\r\ndata: half an ev");
    peer.close();
    for viewer in [&mut stream, &mut tab, &mut resume(&server, &url, &[MINE, ("Last-Event-ID", "none")])] {
        let (parts, end) = viewer.to_end();
        assert_eq!(end, End::Broken, "{parts:?}");
    }
    eventually("it is known as broken", || server.metric("fantail_broken_streams_total") == 1);
    let Recorded { stream, peer, url: another } = record(&server, &upstream, &[MINE, key]);
    assert_ne!(another, url);
    drop((stream, peer));
}

#[test]
fn request_under_a_key_is_asked_once_also_while_its_answer_is_awaited() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    let key = ("Idempotency-Key", "k");
    let Asked { client, mut peer } = ask(&server, &upstream, &[MINE, key]);
    let mut second = server.public();
    second.ask("POST", "/chat", &[MINE, key], b"a prompt");
    // Its body is read before it is answered, however slowly it comes.
    let mut third = server.public();
    third.send("POST /chat HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer mine\r\nIdempotency-Key: k\r\n");
    third.send("Content-Length: 8\r\n\r\na pr");
    assert!(upstream.is_alone_for(A_WHILE));
    peer.send(HEAD);
    let mut streams = vec![client.stream(), second.stream()];
    say(&mut peer, "1");
    third.send("ompt");
    streams.push(third.stream());
    let mut late = server.public();
    late.ask("POST", "/chat", &[MINE, key], b"a prompt");
    streams.push(late.stream());
    for stream in &mut streams {
        assert_eq!(stream.data(1), ["1"]);
    }
    let other = server.public().request("POST", "/chat", &[MINE, key], b"another prompt");
    assert_eq!(other.status, 409, "{other:?}");
    peer.send("0\r\n\r\n");
    for stream in &mut streams {
        assert_eq!(rest(stream), [""; 0]);
    }
    let mut late = server.public();
    late.ask("POST", "/chat", &[MINE, key], b"a prompt");
    assert_eq!(rest(&mut late.stream()), ["1"]);
    assert!(upstream.is_alone_for(A_WHILE), "it was asked once");
    // The same key of somebody else, or at another host, is another request.
    for headers in [&[THEIRS, key][..], &[MINE, key, ("Host", "elsewhere")]] {
        let other = record(&server, &upstream, headers);
        assert!(streams.iter().all(|stream| stream.head.get("fantail-stream") != Some(&other.url)));
    }
}

#[test]
fn request_that_waited_for_a_refusal_is_asked_and_recorded_itself() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    let key = ("Idempotency-Key", "k");
    let Asked { client, mut peer } = ask(&server, &upstream, &[MINE, key]);
    let mut clients = vec![client];
    for _ in 0..2 {
        let mut client = server.public();
        client.ask("POST", "/chat", &[MINE, key], b"a prompt");
        clients.push(client);
    }
    assert!(upstream.is_alone_for(A_WHILE));
    peer.send("HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(clients.remove(0).answer().status, 429);
    // One of the two asks for both.
    let mut peer = upstream.accept();
    let head = peer.read_head();
    peer.read_body(&head);
    assert!(upstream.is_alone_for(A_WHILE));
    peer.send(HEAD);
    say(&mut peer, "1");
    peer.send("0\r\n\r\n");
    let mut streams: Vec<_> = clients.into_iter().map(Client::stream).collect();
    assert!(streams.iter().all(|stream| stream.head.get("fantail-stream").is_some()));
    for stream in &mut streams {
        assert_eq!(rest(stream), ["1"]);
    }
}

#[test]
fn recording_is_for_its_caller_alone_by_whatever_it_is_known() {
    for (mine, others) in [
        (MINE, vec![vec![THEIRS], vec![], vec![MINE, ("Cookie", "sid=1")]]),
        (("Cookie", "sid=mine"), vec![vec![("Cookie", "sid=theirs")], vec![]]),
        // Of Anthropic, Azure and Google.
        (("X-Api-Key", "mine"), vec![vec![("X-Api-Key", "theirs")], vec![]]),
        (("Api-Key", "mine"), vec![vec![("Api-Key", "theirs")], vec![]]),
        (("X-Goog-Api-Key", "mine"), vec![vec![("X-Goog-Api-Key", "theirs")], vec![]]),
    ] {
        let upstream = Upstream::listen();
        let server = proxied(&upstream, RECORD, "");
        let key = ("Idempotency-Key", "k");
        let Recorded { mut stream, mut peer, url } = record(&server, &upstream, &[mine, key]);
        say(&mut peer, "1");
        let id = stream.event().id;
        for other in others {
            for method in ["GET", "HEAD", "DELETE"] {
                assert_eq!(status(&server, method, &url, &other), 404, "{method} {mine:?} {other:?}");
            }
            // Neither by its key nor by its id: it is another request, and what it is made of is nobody's business.
            for more in [key, ("Last-Event-ID", &id)] {
                let headers: Vec<_> = other.iter().copied().chain([more]).collect();
                let Asked { mut peer, mut client } = ask(&server, &upstream, &headers);
                peer.send("HTTP/1.1 204 No Content\r\n\r\n");
                assert_eq!(client.answer().status, 204);
                drop(peer);
            }
        }
        assert_eq!(status(&server, "HEAD", &url, &[mine]), 200);
        let (path, last) = url.split_at(url.len() - 1);
        let guess = format!("{path}{}", if last == "0" { "1" } else { "0" });
        for guess in [&*guess, path, &format!("{url}0"), &url.replace("/stream/", "/stream/+")] {
            assert_eq!(status(&server, "GET", guess, &[mine]), 404, "{guess}");
        }
        drop((stream, peer));
    }
}

#[test]
fn cookie_that_the_answer_sets_belongs_to_its_caller() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    let Asked { client, mut peer } = ask(&server, &upstream, &[]);
    peer.send(HEAD.replace("X-Own: head", "Set-Cookie: sid=new; HttpOnly"));
    let stream = client.stream();
    let url = stream.head.get("fantail-stream").expect("it is recorded");
    assert_eq!(status(&server, "HEAD", url, &[("Cookie", "sid=new")]), 200);
    assert_eq!(status(&server, "HEAD", url, &[("Cookie", "sid=other")]), 404);
}

#[test]
fn answers_that_are_no_streams_are_passed_on_untouched() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    for answer in [
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/event-stream\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: x\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let Asked { mut client, mut peer } = ask(&server, &upstream, &[MINE, ("Idempotency-Key", "k")]);
        peer.send(answer);
        let got = client.answer();
        assert_eq!((got.text().as_str(), got.head.get("retry-after")), ("{}", Some("7")), "{answer}");
        assert_eq!(got.head.get("fantail-stream"), None);
        assert_eq!(got.head.get("content-type"), values(answer, "content-type").first().copied());
        drop(peer);
    }
    assert_eq!((server.metric("fantail_recordings"), server.metric("fantail_channels")), (0, 0));
}

#[test]
fn stream_that_is_handed_over_is_not_recorded() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    let Asked { client, mut peer } = ask(&server, &upstream, &[MINE]);
    let hold = "Grip-Hold: stream\r\nGrip-Channel: a\r\nContent-Length: 0";
    peer.send(HEAD.replace("Transfer-Encoding: chunked", hold));
    let stream = client.stream();
    assert_eq!(stream.head.get("fantail-stream"), None, "{}", stream.head.raw);
    server.until_stat("subscribers", 1);
    assert_eq!(server.metric("fantail_recordings"), 0);
}

#[test]
fn upstream_is_left_at_once_without_recording_and_before_its_answer() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "", "");
    let Asked { client, mut peer } = ask(&server, &upstream, &[MINE]);
    peer.send(HEAD);
    say(&mut peer, "1");
    let mut stream = client.stream();
    assert_eq!(stream.head.get("fantail-stream"), None);
    assert_eq!(stream.data(1), ["1"]);
    drop(stream);
    peer.ended();
    // A client that has got no head yet cannot come back to it.
    let server = proxied(&upstream, RECORD, "");
    let Asked { client, mut peer } = ask(&server, &upstream, &[MINE]);
    drop(client);
    peer.ended();
    assert_eq!(server.metric("fantail_recordings"), 0);
}

#[test]
fn answer_that_begins_before_its_request_has_ended_comes_behind_it() {
    for (framing, first, last, body) in [
        ("Content-Length: 4", "ab", "cd", "abcd"),
        ("Transfer-Encoding: chunked", "2\r\nab\r\n", "2\r\ncd\r\n0\r\n\r\n", "abcd"),
    ] {
        let upstream = Upstream::listen();
        let server = proxied(&upstream, RECORD, "");
        let mut client = server.public();
        client.send(format!("POST /chat HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{first}"));
        let mut peer = upstream.accept();
        let head = peer.read_head();
        peer.send(HEAD);
        say(&mut peer, "1");
        assert!(client.is_silent_for(A_WHILE), "the socket cannot go to a shard yet");
        client.send(last);
        assert_eq!(String::from_utf8_lossy(&peer.read_body(&head)), body);
        let mut stream = client.stream();
        assert_eq!(stream.data(1), ["1"]);
        say(&mut peer, "2");
        peer.send("0\r\n\r\n");
        assert_eq!(rest(&mut stream), ["2"]);
    }
}

/// What is recorded is what is waited for, however the head says that it is a stream.
#[test]
fn stream_is_known_by_the_head_that_the_client_gets() {
    for (route, head) in [
        (RECORD.to_owned(), HEAD.replace("X-Own: head", "Content-Encoding: identity")),
        (
            format!("{RECORD}\nset_response = {{ 'Content-Type' = 'text/event-stream' }}"),
            HEAD.replace("text/event-stream", "text/plain"),
        ),
    ] {
        let upstream = Upstream::listen();
        let server = proxied(&upstream, &route, "idle_timeout = '300ms'");
        let mut client = server.public();
        client.send("POST /chat HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
        let mut peer = upstream.accept();
        let asked = peer.read_head();
        peer.send(head);
        assert!(client.is_silent_for(A_WHILE));
        client.send("cd");
        assert_eq!(peer.read_body(&asked), b"abcd");
        let mut stream = client.stream();
        assert!(stream.head.get("fantail-stream").is_some());
        // It may be silent.
        assert!(peer.is_silent_for(3 * A_WHILE));
        say(&mut peer, "1");
        assert_eq!(stream.data(1), ["1"]);
    }
}

#[test]
fn client_that_never_finishes_its_body_holds_nothing() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "[listen]\nbody_timeout = '300ms'");
    let key = ("Idempotency-Key", "k");
    let half = "POST /chat HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k\r\nContent-Length: 8\r\n\r\na pr";
    let mut client = server.public();
    client.send(half);
    let mut peer = upstream.accept();
    peer.read_head();
    peer.send(HEAD);
    let answer = client.answer();
    assert_eq!(answer.status, 408, "{answer:?}");
    peer.ended();
    // Whoever joins has to finish, too.
    let recorded = record(&server, &upstream, &[key]);
    let mut client = server.public();
    client.send(half);
    let answer = client.answer();
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(client.is_closed(), "what follows would be read as a request");
    server.until_stat("subscribers", 1);
    drop(recorded);
}

#[test]
fn request_that_is_pipelined_behind_a_recorded_one_is_not_answered() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "");
    let mut client = server.public();
    let post = "POST /chat HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
    client.send(format!("{post}{post}"));
    let mut peer = upstream.accept();
    let head = peer.read_head();
    assert_eq!(peer.read_body(&head), b"ab");
    assert!(upstream.is_alone_for(A_WHILE));
    peer.send(HEAD);
    say(&mut peer, "1");
    let mut stream = client.stream();
    assert_eq!(stream.head.get("connection"), Some("close"), "the client sends it again elsewhere");
    assert_eq!(stream.data(1), ["1"]);
    peer.send("0\r\n\r\n");
    assert_eq!(rest(&mut stream), [""; 0]);
    assert!(stream.client.is_closed());
    assert!(upstream.is_alone_for(A_WHILE));
}

#[test]
fn upstream_that_never_says_anything_is_kept_alive_for_its_viewers_alone() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "record = true\nping = '50ms'\ngrace = '0'", "idle_timeout = '100ms'");
    let Recorded { mut stream, mut peer, .. } = record(&server, &upstream, &[MINE]);
    for _ in 0..10 {
        assert_eq!(stream.part(), Ok(Part::Comment("hb".into())));
    }
    assert!(peer.is_silent_for(A_WHILE));
    drop(stream);
    peer.ended();
}

#[test]
fn recording_beyond_its_bounds_says_that_something_is_missing() {
    let upstream = Upstream::listen();
    let more = "[[retention]]\nprefix = '/record/'\nmessages = 2\n[hub]\nmessage = '1KiB'";
    let server = proxied(&upstream, RECORD, more);
    let Recorded { mut stream, mut peer, url } = record(&server, &upstream, &[MINE]);
    for data in ["1", "2", "3"] {
        say(&mut peer, data);
        assert_eq!(stream.data(1), [data], "who keeps up misses nothing");
    }
    let mut late = resume(&server, &url, &[MINE]);
    assert_eq!(late.part(), Ok(Part::Comment("fantail-gap".into())));
    assert_eq!(late.data(2), ["2", "3"]);
    // An event without end is not kept.
    let _ = peer.try_send(format!("10000\r\ndata: {}", "x".repeat(0x10000 - 6)).as_bytes());
    peer.ended();
    for viewer in [&mut stream, &mut late] {
        assert_eq!(viewer.to_end().1, End::Broken);
    }
}

#[test]
fn stop_of_the_server_is_the_end_for_those_alone_who_come_back() {
    let upstream = Upstream::listen();
    let mut server = proxied(&upstream, RECORD, "[stop]\ndeadline = '10m'\nwindow = '50ms'");
    let Recorded { mut stream, mut peer, url } = record(&server, &upstream, &[MINE]);
    say(&mut peer, "1");
    assert_eq!(stream.data(1), ["1"]);
    let mut source = resume(&server, &url, &[MINE, ("Accept", "text/event-stream")]);
    assert_eq!(source.data(1), ["1"]);
    server.begin_stop();
    let (parts, end) = source.to_end();
    assert!(matches!(parts.last(), Some(Part::Retry(_))) && end == End::Said, "{parts:?} {end:?}");
    // To others an end in good order would say that the answer was whole.
    say(&mut peer, "2");
    assert_eq!(stream.data(1), ["2"]);
    assert!(!server.has_stopped());
    peer.send("0\r\n\r\n");
    assert_eq!(rest(&mut stream), [""; 0]);
    eventually("the server has stopped", || server.has_stopped());
}

#[test]
fn deadline_of_the_stop_breaks_recorded_answers_off() {
    let upstream = Upstream::listen();
    let mut server = proxied(&upstream, RECORD, "[stop]\ndeadline = '300ms'\nframe = '100ms'");
    let Recorded { mut stream, mut peer, .. } = record(&server, &upstream, &[MINE]);
    say(&mut peer, "1");
    assert_eq!(stream.data(1), ["1"]);
    server.begin_stop();
    assert_eq!(stream.to_end().1, End::Broken);
    peer.ended();
}

#[test]
fn channel_of_a_recording_is_reached_by_no_other_route() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, RECORD, "[[route]]\npath = \"/live/{channels...}\"");
    let Recorded { stream, peer, url } = record(&server, &upstream, &[MINE]);
    let listed = server.control().get("/stats?list=10").json();
    let name = listed["list"][0]["channel"].as_str().expect("its channel is listed").to_owned();
    assert!(!url.contains(&*name.replace('/', "")) && !listed.to_string().contains(&url[8..]));
    let encoded = name.replace('/', "%2F");
    for target in [format!("/live/{encoded}"), format!("/live/a/{encoded}")] {
        let answer = server.public().get(&target);
        assert_eq!(answer.status, 400, "{target}: {answer:?}");
    }
    for (method, target) in [("POST", "pub"), ("DELETE", "pub"), ("GET", "pub"), ("GET", "stats"), ("GET", "sub")] {
        let answer = server.control().request(method, &format!("/{target}/{encoded}"), &[], b"");
        assert_eq!(answer.status, 400, "{method} {target}: {answer:?}");
    }
    // Split at its slashes it is two channels of other names.
    let batch = format!("{{\"channel\":\"{name}\",\"data\":\"x\"}}\n");
    let batch = server.control().request("POST", "/pub", &[("Content-Type", "application/x-ndjson")], batch.as_bytes());
    assert!(batch.text().contains("'/'"), "{}", batch.text());
    drop((stream, peer));
}

/// The code of docs/llm-streams.md: a module with `follow`, and what it says to do afterwards.
fn printed() -> (String, [String; 3]) {
    let page = include_str!("../../../../docs/llm-streams.md");
    let code = page.split("```js\n").nth(1).and_then(|rest| rest.split("```").next()).expect("code");
    let (module, usage) = code.split_once("// A new answer:\n").expect("how it is used");
    let module = module.replace("\"eventsource-parser/stream\"", "\"/lib/stream.js\"") + "export { follow };\n";
    let lines: Vec<_> = usage.lines().filter(|line| !line.starts_with("//")).map(str::to_owned).collect();
    (module, lines.try_into().expect("three lines"))
}

/// What a page needs for that.
fn page() -> Upstream {
    let lib = |name: &str| {
        let path = crate::program::tests_folder("node_modules/eventsource-parser/dist").join(name);
        std::fs::read_to_string(path).expect("a module")
    };
    let files = [
        ("/", "text/html", "<!doctype html><title>chat</title>".to_owned()),
        ("/follow.js", "text/javascript", printed().0),
        ("/lib/stream.js", "text/javascript", lib("stream.js")),
        ("/lib/index.js", "text/javascript", lib("index.js")),
    ];
    Upstream::serve(move |head, _| {
        let path = head.split(' ').nth(1).expect("a path");
        let file = files.iter().find(|(name, ..)| *name == path);
        let (status, kind, text) = file.map_or(("404 Not Found", "", ""), |(_, kind, text)| ("200 OK", kind, text));
        let headers =
            format!("Access-Control-Allow-Origin: *\r\nContent-Type: {kind}\r\nContent-Length: {}", text.len());
        format!("HTTP/1.1 {status}\r\n{headers}\r\n\r\n{text}").into_bytes()
    })
}

/// The application behind `/api/chat`, the page behind everything else.
fn chat_and_page(upstream: &Upstream, page: &Upstream) -> TestServer {
    TestServer::start(&format!(
        "[upstream.app]\nservers = ['{}']\n[upstream.page]\nservers = ['{}']\n\
         [[route]]\npath = '/{{path...}}'\naction = 'proxy'\nupstream = 'page'\n\
         [[route]]\npath = '/api/chat'\naction = 'proxy'\nupstream = 'app'\n{RECORD}\n",
        upstream.name, page.name
    ))
}

/// Begins to run a line of the documentation in a page; the data of its events are in `seen`.
fn run(browser: &mut Browser, module: &str, line: &str) {
    browser.evaluate(&format!(
        "window.seen = ''; window.whole = null;
         (async () => {{
           const {{ follow }} = await import('{module}');
           const body = 'a prompt', onEvent = (event) => window.seen += event.data;
           window.whole = {};
         }})();
         0",
        line.trim_end_matches(';').replace("if (sessionStorage.stream) ", "")
    ));
}

fn until_seen(browser: &mut Browser, seen: &str) {
    browser.wait_until(&format!("window.seen === '{seen}'"), PATIENCE);
}

#[test]
fn chromium_reloads_loses_its_network_and_stops_with_the_printed_code() {
    let (upstream, page) = (Upstream::listen(), page());
    let server = chat_and_page(&upstream, &page);
    let cutter = Cutter::start(server.public);
    let [begin, resume, stop] = printed().1;
    let mut browser = Browser::start();
    let url = format!("http://{}/", cutter.addr());
    browser.open(&url);
    run(&mut browser, "/follow.js", &begin);
    let mut peer = upstream.accept();
    let head = peer.read_head();
    assert_eq!(peer.read_body(&head), b"a prompt");
    peer.send(HEAD);
    say(&mut peer, "1");
    say(&mut peer, "2");
    until_seen(&mut browser, "12");

    browser.open(&url);
    run(&mut browser, "/follow.js", &resume);
    until_seen(&mut browser, "12");
    say(&mut peer, "3");
    until_seen(&mut browser, "123");

    cutter.refuse(true);
    cutter.cut_all();
    say(&mut peer, "4");
    server.until_stat("subscribers", 0);
    cutter.refuse(false);
    until_seen(&mut browser, "1234");

    // Another page of the same browser watches, too.
    let path = browser.evaluate("new URL(sessionStorage.stream).pathname");
    let mut tab = server.public().subscribe(path.as_str().expect("a path"));
    assert_eq!(tab.data(4), ["1", "2", "3", "4"]);
    let stopped = browser.evaluate(&format!("(async () => {{ const answer = {stop} return answer.status }})()"));
    assert_eq!(stopped, 204);
    peer.ended();
    assert_eq!(rest(&mut tab), [""; 0]);
    browser.wait_until("window.whole === true", PATIENCE);
    assert_eq!(browser.evaluate("window.seen"), "1234");

    browser.open(&url);
    run(&mut browser, "/follow.js", &resume);
    browser.wait_until("window.whole === true", PATIENCE);
    assert_eq!(browser.evaluate("window.seen"), "1234", "all of it can be seen once more");
    assert!(upstream.is_alone_for(A_WHILE), "it was asked once");
}

#[test]
fn chromium_resumes_from_another_origin_with_the_printed_code() {
    let (upstream, page) = (Upstream::listen(), page());
    let server = chat_and_page(&upstream, &page);
    let cutter = Cutter::start(server.public);
    let [begin, resume, stop] = printed().1;
    // The page is the browser's own.
    let mut browser = Browser::start();
    let origin = format!("http://{}", cutter.addr());
    run(&mut browser, &format!("{origin}/follow.js"), &begin.replace("/api", &format!("{origin}/api")));
    let mut peer = upstream.accept();
    let head = peer.read_head();
    peer.read_body(&head);
    // Its own word on what may be read is kept.
    let cors = "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Own\r\nX-Own:";
    peer.send(HEAD.replace("X-Own:", cors));
    say(&mut peer, "1");
    until_seen(&mut browser, "1");
    assert!(browser.evaluate("sessionStorage.stream").as_str().is_some_and(|url| url.starts_with(&origin)));
    cutter.cut_all();
    say(&mut peer, "2");
    until_seen(&mut browser, "12");
    // Browsers ask before they send what identifies a program.
    let status = "fetch(sessionStorage.stream, { headers: { 'X-Api-Key': 'theirs' } }).then((answer) => answer.status)";
    assert_eq!(browser.evaluate(status), 404);
    run(&mut browser, &format!("{origin}/follow.js"), &resume);
    until_seen(&mut browser, "12");
    let stopped = browser.evaluate(&format!("(async () => {{ const answer = {stop} return answer.status }})()"));
    assert_eq!(stopped, 204);
    peer.ended();
    browser.wait_until("window.whole === true", PATIENCE);
}
