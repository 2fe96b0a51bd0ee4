//! A client that speaks bytes: it sends what it is told, and reads answers and event streams as they come. All reads fail
//! the test when nothing comes for [`PATIENCE`].

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use fantail_sse::{Decoder, Item};
use serde_json::Value;

use crate::server::PATIENCE;

/// One connection, and what was read from it ahead.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    ahead: Vec<u8>,
}

/// The head of an answer. Names of headers are in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// As it came, with its blank line.
    pub(crate) raw: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// An event, as an application gets it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
    /// The last event ID that holds from here on.
    pub(crate) id: String,
}

/// A part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Event(Event),
    Retry(u64),
    Comment(String),
}

/// An event stream, de-chunked where it comes in chunks, and decoded.
pub(crate) struct Stream {
    pub(crate) client: Client,
    pub(crate) head: Head,
    /// Each chunk so far, or each read of a stream without chunks.
    pub(crate) chunks: Vec<Vec<u8>>,
    chunked: bool,
    decoder: Decoder,
    parts: VecDeque<Part>,
    ended: Option<End>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last chunk.
    Said,
    /// With the connection, between two chunks or in an unchunked stream.
    Closed,
    /// With the connection, inside a chunk, or by a reset.
    Cut,
    /// With what is no chunk.
    Broken,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("a connection"))
    }

    /// A connection that was made otherwise.
    pub(crate) fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_nodelay(true).expect("a socket");
        Self { socket, ahead: Vec::new() }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("a peer that reads");
    }

    /// Sends a request; `Host` is added unless given, and `Content-Length` if there is a body or the method has one.
    pub(crate) fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        self.send(request(method, target, headers, body));
    }

    /// Sends a request and reads its answer.
    pub(crate) fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.ask(method, target, headers, body);
        if method == "HEAD" { self.answer_to_head() } else { self.answer() }
    }

    /// Sends a request; the status of its answer if that came whole, `None` if the server went before.
    pub(crate) fn try_exchange(&mut self, request: &[u8]) -> Option<u16> {
        self.socket.write_all(request).ok()?;
        loop {
            let text = String::from_utf8_lossy(&self.ahead);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if length.is_some_and(|length: usize| body.len() >= length) {
                    let status = head.split(' ').nth(1)?.parse().ok()?;
                    self.ahead.clear();
                    return Some(status);
                }
            }
            let mut buffer = [0; 4096];
            let got = self.socket.read(&mut buffer).ok().filter(|&got| got > 0)?;
            self.ahead.extend_from_slice(&buffer[..got]);
        }
    }

    /// GET.
    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.request("GET", target, &[], b"")
    }

    /// GET, for an event stream; fails the test if it is refused.
    pub(crate) fn subscribe(self, target: &str) -> Stream {
        self.subscribe_with(target, &[])
    }

    /// GET with headers, for an event stream; fails the test if it is refused.
    pub(crate) fn subscribe_with(mut self, target: &str, headers: &[(&str, &str)]) -> Stream {
        self.ask("GET", target, headers, b"");
        self.stream()
    }

    /// Reads the head of an answer.
    pub(crate) fn read_head(&mut self) -> Head {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            let got = self.fill().expect("a head");
            assert!(got > 0, "the connection ended in a head: {:?}", String::from_utf8_lossy(&self.ahead));
        };
        let raw: Vec<u8> = self.ahead.drain(..end).collect();
        let raw = String::from_utf8(raw).expect("a head of text");
        let mut lines = raw.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Head { status: status.unwrap_or_else(|| panic!("no status in {raw:?}")), headers, raw }
    }

    /// Reads a whole answer: by its length, its chunks, or to the end of the connection.
    pub(crate) fn answer(&mut self) -> Answer {
        let head = self.read_head();
        let mut body = Vec::new();
        if let Some(length) = head.get("content-length") {
            let length: usize = length.parse().expect("a length");
            while self.ahead.len() < length {
                let got = self.fill().expect("a body");
                assert!(got > 0, "the connection ended in a body");
            }
            body.extend(self.ahead.drain(..length));
        } else if head.is_chunked() {
            loop {
                match self.chunk() {
                    Ok(chunk) => body.extend(chunk),
                    Err(End::Said) => break,
                    Err(end) => panic!("a body of chunks was {end:?}"),
                }
            }
        } else if !matches!(head.status, 100..200 | 204 | 304) {
            body = self.rest();
        }
        Answer { status: head.status, head, body }
    }

    /// Reads an answer to HEAD: it has no body, whatever its head says.
    pub(crate) fn answer_to_head(&mut self) -> Answer {
        let head = self.read_head();
        Answer { status: head.status, head, body: Vec::new() }
    }

    /// Reads the head of an event stream; fails the test if it is not one.
    pub(crate) fn stream(self) -> Stream {
        self.stream_of("text/event-stream")
    }

    /// The same with another `Content-Type`, such as one with parameters.
    pub(crate) fn stream_of(mut self, content_type: &str) -> Stream {
        let head = self.read_head();
        assert_eq!((head.status, head.get("content-type")), (200, Some(content_type)), "{}", head.raw);
        self.stream_behind(head)
    }

    /// What comes behind a head that was read, as a stream.
    pub(crate) fn stream_behind(self, head: Head) -> Stream {
        let chunked = head.is_chunked();
        let decoder = Decoder::new();
        Stream { client: self, head, chunks: Vec::new(), chunked, decoder, parts: VecDeque::new(), ended: None }
    }

    /// Reads to the end of the connection; a reset is an end too.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while let Ok(1..) = self.fill() {}
        std::mem::take(&mut self.ahead)
    }

    /// Reads so many bytes.
    pub(crate) fn read(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            let got = self.fill().expect("a connection");
            assert!(got > 0, "the connection ended after {:?}", String::from_utf8_lossy(&self.ahead));
        }
        self.ahead.drain(..length).collect()
    }

    /// Reads at most so many bytes ahead, if there are any.
    pub(crate) fn read_some(&mut self, most: usize) {
        let mut buffer = vec![0; most];
        self.socket.set_nonblocking(true).expect("a socket");
        let got = self.socket.read(&mut buffer).unwrap_or(0);
        self.socket.set_nonblocking(false).expect("a socket");
        self.ahead.extend_from_slice(&buffer[..got]);
    }

    /// Whether the connection has ended, or does now, with nothing more to read.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.ahead.is_empty() && !matches!(self.fill(), Ok(1..))
    }

    /// Whether nothing comes for a while. For things that must not happen: a slow machine passes, never fails.
    pub(crate) fn is_silent_for(&mut self, span: Duration) -> bool {
        self.socket.set_read_timeout(Some(span)).expect("a timeout");
        let mut byte = [0; 1];
        let silent = self.ahead.is_empty()
            && matches!(self.socket.peek(&mut byte), Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        silent
    }

    /// Closes the sending half.
    pub(crate) fn half_close(&self) {
        self.socket.shutdown(Shutdown::Write).expect("a connection");
    }

    /// Reads one chunk, or how the body ended.
    pub(crate) fn read_chunk(&mut self) -> Result<Vec<u8>, End> {
        self.chunk()
    }

    /// One chunk, or how the body ended.
    fn chunk(&mut self) -> Result<Vec<u8>, End> {
        let line = loop {
            if let Some(at) = self.ahead.windows(2).position(|bytes| bytes == b"\r\n") {
                break at;
            }
            match self.fill() {
                Ok(1..) => {}
                Ok(0) if self.ahead.is_empty() => return Err(End::Closed),
                _ => return Err(End::Cut),
            }
        };
        let size = std::str::from_utf8(&self.ahead[..line]).expect("a chunk's size");
        if size == "ffff-broken-off" {
            return Err(End::Broken);
        }
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("{size:?} is no chunk's size"));
        let whole = line + 2 + size + 2;
        while self.ahead.len() < whole {
            if !matches!(self.fill(), Ok(1..)) {
                return Err(End::Cut);
            }
        }
        let bytes: Vec<u8> = self.ahead.drain(..whole).collect();
        assert!(bytes.ends_with(b"\r\n"), "a chunk ends with CRLF");
        if size == 0 { Err(End::Said) } else { Ok(bytes[line + 2..line + 2 + size].to_vec()) }
    }

    /// Reads once; fails the test if nothing comes at all.
    fn fill(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(got) => {
                self.ahead.extend_from_slice(&buffer[..got]);
                Ok(got)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}, after {:?}", String::from_utf8_lossy(&self.ahead))
            }
            Err(error) => Err(error),
        }
    }
}

