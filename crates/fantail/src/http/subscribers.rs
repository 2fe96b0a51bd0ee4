//! `/subscribers?sub=NAME`: the connections of one identity. `GET` lists them, `DELETE` ends them.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response};

use super::App;
use super::body::Body;
use super::error::{Refusal, json};
use super::query::Query;

const METHODS: &str = "GET, HEAD, DELETE";
/// Subscribers that are listed.
const MOST: usize = 1000;

/// Answers a request.
///
/// # Errors
/// If the method is another or nobody is named.
pub async fn answer(app: &App, request: &Parts) -> Result<Response<Body>, Refusal> {
    if !matches!(request.method, Method::GET | Method::HEAD | Method::DELETE) {
        return Err(Refusal::Method(request.method.to_string(), METHODS));
    }
    let given = Query::of(&request.uri).get("sub").unwrap_or_default();
    if given.is_empty() {
        let expected = "the name of those whose connections are meant, as their tokens have it (\"sub\")";
        return Err(Refusal::Parameter { name: "sub", value: String::new(), expected });
    }
    let identity: Arc<str> = given.into();
    if request.method == Method::DELETE {
        let ended = app.sessions.end(&identity) + app.shards.end_known_as(&identity).await;
        return Ok(json(&serde_json::json!({ "ended": ended })));
    }
    let subscribers = app.shards.known_as(&identity, MOST).await;
    // WebSockets, and streams and tunnels of upstreams.
    let others = app.sessions.count(&identity);
    Ok(json(&serde_json::json!({ "subscribers": subscribers, "others": others })))
}
