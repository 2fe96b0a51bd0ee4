//! Recording: an event stream is kept on its way to the client, goes on for a while without it, and can be resumed: at a URL
//! of its own, by an id of it on the same route, or by repeating the request under the same `Idempotency-Key`.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::{ChannelName, Limits, StartAt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts as Request;
use http::response::Parts;
use http::{Method, Response};
use http_body::Body as HttpBody;
use parking_lot::Mutex;

use super::credential::Credential;
use super::feed::{Ended, Feed};
use super::openings::{Entrance, Openings};
use super::share::last_event_id;
use super::source::Source;
use super::{Joined, Manner, View, head};
use crate::dialect::relayed::{Seal, Sealed};
use crate::fanout::Style;
use crate::http::App;
use crate::http::body::Body;
use crate::http::error::Refusal;
use crate::http::takeover::Slot;
use crate::metrics;

/// What the channels of recordings are called.
const KIND: &str = "record";
/// Recordings that are kept at once, finished ones included. Beyond that the oldest finished one goes, and while none has
/// finished nothing more is recorded.
const MOST: usize = 10_000;
/// The longest `Idempotency-Key` that counts, in bytes.
const LONGEST_KEY: usize = 255;
/// What a recording may hold: an answer of a language model has thousands of small events.
const MESSAGES: usize = 100_000;
const BYTES: usize = 16 << 20;

/// The retention of recordings where `[[hub.retention]]` sets none for the prefix: messages are kept as long as others are.
pub fn retention(default: Limits) -> (String, Limits) {
    (format!("/{KIND}/"), Limits { messages: MESSAGES, bytes: BYTES.max(default.bytes), age: default.age })
}

/// What of a route matters to its recordings.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The route's number: idempotency keys are of one route.
    pub route: usize,
    /// The cookies by which clients are told apart; if none are named, all but known counters of analytics.
    pub cookies: Arc<[String]>,
}

/// The secret of a recording's URL: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Token(u128);

impl Token {
    fn random() -> Option<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(u128::from_be_bytes(bytes)))
    }

    /// Reads a token as its `Display` writes it, to the byte.
    fn parse(text: &str) -> Option<Self> {
        let token = Self(u128::from_str_radix(text, 16).ok()?);
        (token.to_string() == text).then_some(token)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One recording.
pub(super) struct Recording {
    pub(super) source: Arc<Source>,
    pub(super) style: Arc<Style>,
    /// Where it can be resumed.
    pub(super) url: String,
    token: Token,
    cookies: Arc<[String]>,
    /// Of the first request, and as it is once its client has taken the cookies of the answer.
    credentials: [Credential; 2],
}

impl Recording {
    fn admits(&self, request: &Request) -> bool {
        self.credentials.contains(&Credential::of(&request.headers, &self.cookies))
    }
}

/// What requests have in common that are one, repeated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Repeated {
    route: usize,
    credential: Credential,
    key: Box<[u8]>,
}

/// What the head tells of a request's content. The body is on its way to the upstream while it is read, and not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content([Vec<u8>; 4]);

impl Content {
    fn of(request: &Request) -> Self {
        let header = |name| request.headers.get(name).map(|value| value.as_bytes().to_vec()).unwrap_or_default();
        let target = request.uri.path_and_query().map(|target| target.as_str().as_bytes().to_vec());
        let method = request.method.as_str().as_bytes().to_vec();
        Self([method, target.unwrap_or_default(), header(CONTENT_TYPE), header(CONTENT_LENGTH)])
    }
}

/// All recordings.
pub struct Recordings {
    /// `…/stream/`: what stands before a token in its URL.
    prefix: String,
    seal: Arc<Seal>,
    kept: Arc<Mutex<Kept>>,
    repeated: Arc<Openings<Repeated>>,
    numbers: AtomicU64,
}

#[derive(Default)]
struct Kept {
    by_token: HashMap<Token, Arc<Recording>>,
    by_number: HashMap<u64, Arc<Recording>>,
    /// The content of requests with a key, by recording.
    contents: HashMap<u64, Content>,
    /// Those whose upstream has ended, oldest first.
    finished: VecDeque<u64>,
}

impl Kept {
    fn forget(&mut self, number: u64) {
        if let Some(recording) = self.by_number.remove(&number) {
            self.by_token.remove(&recording.token);
        }
        self.contents.remove(&number);
        self.finished.retain(|finished| *finished != number);
    }

