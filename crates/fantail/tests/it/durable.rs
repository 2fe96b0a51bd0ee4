//! What was published is there after a stop and a start: histories, ids, ends, gaps; and readers from far behind are served
//! from the disk.

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{Client, Event, Stream};
use crate::server::{Data, TestServer, eventually};

/// Somebody's place in `a/b`, and what was published since: the data and the ids.
pub(crate) struct Left {
    place: String,
    since: Vec<(String, String)>,
}

/// Publishes one message, with headers, and gives its id.
pub(crate) fn publish(control: SocketAddr, channel: &str, data: &str, headers: &[(&str, &str)]) -> String {
    let answer = Client::connect(control).request("POST", &format!("/pub/{channel}"), headers, data.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["published"][0]["id"].as_str().expect("an id").to_owned()
}

pub(crate) fn after(public: SocketAddr, channels: &str, id: &str) -> Stream {
    Client::connect(public).subscribe_with(&format!("/sub/{channels}?last=999"), &[("Last-Event-ID", id)])
}

fn data(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| &*event.data).collect()
}

/// Publishes something of everything.
pub(crate) fn fill(public: SocketAddr, control: SocketAddr) -> Left {
    let mut stream = Client::connect(public).subscribe("/sub/a/b");
    publish(control, "a", "before", &[]);
    let place = stream.event().id;
    drop(stream);
    let since = (0..20).map(|n| {
        let channel = ["a", "b", "elsewhere"][n % 3];
        let data = format!("{channel} {n}");
        let id = publish(control, channel, &data, &[("Event-Type", "tick")]);
        (data, id)
    });
    let since = since.filter(|(data, _)| !data.starts_with("elsewhere")).collect();
    publish(control, "own", "first", &[("Event-Id", "order 7")]);
    publish(control, "own", "second\nof two lines", &[("Event-Id", "order 8")]);
    publish(control, "over?end=1", "the last", &[]);
    publish(control, "deleted", "forgotten", &[]);
    let ended = Client::connect(control).request("DELETE", "/pub/deleted", &[], b"it is over");
    assert_eq!(ended.status, 200);
    for n in 0..5 {
        publish(control, "few.a", &n.to_string(), &[]);
    }
    Left { place, since }
}

/// Looks for all of that.
pub(crate) fn check(public: SocketAddr, control: SocketAddr, left: &Left) {
    let subscribe = |target: &str| Client::connect(public).subscribe(target);
    let mut stream = after(public, "a/b", &left.place);
    for (data, id) in &left.since {
        let event = stream.event();
        assert_eq!((&event.data, &event.id, &*event.name), (data, id, "tick"), "the same id as before");
    }
    for (n, (_, id)) in left.since.iter().enumerate().step_by(5) {
        let rest: Vec<_> = left.since[n + 1..].iter().map(|(data, _)| data.as_str()).collect();
        assert_eq!(data(&after(public, "b/a", id).events(rest.len())), rest, "behind {id}");
    }
    assert_eq!(subscribe("/sub/a?from=start").event().data, "before");
    let newest: Vec<_> = left.since.iter().map(|(data, _)| data).filter(|data| data.starts_with('a')).collect();
    assert_eq!(subscribe("/sub/a?last=1").event().data, *newest[newest.len() - 1]);
    assert_eq!(subscribe("/sub/a?since=1h").event().data, "before");
    let own = after(public, "own", "order 7").event();
    assert_eq!((&*own.data, &*own.id), ("second\nof two lines", "order 8"));
    let mut both = after(public, "own/a", "order 7");
    assert_eq!(both.event().data, "second\nof two lines");
    // Nobody reads from before the end again, and who comes anew is told to stay away.
    let mut client = Client::connect(public);
    let over = client.request("GET", "/sub/over", &[], b"");
    assert_eq!(over.status, 204, "{over:?}");
    let mut last = Client::connect(public).subscribe("/sub/over?from=start");
    assert_eq!(last.event().data, "the last");
    let mut deleted = Client::connect(public).subscribe("/sub/deleted?from=start");
    let end = deleted.event();
    assert_eq!((&*end.name, &*end.data), ("fantail-end", "it is over"));
    let few = Client::connect(control).get("/stats/few.a").json();
    assert_eq!((&few["messages"], &few["ended"]), (&2.into(), &false.into()), "{few}");
    assert_eq!(data(&subscribe("/sub/few.a?from=start").events(2)), ["3", "4"]);
    let gap = after(public, "few.a", &left.place).event();
    assert_eq!(gap.name, "fantail-gap", "three were dropped");
    for name in ["elsewhere", "own", "over"] {
        assert_eq!(Client::connect(control).get(&format!("/pub/{name}")).status, 200, "{name} is known");
    }
    assert_eq!(Client::connect(control).get("/pub/never").status, 404);
}

/// A prefix whose channels keep two messages.
pub(crate) const FEW: &str = "[[retention]]\nprefix = 'few.'\nmessages = 2";

#[test]
fn everything_is_there_after_a_stop_and_a_start() {
    let data = Data::new();
    let mut server = TestServer::start(&data.config(FEW));
    let epoch = server.control().get("/stats").json()["epoch"].clone();
    let left = fill(server.public, server.control);
    check(server.public, server.control, &left);
    for _ in 0..2 {
        drop(server);
        server = TestServer::start(&data.config(FEW));
        check(server.public, server.control, &left);
    }
    assert_eq!(server.control().get("/stats").json()["epoch"], epoch, "it is the same sequence");
    let mut stream = after(server.public, "a/b", &left.since[left.since.len() - 1].1);
    server.publish("b", "and on");
    assert_eq!(stream.event().data, "and on", "without a gap");
    assert_eq!(server.stat("gaps"), 1, "that of the channel which keeps few");
}

