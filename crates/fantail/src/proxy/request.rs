//! A client's request as the upstream gets it: the same, less what belongs to the client's connection, plus what a proxy has
//! to say.

use std::net::SocketAddr;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::failure::Failure;
use super::fields::{Options, has_essence, is_hearsay, is_ours, is_withheld, list};
use super::head::write_field;
use super::origin;
use super::upload::Coding;
use crate::admission::Trust;

/// The media type of event streams.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// A request ready to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    /// The request line and all fields, with the blank line behind them.
    pub(super) head: Vec<u8>,
    pub(super) coding: Coding,
    /// The client waits for `100 Continue`.
    pub(super) waits: bool,
    /// What it may be upgraded to, as the client said it.
    pub(super) upgrade: Option<HeaderValue>,
    /// The target on the upstream.
    pub(super) target: String,
    /// The `Host` that is sent.
    pub(super) host: Vec<u8>,
}

/// What a route changes in requests.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) set: Vec<(HeaderName, HeaderValue)>,
    pub(super) remove: Vec<HeaderName>,
}

impl Changes {
    fn touches(&self, name: &HeaderName) -> bool {
        self.remove.contains(name) || self.set.iter().any(|(set, _)| set == name)
    }

    /// Applies them to an answer.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// Everything beside the client's request that its head is made from.
pub(super) struct Making<'a> {
    pub(super) peer: SocketAddr,
    pub(super) trust: &'a Trust,
    /// Our name in `Via`.
    pub(super) name: &'a str,
    pub(super) changes: &'a Changes,
    pub(super) target: String,
    /// Whether there is a body to be sent.
    pub(super) has_body: bool,
    /// Lines of our own, each with its CRLF.
    pub(super) own: &'a [u8],
    /// The `Host` where the client gave none.
    pub(super) fallback_host: &'a str,
    /// In place of the client's `Last-Event-ID`; empty for none.
    pub(super) last_event_id: Option<&'a [u8]>,
    /// Whatever the client accepts: the answer is to come as it is.
    pub(super) identity: bool,
}

impl Outgoing {
    pub(super) fn new(request: &Parts, making: Making<'_>) -> Result<Self, Failure> {
        let Making { peer, trust, name, changes, target, has_body, own, fallback_host, last_event_id, identity } =
            making;
        let headers = &request.headers;
        let options = Options::of(headers);
        let upgrade = upgrade(request, &options, has_body);
        let host = host(request);
        let own_host = changes.set.iter().find(|(name, _)| *name == HOST).map(|(_, value)| value.as_bytes());
        let sent_host = own_host.or(host).unwrap_or(fallback_host.as_bytes());

        let mut head = Vec::with_capacity(1024);
        head.extend_from_slice(request.method.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(target.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        head.extend_from_slice(sent_host);
        head.extend_from_slice(b"\r\n");

        let plain = identity || wants_events(headers);
        let trusted = trust.has(peer.ip());
        let resumes = HeaderName::from_static("last-event-id");
        for (name, value) in headers {
            let ours = options.take(name)
                || is_ours(name)
                || is_withheld(name)
                || (!trusted && is_hearsay(name))
                || changes.touches(name)
                || (plain && *name == ACCEPT_ENCODING)
                || (last_event_id.is_some() && *name == resumes);
            if !ours {
                write_field(&mut head, name, value);
            }
        }
        if plain {
            // Leaving the field out would let a server choose.
            head.extend_from_slice(b"accept-encoding: identity\r\n");
        }
        if let Some(id) = last_event_id.filter(|id| !id.is_empty()) {
            head.extend_from_slice(b"last-event-id: ");
            head.extend_from_slice(id);
            head.extend_from_slice(b"\r\n");
        }
        for (name, value) in changes.set.iter().filter(|(name, _)| *name != HOST) {
            write_field(&mut head, name, value);
        }
        let coding = if has_body && !headers.contains_key(CONTENT_LENGTH) {
            head.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Coding::Chunks
        } else {
            match headers.get(CONTENT_LENGTH) {
                Some(length) if has_body => write_field(&mut head, &CONTENT_LENGTH, length),
                // SECURITY: a request that is made again goes without its body. A length that nothing follows would take the
                // next request on the connection for the body.
                Some(_) => head.extend_from_slice(b"content-length: 0\r\n"),
                None => {}
            }
            Coding::Length
        };
        let waits = has_body && headers.contains_key(EXPECT) && request.version == Version::HTTP_11;
        if waits {
            head.extend_from_slice(b"expect: 100-continue\r\n");
        }
        let trailers = headers.get_all(TE).iter().flat_map(list).any(|coding| coding.eq_ignore_ascii_case("trailers"));
        match &upgrade {
            Some(protocol) => {
                head.extend_from_slice(b"connection: upgrade\r\n");
                write_field(&mut head, &UPGRADE, protocol);
            }
            None if trailers => head.extend_from_slice(b"te: trailers\r\nconnection: te\r\n"),
            None => {}
        }
        trust.tell(&mut head, peer, host, headers);
        origin::via(&mut head, name, request.version, headers).map_err(Failure::Loop)?;
        head.extend_from_slice(own);
        head.extend_from_slice(b"\r\n");
        let host = sent_host.to_vec();
        Ok(Self { method: request.method.clone(), head, coding, waits, upgrade, target, host })
    }

    /// Whether sending it twice is as good as once, as far as its method says (RFC 9110 §9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        matches!(
            self.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
        )
    }

