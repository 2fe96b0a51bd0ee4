//! `POST|PUT /pub/{channel}[/{channel}…]` publishes, `GET` tells, `DELETE` ends.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use fantail_hub::hub::Publish as One;
use fantail_hub::{ChannelName, IdempotencyKey, NewMessage, Published, Traits};
use fantail_sse::{EventId, EventName};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;

use super::body::Body;
use super::error::{Refusal, json};
use super::query::Query;
use super::{App, stats, table};
use crate::metrics;

const METHODS: &str = "GET, POST, PUT, DELETE";
/// Channels that one request may publish to.
const MAX_CHANNELS: usize = 64;

/// What a publish route does.
#[derive(Debug, Default)]
pub struct Publish {
    /// The channels of a literal path.
    pub channels: Vec<ChannelName>,
    /// It stands on the public listener: there is nothing but publishing, since whoever may speak may not for that reason
    /// end a channel or see who listens.
    pub only_publish: bool,
}

/// What a publisher is told of one channel. Numbers that may exceed what JavaScript can count are strings.
#[derive(Debug, Serialize)]
struct Done<'a> {
    channel: &'a str,
    epoch: String,
    offset: String,
    id: String,
    subscribers: u32,
    duplicate: bool,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    published: Vec<Done<'a>>,
    /// Why the channels after these were not published to.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Publish {
    /// Answers a request whose path holds `rest` at the placeholder.
    pub async fn answer(&self, app: &App, request: &Parts, body: Incoming, rest: &str) -> Response<Body> {
        let answer = self.act(app, request, body, rest).await;
        answer.unwrap_or_else(|refusal| {
            metrics::add(&app.metrics.http.publish_refused, 1);
            refusal.response()
        })
    }

    async fn act(&self, app: &App, request: &Parts, body: Incoming, rest: &str) -> Result<Response<Body>, Refusal> {
        let names = if self.channels.is_empty() { table::channels(rest, MAX_CHANNELS)? } else { self.channels.clone() };
        app.may_publish(request, &names)?;
        if self.only_publish {
            let ends = Query::of(&request.uri).get("end");
            match request.method {
                Method::POST | Method::PUT if ends.is_none() => {}
                Method::POST | Method::PUT => {
                    let (value, expected) = (ends.unwrap_or_default().into_owned(), "allowed on the public listener");
                    return Err(Refusal::Parameter { name: "end", value, expected });
                }
                _ => return Err(Refusal::Method(request.method.to_string(), "POST, PUT")),
            }
        }
        match request.method {
            Method::POST | Method::PUT => publish(app, request, body, &names).await,
            Method::GET | Method::HEAD => stats::channels(app, &names).await,
            Method::DELETE => end(app, body, &names).await,
            _ => Err(Refusal::Method(request.method.to_string(), METHODS)),
        }
    }
}

async fn publish(app: &App, request: &Parts, body: Incoming, names: &[ChannelName]) -> Result<Response<Body>, Refusal> {
    let query = Query::of(&request.uri);
    let event = text(&request.headers, query, "event-type", "event")?;
    let event = event.map(|name| EventName::parse(&name)).transpose()?;
    let id = text(&request.headers, query, "event-id", "id")?;
    let id = id.map(|id| EventId::parse(&id)).transpose()?;
    let key = match request.headers.get("idempotency-key") {
        None => None,
        Some(key) => Some(
            IdempotencyKey::parse(key.as_bytes())
                .ok_or(Refusal::Header { name: "Idempotency-Key", expected: "1 to 255 bytes" })?,
        ),
    };
    let ends = query.switch("end")?.unwrap_or(false);
    if request.headers.contains_key(CONTENT_ENCODING) {
        let why = "a Content-Encoding is not understood here: send the data as it is";
        return Err(Refusal::MediaType(why.to_owned()));
    }
    if !request.headers.contains_key(CONTENT_LENGTH) && !request.headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::LengthRequired);
    }
    let data = read(app, body, app.hub.limits().message).await?;
    let data = utf8(&data)?;
    let said = NewMessage { data, event: event.as_ref(), id: id.as_ref() };
    let mut done = Vec::with_capacity(names.len());
    for channel in names {
        match app.hub.publish(One { channel, said, key: key.as_ref(), ends, traits: Traits::default() }).await {
            Ok(published) => done.push(tell(channel, id.as_ref(), &published)),
            Err(error) if done.is_empty() => return Err(error.into()),
            Err(error) => {
                // Those before it stand; the answer has to say both.
                let refusal = Refusal::from(error);
                let mut response = json(&Answer { published: done, error: Some(refusal.to_string()) });
                refusal.head(&mut response);
                return Ok(response);
            }
        }
    }
    Ok(json(&Answer { published: done, error: None }))
}

