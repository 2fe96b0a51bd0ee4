//! Recording: an event stream is kept on its way to the client, goes on for a while without it, and can be resumed: at a URL
//! of its own, by an id of it on the same route, or by repeating the request under the same `Idempotency-Key`.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::{ChannelName, Limits};
use http::header::SET_COOKIE;
use http::request::Parts as Request;
use http::response::Parts;
use http::{Method, Response};
use http_body::Body as HttpBody;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::credential::{self, Credential};
use super::feed::{Ended, Feed};
use super::openings::{Entrance, Openings};
use super::recording::{Content, Recording, Token};
use super::share::{host, last_event_id};
use super::source::Source;
use super::{Joined, Manner, View, head};
use crate::dialect::relayed::{Seal, Sealed};
use crate::http::App;
use crate::http::access::{Guard, Pass};
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

/// The retention of recordings where `[[retention]]` sets none for the prefix: messages are kept as long as others are.
pub fn retention(default: Limits) -> (String, Limits) {
    (format!("/{KIND}/"), Limits { messages: MESSAGES, bytes: BYTES.max(default.bytes), ..default })
}

/// What of a route matters to its recordings.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The route's number: idempotency keys are of one route.
    pub route: usize,
    /// The cookies by which clients are told apart; if none are named, all but known counters of analytics.
    pub cookies: Arc<[String]>,
    /// What stands before the route.
    pub guard: Guard,
}

/// What requests have in common that are one, repeated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Repeated {
    route: usize,
    host: Box<[u8]>,
    credential: Credential,
    key: Box<[u8]>,
}

/// All recordings.
pub struct Recordings {
    /// `…/stream/`: what stands before a token in its URL.
    prefix: String,
    seal: Arc<Seal>,
    kept: Arc<Mutex<Kept>>,
    repeated: Arc<Openings<Repeated>>,
    numbers: AtomicU64,
    most: usize,
}

#[derive(Default)]
struct Kept {
    by_token: HashMap<Token, Arc<Recording>>,
    by_number: HashMap<u64, Arc<Recording>>,
    /// Those whose upstream has ended, oldest first.
    finished: VecDeque<u64>,
}

impl Kept {
    fn forget(&mut self, number: u64) {
        if let Some(recording) = self.by_number.remove(&number) {
            self.by_token.remove(&recording.token);
            recording.forgotten.notify_one();
        }
        self.finished.retain(|finished| *finished != number);
    }

