//! Publisher routes: `POST` and `PUT` publish, `GET` tells of channels, `DELETE` deletes them where the route is an admin's.

use bytes::Bytes;
use fantail_hub::hub::Publish;
use fantail_hub::{ChannelName, NewMessage, Traits};
use fantail_sse::{EventId, EventName};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::ask::Ask;
use super::figures::{self, Figures};
use super::{PushStream, closing, empty, nginx, refuse};
use crate::config;
use crate::dialect::push_stream::headers::{self, EVENT_ID, EVENT_TYPE, Methods};
use crate::dialect::push_stream::{Asked, DELETED, EXPLAIN, Place, Refusal};
use crate::http::App;
use crate::http::body::Body;
use crate::http::error;
use crate::http::publish::read;
use crate::metrics;

/// What a publisher route does.
#[derive(Debug)]
pub(super) struct Publisher {
    kind: config::Publisher,
    /// Messages are kept for those who come later.
    store: bool,
    /// A publish is answered with the channels' figures.
    info: bool,
    /// The largest body; the hub may take less.
    most: usize,
}

/// What is published, as the hub takes it.
struct Text {
    text: String,
    /// It stands for bytes; see [`Traits::bytes`].
    bytes: bool,
}

impl Publisher {
    /// The publisher route of a configuration that was checked.
    pub(super) fn new(kind: config::Publisher, route: &config::Route) -> Self {
        let most = Some(route.max_body.bytes()).filter(|most| *most > 0).unwrap_or(usize::MAX);
        Self { kind, store: route.store_messages, info: route.channel_info_on_publish, most }
    }

    /// The largest body that is taken.
    fn limit(&self, app: &App) -> usize {
        self.most.min(app.hub.limits().message)
    }

    pub(super) fn methods(&self) -> Methods {
        match self.kind {
            config::Publisher::Normal => Methods::Publisher,
            config::Publisher::Admin => Methods::Admin,
        }
    }

    /// Answers a request.
    pub(super) async fn answer(&self, route: &PushStream, app: &App, ask: &Ask<'_>, body: Incoming) -> Response<Body> {
        let answer = self.act(route, app, ask, body).await;
        if answer.is_err() {
            metrics::add(&app.metrics.http.publish_refused, 1);
        }
        let mut response = match answer {
            Ok(response) => response,
            Err(Refused::Dialect(refusal)) => refuse(refusal, self.methods()),
            Err(Refused::Server(refusal)) => refusal.response(),
            // What nginx refuses itself has none of the module's fields.
            Err(Refused::Body(refusal)) if route.site.strict() => return nginx(refusal.status()),
            Err(Refused::Body(refusal)) => {
                let mut response = empty(refusal.status());
                closing(response.headers_mut());
                response
            }
        };
        headers::no_cache(response.headers_mut());
        route.open_to_origins(ask, self.methods(), &mut response);
        response
    }

    async fn act(
        &self,
        route: &PushStream,
        app: &App,
        ask: &Ask<'_>,
        body: Incoming,
    ) -> Result<Response<Body>, Refused> {
        let method = &ask.request.method;
        // As nginx, which asks nobody whether it may.
        if body.size_hint().lower() > self.limit(app) as u64 {
            return Err(Refused::Body(error::Refusal::TooLarge(self.limit(app))));
        }
        match *method {
            Method::OPTIONS => return Ok(empty(StatusCode::OK)),
            Method::POST | Method::PUT | Method::GET => {}
            Method::DELETE if self.kind == config::Publisher::Admin => {}
            _ => return Err(Refusal::Method.into()),
        }
        let asked = route.asked(ask);
        if asked.is_empty() {
            return Err(Refusal::NoChannel.into());
        }
        let names = self.admit(route, app, ask, &asked).await?;
        match *method {
            Method::GET => figures::answer(route, app, ask, &names).await?.ok_or(Refusal::Unknown.into()),
            Method::DELETE => self.delete(route, app, body, &names).await,
            _ => self.publish(route, app, ask, body, &names).await,
        }
    }

    /// The channels of a request. Those that are published to are made, one after the other as they are checked: those before one
    /// that is refused stay.
    async fn admit(
        &self,
        route: &PushStream,
        app: &App,
        ask: &Ask<'_>,
        asked: &Asked,
    ) -> Result<Vec<ChannelName>, Refused> {
        let (method, mut names) = (&ask.request.method, Vec::new());
        for requested in asked.channels(route.site.settings().max_channel_id_length) {
            let name = requested?.channel;
            app.may_publish(ask.request, [&name]).map_err(|denial| Refused::Server(denial.into()))?;
            if *method != Method::GET && route.site.is_events_channel(&name) {
                return Err(Refusal::EventsChannel.into());
            }
            if matches!(*method, Method::POST | Method::PUT) {
                route.site.open(&app.hub, &name).await?;
            }
            names.push(name);
        }
        Ok(names)
    }

