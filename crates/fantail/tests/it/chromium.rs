//! A plain `EventSource` in a real Chromium, over a network that is cut, and the pages that come with Fantail.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::browser::{Browser, Event, Report};
use crate::client::Client;
use crate::cut::Cutter;
use crate::relay::{EVENTS, LAST, chunk};
use crate::server::{PATIENCE, Process, TestServer};
use crate::upstream::{Upstream, proxied, values};

/// Browsers come back soon, so that tests do not wait for them.
const SOON: &str = "stream.retry = '50ms'\nstream.retry_jitter = '0s'\n";

/// Publishes and returns the id.
fn publish(control: std::net::SocketAddr, channel: &str, event: &str, data: &str) -> String {
    let headers = [("Event-Type", event)];
    let headers = if event.is_empty() { &[][..] } else { &headers };
    let answer = Client::connect(control).request("POST", &format!("/pub/{channel}"), headers, data.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["published"][0]["id"].as_str().expect("an id").to_owned()
}

fn event(name: &str, data: &str, id: &str) -> Report {
    Report::Event(Event { name: name.into(), data: data.into(), id: id.into() })
}

#[test]
fn chromium_receives_messages_as_they_were_published() {
    let server = TestServer::start("");
    let mut browser = Browser::start();
    let source = browser.subscribe(&format!("http://{}/sub/a/b%20c", server.public), &["tick", "fantail-gap"]);
    assert_eq!(source.next(PATIENCE), Report::Open);
    server.until_stat("subscribers", 1);
    let said = [
        ("a", "", "hello", "hello"),
        ("b%20c", "tick", "named", "named"),
        ("a", "", "one\n\ntwo\n", "one\n\ntwo\n"),
        ("a", "tick", "one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("b%20c", "", "grüße 🦜 : id: 7\ndata: x\n\nevent: y", "grüße 🦜 : id: 7\ndata: x\n\nevent: y"),
        ("a", "", "  led by spaces, with a \0", "  led by spaces, with a \0"),
        ("a", "", "", ""),
        ("a", "unheard", "of", ""),
        ("a", "", "last", "last"),
    ];
    for (channel, name, data, heard) in said {
        let id = publish(server.control, channel, name, data);
        match name {
            "" => assert_eq!(source.next(PATIENCE), event("message", heard, &id)),
            "tick" => assert_eq!(source.next(PATIENCE), event("tick", heard, &id)),
            _ => {}
        }
    }
    browser.close(&source);
    server.until_stat("subscribers", 0);
}

#[test]
fn chromium_cut_off_before_its_first_event_misses_nothing() {
    let server = TestServer::start(SOON);
    server.publish("a", "before");
    // How many bytes a browser gets before the first event: it is cut off exactly there.
    let mut like_it = server.public().subscribe_with("/sub/a", &[("Origin", "http://127.0.0.1:1")]);
    let start = like_it.chunk().expect("the start of a stream");
    let bytes = like_it.head.raw.len() + format!("{:x}", start.len()).len() + 2 + start.len() + 2;
    drop(like_it);
    let cutter = Cutter::start(server.public);
    cutter.cut_after_bytes(bytes as u64);
    let mut browser = Browser::start();
    let source = browser.subscribe(&format!("http://{}/sub/a", cutter.addr()), &["fantail-gap"]);
    assert_eq!(source.next(PATIENCE), Report::Open);
    assert_eq!(source.next(PATIENCE), Report::Retrying);
    cutter.refuse(true);
    cutter.cut_all();
    let id = server.publish("a", "while it was away");
    cutter.cut_after_bytes(u64::MAX);
    cutter.refuse(false);
    let first = source.next_event(PATIENCE);
    assert_eq!(Report::Event(first), event("message", "while it was away", &id));
    let id = server.publish("a", "live");
    assert_eq!(source.next(PATIENCE), event("message", "live", &id));
}

#[test]
fn chromium_cut_off_again_and_again_loses_and_repeats_nothing() {
    const CUTS: usize = 12;
    let server = TestServer::start(SOON);
    let cutter = Cutter::start(server.public);
    let mut browser = Browser::start();
    let source = browser.subscribe(&format!("http://{}/sub/a/b/c?from=start", cutter.addr()), &["fantail-gap"]);
    let enough = Arc::new(AtomicBool::new(false));
    let publisher = {
        let (enough, mut client) = (Arc::clone(&enough), server.control());
        std::thread::spawn(move || {
            let mut n = 0;
            while !enough.load(Ordering::SeqCst) && n < 900 {
                let (channel, data) = (["a", "b", "c"][n % 3], n.to_string());
                let answer = client.request("POST", &format!("/pub/{channel}"), &[], data.as_bytes());
                assert_eq!(answer.status, 200);
                n += 1;
                std::thread::sleep(Duration::from_millis(4));
            }
            n
        })
    };
    let mut next = 0;
    let take = |next: &mut usize| {
        let got = source.next_event(PATIENCE);
        assert_eq!((&*got.name, got.data), ("message", next.to_string()), "in the order of publishing, once each");
        *next += 1;
    };
    for cut in 0..CUTS {
        // Between events, in their middle, and before anything of a new connection has come.
        for _ in 0..cut % 4 * 5 {
            take(&mut next);
        }
        match cut % 3 {
            0 => cutter.cut_after_bytes(400 + 37 * cut as u64),
            1 => cutter.cut_after_bytes(u64::MAX),
            _ => {}
        }
        cutter.cut_all();
    }
    cutter.cut_after_bytes(u64::MAX);
    cutter.cut_all();
    enough.store(true, Ordering::SeqCst);
    let count = publisher.join().expect("all was published");
    while next < count {
        take(&mut next);
    }
    assert_eq!(source.try_next(Duration::from_millis(200)).filter(|said| matches!(said, Report::Event(_))), None);
    assert_eq!(server.stat("gaps"), 0);
}

#[test]
fn chromium_whose_server_was_killed_is_told_of_the_loss_once_a_channel() {
    let config = format!("{SOON}hub.channel_idle = '1h'");
    let mut server = Process::start(&config);
    let (public, control) = (server.public, server.control);
    let cutter = Cutter::start(public);
    let mut browser = Browser::start();
    let source = browser.subscribe(&format!("http://{}/sub/a/b", cutter.addr()), &["fantail-gap"]);
    source.wait_open(PATIENCE);
    let take = || source.next_event(PATIENCE);
    // Open is told with the head; what is published now finds it in its shard.
    crate::server::eventually("it listens", || Client::connect(control).get("/stats").json()["subscribers"] == 1);
    for n in 0..3 {
        for channel in ["a", "b"] {
            let id = publish(control, channel, "", &format!("{channel}{n}"));
            assert_eq!(Report::Event(take()), event("message", &format!("{channel}{n}"), &id));
        }
    }
    server.kill();
    assert_eq!(source.next(PATIENCE), Report::Retrying);
    // On the same ports.
    let server = Process::start_at(&config, public, control);

    let mut gaps: HashMap<String, usize> = HashMap::new();
    let mut gap = |event: &Event| {
        assert_eq!(event.name, "fantail-gap", "{event:?}");
        let data: Value = serde_json::from_str(&event.data).expect("a gap of JSON");
        *gaps.entry(data["channel"].as_str().expect("a channel").to_owned()).or_default() += 1;
    };
    gap(&take());
    gap(&take());
    assert_eq!(gaps, HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)]));
    for round in 0..3 {
        for channel in ["b", "a"] {
            let id = publish(control, channel, "", &format!("new {channel}{round}"));
            assert_eq!(Report::Event(take()), event("message", &format!("new {channel}{round}"), &id));
        }
        // It was told once: coming back tells nothing again.
        cutter.cut_all();
    }
    drop(server);
}

