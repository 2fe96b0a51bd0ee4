//! Sharing: requests that are alike are answered from one upstream stream. The first one asks the upstream, the others wait for
//! its head and get the same; late ones get what is still kept, then what comes.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use fantail_hub::{ChannelName, StartAt, SubscribeError};
use http::header::UPGRADE;
use http::request::Parts as Request;
use http::response::Parts;
use http::{HeaderName, HeaderValue, Method, Response};
use http_body::Body as HttpBody;

use super::credential;
use super::feed::Feed;
use super::openings::{Entrance, Opener, Openings};
use super::source::Source;
use super::{Joined, Manner, View, head};
use crate::http::App;
use crate::http::body::Body;
use crate::http::error::Refusal;
use crate::http::subscribe::has_body;
use crate::http::takeover::Slot;
use crate::metrics;
use crate::proxy;

/// What the channels of shared streams are called.
const KIND: &str = "share";
/// Streams that are shared at once. Each is an upstream connection that outlives its viewers by the grace, so what anybody can
/// open by asking for many URLs is bounded; beyond that requests are on their own.
const MOST: usize = 10_000;

/// Which requests of a route are alike.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Request headers in which they must agree, beside host and URL.
    pub headers: Vec<HeaderName>,
    /// Requests with `Cookie`, `Authorization` or an API key share as well, with whoever sends the same URL: what the upstream
    /// answers is for everybody.
    pub credentials: bool,
    /// It has been said that, and why, an answer was not shared. Whoever comes would say it again.
    pub told: Arc<AtomicBool>,
}

/// What requests have in common that share a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The key of a request on the route of this number; `None` if it is not to be shared.
    pub fn of(route: usize, rules: &Rules, request: &Request) -> Option<Self> {
        let headers = &request.headers;
        // One URL may serve WebSockets as well.
        let is_upgrade = headers.contains_key(UPGRADE);
        let is_personal = credential::is_given(headers) && !rules.credentials;
        if request.method != Method::GET || has_body(request) || is_upgrade || is_personal {
            return None;
        }
        let mut key = route.to_be_bytes().to_vec();
        // Lengths in front, so that no part can pass for two.
        let mut add = |part: &[u8]| {
            key.extend_from_slice(&part.len().to_be_bytes());
            key.extend_from_slice(part);
        };
        add(&host(request));
        add(request.uri.path().as_bytes());
        // No query is not an empty one to every upstream.
        add(&[u8::from(request.uri.query().is_some())]);
        add(request.uri.query().unwrap_or_default().as_bytes());
        for name in &rules.headers {
            add(&headers.get_all(name).iter().count().to_be_bytes());
            headers.get_all(name).iter().for_each(|value| add(value.as_bytes()));
        }
        // SECURITY: what a proxy in front says of the host, the scheme or the user goes to the upstream where that proxy is
        // trusted, and may be all that tells one customer from another. Who the client is does not: all differ in that.
        let told = |name: &HeaderName| name.as_str().starts_with("x-forwarded-") && name != "x-forwarded-for";
        let mut told: Vec<_> = headers.iter().filter(|(name, _)| told(name)).collect();
        told.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in told {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
        Some(Self(key.into()))
    }
}

/// The streams that are shared at present.
pub struct Shares {
    openings: Arc<Openings<Key>>,
    numbers: AtomicU64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { openings: Arc::new(Openings::new()), numbers: AtomicU64::new(0) }
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").finish_non_exhaustive()
    }
}

