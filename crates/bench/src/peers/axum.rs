//! What an application would write: axum, a broadcast channel for each name, `Sse` with a keep-alive. One thread, as the
//! others.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use tokio::net::TcpSocket;
use tokio::sync::broadcast::{self, Sender};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};

use crate::sockets::allow_descriptors;

/// Messages that a receiver may be behind.
const CAPACITY: usize = 1024;

type Channels = Arc<Mutex<HashMap<String, Sender<Arc<str>>>>>;

/// Serves GET /sub/CHANNEL and POST /pub/CHANNEL.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    allow_descriptors(0)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let routes = Router::new().route("/sub/{channel}", get(subscribe)).route("/pub/{channel}", post(publish));
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = axum::serve::ListenerExt::tap_io(socket.listen(4096)?, |stream| {
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, routes.with_state(Channels::default())).await?;
        Ok(())
    })
}

async fn subscribe(
    State(channels): State<Channels>,
    Path(channel): Path<String>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let receiver = {
        let mut channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.entry(channel).or_insert_with(|| broadcast::channel(CAPACITY).0).subscribe()
    };
    let events =
        BroadcastStream::new(receiver).filter_map(|message| message.ok().map(|data| Ok(Event::default().data(&*data))));
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn publish(State(channels): State<Channels>, Path(channel): Path<String>, body: String) {
    let channels = channels.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sender) = channels.get(&channel) {
        let _ = sender.send(body.into());
    }
}
