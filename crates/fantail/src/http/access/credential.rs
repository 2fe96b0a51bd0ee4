//! Where a request has its credential, and from which pages a cookie counts as one.

use std::borrow::Cow;

use http::HeaderValue;
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::request::Parts;

use crate::auth::Denial;
use crate::config;
use crate::http::door::credentials;
use crate::http::query::Query;

/// The token of `Authorization: Bearer TOKEN`.
///
/// # Errors
/// If there are two: whoever is behind may take the other.
pub(super) fn bearer(request: &Parts) -> Result<Option<&[u8]>, Denial> {
    let mut all = request.headers.get_all(AUTHORIZATION).iter();
    if all.nth(1).is_some() {
        return Err(Denial::Malformed("Authorization is there twice"));
    }
    Ok(credentials(request, b"bearer "))
}

/// Where tokens may be.
#[derive(Debug)]
pub(super) struct Places {
    cookie: Option<String>,
    query: Option<String>,
}

/// A token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'r> {
    pub(super) token: Cow<'r, str>,
    /// Browsers send it by themselves, whoever makes them ask.
    pub(super) by_cookie: bool,
}

impl Places {
    pub(super) fn new(access: &config::Access) -> Self {
        Self { cookie: access.cookie.clone(), query: Some(access.query.clone()).filter(|name| !name.is_empty()) }
    }

    /// The token of a request. A field comes before the URL, and that before the cookie: what was meant comes before what is sent
    /// by itself.
    pub(super) fn find<'r>(&self, request: &'r Parts) -> Result<Option<Found<'r>>, Denial> {
        if let Some(token) = bearer(request)? {
            return Ok(Some(Found { token: String::from_utf8_lossy(token), by_cookie: false }));
        }
        let from_query = self.query.as_ref().and_then(|name| Query::of(&request.uri).get(name));
        if let Some(token) = from_query.filter(|token| !token.is_empty()) {
            return Ok(Some(Found { token, by_cookie: false }));
        }
        let Some(name) = &self.cookie else { return Ok(None) };
        let token = cookie(request, name).filter(|token| !token.is_empty());
        Ok(token.map(|token| Found { token: String::from_utf8_lossy(token), by_cookie: true }))
    }

    /// What is said where there is none.
    pub(super) fn missing(&self) -> Denial {
        Denial::Missing(match (&self.query, &self.cookie) {
            (Some(_), Some(_)) => "a token, as Authorization: Bearer TOKEN, as a parameter of the URL or as a cookie",
            (Some(_), None) => "a token, as Authorization: Bearer TOKEN or as a parameter of the URL",
            (None, Some(_)) => "a token, as Authorization: Bearer TOKEN or as a cookie",
            (None, None) => "a token, as Authorization: Bearer TOKEN",
        })
    }
}

/// The first cookie of this name, which is the one for the most specific path (RFC 6265 §5.4).
fn cookie<'r>(request: &'r Parts, name: &str) -> Option<&'r [u8]> {
    let pairs = request.headers.get_all(COOKIE).iter().flat_map(|cookies| cookies.as_bytes().split(|&b| b == b';'));
    let mut pairs = pairs.filter_map(|pair| {
        let at = pair.iter().position(|&b| b == b'=')?;
        Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
    });
    let value = pairs.find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)?;
    Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
}

/// Pages whose cookies count.
///
/// SECURITY: browsers send cookies with whatever a page of another site asks for. An event stream may not be read then, but a
/// WebSocket may be, and a POST has done its work.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// Beside those of the host itself.
    listed: Vec<HeaderValue>,
}

impl Origins {
    /// Those that may send cookies.
    pub(super) fn new(cors: &config::Cors) -> Self {
        let origins = cors.origins.iter().filter(|_| cors.credentials);
        Self { listed: origins.filter_map(|origin| HeaderValue::from_str(origin).ok()).collect() }
    }

    /// Whether the page from which a request comes may use cookies.
    ///
    /// # Errors
    /// [`Denial::Origin`].
    pub(super) fn admit(&self, request: &Parts) -> Result<(), Denial> {
        let Some(origin) = request.headers.get(ORIGIN) else { return Ok(()) };
        let text = String::from_utf8_lossy(origin.as_bytes());
        let target = request.uri.authority().map(|authority| authority.as_str().as_bytes());
        let host = target.or_else(|| request.headers.get(HOST).map(HeaderValue::as_bytes));
        let theirs = text.split_once("://").map(|(_, host)| host.as_bytes());
        let own = theirs.zip(host).is_some_and(|(theirs, host)| theirs.eq_ignore_ascii_case(host));
        if own || self.listed.contains(origin) { Ok(()) } else { Err(Denial::Origin(text.into_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn found(access: &str, target: &str, headers: &[(&str, &str)]) -> Option<(String, bool)> {
        let access: config::Access = toml::from_str(access).unwrap();
        let request = request(target, headers);
        let found = Places::new(&access).find(&request).unwrap();
        found.map(|found| (found.token.into_owned(), found.by_cookie))
    }

    #[test]
    fn token_is_found_where_it_may_be() {
        let some = |token: &str, by_cookie| Some((token.to_owned(), by_cookie));
        assert_eq!(found("", "/", &[("authorization", "bearer  abc ")]), some("abc", false));
        assert_eq!(found("", "/?a=b&token=x%2Ey", &[]), some("x.y", false));
        assert_eq!(found("query = 'jwt'", "/?token=x", &[]), None);
        assert_eq!(found("query = ''", "/?token=x&=y", &[]), None);
        assert_eq!(found("", "/", &[("cookie", "token=x")]), None, "no cookie was named");
        let cookie = "cookie = 'sid'";
        assert_eq!(found(cookie, "/", &[("cookie", "a=b; sid=x; sid=y")]), some("x", true));
        assert_eq!(found(cookie, "/", &[("cookie", "a=b"), ("cookie", "sid=\"x\"")]), some("x", true));
        assert_eq!(found(cookie, "/?token=q", &[("cookie", "sid=x")]), some("q", false), "what was meant comes first");
        assert_eq!(found(cookie, "/?token=q", &[("authorization", "Bearer b")]), some("b", false));
        assert_eq!(found(cookie, "/?token=", &[("authorization", "Basic b"), ("cookie", "sid=")]), None);
        let twice = request("/", &[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
        assert!(bearer(&twice).is_err());
    }

    #[test]
    fn cookie_counts_from_the_host_itself_and_from_listed_origins() {
        let origins = |cors: &str| Origins::new(&config::Config::from_toml(cors).unwrap().cors);
        let admits = |origins: &Origins, origin: Option<&str>| {
            let mut headers = vec![("host", "app.example:8080")];
            headers.extend(origin.map(|origin| ("origin", origin)));
            origins.admit(&request("/", &headers)).is_ok()
        };
        let default = origins("");
        assert!(admits(&default, None) && admits(&default, Some("https://app.example:8080")));
        for foreign in ["https://evil.example", "null", "https://app.example", "https://app.example:8080.evil.example"]
        {
            assert!(!admits(&default, Some(foreign)), "{foreign}");
        }
        let listed = "[cors]\norigins = ['https://web.example']\n";
        assert!(!admits(&origins(listed), Some("https://web.example")), "it may ask, without cookies");
        let listed = origins(&format!("{listed}credentials = true"));
        assert!(admits(&listed, Some("https://web.example")) && !admits(&listed, Some("http://web.example")));
    }
}
