//! The streaming reverse proxy: asks upstreams, and passes their answers on as they come. Knows neither the hub nor the
//! routes: who asks decides what becomes of an answer.

mod answer;
mod body;
mod budget;
mod chunks;
mod client;
mod exchange;
mod failure;
mod fields;
mod head;
mod origin;
mod pulse;
mod reconnect;
mod relay;
mod request;
pub mod rewrite;
mod route;
mod server;
mod socket;
mod tunnel;
mod twain;
mod upload;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, DATE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::body::Incoming;

use crate::admission::{Pace, Trust};
use crate::config::{self, Config};
use crate::metrics::{self, Metrics, ProxyMetrics};
pub use answer::{Answer, is_event_stream, is_momentary, untransformed};
pub use body::Body;
pub use budget::Budget;
pub use client::{Back, Client};
pub use failure::Failure;
pub use relay::Stopping;
pub use request::{host, is_event_source};
pub use route::Route;
pub use server::Shown;

use answer::{head_lines, may_beat};
use head::{keeps_alive, write_field};
use reconnect::{Again, Asker, Feed};
use relay::{Framing, Terms};
use request::{Making, Outgoing};
use upstream::{Answered, BodyLimits, Failed, Tunnelled, Upstream};

/// All upstreams, and what is said to each of them.
#[derive(Debug)]
pub struct Proxy {
    upstreams: BTreeMap<String, Arc<Upstream>>,
    trust: Trust,
    /// Our name in `Via`.
    name: String,
    body_silence: Duration,
    body_pace: Pace,
    metrics: Arc<ProxyMetrics>,
    stopping: Stopping,
    budget: Arc<Budget>,
}

/// A request to be passed on.
pub struct Ask<'a> {
    /// Its head.
    pub request: &'a Parts,
    /// Its body, if it has one.
    pub body: Option<Incoming>,
    /// Who sent it.
    pub peer: SocketAddr,
    /// What its path holds at the route's placeholder.
    pub rest: &'a str,
    /// Lines to be added to its head, each with its CRLF.
    pub own: &'a [u8],
    /// What it is to go on from, in place of what the client said; with nothing in it, from nowhere.
    pub last_event_id: Option<&'a [u8]>,
    /// Is told of interim answers (1xx), as they are to be sent.
    pub interim: &'a (dyn Fn(Vec<u8>) + Send + Sync),
}

/// Is done when a client has to go.
pub type Leave = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What came of it.
#[derive(Debug)]
pub enum Reply {
    /// An answer.
    Answer(Answer),
    /// The connection changes to another protocol.
    Upgrade(Tunnel),
}

/// A tunnel that is ready to be dug.
#[derive(Debug)]
pub struct Tunnel {
    head: Vec<u8>,
    upstream: Tunnelled,
    idle: Duration,
    metrics: Arc<ProxyMetrics>,
}

impl Proxy {
    /// The upstreams of a configuration.
    pub fn new(config: &Config, metrics: &Metrics, budget: Budget, stopping: Stopping) -> Self {
        let budget = Arc::new(budget);
        let metrics = &metrics.proxy;
        let made = |(name, upstream): (&String, &config::Upstream)| {
            (name.clone(), Arc::new(Upstream::new(name, upstream, &budget, metrics)))
        };
        Self {
            upstreams: config.upstream.iter().map(made).collect(),
            trust: Trust::new(&config.listen),
            name: config.proxy.name.clone(),
            body_silence: config.listen.body_timeout.get(),
            body_pace: Pace::new(config.limits.body_rate.bytes(), config.listen.body_timeout.get()),
            metrics: Arc::clone(metrics),
            stopping,
            budget,
        }
    }

    /// Compiles a proxy route; `None` where its upstream does not exist, which the configuration rules out.
    pub fn route(&self, route: &config::Route, stream: &config::Stream) -> Option<Route> {
        let upstream = self.upstreams.get(route.upstream.as_ref()?)?;
        Some(Route::new(upstream, route, stream))
    }

