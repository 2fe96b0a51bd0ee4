//! A request to a push-stream route, with what the variables in the route's options are worth in it.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::request::Parts;
use http::{HeaderName, HeaderValue};

use crate::config::Expression;
use crate::dialect::push_stream::RequestVariables;
use crate::http::captures::Captures;
use crate::http::{host, path};

/// A request.
pub(super) struct Ask<'a> {
    /// Its head.
    pub(super) request: &'a Parts,
    uri: Cow<'a, [u8]>,
    host: Cow<'a, str>,
    peer: String,
    captures: &'a Captures<'a>,
}

impl<'a> Ask<'a> {
    /// A request of the client at `peer`, in whose path its route found `captures`.
    pub(super) fn new(request: &'a Parts, peer: SocketAddr, captures: &'a Captures<'a>) -> Self {
        Self {
            request,
            // Routes take no path that cannot be resolved.
            uri: path::resolve(request.uri.path()).unwrap_or_default(),
            host: host::host(request).unwrap_or_default(),
            peer: peer.ip().to_canonical().to_string(),
            captures,
        }
    }

    /// What an option says of this request.
    pub(super) fn evaluate(&self, expression: &Expression) -> Vec<u8> {
        expression.evaluate(&RequestVariables {
            method: self.request.method.as_str(),
            uri: &self.uri,
            query: self.request.uri.query().unwrap_or_default(),
            host: &self.host,
            remote_address: &self.peer,
            headers: &self.request.headers,
            groups: self.captures,
        })
    }

    /// The first field of this name.
    pub(super) fn field(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.request.headers.get(name)
    }
}
