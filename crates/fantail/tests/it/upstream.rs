//! A server behind the proxy that is driven byte by byte from the test: what it reads is what came, what it sends is what the
//! test says. All reads fail the test when nothing comes for [`PATIENCE`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, SockRef, Socket as Socket2, Type};

use crate::server::{PATIENCE, TestServer};

/// A listening server.
pub(crate) struct Upstream {
    listener: Listener,
    /// As the configuration names it.
    pub(crate) name: String,
    /// Tells the thread of [`Upstream::serve`] that the test is over.
    over: Option<Arc<AtomicBool>>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    /// Its directory is deleted with it.
    Unix(UnixListener, #[expect(dead_code, reason = "kept for its end")] tempfile::TempDir),
}

/// One connection, as the server sees it.
#[derive(Debug)]
pub(crate) struct Peer {
    socket: Socket,
    ahead: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How the other side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It said that it sends no more (FIN).
    Finished,
    /// It broke the connection off (RST).
    Reset,
}

impl Upstream {
    /// A server on a free loopback port.
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let name = format!("http://{}", listener.local_addr().expect("an address"));
        Self { listener: Listener::Tcp(listener), name, over: None }
    }

    /// A server whose port is taken, but refuses connections until it is [opened](Upstream::open).
    pub(crate) fn refusing() -> Self {
        let socket = Socket2::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        let listener = TcpListener::from(socket);
        let name = format!("http://{}", listener.local_addr().expect("an address"));
        Self { listener: Listener::Tcp(listener), name, over: None }
    }

    /// Begins to take connections, as many as fit into a queue of this length before they are accepted.
    pub(crate) fn open(&self, queue: i32) {
        let Listener::Tcp(listener) = &self.listener else { panic!("only for TCP") };
        SockRef::from(listener).listen(queue).expect("a bound socket");
    }

    /// A server on a Unix socket.
    pub(crate) fn listen_unix() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("app.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let name = format!("unix:{}", path.display());
        Self { listener: Listener::Unix(listener, directory), name, over: None }
    }

    /// A server that answers each request, read to its body's end, with what `answer` makes of head and body. A connection
    /// whose answer says `Connection: close` is closed behind it.
    pub(crate) fn serve(answer: impl FnMut(&str, &[u8]) -> Vec<u8> + Send + 'static) -> Self {
        let mut upstream = Self::listen();
        upstream.answer_all(answer);
        upstream
    }

    /// The same from here on, for a server over TCP.
    pub(crate) fn answer_all(&mut self, answer: impl FnMut(&str, &[u8]) -> Vec<u8> + Send + 'static) {
        let Listener::Tcp(listener) = &self.listener else { panic!("only for TCP") };
        let listener = listener.try_clone().expect("a descriptor");
        let over = Arc::<AtomicBool>::default();
        self.over = Some(Arc::clone(&over));
        let answer = Arc::new(Mutex::new(answer));
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || Peer::new(Socket::Tcp(socket)).serve(&*answer));
            }
        });
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().expect("an address"),
            Listener::Unix(..) => panic!("a Unix socket has no address of that kind"),
        }
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> Peer {
        assert!(self.has_caller(PATIENCE), "nobody connected within {PATIENCE:?}");
        let socket = match &self.listener {
            Listener::Tcp(listener) => Socket::Tcp(listener.accept().expect("a connection").0),
            Listener::Unix(listener, _) => Socket::Unix(listener.accept().expect("a connection").0),
        };
        Peer::new(socket)
    }

    /// Whether nobody connects for a while. For things that must not happen: a slow machine passes, never fails.
    pub(crate) fn is_alone_for(&self, span: Duration) -> bool {
        !self.has_caller(span)
    }

    fn has_caller(&self, span: Duration) -> bool {
        let fd = match &self.listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        };
        is_readable(fd, span)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let (Some(over), Listener::Tcp(listener)) = (&self.over, &self.listener) {
            over.store(true, Ordering::Release);
            // It wakes the thread.
            let _ = listener.local_addr().and_then(TcpStream::connect);
        }
    }
}

