//! One client's connection: what is still to be sent on it, and bytes as they come. Both kinds of clients have one at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::sockets;

/// Receive buffer of a client that is meant to be slow, so that the server's side of the socket fills soon.
const SMALL_BUFFER: usize = 4096;

/// What a read came to.
#[derive(Debug)]
pub(super) enum Came {
    Bytes(usize),
    /// All was read that is there.
    Nothing,
    /// The connection is over.
    End(String),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    out: Vec<u8>,
    sent: usize,
    connected: bool,
}

impl Link {
    /// Starts to connect, and to send this. `n` is the count of connections so far, which decides the client's address.
    pub(super) fn open(
        address: SocketAddr,
        n: usize,
        token: Token,
        registry: &Registry,
        out: Vec<u8>,
        small: bool,
    ) -> std::io::Result<Self> {
        let mut stream = sockets::connect(address, n)?;
        if small {
            SockRef::from(&stream).set_recv_buffer_size(SMALL_BUFFER)?;
        }
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, out, sent: 0, connected: false })
    }

    /// Sends more, behind what is still unsent.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.out.drain(..self.sent);
        self.sent = 0;
        self.out.extend_from_slice(bytes);
        self.flush()
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        if !self.connected {
            if let Some(error) = self.stream.take_error().ok().flatten() {
                return Err(format!("connect: {error}"));
            }
            if self.stream.peer_addr().is_err() {
                return Ok(());
            }
            self.connected = true;
        }
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("write: {error}")),
            }
        }
        Ok(())
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Came {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => Came::End("end of the connection".into()),
                Ok(n) => Came::Bytes(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Came::Nothing,
                Err(error) if error.kind() == ErrorKind::NotConnected => Came::Nothing,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Came::End(format!("read: {error}")),
            };
        }
    }

    /// Ends it in the middle of whatever it does: with a reset if `hard`.
    pub(super) fn cut(self, hard: bool) {
        if hard {
            // Where this is not taken the connection ends the other way.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}
