//! The application is asked who may come in, as by nginx's `auth_request`: it gets the head of a request of ours with some
//! fields of the client's, and its answer's status decides.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::cache::{Cache, question};
use super::{Pass, ticket};
use crate::auth::{Denial, Grants, LONGEST_SUBJECT, Pattern};
use crate::config::{self, Action, Config};
use crate::http::App;
use crate::http::grip::wall;
use crate::metrics;
use crate::proxy::{Ask, Proxy, Reply, Route};

const ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
/// Who the client is, as others say.
const HEARSAY: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("forwarded"),
];
/// What an answer may say beside its status.
const CHANNELS: HeaderName = HeaderName::from_static("x-fantail-channels");
const SUBJECT: HeaderName = HeaderName::from_static("x-fantail-sub");
const LIFETIME: HeaderName = HeaderName::from_static("x-fantail-lifetime");

/// An application that is asked.
#[derive(Debug)]
pub(super) struct Callback {
    route: Route,
    target: Uri,
    /// The fields that it gets of the client's.
    told: Vec<HeaderName>,
    /// Cookies are among them.
    cookies: bool,
    timeout: Duration,
    /// How long an answer is good that lets somebody in, and one that does not.
    good: (Duration, Duration),
    cache: Cache<Result<Granted, Denial>>,
}

/// What the application said of somebody whom it lets in.
#[derive(Debug, Clone)]
struct Granted {
    grants: Grants,
    subject: Option<Arc<str>>,
    /// How long, from its answer on.
    ends: Option<fantail_hub::Millis>,
}

impl Callback {
    /// Nothing for what the configuration rules out.
    pub(super) fn new(access: &config::Access, config: &Config, proxy: &Proxy) -> Option<Self> {
        let asks = config::Route {
            action: Action::Proxy,
            upstream: access.upstream.clone(),
            hand_over: false,
            ..config::Route::default()
        };
        let passed = access.pass_headers.iter().filter_map(|name| name.parse().ok());
        // What a proxy in front says of the client goes along; whether it is believed, the proxy room decides.
        let mut told: Vec<HeaderName> = passed.chain(HEARSAY).chain([HOST]).collect();
        let mut known = HashSet::new();
        told.retain(|name| known.insert(name.clone()));
        Some(Self {
            route: proxy.route(&asks, &config.stream)?,
            target: access.path.as_deref()?.parse().ok()?,
            cookies: told.contains(&COOKIE),
            told,
            timeout: access.timeout.get(),
            good: (access.cache.get(), access.cache_refusals.get()),
            cache: Cache::default(),
        })
    }

    /// Whether the application is shown cookies, by which it may know the client.
    pub(super) fn sends_cookies(&self, request: &Parts) -> bool {
        self.cookies && request.headers.contains_key(COOKIE)
    }

    /// Asks, unless the answer to the same question is known.
    ///
    /// SECURITY: whatever is no clear answer lets nobody in.
    pub(super) async fn ask(&self, app: &App, peer: SocketAddr, request: &Parts) -> Result<Pass, Denial> {
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        let fields: Vec<_> = self.told.iter().map(|name| request.headers.get_all(name)).collect();
        let from = peer.ip().to_canonical().to_string();
        let mut parts = vec![request.method.as_str().as_bytes(), target.as_bytes(), from.as_bytes()];
        for values in &fields {
            let at = parts.len();
            parts.extend(values.iter().map(HeaderValue::as_bytes));
            // Where one field ends and the next begins.
            parts.insert(at, b"");
        }
        let ask = async || {
            let answer = self.question(app, peer, request, target).await;
            let good = match &answer {
                Ok(_) => self.good.0,
                Err(Denial::Stranger | Denial::Forbidden) => self.good.1,
                Err(_) => Duration::ZERO,
            };
            (answer, good)
        };
        let (answer, asked) = self.cache.get(question(parts), ask).await;
        metrics::add(if asked { &app.metrics.access.asked } else { &app.metrics.access.remembered }, 1);
        let Granted { grants, subject, ends } = answer?;
        if ends.is_some_and(|ends| wall() >= ends) {
            // It is kept no longer than it is good, but for this moment.
            return Err(Denial::Stranger);
        }
        Ok(Pass { subscribe: grants.clone(), publish: grants, ticket: ticket(subject, ends) })
    }

