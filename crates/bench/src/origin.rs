//! The application behind a proxy. It lives in the load's own loop, and so on the run's clock and in its books. It answers
//! `/stream/NAME-CHANNEL` with an event stream, and every other path with a body of one KiB. Knows only requests without a
//! body.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, bail};
use memchr::memmem;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::clock;
use crate::ledger::Ledger;
use crate::load::Load;
use crate::sockets;
use crate::stamp::Stamp;

/// Its listener's token; its connections' come behind it.
pub(crate) const FIRST: usize = 1 << 33;
/// Bytes of the body that is no stream.
pub(crate) const BODY: usize = 1024;
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
    Transfer-Encoding: chunked\r\n\r\n";
/// A longer request head ends the connection.
const MAX_HEAD: usize = 16 * 1024;

/// A connection: a stream once one was asked for.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// What has come of a request.
    head: Vec<u8>,
    channel: Option<u32>,
}

/// The application.
#[derive(Debug)]
pub(crate) struct Origin {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// The connections that are streams of a channel.
    streams: HashMap<u32, Vec<usize>>,
    /// What is to be sent, to the streams of its channels.
    pub(crate) load: Option<Load>,
    /// Streams that were asked for so far.
    pub(crate) opened: u64,
    /// The answer that is no stream.
    answer: Vec<u8>,
    frame: Vec<u8>,
}

