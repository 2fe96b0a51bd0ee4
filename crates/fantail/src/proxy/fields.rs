//! Which header fields pass a proxy, and which it writes itself (RFC 9110 §7.6). Nothing is removed from a map, since that
//! would change the order of the others: what does not pass is left out when the head is written.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::dialect::grip::is_reserved;

/// Fields that belong to one connection, whatever `Connection` names. How a body is delimited belongs to it as well.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Fields that a `Connection` field cannot take from a message: whoever could remove them would change what it means.
const KEPT: [&str; 8] = [
    "host",
    "content-length",
    "content-type",
    "authorization",
    "cookie",
    "cache-control",
    "last-event-id",
    "set-cookie",
];

/// The options of a `Connection` field, in lower case, without those that say nothing about fields.
#[derive(Debug, Default)]
pub(super) struct Options(Vec<String>);

impl Options {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut options = Vec::new();
        for value in headers.get_all(CONNECTION) {
            for option in list(value) {
                if !option.eq_ignore_ascii_case("keep-alive") && !option.eq_ignore_ascii_case("close") {
                    options.push(option.to_ascii_lowercase());
                }
            }
        }
        Self(options)
    }

    /// Whether one of the options is this word.
    pub(super) fn has(&self, word: &str) -> bool {
        self.0.iter().any(|option| option == word)
    }

    /// Whether a field belongs to the connection that it came on.
    pub(super) fn take(&self, name: &HeaderName) -> bool {
        HOP_BY_HOP.contains(name) || (!self.0.is_empty() && !KEPT.contains(&name.as_str()) && self.has(name.as_str()))
    }
}

/// Whether a client's field is kept from the upstream: those that command a proxy would otherwise seem to come from us, and
/// a name with an underscore becomes the same CGI variable as one with a hyphen.
pub(super) fn is_withheld(name: &HeaderName) -> bool {
    is_reserved(name) || name.as_str().contains('_') || name == "http2-settings"
}

/// Whether a client's field is replaced by what the proxy knows itself.
pub(super) fn is_ours(name: &HeaderName) -> bool {
    *name == EXPECT
        || *name == CONTENT_LENGTH
        || matches!(
            name.as_str(),
            "host" | "via" | "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host"
        )
}

/// Whether a field says where a request came from, which only a trusted proxy is believed.
pub(super) fn is_hearsay(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-") || name == "x-real-ip"
}

/// The elements of a comma-separated field, as text; those that are not are left out.
pub(super) fn list(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value
        .as_bytes()
        .split(|&b| b == b',')
        .filter_map(|element| std::str::from_utf8(element).ok())
        .map(|element| element.trim_matches([' ', '\t']))
        .filter(|element| !element.is_empty())
}

/// Whether a media type is this one, whatever its parameters and case.
pub(super) fn has_essence(value: &HeaderValue, essence: &str) -> bool {
    let bytes = value.as_bytes();
    let end = bytes.iter().position(|&b| b == b';').unwrap_or(bytes.len());
    bytes[..end].trim_ascii().eq_ignore_ascii_case(essence.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(values: &[&str]) -> Options {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONNECTION, HeaderValue::from_str(value).unwrap());
        }
        Options::of(&headers)
    }

    #[test]
    fn options_take_what_they_name_and_what_is_always_taken() {
        let options = options(&["close, X-One", "keep-alive,x-two,,"]);
        for taken in ["x-one", "x-two", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-connection"] {
            assert!(options.take(&HeaderName::from_static(taken)), "{taken}");
        }
        for kept in ["x-three", "host", "close", "accept"] {
            assert!(!options.take(&HeaderName::from_static(kept)), "{kept}");
        }
    }

    #[test]
    fn options_cannot_take_what_a_message_means() {
        let options = options(&["host, content-length, authorization, cookie, last-event-id"]);
        for kept in ["host", "content-length", "authorization", "cookie", "last-event-id"] {
            assert!(!options.take(&HeaderName::from_static(kept)), "{kept}");
        }
    }

    #[test]
    fn essence_is_compared_without_parameters_and_case() {
        for value in
            ["text/event-stream", "Text/Event-Stream; charset=utf-8", "text/event-stream ;", "text/event-stream;"]
        {
            assert!(has_essence(&HeaderValue::from_str(value).unwrap(), "text/event-stream"), "{value}");
        }
        for value in ["text/event-streams", "text/plain; a=text/event-stream", "application/text/event-stream", ""] {
            assert!(!has_essence(&HeaderValue::from_str(value).unwrap(), "text/event-stream"), "{value}");
        }
    }
}
