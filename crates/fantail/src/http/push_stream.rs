//! Routes with `action = "push_stream"`: publishers, subscribers and statistics that speak as nginx's push stream module does.
//! What is said and how it looks is the dialect's affair; here stand the order of the steps and what they do to the hub.

mod admission;
mod ask;
mod census;
mod events;
mod figures;
mod gzip;
mod lately;
mod poll;
mod publisher;
mod site;
mod start;
mod statistics;
mod styles;
mod subscriber;
mod websocket;

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;

use super::App;
use super::body::Body;
use super::captures::Captures;
use super::error;
use super::takeover::Slot;
use crate::config::{self, Config, Endpoint, Expression, Pattern, Route};
use crate::dialect::push_stream::headers::{self, Methods};
use crate::dialect::push_stream::{Asked, EXPLAIN, Refusal, page};
use crate::metrics;
use ask::Ask;
pub use census::Census;
use publisher::Publisher;
pub use site::Site;
use subscriber::Subscriber;
pub use websocket::Roll;
use websocket::WebSocket;

/// One route.
#[derive(Debug)]
pub struct PushStream {
    site: Arc<Site>,
    channels_path: Expression,
    /// What `Access-Control-Allow-Origin` says; nothing shuts pages of other origins out.
    allowed_origins: Option<Expression>,
    kind: Kind,
}

/// What a route is.
#[derive(Debug)]
enum Kind {
    Publisher(Publisher),
    Subscriber(Box<Subscriber>),
    WebSocket(Box<WebSocket>),
    Statistics,
}

impl PushStream {
    /// The route of a configuration that was checked; nothing for what it cannot be.
    pub fn new(site: &Arc<Site>, config: &Config, route: &Route, pattern: &Pattern) -> Option<Self> {
        let groups: Vec<&str> = match pattern {
            Pattern::Regex(regex) => regex.names().flatten().collect(),
            _ => Vec::new(),
        };
        let expression = |text: &Option<String>| Expression::parse(text.as_deref()?, &groups).ok();
        let kind = match Endpoint::of(route)? {
            Endpoint::Publisher(kind) => Kind::Publisher(Publisher::new(kind, route)),
            Endpoint::Subscriber(config::Subscriber::WebSocket) => {
                Kind::WebSocket(Box::new(WebSocket::new(site, config, route, expression)))
            }
            Endpoint::Subscriber(mode) => {
                Kind::Subscriber(Box::new(Subscriber::new(site, config, route, mode, expression)))
            }
            Endpoint::Statistics => Kind::Statistics,
        };
        Some(Self {
            site: Arc::clone(site),
            channels_path: expression(&route.channels_path)?,
            allowed_origins: expression(&route.allowed_origins),
            kind,
        })
    }

    /// Whether requests to it may publish.
    pub fn publishes(&self) -> bool {
        matches!(self.kind, Kind::Publisher(_))
    }

    /// The answer to somebody who is not let in.
    pub fn turn_away(
        &self,
        app: &App,
        slot: &Slot,
        request: &Parts,
        captures: &Captures<'_>,
        refusal: &error::Refusal,
    ) -> Response<Body> {
        let ask = Ask::new(request, slot.client(), captures);
        let (counter, methods) = match &self.kind {
            Kind::Publisher(publisher) => (&app.metrics.http.publish_refused, publisher.methods()),
            _ => (&app.metrics.http.subscribe_refused, Methods::Get),
        };
        metrics::add(counter, 1);
        let mut response = refusal.response();
        headers::no_cache(response.headers_mut());
        self.open_to_origins(&ask, methods, &mut response);
        response
    }

    /// Answers a request in whose path the route found `captures`.
    pub async fn answer(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Parts,
        captures: &Captures<'_>,
        body: Incoming,
    ) -> Response<Body> {
        let ask = Ask::new(request, slot.client(), captures);
        match &self.kind {
            Kind::Publisher(publisher) => publisher.answer(self, app, &ask, body).await,
            Kind::Subscriber(subscriber) => subscriber.answer(self, app, slot, &ask, &HeaderMap::new()).await,
            Kind::WebSocket(socket) => socket.answer(self, app, slot, &ask).await,
            Kind::Statistics => statistics::answer(self, app, &ask).await,
        }
    }

    /// Answers a request that an application has looked at and handed over, with what is `kept` of its answer; nothing unless
    /// there are subscribers over HTTP here.
    pub async fn take_over(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Parts,
        captures: &Captures<'_>,
        kept: &HeaderMap,
    ) -> Option<Response<Body>> {
        let Kind::Subscriber(subscriber) = &self.kind else { return None };
        let ask = Ask::new(request, slot.client(), captures);
        Some(subscriber.answer(self, app, slot, &ask, kept).await)
    }

    /// The channels that a request names.
    fn asked(&self, ask: &Ask<'_>) -> Asked {
        Asked::parse(&ask.evaluate(&self.channels_path), self.site.strict())
    }

    /// Lets pages of other origins read an answer, as far as the route says so.
    fn open_to_origins(&self, ask: &Ask<'_>, methods: Methods, response: &mut Response<Body>) {
        if let Some(origins) = &self.allowed_origins {
            headers::cors(response.headers_mut(), &ask.evaluate(origins), methods, self.site.strict());
        }
    }
}

/// An answer without a body, which says so after every method.
fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// The answer that nginx itself has for a request that it cannot take, with this status; the connection ends with it.
pub(super) fn nginx(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Full(page::page(status).into()));
    *response.status_mut() = status;
    closing(response.headers_mut());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page::CONTENT_TYPE));
    response
}

/// Ends the connection behind an answer: what is left of the request's body is not read.
fn closing(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// The answer to a request that is refused; `methods` are the route's.
fn refuse(refusal: Refusal, methods: Methods) -> Response<Body> {
    let mut response = empty(refusal.status());
    if let Some(explain) = refusal.explain() {
        response.headers_mut().insert(EXPLAIN, HeaderValue::from_static(explain));
    }
    if refusal == Refusal::Method {
        headers::allow(response.headers_mut(), methods);
    }
    response
}
