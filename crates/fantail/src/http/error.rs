//! The one table from what went wrong to what the client is told.

use std::time::Duration;

use bytes::Bytes;
use fantail_hub::{AppendError, NameError, PublishError, ReadError, SubscribeError};
use fantail_sse::FieldError;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use thiserror::Error;

use super::body::Body;
use crate::admission::Turned;
use crate::auth::{Denial, Kind};
use crate::dialect::grip::ItemError;
use crate::proxy::Failure;

/// When to come back after a 503 where nobody knows better, in seconds.
const RETRY_SECONDS: u64 = 5;

/// Why a request was refused. Nothing was done of it, unless the variant says so.
#[derive(Debug, Error)]
pub enum Refusal {
    /// No route.
    #[error("there is nothing at {0}")]
    NotFound(String),
    /// No path, by nginx's rules.
    #[error("{0:?} is no path: it leads above the root, or holds a NUL or a % without two hexadecimal digits")]
    NoPath(String),
    /// The channel does not exist.
    #[error("there is no channel {0:?}")]
    NoChannel(String),
    /// The subscriber does not exist.
    #[error("there is no subscriber {0:?}")]
    NoSubscriber(String),
    /// The route has other methods.
    #[error("{0} is not allowed here, only {1}")]
    Method(String, &'static str),
    /// A channel's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No channel was named.
    #[error("no channel was named")]
    NoName,
    /// A channel of another protocol.
    #[error("channel {0:?} belongs to GRIP: applications hold requests on it and publish there with POST /publish/")]
    ReservedName(String),
    /// Too many channels at once.
    #[error("{0} channels were named, at most {1} are allowed (stream.max_channels)")]
    TooManyNames(usize, usize),
    /// An event name or id.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A parameter of the query.
    #[error("parameter {name}={value:?} is not {expected}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A header's value.
    #[error("header {name} is not {expected}")]
    Header {
        /// Its name.
        name: &'static str,
        /// What is allowed.
        expected: &'static str,
    },
    /// The data is not text.
    #[error("data is not valid UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// The body did not arrive whole.
    #[error("the body ended early or was malformed")]
    Body,
    /// The body did not arrive in time.
    #[error("the body stayed silent for {0:?} (listen.body_timeout)")]
    BodyTimeout(Duration),
    /// The body came in drops.
    #[error("the body comes too slowly (limits.body_rate)")]
    BodyTooSlow,
    /// The body's length was not given.
    #[error("a body is needed: send Content-Length (0 for an empty message) or chunks")]
    LengthRequired,
    /// The body has the wrong type.
    #[error("{0}")]
    MediaType(String),
    /// The body is too large.
    #[error("the body is larger than {0} bytes (hub.message)")]
    TooLarge(usize),
    /// The request under this key was another one.
    #[error("the Idempotency-Key was used for another request")]
    KeyReused,
    /// The hub would not have it.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The hub would not grant it.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// What the journal holds could not be read.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// What was published in GRIP's form.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// The hub would not have one of several items.
    #[error("items[{at}] cannot be published: {source}; those before it were")]
    ItemOf {
        /// Which.
        at: usize,
        /// Why.
        source: PublishError,
    },
    /// There are as many subscriptions as there may be.
    #[error("there are {0} subscriptions, no more are allowed (hub.subscriptions)")]
    Subscriptions(usize),
    /// A limit of `[limits]`.
    #[error(transparent)]
    Turned(#[from] Turned),
    /// The target is too long.
    #[error("the request's target has {0} bytes, at most {1} are allowed (limits.url)")]
    Target(usize, usize),
    /// A foreign `Host`.
    #[error("host {0:?} is not one of the control listener's; add it to control.hosts if it should be")]
    Host(String),
    /// A foreign `Origin`.
    #[error("origin {0:?} may not use the control listener; add its host to control.hosts if it should")]
    Origin(String),
    /// The key is missing or wrong.
    #[error("a valid key is needed: Authorization: Bearer KEY (control.key)")]
    Unauthorized,
    /// Whoever asks is not let in, or not to all that was asked for.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The journal accepts no messages.
    #[error(transparent)]
    NotReady(AppendError),
    /// There is no data directory.
    #[error("there is no journal on disk (journal.url = \"memory:\")")]
    NoDisk,
    /// No space could be given back.
    #[error("the journal could not be compacted; the log says why")]
    NotCompacted,
    /// The server is about to stop.
    #[error("the server is stopping")]
    Stopping,
    /// The target could mean another path to the upstream than it does here.
    #[error("the path {0:?} is ambiguous: it may not hold dot segments, backslashes or control characters")]
    Ambiguous(String),
    /// A message that two parsers may read differently.
    #[error("{0}")]
    Unclear(&'static str),
    /// An upstream gave no answer. Which server that was and what it did stands in the log, and is not for everybody.
    #[error("{}", told(.0))]
    Upstream(#[from] Failure),
    /// An upstream asked for something that cannot be done.
    #[error("the application's answer cannot be followed: {0}")]
    HandOver(String),
}

/// What a client is told of a failed upstream.
fn told(failure: &Failure) -> String {
    match failure {
        Failure::ClientBody
        | Failure::ClientSilent(_)
        | Failure::ClientSlow
        | Failure::ClientTooLarge(_)
        | Failure::Loop(_) => failure.to_string(),
        Failure::Connect { .. } | Failure::AllDown { .. } | Failure::Descriptors { .. } => {
            "the application cannot be reached".to_owned()
        }
        Failure::ConnectTimeout { .. } | Failure::FirstByte(_) | Failure::Idle(_) => {
            "the application did not answer in time".to_owned()
        }
        _ => "the application gave no proper answer".to_owned(),
    }
}

impl Refusal {
    /// The table.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) | Self::NoChannel(_) | Self::NoSubscriber(_) | Self::NoDisk => StatusCode::NOT_FOUND,
            Self::Method(..) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoPath(_)
            | Self::Name(_)
            | Self::NoName
            | Self::ReservedName(_)
            | Self::Item(_)
            | Self::TooManyNames(..)
            | Self::Field(_)
            | Self::Parameter { .. }
            | Self::Header { .. }
            | Self::NotUtf8(_)
            | Self::Body
            | Self::Ambiguous(_)
            | Self::Unclear(_)
            | Self::Publish(PublishError::ReservedId | PublishError::UnsendableId(_)) => StatusCode::BAD_REQUEST,
            Self::BodyTimeout(_) | Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) | Self::Publish(PublishError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::KeyReused | Self::Publish(PublishError::Journal(AppendError::KeyReused)) => StatusCode::CONFLICT,
            Self::Publish(PublishError::Channels(_) | PublishError::Journal(AppendError::Full(_))) => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            Self::ItemOf { source, .. } => Self::Publish(source.clone()).status(),
            Self::Subscribe(SubscribeError::Ended) => StatusCode::NO_CONTENT,
            Self::Turned(turned) if turned.blames_client() => StatusCode::TOO_MANY_REQUESTS,
            Self::Subscribe(SubscribeError::Channels(_) | SubscribeError::Journal(_))
            | Self::Publish(PublishError::Journal(AppendError::Failing(_)))
            | Self::Journal(_)
            | Self::NotReady(_)
            | Self::NotCompacted
            | Self::Subscriptions(_)
            | Self::Turned(_)
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Target(..) => StatusCode::URI_TOO_LONG,
            Self::Host(_) | Self::Origin(_) => StatusCode::FORBIDDEN,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied(denial) => match denial.kind() {
                Kind::Unauthorized => StatusCode::UNAUTHORIZED,
                Kind::Forbidden => StatusCode::FORBIDDEN,
                Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::Upstream(failure) => failure.status(),
            Self::HandOver(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The answer.
    pub fn response(&self) -> Response<Body> {
        let status = self.status();
        let mut response = if status == StatusCode::NO_CONTENT {
            Response::new(Body::empty())
        } else {
            let text = serde_json::json!({ "error": self.to_string() });
            json(&text)
        };
        self.head(&mut response);
        let headers = response.headers_mut();
        match self {
            Self::Method(_, allowed) => drop(headers.insert(ALLOW, HeaderValue::from_static(allowed))),
            Self::Unauthorized => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::Denied(denial) if denial.kind() == Kind::Unauthorized => {
                // RFC 6750 §3: without an error where nothing was shown.
                let nothing = matches!(denial, Denial::Missing(_));
                let challenge = if nothing { "Bearer" } else { "Bearer error=\"invalid_token\"" };
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            // What is left of the body would be taken for the next request.
            Self::TooLarge(_)
            | Self::BodyTimeout(_)
            | Self::BodyTooSlow
            | Self::Unclear(_)
            | Self::Upstream(
                Failure::ClientBody | Failure::ClientSilent(_) | Failure::ClientSlow | Failure::ClientTooLarge(_),
            ) => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    /// Gives an answer the status, and says when to come back: for answers that say more than the refusal.
    pub fn head(&self, response: &mut Response<Body>) {
        *response.status_mut() = self.status();
        if matches!(self.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            let seconds = match self {
                Self::Turned(turned) => turned.retry_seconds(),
                Self::Upstream(Failure::AllDown { again, .. }) => again.as_secs() + 1,
                _ => RETRY_SECONDS,
            };
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
    }
}

/// An answer in JSON, with a line's end for people at a terminal.
pub fn json(value: &impl serde::Serialize) -> Response<Body> {
    // Our own types hold nothing that serialising could refuse.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Body::Full(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