    /// The servers of every upstream, as statistics show them.
    pub fn shown(&self) -> BTreeMap<String, Vec<Shown>> {
        self.upstreams.iter().map(|(name, upstream)| (name.clone(), upstream.shown())).collect()
    }

    /// Whether there is a descriptor left for one more client.
    pub fn has_room(&self) -> bool {
        self.budget.has_room(&self.metrics.open)
    }

    /// Closes connections that have been idle for too long. To be called about once a second.
    pub fn tidy(&self) {
        self.upstreams.values().for_each(|upstream| upstream.tidy());
    }

    /// Passes a request on and waits for the head of its answer.
    ///
    /// CANCEL SAFETY: dropping it closes the connection to the server.
    ///
    /// # Errors
    /// [`Failure`]; the client has been told nothing.
    pub async fn ask(&self, route: &Route, ask: Ask<'_>) -> Result<Reply, Failure> {
        metrics::add(&self.metrics.requests, 1);
        let (request, peer) = (ask.request, ask.peer.ip());
        let Failed { failure, server } = match self.pass_on(route, ask).await {
            Ok(reply) => return Ok(reply),
            Err(failed) => failed,
        };
        metrics::add(&self.metrics.failures[failure.reason()], 1);
        let (upstream, method, path) = (&*route.upstream.name, request.method.as_str(), request.uri.path());
        let cause = failure.cause();
        if failure.blames_client() {
            // Anybody can cause these, as often as they like.
            tracing::debug!(upstream, method, path, %peer, %failure, "a request could not be passed on");
        } else {
            tracing::warn!(upstream, server, method, path, %failure, cause, "no answer from an upstream");
        }
        Err(failure)
    }

    async fn pass_on(&self, route: &Route, ask: Ask<'_>) -> Result<Reply, Failed> {
        let Ask { request, body, peer, rest, own, last_event_id, interim } = ask;
        let making = Making {
            peer,
            trust: &self.trust,
            name: &self.name,
            changes: &route.request,
            target: route.rewrite.apply(request.uri.path(), rest, request.uri.query()),
            has_body: body.is_some(),
            own,
            fallback_host: route.upstream.host(),
            last_event_id,
            identity: route.identity,
        };
        let outgoing = Outgoing::new(request, making)?;
        let announced =
            request.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if route.max_body != 0 && announced.is_some_and(|length| length > route.max_body) {
            return Err(Failure::ClientTooLarge(route.max_body).into());
        }
        let pace = if announced.is_some() { self.body_pace } else { Pace::any() };
        let limits = BodyLimits { silence: self.body_silence, pace, size: route.max_body };
        let speaks = request.version == Version::HTTP_11;
        let told = |status, headers: &HeaderMap| {
            if speaks {
                let mut head = head_lines(status, headers);
                head.extend_from_slice(b"\r\n");
                interim(head);
            }
        };
        match route.upstream.ask(&outgoing, body, limits, &told).await? {
            Answered::Answer(status, headers, body) => {
                Ok(Reply::Answer(Answer::new(request, route, status, headers, body)))
            }
            Answered::Upgraded(mut headers, upstream) => {
                let protocol = headers.get(UPGRADE).cloned();
                route.response.apply(&mut headers);
                let mut head = head_lines(StatusCode::SWITCHING_PROTOCOLS, &headers);
                head.extend_from_slice(b"connection: upgrade\r\n");
                if let Some(protocol) = protocol {
                    write_field(&mut head, &UPGRADE, &protocol);
                }
                head.extend_from_slice(b"\r\n");
                let idle = upstream.busy.server().limits.tunnel;
                Ok(Reply::Upgrade(Tunnel { head, upstream, idle, metrics: Arc::clone(&self.metrics) }))
            }
        }
    }

