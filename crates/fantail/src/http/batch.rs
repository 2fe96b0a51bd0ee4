//! `POST /pub` with `application/x-ndjson`: many messages, a line each, applied in order while they arrive.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use fantail_hub::hub::Publish;
use fantail_hub::{AppendError, ChannelName, IdempotencyKey, NewMessage, PublishError, Traits};
use fantail_sse::{EventId, EventName};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::access::Pass;
use super::body::Body;
use super::error::{Refusal, json};
use super::{App, table};
use crate::metrics;

/// Lines that go to the journal together.
const TOGETHER: usize = 256;
/// Refused lines that are named in the answer; the rest are only counted.
const NAMED: usize = 100;
/// What JSON may add to a message: escapes of every byte (six each), names and braces.
const fn line_limit(message: usize) -> usize {
    message.saturating_mul(6).saturating_add(4096)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
}

/// A line, checked.
struct Ready<'a> {
    channel: ChannelName,
    data: Cow<'a, str>,
    event: Option<EventName>,
    id: Option<EventId>,
    key: Option<IdempotencyKey>,
}

#[derive(Default, Serialize)]
struct Answer {
    /// Lines done, refused ones included. With a failure the rest is to be sent again, of which lines that went to the journal
    /// together with the one that failed may have been published all the same.
    applied: u64,
    /// Of these, lines that were published.
    published: u64,
    /// How many lines were refused.
    refused_lines: u64,
    /// The first of them.
    refused: Vec<Refused>,
    /// Why the rest of the body was not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Refused {
    line: u64,
    error: String,
}

/// Answers a request.
pub async fn answer(app: &App, request: &Parts, body: Incoming) -> Response<Body> {
    match check(request) {
        Ok(()) => apply(app, &Pass::of(request), body).await,
        Err(refusal) => {
            metrics::add(&app.metrics.http.publish_refused, 1);
            refusal.response()
        }
    }
}

fn check(request: &Parts) -> Result<(), Refusal> {
    if request.method != Method::POST {
        return Err(Refusal::Method(request.method.to_string(), "POST"));
    }
    let given = request.headers.get(CONTENT_TYPE).map_or(&b""[..], http::HeaderValue::as_bytes);
    let essence = given.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    if !essence.eq_ignore_ascii_case(b"application/x-ndjson") || request.headers.contains_key(CONTENT_ENCODING) {
        let given = String::from_utf8_lossy(given);
        return Err(Refusal::MediaType(format!(
            "a batch is application/x-ndjson without Content-Encoding, not {given:?}; one message goes to /pub/CHANNEL"
        )));
    }
    Ok(())
}

