//! The fields that the dialect's answers have beside what they say.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CACHE_CONTROL, ETAG, EXPIRES, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Publisher;

use super::cursor::{Place, Seen, etag, last_modified};

/// The publisher's field for a message's event id.
pub const EVENT_ID: HeaderName = HeaderName::from_static("event-id");
/// The publisher's field for a message's event type.
pub const EVENT_TYPE: HeaderName = HeaderName::from_static("event-type");
/// The field of statistics that tells the module's version: to dashboards, that the server is of its kind.
pub const VERSION: HeaderName = HeaderName::from_static("x-nginx-pushstream-tag");
/// The field of statistics that tells what the server was built from.
pub const COMMIT: HeaderName = HeaderName::from_static("x-nginx-pushstream-commit");
/// The type of event streams.
pub const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

const EXPOSED: &str = "Etag,X-Nginx-PushStream-Explain";
const ALLOWED: &str = "If-Modified-Since,If-None-Match,Etag,Event-Id,Event-Type,Last-Event-Id";

/// The methods that a route takes, beside `OPTIONS`, which is never told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// A publisher route's.
    Publisher,
    /// A publisher route's that may delete channels too.
    Admin,
    /// A subscriber's, and that of statistics.
    Get,
}

impl Methods {
    /// As `Allow` tells them.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publisher => "GET, POST, PUT",
            Self::Admin => "GET, POST, PUT, DELETE",
            Self::Get => "GET",
        }
    }
}

impl From<Publisher> for Methods {
    fn from(publisher: Publisher) -> Self {
        match publisher {
            Publisher::Normal => Self::Publisher,
            Publisher::Admin => Self::Admin,
        }
    }
}

/// Nothing of the dialect is for a cache.
pub fn no_cache(headers: &mut HeaderMap) {
    headers.insert(EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:01 GMT"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
}

/// What a 405 says.
pub fn allow(headers: &mut HeaderMap, methods: Methods) {
    headers.insert(ALLOW, HeaderValue::from_static(methods.as_str()));
}

/// What lets pages of other origins read the answer, where a route names them: nothing where `origins` is empty, or no field's
/// value. By default such pages may also read what they need to poll again, and caches are told where the answer depends on the
/// page.
pub fn cors(headers: &mut HeaderMap, origins: &[u8], methods: Methods, strict: bool) {
    let Some(origins) = HeaderValue::from_bytes(origins).ok().filter(|origins| !origins.is_empty()) else { return };
    let any = origins == "*";
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origins);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods.as_str()));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED));
    if strict {
        return;
    }
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if !any {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// Where an answer to a poll stands.
pub fn place(headers: &mut HeaderMap, place: Place) {
    headers.insert(LAST_MODIFIED, last_modified(place.time));
    headers.insert(ETAG, etag(place.tag));
}

/// Where a 304 to a poll stands: where the request did, as far as it said so.
pub fn echo(headers: &mut HeaderMap, seen: &Seen) {
    if let Some(time) = seen.time {
        headers.insert(LAST_MODIFIED, last_modified(time));
    }
    if let Some(tag) = seen.tag {
        headers.insert(ETAG, etag(tag));
    }
}

/// What statistics say of the server. Strictly it is the version that the module's last release calls itself.
pub fn server(headers: &mut HeaderMap, strict: bool) {
    const OWN: &str = env!("CARGO_PKG_VERSION");
    headers.insert(VERSION, HeaderValue::from_static(if strict { "0.5.5" } else { OWN }));
    headers.insert(COMMIT, HeaderValue::from_static(concat!("fantail-", env!("CARGO_PKG_VERSION"))));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut HeaderMap)) -> Vec<String> {
        let mut headers = HeaderMap::new();
        write(&mut headers);
        let mut lines = Vec::new();
        for (name, value) in &headers {
            lines.push(format!("{name}: {}", value.to_str().unwrap()));
        }
        lines.sort();
        lines
    }

    #[test]
    fn no_cache_is_told_in_both_ways() {
        assert_eq!(
            written(no_cache),
            ["cache-control: no-cache, no-store, must-revalidate", "expires: Thu, 01 Jan 1970 00:00:01 GMT"]
        );
    }

    #[test]
    fn allow_tells_the_methods_of_the_route() {
        for (methods, expected) in [
            (Publisher::Normal.into(), "allow: GET, POST, PUT"),
            (Publisher::Admin.into(), "allow: GET, POST, PUT, DELETE"),
            (Methods::Get, "allow: GET"),
        ] {
            assert_eq!(written(|headers| allow(headers, methods)), [expected]);
        }
    }

    #[test]
    fn cors_is_three_fields_where_origins_are_named() {
        let allowed =
            "access-control-allow-headers: If-Modified-Since,If-None-Match,Etag,Event-Id,Event-Type,Last-Event-Id";
        let strict = |origins: &[u8], methods| written(|headers| cors(headers, origins, methods, true));
        assert_eq!(
            strict(b"*", Methods::Get),
            [allowed, "access-control-allow-methods: GET", "access-control-allow-origin: *"]
        );
        assert_eq!(
            strict(b"http://a.example, x", Methods::Admin),
            [
                allowed,
                "access-control-allow-methods: GET, POST, PUT, DELETE",
                "access-control-allow-origin: http://a.example, x"
            ]
        );
        assert!(strict(b"", Methods::Get).is_empty() && strict(b"a\nb", Methods::Get).is_empty());
        let default = |origins: &[u8]| written(|headers| cors(headers, origins, Methods::Get, false));
        assert_eq!(default(b"*")[3..], ["access-control-expose-headers: Etag,X-Nginx-PushStream-Explain"]);
        assert_eq!(
            default(b"http://a.example")[3..],
            ["access-control-expose-headers: Etag,X-Nginx-PushStream-Explain", "vary: Origin"]
        );
    }

    #[test]
    fn place_of_a_poll_is_its_messages_or_the_requests() {
        let lines = ["etag: W/3", "last-modified: Sun, 22 Nov 2026 14:50:49 GMT"];
        assert_eq!(written(|headers| place(headers, Place { time: 1_795_359_049, tag: 3 })), lines);
        let seen = |time, tag| Seen { time, tag, event_id: None };
        assert_eq!(written(|headers| echo(headers, &seen(Some(1_795_359_049), Some(3)))), lines);
        assert_eq!(written(|headers| echo(headers, &seen(Some(1_795_359_049), None))), lines[1..]);
        assert_eq!(written(|headers| echo(headers, &seen(None, None))), [""; 0]);
    }

    #[test]
    fn server_is_of_the_modules_kind() {
        assert_eq!(written(|headers| server(headers, true))[1], "x-nginx-pushstream-tag: 0.5.5");
        let own = format!("x-nginx-pushstream-tag: {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(written(|headers| server(headers, false))[1], own);
    }
}