    async fn publish(
        &self,
        route: &PushStream,
        app: &App,
        ask: &Ask<'_>,
        body: Incoming,
        names: &[ChannelName],
    ) -> Result<Response<Body>, Refused> {
        let event = field(ask, &EVENT_TYPE).map_err(|()| Refusal::EventType)?;
        let event = event.map(EventName::parse).transpose().map_err(|_| Refusal::EventType)?;
        let id = field(ask, &EVENT_ID).map_err(|()| Refusal::EventId)?;
        let id = id.map(EventId::parse).transpose().map_err(|_| Refusal::EventId)?;
        let body = read(app, body, self.limit(app)).await.map_err(Refused::Body)?;
        if body.is_empty() {
            return Err(Refusal::Empty.into());
        }
        let Text { text, bytes } = Text::of(body);
        let publish = |channel| Publish {
            channel,
            said: NewMessage { data: &text, event: event.as_ref(), id: id.as_ref() },
            key: None,
            ends: false,
            traits: Traits { transient: !self.store, bytes },
        };
        let all: Vec<_> = names.iter().map(publish).collect();
        let mut last = None;
        for published in app.hub.publish_all(&all).await {
            last = Some(published.map_err(refusal_of)?);
        }
        let told = if self.info { figures::answer(route, app, ask, names).await? } else { None };
        let mut response = told.unwrap_or_else(|| empty(StatusCode::OK));
        if let Some(last) = last.filter(|_| !route.site.strict()) {
            // What a poll that has seen the message, and those before it, goes on from.
            let place = Place { time: last.time.0 / 1000, tag: last.position.offset.0 };
            headers::place(response.headers_mut(), place);
        }
        Ok(response)
    }

    async fn delete(
        &self,
        route: &PushStream,
        app: &App,
        body: Incoming,
        names: &[ChannelName],
    ) -> Result<Response<Body>, Refused> {
        let body = read(app, body, self.limit(app)).await.map_err(Refused::Body)?;
        let text = if body.is_empty() {
            Text { text: route.site.settings().channel_deleted_message_text.clone(), bytes: false }
        } else {
            Text::of(body)
        };
        let mut deleted = false;
        for name in names {
            if Figures::of(&app.hub, name).await?.is_none() {
                continue;
            }
            route.site.census().delete(name);
            app.hub.delete(name, &text.text, text.bytes).await.map_err(refusal_of)?;
            route.site.census().set_apart();
            deleted = true;
        }
        if !deleted {
            return Err(Refusal::Unknown.into());
        }
        let mut response = empty(StatusCode::OK);
        response.headers_mut().insert(EXPLAIN, HeaderValue::from_static(DELETED));
        Ok(response)
    }
}

impl Text {
    fn of(body: Bytes) -> Self {
        match String::from_utf8(body.into()) {
            Ok(text) => Self { text, bytes: false },
            Err(error) => Self { text: error.as_bytes().iter().map(|&byte| char::from(byte)).collect(), bytes: true },
        }
    }
}

/// Why a request was refused.
enum Refused {
    Dialect(Refusal),
    /// It is not let in.
    Server(error::Refusal),
    /// Its body could not be read.
    Body(error::Refusal),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Dialect(refusal)
    }
}

fn refusal_of(error: fantail_hub::PublishError) -> Refused {
    use fantail_hub::PublishError as Error;
    match error {
        Error::TooLarge { limit, .. } => Refused::Body(error::Refusal::TooLarge(limit)),
        Error::ReservedId | Error::UnsendableId(_) => Refusal::EventId.into(),
        Error::Channels(_) => Refusal::TooManyChannels.into(),
        Error::Journal(error) => {
            tracing::warn!(%error, "a message could not be published");
            Refusal::Full.into()
        }
    }
}

/// The first field of this name as text, if it has any.
fn field<'a>(ask: &'a Ask<'_>, name: &http::HeaderName) -> Result<Option<&'a str>, ()> {
    let Some(value) = ask.field(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| ())?;
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_none_stands_for_its_bytes() {
        let text = Text::of(Bytes::from_static("a\u{fc}".as_bytes()));
        assert_eq!((text.text.as_str(), text.bytes), ("a\u{fc}", false));
        let all: Vec<u8> = (0..=255).collect();
        let text = Text::of(Bytes::from(all.clone()));
        let back: Vec<u8> = text.text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        assert_eq!((back, text.bytes), (all, true));
    }
}
