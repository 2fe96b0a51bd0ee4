//! One recording: where it can be resumed, by whom, and how whoever comes back is answered.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use fantail_hub::{StartAt, SubscribeError};
use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts as Request;
use http::response::Parts;
use tokio::sync::Notify;

use super::credential::Credential;
use super::source::Source;
use super::{Styles, View};
use crate::auth::Denial;
use crate::fanout::Ticket;
use crate::http::App;
use crate::http::access::{Guard, Pass};
use crate::http::body::Body;
use crate::http::error::Refusal;
use crate::http::takeover::Slot;

/// One recording.
pub(super) struct Recording {
    pub(super) source: Arc<Source>,
    pub(super) styles: Arc<Styles>,
    /// Where it can be resumed.
    pub(super) url: String,
    pub(super) token: Token,
    /// The request that it answers.
    pub(super) content: Content,
    /// See [`super::record::Rules`].
    pub(super) cookies: Arc<[String]>,
    /// Of the first request, and as it is once its client has taken the cookies of the answer.
    pub(super) credentials: [Credential; 2],
    /// What stands before its route.
    pub(super) guard: Guard,
    /// What its caller was let in with.
    pub(super) ticket: Ticket,
    /// Told when it is not kept any more, to make room for others.
    pub(super) forgotten: Notify,
}

impl Recording {
    /// Whether it was made for whoever sends this.
    pub(super) fn admits(&self, request: &Request) -> bool {
        self.credentials.contains(&Credential::of(&request.headers, &self.cookies))
    }

    /// Lets somebody see it again, or not: whoever may use its route. Where that is said by the route's URL alone, its own URL is
    /// good for as long as that one.
    ///
    /// # Errors
    /// Why not.
    pub(super) async fn readmit(&self, app: &App, slot: &Slot, request: &Request) -> Result<Pass, Denial> {
        if !self.guard.is_of_the_url() {
            return self.guard.admit(app, slot, request).await;
        }
        match self.ticket.ends {
            Some(ends) if Instant::now() >= ends => Err(Denial::UrlExpired),
            _ => Ok(Pass { ticket: self.ticket.clone(), ..Pass::open() }),
        }
    }

    /// Answers a viewer that begins somewhere: 204 if the stream has ended and it has seen all of it.
    pub(super) async fn resume(
        &self,
        app: &App,
        slot: &Arc<Slot>,
        request: &Request,
        start: StartAt,
        head: Parts,
    ) -> Response<Body> {
        self.source.arrive();
        let names = std::slice::from_ref(self.source.channel.name());
        let seen = match app.hub.plan(names, start.clone()).await {
            Ok(plan) => self.source.has_nothing_for(plan.progress.cursor().next()),
            Err(error) => return Refusal::from(error).response(),
        };
        if seen {
            return Refusal::Subscribe(SubscribeError::Ended).response();
        }
        let view = View { source: &self.source, styles: &self.styles, start, head };
        view.answer(app, slot, request).await.unwrap_or_else(|refusal| refusal.response())
    }
}

/// The secret of a recording's URL: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Token(u128);

impl Token {
    pub(super) fn random() -> Option<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(u128::from_be_bytes(bytes)))
    }

    /// Reads a token as its `Display` writes it, to the byte.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let token = Self(u128::from_str_radix(text, 16).ok()?);
        (token.to_string() == text).then_some(token)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What the head tells of a request's content. The body is on its way to the upstream while it is read, and not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content([Vec<u8>; 4]);

impl Content {
    pub(super) fn of(request: &Request) -> Self {
        let header = |name| request.headers.get(name).map(|value| value.as_bytes().to_vec()).unwrap_or_default();
        let target = request.uri.path_and_query().map(|target| target.as_str().as_bytes().to_vec());
        let method = request.method.as_str().as_bytes().to_vec();
        Self([method, target.unwrap_or_default(), header(CONTENT_TYPE), header(CONTENT_LENGTH)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_reads_back_and_no_other_text_does() {
        let token = Token::random().unwrap();
        let text = token.to_string();
        assert_eq!(text.len(), 32);
        assert!(Token::parse(&text) == Some(token) && Token::random() != Some(token));
        for other in [&text[1..], "", &format!("0{text}"), &format!("+{}", &text[1..]), &"F".repeat(32)] {
            assert!(Token::parse(other).is_none(), "{other}");
        }
    }
}
