//! Upstreams that speak HTTP/2 in clear text: hyper's own server, which answers by path and tells the test what came.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc::{self, channel};

use crate::client::{Client, End};
use crate::server::{PATIENCE, TestServer};
use crate::upstream::Upstream;

/// More than any test needs to be on its way.
const QUEUE: usize = 16;

/// A part of an answer's body; an error resets its stream.
type Part = io::Result<Frame<Bytes>>;

/// What the upstream tells the test.
enum Told {
    /// A whole request.
    Asked(Box<Request<Bytes>>, Option<HeaderMap>),
    /// A request whose body broke off.
    Cut,
    /// An answer is given up before its end.
    Dropped,
}

/// An HTTP/2 server. `/stream` is answered with what the test sends, `/silent` never, `/early` with a stream that ends at once,
/// and no look at the request's body; anything else with that body.
struct Twain {
    address: SocketAddr,
    told: Receiver<Told>,
    parts: mpsc::Sender<Part>,
    /// Ends the server.
    _runtime: tokio::runtime::Runtime,
}

/// A body that is made elsewhere.
struct Made {
    parts: mpsc::Receiver<Part>,
    tell: Option<SyncSender<Told>>,
}

impl http_body::Body for Made {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        let part = self.parts.poll_recv(cx);
        if matches!(part, Poll::Ready(None | Some(Err(_)))) {
            self.tell = None;
        }
        part
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(tell) = &self.tell {
            tell.send(Told::Dropped).ok();
        }
    }
}

impl Twain {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a tokio runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (tell, told) = sync_channel(QUEUE);
        let (parts, made) = channel(QUEUE);
        let made = std::sync::Arc::new(parking_lot::Mutex::new(Some(made)));
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tell, made) = (tell.clone(), made.clone());
                let service = service_fn(move |request| answer(request, tell.clone(), made.clone()));
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { address, told, parts, _runtime: runtime }
    }

    fn proxied(&self, route: &str) -> TestServer {
        self.timed("", route)
    }

    fn timed(&self, settings: &str, route: &str) -> TestServer {
        TestServer::start(&format!(
            "[upstream.app]\nservers = ['http://{}']\nhttp2 = true\nmax_fails = 1\n{settings}\
             [[route]]\npath = '/{{path...}}'\naction = 'proxy'\nupstream = 'app'\n{route}",
            self.address
        ))
    }

    fn asked(&self) -> (Box<Request<Bytes>>, Option<HeaderMap>) {
        match self.told.recv_timeout(PATIENCE) {
            Ok(Told::Asked(request, trailers)) => (request, trailers),
            Ok(_) => panic!("a request broke off"),
            Err(error) => panic!("no request within {PATIENCE:?}: {error}"),
        }
    }

    fn send(&self, data: &'static str) {
        self.parts.try_send(Ok(Frame::data(Bytes::from_static(data.as_bytes())))).expect("a body");
    }
}

async fn answer(
    request: Request<Incoming>,
    tell: SyncSender<Told>,
    made: std::sync::Arc<parking_lot::Mutex<Option<mpsc::Receiver<Part>>>>,
) -> Result<Response<Made>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if path == "/early" {
        let (parts, made) = channel(QUEUE);
        parts.try_send(Ok(Frame::data(Bytes::from_static(b"data: 1\n\n")))).ok();
        let mut response = Response::new(Made { parts: made, tell: None });
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        return Ok(response);
    }
    let Ok(body) = body.collect().await else {
        tell.send(Told::Cut).ok();
        std::future::pending::<()>().await;
        unreachable!("it is pending");
    };
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    tell.send(Told::Asked(Box::new(Request::from_parts(head, body.clone())), trailers)).ok();
    if path == "/silent" {
        // Dropped when the client is gone.
        let _told = Made { parts: channel(QUEUE).1, tell: Some(tell.clone()) };
        std::future::pending::<()>().await;
    }
    let stream = if path == "/stream" { made.lock().take() } else { None };
    let is_stream = stream.is_some();
    let parts = stream.unwrap_or_else(|| {
        let (parts, made) = channel(QUEUE);
        parts.try_send(Ok(Frame::data(body))).ok();
        made
    });
    let mut response = Response::new(Made { parts, tell: is_stream.then_some(tell) });
    if is_stream {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    }
    response.headers_mut().append("set-cookie", HeaderValue::from_static("a=b"));
    response.headers_mut().append("set-cookie", HeaderValue::from_static("c=d"));
    if path == "/404" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

