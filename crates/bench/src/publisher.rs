//! One publisher: a connection on which up to so many requests wait for their answers, and the load that feeds it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as StdStream;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::answers::{Answer, Answers};
use crate::clock;
use crate::ledger::{Ledger, histogram, record};
use crate::load::{Load, Pace};
use crate::stamp::Stamp;
use crate::target::{Format, PublishTarget};

/// Requests are not rendered while more bytes than this wait for the socket.
const OUT_MAX: usize = 4 << 20;

/// A request that waits for its answer.
#[derive(Debug)]
struct Flight {
    /// When it was rendered.
    sent: u64,
    messages: u64,
}

/// One publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    target: PublishTarget,
    /// Requests in flight at most.
    depth: usize,
    /// Messages in a request; above 1 only with [`Format::Ndjson`].
    batch: usize,
    token: Token,
    stream: Option<TcpStream>,
    out: Vec<u8>,
    written: usize,
    scratch: Vec<u8>,
    stamps: Vec<Stamp>,
    flights: VecDeque<Flight>,
    answers: Answers,
    pub(crate) load: Option<Load>,
    /// A request's rendering to its answer's last byte.
    pub(crate) latency: Histogram<u64>,
    /// Messages whose requests were answered with 2xx.
    pub(crate) accepted: u64,
    pub(crate) last_accepted: u64,
}

impl Publisher {
    pub(crate) fn new(target: PublishTarget, depth: usize, batch: usize, token: Token) -> Self {
        Self {
            target,
            depth,
            batch,
            token,
            stream: None,
            out: Vec::new(),
            written: 0,
            scratch: Vec::new(),
            stamps: Vec::new(),
            flights: VecDeque::new(),
            answers: Answers::default(),
            load: None,
            latency: histogram(),
            accepted: 0,
            last_accepted: 0,
        }
    }

    /// Starts on a load; what was counted for the last one is forgotten.
    pub(crate) fn start(&mut self, load: Load) {
        self.load = Some(load);
        self.latency = histogram();
        self.accepted = 0;
    }

    /// Every message of the load was sent and answered.
    pub(crate) fn is_done(&self) -> bool {
        self.load.is_none() && self.flights.is_empty()
    }

    /// When [`Self::tick`] has to be called next, if nothing else happens.
    pub(crate) fn due(&self, now: u64, ledger: &Ledger) -> Option<u64> {
        let load = self.load.as_ref()?;
        if self.flights.len() >= self.depth || self.out.len() > OUT_MAX || !Self::window_open(load, ledger) {
            return None; // an answer or a delivery wakes us
        }
        load.due(now)
    }

    fn window_open(load: &Load, ledger: &Ledger) -> bool {
        let Pace::FlatOut { window: Some(window) } = load.pace else { return true };
        ledger.on_their_way(&load.channels) < window * load.channels.len() as u64
    }

    /// Sends what is due.
    pub(crate) fn tick(&mut self, registry: &Registry, ledger: &mut Ledger) -> anyhow::Result<()> {
        let now = clock::now();
        while let Some(load) = &mut self.load {
            let Some(first) = load.due(now) else {
                self.load = None;
                break;
            };
            let full = self.flights.len() >= self.depth || self.out.len() > OUT_MAX;
            if first > now || full || !Self::window_open(load, ledger) {
                break;
            }
            self.stamps.clear();
            while let Some(due) = load.due(now).filter(|&due| due <= now && self.stamps.len() < self.batch) {
                let channel = load.take();
                self.stamps.push(ledger.publish(channel, due));
            }
            self.target.request(&self.stamps, &mut self.scratch, &mut self.out);
            self.flights.push_back(Flight { sent: now, messages: self.stamps.len() as u64 });
        }
        self.write(registry)
    }

    /// The poller has news of the connection.
    pub(crate) fn ready(&mut self, buffer: &mut [u8], registry: &Registry) -> anyhow::Result<()> {
        let mut ended = false;
        while let Some(stream) = &mut self.stream {
            match stream.read(buffer) {
                Ok(0) => ended = true,
                Ok(n) => self.answers.push(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("publishing"),
            }
            while let Some(answer) = self.answers.next(ended).map_err(anyhow::Error::msg)? {
                ended |= answer.close;
                self.answered(&answer)?;
            }
            if ended {
                self.stream = None;
                self.answers = Answers::default();
                if !self.flights.is_empty() {
                    bail!("the publishing connection was closed with {} requests in flight", self.flights.len());
                }
            }
        }
        self.write(registry)
    }

    fn answered(&mut self, answer: &Answer) -> anyhow::Result<()> {
        let Some(flight) = self.flights.pop_front() else { bail!("an answer without a request") };
        if !(200..300).contains(&answer.status) {
            bail!("publish refused: {} {}", answer.status, String::from_utf8_lossy(&answer.body).trim());
        }
        if self.target.format == Format::Ndjson {
            let body: serde_json::Value = serde_json::from_slice(&answer.body).context("answer to a batch")?;
            if body["applied"].as_u64() != Some(flight.messages) {
                bail!("of {} lines not all were applied: {body}", flight.messages);
            }
        }
        self.last_accepted = clock::now();
        self.accepted += flight.messages;
        record(&mut self.latency, self.last_accepted - flight.sent);
        Ok(())
    }

    fn write(&mut self, registry: &Registry) -> anyhow::Result<()> {
        while self.written < self.out.len() {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                none => none.insert(connect(&self.target, self.token, registry)?),
            };
            match stream.write(&self.out[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("publishing"),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}

fn connect(target: &PublishTarget, token: Token, registry: &Registry) -> anyhow::Result<TcpStream> {
    let address = target.template.address;
    let stream = StdStream::connect(address).with_context(|| format!("cannot connect to publish at {address}"))?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let mut stream = TcpStream::from_std(stream);
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}
