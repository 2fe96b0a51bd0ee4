//! Recorded streams over real sockets: what their URLs answer, and that nothing else leads to them. The upstream is a body that
//! is fed by hand.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fantail::config;
use fantail::http::relayed::record::Rules;
use fantail::http::relayed::{Joined, Manner};
use fantail::http::takeover::Slot;
use http_body::Frame;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::client::{End, Part};
use crate::server::{TestServer, eventually};

const MINE: (&str, &str) = ("Cookie", "sid=mine");

/// An upstream's answer that is recorded.
struct Recorded {
    upstream: mpsc::Sender<io::Result<Bytes>>,
    /// Where it can be resumed.
    url: String,
    /// Runs the feed.
    runtime: Runtime,
}

struct Body(mpsc::Receiver<io::Result<Bytes>>);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|said| said.map(|said| said.map(Frame::data)))
    }
}

impl Recorded {
    /// Records a stream as if the request of this client had been sent to an upstream; the client itself is gone.
    fn begin(server: &TestServer) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a tokio runtime");
        let (upstream, body) = mpsc::channel(16);
        let request = http::Request::post("/chat").header(MINE.0, MINE.1).body(());
        let request = request.expect("a request").into_parts().0;
        let answer = http::Response::builder().header("content-type", "text/event-stream");
        let answer = answer.body(()).expect("an answer").into_parts().0;
        let app = &server.app;
        let hour = Duration::from_hours(1);
        let manner = Manner::recorded(&config::Stream::default(), Duration::ZERO, hour, hour, app.recordings().seal());
        let joined = runtime.block_on(async {
            let open = || async { Ok::<_, io::Error>((answer, Body(body))) };
            app.recordings()
                .record(
                    app,
                    &Arc::new(Slot::new("127.0.0.1:1".parse().expect("an address"))),
                    &request,
                    &Rules::default(),
                    &manner,
                    open,
                )
                .await
        });
        let Ok(Joined::Answer(answer)) = joined else { panic!("it is not recorded") };
        let url = answer.headers()["fantail-stream"].to_str().expect("a path").to_owned();
        Self { upstream, url, runtime }
    }

    fn say(&self, text: &'static str) {
        self.upstream.blocking_send(Ok(Bytes::from_static(text.as_bytes()))).expect("somebody reads");
    }
}

#[test]
fn recording_streams_from_its_url_until_it_is_over() {
    let server = TestServer::start("[stream]\nping = \"50ms\"");
    let recorded = Recorded::begin(&server);
    let get = |headers: &[(&str, &str)]| server.public().subscribe_with(&recorded.url, headers);
    // The head comes before there is anything to say.
    let mut stream = get(&[MINE]);
    assert_eq!(stream.head.status, 200);
    assert_eq!(stream.head.get("content-type"), Some("text/event-stream"));
    assert_eq!(stream.head.get("x-accel-buffering"), Some("no"));
    assert_eq!(stream.head.get("fantail-stream"), Some(&*recorded.url));
    assert_eq!(stream.head.get("access-control-allow-origin"), Some("*"));
    recorded.say(": working\n\ndata: 1\n\nid: own\ndata: 2\n\n");
    assert_eq!(stream.part(), Ok(Part::Comment("working".into())));
    let first = stream.event();
    assert_eq!((&*first.data, first.id.starts_with("~2.")), ("1", true));
    assert_eq!(stream.event().id, "own");
    assert_eq!(stream.chunks.len(), 3, "a chunk for each block");

    for (id, expected) in [(&*first.id, vec!["2", "3"]), ("own", vec!["3"])] {
        let mut back = get(&[MINE, ("Last-Event-ID", id)]);
        if expected.len() == 2 {
            assert_eq!(back.event().data, "2");
            recorded.say("data: 3\n\n");
            assert_eq!(stream.event().data, "3");
        }
        assert_eq!(back.event().data, "3");
        drop(back);
    }
    let last = stream.last_event_id();
    drop(recorded.upstream);
    assert_eq!(stream.to_end(), (vec![], End::Said));
    let over = server.public().request("GET", &recorded.url, &[MINE, ("Last-Event-ID", &last)], b"");
    assert_eq!((over.status, over.body.len()), (204, 0));
    assert_eq!(server.metric("fantail_recordings"), 1);
    eventually("its upstream is over", || server.metric("fantail_recording_streams") == 0);
    drop(recorded.runtime);
}

#[test]
fn recording_whose_upstream_broke_off_ends_without_a_last_chunk() {
    let server = TestServer::start("");
    let recorded = Recorded::begin(&server);
    let mut stream = server.public().subscribe_with(&recorded.url, &[MINE]);
    recorded.say("data: 1\n\n");
    assert_eq!(stream.event().data, "1");
    recorded.upstream.blocking_send(Err(io::ErrorKind::ConnectionReset.into())).expect("somebody reads");
    assert_eq!(stream.to_end(), (vec![], End::Closed));
    let id = stream.last_event_id();
    let mut late = server.public().subscribe_with(&recorded.url, &[MINE, ("Last-Event-ID", &id)]);
    assert_eq!(late.to_end(), (vec![], End::Closed));
    // A client of HTTP/1.0, such as a stock nginx, knows it by the reset.
    let mut old = server.public();
    old.send(format!("GET {} HTTP/1.0\r\nHost: x\r\nCookie: {}\r\n\r\n", recorded.url, MINE.1));
    let mut old = old.stream();
    assert_eq!(old.event().data, "1");
    assert_eq!(old.to_end(), (vec![], End::Cut));
    assert_eq!(server.metric("fantail_broken_streams_total"), 1);
}

#[test]
fn recording_is_stopped_by_its_caller_alone_and_reached_by_no_other_route() {
    let server = TestServer::start("[[route]]\npath = \"/live/{channels...}\"");
    let recorded = Recorded::begin(&server);
    let mut stream = server.public().subscribe_with(&recorded.url, &[MINE]);
    recorded.say("data: 1\n\n");
    assert_eq!(stream.event().data, "1");

    let listed = server.control().get("/stats?list=10").json();
    let name = listed["list"][0]["channel"].as_str().expect("its channel is listed").to_owned();
    assert!(!recorded.url.contains(&*name.replace('/', "")) && !listed.to_string().contains(&recorded.url[8..]));
    let encoded = name.replace('/', "%2F");
    for target in [format!("/sub/{encoded}"), format!("/live/{encoded}"), format!("/sub/a/{encoded}")] {
        let answer = server.public().get(&target);
        assert_eq!(answer.status, 400, "{target}: {answer:?}");
    }
    for (method, target) in [("POST", "pub"), ("DELETE", "pub"), ("GET", "pub"), ("GET", "stats"), ("GET", "sub")] {
        let answer = server.control().request(method, &format!("/{target}/{encoded}"), &[], b"");
        assert_eq!(answer.status, 400, "{method} {target}: {answer:?}");
    }
    // Split at its slashes it is two channels of other names.
    let batch = format!("{{\"channel\":\"{name}\",\"data\":\"x\"}}\n");
    let batch = server.control().request("POST", "/pub", &[("Content-Type", "application/x-ndjson")], batch.as_bytes());
    assert!(batch.text().contains("'/'"), "{}", batch.text());

    assert_eq!(server.public().request("DELETE", &recorded.url, &[("Cookie", "sid=theirs")], b"").status, 404);
    assert!(!recorded.upstream.is_closed());
    assert_eq!(server.public().request("DELETE", &recorded.url, &[MINE], b"").status, 204);
    assert!(recorded.upstream.is_closed());
    assert_eq!(stream.to_end(), (vec![], End::Said));
}
