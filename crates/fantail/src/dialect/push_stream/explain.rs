//! Every refusal of the dialect: its status, and the text that says why in `X-Nginx-PushStream-Explain`. Clients and
//! dashboards compare the texts, so they are the module's to the letter. Which of them comes first is for the routes.

use http::{HeaderName, StatusCode};

/// The field that says why.
pub const EXPLAIN: HeaderName = HeaderName::from_static("x-nginx-pushstream-explain");
/// What [`EXPLAIN`] says of a deletion that found something.
pub const DELETED: &str = "Channel deleted.";

/// Why a request is not answered as it would like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The method; the answer says in `Allow` which there are.
    Method,
    /// No channel was named.
    NoChannel,
    /// A reserved name, or one that no channel can have.
    Reserved,
    /// Longer than a name may be.
    TooLong,
    /// The cap on channels is reached.
    TooManyChannels,
    /// Somebody else than the server writes to or deletes the events channel.
    EventsChannel,
    /// None of the channels exists.
    Unknown,
    /// A message without text.
    Empty,
    /// A channel would have to be there, and hold a message, before anybody may listen to it.
    NotAuthorized,
    /// An event id that could not be sent back by those who get it: of a publisher.
    EventId,
    /// An event type that could not be sent on: of a publisher.
    EventType,
    /// The cap on a channel's subscribers is reached.
    TooManySubscribers,
    /// The route does not let anybody listen to the events channel.
    EventsClosed,
    /// Too many wildcard channels, or nothing but them.
    TooManyWildcards,
    /// A message, or a new channel, has no room.
    Full,
    /// A WebSocket's handshake lacks one of its fields.
    Handshake,
    /// A WebSocket's version is not spoken here.
    WebSocketVersion,
    /// A JSONP callback that is not the name of a function: of the default behaviour alone.
    Callback,
}

impl Refusal {
    /// The answer's status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoChannel
            | Self::TooLong
            | Self::Empty
            | Self::EventId
            | Self::EventType
            | Self::Handshake
            | Self::WebSocketVersion
            | Self::Callback => StatusCode::BAD_REQUEST,
            Self::Reserved
            | Self::TooManyChannels
            | Self::EventsChannel
            | Self::NotAuthorized
            | Self::TooManySubscribers
            | Self::EventsClosed
            | Self::TooManyWildcards => StatusCode::FORBIDDEN,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Full => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What [`EXPLAIN`] says; some refusals go without it.
    pub fn explain(self) -> Option<&'static str> {
        Some(match self {
            Self::Method | Self::Unknown | Self::Full => return None,
            Self::NoChannel => "No channel id provided.",
            Self::Reserved => "Channel id not authorized for this method.",
            Self::TooLong => "Channel id is too large.",
            Self::TooManyChannels => "Number of channels were exceeded.",
            Self::EventsChannel => "Only internal routines can change events channel.",
            Self::Empty => "Empty post requests are not allowed.",
            Self::EventId => {
                "Event-Id must be at most 255 bytes of text without control characters, and not begin with '~'."
            }
            Self::EventType => "Event-Type must be at most 255 bytes of text.",
            Self::NotAuthorized => "Subscriber could not create channels.",
            Self::TooManySubscribers => "Subscribers limit per channel has been exceeded.",
            Self::EventsClosed => "Subscription to events channel is not allowed.",
            Self::TooManyWildcards => "Subscribed too much wildcard channels.",
            Self::Handshake => {
                "Don't have at least one of the mandatory headers: Connection, Upgrade, Sec-WebSocket-Key and Sec-WebSocket-Version"
            }
            Self::WebSocketVersion => "Version not supported. Supported versions: 8, 13",
            Self::Callback => "Callback is not the name of a function.",
        })
    }

    /// The reason in the close frame (code 1008) of a WebSocket that is refused once it is open; at most 123 bytes, as a close
    /// frame allows.
    pub fn close_reason(self) -> String {
        let explain = self.explain().unwrap_or_default();
        format!(r#"{{"http_status": {}, "explain":"{explain}"}}"#, self.status().as_u16())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_has_the_modules_status_and_text() {
        for (refusal, status, explain) in [
            (Refusal::Method, 405, None),
            (Refusal::NoChannel, 400, Some("No channel id provided.")),
            (Refusal::Reserved, 403, Some("Channel id not authorized for this method.")),
            (Refusal::TooLong, 400, Some("Channel id is too large.")),
            (Refusal::Full, 500, None),
            (Refusal::TooManyChannels, 403, Some("Number of channels were exceeded.")),
            (Refusal::EventsChannel, 403, Some("Only internal routines can change events channel.")),
            (Refusal::Unknown, 404, None),
            (Refusal::Empty, 400, Some("Empty post requests are not allowed.")),
            (Refusal::NotAuthorized, 403, Some("Subscriber could not create channels.")),
            (Refusal::TooManySubscribers, 403, Some("Subscribers limit per channel has been exceeded.")),
            (Refusal::EventsClosed, 403, Some("Subscription to events channel is not allowed.")),
            (Refusal::TooManyWildcards, 403, Some("Subscribed too much wildcard channels.")),
            (
                Refusal::Handshake,
                400,
                Some(
                    "Don't have at least one of the mandatory headers: Connection, Upgrade, Sec-WebSocket-Key and Sec-WebSocket-Version",
                ),
            ),
            (Refusal::WebSocketVersion, 400, Some("Version not supported. Supported versions: 8, 13")),
            (Refusal::Callback, 400, Some("Callback is not the name of a function.")),
        ] {
            assert_eq!((refusal.status().as_u16(), refusal.explain()), (status, explain), "{refusal:?}");
        }
    }

    #[test]
    fn close_reason_fits_a_close_frame() {
        assert_eq!(
            Refusal::NotAuthorized.close_reason(),
            r#"{"http_status": 403, "explain":"Subscriber could not create channels."}"#
        );
        for refusal in [Refusal::TooLong, Refusal::TooManySubscribers, Refusal::EventsClosed, Refusal::Full] {
            assert!(refusal.close_reason().len() <= 123, "{refusal:?}");
        }
    }
}
