//! What is kept, for how long, and how its going is told.

use std::time::Duration;

use crate::client::Stream;
use crate::server::{TestServer, eventually};

fn all(server: &TestServer, channel: &str, n: usize) -> Vec<String> {
    server.public().subscribe(&format!("/sub/{channel}?from=start")).data(n)
}

fn after(server: &TestServer, channel: &str, id: &str) -> Stream {
    server.public().subscribe_with(&format!("/sub/{channel}"), &[("Last-Event-ID", id)])
}

fn kept(server: &TestServer, channel: &str) -> u64 {
    server.control().get(&format!("/stats/{channel}")).json()["messages"].as_u64().expect("a number")
}

#[test]
fn count_is_kept_for_each_channel_and_prefix() {
    let server = TestServer::start(
        "hub.messages = 4\n[[retention]]\nprefix = 'user.'\nmessages = 2\n[[retention]]\nprefix = 'user.vip.'\nmessages = 6",
    );
    for (channel, most) in [("user", 4), ("user.1", 2), ("user.vip.1", 6), ("other", 4)] {
        (0..8).for_each(|n| drop(server.publish(channel, &n.to_string())));
        assert_eq!(kept(&server, channel), most, "{channel}");
        let newest: Vec<_> = (8 - most..8).map(|n| n.to_string()).collect();
        assert_eq!(all(&server, channel, newest.len()), newest);
    }
}

#[test]
fn bytes_are_kept_and_the_newest_stays_whatever_its_size() {
    let server = TestServer::start("hub.bytes = '4KiB'");
    for _ in 0..10 {
        server.publish("a", &"x".repeat(1000));
    }
    assert_eq!(kept(&server, "a"), 3, "with what a message costs beside its text");
    server.publish("a", &"y".repeat(10_000));
    assert_eq!(kept(&server, "a"), 1);
    assert_eq!(all(&server, "a", 1)[0].len(), 10_000);
}

#[test]
fn age_is_enforced_without_a_publish() {
    let server = TestServer::start("[[retention]]\nprefix = 'brief'\nage = '100ms'");
    let id = server.publish("brief", "x");
    server.publish("long", "x");
    let later = server.publish("brief", "y");
    let _listener = server.public().subscribe("/sub/brief");
    eventually("nothing is kept", || kept(&server, "brief") == 0);
    assert_eq!(kept(&server, "long"), 1);
    assert_eq!(after(&server, "brief", &id).event().name, "fantail-gap");
    let mut seen_all = after(&server, "brief", &later);
    server.publish("brief", "z");
    assert_eq!(seen_all.event().data, "z");
    assert_eq!(server.stat("evicted"), 0, "that is not for want of memory");
}

#[test]
fn memory_over_its_cap_evicts_from_the_heaviest_and_counts() {
    let server = TestServer::start("[hub]\nmemory = '64KiB'\nmessage = '8KiB'\nbytes = '1MiB'");
    let light = server.publish("light", "x");
    let first = server.publish("heavy", "0");
    for n in 0..60 {
        server.publish("heavy", &format!("{n}{}", "x".repeat(2000)));
        assert!(server.stat("bytes") <= 64 << 10);
    }
    let evicted = server.stat("evicted");
    assert_eq!((evicted, evicted), (61 - kept(&server, "heavy"), server.metric("fantail_evicted_total")));
    assert!(evicted > 20, "{evicted}");
    assert_eq!(kept(&server, "light"), 1);
    assert_eq!(after(&server, "heavy", &first).event().name, "fantail-gap", "the floor was raised");
    let mut unharmed = after(&server, "light", &light);
    server.publish("light", "y");
    assert_eq!(unharmed.event().data, "y");
}

#[test]
fn idle_channels_are_collected_and_their_floors_remembered() {
    let server = TestServer::start("[hub]\nage = '100ms'\nchannel_idle = '100ms'");
    let first = server.publish("a", "1");
    let last = server.publish("a", "2");
    eventually("the channel is collected", || server.control().get("/stats/a").status == 404);
    assert_eq!((server.stat("channels"), server.stat("bytes")), (0, 0));
    assert!(server.metric("fantail_collected_channels_total") >= 1);
    // One who had seen all of it is told of no gap; one who had not is.
    let mut whole = after(&server, "a", &last);
    let mut behind = after(&server, "a", &first);
    let gap = behind.event();
    assert_eq!((&*gap.name, &gap.id), ("fantail-gap", &last));
    server.publish("a", "3");
    assert_eq!((whole.event().data, behind.event().data), ("3".into(), "3".into()));
    // A subscriber who never left keeps its channel.
    std::thread::sleep(Duration::from_millis(300));
    server.publish("a", "4");
    assert_eq!((whole.event().data, behind.event().data), ("4".into(), "4".into()));
}

#[test]
fn collected_floors_beyond_their_table_tell_too_many_gaps_and_never_too_few() {
    let server = TestServer::start("[hub]\nage = '50ms'\nchannel_idle = '50ms'\nfloors = 1");
    let ids: Vec<_> = (0..5)
        .map(|n| {
            server.publish(&format!("c{n}"), "1");
            server.publish(&format!("c{n}"), "2")
        })
        .collect();
    let before = ids[0].clone();
    eventually("all are collected", || server.stat("channels") == 0);
    // The newest of the five is behind what every table remembers.
    let mut newest = after(&server, "c4", &ids[4]);
    server.publish("c4", "3");
    assert_eq!(newest.event().data, "3");
    for n in 1..5 {
        assert_eq!(after(&server, &format!("c{n}"), &before).event().name, "fantail-gap", "c{n} has lost messages");
    }
}

#[test]
fn message_larger_than_allowed_is_refused_and_one_of_the_size_is_not() {
    let server = TestServer::start("hub.message = '100B'");
    let post = |n| server.control().request("POST", "/pub/a", &[], &vec![b'x'; n]);
    assert_eq!(post(100).status, 200);
    let refused = post(101);
    assert_eq!((refused.status, refused.error().contains("100 bytes (hub.message)")), (413, true));
}

#[test]
fn subscriber_slower_than_retention_is_told_of_the_gap_and_goes_on() {
    let server = TestServer::start("[stream]\nsend_buffer = '4KiB'\n[hub]\nmessages = 3");
    let mut slow = server.public().subscribe("/sub/a");
    let large = "x".repeat(1 << 19);
    let mut sent = 0;
    eventually("the socket is full", || {
        server.publish("a", &format!("{sent} {large}"));
        sent += 1;
        server.stat("blocked") == 1
    });
    for _ in 0..6 {
        server.publish("a", &format!("{sent} {large}"));
        sent += 1;
    }
    let (mut next, mut gaps) = (0, 0);
    while next < sent {
        let event = slow.event();
        if event.name == "fantail-gap" {
            gaps += 1;
            continue;
        }
        let number: u32 = event.data.split(' ').next().unwrap().parse().unwrap();
        assert!(number == next || gaps == 1 && number > next, "{number} where {next} was due, after {gaps} gaps");
        next = number + 1;
    }
    assert_eq!(gaps, 1);
}
