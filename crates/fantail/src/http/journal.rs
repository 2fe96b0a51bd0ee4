//! What operators ask of the journal: whether it takes messages.

use http::Response;
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