impl Head {
    /// A header's value; fails the test if it is there twice.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice: {}", self.raw);
        value
    }

    fn is_chunked(&self) -> bool {
        self.get("transfer-encoding") == Some("chunked")
    }
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body of text")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.head.get("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The reason of a refusal.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().expect("a refusal names its reason").to_owned()
    }

    /// The body as the events of a stream.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut decoder = Decoder::new();
        let mut parts = VecDeque::new();
        decode(&mut decoder, &self.body, &mut parts);
        parts.into_iter().filter_map(Part::event).collect()
    }

    /// The last event ID after the body, as a client would keep it.
    pub(crate) fn last_event_id(&self) -> String {
        let mut decoder = Decoder::new();
        decode(&mut decoder, &self.body, &mut VecDeque::new());
        String::from_utf8(decoder.last_event_id().to_vec()).expect("an id of text")
    }
}

impl Stream {
    /// The next part, or how the stream ended.
    pub(crate) fn part(&mut self) -> Result<Part, End> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok(part);
            }
            self.chunk()?;
        }
    }

    /// Reads one chunk (or once, where there are none) and decodes it.
    pub(crate) fn chunk(&mut self) -> Result<Vec<u8>, End> {
        if let Some(end) = self.ended {
            return Err(end);
        }
        let chunk = if self.chunked { self.client.chunk() } else { self.client.piece() };
        let chunk = chunk.inspect_err(|end| self.ended = Some(*end))?;
        decode(&mut self.decoder, &chunk, &mut self.parts);
        self.chunks.push(chunk.clone());
        Ok(chunk)
    }

    /// The next event; comments and `retry:` are passed over. Fails the test if the stream ends.
    pub(crate) fn event(&mut self) -> Event {
        let end = Instant::now() + PATIENCE;
        loop {
            // Pings come for ever.
            assert!(Instant::now() < end, "no event within {PATIENCE:?}");
            match self.part() {
                Ok(Part::Event(event)) => return event,
                Ok(_) => {}
                Err(end) => panic!("the stream was {end:?} while an event was expected"),
            }
        }
    }

    /// The next `n` events.
    pub(crate) fn events(&mut self, n: usize) -> Vec<Event> {
        (0..n).map(|_| self.event()).collect()
    }

    /// The data of the next `n` events.
    pub(crate) fn data(&mut self, n: usize) -> Vec<String> {
        self.events(n).into_iter().map(|event| event.data).collect()
    }

    /// The last event ID, as a client would send it when it comes back.
    pub(crate) fn last_event_id(&self) -> String {
        String::from_utf8(self.decoder.last_event_id().to_vec()).expect("an id of text")
    }

    /// Reads to the end: what came, and how it ended.
    #[expect(clippy::wrong_self_convention, reason = "nothing is converted: it reads to the end")]
    pub(crate) fn to_end(&mut self) -> (Vec<Part>, End) {
        let mut parts = Vec::new();
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no end within {PATIENCE:?}, but {parts:?}");
            match self.part() {
                Ok(part) => parts.push(part),
                Err(end) => return (parts, end),
            }
        }
    }
}

