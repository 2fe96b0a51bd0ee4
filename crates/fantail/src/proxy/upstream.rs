//! The servers behind one name: which of them gets a request, and when another one is tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Request, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::{Body, Source};
use super::budget::Budget;
use super::exchange::Exchange;
use super::failure::Failure;
use super::fields::list;
use super::head::Head;
use super::request::Outgoing;
use super::server::{Busy, Limits, Server, Shown};
use super::socket::Socket;
use super::twain::{Outbound, Twain};
use super::upload::Upload;
use crate::admission::Pace;
use crate::config;
use crate::metrics::{self, ProxyMetrics};

/// More interim answers than this mean that a server does not come to the point.
const MOST_INTERIM: usize = 32;

/// An upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) name: String,
    servers: Vec<Arc<Server>>,
    retries: usize,
    /// Where the search for the least busy one begins, so that equals take turns.
    turn: AtomicUsize,
    pub(super) metrics: Arc<ProxyMetrics>,
}

/// What a server answered.
#[derive(Debug)]
pub(super) enum Answered {
    /// An answer.
    Answer(StatusCode, HeaderMap, Body),
    /// The connection speaks something else from here on.
    Upgraded(HeaderMap, Tunnelled),
}

/// The upstream's end of a tunnel.
#[derive(Debug)]
pub(super) struct Tunnelled {
    pub(super) socket: Socket,
    /// What it said already.
    pub(super) early: BytesMut,
    pub(super) busy: Busy,
}

/// What is told of an interim answer.
pub(super) type Interim<'a> = &'a (dyn Fn(StatusCode, &HeaderMap) + Send + Sync);

/// How long, and how much, a client's body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) silence: Duration,
    /// How fast it comes, where its length was told: one in chunks may be a stream.
    pub(super) pace: Pace,
    pub(super) size: u64,
}

impl Upstream {
    pub(super) fn new(
        name: &str,
        config: &config::Upstream,
        budget: &Arc<Budget>,
        metrics: &Arc<ProxyMetrics>,
    ) -> Self {
        let limits = Limits::new(config);
        let twain = || config.http2.then(Twain::default);
        let server = |address: &config::Server| {
            Arc::new(Server::new(address.clone(), limits, twain(), Arc::clone(budget), Arc::clone(metrics)))
        };
        Self {
            name: name.to_owned(),
            servers: config.servers.iter().map(server).collect(),
            retries: config.retries,
            turn: AtomicUsize::new(0),
            metrics: Arc::clone(metrics),
        }
    }

    /// A name for a client that gave none.
    pub(super) fn host(&self) -> &str {
        let label = self.servers.first().map_or("localhost", |server| server.label());
        label.strip_prefix("http://").unwrap_or("localhost")
    }

