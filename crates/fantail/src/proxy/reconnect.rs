//! Where a relayed stream comes from.

use std::task::{Context, Poll};

use super::body::Body;
use super::exchange::Piece;
use super::failure::Failure;

/// The upstream's side of a relay.
#[derive(Debug)]
pub(super) struct Feed {
    body: Body,
}

impl Feed {
    pub(super) fn new(body: Body) -> Self {
        Self { body }
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Poll<Result<Piece<()>, Failure>> {
        self.body.poll_into(cx, room, out)
    }
}
