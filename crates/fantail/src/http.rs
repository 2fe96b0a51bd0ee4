//! The routes: what is answered to a request, on which listener. One file per action, one error table, one body type.
//! Knows nothing of sockets: a request that is to leave HTTP leaves a [`takeover::Takeover`] for its connection.

pub mod access;
pub mod batch;
pub mod body;
pub mod captures;
pub mod cors;
pub mod door;
pub mod error;
pub mod explain;
pub mod follow;
pub mod forward;
pub mod grip;
pub mod hold;
pub mod host;
pub mod journal;
pub mod live;
pub mod path;
pub mod publish;
pub mod push_stream;
pub mod query;
pub mod redirect;
pub mod relayed;
pub mod reply;
pub mod sessions;
pub mod soft;
pub mod stats;
pub mod subscribe;
pub mod subscribers;
pub mod table;
pub mod takeover;
pub mod unseen;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fantail_hub::{ChannelName, Hub};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::admission::{Admission, Pace};
use crate::auth::Denial;
use crate::config::{self, Action as Configured, Config, Door, Pattern};
use crate::dialect::grip::Signer;
use crate::fanout::Shards;
use crate::journal::disk::DiskJournal;
use crate::metrics::{self, Metrics};
use crate::proxy::Proxy;
use access::{AccessError, Accesses, Guard, Pass};
use body::Body;
use captures::Captures;
use cors::Cors;
use door::ControlDoor;
use error::{Refusal, json};
use forward::{Forward, Forwarded};
use hold::Holds;
use publish::Publish;
use push_stream::{PushStream, Roll, Site};
use query::Query;
use relayed::record::Recordings;
use relayed::share::Shares;
use relayed::stream::Streams;
use sessions::Sessions;
use subscribe::Subscribe;
use table::{Place, Table};
use takeover::Slot;
use unseen::Unseen;

/// What is done behind a route.
#[derive(Debug)]
enum Action {
    Subscribe(Subscribe),
    Forward(Box<Forward>),
    Publish(Publish),
    PushStream(Box<PushStream>),
    Batch,
    Stats,
    ChannelStats,
    Metrics,
    Health,
    Ready,
    Page,
    EndSubscriber,
    Subscribers,
    Compact,
    GripPublish,
    Stream(Streams),
}

/// A route: what stands before it, and what it does.
#[derive(Debug)]
struct Behind {
    guard: Guard,
    action: Action,
}

impl Behind {
    /// What everyone may use who got as far as here.
    fn open(action: Action) -> Self {
        Self { guard: Guard::default(), action }
    }
}

/// Everything that the routes need.
pub struct App {
    hub: Arc<Hub>,
    /// The journal, if it is on disk: for what the hub need not know of it.
    disk: Option<Arc<DiskJournal>>,
    shards: Arc<Shards>,
    proxy: Arc<Proxy>,
    metrics: Arc<Metrics>,
    admission: Arc<Admission>,
    /// A table for each address of the public listener, or one for all.
    public: Vec<Table<Arc<Behind>>>,
    control: Table<Arc<Behind>>,
    control_door: ControlDoor,
    accesses: Accesses,
    unseen: Unseen,
    sessions: Arc<Sessions>,
    /// Signs for applications that speak GRIP, and knows them; there is none without a key.
    signer: Option<Signer>,
    holds: Holds,
    body_timeout: Duration,
    body_pace: Pace,
    max_subscriptions: usize,
    /// What nginx refuses itself is refused with its pages.
    strict: bool,
    started: Instant,
    stopping: Arc<AtomicBool>,
    /// Publish requests that are being answered.
    publishing: Arc<AtomicUsize>,
    shares: Arc<Shares>,
    recordings: Arc<Recordings>,
    /// Those who subscribe over a WebSocket, in no shard.
    websockets: Arc<Roll>,
    /// There is a route for them.
    has_websockets: bool,
}

/// What the routes of one configuration hand to those of the next.
struct Lasting {
    hub: Arc<Hub>,
    disk: Option<Arc<DiskJournal>>,
    shards: Arc<Shards>,
    metrics: Arc<Metrics>,
    started: Instant,
    stopping: Arc<AtomicBool>,
    publishing: Arc<AtomicUsize>,
    shares: Arc<Shares>,
    recordings: Arc<Recordings>,
    sessions: Arc<Sessions>,
    websockets: Arc<Roll>,
    admission: Arc<Admission>,
}

/// Counts a publish request while it is being answered.
struct Publishing<'a>(&'a AtomicUsize);

