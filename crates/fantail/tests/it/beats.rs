//! Heartbeats in proxied streams: their bytes, and where they are and are not.

use std::time::Duration;

use crate::client::{Client, End, request};
use crate::relay::{EVENTS, LAST, begun, chunk};
use crate::upstream::{Upstream, proxied};

const OFTEN: &str = "ping = '20ms'";
/// Many times that.
const SILENCE: Duration = Duration::from_millis(200);
const BEAT: &[u8] = b": hb\n";

/// Reads chunks up to the first that is no heartbeat.
fn next_word(client: &mut Client) -> Result<Vec<u8>, End> {
    loop {
        match client.read_chunk() {
            Ok(beat) if beat == BEAT => {}
            other => return other,
        }
    }
}

#[test]
fn beats_come_between_events_as_one_comment_each() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, OFTEN, "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    let client = &mut stream.client;
    for event in ["data: a\n\n", "data: b\r\r", "id: 7\r\n\r\n", ": comment\n", "\n"] {
        peer.send(chunk(event));
        assert_eq!(next_word(client), Ok(event.into()));
        for _ in 0..3 {
            assert_eq!(client.read_chunk(), Ok(BEAT.to_vec()));
        }
    }
    peer.send(LAST);
    assert_eq!(next_word(client), Err(End::Said));
}

#[test]
fn beats_never_stand_in_front_of_the_first_byte() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, OFTEN, "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    assert!(stream.client.is_silent_for(SILENCE));
    // A byte order mark counts only there.
    peer.send(chunk("\u{feff}"));
    assert_eq!(stream.chunk(), Ok("\u{feff}".into()));
    assert!(stream.client.is_silent_for(SILENCE));
    peer.send(chunk("data: a\n\n"));
    assert_eq!(stream.event().data, "a");
    assert_eq!(stream.chunk(), Ok(BEAT.to_vec()));
}

#[test]
fn beats_never_stand_within_an_event_however_long_it_takes() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, OFTEN, "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    let client = &mut stream.client;
    peer.send(chunk("\n"));
    assert_eq!(next_word(client), Ok(b"\n".to_vec()));
    for part in ["id: 1\n", "da", "ta: a\r", "\n", ": comment\n", "data: b\n"] {
        peer.send(chunk(part));
        assert_eq!(next_word(client), Ok(part.into()));
        assert!(client.is_silent_for(SILENCE), "behind {part:?}");
    }
    peer.send(chunk("\n"));
    assert_eq!(client.read_chunk(), Ok(b"\n".to_vec()));
    assert_eq!(client.read_chunk(), Ok(BEAT.to_vec()), "but they do behind it");
}

#[test]
fn beats_can_be_turned_off() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, "ping = '0s'", "");
    let (mut stream, mut peer) = begun(&server, &upstream);
    peer.send(chunk("data: a\n\n"));
    assert_eq!(stream.event().data, "a");
    assert!(stream.client.is_silent_for(SILENCE));
}

#[test]
fn beats_come_as_well_while_the_request_is_still_being_sent() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, OFTEN, "");
    let mut client = server.public();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    let mut peer = upstream.accept();
    peer.read_until(b"hello");
    peer.send(EVENTS);
    assert_eq!(client.read_head().get("x-accel-buffering"), Some("no"));
    assert!(client.is_silent_for(SILENCE), "not in front of the first byte");
    peer.send(chunk("data: a\n"));
    assert_eq!(client.read_chunk(), Ok(b"data: a\n".to_vec()));
    assert!(client.is_silent_for(SILENCE), "not within an event");
    peer.send(chunk("\n"));
    assert_eq!(client.read_chunk(), Ok(b"\n".to_vec()));
    assert_eq!(client.read_chunk(), Ok(BEAT.to_vec()));
    client.send("world");
    assert_eq!(peer.read(5), b"world");
    peer.send(LAST);
    assert_eq!(next_word(&mut client), Err(End::Said));
}

#[test]
fn beats_are_for_the_answers_of_any_method() {
    let upstream = Upstream::listen();
    let server = proxied(&upstream, OFTEN, "");
    let mut client = server.public();
    client.send(request("POST", "/", &[], b"{}"));
    let mut peer = upstream.accept();
    peer.read_until(b"{}");
    peer.send([EVENTS.as_bytes(), &chunk("data: a\n\n")].concat());
    client.read_head();
    assert_eq!(client.read_chunk(), Ok(b"data: a\n\n".to_vec()));
    assert_eq!(client.read_chunk(), Ok(BEAT.to_vec()));
}