impl Client {
    /// What comes next, as it is.
    pub(crate) fn piece(&mut self) -> Result<Vec<u8>, End> {
        if self.ahead.is_empty() {
            match self.fill() {
                Ok(1..) => {}
                Ok(0) => return Err(End::Closed),
                Err(_) => return Err(End::Cut),
            }
        }
        Ok(std::mem::take(&mut self.ahead))
    }
}

impl Part {
    pub(crate) fn event(self) -> Option<Event> {
        match self {
            Self::Event(event) => Some(event),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({:?}, id {:?})", self.name, self.data, self.id)
    }
}

/// The bytes of a request; see [`Client::ask`].
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let has = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let mut lines = vec![format!("{method} {target} HTTP/1.1")];
    if !has("host") {
        lines.push("Host: localhost".to_owned());
    }
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let sized = has("content-length") || has("transfer-encoding");
    if !sized && (!body.is_empty() || matches!(method, "POST" | "PUT")) {
        lines.push(format!("Content-Length: {}", body.len()));
    }
    let mut out = (lines.join("\r\n") + "\r\n\r\n").into_bytes();
    out.extend_from_slice(body);
    out
}

fn decode(decoder: &mut Decoder, bytes: &[u8], parts: &mut VecDeque<Part>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a stream of UTF-8");
    let each = |item: Item<'_>| {
        parts.push_back(match item {
            Item::Event(event) => {
                Part::Event(Event { name: text(event.name), data: text(event.data), id: text(event.id) })
            }
            Item::Retry(after) => Part::Retry(after),
            Item::Comment(comment) => Part::Comment(text(comment)),
        });
    };
    decoder.feed(bytes, each).expect("a stream that can be decoded");
}