async fn end(app: &App, body: Incoming, names: &[ChannelName]) -> Result<Response<Body>, Refusal> {
    let last_word = read(app, body, app.hub.limits().message).await?;
    let last_word = utf8(&last_word)?;
    let mut known = Vec::with_capacity(names.len());
    for name in names {
        if app.hub.describe(name).await?.is_some() {
            known.push(name);
        }
    }
    if let ([name], []) = (names, &*known) {
        return Err(Refusal::NoChannel(name.to_string()));
    }
    let mut done = Vec::with_capacity(known.len());
    for channel in known {
        done.push(tell(channel, None, &app.hub.end(channel, last_word).await?));
    }
    let mut response = json(&serde_json::json!({ "ended": done }));
    if done.is_empty() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

fn tell<'a>(channel: &'a ChannelName, id: Option<&EventId>, published: &Published) -> Done<'a> {
    Done {
        channel: channel.as_str(),
        epoch: published.position.epoch.to_string(),
        offset: published.position.offset.to_string(),
        id: id.map_or_else(|| published.position.to_string(), |id| id.as_str().to_owned()),
        subscribers: published.subscribers,
        duplicate: published.duplicate,
    }
}

/// A text from a header, or from the query for publishers that cannot set headers. An empty one is none.
fn text(
    headers: &HeaderMap,
    query: Query<'_>,
    header: &'static str,
    parameter: &'static str,
) -> Result<Option<String>, Refusal> {
    let value = match headers.get(header) {
        Some(value) => {
            let text = std::str::from_utf8(value.as_bytes());
            Some(text.map_err(|_| Refusal::Header { name: header, expected: "valid UTF-8" })?.to_owned())
        }
        None => query.get(parameter).map(std::borrow::Cow::into_owned),
    };
    Ok(value.filter(|value| !value.is_empty()))
}

/// The whole body, within the limits of size and time.
pub(super) async fn read(app: &App, body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    // Known beforehand: refused before a byte of it is read.
    if http_body::Body::size_hint(&body).lower() > limit as u64 {
        return Err(Refusal::TooLarge(limit));
    }
    if http_body::Body::is_end_stream(&body) {
        return Ok(Bytes::new());
    }
    let mut body = Limited::new(body, limit);
    let mut whole = Bytes::new();
    let mut pace = app.body_pace;
    // Silence is counted from frame to frame, and the pace over all of them.
    loop {
        pace.waits(Instant::now());
        let frame = tokio::time::timeout(app.body_timeout, body.frame()).await;
        let data = match frame.map_err(|_| Refusal::BodyTimeout(app.body_timeout))? {
            None => return Ok(whole),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge(limit)),
            Some(Err(_)) => return Err(Refusal::Body),
        };
        if !pace.came(data.len(), Instant::now()) {
            return Err(Refusal::BodyTooSlow);
        }
        whole = if whole.is_empty() { data } else { join(whole, &data) };
    }
}

/// Nearly always a body is one frame, which is not copied; here it is the second or a later one.
fn join(head: Bytes, more: &[u8]) -> Bytes {
    let mut joined = BytesMut::from(head);
    joined.extend_from_slice(more);
    joined.freeze()
}

fn utf8(data: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(data).map_err(|error| Refusal::NotUtf8(error.valid_up_to()))
}
