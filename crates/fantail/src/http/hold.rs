//! GRIP's holds: an application's answer that goes on with what is published, or that waits for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::{ChannelName, Framing, Profile};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, LAST_MODIFIED, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, response};
use parking_lot::Mutex;

use super::App;
use super::access::Pass;
use super::body::Body;
use super::error::Refusal;
use super::reply::Reply;
use super::subscribe::{has_body, keeps_alive};
use super::takeover::{Errand, Slot, Subscriber, Takeover};
use crate::config;
use crate::dialect::grip::{self, Hold, Instruct, ResponseHold, StreamHold, Viewer};
use crate::dialect::native;
use crate::fanout::{AtStop, Style};
use crate::proxy::{is_event_stream, untransformed};

/// Styles that are remembered to be shared. Beyond these a hold has one for itself.
const STYLES: usize = 1024;

/// What holds of all requests have in common.
#[derive(Debug)]
pub(super) struct Holds {
    stream: config::Stream,
    /// Subscribers of one style are served together, so that holds that are alike share one.
    styles: Mutex<HashMap<Kind, Weak<Style>>>,
}

/// All that makes holds behave differently.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    answers: bool,
    ping: Bytes,
    after: Duration,
    /// They are event streams.
    events: bool,
    already: Vec<(ChannelName, String)>,
}

impl Holds {
    /// Holds with the settings of `[stream]`.
    pub(super) fn new(stream: &config::Stream) -> Self {
        Self { stream: stream.clone(), styles: Mutex::default() }
    }

    fn style(&self, kind: Kind, viewer: Option<Viewer>) -> Arc<Style> {
        if viewer.is_some() {
            return Arc::new(self.make(&kind, viewer));
        }
        let mut styles = self.styles.lock();
        if let Some(style) = styles.get(&kind).and_then(Weak::upgrade) {
            return style;
        }
        let style = Arc::new(self.make(&kind, None));
        if styles.len() >= STYLES {
            styles.retain(|_, style| style.strong_count() > 0);
        }
        if styles.len() < STYLES {
            styles.insert(kind, Arc::downgrade(&style));
        }
        style
    }

    fn make(&self, kind: &Kind, viewer: Option<Viewer>) -> Style {
        let stream = &self.stream;
        let already = kind.already.clone();
        let lifetime = stream.lifetime.get();
        let lasts = (lifetime, lifetime + stream.lifetime_jitter.get());
        Style {
            profile: Arc::new(if kind.answers {
                Profile::new(ResponseHold::new(viewer, already))
            } else {
                Profile::new(StreamHold::new(viewer, already))
            }),
            gap_has_id: false,
            ping: kind.after,
            ping_text: kind.ping.clone(),
            footer: Bytes::new(),
            at_stop: if kind.events { AtStop::ComesBack } else { AtStop::Ends },
            lifetime: (!lifetime.is_zero()).then_some(lasts),
            stall_limit: stream.stall_limit.get(),
            send_buffer: stream.send_buffer.bytes(),
            unsent_low: stream.unsent_low.bytes() as u32,
        }
    }
}

/// Holds a request as its application asks: `answer` and `body` first and then what is published, or what is published first
/// and `answer` and `body` when nothing comes in time.
pub(super) async fn hold(
    app: &App,
    slot: &Arc<Slot>,
    request: &Parts,
    mut answer: response::Parts,
    mut body: Bytes,
) -> Result<Response<Body>, Refusal> {
    let instruct = if grip::is_document(&answer.headers) {
        let document = grip::parse_document(&body).map_err(|error| Refusal::HandOver(error.to_string()))?;
        (answer.status, answer.headers, body) = (document.status, document.headers, document.body);
        document.instruct
    } else {
        Instruct::of(&answer.headers).map_err(|error| Refusal::HandOver(error.to_string()))?
    };
    match grant(app, slot, request, answer, body, &instruct)? {
        Some(response) => Ok(response),
        // The connection drops this future when it takes the socket.
        None => std::future::pending().await,
    }
}

