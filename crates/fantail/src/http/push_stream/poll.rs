//! Answers with an end: what there is, at once, or what comes first while the client waits. They tell the place up to which they go
//! in `Last-Modified` and `Etag`, and the next request says it again.

use std::sync::Arc;

use bytes::Bytes;
use fantail_hub::{Batch, Clock, Hub, Plan};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::gzip;
use super::lately::{Lately, Recipe};
use super::styles::Styles;
use crate::dialect::push_stream::{Place, Seen, headers, jsonp};
use crate::http::reply::Reply;

/// What the answers of one route have in common.
#[derive(Debug)]
pub(super) struct Polls {
    strict: bool,
    content_type: HeaderValue,
    header: Bytes,
    footer: Bytes,
    /// What who waited in vain is told, where that is more than a 304.
    timed_out: Option<Bytes>,
    lately: Lately,
}

/// One of them, before it is known what it says.
pub(super) struct Poll {
    polls: Arc<Polls>,
    hub: Arc<Hub>,
    /// The page's function.
    callback: Option<Vec<u8>>,
    seen: Seen,
    /// Where it began to wait.
    began: Place,
    /// What is known of the head before, of an answer that leaves HTTP: no map, which would be the most of what one that waits
    /// costs.
    head: Box<[(HeaderName, HeaderValue)]>,
    waits: bool,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Polls {
    /// Those of a route. `with_body` tells who waited in vain so in a 200.
    pub(super) fn new(styles: &Styles, content_type: HeaderValue, with_body: bool, strict: bool) -> Self {
        Self {
            strict,
            content_type,
            header: styles.header(None).into(),
            footer: styles.footer().clone(),
            timed_out: with_body.then(|| styles.timed_out().into()),
            lately: Lately::default(),
        }
    }
}

impl Poll {
    /// The answer to a request that has seen so much and subscribes so. `headers` are what every answer to it has where HTTP does not
    /// add them; `waits` if it is not answered at once.
    pub(super) fn new(
        polls: &Arc<Polls>,
        hub: &Arc<Hub>,
        plan: &Plan,
        seen: Seen,
        callback: Option<Vec<u8>>,
        headers: &HeaderMap,
        waits: bool,
    ) -> Self {
        let tag = plan.progress.cursor().seen().map_or(0, |offset| offset.0);
        let began = Place { time: seconds(hub.clock()), tag };
        let head = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { polls: Arc::clone(polls), hub: Arc::clone(hub), callback, seen, began, head, waits }
    }

    /// The answer with what is due, or with nothing.
    pub(super) fn answer(&self, due: Option<&Batch>) -> Answer {
        match due {
            Some(batch) => self.with(batch),
            None => self.without(),
        }
    }

    /// The same as bytes, for an answer that leaves HTTP. `packs` if its client takes it compressed.
    pub(super) fn reply(&self, due: Option<&Batch>, keep_alive: bool, packs: bool) -> Bytes {
        let make = || {
            let Answer { status, mut headers, mut body } = self.answer(due);
            if let Some(packed) = packs.then(|| gzip::pack(&body)).flatten() {
                body = packed;
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            Reply::new(status, None, &headers, keep_alive).with(&[&body]).into()
        };
        let Some(batch) = due else { return make() };
        let (messages, place, callback) = (&batch.bytes, self.place(batch), self.callback.as_deref());
        let recipe = Recipe { messages, place, callback, head: &self.head, keep_alive, packs };
        self.polls.lately.answer(recipe, make)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.head {
            headers.append(name, value.clone());
        }
        headers
    }

    fn with(&self, batch: &Batch) -> Answer {
        let mut headers = self.headers();
        headers::place(&mut headers, self.place(batch));
        let messages = match &self.callback {
            Some(_) => batch.bytes.strip_suffix(jsonp::BETWEEN).unwrap_or(&batch.bytes),
            None => &batch.bytes,
        };
        self.full(headers, messages)
    }

    /// Where an answer with this ends.
    fn place(&self, batch: &Batch) -> Place {
        let last = batch.last.map(|(offset, time)| Place { time: time.0 / 1000, tag: offset.0 });
        match last.filter(|_| !(self.polls.strict && batch.ends)) {
            Some(last) => self.seen.newest([last]).unwrap_or(last),
            None => self.now(),
        }
    }

    fn without(&self) -> Answer {
        let mut headers = self.headers();
        let asked = self.seen.time.is_some() || self.seen.tag.is_some();
        match (self.waits, self.polls.strict) {
            (true, true) => headers::place(&mut headers, self.now()),
            // Who asks for the first time learns where it stands, and misses nothing until it asks again.
            (true, false) => headers::place(&mut headers, self.began),
            (false, false) if !asked => headers::place(&mut headers, self.began),
            (false, _) => headers::echo(&mut headers, &self.seen),
        }
        match self.polls.timed_out.as_ref().filter(|_| self.waits) {
            Some(text) => self.full(headers, text),
            None => Answer { status: StatusCode::NOT_MODIFIED, headers, body: Vec::new() },
        }
    }

    /// The place of what comes from here on, as the module tells it.
    fn now(&self) -> Place {
        Place { time: seconds(self.hub.clock()), tag: 0 }
    }

    fn full(&self, mut headers: HeaderMap, messages: &[u8]) -> Answer {
        let Polls { header, footer, content_type, strict, .. } = &*self.polls;
        let body = match &self.callback {
            None => {
                headers.insert(CONTENT_TYPE, content_type.clone());
                [header, messages, footer].concat()
            }
            Some(callback) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(jsonp::CONTENT_TYPE));
                if !strict {
                    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                }
                [&**header, &jsonp::open(callback), messages, jsonp::CLOSE, footer].concat()
            }
        };
        Answer { status: StatusCode::OK, headers, body }
    }
}

fn seconds(clock: &Clock) -> u64 {
    clock.now().0 / 1000
}
