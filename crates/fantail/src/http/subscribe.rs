//! `GET /sub/{channel}[/{channel}…]`: opens an event stream, or waits for a single answer (`?wait=`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::{Batch, ChannelName, Framing, Profile, StartAt};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

use super::access::Pass;
use super::body::Body;
use super::cors::Cors;
use super::error::Refusal;
use super::query::Query;
use super::reply::Reply;
use super::soft::Soft;
use super::takeover::{Errand, Slot, Subscriber, Takeover};
use super::{App, redirect, table};
use crate::config;
use crate::dialect::moment::since;
use crate::dialect::native::{self, GapStyle, Native};
use crate::fanout::{AtStop, Style};
use crate::metrics;

const METHODS: &str = "GET, HEAD, OPTIONS";
/// The longest `?wait=`.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// What a subscribe route does.
#[derive(Debug)]
pub struct Subscribe {
    /// The channels of a literal path.
    channels: Vec<ChannelName>,
    style: Arc<Style>,
    retry: Duration,
    retry_jitter: Duration,
    start_id: bool,
    max_channels: usize,
    cors: Option<Cors>,
    soft: Soft,
}

impl Subscribe {
    /// A route with the settings of `[stream]`, some of which `route` overrides. Without `cors` the answers say nothing of
    /// other origins.
    pub fn new(stream: &config::Stream, route: &config::Route, cors: Option<Cors>) -> Self {
        let lifetime = route.lifetime.unwrap_or(stream.lifetime).get();
        let jitter = route.lifetime_jitter.unwrap_or(stream.lifetime_jitter).get();
        let gap = match route.gap.unwrap_or(stream.gap) {
            config::Gap::Event => GapStyle::Event,
            config::Gap::Comment => GapStyle::Comment,
            config::Gap::Off => GapStyle::Off,
        };
        let style = Style {
            profile: Arc::new(Profile::new(Native { gap })),
            gap_has_id: gap == GapStyle::Event,
            ping: route.ping.unwrap_or(stream.ping).get(),
            ping_text: Bytes::from_static(native::PING),
            footer: Bytes::new(),
            at_stop: AtStop::ComesBack,
            lifetime: (!lifetime.is_zero()).then_some((lifetime, lifetime + jitter)),
            stall_limit: route.stall_limit.unwrap_or(stream.stall_limit).get(),
            send_buffer: stream.send_buffer.bytes(),
            unsent_low: stream.unsent_low.bytes() as u32,
        };
        let retry = route.retry.unwrap_or(stream.retry).get();
        let retry_jitter = route.retry_jitter.unwrap_or(stream.retry_jitter).get();
        // Checked when the configuration was read.
        let channels = route.channels.iter().filter_map(|name| ChannelName::parse(name).ok()).collect();
        Self {
            channels,
            style: Arc::new(style),
            retry,
            retry_jitter,
            start_id: route.start_id.unwrap_or(stream.start_id),
            max_channels: route.max_channels.unwrap_or(stream.max_channels),
            cors,
            soft: Soft::new(route.soft_refusal.unwrap_or(stream.soft_refusal), retry, retry_jitter),
        }
    }

    /// Answers a request whose path holds `rest` at the placeholder. `kept` are fields of an application's answer that go with
    /// this one; see [`super::redirect`].
    pub async fn answer(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Parts,
        rest: &str,
        kept: &HeaderMap,
    ) -> Response<Body> {
        let granted = self.grant(app, slot, request, rest, kept).await;
        let mut response = granted.unwrap_or_else(|refusal| self.tell(app, request, &refusal));
        self.dress(&request.headers, kept, response.headers_mut());
        response
    }

    /// The answer to a request that is refused before it gets here.
    pub fn refuse(&self, app: &App, request: &Parts, refusal: &Refusal) -> Response<Body> {
        let mut response = self.tell(app, request, refusal);
        self.dress(&request.headers, &HeaderMap::new(), response.headers_mut());
        response
    }

    fn tell(&self, app: &App, request: &Parts, refusal: &Refusal) -> Response<Body> {
        metrics::add(&app.metrics.http.subscribe_refused, 1);
        self.soft.answer(app, request, refusal).unwrap_or_else(|| refusal.response())
    }

    /// Adds what every answer says of other origins, and what is kept.
    fn dress(&self, request: &HeaderMap, kept: &HeaderMap, answer: &mut HeaderMap) {
        if let Some(cors) = &self.cors {
            cors.apply(request, answer);
        }
        redirect::dress(answer, kept);
    }

