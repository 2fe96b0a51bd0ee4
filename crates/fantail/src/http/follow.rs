//! What an application's answer asks for in its stead: another route, or a hold on channels.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderName, Response};
use http_body_util::BodyExt as _;

use super::error::Refusal;
use super::redirect::{self, Redirected};
use super::takeover::Slot;
use super::{App, body::Body, hold};
use crate::dialect::grip;
use crate::proxy::{self, Answer};

/// How often a request may be handed on, as by nginx.
const HOPS: usize = 10;
/// What is read of a body that nobody wants, so that its connection can be used again.
const UNWANTED: usize = 64 << 10;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(1);

const REDIRECT: HeaderName = HeaderName::from_static("x-accel-redirect");

/// Whether an answer asks for anything.
pub(super) fn asks(headers: &http::HeaderMap) -> bool {
    headers.contains_key(REDIRECT) || grip::instructs(headers)
}

/// Follows an answer that asks for something. Where it says both, the other route counts, as behind nginx.
///
/// CANCEL SAFETY: dropping it lets go of the application's answer and of the channels.
///
/// # Errors
/// What about the answer cannot be followed; the client has been told nothing.
pub(super) async fn follow(
    app: &App,
    slot: &Arc<Slot>,
    request: &Parts,
    answer: Answer,
) -> Result<Response<Body>, Refusal> {
    let mut handed = Box::new((request.clone(), answer));
    for _ in 0..HOPS {
        let (request, answer) = *handed;
        let Some(target) = answer.parts.headers.get(REDIRECT).cloned() else {
            let limit = app.hub.limits().message;
            let body = read(answer.body, limit).await?.ok_or_else(|| {
                Refusal::HandOver(format!("its body has more than {limit} bytes (hub.message), which cannot be held"))
            })?;
            slot.watch(false);
            return hold::hold(app, slot, &request, answer.parts, body).await;
        };
        let kept = redirect::kept(&answer.parts.headers);
        let unwanted = answer.body;
        // The client does not wait for it.
        tokio::spawn(async move { drop(tokio::time::timeout(PATIENCE, read(unwanted, UNWANTED)).await) });
        slot.watch(false);
        match redirect::redirect(app, slot, &request, &kept, target.as_bytes()).await? {
            Redirected::Done(response) => return Ok(*response),
            Redirected::Again(again) => handed = again,
        }
    }
    Err(Refusal::HandOver(format!("X-Accel-Redirect led from route to route {HOPS} times")))
}

/// A whole body; `None` if it is larger than `limit`.
async fn read(mut body: proxy::Body, limit: usize) -> Result<Option<Bytes>, Refusal> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole.freeze()))
}
