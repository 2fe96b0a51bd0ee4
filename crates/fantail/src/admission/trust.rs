//! Who a request comes from: whoever is at the connection's other end, unless that is a trusted proxy, which says for whom it
//! asks.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

use crate::config::{ClientField, Listen, Network};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whose words are believed, and which.
#[derive(Debug)]
pub struct Trust {
    networks: Vec<Network>,
    field: ClientField,
}

impl Trust {
    /// As the listener's settings say.
    pub fn new(listen: &Listen) -> Self {
        Self { networks: listen.trusted_proxies.clone(), field: listen.client_field }
    }

    /// Whether an address is a trusted proxy's.
    pub fn has(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Who asks: the last one named that is no trusted proxy. Whatever stands before it was said by a stranger.
    /// One whose port is not told has the port 0.
    pub fn client(&self, peer: SocketAddr, request: &HeaderMap) -> SocketAddr {
        if self.networks.is_empty() || !self.has(peer.ip()) {
            return peer;
        }
        let mut client = peer;
        let name = match self.field {
            ClientField::XForwardedFor => &FORWARDED_FOR,
            ClientField::Forwarded => &FORWARDED,
        };
        for value in request.get_all(name).iter().rev() {
            for element in elements(value.as_bytes(), b',').into_iter().rev() {
                let node = match self.field {
                    ClientField::XForwardedFor => Some(element),
                    ClientField::Forwarded => parameter(element, b"for"),
                };
                // Behind a word that is no address nobody knows what was meant.
                let Some(address) = node.and_then(address) else { return client };
                client = SocketAddr::new(address, 0);
                if !self.has(address) {
                    return client;
                }
            }
        }
        client
    }
}

/// The parts between separators that are not within quotes.
fn elements(value: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let mut parts = value.split(|&b| {
        let ends = b == separator && !quoted;
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        ends
    });
    let all: Vec<_> = parts.by_ref().map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()).collect();
    all
}

/// A parameter of an element of `Forwarded` (RFC 7239 §4).
fn parameter<'v>(element: &'v [u8], wanted: &[u8]) -> Option<&'v [u8]> {
    elements(element, b';').into_iter().find_map(|pair| {
        let equals = pair.iter().position(|&b| b == b'=')?;
        let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        name.eq_ignore_ascii_case(wanted).then_some(value)
    })
}

/// The address of a node, which may have a port, brackets and quotes.
fn address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let address = match text.strip_prefix('[') {
        Some(rest) => IpAddr::V6(rest.split_once(']')?.0.parse().ok()?),
        None => match text.parse() {
            Ok(address) => address,
            Err(_) => IpAddr::V4(text.split_once(':')?.0.parse().ok()?),
        },
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config::Config;

    fn client(field: &str, peer: &str, headers: &[(&'static str, &str)]) -> String {
        let toml = format!("[listen]\ntrusted_proxies = ['10.0.0.0/8', 'fd00::/8']\nclient_field = '{field}'");
        let trust = Trust::new(&Config::from_toml(&toml).unwrap().listen);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        trust.client(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn client_is_the_last_that_is_not_trusted() {
        let xff = |value| client("x-forwarded-for", "10.0.0.1:99", &[("x-forwarded-for", value)]);
        assert_eq!(xff("198.51.100.7"), "198.51.100.7:0");
        assert_eq!(xff("6.6.6.6, 198.51.100.7"), "198.51.100.7:0", "a stranger said the first");
        assert_eq!(xff("6.6.6.6, 198.51.100.7, 10.2.3.4,fd00::1"), "198.51.100.7:0");
        assert_eq!(xff("198.51.100.7:4711"), "198.51.100.7:0");
        assert_eq!(xff("2001:db8::7"), "[2001:db8::7]:0");
        assert_eq!(xff("[2001:db8::7]:4711"), "[2001:db8::7]:0");
        assert_eq!(xff("::ffff:198.51.100.7"), "198.51.100.7:0");
        assert_eq!(xff("10.9.9.9"), "10.9.9.9:0", "one of the proxies' own");
        assert_eq!(xff("198.51.100.7, unknown, 10.2.3.4"), "10.2.3.4:0");
        assert_eq!(xff("unknown"), "10.0.0.1:99");
        let two = [("x-forwarded-for", "198.51.100.7"), ("x-forwarded-for", "10.0.0.3")];
        assert_eq!(client("x-forwarded-for", "10.0.0.1:99", &two), "198.51.100.7:0");
    }

    #[test]
    fn client_of_a_stranger_is_the_stranger() {
        let lies = [("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1")];
        for field in ["x-forwarded-for", "forwarded"] {
            assert_eq!(client(field, "192.0.2.1:5", &lies), "192.0.2.1:5");
        }
    }

    #[test]
    fn client_in_forwarded_is_read_as_the_rfc_says() {
        let said = |value| client("forwarded", "10.0.0.1:99", &[("forwarded", value), ("x-forwarded-for", "6.6.6.6")]);
        assert_eq!(said("for=198.51.100.7"), "198.51.100.7:0");
        assert_eq!(said("For=\"[2001:db8::7]:4711\"; proto=https;by=10.0.0.1"), "[2001:db8::7]:0");
        assert_eq!(said("for=6.6.6.6, proto=http;for=198.51.100.7, for=10.1.1.1"), "198.51.100.7:0");
        assert_eq!(said("for=198.51.100.7;host=\"a,for=6.6.6.6\""), "198.51.100.7:0", "quotes hold their commas");
        assert_eq!(said("for=_hidden"), "10.0.0.1:99");
        assert_eq!(said("for=\"198.51.100.7"), "10.0.0.1:99");
        assert_eq!(said("proto=https"), "10.0.0.1:99");
    }
}
