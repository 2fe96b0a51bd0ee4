//! What is fuzzed: a module for each target, with `run`, which must not panic whatever the bytes are. See docs/security.md.
#![forbid(unsafe_code)]

pub mod client_address;
pub mod config;
pub mod front;
pub mod grip;
pub mod import;
pub mod listener;
pub mod names;
pub mod native;
pub mod proxy_protocol;
pub mod push_stream;
pub mod relayed;
pub mod sse;
pub mod token;
pub mod upstream;
pub mod websocket;

mod server;

use std::sync::LazyLock;

/// Every target by its name.
pub const TARGETS: [(&str, fn(&[u8])); 15] = [
    ("sse", sse::run),
    ("names", names::run),
    ("native", native::run),
    ("grip", grip::run),
    ("relayed", relayed::run),
    ("push_stream", push_stream::run),
    ("import", import::run),
    ("config", config::run),
    ("token", token::run),
    ("client_address", client_address::run),
    ("proxy_protocol", proxy_protocol::run),
    ("front", front::run),
    ("listener", listener::run),
    ("websocket", websocket::run),
    ("upstream", upstream::run),
];

/// Runs the target that the environment names.
///
/// # Panics
/// If it names none, and if the target finds something.
pub fn named(bytes: &[u8]) {
    static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
        let name = std::env::var("FANTAIL_FUZZ").unwrap_or_default();
        let found = TARGETS.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("FANTAIL_FUZZ={name} is no target")).1
    });
    TARGET(bytes);
}

/// Cuts the bytes into so many parts at line breaks of their own kind (0xFF), the last with whatever is left.
fn parts<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut rest = bytes.splitn(N, |&byte| byte == 0xff);
    std::array::from_fn(|_| rest.next().unwrap_or_default())
}

/// Header fields, a line each: name, colon, value. What cannot be a field is left out.
fn fields(bytes: &[u8]) -> http::HeaderMap {
    let mut fields = http::HeaderMap::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = http::HeaderName::from_bytes(&line[..colon]);
        let value = http::HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}