#[test]
fn chromium_told_of_the_end_comes_back_once_and_stops() {
    let server = TestServer::start(SOON);
    let mut browser = Browser::start();
    let source = browser.subscribe(&format!("http://{}/sub/a", server.public), &["fantail-end"]);
    source.wait_open(PATIENCE);
    server.until_stat("subscribers", 1);
    let id = server.publish("a", "one");
    assert_eq!(source.next(PATIENCE), event("message", "one", &id));
    assert_eq!(server.control().request("DELETE", "/pub/a", &[], b"that was all").status, 200);
    let end = source.next_event(PATIENCE);
    assert_eq!((&*end.name, &*end.data), ("fantail-end", "that was all"));
    // The end of the stream, and a 204 to the one that came back.
    assert_eq!(source.next(PATIENCE), Report::Retrying);
    assert_eq!(source.next(PATIENCE), Report::GaveUp);
    server.until_stat("subscribers", 0);
}

#[test]
fn chromium_on_the_control_page_publishes_watches_and_lists() {
    let server = TestServer::start("");
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", server.control));
    browser.wait_until("document.getElementById('server').textContent === 'live'", PATIENCE);
    browser.evaluate(
        "document.getElementById('w-channels').value = 'my news/b';
         document.getElementById('watch').requestSubmit();",
    );
    browser.wait_until("document.getElementById('stream-state').textContent === 'open'", PATIENCE);
    server.until_stat("subscribers", 1);
    browser.evaluate(
        "document.getElementById('p-channel').value = 'my news';
         document.getElementById('p-event').value = 'späte';
         document.getElementById('p-data').value = '<b>bold</b>\\n\\nline';
         document.getElementById('publish').requestSubmit();",
    );
    browser.wait_until("document.querySelector('#stream li pre')?.textContent === '<b>bold</b>\\n\\nline'", PATIENCE);
    assert_eq!(browser.evaluate("document.querySelector('#stream li .badge').textContent"), "späte");
    assert_eq!(browser.evaluate("document.querySelectorAll('#stream b').length"), 0, "data is text, not markup");
    let answer = browser.evaluate("document.getElementById('answer').textContent");
    let answer = answer.as_str().expect("a text");
    assert!(answer.starts_with("my news: offset 1, id ~1.") && answer.ends_with("1 subscriber"), "{answer}");
    // Both are listed, with their subscriber.
    let listed = "[...document.querySelectorAll('#channels tr')].map((row) => [...row.cells].slice(0, 3)\
         .map((cell) => cell.textContent.replace('ended', '').trim()).join()).join(';') === 'b,1,0;my news,1,1'";
    browser.wait_until(listed, PATIENCE);
    // From another publisher, too.
    server.publish("b", "from outside");
    browser.wait_until("document.querySelector('#stream li pre').textContent === 'from outside'", PATIENCE);
    // A refusal is shown with its reason.
    browser.evaluate(
        "document.getElementById('p-channel').value = 'ALL';
         document.getElementById('publish').requestSubmit();",
    );
    browser.wait_until("document.getElementById('answer').textContent.startsWith('400 ')", PATIENCE);
}

