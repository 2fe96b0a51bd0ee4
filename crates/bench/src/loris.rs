//! Connections that are held for as long as the server lets them: heads and bodies that come in drops, streams that are read in
//! drops. One that was given up is made again. A thread of its own, which counts for the load.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::sockets::connect;

/// Each connection says or takes one byte in such a time.
const ROUND: Duration = Duration::from_secs(1);
/// Connections that are served without a pause.
const BATCH: usize = 100;

struct Held {
    socket: Option<TcpStream>,
    /// Which of the three it is: half a head, a head without its body, or a whole request whose answer is taken byte by byte.
    kind: usize,
    /// What is still to be said first.
    unsaid: Vec<u8>,
}

/// The kind that says no more once it has asked.
const READS: usize = 2;

/// The thread that holds them.
pub(crate) struct Loris {
    over: Arc<AtomicBool>,
    figures: Arc<Figures>,
    thread: Option<JoinHandle<()>>,
}

/// How they fare.
#[derive(Default)]
pub(crate) struct Figures {
    /// Connections that are held at present.
    pub(crate) open: AtomicU64,
    /// Times that one was begun.
    pub(crate) begun: AtomicU64,
    /// Times that the server gave one up.
    pub(crate) given_up: AtomicU64,
}

impl Loris {
    /// Begins to hold so many; a third of them asks for what `stream` does, a third sends bodies to `path`.
    pub(crate) fn start(address: SocketAddr, count: usize, stream: &[u8], path: &str) -> Self {
        let (over, figures) = (Arc::<AtomicBool>::default(), Arc::<Figures>::default());
        let starts = [
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".to_vec(),
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n").into_bytes(),
            stream.to_vec(),
        ];
        let (told, counted) = (Arc::clone(&over), Arc::clone(&figures));
        let thread = std::thread::spawn(move || hold(address, count, &starts, &told, &counted));
        Self { over, figures, thread: Some(thread) }
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }
}

impl Drop for Loris {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of its own has been told.
            let _ = thread.join();
        }
    }
}

fn hold(address: SocketAddr, count: usize, starts: &[Vec<u8>; 3], over: &AtomicBool, figures: &Figures) {
    let mut all: Vec<_> =
        (0..count).map(|n| Held { socket: None, kind: n % starts.len(), unsaid: Vec::new() }).collect();
    let mut turns = 0;
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let batches = count.div_ceil(BATCH).max(1);
        for (at, batch) in all.chunks_mut(BATCH).enumerate() {
            for one in batch {
                one.turn(address, turns, starts, figures);
                turns += 1;
            }
            if over.load(Ordering::Relaxed) {
                return;
            }
            // Spread over the round, so that the load does not come in bursts of its own.
            let due = begun + ROUND * (at as u32 + 1) / batches as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

impl Held {
    fn turn(&mut self, address: SocketAddr, number: usize, starts: &[Vec<u8>; 3], figures: &Figures) {
        let Some(socket) = &mut self.socket else {
            // Without a port it is tried again in the next round.
            if let Ok(socket) = connect(address, number) {
                self.socket = Some(socket);
                self.unsaid.clone_from(&starts[self.kind]);
                figures.begun.fetch_add(1, Ordering::Relaxed);
                figures.open.fetch_add(1, Ordering::Relaxed);
            }
            return;
        };
        let done = if self.unsaid.is_empty() {
            if self.kind == READS { heard(socket, 1) } else { socket.write(b"x").and_then(|_| heard(socket, 64)) }
        } else {
            socket.write(&self.unsaid).map(|said| {
                self.unsaid.drain(..said);
                true
            })
        };
        let waits = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected);
        if done.as_ref().is_ok_and(|open| *open) || done.as_ref().err().is_some_and(waits) {
            return;
        }
        self.socket = None;
        figures.open.fetch_sub(1, Ordering::Relaxed);
        figures.given_up.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes at most so many bytes; false at the end.
fn heard(socket: &mut TcpStream, most: usize) -> std::io::Result<bool> {
    let mut bytes = [0; 64];
    match socket.read(&mut bytes[..most]) {
        Ok(read) => Ok(read > 0),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}
