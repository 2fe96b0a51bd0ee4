//! One publisher: says numbered messages to its channels, alone or in batches, and repeats each with the same key until it is
//! acknowledged. It has one request at a time, so that what it says to a channel has one order.

use std::fmt::Write;
use std::net::SocketAddr;

use mio::{Registry, Token};
use serde::Deserialize;

use super::books::Books;
use super::link::{Came, Link};
use super::place::Place;
use super::saying::Said;
use super::violation::Kind;
use crate::answers::{Answer, Answers};
use crate::clock::SECOND;

const MILLISECOND: u64 = SECOND / 1000;
/// Most lines of a batch.
const LINES: u32 = 150;

/// What was sent and is not acknowledged.
#[derive(Debug)]
struct Request {
    said: Vec<Said>,
    batch: bool,
    attempts: u32,
    /// Then it is given up and repeated on another connection, while the server may still be at it.
    deadline: u64,
}

/// The answer to a single message.
#[derive(Deserialize)]
struct Single {
    published: Vec<Done>,
}

#[derive(Deserialize)]
struct Done {
    epoch: String,
    offset: String,
    id: String,
    duplicate: bool,
}

/// The answer to a batch.
#[derive(Deserialize)]
struct Batch {
    applied: u64,
    refused_lines: u64,
    #[serde(default)]
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// A publisher.
#[derive(Debug)]
pub(super) struct Publisher {
    token: Token,
    address: SocketAddr,
    flows: Vec<u16>,
    rng: fastrand::Rng,
    /// Nanoseconds between two messages.
    pace: u64,
    due: u64,
    retry_at: u64,
    link: Option<Link>,
    answers: Answers,
    request: Option<Request>,
    /// Messages that come one after the other without regard to the pace.
    burst: u32,
    /// The flows that have not had their last message yet, once the run is ending.
    closing: Option<Vec<u16>>,
}

impl Publisher {
    pub(super) fn new(token: Token, address: SocketAddr, flows: Vec<u16>, seed: u64, pace: u64) -> Self {
        Self {
            token,
            address,
            flows,
            rng: fastrand::Rng::with_seed(seed),
            pace,
            due: 0,
            retry_at: 0,
            link: None,
            answers: Answers::default(),
            request: None,
            burst: 0,
            closing: None,
        }
    }

    /// From now on one more message to each channel, alone, so that the place of each flow's last is known.
    pub(super) fn close(&mut self) {
        self.closing = Some(self.flows.clone());
    }

    /// Everything was said and acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.is_idle() && self.closing.as_ref().is_some_and(Vec::is_empty)
    }

    /// Nothing waits for an answer.
    pub(super) fn is_idle(&self) -> bool {
        self.request.is_none()
    }

    /// Does what is due; `held`: nothing new is said.
    pub(super) fn tick(
        &mut self,
        now: u64,
        held: bool,
        connections: &mut usize,
        registry: &Registry,
        books: &mut Books,
    ) {
        if self.request.is_none() && !held {
            self.begin(now, books);
        }
        let Some(request) = &mut self.request else { return };
        if self.link.is_some() && now >= request.deadline {
            let hard = self.rng.bool();
            self.cut(hard, now);
            return;
        }
        if self.link.is_none() && now >= self.retry_at {
            request.attempts += 1;
            books.counts.retries += u64::from(request.attempts > 1);
            request.deadline = now + self.rng.u64(700..2500) * MILLISECOND;
            let bytes = bytes(self.address, &request.said, request.batch, books);
            *connections += 1;
            self.answers = Answers::default();
            self.link = Link::open(self.address, *connections, self.token, registry, bytes, false).ok();
            if self.link.is_none() {
                self.fail(now);
            }
        }
    }

    /// Takes up the next message or batch when it is due, on the connection that is there.
    fn begin(&mut self, now: u64, books: &mut Books) {
        let said = if let Some(closing) = &mut self.closing {
            let Some(flow) = closing.pop() else { return };
            vec![books.send(flow)]
        } else if now < self.due {
            return;
        } else {
            let lines = if self.rng.u8(..) < 40 { self.rng.u32(2..LINES) } else { 1 };
            (0..lines).map(|_| books.send(self.flows[self.rng.usize(..self.flows.len())])).collect()
        };
        if self.burst > 0 {
            self.burst -= 1;
        } else {
            // What could not be said while the server was away is not made up for.
            self.due = self.due.max(now.saturating_sub(SECOND / 4)) + self.pace * said.len() as u64;
        }
        if self.rng.u8(..) == 0 {
            self.burst = self.rng.u32(5..50);
        }
        let batch = said.len() > 1 || self.rng.u8(..) < 20 && self.closing.is_none();
        let deadline = now + self.rng.u64(700..2500) * MILLISECOND;
        let attempts = u32::from(self.link.is_some());
        if let Some(link) = &mut self.link
            && link.send(&bytes(self.address, &said, batch, books)).is_err()
        {
            self.fail(now);
        }
        self.request = Some(Request { said, batch, attempts, deadline });
    }

