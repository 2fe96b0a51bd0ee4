//! The whole HTTP front end, over a connection in memory: hyper, and behind it every route of both listeners.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fantail::Server;
use fantail::config::Door;
use fantail::http::App;
use fantail::http::takeover::Slot;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

/// Longer than any answer takes that is not waited for.
const PATIENCE: Duration = Duration::from_millis(200);

struct Front {
    runtime: Runtime,
    app: Arc<App>,
    /// Holds the listeners' ports.
    _server: Server,
}

thread_local! {
    static FRONT: RefCell<Front> = RefCell::new(Front::new());
}

impl Front {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let server = {
            let _within = runtime.enter();
            Server::new(crate::server::config(1)).expect("free ports")
        };
        Self { runtime, app: Arc::clone(server.app()), _server: server }
    }

    fn answer(&self, door: Door, said: &[u8]) {
        let slot = Arc::new(Slot::new(([127, 0, 0, 1], 1).into()));
        let service = service_fn(|request| {
            let (app, slot) = (&self.app, &slot);
            async move { Ok::<_, Infallible>(app.answer(door, slot, request).await) }
        });
        self.runtime.block_on(async {
            let (mut client, ours) = tokio::io::duplex(1 << 20);
            client.write_all(said).await.expect("room for all");
            client.shutdown().await.expect("an open pipe");
            {
                let mut http = http1::Builder::new();
                http.max_header_size(16 << 10).max_headers(100).half_close(false);
                let mut connection = http.serve_connection(TokioIo::new(ours), service).with_upgrades();
                let served = poll_fn(|cx| {
                    let spoken = Pin::new(&mut connection).poll(cx);
                    slot.take_interim();
                    slot.flushed();
                    // A stream's socket would go to a shard from here.
                    if spoken.is_ready() || slot.take().is_some() { Poll::Ready(()) } else { Poll::Pending }
                });
                // What waits for a message or for an upstream is given up.
                let _ = tokio::time::timeout(PATIENCE, served).await;
            }
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("a pipe");
            if !answer.is_empty() {
                assert!(answer.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answer));
            }
        });
    }
}

/// The first byte says at which listener.
pub fn run(bytes: &[u8]) {
    let [door, said @ ..] = bytes else { return };
    let door = if door % 2 == 0 { Door::Public } else { Door::Control };
    FRONT.with_borrow(|front| front.answer(door, said));
}
