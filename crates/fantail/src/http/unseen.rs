//! The answer to a request that is turned away before any route has seen it: as a native route would tell it.

use http::Response;
use http::request::Parts;

use super::App;
use super::body::Body;
use super::cors::Cors;
use super::error::Refusal;
use super::soft::Soft;
use crate::config::Config;

/// How it is told.
#[derive(Debug)]
pub struct Unseen {
    soft: Soft,
    cors: Cors,
}

impl Unseen {
    /// As `[stream]` and `[cors]` say.
    pub fn new(config: &Config) -> Self {
        let stream = &config.stream;
        let soft = Soft::new(stream.soft_refusal, stream.retry.get(), stream.retry_jitter.get());
        Self { soft, cors: Cors::new(&config.cors) }
    }

    /// The answer.
    pub fn answer(&self, app: &App, request: &Parts, refusal: &Refusal) -> Response<Body> {
        let mut response = self.soft.answer(app, request, refusal).unwrap_or_else(|| refusal.response());
        self.cors.apply(&request.headers, response.headers_mut());
        response
    }
}
