//! A response's head: the status and how its body ends. Knows nothing else of HTTP.

use memchr::memmem;

/// A head longer than this is refused.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Chunked,
    Length(u64),
    UntilClose,
}

/// What a response's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// The server ends the connection behind this response.
    pub(crate) close: bool,
    /// Bytes of the head, its blank line included.
    pub(crate) len: usize,
}

/// The head at the start of `bytes`; `Ok(None)` if its end has not come yet.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD { Err("response head too long") } else { Ok(None) };
    };
    let mut lines = bytes[..end].split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    if !first.starts_with(b"HTTP/1.") || first.len() < 12 {
        return Err("no HTTP/1 status line");
    }
    let status = std::str::from_utf8(&first[9..12]).ok().and_then(|s| s.parse().ok()).ok_or("no status code")?;
    let mut head = Head { status, framing: Framing::UntilClose, close: first.starts_with(b"HTTP/1.0"), len: end + 4 };
    for line in lines {
        let Some(colon) = memchr::memchr(b':', line) else { return Err("header line without a colon") };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") && head.framing != Framing::Chunked {
            let length = std::str::from_utf8(value).ok().and_then(|s| s.parse().ok()).ok_or("bad content-length")?;
            head.framing = Framing::Length(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") && value.eq_ignore_ascii_case(b"chunked") {
            head.framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case(b"connection") {
            head.close = value.eq_ignore_ascii_case(b"close");
        }
    }
    if matches!(status, 100..200 | 204 | 304) {
        head.framing = Framing::Length(0);
    }
    Ok(Some(head))
}

/// The value of a field in a head, without the blanks around it.
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|&b| b == b'\n').find_map(|line| {
        let (said, value) = line.split_at(memchr::memchr(b':', line)?);
        said.eq_ignore_ascii_case(name.as_bytes()).then(|| value[1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_chunked_stream_is_read() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\n";
        let head = parse(bytes).unwrap().unwrap();
        assert_eq!(head, Head { status: 200, framing: Framing::Chunked, close: true, len: bytes.len() - 3 });
    }

    #[test]
    fn head_incomplete_waits_for_more() {
        let bytes = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n";
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None));
        }
        assert_eq!(parse(bytes).unwrap().unwrap().framing, Framing::Length(2));
    }

    #[test]
    fn head_without_length_lasts_until_close() {
        let head = parse(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.framing, head.close), (Framing::UntilClose, true));
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n").unwrap().unwrap().framing, Framing::Length(0));
    }

    #[test]
    fn field_is_found_whatever_its_case() {
        let head = b"HTTP/1.1 200 OK\r\nETag:W/7 \r\nDate: a: b\r\n\r\n";
        assert_eq!(field(head, "etag"), Some(&b"W/7"[..]));
        assert_eq!(field(head, "Date"), Some(&b"a: b"[..]));
        assert_eq!(field(head, "Last-Modified"), None);
    }

    #[test]
    fn head_garbage_is_refused() {
        assert!(parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n").is_err());
        assert!(parse(&vec![b'x'; MAX_HEAD + 1]).is_err());
    }
}
