//! Fairness: a hot channel, published flat out to thousands, does not starve the small ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::crowd::{Crowd, alone, numbered};
use crate::server::TestServer;

const HOT: usize = 2_000;
const SMALL: usize = 50;
const ROUNDS: u64 = 4;
const BATCH: u64 = 50;

#[test]
fn hot_channel_does_not_starve_small_ones() {
    let _alone = alone();
    // One shard, so that all of them share it.
    let server = TestServer::start("listen.shards = 1");
    let mut hot = Crowd::new(server.public);
    for _ in 0..HOT {
        hot.join(&["hot"], "");
    }
    let mut small = Crowd::new(server.public);
    let names: Vec<_> = (0..SMALL).map(|n| format!("small.{n}")).collect();
    for name in &names {
        small.join(&[name], "");
    }
    server.until_stat("subscribers", (HOT + SMALL) as u64);

    let done = Arc::new(AtomicBool::new(false));
    let publisher = {
        let (done, mut client) = (Arc::clone(&done), server.control());
        std::thread::spawn(move || {
            let mut n = 0;
            while !done.load(Ordering::SeqCst) {
                let line = |n| format!("{{\"channel\":\"hot\",\"data\":\"{}\"}}\n", numbered("hot", n, 100));
                let batch: String = (n + 1..=n + BATCH).map(line).collect();
                let headers = [("Content-Type", "application/x-ndjson")];
                let answer = client.request("POST", "/pub", &headers, batch.as_bytes());
                assert_eq!(answer.json()["published"], BATCH, "{answer:?}");
                n += BATCH;
            }
            n
        })
    };
    let readers = {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            while !done.load(Ordering::SeqCst) {
                hot.pump(std::time::Duration::from_millis(20));
            }
            hot
        })
    };

    // Each round is published when the one before has arrived everywhere.
    for round in 1..=ROUNDS {
        for name in &names {
            server.publish(name, &numbered(name, round, 0));
        }
        small.pump_until("the small ones", |small| small.members.iter().all(|member| member.has_seen(|_| round)));
    }
    done.store(true, Ordering::SeqCst);
    let last = publisher.join().expect("all was published");
    let mut hot = readers.join().expect("order holds in the hot channel");
    hot.pump_until("the end of the hot channel", |hot| hot.members.iter().all(|member| member.has_seen(|_| last)));
    assert!(last >= BATCH && hot.messages >= HOT as u64, "the hot channel was hot");
}
