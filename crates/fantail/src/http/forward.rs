//! Proxy routes: a request goes to an upstream, and its answer comes back as it is; an event stream from socket to socket.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::App;
use super::access::{Guard, Pass};
use super::body::Body;
use super::cors::Cors;
use super::error::Refusal;
use super::relayed::head;
use super::relayed::record::Recordings;
use super::relayed::share::{Key, Shares};
use super::relayed::{Joined, Way};
use super::soft::Soft;
use super::takeover::{Slot, Takeover};
use super::{follow, redirect};
use crate::config;
use crate::metrics;
use crate::proxy::rewrite::is_ambiguous;
use crate::proxy::{self, Answer, Ask, Failure, Proxy, Reply, is_event_source, is_momentary};

/// The most that is read of a body that nobody needs, in bytes.
const MOST_FORGOTTEN: usize = 16 << 20;

/// What a proxy route does.
#[derive(Debug)]
pub struct Forward {
    route: Arc<proxy::Route>,
    hand_over: bool,
    /// Tells an `EventSource` of a failure softly.
    soft_failure: bool,
    /// How an `EventSource` is told softly, also that it is not let in.
    soft: Soft,
    cors: Cors,
    /// How its event streams go by way of a channel, if they do.
    way: Option<Way>,
    /// Its number among the routes, which keeps apart what clients of several routes share.
    number: usize,
}

/// What is left to do after an upstream has answered.
pub enum Forwarded {
    /// Nothing.
    Done(Response<Body>),
    /// The application lets go of the request: somebody else answers it.
    HandedOver(Answer),
}

impl Forward {
    /// A route of the configuration; `None` where its upstream does not exist, which the configuration rules out.
    pub fn new(
        proxy: &Proxy,
        recordings: &Recordings,
        number: usize,
        route: &config::Route,
        config: &config::Config,
        guard: Guard,
    ) -> Option<Self> {
        let retry = route.retry.unwrap_or(config.stream.retry).get();
        let jitter = route.retry_jitter.unwrap_or(config.stream.retry_jitter).get();
        Some(Self {
            route: Arc::new(proxy.route(route, &config.stream)?),
            hand_over: route.hand_over,
            soft_failure: route.soft_failure,
            soft: Soft::new(route.soft_refusal.unwrap_or(config.stream.soft_refusal), retry, jitter),
            cors: Cors::new(&config.cors),
            way: Way::new(route, number, &config.stream, recordings.seal(), guard),
            number,
        })
    }

    /// Passes a request on whose path holds `rest` at the placeholder. `kept` are fields of another application's answer that
    /// go with this one; see [`super::redirect`].
    pub async fn answer(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Parts,
        body: Option<Incoming>,
        rest: &str,
        kept: &HeaderMap,
    ) -> Forwarded {
        // The client's leaving has to reach the upstream, in its silence too.
        slot.watch(true);
        match self.pass_on(app, slot, request, body, rest, kept).await {
            Ok(forwarded) => forwarded,
            Err(refusal) => Forwarded::Done(self.refuse(app, request, &refusal)),
        }
    }

    async fn pass_on(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Parts,
        body: Option<Incoming>,
        rest: &str,
        kept: &HeaderMap,
    ) -> Result<Forwarded, Refusal> {
        check(request)?;
        if request.headers.contains_key(UPGRADE) {
            // Before the upstream is asked: it may have said yes when a tunnel is refused.
            app.grant(slot, request, 0)?;
        }
        let mut body = body;
        let mut answer = match self.by_channel(app, slot, request, &mut body, rest).await? {
            Joined::Answer(response) => {
                slot.watch(false);
                return Ok(Forwarded::Done(response));
            }
            Joined::Alone(parts, body) => Answer::again(request, parts, body),
            Joined::Apart => self.ask(app, slot, request, body, rest).await?,
        };
        if self.is_handed_over(&answer) {
            return Ok(Forwarded::HandedOver(answer));
        }
        answer.keep_inward();
        redirect::dress(&mut answer.parts.headers, kept);
        if self.softens(answer.parts.status, request) {
            let why = format!("the application answered {}", answer.parts.status.as_u16());
            return Ok(Forwarded::Done(self.soften(app, request, &answer.parts.headers, &why)));
        }
        if answer.is_events() && answer.is_free() {
            app.grant(slot, request, 0)?;
            let seen = self.seen(app, request).filter(|id| !id.is_empty());
            let session = Box::pin(app.sessions.begin(&Pass::ticket_of(request)));
            let relay = app.proxy.relay(&self.route, request, slot.peer(), rest, seen, answer);
            slot.ask(Takeover::Guest(Box::new(|client| drop(tokio::spawn(relay(client, session))))));
            match leave(slot).await {}
        }
        Ok(Forwarded::Done(answer.into_response(&self.route).map(Body::Proxied)))
    }

