//! One subscriber: keeps a stream open, reads it as a browser does, and comes back with the last id that it saw, over and
//! over. What it reads goes to its [`View`].

use std::fmt::Write;
use std::net::SocketAddr;

use mio::{Registry, Token};
use serde::Deserialize;

use super::books::Books;
use super::decoder::{Decoder, Event};
use super::link::{Came, Link};
use super::place::Place;
use super::view::View;
use super::violation::Kind;
use crate::chunked::Chunked;
use crate::clock::SECOND;
use crate::head::{self, Framing, Head};

const MILLISECOND: u64 = SECOND / 1000;
/// What a slow subscriber reads at a time, and how often.
const SLOW_READ: usize = 8 << 10;
const SLOW_PAUSE: u64 = 25 * MILLISECOND;

/// How a subscriber behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Stays as long as it may.
    Steady,
    /// Reads a little at a time, from a small buffer.
    Slow,
    /// Asks with `?wait=`, again and again on one connection.
    Waiting,
    /// Leaves often by itself.
    Restless,
}

/// Where a subscriber wants to begin; what it says in its first request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    Live,
    Start,
    /// `?since=` with this value.
    Since(String),
    /// `?last=`.
    Last(u32),
}

/// The data of a gap event.
#[derive(Deserialize)]
struct Gap {
    channel: String,
    asked: Option<String>,
    next: String,
}

/// Where a connection stands.
#[derive(Debug)]
enum Stage {
    Head(Vec<u8>),
    Chunked(Chunked),
    /// So many bytes of an answer are left.
    Length(u64),
}

/// A subscriber.
#[derive(Debug)]
pub(super) struct Subscriber {
    token: Token,
    address: SocketAddr,
    /// The channels' names, as they stand in the URL.
    names: String,
    habit: Habit,
    from: From,
    pub(super) view: View,
    rng: fastrand::Rng,
    link: Option<Link>,
    stage: Stage,
    decoder: Decoder,
    /// The id that a browser would send when it comes back.
    last_id: Option<String>,
    /// Nothing but its start has come on this connection.
    fresh: bool,
    /// When it last began to connect.
    pub(super) opened_at: u64,
    retry_at: u64,
    leave_at: u64,
    /// The socket may hold something.
    readable: bool,
    /// It reads nothing before then.
    stalled_until: u64,
}

impl Subscriber {
    pub(super) fn new(
        token: Token,
        address: SocketAddr,
        names: String,
        habit: Habit,
        from: From,
        view: View,
        seed: u64,
    ) -> Self {
        Self {
            token,
            address,
            names,
            habit,
            from,
            view,
            rng: fastrand::Rng::with_seed(seed),
            link: None,
            stage: Stage::Head(Vec::new()),
            decoder: Decoder::default(),
            last_id: None,
            fresh: true,
            opened_at: 0,
            retry_at: 0,
            leave_at: u64::MAX,
            readable: false,
            stalled_until: 0,
        }
    }

    /// From now on it reads all it can and stays.
    pub(super) fn settle(&mut self) {
        self.stalled_until = 0;
        self.leave_at = u64::MAX;
        if self.habit == Habit::Slow {
            // Its small buffer goes with the connection.
            self.cut(false, 0);
        }
        self.habit = if self.habit == Habit::Waiting { Habit::Waiting } else { Habit::Steady };
    }

    pub(super) fn stall(&mut self, until: u64) {
        self.stalled_until = until;
    }

    pub(super) fn is_connected(&self) -> bool {
        self.link.is_some() && !matches!(self.stage, Stage::Head(_))
    }

    /// Ends the connection, if there is one.
    pub(super) fn cut(&mut self, hard: bool, now: u64) {
        if let Some(link) = self.link.take() {
            link.cut(hard);
        }
        self.leave(now);
    }

    fn leave(&mut self, now: u64) {
        self.link = None;
        self.readable = false;
        self.retry_at = now + self.rng.u64(2..120) * MILLISECOND;
    }

    /// Does what is due.
    pub(super) fn tick(
        &mut self,
        now: u64,
        buffer: &mut [u8],
        connections: &mut usize,
        registry: &Registry,
        books: &mut Books,
    ) -> Result<(), String> {
        if self.link.is_some() && now >= self.leave_at {
            let hard = self.rng.bool();
            self.cut(hard, now);
        }
        if self.link.is_none() && now >= self.retry_at {
            *connections += 1;
            books.counts.connections += 1;
            let request = self.request();
            let small = self.habit == Habit::Slow;
            self.link = Link::open(self.address, *connections, self.token, registry, request, small).ok();
            self.opened_at = now;
            self.begin(now);
            if self.link.is_none() {
                self.leave(now);
            }
        }
        if self.readable && now >= self.stalled_until { self.read(now, buffer, books) } else { Ok(()) }
    }

    /// A connection or an answer begins.
    fn begin(&mut self, now: u64) {
        self.stage = Stage::Head(Vec::new());
        self.decoder = Decoder::default();
        self.fresh = true;
        self.view.connected(self.last_id.as_deref().unwrap_or("the beginning"));
        let stay = if self.habit == Habit::Restless { self.rng.u64(20..800) * MILLISECOND } else { u64::MAX };
        self.leave_at = now.saturating_add(stay);
    }

