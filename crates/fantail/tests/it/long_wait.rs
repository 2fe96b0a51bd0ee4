//! `GET /sub/…?wait=`: one whole answer once something is due, on a connection that is used again.

use std::time::Duration;

use crate::client::{End, request};
use crate::server::{TestServer, eventually};

#[test]
fn wait_is_answered_with_a_whole_body_once_something_is_due() {
    let server = TestServer::start("");
    let mut client = server.public();
    client.ask("GET", "/sub/a/b?wait=1m", &[], b"");
    server.until_stat("subscriptions", 2);
    assert!(client.is_silent_for(Duration::from_millis(50)), "not even a head");
    let published = server.control().request("POST", "/pub/b", &[], b"x").json();
    assert_eq!(published["published"][0]["subscribers"], 1);
    let answer = client.answer();
    assert_eq!((answer.status, answer.head.get("content-type")), (200, Some("text/event-stream")));
    assert_eq!(answer.head.get("connection"), Some("keep-alive"));
    assert_eq!(answer.head.get("cache-control"), Some("no-store, no-transform"));
    assert_eq!(answer.head.get("access-control-allow-origin"), Some("*"));
    assert!(answer.head.get("content-length").is_some() && answer.head.get("date").is_some());
    let events = answer.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!((&*events[0].data, &events[0].id), ("x", &answer.last_event_id()));
    server.until_stat("subscriptions", 0);
    assert_eq!(server.metric("fantail_answers_total"), 1);
}

#[test]
fn wait_with_something_due_is_answered_at_once_with_all_of_it() {
    let server = TestServer::start("");
    let ids: Vec<_> = (0..3).map(|n| server.publish("a", &n.to_string())).collect();
    let answer = server.public().request("GET", "/sub/a?wait=1m", &[("Last-Event-ID", &ids[0])], b"");
    assert_eq!(answer.events().iter().map(|event| &*event.data).collect::<Vec<_>>(), ["1", "2"]);
    let all = server.public().get("/sub/a?wait=1m&from=start");
    assert_eq!(all.events().len(), 3);
}

#[test]
fn waits_in_a_row_on_one_connection_lose_and_repeat_nothing() {
    let server = TestServer::start("");
    let mut client = server.public();
    let mut id = client.get("/sub/a/b?wait=0s").last_event_id();
    assert!(id.starts_with("~1."), "an empty answer says where to go on: {id:?}");
    let mut heard = Vec::new();
    for n in 0..20 {
        // Some while it waits, some in between, some two at a time.
        let publish = |part: &str| drop(server.publish(if n % 2 == 0 { "a" } else { "b" }, &format!("{n}{part}")));
        if n % 3 == 0 {
            publish("");
        }
        client.ask(
            "GET",
            if n % 2 == 0 { "/sub/a/b?wait=5s" } else { "/sub/b/a?wait=5s" },
            &[("Last-Event-ID", &id)],
            b"",
        );
        if n % 3 != 0 {
            publish("x");
            publish("y");
        }
        let answer = client.answer();
        heard.extend(answer.events().into_iter().map(|event| event.data));
        id = answer.last_event_id();
        if n % 5 == 0 {
            let empty = client.request("GET", "/sub/a/b?wait=0s", &[("Last-Event-ID", &id)], b"");
            heard.extend(empty.events().into_iter().map(|event| event.data));
            id = empty.last_event_id();
        }
    }
    let rest = client.request("GET", "/sub/a/b?wait=0s", &[("Last-Event-ID", &id)], b"");
    heard.extend(rest.events().into_iter().map(|event| event.data));
    let said: Vec<_> = (0..20)
        .flat_map(|n| if n % 3 == 0 { vec![format!("{n}")] } else { vec![format!("{n}x"), format!("{n}y")] })
        .collect();
    assert_eq!(heard, said);
}

#[test]
fn wait_that_is_over_says_where_to_go_on() {
    let server = TestServer::start("");
    server.publish("a", "before");
    let mut client = server.public();
    let answer = client.get("/sub/a?wait=50ms");
    assert_eq!((answer.status, answer.events()), (200, vec![]));
    let id = answer.last_event_id();
    server.publish("a", "missed");
    let again = client.request("GET", "/sub/a?wait=1m", &[("Last-Event-ID", &id)], b"");
    assert_eq!(again.events()[0].data, "missed");
    assert_eq!(client.get("/sub/a?wait=1ms&start-id=0").body, b"", "nothing at all where that was asked for");
}