    /// The fields as a map, without those that HTTP/2 has no place for (RFC 9113 §8.2.2).
    pub(super) fn fields(&self) -> HeaderMap {
        let start = self.head.windows(2).position(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
        let mut map = HeaderMap::new();
        for line in self.head[start..].split(|&b| b == b'\n') {
            let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value)
                && ![HOST, TRANSFER_ENCODING, UPGRADE, EXPECT, http::header::CONNECTION].contains(&name)
            {
                map.append(name, value);
            }
        }
        map
    }
}

/// What the client named as its host: in the target, which wins, or in the field (RFC 9112 §3.2.2).
pub fn host(request: &Parts) -> Option<&[u8]> {
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    authority.or_else(|| request.headers.get(HOST).map(HeaderValue::as_bytes)).filter(|host| !host.is_empty())
}

/// Whether it is a request as `EventSource` makes it.
pub fn is_event_source(request: &Parts) -> bool {
    request.method == Method::GET && wants_events(&request.headers)
}

/// Whether the client asks for an event stream.
fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(list)
        .filter_map(|element| HeaderValue::from_str(element).ok())
        .any(|element| has_essence(&element, EVENT_STREAM))
}

/// What the connection may be upgraded to: only HTTP/1.1 has that, and HTTP/2 is not one of the protocols that can be
/// tunnelled.
fn upgrade(request: &Parts, options: &Options, has_body: bool) -> Option<HeaderValue> {
    if request.version != Version::HTTP_11 || has_body || !options.has("upgrade") {
        return None;
    }
    let protocol = request.headers.get(UPGRADE)?;
    let tunnels = list(protocol).next().is_some() && list(protocol).all(|one| !one.eq_ignore_ascii_case("h2c"));
    tunnels.then(|| protocol.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;

    fn made(request: http::request::Builder, has_body: bool, changes: &Changes) -> (Outgoing, String) {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let trust = Trust::new(&Listen::default());
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let making = Making {
            peer: "192.0.2.7:1".parse().unwrap(),
            trust: &trust,
            name: "edge",
            changes,
            target,
            has_body,
            own: b"",
            fallback_host: "up.example",
            last_event_id: None,
            identity: false,
        };
        let outgoing = Outgoing::new(&parts, making).unwrap();
        let head = String::from_utf8(outgoing.head.clone()).unwrap();
        (outgoing, head)
    }

    const TAIL: &str = "x-forwarded-for: 192.0.2.7\r\nforwarded: for=192.0.2.7;host=\"a.example\";proto=http\r\n\
                        x-forwarded-proto: http\r\nx-forwarded-host: a.example\r\nvia: 1.1 edge\r\n\r\n";

    fn get() -> http::request::Builder {
        http::Request::get("/a?b=c").header("host", "a.example")
    }

    #[test]
    fn outgoing_leaves_out_what_belongs_to_the_clients_connection() {
        let request = get()
            .header("connection", "close, x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .header("te", "gzip")
            .header("proxy-authorization", "Basic x")
            .header("x-end", "2")
            .header("cookie", "a=b")
            .header("cookie", "c=d");
        let (outgoing, head) = made(request, false, &Changes::default());
        let expected = "GET /a?b=c HTTP/1.1\r\nhost: a.example\r\nx-end: 2\r\ncookie: a=b\r\ncookie: c=d\r\n";
        assert_eq!(head, format!("{expected}{TAIL}"));
        assert!(outgoing.is_idempotent() && !outgoing.waits && outgoing.upgrade.is_none());
    }

    #[test]
    fn outgoing_never_carries_commands_of_the_client() {
        let request = get()
            .header("x-accel-redirect", "/secret")
            .header("grip-sig", "x")
            .header("x_forwarded_for", "1.2.3.4")
            .header("x-forwarded-for", "1.2.3.4")
            .header("forwarded", "for=1.2.3.4");
        let (_, head) = made(request, false, &Changes::default());
        assert_eq!(head, format!("GET /a?b=c HTTP/1.1\r\nhost: a.example\r\n{TAIL}"));
    }

    #[test]
    fn outgoing_for_events_asks_for_them_as_they_are() {
        let request = get().header("accept", "text/html, Text/Event-Stream;q=1").header("accept-encoding", "gzip, br");
        let (_, head) = made(request, false, &Changes::default());
        assert!(head.contains("accept-encoding: identity\r\n") && !head.contains("gzip"), "{head}");
        let (_, head) = made(get().header("accept-encoding", "gzip"), false, &Changes::default());
        assert!(head.contains("accept-encoding: gzip\r\n"), "{head}");
    }

    #[test]
    fn outgoing_with_a_body_says_how_it_is_delimited() {
        let (outgoing, head) = made(get().header("content-length", "5"), true, &Changes::default());
        assert!(head.contains("content-length: 5\r\n") && outgoing.coding == Coding::Length, "{head}");
        let request = get().header("transfer-encoding", "chunked").header("expect", "100-continue");
        let (outgoing, head) = made(request, true, &Changes::default());
        assert!(head.contains("transfer-encoding: chunked\r\n") && outgoing.coding == Coding::Chunks, "{head}");
        assert!(head.contains("expect: 100-continue\r\n") && outgoing.waits, "{head}");
    }

    /// SECURITY: else the next request on the connection would be taken for the body.
    #[test]
    fn outgoing_without_its_body_announces_none() {
        let (_, head) = made(get().header("content-length", "5"), false, &Changes::default());
        assert!(head.contains("content-length: 0\r\n") && !head.contains(": 5"), "{head}");
    }

    #[test]
    fn outgoing_upgrades_to_anything_but_http_2() {
        let websocket = get().header("connection", "Upgrade").header("upgrade", "websocket");
        let (outgoing, head) = made(websocket, false, &Changes::default());
        assert!(head.contains("connection: upgrade\r\nupgrade: websocket\r\n") && outgoing.upgrade.is_some(), "{head}");
        let h2c = get()
            .header("connection", "Upgrade, HTTP2-Settings")
            .header("upgrade", "h2c")
            .header("http2-settings", "x");
        let (outgoing, head) = made(h2c, false, &Changes::default());
        assert!(!head.contains("upgrade") && !head.contains("http2") && outgoing.upgrade.is_none(), "{head}");
    }

    #[test]
    fn outgoing_takes_the_changes_of_its_route() {
        let changes = Changes {
            set: vec![
                (HOST, HeaderValue::from_static("inner")),
                (HeaderName::from_static("x-env"), HeaderValue::from_static("prod")),
            ],
            remove: vec![http::header::COOKIE],
        };
        let (_, head) = made(get().header("cookie", "a").header("x-env", "test"), false, &changes);
        assert!(head.contains("host: inner\r\n") && head.contains("x-env: prod\r\n"), "{head}");
        assert!(!head.contains("cookie") && !head.contains("test"), "{head}");
        assert!(head.contains("x-forwarded-host: a.example\r\n"), "{head}");
    }

    #[test]
    fn fields_are_the_same_without_those_of_a_connection() {
        let (outgoing, _) = made(get().header("x-a", "1: 2").header("te", "trailers"), false, &Changes::default());
        let fields = outgoing.fields();
        assert_eq!(fields.get("x-a").unwrap(), "1: 2");
        assert_eq!(fields.get("via").unwrap(), "1.1 edge");
        assert_eq!(fields.get("te").unwrap(), "trailers");
        assert!(!fields.contains_key("host") && !fields.contains_key("connection"));
    }
}
