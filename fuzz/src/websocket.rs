//! Frames of WebSockets that subscribe and publish, behind a proper handshake.

use crate::server::{exchange, running};

const HANDSHAKE: &[u8] = b"GET /ws?id=a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The bytes are frames as they come; to be of use to the fuzzer, they need no mask that fits.
pub fn run(bytes: &[u8]) {
    let answer = exchange(running(1).public, &[HANDSHAKE, bytes]);
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{:?}", String::from_utf8_lossy(&answer));
}
