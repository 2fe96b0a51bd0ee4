//! How a subscriber is served: by its route, and by what the request's head says instead.

use http::HeaderName;

/// The field by which a client asks to be answered at once, or to wait for one answer.
pub const MODE: HeaderName = HeaderName::from_static("x-nginx-pushstream-mode");

/// How a subscriber is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One answer without an end, its pieces as the templates have them.
    Streaming,
    /// An answer at once: what there is, or that there is nothing.
    Polling,
    /// The same, but it waits while there is nothing.
    LongPolling,
    /// An event stream.
    EventSource,
    /// A WebSocket.
    WebSocket,
}

impl Mode {
    /// The route's mode, unless [`MODE`] asks for another. A WebSocket stays one, and so does a long poll: neither can be asked to
    /// be a poll. Strict or not: clients send the field on routes of all kinds, and rely on what it does not do.
    ///
    /// What an event stream's route says is framed as one in every mode, but its answers to polls are of the default type.
    #[must_use]
    pub fn asked(self, field: Option<&[u8]>) -> Self {
        let is = |name: &str| field.is_some_and(|field| field.eq_ignore_ascii_case(name.as_bytes()));
        match self {
            Self::WebSocket | Self::LongPolling => self,
            _ if is("long-polling") => Self::LongPolling,
            _ if is("polling") => Self::Polling,
            _ => self,
        }
    }

    /// Whether it is an answer with an end, whose place is told by `Etag` and `Last-Modified`.
    pub fn polls(self) -> bool {
        matches!(self, Self::Polling | Self::LongPolling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_asked_for_takes_the_place_of_the_routes() {
        use Mode::{EventSource, LongPolling, Polling, Streaming, WebSocket};
        for (route, polling, long_polling) in [
            (Streaming, Polling, LongPolling),
            (EventSource, Polling, LongPolling),
            (Polling, Polling, LongPolling),
            (LongPolling, LongPolling, LongPolling),
            (WebSocket, WebSocket, WebSocket),
        ] {
            assert_eq!(route.asked(Some(b"polling")), polling);
            assert_eq!(route.asked(Some(b"Long-POLLING")), long_polling);
            for other in [None, Some(&b"streaming"[..]), Some(b""), Some(b"pollings")] {
                assert_eq!(route.asked(other), route);
            }
        }
        assert!(Polling.polls() && LongPolling.polls());
        assert!(![Streaming, EventSource, WebSocket].into_iter().any(Mode::polls));
    }
}