#[test]
fn wait_with_the_next_request_pipelined_behind_it() {
    let server = TestServer::start("");
    {
        let mut client = server.public();
        let two = [request("GET", "/sub/a?wait=1m", &[], b""), request("GET", "/sub/ALL", &[], b"")].concat();
        // The second also cut in two, its end after the wait has begun.
        for cut in [two.len(), two.len() - 10] {
            client.send(&two[..cut]);
            server.until_stat("subscriptions", 1);
            client.send(&two[cut..]);
            server.publish("a", "x");
            assert_eq!(client.answer().events()[0].data, "x");
            assert_eq!(client.answer().status, 400);
        }
        // And a stream as the last of them.
        client.send([request("GET", "/sub/a?wait=1m", &[], b""), request("GET", "/sub/a", &[], b"")].concat());
        server.until_stat("subscriptions", 1);
        server.publish("a", "y");
        assert_eq!(client.answer().events()[0].data, "y");
        let mut stream = client.stream();
        server.publish("a", "z");
        assert_eq!(stream.event().data, "z");
        drop(stream);
        server.until_stat("subscribers", 0);
    }
}

#[test]
fn wait_of_a_client_that_closes_or_speaks_1_0_ends_the_connection() {
    let server = TestServer::start("");
    for bytes in [
        &b"GET /sub/a?wait=1m HTTP/1.0\r\n\r\n"[..],
        b"GET /sub/a?wait=1m HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n",
    ] {
        let mut client = server.public();
        client.send(bytes);
        server.until_stat("subscriptions", 1);
        server.publish("a", "x");
        let answer = client.answer();
        assert_eq!((answer.head.get("connection"), answer.events().len()), (Some("close"), 1));
        assert!(client.is_closed());
        server.until_stat("subscribers", 0);
    }
}

#[test]
fn wait_of_a_client_that_leaves_is_forgotten() {
    let server = TestServer::start("");
    let clients: Vec<_> = (0..10)
        .map(|n| {
            let mut client = server.public();
            client.ask("GET", "/sub/a?wait=5m", &[], b"");
            if n % 2 == 0 {
                // With the next request behind it, which nobody will read.
                client.ask("GET", "/sub/b", &[], b"");
            }
            client
        })
        .collect();
    server.until_stat("subscriptions", 10);
    drop(clients);
    server.until_stat("subscriptions", 0);
    eventually("their connections are gone", || server.stat("connections") <= 1);
    assert_eq!(server.metric("fantail_left_subscribers_total"), 10);
}

