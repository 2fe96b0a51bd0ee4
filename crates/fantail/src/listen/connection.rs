//! One connection's life: HTTP until a request asks for the socket, then a shard; and back, where the request was one that
//! waits for a single answer.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::Shared;
use super::patience::Patience;
use super::wire::{Line, Wire};
use crate::admission::Place;
use crate::config::Door;
use crate::fanout::{Answer, Attach, Back, Errand};
use crate::http::takeover::{self, Client, Slot, Subscriber, Takeover};
use crate::metrics;

/// How the connections of one listener are served.
pub struct Connections {
    door: Door,
    /// Which address of the listener it is.
    number: usize,
    shared: Arc<Shared>,
    http: http1::Builder,
    runtime: Handle,
}

/// What a connection brings that has been in HTTP before.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// How many requests were answered on it.
    requests: usize,
    /// What was read of the next.
    early: Bytes,
    /// It was in a shard.
    tuned: bool,
}

/// Lets a request be one after which its client closes the connection. What answers it outside of HTTP then closes it as well.
fn close_after<B>(request: &mut Request<B>) {
    // An upgrade has no request behind it. What else the field lists belongs to this connection, and still is to go no further.
    if !request.headers().contains_key(UPGRADE) {
        request.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
    }
}

impl Connections {
    /// To be made within the runtime that is to serve them.
    pub(super) fn new(door: Door, number: usize, shared: Arc<Shared>) -> Self {
        let settings = &shared.settings;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            // Also the longest wait for another request; the first has a timeout of its own.
            .header_read_timeout(settings.idle_timeout.get())
            .max_header_size(settings.head_size.bytes())
            .max_headers(settings.headers)
            .half_close(false);
        Self { door, number, shared, http, runtime: Handle::current() }
    }

    /// Serves a connection in a task of its own. One that comes back from a shard has a past.
    pub(super) fn serve(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, mut place: Place, past: Past) {
        let runtime = self.runtime.clone();
        // If it was a stream, it is one no longer.
        place.rise();
        runtime.spawn(async move {
            let connections = &self.shared.metrics.http.connections;
            metrics::add(connections, 1);
            let slot = Arc::new(Slot::new(peer, self.number));
            let taken = self.speak(socket, peer, &slot, past).await;
            metrics::take(connections, 1);
            if let Some((takeover, socket, past)) = taken {
                place.sit(slot.take_seat());
                self.hand_over(*takeover, socket, peer, slot.client(), place, past);
            }
        });
    }

