//! Another configuration for a server that runs: its routes and upstreams take the place of those there are, between two
//! requests. Subscribers and requests under way are not touched.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{Semaphore, watch};

use crate::config::{Config, PushStream};
use crate::http::access::AccessError;
use crate::http::live::Live;
use crate::http::push_stream::Site;
use crate::metrics::Metrics;
use crate::{speaks_push_stream, upstreams};

/// The sections whose settings are read when the server starts, and only then.
const AT_THE_START: [&str; 8] = ["listen", "limits", "hub", "retention", "idempotency", "journal", "stop", "log"];
/// Settings of other sections that are.
const ALSO: [(&str, &str); 8] = [
    ("control", "listen"),
    ("native", "prefix"),
    ("push_stream", "message_ttl"),
    ("push_stream", "max_messages_stored_per_channel"),
    ("push_stream", "channel_inactivity_time"),
    ("push_stream", "wildcard_channel_prefix"),
    ("push_stream", "events_channel_id"),
    ("push_stream", "strict"),
];

/// Puts other configurations in force.
#[derive(Clone)]
pub struct Reloader {
    pub(crate) live: Arc<Live>,
    /// The configuration with which the server started.
    pub(crate) started: Arc<Config>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) stopping: watch::Receiver<bool>,
    /// What push-stream routes share, if there were any at the start.
    pub(crate) site: Option<Arc<Site>>,
}

/// Why a configuration cannot take the place of the one in force.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// What all channels know of each other begins with the server.
    #[error("there were no push-stream routes when the server started, they need a restart")]
    PushStream,
    /// A key cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl Reloader {
    /// Puts a configuration in force, and says which of its settings will count at the next start only.
    ///
    /// # Errors
    /// [`ReloadError`]; then nothing has changed.
    pub fn reload(&self, config: &Config) -> Result<Vec<String>, ReloadError> {
        let waiting = at_the_start(&self.started, config);
        let mut config = config.clone();
        // Routes are at the addresses that there are, and what is said to wait does.
        config.listen = self.started.listen.clone();
        config.limits = self.started.limits.clone();
        config.hub = self.started.hub.clone();
        config.native.prefix.clone_from(&self.started.native.prefix);
        let site = match &self.site {
            Some(site) => Some(site.renewed(kept(&self.started.push_stream, &config.push_stream))),
            None if speaks_push_stream(&config) => return Err(ReloadError::PushStream),
            None => None,
        };
        // How many connections there may be and how a stop goes are settings that wait.
        config.stop = self.started.stop.clone();
        let proxy = upstreams(&config, &self.metrics, &self.places, self.stopping.clone());
        let app = self.live.now().renewed(&config, proxy, site.as_ref())?;
        self.live.set(Arc::new(app));
        Ok(waiting)
    }
}

/// The settings of push-stream routes in force: what the hub and the events channel were made with stays.
fn kept(started: &PushStream, new: &PushStream) -> PushStream {
    PushStream {
        strict: started.strict,
        events_channel_id: started.events_channel_id.clone(),
        wildcard_channel_prefix: started.wildcard_channel_prefix.clone(),
        ..new.clone()
    }
}

/// The settings that differ and are read at the start only.
fn at_the_start(old: &Config, new: &Config) -> Vec<String> {
    let table = |config: &Config| toml::Table::try_from(config).unwrap_or_default();
    let (old, new) = (table(old), table(new));
    let mut found = Vec::new();
    for section in AT_THE_START {
        match (old.get(section), new.get(section)) {
            (Some(toml::Value::Table(old)), Some(toml::Value::Table(new))) => {
                let changed = new.keys().chain(old.keys()).filter(|key| old.get(*key) != new.get(*key));
                found.extend(changed.map(|key| format!("{section}.{key}")));
            }
            (old, new) if old != new => found.push(section.to_owned()),
            _ => {}
        }
    }
    for (section, key) in ALSO {
        let value = |table: &toml::Table| table.get(section).and_then(|table| table.get(key)).cloned();
        if value(&old) != value(&new) {
            found.push(format!("{section}.{key}"));
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reload_names_what_waits_for_a_restart() {
        let config = |text: &str| Config::from_toml(text).unwrap();
        let old = config("[listen]\nshards = 1\n[stream]\nping = '1s'\n");
        let new = config(
            "[listen]\nshards = 2\npublic = '127.0.0.1:1'\n[stream]\nping = '2s'\n[control]\nkey = 'a'\n[push_stream]\n\
             message_ttl = '1m'\nping_message_text = 'x'\n[[retention]]\nprefix = 'a'\nmessages = 1\n",
        );
        assert_eq!(
            at_the_start(&old, &new),
            ["listen.public", "listen.shards", "push_stream.message_ttl", "retention"]
        );
        assert!(at_the_start(&old, &old).is_empty());
    }
}
