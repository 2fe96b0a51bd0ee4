//! Kept connections with one request at a time on each, as fast as answers come: a closed loop. Knows neither what is asked nor what
//! a right answer is; the application behind a proxy can be served in the same loop.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::thread::set_current_timer_slack;

use crate::answers::{Answer, Answers};
use crate::clock::{self, SECOND};
use crate::interrupt;
use crate::ledger::{histogram, record};
use crate::origin::{self, Origin};
use crate::sockets;

/// A run is given up when nothing is answered for so long.
const STALLED: u64 = 5 * SECOND;
/// Between two looks at the sockets. A reader that sleeps on them is woken by every single answer, which on one machine costs the
/// server; clients elsewhere do not. Much shorter than a server takes for all connections once, so that it is never idle.
const NAP: Duration = Duration::from_micros(20);
const EVENTS: usize = 256;
const BUFFER: usize = 64 * 1024;

/// What is asked, and what is expected.
pub(crate) trait Questions {
    /// Appends the next request.
    fn next(&mut self, out: &mut Vec<u8>);

    /// Refuses a wrong answer.
    fn check(&self, answer: &Answer) -> anyhow::Result<()>;
}

/// A kept connection, with one request on its way at a time.
#[derive(Debug)]
struct Caller {
    stream: TcpStream,
    answers: Answers,
    /// The next request, until the socket takes it.
    request: Vec<u8>,
    /// When the request that is on its way was sent.
    asked: Option<u64>,
}

/// All connections, on one poller.
#[derive(Debug)]
pub(crate) struct Callers<Q> {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    connections: Vec<Caller>,
    questions: Q,
    origin: Option<Origin>,
    books: Books,
}

/// What was counted since the last [`Callers::restart`].
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) answered: u64,
    /// A request's sending to its answer's last byte.
    pub(crate) latency: Histogram<u64>,
}

impl<Q: Questions> Callers<Q> {
    pub(crate) fn new(address: SocketAddr, count: usize, questions: Q) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for n in 0..count {
            let mut stream = sockets::connect(address, n).context("connect")?;
            poll.registry().register(&mut stream, Token(n), Interest::READABLE | Interest::WRITABLE)?;
            connections.push(Caller { stream, answers: Answers::default(), request: Vec::new(), asked: None });
        }
        let (events, buffer) = (Events::with_capacity(EVENTS), vec![0; BUFFER]);
        Ok(Self { poll, events, buffer, connections, questions, origin: None, books: Books::new() })
    }

    /// Serves as the application too.
    pub(crate) fn attach(&mut self, mut origin: Origin) -> anyhow::Result<()> {
        origin.register(self.poll.registry())?;
        self.origin = Some(origin);
        Ok(())
    }

    /// Forgets what was counted: the warm-up is over.
    pub(crate) fn restart(&mut self) {
        self.books = Books::new();
    }

    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// Asks and reads until then, with exact naps: by default the kernel adds more to one than it lasts.
    pub(crate) fn run(&mut self, until: u64) -> anyhow::Result<()> {
        set_current_timer_slack(NonZeroU64::new(1)).context("cannot ask for exact timers")?;
        let outcome = self.turn(until);
        set_current_timer_slack(None).context("cannot ask for the usual timers")?; // a child would inherit it
        outcome
    }

    fn turn(&mut self, until: u64) -> anyhow::Result<()> {
        let (mut now, mut last) = (clock::now(), clock::now());
        while now < until {
            interrupt::check()?;
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
                if token < origin::FIRST {
                    let caller = &mut self.connections[token];
                    caller.ready(&mut self.questions, &mut self.books, hangup, &mut self.buffer)?;
                } else if let Some(origin) = &mut self.origin {
                    origin.ready(token, hangup, &mut self.buffer, self.poll.registry())?;
                }
            }
            sleep(NAP);
        }
        Ok(())
    }
}

impl Books {
    fn new() -> Self {
        Self { answered: 0, latency: histogram() }
    }
}

impl Caller {
    /// Reads what came, and asks again. `hangup`: a short read does not mean that everything was read.
    fn ready(
        &mut self,
        questions: &mut impl Questions,
        books: &mut Books,
        hangup: bool,
        buffer: &mut [u8],
    ) -> anyhow::Result<()> {
        self.ask(questions)?;
        loop {
            let n = match self.stream.read(buffer) {
                Ok(0) => bail!("a kept connection was closed"),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading an answer"),
            };
            self.answers.push(&buffer[..n]);
            while let Some(answer) = self.answers.next(false).map_err(anyhow::Error::msg)? {
                let asked = self.asked.take().context("an answer without a request")?;
                questions.check(&answer)?;
                books.answered += 1;
                record(&mut books.latency, clock::now() - asked);
                self.ask(questions)?;
            }
            if n < buffer.len() && !hangup {
                return Ok(());
            }
        }
    }

    /// Sends the next request, unless one is on its way.
    fn ask(&mut self, questions: &mut impl Questions) -> anyhow::Result<()> {
        if self.asked.is_some() {
            return Ok(());
        }
        if self.request.is_empty() {
            questions.next(&mut self.request);
        }
        match self.stream.write(&self.request) {
            Ok(n) if n == self.request.len() => {
                self.request.clear();
                self.asked = Some(clock::now());
            }
            Ok(_) => bail!("request not taken whole"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(error) => return Err(error).context("asking"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::thread;

    use super::*;

    /// Asks for a number, each time the next, and expects it back.
    struct Numbers(u64);

    impl Questions for Numbers {
        fn next(&mut self, out: &mut Vec<u8>) {
            self.0 += 1;
            let _ = write!(out, "GET /{} HTTP/1.1\r\n\r\n", self.0);
        }

        fn check(&self, answer: &Answer) -> anyhow::Result<()> {
            ensure!(answer.body == self.0.to_string().into_bytes(), "{:?} to {}", answer.body, self.0);
            Ok(())
        }
    }

    /// Answers `most` requests of one connection with their path, and a wrong one after that.
    fn echo(most: u64) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut answered = 0;
            while let Some(Ok(line)) = lines.next() {
                let Some(path) = line.strip_prefix("GET /").and_then(|rest| rest.split(' ').next()) else { continue };
                answered += 1;
                let body = if answered <= most { path } else { "no" };
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
        address
    }

    #[test]
    fn callers_ask_again_once_answered_until_an_answer_is_wrong() {
        let mut callers = Callers::new(echo(3), 1, Numbers(0)).unwrap();
        let error = callers.run(clock::now() + 30 * SECOND).unwrap_err();
        assert_eq!(error.to_string(), format!("{:?} to 4", b"no"));
        assert_eq!((callers.books().answered, callers.books().latency.len()), (3, 3));
        callers.restart();
        assert_eq!(callers.books().answered, 0);
    }
}
