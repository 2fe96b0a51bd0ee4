//! Frames of WebSockets that subscribe and publish, behind a proper handshake.

use crate::server::{Client, running};

const HANDSHAKE: &[u8] = b"GET /ws?id=a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The bytes are frames as they come; to be of use to the fuzzer, they need no mask that fits.
pub fn run(bytes: &[u8]) {
    let mut client = Client::connect(running(1).public);
    client.say(HANDSHAKE);
    // A client that says no more before it is answered is not.
    client.hear_head();
    client.say(bytes);
    let answer = client.rest();
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{:?}", String::from_utf8_lossy(&answer));
}
