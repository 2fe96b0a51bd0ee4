//! Listeners: accepting, a connection's life in HTTP, its way out to a shard and back, and the stop.

mod connection;
mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::admission::{Place, Turned};
use crate::config::{Door, Listen};
use crate::http::App;
use crate::metrics;
pub use connection::Connections;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
/// How long to wait after an accept that failed for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(50);

/// Opens a listening socket.
///
/// # Errors
/// If the address is taken or not ours.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What all connections share.
pub struct Shared {
    /// The routes.
    pub app: Arc<App>,
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

/// Accepts until the server stops.
pub async fn accept(listener: StdListener, door: Door, shared: Arc<Shared>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let connections = Arc::new(Connections::new(door, Arc::clone(&shared)));
    let mut stopping = shared.stopping.clone();
    let (http, admission) = (&shared.app.metrics().http, shared.app.admission());
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
        let has_room = door == Door::Control || shared.app.proxy().has_room();
        let place = Arc::clone(places).try_acquire_owned().ok().filter(|_| has_room).ok_or(Turned::Places);
        let place = place.inspect_err(|turned| admission.turn_away(peer.ip(), *turned)).and_then(|place| {
            // Nobody is kept from operating the server by what they do as a client.
            if door == Door::Control {
                Ok(place.into())
            } else {
                Ok(Place::new(place, admission.connection(peer.ip())?))
            }
        });
        let place = match place {
            Ok(place) => place,
            Err(turned) => {
                metrics::add(&http.connections_refused, 1);
                refuse(&socket, turned);
                continue;
            }
        };
        // Only a latency: a socket that cannot do it still works.
        let _ = socket.set_nodelay(true);
        if let Err(error) = doubt_silence(&socket, shared.user_timeout) {
            tracing::debug!(%error, %peer, "cannot set a socket's timeouts");
        }
        Arc::clone(&connections).serve(socket, peer, place, None);
    }
}

/// Lets a peer that vanished without a word be found out.
fn doubt_silence(socket: &TcpStream, timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_user_timeout(Some(timeout))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(timeout).with_interval(timeout / 4))
}

/// Says, without waiting, why a connection is not served.
fn refuse(socket: &TcpStream, turned: Turned) {
    // A new socket's buffer is empty; if it takes nothing all the same, closing says enough.
    let _ = socket.try_write(&refusal(turned));
}

fn refusal(turned: Turned) -> Vec<u8> {
    let status = if turned.blames_client() { "429 Too Many Requests" } else { "503 Service Unavailable" };
    let (seconds, why) = (turned.retry_seconds(), format!("{{\"error\":\"{turned}\"}}\n"));
    format!(
        "HTTP/1.1 {status}\r\nRetry-After: {seconds}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{why}",
        why.len()
    )
    .into_bytes()
}

/// Whether waiting helps: the others are about this one connection.
fn is_exhaustion(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
