//! Thousands of subscribers that come, go and come back while messages are published, every one checked; and nothing is
//! left of them afterwards.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::client::Client;
use crate::crowd::{Crowd, alone, numbered};
use crate::server::{Process, eventually};

const CHANNELS: usize = 20;
/// Between two messages, so that there are not more of them than one thread can check.
const BREATH: Duration = Duration::from_millis(2);

#[test]
fn churn_of_5000_over_several_shards_loses_and_repeats_nothing() {
    churn(5_000, 3);
}

#[test]
fn churn_on_one_shard_loses_and_repeats_nothing() {
    churn(1_500, 1);
}

fn channel(n: usize) -> String {
    format!("channel.{n}")
}

fn descriptors(server: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("a process of our own").count()
}

fn stats(server: &Process) -> Value {
    Client::connect(server.control).get("/stats?list=1000").json()
}

fn churn(subscribers: usize, shards: usize) {
    let _alone = alone();
    let config = format!("listen.shards = {shards}\nhub.messages = 100000\nhub.bytes = '64MiB'\nhub.age = '1h'");
    let server = Process::start(&config);
    assert_eq!(stats(&server)["subscribers"], 0);
    let before = descriptors(&server);
    let mut random = fastrand::Rng::with_seed(7);
    let mut crowd = Crowd::new(server.public);
    let names: Vec<_> = (0..CHANNELS).map(channel).collect();

    let enough = Arc::new(AtomicBool::new(false));
    let publisher = {
        let (enough, control, names) = (Arc::clone(&enough), server.control, names.clone());
        std::thread::spawn(move || {
            let mut client = Client::connect(control);
            let mut last: HashMap<String, u64> = names.iter().map(|name| (name.clone(), 0)).collect();
            while !enough.load(Ordering::SeqCst) {
                let name = fastrand::choice(&names).expect("channels");
                let n = last.get_mut(name).expect("a channel");
                *n += 1;
                let data = numbered(name, *n, fastrand::usize(0..400));
                let answer = client.request("POST", &format!("/pub/{name}"), &[], data.as_bytes());
                assert_eq!(answer.status, 200, "{answer:?}");
                std::thread::sleep(BREATH);
            }
            last
        })
    };

    let mut gone = 0;
    while crowd.members.len() < subscribers || gone < subscribers {
        if crowd.members.len() < subscribers {
            for _ in 0..50 {
                let mut picked = names.clone();
                random.shuffle(&mut picked);
                let count = [1, 1, 1, 2, 5][random.usize(0..5)];
                let picked: Vec<_> = picked[..count].iter().map(String::as_str).collect();
                crowd.join(&picked, "?from=start");
            }
        }
        for _ in 0..40 {
            let at = random.usize(0..crowd.members.len());
            if crowd.is_connected(at) {
                crowd.disconnect(at, random.u8(0..4) > 0);
                gone += 1;
            }
            if random.bool() {
                crowd.connect_if_gone(at);
            }
        }
        crowd.pump(Duration::from_millis(1));
    }
    enough.store(true, Ordering::SeqCst);
    for at in 0..crowd.members.len() {
        crowd.connect_if_gone(at);
    }
    let last = publisher.join().expect("all was published");
    crowd.pump_until("everybody has everything", |crowd| {
        crowd.members.iter().all(|member| member.has_seen(|name| last[name]))
    });
    let holes: usize = crowd.members.iter().flat_map(|member| &member.tracks).map(|track| track.holes.len()).sum();
    assert_eq!(holes, 0, "everything is retained, so that nobody misses anything");
    for track in crowd.members.iter().flat_map(|member| &member.tracks) {
        assert_eq!(track.first, (last[&track.channel] > 0).then_some(1), "{} from its start", track.channel);
    }

    eventually("as many subscribers as there are", || stats(&server)["subscribers"] == subscribers);
    let expected: u64 = crowd.members.iter().map(|member| member.tracks.len() as u64).sum();
    assert_eq!(stats(&server)["subscriptions"], expected);
    for at in 0..crowd.members.len() {
        crowd.disconnect(at, at % 2 == 0);
    }
    for figure in ["subscribers", "subscriptions", "blocked"] {
        eventually(&format!("{figure} = 0"), || stats(&server)[figure] == 0);
    }
    eventually("no connection but the one that asks", || stats(&server)["connections"] == 1);
    let stats = stats(&server);
    let channels = stats["list"].as_array().expect("a list");
    assert_eq!(channels.len(), CHANNELS);
    assert!(channels.iter().all(|channel| channel["subscribers"] == 0), "{stats}");
    assert_eq!(stats["gaps"], 0);
    eventually("no descriptor is leaked", || descriptors(&server) <= before);
}