    /// Makes room for one more; false if there is none.
    fn make_room(&mut self, most: usize) -> bool {
        while self.by_number.len() >= most {
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
            most: MOST,
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
    /// Requests with one key wait for the first of them, or if its answer is no stream, for the next. Their contents are compared
    /// as far as their heads tell: method, target, type and length. A stream that broke off is not repeated under its key: the
    /// next request asks anew.
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
        let repeated = Self::repeated(request, rules);
        let opener = loop {
            let Some(repeated) = &repeated else { break None };
            match self.repeated.enter(repeated).await {
                Entrance::Open(source) => return Ok(self.repeat(app, slot, request, &source, manner).await),
                Entrance::First(opener) => break Some(opener),
                // What its answer may have been, the next one's may be a stream.
                Entrance::Declined => {}
            }
        };
        let answer = open().await;
        let made = match &answer {
            Ok((parts, _)) if request.method != Method::HEAD && head::is_event_stream(parts) => {
                self.begin(app, request, rules, manner, parts)
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
        let view =
            View { source, styles: &manner.styles, start: source.beginning(&app.hub), head: source.head.clone() };
        let answer = match view.answer(app, slot, request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                // Its caller has not been told of it, and cannot come back.
                source.stop().await;
                refusal.response()
            }
        };
        Ok(Joined::Answer(answer))
    }

    /// Makes a recording for an upstream's answer; `None` where there is no room for it.
    fn begin(
        &self,
        app: &App,
        request: &Request,
        rules: &Rules,
        manner: &Manner,
        answer: &Parts,
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
        let (styles, cookies) = (Arc::clone(&manner.styles), Arc::clone(&rules.cookies));
        let recording = Arc::new(Recording {
            source,
            styles,
            url,
            token,
            content: Content::of(request),
            cookies,
            credentials,
            guard: rules.guard.clone(),
            ticket: Pass::ticket_of(request),
            forgotten: Notify::new(),
        });
        let mut kept = self.kept.lock();
        if !kept.make_room(self.most) {
            tracing::warn!(path, recordings = self.most, "an event stream is not recorded: too many are");
            return None;
        }
        kept.by_token.insert(token, Arc::clone(&recording));
        kept.by_number.insert(number, Arc::clone(&recording));
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
        let recording = Arc::clone(recording);
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
            tokio::select! {
                () = tokio::time::sleep(Self::age(&feed)) => {}
                () = recording.forgotten.notified() => {}
            }
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
    fn repeated(request: &Request, rules: &Rules) -> Option<Repeated> {
        let key = request.headers.get("idempotency-key")?.as_bytes();
        let credential = Credential::of(&request.headers, &rules.cookies);
        let sound = (1..=LONGEST_KEY).contains(&key.len());
        sound.then(|| Repeated { route: rules.route, host: host(request).into(), credential, key: key.into() })
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
        let first = number.and_then(|number| self.kept.lock().by_number.get(&number).map(Arc::clone));
        let answer = if first.is_some_and(|first| first.content != Content::of(request)) {
            Err(Refusal::KeyReused)
        } else {
            let (start, mut head) = (source.beginning(&app.hub), source.head.clone());
            if !credential::is_given(&request.headers) {
                // SECURITY: whoever guessed the key must not get the session that the answer began.
                head.headers.remove(SET_COOKIE);
            }
            View { source, styles: &manner.styles, start, head }.answer(app, slot, request).await
        };
        Joined::Answer(answer.unwrap_or_else(|refusal| refusal.response()))
    }

    /// Answers a client that makes its request again with the id of an event of its answer, as an `EventSource` does, and
    /// wrappers of `fetch` that repeat a POST. `None` where the upstream is to be asked: the id is not one of a recording that is
    /// kept, is somebody else's or of another request, or of one that broke off and has been seen as far as it came.
    async fn follow(&self, app: &App, slot: &Arc<Slot>, request: &Request) -> Option<Response<Body>> {
        let Sealed { number, offset } = self.seal.open(last_event_id(request)?)?;
        let recording = self.kept.lock().by_number.get(&number).map(Arc::clone)?;
        let source = &recording.source;
        let is_another = !recording.admits(request) || recording.content != Content::of(request);
        if is_another || (source.is_broken() && source.newest() <= offset) {
            return None;
        }
        let (start, head) = (source.behind(&app.hub, offset), source.head.clone());
        if request.method == Method::GET {
            return Some(recording.resume(app, slot, request, start, head).await);
        }
        // Only to an EventSource a 204 says that it is over. Others end with the stream, which has nothing left but its end.
        source.arrive();
        let view = View { source, styles: &recording.styles, start, head };
        Some(view.answer(app, slot, request).await.unwrap_or_else(|refusal| refusal.response()))
    }

    /// The recording of a token, if this request may have it.
    pub(super) fn find(&self, token: &str, request: &Request) -> Option<Arc<Recording>> {
        let token = Token::parse(token)?;
        let recording = self.kept.lock().by_token.get(&token).map(Arc::clone)?;
        recording.admits(request).then_some(recording)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io;

    use http::StatusCode;

    use super::*;
    use crate::http::relayed::head::FANTAIL_STREAM;
    use crate::http::relayed::stream::Streams;
    use crate::http::relayed::viewer::{self, FakeBody, Upstream, Viewer, World, ids, request, without_ids};

    const HOUR: Duration = Duration::from_hours(1);
    const MINE: (&str, &str) = ("cookie", "sid=mine");
    const THEIRS: (&str, &str) = ("cookie", "sid=theirs");

    async fn record<F>(
        world: &World,
        slot: &Arc<Slot>,
        request: &Request,
        grace: Duration,
        open: impl FnOnce() -> F,
    ) -> io::Result<Joined<FakeBody>>
    where
        F: Future<Output = io::Result<(Parts, FakeBody)>>,
    {
        let manner = world.recorded(grace);
        world.app.recordings().record(&world.app, slot, request, &Rules::default(), &manner, open).await
    }

    /// Records a stream for its first viewer.
    async fn begin(world: &World, request: &Request, grace: Duration) -> (Upstream, Viewer) {
        let slot = World::slot();
        let (upstream, answer) = Upstream::stream();
        let joined = record(world, &slot, request, grace, || async { Ok(answer) }).await;
        (upstream, world.view(&slot, joined).await)
    }

    /// What is answered without asking the upstream.
    async fn answered(world: &World, slot: &Arc<Slot>, request: &Request) -> Response<Body> {
        match record(world, slot, request, HOUR, || async { panic!("the upstream is asked") }).await.unwrap() {
            Joined::Answer(answer) => answer,
            other => panic!("no answer, but {other:?}"),
        }
    }

    fn token(viewer: &Viewer) -> String {
        let url = viewer.head.headers[FANTAIL_STREAM].to_str().unwrap();
        assert_eq!(viewer.head.headers["link"], format!("<{url}>; rel=\"resume\""));
        url.strip_prefix("/stream/").unwrap().to_owned()
    }

    async fn ask(
        world: &World,
        slot: &Arc<Slot>,
        method: &str,
        token: &str,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Response<Body> {
        let route = Streams::new(crate::http::cors::Cors::new(&crate::config::Cors::default()));
        route.answer(&world.app, slot, &request(method, &format!("/stream/{token}{query}"), headers), token).await
    }

    async fn resume(world: &World, token: &str, query: &str, headers: &[(&str, &str)]) -> Viewer {
        let slot = World::slot();
        let answer = ask(world, &slot, "GET", token, query, headers).await;
        world.hand_over(&slot, answer).await
    }

    async fn status(world: &World, method: &str, token: &str, query: &str, headers: &[(&str, &str)]) -> u16 {
        ask(world, &World::slot(), method, token, query, headers).await.status().as_u16()
    }

    #[tokio::test]
    async fn recording_goes_on_without_its_caller_and_is_resumed_exactly() {
        let world = World::new().await;
        let (upstream, mut caller) = begin(&world, &request("POST", "/chat", &[MINE]), HOUR).await;
        assert_eq!(caller.head.headers["x-own"], "head");
        let token = token(&caller);
        upstream.say(": working\n\nevent: a\ndata: 1\n\ndata: 2\n\n").await;
        let seen = ids(&caller.until("data: 2\n\n").await);
        assert_eq!(seen.len(), 2);
        drop(caller);
        upstream.say("data: 3\n\n").await;

        // A second tab sees everything, the first one what it has not seen; both go on.
        let everything = ": working\nevent: a\ndata: 1\n\ndata: 2\n\ndata: 3\n\n";
        let behind_a_gap = format!(": fantail-gap\n{everything}");
        let mut viewers = vec![
            (resume(&world, &token, "", &[MINE]).await, everything),
            (resume(&world, &token, "?from=start", &[MINE]).await, everything),
            (resume(&world, &token, "", &[MINE, ("last-event-id", &seen[1])]).await, "data: 3\n\n"),
            (resume(&world, &token, &format!("?lastEventId={}", seen[0]), &[MINE]).await, "data: 2\n\ndata: 3\n\n"),
            (resume(&world, &token, "?offset=0", &[MINE]).await, everything),
            (resume(&world, &token, "?offset=2", &[MINE]).await, "data: 3\n\n"),
            (resume(&world, &token, "", &[MINE, ("last-event-id", "odd")]).await, &behind_a_gap),
        ];
        let mut last = String::new();
        for (viewer, expected) in &mut viewers {
            let said = viewer.until("data: 3\n\n").await;
            assert_eq!(without_ids(&said), **expected);
            last = ids(&said).pop_back().unwrap();
        }
        // It waits at the end of what there is.
        viewers.push((resume(&world, &token, "?offset=3", &[MINE]).await, ""));
        viewers.push((resume(&world, &token, "?from=live", &[MINE]).await, ""));
        upstream.say("data: [DONE]\n\n: bye\n\n").await;
        drop(upstream);
        for (viewer, _) in viewers {
            let (said, clean) = viewer.end().await;
            assert_eq!((without_ids(&said).as_str(), clean), ("data: [DONE]\n\n: bye\n", true));
            last = ids(&said).pop_back().unwrap();
        }
        for (query, headers) in [
            ("", vec![MINE, ("last-event-id", last.as_str())]),
            ("?offset=4", vec![MINE]),
            ("?offset=400", vec![MINE]),
            ("?from=live", vec![MINE]),
        ] {
            assert_eq!(status(&world, "GET", &token, query, &headers).await, 204, "{query}");
        }
        let (said, clean) = resume(&world, &token, "", &[MINE]).await.end().await;
        assert_eq!((without_ids(&said), clean), (format!("{everything}data: [DONE]\n\n: bye\n"), true));
        assert_eq!(metrics::read(&world.app.metrics().relayed.recordings), 1);
        viewer::eventually(|| metrics::read(&world.app.metrics().relayed.recording) == 0).await;
    }

    #[tokio::test]
    async fn recording_is_for_whoever_made_the_request() {
        let world = World::new().await;
        let (_upstream, caller) = begin(&world, &request("POST", "/chat", &[MINE]), HOUR).await;
        let token = token(&caller);
        let (name, other) = (&token[..31], if token.ends_with('0') { '1' } else { '0' });
        for (token, headers) in [
            (token.as_str(), vec![THEIRS]),
            (&token, vec![]),
            (&token, vec![MINE, ("authorization", "Bearer x")]),
            (&format!("{name}{other}"), vec![MINE]),
            (&format!("0{token}"), vec![MINE]),
            ("", vec![MINE]),
        ] {
            for method in ["GET", "HEAD", "DELETE"] {
                assert_eq!(status(&world, method, token, "", &headers).await, 404, "{method} {token:?} {headers:?}");
            }
        }
        assert_eq!(status(&world, "HEAD", &token, "", &[MINE]).await, 200);
        assert_eq!(status(&world, "POST", &token, "", &[MINE]).await, 405);
        assert_eq!(status(&world, "GET", &token, "?offset=x", &[MINE]).await, 400);
        let preflight = ask(&world, &World::slot(), "OPTIONS", &token, "", &[]).await;
        assert_eq!(preflight.status(), 204);
        assert_eq!(preflight.headers()["access-control-allow-methods"], "GET, HEAD, DELETE");
        let head = ask(&world, &World::slot(), "HEAD", &token, "", &[MINE]).await;
        assert_eq!(head.headers()["access-control-allow-origin"], "*");
        assert_eq!(head.headers()["content-type"], "text/event-stream");
        // Nobody gets at it by the routes for channels, and what they list leads nowhere.
        let listed = world.app.hub.list("", 10);
        assert_eq!(listed.len(), 1);
        assert!(ChannelName::parse(listed[0].0.as_str()).is_err() && !listed[0].0.as_str().contains(&token));
    }

    #[tokio::test]
    async fn delete_stops_the_upstream_and_ends_viewers_in_good_order() {
        let world = World::new().await;
        let (upstream, mut caller) = begin(&world, &request("POST", "/chat", &[MINE]), HOUR).await;
        upstream.say("data: 1\n\n").await;
        let id = ids(&caller.until("data: 1\n\n").await).pop_back().unwrap();
        let token = token(&caller);
        for _ in 0..2 {
            assert_eq!(status(&world, "DELETE", &token, "", &[MINE]).await, 204);
            assert!(!upstream.is_read());
            assert_eq!(status(&world, "GET", &token, "", &[MINE, ("last-event-id", &id)]).await, 204);
        }
        assert_eq!(caller.end().await, (String::new(), true));
    }

    #[tokio::test]
    async fn request_repeated_under_its_key_is_asked_of_the_upstream_once() {
        let world = World::new().await;
        let key = ("idempotency-key", "k1");
        let first = request("POST", "/chat", &[MINE, key, ("content-length", "5")]);
        let (slot, other) = (World::slot(), World::slot());
        let (upstream, answer) = Upstream::stream();
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let opening = record(&world, &slot, &first, HOUR, || async {
            // The second comes before there is a head.
            let _ = wait.await;
            Ok(answer)
        });
        let repeated = async {
            tokio::task::yield_now().await;
            let _ = go.send(());
            answered(&world, &other, &first).await
        };
        let (opened, repeated) = tokio::join!(opening, repeated);
        let mut viewers = [world.view(&slot, opened).await, world.hand_over(&other, repeated).await];
        assert_eq!(token(&viewers[0]), token(&viewers[1]));
        upstream.say("data: 1\n\n").await;
        for viewer in &mut viewers {
            viewer.until("data: 1\n\n").await;
        }
        let changed = request("POST", "/chat", &[MINE, key, ("content-length", "6")]);
        assert_eq!(answered(&world, &World::slot(), &changed).await.status(), StatusCode::CONFLICT);
        // Of another client, or under another key, it is another request.
        for headers in [[THEIRS, key], [MINE, ("idempotency-key", "k2")]] {
            begin(&world, &request("POST", "/chat", &headers), HOUR).await;
        }
        drop(upstream);
        let slot = World::slot();
        let answer = answered(&world, &slot, &first).await;
        let (said, clean) = world.hand_over(&slot, answer).await.end().await;
        assert_eq!((without_ids(&said).as_str(), clean), ("data: 1\n\n", true), "a finished one is played again");
    }

    /// SECURITY: without a credential nobody can say that it is the same client, and a session is not for another one.
    #[tokio::test]
    async fn cookies_are_not_given_again_to_whoever_has_no_more_than_the_key() {
        let world = World::new().await;
        for (credential, kept) in [(("x-other", "1"), false), (MINE, true)] {
            let first = request("POST", "/chat", &[("idempotency-key", "1"), credential]);
            let head = [("content-type", "text/event-stream"), ("set-cookie", "sid=1")];
            let (_upstream, answer) = Upstream::answer(StatusCode::OK, &head);
            let opened = record(&world, &World::slot(), &first, HOUR, || async { Ok(answer) }).await;
            let Joined::Answer(opened) = opened.unwrap() else { panic!("it is recorded") };
            assert_eq!(opened.headers()["set-cookie"], "sid=1");
            let again = answered(&world, &World::slot(), &first).await;
            assert_eq!(again.headers().contains_key("set-cookie"), kept);
        }
    }

    #[tokio::test]
    async fn stream_that_broke_off_is_broken_for_all_and_not_repeated() {
        let world = World::new().await;
        let first = request("POST", "/chat", &[MINE, ("idempotency-key", "k1")]);
        let (upstream, mut caller) = begin(&world, &first, HOUR).await;
        upstream.say("data: 1\n\n").await;
        let id = ids(&caller.until("data: 1\n\n").await).pop_back().unwrap();
        let token = token(&caller);
        upstream.break_off().await;
        assert_eq!(caller.end().await, (String::new(), false));
        for _ in 0..2 {
            let late = resume(&world, &token, "", &[MINE, ("last-event-id", &id)]).await;
            assert_eq!(late.end().await, (String::new(), false));
        }
        let (said, clean) = resume(&world, &token, "", &[MINE]).await.end().await;
        assert_eq!((without_ids(&said).as_str(), clean), ("data: 1\n\n", false));
        // A repeated request is made anew, and so is that of an EventSource that has seen all there was.
        viewer::eventually(|| world.app.recordings().repeated.len() == 0).await;
        begin(&world, &first, HOUR).await;
        begin(&world, &request("GET", "/chat", &[MINE, ("last-event-id", &id)]), HOUR).await;
    }

    #[tokio::test]
    async fn event_source_that_comes_back_is_answered_from_the_recording() {
        let world = World::new().await;
        let (upstream, mut caller) = begin(&world, &request("GET", "/chat?q=1", &[MINE]), HOUR).await;
        upstream.say("data: 1\n\ndata: 2\n\n").await;
        let seen = ids(&caller.until("data: 2\n\n").await);
        drop(caller);
        let back = |id, who| request("GET", "/chat?q=1", &[who, ("last-event-id", id)]);
        let slot = World::slot();
        let answer = answered(&world, &slot, &back(&seen[0], MINE)).await;
        let mut viewer = world.hand_over(&slot, answer).await;
        assert_eq!(without_ids(&viewer.until("data: 2\n\n").await), "data: 2\n\n");
        drop(upstream);
        assert_eq!(viewer.end().await, (String::new(), true));
        let done = answered(&world, &World::slot(), &back(&seen[1], MINE)).await;
        assert_eq!(done.status(), StatusCode::NO_CONTENT, "it need not come back");
        assert!(world.app.recordings().made(seen[1].as_bytes()) && !world.app.recordings().made(b"7"));
        // Somebody else's is asked of the upstream, as is another request, and an id that nobody made here.
        begin(&world, &back(&seen[1], THEIRS), HOUR).await;
        begin(&world, &back("7", MINE), HOUR).await;
        begin(&world, &request("GET", "/chat?q=2", &[MINE, ("last-event-id", &seen[1])]), HOUR).await;
    }

    #[tokio::test]
    async fn recordings_beyond_the_room_take_the_place_of_finished_ones() {
        let world = World::new().await;
        let recordings = Recordings { most: 2, ..Recordings::new("/stream/".to_owned()) };
        let manner = world.recorded(HOUR);
        let record = async |key: &str| {
            let request = request("POST", "/chat", &[("idempotency-key", key)]);
            let (upstream, answer) = Upstream::stream();
            let (slot, rules) = (World::slot(), Rules::default());
            let joined =
                recordings.record(&world.app, &slot, &request, &rules, &manner, || async { io::Result::Ok(answer) });
            (upstream, matches!(joined.await, Ok(Joined::Answer(_))))
        };
        let (first, kept) = record("1").await;
        assert!(kept && record("2").await.1);
        // The second has ended at once, as its upstream was dropped.
        let finished = || recordings.kept.lock().finished.len();
        viewer::eventually(|| finished() == 1).await;
        let (third, kept) = record("3").await;
        assert!(kept && finished() == 0);
        viewer::eventually(|| recordings.repeated.len() == 2).await;
        assert!(!record("4").await.1, "both are under way");
        assert_eq!((recordings.kept.lock().by_token.len(), recordings.repeated.len()), (2, 2));
        drop((first, third));
    }

    /// What fetch-event-source does.
    #[tokio::test]
    async fn post_that_is_repeated_with_an_id_is_answered_from_the_recording() {
        let world = World::new().await;
        let length = ("content-length", "5");
        let (upstream, mut caller) = begin(&world, &request("POST", "/chat", &[MINE, length]), HOUR).await;
        upstream.say("data: 1\n\ndata: 2\n\n").await;
        let seen = ids(&caller.until("data: 2\n\n").await);
        drop((caller, upstream));
        for (id, rest) in [(&seen[0], "data: 2\n\n"), (&seen[1], "")] {
            let slot = World::slot();
            let back = request("POST", "/chat", &[MINE, length, ("last-event-id", id)]);
            let answer = answered(&world, &slot, &back).await;
            let (said, clean) = world.hand_over(&slot, answer).await.end().await;
            assert_eq!((without_ids(&said).as_str(), clean), (rest, true));
        }
    }

    #[tokio::test]
    async fn upstream_without_viewers_is_ended_after_the_grace() {
        let world = World::new().await;
        let (upstream, mut caller) = begin(&world, &request("POST", "/chat", &[]), Duration::ZERO).await;
        upstream.say("data: 1\n\n").await;
        caller.until("data: 1\n\n").await;
        let token = token(&caller);
        drop(caller);
        upstream.aborted().await;
        let (said, clean) = resume(&world, &token, "", &[]).await.end().await;
        assert_eq!((without_ids(&said).as_str(), clean), ("data: 1\n\n", false), "something is missing");
        assert_eq!(metrics::read(&world.app.metrics().relayed.left), 1);
    }

    #[tokio::test]
    async fn answers_that_are_no_streams_are_passed_on() {
        let world = World::new().await;
        let stream = [("content-type", "text/event-stream")];
        for (method, (_, answer)) in [
            ("POST", Upstream::answer(StatusCode::OK, &[("content-type", "application/json")])),
            ("POST", Upstream::answer(StatusCode::TOO_MANY_REQUESTS, &stream)),
            ("HEAD", Upstream::answer(StatusCode::OK, &stream)),
        ] {
            let request = request(method, "/chat", &[("idempotency-key", "k")]);
            let joined = record(&world, &World::slot(), &request, HOUR, || async { Ok(answer) }).await;
            assert!(matches!(joined, Ok(Joined::Alone(..))), "{joined:?}");
        }
        let (slot, request) = (World::slot(), request("POST", "/", &[]));
        let refused = || async { Err(io::ErrorKind::ConnectionRefused.into()) };
        assert!(record(&world, &slot, &request, HOUR, refused).await.is_err());
        assert_eq!(world.app.recordings().repeated.len(), 0);
        assert_eq!(world.app.hub.channels(), 0);
    }

    /// Connections are served by tasks that move between threads.
    #[tokio::test]
    async fn record_and_join_can_be_awaited_by_a_connections_task() {
        use crate::http::relayed::share::{self, Key};
        fn is_send<F: Future + Send>(_: F) {}
        let world = World::new().await;
        let (request, slot) = (request("GET", "/a", &[]), World::slot());
        is_send(record(&world, &slot, &request, HOUR, pending));
        let (manner, rules) = (World::shared(HOUR), share::Rules::default());
        let key = Key::of(0, &rules, &request).unwrap();
        let open = pending::<io::Result<(Parts, FakeBody)>>;
        is_send(world.app.shares().join(&world.app, &slot, &request, &rules, key, &manner, open));
    }

    #[tokio::test]
    async fn caller_that_leaves_before_the_head_leaves_nothing() {
        let world = World::new().await;
        let request = request("POST", "/chat", &[("idempotency-key", "k")]);
        let slot = World::slot();
        let asking = record(&world, &slot, &request, HOUR, pending);
        assert!(tokio::time::timeout(Duration::from_millis(1), asking).await.is_err());
        assert_eq!(world.app.recordings().repeated.len(), 0);
    }
}
