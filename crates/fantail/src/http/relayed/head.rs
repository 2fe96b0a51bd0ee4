//! The head of an upstream's answer: whether its body is an event stream that can be kept, may be shared, and what viewers
//! are told of it.

use http::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONTENT_ENCODING,
    CONTENT_LENGTH, DATE, ETAG, SET_COOKIE, TRAILER, TRANSFER_ENCODING, VARY,
};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use crate::http::follow;
use crate::proxy;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Where a recorded stream can be resumed.
pub const FANTAIL_STREAM: HeaderName = HeaderName::from_static("fantail-stream");

/// What speaks of the body's bytes or length: viewers get others.
const OF_THE_BODY: [HeaderName; 9] = [
    // Each viewer's answer has its own.
    DATE,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TRAILER,
    ETAG,
    ACCEPT_RANGES,
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Whether the body is an event stream that can be read: a 200 of that media type, not encoded, and not one that is to be
/// answered by somebody else.
pub fn is_event_stream(answer: &Parts) -> bool {
    let headers = &answer.headers;
    let plain =
        headers.get_all(CONTENT_ENCODING).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    answer.status == StatusCode::OK && plain && !follow::asks(headers) && proxy::is_event_stream(headers)
}

/// Why an answer is for the one who asked alone, although its stream could be kept; `None` if it is for everybody whose
/// request is alike in `headers`.
pub fn is_personal(answer: &Parts, headers: &[HeaderName]) -> Option<&'static str> {
    if answer.headers.contains_key(SET_COOKIE) {
        return Some("it sets a cookie");
    }
    // With or without names of fields behind it: a part for one person is not kept apart here.
    let is_private = |directive: &[u8]| {
        directive.split(|&b| b == b'=').next().is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"private"))
    };
    if tokens(&answer.headers, &CACHE_CONTROL).any(is_private) {
        return Some("its Cache-Control says private");
    }
    // Every upstream is asked for the same encoding.
    let alike = |name: &[u8]| {
        name.eq_ignore_ascii_case(b"accept-encoding")
            || headers.iter().any(|header| name.eq_ignore_ascii_case(header.as_str().as_bytes()))
    };
    (!tokens(&answer.headers, &VARY).all(alike)).then_some("its Vary names a header that is not in share_headers")
}

/// What viewers are told instead of what the upstream said. A stock nginx in front streams such an answer through
/// without a setting.
pub fn for_viewers(mut answer: Parts) -> Parts {
    answer.version = Version::HTTP_11;
    let headers = &mut answer.headers;
    for name in &OF_THE_BODY {
        headers.remove(name);
    }
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    } else if !tokens(headers, &CACHE_CONTROL).any(|directive| directive.eq_ignore_ascii_case(b"no-transform")) {
        headers.append(CACHE_CONTROL, HeaderValue::from_static("no-transform"));
    }
    answer
}

/// Says where the stream can be resumed.
pub fn announce(headers: &mut HeaderMap, url: &str) {
    // A URL of ours is a path that was checked, and a token.
    let (Ok(plain), Ok(link)) =
        (HeaderValue::from_str(url), HeaderValue::from_str(&format!("<{url}>; rel=\"resume\"")))
    else {
        return;
    };
    headers.insert(FANTAIL_STREAM, plain);
    headers.append(http::header::LINK, link);
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        expose(headers);
    }
}

/// Lets scripts of other origins read where the stream can be resumed.
pub fn expose(headers: &mut HeaderMap) {
    headers.append(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Fantail-Stream, Link"));
}

/// The elements of a header that is a list.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let lists = headers.get_all(name).into_iter();
    lists
        .flat_map(|list| list.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Parts {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    #[test]
    fn event_stream_is_known_by_status_essence_and_encoding() {
        for (status, kind, encoding, expected) in [
            (200, "text/event-stream", None, true),
            (200, "Text/Event-Stream ;charset=utf-8", None, true),
            (200, "text/event-stream", Some("identity"), true),
            (200, "text/event-stream", Some("gzip"), false),
            (201, "text/event-stream", None, false),
            (200, "text/event-streams", None, false),
            (200, "application/json", None, false),
        ] {
            let headers = [("content-type", kind)].into_iter().chain(encoding.map(|e| ("content-encoding", e)));
            assert_eq!(is_event_stream(&answer(status, &headers.collect::<Vec<_>>())), expected, "{kind} {encoding:?}");
        }
        assert!(!is_event_stream(&answer(200, &[])));
        for field in [("grip-hold", "stream"), ("grip-channel", "a"), ("x-accel-redirect", "/a")] {
            assert!(!is_event_stream(&answer(200, &[("content-type", "text/event-stream"), field])), "{field:?}");
        }
    }

    #[test]
    fn personal_answers_say_why() {
        let named = [http::header::ORIGIN];
        for (header, expected) in [
            (("cache-control", "no-cache, no-store"), None),
            (("vary", "Accept-Encoding, origin"), None),
            (("vary", "Accept-Language"), Some("its Vary names a header that is not in share_headers")),
            (("vary", "*"), Some("its Vary names a header that is not in share_headers")),
            (("cache-control", "no-cache, Private"), Some("its Cache-Control says private")),
            (("cache-control", "private=\"x-user\""), Some("its Cache-Control says private")),
            (("set-cookie", "a=b"), Some("it sets a cookie")),
        ] {
            assert_eq!(is_personal(&answer(200, &[header]), &named), expected, "{header:?}");
        }
    }

    #[test]
    fn viewers_are_told_nothing_of_the_upstreams_bytes() {
        let told = for_viewers(answer(
            200,
            &[("content-length", "7"), ("etag", "\"x\""), ("cache-control", "no-cache"), ("x-own", "kept")],
        ));
        assert!(!told.headers.contains_key(CONTENT_LENGTH) && !told.headers.contains_key(ETAG));
        assert_eq!(told.headers["x-own"], "kept");
        assert_eq!(told.headers["x-accel-buffering"], "no");
        let cache: Vec<_> = told.headers.get_all(CACHE_CONTROL).iter().collect();
        assert_eq!(cache, ["no-cache", "no-transform"]);
        assert_eq!(for_viewers(answer(200, &[])).headers[CACHE_CONTROL], "no-store, no-transform");
    }

    #[test]
    fn announcement_is_exposed_where_other_origins_may_read() {
        for cors in [false, true] {
            let mut headers = HeaderMap::new();
            if cors {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            announce(&mut headers, "/stream/abc");
            assert_eq!(headers[FANTAIL_STREAM], "/stream/abc");
            assert_eq!(headers["link"], "</stream/abc>; rel=\"resume\"");
            assert_eq!(headers.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS), cors);
        }
    }
}
