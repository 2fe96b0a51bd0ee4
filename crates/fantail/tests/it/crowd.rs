//! Many subscribers on one thread, each of them checked on every event: order, no repeats, no hole without a gap before it.
//! They expect messages made by [`numbered`].

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use fantail_hub::Position;
use fantail_sse::{Decoder, Item};
use mio::{Events, Interest, Poll, Token};
use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use socket2::SockRef;

use crate::client::request;
use crate::server::PATIENCE;

/// The data of message `n` (1, 2, 3 …) of a channel, with so many bytes behind it.
pub(crate) fn numbered(channel: &str, n: u64, padding: usize) -> String {
    format!("{channel}|{n}|{}", "x".repeat(padding))
}

/// Waits until no other test has a crowd: the kernel counts the memory of all sockets together.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static CROWD: Mutex<()> = Mutex::new(());
    CROWD.lock()
}

/// Subscribers of one listener.
pub(crate) struct Crowd {
    address: SocketAddr,
    poll: Poll,
    pub(crate) members: Vec<Member>,
    /// Messages that all of them got.
    pub(crate) messages: u64,
}

/// One subscriber over all its connections.
pub(crate) struct Member {
    target: String,
    socket: Option<mio::net::TcpStream>,
    reading: bool,
    pub(crate) tracks: Vec<Track>,
    /// The last event ID, as a browser keeps it.
    id: Vec<u8>,
    offset: u64,
    wire: Wire,
}

/// What a member has seen of one channel.
pub(crate) struct Track {
    pub(crate) channel: String,
    /// The first message's number.
    pub(crate) first: Option<u64>,
    /// The next message's number, once one has been seen.
    pub(crate) next: Option<u64>,
    /// A gap was told up to this offset, and no message has come since.
    gap: Option<u64>,
    pub(crate) holes: Vec<Hole>,
}

/// Messages that a member was told it missed.
pub(crate) struct Hole {
    /// The number that was next, if any was seen before.
    pub(crate) from: Option<u64>,
    /// The number with which it went on.
    pub(crate) to: u64,
}

impl Crowd {
    pub(crate) fn new(address: SocketAddr) -> Self {
        raise_descriptor_limit();
        Self { address, poll: Poll::new().expect("a poller"), members: Vec::new(), messages: 0 }
    }

    /// Adds a subscriber of these channels that begins with `query`, and connects it.
    pub(crate) fn join(&mut self, channels: &[&str], query: &str) -> usize {
        let at = self.members.len();
        self.members.push(Member::new(channels, query));
        self.connect(at);
        at
    }

    /// Adds one that reads nothing until [`Crowd::begin_reading`], with a small receive buffer.
    pub(crate) fn join_deaf(&mut self, channels: &[&str], query: &str, receive_buffer: usize) -> usize {
        let at = self.members.len();
        self.members.push(Member::new(channels, query));
        self.members[at].reading = false;
        self.connect(at);
        let socket = self.members[at].socket.as_ref().expect("it was just connected");
        SockRef::from(socket).set_recv_buffer_size(receive_buffer).expect("a socket");
        at
    }

    /// Connects a member that is not, where it left off.
    pub(crate) fn connect(&mut self, at: usize) {
        let member = &mut self.members[at];
        assert!(member.socket.is_none(), "it is connected");
        let mut socket = TcpStream::connect(self.address).expect("a connection");
        let id = String::from_utf8(member.id.clone()).expect("an id of text");
        let headers = [("Last-Event-ID", &*id)];
        let headers = if id.is_empty() { &[][..] } else { &headers };
        socket.write_all(&request("GET", &member.target, headers, b"")).expect("room for a request");
        socket.set_nonblocking(true).expect("a socket");
        let mut socket = mio::net::TcpStream::from_std(socket);
        if member.reading {
            self.poll.registry().register(&mut socket, Token(at), Interest::READABLE).expect("a poller");
        }
        member.socket = Some(socket);
        member.wire = Wire::default();
    }

    /// Ends a member's connection: by a reset, or properly.
    pub(crate) fn disconnect(&mut self, at: usize, reset: bool) {
        let Some(socket) = self.members[at].socket.take() else { return };
        if reset {
            SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("a socket");
        } else {
            socket.shutdown(Shutdown::Write).ok();
        }
    }

    /// Connects a member unless it is connected.
    pub(crate) fn connect_if_gone(&mut self, at: usize) {
        if !self.is_connected(at) {
            self.connect(at);
        }
    }

    pub(crate) fn is_connected(&self, at: usize) -> bool {
        self.members[at].socket.is_some()
    }

    /// From here on a deaf member listens.
    pub(crate) fn begin_reading(&mut self, at: usize) {
        let member = &mut self.members[at];
        member.reading = true;
        let socket = member.socket.as_mut().expect("it is connected");
        self.poll.registry().register(socket, Token(at), Interest::READABLE).expect("a poller");
    }

    /// Reads what has come, waiting for the first of it.
    pub(crate) fn pump(&mut self, wait: Duration) {
        let mut events = Events::with_capacity(1024);
        self.poll.poll(&mut events, Some(wait)).expect("a poller");
        for event in &events {
            let member = &mut self.members[event.token().0];
            self.messages += member.read();
        }
    }

    /// Reads until something holds; fails when nothing comes for long.
    pub(crate) fn pump_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let mut last = (self.messages, Instant::now());
        while !holds(self) {
            self.pump(Duration::from_millis(20));
            if self.messages != last.0 {
                last = (self.messages, Instant::now());
            }
            assert!(last.1.elapsed() < PATIENCE, "nothing came for {PATIENCE:?}, before {what}");
        }
    }
}