impl<'a> Publishing<'a> {
    fn begin(app: &'a App) -> Self {
        app.publishing.fetch_add(1, Ordering::AcqRel);
        Self(&app.publishing)
    }
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl App {
    /// The routes of a configuration over these parts; `site` is what push-stream routes share, and without it there are none.
    ///
    /// # Errors
    /// A key that cannot be used.
    pub fn new(
        config: &Config,
        hub: Arc<Hub>,
        disk: Option<Arc<DiskJournal>>,
        shards: Arc<Shards>,
        proxy: Proxy,
        metrics: Arc<Metrics>,
        site: Option<&Arc<Site>>,
    ) -> Result<Self, AccessError> {
        let lasting = Lasting {
            admission: Arc::new(Admission::new(config, &metrics)),
            hub,
            disk,
            shards,
            metrics,
            started: Instant::now(),
            stopping: Arc::default(),
            publishing: Arc::default(),
            shares: Arc::default(),
            recordings: Arc::new(Recordings::new(streams(config))),
            sessions: Arc::default(),
            websockets: Arc::default(),
        };
        Self::build(config, lasting, proxy, site)
    }

    /// The routes of another configuration in the place of these. The native prefix has to be the same.
    ///
    /// # Errors
    /// A key that cannot be used.
    pub fn renewed(&self, config: &Config, proxy: Proxy, site: Option<&Arc<Site>>) -> Result<Self, AccessError> {
        let lasting = Lasting {
            hub: Arc::clone(&self.hub),
            disk: self.disk.clone(),
            shards: Arc::clone(&self.shards),
            metrics: Arc::clone(&self.metrics),
            started: self.started,
            stopping: Arc::clone(&self.stopping),
            publishing: Arc::clone(&self.publishing),
            shares: Arc::clone(&self.shares),
            recordings: Arc::clone(&self.recordings),
            sessions: Arc::clone(&self.sessions),
            websockets: Arc::clone(&self.websockets),
            admission: Arc::clone(&self.admission),
        };
        Self::build(config, lasting, proxy, site)
    }

    fn build(config: &Config, lasting: Lasting, proxy: Proxy, site: Option<&Arc<Site>>) -> Result<Self, AccessError> {
        let Lasting { hub, disk, shards, metrics, started, stopping, publishing, .. } = lasting;
        let Lasting { shares, recordings, sessions, websockets, admission, .. } = lasting;
        let accesses = Accesses::new(config, &proxy)?;
        let subscribe = |route: &config::Route, door: Door| {
            let cors = (door == Door::Public).then(|| Cors::new(&config.cors));
            Action::Subscribe(Subscribe::new(&config.stream, route, cors))
        };
        let plain = config::Route::default();
        let mut public = Vec::new();
        if config.native.public {
            let native = Behind { guard: accesses.guard(&plain, config), action: subscribe(&plain, Door::Public) };
            public.push((Place::native(config, "sub"), native));
        }
        if config.route.iter().any(|route| route.record) {
            let action = Action::Stream(Streams::new(Cors::new(&config.cors)));
            public.push((segment(&streams(config), ""), Behind::open(action)));
        }
        let control = operating(config, subscribe(&plain, Door::Control));
        let (mut own_public, mut own_control) = (Vec::new(), Vec::new());
        for (number, route) in config.route.iter().enumerate() {
            // Both were checked when the configuration was read.
            let Ok(pattern) = route.pattern() else { continue };
            let channels = route.channels.iter().filter_map(|name| ChannelName::parse(name).ok()).collect();
            let action = match route.action {
                Configured::Subscribe => subscribe(route, route.listener),
                Configured::Publish => {
                    Action::Publish(Publish { channels, only_publish: route.listener == Door::Public })
                }
                Configured::PushStream => {
                    let made = site.and_then(|site| PushStream::new(site, config, route, &pattern));
                    let Some(made) = made else { continue };
                    Action::PushStream(Box::new(made))
                }
                Configured::Proxy => {
                    let guard = accesses.guard(route, config);
                    let Some(forward) = Forward::new(&proxy, &recordings, number, route, config, guard) else {
                        continue;
                    };
                    Action::Forward(Box::new(forward))
                }
            };
            let place = Place { host: route.host.clone(), pattern, internal: route.internal };
            let behind = Behind { guard: accesses.guard(route, config), action };
            match route.listener {
                Door::Public => own_public.push((route.at.clone(), place, Arc::new(behind))),
                Door::Control => own_control.push((place, Arc::new(behind))),
            }
        }
        // Of equally specific routes the first counts, and that is the configuration's.
        own_public.extend(public.into_iter().map(|(place, behind)| (Vec::new(), place, Arc::new(behind))));
        own_control.extend(control.into_iter().map(|(place, action)| (place, Arc::new(Behind::open(action)))));
        let table = |address: &SocketAddr| {
            let here = own_public.iter().filter(|(at, ..)| at.is_empty() || at.contains(address));
            Table::new(here.map(|(_, place, behind)| (place.clone(), Arc::clone(behind))).collect())
        };
        let all = config.listen.public.all();
        let differ = own_public.iter().any(|(at, ..)| !at.is_empty());
        let public = if differ { all } else { &all[..1] }.iter().map(table).collect();
        Ok(Self {
            hub,
            disk,
            shards,
            proxy: Arc::new(proxy),
            admission,
            metrics,
            public,
            control: Table::new(own_control),
            control_door: ControlDoor::new(&config.control, accesses.publishers()),
            accesses,
            unseen: Unseen::new(config),
            sessions,
            signer: signer(config),
            holds: Holds::new(&config.stream),
            body_timeout: config.listen.body_timeout.get(),
            body_pace: Pace::new(config.limits.body_rate.bytes(), config.listen.body_timeout.get()),
            max_subscriptions: config.hub.subscriptions,
            strict: site.is_some() && config.push_stream.strict,
            started,
            stopping,
            publishing,
            shares,
            recordings,
            websockets,
            has_websockets: config.route.iter().any(|route| route.subscriber == Some(config::Subscriber::WebSocket)),
        })
    }

    /// From here on nobody new is let in.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The shards that subscribers are handed to.
    pub fn shards(&self) -> &Shards {
        &self.shards
    }

    /// The upstreams.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The upstream streams that are shared.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// The upstream streams that are recorded.
    pub fn recordings(&self) -> &Recordings {
        &self.recordings
    }

    /// See [`Metrics`].
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Who may come in.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Waits until no publish is under way.
    pub async fn publishes_done(&self) {
        while self.publishing.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Grants the request that is being answered a stream with so many subscriptions, for whoever it is that listens if that is
    /// known. What is granted goes with the stream, or with the answer if that becomes none.
    fn grant(&self, slot: &Slot, request: &Parts, subscriptions: usize) -> Result<(), Refusal> {
        let limit = self.max_subscriptions;
        if self.metrics.subscriptions() + subscriptions as u64 > limit as u64 {
            return Err(Refusal::Subscriptions(limit));
        }
        // One that an earlier step was granted is given back first.
        drop(slot.take_seat());
        let identity = Pass::ticket_of(request).identity;
        slot.sit(self.admission.stream(slot.client().ip(), identity.as_deref())?);
        Ok(())
    }

    /// Whether whoever made this request may subscribe to all of these channels.
    fn may_subscribe<'a>(
        &self,
        request: &Parts,
        names: impl IntoIterator<Item = &'a ChannelName>,
    ) -> Result<(), Denial> {
        let may = Pass::of(request).may_subscribe(names);
        may.inspect_err(|denial| metrics::add(&self.metrics.access.denied[denial.reason()], 1))
    }

    /// Whether whoever made this request may see every channel.
    fn may_subscribe_to_all(&self, request: &Parts) -> Result<(), Denial> {
        if Pass::of(request).subscribe.are_all() {
            return Ok(());
        }
        metrics::add(&self.metrics.access.denied[Denial::NotAll.reason()], 1);
        Err(Denial::NotAll)
    }

    /// Whether whoever made this request may publish to all of these channels.
    fn may_publish<'a>(&self, request: &Parts, names: impl IntoIterator<Item = &'a ChannelName>) -> Result<(), Denial> {
        let may = Pass::of(request).may_publish(names);
        may.inspect_err(|denial| metrics::add(&self.metrics.access.denied[denial.reason()], 1))
    }

