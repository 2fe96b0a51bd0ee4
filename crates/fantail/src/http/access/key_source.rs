//! The keys with which tokens are checked: those of the configuration, or a set at a URL that changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::fetch::Fetch;
use crate::auth::{Denial, Key, KeyError, KeySet, Token};
use crate::config::{Access, Algorithm};
use crate::http::App;
use crate::metrics::{self, Metrics};

/// Where keys come from.
#[derive(Debug)]
pub(super) enum KeySource {
    /// They are known.
    Fixed(Arc<[Key]>),
    /// They are fetched.
    Url(Arc<Remote>),
}

/// A set of keys at a URL.
#[derive(Debug)]
pub(super) struct Remote {
    fetch: Fetch,
    /// Of keys that say none.
    algorithm: Option<Algorithm>,
    refresh: Duration,
    cooldown: Duration,
    stale: Duration,
    state: Mutex<State>,
    /// Held by whoever fetches.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    keys: Arc<[Key]>,
    /// When the keys were fetched.
    fetched: Option<Instant>,
    /// When it was last tried.
    tried: Option<Instant>,
}

impl KeySource {
    /// Those that a configuration names; `read` reads what stands in it.
    pub(super) fn new(
        access: &Access,
        read: impl FnOnce(&Access) -> Result<Vec<Key>, KeyError>,
    ) -> Result<Self, KeyError> {
        let Some(url) = &access.jwks_url else { return Ok(Self::Fixed(read(access)?.into())) };
        Ok(Self::Url(Arc::new(Remote {
            fetch: Fetch::new(url, access)?,
            algorithm: access.algorithm,
            refresh: access.jwks_refresh.get(),
            cooldown: access.jwks_cooldown.get(),
            stale: access.jwks_stale.get(),
            state: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
        })))
    }

    /// The keys for a token. Where one is named that is not known, the set is read again, though not too often.
    pub(super) async fn for_token(&self, app: &App, token: &Token<'_>) -> Result<Arc<[Key]>, Denial> {
        let remote = match self {
            Self::Fixed(keys) => return Ok(Arc::clone(keys)),
            Self::Url(remote) => remote,
        };
        let keys = remote.keys(app).await?;
        if matches!(token.find(&keys), Err(Denial::UnknownKey(_))) {
            return Ok(remote.again(&app.metrics, &keys).await);
        }
        Ok(keys)
    }
}

impl Remote {
    /// The keys as they are known. Old ones are good while new ones are fetched, and for a while if there are none to be had.
    async fn keys(self: &Arc<Self>, app: &App) -> Result<Arc<[Key]>, Denial> {
        let (known, age) = self.known();
        match age {
            Some(age) if age < self.refresh => return Ok(known),
            Some(age) if age < self.stale => {
                if self.may_try() {
                    drop(self.fetch(&app.metrics));
                }
                return Ok(known);
            }
            _ => {}
        }
        // It ends in no other way than well.
        let _ = self.fetch(&app.metrics).await;
        match self.known() {
            (known, Some(age)) if age < self.stale => Ok(known),
            _ => Err(Denial::NoKeys),
        }
    }

    /// The keys after the set was read again, if it may be; those that there are else.
    async fn again(self: &Arc<Self>, metrics: &Arc<Metrics>, seen: &Arc<[Key]>) -> Arc<[Key]> {
        let (known, _) = self.known();
        if Arc::ptr_eq(&known, seen) {
            let _ = self.fetch(metrics).await;
        }
        self.known().0
    }

    fn known(&self) -> (Arc<[Key]>, Option<Duration>) {
        let state = self.state.lock();
        (Arc::clone(&state.keys), state.fetched.map(|fetched| fetched.elapsed()))
    }

    fn may_try(&self) -> bool {
        self.state.lock().tried.is_none_or(|tried| tried.elapsed() >= self.cooldown)
    }

    /// Fetches the set, unless that was tried lately. Whoever comes meanwhile waits for the same. In a task of its own, so that
    /// a client that leaves takes nothing from the others.
    fn fetch(self: &Arc<Self>, metrics: &Arc<Metrics>) -> JoinHandle<()> {
        let (remote, metrics) = (Arc::clone(self), Arc::clone(metrics));
        tokio::spawn(async move {
            let _flight = remote.flight.lock().await;
            if remote.may_try() {
                remote.try_fetch(&metrics).await;
            }
        })
    }

    async fn try_fetch(&self, metrics: &Metrics) {
        self.state.lock().tried = Some(Instant::now());
        let fetched = match self.fetch.get().await {
            Ok(text) => KeySet::parse(&text, self.algorithm).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match fetched {
            Ok(set) => {
                metrics::add(&metrics.access.fetched, 1);
                let mut state = self.state.lock();
                if *state.keys != *set.keys {
                    tracing::info!(url = self.fetch.url(), keys = set.keys.len(), "a key set was fetched");
                    state.keys = set.keys.into();
                }
                state.fetched = state.tried;
            }
            Err(error) => {
                metrics::add(&metrics.access.unfetched, 1);
                tracing::warn!(url = self.fetch.url(), ?error, "a key set could not be fetched");
            }
        }
    }
}
