//! Who may use the control listener. A page of another site can make a browser send requests to loopback, and a name of its
//! own can be made to resolve there: both are told by `Origin` and `Host`.
//!
//! SECURITY: the only check before publish, stats and admin. Addresses are always accepted as hosts, since rebinding needs a
//! name.

use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;

use super::error::Refusal;
use super::host::without_port;
use crate::config::{self, Secret};

/// The rules of the control listener.
#[derive(Debug)]
pub struct ControlDoor {
    hosts: Vec<String>,
    key: Option<Secret>,
}

impl ControlDoor {
    /// The rules of a configuration.
    pub fn new(config: &config::Control) -> Self {
        let hosts = config.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { hosts, key: config.key.clone() }
    }

    /// Lets a request in, or says why not.
    ///
    /// # Errors
    /// [`Refusal::Host`], [`Refusal::Origin`] or [`Refusal::Unauthorized`].
    pub fn admit(&self, request: &Parts, needs_key: bool) -> Result<(), Refusal> {
        // A target in absolute form brings a host as well (RFC 9112 §3.2.2); whichever counts, none may be foreign.
        let target = request.uri.authority().map(|authority| authority.as_str().as_bytes());
        let named = request.headers.get_all(HOST).iter().map(http::HeaderValue::as_bytes);
        let hosts: Vec<&[u8]> = target.into_iter().chain(named).collect();
        if let Some(foreign) = hosts.iter().map(|host| String::from_utf8_lossy(host)).find(|host| !self.knows(host)) {
            return Err(Refusal::Host(foreign.into_owned()));
        }
        let host = hosts.first().copied();
        if let Some(origin) = request.headers.get(ORIGIN) {
            let text = String::from_utf8_lossy(origin.as_bytes());
            let theirs = text.split_once("://").map(|(_, host)| host);
            let own = theirs.is_some_and(|theirs| host.is_some_and(|host| theirs.as_bytes() == host));
            if !own && !theirs.is_some_and(|theirs| self.lists(theirs)) {
                return Err(Refusal::Origin(text.into_owned()));
            }
        }
        match &self.key {
            Some(key) if needs_key => {
                let given = request.headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
                let given = given.and_then(|given| {
                    let (scheme, token) = given.split_at_checked(7)?;
                    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
                });
                match given {
                    Some(given) if same(given, key.expose().as_bytes()) => Ok(()),
                    _ => Err(Refusal::Unauthorized),
                }
            }
            _ => Ok(()),
        }
    }

    fn knows(&self, authority: &str) -> bool {
        let host = without_port(authority);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok() || self.lists(authority)
    }

    /// Whether `control.hosts` has it, with or without its port.
    fn lists(&self, authority: &str) -> bool {
        let authority = authority.to_ascii_lowercase();
        self.hosts.iter().any(|host| *host == authority || *host == without_port(&authority))
    }
}

/// Compares in a time that depends on the lengths alone.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(door: &ControlDoor, headers: &[(&str, &str)]) -> Result<(), String> {
        let mut request = http::Request::builder().uri("/pub/a");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        door.admit(&parts, true).map_err(|refusal| refusal.to_string())
    }

    fn door(hosts: &[&str], key: Option<&str>) -> ControlDoor {
        let hosts = format!("hosts = {hosts:?}");
        let key = key.map(|key| format!("key = {key:?}")).unwrap_or_default();
        let config = config::Config::from_toml(&format!("[control]\n{hosts}\n{key}")).unwrap();
        ControlDoor::new(&config.control)
    }

    #[test]
    fn admit_loopback_names_and_addresses() {
        let door = door(&[], None);
        for host in ["localhost", "LOCALHOST:8081", "127.0.0.1:8081", "[::1]:8081", "[::1]", "10.0.0.1"] {
            assert_eq!(admit(&door, &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(admit(&door, &[]), Ok(()));
    }

    #[test]
    fn admit_foreign_hosts_only_where_listed() {
        let refused = admit(&door(&[], None), &[("host", "evil.example:8081")]).unwrap_err();
        assert!(refused.contains("evil.example:8081") && refused.contains("control.hosts"), "{refused}");
        assert_eq!(admit(&door(&["Hub.internal"], None), &[("host", "hub.internal:8081")]), Ok(()));
        assert!(admit(&door(&[], None), &[("host", "localhost"), ("host", "evil")]).is_err());
        assert!(admit(&door(&[], None), &[("host", "127.0.0.1.evil.example")]).is_err());
    }

    #[test]
    fn admit_only_its_own_origin_or_a_listed_one() {
        let own = [("host", "localhost:8081"), ("origin", "http://localhost:8081")];
        assert_eq!(admit(&door(&[], None), &own), Ok(()));
        for origin in ["http://localhost:3000", "https://evil.example", "null"] {
            assert!(admit(&door(&[], None), &[("host", "localhost:8081"), ("origin", origin)]).is_err(), "{origin}");
        }
        let listed = [("host", "localhost:8081"), ("origin", "https://app.example")];
        assert_eq!(admit(&door(&["app.example"], None), &listed), Ok(()));
    }

    #[test]
    fn admit_with_a_key_wants_exactly_it() {
        let door = door(&[], Some("s3cret"));
        assert_eq!(admit(&door, &[("authorization", "Bearer s3cret")]), Ok(()));
        assert_eq!(admit(&door, &[("authorization", "bearer  s3cret ")]), Ok(()));
        for wrong in ["Bearer s3cre", "Bearer s3cretx", "Bearer", "Basic s3cret", "s3cret"] {
            assert!(admit(&door, &[("authorization", wrong)]).is_err(), "{wrong}");
        }
        assert!(admit(&door, &[]).is_err());
    }
}