    /// The line by which applications know that a proxy which speaks GRIP stands before them, if there is a key for it.
    fn signature(&self) -> Vec<u8> {
        let Some(signer) = &self.signer else { return Vec::new() };
        [b"grip-sig: ", signer.sign(grip::wall()).as_bytes(), b"\r\n"].concat()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Answers one request of a connection whose takeovers go to `slot`.
    pub async fn answer(&self, door: Door, slot: &Arc<Slot>, request: Request<Incoming>) -> Response<Body> {
        let (mut request, body) = request.into_parts();
        slot.begin(self.admission.client(slot.peer(), &request.headers));
        let response = match door {
            Door::Public => match self.admit(slot, &request) {
                Ok(()) => self.act(self.public(slot), slot, &mut request, body).await,
                Err(refusal) => self.unseen.answer(self, &request, &refusal),
            },
            Door::Control => self.admit_and_act(slot, &mut request, body).await,
        };
        slot.answered();
        let http = &self.metrics.http;
        metrics::add(&http.requests, 1);
        match response.status().as_u16() {
            400..500 => metrics::add(&http.client_errors, 1),
            500.. => metrics::add(&http.server_errors, 1),
            _ => {}
        }
        response
    }

    /// The public routes at the address to which a connection came.
    fn public(&self, slot: &Slot) -> &Table<Arc<Behind>> {
        self.public.get(slot.listener()).unwrap_or(&self.public[0])
    }

    /// What holds for every request of the public listener, whatever its route.
    fn admit(&self, slot: &Slot, request: &Parts) -> Result<(), Refusal> {
        let target = request.uri.path_and_query().map_or(0, |target| target.as_str().len());
        let most = self.admission.longest_target();
        if target > most {
            return Err(Refusal::Target(target, most));
        }
        Ok(self.admission.request(slot.client().ip())?)
    }

    async fn admit_and_act(&self, slot: &Arc<Slot>, request: &mut Parts, body: Incoming) -> Response<Body> {
        let path = path::normalise(request.uri.path());
        let found = self.control.find(None, &path);
        let admitted = match found.map(|found| &found.action.action) {
            Some(Action::GripPublish) => self.control_door.admit_grip(request, self.signer.as_ref(), grip::wall()),
            Some(Action::Publish(_) | Action::Batch) => self.control_door.admit_publisher(self, request).await,
            Some(Action::PushStream(route)) if route.publishes() => {
                self.control_door.admit_publisher(self, request).await
            }
            // Whoever watches over the process has no key, and the page asks for it.
            Some(Action::Health | Action::Ready | Action::Page) => self.control_door.admit(request, false),
            _ => self.control_door.admit(request, true),
        };
        match admitted {
            Ok(pass) => {
                request.extensions.insert(pass);
                self.act(&self.control, slot, request, body).await
            }
            Err(refusal) => {
                metrics::add(&self.metrics.http.control_refused, 1);
                refusal.response()
            }
        }
    }

    async fn act(
        &self,
        table: &Table<Arc<Behind>>,
        slot: &Arc<Slot>,
        request: &mut Parts,
        body: Incoming,
    ) -> Response<Body> {
        // What is found refers to it, while the request gets its pass.
        let uri = request.uri.clone();
        let path = path::normalise(uri.path());
        let Some(found) = table.find(host::host(request).as_deref(), &path) else {
            return self.not_found(table, request);
        };
        let Behind { guard, action } = &**found.action;
        if !guard.is_open() {
            match guard.admit(self, slot, request).await {
                Ok(pass) => drop(request.extensions.insert(pass)),
                Err(denial) => return self.turn_away(action, slot, request, &found.captures, &denial.into()),
            }
        } else if request.extensions.get::<Pass>().is_none() {
            request.extensions.insert(Pass::open());
        }
        let request = &*request;
        let answer = match action {
            Action::Subscribe(route) => {
                return route.answer(self, slot, request, found.rest, &HeaderMap::new()).await;
            }
            Action::Forward(route) => {
                let body = (!http_body::Body::is_end_stream(&body)).then_some(body);
                return match route.answer(self, slot, request, body, found.rest, &HeaderMap::new()).await {
                    Forwarded::Done(response) => response,
                    Forwarded::HandedOver(answer) => match follow::follow(self, slot, request, answer).await {
                        Ok(response) => response,
                        Err(refusal) => route.cannot_follow(self, request, &refusal),
                    },
                };
            }
            Action::Stream(route) => return route.answer(self, slot, request, found.rest).await,
            Action::PushStream(route) => {
                let _counted = route.publishes().then(|| Publishing::begin(self));
                return route.answer(self, slot, request, &found.captures, body).await;
            }
            Action::Publish(route) => {
                let _counted = Publishing::begin(self);
                return route.answer(self, request, body, found.rest).await;
            }
            Action::Batch => {
                let _counted = Publishing::begin(self);
                return batch::answer(self, request, body).await;
            }
            Action::GripPublish => {
                let _counted = Publishing::begin(self);
                return grip::answer(self, request, body).await;
            }
            Action::EndSubscriber => self.end_subscriber(request, found.rest).await,
            Action::Subscribers => subscribers::answer(self, request).await,
            Action::Compact => journal::compact(self, request).await,
            _ if !matches!(request.method, Method::GET | Method::HEAD) => {
                Err(Refusal::Method(request.method.to_string(), "GET, HEAD"))
            }
            Action::Stats => stats::summary(self, Query::of(&request.uri)).await,
            Action::ChannelStats => match table::channel(found.rest) {
                Ok(name) => stats::one(self, &name).await,
                Err(refusal) => Err(refusal),
            },
            Action::Metrics => Ok(stats::prometheus(self)),
            Action::Health => Ok(text("ok\n", "text/plain")),
            Action::Ready => Ok(journal::ready(self)),
            Action::Page => Ok(text(include_str!("http/page.html"), "text/html; charset=utf-8")),
        };
        answer.unwrap_or_else(|refusal| refusal.response())
    }

    /// The answer to somebody who is not let in.
    fn turn_away(
        &self,
        action: &Action,
        slot: &Slot,
        request: &Parts,
        captures: &Captures<'_>,
        refusal: &Refusal,
    ) -> Response<Body> {
        match action {
            Action::Subscribe(route) => route.refuse(self, request, refusal),
            Action::Forward(route) => route.turn_away(self, request, refusal),
            Action::PushStream(route) => route.turn_away(self, slot, request, captures, refusal),
            Action::Publish(_) => {
                metrics::add(&self.metrics.http.publish_refused, 1);
                refusal.response()
            }
            _ => refusal.response(),
        }
    }

    fn not_found(&self, table: &Table<Arc<Behind>>, request: &Parts) -> Response<Body> {
        let path = request.uri.path();
        match table.refuses(path) {
            true if self.strict => push_stream::nginx(StatusCode::BAD_REQUEST),
            true => Refusal::NoPath(path.to_owned()).response(),
            false => Refusal::NotFound(path.to_owned()).response(),
        }
    }

    async fn end_subscriber(&self, request: &Parts, id: &str) -> Result<Response<Body>, Refusal> {
        if request.method != Method::POST {
            return Err(Refusal::Method(request.method.to_string(), "POST"));
        }
        if self.websockets.end(id) || self.shards.end(id).await {
            Ok(json(&serde_json::json!({ "ended": id })))
        } else {
            Err(Refusal::NoSubscriber(id.to_owned()))
        }
    }
}

/// What stands before the token in the URL of a recorded stream.
fn streams(config: &Config) -> String {
    format!("{}stream/", config.native.prefix)
}

/// Signs for applications that speak GRIP, if there is a key for it.
fn signer(config: &Config) -> Option<Signer> {
    // It was checked when the configuration was read.
    Signer::new(config.proxy.grip_key.as_ref()?.expose(), &config.proxy.grip_issuer).ok()
}

/// The control listener's own routes.
fn operating(config: &Config, subscribe: Action) -> Vec<(Place, Action)> {
    vec![
        (Place::native(config, "sub"), subscribe),
        (Place::native(config, "pub"), Action::Publish(Publish::default())),
        (literal(&format!("{}pub", config.native.prefix)), Action::Batch),
        (literal("/stats"), Action::Stats),
        (segment("/stats/", ""), Action::ChannelStats),
        (literal("/metrics"), Action::Metrics),
        (literal("/healthz"), Action::Health),
        (literal("/readyz"), Action::Ready),
        (literal("/"), Action::Page),
        (literal("/publish"), Action::GripPublish),
        (literal("/publish/"), Action::GripPublish),
        (literal("/subscribers"), Action::Subscribers),
        (segment("/subscribers/", "/end"), Action::EndSubscriber),
        (literal("/journal/compact"), Action::Compact),
    ]
}

fn literal(path: &str) -> Place {
    Place::anywhere(Pattern::Literal(path.to_owned()))
}

fn segment(before: &str, after: &str) -> Place {
    Place::anywhere(Pattern::Segment { before: before.to_owned(), after: after.to_owned() })
}

/// A reconnection time with a random part, so that clients which were cut off together come back apart; in milliseconds.
fn retry_ms(retry: Duration, jitter: Duration) -> u64 {
    let spread = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    retry.as_millis() as u64 + fastrand::u64(0..=spread)
}

fn text(text: &'static str, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Full(Bytes::from_static(text.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
