//! `X-Accel-Redirect`: the application has looked at a request and hands it to a route of ours, which may be an internal one.

use std::sync::Arc;

use http::header::{
    ACCEPT_RANGES, CONNECTION, CONTENT_DISPOSITION, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, LINK,
    REFERRER_POLICY, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, VARY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri};

use super::access::Pass;
use super::body::Body;
use super::error::Refusal;
use super::forward::Forwarded;
use super::subscribe::has_body;
use super::takeover::Slot;
use super::{Action, App, host, path};
use crate::proxy::Answer;

/// What became of a request that was handed on.
pub(super) enum Redirected {
    /// It has its answer.
    Done(Box<Response<Body>>),
    /// The route was one to another upstream, which hands the request on in its turn.
    Again(Box<(Parts, Answer)>),
}

/// Serves the route that `target` names, to the client of `request`, with what is `kept` of the application's answer.
pub(super) async fn redirect(
    app: &App,
    slot: &Arc<Slot>,
    request: &Parts,
    kept: &HeaderMap,
    target: &[u8],
) -> Result<Redirected, Refusal> {
    let target = std::str::from_utf8(target).map_err(|_| refusal("it is not valid UTF-8"))?;
    let aimed = aim(request, target)?;
    let path = path::normalise(aimed.uri.path());
    let host = host::host(request);
    // Not 404 if there is none, which would say that what the client asked for does not exist: it does, and the application
    // or the configuration is to be put right.
    let found = app.public(slot).find_internal(host.as_deref(), &path);
    let found = found.ok_or_else(|| refusal(&format!("no route serves {target:?}")))?;
    match &found.action.action {
        Action::Subscribe(route) => {
            Ok(Redirected::Done(Box::new(route.answer(app, slot, &aimed, found.rest, kept).await)))
        }
        Action::Forward(route) => match route.answer(app, slot, &aimed, None, found.rest, kept).await {
            Forwarded::Done(response) => Ok(Redirected::Done(Box::new(response))),
            Forwarded::HandedOver(mut answer) => {
                dress(&mut answer.parts.headers, kept);
                Ok(Redirected::Again(Box::new((aimed, answer))))
            }
        },
        Action::PushStream(route) => {
            let answer = route.take_over(app, slot, &aimed, &found.captures, kept).await;
            let answer = answer
                .ok_or_else(|| refusal(&format!("the push-stream route of {target:?} has no subscribers over HTTP")))?;
            Ok(Redirected::Done(Box::new(answer)))
        }
        _ => Err(refusal(&format!("the route of {target:?} neither subscribes nor leads to an upstream"))),
    }
}

fn refusal(why: &str) -> Refusal {
    Refusal::HandOver(format!("X-Accel-Redirect: {why}"))
}

