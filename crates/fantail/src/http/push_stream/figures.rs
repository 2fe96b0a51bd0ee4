//! What is counted of channels and of the server, for those whom publishers and dashboards ask about.

use std::time::Instant;

use bytes::Bytes;
use fantail_hub::channel::Info;
use fantail_hub::{Channel, ChannelName, Hub, Millis};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::ask::Ask;
use super::{PushStream, gzip};
use crate::dialect::push_stream::{ChannelInfo, Format, Head, Refusal, channel_id};
use crate::http::App;
use crate::http::body::Body;

/// One channel's figures.
#[derive(Debug)]
pub(super) struct Figures {
    name: ChannelName,
    published: u64,
    stored: u64,
    subscribers: u64,
}

impl Figures {
    /// Those of a channel that is there; one that was deleted is not.
    ///
    /// # Errors
    /// [`Refusal::Full`] if the journal cannot be read.
    pub(super) async fn of(hub: &Hub, name: &ChannelName) -> Result<Option<Self>, Refusal> {
        let info = hub.describe(name).await.map_err(|error| {
            tracing::warn!(%error, channel = %name, "a channel's figures could not be read");
            Refusal::Full
        })?;
        Ok(info.filter(|info| !info.ended).map(|info| Self::new(name.clone(), &info)))
    }

    /// Those of a channel at hand.
    ///
    /// # Errors
    /// As [`Figures::of`].
    pub(super) async fn at_hand(hub: &Hub, channel: &Channel) -> Result<Option<Self>, Refusal> {
        if channel.is_stored() {
            return Self::of(hub, channel.name()).await;
        }
        let info = channel.info();
        Ok((!info.ended).then(|| Self::new(channel.name().clone(), &info)))
    }

    fn new(name: ChannelName, info: &Info) -> Self {
        Self {
            name,
            published: info.numbered,
            stored: info.messages.saturating_sub(info.transient) as u64,
            subscribers: info.subscribers.into(),
        }
    }

    /// Messages that it still has.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    fn shown(&self) -> ChannelInfo<'_> {
        let Self { name, published, stored, subscribers } = self;
        ChannelInfo { channel: channel_id(name), published: *published, stored: *stored, subscribers: *subscribers }
    }
}

/// What stands before the figures of channels.
#[derive(Debug)]
pub(super) struct Server {
    hostname: String,
    time: Millis,
    channels: u64,
    wildcard_channels: u64,
    uptime: u64,
}

impl Server {
    /// At this moment.
    pub(super) fn of(route: &PushStream, app: &App) -> Self {
        let count = route.site.census().count(&app.hub);
        Self {
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            time: app.hub.clock().now(),
            channels: count.normal as u64,
            wildcard_channels: count.wildcard as u64,
            uptime: seconds_since(app.started),
        }
    }

    /// As it is shown.
    pub(super) fn head(&self) -> Head<'_> {
        Head {
            hostname: &self.hostname,
            time: self.time,
            channels: self.channels,
            wildcard_channels: self.wildcard_channels,
            uptime: self.uptime,
        }
    }
}

/// Whole seconds from then to now.
pub(super) fn seconds_since(then: Instant) -> u64 {
    then.elapsed().as_secs()
}

/// The figures of those of the channels that are there, in the format that the request asks for; nothing if none is.
///
/// # Errors
/// [`Refusal::Full`] if the journal cannot be read.
pub(super) async fn answer(
    route: &PushStream,
    app: &App,
    ask: &Ask<'_>,
    names: &[ChannelName],
) -> Result<Option<Response<Body>>, Refusal> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.extend(Figures::of(&app.hub, name).await?);
    }
    if found.is_empty() {
        return Ok(None);
    }
    let shown: Vec<_> = found.iter().map(Figures::shown).collect();
    let server = Server::of(route, app);
    let format = format(ask);
    Ok(Some(formatted(ask, format, format.channels(&server.head(), &shown, route.site.strict()))))
}

/// The figures of any number of channels as a group.
pub(super) fn group(route: &PushStream, app: &App, ask: &Ask<'_>, found: &[Figures]) -> Response<Body> {
    let shown: Vec<_> = found.iter().map(Figures::shown).collect();
    let format = format(ask);
    formatted(ask, format, format.group(&Server::of(route, app).head(), &shown, route.site.strict()))
}

/// The format that a request asks for.
pub(super) fn format(ask: &Ask<'_>) -> Format {
    Format::negotiate(ask.field(&ACCEPT).map(HeaderValue::as_bytes))
}

/// An answer with this text.
pub(super) fn formatted(ask: &Ask<'_>, format: Format, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Full(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    gzip::apply(&ask.request.headers, &mut response);
    response
}
