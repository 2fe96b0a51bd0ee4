//! How a GRIP item lies in the hub, as the data of a message: a line of JSON with what is said of it, and one with its
//! formats. Two, since most who look want only the first.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fantail_hub::{Message, Position};
use fantail_sse::{EventId, EventName};
use serde::{Deserialize, Serialize};

use super::filter::Filter;

/// The event name of messages that close streams, so that it is seen without reading the data.
const CLOSE: &str = "close";

/// What is said of an item.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Label {
    /// Its id, where the hub does not take it for one of its own.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// The id of the item before it.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(super) prev_id: Option<String>,
    /// What filters look at.
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) meta: BTreeMap<String, String>,
}

/// An item's formats.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Formats {
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<Stream>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<Response>,
}

/// What streams are sent.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stream {
    #[serde(rename = "c", default)]
    pub(super) content: Content,
    /// The connections that get it end behind it.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) close: bool,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) filters: Option<Vec<Filter>>,
}

/// What requests that wait for a response are answered.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Response {
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<u16>,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Vec<(String, String)>,
    #[serde(rename = "b", default)]
    pub(super) body: Content,
    /// They get the answer that the application left with them.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) close: bool,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) filters: Option<Vec<Filter>>,
}

/// Text, or base64 of bytes that are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Content {
    #[serde(rename = "t")]
    Text(String),
    /// Checked where it came in.
    #[serde(rename = "b")]
    Base64(String),
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Content {
    /// The bytes.
    pub(super) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Base64(text) => STANDARD.decode(text).unwrap_or_default(),
        }
    }
}

/// An item as it is handed to the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) data: String,
    pub(super) id: Option<EventId>,
    pub(super) event: Option<EventName>,
}

impl Envelope {
    pub(super) fn seal(mut label: Label, formats: &Formats) -> Self {
        let id = label.id.take_if(|id| is_own_id(id)).and_then(|id| EventId::parse(&id).ok());
        let closes = formats.stream.as_ref().is_some_and(|stream| stream.close);
        // Only strings and numbers: there is nothing that serialising could refuse.
        let mut data = serde_json::to_string(&label).unwrap_or_default();
        data.push('\n');
        data.push_str(&serde_json::to_string(formats).unwrap_or_default());
        Self { data, id, event: EventName::parse(CLOSE).ok().filter(|_| closes) }
    }
}

/// Whether the hub takes it for a publisher's own id: a client could send it back in a header.
fn is_own_id(id: &str) -> bool {
    let plain = id.trim_matches([' ', '\t']) == id && !id.bytes().any(|b| b.is_ascii_control() && b != b'\t');
    plain && !id.starts_with(Position::MARK) && EventId::parse(id).is_ok()
}

/// What is said of the item in a message; `None` if the message holds none, such as a channel's end.
pub(super) fn label(message: &Message) -> Option<Label> {
    serde_json::from_str(message.data().split_once('\n')?.0).ok()
}

/// The formats of the item in a message.
pub(super) fn formats(message: &Message) -> Option<Formats> {
    serde_json::from_str(message.data().split_once('\n')?.1).ok()
}

/// The id of the item in a message, wherever it is kept.
pub(super) fn id<'a>(message: &'a Message, label: &'a Label) -> Option<&'a str> {
    message.id().or(label.id.as_deref())
}

/// Whether the item in a message may close streams, which is quickly asked.
pub(super) fn may_close(message: &Message) -> bool {
    message.event() == Some(CLOSE)
}

#[cfg(test)]
mod tests {
    use fantail_hub::{Kind, Millis, NewMessage};

    use super::*;

    fn message(envelope: &Envelope) -> Message {
        let said = NewMessage { data: &envelope.data, event: envelope.event.as_ref(), id: envelope.id.as_ref() };
        Message::new(Millis(0), Kind::Data, said)
    }

    #[test]
    fn envelope_gives_back_what_was_sealed() {
        let meta = BTreeMap::from([("user".to_owned(), "a\nb".to_owned())]);
        let label = Label { id: Some("7".to_owned()), prev_id: Some("6".to_owned()), meta };
        let stream =
            Stream { content: Content::Text("x\ny".to_owned()), close: true, filters: Some(vec![Filter::BuildId]) };
        let response = Response {
            code: Some(404),
            reason: Some("Gone Away".to_owned()),
            headers: vec![("a".to_owned(), "b".to_owned())],
            body: Content::Base64("AAEC".to_owned()),
            ..Response::default()
        };
        let sealed = Formats { stream: Some(stream), response: Some(response) };
        let envelope = Envelope::seal(label.clone(), &sealed);
        let message = message(&envelope);
        let read = super::label(&message).unwrap();
        assert_eq!((id(&message, &read), &read.prev_id, &read.meta), (Some("7"), &label.prev_id, &label.meta));
        assert_eq!((formats(&message).unwrap(), may_close(&message)), (sealed, true));
    }

    #[test]
    fn envelope_with_an_id_that_is_not_the_hubs_keeps_it_inside() {
        for odd in ["~1.a.b", " x", "x\t", "a\nb", "", &"x".repeat(256), "\u{1}"] {
            let envelope = Envelope::seal(Label { id: Some(odd.to_owned()), ..Label::default() }, &Formats::default());
            assert_eq!(envelope.id, None, "{odd:?}");
            let message = message(&envelope);
            assert_eq!(id(&message, &super::label(&message).unwrap()), Some(odd));
            assert!(!may_close(&message));
        }
    }

    #[test]
    fn foreign_messages_hold_no_item() {
        for data in ["", "plain", "a\nb", "{}\n7"] {
            let foreign = Message::new(Millis(0), Kind::Data, NewMessage { data, event: None, id: None });
            assert_eq!(formats(&foreign), None, "{data:?}");
        }
    }
}
