//! Slow readers: they make neither the process nor the kernel grow, harm nobody, and lose nothing silently.

use std::time::Duration;

use socket2::SockRef;

use crate::client::{Client, End, Part};
use crate::crowd::{Crowd, alone, numbered};
use crate::server::{Process, TestServer, eventually};

/// What the allocator may have kept or given back by chance between two looks at the process.
const CHANCE: u64 = 8 << 20;

/// The process's memory, its share of what it shares included, in bytes.
fn pss(server: &Process) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", server.pid())).expect("a process of our own");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a sum");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// What the kernel keeps between this server and its clients, in bytes: sent and not acknowledged, or received and not read. Of
/// this server alone: other tests have sockets at the same time. What keeping it costs may be twice as much.
fn kernel(server: &Process) -> u64 {
    const LISTENING: &str = "0A";
    let port = format!(":{:04X}", server.public.port());
    let all = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let connections = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|fields| {
        let [_, local, remote, state, ..] = fields.as_slice() else { return false };
        (local.ends_with(&port) || remote.ends_with(&port)) && *state != LISTENING
    });
    let bytes = |hex: &str| u64::from_str_radix(hex, 16).expect("a number of bytes");
    connections.map(|fields| fields[4].split(':').map(bytes).sum::<u64>()).sum()
}

fn stat(server: &Process, name: &str) -> u64 {
    Client::connect(server.control).get("/stats").json()[name].as_u64().expect("a number")
}

fn until_stat(server: &Process, name: &str, value: u64) {
    eventually(&format!("{name} = {value}"), || stat(server, name) == value);
}

/// Publishes these numbers to `a` in one request.
fn publish(client: &mut Client, numbers: std::ops::RangeInclusive<u64>, padding: usize) {
    let count = numbers.clone().count();
    let line = |n| format!("{{\"channel\":\"a\",\"data\":\"{}\"}}\n", numbered("a", n, padding));
    let batch: String = numbers.map(line).collect();
    let answer = client.request("POST", "/pub", &[("Content-Type", "application/x-ndjson")], batch.as_bytes());
    assert_eq!(answer.json()["published"], count, "{answer:?}");
}

#[test]
fn slow_readers_cost_neither_the_process_nor_the_kernel_and_lose_nothing_silently() {
    const SLOW: usize = 1_000;
    const FAST: usize = 2;
    const BATCH: u64 = 200;
    const BATCHES: u64 = 100;
    const TEXT: usize = 1_000;
    let _alone = alone();
    let server =
        Process::start("listen.shards = 2\nhub.messages = 100000\nhub.bytes = '6MiB'\nstream.stall_limit = '10m'");
    let mut publisher = Client::connect(server.control);
    let mut fast = Crowd::new(server.public);
    for _ in 0..FAST {
        fast.join(&["a"], "");
    }
    until_stat(&server, "subscribers", FAST as u64);
    let mut last = 0;
    let mut publish_20_mb = |fast: &mut Crowd| {
        for _ in 0..BATCHES {
            publish(&mut publisher, last + 1..=last + BATCH, TEXT);
            last += BATCH;
            // The next only when they have it: how fast they are is not what is tested.
            fast.pump_until("the fast ones", |fast| fast.members.iter().all(|member| member.has_seen(|_| last)));
        }
        last
    };
    // Once without slow readers, so that what the channel keeps is there already.
    publish_20_mb(&mut fast);
    let before_slow = publish_20_mb(&mut fast);

    let mut slow = Crowd::new(server.public);
    for _ in 0..SLOW {
        slow.join_deaf(&["a"], "", 16 << 10);
    }
    until_stat(&server, "subscribers", (FAST + SLOW) as u64);
    let (process, sockets) = (pss(&server), kernel(&server));
    let last = publish_20_mb(&mut fast);
    until_stat(&server, "blocked", SLOW as u64);
    let process = pss(&server).saturating_sub(process + CHANCE) / SLOW as u64;
    let sockets = kernel(&server).saturating_sub(sockets) / SLOW as u64;
    assert!(process <= 8 << 10, "{process} bytes of the process for each slow reader");
    assert!(sockets <= 128 << 10, "{sockets} bytes wait in the kernel for each slow reader");
    let stats = Client::connect(server.control).get("/stats").json();
    let slowest = &stats["slowest"][0];
    assert!(slowest["behind_messages"].as_u64() > Some(1_000) && slowest["channels"][0] == "a", "{slowest}");

    for at in 0..SLOW {
        slow.begin_reading(at);
    }
    slow.pump_until("the slow ones have caught up", |slow| slow.members.iter().all(|member| member.has_seen(|_| last)));
    let mut told = 0;
    for member in &slow.members {
        let track = &member.tracks[0];
        assert_eq!(track.first, Some(before_slow + 1), "live from its start");
        // What filled the socket, a hole (or some, where the kernel made a little room in between), and all that is kept.
        let (Some(first), Some(newest)) = (track.holes.first(), track.holes.last()) else { panic!("20 MB do not fit") };
        assert!(first.from.is_some_and(|from| from > before_slow + 1), "what fitted was delivered");
        assert!(newest.to + 3_000 < last, "only {} of what is kept", last - newest.to);
        told += track.holes.len() as u64;
    }
    assert_eq!(stat(&server, "gaps"), told);
    until_stat(&server, "blocked", 0);
    assert_eq!(stat(&server, "stalled"), 0);
    assert!(fast.members.iter().all(|member| member.tracks[0].holes.is_empty()));
}

