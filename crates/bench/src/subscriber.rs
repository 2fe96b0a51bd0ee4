//! One subscriber: a socket, its place in the response, and its cursors. Small, since there are many of them.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::chunked::Chunked;
use crate::clock;
use crate::head::{self, Framing};
use crate::ledger::{Cursors, Ledger};
use crate::lines::Event;
use crate::poller::Poller;
use crate::reader::Reader;
use crate::target::Mode;

/// Where the connection stands.
#[derive(Debug)]
enum Stage {
    /// The request, until the socket is writable.
    Connecting(Vec<u8>),
    /// The head's bytes so far.
    Head(Vec<u8>),
    Chunked(Chunked),
    Raw,
    /// One answer after the other.
    Poll(Box<Poller>),
}

/// One subscriber.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) stream: Option<TcpStream>,
    stage: Stage,
    mode: Mode,
    reader: Reader,
    pub(crate) cursors: Cursors,
    /// The ledger's group for its deliveries.
    pub(crate) group: u8,
    /// Whether it is watched before the crowd.
    pub(crate) urgent: bool,
    /// Whether the swarm is to come back to it: it was left before everything was read.
    pub(crate) unread: bool,
    /// Whether to remember ids; costs a copy for each message.
    pub(crate) keep_id: bool,
    pub(crate) last_id: Vec<u8>,
}

impl Subscriber {
    pub(crate) fn new(channels: &[u32], group: u8) -> Self {
        Self {
            stream: None,
            stage: Stage::Raw,
            mode: Mode::Events,
            reader: Reader::default(),
            cursors: Cursors::new(channels),
            group,
            urgent: false,
            unread: false,
            keep_id: false,
            last_id: Vec::new(),
        }
    }

    /// Takes a socket that is connecting, and the request to send on it.
    pub(crate) fn start(&mut self, stream: TcpStream, request: Vec<u8>, mode: Mode, ledger: &mut Ledger) {
        ledger.waiting += 1;
        self.stream = Some(stream);
        self.stage = Stage::Connecting(request);
        self.mode = mode;
        self.reader = Reader::new(mode, ledger.size);
    }

    /// Leaves the server.
    pub(crate) fn leave(&mut self, ledger: &mut Ledger) {
        if self.stream.take().is_some() {
            let count = if self.is_open() { &mut ledger.open } else { &mut ledger.waiting };
            *count -= 1;
        }
        self.stage = Stage::Raw;
    }

