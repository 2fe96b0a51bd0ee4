//! Who may listen to what: the checks that a subscriber's channels pass, in the module's order, before anything is made for it.

use http::Response;

use super::ask::Ask;
use super::figures::Figures;
use super::refuse;
use super::site::Site;
use crate::config::Route;
use crate::dialect::push_stream::headers::Methods;
use crate::dialect::push_stream::{Asked, Refusal, Requested, Wildcards, channel_id};
use crate::http::body::Body;
use crate::http::{App, error};

/// Why a subscriber's request is not served.
pub(super) enum Refused {
    ByDialect(Refusal),
    ByServer(error::Refusal),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::ByDialect(refusal)
    }
}

impl Refused {
    /// The answer that says so.
    pub(super) fn response(&self) -> Response<Body> {
        match self {
            Self::ByDialect(refusal) => refuse(*refusal, Methods::Get),
            Self::ByServer(refusal) => refusal.response(),
        }
    }
}

/// What one route lets in.
#[derive(Debug)]
pub(super) struct Admission {
    /// Only to channels that hold a message, and to wildcard channels.
    authorized_only: bool,
    /// To the events channel too.
    events: bool,
    wildcards: Wildcards,
    /// Channels of one subscriber.
    most: usize,
}

impl Admission {
    /// As a route says. A subscriber has at most `most` channels.
    pub(super) fn new(site: &Site, route: &Route, most: usize) -> Self {
        let settings = site.settings();
        let wildcards = Wildcards {
            prefix: settings.wildcard_channel_prefix.clone().unwrap_or_default(),
            most: route.wildcard_channel_max_qtd.or(settings.max_number_of_wildcard_channels),
        };
        Self {
            authorized_only: route.authorized_channels_only,
            events: route.allow_connections_to_events_channel,
            wildcards,
            most,
        }
    }

    /// The channels, each once, if they may all be listened to.
    ///
    /// # Errors
    /// What is refused first.
    pub(super) async fn admit(
        &self,
        app: &App,
        site: &Site,
        ask: &Ask<'_>,
        asked: &Asked,
    ) -> Result<Vec<Requested>, Refused> {
        if asked.is_empty() {
            return Err(Refusal::NoChannel.into());
        }
        let mut admitted: Vec<Requested> = Vec::new();
        for requested in asked.channels(site.settings().max_channel_id_length) {
            let requested = requested?;
            let name = &requested.channel;
            app.may_subscribe(ask.request, [name]).map_err(|denial| Refused::ByServer(denial.into()))?;
            let wildcard = self.wildcards.contains(channel_id(name));
            if self.authorized_only
                && !wildcard
                && Figures::of(&app.hub, name).await?.is_none_or(|figures| figures.stored() == 0)
            {
                return Err(Refusal::NotAuthorized.into());
            }
            if let Some(most) = site.settings().max_subscribers_per_channel
                && app.hub.find(name).is_some_and(|channel| channel.info().subscribers as usize >= most)
            {
                return Err(Refusal::TooManySubscribers.into());
            }
            if site.is_events_channel(name) && !self.events {
                return Err(Refusal::EventsClosed.into());
            }
            match admitted.iter_mut().find(|known| known.channel == *name) {
                Some(known) => known.backtrack = known.backtrack.max(requested.backtrack),
                None => admitted.push(requested),
            }
        }
        self.wildcards.check(admitted.iter().map(|one| channel_id(&one.channel)))?;
        if admitted.len() > self.most {
            return Err(Refusal::TooManyChannels.into());
        }
        Ok(admitted)
    }
}