impl Shares {
    /// Answers a request from the stream of its key. If there is none, `open` asks the upstream, once for all who come at once;
    /// if that is refused, each asks for itself, and shares what comes of it if that can be.
    ///
    /// The request that `open` makes may carry the client's `Last-Event-ID`, unless [`Shares::made`] says that it is ours.
    ///
    /// CANCEL SAFETY: a request that is dropped while it opens passes that on to one of those who wait, and drops what `open`
    /// had begun.
    ///
    /// # Errors
    /// What `open` fails with; the others then ask for themselves.
    #[expect(
        clippy::too_many_arguments,
        reason = "a request with its connection, its route, and how the upstream is asked"
    )]
    pub async fn join<B, E, F>(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Request,
        rules: &Rules,
        key: Key,
        manner: &Manner,
        open: impl FnOnce() -> F,
    ) -> Result<Joined<B>, E>
    where
        F: Future<Output = Result<(Parts, B), E>>,
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Error + Send + Sync + 'static,
    {
        if self.openings.len() >= MOST && !self.openings.contains(&key) {
            return Ok(Joined::Apart);
        }
        let opener = match self.openings.enter(&key).await {
            Entrance::Open(source) => {
                return Ok(Joined::Answer(Self::view(app, slot, request, &source, manner).await));
            }
            Entrance::Declined => None,
            Entrance::First(opener) => Some(opener),
        };
        let decline = |opener: Option<Opener<'_, Key>>| opener.into_iter().for_each(Opener::decline);
        let (parts, body) = match open().await {
            Ok(answer) => answer,
            Err(error) => {
                decline(opener);
                return Err(error);
            }
        };
        if !head::is_event_stream(&parts) {
            decline(opener);
            return Ok(Joined::Alone(parts, body));
        }
        if let Some(why) = head::is_personal(&parts, &rules.headers) {
            if rules.told.swap(true, Ordering::Relaxed) {
                tracing::debug!(path = request.uri.path(), why, "an event stream is not shared");
            } else {
                tracing::warn!(path = request.uri.path(), why, "an event stream is not shared");
            }
            decline(opener);
            return Ok(Joined::Alone(parts, body));
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let channel = match app.hub.open(&ChannelName::internal(KIND, number)) {
            Ok(channel) => channel,
            Err(error) => {
                tracing::warn!(path = request.uri.path(), %error, "an event stream is not shared");
                decline(opener);
                return Ok(Joined::Alone(parts, body));
            }
        };
        let asked = last_event_id(request).filter(|id| !Self::made(app, id));
        let own = Source::new(&app.hub, channel, head::for_viewers(parts), asked);
        let source = match opener {
            Some(opener) => opener.open(&own),
            None => self.openings.open(&key, &own),
        };
        // Else another one of those who asked for themselves was faster, and this answer is dropped.
        if Arc::ptr_eq(&source, &own) {
            self.feed(app, key, source.clone(), manner, body);
        }
        Ok(Joined::Answer(Self::view(app, slot, request, &source, manner).await))
    }

    /// Feeds a source from here on.
    fn feed<B>(&self, app: &App, key: Key, source: Arc<Source>, manner: &Manner, body: B)
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Error + Send + Sync + 'static,
    {
        let hub = Arc::clone(&app.hub);
        let feed = Feed { hub, metrics: Arc::clone(&app.metrics), source, grace: manner.grace };
        let openings = Arc::clone(&self.openings);
        metrics::add(&feed.metrics.relayed.shared, 1);
        tokio::spawn(async move {
            feed.run(body, |arrivals| openings.close(&key, &feed.source, arrivals)).await;
            openings.forget(&key, &feed.source);
            metrics::take(&feed.metrics.relayed.shared, 1);
            feed.drain().await;
        });
    }

    /// Whether an id was made here: then it says nothing to any upstream.
    pub fn made(app: &App, id: &[u8]) -> bool {
        fantail_hub::Position::parse(id).is_some_and(|position| position.epoch == app.hub.journal().epoch())
    }

    async fn view(
        app: &App,
        slot: &Arc<Slot>,
        request: &Request,
        source: &Arc<Source>,
        manner: &Manner,
    ) -> Response<Body> {
        let start = match last_event_id(request) {
            Some(id) => source.behind_id(&app.hub, id),
            // What is no longer kept was not asked for.
            None => StartAt::Oldest,
        };
        let view = View { source, styles: &manner.styles, start, head: source.head.clone() };
        match view.answer(app, slot, request).await {
            Ok(answer) => answer,
            // Its end came first, and is all that is left for this viewer. It is no reason not to come back.
            Err(Refusal::Subscribe(SubscribeError::Ended)) => Response::from_parts(source.head.clone(), Body::empty()),
            Err(refusal) => refusal.response(),
        }
    }
}

/// Whom a request is for.
pub(super) fn host(request: &Request) -> Vec<u8> {
    proxy::host(request).unwrap_or_default().to_ascii_lowercase()
}