    /// The stream's head has been read, or the first poll was sent.
    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Chunked(_) | Stage::Raw | Stage::Poll(_))
    }

    /// The poller has news of the socket: reads until nothing is there or the buffer was filled once, so that whoever is sent much
    /// does not keep others waiting. `hangup`: the server may have sent its last byte, so that a short read does not mean that
    /// everything was read.
    pub(crate) fn ready(&mut self, hangup: bool, buffer: &mut [u8], ledger: &mut Ledger) {
        match self.advance(hangup, buffer, ledger) {
            Ok(more) => self.unread = more,
            Err(why) => {
                self.leave(ledger);
                ledger.end(&why);
            }
        }
    }

    /// Says whether there may be more to read.
    fn advance(&mut self, hangup: bool, buffer: &mut [u8], ledger: &mut Ledger) -> Result<bool, String> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        if let Stage::Connecting(request) = &self.stage {
            match stream.write(request) {
                Ok(n) if n == request.len() && self.mode == Mode::Polls => {
                    self.stage = Stage::Poll(Box::new(Poller::new(request)));
                    ledger.opened();
                }
                Ok(n) if n == request.len() => self.stage = Stage::Head(Vec::new()),
                Ok(_) => return Err("request not taken whole".into()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(false);
                }
                Err(error) => return Err(format!("connect: {error}")),
            }
        }
        loop {
            let Some(stream) = &mut self.stream else { return Ok(false) };
            match stream.read(buffer) {
                Ok(0) => return Err("end of stream".into()),
                Ok(n) => {
                    self.take(&buffer[..n], clock::now(), ledger)?;
                    if n == buffer.len() || !hangup {
                        return Ok(n == buffer.len());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("read: {error}")),
            }
        }
    }

    fn take(&mut self, read: &[u8], now: u64, ledger: &mut Ledger) -> Result<(), String> {
        if matches!(self.stage, Stage::Poll(_)) {
            return self.poll(read, now, ledger);
        }
        let mut whole;
        let mut bytes = read;
        if let Stage::Head(head) = &mut self.stage {
            head.extend_from_slice(read);
            let Some(parsed) = head::parse(head)? else { return Ok(()) };
            if parsed.status != self.mode.accepted() {
                return Err(format!("status {}", parsed.status));
            }
            whole = std::mem::take(head);
            whole.drain(..parsed.len);
            bytes = &whole;
            self.stage = if parsed.framing == Framing::Chunked { Stage::Chunked(Chunked::new()) } else { Stage::Raw };
            ledger.opened();
        }
        let Self { stage, reader, cursors, group, keep_id, last_id, .. } = self;
        let mut sink = |event: Event<'_>| match event {
            Event::Message(stamp, len) => ledger.deliver(*group, cursors, stamp, len, now),
            Event::Foreign => ledger.foreign += 1,
            Event::Comment => ledger.comments += 1,
            Event::Id(id) if *keep_id => {
                last_id.clear();
                last_id.extend_from_slice(id);
            }
            Event::Id(_) => {}
        };
        let Stage::Chunked(chunked) = stage else {
            return reader.feed(bytes, sink);
        };
        while let Some(piece) = chunked.next(&mut bytes).map_err(|_| "malformed chunk")? {
            reader.feed(piece, &mut sink)?;
        }
        if chunked.is_done() { Err("last chunk".into()) } else { Ok(()) }
    }

    /// Takes what was read of an answer to a poll.
    fn poll(&mut self, read: &[u8], now: u64, ledger: &mut Ledger) -> Result<(), String> {
        let Self { stage: Stage::Poll(poller), reader, cursors, group, .. } = self else { return Ok(()) };
        let Some(messages) = poller.take(read)? else { return Ok(()) };
        reader.feed(&messages, |event| match event {
            Event::Message(stamp, len) => ledger.deliver(*group, cursors, stamp, len, now),
            _ => ledger.foreign += 1,
        })
    }

    /// Says once that it has its answer, and is to ask again after a pause.
    pub(crate) fn pauses(&mut self) -> bool {
        if let Stage::Poll(poller) = &mut self.stage { poller.pauses() } else { false }
    }

    /// Asks again, where it polls and has its answer.
    pub(crate) fn ask(&mut self, ledger: &mut Ledger) {
        let (Some(stream), Stage::Poll(poller)) = (&mut self.stream, &mut self.stage) else { return };
        let Some(request) = poller.ask() else { return };
        let why = match stream.write(request) {
            Ok(n) if n == request.len() => return,
            Ok(_) => "request not taken whole".into(),
            Err(error) => format!("polling: {error}"),
        };
        self.leave(ledger);
        ledger.end(&why);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener};
    use std::thread;

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

    #[test]
    fn subscriber_sent_much_is_read_a_buffer_at_a_time_to_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let (mut ledger, mut buffer) = (Ledger::new(1, 100, 1, 1), [0; 1000]);
        ledger.channels[0].listeners = 1;
        let mut events = HEAD.to_vec();
        for _ in 0..50 {
            events.extend_from_slice(b"data: ");
            ledger.publish(0, 0).write(&mut events, 100);
            events.extend_from_slice(b"\n\n");
        }
        peer.write_all(&events).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        // All of it, and the end behind it, is there before the first read.
        while stream.peek(&mut [0; 8000]).is_ok_and(|n| n < events.len()) {
            thread::yield_now();
        }

        let mut subscriber = Subscriber::new(&[0], 0);
        subscriber.start(TcpStream::from_std(stream), b"GET".to_vec(), Mode::Events, &mut ledger);
        let mut visits = 0;
        while subscriber.stream.is_some() {
            subscriber.ready(true, &mut buffer, &mut ledger);
            visits += 1;
            assert!(ledger.delivered() <= 10 * visits, "{} messages after {visits} visits", ledger.delivered());
        }
        assert_eq!((ledger.delivered(), ledger.ended), (50, 1));
        assert_eq!(visits, events.len() as u64 / 1000 + 1);
    }
}
