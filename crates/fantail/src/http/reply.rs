//! A single answer as bytes: what a shard writes to a socket that has left HTTP.

use std::time::SystemTime;

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};

/// The head of an answer, all but the lines about its length and its time.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    lines: Vec<u8>,
}

impl Reply {
    /// With these fields, and the usual words behind the status unless `reason` has others. Fields about the message's framing
    /// are ours.
    pub fn new(status: StatusCode, reason: Option<&str>, headers: &HeaderMap, keep_alive: bool) -> Self {
        let reason = reason.or(status.canonical_reason()).unwrap_or_default();
        let mut lines = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        let ours = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, DATE];
        for (name, value) in headers.iter().filter(|(name, _)| !ours.contains(name)) {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
        let connection = if keep_alive { "keep-alive" } else { "close" };
        lines.extend_from_slice(format!("connection: {connection}\r\n").as_bytes());
        Self { status, lines }
    }

    /// The whole answer with this body, unless its status has none (RFC 9110 §6.4.1).
    pub fn with(&self, body: &[&[u8]]) -> Vec<u8> {
        let mut out = self.lines.clone();
        let bodiless = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !bodiless {
            let length: usize = body.iter().map(|part| part.len()).sum();
            out.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
        let date = httpdate::fmt_http_date(SystemTime::now());
        out.extend_from_slice(format!("date: {date}\r\n\r\n").as_bytes());
        if !bodiless {
            for part in body {
                out.extend_from_slice(part);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        let text = String::from_utf8(bytes).unwrap();
        let date = text.find("date: ").unwrap();
        let end = date + text[date..].find("\r\n").unwrap();
        format!("{}date: …{}", &text[..date], &text[end..])
    }

    #[test]
    fn reply_frames_its_body_itself() {
        let headers =
            [("x-a", "1"), ("content-length", "99"), ("date", "never"), ("connection", "upgrade"), ("x-a", "2")];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        let reply = Reply::new(StatusCode::CREATED, Some("Made It"), &map, true);
        assert_eq!(
            text(reply.with(&[b"ab", b"", b"c"])),
            "HTTP/1.1 201 Made It\r\nx-a: 1\r\nx-a: 2\r\nconnection: keep-alive\r\ncontent-length: 3\r\ndate: …\r\n\r\nabc"
        );
    }

    #[test]
    fn reply_without_a_body_has_no_length() {
        for (status, line) in
            [(StatusCode::NO_CONTENT, "204 No Content"), (StatusCode::NOT_MODIFIED, "304 Not Modified")]
        {
            let reply = Reply::new(status, None, &HeaderMap::new(), false);
            assert_eq!(text(reply.with(&[b"x"])), format!("HTTP/1.1 {line}\r\nconnection: close\r\ndate: …\r\n\r\n"));
        }
    }
}
