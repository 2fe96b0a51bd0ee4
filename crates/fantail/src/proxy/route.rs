//! What a proxy route does to requests and to answers, compiled from the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::request::Changes;
use super::rewrite::Rewrite;
use super::upstream::Upstream;
use crate::config;

/// What a proxy route does to requests and answers.
#[derive(Debug)]
pub struct Route {
    pub(super) upstream: Arc<Upstream>,
    pub(super) rewrite: Rewrite,
    pub(super) request: Changes,
    pub(super) response: Changes,
    pub(super) max_body: u64,
    pub(super) ping: Duration,
    pub(super) stall_limit: Duration,
    /// Answers are asked for as they are, whatever the client accepts: they are to be read here.
    pub(super) identity: bool,
    /// Streams that break off are taken up again.
    pub(super) reconnect: bool,
}

impl Route {
    pub(super) fn new(upstream: &Arc<Upstream>, route: &config::Route, stream: &config::Stream) -> Self {
        Self {
            upstream: Arc::clone(upstream),
            rewrite: Rewrite::new(route),
            request: changes(&route.set_request, &route.remove_request),
            response: changes(&route.set_response, &route.remove_response),
            max_body: route.max_body.bytes() as u64,
            ping: route.ping.unwrap_or(stream.ping).get(),
            stall_limit: route.stall_limit.unwrap_or(stream.stall_limit).get(),
            identity: route.identity || route.share || route.record || route.reconnect,
            reconnect: route.reconnect,
        }
    }
}

fn changes(set: &BTreeMap<String, String>, remove: &[String]) -> Changes {
    // Both were checked when the configuration was read.
    let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
    let field = |(key, value): (&String, &String)| Some((name(key)?, HeaderValue::from_str(value).ok()?));
    Changes { set: set.iter().filter_map(field).collect(), remove: remove.iter().filter_map(|key| name(key)).collect() }
}
