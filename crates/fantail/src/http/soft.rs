//! Refusals that an `EventSource` survives: a stream that ends at once and says when to come back. Any other answer than a stream
//! silences it for good (WHATWG HTML §9.2.3).

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};

use super::App;
use super::body::Body;
use super::error::Refusal;
use super::subscribe::head;
use crate::config::SoftRefusal;
use crate::metrics;
use crate::proxy::{is_event_source, is_momentary};

/// Which refusals a route tells in this way.
#[derive(Debug, Clone, Copy)]
pub struct Soft {
    which: SoftRefusal,
    retry: Duration,
    jitter: Duration,
}

impl Soft {
    /// A client comes back after `retry` and a random part of `jitter`.
    pub fn new(which: SoftRefusal, retry: Duration, jitter: Duration) -> Self {
        Self { which, retry, jitter }
    }

    /// The answer to whoever made this request, if it is one that is told softly.
    pub fn answer(&self, app: &App, request: &Parts, refusal: &Refusal) -> Option<Response<Body>> {
        if !self.tells(refusal.status()) || !is_event_source(request) {
            return None;
        }
        metrics::add(&app.metrics.access.softened, 1);
        Some(self.stream(&refusal.to_string()))
    }

    /// A stream that ends at once, with the reason in a comment, and says when to come back.
    pub fn stream(&self, why: &str) -> Response<Body> {
        let mut text = Vec::new();
        fantail_sse::encode::comment(&mut text, why);
        fantail_sse::encode::retry(&mut text, super::retry_ms(self.retry, self.jitter));
        head(Body::Full(Bytes::from(text)))
    }

    fn tells(&self, status: StatusCode) -> bool {
        match self.which {
            SoftRefusal::Off => false,
            SoftRefusal::Temporary => is_momentary(status),
            SoftRefusal::All => {
                is_momentary(status) || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_refusals_are_those_of_the_setting() {
        let tells = |which, status: u16| {
            Soft::new(which, Duration::ZERO, Duration::ZERO).tells(StatusCode::from_u16(status).unwrap())
        };
        for (status, temporary, all) in [
            (429, true, true),
            (503, true, true),
            (401, false, true),
            (403, false, true),
            (400, false, false),
            (404, false, false),
        ] {
            assert!(!tells(SoftRefusal::Off, status));
            assert_eq!(tells(SoftRefusal::Temporary, status), temporary, "{status}");
            assert_eq!(tells(SoftRefusal::All, status), all, "{status}");
        }
    }
}
