//! What was acknowledged is there after `kill -9` of the real program, whatever it was doing.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::client::{Client, request};
use crate::durable::{FEW, after, check, fill, publish};
use crate::server::{Data, Process, eventually};

#[test]
fn everything_is_there_after_a_kill() {
    for durability in ["os", "fsync"] {
        let data = Data::new();
        let config = format!("{}durability = '{durability}'\n", data.config(FEW));
        let mut server = Process::start(&config);
        let left = fill(server.public, server.control);
        let waited =
            !Client::connect(server.control).get("/metrics").text().contains("\nfantail_journal_syncs_total 0\n");
        assert_eq!(waited, durability == "fsync", "{durability}");
        for _ in 0..2 {
            server.kill();
            server = Process::start(&config);
            check(server.public, server.control, &left);
        }
    }
}

#[test]
fn idempotency_key_is_known_after_a_kill() {
    let data = Data::new();
    let mut server = Process::start(&data.config(""));
    let key = [("Idempotency-Key", "order-7")];
    let id = publish(server.control, "a", "paid", &key);
    server.kill();
    let server = Process::start(&data.config(""));
    let again = Client::connect(server.control).request("POST", "/pub/a", &key, b"paid").json();
    assert_eq!((&again["published"][0]["duplicate"], &again["published"][0]["id"]), (&true.into(), &id.into()));
    let other = Client::connect(server.control).request("POST", "/pub/a", &key, b"another");
    assert_eq!(other.status, 409, "{other:?}");
    assert_eq!(Client::connect(server.control).get("/stats/a").json()["messages"], 1);
}

/// Publishes numbers to `channel` until the server is gone; returns those that were acknowledged, and counts the requests that
/// were.
fn publish_until_gone(
    mut client: Client,
    channel: &str,
    numbers: &mut u64,
    batch: usize,
    answered: &AtomicU64,
) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    loop {
        let sent: Vec<u64> = (0..batch as u64).map(|n| *numbers + n).collect();
        *numbers += batch as u64;
        let (target, kind, body) = if batch == 1 {
            (format!("/pub/{channel}"), "text/plain", sent[0].to_string())
        } else {
            let line = |n: &u64| format!("{{\"channel\":\"{channel}\",\"data\":\"{n}\"}}\n");
            ("/pub".to_owned(), "application/x-ndjson", sent.iter().map(line).collect())
        };
        let request = request("POST", &target, &[("Content-Type", kind)], body.as_bytes());
        // Only a whole answer is an acknowledgement.
        match client.try_exchange(&request) {
            Some(200) => {
                acknowledged.extend(sent);
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Some(status) => panic!("publishing was answered with {status}"),
            None => return acknowledged,
        }
    }
}

#[test]
fn kill_in_the_middle_of_publishing_loses_nothing_acknowledged() {
    let data = Data::new();
    let config = format!("{}segment = '1MiB'\n", data.config("hub.messages = 1000000\nhub.bytes = '1GiB'"));
    let publishers = [("one", 1), ("two", 1), ("many", 100)];
    let mut counts = [0; 3];
    let mut known: [Vec<u64>; 3] = Default::default();
    let mut server = Process::start(&config);
    for round in 0..6 {
        let answered: [AtomicU64; 3] = Default::default();
        thread::scope(|scope| {
            let threads: Vec<_> = publishers
                .iter()
                .zip(&mut counts)
                .zip(&answered)
                .map(|(((channel, batch), count), answered)| {
                    // Connected here: a thread may not come to it before the kill.
                    let client = Client::connect(server.control);
                    scope.spawn(move || publish_until_gone(client, channel, count, *batch, answered))
                })
                .collect();
            // However slow the machine is, each has been answered some times by then, each round some more.
            eventually("all have published", || {
                answered.iter().all(|answered| answered.load(Ordering::Relaxed) > 4 + 20 * round)
            });
            server.kill();
            for (thread, known) in threads.into_iter().zip(&mut known) {
                known.extend(thread.join().expect("a publisher"));
            }
        });
        server = Process::start(&config);
        for ((channel, _), known) in publishers.iter().zip(&known) {
            let kept = Client::connect(server.control).get(&format!("/stats/{channel}")).json()["messages"].as_u64();
            let mut stream = Client::connect(server.public).subscribe(&format!("/sub/{channel}?from=start"));
            let kept: Vec<u64> = stream.data(kept.unwrap() as usize).iter().map(|data| data.parse().unwrap()).collect();
            assert!(kept.is_sorted(), "{channel} is out of order");
            let there: HashSet<_> = kept.iter().collect();
            assert_eq!(there.len(), kept.len(), "{channel} has one twice");
            let lost: Vec<_> = known.iter().filter(|n| !there.contains(n)).collect();
            assert!(lost.is_empty(), "round {round}: {channel} has lost {lost:?} of {}", known.len());
        }
    }
}

#[test]
fn subscriber_that_comes_back_after_kills_gets_every_message_once() {
    const MESSAGES: u64 = 400;
    let data = Data::new();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut server = Process::start_at(&data.config(""), any, any);
    let mut place = {
        let mut stream = Client::connect(server.public).subscribe("/sub/a");
        stream.chunk().unwrap();
        stream.last_event_id()
    };
    let (mut sent, mut seen) = (0, 0);
    let over = AtomicBool::new(false);
    while !over.load(Ordering::Relaxed) {
        let mut stream = after(server.public, "a", &place);
        for _ in 0..50 {
            publish(server.control, "a", &sent.to_string(), &[]);
            sent += 1;
        }
        // Some of them only; the rest is for the next life.
        for _ in 0..sent - seen - 7 {
            let event = stream.event();
            assert_eq!((&*event.name, event.data), ("message", seen.to_string()));
            (seen, place) = (seen + 1, event.id);
        }
        server.kill();
        over.store(sent == MESSAGES, Ordering::Relaxed);
        server = Process::start(&data.config(""));
    }
    let rest = after(server.public, "a", &place).data((sent - seen) as usize);
    assert_eq!(rest, (seen..sent).map(|n| n.to_string()).collect::<Vec<_>>());
}
