//! Small answers through a proxy, as fast as they come, one request at a time on each of some kept connections: what one costs,
//! and how many there are.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::thread::set_current_timer_slack;

use crate::answers::Answers;
use crate::args::Common;
use crate::clock::{self, SECOND, seconds};
use crate::meter::Meter;
use crate::origin::{self, BODY, Origin};
use crate::proxy::Options;
use crate::report::Report;
use crate::sockets::{self, allow_descriptors};

/// Requests are not counted before this.
const WARM_UP: u64 = SECOND;
/// A run is given up when nothing is answered for so long.
const STALLED: u64 = 5 * SECOND;
/// Between two looks at the sockets. A reader that sleeps on them is woken by every single answer, which on one machine costs the
/// proxy; clients elsewhere do not. Much shorter than a proxy takes for all connections once, so that it is never idle.
const NAP: Duration = Duration::from_micros(20);
/// Below this share of its core it was not the proxy that limited the rate.
const PROXY_BUSY: f64 = 90.0;
const EVENTS: usize = 256;
const BUFFER: usize = 64 * 1024;

/// A kept connection, with one request on its way at a time.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    answers: Answers,
    /// A request is on its way.
    asked: bool,
}

pub(crate) fn run(common: &Common, origin: Origin, options: &Options) -> anyhow::Result<Report> {
    let Options { connections, seconds: duration, .. } = *options;
    let mut report = Report::new("get", format!("{connections} connections, {BODY} bytes, {duration} s"));
    allow_descriptors(2 * connections)?;
    let mut load = Getters::new(common.sub.address, origin, connections)?;
    load.run(clock::now() + WARM_UP)?;

    let (meter, before) = (Meter::start(&common.pid), load.answered);
    load.run(clock::now() + clock::from_seconds(duration))?;
    let usage = meter.stop();

    let answered = load.answered - before;
    report.figure("requests per second", answered as f64 / seconds(usage.elapsed), "1/s");
    if let Some(server) = usage.server {
        report.figure("requests per core-second", answered as f64 / seconds(server.max(1)), "");
    }
    report.usage(&usage, "request", answered);
    if let Some(busy) = report.value("server CPU").filter(|&busy| busy < PROXY_BUSY) {
        report.notes.push(format!("the proxy was busy for {busy:.0} % of the time only: the rate is not its limit"));
    }
    Ok(report)
}

/// The clients and the application behind the proxy, on one poller.
#[derive(Debug)]
struct Getters {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    clients: Vec<Client>,
    origin: Origin,
    request: Vec<u8>,
    answered: u64,
}

impl Getters {
    fn new(address: SocketAddr, mut origin: Origin, connections: usize) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        origin.register(poll.registry())?;
        let mut clients = Vec::new();
        for n in 0..connections {
            let mut stream = sockets::connect(address, n).context("connect")?;
            poll.registry().register(&mut stream, Token(n), Interest::READABLE | Interest::WRITABLE)?;
            clients.push(Client { stream, answers: Answers::default(), asked: false });
        }
        let request = format!("GET /get HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n").into_bytes();
        let (events, buffer) = (Events::with_capacity(EVENTS), vec![0; BUFFER]);
        Ok(Self { poll, events, buffer, clients, origin, request, answered: 0 })
    }

    /// Asks and reads until then, with exact naps: by default the kernel adds more to one than it lasts.
    fn run(&mut self, until: u64) -> anyhow::Result<()> {
        set_current_timer_slack(NonZeroU64::new(1)).context("cannot ask for exact timers")?;
        let outcome = self.turn(until);
        set_current_timer_slack(None).context("cannot ask for the usual timers")?; // a child would inherit it
        outcome
    }

    fn turn(&mut self, until: u64) -> anyhow::Result<()> {
        let (mut now, mut last) = (clock::now(), clock::now());
        while now < until {
            match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other.context("poll")?,
            }
            now = clock::now();
            if !self.events.is_empty() {
                last = now;
            }
            ensure!(now < last + STALLED, "nothing is answered any more");
            for event in &self.events {
                let token = event.token().0;
                let hangup = event.is_read_closed() || event.is_error();
                if token >= origin::FIRST {
                    self.origin.ready(token, hangup, &mut self.buffer, self.poll.registry())?;
                } else {
                    self.answered += self.clients[token].ready(&self.request, hangup, &mut self.buffer)?;
                }
            }
            sleep(NAP);
        }
        Ok(())
    }
}

impl Client {
    /// Reads what came, and asks again; says how many answers that were. `hangup`: a short read does not mean that everything was
    /// read.
    fn ready(&mut self, request: &[u8], hangup: bool, buffer: &mut [u8]) -> anyhow::Result<u64> {
        let mut answered = 0;
        if !self.asked {
            self.ask(request)?;
        }
        loop {
            let n = match self.stream.read(buffer) {
                Ok(0) => bail!("a kept connection was closed"),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answered),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading an answer"),
            };
            self.answers.push(&buffer[..n]);
            while let Some(answer) = self.answers.next(false).map_err(anyhow::Error::msg)? {
                ensure!(answer.status == 200, "status {}", answer.status);
                ensure!(answer.body.len() == BODY, "an answer of {} bytes", answer.body.len());
                answered += 1;
                self.asked = false;
                self.ask(request)?;
            }
            if n < buffer.len() && !hangup {
                return Ok(answered);
            }
        }
    }

    fn ask(&mut self, request: &[u8]) -> anyhow::Result<()> {
        match self.stream.write(request) {
            Ok(n) if n == request.len() => self.asked = true,
            Ok(_) => bail!("request not taken whole"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(error) => return Err(error).context("asking"),
        }
        Ok(())
    }
}