    /// Speaks HTTP until the connection is over or its socket is asked for.
    async fn speak(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        slot: &Arc<Slot>,
        past: Past,
    ) -> Option<(Box<Takeover>, TcpStream, Past)> {
        let Past { requests, early, tuned } = past;
        let asked = AtomicUsize::new(requests);
        let most = self.shared.settings.requests;
        let service = service_fn(|mut request| {
            let is_last = asked.fetch_add(1, Ordering::Relaxed) + 1 == most;
            if is_last {
                close_after(&mut request);
            }
            let (app, door) = (self.shared.live.now(), self.door);
            async move {
                let mut response = app.answer(door, slot, request).await;
                if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let line = Line::new(socket);
        let wire = TokioIo::new(Wire::new(Arc::clone(&line), Arc::clone(slot), early));
        let mut connection = self.http.serve_connection(wire, service).with_upgrades();
        let mut first = pin!(tokio::time::sleep(self.shared.settings.head_timeout.get()));
        let mut stopping = self.shared.stopping.clone();
        let mut told = false;
        let mut stop = pin!(stopping.wait_for(|stopping| *stopping));
        let mut patience = Patience::new(self.shared.answer_rate);
        let takeover = poll_fn(|cx| {
            if !told && stop.as_mut().poll(cx).is_ready() {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            let spoken = Pin::new(&mut connection).poll(cx);
            line.say(&slot.take_interim());
            // Whatever hyper thinks of the rest: what was answered is sent.
            let sent = line.poll_send(cx);
            if let Poll::Ready(result) = spoken {
                if let Err(error) = result {
                    tracing::debug!(%error, %peer, "connection ended");
                }
                return Poll::Ready(None);
            }
            match sent {
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Ready(Ok(())) => {
                    patience = Patience::new(self.shared.answer_rate);
                    if let Some(takeover) = slot.take() {
                        return Poll::Ready(Some(takeover));
                    }
                }
                Poll::Pending => {
                    if patience.poll(cx, line.sent()).is_ready() {
                        return Poll::Ready(None);
                    }
                }
            }
            if slot.is_watched() && line.poll_gone(cx).is_ready() {
                return Poll::Ready(None);
            }
            if asked.load(Ordering::Relaxed) == 0 && first.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await?;
        let parts = connection.into_parts()?;
        let early = parts.io.into_inner().into_early();
        // Not as they are: they would keep all that was read before alive.
        let early = [parts.read_buf, early].concat().into();
        Some((Box::new(takeover), line.into_socket()?, Past { requests: asked.load(Ordering::Relaxed), early, tuned }))
    }

    fn hand_over(
        self: Arc<Self>,
        takeover: Takeover,
        socket: TcpStream,
        peer: SocketAddr,
        client: SocketAddr,
        permit: Place,
        past: Past,
    ) {
        match takeover {
            Takeover::Subscriber(subscriber) => self.subscribe(subscriber, socket, peer, client, permit, past),
            Takeover::Guest(guest) => {
                let Past { requests, early, tuned } = past;
                let back = Box::new(move |socket, place, early| {
                    self.serve(socket, peer, place, Past { requests, early, tuned });
                });
                guest(Client { socket, early, place: permit, back });
            }
        }
    }

    fn subscribe(
        self: Arc<Self>,
        subscriber: Subscriber,
        socket: TcpStream,
        peer: SocketAddr,
        client: SocketAddr,
        permit: Place,
        past: Past,
    ) {
        let socket = match socket.into_std() {
            Ok(socket) => socket,
            Err(error) => return tracing::warn!(%error, %peer, "a socket could not leave HTTP"),
        };
        let Subscriber { plan, style, framing, ticket, presence, errand } = subscriber;
        let (app, tuned) = (self.shared.live.now(), past.tuned);
        let errand = match errand {
            takeover::Errand::Stream => Errand::Stream,
            takeover::Errand::Answer { wait, keep_alive, response } => {
                let back = keep_alive.then(|| {
                    let (called, idle) = (!past.early.is_empty(), self.shared.settings.idle_timeout.get());
                    let take = Box::new(move |socket, permit, request: Bytes| {
                        let early = [past.early, request].concat().into();
                        self.take_back(socket, peer, permit, Past { early, tuned: true, ..past });
                    });
                    Box::new(Back { take, called, idle })
                });
                Errand::Answer(Box::new(Answer { wait, response, back }))
            }
        };
        let peer = client;
        app.shards().attach(Attach { socket, tuned, peer, permit, plan, style, framing, ticket, presence, errand });
    }

    /// Serves a socket that comes back from a shard.
    fn take_back(self: Arc<Self>, socket: std::net::TcpStream, peer: SocketAddr, place: Place, past: Past) {
        let _within = self.runtime.enter();
        match TcpStream::from_std(socket) {
            Ok(socket) => Arc::clone(&self).serve(socket, peer, place, past),
            Err(error) => tracing::warn!(%error, %peer, "a socket could not come back to HTTP"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_request_closes_and_keeps_what_its_connection_field_lists() {
        let after = |fields: &[(&str, &str)]| {
            let mut request = Request::new(());
            for (name, value) in fields {
                let name: http::HeaderName = name.parse().unwrap();
                request.headers_mut().append(name, value.parse().unwrap());
            }
            close_after(&mut request);
            let options = request.headers().get_all(CONNECTION).iter().map(|value| value.to_str().unwrap().to_owned());
            options.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(after(&[]), "close");
        assert_eq!(after(&[("connection", "x-own")]), "x-own, close");
        assert_eq!(after(&[("connection", "upgrade"), ("upgrade", "websocket")]), "upgrade");
    }
}
