//! Cross-origin rules of the subscribe routes (Fetch §3.3).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};

use crate::config;

/// Who may read streams from other origins.
#[derive(Debug)]
pub struct Cors {
    /// `None` for everybody.
    origins: Option<Vec<HeaderValue>>,
    credentials: bool,
    max_age: HeaderValue,
}

impl Cors {
    /// The rules of a configuration.
    pub fn new(config: &config::Cors) -> Self {
        let any = config.origins.iter().any(|origin| origin == "*");
        let listed = config.origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
        Self {
            origins: (!any).then(|| listed.collect()),
            credentials: config.credentials,
            max_age: config.max_age.get().as_secs().into(),
        }
    }

    /// Adds what every answer of a subscribe route says.
    pub fn apply(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let Some(origins) = &self.origins else {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            return;
        };
        answer.insert(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = request.get(ORIGIN).filter(|origin| origins.contains(origin)) else { return };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// Adds what the answer to a preflight says besides.
    pub fn preflight(&self, answer: &mut HeaderMap, methods: &'static str) {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        // Fetch-based clients send these; with an id beyond 128 bytes browsers ask as well.
        let headers =
            HeaderValue::from_static("Last-Event-ID, Cache-Control, Authorization, X-Api-Key, Api-Key, X-Goog-Api-Key");
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
        answer.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
    }
}