    async fn grant(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Parts,
        rest: &str,
        kept: &HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        match request.method {
            Method::GET => {}
            Method::HEAD => {
                app.may_subscribe(request, &self.names(rest)?)?;
                return Ok(head(Body::empty()));
            }
            Method::OPTIONS => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static(METHODS));
                if let Some(cors) = &self.cors {
                    cors.preflight(response.headers_mut(), "GET, HEAD");
                }
                return Ok(response);
            }
            _ => return Err(Refusal::Method(request.method.to_string(), METHODS)),
        }
        let names = self.names(rest)?;
        app.may_subscribe(request, &names)?;
        let ticket = Pass::ticket_of(request);
        let query = Query::of(&request.uri);
        let start = start(app, request, query)?;
        let wait = query.span("wait")?;
        let start_id = query.switch("start-id")?.unwrap_or(self.start_id);
        app.grant(slot, request, names.len())?;
        let plan = app.hub.plan(&names, start).await?;
        let framing = match request.version {
            Version::HTTP_10 => Framing::Raw,
            _ => Framing::Chunked,
        };
        let style = Arc::clone(&self.style);
        let Some(wait) = wait else {
            let retry = super::retry_ms(self.retry, self.retry_jitter);
            let prologue = native::prologue(retry, plan.announce.filter(|_| start_id));
            let errand = Errand::Stream;
            slot.ask(Takeover::Subscriber(Subscriber { plan, style, framing, ticket, presence: None, errand }));
            let mut response = head(Body::Start(Bytes::from(prologue), Arc::clone(slot)));
            // Not after HEAD, which has no stream that could take the connection with it.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(response);
        };
        if wait > MAX_WAIT || has_body(request) {
            let expected = "a span of at most 5m, on a request without a body";
            return Err(Refusal::Parameter { name: "wait", value: format!("{wait:?}"), expected });
        }
        let lead = plan.announce.filter(|_| start_id).map_or_else(Vec::new, native::start);
        let keep_alive = keeps_alive(request);
        let reply = Reply::new(StatusCode::OK, None, &self.answer_headers(request, kept), keep_alive);
        let response =
            Box::new(move |due: Option<&Batch>| reply.with(&[&lead, due.map_or(&[][..], |due| &due.bytes)]).into());
        let errand = Errand::Answer { wait, keep_alive, response };
        let framing = Framing::Raw;
        slot.ask(Takeover::Subscriber(Subscriber { plan, style, framing, ticket, presence: None, errand }));
        slot.all_said();
        // The connection drops this future when it takes the socket.
        std::future::pending().await
    }

    fn names(&self, rest: &str) -> Result<Vec<ChannelName>, Refusal> {
        if self.channels.is_empty() { table::channels(rest, self.max_channels) } else { Ok(self.channels.clone()) }
    }

    fn answer_headers(&self, request: &Parts, kept: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.dress(&request.headers, kept, &mut headers);
        for (name, value) in STREAM_HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers
    }
}

/// The head of a stream. A stock nginx in front streams such an answer through without a setting.
pub(super) fn head(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in STREAM_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

const STREAM_HEADERS: [(HeaderName, &str); 3] = [
    (CONTENT_TYPE, "text/event-stream"),
    (CACHE_CONTROL, "no-store, no-transform"),
    (HeaderName::from_static("x-accel-buffering"), "no"),
];

/// Whether a request came with a body.
pub(super) fn has_body(request: &Parts) -> bool {
    request.headers.contains_key(TRANSFER_ENCODING)
        || request.headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// Whether the client expects to use the connection again (RFC 9112 §9.3).
pub(super) fn keeps_alive(request: &Parts) -> bool {
    let closes = request.headers.get_all(CONNECTION).iter().any(|value| {
        value.as_bytes().split(|&b| b == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    });
    request.version == Version::HTTP_11 && !closes
}

fn after(id: &[u8]) -> StartAt {
    #[cfg(feature = "faults")]
    let id = &crate::faults::resume_off_by_one(id)[..];
    StartAt::After(id.into())
}

/// Where the subscriber wants to begin. What a browser says when it comes back wins over what its URL says.
fn start(app: &App, request: &Parts, query: Query<'_>) -> Result<StartAt, Refusal> {
    if let Some(id) = request.headers.get("last-event-id").filter(|id| !id.is_empty()) {
        return Ok(after(id.as_bytes()));
    }
    if let Some(id) = query.get("lastEventId").filter(|id| !id.is_empty()) {
        return Ok(after(id.as_bytes()));
    }
    if let Some(n) = query.number("last")? {
        return Ok(StartAt::Last(n));
    }
    let now = app.hub.clock().now();
    let expected = "a span of time such as 10m, or an RFC 3339 time";
    if let Some(time) = query.parsed("since", expected, |value| since(value, now))? {
        return Ok(StartAt::Since(time));
    }
    let from = query.parsed("from", "\"start\" (or left out, for live)", |value| match value {
        "start" => Some(StartAt::Oldest),
        "live" => Some(StartAt::Live),
        _ => None,
    })?;
    Ok(from.unwrap_or(StartAt::Live))
}
