//! The one type of response body: bytes, nothing, or the start of a stream whose socket is about to leave HTTP.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::takeover::Slot;
use crate::proxy::{self, Failure};

/// A response's body.
#[derive(Debug)]
pub enum Body {
    /// These bytes, once.
    Full(Bytes),
    /// The first bytes of a stream. Whoever polls for more has been told everything that HTTP has to say: the connection
    /// takes the socket from here.
    Start(Bytes, Arc<Slot>),
    /// As it comes from an upstream.
    Proxied(proxy::Body),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::Full(Bytes::new())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut *self {
            Self::Proxied(body) => Pin::new(body).poll_frame(cx),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Start(bytes, _) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Start(_, slot) => {
                slot.all_said();
                // Nobody is to be woken: the next thing that happens is that this body is dropped.
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::Start(..) => false,
            Self::Proxied(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Start(..) => SizeHint::new(),
            Self::Proxied(body) => body.size_hint(),
        }
    }
}
