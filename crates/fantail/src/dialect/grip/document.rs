//! Instructions as a JSON body (`application/grip-instruct`), which older libraries answer with instead of header fields.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use thiserror::Error;

use super::instruct::{Instruct, InstructError, parse_hold, parse_timeout};
use super::item::{ItemError, content, object, parse_headers, take, text};

/// What such a body says: the instructions, and the answer that they stand for.
#[derive(Debug)]
pub struct Document {
    /// What is asked for.
    pub instruct: Instruct,
    /// The answer's status.
    pub status: StatusCode,
    /// The answer's fields.
    pub headers: HeaderMap,
    /// The answer's body.
    pub body: Bytes,
}

/// Why such a body cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("application/grip-instruct: {0}")]
pub enum DocumentError {
    /// It is not built as it should be.
    Shape(#[from] ItemError),
    /// What it asks for.
    Instruct(#[from] InstructError),
}

/// Reads such a body.
///
/// # Errors
/// [`DocumentError`] names the place and the reason.
pub fn parse_document(body: &[u8]) -> Result<Document, DocumentError> {
    let wrong = |place: &str, what: String| DocumentError::Shape(ItemError { place: place.to_owned(), what });
    let body: Value =
        serde_json::from_slice(body).map_err(|error| wrong("the body", format!("is not JSON: {error}")))?;
    let mut body = object(body, "the body")?;
    let mut instruct = Instruct::new(None);
    if let Some(hold) = take(&mut body, "hold") {
        let mut hold = object(hold, "hold")?;
        let mode = text(&mut hold, "mode", "hold")?.ok_or_else(|| wrong("hold.mode", "is missing".to_owned()))?;
        instruct.hold = Some(parse_hold(&mode)?);
        let Some(Value::Array(channels)) = take(&mut hold, "channels") else {
            return Err(wrong("hold.channels", "is not an array".to_owned()));
        };
        for (at, channel) in channels.into_iter().enumerate() {
            let place = format!("hold.channels[{at}]");
            let mut channel = object(channel, &place)?;
            let name = text(&mut channel, "name", &place)?.unwrap_or_default();
            instruct.add(name, text(&mut channel, "prev-id", &place)?, Vec::new())?;
        }
        if let Some(timeout) = take(&mut hold, "timeout") {
            instruct.timeout = parse_timeout("hold.timeout", &timeout.to_string())?;
        }
    }
    let (mut status, mut headers, mut content_of) = (StatusCode::OK, HeaderMap::new(), Bytes::new());
    if let Some(response) = take(&mut body, "response") {
        let mut response = object(response, "response")?;
        if let Some(code) = take(&mut response, "code") {
            let known = code.as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 200);
            status = known
                .and_then(|code| StatusCode::from_u16(code).ok())
                .ok_or_else(|| wrong("response.code", format!("is {code}, not a status")))?;
        }
        for (name, value) in take(&mut response, "headers")
            .map(|headers| parse_headers(headers, "response.headers"))
            .transpose()?
            .unwrap_or_default()
        {
            // Both were checked.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
        content_of = content(&mut response, "body", "response")?.unwrap_or_default().bytes().into();
    }
    Ok(Document { instruct: instruct.check()?, status, headers, body: content_of })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::grip::Hold;

    #[test]
    fn document_as_gripcontrol_makes_it() {
        let body = br#"{"hold": {"mode": "response", "channels": [{"name": "a", "prev-id": "3"}], "timeout": 20},
            "response": {"code": 202, "headers": {"X-A": "1"}, "body": "none yet\n"}}"#;
        let document = parse_document(body).unwrap();
        assert_eq!((document.instruct.hold, document.instruct.timeout.as_secs()), (Some(Hold::Response), 20));
        assert_eq!(document.instruct.channels[0].prev_id.as_deref(), Some("3"));
        assert_eq!((document.status.as_u16(), &document.headers["x-a"]), (202, &HeaderValue::from_static("1")));
        assert_eq!(&*document.body, b"none yet\n");
        let stream = parse_document(br#"{"hold": {"mode": "stream", "channels": [{"name": "a"}]}}"#).unwrap();
        assert_eq!((stream.instruct.hold, stream.status), (Some(Hold::Stream), StatusCode::OK));
    }

    #[test]
    fn document_that_is_wrong_says_where() {
        for (body, expected) in [
            (&b"x"[..], "the body is not JSON"),
            (br#"{"hold": {}}"#, "hold.mode is missing"),
            (br#"{"hold": {"mode": "x"}}"#, "Grip-Hold: \"x\" is not"),
            (br#"{"hold": {"mode": "stream"}}"#, "hold.channels is not an array"),
            (br#"{"hold": {"mode": "stream", "channels": []}}"#, "no Grip-Channel"),
            (br#"{"hold": {"mode": "stream", "channels": [{}]}}"#, "a channel's name is empty"),
            (br#"{"response": {"code": 7}}"#, "response.code is 7"),
        ] {
            let error = parse_document(body).unwrap_err().to_string();
            assert!(error.starts_with("application/grip-instruct: ") && error.contains(expected), "{error}");
        }
    }
}
