//! Subscriber routes over HTTP: streams without an end, and polls that are answered at once or when something comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::{Batch, ChannelName, Framing, Plan, Subscription};
use http::header::{CONNECTION, CONTENT_TYPE, USER_AGENT, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};

use super::admission::{Admission, Refused};
use super::ask::Ask;
use super::poll::{Answer, Poll, Polls};
use super::start::{self, Start};
use super::styles::{Kind, Styles, padding};
use super::{PushStream, empty, gzip};
use crate::config::{self, Expression, Padding};
use crate::dialect::native;
use crate::dialect::push_stream::headers::{self, EVENT_STREAM, Methods};
use crate::dialect::push_stream::{MODE, Refusal, Requested, Seen, jsonp, media_type, mode};
use crate::http::access::Pass;
use crate::http::body::Body;
use crate::http::redirect;
use crate::http::subscribe::{has_body, keeps_alive};
use crate::http::takeover::{self, Errand, Slot, Takeover};
use crate::http::{App, retry_ms};
use crate::metrics;

/// How long a poll waits that waits for ever.
const FOR_EVER: Duration = Duration::from_hours(365 * 24);

/// What a subscriber route does.
#[derive(Debug)]
pub(super) struct Subscriber {
    mode: config::Subscriber,
    admission: Admission,
    start: Start,
    styles: Styles,
    polls: Arc<Polls>,
    default_type: HeaderValue,
    /// How long a poll waits.
    wait: Duration,
    padding: Option<Padding>,
    /// What `padding` looks at, if not at `User-Agent`.
    user_agent: Option<Expression>,
    retry: Duration,
    retry_jitter: Duration,
    start_id: bool,
}

/// A subscriber that was let in.
struct Admitted {
    requested: Vec<Requested>,
    seen: Seen,
    plan: Plan,
}

impl Admitted {
    fn names(&self) -> Vec<ChannelName> {
        self.requested.iter().map(|one| one.channel.clone()).collect()
    }

    fn is_alone(&self) -> bool {
        self.requested.len() == 1
    }
}

impl Subscriber {
    /// The subscriber route of a configuration that was checked. `expression` reads an option with variables.
    pub(super) fn new(
        site: &super::Site,
        config: &config::Config,
        route: &config::Route,
        mode: config::Subscriber,
        expression: impl Fn(&Option<String>) -> Option<Expression>,
    ) -> Self {
        let styles = Styles::new(site, config, route);
        // Checked when the configuration was read.
        let default_type = HeaderValue::from_str(&route.default_type);
        let default_type = default_type.unwrap_or(HeaderValue::from_static("text/plain"));
        let polls = Polls::new(&styles, default_type.clone(), route.timeout_with_body, site.strict());
        let wait = route.longpolling_connection_ttl.or(route.subscriber_connection_ttl);
        Self {
            mode,
            admission: Admission::new(site, route, config.stream.max_channels),
            start: Start::new(route, &expression),
            styles,
            polls: Arc::new(polls),
            default_type,
            wait: wait.map_or(FOR_EVER, config::Span::get),
            padding: padding(route),
            user_agent: expression(&route.user_agent),
            retry: config.stream.retry.get(),
            retry_jitter: config.stream.retry_jitter.get(),
            start_id: config.stream.start_id,
        }
    }

    /// Answers a request. `kept` are fields of an application's answer that go with this one; see [`crate::http::redirect`].
    pub(super) async fn answer(
        &self,
        route: &PushStream,
        app: &App,
        slot: &Arc<Slot>,
        ask: &Ask<'_>,
        kept: &HeaderMap,
    ) -> Response<Body> {
        let answer = match ask.request.method {
            Method::GET => self.serve(route, app, slot, ask, kept).await,
            Method::OPTIONS => {
                let mut response = empty(StatusCode::OK);
                route.open_to_origins(ask, Methods::Get, &mut response);
                redirect::dress(response.headers_mut(), kept);
                return response;
            }
            _ => Err(Refusal::Method.into()),
        };
        let mut response = answer.unwrap_or_else(|refused| {
            metrics::add(&app.metrics.http.subscribe_refused, 1);
            refused.response()
        });
        Self::dress(route, ask, kept, &mut response);
        response
    }

    /// Adds what every answer says to caches and pages of other origins, and what is kept.
    fn dress(route: &PushStream, ask: &Ask<'_>, kept: &HeaderMap, response: &mut Response<Body>) {
        headers::no_cache(response.headers_mut());
        route.open_to_origins(ask, Methods::Get, response);
        redirect::dress(response.headers_mut(), kept);
    }