impl Peer {
    fn new(socket: Socket) -> Self {
        match &socket {
            Socket::Tcp(socket) => {
                socket.set_nodelay(true).expect("a socket");
                socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
            }
            Socket::Unix(socket) => {
                socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
            }
        }
        Self { socket, ahead: Vec::new() }
    }

    /// Reads the head of a request, as it came and with its blank line.
    pub(crate) fn read_head(&mut self) -> String {
        self.next_head()
            .unwrap_or_else(|| panic!("the connection ended before a head: {:?}", String::from_utf8_lossy(&self.ahead)))
    }

    fn next_head(&mut self) -> Option<String> {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if !matches!(self.fill(), Ok(1..)) {
                return None;
            }
        };
        // Field values may hold any bytes.
        Some(String::from_utf8_lossy(&self.ahead.drain(..end).collect::<Vec<_>>()).into_owned())
    }

    /// Reads so many bytes.
    pub(crate) fn read(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            let got = self.fill().expect("a connection");
            assert!(got > 0, "the connection ended after {:?}", String::from_utf8_lossy(&self.ahead));
        }
        self.ahead.drain(..length).collect()
    }

    /// Reads up to and with the first `end`.
    pub(crate) fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|bytes| bytes == end) {
                return self.ahead.drain(..at + end.len()).collect();
            }
            let got = self.fill().expect("a connection");
            assert!(got > 0, "the connection ended after {:?}", String::from_utf8_lossy(&self.ahead));
        }
    }

    /// Reads to the end of the connection; a reset is an end too.
    pub(crate) fn read_rest(&mut self) -> Vec<u8> {
        while let Ok(1..) = self.fill() {}
        std::mem::take(&mut self.ahead)
    }

    /// Waits until the other side has closed, and says how; what it sent before is dropped.
    pub(crate) fn ended(&mut self) -> Ending {
        loop {
            match self.fill() {
                Ok(0) => return Ending::Finished,
                Ok(_) => self.ahead.clear(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                    return Ending::Reset;
                }
            }
        }
    }

    /// Whether nothing comes for a while, not even an end. For things that must not happen: a slow machine passes.
    pub(crate) fn is_silent_for(&self, span: Duration) -> bool {
        let fd = match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        };
        self.ahead.is_empty() && !is_readable(fd, span)
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).expect("a peer that reads");
    }

    /// Sends bytes to somebody who may have left.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.write_all(bytes),
            Socket::Unix(socket) => socket.write_all(bytes),
        }
    }

    /// Sends a piece again and again, as much as the other side takes, until it has taken nothing for `span`; returns how much that was.
    pub(crate) fn send_until_blocked(&mut self, piece: &[u8], span: Duration) -> usize {
        let Socket::Tcp(socket) = &mut self.socket else { panic!("only for TCP") };
        let sent = send_until_blocked(socket, piece, span);
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        sent
    }

    /// Its socket; what was read ahead is lost.
    pub(crate) fn into_tcp(self) -> TcpStream {
        let Socket::Tcp(socket) = self.socket else { panic!("only for TCP") };
        socket
    }

    /// Closes the connection.
    pub(crate) fn close(self) {
        drop(self);
    }

    /// Closes the sending half.
    pub(crate) fn half_close(&self) {
        match &self.socket {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
        .expect("a connection");
    }

    /// Breaks the connection off.
    pub(crate) fn reset(self) {
        let Socket::Tcp(socket) = &self.socket else { panic!("only TCP has resets") };
        SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("a socket");
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let read = match &mut self.socket {
            Socket::Tcp(socket) => socket.read(&mut buffer),
            Socket::Unix(socket) => socket.read(&mut buffer),
        };
        match read {
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

    fn serve(mut self, answer: &Mutex<impl FnMut(&str, &[u8]) -> Vec<u8>>) {
        while let Some(head) = self.next_head() {
            let body = self.read_body(&head);
            let answer = (answer.lock())(&head, &body);
            let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(answer.len());
            let closes = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase().contains("\r\nconnection: close");
            if self.try_send(&answer).is_err() || closes {
                return;
            }
        }
    }

    /// The body behind a head: by its length or its chunks, which are put together.
    pub(crate) fn read_body(&mut self, head: &str) -> Vec<u8> {
        if let [length] = values(head, "content-length")[..] {
            return self.read(length.parse().expect("a length"));
        }
        let mut body = Vec::new();
        if values(head, "transfer-encoding") == ["chunked"] {
            loop {
                let line = self.read_until(b"\r\n");
                let size = std::str::from_utf8(&line).expect("a chunk's size").trim_end();
                let size = usize::from_str_radix(size, 16).expect("a chunk's size");
                if size == 0 {
                    while self.read_until(b"\r\n") != b"\r\n" {}
                    break;
                }
                body.extend(self.read(size));
                assert_eq!(self.read(2), b"\r\n", "a chunk ends with CRLF");
            }
        }
        body
    }
}

/// Sends a piece again and again, as much as a socket takes, until it has taken nothing for `span`; returns how much that was.
pub(crate) fn send_until_blocked(socket: &mut TcpStream, piece: &[u8], span: Duration) -> usize {
    socket.set_write_timeout(Some(span)).expect("a timeout");
    let mut sent = 0;
    loop {
        match socket.write(&piece[sent % piece.len()..]) {
            Ok(n) => sent += n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return sent,
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
    }
}

fn is_readable(fd: BorrowedFd<'_>, span: Duration) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(fd, PollFlags::IN | PollFlags::RDHUP)];
    let span = Timespec::try_from(span).expect("a span that fits");
    poll(&mut watched, Some(&span)).expect("a descriptor") > 0
}

/// The values of a field in a head as it came, in order.
pub(crate) fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// Fantail with one upstream and a route that leads everything there; lines of the route's and the upstream's tables are
/// added. Further tables may stand behind the route's lines.
pub(crate) fn proxied(upstream: &Upstream, route: &str, settings: &str) -> TestServer {
    proxied_to(&[upstream], route, settings)
}

/// The same with several servers.
pub(crate) fn proxied_to(upstreams: &[&Upstream], route: &str, settings: &str) -> TestServer {
    let servers: Vec<_> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    TestServer::start(&format!(
        "[upstream.app]\nservers = {servers:?}\n{settings}\n\
         [[route]]\npath = '/{{path...}}'\naction = 'proxy'\nupstream = 'app'\n{route}\n"
    ))
}

/// An answer with a length.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_sees_what_came_and_says_what_it_is_told() {
        for upstream in [Upstream::listen(), Upstream::listen_unix()] {
            let server = proxied(&upstream, "", "");
            let mut client = server.public();
            client.ask("POST", "/a", &[("X-A", "1")], b"hello");
            let mut peer = upstream.accept();
            let head = peer.read_head();
            assert!(head.starts_with("POST /a HTTP/1.1\r\n"), "{head}");
            assert_eq!(values(&head, "x-a"), ["1"]);
            assert_eq!(peer.read_body(&head), b"hello");
            assert!(peer.is_silent_for(Duration::from_millis(20)));
            peer.send(ok("there"));
            assert_eq!(client.answer().text(), "there");
        }
    }

    #[test]
    fn upstream_that_serves_answers_every_request() {
        let upstream = Upstream::serve(|head, body| ok(&format!("{} {}", head.split(' ').nth(1).unwrap(), body.len())));
        let server = proxied(&upstream, "", "");
        let mut client = server.public();
        assert_eq!(client.request("POST", "/a", &[], b"123").text(), "/a 3");
        let chunked = [("Transfer-Encoding", "chunked")];
        assert_eq!(client.request("POST", "/b", &chunked, b"2\r\nab\r\n0\r\n\r\n").text(), "/b 2");
        assert_eq!(client.get("/c").text(), "/c 0");
    }

    #[test]
    fn upstream_tells_an_end_from_a_reset() {
        let upstream = Upstream::listen();
        let socket = TcpStream::connect(upstream.address()).unwrap();
        let mut peer = upstream.accept();
        drop(socket);
        assert_eq!(peer.ended(), Ending::Finished);
        let socket = TcpStream::connect(upstream.address()).unwrap();
        let mut peer = upstream.accept();
        SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        drop(socket);
        assert_eq!(peer.ended(), Ending::Reset);
    }
}
