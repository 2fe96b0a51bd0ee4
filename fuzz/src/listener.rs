//! The listener itself, over real sockets: the connection's life in HTTP, its way to a shard and back.

use crate::server::{exchange, running};

/// The first byte says where what is said is cut into two writes.
pub fn run(bytes: &[u8]) {
    let [cut, said @ ..] = bytes else { return };
    let (first, second) = said.split_at(usize::from(*cut).min(said.len()));
    let answer = exchange(running(1).public, &[first, second]);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answer));
}
