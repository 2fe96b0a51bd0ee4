//! Who may use the control listener. A page of another site can make a browser send requests to loopback, and a name of its
//! own can be made to resolve there: both are told by `Origin` and `Host`.
//!
//! SECURITY: the only check before publish, stats and admin. Addresses are always accepted as hosts, since rebinding needs a
//! name.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fantail_hub::Millis;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;

use super::App;
use super::access::Pass;
use super::error::Refusal;
use super::host::without_port;
use crate::auth::{Denial, PeerNames, Publishers, same};
use crate::config::{self, Secret};
use crate::dialect::grip::Signer;

/// The rules of the control listener.
#[derive(Debug)]
pub struct ControlDoor {
    hosts: Vec<String>,
    key: Option<Secret>,
    /// Who may publish beside whoever has that key.
    publishers: Arc<Publishers>,
    /// The way of access by whose tokens one may publish.
    access: Option<String>,
}

impl ControlDoor {
    /// The rules of a configuration.
    pub fn new(config: &config::Control, publishers: &Arc<Publishers>) -> Self {
        let hosts = config.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let publishers = Arc::clone(publishers);
        Self { hosts, key: config.key.clone(), publishers, access: config.access.clone() }
    }

    /// Lets a request in, or says why not.
    ///
    /// # Errors
    /// [`Refusal::Host`], [`Refusal::Origin`] or [`Refusal::Unauthorized`].
    pub fn admit(&self, request: &Parts, needs_key: bool) -> Result<Pass, Refusal> {
        self.admit_origin(request)?;
        if self.key.is_none() || !needs_key || self.has_key(request) {
            Ok(Pass::open())
        } else {
            Err(Refusal::Unauthorized)
        }
    }

    /// Lets a request in that publishes: with the key everywhere, else as far as whoever sends it may.
    ///
    /// # Errors
    /// [`Refusal::Host`], [`Refusal::Origin`] or [`Refusal::Denied`].
    pub async fn admit_publisher(&self, app: &App, request: &Parts) -> Result<Pass, Refusal> {
        self.admit_origin(request)?;
        let nobody_is_known = self.publishers.is_empty() && self.access.is_none();
        if self.has_key(request) || (self.key.is_none() && nobody_is_known) {
            return Ok(Pass::open());
        }
        if nobody_is_known {
            return Err(Refusal::Unauthorized);
        }
        let token = bearer(request);
        if let Some(publisher) = self.publishers.find(request.extensions.get::<PeerNames>(), token) {
            return Ok(Pass::publisher(publisher.grants.clone()));
        }
        match &self.access {
            Some(access) if token.is_some() => Ok(Pass::publisher(app.accesses.publisher(app, access, request).await?)),
            _ => Err(Denial::Missing("Authorization: Bearer KEY (a [[key]], or control.key)").into()),
        }
    }

    fn has_key(&self, request: &Parts) -> bool {
        let key = self.key.as_ref().zip(bearer(request));
        key.is_some_and(|(key, given)| same(given, key.expose().as_bytes()))
    }

    /// The same for a request that publishes as GRIP's libraries do. They send a token that was signed with GRIP's key, or the
    /// control key itself, as a bearer or as the password of any user.
    ///
    /// # Errors
    /// As [`ControlDoor::admit`].
    pub fn admit_grip(&self, request: &Parts, signer: Option<&Signer>, now: Millis) -> Result<Pass, Refusal> {
        self.admit_origin(request)?;
        let Some(key) = &self.key else { return Ok(Pass::open()) };
        let has_token = bearer(request).zip(signer).is_some_and(|(token, signer)| signer.check(token, now).is_ok());
        let password = password(request);
        let knows = |given: &[u8]| same(given, key.expose().as_bytes());
        if has_token || bearer(request).is_some_and(knows) || password.is_some_and(|password| knows(&password)) {
            Ok(Pass::open())
        } else {
            Err(Refusal::Unauthorized)
        }
    }

    fn admit_origin(&self, request: &Parts) -> Result<(), Refusal> {
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
        Ok(())
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

/// The token of `Authorization: Bearer TOKEN`.
fn bearer(request: &Parts) -> Option<&[u8]> {
    credentials(request, b"bearer ")
}

/// The password of `Authorization: Basic` (RFC 7617).
fn password(request: &Parts) -> Option<Vec<u8>> {
    let pair = STANDARD.decode(credentials(request, b"basic ")?).ok()?;
    let colon = pair.iter().position(|&b| b == b':')?;
    Some(pair[colon + 1..].to_vec())
}

/// What `Authorization` has for this scheme, which is in small letters and ends with its space.
pub(super) fn credentials<'r>(request: &'r Parts, scheme: &[u8]) -> Option<&'r [u8]> {
    let given = request.headers.get(AUTHORIZATION)?.as_bytes();
    let (given, rest) = given.split_at_checked(scheme.len())?;
    given.eq_ignore_ascii_case(scheme).then_some(rest.trim_ascii())
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
        door.admit(&parts, true).map(drop).map_err(|refusal| refusal.to_string())
    }

    fn door(hosts: &[&str], key: Option<&str>) -> ControlDoor {
        let hosts = format!("hosts = {hosts:?}");
        let key = key.map(|key| format!("key = {key:?}")).unwrap_or_default();
        let config = config::Config::from_toml(&format!("[control]\n{hosts}\n{key}")).unwrap();
        ControlDoor::new(&config.control, &Arc::default())
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

    #[test]
    fn admit_grip_by_token_key_or_password() {
        let signer = Signer::new("grip", "app").unwrap();
        let now = Millis(1_700_000_000_000);
        let issue = |signer: &Signer| signer.issue(r#"{"alg":"HS256"}"#, r#"{"iss":"app","exp":1700000060}"#);
        let token = format!("Bearer {}", issue(&signer));
        let ours = format!("Bearer {}", signer.sign(now).to_str().unwrap());
        let admit = |key: Option<&str>, signer: Option<&Signer>, authorization: &str| {
            let mut request = http::Request::builder().uri("/publish/").header("host", "localhost");
            if !authorization.is_empty() {
                request = request.header("authorization", authorization);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            door(&[], key).admit_grip(&parts, signer, now).is_ok()
        };
        assert!(admit(Some("s3cret"), Some(&signer), &token));
        assert!(admit(Some("s3cret"), Some(&signer), "Bearer s3cret"));
        assert!(admit(Some("s3cret"), None, "Basic YW55OnMzY3JldA=="), "any:s3cret");
        assert!(admit(None, Some(&signer), ""), "an open door stays open");
        let other = format!("Bearer {}", issue(&Signer::new("other", "app").unwrap()));
        assert!(!admit(Some("s3cret"), Some(&signer), &ours), "every application behind the proxy gets these");
        for (signer, wrong) in [
            (None, &*token),
            (Some(&signer), &*other),
            (Some(&signer), "Bearer x"),
            (Some(&signer), ""),
            (Some(&signer), "Basic czNjcmV0"),
            (Some(&signer), "Basic YW55OnMzY3Jl"),
        ] {
            assert!(!admit(Some("s3cret"), signer, wrong), "{wrong}");
        }
        // The token opens nothing else.
        assert!(super::tests::admit(&door(&[], Some("s3cret")), &[("authorization", &token)]).is_err());
    }
}