    /// Passes an event stream on from socket to socket. What it returns runs until either end is done. `seen` is the id of the
    /// last event that the client had before, if the upstream was told of it.
    pub fn relay(
        self: &Arc<Self>,
        route: &Arc<Route>,
        request: &Parts,
        peer: SocketAddr,
        rest: &str,
        seen: Option<&[u8]>,
        answer: Answer,
    ) -> impl FnOnce(Client, Leave) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + use<> {
        let Answer { parts, mut body, .. } = answer;
        body.endless();
        let framing = if parts.headers.contains_key(CONTENT_LENGTH) {
            Framing::Length
        } else if request.version == Version::HTTP_10 {
            Framing::Close
        } else {
            Framing::Chunks
        };
        // Where a request had both Content-Length and Transfer-Encoding, hyper has dropped the former without a word, and
        // whoever is in front may have counted by it (RFC 9112 §6.1).
        let clear = !request.headers.contains_key(TRANSFER_ENCODING);
        let keeps_alive = keeps_alive(request.version, &request.headers) && clear && framing != Framing::Close;
        let mut head = head_lines(parts.status, &parts.headers);
        if framing == Framing::Chunks {
            head.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if !keeps_alive {
            head.extend_from_slice(b"connection: close\r\n");
        } else if request.version == Version::HTTP_10 {
            head.extend_from_slice(b"connection: keep-alive\r\n");
        }
        if !parts.headers.contains_key(DATE) {
            head.extend_from_slice(format!("date: {}\r\n", httpdate::fmt_http_date(SystemTime::now())).as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        let terms = Terms {
            framing,
            keeps_alive,
            speaks: may_beat(&parts),
            ping: route.ping,
            stall_limit: route.stall_limit,
            unsent_low: route.unsent_low,
            comes_back: is_event_source(request),
            metrics: Arc::clone(&self.metrics),
            stopping: self.stopping.clone(),
        };
        // A body is not kept, and without it the request would be another one.
        let had_body = !clear || request.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
        let resumes = route.reconnect && request.method == Method::GET && !had_body && may_beat(&parts);
        let feed =
            if resumes { Feed::resumed(body, self.asker(route, request, peer, rest), seen) } else { Feed::plain(body) };
        |client, leave| Box::pin(relay::run(client, head, feed, terms, leave))
    }
}

impl Proxy {
    /// Asks again for a stream that broke off.
    fn asker(self: &Arc<Self>, route: &Arc<Route>, request: &Parts, peer: SocketAddr, rest: &str) -> Asker {
        let (proxy, route) = (Arc::clone(self), Arc::clone(route));
        let request = Arc::new(bare(request));
        let rest: Arc<str> = rest.into();
        Box::new(move |last| {
            let (proxy, route) = (Arc::clone(&proxy), Arc::clone(&route));
            let (request, rest, last) = (Arc::clone(&request), Arc::clone(&rest), last.to_vec());
            Box::pin(async move { proxy.ask_again(&route, &request, peer, &rest, &last).await })
        })
    }

    async fn ask_again(&self, route: &Route, request: &Parts, peer: SocketAddr, rest: &str, last: &[u8]) -> Again {
        let interim = |_| {};
        let ask = Ask { request, body: None, peer, rest, own: b"", last_event_id: Some(last), interim: &interim };
        match self.ask(route, ask).await {
            Ok(Reply::Answer(answer)) if answer.events && may_beat(&answer.parts) => {
                let mut body = answer.body;
                body.endless();
                Again::Stream(Box::new(body))
            }
            Ok(Reply::Answer(answer)) => match answer.parts.status {
                status if is_momentary(status) => Again::Later,
                StatusCode::NO_CONTENT => Again::Nothing,
                _ => Again::Other,
            },
            Ok(Reply::Upgrade(_)) => Again::Other,
            Err(_) => Again::Later,
        }
    }
}

/// A request's head without what belongs to its connection in this process.
fn bare(request: &Parts) -> Parts {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = request.method.clone();
    parts.uri = request.uri.clone();
    parts.version = request.version;
    parts.headers = request.headers.clone();
    parts
}

impl Tunnel {
    /// Passes bytes both ways until both ends are done, or `leave` is.
    pub async fn run(self, client: Client, leave: Leave) {
        tunnel::run(client, self.head, self.upstream, self.idle, leave, self.metrics).await;
    }
}