    async fn question(&self, app: &App, peer: SocketAddr, request: &Parts, target: &str) -> Result<Granted, Denial> {
        let mut asks = http::Request::new(()).into_parts().0;
        asks.method = Method::GET;
        asks.uri = self.target.clone();
        for name in &self.told {
            for value in request.headers.get_all(name) {
                asks.headers.append(name, value.clone());
            }
        }
        if !asks.headers.contains_key(HOST)
            && let Some(host) = request.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
        {
            asks.headers.insert(HOST, host);
        }
        let original = [(ORIGINAL_URI, target), (ORIGINAL_METHOD, request.method.as_str())];
        for (name, value) in original {
            let value =
                HeaderValue::from_str(value).map_err(|_| Denial::NoAnswer("cannot be asked about such a URL"))?;
            asks.headers.insert(name, value);
        }
        let ask = Ask { request: &asks, body: None, peer, rest: "", own: b"", last_event_id: None, interim: &|_| {} };
        match tokio::time::timeout(self.timeout, app.proxy.ask(&self.route, ask)).await {
            Err(_) => Err(Denial::Late(self.timeout)),
            // Its failure has been logged.
            Ok(Err(_)) => Err(Denial::NoAnswer("cannot be reached")),
            Ok(Ok(Reply::Upgrade(_))) => Err(Denial::NoAnswer("said neither yes nor no")),
            // What else it says is not read; its connection is closed with it.
            Ok(Ok(Reply::Answer(answer))) => match answer.parts.status {
                status if status.is_success() => granted(&answer.parts.headers),
                StatusCode::UNAUTHORIZED => Err(Denial::Stranger),
                StatusCode::FORBIDDEN => Err(Denial::Forbidden),
                status => {
                    tracing::warn!(%status, "an application said neither who may come in nor who may not");
                    Err(Denial::NoAnswer("said neither yes nor no"))
                }
            },
        }
    }
}

/// What an answer that lets somebody in says of it. Without channels: all that it asked for.
fn granted(answer: &HeaderMap) -> Result<Granted, Denial> {
    let text = |name: &HeaderName| answer.get(name).map(|value| std::str::from_utf8(value.as_bytes()));
    let grants = if answer.contains_key(CHANNELS) {
        let lists = answer.get_all(CHANNELS).iter().map(|list| std::str::from_utf8(list.as_bytes()).unwrap_or("*?"));
        let patterns = lists.flat_map(|list| list.split(',')).map(str::trim).filter(|text| !text.is_empty());
        let patterns: Option<Grants> = patterns.map(Pattern::parse).collect();
        patterns.ok_or(Denial::NoAnswer("named channels that are no patterns (X-Fantail-Channels)"))?
    } else {
        Grants::All
    };
    let subject = text(&SUBJECT).transpose().ok().filter(|text| text.is_none_or(|text| text.len() <= LONGEST_SUBJECT));
    let subject = subject.ok_or(Denial::NoAnswer("named nobody who can be named (X-Fantail-Sub)"))?;
    let ends = match text(&LIFETIME) {
        None => None,
        Some(seconds) => {
            let seconds = seconds.ok().and_then(|text| text.trim().parse().ok());
            let seconds =
                seconds.ok_or(Denial::NoAnswer("gave a time that is no number of seconds (X-Fantail-Lifetime)"))?;
            Some(wall().plus(Duration::from_secs(seconds)))
        }
    };
    Ok(Granted { grants, subject: subject.filter(|text| !text.is_empty()).map(Arc::from), ends })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(fields: &[(HeaderName, &str)]) -> Result<Granted, Denial> {
        let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        granted(&fields.collect())
    }

    #[test]
    fn granted_is_what_the_answer_says() {
        let plain = answer(&[]).unwrap();
        assert!(plain.grants == Grants::All && plain.subject.is_none() && plain.ends.is_none());
        let said = answer(&[(CHANNELS, "a.*, b"), (SUBJECT, "42"), (LIFETIME, "60")]).unwrap();
        assert!(said.grants.cover("a.1") && said.grants.cover("b") && !said.grants.cover("c"));
        assert_eq!(said.subject.as_deref(), Some("42"));
        let left = said.ends.unwrap().since(wall());
        assert!(left <= Duration::from_mins(1) && left > Duration::from_secs(50));
        assert!(!answer(&[(CHANNELS, "")]).unwrap().grants.cover("a"), "no channels are none");
    }

    #[test]
    fn granted_in_words_that_are_not_understood_is_not_granted() {
        for (name, value) in
            [(CHANNELS, "a, user-*"), (LIFETIME, "soon"), (LIFETIME, "-1"), (SUBJECT, &*"x".repeat(256))]
        {
            assert!(matches!(answer(&[(name, value)]), Err(Denial::NoAnswer(_))), "{value}");
        }
    }
}
