//! The world around relayed streams, for tests: real shards, upstreams fed by hand, and viewers at the other ends of real
//! sockets.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::journal::MemoryJournal;
use fantail_hub::{Clock, Hub, HubLimits, Limits, Retention};
use http::request::Parts as Request;
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, Version};
use http_body::Frame;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{Joined, Manner, record};
use crate::config::{self, Config};
use crate::fanout::{Attach, Errand, Shards};
use crate::http::App;
use crate::http::body::Body;
use crate::http::takeover::{Slot, Takeover};
use crate::metrics::Metrics;
use crate::proxy::{Budget, Proxy, Stopping};

/// How long anything may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest block.
pub(super) const LARGEST: usize = 1000;

/// Routes, shards and a hub.
pub(super) struct World {
    pub(super) app: App,
    places: Arc<Semaphore>,
    listener: TcpListener,
}

impl World {
    pub(super) async fn new() -> Self {
        let journal = Arc::new(MemoryJournal::new(Duration::ZERO, 0));
        let retention = Retention::new(Limits::default(), [record::retention(Limits::default())]);
        let limits = HubLimits { message: LARGEST, ..HubLimits::default() };
        let hub = Arc::new(Hub::new(journal, retention, limits, Clock::system()));
        let metrics = Arc::new(Metrics::new(1));
        let shards = Arc::new(Shards::start(&hub, &metrics).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_, told) = watch::channel(false);
        let config = Config::default();
        let budget = Budget::new(100, Arc::new(Semaphore::new(100)), 100);
        let proxy = Proxy::new(&config, &metrics, budget, Stopping { told, window: Duration::ZERO });
        Self {
            app: App::new(&config, hub, None, shards, proxy, metrics, None).unwrap(),
            places: Arc::new(Semaphore::new(100)),
            listener,
        }
    }

    pub(super) fn shared(grace: Duration) -> Manner {
        Manner::shared(&config::Stream::default(), Duration::ZERO, Duration::ZERO, grace)
    }

    pub(super) fn recorded(&self, grace: Duration) -> Manner {
        let stream = config::Stream::default();
        Manner::recorded(&stream, Duration::ZERO, Duration::ZERO, grace, self.app.recordings().seal())
    }

    /// The slot of a connection.
    pub(super) fn slot() -> Arc<Slot> {
        Arc::new(Slot::new("127.0.0.1:1".parse().unwrap(), 0))
    }

    /// Does with an answer what a connection does.
    pub(super) async fn hand_over(&self, slot: &Slot, answer: Response<Body>) -> Viewer {
        let (head, body) = answer.into_parts();
        assert!(matches!(body, Body::Start(..)), "no stream, but {}", head.status);
        slot.all_said();
        slot.flushed();
        let Some(Takeover::Subscriber(taken)) = slot.take() else { panic!("a stream asks for its socket") };
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let (socket, peer) = self.listener.accept().await.unwrap();
        let permit = Arc::clone(&self.places).acquire_owned().await.unwrap().into();
        self.app.shards().attach(Attach {
            socket: socket.into_std().unwrap(),
            tuned: false,
            peer,
            permit,
            plan: taken.plan,
            style: taken.style,
            framing: taken.framing,
            ticket: taken.ticket,
            presence: None,
            errand: Errand::Stream,
        });
        Viewer { head, socket: client, said: String::new() }
    }

    /// A viewer's stream, from what became of its request.
    pub(super) async fn view(&self, slot: &Slot, joined: Result<Joined<FakeBody>, io::Error>) -> Viewer {
        match joined.unwrap() {
            Joined::Answer(answer) => self.hand_over(slot, answer).await,
            other => panic!("not a viewer, but {other:?}"),
        }
    }
}

/// A client of a stream.
pub(super) struct Viewer {
    pub(super) head: Parts,
    socket: TcpStream,
    said: String,
}

impl Viewer {
    /// Reads until what was said ends with `text`, and returns what was said since the last call.
    pub(super) async fn until(&mut self, text: &str) -> String {
        let reading = async {
            while !self.said.ends_with(text) {
                let mut buffer = [0; 1024];
                let n = self.socket.read(&mut buffer).await.unwrap();
                assert!(n > 0, "the stream ended after {:?}", self.said);
                self.said.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        assert!(read.is_ok(), "{:?} does not come to {text:?}", self.said);
        std::mem::take(&mut self.said)
    }

    /// Reads to the end: what was said since the last call, and whether it was a clean end.
    pub(super) async fn end(mut self) -> (String, bool) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.socket.read_to_end(&mut rest)).await.expect("an end");
        (self.said + std::str::from_utf8(&rest).unwrap(), read.is_ok())
    }
}

/// A request of HTTP/1.0, whose viewers get bytes without chunks.
pub(super) fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = http::Request::builder().method(method).uri(uri).version(Version::HTTP_10);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// An upstream's answer, fed by hand.
pub(super) struct Upstream(mpsc::Sender<io::Result<Bytes>>);

impl Upstream {
    /// An event stream and whoever feeds it.
    pub(super) fn stream() -> (Self, (Parts, FakeBody)) {
        Self::answer(StatusCode::OK, &[("content-type", "text/event-stream"), ("x-own", "head")])
    }

    pub(super) fn answer(status: StatusCode, headers: &[(&'static str, &'static str)]) -> (Self, (Parts, FakeBody)) {
        let mut parts = Response::new(()).into_parts().0;
        parts.status = status;
        parts.headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>();
        let (send, receive) = mpsc::channel(16);
        (Self(send), (parts, FakeBody(receive)))
    }

    pub(super) async fn say(&self, text: &str) {
        self.0.send(Ok(Bytes::copy_from_slice(text.as_bytes()))).await.expect("somebody reads");
    }

    pub(super) async fn break_off(self) {
        self.0.send(Err(io::ErrorKind::ConnectionReset.into())).await.expect("somebody reads");
    }

    /// Waits until nobody reads any more.
    pub(super) async fn aborted(&self) {
        tokio::time::timeout(PATIENCE, self.0.closed()).await.expect("the upstream is aborted");
    }

    pub(super) fn is_read(&self) -> bool {
        !self.0.is_closed()
    }
}

#[derive(Debug)]
pub(super) struct FakeBody(mpsc::Receiver<io::Result<Bytes>>);

impl http_body::Body for FakeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|said| said.map(|said| said.map(Frame::data)))
    }
}

/// The ids in a stream, in order.
pub(super) fn ids(said: &str) -> VecDeque<String> {
    said.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
}

/// A stream without its generated ids.
pub(super) fn without_ids(said: &str) -> String {
    said.split_inclusive('\n').filter(|line| !line.starts_with("id: ~")).collect()
}

/// Waits until something holds that is bound to.
pub(super) async fn eventually(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to hold");
}
