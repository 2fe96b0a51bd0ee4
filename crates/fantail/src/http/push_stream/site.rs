//! What all push-stream routes of a server share, as the locations of an `http` block do in nginx: the settings, the count of
//! channels, the events channel.

use std::sync::Arc;

use fantail_hub::{Channel, ChannelName, Hub};
use tokio::sync::watch;

use super::census::Census;
use super::events::Writer;
use crate::config;
use crate::dialect::push_stream::Refusal;
use crate::fanout::Presence;

/// What the routes share.
#[derive(Debug)]
pub struct Site {
    settings: config::PushStream,
    census: Arc<Census>,
    /// Fills the events channel, if there is one.
    writer: Arc<Option<Writer>>,
    stopping: watch::Receiver<bool>,
}

impl Site {
    /// What the routes of a configuration share over this hub, which tells its channels to `census`. `stopping` turns true when
    /// the server stops.
    ///
    /// # Panics
    /// Outside of a runtime, if there is an events channel.
    pub fn start(
        settings: config::PushStream,
        census: Arc<Census>,
        hub: &Arc<Hub>,
        stopping: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let writer = Writer::start(&census, settings.strict, hub);
        Arc::new(Self { settings, census, writer: Arc::new(writer), stopping })
    }

    /// The same with other settings. What the events channel and the kinds of channels depend on has to be the same.
    #[must_use]
    pub fn renewed(&self, settings: config::PushStream) -> Arc<Self> {
        let (census, writer) = (Arc::clone(&self.census), Arc::clone(&self.writer));
        Arc::new(Self { settings, census, writer, stopping: self.stopping.clone() })
    }

    /// The settings of `[push_stream]`.
    pub(super) fn settings(&self) -> &config::PushStream {
        &self.settings
    }

    /// Whether everything is to be as the module does it.
    pub(super) fn strict(&self) -> bool {
        self.settings.strict
    }

    /// Turns true when the server stops.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.clone()
    }

    /// Which channels there are.
    pub(super) fn census(&self) -> &Census {
        &self.census
    }

    /// Whether this is the events channel, which nobody but the server writes to.
    pub(super) fn is_events_channel(&self, name: &ChannelName) -> bool {
        self.census.events_channel() == Some(name)
    }

    /// The channel of this name for a publisher or a subscriber: made if there is none, begun anew if it was deleted. It is so as
    /// long as the answer is held.
    ///
    /// # Errors
    /// [`Refusal::TooManyChannels`], [`Refusal::Full`].
    pub(super) async fn open(&self, hub: &Hub, name: &ChannelName) -> Result<Arc<Channel>, Refusal> {
        let most = if self.census.is_wildcard(name) {
            self.settings.max_number_of_wildcard_channels
        } else {
            self.settings.max_number_of_channels
        };
        let made = self.census.make(hub, name, most)?;
        let channel = hub.reopen(name).await.map_err(|error| {
            tracing::warn!(%error, channel = %name, "a channel could not be opened");
            Refusal::Full
        })?;
        self.census.opened(&channel, made);
        Ok(channel)
    }

    /// What tells the events channel of a subscriber to these channels, if there is one.
    pub(super) fn presence(&self, names: &[ChannelName]) -> Option<Box<dyn Presence>> {
        self.census.presence(names).map(|presence| Box::new(presence) as _)
    }
}