impl Member {
    fn new(channels: &[&str], query: &str) -> Self {
        let track =
            |name: &&str| Track { channel: (*name).to_owned(), first: None, next: None, gap: None, holes: Vec::new() };
        Self {
            target: format!("/sub/{}{query}", channels.join("/")),
            socket: None,
            reading: true,
            tracks: channels.iter().map(track).collect(),
            id: Vec::new(),
            offset: 0,
            wire: Wire::default(),
        }
    }

    /// Whether it has seen the message of this number, or none where it is 0, in each of its channels.
    pub(crate) fn has_seen(&self, last: impl Fn(&str) -> u64) -> bool {
        self.tracks.iter().all(|track| track.next.unwrap_or(1) == last(&track.channel) + 1)
    }

    /// Reads until there is no more; returns the number of messages.
    fn read(&mut self) -> u64 {
        let mut buffer = [0; 16 << 10];
        let mut messages = 0;
        let Some(mut socket) = self.socket.take() else { return 0 };
        loop {
            match socket.read(&mut buffer) {
                Ok(0) => panic!("a stream ended that nobody had ended ({}): {:?}", self.target, self.wire),
                Ok(n) => {
                    let mut wire = std::mem::take(&mut self.wire);
                    wire.feed(&buffer[..n], |item| messages += u64::from(self.take(&item)));
                    if let Some(id) = wire.id() {
                        self.id.clear();
                        self.id.extend_from_slice(id);
                    }
                    self.wire = wire;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("a stream failed that nobody had cut: {error}"),
            }
        }
        self.socket = Some(socket);
        messages
    }

    /// Checks one event; true for a message.
    fn take(&mut self, item: &Item<'_>) -> bool {
        let Item::Event(event) = item else { return false };
        let data = std::str::from_utf8(event.data).expect("data of text");
        let at = Position::parse(event.id).expect("a generated id").offset.0;
        if event.name == b"fantail-gap" {
            let gap: Value = serde_json::from_str(data).expect("a gap of JSON");
            let next = gap["next"].as_str().and_then(|id| Position::parse(id.as_bytes())).expect("a position");
            let track = self.tracks.iter_mut().find(|track| gap["channel"] == *track.channel);
            let track = track.expect("a channel of its own");
            assert!(track.gap.is_none_or(|before| before < next.offset.0), "a gap was told twice: {data}");
            assert!(at >= self.offset, "ids go back at a gap");
            track.gap = Some(next.offset.0);
            self.offset = at;
            return false;
        }
        let mut parts = data.splitn(3, '|');
        let (channel, n) = (parts.next().expect("a channel"), parts.next().expect("a number"));
        let n: u64 = n.parse().expect("a number");
        let track = self.tracks.iter_mut().find(|track| track.channel == channel);
        let track = track.unwrap_or_else(|| panic!("a message of {channel} for {}", self.target));
        assert!(at > self.offset, "{channel} {n}: ids do not grow");
        match (track.next, track.gap.take()) {
            (Some(next), None) => assert_eq!(n, next, "{channel}: after a silent loss, or again"),
            (from, Some(gap)) => {
                assert!(from.is_none_or(|next| n > next), "{channel} {n}: a gap was told, but nothing is missing");
                assert!(gap < at, "{channel} {n}: it was said to be lost");
                track.holes.push(Hole { from, to: n });
            }
            (None, None) => {}
        }
        track.first.get_or_insert(n);
        track.next = Some(n + 1);
        self.offset = at;
        true
    }
}

/// One connection's bytes: a head, chunks, events.
#[derive(Default, Debug)]
struct Wire {
    head: Vec<u8>,
    in_body: bool,
    chunk: Chunk,
    decoder: Option<Box<Decoder>>,
}

#[derive(Default, Debug)]
enum Chunk {
    #[default]
    Start,
    /// So much of its size has been read.
    Size(usize),
    /// So many bytes are left, the line end behind them included.
    Data(usize),
}

impl Wire {
    fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Item<'_>)) {
        if !self.in_body {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else { return };
            let head = String::from_utf8_lossy(&self.head[..end]);
            assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("transfer-encoding: chunked"), "{head}");
            bytes = &bytes[end + 4 - before..];
            self.head = Vec::new();
            self.in_body = true;
        }
        let decoder = self.decoder.get_or_insert_with(|| Box::new(Decoder::with_limit(4 << 20)));
        while let Some(&first) = bytes.first() {
            match &mut self.chunk {
                Chunk::Start => self.chunk = Chunk::Size(0),
                Chunk::Size(size) => {
                    bytes = &bytes[1..];
                    match first {
                        b'\r' => {}
                        b'\n' => {
                            assert!(*size > 0, "a stream ended that nobody had ended");
                            self.chunk = Chunk::Data(*size + 2);
                        }
                        digit => {
                            let digit = char::from(digit).to_digit(16).expect("a hexadecimal size");
                            *size = *size << 4 | digit as usize;
                        }
                    }
                }
                Chunk::Data(left) => {
                    let (taken, rest) = bytes.split_at(bytes.len().min(*left));
                    let content = taken.len().min(left.saturating_sub(2));
                    decoder.feed(&taken[..content], &mut each).expect("a stream that can be decoded");
                    *left -= taken.len();
                    if *left == 0 {
                        self.chunk = Chunk::Start;
                    }
                    bytes = rest;
                }
            }
        }
    }

    /// The last event ID, if this connection has told one.
    fn id(&self) -> Option<&[u8]> {
        self.decoder.as_ref().map(|decoder| decoder.last_event_id()).filter(|id| !id.is_empty())
    }
}

/// A crowd needs more descriptors than the usual soft limit.
fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the hard limit is allowed");
    }
}
