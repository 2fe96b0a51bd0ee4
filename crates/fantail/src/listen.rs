//! Listeners: accepting, a connection's life in HTTP, its way out to a shard and back, and the stop.

mod connection;
mod entrance;
mod patience;
pub mod proxy_protocol;
mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::config::{Door, Listen};
use crate::http::App;
use crate::metrics;
pub use connection::Connections;
use entrance::Entrance;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;

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
    /// Bytes in a second that a client takes of an answer at least.
    pub answer_rate: u64,
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
    let entrance = Entrance::new(door, Arc::clone(&shared));
    let mut stopping = shared.stopping.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            // An error means that whoever could stop us is gone.
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                metrics::add(&shared.app.metrics().http.accepted, 1);
                entrance.enter(socket, peer);
            }
            Err(error) => entrance.recover(&listener, &error).await,
        }
    }
}
