//! How a subscriber is served: by its route, and by what the request's head says instead.

use http::HeaderName;

use crate::config::Subscriber;

/// The field by which a client asks to be answered at once, or to wait for one answer.
pub const MODE: HeaderName = HeaderName::from_static("x-nginx-pushstream-mode");

/// The route's mode, unless [`MODE`] asks for another. A WebSocket stays one, and so does a long poll: neither can be asked to be
/// a poll. Strict or not: clients send the field on routes of all kinds, and rely on what it does not do.
///
/// What an event stream's route says is framed as one in every mode, but its answers to polls are of the default type.
pub fn mode(route: Subscriber, field: Option<&[u8]>) -> Subscriber {
    let is = |name: &str| field.is_some_and(|field| field.eq_ignore_ascii_case(name.as_bytes()));
    match route {
        Subscriber::WebSocket | Subscriber::LongPolling => route,
        _ if is("long-polling") => Subscriber::LongPolling,
        _ if is("polling") => Subscriber::Polling,
        _ => route,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_asked_for_takes_the_place_of_the_routes() {
        use Subscriber::{EventSource, LongPolling, Polling, Streaming, WebSocket};
        for (route, polling, long_polling) in [
            (Streaming, Polling, LongPolling),
            (EventSource, Polling, LongPolling),
            (Polling, Polling, LongPolling),
            (LongPolling, LongPolling, LongPolling),
            (WebSocket, WebSocket, WebSocket),
        ] {
            assert_eq!(mode(route, Some(b"polling")), polling);
            assert_eq!(mode(route, Some(b"Long-POLLING")), long_polling);
            for other in [None, Some(&b"streaming"[..]), Some(b""), Some(b"pollings")] {
                assert_eq!(mode(route, other), route);
            }
        }
    }
}
