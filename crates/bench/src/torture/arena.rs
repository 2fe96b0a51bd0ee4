//! Everybody who takes part: the server, its clients, and the loop that lets them act. One thread, so that the books need no
//! lock and what is told was so.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::{Events, Poll, Token};

use super::books::Books;
use super::publisher::Publisher;
use super::server::Server;
use super::subscriber::{From, Habit, Subscriber};
use super::view::{Start, View};
use super::violation::Kind;
use crate::clock::{self, SECOND};

const MILLISECOND: u64 = SECOND / 1000;
/// The first subscriber's token; publishers' come before it.
const SUBSCRIBERS: usize = 1 << 20;
/// How long a start may take.
const START: u64 = 30 * SECOND;
/// Moments that `?since=` may ask for.
const MOMENTS: usize = 20;
/// What a moment's time is set back by, since the server's clock may be coarse.
const COARSE: i64 = 50;
/// Above so many messages nobody begins anew with the first.
const MANY: u64 = 100_000;

/// A moment, and what had been sent by then of each flow.
#[derive(Debug)]
struct Moment {
    at: u64,
    /// Milliseconds since 1970.
    wall: i64,
    sent: Vec<u32>,
}

/// The clients and the server.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) books: Books,
    pub(super) server: Server,
    pub(super) publishers: Vec<Publisher>,
    pub(super) subscribers: Vec<Subscriber>,
    /// When those that begin anew from time to time do so next, by subscriber.
    renew: Vec<(usize, u64)>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    connections: usize,
    rng: fastrand::Rng,
    moments: VecDeque<Moment>,
    /// Publishers say nothing new.
    pub(super) held: bool,
    /// The server is meant to run.
    pub(super) running: bool,
    pub(super) started_at: u64,
    /// When the server first accepted a connection since its start.
    pub(super) accepted_at: Option<u64>,
    /// Nothing but a full disk troubles the server: streams have no reason to end.
    pub(super) only_full: bool,
    pub(super) slowest_start: u64,
}

