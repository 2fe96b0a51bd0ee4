//! A server with routes of every kind, and clients that say anything.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use fantail::Server;
use fantail::config::Config;

/// Routes of every kind. Nobody listens at port 1; the application is whoever the test is.
const ROUTES: &str = include_str!("routes.toml");

/// Longer than any answer takes whose client has closed its half.
const PATIENCE: Duration = Duration::from_secs(10);

/// The configuration, with the application at this port.
pub(crate) fn config(application: u16) -> Config {
    Config::from_toml(&ROUTES.replace("APPLICATION", &application.to_string())).expect("a configuration")
}

/// Where it listens.
pub(crate) struct Addresses {
    pub(crate) public: SocketAddr,
}

/// The one server of this process, in threads of its own.
pub(crate) fn running(application: u16) -> &'static Addresses {
    static SERVER: OnceLock<Addresses> = OnceLock::new();
    SERVER.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let server = Server::new(config(application)).expect("free ports");
                tell.send(Addresses { public: server.public_addr() }).expect("somebody waits");
                server.run(std::future::pending::<()>()).await.expect("listeners that last");
            });
        });
        told.recv().expect("the server starts")
    })
}

/// Says something and reads to the end, which has to come. Returns what was answered.
pub(crate) fn exchange(to: SocketAddr, said: &[&[u8]]) -> Vec<u8> {
    let mut client = Client::connect(to);
    for part in said {
        client.say(part);
    }
    client.rest()
}

/// A connection that says anything.
pub(crate) struct Client {
    socket: TcpStream,
    heard: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).expect("a server that listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
        // Thousands of connections in a second would use up the ports.
        let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        Self { socket, heard: Vec::new() }
    }

    /// The server may have refused what it heard so far, and hear no more.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Reads up to a blank line.
    pub(crate) fn hear_head(&mut self) {
        let mut byte = [0];
        while !self.heard.ends_with(b"\r\n\r\n") {
            assert_eq!(self.socket.read(&mut byte).expect("a head"), 1, "the connection ended in a head");
            self.heard.extend_from_slice(&byte);
        }
    }

    /// Says no more and reads to the end.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let _ = self.socket.shutdown(Shutdown::Write);
        match self.socket.read_to_end(&mut self.heard) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no end after {:?}", String::from_utf8_lossy(&self.heard))
            }
            _ => self.heard,
        }
    }
}