    /// The poller has news of the socket. Whether the server has accepted the connection, or why the stream ended.
    pub(super) fn ready(&mut self, now: u64, buffer: &mut [u8], books: &mut Books) -> Result<bool, String> {
        let Some(link) = &mut self.link else { return Ok(false) };
        let flushed = link.flush();
        let accepted = link.is_connected();
        if let Err(why) = flushed {
            let had_begun = self.is_connected();
            self.leave(now);
            return if had_begun { Err(why) } else { Ok(false) };
        }
        self.readable = true;
        if now >= self.stalled_until && self.habit != Habit::Slow {
            self.read(now, buffer, books)?;
        }
        Ok(accepted)
    }

    /// Reads what is there, or as much as its habit allows. An error is why the stream ended, if it had begun.
    fn read(&mut self, now: u64, buffer: &mut [u8], books: &mut Books) -> Result<(), String> {
        let slow = self.habit == Habit::Slow;
        loop {
            let Some(link) = &mut self.link else { return Ok(()) };
            let room = if slow { SLOW_READ.min(buffer.len()) } else { buffer.len() };
            let end = match link.read(&mut buffer[..room]) {
                Came::Nothing => {
                    self.readable = false;
                    return Ok(());
                }
                Came::Bytes(n) => self.take(&buffer[..n], now, books).err(),
                Came::End(why) => Some(why),
            };
            if let Some(why) = end {
                let had_begun = self.is_connected();
                self.leave(now);
                return if had_begun { Err(why) } else { Ok(()) };
            }
            if slow {
                self.stalled_until = now + SLOW_PAUSE;
                return Ok(());
            }
        }
    }

    /// Takes bytes as they come. An error ends the connection.
    fn take(&mut self, read: &[u8], now: u64, books: &mut Books) -> Result<(), String> {
        let mut whole;
        let mut bytes = read;
        if let Stage::Head(head) = &mut self.stage {
            head.extend_from_slice(read);
            let Some(parsed) = head::parse(head)? else { return Ok(()) };
            whole = std::mem::take(head);
            whole.drain(..parsed.len);
            bytes = &whole;
            self.stage = self.judge(parsed, books)?;
        }
        let Self { stage, decoder, view, last_id, fresh, .. } = self;
        let mut sink = |event: Event| met(event, view, last_id, fresh, books);
        match stage {
            Stage::Head(_) => {}
            Stage::Chunked(chunked) => {
                while let Some(piece) = chunked.next(&mut bytes).map_err(|_| "malformed chunk")? {
                    decoder.feed(piece, &mut sink);
                }
                if chunked.is_done() {
                    return Err("the last chunk".into());
                }
            }
            Stage::Length(left) => {
                decoder.feed(bytes, &mut sink);
                *left = left.saturating_sub(bytes.len() as u64);
                if *left == 0 {
                    let request = self.request();
                    self.begin(now);
                    if let Some(link) = &mut self.link {
                        link.send(&request)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks at an answer's head: what follows it.
    fn judge(&self, head: Head, books: &mut Books) -> Result<Stage, String> {
        match (head.status, head.framing, self.habit) {
            (200, Framing::Chunked, Habit::Steady | Habit::Slow | Habit::Restless) => {
                Ok(Stage::Chunked(Chunked::new()))
            }
            (200, Framing::Length(length), Habit::Waiting) => Ok(Stage::Length(length)),
            (503, ..) => {
                books.counts.refused_busy += 1;
                Err("503".into())
            }
            (status, framing, _) => {
                let what = format!("was answered with {status} ({framing:?})");
                books.violations.add(Kind::NoStream, || self.view.tell(&what));
                Err(what)
            }
        }
    }

    fn request(&self) -> Vec<u8> {
        let mut query = Vec::new();
        if self.habit == Habit::Waiting {
            query.push("wait=2s".to_owned());
        }
        match &self.from {
            From::Live => {}
            From::Start => query.push("from=start".into()),
            From::Since(time) => query.push(format!("since={time}")),
            From::Last(n) => query.push(format!("last={n}")),
        }
        let mut out = format!("GET /sub/{}?{} HTTP/1.1\r\nHost: {}\r\n", self.names, query.join("&"), self.address);
        if let Some(id) = &self.last_id {
            // Writing to a String cannot fail.
            let _ = write!(out, "Last-Event-ID: {id}\r\n");
        }
        out.push_str("Accept: text/event-stream\r\n\r\n");
        out.into_bytes()
    }
}

/// Hands an event to the view, and keeps its id.
fn met(event: Event, view: &mut View, last_id: &mut Option<String>, fresh: &mut bool, books: &mut Books) {
    if event.id.is_some() {
        last_id.clone_from(&event.id);
    }
    let first = std::mem::replace(fresh, false);
    let Some(data) = event.data else {
        if first {
            view.started(event.id.as_deref().and_then(Place::parse));
        }
        return;
    };
    if event.name == "fantail-gap" {
        let gap: Option<Gap> = serde_json::from_slice(&data).ok();
        let told =
            gap.and_then(|gap| Some((books.sayings.channel_of(&gap.channel)?, Place::parse(&gap.next)?, gap.asked)));
        if let Some((channel, next, asked)) = told {
            view.gap(channel, asked.as_deref(), next, event.id.is_some(), books);
        } else {
            let text = String::from_utf8_lossy(&data).into_owned();
            books.violations.add(Kind::Garbled, || view.tell(&format!("was told of a gap with {text}")));
        }
        return;
    }
    if let Some(said) = books.read(&data, || view.tell("asks")) {
        view.message(said, event.id.as_deref().or(last_id.as_deref()), books);
    }
}
