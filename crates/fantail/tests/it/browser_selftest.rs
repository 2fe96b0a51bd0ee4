//! Shows that the browser and the cutter do what tests rely on, against a server of a few lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::browser::{Browser, Event, Report};
use crate::cut::Cutter;

const WAIT: Duration = Duration::from_secs(20);

#[test]
fn browser_events_arrive_as_sent() {
    let server = TinyServer::start();
    let mut browser = Browser::start();
    let source = browser.subscribe(&server.url(), &["price"]);
    let connection = server.next_connection();
    connection.send(b"id: 1\ndata: one\ndata:\ndata: two\n\nevent: price\ndata: 7\n\nevent: unheard\ndata: 8\n\n");
    assert_eq!(source.next(WAIT), Report::Open);
    assert_eq!(source.next(WAIT), Report::Event(event("message", "one\n\ntwo", "1")));
    assert_eq!(source.next(WAIT), Report::Event(event("price", "7", "1")));
    assert_eq!(source.try_next(Duration::from_millis(200)), None, "nobody listens for `unheard`");
    browser.close(&source);
    assert!(connection.ended(WAIT), "closing the source closes its connection");
}

#[test]
fn browser_many_events_keep_their_order() {
    let server = TinyServer::start();
    let mut browser = Browser::start();
    let source = browser.subscribe(&server.url(), &[]);
    let connection = server.next_connection();
    let stream = (0..2_000).map(|i| format!("data: {i}\n\n")).collect::<Vec<_>>().concat();
    connection.send(stream.as_bytes());
    for i in 0..2_000 {
        assert_eq!(source.next_event(WAIT).data, i.to_string());
    }
}

#[test]
fn browser_page_can_be_opened_and_asked() {
    let mut browser = Browser::start();
    let page = browser.page().to_owned();
    browser.open(&page);
    assert_eq!(browser.evaluate("Promise.resolve(document.title)"), "Fantail browser tests");
    browser.wait_until("document.readyState === 'complete'", WAIT);
}

#[test]
fn browser_behind_cutter_reconnects_with_its_last_id() {
    let server = TinyServer::start();
    let cutter = Cutter::start(server.addr);
    let mut browser = Browser::start();
    let source = browser.subscribe(&format!("http://{}/", cutter.addr()), &[]);
    let first = server.next_connection();
    assert_eq!(first.last_event_id, None);
    first.send(b"retry: 50\nid: 4\ndata: four\n\n");
    source.wait_open(WAIT);
    assert_eq!(source.next(WAIT), Report::Event(event("message", "four", "4")));

    cutter.cut_all();
    assert_eq!(source.next(WAIT), Report::Retrying);
    let second = server.next_connection();
    assert_eq!(second.last_event_id.as_deref(), Some("4"));
    assert!(first.ended(WAIT), "the server's side is cut too");

    // Refused for a while: the browser keeps trying.
    cutter.refuse(true);
    cutter.cut_all();
    let refused = cutter.accepted() + 2;
    eventually(|| cutter.accepted() >= refused);
    cutter.refuse(false);
    let third = server.next_connection();
    assert_eq!(third.last_event_id.as_deref(), Some("4"));
    third.send(b"id: 5\ndata: five\n\n");
    assert_eq!(source.next_event(WAIT), event("message", "five", "5"));
}

#[test]
fn browser_refused_by_status_gives_up() {
    let server = TinyServer::start();
    let mut browser = Browser::start();
    let source = browser.subscribe(&format!("http://{}/gone", server.addr), &[]);
    assert_eq!(source.next(WAIT), Report::GaveUp);
}

#[test]
fn cutter_after_bytes_lets_exactly_those_through() {
    let server = TinyServer::start();
    let cutter = Cutter::start(server.addr);
    cutter.cut_after_bytes(10);
    let mut client = connect(cutter.addr());
    server.next_connection().send(&[b'x'; 1000]);
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("an orderly end");
    assert_eq!(got, b"HTTP/1.1 2");

    cutter.cut_after_bytes(u64::MAX);
    let mut client = connect(cutter.addr());
    let connection = server.next_connection();
    connection.send(&vec![b'x'; 100_000]);
    let mut got = vec![0; 100_000];
    client.read_exact(&mut got).expect("uncut");
    cutter.cut_all();
    let end = std::iter::repeat_with(|| client.read(&mut got)).find(|read| !matches!(read, Ok(1..)));
    let error = end.expect("an endless iterator").expect_err("a cut is a reset, not an end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    eventually(|| cutter.open() == 0);
}

#[test]
fn cutter_retargeted_leads_elsewhere() {
    let (first, second) = (TinyServer::start(), TinyServer::start());
    let cutter = Cutter::start(first.addr);
    let _one = connect(cutter.addr());
    first.next_connection();
    cutter.retarget(second.addr);
    let _two = connect(cutter.addr());
    second.next_connection();
    assert_eq!(cutter.accepted(), 2);
}

fn connect(addr: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(addr).expect("a connection to the cutter");
    client.set_read_timeout(Some(WAIT)).expect("a timeout");
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("room for a request");
    client
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < end, "not within {WAIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn event(name: &str, data: &str, id: &str) -> Event {
    Event { name: name.into(), data: data.into(), id: id.into() }
}

/// Answers every request with an event stream, and hands the connection to the test; `/gone` gets a 404.
struct TinyServer {
    addr: SocketAddr,
    connections: Mutex<Receiver<Connection>>,
}

struct Connection {
    last_event_id: Option<String>,
    socket: Arc<TcpStream>,
}

impl TinyServer {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let (sender, connections) = sync_channel(16);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || answer(socket, &sender));
            }
        });
        Self { addr, connections: Mutex::new(connections) }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    fn next_connection(&self) -> Connection {
        self.connections.lock().recv_timeout(WAIT).expect("a connection")
    }
}

/// A browser opens connections ahead of need; one that sends no request is dropped without a word.
fn answer(socket: TcpStream, connections: &SyncSender<Connection>) {
    let mut lines = BufReader::new(&socket).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let last_event_id = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())))
        .find(|(name, _)| name == "last-event-id")
        .map(|(_, value)| value);
    if request.starts_with("GET /gone ") {
        let head = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\n\r\n";
        (&socket).write_all(head.as_bytes()).ok();
        return;
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nAccess-Control-Allow-Origin: *\r\n\r\n";
    if (&socket).write_all(head.as_bytes()).is_ok() {
        connections.send(Connection { last_event_id, socket: Arc::new(socket) }).ok();
    }
}

impl Connection {
    fn send(&self, bytes: &[u8]) {
        (&*self.socket).write_all(bytes).expect("the client takes the stream");
    }

    fn ended(&self, timeout: Duration) -> bool {
        self.socket.set_read_timeout(Some(timeout)).expect("a timeout");
        match (&*self.socket).read(&mut [0; 256]) {
            Ok(n) => n == 0,
            Err(e) => !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    }
}
