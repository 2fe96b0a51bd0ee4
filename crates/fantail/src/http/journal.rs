//! What operators ask of the journal: whether it takes messages, and to give space back now.

use http::request::Parts;
use http::{Method, Response};
use serde_json::json;

use super::App;
use super::body::Body;
use super::error::{Refusal, json as answer};

/// `GET /readyz`: whether this server should be sent clients and publishers.
pub fn ready(app: &App) -> Response<Body> {
    let refusal = if app.is_stopping() {
        Refusal::Stopping
    } else {
        match app.hub.journal().health() {
            Ok(()) => return answer(&json!({ "ready": true })),
            Err(error) => Refusal::NotReady(error),
        }
    };
    let mut response = answer(&json!({ "ready": false, "error": refusal.to_string() }));
    refusal.head(&mut response);
    response
}

/// `POST /journal/compact`: gives back the space of what is no longer kept, and says how much it was.
///
/// CANCEL SAFETY: a client that leaves stops nothing.
pub async fn compact(app: &App, request: &Parts) -> Result<Response<Body>, Refusal> {
    if request.method != Method::POST {
        return Err(Refusal::Method(request.method.to_string(), "POST"));
    }
    let disk = app.disk.as_ref().ok_or(Refusal::NoDisk)?;
    let outcome = disk.compact().await.ok_or(Refusal::NotCompacted)?;
    Ok(answer(&json!({ "segments": outcome.segments, "cleaned": outcome.cleaned, "freed": outcome.freed })))
}