impl Origin {
    /// Listens on a port of its own.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listener = TcpListener::from_std(sockets::listen(SocketAddr::from(([127, 0, 0, 1], 0)))?);
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + BODY, b'x');
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            streams: HashMap::new(),
            load: None,
            opened: 0,
            answer,
            frame: Vec::new(),
        })
    }

    /// Has itself told by this poller when there is news.
    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.listener, Token(FIRST), Interest::READABLE)
    }

    /// Sends what is due.
    pub(crate) fn tick(&mut self, ledger: &mut Ledger) -> anyhow::Result<()> {
        let now = clock::now();
        while let Some(load) = &mut self.load {
            let Some(due) = load.due(now) else {
                self.load = None;
                break;
            };
            if due > now {
                break;
            }
            let stamp = ledger.publish(load.take(), due);
            self.send(stamp, ledger.size)?;
        }
        Ok(())
    }

    /// Sends an event of one chunk to the streams of its channel. A stream that was closed gets nothing, which the books
    /// will tell.
    fn send(&mut self, stamp: Stamp, size: usize) -> anyhow::Result<()> {
        self.frame.clear();
        let _ = write!(self.frame, "{:x}\r\ndata: ", size + "data: \n\n".len());
        stamp.write(&mut self.frame, size);
        self.frame.extend_from_slice(b"\n\n\r\n");
        for &index in self.streams.get(&stamp.channel).into_iter().flatten() {
            let Some(connection) = &mut self.connections[index] else { continue };
            match connection.stream.write(&self.frame) {
                Ok(n) if n < self.frame.len() => bail!("a stream's socket is full: it is not being read"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    bail!("a stream's socket is full: it is not being read")
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The poller has news of one of our sockets.
    pub(crate) fn ready(
        &mut self,
        token: usize,
        hangup: bool,
        buffer: &mut [u8],
        registry: &Registry,
    ) -> anyhow::Result<()> {
        if token == FIRST {
            return self.accept(registry);
        }
        let index = token - FIRST - 1;
        if self.read(index, hangup, buffer).is_none() {
            self.close(index);
        }
        Ok(())
    }

    fn accept(&mut self, registry: &Registry) -> anyhow::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => continue,
                Err(error) => return Err(error).context("the origin cannot accept"),
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or(self.connections.len());
            registry.register(&mut stream, Token(FIRST + 1 + index), Interest::READABLE)?;
            let connection = Some(Connection { stream, head: Vec::new(), channel: None });
            match self.connections.get_mut(index) {
                Some(place) => *place = connection,
                None => self.connections.push(connection),
            }
        }
    }

    fn close(&mut self, index: usize) {
        let Some(connection) = self.connections[index].take() else { return };
        if let Some(streams) = connection.channel.and_then(|channel| self.streams.get_mut(&channel)) {
            streams.retain(|&other| other != index);
        }
        self.free.push(index);
    }

    /// Reads and answers what came; `None` if the connection is over.
    fn read(&mut self, index: usize, hangup: bool, buffer: &mut [u8]) -> Option<()> {
        let Self { connections, streams, opened, answer, .. } = self;
        let connection = connections.get_mut(index)?.as_mut()?;
        loop {
            match connection.stream.read(buffer) {
                Ok(0) => return None,
                Ok(n) => {
                    connection.head.extend_from_slice(&buffer[..n]);
                    if n < buffer.len() && !hangup {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        while let Some(end) = memmem::find(&connection.head, b"\r\n\r\n") {
            let asked = channel(&connection.head[..end]);
            connection.head.drain(..end + 4);
            let Some(channel) = asked else {
                // A proxy that asked reads the answer, of which a socket's buffer takes many.
                connection.stream.write_all(answer).ok()?;
                continue;
            };
            connection.channel = Some(channel);
            streams.entry(channel).or_default().push(index);
            *opened += 1;
            connection.stream.write_all(STREAM_HEAD).ok()?;
        }
        (connection.head.len() <= MAX_HEAD).then_some(())
    }
}

/// The channel of which a request's head asks for a stream.
fn channel(head: &[u8]) -> Option<u32> {
    let path = head.split(|&b| b == b' ').nth(1)?.strip_prefix(b"/stream/")?;
    let digits = path.rsplit(|&b| b == b'-').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll};

    use super::*;
    use crate::answers::Answers;
    use crate::load::{End, Pace};

    #[test]
    fn channel_is_the_number_behind_the_name() {
        assert_eq!(channel(b"GET /stream/b0000000a-17 HTTP/1.1\r\nHost: x"), Some(17));
        assert_eq!(channel(b"GET /stream/b0000000a-x HTTP/1.1\r\nHost: x"), None);
        assert_eq!(channel(b"GET /get-17 HTTP/1.1\r\nHost: x"), None);
        assert_eq!(channel(b"GET"), None);
    }

    #[test]
    fn origin_answers_bodies_and_sends_each_channel_its_events() {
        let (mut poll, mut events, mut buffer) = (Poll::new().unwrap(), Events::with_capacity(8), vec![0; 4096]);
        let mut origin = Origin::listen().unwrap();
        origin.register(poll.registry()).unwrap();
        let mut client = std::net::TcpStream::connect(origin.address).unwrap();
        client.write_all(b"GET /get HTTP/1.1\r\n\r\nGET /stream/b-1 HTTP/1.1\r\n\r\n").unwrap();
        while origin.opened == 0 {
            poll.poll(&mut events, None).unwrap();
            for event in &events {
                origin.ready(event.token().0, false, &mut buffer, poll.registry()).unwrap();
            }
        }
        let mut ledger = Ledger::new(7, 60, 2, 1);
        origin.load = Some(Load::new(vec![0, 1], Pace::FlatOut { window: None }, End::Count(2)));
        origin.tick(&mut ledger).unwrap();
        assert!(origin.load.is_none());
        drop(origin);

        let (mut answers, mut bytes) = (Answers::default(), Vec::new());
        client.read_to_end(&mut bytes).unwrap();
        answers.push(&bytes);
        assert_eq!(answers.next(true).unwrap().unwrap().body, [b'x'; BODY]);
        let stream =
            String::from_utf8(bytes[memmem::rfind(&bytes, b"\r\n\r\n44\r\n").unwrap() + 4..].to_vec()).unwrap();
        assert!(stream.starts_with("44\r\ndata: ~fb:0000000700000001"), "{stream}");
        assert!(stream.ends_with(".\n\n\r\n"));
        assert_eq!(stream.len(), 4 + 0x44 + 2);
    }
}
