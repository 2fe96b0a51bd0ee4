//! Who made a request, as far as its head tells: a digest of what browsers and programs prove themselves by. What was recorded
//! for one is given to nobody else, whatever URL or id they know.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Cookies that scripts of analytics count in: they change with every page, and nobody is admitted by them.
const COUNTERS: [&str; 20] = [
    "_ga", "_gid", "_gat", "_gcl_", "_fbp", "_fbc", "_hj", "_pk_", "_clck", "_clsk", "_uet", "__utm", "__cf_bm",
    "_cfuvid", "__hs", "ajs_", "amp_", "mp_", "ph_", "_dd_s",
];

/// Fields that admit whoever sends them. Programs that ask language models have keys of their own: of Anthropic, Azure, Google.
const ADMITTING: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Whether a request says who makes it.
pub fn is_given(request: &HeaderMap) -> bool {
    request.contains_key(COOKIE) || ADMITTING.iter().any(|name| request.contains_key(name))
}

/// Two keys, so that the digest has 128 bits.
static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

/// `Authorization`, API keys and the cookies of a request, digested. Requests without either are all alike: for them only a token
/// or a sealed id counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Credential([u64; 2]);

impl Credential {
    /// Of a request. Of its cookies count those that `named` lists, or if it lists none, all that are not known as counters of
    /// analytics. Their order does not matter.
    pub fn of(request: &HeaderMap, named: &[String]) -> Self {
        Self::with(request, &HeaderMap::new(), named)
    }

    /// Of the requests that a browser will send once it has seen `answer`: with the cookies that it sets.
    pub fn after(request: &HeaderMap, answer: &HeaderMap, named: &[String]) -> Self {
        Self::with(request, answer, named)
    }

    fn with(request: &HeaderMap, answer: &HeaderMap, named: &[String]) -> Self {
        let pairs = values(request, &COOKIE).flat_map(|cookies| cookies.split(|&b| b == b';'));
        let mut cookies: Vec<_> = pairs.filter_map(cookie).collect();
        for set in values(answer, &SET_COOKIE).filter_map(|set| cookie(set.split(|&b| b == b';').next()?)) {
            cookies.retain(|(name, _)| *name != set.0);
            // A server takes a cookie away by setting it to nothing.
            if !set.1.is_empty() {
                cookies.push(set);
            }
        }
        cookies.retain(|(name, _)| counts(name, named));
        cookies.sort_unstable();
        let admitting = ADMITTING.each_ref().map(|name| values(request, name).collect::<Vec<_>>());
        Self(KEYS.each_ref().map(|key| key.hash_one((&admitting, &cookies))))
    }
}

fn values<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers.get_all(name).into_iter().map(HeaderValue::as_bytes)
}

fn cookie(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|&b| b == b'=')?;
    Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
}

fn counts(name: &[u8], named: &[String]) -> bool {
    if named.is_empty() {
        !COUNTERS.iter().any(|counter| name.starts_with(counter.as_bytes()))
    } else {
        named.iter().any(|named| named.as_bytes() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn of_cookies(cookies: &str, named: &[&str]) -> Credential {
        let named: Vec<_> = named.iter().map(|&name| name.to_owned()).collect();
        Credential::of(&headers(&[(COOKIE, cookies)]), &named)
    }

    #[test]
    fn credential_differs_with_authorization_and_every_cookie() {
        let bearer = |token| Credential::of(&headers(&[(AUTHORIZATION, token)]), &[]);
        assert_eq!(bearer("Bearer a"), bearer("Bearer a"));
        assert_ne!(bearer("Bearer a"), bearer("Bearer b"));
        assert_ne!(bearer("Bearer a"), Credential::of(&HeaderMap::new(), &[]));
        let all = ADMITTING.map(|name| Credential::of(&headers(&[(name, "a")]), &[]));
        assert!((0..all.len()).all(|at| !all[..at].contains(&all[at])), "what is said where matters");
        assert_eq!(of_cookies("a=1; b=2", &[]), of_cookies("b=2;a=1", &[]));
        assert_ne!(of_cookies("a=1; b=2", &[]), of_cookies("a=1; b=3", &[]));
        assert_ne!(of_cookies("a=1; b=2", &[]), of_cookies("a=1", &[]));
        assert_ne!(of_cookies("_app_session=1", &[]), of_cookies("_app_session=2", &[]));
    }

    #[test]
    fn credential_leaves_counters_out_and_counts_what_is_named() {
        assert_eq!(of_cookies("sid=1; _ga=x; _ga_ABC=y", &[]), of_cookies("sid=1; _ga_ABC=z", &[]));
        assert_eq!(of_cookies("sid=1; theme=dark", &["sid"]), of_cookies("theme=light; sid=1", &["sid"]));
        assert_ne!(of_cookies("sid=1", &["sid"]), of_cookies("sid=2", &["sid"]));
    }

    #[test]
    fn credential_after_an_answer_has_the_cookies_that_it_sets() {
        let request = headers(&[(COOKIE, "sid=old; gone=1")]);
        let answer = headers(&[(SET_COOKIE, "sid=new; Path=/; HttpOnly"), (SET_COOKIE, "gone=; Max-Age=0")]);
        assert_eq!(Credential::after(&request, &answer, &[]), of_cookies("sid=new", &[]));
        assert_eq!(Credential::after(&request, &HeaderMap::new(), &[]), Credential::of(&request, &[]));
    }
}
