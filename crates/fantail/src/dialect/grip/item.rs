//! What an application publishes: `{"items": […]}`, each item for a channel and in one or more formats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fantail_hub::{ChannelName, NewMessage};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use thiserror::Error;

use super::channel::channel;
use super::envelope::{Content, Envelope, Formats, Label, Response, Stream};
use super::filter::Filter;

/// One item, ready for the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where to.
    pub channel: ChannelName,
    envelope: Envelope,
}

impl Item {
    /// As the hub takes it.
    pub fn message(&self) -> NewMessage<'_> {
        let Envelope { data, id, event } = &self.envelope;
        NewMessage { data, event: event.as_ref(), id: id.as_ref() }
    }
}

/// What is wrong with what was published, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place} {what}")]
pub struct ItemError {
    /// Such as `items[3].formats.http-stream.content`.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

fn wrong<T>(place: &str, what: impl Into<String>) -> Result<T, ItemError> {
    Err(ItemError { place: place.to_owned(), what: what.into() })
}

/// Reads a body.
///
/// # Errors
/// [`ItemError`]; then nothing of it is to be published.
pub fn parse_items(body: &[u8]) -> Result<Vec<Item>, ItemError> {
    let body: Value = match serde_json::from_slice(body) {
        Ok(body) => body,
        Err(error) => return wrong("the body", format!("is not JSON: {error}")),
    };
    let mut body = object(body, "the body")?;
    match take(&mut body, "items") {
        Some(Value::Array(items)) => {
            items.into_iter().enumerate().map(|(at, item)| parse_item(item, &format!("items[{at}]"))).collect()
        }
        Some(_) => wrong("items", "is not an array"),
        None => wrong("items", "is missing"),
    }
}

fn parse_item(item: Value, place: &str) -> Result<Item, ItemError> {
    let mut item = object(item, place)?;
    let at = |name: &str| format!("{place}.{name}");
    let Some(name) = text(&mut item, "channel", place)? else { return wrong(&at("channel"), "is missing") };
    let channel = match channel(&name) {
        Ok(channel) => channel,
        Err(error) => return wrong(&at("channel"), format!("cannot be used: {error}")),
    };
    let mut label =
        Label { id: text(&mut item, "id", place)?, prev_id: text(&mut item, "prev-id", place)?, ..Label::default() };
    if let Some(meta) = take(&mut item, "meta") {
        for (name, value) in object(meta, &at("meta"))? {
            let Value::String(value) = value else { return wrong(&at(&format!("meta.{name}")), "is not a string") };
            label.meta.insert(name, value);
        }
    }
    // Older libraries put the formats into the item itself.
    let (mut formats, place) = match take(&mut item, "formats") {
        Some(formats) => (object(formats, &at("formats"))?, at("formats")),
        None => (item, place.to_owned()),
    };
    let mut read = Formats::default();
    if let Some(stream) = take(&mut formats, "http-stream") {
        read.stream = Some(parse_stream(stream, &format!("{place}.http-stream"))?);
    }
    if let Some(response) = take(&mut formats, "http-response") {
        read.response = Some(parse_response(response, &format!("{place}.http-response"))?);
    }
    if read == Formats::default() {
        return wrong(&place, "holds neither \"http-stream\" nor \"http-response\"");
    }
    Ok(Item { channel, envelope: Envelope::seal(label, &read) })
}

fn parse_stream(format: Value, place: &str) -> Result<Stream, ItemError> {
    let mut format = object(format, place)?;
    let close = parse_action(&mut format, place)?;
    let content = content(&mut format, "content", place)?;
    if content.is_none() && !close {
        return wrong(&format!("{place}.content"), "is missing");
    }
    Ok(Stream { content: content.unwrap_or_default(), close, filters: parse_filters(&mut format, place)? })
}

fn parse_response(format: Value, place: &str) -> Result<Response, ItemError> {
    let mut format = object(format, place)?;
    let at = |name: &str| format!("{place}.{name}");
    let close = parse_action(&mut format, place)?;
    if format.contains_key("body-patch") {
        return wrong(&at("body-patch"), "is not understood here: send the whole body");
    }
    let code = match take(&mut format, "code") {
        None => None,
        Some(code) => {
            let number = code.as_u64().or_else(|| code.as_str()?.parse().ok());
            match number.and_then(|code| u16::try_from(code).ok()).filter(|code| (200..=599).contains(code)) {
                Some(code) => Some(code),
                None => return wrong(&at("code"), format!("is {code}, not a status from 200 to 599")),
            }
        }
    };
    let reason = text(&mut format, "reason", place)?;
    if reason.as_ref().is_some_and(|reason| reason.chars().any(char::is_control)) {
        return wrong(&at("reason"), "holds a control character");
    }
    let headers = take(&mut format, "headers").map(|headers| parse_headers(headers, &at("headers"))).transpose()?;
    Ok(Response {
        code,
        reason,
        headers: headers.unwrap_or_default(),
        body: content(&mut format, "body", place)?.unwrap_or_default(),
        close,
        filters: parse_filters(&mut format, place)?,
    })
}

/// Header fields, as an object or as pairs. Those about the message's framing are left out: that is ours.
pub(super) fn parse_headers(headers: Value, place: &str) -> Result<Vec<(String, String)>, ItemError> {
    let mut pairs = Vec::new();
    match headers {
        Value::Object(headers) => {
            for (name, value) in headers {
                match value {
                    Value::String(value) => pairs.push((name, value)),
                    _ => return wrong(&format!("{place}.{name}"), "is not a string"),
                }
            }
        }
        Value::Array(headers) => {
            for (at, header) in headers.into_iter().enumerate() {
                match <[Value; 2]>::try_from(Vec::from_iter(header.as_array().cloned().unwrap_or_default())) {
                    Ok([Value::String(name), Value::String(value)]) => pairs.push((name, value)),
                    _ => return wrong(&format!("{place}[{at}]"), "is not a pair of strings"),
                }
            }
        }
        _ => return wrong(place, "is neither an object nor an array of pairs"),
    }
    for (name, value) in &pairs {
        if HeaderName::try_from(name).is_err() {
            return wrong(place, format!("holds {name:?}, which is no field's name"));
        }
        if HeaderValue::try_from(value).is_err() {
            return wrong(&format!("{place}.{name}"), "holds a control character");
        }
    }
    pairs.retain(|(name, _)| !is_framing(name));
    Ok(pairs)
}

fn is_framing(name: &str) -> bool {
    const FRAMING: [&str; 7] =
        ["content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"];
    FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing))
}