    /// Makes room for one more; false if there is none.
    fn make_room(&mut self) -> bool {
        while self.by_number.len() >= MOST {
            let Some(&oldest) = self.finished.front() else { return false };
            self.forget(oldest);
        }
        true
    }
}

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recordings").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Recordings {
    /// No recordings; their URLs will begin with `prefix`, which ends with a slash.
    pub fn new(prefix: String) -> Self {
        Self {
            prefix,
            seal: Arc::default(),
            kept: Arc::default(),
            repeated: Arc::new(Openings::new()),
            numbers: AtomicU64::new(0),
        }
    }

    /// What makes the ids of recorded streams.
    pub fn seal(&self) -> &Arc<Seal> {
        &self.seal
    }

    /// Whether an id was made for a recording: then it says nothing to any upstream.
    pub fn made(&self, id: &[u8]) -> bool {
        self.seal.open(id).is_some()
    }

    /// Answers a request of a route that records: from a recording, where its `Last-Event-ID` or its `Idempotency-Key` knows
    /// one, else `open` asks the upstream, and if an event stream comes it is recorded.
    ///
    /// Requests with one key wait for the first of them. Their contents are compared as far as their heads tell: method, target,
    /// type and length. A stream that broke off is not repeated under its key: the next request asks anew.
    ///
    /// CANCEL SAFETY: a request that is dropped before its upstream has answered drops what `open` had begun; afterwards the
    /// recording goes on without it.
    ///
    /// # Errors
    /// What `open` fails with.
    pub async fn record<B, E, F>(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Request,
        rules: &Rules,
        manner: &Manner,
        open: impl FnOnce() -> F,
    ) -> Result<Joined<B>, E>
    where
        F: Future<Output = Result<(Parts, B), E>>,
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Error + Send + Sync + 'static,
    {
        if let Some(answer) = self.follow(app, slot, request).await {
            return Ok(Joined::Answer(answer));
        }
        let repeated = self.repeated(request, rules);
        let opener = match &repeated {
            None => None,
            Some(repeated) => match self.repeated.enter(repeated).await {
                Entrance::Open(source) => return Ok(self.repeat(app, slot, request, &source, manner).await),
                Entrance::Declined => return Ok(Joined::Apart),
                Entrance::First(opener) => Some(opener),
            },
        };
        let answer = open().await;
        let made = match &answer {
            Ok((parts, _)) if request.method != Method::HEAD && head::is_event_stream(parts) => {
                self.begin(app, request, rules, manner, parts, repeated.is_some())
            }
            _ => None,
        };
        let (parts, body) = match (answer, opener, &made) {
            (answer, Some(opener), None) => {
                opener.decline();
                answer?
            }
            (answer, Some(opener), Some((_, recording))) => {
                opener.open(&recording.source);
                answer?
            }
            (answer, None, _) => answer?,
        };
        let Some((number, recording)) = made else { return Ok(Joined::Alone(parts, body)) };
        self.spawn(app, number, &recording, repeated, manner, body);
        let source = &recording.source;
        let view = View { source, style: &manner.style, start: source.beginning(&app.hub), head: source.head.clone() };
        let answer = view.answer(app, slot, request).await;
        Ok(Joined::Answer(answer.unwrap_or_else(|refusal| refusal.response())))
    }

    /// Makes a recording for an upstream's answer; `None` where there is no room for it.
    fn begin(
        &self,
        app: &App,
        request: &Request,
        rules: &Rules,
        manner: &Manner,
        answer: &Parts,
        keyed: bool,
    ) -> Option<(u64, Arc<Recording>)> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let path = request.uri.path();
        let token = Token::random()?;
        let channel = app.hub.open(&ChannelName::internal(KIND, number));
        let channel =
            channel.inspect_err(|error| tracing::warn!(path, %error, "an event stream is not recorded")).ok()?;
        let url = format!("{}{token}", self.prefix);
        let mut told = head::for_viewers(answer.clone());
        head::announce(&mut told.headers, &url);
        let asked = last_event_id(request).filter(|id| !self.made(id));
        let source = Source::new(&app.hub, channel, told, asked);
        let credentials = [
            Credential::of(&request.headers, &rules.cookies),
            Credential::after(&request.headers, &answer.headers, &rules.cookies),
        ];
        let (style, cookies) = (Arc::clone(&manner.style), Arc::clone(&rules.cookies));
        let recording = Arc::new(Recording { source, style, url, token, cookies, credentials });
        let mut kept = self.kept.lock();
        if !kept.make_room() {
            tracing::warn!(path, recordings = MOST, "an event stream is not recorded: too many are");
            return None;
        }
        kept.by_token.insert(token, Arc::clone(&recording));
        kept.by_number.insert(number, Arc::clone(&recording));
        if keyed {
            kept.contents.insert(number, Content::of(request));
        }
        recording.source.arrive();
        Some((number, recording))
    }

    /// Feeds a recording, and forgets it when all that it holds is too old to be kept.
    fn spawn<B>(
        &self,
        app: &App,
        number: u64,
        recording: &Arc<Recording>,
        repeated: Option<Repeated>,
        manner: &Manner,
        body: B,
    ) where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Error + Send + Sync + 'static,
    {
        let feed = Feed {
            hub: Arc::clone(&app.hub),
            metrics: Arc::clone(&app.metrics),
            source: Arc::clone(&recording.source),
            grace: manner.grace,
        };
        let (kept, repeats) = (Arc::clone(&self.kept), Arc::clone(&self.repeated));
        tokio::spawn(async move {
            let relayed = &feed.metrics.relayed;
            metrics::add(&relayed.recording, 1);
            metrics::add(&relayed.recordings, 1);
            let forget_key = || {
                if let Some(repeated) = &repeated {
                    repeats.forget(repeated, &feed.source);
                }
            };
            // Under a key nobody is let in any more once it is closed; by its URL it can still be seen how far it came.
            let close = |arrivals| match &repeated {
                Some(repeated) => repeats.close(repeated, &feed.source, arrivals),
                None => feed.source.arrivals() == arrivals,
            };
            if feed.run(body, close).await == Ended::Broken {
                forget_key();
            }
            metrics::take(&relayed.recording, 1);
            kept.lock().finished.push_back(number);
            tokio::time::sleep(Self::age(&feed)).await;
            forget_key();
            kept.lock().forget(number);
            feed.drain().await;
            metrics::take(&feed.metrics.relayed.recordings, 1);
        });
    }

    fn age(feed: &Feed) -> Duration {
        feed.hub.limits_of(&feed.source.channel).age
    }

    /// What a request repeats, where it says so.
    fn repeated(&self, request: &Request, rules: &Rules) -> Option<Repeated> {
        let key = request.headers.get("idempotency-key")?.as_bytes();
        let credential = Credential::of(&request.headers, &rules.cookies);
        let sound = (1..=LONGEST_KEY).contains(&key.len());
        sound.then(|| Repeated { route: rules.route, credential, key: key.into() })
    }

    /// Answers a request that was made before.
    async fn repeat<B>(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Request,
        source: &Arc<Source>,
        manner: &Manner,
    ) -> Joined<B> {
        let number = source.channel.name().number();
        let first = number.and_then(|number| self.kept.lock().contents.get(&number).cloned());
        let answer = if first.is_some_and(|first| first != Content::of(request)) {
            Err(Refusal::KeyReused)
        } else {
            let start = source.beginning(&app.hub);
            let view = View { source, style: &manner.style, start, head: source.head.clone() };
            view.answer(app, slot, request).await
        };
        Joined::Answer(answer.unwrap_or_else(|refusal| refusal.response()))
    }

    /// Answers an `EventSource` that comes back to the route from which it was recorded. `None` where the upstream is to be
    /// asked: the id is not one of a recording that is kept, is somebody else's, or of one that broke off and has been
    /// seen as far as it came.
    async fn follow(&self, app: &App, slot: &Arc<Slot>, request: &Request) -> Option<Response<Body>> {
        if request.method != Method::GET {
            return None;
        }
        let Sealed { number, offset } = self.seal.open(last_event_id(request)?)?;
        let recording = self.kept.lock().by_number.get(&number).map(Arc::clone)?;
        let source = &recording.source;
        if !recording.admits(request) || (source.is_broken() && source.newest() <= offset) {
            return None;
        }
        let start = source.behind(&app.hub, offset);
        Some(recording.resume(app, slot, request, start, source.head.clone()).await)
    }

    /// The recording of a token, if this request may have it.
    pub(super) fn find(&self, token: &str, request: &Request) -> Option<Arc<Recording>> {
        let token = Token::parse(token)?;
        let recording = self.kept.lock().by_token.get(&token).map(Arc::clone)?;
        recording.admits(request).then_some(recording)
    }
}

impl Recording {
    /// Answers a viewer that begins somewhere: 204 if the stream has ended and it has seen all of it.
    pub(super) async fn resume(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Request,
        start: StartAt,
        head: Parts,
    ) -> Response<Body> {
        self.source.arrive();
        let names = std::slice::from_ref(self.source.channel.name());
        let seen = match app.hub.plan(names, start.clone()).await {
            Ok(plan) => self.source.has_nothing_for(plan.progress.cursor().next()),
            Err(error) => return Refusal::from(error).response(),
        };
        if seen {
            return Refusal::Subscribe(fantail_hub::SubscribeError::Ended).response();
        }
        let view = View { source: &self.source, style: &self.style, start, head };
        view.answer(app, slot, request).await.unwrap_or_else(|refusal| refusal.response())
    }
}