async fn apply(app: &App, pass: &Pass, mut body: Incoming) -> Response<Body> {
    let limit = line_limit(app.hub.limits().message);
    let mut answer = Answer::default();
    let mut rest = BytesMut::new();
    let mut failure = loop {
        let frame = match tokio::time::timeout(app.body_timeout, body.frame()).await {
            Err(_) => break Some(Refusal::BodyTimeout(app.body_timeout)),
            Ok(Some(Err(_))) => break Some(Refusal::Body),
            Ok(None) => break None,
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        // Whole lines are taken from the frame as it is; only a line that is cut in two is copied.
        let Some(end) = data.iter().rposition(|&b| b == b'\n') else {
            rest.extend_from_slice(&data);
            if rest.len() > limit {
                break Some(Refusal::TooLarge(limit));
            }
            continue;
        };
        let (whole, tail) = (data.slice(..=end), data.slice(end + 1..));
        let done = if rest.is_empty() {
            lines(app, pass, &whole, &mut answer).await
        } else {
            rest.extend_from_slice(&whole);
            let joined = std::mem::take(&mut rest).freeze();
            lines(app, pass, &joined, &mut answer).await
        };
        if let Err(failure) = done {
            break Some(failure);
        }
        rest.extend_from_slice(&tail);
        tokio::task::consume_budget().await;
    };
    if failure.is_none() && !rest.is_empty() {
        failure = lines(app, pass, &rest.freeze(), &mut answer).await.err();
    }
    metrics::add(&app.metrics.http.publish_refused, answer.refused_lines);
    answer.error = failure.as_ref().map(ToString::to_string);
    let mut response = json(&answer);
    if let Some(failure) = failure {
        failure.head(&mut response);
        response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    response
}

/// Applies whole lines, a bunch at a time; ends at the first that the journal cannot keep.
async fn lines(app: &App, pass: &Pass, text: &Bytes, answer: &mut Answer) -> Result<(), Refusal> {
    // A line that is not blank, or why it is refused.
    let mut bunch: Vec<Option<Result<Ready<'_>, String>>> = Vec::with_capacity(TOGETHER);
    let mut lines = text.split(|&b| b == b'\n').peekable();
    while let Some(line) = lines.next() {
        if lines.peek().is_none() && line.is_empty() {
            break;
        }
        bunch.push((!line.trim_ascii().is_empty()).then(|| parse(line, pass)));
        if bunch.len() == TOGETHER {
            publish(app, &mut bunch, answer).await?;
        }
    }
    publish(app, &mut bunch, answer).await
}

async fn publish(
    app: &App,
    bunch: &mut Vec<Option<Result<Ready<'_>, String>>>,
    answer: &mut Answer,
) -> Result<(), Refusal> {
    let ready = bunch.iter().flatten().flatten();
    let requests: Vec<_> = ready
        .map(|ready| Publish {
            channel: &ready.channel,
            said: NewMessage { data: &ready.data, event: ready.event.as_ref(), id: ready.id.as_ref() },
            key: ready.key.as_ref(),
            ends: false,
            traits: Traits::default(),
        })
        .collect();
    let mut results = app.hub.publish_all(&requests).await.into_iter();
    for line in bunch.drain(..) {
        match line {
            None => {}
            Some(Err(error)) => answer.refuse(error),
            Some(Ok(_)) => match results.next().expect("one answer for one request") {
                Ok(_) => answer.published += 1,
                // The next lines would fare no better, and whoever sends them can wait and go on here.
                Err(error @ PublishError::Journal(AppendError::Full(_) | AppendError::Failing(_))) => {
                    metrics::add(&app.metrics.http.publish_refused, 1);
                    return Err(error.into());
                }
                Err(error) => answer.refuse(error.to_string()),
            },
        }
        answer.applied += 1;
    }
    Ok(())
}

impl Answer {
    /// Refuses the line behind those that were applied.
    fn refuse(&mut self, error: String) {
        self.refused_lines += 1;
        if self.refused.len() < NAMED {
            self.refused.push(Refused { line: self.applied + 1, error });
        }
    }
}

fn parse<'t>(text: &'t [u8], pass: &Pass) -> Result<Ready<'t>, String> {
    let text = std::str::from_utf8(text).map_err(|error| format!("not valid UTF-8 at byte {}", error.valid_up_to()))?;
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let raw = line.data.get();
    let data = if raw.starts_with('"') {
        serde_json::from_str::<Text<'_>>(raw).map_err(|error| error.to_string())?.0
    } else {
        Cow::Borrowed(raw)
    };
    let key = |key: Cow<'_, str>| {
        IdempotencyKey::parse(key.as_bytes()).ok_or_else(|| "key is not 1 to 255 bytes long".to_owned())
    };
    let channel = name(&line.channel).map_err(|refusal| refusal.to_string())?;
    pass.may_publish([&channel]).map_err(|denial| denial.to_string())?;
    Ok(Ready {
        channel,
        data,
        event: line.event.map(|name| EventName::parse(&name)).transpose().map_err(|error| error.to_string())?,
        id: line.id.map(|id| EventId::parse(&id)).transpose().map_err(|error| error.to_string())?,
        key: line.key.map(key).transpose()?,
    })
}

fn name(text: &str) -> Result<ChannelName, Refusal> {
    let name = ChannelName::parse(text)?;
    if table::is_reserved(&name) { Err(Refusal::ReservedName(name.to_string())) } else { Ok(name) }
}

/// A string that is borrowed where it holds no escapes; a bare `Cow` would always be copied.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> Result<Ready<'_>, String> {
        super::parse(text, &Pass::open())
    }

    #[test]
    fn parse_takes_strings_as_text_and_other_json_as_it_is() {
        let ready = parse(br#"{"channel":"a","data":"x\ny","event":"e","id":"7","key":"k"}"#).unwrap();
        assert_eq!((&*ready.data, ready.event.unwrap().as_str(), ready.id.unwrap().as_str()), ("x\ny", "e", "7"));
        let ready = parse(br#"{"channel":"a","data":{"n": [1, 2]}}"#).unwrap();
        assert_eq!(ready.data, r#"{"n": [1, 2]}"#);
        assert!(matches!(parse(br#"{"channel":"a","data":"plain"}"#).unwrap().data, Cow::Borrowed("plain")));
        assert_eq!(parse(br#"{"channel":"a","data":null}"#).unwrap().data, "null");
    }

    #[test]
    fn parse_bad_lines_say_what_was_wrong() {
        for (line, wrong) in [
            (&b"{"[..], "EOF"),
            (br#"{"channel":"a"}"#, "missing field `data`"),
            (br#"{"channel":"a/b","data":""}"#, "'/'"),
            (br#"{"channel":"grip:a","data":""}"#, "belongs to GRIP"),
            (br#"{"channel":"a","data":"","extra":1}"#, "unknown field `extra`"),
            (br#"{"channel":"a","data":"","event":"a\nb"}"#, "event name"),
            (br#"{"channel":"a","data":"","key":""}"#, "key"),
            (b"\xff", "not valid UTF-8 at byte 0"),
        ] {
            let error = parse(line).err().unwrap();
            assert!(error.contains(wrong), "{error:?} does not mention {wrong:?}");
        }
    }
}
