//! A network that can be cut: a loopback TCP proxy that knows nothing of what passes through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// Stands between a client and a server. It runs on a thread of its own, so tests may be async or not; dropping it cuts
/// what is left.
pub(crate) struct Cutter {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// Dropped at the end, which stops the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Where new connections lead.
    target: Mutex<SocketAddr>,
    /// Counts the cuts; each connection ends when it changes.
    cuts: watch::Sender<u64>,
    /// After so many bytes to the client a new connection is cut; `u64::MAX` is never.
    cut_after: AtomicU64,
    refusing: AtomicBool,
    accepted: AtomicU64,
    open: AtomicU64,
}

impl Cutter {
    /// Listens on a free loopback port and leads every connection to `target`.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            cuts: watch::Sender::new(0),
            cut_after: AtomicU64::new(u64::MAX),
            refusing: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a tokio runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, theirs) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { addr, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where clients connect.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Resets every open connection on both sides now. What the client has not read yet may be lost with it, as it is on a
    /// real network. New connections are not affected.
    pub(crate) fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Closes each connection that is made from now on once exactly `bytes` have gone to the client, all of which arrive.
    /// `u64::MAX` ends this.
    pub(crate) fn cut_after_bytes(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// While true, new connections are reset as soon as they are made.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::SeqCst);
    }

    /// Leads connections that are made from now on elsewhere, such as to a server that was started again on another port.
    pub(crate) fn retarget(&self, target: SocketAddr) {
        *self.shared.target.lock() = target;
    }

    /// How many connections were ever made, refused ones included.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections pass through now.
    pub(crate) fn open(&self) -> u64 {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the cutter's thread does not panic");
            }
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a listener in this runtime");
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors, most likely: the test that caused it says more than a panic here.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        reset_on_drop(&client);
        if !shared.refusing.load(Ordering::SeqCst) {
            let cuts = shared.cuts.subscribe();
            tokio::spawn(pass(client, cuts, Arc::clone(&shared)));
        }
    }
}

async fn pass(client: TcpStream, mut cuts: watch::Receiver<u64>, shared: Arc<Shared>) {
    let _open = Open::new(&shared.open);
    let target = *shared.target.lock();
    let limit = shared.cut_after.load(Ordering::SeqCst);
    tokio::select! {
        () = join(client, target, limit) => {}
        _ = cuts.changed() => {}
    }
}

async fn join(mut client: TcpStream, target: SocketAddr, limit: u64) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    reset_on_drop(&server);
    let ended = {
        let (client_read, mut client_write) = client.split();
        let (server_read, mut server_write) = server.split();
        let (mut client_read, mut server_read) = (client_read, server_read.take(limit));
        let up = async {
            if tokio::io::copy(&mut client_read, &mut server_write).await.is_err() {
                return End::Reset;
            }
            match server_write.shutdown().await {
                Ok(()) => std::future::pending().await,
                Err(_) => End::Reset,
            }
        };
        let down = async {
            match tokio::io::copy(&mut server_read, &mut client_write).await {
                Ok(_) if client_write.shutdown().await.is_ok() => End::Closed,
                _ => End::Reset,
            }
        };
        tokio::select! {
            end = up => end,
            end = down => end,
        }
    };
    if ended == End::Closed {
        // An orderly end: closing with unread input would reset the connection and could take the last bytes with it.
        SockRef::from(&client).set_linger(None).ok();
        let mut rest = [0; 1024];
        let drain = async { while client.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
        tokio::time::timeout(Duration::from_secs(1), drain).await.ok();
    }
}

#[derive(PartialEq)]
enum End {
    /// The server, or the limit, ended the stream: the client gets all of it and then its end.
    Closed,
    Reset,
}

struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(open: &'a AtomicU64) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Makes closing a socket a reset, with no goodbye.
fn reset_on_drop(socket: &TcpStream) {
    SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("a loopback socket that can be reset");
}