    /// What a client is told that is not let in.
    pub fn turn_away(&self, app: &App, request: &Parts, refusal: &Refusal) -> Response<Body> {
        let Some(mut response) = self.soft.answer(app, request, refusal) else {
            return self.refuse(app, request, refusal);
        };
        self.cors.apply(&request.headers, response.headers_mut());
        response
    }

    /// What the client is told when the answer that was handed over cannot be followed.
    pub fn cannot_follow(&self, app: &App, request: &Parts, refusal: &Refusal) -> Response<Body> {
        metrics::add(&app.metrics.http.subscribe_refused, 1);
        if refusal.status().is_server_error() {
            tracing::warn!(path = request.uri.path(), %refusal, "a request is not handed over as its application asks");
        }
        self.refuse(app, request, refusal)
    }

    /// Asks the upstream; an upgrade ends here.
    async fn ask(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Parts,
        body: Option<Incoming>,
        rest: &str,
    ) -> Result<Answer, Failure> {
        let interim = |head| slot.say_before(head);
        let own = if self.hand_over { app.signature() } else { Vec::new() };
        let last_event_id = self.seen(app, request).filter(|id| id.is_empty());
        let ask = Ask { request, body, peer: slot.peer(), rest, own: &own, last_event_id, interim: &interim };
        match app.proxy.ask(&self.route, ask).await? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Upgrade(tunnel) => {
                let session = Box::pin(app.sessions.begin(&Pass::ticket_of(request)));
                slot.ask(Takeover::Guest(Box::new(|client| drop(tokio::spawn(tunnel.run(client, session))))));
                match leave(slot).await {}
            }
        }
    }

    /// What the client has seen, as far as the upstream is told of it: an id that was made here says nothing to the upstream of
    /// a stream that goes by way of a channel, and becomes an empty one.
    fn seen<'r>(&self, app: &App, request: &'r Parts) -> Option<&'r [u8]> {
        let id = request.headers.get("last-event-id")?.as_bytes();
        let ours = self.way.is_some() && (app.recordings.made(id) || Shares::made(app, id));
        Some(if ours { b"" } else { id })
    }

    /// Answers from a channel, where there is one for such a request or the upstream's answer can be put into one.
    async fn by_channel(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Parts,
        body: &mut Option<Incoming>,
        rest: &str,
    ) -> Result<Joined<proxy::Body>, Refusal> {
        let open = || {
            let body = body.take();
            async move {
                let mut answer = self.ask(app, slot, request, body, rest).await?;
                if !self.is_handed_over(&answer) {
                    answer.keep_inward();
                }
                if head::is_event_stream(&answer.parts) {
                    // The shard takes the socket, and whatever comes in then is lost.
                    answer.sent().await?;
                    answer.body.endless();
                }
                Ok::<_, Failure>((answer.parts, answer.body))
            }
        };
        let joined = match &self.way {
            None => return Ok(Joined::Apart),
            Some(Way::Share { rules, manner }) => match Key::of(self.number, rules, request) {
                None => return Ok(Joined::Apart),
                Some(key) => app.shares.join(app, slot, request, rules, key, manner, open).await?,
            },
            Some(Way::Record { rules, manner }) => {
                app.recordings.record(app, slot, request, rules, manner, open).await?
            }
        };
        if let Joined::Answer(_) = joined
            && let Some(body) = body.take()
        {
            // The answer was known: nobody has read what the client sends.
            forget(app, body).await?;
        }
        Ok(joined)
    }

    fn is_handed_over(&self, answer: &Answer) -> bool {
        self.hand_over && follow::asks(&answer.parts.headers)
    }

    fn refuse(&self, app: &App, request: &Parts, refusal: &Refusal) -> Response<Body> {
        let status = refusal.status();
        if self.softens(status, request) {
            return self.soften(app, request, &HeaderMap::new(), &refusal.to_string());
        }
        let mut response = refusal.response();
        if request.headers.contains_key(EXPECT) {
            // What the client sends next may be the body that it held back or another request.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if status.is_server_error() && wants_html(&request.headers) {
            *response.body_mut() = Body::Full(page(status, refusal).into());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        }
        response
    }

    /// Whether a failure is told as the end of a stream, since any other answer than a stream would silence an `EventSource`
    /// for good (WHATWG HTML §9.2.3).
    fn softens(&self, status: StatusCode, request: &Parts) -> bool {
        self.soft_failure && is_momentary(status) && is_event_source(request)
    }

    /// Tells a failure softly.
    fn soften(&self, app: &App, request: &Parts, answer: &HeaderMap, why: &str) -> Response<Body> {
        metrics::add(&app.metrics.proxy.softened, 1);
        let mut response = self.soft.stream(why);
        self.cors.apply(&request.headers, response.headers_mut());
        // The application's own rules for other origins count where it has told them.
        for (name, value) in answer.iter().filter(|(name, _)| name.as_str().starts_with("access-control-")) {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response
    }
}

