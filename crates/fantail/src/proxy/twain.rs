//! HTTP/2 to a server that is configured for it, in clear text with prior knowledge (RFC 9113 §3.3): one connection, many
//! exchanges. hyper speaks it; here it is only opened, shared, and opened again when it is gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;

use super::failure::Failure;
use super::server::Server;

/// A request's body, or none.
#[derive(Debug)]
pub(super) struct Outbound {
    body: Option<Incoming>,
    /// Dropped with it, which tells that the library needs no more of it.
    _over: oneshot::Sender<Infallible>,
}

/// Ends when a body has been sent, or will not be.
pub(super) type Sent = oneshot::Receiver<Infallible>;

impl Outbound {
    pub(super) fn new(body: Option<Incoming>) -> (Self, Sent) {
        let (over, sent) = oneshot::channel();
        (Self { body, _over: over }, sent)
    }
}

impl http_body::Body for Outbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// The connection to one server.
#[derive(Debug, Default)]
pub(super) struct Twain {
    /// Held while it is being opened, so that a crowd opens one.
    sender: Mutex<Option<SendRequest<Outbound>>>,
}

impl Twain {
    /// Sends a request and waits for the head of its answer.
    ///
    /// CANCEL SAFETY: dropping it resets the stream.
    pub(super) async fn send(
        &self,
        server: &Arc<Server>,
        request: Request<Outbound>,
    ) -> Result<Response<Incoming>, Failure> {
        let failed = |source| Failure::Http2 { server: server.label().to_owned(), source };
        let mut sender = self.sender(server).await?;
        sender.ready().await.map_err(failed)?;
        let limit = server.limits.first_byte;
        match timeout(limit, sender.send_request(request)).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(Failure::FirstByte(limit)),
        }
    }

    async fn sender(&self, server: &Arc<Server>) -> Result<SendRequest<Outbound>, Failure> {
        let mut held = self.sender.lock().await;
        if let Some(sender) = held.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let socket = server.connect().await?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new());
        let opened = builder.handshake(TokioIo::new(socket)).await;
        let (sender, connection) =
            opened.map_err(|source| Failure::Http2 { server: server.label().to_owned(), source })?;
        let label = server.label().to_owned();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(server = label, %error, "an HTTP/2 connection ended");
            }
        });
        *held = Some(sender.clone());
        Ok(sender)
    }
}
