//! Who is let in to a route, and with what. What is found out about a request goes with it as its [`Pass`]; the routes look there
//! what it may do.

mod cache;
mod callback;
mod credential;
mod fetch;
mod key_source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use fantail_hub::{ChannelName, Millis};
use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::request::Parts;
use thiserror::Error;

use super::App;
use super::grip::wall;
use super::takeover::Slot;
use crate::auth::{Claims, Denial, Grants, KeyError, PeerNames, Publishers, Rules, SignedUrl, Token, keys, secrets};
use crate::config::{self, By, Config, Door};
use crate::fanout::Ticket;
use crate::metrics;
use crate::proxy::Proxy;
use callback::Callback;
use credential::{Origins, Places, bearer};
use key_source::KeySource;

/// What a request was let in with; by default nothing.
#[derive(Debug, Clone, Default)]
pub struct Pass {
    /// The channels that it may subscribe to.
    pub subscribe: Grants,
    /// The channels that it may publish to.
    pub publish: Grants,
    /// What goes with its connection.
    pub ticket: Ticket,
}

impl Pass {
    /// Of somebody who may everything.
    pub fn open() -> Self {
        Self { subscribe: Grants::All, publish: Grants::All, ticket: Ticket::default() }
    }

    /// Of somebody who publishes.
    pub fn publisher(grants: Grants) -> Self {
        Self { publish: grants, ..Self::default() }
    }

    /// What this request was let in with.
    ///
    /// SECURITY: nothing where nobody has said so.
    pub fn of(request: &Parts) -> Self {
        request.extensions.get().cloned().unwrap_or_default()
    }

    /// What goes with this request's connection.
    pub fn ticket_of(request: &Parts) -> Ticket {
        request.extensions.get::<Self>().map(|pass| pass.ticket.clone()).unwrap_or_default()
    }

    /// Whether it may subscribe to all of these channels.
    ///
    /// # Errors
    /// The first to which it may not.
    pub fn may_subscribe<'a>(&self, names: impl IntoIterator<Item = &'a ChannelName>) -> Result<(), Denial> {
        all(&self.subscribe, names)
    }

    /// Whether it may publish to all of these channels.
    ///
    /// # Errors
    /// The first to which it may not.
    pub fn may_publish<'a>(&self, names: impl IntoIterator<Item = &'a ChannelName>) -> Result<(), Denial> {
        all(&self.publish, names)
    }
}

fn all<'a>(grants: &Grants, names: impl IntoIterator<Item = &'a ChannelName>) -> Result<(), Denial> {
    match names.into_iter().find(|name| !grants.cover(name.as_str())) {
        Some(name) => Err(Denial::Channel(name.to_string())),
        None => Ok(()),
    }
}

/// Why the ways of access of a configuration cannot be used.
#[derive(Debug, Error)]
#[error("access.{name}.{source}")]
pub struct AccessError {
    name: String,
    source: KeyError,
}

/// All ways in which it is found out who a client is.
#[derive(Debug)]
pub struct Accesses {
    ways: BTreeMap<String, Arc<Way>>,
    publishers: Arc<Publishers>,
    origins: Arc<Origins>,
}

/// One of them.
#[derive(Debug)]
enum Way {
    Jwt(Jwt),
    Signed(Vec<Vec<u8>>),
    Callback(Box<Callback>),
}

/// What stands before a route.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Whoever has one of these keys may come in.
    publishers: Option<Arc<Publishers>>,
    /// Who else may is found out in this way.
    way: Option<Arc<Way>>,
    origins: Arc<Origins>,
}

impl Accesses {
    /// Those of a configuration.
    ///
    /// # Errors
    /// The key that cannot be used.
    pub fn new(config: &Config, proxy: &Proxy) -> Result<Self, AccessError> {
        let mut ways = BTreeMap::new();
        for (name, access) in &config.access {
            let way = Way::new(access, config, proxy);
            let way = way.map_err(|source| AccessError { name: name.clone(), source })?;
            // What cannot be made was refused when the configuration was read.
            ways.extend(way.map(|way| (name.clone(), Arc::new(way))));
        }
        let publishers = Arc::new(Publishers::new(&config.key));
        Ok(Self { ways, publishers, origins: Arc::new(Origins::new(&config.cors)) })
    }

    /// Who may publish with a key.
    pub fn publishers(&self) -> &Arc<Publishers> {
        &self.publishers
    }

    /// What stands before a route of the public listener.
    pub fn guard(&self, route: &config::Route, config: &Config) -> Guard {
        let way = route.guard(&config.stream).and_then(|name| self.ways.get(name));
        let keys = route.publishes() && !route.public_publish && route.listener == Door::Public;
        Guard {
            publishers: (keys && !self.publishers.is_empty()).then(|| Arc::clone(&self.publishers)),
            way: way.cloned(),
            origins: Arc::clone(&self.origins),
        }
    }

    /// What the token of somebody who publishes on the control listener says of it, in the way of this name.
    ///
    /// # Errors
    /// Why it is not believed, or that there is none.
    pub async fn publisher(&self, app: &App, name: &str, request: &Parts) -> Result<Grants, Denial> {
        let Some(Way::Jwt(jwt)) = self.ways.get(name).map(|way| &**way) else {
            return Err(Denial::Missing("a token"));
        };
        let token = bearer(request)?.ok_or(Denial::Missing("Authorization: Bearer TOKEN"))?;
        Ok(jwt.judge(app, token).await?.publish)
    }
}

