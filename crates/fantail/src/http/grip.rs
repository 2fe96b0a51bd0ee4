//! `POST /publish/`: where GRIP's libraries publish, and by which key they are known.

use std::time::{SystemTime, UNIX_EPOCH};

use fantail_hub::hub::Publish;
use fantail_hub::{Millis, Traits};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use hyper::body::Incoming;

use super::App;
use super::body::Body;
use super::error::Refusal;
use super::publish::read;
use crate::dialect::grip::parse_items;
use crate::metrics;

/// The largest body, in messages of the largest size: libraries send up to ten items at once.
const MESSAGES: usize = 10;

/// Answers a request.
pub async fn answer(app: &App, request: &Parts, body: Incoming) -> Response<Body> {
    match publish(app, request, body).await {
        Ok(()) => {
            let mut response = Response::new(Body::Full("Published\n".into()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            response
        }
        Err(refusal) => {
            metrics::add(&app.metrics.http.publish_refused, 1);
            refusal.response()
        }
    }
}

async fn publish(app: &App, request: &Parts, body: Incoming) -> Result<(), Refusal> {
    if request.method != Method::POST {
        return Err(Refusal::Method(request.method.to_string(), "POST"));
    }
    if request.headers.contains_key(CONTENT_ENCODING) {
        let why = "a Content-Encoding is not understood here: send the JSON as it is";
        return Err(Refusal::MediaType(why.to_owned()));
    }
    let body = read(app, body, app.hub.limits().message.saturating_mul(MESSAGES)).await?;
    // All are read before the first is published.
    let items = parse_items(&body)?;
    for (at, item) in items.iter().enumerate() {
        let one =
            Publish { channel: &item.channel, said: item.message(), key: None, ends: false, traits: Traits::default() };
        app.hub.publish(one).await.map_err(|source| Refusal::ItemOf { at, source })?;
    }
    Ok(())
}

/// The wall clock, by which both sides of a signature go. Not the hub's: that one is carried on from the start of the process
/// and does not follow when the machine's clock is set or the machine sleeps.
pub fn wall() -> Millis {
    Millis::default().plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
