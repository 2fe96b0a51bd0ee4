//! What applications answer through the proxy: heads, bodies, event streams, shared and recorded ones.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::server::{exchange, running};

static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Says the same to everybody and closes.
fn application() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.expect("a connection");
                let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
                let _ = socket.read(&mut [0; 4096]);
                let answer = ANSWER.lock().expect("no panic").clone();
                let _ = socket.write_all(&answer);
                let _ = socket.shutdown(Shutdown::Write);
                let _ = socket.read(&mut [0; 4096]);
            }
        });
        port
    })
}

/// The first byte says by which route.
pub fn run(bytes: &[u8]) {
    let [route, answer @ ..] = bytes else { return };
    let server = running(application());
    answer.clone_into(&mut ANSWER.lock().expect("no panic"));
    let route = ["app", "shared", "recorded"][usize::from(*route) % 3];
    let request =
        format!("GET /{route}/x HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n");
    exchange(server.public, &[request.as_bytes()]);
}
