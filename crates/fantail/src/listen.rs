//! Listeners: accepting, a connection's life in HTTP, its way out to a shard and back, and the stop.

mod connection;
mod sockets;
mod wire;

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::config::{Door, Listen};
use crate::http::live::Live;
use crate::metrics::{self, Metrics};
pub use connection::Connections;
use connection::Past;
pub use sockets::{Refused, Sockets};

/// How long to wait after an accept that failed for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(50);

/// What all connections share.
pub struct Shared {
    /// The routes.
    pub live: Arc<Live>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// A place for each connection to the public listener that there may be, streams included.
    pub public_places: Arc<Semaphore>,
    /// The same for the control listener, so that it is never full of browsers.
    pub control_places: Arc<Semaphore>,
    /// How long a peer may leave sent data unacknowledged.
    pub user_timeout: Duration,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
    /// What one connection may cost.
    pub settings: Listen,
}

/// Accepts until the server stops, at the address of that number.
pub async fn accept(listener: StdListener, door: Door, number: usize, shared: Arc<Shared>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let connections = Arc::new(Connections::new(door, number, Arc::clone(&shared)));
    let mut stopping = shared.stopping.clone();
    let http = &shared.metrics.http;
    let places = match door {
        Door::Public => &shared.public_places,
        Door::Control => &shared.control_places,
    };
    loop {
        let accepted = tokio::select! {
            biased;
            // An error means that whoever could stop us is gone.
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                metrics::add(&http.accept_errors, 1);
                if is_exhaustion(&error) {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(BREATH).await;
                }
                continue;
            }
        };
        metrics::add(&http.accepted, 1);
        // What clients of proxy routes need of servers counts as well; the control listener has descriptors of its own.
        let has_room = door == Door::Control || shared.live.now().proxy().has_room();
        let Some(place) = Arc::clone(places).try_acquire_owned().ok().filter(|_| has_room) else {
            metrics::add(&http.connections_refused, 1);
            refuse(&socket);
            continue;
        };
        // Only a latency: a socket that cannot do it still works.
        let _ = socket.set_nodelay(true);
        if let Err(error) = doubt_silence(&socket, shared.user_timeout) {
            tracing::debug!(%error, %peer, "cannot set a socket's timeouts");
        }
        Arc::clone(&connections).serve(socket, peer, place, Past::default());
    }
}

/// Lets a peer that vanished without a word be found out.
fn doubt_silence(socket: &TcpStream, timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_user_timeout(Some(timeout))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(timeout).with_interval(timeout / 4))
}

/// Says, without waiting, that there are too many.
fn refuse(socket: &TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
        Content-Type: application/json\r\nContent-Length: 57\r\n\r\n\
        {\"error\":\"too many connections (see listen.connections)\"}";
    // A new socket's buffer is empty; if it takes nothing all the same, closing says enough.
    let _ = socket.try_write(ANSWER);
}

/// Whether waiting helps: the others are about this one connection.
fn is_exhaustion(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