#[test]
fn slow_readers_of_large_messages_share_one_rendering() {
    const SLOW: usize = 200;
    const LARGE: usize = 1_000_000;
    let _alone = alone();
    let server = Process::start("listen.shards = 2\nstream.stall_limit = '10m'");
    let mut publisher = Client::connect(server.control);
    // Once without slow readers, so that what the channel and the allocator keep is there already.
    for n in 1..=10 {
        publish(&mut publisher, n..=n, LARGE);
    }
    let mut slow = Crowd::new(server.public);
    for _ in 0..SLOW {
        slow.join_deaf(&["a"], "", 16 << 10);
    }
    until_stat(&server, "subscribers", SLOW as u64);
    let (process, sockets) = (pss(&server), kernel(&server));
    publish(&mut publisher, 11..=11, LARGE);
    until_stat(&server, "blocked", SLOW as u64);
    let one = pss(&server).saturating_sub(process);
    for n in 12..=20 {
        publish(&mut publisher, n..=n, LARGE);
    }
    let ten = pss(&server).saturating_sub(process);
    let sockets = kernel(&server).saturating_sub(sockets) / SLOW as u64;
    assert!(one < 16 << 20, "{one} bytes for one message of 1 MB");
    assert!(ten < 32 << 20, "{ten} bytes for ten messages of 1 MB");
    assert!(sockets <= 128 << 10, "{sockets} bytes wait in the kernel for each slow reader");

    for at in 0..SLOW {
        slow.begin_reading(at);
    }
    slow.pump_until("the slow ones have caught up", |slow| slow.members.iter().all(|member| member.has_seen(|_| 20)));
    for member in &slow.members {
        let track = &member.tracks[0];
        assert_eq!(track.first, Some(11), "the one that was begun is finished");
        assert!(!track.holes.is_empty(), "ten of 1 MB are more than is kept");
    }
}

#[test]
fn slow_reader_that_takes_nothing_is_dropped_and_counted() {
    let server = TestServer::start("stream.stall_limit = '300ms'");
    let mut stuck: Vec<_> = (0..20).map(|_| server.public().subscribe("/sub/a")).collect();
    let mut fast = server.public().subscribe("/sub/a");
    let large = "x".repeat(1 << 20);
    server.publish("a", &large);
    server.publish("a", "behind it");
    assert!(fast.event().data == large);
    assert_eq!(fast.data(1), ["behind it"]);
    server.until_stat("stalled", 20);
    server.until_stat("subscribers", 1);
    assert_eq!(server.stat("blocked"), 0);
    let id = stuck[0].last_event_id();
    let (parts, end) = stuck[0].to_end();
    assert_eq!(end, End::Cut, "half a frame has no last chunk");
    assert!(!parts.iter().any(|part| matches!(part, Part::Event(_))));
    // It comes back as a browser does, and has lost nothing.
    let id = if id.is_empty() { stuck[0].last_event_id() } else { id };
    let mut again = server.public().subscribe_with("/sub/a", &[("Last-Event-ID", &id)]);
    assert!(again.event().data == large);
    assert_eq!(again.data(1), ["behind it"]);
}

/// A reader that takes a little now and then is slow, not stuck.
#[test]
fn slow_reader_that_takes_a_little_is_not_dropped() {
    let server = TestServer::start("stream.stall_limit = '2s'\nstream.send_buffer = '16KiB'\nhub.message = '4MiB'");
    let mut stream = server.public().subscribe("/sub/a");
    SockRef::from(&stream.client.socket).set_recv_buffer_size(32 << 10).expect("a socket");
    let large = "x".repeat(3 << 20);
    server.publish("a", &large);
    server.until_stat("blocked", 1);
    // Longer than the limit in all, and never silent for so long.
    let mut got = Vec::new();
    for _ in 0..12 {
        let mut piece = [0; 16 << 10];
        let n = std::io::Read::read(&mut stream.client.socket, &mut piece).expect("a stream that lasts");
        got.extend_from_slice(&piece[..n]);
        std::thread::sleep(Duration::from_millis(250));
    }
    while !got.ends_with(b"\n\n\r\n") {
        let mut piece = [0; 16 << 10];
        let n = std::io::Read::read(&mut stream.client.socket, &mut piece).expect("a stream that lasts");
        assert!(n > 0, "the stream ended");
        got.extend_from_slice(&piece[..n]);
    }
    assert!(got.len() > large.len());
    assert_eq!(server.stat("stalled"), 0);
}

/// Its patience as a blocked reader must not be its ping interval afterwards.
#[test]
fn slow_reader_that_has_caught_up_is_pinged_again() {
    let server = TestServer::start("stream.ping = '400ms'\nstream.stall_limit = '10m'");
    let mut stream = server.public().subscribe("/sub/a");
    server.publish("a", &"x".repeat(1 << 20));
    server.until_stat("blocked", 1);
    // Beyond the moment at which it would have been pinged.
    std::thread::sleep(Duration::from_secs(1));
    stream.event();
    while stream.part().expect("a stream that lasts") != Part::Comment("ping".to_owned()) {}
}