/// Waits for the connection to take the socket, which drops this.
async fn leave(slot: &Slot) -> Infallible {
    slot.watch(false);
    slot.all_said();
    std::future::pending().await
}

/// Reads a body that nobody needs.
async fn forget(app: &App, mut body: Incoming) -> Result<(), Failure> {
    let mut left = MOST_FORGOTTEN;
    loop {
        let silence = app.body_timeout;
        match timeout(silence, body.frame()).await.map_err(|_| Failure::ClientSilent(silence))? {
            None => return Ok(()),
            Some(Err(_)) => return Err(Failure::ClientBody),
            Some(Ok(frame)) => {
                let read = frame.data_ref().map_or(0, Bytes::len);
                left = left.checked_sub(read).ok_or(Failure::ClientTooLarge(MOST_FORGOTTEN as u64))?;
            }
        }
    }
}

/// Refuses what an upstream could read as something else.
fn check(request: &Parts) -> Result<(), Refusal> {
    if request.method == Method::CONNECT {
        return Err(Refusal::Method(request.method.to_string(), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    let path = request.uri.path();
    if is_ambiguous(path) {
        return Err(Refusal::Ambiguous(path.to_owned()));
    }
    if !request.uri.path_and_query().is_none_or(|target| target.as_str().is_ascii()) {
        return Err(Refusal::Unclear("a target has only ASCII characters, others are to be percent-encoded"));
    }
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && request.version == Version::HTTP_11) {
        return Err(Refusal::Unclear("a request has exactly one Host"));
    }
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    if !host.map(HeaderValue::as_bytes).into_iter().chain(authority).all(is_authority) {
        return Err(Refusal::Unclear("the host is not one"));
    }
    let mut codings = request.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(Refusal::Unclear("the only Transfer-Encoding that is understood is chunked, once"));
    }
    if request.headers.get_all(CONTENT_LENGTH).iter().any(|length| !length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return Err(Refusal::Unclear("Content-Length is not a number"));
    }
    Ok(())
}

/// Whether a host, with or without a port, has only characters that one may have (RFC 3986 §3.2.2). A comma may be one, but
/// looks like a list, and whatever stands before an `@` is not for servers (RFC 9110 §4.2.4).
fn is_authority(host: &[u8]) -> bool {
    let plain = host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(byte));
    plain && (host.is_empty() || Authority::try_from(host).is_ok())
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.as_bytes().windows(9).any(|word| word == b"text/html"))
}

/// What people see when the application is away.
fn page(status: StatusCode, refusal: &Refusal) -> String {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let mut why = refusal.to_string();
    // Errors begin in lower case, sentences do not.
    if let Some(first) = why.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>body{{font:16px/1.5 \
         system-ui,sans-serif;max-width:32em;margin:15vh auto;padding:0 1em}}@media(prefers-color-scheme:dark)\
         {{body{{background:#111;color:#ddd}}}}</style><h1>{title}</h1><p>{}.</p></html>\n",
        escape(&why)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