#[test]
fn chromium_shows_the_demo() {
    let server = TestServer::start("");
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/index.html");
    let page = std::fs::read_to_string(demo).expect("the demo");
    assert!(page.contains("http://127.0.0.1:8080/sub/news"), "the demo listens where the defaults are");
    let page = page.replace("127.0.0.1:8080", &server.public.to_string());
    let mut file = tempfile::Builder::new().suffix(".html").tempfile().expect("a temporary file");
    std::io::Write::write_all(&mut file, page.as_bytes()).expect("room for a page");
    let mut browser = Browser::start();
    browser.open(&format!("file://{}", file.path().display()));
    browser.wait_until("document.getElementById('state').textContent === 'connected'", PATIENCE);
    server.until_stat("subscribers", 1);
    server.publish("news", "hello, world");
    browser.wait_until("document.querySelector('#news li')?.textContent === 'hello, world'", PATIENCE);
}

#[test]
fn chromium_comes_back_through_the_proxy_with_the_id_it_saw() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "ping = '20ms'\nset_response = { 'Access-Control-Allow-Origin' = '*' }", "");
    let mut browser = Browser::start();
    let source = browser.subscribe(&format!("http://{}/events", server.public), &[]);
    let mut peer = upstream.accept();
    assert!(values(&peer.read_head(), "last-event-id").is_empty());
    peer.send(EVENTS);
    assert_eq!(source.next(PATIENCE), Report::Open);
    peer.send(chunk("\u{feff}retry: 50\nid: \u{2026}7\ndata: one\n\n"));
    assert_eq!(source.next(PATIENCE), event("message", "one", "\u{2026}7"));
    // Heartbeats come meanwhile; nobody hears of them.
    std::thread::sleep(Duration::from_millis(100));
    peer.send([&chunk("data: two\n\n")[..], LAST.as_bytes()].concat());
    assert_eq!(source.next(PATIENCE), event("message", "two", "\u{2026}7"));
    assert_eq!(source.next(PATIENCE), Report::Retrying);
    // Over the connection that was kept: the id's bytes are those that were sent.
    peer.read_until(b"last-event-id: ");
    assert_eq!(peer.read_until(b"\r\n"), "\u{2026}7\r\n".as_bytes());
    peer.read_until(b"\r\n\r\n");
    peer.send([EVENTS.as_bytes(), &chunk("id: 8\ndata: three\n\n")].concat());
    assert_eq!(source.next(PATIENCE), Report::Open);
    assert_eq!(source.next(PATIENCE), event("message", "three", "8"));
    browser.close(&source);
    peer.ended();
}
