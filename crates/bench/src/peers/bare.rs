//! The limit: one thread, one poller, and on a POST one prepared frame sent to each socket in turn. It keeps nothing,
//! and a subscriber whose socket is full is dropped.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::sockets::{allow_descriptors, listen};

const LISTENER: Token = Token(usize::MAX);
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
    Transfer-Encoding: chunked\r\n\r\n4\r\n:ok\n\r\n";

/// A connection: a subscriber once its GET was read, a publisher otherwise.
struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// The channel it subscribed to.
    channel: Option<String>,
}

struct Server {
    poll: Poll,
    connections: Vec<Option<Connection>>,
    channels: HashMap<String, Vec<usize>>,
    free: Vec<usize>,
}

/// Serves GET /sub/CHANNEL and POST /pub/CHANNEL.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    allow_descriptors(0)?;
    let poll = Poll::new()?;
    let mut listener = TcpListener::from_std(listen(address)?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server { poll, connections: Vec::new(), channels: HashMap::new(), free: Vec::new() };
    let (mut events, mut buffer) = (Events::with_capacity(256), vec![0; 64 * 1024]);
    loop {
        match server.poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    server.accept(stream)?;
                }
            } else if server.read(event.token().0, &mut buffer).is_none() {
                server.close(event.token().0);
            }
        }
    }
}

impl Server {
    fn accept(&mut self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let token = self.free.pop().unwrap_or(self.connections.len());
        self.poll.registry().register(&mut stream, Token(token), Interest::READABLE)?;
        let connection = Some(Connection { stream, bytes: Vec::new(), channel: None });
        match self.connections.get_mut(token) {
            Some(place) => *place = connection,
            None => self.connections.push(connection),
        }
        Ok(())
    }

    fn close(&mut self, token: usize) {
        let Some(connection) = self.connections[token].take() else { return };
        if let Some(channel) = connection.channel.and_then(|name| self.channels.get_mut(&name)) {
            channel.retain(|&other| other != token);
        }
        self.free.push(token);
    }

    /// Reads and answers what came; `None` if the connection is over.
    fn read(&mut self, token: usize, buffer: &mut [u8]) -> Option<()> {
        let connection = self.connections.get_mut(token)?.as_mut()?;
        loop {
            match connection.stream.read(buffer) {
                Ok(0) => return None,
                Ok(n) => connection.bytes.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        let bytes = std::mem::take(&mut connection.bytes);
        let mut used = 0;
        let mut answers = 0;
        while let Some((request, len)) = parse(&bytes[used..]) {
            used += len;
            if request.post {
                self.publish(&request);
                answers += 1;
            } else {
                self.subscribe(token, request.channel)?;
            }
        }
        let connection = self.connections[token].as_mut()?;
        connection.bytes.extend_from_slice(&bytes[used..]);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(answers);
        connection.stream.write_all(&answer).ok()
    }

    fn subscribe(&mut self, token: usize, channel: &str) -> Option<()> {
        let connection = self.connections[token].as_mut()?;
        connection.channel = Some(channel.to_owned());
        self.channels.entry(channel.to_owned()).or_default().push(token);
        connection.stream.write_all(STREAM_HEAD).ok()
    }

    fn publish(&mut self, request: &Request<'_>) {
        let mut frame = format!("{:x}\r\ndata: ", request.body.len() + 8).into_bytes();
        frame.extend_from_slice(request.body);
        frame.extend_from_slice(b"\n\n\r\n");
        let mut dropped = Vec::new();
        for &token in self.channels.get(request.channel).into_iter().flatten() {
            let Some(connection) = &mut self.connections[token] else { continue };
            if connection.stream.write(&frame).ok() != Some(frame.len()) {
                dropped.push(token);
            }
        }
        for token in dropped {
            self.close(token);
        }
    }
}

struct Request<'a> {
    post: bool,
    channel: &'a str,
    body: &'a [u8],
}

/// The request at the start of `bytes`, and its length. Knows only what the load tool sends.
fn parse(bytes: &[u8]) -> Option<(Request<'_>, usize)> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let path = text.split(' ').nth(1)?;
    let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).and_then(|n| n.parse().ok());
    let end = head + 4 + length.unwrap_or(0);
    let body = bytes.get(head + 4..end)?;
    Some((Request { post: text.starts_with("POST"), channel: path.rsplit('/').next()?, body }, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_whole_requests_only() {
        let bytes = b"POST /pub/x HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /sub/y HTTP/1.1\r\n\r\n";
        assert!(parse(&bytes[..42]).is_none());
        let (request, len) = parse(bytes).unwrap();
        assert_eq!((request.post, request.channel, request.body), (true, "x", &b"hi"[..]));
        let (request, _) = parse(&bytes[len..]).unwrap();
        assert_eq!((request.post, request.channel), (false, "y"));
    }
}
