//! Channels that end: the last event, the last chunk, 204, and the way back.

use crate::client::{End, Event};
use crate::server::TestServer;

#[test]
fn end_of_the_only_channel_is_an_event_and_the_end_of_the_stream() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
    let ended = server.control().request("DELETE", "/pub/a", &[], "good\nbye".as_bytes());
    assert_eq!(ended.status, 200);
    let ended = &ended.json()["ended"][0];
    assert_eq!((ended["channel"].as_str(), ended["subscribers"].as_u64()), (Some("a"), Some(1)));
    let event = stream.event();
    let id = ended["id"].as_str().unwrap().to_owned();
    assert_eq!(event, Event { name: "fantail-end".into(), data: "good\nbye".into(), id: id.clone() });
    assert_eq!(stream.to_end(), (vec![], End::Said));
    assert!(stream.client.is_closed());

    // It has seen everything: nothing to come back for, until somebody publishes.
    let back = |target: &str| server.public().request("GET", target, &[("Last-Event-ID", &id)], b"");
    let answer = back("/sub/a");
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(answer.head.get("access-control-allow-origin"), Some("*"));
    assert_eq!(back("/sub/a?wait=1s").status, 204);
    assert_eq!(server.public().get("/sub/a").status, 204, "also for one who was never there");
    assert!(server.control().get("/stats/a").json()["ended"].as_bool().unwrap());
    server.publish("a", "again");
    let mut stream = server.public().subscribe_with("/sub/a", &[("Last-Event-ID", &id)]);
    assert_eq!(stream.event().data, "again");
    assert!(!server.control().get("/stats/a").json()["ended"].as_bool().unwrap());
}

#[test]
fn end_that_was_not_seen_is_delivered_to_whoever_comes_back() {
    let server = TestServer::start("");
    let id = server.publish("a", "x");
    let last = server.control().request("POST", "/pub/a?end=1", &[], b"last").json();
    assert_eq!(last["published"][0]["channel"], "a");
    let mut stream = server.public().subscribe_with("/sub/a", &[("Last-Event-ID", &id)]);
    let events = stream.events(2);
    assert_eq!((&*events[0].data, &*events[0].name), ("last", "message"));
    assert_eq!((&*events[1].data, &*events[1].name), ("", "fantail-end"));
    assert_eq!(stream.to_end(), (vec![], End::Said));
}

#[test]
fn end_in_one_step_comes_to_those_who_listen() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a");
    let answer =
        server.control().request("POST", "/pub/a?end=1", &[("Event-Id", "fin"), ("Event-Type", "result")], b"done");
    assert_eq!(answer.status, 200);
    let events = stream.events(2);
    assert_eq!(events[0], Event { name: "result".into(), data: "done".into(), id: "fin".into() });
    assert_eq!(events[1].name, "fantail-end");
    assert_eq!(stream.to_end().1, End::Said);
    // A client that was cut off between the two comes back for the end, then for nothing.
    let mut again = server.public().subscribe_with("/sub/a", &[("Last-Event-ID", "fin")]);
    assert_eq!(again.event().name, "fantail-end");
    assert_eq!(again.to_end().1, End::Said);
    let answer = server.public().request("GET", "/sub/a", &[("Last-Event-ID", &events[1].id)], b"");
    assert_eq!(answer.status, 204);
}

#[test]
fn end_of_one_of_two_channels_keeps_the_stream() {
    let server = TestServer::start("");
    let mut stream = server.public().subscribe("/sub/a/b");
    server.publish("a", "1");
    assert_eq!(stream.event().data, "1");
    server.control().request("DELETE", "/pub/a", &[], b"bye");
    server.publish("b", "2");
    assert_eq!(stream.data(2), ["bye", "2"]);
    // Also for one who comes back with the first channel ended.
    let mut again = server.public().subscribe_with("/sub/a/b", &[("Last-Event-ID", &stream.last_event_id())]);
    server.publish("b", "3");
    assert_eq!((stream.event().data, again.event().data), ("3".into(), "3".into()));
    server.publish("a", "revived");
    assert_eq!((stream.event().data, again.event().data), ("revived".into(), "revived".into()));
    server.control().request("DELETE", "/pub/a/b/nobody", &[], b"all");
    for mut stream in [stream, again] {
        let events = stream.events(2);
        assert!(events.iter().all(|event| event.name == "fantail-end" && event.data == "all"));
        assert_eq!(stream.to_end().1, End::Said);
    }
}

#[test]
fn end_drops_what_the_channel_held_without_a_silent_loss() {
    let server = TestServer::start("");
    let id = server.publish("a", "1");
    server.publish("a", "2");
    server.control().request("DELETE", "/pub/a", &[], b"");
    let mut stream = server.public().subscribe_with("/sub/a", &[("Last-Event-ID", &id)]);
    let events = stream.events(2);
    assert_eq!((&*events[0].name, &*events[1].name), ("fantail-gap", "fantail-end"));
}

#[test]
fn end_of_what_does_not_exist_is_not_found() {
    let server = TestServer::start("hub.message = '10B'");
    let answer = server.control().request("DELETE", "/pub/nobody", &[], b"");
    assert_eq!((answer.status, answer.error()), (404, "there is no channel \"nobody\"".into()));
    assert_eq!(server.control().request("DELETE", "/pub/nobody/none", &[], b"").status, 404);
    server.publish("a", "x");
    assert_eq!(server.control().request("DELETE", "/pub/a", &[], b"\xff").status, 400);
    assert_eq!(server.control().request("DELETE", "/pub/a", &[], &[b'x'; 11]).status, 413);
    assert_eq!(server.control().get("/stats/a").json()["messages"], 1, "a refusal does nothing");
}