/// The request as the route of `target` is to see it: its path and query count, the client's fields stay (among them
/// `Last-Event-ID`), and like behind nginx it is a GET unless it was a HEAD.
fn aim(request: &Parts, target: &str) -> Result<Parts, Refusal> {
    if target.starts_with('@') {
        return Err(refusal(&format!("{target:?} is a named location of nginx; name a path, such as /sub/NAME")));
    }
    let path = target.starts_with('/').then(|| target.parse::<PathAndQuery>().ok()).flatten();
    let path = path.ok_or_else(|| refusal(&format!("{target:?} is not a path that begins with \"/\"")))?;
    let mut aimed = request.clone();
    // The application has decided what its client may see. Who that is, and how long it may stay, is as it was.
    aimed.extensions.insert(Pass { ticket: Pass::ticket_of(request), ..Pass::open() });
    aimed.uri = Uri::from(path);
    if request.method != Method::HEAD {
        aimed.method = Method::GET;
    }
    // A body was the application's, which may have left some of it unread: nobody asks for another answer behind it.
    if has_body(request) {
        aimed.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    aimed.headers.remove(CONTENT_LENGTH);
    aimed.headers.remove(TRANSFER_ENCODING);
    Ok(aimed)
}

/// What of an application's answer goes with the answer of the route: as behind nginx, but `Content-Type`, `Cache-Control` and
/// `Expires`, which are the stream's own; and what says who may see it and how it is to be treated.
pub(super) fn kept(answer: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in answer.iter().filter(|(name, _)| is_kept(name)) {
        kept.append(name, value.clone());
    }
    kept
}

/// Adds what was kept to an answer's fields. An application that says something of other origins knows who asked: then what
/// the answer says of them does not count.
pub(super) fn dress(answer: &mut HeaderMap, kept: &HeaderMap) {
    const MANY: [HeaderName; 3] = [SET_COOKIE, VARY, LINK];
    if kept.keys().any(is_cors) {
        let cors: Vec<_> = answer.keys().filter(|name| is_cors(name)).cloned().collect();
        for name in cors {
            answer.remove(name);
        }
    }
    for name in kept.keys().filter(|name| !MANY.contains(name)) {
        answer.remove(name);
    }
    for (name, value) in kept {
        answer.append(name, value.clone());
    }
}

fn is_kept(name: &HeaderName) -> bool {
    const KEPT: [HeaderName; 11] = [
        SET_COOKIE,
        CONTENT_DISPOSITION,
        ACCEPT_RANGES,
        CONTENT_LANGUAGE,
        CONTENT_SECURITY_POLICY,
        LINK,
        REFERRER_POLICY,
        STRICT_TRANSPORT_SECURITY,
        VARY,
        X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    ];
    const ALSO: [&str; 5] =
        ["permissions-policy", "server-timing", "timing-allow-origin", "x-request-id", "x-correlation-id"];
    KEPT.contains(name) || ALSO.contains(&name.as_str()) || is_cors(name) || name.as_str().starts_with("cross-origin-")
}

/// Whether a field says what pages of other origins may do.
fn is_cors(name: &HeaderName) -> bool {
    name.as_str().starts_with("access-control-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("http://app.example/private?x=1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn aim_takes_the_target_and_keeps_the_clients_fields() {
        let post = request("POST", &[("last-event-id", "7"), ("content-length", "3"), ("cookie", "a=b")]);
        let aimed = aim(&post, "/sub/private-42?last=3").unwrap();
        assert_eq!((aimed.uri.path(), aimed.uri.query()), ("/sub/private-42", Some("last=3")));
        assert_eq!(
            (&aimed.method, &aimed.headers["last-event-id"], &aimed.headers["cookie"]),
            (&Method::GET, &HeaderValue::from_static("7"), &HeaderValue::from_static("a=b"),)
        );
        assert_eq!(
            (aimed.headers.get("content-length"), &aimed.headers["connection"]),
            (None, &HeaderValue::from_static("close"),)
        );
        let head = aim(&request("HEAD", &[]), "/sub/a%2Fb").unwrap();
        assert_eq!((head.method, head.uri.path(), head.uri.query()), (Method::HEAD, "/sub/a%2Fb", None));
    }

    #[test]
    fn aim_at_no_path_is_refused() {
        for target in ["@push", "", "sub/a", "http://app.example/sub/a", "*", "?a", "/a b", "/a\nb"] {
            let error = aim(&request("GET", &[]), target).unwrap_err().to_string();
            assert!(error.contains("X-Accel-Redirect") && error.contains(&format!("{target:?}")), "{error}");
        }
    }

    #[test]
    fn kept_fields_are_those_about_the_client_not_the_body() {
        let mut answer = HeaderMap::new();
        for (name, value) in [
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("access-control-allow-origin", "https://x.example"),
            ("vary", "Cookie"),
            ("content-type", "text/html"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("etag", "x"),
            ("cache-control", "public"),
            ("expires", "0"),
            ("x-accel-redirect", "/sub/a"),
            ("x-accel-buffering", "yes"),
            ("server", "x"),
        ] {
            answer.append(name, HeaderValue::from_static(value));
        }
        let kept = kept(&answer);
        let mut names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["access-control-allow-origin", "set-cookie", "set-cookie", "vary"]);
    }
}