/// Whether the action is to close.
fn parse_action(format: &mut Map<String, Value>, place: &str) -> Result<bool, ItemError> {
    match text(format, "action", place)?.as_deref() {
        None | Some("send") => Ok(false),
        Some("close") => Ok(true),
        Some("hint") => {
            wrong(&format!("{place}.action"), "is \"hint\", but Grip-Link is not followed here: send the content")
        }
        Some(action) => wrong(&format!("{place}.action"), format!("is {action:?}, not \"send\" or \"close\"")),
    }
}

fn parse_filters(format: &mut Map<String, Value>, place: &str) -> Result<Option<Vec<Filter>>, ItemError> {
    let place = format!("{place}.content-filters");
    let Some(filters) = take(format, "content-filters") else { return Ok(None) };
    let Value::Array(filters) = filters else { return wrong(&place, "is not an array") };
    let parse = |(at, filter): (usize, &Value)| {
        let known = filter.as_str().and_then(Filter::parse).filter(|filter| filter.is_content());
        known.map_or_else(
            || wrong(&format!("{place}[{at}]"), format!("is {filter}, not {}", Filter::EXPECTED_CONTENT)),
            Ok,
        )
    };
    filters.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Some)
}

/// Text under `name`, or bytes under `name-bin`.
pub(super) fn content(format: &mut Map<String, Value>, name: &str, place: &str) -> Result<Option<Content>, ItemError> {
    let bin = format!("{name}-bin");
    if let Some(base64) = text(format, &bin, place)? {
        if STANDARD.decode(&base64).is_err() {
            return wrong(&format!("{place}.{bin}"), "is not valid base64");
        }
        return Ok(Some(Content::Base64(base64)));
    }
    Ok(text(format, name, place)?.map(Content::Text))
}

pub(super) fn text(from: &mut Map<String, Value>, name: &str, place: &str) -> Result<Option<String>, ItemError> {
    match take(from, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => wrong(&format!("{place}.{name}"), "is not a string"),
    }
}

pub(super) fn object(value: Value, place: &str) -> Result<Map<String, Value>, ItemError> {
    match value {
        Value::Object(object) => Ok(object),
        _ => wrong(place, "is not an object"),
    }
}