    /// Its servers, as statistics show them.
    pub(super) fn shown(&self) -> Vec<Shown> {
        self.servers.iter().map(|server| server.shown()).collect()
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn tidy(&self) {
        self.servers.iter().for_each(|server| server.tidy());
    }

    /// Sends a request, to another server where the first cannot be reached, and waits for the head of its answer.
    ///
    /// CANCEL SAFETY: dropping it closes the connection to the server.
    pub(super) async fn ask(
        &self,
        request: &Outgoing,
        mut body: Option<Incoming>,
        limits: BodyLimits,
        interim: Interim<'_>,
    ) -> Result<Answered, Failed> {
        let has_body = body.is_some();
        let mut tried: Vec<usize> = Vec::new();
        loop {
            let (at, passed_over) = self.choose(&tried);
            let server = &self.servers[at];
            tried.push(at);
            let mut fresh = false;
            let failure = loop {
                let attempt = if server.twain.is_some() {
                    Self::ask_twain(server, request, &mut body, limits).await
                } else {
                    self.ask_plain(server, request, &mut body, limits, interim, fresh).await
                };
                match attempt {
                    Ok(answered) => {
                        server.well();
                        return Ok(answered);
                    }
                    // A server may close an idle connection at any time: that is no failure, and a request that may be
                    // repeated is.
                    Err(Attempt { was_stale: true, .. }) if !fresh && request.is_idempotent() && !has_body => {
                        metrics::add(&self.metrics.retries, 1);
                        fresh = true;
                    }
                    Err(attempt) => break attempt.failure,
                }
            };
            if failure.blames_server() {
                server.failed(&failure);
            }
            let again = failure.nothing_sent() && (body.is_some() || !has_body)
                || (matches!(failure, Failure::NoAnswer { .. }) && request.is_idempotent() && !has_body);
            if again && tried.len() <= self.retries && tried.len() < self.servers.len() {
                tracing::debug!(upstream = self.name, server = server.label(), %failure, "trying another server");
                metrics::add(&self.metrics.retries, 1);
                continue;
            }
            let failure = match passed_over {
                Some(again) => Failure::AllDown { last: Box::new(failure), again },
                None => failure,
            };
            return Err(Failed { failure, server: Some(server.label().to_owned()) });
        }
    }

    /// The least busy of the servers that are not passed over and have not been tried; where all are passed over, the one
    /// that comes back first, with the time until then.
    fn choose(&self, tried: &[usize]) -> (usize, Option<Duration>) {
        let count = self.servers.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let order = (0..count).map(|i| (turn + i) % count).filter(|at| !tried.contains(at));
        let with_out = order.map(|at| (at, self.servers[at].out_for(now)));
        let (at, out) = with_out
            .min_by_key(|&(at, out)| (out.unwrap_or_default(), self.servers[at].load()))
            .expect("there is a server that has not been tried");
        // One server alone is never passed over: there is nobody else.
        (at, out.filter(|_| count > 1))
    }

    async fn ask_plain(
        &self,
        server: &Arc<Server>,
        request: &Outgoing,
        body: &mut Option<Incoming>,
        limits: BodyLimits,
        interim: Interim<'_>,
        fresh: bool,
    ) -> Result<Answered, Attempt> {
        let link = server.link(fresh).await?;
        let upload = Upload::new(&request.head, body.take(), request.coding, request.waits, limits);
        let mut exchange = Exchange::new(link, request.method.clone(), upload, limits.silence);
        for _ in 0..MOST_INTERIM {
            match exchange.head().await {
                Err(failure) => {
                    let was_stale = exchange.was_stale() && matches!(failure, Failure::NoAnswer { .. });
                    *body = exchange.into_upload().into_untouched();
                    return Err(Attempt { failure, was_stale });
                }
                Ok(Head { status: StatusCode::SWITCHING_PROTOCOLS, headers, .. }) => {
                    if !agrees(request, &headers) {
                        return Err(Failure::Upgrade.into());
                    }
                    let (socket, early, busy) = exchange.into_socket();
                    return Ok(Answered::Upgraded(headers, Tunnelled { socket, early, busy }));
                }
                Ok(head) if head.status.is_informational() => {
                    if head.status != StatusCode::CONTINUE {
                        interim(head.status, &head.headers);
                    }
                }
                Ok(head) => {
                    exchange.expect(head.length);
                    let body = Body::new(Source::Plain(Box::new(exchange)), Arc::clone(&self.metrics));
                    return Ok(Answered::Answer(head.status, head.headers, body));
                }
            }
        }
        Err(Failure::Malformed("it has too many interim answers").into())
    }

    async fn ask_twain(
        server: &Arc<Server>,
        request: &Outgoing,
        body: &mut Option<Incoming>,
        limits: BodyLimits,
    ) -> Result<Answered, Attempt> {
        let twain = server.twain.as_ref().expect("only asked where there is one");
        let uri = http::Uri::builder()
            .scheme("http")
            .authority(&*request.host)
            .path_and_query(request.target.as_str())
            .build()
            .map_err(|_| Failure::Malformed("the target cannot be sent over HTTP/2"))?;
        let busy = Busy::begin(server);
        // The body is touched only once there is somebody to take it: until then another server may.
        let sender = twain.sender(server).await?;
        let (outbound, sent) = Outbound::new(body.take(), limits);
        let mut outgoing = Request::new(outbound);
        *outgoing.method_mut() = request.method.clone();
        *outgoing.uri_mut() = uri;
        *outgoing.version_mut() = Version::HTTP_2;
        *outgoing.headers_mut() = request.fields();
        let answer = Twain::send(server, sender, outgoing, limits.silence).await?;
        let (parts, incoming) = answer.into_parts();
        let idle = server.limits.idle;
        let source = Source::Twain { body: incoming, sent: Some(sent), busy, idle };
        let metrics = Arc::clone(server.metrics());
        Ok(Answered::Answer(parts.status, parts.headers, Body::new(source, metrics)))
    }
}

/// A request that came to nothing.
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// The server that was asked last, if any was.
    pub(super) server: Option<String>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, server: None }
    }
}

/// A failed attempt.
struct Attempt {
    failure: Failure,
    /// The connection had been idle and was closed before it carried a byte of this answer.
    was_stale: bool,
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self { failure, was_stale: false }
    }
}

/// Whether a server switched to something that was asked for.
fn agrees(request: &Outgoing, headers: &HeaderMap) -> bool {
    let (Some(asked), Some(given)) = (&request.upgrade, headers.get(http::header::UPGRADE)) else { return false };
    let name = |protocol: &str| protocol.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let asked: Vec<_> = list(asked).map(name).collect();
    list(given).next().is_some() && list(given).all(|protocol| asked.contains(&name(protocol)))
}