#[test]
fn requests_over_http2_are_the_same_requests() {
    let twain = Twain::start();
    let server = twain.proxied("");
    let mut client = server.public();
    let fields =
        [("Host", "a.example:80"), ("X-A", "1"), ("X-A", "2"), ("Connection", "x-b"), ("X-B", "3"), ("TE", "trailers")];
    let answer = client.request("GET", "/a%2Fb?c=d", &fields, b"");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(answer.head.raw.contains("set-cookie: a=b\r\nset-cookie: c=d\r\n"), "{}", answer.head.raw);
    let (request, _) = twain.asked();
    assert_eq!((request.method(), request.uri().path()), (&Method::GET, "/a%2Fb"));
    assert_eq!((request.uri().query(), request.uri().authority().unwrap().as_str()), (Some("c=d"), "a.example:80"));
    let get = |name: &str| request.headers().get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(
        (get("x-a"), get("x-forwarded-host"), get("te")),
        (vec!["1", "2"], vec!["a.example:80"], vec!["trailers"])
    );
    for gone in ["x-b", "connection", "host", "transfer-encoding", "keep-alive"] {
        assert!(get(gone).is_empty(), "{gone}");
    }
    assert_eq!(client.request("HEAD", "/404", &[], b"").status, 404);
    assert_eq!(twain.asked().0.method(), Method::HEAD);
    assert_eq!(server.metric("fantail_proxy_connects_total"), 1, "one connection serves all");
}

#[test]
fn bodies_over_http2_pass_with_their_trailers() {
    let twain = Twain::start();
    let server = twain.proxied("");
    let mut client = server.public();
    let large = vec![b'x'; 1_000_000];
    assert!(client.request("POST", "/a", &[], &large).body == large);
    let (request, trailers) = twain.asked();
    assert_eq!((request.body().len(), trailers), (large.len(), None));
    assert_eq!(request.headers()["content-length"], "1000000");
    client.send(
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.read_head().status, 100);
    client.send("2\r\nab\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nX-Accel-Redirect: /b\r\n\r\n");
    assert_eq!(client.answer().text(), "ab");
    let (request, trailers) = twain.asked();
    assert_eq!(request.headers().get("expect"), None);
    let trailers = trailers.expect("trailers");
    assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("1")));
}

#[test]
fn bodies_over_http2_go_to_the_next_server_where_one_refuses() {
    let (away, twain) = (Upstream::refusing(), Twain::start());
    // Whichever has its turn first: of two requests one begins with the server that is away.
    let server = TestServer::start(&format!(
        "[upstream.app]\nservers = ['{}', 'http://{}']\nhttp2 = true\nmax_fails = 100\n\
         [[route]]\npath = '/{{path...}}'\naction = 'proxy'\nupstream = 'app'\n",
        away.name, twain.address
    ));
    for _ in 0..4 {
        let answer = server.public().request("POST", "/a", &[], b"whole");
        assert_eq!((answer.status, answer.text().as_str()), (200, "whole"));
        assert_eq!(twain.asked().0.body(), &b"whole"[..]);
    }
    assert!(server.metric("fantail_proxy_retries_total") > 0);
}

#[test]
fn bodies_over_http2_have_the_routes_limit_and_their_end_is_not_made_up() {
    let twain = Twain::start();
    let server = twain.proxied("max_body = '3B'");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
    client.send("2\r\ncd\r\n0\r\n\r\n");
    assert_eq!(client.answer().status, 413);
    assert!(matches!(twain.told.recv_timeout(PATIENCE), Ok(Told::Cut)), "it does not seem whole");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n-1\r\n");
    assert_eq!(client.answer().status, 400);
    assert!(matches!(twain.told.recv_timeout(PATIENCE), Ok(Told::Cut)), "it does not seem whole");
    assert_eq!(server.public().request("POST", "/a", &[], b"abc").text(), "abc", "the server is not to blame");
}