/// The value of this name; null is none.
pub(super) fn take(from: &mut Map<String, Value>, name: &str) -> Option<Value> {
    from.remove(name).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use fantail_hub::{Kind, Message, Millis};
    use serde_json::json;

    use super::*;
    use crate::dialect::grip::envelope;

    fn parse(body: &Value) -> Result<Vec<Item>, String> {
        parse_items(body.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    /// What the hub would hold of the first item.
    fn first(body: &Value) -> (Label, Formats, Option<String>) {
        let items = parse(body).unwrap();
        let message = Message::new(Millis(0), Kind::Data, items[0].message());
        let id = message.id().map(str::to_owned);
        (envelope::label(&message).unwrap(), envelope::formats(&message).unwrap(), id)
    }

    #[test]
    fn items_as_the_node_library_sends_them() {
        let body = json!({"items": [
            {"channel": "a", "id": "2", "prev-id": "1", "formats": {"http-stream": {"content": "x\n"}}},
            {"channel": "a/b", "formats": {"http-stream": {"action": "close", "content": ""}}},
        ]});
        let items = parse(&body).unwrap();
        let channels: Vec<_> = items.iter().map(|item| item.channel.as_str()).collect();
        assert_eq!(channels, ["grip:a", "grip:a%2Fb"]);
        assert_eq!(items.iter().map(|item| item.message().event.is_some()).collect::<Vec<_>>(), [false, true]);
        let (label, formats, id) = first(&body);
        assert_eq!((label.prev_id.as_deref(), id.as_deref()), (Some("1"), Some("2")));
        assert_eq!(formats.stream.unwrap().content, Content::Text("x\n".to_owned()));
    }

    #[test]
    fn items_as_the_python_library_sends_them() {
        let (label, formats, _) = first(&json!({"items": [{
            "channel": "a", "meta": {"skip_users": "1,2"},
            "http-stream": {"content-bin": "AP8=", "content-filters": ["build-id"]},
            "http-response": {"code": 201, "reason": "So", "headers": {"A": "b", "content-length": "3"}, "body": "x"},
            "ws-message": {"content": "x"},
        }]}));
        assert_eq!(label.meta["skip_users"], "1,2");
        let stream = formats.stream.unwrap();
        assert_eq!((stream.content.bytes(), stream.filters), (vec![0, 255], Some(vec![Filter::BuildId])));
        let response = formats.response.unwrap();
        assert_eq!((response.code, response.reason.as_deref()), (Some(201), Some("So")));
        assert_eq!(response.headers, [("A".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn items_that_are_wrong_name_place_and_reason() {
        let stream = |format: Value| json!({"items": [{"channel": "b", "formats": {"http-stream": format}}]});
        let response = |format: Value| json!({"items": [{"channel": "b", "formats": {"http-response": format}}]});
        for (body, expected) in [
            (json!([]), "the body is not an object"),
            (json!({}), "items is missing"),
            (json!({"items": {}}), "items is not an array"),
            (json!({"items": [1]}), "items[0] is not an object"),
            (json!({"items": [{}]}), "items[0].channel is missing"),
            (json!({"items": [{"channel": ""}]}), "items[0].channel cannot be used: a channel's name is empty"),
            (json!({"items": [{"channel": 7}]}), "items[0].channel is not a string"),
            (json!({"items": [{"channel": "a", "id": 7}]}), "items[0].id is not a string"),
            (json!({"items": [{"channel": "a", "meta": {"x": 1}}]}), "items[0].meta.x is not a string"),
            (
                json!({"items": [{"channel": "a", "formats": {"ws-message": {}}}]}),
                "items[0].formats holds neither \"http-stream\" nor \"http-response\"",
            ),
            (stream(json!("x")), "items[0].formats.http-stream is not an object"),
            (stream(json!({})), "items[0].formats.http-stream.content is missing"),
            (stream(json!({"content": null})), "items[0].formats.http-stream.content is missing"),
            (stream(json!({"content": 1})), "items[0].formats.http-stream.content is not a string"),
            (stream(json!({"content-bin": "?"})), "items[0].formats.http-stream.content-bin is not valid base64"),
            (
                stream(json!({"action": "jump"})),
                "items[0].formats.http-stream.action is \"jump\", not \"send\" or \"close\"",
            ),
            (
                stream(json!({"action": "hint"})),
                "items[0].formats.http-stream.action is \"hint\", but Grip-Link is not followed here: send the content",
            ),
            (
                stream(json!({"content": "", "content-filters": ["skip-self"]})),
                "items[0].formats.http-stream.content-filters[0] is \"skip-self\", not build-id or var-subst",
            ),
            (response(json!({"code": 99})), "items[0].formats.http-response.code is 99, not a status from 200 to 599"),
            (response(json!({"reason": "a\nb"})), "items[0].formats.http-response.reason holds a control character"),
            (
                response(json!({"headers": {"a b": "x"}})),
                "items[0].formats.http-response.headers holds \"a b\", which is no field's name",
            ),
            (
                response(json!({"headers": [["a", "x\r\ny: z"]]})),
                "items[0].formats.http-response.headers.a holds a control character",
            ),
            (
                response(json!({"headers": [["a"]]})),
                "items[0].formats.http-response.headers[0] is not a pair of strings",
            ),
            (
                response(json!({"body-patch": []})),
                "items[0].formats.http-response.body-patch is not understood here: send the whole body",
            ),
        ] {
            assert_eq!(parse(&body).unwrap_err(), expected);
        }
        let error = parse_items(b"{").unwrap_err().to_string();
        assert!(error.starts_with("the body is not JSON: "), "{error}");
    }
}
