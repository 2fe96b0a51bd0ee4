//! One connection's life: HTTP until a request asks for the socket, then a shard; and back, where the request was one that
//! waits for a single answer.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::Bytes;
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
use crate::fanout::{Answer, Attach, Errand, TakeBack};
use crate::http::takeover::{self, Client, Slot, Subscriber, Takeover};
use crate::metrics;

/// How the connections of one listener are served.
pub struct Connections {
    door: Door,
    shared: Arc<Shared>,
    http: http1::Builder,
    runtime: Handle,
}

impl Connections {
    /// To be made within the runtime that is to serve them.
    pub(super) fn new(door: Door, shared: Arc<Shared>) -> Self {
        let settings = &shared.settings;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            // Also the longest wait for another request; the first has a timeout of its own.
            .header_read_timeout(settings.idle_timeout.get())
            .max_header_size(settings.head_size.bytes())
            .max_headers(settings.headers)
            .half_close(false);
        Self { door, shared, http, runtime: Handle::current() }
    }

    /// Serves a connection in a task of its own. One that comes back from a shard brings what was read of it `early`.
    pub(super) fn serve(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, mut place: Place, early: Option<Bytes>) {
        let runtime = self.runtime.clone();
        // If it was a stream, it is one no longer.
        place.rise();
        runtime.spawn(async move {
            let connections = &self.shared.app.metrics().http.connections;
            metrics::add(connections, 1);
            let slot = Arc::new(Slot::new(peer));
            let taken = self.speak(socket, peer, &slot, early).await;
            metrics::take(connections, 1);
            if let Some((takeover, socket, unread)) = taken {
                place.sit(slot.take_seat());
                self.hand_over(*takeover, socket, peer, slot.client(), place, unread);
            }
        });
    }

    /// Speaks HTTP until the connection is over or its socket is asked for.
    async fn speak(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        slot: &Arc<Slot>,
        early: Option<Bytes>,
    ) -> Option<(Box<Takeover>, TcpStream, Bytes)> {
        let asked = AtomicBool::new(early.is_some());
        let early = early.unwrap_or_default();
        let service = service_fn(|request| {
            asked.store(true, Ordering::Relaxed);
            let (app, door) = (&self.shared.app, self.door);
            async move { Ok::<_, Infallible>(app.answer(door, slot, request).await) }
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
            if !asked.load(Ordering::Relaxed) && first.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await?;
        let parts = connection.into_parts()?;
        let early = parts.io.into_inner().into_early();
        // Not as they are: they would keep all that was read before alive.
        let unread = [parts.read_buf, early].concat().into();
        Some((Box::new(takeover), line.into_socket()?, unread))
    }

    fn hand_over(
        self: Arc<Self>,
        takeover: Takeover,
        socket: TcpStream,
        peer: SocketAddr,
        client: SocketAddr,
        permit: Place,
        unread: Bytes,
    ) {
        match takeover {
            Takeover::Subscriber(subscriber) => self.subscribe(subscriber, socket, peer, client, permit, unread),
            Takeover::Guest(guest) => {
                let back = Box::new(move |socket, place, early| self.serve(socket, peer, place, Some(early)));
                guest(Client { socket, early: unread, place: permit, back });
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
        unread: Bytes,
    ) {
        let socket = match socket.into_std() {
            Ok(socket) => socket,
            Err(error) => return tracing::warn!(%error, %peer, "a socket could not leave HTTP"),
        };
        let Subscriber { plan, style, framing, presence, errand } = subscriber;
        let shards = Arc::clone(&self.shared.app);
        let errand = match errand {
            takeover::Errand::Stream => Errand::Stream,
            takeover::Errand::Answer { wait, keep_alive, response } => {
                let back = keep_alive.then(|| -> TakeBack {
                    Box::new(move |socket, permit| self.take_back(socket, peer, permit, unread))
                });
                Errand::Answer(Box::new(Answer { wait, response, back }))
            }
        };
        shards.shards().attach(Attach {
            socket,
            peer: client,
            permit,
            plan,
            style,
            framing,
            identity: None,
            presence,
            errand,
        });
    }

    /// Serves a socket that comes back from a shard.
    fn take_back(self: Arc<Self>, socket: std::net::TcpStream, peer: SocketAddr, place: Place, early: Bytes) {
        let _within = self.runtime.enter();
        match TcpStream::from_std(socket) {
            Ok(socket) => Arc::clone(&self).serve(socket, peer, place, Some(early)),
            Err(error) => tracing::warn!(%error, %peer, "a socket could not come back to HTTP"),
        }
    }
}
