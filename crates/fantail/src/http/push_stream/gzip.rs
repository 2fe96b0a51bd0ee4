//! Answers for clients that accept gzip.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue, Response};

use crate::http::body::Body;

/// Answers that are smaller gain nothing, in bytes.
const LEAST: usize = 256;

/// Compresses the body of an answer that is there as a whole, if it is worth it and the client accepts it.
pub(super) fn apply(request: &HeaderMap, response: &mut Response<Body>) {
    let Body::Full(body) = response.body() else { return };
    let Some(packed) = accepts(request).then(|| pack(body)).flatten() else { return };
    *response.body_mut() = Body::Full(Bytes::from(packed));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
}

/// A body compressed, if it is worth it.
pub(super) fn pack(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < LEAST {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 2), Compression::new(1));
    // Writing to a Vec cannot fail.
    encoder.write_all(body).and_then(|()| encoder.finish()).ok()
}

/// Whether `Accept-Encoding` allows gzip (RFC 9110 §12.5.3).
pub(super) fn accepts(request: &HeaderMap) -> bool {
    let mut any = false;
    for field in request.get_all(ACCEPT_ENCODING) {
        for coding in field.as_bytes().split(|&byte| byte == b',') {
            let mut parts = coding.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            // A weight is nothing if it is 0, 0. or 0.000.
            let refused = parts.any(|part| {
                let weight = part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="));
                weight.is_some_and(|weight| weight.iter().all(|byte| matches!(byte, b'0' | b'.')))
            });
            if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
                return !refused;
            }
            any |= name == b"*" && !refused;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn request(accept: &str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_str(accept).unwrap())])
    }

    #[test]
    fn gzip_is_accepted_where_its_weight_is_not_nothing() {
        for (accept, expected) in [
            ("gzip", true),
            ("deflate, GZip;q=0.5, br", true),
            ("*", true),
            ("br;q=1.0, *;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("gzip;q=0, *", false),
            ("*;q=0", false),
            ("deflate", false),
            ("gzipped", false),
            ("", false),
        ] {
            assert_eq!(accepts(&request(accept)), expected, "{accept}");
        }
        assert!(!accepts(&HeaderMap::new()));
    }

    #[test]
    fn gzip_is_applied_to_what_is_worth_it() {
        for (length, accept, expected) in [(LEAST, "gzip", true), (LEAST - 1, "gzip", false), (LEAST, "br", false)] {
            let body = "x".repeat(length);
            let mut response = Response::new(Body::Full(Bytes::from(body.clone())));
            apply(&request(accept), &mut response);
            assert_eq!(response.headers().contains_key(CONTENT_ENCODING), expected, "{length} {accept}");
            let Body::Full(bytes) = response.into_body() else { unreachable!("it was one before") };
            let mut text = String::new();
            if expected {
                flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text).unwrap();
            } else {
                text.push_str(std::str::from_utf8(&bytes).unwrap());
            }
            assert_eq!(text, body);
        }
    }
}
