//! From a socket that was accepted to a connection that is served, or to one that is told why it is not.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connection::{Connections, Past};
use super::{Shared, proxy_protocol};
use crate::admission::{Place, Turned};
use crate::config::Door;
use crate::metrics;

/// How long to wait after an accept that failed for want of memory, or of a descriptor where none was spared.
const BREATH: Duration = Duration::from_millis(50);
/// Connections that are refused and may take a moment to read why. They come out of the descriptors that are kept for others.
const MOST_FAREWELLS: usize = 32;
/// How long that moment is.
const FAREWELL: Duration = Duration::from_secs(1);
/// What is read of a refused connection and forgotten, at a time, in bytes.
const FORGOTTEN: usize = 16 << 10;

/// The way in of one listener.
pub(super) struct Entrance {
    door: Door,
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    /// A descriptor to give up when there is none for a connection, so that one can be accepted and refused: those that wait
    /// in the kernel's queue are not left without an answer.
    spare: Mutex<Option<File>>,
    farewells: Arc<Semaphore>,
}

impl Entrance {
    /// To be made within the runtime that is to serve.
    pub(super) fn new(door: Door, number: usize, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            door,
            connections: Arc::new(Connections::new(door, number, Arc::clone(&shared))),
            shared,
            spare: Mutex::new(spare()),
            farewells: Arc::new(Semaphore::new(MOST_FAREWELLS)),
        })
    }

    /// Serves a socket, or refuses it, without waiting.
    pub(super) fn enter(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(turned) => {
                self.shared.admission.turn_away(peer.ip(), turned);
                return self.refuse(socket, turned);
            }
        };
        if self.door == Door::Public && self.shared.settings.proxy_protocol {
            let entrance = Arc::clone(self);
            tokio::spawn(async move { entrance.enter_announced(socket, peer, permit).await });
        } else {
            self.serve(socket, peer, permit);
        }
    }

    /// A place among all. What clients of proxy routes need of servers counts as well; the control listener has descriptors of
    /// its own.
    fn permit(&self) -> Result<OwnedSemaphorePermit, Turned> {
        let places = match self.door {
            Door::Public if !self.shared.live.now().proxy().has_room() => return Err(Turned::Places),
            Door::Public => &self.shared.public_places,
            Door::Control => &self.shared.control_places,
        };
        Arc::clone(places).try_acquire_owned().map_err(|_| Turned::Places)
    }

    /// Waits for the word of a load balancer.
    async fn enter_announced(&self, mut socket: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let figure = &self.shared.metrics.http.unannounced;
        if !self.shared.admission.trust().has(peer.ip()) {
            metrics::add(figure, 1);
            tracing::debug!(%peer, "not one of listen.trusted_proxies, and listen.proxy_protocol is on");
            return;
        }
        match timeout(self.shared.settings.head_timeout.get(), proxy_protocol::read(&mut socket)).await {
            Ok(Ok(client)) => self.serve(socket, client.unwrap_or(peer), permit),
            Ok(Err(error)) => {
                metrics::add(figure, 1);
                tracing::debug!(%error, %peer, "a connection was not announced");
            }
            Err(_) => {
                metrics::add(figure, 1);
                tracing::debug!(%peer, "a connection was not announced in time (listen.head_timeout)");
            }
        }
    }

    fn serve(&self, socket: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        // Nobody is kept from operating the server by what they do as a client.
        let place = match self.door {
            Door::Control => Ok(permit.into()),
            Door::Public => self.shared.admission.connection(peer.ip()).map(|visit| Place::new(permit, visit)),
        };
        match place {
            Ok(place) => {
                // Only a latency: a socket that cannot do it still works.
                let _ = socket.set_nodelay(true);
                if let Err(error) = doubt_silence(&socket, self.shared.user_timeout) {
                    tracing::debug!(%error, %peer, "cannot set a socket's timeouts");
                }
                Arc::clone(&self.connections).serve(socket, peer, place, Past::default());
            }
            Err(turned) => self.refuse(socket, turned),
        }
    }

    /// Says, without waiting, why a connection is not served.
    fn refuse(&self, socket: TcpStream, turned: Turned) {
        metrics::add(&self.shared.metrics.http.connections_refused, 1);
        say(&socket, turned);
        // With anything unread, closing would be a reset, which may overtake the answer.
        let Ok(permit) = Arc::clone(&self.farewells).try_acquire_owned() else { return };
        tokio::spawn(async move {
            let gone = async { while socket.readable().await.is_ok() && forget(&socket) {} };
            // Whoever takes longer has had an answer all the same.
            let _ = timeout(FAREWELL, gone).await;
            drop(permit);
        });
    }

    /// After an accept that failed.
    pub(super) async fn recover(&self, listener: &TcpListener, error: &io::Error) {
        metrics::add(&self.shared.metrics.http.accept_errors, 1);
        if !is_exhaustion(error) {
            return;
        }
        let given_up = self.spare.lock().take();
        let Some(given_up) = given_up else {
            tracing::warn!(%error, "cannot accept");
            tokio::time::sleep(BREATH).await;
            *self.spare.lock() = spare();
            return;
        };
        drop(given_up);
        // Somebody else may take the descriptor first; the next round waits.
        if let Ok(Ok((socket, peer))) = timeout(BREATH, listener.accept()).await {
            let turned = Turned::Descriptors;
            self.shared.admission.turn_away(peer.ip(), turned);
            metrics::add(&self.shared.metrics.http.connections_refused, 1);
            say(&socket, turned);
            forget(&socket);
        }
        *self.spare.lock() = spare();
    }
}

/// Something that holds a descriptor.
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Writes the answer of a connection that is not served, and that nothing follows.
fn say(socket: &TcpStream, turned: Turned) {
    // A new socket's buffer is empty; if it takes nothing all the same, closing says enough.
    let _ = socket.try_write(&answer(turned));
    let _ = SockRef::from(socket).shutdown(std::net::Shutdown::Write);
}

fn answer(turned: Turned) -> Vec<u8> {
    let status = if turned.blames_client() { "429 Too Many Requests" } else { "503 Service Unavailable" };
    let (seconds, why) = (turned.retry_seconds(), format!("{{\"error\":\"{turned}\"}}\n"));
    format!(
        "HTTP/1.1 {status}\r\nRetry-After: {seconds}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{why}",
        why.len()
    )
    .into_bytes()
}

/// Reads what is there; whether there may be more.
fn forget(socket: &TcpStream) -> bool {
    match socket.try_read(&mut [0; FORGOTTEN]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Lets a peer that vanished without a word be found out.
fn doubt_silence(socket: &TcpStream, timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_user_timeout(Some(timeout))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(timeout).with_interval(timeout / 4))
}

/// Whether there is too little of something: the other errors are about one connection.
fn is_exhaustion(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