/// What a client says that it has seen.
pub(super) fn last_event_id(request: &Request) -> Option<&[u8]> {
    request.headers.get("last-event-id").map(HeaderValue::as_bytes).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;
    use std::io;
    use std::pin::Pin;
    use std::time::Duration;

    use super::*;
    use crate::http::relayed::viewer::{self, FakeBody, Upstream, Viewer, World, ids, request, without_ids};

    fn key(rules: &Rules, method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<Key> {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Key::of(1, rules, &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn key_tells_apart_what_an_upstream_might() {
        let rules = Rules { headers: vec![HeaderName::from_static("x-tenant")], ..Rules::default() };
        let get = |uri, headers: &[(&str, &str)]| key(&rules, "GET", uri, headers).unwrap();
        let plain = get("/a?b", &[("host", "h")]);
        assert_eq!(plain, get("/a?b", &[("host", "H"), ("accept", "text/event-stream")]));
        assert_eq!(plain, get("http://h/a?b", &[]));
        assert_eq!(plain, get("/a?b", &[("host", "h"), ("x-forwarded-for", "192.0.2.1")]));
        let behind = [("host", "h"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a")];
        assert_eq!(get("/a?b", &behind), get("/a?b", &[behind[2], behind[0], behind[1]]));
        for (uri, headers) in [
            ("/a", vec![("host", "h")]),
            ("/a?", vec![("host", "h")]),
            ("/A?b", vec![("host", "h")]),
            ("/a?b", vec![("host", "g")]),
            ("/a?b", vec![("host", "h"), ("x-tenant", "1")]),
            ("/a?b", vec![("host", "h"), ("x-tenant", "")]),
            ("/a?b", vec![("host", "h"), ("x-forwarded-host", "a")]),
            ("/a?b", vec![("host", "h"), ("x-forwarded-proto", "https")]),
        ] {
            assert_ne!(plain, get(uri, &headers), "{uri} {headers:?}");
        }
        let request = http::Request::get("/a").body(()).unwrap().into_parts().0;
        assert_ne!(Key::of(1, &rules, &request), Key::of(2, &rules, &request));
    }

    #[test]
    fn key_is_refused_to_what_is_not_a_public_get() {
        let mut rules = Rules::default();
        for (method, header) in [
            ("POST", ("host", "h")),
            ("HEAD", ("host", "h")),
            ("GET", ("cookie", "a=b")),
            ("GET", ("authorization", "Bearer x")),
            ("GET", ("x-api-key", "x")),
            ("GET", ("content-length", "1")),
            ("GET", ("transfer-encoding", "chunked")),
            ("GET", ("upgrade", "websocket")),
        ] {
            assert!(key(&rules, method, "/", &[header]).is_none(), "{method} {header:?}");
        }
        rules.credentials = true;
        assert!(key(&rules, "GET", "/", &[("cookie", "a=b"), ("content-length", "0")]).is_some());
    }

    const HOUR: Duration = Duration::from_hours(1);

    async fn join<F>(
        world: &World,
        slot: &Arc<Slot>,
        request: &Request,
        manner: &Manner,
        open: impl FnOnce() -> F,
    ) -> Result<Joined<FakeBody>, io::Error>
    where
        F: Future<Output = io::Result<(Parts, FakeBody)>>,
    {
        let rules = Rules::default();
        let key = Key::of(0, &rules, request).unwrap();
        world.app.shares().join(&world.app, slot, request, &rules, key, manner, open).await
    }

    type Joining<'a> = Pin<Box<dyn Future<Output = io::Result<Joined<FakeBody>>> + 'a>>;

    async fn view(world: &World, request: &Request, manner: &Manner) -> Viewer {
        let slot = World::slot();
        let joined = join(world, &slot, request, manner, || async { panic!("the upstream is asked once") }).await;
        world.view(&slot, joined).await
    }

    /// Opens a stream for its first viewer.
    async fn open(world: &World, request: &Request, manner: &Manner) -> (Upstream, Viewer) {
        let slot = World::slot();
        let (upstream, answer) = Upstream::stream();
        let joined = join(world, &slot, request, manner, || async { Ok(answer) }).await;
        (upstream, world.view(&slot, joined).await)
    }

    #[tokio::test]
    async fn join_of_many_at_once_is_one_upstream_until_the_last_has_left() {
        let world = World::new().await;
        let manner = World::shared(Duration::ZERO);
        let request = request("GET", "/a", &[]);
        let (upstream, answer) = Upstream::stream();
        let (asked, answer) = (Cell::new(0), Cell::new(Some(answer)));
        let slots: Vec<Arc<Slot>> = (0..20).map(|_| World::slot()).collect();
        let ask = || async {
            asked.set(asked.get() + 1);
            // All others come meanwhile.
            tokio::task::yield_now().await;
            Ok(answer.take().expect("the upstream is asked once"))
        };
        let joins = slots.iter().map(|slot| join(&world, slot, &request, &manner, &ask));
        let mut viewers = Vec::new();
        for (slot, joined) in slots.iter().zip(all(joins).await) {
            viewers.push(world.view(slot, joined).await);
        }
        assert_eq!(asked.get(), 1);
        upstream.say(": hi\r\n\r\nda").await;
        upstream.say("ta: 1\n\n").await;
        let mut late = view(&world, &request, &manner).await;
        viewers.push(late);
        for viewer in &mut viewers {
            assert_eq!(viewer.head.headers["x-own"], "head");
            assert_eq!(viewer.head.headers["x-accel-buffering"], "no");
            let said = viewer.until("data: 1\n\n").await;
            assert_eq!(without_ids(&said), ": hi\r\ndata: 1\n\n");
            assert_eq!(ids(&said).len(), 1, "a comment has no id: {said}");
        }
        late = viewers.pop().unwrap();
        drop(viewers);
        upstream.say("data: 2\n\n").await;
        assert_eq!(without_ids(&late.until("data: 2\n\n").await), "data: 2\n\n");
        assert!(upstream.is_read() && metrics::read(&world.app.metrics().relayed.shared) == 1);
        drop(late);
        upstream.aborted().await;
        assert_eq!(world.app.shares().openings.len(), 0);
        let (_, again) = open(&world, &request, &manner).await;
        assert_eq!(again.head.status, 200, "the next one opens it anew");
    }

    /// Runs joins at once, in this task.
    async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
        let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
        std::future::poll_fn(|cx| {
            for (future, done) in &mut waiting {
                if done.is_none() {
                    *done = match future.as_mut().poll(cx) {
                        std::task::Poll::Ready(output) => Some(output),
                        std::task::Poll::Pending => None,
                    };
                }
            }
            if waiting.iter().all(|(_, done)| done.is_some()) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        waiting.into_iter().filter_map(|(_, done)| done).collect()
    }

    #[tokio::test]
    async fn join_whose_opener_leaves_is_opened_by_the_next() {
        let world = World::new().await;
        let manner = World::shared(HOUR);
        let request = request("GET", "/a", &[]);
        let slots = [World::slot(), World::slot()];
        let (upstream, answer) = Upstream::stream();
        let mut first: Joining<'_> = Box::pin(join(&world, &slots[0], &request, &manner, pending));
        let mut second: Joining<'_> = Box::pin(join(&world, &slots[1], &request, &manner, || async { Ok(answer) }));
        let neither = tokio::time::timeout(Duration::from_millis(1), all([&mut first, &mut second].into_iter()));
        assert!(neither.await.is_err());
        drop(first);
        let mut viewer = world.view(&slots[1], second.await).await;
        upstream.say("data: 1\n\n").await;
        viewer.until("data: 1\n\n").await;
    }

    #[tokio::test]
    async fn join_of_what_is_not_to_be_shared_leaves_each_on_its_own() {
        let world = World::new().await;
        let manner = World::shared(HOUR);
        let request = request("GET", "/a", &[]);
        let stream = ("content-type", "text/event-stream");
        let plain = ("content-type", "text/plain");
        for answer in [
            Some((http::StatusCode::NOT_FOUND, vec![stream])),
            Some((http::StatusCode::OK, vec![plain])),
            Some((http::StatusCode::OK, vec![stream, ("set-cookie", "a=b")])),
            None,
        ] {
            let asked = Cell::new(0);
            let ask = || async {
                asked.set(asked.get() + 1);
                tokio::task::yield_now().await;
                let (status, headers) = answer.as_ref().ok_or(io::ErrorKind::ConnectionRefused)?;
                Ok(Upstream::answer(*status, headers).1)
            };
            let slots = [World::slot(), World::slot(), World::slot()];
            let joined = all(slots.iter().map(|slot| join(&world, slot, &request, &manner, &ask))).await;
            assert!(joined.iter().all(|joined| matches!(joined, Ok(Joined::Alone(..)) | Err(_))), "{joined:?}");
            assert_eq!((asked.get(), world.app.shares().openings.len()), (3, 0));
        }
    }

    #[tokio::test]
    async fn view_with_an_id_goes_on_behind_it() {
        let world = World::new().await;
        let manner = World::shared(HOUR);
        let with = |id: &str| request("GET", "/a", &[("last-event-id", id)]);
        let (upstream, mut first) = open(&world, &with("before"), &manner).await;
        upstream.say("data: 1\n\nid: two\ndata: 2\n\nid: ~1.ab.3\ndata: 3\n\n").await;
        let said = first.until("data: 3\n\n").await;
        let generated = &ids(&said)[0];
        for (id, expected) in [
            ("before", "data: 1\n\nid: two\ndata: 2\n\ndata: 3\n\n"),
            (generated.as_str(), "id: two\ndata: 2\n\ndata: 3\n\n"),
            ("two", "data: 3\n\n"),
            ("unknown", ": fantail-gap\ndata: 1\n\nid: two\ndata: 2\n\ndata: 3\n\n"),
        ] {
            let said = view(&world, &with(id), &manner).await.until("data: 3\n\n").await;
            assert_eq!(without_ids(&said), expected, "behind {id}");
        }
        // An id of another Fantail, which is the upstream.
        let mut last = view(&world, &with("~1.ab.3"), &manner).await;
        upstream.say("data: 4\n\n").await;
        assert_eq!(without_ids(&last.until("data: 4\n\n").await), "data: 4\n\n");

        // Opened anew, the stream is another: the old position says nothing in it.
        drop(upstream);
        assert!(last.end().await.1, "a clean end is a clean end");
        assert!(first.end().await.1);
        until_forgotten(&world).await;
        let (upstream, _first) = open(&world, &with("before"), &manner).await;
        upstream.say("data: 5\n\n").await;
        let said = view(&world, &with(generated), &manner).await.until("data: 5\n\n").await;
        assert_eq!(without_ids(&said), ": fantail-gap\ndata: 5\n\n");
        assert!(Shares::made(&world.app, generated.as_bytes()) && !Shares::made(&world.app, b"~1.ab.3"));
    }

    #[tokio::test]
    async fn view_of_a_stream_that_is_over_and_dropped_is_its_end() {
        let world = World::new().await;
        let manner = World::shared(HOUR);
        let request = request("GET", "/a", &[]);
        let (upstream, viewer) = open(&world, &request, &manner).await;
        let key = Key::of(0, &Rules::default(), &request).unwrap();
        let Entrance::Open(source) = world.app.shares().openings.enter(&key).await else { panic!("it is open") };
        drop(upstream);
        assert!(viewer.end().await.1);
        world.app.hub.clear(&source.channel);
        let answer = Shares::view(&world.app, &World::slot(), &request, &source, &manner).await;
        assert_eq!(answer.status(), 200, "anything else would silence an EventSource for good");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert!(HttpBody::is_end_stream(answer.body()));
    }

    async fn until_forgotten(world: &World) {
        viewer::eventually(|| world.app.shares().openings.len() == 0).await;
    }

    #[tokio::test]
    async fn upstream_that_breaks_off_or_says_too_much_breaks_its_viewers_off() {
        let world = World::new().await;
        let manner = World::shared(HOUR);
        let request = request("GET", "/a", &[]);
        for too_much in [false, true] {
            let (upstream, first) = open(&world, &request, &manner).await;
            upstream.say("data: 1\n\ndata: unfinished").await;
            if too_much {
                upstream.say(&"x".repeat(viewer::LARGEST)).await;
                upstream.aborted().await;
            } else {
                upstream.break_off().await;
            }
            let (said, clean) = first.end().await;
            assert_eq!((without_ids(&said).as_str(), clean), ("data: 1\n\n", false));
            until_forgotten(&world).await;
        }
        assert_eq!(metrics::read(&world.app.metrics().relayed.broken), 2);
        let (upstream, first) = open(&world, &request, &manner).await;
        upstream.say("data: 1\n\ndata: [DONE]\n").await;
        drop(upstream);
        let (said, clean) = first.end().await;
        assert!(clean && said.ends_with("data: [DONE]\n"), "what a proxy would pass on is passed on: {said}");
    }
}
