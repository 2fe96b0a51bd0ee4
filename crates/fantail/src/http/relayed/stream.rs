//! `GET /stream/{token}`: a recorded stream from where its viewer wants it; `DELETE` stops the upstream.

use std::sync::Arc;

use fantail_hub::StartAt;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts as Request;
use http::{HeaderValue, Method, Response, StatusCode};

use super::head;
use super::recording::Recording;
use super::share::last_event_id;
use crate::http::App;
use crate::http::body::Body;
use crate::http::cors::Cors;
use crate::http::error::Refusal;
use crate::http::query::Query;
use crate::http::takeover::Slot;

const METHODS: &str = "GET, HEAD, DELETE, OPTIONS";

/// The route of all recordings.
#[derive(Debug)]
pub struct Streams {
    cors: Cors,
}

impl Streams {
    /// With these rules for other origins.
    pub fn new(cors: Cors) -> Self {
        Self { cors }
    }

    /// Answers a request whose path holds `token` at the placeholder.
    pub async fn answer(&self, app: &App, slot: &Arc<Slot>, request: &Request, token: &str) -> Response<Body> {
        let answer = self.act(app, slot, request, token).await;
        let mut response = answer.unwrap_or_else(|refusal| refusal.response());
        self.cors.apply(&request.headers, response.headers_mut());
        head::expose(response.headers_mut());
        response
    }

    async fn act(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Request,
        token: &str,
    ) -> Result<Response<Body>, Refusal> {
        let find = async || {
            let found = app.recordings.find(token, request);
            let found = found.ok_or_else(|| Refusal::NotFound(request.uri.path().to_owned()))?;
            let pass = found.readmit(app, slot, request).await?;
            Ok::<_, Refusal>((found, pass))
        };
        match request.method {
            Method::GET => {
                let (recording, pass) = find().await?;
                let start = Self::start(app, request, &recording)?;
                let mut request = request.clone();
                request.extensions.insert(pass);
                Ok(recording.resume(app, slot, &request, start, Self::head(&recording)).await)
            }
            Method::HEAD => Ok(Response::from_parts(Self::head(&find().await?.0), Body::empty())),
            Method::DELETE => {
                find().await?.0.source.stop().await;
                Ok(nothing())
            }
            Method::OPTIONS => {
                let mut response = nothing();
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
                self.cors.preflight(response.headers_mut(), "GET, HEAD, DELETE");
                Ok(response)
            }
            _ => Err(Refusal::Method(request.method.to_string(), METHODS)),
        }
    }

    /// Where a viewer begins: behind an id, behind so many events, or with the first. What a client says in its header when it
    /// comes back wins over what its URL says.
    fn start(app: &App, request: &Request, recording: &Recording) -> Result<StartAt, Refusal> {
        let source = &recording.source;
        let query = Query::of(&request.uri);
        let from_query = query.get("lastEventId").filter(|id| !id.is_empty());
        let id = last_event_id(request).or_else(|| from_query.as_ref().map(|id| id.as_bytes()));
        if let Some(id) = id {
            // One of another recording reads as a position that this one does not know.
            return Ok(match app.recordings.seal().open(id) {
                Some(sealed) if Some(sealed.number) == source.channel.name().number() => {
                    source.behind(&app.hub, sealed.offset)
                }
                _ => source.behind_id(&app.hub, id),
            });
        }
        if let Some(seen) = query.number("offset")? {
            let start = source.behind_events(&app.hub, seen);
            return Ok(start.unwrap_or_else(|| source.beginning(&app.hub)));
        }
        let from = query.parsed("from", "\"start\" (or left out) or \"live\"", |value| match value {
            "start" => Some(source.beginning(&app.hub)),
            "live" => Some(StartAt::Live),
            _ => None,
        })?;
        Ok(from.unwrap_or_else(|| source.beginning(&app.hub)))
    }

    fn head(recording: &Recording) -> http::response::Parts {
        let mut parts = Response::new(()).into_parts().0;
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
        let mut parts = head::for_viewers(parts);
        head::announce(&mut parts.headers, &recording.url);
        parts
    }
}

fn nothing() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
