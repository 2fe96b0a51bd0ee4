//! The heads of messages on an upstream connection: a request's as it is written, an answer's as it is read (RFC 9112).
//! Strict where a lie about a body's length would be passed on.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::chunks::Chunks;
use super::failure::Failure;
use super::fields::{is_hearsay, is_ours, is_withheld, list};

/// The largest head of an answer, in bytes.
pub(super) const MAX_HEAD: usize = 64 << 10;
/// The most fields of an answer.
const MAX_FIELDS: usize = 128;

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// How its body is delimited.
    pub(super) length: Length,
    /// The connection may be used again once the body has been read.
    pub(super) keeps_alive: bool,
}

/// How a body is delimited (RFC 9112 §6.3).
#[derive(Debug)]
pub(super) enum Length {
    /// So many bytes, or so many that are left.
    Bytes(u64),
    /// By chunks.
    Chunks(Chunks),
    /// By the end of the connection.
    Close,
}

impl Head {
    /// Takes a head from what was read; `None` if it is not whole yet.
    pub(super) fn take(buffer: &mut BytesMut, method: &Method) -> Result<Option<Self>, Failure> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut answer = httparse::Response::new(&mut fields);
        let length = match answer.parse(buffer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if buffer.len() >= MAX_HEAD => return Err(Failure::HeadTooLarge(MAX_HEAD)),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(Failure::Malformed(wrong(error))),
        };
        let version = match answer.version {
            Some(1) => Version::HTTP_11,
            _ => Version::HTTP_10,
        };
        let code = answer.code.unwrap_or_default();
        let status = StatusCode::from_u16(code).map_err(|_| Failure::Malformed("the status is not one"))?;
        // Where each field stands, so that its value needs no copy.
        let start = buffer.as_ptr().addr();
        let range = |bytes: &[u8]| (bytes.as_ptr().addr() - start, bytes.len());
        let mut places = [(0, 0, 0, 0); MAX_FIELDS];
        let count = answer.headers.len();
        for (place, field) in places.iter_mut().zip(answer.headers.iter()) {
            let (name, value) = (range(field.name.as_bytes()), range(field.value));
            *place = (name.0, name.1, value.0, value.1);
        }
        let head = buffer.split_to(length).freeze();
        let mut headers = HeaderMap::with_capacity(count);
        for &(name, name_length, value, value_length) in &places[..count] {
            let name = HeaderName::from_bytes(&head[name..name + name_length])
                .map_err(|_| Failure::Malformed("a field's name is not one"))?;
            // An empty value stands nowhere.
            let value = if value_length == 0 { Bytes::new() } else { head.slice(value..value + value_length) };
            let value = HeaderValue::from_maybe_shared(value)
                .map_err(|_| Failure::Malformed("a field's value holds a control character"))?;
            headers.append(name, value);
        }
        let length = length_of(status, version, &headers, method)?;
        // A server that announces chunks where there can be none may send some all the same.
        let is_clear = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || !headers.contains_key(TRANSFER_ENCODING);
        let keeps_alive = keeps_alive(version, &headers) && is_clear && !matches!(length, Length::Close);
        Ok(Some(Self { status, headers, length, keeps_alive }))
    }
}

fn wrong(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a field's name is not one",
        httparse::Error::HeaderValue => "a field's value holds a control character",
        httparse::Error::NewLine => "a line of the head does not end as it should",
        httparse::Error::Status => "the status is not one",
        httparse::Error::Token => "the head is not one of HTTP",
        httparse::Error::TooManyHeaders => "the head has too many fields",
        httparse::Error::Version => "the version is not HTTP/1",
    }
}

fn length_of(status: StatusCode, version: Version, headers: &HeaderMap, method: &Method) -> Result<Length, Failure> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let given = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(length), None) => {
            let text = std::str::from_utf8(length.as_bytes()).unwrap_or_default();
            // `parse` would take a plus sign.
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let length = text.parse().ok().filter(|_| digits);
            Some(length.ok_or(Failure::Malformed("its Content-Length is not a number"))?)
        }
        (Some(_), Some(_)) => return Err(Failure::Malformed("it has more than one Content-Length")),
    };
    if let Some(coding) = coding {
        if given.is_some() {
            return Err(Failure::Malformed("it has both Content-Length and Transfer-Encoding"));
        }
        if version != Version::HTTP_11 {
            return Err(Failure::Malformed("it has a Transfer-Encoding in HTTP/1.0"));
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Failure::Malformed("its Transfer-Encoding is another than chunked, or there are several"));
        }
    }
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if bodiless || *method == Method::HEAD {
        return Ok(Length::Bytes(0));
    }
    Ok(match (coding, given) {
        (Some(_), _) => Length::Chunks(Chunks::new()),
        (None, Some(length)) => Length::Bytes(length),
        (None, None) => Length::Close,
    })
}

/// Whether the sender means to go on with the connection (RFC 9112 §9.3).
pub(super) fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &str| {
        headers.get_all(CONNECTION).iter().any(|value| list(value).any(|option| option.eq_ignore_ascii_case(word)))
    };
    if version == Version::HTTP_11 { !says("close") } else { says("keep-alive") && !says("close") }
}

/// Appends one line of a head.
pub(super) fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The fields of a trailer section that may be passed on: none that says how a message is delimited, routed or read
/// (RFC 9110 §6.5.1).
pub(super) fn trailers(section: &[u8]) -> Result<Option<HeaderMap>, Failure> {
    if section.is_empty() {
        return Ok(None);
    }
    let mut whole = section.to_vec();
    whole.extend_from_slice(b"\r\n");
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let parsed = httparse::parse_headers(&whole, &mut fields).map_err(|error| Failure::Malformed(wrong(error)))?;
    let httparse::Status::Complete((_, fields)) = parsed else {
        return Err(Failure::Malformed("its trailer section is not one"));
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        if let (Ok(name), Ok(value)) = (name, value)
            && may_trail(&name)
        {
            trailers.append(name, value);
        }
    }
    Ok((!trailers.is_empty()).then_some(trailers))
}

