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
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let server = Server::new(config(application)).expect("free ports");
                tell.send(Addresses { public: server.public_addr() }).expect("somebody waits");
                server.run(std::future::pending()).await.expect("listeners that last");
            });
        });
        told.recv().expect("the server starts")
    })
}

/// Says something and reads to the end, which has to come. Returns what was answered.
pub(crate) fn exchange(to: SocketAddr, said: &[&[u8]]) -> Vec<u8> {
    let mut socket = TcpStream::connect(to).expect("a server that listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
    // Thousands of connections in a second would use up the ports.
    let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    for part in said {
        // It may have refused what it heard so far.
        if socket.write_all(part).is_err() {
            break;
        }
    }
    let _ = socket.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("no end after {:?}", String::from_utf8_lossy(&answer))
        }
        _ => answer,
    }
}