#[test]
fn answer_that_is_waited_for_goes_on_over_a_restart() {
    let data = Data::new();
    let server = TestServer::start(&data.config(""));
    server.publish("a", "one");
    let first = server.public().get("/sub/a?wait=10s&from=start");
    assert_eq!(first.events()[0].data, "one");
    let id = first.last_event_id();
    server.publish("a", "two");
    drop(server);
    let server = TestServer::start(&data.config(""));
    let second = server.public().request("GET", "/sub/a?wait=10s", &[("Last-Event-ID", &id)], b"");
    assert_eq!(second.events()[0].data, "two");
    let id = second.last_event_id();
    let mut waiting = server.public();
    waiting.ask("GET", "/sub/a?wait=20s", &[("Last-Event-ID", &id)], b"");
    server.until_stat("subscriptions", 1);
    server.publish("a", "three");
    assert_eq!(waiting.answer().events()[0].data, "three");
}

#[test]
fn expired_messages_are_gone_after_a_restart_and_told() {
    let data = Data::new();
    let config = data.config("[[retention]]\nprefix = 'brief.'\nage = '150ms'");
    let server = TestServer::start(&config);
    let id = server.publish("brief.a", "one");
    server.publish("brief.a", "two");
    drop(server);
    std::thread::sleep(Duration::from_millis(200));
    let server = TestServer::start(&config);
    let gap = after(server.public, "brief.a", &id).event();
    assert_eq!(gap.name, "fantail-gap", "{gap:?}");
    let mut seen = after(server.public, "brief.a", &gap.id);
    server.publish("brief.a", "three");
    assert_eq!(seen.event().data, "three", "it is told once");
}

#[test]
fn channels_that_are_not_to_be_stored_leave_nothing_on_the_disk() {
    let data = Data::new();
    let config = data.config("[[retention]]\nprefix = 'cursor.'\nstore = false");
    let server = TestServer::start(&config);
    let id = server.publish("cursor.a", "a position that is worth nothing later");
    let stored = server.publish("page", "a page that is");
    assert_eq!(server.public().subscribe("/sub/cursor.a?last=1").event().id, id, "while the process lives it is there");
    let item = br#"{"items":[{"channel":"held","formats":{"http-stream":{"content":"grip holds in memory"}}}]}"#;
    assert_eq!(server.control().request("POST", "/publish/", &[], item).status, 200);
    drop(server);
    let bytes: Vec<u8> = std::fs::read_dir(data.path())
        .unwrap()
        .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("a page that is") && !holds("worth nothing later") && !holds("grip holds"));
    let server = TestServer::start(&config);
    assert_eq!(server.control().get("/pub/cursor.a").status, 404);
    assert_eq!(after(server.public, "cursor.a", &id).event().name, "fantail-gap");
    let mut page = after(server.public, "page", &stored);
    server.publish("page", "the next");
    assert_eq!(page.event().data, "the next", "no gap where nothing is lost");
}

/// Publishes these numbers to `a` in batches.
fn publish_numbers(server: &TestServer, numbers: std::ops::Range<usize>) {
    let mut client = server.control();
    for batch in numbers.collect::<Vec<_>>().chunks(5_000) {
        let lines: Vec<_> = batch.iter().map(|n| format!("{{\"channel\":\"a\",\"data\":\"{n}\"}}\n")).collect();
        let body = lines.concat();
        let answer = client.request("POST", "/pub", &[("Content-Type", "application/x-ndjson")], body.as_bytes());
        assert_eq!(answer.json()["published"], batch.len(), "{answer:?}");
    }
}

#[test]
fn reader_from_100000_messages_behind_gets_all_in_order_while_more_come() {
    const BEHIND: usize = 100_000;
    const LIVE: usize = 2_000;
    let data = Data::new();
    let config =
        data.config("hub.messages = 1000000\nhub.bytes = '1GiB'\nhub.tail = '64KiB'\nstream.send_buffer = '16KiB'");
    let server = TestServer::start(&config);
    let mut start = server.public().subscribe("/sub/a");
    start.chunk().unwrap();
    let place = start.last_event_id();
    drop(start);
    publish_numbers(&server, 0..BEHIND);
    drop(server);
    let server = TestServer::start(&config);
    // One that does not read at first, and is far behind when it does.
    let mut slow = after(server.public, "a", &place);
    let mut quick = after(server.public, "a", &place);
    std::thread::scope(|scope| {
        scope.spawn(|| (BEHIND..BEHIND + LIVE).for_each(|n| drop(server.publish("a", &n.to_string()))));
        for reader in [&mut quick, &mut slow] {
            for n in 0..BEHIND + LIVE {
                assert_eq!(reader.event().data, n.to_string());
                reader.chunks.clear();
            }
        }
    });
    server.publish("a", "the end");
    assert_eq!((quick.event().data, slow.event().data), ("the end".into(), "the end".into()));
    assert_eq!(server.stat("gaps"), 0);
    assert!(server.metric("fantail_pages_total") > 10, "it came from the disk");
    eventually("memory holds no more than a tail", || server.stat("bytes") <= 128 << 10);
}