#[test]
fn bodies_that_nobody_read_are_not_requests_behind_a_stream_over_http2() {
    let twain = Twain::start();
    let server = twain.proxied("");
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..30 {
        let mut client = server.public();
        client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        assert_eq!(client.answer().text(), "data: 1\n\n");
        let _ = client.socket.write_all(hidden.repeat(3).as_bytes());
        assert!(client.rest().is_empty(), "the connection ends");
    }
    assert!(twain.told.try_recv().is_err(), "something was taken for a request");
}

#[test]
fn first_byte_timer_over_http2_runs_from_the_requests_end() {
    let twain = Twain::start();
    let server = twain.timed("first_byte_timeout = '1s'\nidle_timeout = '100ms'\n", "");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n");
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(200));
        client.send("x");
    }
    assert_eq!(client.answer().text(), "xxxxxx");
    client.ask("POST", "/silent", &[], b"a");
    assert_eq!(client.answer().status, 504);
    let server = twain.timed("[listen]\nbody_timeout = '150ms'\n", "");
    let mut client = server.public();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n");
    assert_eq!(client.answer().status, 408);
}

#[test]
fn hosts_that_http2_cannot_carry_are_not_the_servers_fault() {
    let twain = Twain::start();
    let server = twain.proxied("");
    for (host, status) in [("[", 400), ("a:b:c", 400), ("", 200)] {
        assert_eq!(server.public().request("GET", "/a", &[("Host", host)], b"").status, status, "{host:?}");
    }
    let failures = &server.control().get("/stats").json()["upstreams"]["app"][0]["failures"];
    assert_eq!(failures, 0);
}

/// Begins a stream and reads its first event.
fn stream(twain: &Twain, server: &TestServer) -> crate::client::Stream {
    let client: Client = server.public();
    let mut stream = {
        twain.send("data: 1\n\n");
        client.subscribe("/stream")
    };
    assert_eq!(stream.event().data, "1");
    twain.asked();
    stream
}

#[test]
fn streams_over_http2_pass_event_by_event_and_end_as_they_end() {
    let twain = Twain::start();
    let server = twain.proxied("ping = '0'");
    let mut events = stream(&twain, &server);
    for data in ["data: 2\n\n", "data: 3\n\n"] {
        twain.send(data);
        assert_eq!(events.event().data, data[6..7]);
    }
    twain.parts.try_send(Err(io::ErrorKind::Other.into())).unwrap();
    assert_ne!(events.to_end().1, End::Said, "a reset is no end");

    let twain = Twain::start();
    let server = twain.proxied("ping = '0'");
    let mut events = stream(&twain, &server);
    let Twain { parts, _runtime, .. } = twain;
    drop(parts);
    assert_eq!(events.to_end().1, End::Said);
}

#[test]
fn streams_over_http2_are_recorded() {
    let twain = Twain::start();
    let server = twain.proxied("ping = '0'\nrecord = true\n");
    let events = stream(&twain, &server);
    let url = events.head.get("fantail-stream").expect("it is recorded").to_owned();
    drop(events);
    server.until_stat("subscribers", 0);
    twain.send("data: 2\n\n");
    let mut again = server.public().subscribe(&url);
    assert_eq!(again.data(2), ["1", "2"]);
    twain.parts.try_send(Err(io::ErrorKind::Other.into())).unwrap();
    assert_eq!(again.to_end().1, End::Broken);
}

#[test]
fn leaving_of_a_client_resets_its_stream_over_http2() {
    let twain = Twain::start();
    let server = twain.proxied("");
    drop(stream(&twain, &server));
    assert!(matches!(twain.told.recv_timeout(PATIENCE), Ok(Told::Dropped)));
    let mut client = server.public();
    client.ask("GET", "/silent", &[], b"");
    twain.asked();
    drop(client);
    assert!(matches!(twain.told.recv_timeout(PATIENCE), Ok(Told::Dropped)));
}

#[test]
fn servers_that_do_not_speak_http2_are_failures() {
    let upstream = crate::upstream::Upstream::listen();
    let server = crate::upstream::proxied(&upstream, "", "http2 = true");
    let mut client = server.public();
    client.ask("GET", "/a", &[], b"");
    let mut peer = upstream.accept();
    peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status, 502);
    peer.ended();
    assert_eq!(server.metric("fantail_proxy_failures_total{reason=\"http2\"}"), 1);
    assert!(upstream.is_alone_for(Duration::from_millis(20)));
}
