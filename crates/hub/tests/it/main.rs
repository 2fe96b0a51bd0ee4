//! The engine against a plain model of it, and under threads. Knows only the public API.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod archive;
mod book;
mod client;
mod directed;
mod dress;
mod far;
mod history;
mod model;
mod ops;
mod stress;

use std::task::{Context, Poll, Waker};

use fantail_hub::{Batch, Gathered};

/// What a future of the hub over the memory journal yields: it never has to wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory journal does not wait"),
    }
}

/// What was gathered over the memory journal: there is nothing behind the tails.
fn due_of(gathered: Gathered) -> Option<Batch> {
    match gathered {
        Gathered::Nothing => None,
        Gathered::Due(batch) => Some(batch),
        Gathered::Behind => panic!("the memory journal has no pages"),
    }
}