#[test]
fn wait_connection_rests_until_it_asks_again_leaves_or_the_server_does() {
    let mut server = TestServer::start("listen.idle_timeout = '700ms'");
    let rested = |server: &TestServer| {
        let mut client = server.public();
        assert_eq!(client.get("/sub/a?wait=1ms").status, 200);
        eventually("it rests", || server.metric("fantail_resting_connections") == 1);
        assert_eq!((server.stat("subscribers"), server.stat("subscriptions")), (0, 0));
        assert!(server.stat("connections") >= 1, "it counts as a connection");
        client
    };
    let gone = |server: &TestServer| {
        eventually("it does not rest", || server.metric("fantail_resting_connections") == 0);
    };
    let mut client = rested(&server);
    assert_eq!(client.get("/sub/ALL").status, 400);
    gone(&server);
    // A byte of a request is one: then HTTP waits for the others.
    assert_eq!(client.get("/sub/a?wait=1ms").status, 200);
    client.send("G");
    gone(&server);
    client.send("ET /sub/ALL HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    drop(client);

    drop(rested(&server));
    gone(&server);
    let mut idle = rested(&server);
    gone(&server);
    assert!(idle.is_closed(), "its time is over");
    let mut last = rested(&server);
    server.begin_stop();
    eventually("the server stops", || server.has_stopped());
    assert!(last.is_closed());
}

#[test]
fn wait_connection_may_then_idle_as_long_as_any_other() {
    let server = TestServer::start("listen.head_timeout = '400ms'");
    let mut client = server.public();
    assert_eq!(client.get("/sub/a?wait=1ms").status, 200);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(client.get("/sub/a?wait=1ms").status, 200, "listen.idle_timeout holds here, not listen.head_timeout");
}

#[test]
fn wait_of_a_gap_is_counted_and_told() {
    let server = TestServer::start("");
    let mut client = server.public();
    let answer = client.request("GET", "/sub/a?wait=5s", &[("Last-Event-ID", "unknown")], b"");
    let events = answer.events();
    assert_eq!((events.len(), &*events[0].name), (1, "fantail-gap"));
    eventually("the gap is counted", || server.stat("gaps") == 1);
    let id = answer.last_event_id();
    client.ask("GET", "/sub/a?wait=5s", &[("Last-Event-ID", &id)], b"");
    server.until_stat("subscriptions", 1);
    server.publish("a", "x");
    assert_eq!(client.answer().events()[0].data, "x");
}

#[test]
fn wait_where_gaps_are_not_told_does_not_answer_with_nothing() {
    let server = TestServer::start("stream.gap = 'off'");
    let mut client = server.public();
    client.ask("GET", "/sub/a?wait=5s", &[("Last-Event-ID", "unknown")], b"");
    // An empty answer without an id would be asked for again at once, for ever.
    server.until_stat("subscriptions", 1);
    server.publish("a", "x");
    assert_eq!(client.answer().events()[0].data, "x");
}

#[test]
fn wait_on_a_channel_that_ends_hears_it_and_then_204() {
    let server = TestServer::start("");
    let mut client = server.public();
    client.ask("GET", "/sub/a?wait=1m", &[], b"");
    server.until_stat("subscriptions", 1);
    server.control().request("DELETE", "/pub/a", &[], b"bye");
    let answer = client.answer();
    assert_eq!(answer.events()[0].name, "fantail-end");
    assert_eq!(client.request("GET", "/sub/a?wait=1m", &[("Last-Event-ID", &answer.last_event_id())], b"").status, 204);
    server.publish("a", "again");
    let answer = client.request("GET", "/sub/a?wait=1m", &[("Last-Event-ID", &answer.last_event_id())], b"");
    assert_eq!(answer.events()[0].data, "again");
}

#[test]
fn wait_with_a_large_backlog_comes_in_whole_pages() {
    let server = TestServer::start("");
    let large = "x".repeat(300_000);
    let ids = [server.publish("a", "small"), server.publish("a", &large), server.publish("a", "after")];
    let mut client = server.public();
    let mut id = String::new();
    let mut heard = Vec::new();
    while id != ids[2] {
        let headers: &[(&str, &str)] = if id.is_empty() { &[] } else { &[("Last-Event-ID", &id)] };
        let answer = client.request("GET", "/sub/a?wait=1s&from=start", headers, b"");
        heard.extend(answer.events().into_iter().map(|event| event.data.len()));
        id = answer.last_event_id();
    }
    assert_eq!(heard, [5, 300_000, 5]);
}

#[test]
fn wait_then_stream_then_end_on_one_connection() {
    let server = TestServer::start("");
    let mut client = server.public();
    let id = client.get("/sub/a?wait=1ms").last_event_id();
    server.publish("a", "x");
    let mut stream = client.subscribe_with("/sub/a", &[("Last-Event-ID", &id)]);
    assert_eq!(stream.event().data, "x");
    server.control().request("DELETE", "/pub/a", &[], b"");
    assert_eq!(stream.to_end().1, End::Said);
}

#[test]
fn waits_pipelined_by_the_hundred_are_all_answered() {
    let server = TestServer::start("");
    server.publish("a", "x");
    let mut client = server.public();
    let target = format!("/sub/a?last=1&wait=1m&padding={}", "x".repeat(200));
    client.send(request("GET", &target, &[], b"").repeat(400));
    for n in 0..400 {
        assert_eq!(client.answer().events()[0].data, "x", "number {n}");
    }
}
