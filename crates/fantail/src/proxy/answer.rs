//! An upstream's answer, and what is changed of it on its way to a client.

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

use super::body::Body;
use super::failure::Failure;
use super::fields::{Options, has_essence};
use super::head::write_field;
use super::pulse::Pulse;
use super::request::EVENT_STREAM;
use super::route::Route;
use crate::dialect::grip::is_reserved;

/// Tells an outer nginx to pass a stream on as it comes.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// What caches are told where what the application says cannot be repeated.
const UNCACHED: HeaderValue = HeaderValue::from_static("no-store, no-transform");

/// An upstream's answer, without what belonged to its connection.
#[derive(Debug)]
pub struct Answer {
    /// Its status and fields; those that speak to a proxy are still among them.
    pub parts: http::response::Parts,
    /// Its body.
    pub body: Body,
    /// It is an event stream.
    pub(super) events: bool,
}

impl Answer {
    pub(super) fn new(request: &Parts, route: &Route, status: StatusCode, headers: HeaderMap, mut body: Body) -> Self {
        let options = Options::of(&headers);
        // Where there is no body, or no more than a length, the field tells the length that there would be.
        let uncounted = headers.contains_key(TRANSFER_ENCODING) || status == StatusCode::NO_CONTENT;
        let mut kept = HeaderMap::with_capacity(headers.len());
        let mut last = None;
        for (name, value) in headers {
            last = name.or(last);
            let Some(name) = &last else { continue };
            if !(options.take(name) || uncounted && *name == CONTENT_LENGTH) {
                kept.append(name.clone(), value);
            }
        }
        let events = is_events(request, status, &kept);
        route.response.apply(&mut kept);
        if events {
            let policy = untransformed(&kept);
            kept.insert(CACHE_CONTROL, policy);
        }
        let length = kept.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        body.set_length(length.filter(|_| request.method != Method::HEAD));
        if request.version == Version::HTTP_10 && length.is_none() {
            // Its end is the connection's, which hyper would promise to keep.
            kept.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = status;
        parts.headers = kept;
        Self { parts, body, events }
    }

    /// An answer that was taken apart.
    pub fn again(request: &Parts, parts: http::response::Parts, body: Body) -> Self {
        let events = is_events(request, parts.status, &parts.headers);
        Self { parts, body, events }
    }

    /// Whether it is an event stream that goes on with a body.
    pub fn is_events(&self) -> bool {
        self.events
    }

    /// Whether its request has been read and sent whole, so that the client's socket may be taken from HTTP: what is left of
    /// a body must never be taken for the next request.
    pub fn is_free(&mut self) -> bool {
        self.body.is_read()
    }

    /// Waits until its request has been sent whole, or as much of it as the server takes.
    ///
    /// CANCEL SAFETY: nothing is lost.
    ///
    /// # Errors
    /// [`Failure`], where the client or the server lets it wait for too long.
    pub async fn sent(&mut self) -> Result<(), Failure> {
        self.body.sent().await
    }

    /// Takes out what speaks to a proxy and not to the client.
    pub fn keep_inward(&mut self) {
        let inward: Vec<_> = self.parts.headers.keys().filter(|name| is_reserved(name)).cloned().collect();
        for name in inward {
            self.parts.headers.remove(name);
        }
        if self.events {
            self.parts.headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
        }
    }

    /// The answer as HTTP sends it, with heartbeats where it is an event stream.
    pub fn into_response(mut self, route: &Route) -> Response<Body> {
        if self.body.is_held() {
            // What the client sends next may be this body or another request, and nothing tells them apart.
            self.parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.events {
            self.body.endless();
            self.body.beat(if may_beat(&self.parts) { Pulse::new(route.ping) } else { None });
        }
        Response::from_parts(self.parts, self.body)
    }
}

/// What an event stream says of caching: what the application said, and that nobody may transform it.
pub fn untransformed(headers: &HeaderMap) -> HeaderValue {
    let said = headers.get_all(CACHE_CONTROL).iter().map(HeaderValue::as_bytes).filter(|said| !said.is_empty());
    let mut policy = said.collect::<Vec<_>>().join(&b", "[..]);
    if policy.is_empty() {
        policy.extend_from_slice(b"no-store");
    }
    if !policy.windows(12).any(|word| word.eq_ignore_ascii_case(b"no-transform")) {
        policy.extend_from_slice(b", no-transform");
    }
    HeaderValue::from_bytes(&policy).unwrap_or(UNCACHED)
}

/// Whether an answer is an event stream that goes on with a body.
fn is_events(request: &Parts, status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::OK && request.method != Method::HEAD && is_event_stream(headers)
}

/// Whether the fields of an answer say that its body is an event stream.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| has_essence(kind, EVENT_STREAM))
}

/// Whether a status speaks of this moment alone: the same request may get another one soon.
pub fn is_momentary(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Whether comments may be put into a body: not where its bytes are coded, counted or signed.
pub(super) fn may_beat(parts: &http::response::Parts) -> bool {
    let digests = ["repr-digest", "content-digest", "digest"];
    !parts.headers.contains_key(CONTENT_ENCODING)
        && !parts.headers.contains_key(CONTENT_LENGTH)
        && digests.iter().all(|digest| !parts.headers.contains_key(*digest))
}

/// A head as it is sent to a client, still without the blank line behind it.
pub(super) fn head_lines(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let options = Options::of(headers);
    let reason = status.canonical_reason().unwrap_or("");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers {
        let counts = *name == CONTENT_LENGTH && status.is_informational();
        if !(options.take(name) || counts || is_reserved(name) && *name != ACCEL_BUFFERING) {
            write_field(&mut head, name, value);
        }
    }
    head
}