    /// The poller has news of the socket. True if the server has accepted the connection.
    pub(super) fn ready(&mut self, now: u64, buffer: &mut [u8], books: &mut Books) -> bool {
        let Some(link) = &mut self.link else { return false };
        let mut ended = link.flush().is_err();
        let accepted = link.is_connected();
        while !ended {
            match link.read(buffer) {
                Came::Bytes(n) => self.answers.push(&buffer[..n]),
                Came::Nothing => break,
                Came::End(_) => ended = true,
            }
        }
        match self.answers.next(ended) {
            Ok(Some(answer)) => {
                ended |= answer.close;
                self.answered(&answer, now, books);
            }
            Ok(None) => {}
            Err(why) => {
                books.violations.add(Kind::Refused, || format!("a publisher was answered with nonsense: {why}"));
                ended = true;
            }
        }
        if ended {
            self.fail(now);
        }
        accepted
    }

    /// Ends the connection, if there is one.
    pub(super) fn cut(&mut self, hard: bool, now: u64) {
        if let Some(link) = self.link.take() {
            link.cut(hard);
        }
        self.fail(now);
    }

    fn fail(&mut self, now: u64) {
        self.link = None;
        self.retry_at = now + self.rng.u64(1..40) * MILLISECOND;
    }

    fn answered(&mut self, answer: &Answer, now: u64, books: &mut Books) {
        let Some(mut request) = self.request.take() else { return };
        let done = match (answer.status, request.batch) {
            (200, false) => single(&request, answer, books),
            (200 | 503 | 507, true) => batch(&request, answer, self.rng.bool(), books),
            _ => 0,
        };
        match answer.status {
            503 => books.counts.refused_busy += 1,
            507 => books.counts.refused_full += 1,
            200 | 408 | 429 => {}
            status => {
                let said = request.said[0];
                let why = String::from_utf8_lossy(&answer.body).into_owned();
                books.violations.add(Kind::Refused, || format!("{said} was refused with {status}: {why}"));
            }
        }
        request.said.drain(..done);
        if request.said.is_empty() {
            return;
        }
        self.request = Some(request);
        // The same again, on a new connection: the simplest client does so.
        self.link = None;
        self.retry_at = now + self.rng.u64(20..150) * MILLISECOND;
    }
}

/// Takes the answer to one message; how many were acknowledged.
fn single(request: &Request, answer: &Answer, books: &mut Books) -> usize {
    let said = request.said[0];
    let told = serde_json::from_slice::<Single>(&answer.body).ok().and_then(|told| told.published.into_iter().next());
    let place = told.as_ref().and_then(|done| Place::new(&done.epoch, &done.offset));
    let (Some(done), Some(place)) = (told, place) else {
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        books.violations.add(Kind::Refused, || format!("{said} was answered with 200 and {body}"));
        return 0;
    };
    books.counts.duplicates += u64::from(done.duplicate);
    if done.duplicate && request.attempts < 2 {
        books.violations.add(Kind::Refused, || format!("{said}, sent for the first time, was taken for a duplicate"));
    }
    let id = books.sayings.own_id(said).unwrap_or_else(|| place.to_string());
    if done.id != id {
        books
            .violations
            .add(Kind::Refused, || format!("{said} was answered with the id {:?} instead of {id:?}", done.id));
    }
    books.acknowledge(said, Some(place));
    1
}

/// Takes the answer to a batch; how many of its first lines were acknowledged. If `trusting`, a batch that broke off is
/// taken up behind what was applied, else it is repeated whole.
fn batch(request: &Request, answer: &Answer, trusting: bool, books: &mut Books) -> usize {
    let Ok(told) = serde_json::from_slice::<Batch>(&answer.body) else { return 0 };
    let all = answer.status == 200;
    if told.refused_lines > 0 {
        let why = told.refused.first().map(|refused| refused.error.clone());
        books
            .violations
            .add(Kind::Refused, || format!("{} lines of a batch were refused: {why:?}", told.refused_lines));
        return 0;
    }
    let lines = request.said.len();
    let done = (told.applied as usize).min(lines);
    if all && told.applied as usize != lines {
        let applied = told.applied;
        books.violations.add(Kind::Refused, || format!("of a batch of {lines} lines {applied} were applied"));
        return 0;
    }
    if !all && !trusting {
        return 0;
    }
    for &said in &request.said[..done] {
        books.acknowledge(said, None);
    }
    done
}

/// The request that publishes these.
fn bytes(address: SocketAddr, said: &[Said], batch: bool, books: &Books) -> Vec<u8> {
    let sayings = &books.sayings;
    let mut body = Vec::new();
    let mut head = String::new();
    if batch {
        let mut text = Vec::new();
        for &said in said {
            text.clear();
            sayings.text(said, &mut text);
            let mut line = serde_json::json!({
                "channel": sayings.channel(books.flow(said).channel),
                "data": String::from_utf8_lossy(&text),
                "key": sayings.key(said),
            });
            if let Some(id) = sayings.own_id(said) {
                line["id"] = id.into();
            }
            body.extend_from_slice(line.to_string().as_bytes());
            body.push(b'\n');
        }
        head.push_str("POST /pub HTTP/1.1\r\nContent-Type: application/x-ndjson\r\n");
    } else {
        let said = said[0];
        sayings.text(said, &mut body);
        // Writing to a String cannot fail.
        let _ = write!(head, "POST /pub/{} HTTP/1.1\r\n", sayings.channel(books.flow(said).channel));
        let _ = write!(head, "Idempotency-Key: {}\r\n", sayings.key(said));
        if let Some(id) = sayings.own_id(said) {
            let _ = write!(head, "Event-Id: {id}\r\n");
        }
    }
    let _ = write!(head, "Host: {address}\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut bytes = head.into_bytes();
    bytes.append(&mut body);
    bytes
}