/// The answer; `None` if the request leaves HTTP without one.
fn grant(
    app: &App,
    slot: &Arc<Slot>,
    request: &Parts,
    answer: response::Parts,
    body: Bytes,
    instruct: &Instruct,
) -> Result<Option<Response<Body>>, Refusal> {
    let status = instruct.status.unwrap_or(answer.status);
    let mut headers = answer.headers;
    strip(&mut headers);
    let encoded =
        headers.get(CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let fills = instruct.channels.iter().flat_map(|channel| &channel.filters).any(|filter| filter.is_content());
    if encoded && (fills || instruct.hold == Some(Hold::Stream)) {
        let why =
            "its body has a Content-Encoding, in which it cannot go on; answer in plain text where Grip-Hold is set";
        return Err(Refusal::HandOver(why.to_owned()));
    }
    let body = if fills { grip::fill_body(instruct, body.to_vec()).into() } else { body };
    let (Some(hold), true) = (instruct.hold, request.method != Method::HEAD) else {
        return Ok(Some(respond(status, headers, Body::Full(body))));
    };
    let names: Vec<_> = instruct.channels.iter().map(|channel| channel.key.clone()).collect();
    let most = app.holds.stream.max_channels;
    if names.len() > most {
        return Err(Refusal::HandOver(Refusal::TooManyNames(names.len(), most).to_string()));
    }
    app.grant(slot, request, names.len())?;
    let mut already = Vec::new();
    let plan = app.hub.plan_each(&names, |log| {
        let channel = instruct.channels.iter().find(|channel| channel.key == *log.name())?;
        let prev_id = channel.prev_id.as_deref()?;
        let next = grip::next_after(log, prev_id);
        if next.is_none() {
            already.push((channel.key.clone(), prev_id.to_owned()));
        }
        next
    })?;
    let viewer = Viewer::new(instruct, &plan);
    let events = is_event_stream(&headers);
    let (ping, after) = match &instruct.keep_alive {
        Some(keep_alive) => (keep_alive.content.clone(), keep_alive.after),
        None if events => (Bytes::from_static(native::PING), app.holds.stream.ping.get()),
        None => (Bytes::new(), Duration::ZERO),
    };
    let kind = Kind { answers: hold == Hold::Response, ping, after, events, already };
    let style = app.holds.style(kind, viewer);
    let ticket = Pass::ticket_of(request);
    if hold == Hold::Response {
        let keep_alive = keeps_alive(request) && !has_body(request);
        let response = answering(status, headers, body, keep_alive);
        let errand = Errand::Answer { wait: instruct.timeout, keep_alive, response };
        let framing = Framing::Raw;
        slot.ask(Takeover::Subscriber(Subscriber { plan, style, framing, ticket, presence: None, errand }));
        slot.all_said();
        return Ok(None);
    }
    // What was true of the application's part is not of the whole.
    for name in [ETAG, LAST_MODIFIED, ACCEPT_RANGES].iter().chain(&DIGESTS) {
        headers.remove(name);
    }
    if events {
        let policy = untransformed(&headers);
        headers.insert(CACHE_CONTROL, policy);
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    let framing = if request.version == Version::HTTP_10 { Framing::Raw } else { Framing::Chunked };
    let errand = Errand::Stream;
    slot.ask(Takeover::Subscriber(Subscriber { plan, style, framing, ticket, presence: None, errand }));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(Some(respond(status, headers, Body::Start(body, Arc::clone(slot)))))
}

const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Removes what is between the application and us, and what is about the framing of its own answer.
fn strip(headers: &mut HeaderMap) {
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive")] {
        headers.remove(name);
    }
    let reserved: Vec<_> = headers.keys().filter(|name| grip::is_reserved(name)).cloned().collect();
    for name in reserved {
        headers.remove(name);
    }
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// How a response hold is answered: by the first message, on top of the application's fields; or as the application said.
fn answering(status: StatusCode, headers: HeaderMap, body: Bytes, keep_alive: bool) -> crate::fanout::Respond {
    Box::new(move |due| {
        let answer = due.and_then(|batch| grip::first_response(&batch.bytes));
        let Some((answer, said)) = answer.and_then(|mut answer| answer.body.take().map(|said| (answer, said))) else {
            return Reply::new(status, None, &headers, keep_alive).with(&[&body]).into();
        };
        let mut merged = headers.clone();
        for name in [ETAG, LAST_MODIFIED, ACCEPT_RANGES, CONTENT_ENCODING].iter().chain(&DIGESTS) {
            merged.remove(name);
        }
        // Both parts of each were checked when it was published.
        let theirs = answer
            .headers
            .iter()
            .filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?)));
        let theirs: Vec<_> = theirs.collect();
        for (name, _) in &theirs {
            merged.remove(name);
        }
        for (name, value) in theirs {
            merged.append(name, value);
        }
        let code = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::OK);
        Reply::new(code, answer.reason.as_deref(), &merged, keep_alive).with(&[&said]).into()
    })
}
