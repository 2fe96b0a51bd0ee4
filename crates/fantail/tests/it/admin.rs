//! What the server tells of itself, and what an administrator may do.

use std::collections::HashSet;

use crate::server::{TestServer, eventually};

#[test]
fn info_of_channels_counts_what_they_hold() {
    let server = TestServer::start("hub.messages = 2");
    let _two = [server.public().subscribe("/sub/a"), server.public().subscribe("/sub/a/b")];
    server.until_stat("subscriptions", 3);
    let ids: Vec<_> = (0..3).map(|_| server.publish("a", "hello")).collect();
    let offset = |at: usize| ids[at].rsplit_once('.').unwrap().1;
    let stats = server.control().get("/stats/a").json();
    let info = server.control().get("/pub/a/b/nobody").json();
    assert_eq!(info["channels"].as_array().unwrap().len(), 2);
    assert_eq!(info["channels"][0], stats);
    let mut fields: Vec<_> = stats.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["bytes", "channel", "ended", "floor", "messages", "offset", "published", "subscribers"]);
    assert_eq!((&stats["channel"], &stats["subscribers"], &stats["messages"]), (&"a".into(), &2.into(), &2.into()));
    assert_eq!((&stats["offset"], &stats["floor"]), (&offset(2).into(), &offset(0).into()));
    assert_eq!((&stats["published"], &stats["ended"]), (&3.into(), &false.into()));
    for path in ["/stats/nobody", "/pub/nobody"] {
        let answer = server.control().get(path);
        assert_eq!((answer.status, answer.error()), (404, "there is no channel \"nobody\"".into()));
    }
    assert_eq!(server.control().get("/stats/ALL").status, 400);
    assert_eq!(server.control().get("/stats/%C3%BC").status, 404);
    let head = server.control().request("HEAD", "/pub/a", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn stats_count_and_list_channels() {
    let server = TestServer::start("");
    let _one = server.public().subscribe("/sub/room.1/room.2");
    server.until_stat("subscriptions", 2);
    server.publish("room.1", "x");
    server.publish("other", "x");
    let stats = server.control().get("/stats").json();
    for (name, value) in
        [("subscribers", 1), ("subscriptions", 2), ("channels", 3), ("published", 2), ("gaps", 0), ("blocked", 0)]
    {
        assert_eq!(stats[name], value, "{name}: {stats}");
    }
    eventually("the delivery is counted", || server.stat("delivered") == 1);
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"));
    assert!(stats["journal"].as_str().unwrap().starts_with("memory:"));
    assert!(stats["epoch"].is_string() && stats["uptime_seconds"].is_u64() && stats["bytes"].as_u64().unwrap() > 0);
    assert_eq!(stats["slowest"].as_array().unwrap().len(), 0);
    assert!(stats.get("list").is_none());
    let list = |query: &str| -> Vec<String> {
        let stats = server.control().get(&format!("/stats?{query}")).json();
        stats["list"].as_array().unwrap().iter().map(|one| one["channel"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list("list=10"), ["room.1", "room.2", "other"], "most subscribers first");
    assert_eq!(list("list=1"), ["room.1"]);
    assert_eq!(list("list=10&prefix=room."), ["room.1", "room.2"]);
    assert_eq!(list("list=0"), [""; 0]);
    assert_eq!(server.control().get("/stats?list=x").status, 400);
}

#[test]
fn metrics_are_text_that_prometheus_reads() {
    let server = TestServer::start("listen.shards = 2");
    let mut stream = server.public().subscribe("/sub/a");
    server.publish("a", "x");
    stream.event();
    let answer = server.control().get("/metrics");
    assert!(answer.head.get("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    let text = answer.text();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let (mut known, mut seen) = (HashSet::new(), HashSet::new());
    let mut family = ("", "");
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(name.starts_with("fantail_") && !help.is_empty(), "{line}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            assert!(known.insert(name), "{name} is there twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            family = kind.split_once(' ').unwrap();
            assert!(known.contains(family.0) && matches!(family.1, "counter" | "gauge"), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = name.split_once('{').unwrap_or((name, ""));
            let expected = format!("{}{}", family.0, if family.1 == "counter" { "_total" } else { "" });
            assert_eq!(name, expected, "{line}");
            let labelled = labels.starts_with("reason=\"") || matches!(labels, "shard=\"0\"}" | "shard=\"1\"}");
            assert!(labels.is_empty() || labelled, "{line}");
            assert!(seen.insert((name, labels)), "{line} is there twice");
            value.parse::<u64>().unwrap();
        }
    }
    assert!(seen.len() > 40, "{}", seen.len());
    assert_eq!((server.metric("fantail_published_total"), server.metric("fantail_subscribers")), (1, 1));
    eventually("the delivery is counted", || server.metric("fantail_deliveries_total") == 1);
}

#[test]
fn health_and_page_are_there() {
    let server = TestServer::start("");
    let mut client = server.control();
    assert_eq!(client.get("/healthz").text(), "ok\n");
    assert_eq!(client.get("/readyz").text(), "{\"ready\":true}\n");
    let page = client.get("/");
    assert_eq!((page.status, page.head.get("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().to_ascii_lowercase().starts_with("<!doctype html>"));
    for path in ["/healthz", "/readyz", "/", "/stats", "/metrics", "/stats/a"] {
        let answer = client.request("POST", path, &[], b"");
        assert_eq!((answer.status, answer.head.get("allow")), (405, Some("GET, HEAD")), "{path}");
        let head = client.request("HEAD", path, &[], b"");
        assert_eq!(head.status, if path == "/stats/a" { 404 } else { 200 }, "{path}");
    }
}

#[test]
fn slowest_are_named_and_exactly_one_is_ended() {
    let server = TestServer::start(
        "[stream]\nsend_buffer = '4KiB'\nstall_limit = '1h'\n[hub]\nbytes = '64MiB'\nmemory = '256MiB'",
    );
    let slow = server.public().subscribe("/sub/a/b");
    let slow_too = server.public().subscribe("/sub/a");
    let mut quick = server.public().subscribe("/sub/a");
    server.until_stat("subscribers", 3);
    let large = "x".repeat(1 << 20);
    let mut sent = 0;
    eventually("two sockets are full", || {
        server.publish("a", &large);
        sent += 1;
        assert_eq!(quick.event().data.len(), large.len());
        server.stat("blocked") == 2
    });
    server.publish("b", "more");
    let stats = server.control().get("/stats").json();
    let slowest = stats["slowest"].as_array().unwrap();
    assert_eq!(slowest.len(), 2, "{stats}");
    let peer = slow.client.socket.local_addr().unwrap().to_string();
    let named = slowest.iter().find(|one| one["peer"] == peer.as_str()).unwrap();
    assert_eq!(named["channels"], serde_json::json!(["a", "b"]));
    assert!(named["behind_messages"].as_u64().unwrap() >= 1 && named["behind_bytes"].as_u64().unwrap() > 0, "{named}");
    assert!(named["blocked_ms"].is_u64() && named.get("identity").is_none());
    let id = named["id"].as_str().unwrap();
    let mut control = server.control();
    assert_eq!(control.request("GET", &format!("/subscribers/{id}/end"), &[], b"").head.get("allow"), Some("POST"));
    let ended = control.request("POST", &format!("/subscribers/{id}/end"), &[], b"");
    assert_eq!((ended.status, ended.json()["ended"].as_str()), (200, Some(id)));
    server.until_stat("subscribers", 2);
    assert_eq!(control.request("POST", &format!("/subscribers/{id}/end"), &[], b"").status, 404, "it is gone");
    let left = control.get("/stats").json()["slowest"].as_array().unwrap().clone();
    assert_eq!(left.len(), 1);
    let peer = slow_too.client.socket.local_addr().unwrap().to_string();
    assert_eq!(left[0]["peer"], peer.as_str());
    // The other slow one lost nothing.
    let mut slow_too = slow_too;
    assert_eq!(slow_too.data(sent).iter().map(String::len).collect::<Vec<_>>(), vec![large.len(); sent]);
    server.publish("a", "after");
    assert_eq!((quick.event().data, slow_too.event().data), ("after".into(), "after".into()));
    for unknown in ["0-999999", "99-1", "x", "0-", "-", "0-1-1", "0-18446744073709551616"] {
        let answer = control.request("POST", &format!("/subscribers/{unknown}/end"), &[], b"");
        assert_eq!(answer.status, 404, "{unknown}");
    }
    drop(slow);
}