/// Whether a field may stand in a trailer section: no more may be said there than in a head.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    !is_withheld(name)
        && !is_ours(name)
        && !is_hearsay(name)
        && !matches!(
            name.as_str(),
            "transfer-encoding"
                | "content-length"
                | "host"
                | "connection"
                | "keep-alive"
                | "proxy-connection"
                | "upgrade"
                | "te"
                | "trailer"
                | "authorization"
                | "proxy-authorization"
                | "cookie"
                | "set-cookie"
                | "content-type"
                | "content-encoding"
                | "content-range"
                | "cache-control"
                | "expect"
                | "max-forwards"
                | "range"
        )
}

/// Drops line breaks in front of a status line, as a lenient server may send them behind a body.
pub(super) fn skip_blank_lines(buffer: &mut BytesMut) {
    let blank = buffer.iter().take_while(|&&b| b == b'\r' || b == b'\n').count();
    buffer.advance(blank);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str, method: &Method) -> Result<Option<Head>, String> {
        let mut buffer = BytesMut::from(text.as_bytes());
        Head::take(&mut buffer, method).map_err(|error| error.to_string())
    }

    fn get(fields: &str) -> Result<Head, String> {
        take(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), &Method::GET).map(|head| head.expect("a whole head"))
    }

    #[test]
    fn take_reads_a_head_and_leaves_the_body() {
        let mut buffer = BytesMut::from(
            &b"HTTP/1.1 200 Fine\r\nA: 1\r\nSet-Cookie: x\r\nSet-Cookie: y\r\nE:\r\nContent-Length: 3\r\n\r\nabc"[..],
        );
        let head = Head::take(&mut buffer, &Method::GET).unwrap().unwrap();
        assert_eq!((head.status, head.keeps_alive), (StatusCode::OK, true));
        let fields: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let expected = [("a", "1"), ("set-cookie", "x"), ("set-cookie", "y"), ("e", ""), ("content-length", "3")];
        assert_eq!(fields, expected);
        assert!(matches!(head.length, Length::Bytes(3)));
        assert_eq!(&buffer[..], b"abc");
    }

    #[test]
    fn take_waits_for_the_whole_head_and_not_for_ever() {
        assert!(take("HTTP/1.1 200 OK\r\nA: 1\r\n", &Method::GET).unwrap().is_none());
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(MAX_HEAD));
        assert!(take(&long, &Method::GET).unwrap_err().contains("larger than 65536 bytes"));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: 1\r\n".repeat(MAX_FIELDS + 1));
        assert!(take(&many, &Method::GET).unwrap_err().contains("too many fields"));
    }

    #[test]
    fn take_finds_how_the_body_is_delimited() {
        assert!(matches!(get("Transfer-Encoding: Chunked\r\n").unwrap().length, Length::Chunks(_)));
        assert!(matches!(get("").unwrap(), Head { length: Length::Close, keeps_alive: false, .. }));
        assert!(matches!(take("HTTP/1.1 204 X\r\n\r\n", &Method::GET).unwrap().unwrap().length, Length::Bytes(0)));
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        assert!(matches!(take(head, &Method::HEAD).unwrap().unwrap().length, Length::Bytes(0)));
        assert!(!get("Content-Length: 1\r\nConnection: x, Close\r\n").unwrap().keeps_alive);
        let old = "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n";
        assert!(!take(old, &Method::GET).unwrap().unwrap().keeps_alive);
    }

    #[test]
    fn take_refuses_what_parsers_disagree_on() {
        for (fields, why) in [
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "both Content-Length and Transfer-Encoding"),
            ("Content-Length: 3\r\nContent-Length: 4\r\n", "more than one Content-Length"),
            ("Content-Length: 3\r\nContent-Length: 3\r\n", "more than one Content-Length"),
            ("Content-Length: +3\r\n", "not a number"),
            ("Content-Length: 3,3\r\n", "not a number"),
            ("Content-Length: -1\r\n", "not a number"),
            ("Content-Length: 0x3\r\n", "not a number"),
            ("Content-Length: \r\n", "not a number"),
            ("Content-Length: 99999999999999999999\r\n", "not a number"),
            ("Transfer-Encoding: xchunked\r\n", "another than chunked"),
            ("Transfer-Encoding: gzip, chunked\r\n", "another than chunked"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "another than chunked"),
            ("A : 1\r\n", "name is not one"),
            (" A: 1\r\n", "name is not one"),
            ("A: 1\r\n B: 2\r\n", "name is not one"),
            ("A: 1\0\r\n", "control character"),
            ("A: 1\rB: 2\r\n", "control character"),
        ] {
            let error = get(fields).unwrap_err();
            assert!(error.contains(why), "{fields:?}: {error}");
        }
        assert!(take("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &Method::GET).is_err());
        assert!(take("HTTP/2 200 OK\r\n\r\n", &Method::GET).is_err());
        assert!(take("SSH-2.0-OpenSSH\r\n", &Method::GET).is_err());
    }

    #[test]
    fn trailers_that_would_change_the_message_are_left_out() {
        let section = b"X-Sum: 1\r\nContent-Length: 5\r\nHost: x\r\nTransfer-Encoding: chunked\r\n";
        let trailers = trailers(section).unwrap().unwrap();
        assert_eq!(trailers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-sum"]);
        assert!(super::trailers(b"").unwrap().is_none());
        assert!(super::trailers(b"no colon\r\n").is_err());
    }
}
