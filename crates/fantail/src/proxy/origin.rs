//! Where a request came from, as the upstream is told: `Forwarded` (RFC 7239) and its older kin. A client's own words about
//! it count only where the client is a trusted proxy.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::fields::list;
use crate::admission::Trust;

/// How often a request may have come through here before it is taken for one that goes round in circles.
const MOST_PASSES: usize = 8;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

impl Trust {
    /// Appends the lines that tell where a request for `host` came from.
    pub(super) fn tell(&self, out: &mut Vec<u8>, peer: SocketAddr, host: Option<&[u8]>, request: &HeaderMap) {
        let peer = peer.ip().to_canonical();
        let trusted = self.has(peer);
        let before = |out: &mut Vec<u8>, name: &HeaderName| {
            for value in request.get_all(name).iter().filter(|_| trusted) {
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(b", ");
            }
        };
        let address = peer.to_string();

        out.extend_from_slice(b"x-forwarded-for: ");
        before(out, &FORWARDED_FOR);
        out.extend_from_slice(address.as_bytes());
        out.extend_from_slice(b"\r\nforwarded: ");
        before(out, &http::header::FORWARDED);
        let node = if peer.is_ipv6() { format!("\"[{address}]\"") } else { address };
        out.extend_from_slice(b"for=");
        out.extend_from_slice(node.as_bytes());
        if let Some(host) = host.filter(|host| host.iter().all(|&b| b != b'"' && b != b'\\')) {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(host);
            out.push(b'"');
        }
        out.extend_from_slice(b";proto=http\r\n");

        // Of these two the first word is the one that counts: what the browser saw.
        let first = |name: &HeaderName| request.get(name).filter(|_| trusted).map(HeaderValue::as_bytes);
        line(out, "x-forwarded-proto", first(&FORWARDED_PROTO).unwrap_or(b"http"));
        if let Some(host) = first(&FORWARDED_HOST).or(host) {
            line(out, "x-forwarded-host", host);
        }
    }
}

/// Appends `Via`, with what was there before. Returns how often the name had been there: a request goes in circles when that
/// is too often.
pub(super) fn via(out: &mut Vec<u8>, name: &str, version: http::Version, request: &HeaderMap) -> Result<(), usize> {
    out.extend_from_slice(b"via: ");
    let mut passes = 0;
    for value in request.get_all(http::header::VIA) {
        let ours = |element: &str| element.split_ascii_whitespace().nth(1) == Some(name);
        passes += list(value).filter(|element| ours(element)).count();
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b", ");
    }
    let version: &[u8] = if version == http::Version::HTTP_10 { b"1.0 " } else { b"1.1 " };
    out.extend_from_slice(version);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\r\n");
    if passes > MOST_PASSES { Err(passes) } else { Ok(()) }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;

    fn told(trusted: &[&str], peer: &str, request: &[(&'static str, &str)]) -> String {
        let trusted_proxies = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let trust = Trust::new(&Listen { trusted_proxies, ..Listen::default() });
        let mut headers = HeaderMap::new();
        for (name, value) in request {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let mut out = Vec::new();
        trust.tell(&mut out, peer.parse().unwrap(), Some(b"a.example"), &headers);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tell_of_a_stranger_says_only_what_was_seen() {
        let lies = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4"), ("x-forwarded-proto", "https")];
        let expected = "x-forwarded-for: 192.0.2.7\r\nforwarded: for=192.0.2.7;host=\"a.example\";proto=http\r\n\
                        x-forwarded-proto: http\r\nx-forwarded-host: a.example\r\n";
        assert_eq!(told(&["10.0.0.0/8"], "192.0.2.7:1", &lies), expected);
    }

    #[test]
    fn tell_of_a_trusted_proxy_adds_to_what_it_said() {
        let words = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=1.2.3.4;proto=https"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "b.example"),
        ];
        let expected = "x-forwarded-for: 1.2.3.4, 10.0.0.1, 2001:db8::1\r\n\
                        forwarded: for=1.2.3.4;proto=https, for=\"[2001:db8::1]\";host=\"a.example\";proto=http\r\n\
                        x-forwarded-proto: https\r\nx-forwarded-host: b.example\r\n";
        assert_eq!(told(&["2001:db8::/32"], "[2001:db8::1]:1", &words), expected);
    }

    #[test]
    fn via_counts_its_own_name() {
        let mut headers = HeaderMap::new();
        let mut out = Vec::new();
        assert_eq!(via(&mut out, "edge", http::Version::HTTP_11, &headers), Ok(()));
        assert_eq!(out, b"via: 1.1 edge\r\n");
        for _ in 0..3 {
            headers.append(http::header::VIA, HeaderValue::from_static("1.1 edge, 1.1 other, 1.1 edge"));
        }
        assert_eq!(via(&mut out, "edgy", http::Version::HTTP_10, &headers), Ok(()));
        headers.append(http::header::VIA, HeaderValue::from_static("1.0 edge,1.1 edge,1.1 edge"));
        assert_eq!(via(&mut out, "edge", http::Version::HTTP_11, &headers), Err(9));
    }
}
