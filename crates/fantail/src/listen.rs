//! Listeners: accepting, a connection's life in HTTP, its way out to a shard and back, and the stop.

mod connection;
mod entrance;
mod patience;
pub mod proxy_protocol;
mod sockets;
mod wire;

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::admission::Admission;
use crate::config::{Door, Listen};
use crate::http::live::Live;
use crate::metrics::{self, Metrics};
pub use connection::Connections;
use entrance::Entrance;
pub use sockets::{Refused, Sockets};

/// What all connections share.
pub struct Shared {
    /// The routes.
    pub live: Arc<Live>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who may come in.
    pub admission: Arc<Admission>,
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

/// Accepts until the server stops, at the address of that number.
pub async fn accept(listener: StdListener, door: Door, number: usize, shared: Arc<Shared>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let entrance = Entrance::new(door, number, Arc::clone(&shared));
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
                metrics::add(&shared.metrics.http.accepted, 1);
                entrance.enter(socket, peer);
            }
            Err(error) => entrance.recover(&listener, &error).await,
        }
    }
}
