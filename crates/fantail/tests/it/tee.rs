//! Listens in on what a server sends to its clients.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

/// Clients that connect to it are connected to the server. Takes no more of them once it is dropped.
pub(crate) struct Tee {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    /// All that the server has sent, over any number of connections.
    heard: Mutex<Vec<u8>>,
    stopping: AtomicBool,
}

impl Tee {
    /// In front of this server.
    pub(crate) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared { server, heard: Mutex::default(), stopping: AtomicBool::new(false) });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if theirs.stopping.load(Ordering::SeqCst) {
                    return;
                }
                theirs.join(&client);
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// How often the server has sent this.
    pub(crate) fn count(&self, what: &str) -> usize {
        let heard = self.shared.heard.lock();
        heard.windows(what.len()).filter(|bytes| *bytes == what.as_bytes()).count()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the one who accepts.
        TcpStream::connect(self.address).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Shared {
    /// Passes everything on between the two, each direction to its own end.
    fn join(self: &Arc<Self>, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let twice = |socket: &TcpStream| {
            socket.set_nodelay(true).expect("a socket");
            (socket.try_clone().expect("a descriptor"), socket.try_clone().expect("a descriptor"))
        };
        let ((client_in, client_out), (server_in, server_out)) = (twice(client), twice(&server));
        let shared = Arc::clone(self);
        std::thread::spawn(move || pass(client_in, server_out, |_| {}));
        std::thread::spawn(move || pass(server_in, client_out, |bytes| shared.heard.lock().extend_from_slice(bytes)));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, note: impl Fn(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(got @ 1..) = from.read(&mut buffer) {
        note(&buffer[..got]);
        if to.write_all(&buffer[..got]).is_err() {
            // Nobody wants to hear more of it.
            from.shutdown(Shutdown::Both).ok();
            return;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}
