//! WebSocket routes: the handshake, and who is let in. Refusals of the handshake itself are answers; whoever may have a WebSocket
//! but not these channels is told so in it, since pages see nothing of an answer that refuses one.

mod patient;
mod roll;
mod session;

use std::convert::Infallible;
use std::sync::Arc;

use fantail_hub::{ChannelName, Plan};
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use http::{HeaderValue, Method, Response, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::admission::{Admission, Refused};
use super::ask::Ask;
use super::start::{self, Start};
use super::styles::{Kind, Styles};
use super::{PushStream, Site};
use crate::config::{self, Expression};
use crate::dialect::push_stream::headers;
use crate::dialect::push_stream::{Refusal, VERSIONS, check_handshake};
use crate::http::App;
use crate::http::access::Pass;
use crate::http::body::Body;
use crate::http::subscribe::has_body;
use crate::http::takeover::{Slot, Takeover};
use crate::metrics;
pub use roll::Roll;
use session::{Publishing, Session};

/// What a WebSocket route does.
#[derive(Debug)]
pub(super) struct WebSocket {
    admission: Admission,
    start: Start,
    styles: Styles,
    /// What clients send is published.
    publishes: bool,
    /// That is kept for those who come later.
    stores: bool,
}

/// A subscriber that was let in.
struct Admitted {
    names: Vec<ChannelName>,
    plan: Plan,
}

impl WebSocket {
    /// The WebSocket route of a configuration that was checked. `expression` reads an option with variables.
    pub(super) fn new(
        site: &Site,
        config: &config::Config,
        route: &config::Route,
        expression: impl Fn(&Option<String>) -> Option<Expression>,
    ) -> Self {
        Self {
            admission: Admission::new(site, route, config.stream.max_channels),
            start: Start::new(route, &expression),
            styles: Styles::new(site, config, route),
            publishes: route.websocket_allow_publish,
            stores: route.store_messages,
        }
    }

    /// Answers a request.
    pub(super) async fn answer(
        &self,
        route: &PushStream,
        app: &App,
        slot: &Arc<Slot>,
        ask: &Ask<'_>,
    ) -> Response<Body> {
        let refused = match self.open(route, app, slot, ask).await {
            Ok(never) => match never {},
            Err(refused) => refused,
        };
        metrics::add(&app.metrics.http.subscribe_refused, 1);
        let version = matches!(refused, Refused::ByDialect(Refusal::WebSocketVersion));
        let mut response = refused.response();
        if version {
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSIONS));
        }
        headers::no_cache(response.headers_mut());
        response
    }

    /// Leaves HTTP, or not.
    async fn open(
        &self,
        route: &PushStream,
        app: &App,
        slot: &Arc<Slot>,
        ask: &Ask<'_>,
    ) -> Result<Infallible, Refused> {
        let request = ask.request;
        if request.method != Method::GET {
            return Err(Refused::ByDialect(Refusal::Method));
        }
        check_handshake(&request.headers)?;
        let key = ask.field(&SEC_WEBSOCKET_KEY).filter(|_| request.version == Version::HTTP_11 && !has_body(request));
        let key = key.ok_or(Refused::ByDialect(Refusal::Handshake))?;
        let head = head(key.as_bytes());
        let admitted = match self.admit(route, app, slot, ask).await {
            Ok(admitted) => Ok(admitted),
            Err(Refused::ByDialect(refusal)) => Err(refusal),
            Err(refused @ Refused::ByServer(_)) => return Err(refused),
        };
        if admitted.is_err() {
            metrics::add(&app.metrics.http.subscribe_refused, 1);
        }
        let session = self.session(route, app, slot, ask, admitted.as_ref().ok());
        let plan = admitted.map(|admitted| admitted.plan);
        slot.ask(Takeover::Guest(Box::new(move |client| drop(tokio::spawn(session.run(plan, client, head))))));
        slot.watch(false);
        slot.all_said();
        // The connection drops this future when it takes the socket.
        std::future::pending().await
    }

    async fn admit(&self, route: &PushStream, app: &App, slot: &Slot, ask: &Ask<'_>) -> Result<Admitted, Refused> {
        let site = &*route.site;
        let requested = self.admission.admit(app, site, ask, &route.asked(ask)).await?;
        app.grant(slot, ask.request, requested.len()).map_err(Refused::ByServer)?;
        let seen = self.start.seen(ask);
        let plan = start::plan(app, site, &requested, &seen).await?;
        Ok(Admitted { names: requested.into_iter().map(|one| one.channel).collect(), plan })
    }

    fn session(
        &self,
        route: &PushStream,
        app: &App,
        slot: &Slot,
        ask: &Ask<'_>,
        admitted: Option<&Admitted>,
    ) -> Session {
        let (site, pass) = (&route.site, Pass::of(ask.request));
        let alone = admitted.is_some_and(|admitted| admitted.names.len() == 1);
        let publishing = self.publishes.then(|| {
            let names = admitted.into_iter().flat_map(|admitted| &admitted.names);
            let channels: Vec<_> = names.filter(|name| !site.is_events_channel(name)).cloned().collect();
            let denied = pass.may_publish(&channels).err();
            Publishing { site: Arc::clone(site), channels, stores: self.stores, denied }
        });
        Session {
            roll: Arc::clone(&app.websockets),
            peer: slot.client(),
            identity: pass.ticket.identity.clone(),
            names: admitted.map(|admitted| admitted.names.clone().into()).unwrap_or_default(),
            presence: admitted.and_then(|admitted| site.presence(&admitted.names)),
            leave: Box::pin(app.sessions.begin(&pass.ticket)),
            hub: Arc::clone(&app.hub),
            metrics: Arc::clone(&app.metrics),
            style: self.styles.of(Kind { polls: false, jsonp: false, alone, least: None }),
            header: self.styles.header(None),
            publishing,
            strict: site.strict(),
            most: app.hub.limits().message,
            stopping: site.stopping(),
        }
    }
}

/// What is said to whoever gets a WebSocket, to the letter.
fn head(key: &[u8]) -> Vec<u8> {
    let accept = derive_accept_key(key);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nExpires: Thu, 01 Jan 1970 00:00:01 GMT\r\n\
         Cache-Control: no-cache, no-store, must-revalidate\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}
