//! Event streams of an upstream that go to their viewers by way of a channel: shared by many, or recorded for one who may come
//! back. Knows neither upstreams nor routes: whoever calls hands in how the upstream is asked, and gets an answer for the client.

pub mod credential;
mod feed;
pub mod head;
mod openings;
pub mod record;
mod recording;
pub mod share;
mod source;
pub mod stream;
#[cfg(test)]
mod viewer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::{Framing, Profile, StartAt};
use http::header::CONNECTION;
use http::request::Parts as Request;
use http::response::Parts;
use http::{HeaderValue, Response, Version};

use super::App;
use super::access::{Guard, Pass};
use super::body::Body;
use super::error::Refusal;
use super::takeover::{Errand, Slot, Subscriber, Takeover};
use crate::config;
use crate::dialect::relayed::{HEARTBEAT, Relayed, Seal};
use crate::fanout::{AtStop, Style};
use crate::metrics;
use crate::proxy::is_event_source;
use source::Source;

/// How the streams of one route are relayed.
#[derive(Debug, Clone)]
pub struct Manner {
    styles: Arc<Styles>,
    grace: Duration,
}

/// How viewers are served, by what an end in good order tells them.
#[derive(Debug)]
struct Styles {
    /// An `EventSource` comes back after any.
    comes_back: Arc<Style>,
    /// To all others that of a recorded answer says that it was whole.
    others: Arc<Style>,
}

impl Styles {
    fn of(&self, request: &Request) -> Arc<Style> {
        let comes_back = is_event_source(request);
        Arc::clone(if comes_back { &self.comes_back } else { &self.others })
    }
}

impl Manner {
    /// For streams that are shared: their ids are positions. `ping` and `stall_limit` are off at zero; `grace` is how long the
    /// upstream goes on after its last viewer has left.
    pub fn shared(stream: &config::Stream, ping: Duration, stall_limit: Duration, grace: Duration) -> Self {
        // Whatever many watch at once has no end that would say that it was whole.
        Self::new(stream, (ping, stall_limit, grace), &Relayed::default(), AtStop::ComesBack)
    }

    /// For streams that are recorded, whose ids `seal` makes; see [`record::Recordings::seal`].
    pub fn recorded(
        stream: &config::Stream,
        ping: Duration,
        stall_limit: Duration,
        grace: Duration,
        seal: &Arc<Seal>,
    ) -> Self {
        let relayed = Relayed { seal: Some(Arc::clone(seal)) };
        Self::new(stream, (ping, stall_limit, grace), &relayed, AtStop::GoesOn)
    }

    fn new(
        stream: &config::Stream,
        (ping, stall_limit, grace): (Duration, Duration, Duration),
        relayed: &Relayed,
        others: AtStop,
    ) -> Self {
        let style = |at_stop| Style {
            profile: Arc::new(Profile::new(relayed.clone())),
            gap_has_id: false,
            ping,
            ping_text: Bytes::from_static(HEARTBEAT),
            footer: Bytes::new(),
            at_stop,
            // How long a stream lasts is for the upstream to say.
            lifetime: None,
            stall_limit,
            send_buffer: stream.send_buffer.bytes(),
            unsent_low: stream.unsent_low.bytes() as u32,
        };
        let (comes_back, others) = (Arc::new(style(AtStop::ComesBack)), Arc::new(style(others)));
        Self { styles: Arc::new(Styles { comes_back, others }), grace }
    }
}

/// How the event streams of a route go by way of a channel.
#[derive(Debug)]
pub enum Way {
    /// Requests that are alike share one.
    Share {
        /// Which are.
        rules: share::Rules,
        /// How they are relayed.
        manner: Manner,
    },
    /// Each is recorded for its caller.
    Record {
        /// What of the route matters to that.
        rules: record::Rules,
        /// How they are relayed.
        manner: Manner,
    },
}

impl Way {
    /// What a route of this number asks for, if anything.
    ///
    /// What is recorded is seen again by whoever passes `guard`.
    pub fn new(
        route: &config::Route,
        number: usize,
        stream: &config::Stream,
        seal: &Arc<Seal>,
        guard: Guard,
    ) -> Option<Self> {
        let ping = route.ping.unwrap_or(stream.ping).get();
        let stall_limit = route.stall_limit.unwrap_or(stream.stall_limit).get();
        let grace = route.grace.get();
        if route.share {
            // Checked when the configuration was read.
            let headers = route.share_headers.iter().filter_map(|name| name.parse().ok()).collect();
            let rules = share::Rules { headers, credentials: route.share_credentials, ..share::Rules::default() };
            return Some(Self::Share { rules, manner: Manner::shared(stream, ping, stall_limit, grace) });
        }
        route.record.then(|| Self::Record {
            rules: record::Rules { route: number, cookies: route.record_cookies.clone().into(), guard },
            manner: Manner::recorded(stream, ping, stall_limit, grace, seal),
        })
    }
}

/// What becomes of a request that asked to share or to be recorded.
#[derive(Debug)]
pub enum Joined<B> {
    /// It is answered. Unless the answer is a refusal, its connection goes to a shard, which reads and forgets what comes in: so
    /// the request's body must have been read to its end before hyper is given this.
    Answer(Response<Body>),
    /// The upstream was asked and its answer is for this request alone: it is to be passed on like any other.
    Alone(Parts, B),
    /// Another request asked the upstream and got what is not for others: this one is to ask for itself.
    Apart,
}

/// What a viewer is given.
struct View<'a> {
    source: &'a Arc<Source>,
    styles: &'a Styles,
    start: StartAt,
    head: Parts,
}

impl View<'_> {
    /// Answers a viewer: the head by way of HTTP, all else by a shard.
    async fn answer(self, app: &App, slot: &Arc<Slot>, request: &Request) -> Result<Response<Body>, Refusal> {
        app.grant(slot, request, 1)?;
        let names = std::slice::from_ref(self.source.channel.name());
        let plan = app.hub.plan(names, self.start).await?;
        metrics::add(&app.metrics.relayed.viewers, 1);
        let framing = match request.version {
            Version::HTTP_10 => Framing::Raw,
            _ => Framing::Chunked,
        };
        let style = self.styles.of(request);
        let (ticket, errand) = (Pass::ticket_of(request), Errand::Stream);
        slot.ask(Takeover::Subscriber(Subscriber { plan, style, framing, ticket, presence: None, errand }));
        let mut response = Response::from_parts(self.head, Body::Start(Bytes::new(), Arc::clone(slot)));
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(response)
    }
}
