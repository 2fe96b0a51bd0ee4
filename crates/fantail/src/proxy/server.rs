//! One server of an upstream: its idle connections, how busy it is, and whether it has been failing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::budget::Budget;
use super::failure::Failure;
use super::socket::Socket;
use super::twain::Twain;
use crate::config::{self, Server as Address};
use crate::metrics::{self, ProxyMetrics};

/// What one server may cost and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) idle: Duration,
    pub(super) tunnel: Duration,
    keep: usize,
    keep_timeout: Duration,
    max_fails: usize,
    fail_timeout: Duration,
}

impl Limits {
    pub(super) fn new(config: &config::Upstream) -> Self {
        Self {
            connect: config.connect_timeout.get(),
            first_byte: config.first_byte_timeout.get(),
            idle: config.idle_timeout.get(),
            tunnel: config.tunnel_timeout.get(),
            keep: config.keep,
            keep_timeout: config.keep_timeout.get(),
            max_fails: config.max_fails,
            fail_timeout: config.fail_timeout.get(),
        }
    }
}

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    address: Address,
    /// The address as people write it.
    label: String,
    pub(super) limits: Limits,
    /// The one used last is used first, so that the others grow old and go.
    idle: Mutex<Vec<Idle>>,
    busy: AtomicUsize,
    health: Mutex<Health>,
    /// The connection over HTTP/2, where that is spoken.
    pub(super) twain: Option<Twain>,
    budget: Arc<Budget>,
    metrics: Arc<ProxyMetrics>,
}

#[derive(Debug, Default)]
struct Health {
    /// Failures since the last success.
    failures: usize,
    /// Until then others are preferred.
    out_until: Option<Instant>,
}

#[derive(Debug)]
struct Idle {
    socket: Socket,
    buffer: BytesMut,
    since: Instant,
}

/// A connection in use. Closed when it is dropped; [`Link::keep`] gives it back instead.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: Socket,
    /// What was read and not yet used.
    pub(super) buffer: BytesMut,
    /// It has carried another exchange before.
    pub(super) reused: bool,
    pub(super) busy: Busy,
}

/// Counts an exchange with a server while it lasts.
#[derive(Debug)]
pub(super) struct Busy(Arc<Server>);

impl Busy {
    pub(super) fn begin(server: &Arc<Server>) -> Self {
        server.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(server))
    }

    pub(super) fn server(&self) -> &Arc<Server> {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A server as statistics show it.
#[derive(Debug, serde::Serialize)]
pub struct Shown {
    /// Its address.
    pub server: String,
    /// Exchanges at present.
    pub busy: usize,
    /// Connections kept for the next.
    pub idle: usize,
    /// Failures since its last success.
    pub failures: usize,
    /// It is passed over at present.
    pub out: bool,
}

impl Server {
    pub(super) fn new(
        address: Address,
        limits: Limits,
        twain: Option<Twain>,
        budget: Arc<Budget>,
        metrics: Arc<ProxyMetrics>,
    ) -> Self {
        Self {
            budget,
            label: address.to_string(),
            address,
            limits,
            idle: Mutex::default(),
            busy: AtomicUsize::new(0),
            health: Mutex::default(),
            twain,
            metrics,
        }
    }

    /// Its address as people write it.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Where its figures are counted.
    pub(super) fn metrics(&self) -> &Arc<ProxyMetrics> {
        &self.metrics
    }

    /// Exchanges at present.
    pub(super) fn load(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// How long it is still passed over.
    pub(super) fn out_for(&self, now: Instant) -> Option<Duration> {
        let until = self.health.lock().out_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// It did as it should.
    pub(super) fn well(&self) {
        let mut health = self.health.lock();
        if health.failures > 0 {
            let was_out = std::mem::take(&mut *health).out_until.is_some();
            drop(health);
            if was_out {
                tracing::info!(server = self.label, "a server that was passed over answers again");
            }
        }
    }

    /// It failed.
    pub(super) fn failed(&self, failure: &Failure) {
        let mut health = self.health.lock();
        health.failures += 1;
        if health.failures >= self.limits.max_fails && self.limits.max_fails > 0 {
            let was_in = health.out_until.replace(Instant::now() + self.limits.fail_timeout).is_none();
            let failures = health.failures;
            drop(health);
            if was_in {
                tracing::warn!(server = self.label, failures, %failure, "a server is passed over");
            }
        }
    }

    /// A connection: one that is idle, unless a fresh one is wanted, else a new one.
    pub(super) async fn link(self: &Arc<Self>, fresh: bool) -> Result<Link, Failure> {
        let busy = Busy::begin(self);
        if !fresh && let Some(Idle { socket, buffer, .. }) = self.take_idle() {
            metrics::add(&self.metrics.reused, 1);
            return Ok(Link { socket, buffer, reused: true, busy });
        }
        let socket = self.connect().await?;
        Ok(Link { socket, buffer: BytesMut::new(), reused: false, busy })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Socket, Failure> {
        let limit = self.limits.connect;
        if !self.budget.has_room(&self.metrics.open) {
            let source = io::Error::from(rustix::io::Errno::MFILE);
            return Err(Failure::Descriptors { server: self.label.clone(), source });
        }
        metrics::add(&self.metrics.connects, 1);
        match timeout(limit, Socket::connect(&self.address, &self.metrics)).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(source)) if is_exhaustion(&source) => {
                Err(Failure::Descriptors { server: self.label.clone(), source })
            }
            Ok(Err(source)) => Err(Failure::Connect { server: self.label.clone(), source }),
            Err(_) => Err(Failure::ConnectTimeout { server: self.label.clone(), limit }),
        }
    }

    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.lock();
        let oldest = Instant::now().checked_sub(self.limits.keep_timeout);
        while let Some(last) = idle.pop() {
            if oldest.is_some_and(|oldest| last.since < oldest) {
                // Those below it are older still.
                idle.clear();
                return None;
            }
            if last.socket.is_quiet() {
                return Some(last);
            }
        }
        None
    }

    /// Closes what has been idle for too long.
    pub(super) fn tidy(&self) {
        let Some(oldest) = Instant::now().checked_sub(self.limits.keep_timeout) else { return };
        let mut idle = self.idle.lock();
        let old = idle.partition_point(|one| one.since < oldest);
        idle.drain(..old);
        idle.retain(|one| one.socket.is_quiet());
    }

    pub(super) fn shown(&self) -> Shown {
        let out = self.out_for(Instant::now()).is_some();
        let failures = self.health.lock().failures;
        Shown { server: self.label.clone(), busy: self.load(), idle: self.idle.lock().len(), failures, out }
    }
}

impl Link {
    /// Gives the connection back, to be used again.
    pub(super) fn keep(self) {
        let server = Arc::clone(self.busy.server());
        let mut buffer = self.buffer;
        debug_assert!(buffer.is_empty(), "what was read belongs to nobody");
        buffer.clear();
        let mut idle = server.idle.lock();
        if idle.len() < server.limits.keep {
            idle.push(Idle { socket: self.socket, buffer, since: Instant::now() });
        }
    }
}

/// Whether it was this process or machine that had nothing left, and not the server that refused.
fn is_exhaustion(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(number, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}