    async fn serve(
        &self,
        route: &PushStream,
        app: &App,
        slot: &Arc<Slot>,
        ask: &Ask<'_>,
        kept: &HeaderMap,
    ) -> Result<Response<Body>, Refused> {
        let site = &*route.site;
        let mode = mode(self.mode, ask.field(&MODE).map(HeaderValue::as_bytes));
        let polls = matches!(mode, config::Subscriber::Polling | config::Subscriber::LongPolling);
        let requested = self.admission.admit(app, site, ask, &route.asked(ask)).await?;
        let query = ask.request.uri.query().unwrap_or_default();
        let callback = if polls { jsonp::callback(query, site.strict())? } else { None };
        app.grant(slot, ask.request, requested.len()).map_err(Refused::ByServer)?;
        let seen = self.start.seen(ask);
        let plan = start::plan(app, site, &requested, &seen).await?;
        let admitted = Admitted { requested, seen, plan };
        if !polls {
            return Ok(self.stream(route, slot, ask, admitted));
        }
        if mode == config::Subscriber::Polling {
            return self.look(app, ask, admitted, callback).await;
        }
        // Nobody comes by here again before it is answered.
        let mut headers = Response::new(Body::empty());
        Self::dress(route, ask, kept, &mut headers);
        self.wait(route, app, slot, ask, admitted, callback, headers.headers());
        // The connection drops this future when it takes the socket.
        std::future::pending().await
    }

    /// An answer without an end.
    fn stream(&self, route: &PushStream, slot: &Arc<Slot>, ask: &Ask<'_>, admitted: Admitted) -> Response<Body> {
        let strict = route.site.strict();
        let least = self.padding.as_ref().and_then(|padding| padding.choose(&self.user_agent(ask)));
        let kind = Kind { polls: false, jsonp: false, alone: admitted.is_alone(), least };
        let mut opening = self.styles.header(least);
        if self.styles.events() && !strict {
            let start = admitted.plan.announce.filter(|_| self.start_id);
            opening.extend_from_slice(&native::prologue(retry_ms(self.retry, self.retry_jitter), start));
        }
        let framing = if ask.request.version == Version::HTTP_10 { Framing::Raw } else { Framing::Chunked };
        slot.ask(Takeover::Subscriber(takeover::Subscriber {
            presence: route.site.presence(&admitted.names()),
            plan: admitted.plan,
            style: self.styles.of(kind),
            framing,
            ticket: Pass::ticket_of(ask.request),
            errand: Errand::Stream,
        }));
        let mut response = Response::new(Body::Start(Bytes::from(opening), Arc::clone(slot)));
        let headers = response.headers_mut();
        let by_path = || media_type(ask.request.uri.path()).map(HeaderValue::from_static);
        let kind = if self.styles.events() { Some(EVENT_STREAM) } else { by_path() };
        headers.insert(CONTENT_TYPE, kind.unwrap_or_else(|| self.default_type.clone()));
        if !strict {
            headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
            // Else Chromium holds the first kilobyte of plain text back, to guess what it is.
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }

    /// What there is, at once.
    async fn look(
        &self,
        app: &App,
        ask: &Ask<'_>,
        admitted: Admitted,
        callback: Option<Vec<u8>>,
    ) -> Result<Response<Body>, Refused> {
        let kind = Kind { polls: true, jsonp: callback.is_some(), alone: admitted.is_alone(), least: None };
        let Admitted { plan, seen, .. } = admitted;
        let poll = Poll::new(&self.polls, &app.hub, &plan, seen, callback, &HeaderMap::new(), false);
        let style = self.styles.of(kind);
        let mut subscription = Subscription::new(Arc::clone(&app.hub), plan, Arc::clone(&style.profile), Framing::Raw);
        let due = loop {
            let due = subscription.due().await.map_err(|error| {
                tracing::warn!(%error, "a poll cannot be answered");
                Refusal::Full
            })?;
            // A gap alone is no answer.
            if due.as_ref().is_none_or(|batch| batch.messages > 0 && !batch.bytes.is_empty()) {
                break due;
            }
        };
        let Answer { status, headers, body } = poll.answer(due.as_ref());
        let mut response = Response::new(Body::Full(body.into()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        gzip::apply(&ask.request.headers, &mut response);
        Ok(response)
    }

    /// What there is, or what comes first: by way of a shard.
    #[expect(clippy::too_many_arguments, reason = "all that an answer is made of")]
    fn wait(
        &self,
        route: &PushStream,
        app: &App,
        slot: &Arc<Slot>,
        ask: &Ask<'_>,
        admitted: Admitted,
        callback: Option<Vec<u8>>,
        headers: &HeaderMap,
    ) {
        let kind = Kind { polls: true, jsonp: callback.is_some(), alone: admitted.is_alone(), least: None };
        let presence = route.site.presence(&admitted.names());
        let Admitted { plan, seen, .. } = admitted;
        let poll = Poll::new(&self.polls, &app.hub, &plan, seen, callback, headers, true);
        let packs = gzip::accepts(&ask.request.headers);
        let keep_alive = keeps_alive(ask.request) && !has_body(ask.request);
        let response = Box::new(move |due: Option<&Batch>| poll.reply(due, keep_alive, packs));
        let errand = Errand::Answer { wait: self.wait, keep_alive, response };
        slot.ask(Takeover::Subscriber(takeover::Subscriber {
            plan,
            style: self.styles.of(kind),
            framing: Framing::Raw,
            ticket: Pass::ticket_of(ask.request),
            presence,
            errand,
        }));
        slot.all_said();
    }

    fn user_agent(&self, ask: &Ask<'_>) -> Vec<u8> {
        match &self.user_agent {
            Some(expression) => ask.evaluate(expression),
            None => ask.field(&USER_AGENT).map(|value| value.as_bytes().to_vec()).unwrap_or_default(),
        }
    }
}