impl Arena {
    pub(super) fn new(books: Books, server: Server, seed: u64) -> anyhow::Result<Self> {
        Ok(Self {
            books,
            server,
            publishers: Vec::new(),
            subscribers: Vec::new(),
            renew: Vec::new(),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; 128 << 10],
            connections: 0,
            rng: fastrand::Rng::with_seed(seed),
            moments: VecDeque::new(),
            held: false,
            running: false,
            started_at: 0,
            accepted_at: None,
            only_full: false,
            slowest_start: 0,
        })
    }

    /// Adds publishers, which share `rate` messages a second and say something to the flows that are theirs.
    pub(super) fn add_publishers(&mut self, count: u16, rate: u64) {
        for publisher in 0..count {
            let flows = (0..self.books.flows.len() as u16)
                .filter(|&flow| self.books.flows[usize::from(flow)].publisher == publisher)
                .collect();
            let pace = SECOND * u64::from(count) / rate.max(1);
            let (token, seed) = (Token(usize::from(publisher)), self.rng.u64(..));
            self.publishers.push(Publisher::new(token, self.server.control, flows, seed, pace));
        }
    }

    /// Adds subscribers of all habits.
    pub(super) fn add_subscribers(&mut self, count: usize) {
        for index in 0..count {
            let several = self.rng.usize(2..6).min(self.books.channels());
            let (habit, from, channels) = match index % 8 {
                0 => (Habit::Steady, From::Live, 1),
                1 => (Habit::Steady, From::Start, 1),
                2 => (Habit::Steady, From::Start, several),
                3 => (Habit::Restless, From::Live, several),
                4 => (Habit::Slow, From::Start, 1),
                5 => (Habit::Waiting, From::Live, 1 + self.rng.usize(..several)),
                6 => (Habit::Restless, From::Start, 1),
                _ => {
                    self.renew.push((index, clock::now() + SECOND * 3));
                    (Habit::Steady, From::Live, several)
                }
            };
            let channels = self.some_channels(channels);
            let subscriber = self.subscriber(index, &channels, habit, from);
            self.subscribers.push(subscriber);
        }
    }

    /// From now on nobody begins anew.
    pub(super) fn stay(&mut self) {
        self.renew.clear();
    }

    /// Adds subscribers that read everything from the first message on, each channel alone and the first ones together.
    pub(super) fn add_auditors(&mut self) {
        let all: Vec<u16> = (0..self.books.channels() as u16).collect();
        let together: &[u16] = &all[..all.len().min(64)];
        for channels in all.chunks(1).chain([together]) {
            let index = self.subscribers.len();
            let auditor = self.subscriber(index, channels, Habit::Steady, From::Start);
            self.subscribers.push(auditor);
        }
    }

    fn some_channels(&mut self, count: usize) -> Vec<u16> {
        let mut all: Vec<u16> = (0..self.books.channels() as u16).collect();
        self.rng.shuffle(&mut all);
        all.truncate(count);
        all
    }

    fn subscriber(&mut self, index: usize, channels: &[u16], habit: Habit, from: From) -> Subscriber {
        let names: Vec<String> = channels.iter().map(|&channel| self.books.sayings.channel(channel)).collect();
        let name = format!("subscriber {index} ({habit:?}, {from:?}, channels {channels:?})");
        let start = if from == From::Start { Start::First } else { Start::Live };
        let view = View::new(name, channels, start, &self.books);
        let token = Token(SUBSCRIBERS + index);
        Subscriber::new(token, self.server.public, names.join("/"), habit, from, view, self.rng.u64(..))
    }

    /// Has a subscriber forget everything and begin elsewhere. What it had was judged when it came.
    fn begin_anew(&mut self, index: usize) {
        let moment = self.rng.usize(..=self.moments.len());
        let choice = self.rng.u8(..3);
        let several = self.rng.usize(1..5).min(self.books.channels());
        let subscriber = if choice == 0 && self.books.counts.acknowledged < MANY {
            let channels = self.some_channels(several);
            self.subscriber(index, &channels, Habit::Steady, From::Start)
        } else if let Some(moment) = self.moments.get(moment).filter(|_| choice < 2) {
            let time = jiff::Timestamp::from_millisecond(moment.wall - COARSE).unwrap_or_default().to_string();
            let sent = moment.sent.clone();
            let channels = self.some_channels(several);
            let mut subscriber = self.subscriber(index, &channels, Habit::Steady, From::Since(time));
            let name = format!("subscriber {index} (since a moment, channels {channels:?})");
            subscriber.view = View::by_now(name, &channels, |flow| sent[usize::from(flow)], &self.books);
            subscriber
        } else {
            let (channels, last) = (self.some_channels(1), self.rng.u32(1..200));
            self.subscriber(index, &channels, Habit::Steady, From::Last(last))
        };
        self.subscribers[index].cut(false, 0);
        self.subscribers[index] = subscriber;
    }

    /// Starts the server.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.server.start()?;
        self.started_at = clock::now();
        self.accepted_at = None;
        self.running = true;
        Ok(())
    }

    /// Lets everybody act once.
    pub(super) fn step(&mut self) -> anyhow::Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(Duration::from_millis(1))) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let now = clock::now();
        let mut accepted = false;
        for event in &events {
            let Token(token) = event.token();
            if token >= SUBSCRIBERS {
                let Some(subscriber) = self.subscribers.get_mut(token - SUBSCRIBERS) else { continue };
                match subscriber.ready(now, &mut self.buffer, &mut self.books) {
                    Ok(yes) => accepted |= yes,
                    Err(why) => self.ended(token - SUBSCRIBERS, &why),
                }
            } else if let Some(publisher) = self.publishers.get_mut(token) {
                accepted |= publisher.ready(now, &mut self.buffer, &mut self.books);
            }
        }
        self.events = events;
        if accepted && self.running && self.accepted_at.is_none() {
            self.accepted_at = Some(now);
            self.slowest_start = self.slowest_start.max(now - self.started_at);
        }
        self.tick(now);
        self.watch(now)
    }

    fn tick(&mut self, now: u64) {
        let registry = self.poll.registry();
        for publisher in &mut self.publishers {
            publisher.tick(now, self.held, &mut self.connections, registry, &mut self.books);
        }
        for index in 0..self.subscribers.len() {
            let (buffer, registry) = (&mut self.buffer, self.poll.registry());
            let ticked = self.subscribers[index].tick(now, buffer, &mut self.connections, registry, &mut self.books);
            if let Err(why) = ticked {
                self.ended(index, &why);
            }
        }
        for place in 0..self.renew.len() {
            let (index, at) = self.renew[place];
            if now >= at {
                self.begin_anew(index);
                self.renew[place].1 = now + self.rng.u64(1500..8000) * MILLISECOND;
            }
        }
        if self.moments.back().is_none_or(|moment| now >= moment.at + SECOND) {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
            let sent = (0..self.books.flows.len() as u16).map(|flow| self.books.sent(flow)).collect();
            self.moments.push_back(Moment { at: now, wall, sent });
            if self.moments.len() > MOMENTS {
                self.moments.pop_front();
            }
        }
    }

    /// A stream that had begun is over.
    fn ended(&mut self, index: usize, why: &str) {
        let subscriber = &self.subscribers[index];
        if self.only_full && subscriber.opened_at > self.started_at {
            let what = format!("had its stream ended ({why}) while only the disk was full");
            self.books.violations.add(Kind::StreamEnded, || subscriber.view.tell(&what));
        }
    }

    /// Looks whether the server does what it is meant to do.
    fn watch(&mut self, now: u64) -> anyhow::Result<()> {
        if !self.running {
            return Ok(());
        }
        if let Some(status) = self.server.ended() {
            let (_, last) = self.server.complaints();
            let life = (now - self.started_at) / MILLISECOND;
            let detail = format!("the server ended by itself after {life} ms ({status}): {}", last.join(" | "));
            self.books.violations.add(Kind::Server, || detail.clone());
            anyhow::ensure!(self.books.violations.count(Kind::Server) < 5, "{detail}");
            return self.start();
        }
        if self.accepted_at.is_none() && now > self.started_at + START {
            let (_, last) = self.server.complaints();
            anyhow::bail!("the server accepts no connections after {} s: {}", START / SECOND, last.join(" | "));
        }
        Ok(())
    }
}