impl Way {
    fn new(access: &config::Access, config: &Config, proxy: &Proxy) -> Result<Option<Self>, KeyError> {
        Ok(match access.by {
            None => None,
            Some(By::Jwt) => Some(Self::Jwt(Jwt {
                keys: KeySource::new(access, keys)?,
                rules: Rules::new(access),
                most: access.max_token.bytes(),
                places: Places::new(access),
            })),
            Some(By::Signed) => Some(Self::Signed(secrets(access)?)),
            Some(By::Callback) => {
                Callback::new(access, config, proxy).map(|callback| Self::Callback(Box::new(callback)))
            }
        })
    }
}

impl Guard {
    /// Whether everyone may come in.
    pub fn is_open(&self) -> bool {
        self.publishers.is_none() && self.way.is_none()
    }

    /// Whether what lets somebody in is the URL of this route, and so of no other.
    pub fn is_of_the_url(&self) -> bool {
        self.way.as_ref().is_some_and(|way| matches!(**way, Way::Signed(_)))
    }

    /// Lets a request in, or not.
    ///
    /// # Errors
    /// Why not; it is counted.
    pub async fn admit(&self, app: &App, slot: &Slot, request: &Parts) -> Result<Pass, Denial> {
        let admitted = self.judge(app, slot, request).await;
        if let Err(denial) = &admitted {
            metrics::add(&app.metrics.access.denied[denial.reason()], 1);
        }
        admitted
    }

    /// Lets a publisher in that has a key, or a certificate in the place of one.
    fn by_key(&self, request: &Parts) -> Result<Option<Pass>, Denial> {
        let Some(publishers) = &self.publishers else { return Ok(None) };
        let found = publishers.find(request.extensions.get::<PeerNames>(), bearer(request)?);
        Ok(found.map(|publisher| Pass::publisher(publisher.grants.clone())))
    }

    async fn judge(&self, app: &App, slot: &Slot, request: &Parts) -> Result<Pass, Denial> {
        if self.is_open() || is_preflight(request) {
            return Ok(Pass::open());
        }
        if let Some(pass) = self.by_key(request)? {
            return Ok(pass);
        }
        match self.way.as_deref() {
            None => Err(Denial::Missing("Authorization: Bearer KEY")),
            Some(Way::Jwt(jwt)) => {
                let found = jwt.places.find(request)?.ok_or(jwt.places.missing())?;
                if found.by_cookie {
                    self.origins.admit(request)?;
                }
                let claims = jwt.judge(app, found.token.as_bytes()).await?;
                let ticket = ticket(claims.subject, Some(claims.ends));
                Ok(Pass { subscribe: claims.subscribe, publish: claims.publish, ticket })
            }
            Some(Way::Signed(secrets)) => {
                let query = request.uri.query().unwrap_or_default();
                let url = SignedUrl::judge(request.uri.path(), query, secrets, wall())?;
                Ok(Pass { ticket: ticket(url.subject, Some(url.ends)), ..Pass::open() })
            }
            Some(Way::Callback(callback)) => {
                if callback.sends_cookies(request) {
                    self.origins.admit(request)?;
                }
                callback.ask(app, slot.client(), request).await
            }
        }
    }
}

/// A preflight has no credentials and gets nothing but an answer about itself (Fetch §3.3.5).
fn is_preflight(request: &Parts) -> bool {
    let headers = &request.headers;
    request.method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// A ticket that ends at a moment of the wall clock.
fn ticket(identity: Option<Arc<str>>, ends: Option<Millis>) -> Ticket {
    // Far beyond what a clock can count there is no end.
    let ends = ends.and_then(|ends| Instant::now().checked_add(ends.since(wall())));
    Ticket { identity, ends }
}

/// How tokens are judged.
#[derive(Debug)]
struct Jwt {
    keys: KeySource,
    rules: Rules,
    most: usize,
    places: Places,
}

impl Jwt {
    async fn judge(&self, app: &App, token: &[u8]) -> Result<Claims, Denial> {
        let token = Token::parse(token, self.most)?;
        let keys = self.keys.for_token(app, &token).await?;
        token.judge(&keys, &self.rules, wall())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A publisher that is known by its certificate, as whoever accepts connections leaves its names in a request.
    #[test]
    fn certificate_opens_what_its_key_says() {
        let text = "[[key]]\nname = 'orders'\ncertificate = 'orders.internal'\nchannels = ['orders.*']\n";
        let publishers = Publishers::new(&Config::from_toml(text).unwrap().key);
        let guard = Guard { publishers: Some(Arc::new(publishers)), ..Guard::default() };
        assert!(!guard.is_open());
        let admitted = |names: Option<&[&str]>| {
            let mut request = http::Request::builder().uri("/pub/a").body(()).unwrap().into_parts().0;
            if let Some(names) = names {
                request.extensions.insert(PeerNames(names.iter().map(|name| (*name).to_owned()).collect()));
            }
            guard.by_key(&request)
        };
        let pass = admitted(Some(&["other", "orders.internal"])).unwrap().unwrap();
        let channel = |name: &str| ChannelName::parse(name).unwrap();
        assert_eq!(pass.may_publish([&channel("orders.1")]), Ok(()));
        assert_eq!(pass.may_publish([&channel("news")]), Err(Denial::Channel("news".to_owned())));
        assert_eq!(pass.may_subscribe([&channel("orders.1")]), Err(Denial::Channel("orders.1".to_owned())));
        assert!(admitted(Some(&["other"])).unwrap().is_none() && admitted(None).unwrap().is_none());
    }

    #[test]
    fn pass_that_nobody_gave_is_good_for_nothing() {
        let mut request = http::Request::new(()).into_parts().0;
        let channel = ChannelName::parse("a").unwrap();
        let pass = Pass::of(&request);
        assert!(pass.may_subscribe([&channel]).is_err() && pass.may_publish([&channel]).is_err());
        request.extensions.insert(Pass::open());
        assert!(Pass::of(&request).may_subscribe([&channel]).is_ok());
    }
}
