//! `GET /sub/…`: what a stream begins with, how it goes on, and every way to be refused one.

use std::time::Duration;

use crate::client::{End, Part, request};
use crate::server::TestServer;

#[test]
fn stream_head_and_start_are_exactly_these_bytes() {
    let server = TestServer::start("stream.retry_jitter = '0s'");
    let mut stream = server.public().subscribe("/sub/a");
    let mut head: Vec<_> = stream.head.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
    head.retain(|line| !line.starts_with("date: "));
    head.sort();
    assert_eq!(
        head,
        [
            "access-control-allow-origin: *",
            "cache-control: no-store, no-transform",
            "connection: close",
            "content-type: text/event-stream",
            "transfer-encoding: chunked",
            "x-accel-buffering: no",
        ]
    );
    assert!(stream.head.raw.starts_with("HTTP/1.1 200 OK\r\n"));
    let start = String::from_utf8(stream.chunk().unwrap()).unwrap();
    let id = start.strip_prefix("retry: 3000\nid: ~1.").and_then(|rest| rest.strip_suffix(".0\n\n"));
    assert!(id.is_some_and(|epoch| epoch.bytes().all(|b| b.is_ascii_hexdigit())), "{start:?}");

    let id = server.publish("a", "x");
    assert_eq!(String::from_utf8(stream.chunk().unwrap()).unwrap(), format!("id: {id}\ndata: x\n\n"));
}
