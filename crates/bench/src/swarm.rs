//! The event loop: all subscribers and publishers of a run, in one thread on one poller. A scenario says what to do, and
//! turns the loop until what it waits for has happened.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::clock::{self, SECOND};
use crate::interrupt;
use crate::ledger::Ledger;
use crate::load::{End, Load, Pace};
use crate::origin::{self, Origin};
use crate::publisher::Publisher;
use crate::sockets;
use crate::subscriber::Subscriber;
use crate::target::{PublishTarget, SubscribeTarget};

/// Events that are handled before publishers and urgent subscribers have their turn, and subscribers that were left with more to
/// read: each about a millisecond of reading, even if all bring as much as they may.
const EVENTS: usize = 32;
/// A read takes at most this much.
const BUFFER: usize = 256 * 1024;
/// A subscriber is read this much of before others have their turn.
const SHARE: usize = 64 * 1024;
/// Connections that are started before the loop looks at the others.
const CONNECTS: usize = 64;
/// The token of the first publisher; subscribers come below it.
const FIRST_PUBLISHER: usize = 1 << 32;
const TIMER: Token = Token(usize::MAX - 1);
/// The urgent poller has news.
const URGENT: Token = Token(usize::MAX - 2);
/// From so many subscribers on, the loop naps for so long between the parts of a burst. A poller that sleeps is woken by
/// every single send, which on one machine costs the server more than the send itself; clients elsewhere do not.
const CROWD: usize = 1_000;
const NAP: u64 = 500_000;
/// Every subscriber must have read a message after this.
const WARM_UP: u64 = 60 * SECOND;
/// What a server may take to notice that subscribers have left, before they come back.
const PAUSE: u64 = 2 * SECOND;
/// A number of messages must be taken after this.
const SENDING: u64 = 300 * SECOND;
/// A run is given up when nothing more is delivered for so long.
const STALLED: u64 = 5 * SECOND;

/// The loop and all that it serves.
#[derive(Debug)]
pub(crate) struct Swarm {
    poll: Poll,
    /// Publishers and the subscribers whose latency is watched beside a crowd: they are looked at between the crowd's
    /// batches, so that a figure tells how late the server was, and not how busy this loop is with the crowd.
    urgent: Poll,
    events: Events,
    /// Events of the last batch from the crowd.
    news: usize,
    /// Events of the last batch from the urgent.
    urgent_news: usize,
    buffer: Vec<u8>,
    /// Wakes the poller to the microsecond, which its own timeout cannot.
    timer: OwnedFd,
    armed: u64,
    target: SubscribeTarget,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) publishers: Vec<Publisher>,
    /// The application, where what is loaded is a proxy before it.
    pub(crate) origin: Option<Origin>,
    pub(crate) ledger: Ledger,
    /// Subscribers that are still to connect.
    connecting: VecDeque<usize>,
    /// Subscribers that were left with more to read.
    unread: VecDeque<usize>,
    /// Subscribers that are to ask again, and when.
    asking: VecDeque<(u64, usize)>,
    /// How long one that polls waits between an answer and the next request.
    pub(crate) pause: u64,
    /// Subscribers whose connections the server ended.
    dropped: Vec<usize>,
    /// At most so many connections without a head at a time.
    pub(crate) connect_window: usize,
    /// Connections so far; picks client addresses.
    connects: usize,
}

impl Swarm {
    pub(crate) fn new(target: SubscribeTarget, ledger: Ledger, connect_window: usize) -> anyhow::Result<Self> {
        let (poll, urgent) = (Poll::new()?, Poll::new()?);
        poll.registry().register(&mut SourceFd(&urgent.as_raw_fd()), URGENT, Interest::READABLE)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        urgent.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self {
            poll,
            urgent,
            events: Events::with_capacity(EVENTS),
            news: 0,
            urgent_news: 0,
            buffer: vec![0; BUFFER],
            timer,
            armed: 0,
            target,
            subscribers: Vec::new(),
            publishers: Vec::new(),
            origin: None,
            ledger,
            connecting: VecDeque::new(),
            unread: VecDeque::new(),
            asking: VecDeque::new(),
            pause: 0,
            dropped: Vec::new(),
            connect_window,
            connects: fastrand::usize(..1 << 20),
        })
    }

    /// What the subscribers ask for.
    pub(crate) fn target(&self) -> &SubscribeTarget {
        &self.target
    }

    /// Adds a subscriber of these channels; [`Self::connect`] connects it.
    pub(crate) fn add_subscriber(&mut self, channels: &[u32], group: u8) {
        for &channel in channels {
            let entry = &mut self.ledger.channels[channel as usize];
            entry.listeners += 1;
            entry.group = group;
        }
        self.subscribers.push(Subscriber::new(channels, group));
    }

    /// Watches these subscribers before all others.
    pub(crate) fn make_urgent(&mut self, subscribers: Range<usize>) {
        for subscriber in &mut self.subscribers[subscribers] {
            subscriber.urgent = true;
        }
    }

    /// Adds a publisher, and says its index.
    pub(crate) fn add_publisher(&mut self, target: PublishTarget, depth: usize, batch: usize) -> usize {
        let index = self.publishers.len();
        self.publishers.push(Publisher::new(target, depth, batch, Token(FIRST_PUBLISHER + index)));
        index
    }

    /// Serves as the application too.
    pub(crate) fn attach(&mut self, mut origin: Origin) -> anyhow::Result<()> {
        origin.register(self.urgent.registry())?;
        self.origin = Some(origin);
        Ok(())
    }

    /// Lets these subscribers connect in the turns that follow.
    pub(crate) fn connect(&mut self, subscribers: Range<usize>) {
        self.ledger.restart_opening();
        self.connecting.extend(subscribers);
    }

    /// Connects all that were added, and waits until each has its stream.
    pub(crate) fn connect_all(&mut self) -> anyhow::Result<()> {
        let all = self.subscribers.len();
        self.connect(0..all);
        self.wait_open(all as u64)
    }

    /// Waits until so many streams are open.
    pub(crate) fn wait_open(&mut self, wanted: u64) -> anyhow::Result<()> {
        let (mut open, mut since) = (self.ledger.open, clock::now());
        while self.ledger.open < wanted {
            self.turn(clock::now() + SECOND / 4)?;
            self.retry_dropped(wanted)?;
            if self.ledger.open != open {
                (open, since) = (self.ledger.open, clock::now());
            } else if clock::now() > since + 2 * STALLED {
                bail!("only {open} of {wanted} streams open, and no more for ten seconds");
            }
        }
        Ok(())
    }

    /// Subscribers whose connections were refused or ended connect again, as an `EventSource` would; the report says how
    /// many.
    fn retry_dropped(&mut self, wanted: u64) -> anyhow::Result<()> {
        let Some(why) = self.ledger.first_end.take() else { return Ok(()) };
        self.ledger.retried += std::mem::take(&mut self.ledger.ended);
        if self.ledger.retried > wanted {
            bail!("{} of {wanted} streams open, and too many were refused: {why}", self.ledger.open);
        }
        self.ledger.first_retry.get_or_insert(why);
        self.connecting.extend(self.dropped.drain(..));
        Ok(())
    }

    /// Ends the connections of these subscribers.
    pub(crate) fn leave(&mut self, subscribers: Range<usize>) {
        for subscriber in &mut self.subscribers[subscribers] {
            subscriber.leave(&mut self.ledger);
        }
    }

    /// Publishes to each of these channels until all their subscribers have read a message, then starts the books
    /// afresh: from here on nothing may be missing.
    pub(crate) fn warm_up(&mut self, publisher: usize, channels: &[u32]) -> anyhow::Result<()> {
        let give_up = clock::now() + WARM_UP;
        while clock::now() < give_up {
            let load = Load::new(channels.to_vec(), Pace::FlatOut { window: None }, End::Count(channels.len() as u64));
            self.publishers[publisher].start(load);
            let end = clock::now() + SECOND * 3 / 4;
            loop {
                self.turn((clock::now() + SECOND / 20).min(end))?;
                let all_sent = self.publishers[publisher].is_done();
                if all_sent && self.is_level() {
                    self.start_counting();
                    return Ok(());
                }
                if all_sent && clock::now() >= end {
                    break;
                }
            }
        }
        bail!("some of {} subscribers were not sent everything in a minute of warming up", self.subscribers.len());
    }

    /// Lets the application send to every channel once, and starts the books afresh when all subscribers have read that.
    pub(crate) fn greet(&mut self) -> anyhow::Result<()> {
        let all: Vec<u32> = (0..self.ledger.channels.len() as u32).collect();
        let count = all.len() as u64;
        self.feed(Load::new(all, Pace::FlatOut { window: None }, End::Count(count)));
        if !self.run(clock::now() + WARM_UP, |swarm| swarm.is_fed() && swarm.is_level())? {
            bail!("some of {} subscribers were not sent their first message", self.subscribers.len());
        }
        self.start_counting();
        Ok(())
    }

    /// Lets the application send this.
    pub(crate) fn feed(&mut self, load: Load) {
        if let Some(origin) = &mut self.origin {
            origin.load = Some(load);
        }
    }

    /// The application has sent all that it was to send.
    pub(crate) fn is_fed(&self) -> bool {
        self.origin.as_ref().is_none_or(|origin| origin.load.is_none())
    }

    /// Every subscriber has read the last message of each of its channels.
    pub(crate) fn is_level(&self) -> bool {
        let mut cursors = self.subscribers.iter().flat_map(|subscriber| subscriber.cursors.as_slice());
        cursors.all(|cursor| {
            let sequence = self.ledger.channels[cursor.channel as usize].sequence;
            sequence == 0 || cursor.next == sequence + 1
        })
    }

    /// Starts the books afresh: what was published until now is nobody's any more.
    pub(crate) fn start_counting(&mut self) {
        for cursor in self.subscribers.iter_mut().flat_map(|subscriber| subscriber.cursors.as_mut_slice()) {
            cursor.next = self.ledger.channels[cursor.channel as usize].sequence + 1;
        }
        self.ledger.restart();
    }

    /// These subscribers of a channel read one message, leave with its id, and miss the next `behind`.
    pub(crate) fn fall_behind(
        &mut self,
        subscribers: Range<usize>,
        publisher: usize,
        channel: u32,
        behind: u64,
    ) -> anyhow::Result<()> {
        self.keep_ids(subscribers.clone(), true);
        self.warm_up(publisher, &[channel])?;
        self.keep_ids(subscribers.clone(), false);
        self.leave(subscribers);
        self.run(clock::now() + PAUSE, |_| false)?;
        self.send(publisher, vec![channel], behind)
    }

    fn keep_ids(&mut self, subscribers: Range<usize>, keep: bool) {
        for subscriber in &mut self.subscribers[subscribers] {
            subscriber.keep_id = keep;
        }
    }

    /// Publishes so many messages to these channels in turn, as fast as they are taken.
    pub(crate) fn send(&mut self, publisher: usize, channels: Vec<u32>, count: u64) -> anyhow::Result<()> {
        self.publishers[publisher].start(Load::new(channels, Pace::FlatOut { window: None }, End::Count(count)));
        if !self.run(clock::now() + SENDING, |swarm| swarm.publishers[publisher].is_done())? {
            bail!("{count} publishes were not taken in five minutes");
        }
        Ok(())
    }

    /// Turns until `done`, at most until `deadline`; says whether it was done.
    pub(crate) fn run(&mut self, deadline: u64, mut done: impl FnMut(&Self) -> bool) -> anyhow::Result<bool> {
        while !done(self) {
            if clock::now() >= deadline {
                return Ok(false);
            }
            self.turn(deadline)?;
        }
        Ok(true)
    }

    /// Turns until nothing is outstanding, or nothing has been delivered for some seconds.
    pub(crate) fn drain(&mut self) -> anyhow::Result<()> {
        let (mut delivered, mut since) = (self.ledger.delivered(), clock::now());
        while self.ledger.outstanding() > 0 && clock::now() < since + STALLED {
            self.turn(clock::now() + SECOND / 10)?;
            if self.ledger.delivered() != delivered {
                (delivered, since) = (self.ledger.delivered(), clock::now());
            }
        }
        Ok(())
    }

    /// One turn: what is due is sent, then one batch of each poller's news is read, waiting for it until `until`.
    fn turn(&mut self, until: u64) -> anyhow::Result<()> {
        interrupt::check()?;
        self.start_connects()?;
        let mut due = self.ask_again().map_or(until, |next| next.min(until));
        for publisher in &mut self.publishers {
            let loaded = publisher.load.is_some();
            publisher.tick(self.urgent.registry(), &mut self.ledger)?;
            due = due.min(publisher.due(clock::now(), &self.ledger).unwrap_or(until));
            if loaded && publisher.is_done() {
                due = 0; // its time was up when everything had been answered: no answer will end this turn
            }
        }
        let mut steady = false;
        if let Some(origin) = &mut self.origin {
            origin.tick(&mut self.ledger)?;
            let now = clock::now();
            let next = origin.load.as_ref().and_then(|load| load.due(now)).unwrap_or(until);
            steady = next < now + NAP;
            due = due.min(next);
        }
        // What is read here may be what the run waits for, so that no turn sleeps behind it.
        let reading = self.read_on();
        let now = clock::now();
        let more = reading || !self.connecting.is_empty() && self.ledger.waiting < self.connect_window as u64;
        if due <= now || more || self.news == EVENTS || self.urgent_news == EVENTS {
            self.read_crowd(Some(Duration::ZERO))?;
            self.read_urgent(Some(Duration::ZERO))
        } else if (self.news > 0 || steady) && self.subscribers.len() >= CROWD {
            self.arm(due.min(now + NAP), now)?;
            self.read_urgent(None)?;
            self.read_crowd(Some(Duration::ZERO))
        } else {
            self.arm(due, now)?;
            self.read_crowd(None)?;
            self.read_urgent(Some(Duration::ZERO))
        }
    }

    fn read_crowd(&mut self, timeout: Option<Duration>) -> anyhow::Result<()> {
        poll(&mut self.poll, &mut self.events, timeout)?;
        self.news = self.events.iter().filter(|event| event.token() != URGENT).count();
        self.dispatch()
    }

    fn read_urgent(&mut self, timeout: Option<Duration>) -> anyhow::Result<()> {
        poll(&mut self.urgent, &mut self.events, timeout)?;
        self.urgent_news = self.events.iter().count();
        self.dispatch()
    }

    /// Comes back to subscribers that were left with more to read; says whether there were any.
    fn read_on(&mut self) -> bool {
        let left = self.unread.len();
        for _ in 0..left.min(EVENTS) {
            let Some(index) = self.unread.pop_front() else { break };
            // What their pollers told meanwhile, such as the end of a stream, was passed over.
            self.read(index, true);
        }
        left > 0
    }

    fn read(&mut self, index: usize, hangup: bool) {
        let subscriber = &mut self.subscribers[index];
        if subscriber.stream.is_none() {
            subscriber.unread = false;
            return; // old news of a connection that is over
        }
        subscriber.ready(hangup, &mut self.buffer[..SHARE], &mut self.ledger);
        if subscriber.stream.is_none() {
            subscriber.unread = false;
            self.dropped.push(index);
        } else {
            if subscriber.unread {
                self.unread.push_back(index);
            }
            if subscriber.pauses() {
                self.asking.push_back((clock::now() + self.pause, index));
            }
        }
    }

    /// Lets those ask again whose pause is over; says when the next one's is.
    fn ask_again(&mut self) -> Option<u64> {
        let now = clock::now();
        for _ in 0..CONNECTS {
            let Some((_, index)) = self.asking.pop_front_if(|(due, _)| *due <= now) else { break };
            self.subscribers[index].ask(&mut self.ledger);
        }
        self.asking.front().map(|(due, _)| *due)
    }

    fn dispatch(&mut self) -> anyhow::Result<()> {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                TIMER | URGENT => {}
                Token(token) if token >= origin::FIRST => {
                    let hangup = event.is_read_closed() || event.is_error();
                    if let Some(origin) = &mut self.origin {
                        origin.ready(token, hangup, &mut self.buffer, self.urgent.registry())?;
                    }
                }
                Token(token) if token >= FIRST_PUBLISHER => {
                    self.publishers[token - FIRST_PUBLISHER].ready(&mut self.buffer, self.urgent.registry())?;
                }
                Token(token) => {
                    if !self.subscribers[token].unread {
                        self.read(token, event.is_read_closed() || event.is_error());
                    }
                }
            }
        }
        self.events = events;
        Ok(())
    }

    fn start_connects(&mut self) -> anyhow::Result<()> {
        if self.connecting.is_empty() {
            return Ok(());
        }
        let room = self.connect_window.saturating_sub(self.ledger.waiting as usize).min(CONNECTS);
        for _ in 0..room.min(self.connecting.len()) {
            let Some(index) = self.connecting.pop_front() else { break };
            let mut stream = sockets::connect(self.target.template.address, self.connects).context("connect")?;
            self.connects += 1;
            let subscriber = &mut self.subscribers[index];
            let poll = if subscriber.urgent { &self.urgent } else { &self.poll };
            poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            let channels = subscriber.cursors.as_slice().iter().map(|cursor| cursor.channel);
            let request = self.target.request(channels, &subscriber.last_id);
            subscriber.start(stream, request, self.target.mode, &mut self.ledger);
        }
        Ok(())
    }

    fn arm(&mut self, due: u64, now: u64) -> io::Result<()> {
        if self.armed == due && due > now {
            return Ok(());
        }
        self.armed = due;
        let left = due - now;
        let value = Timespec { tv_sec: (left / SECOND).cast_signed(), tv_nsec: (left % SECOND).max(1).cast_signed() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

fn poll(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> anyhow::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error).context("poll"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::args::{Common, defaults};

    #[test]
    fn load_that_ends_with_nothing_in_flight_ends_the_run_at_once() {
        let (mut swarm, publish) = defaults::<Common>().swarm(1, 1).unwrap();
        swarm.add_publisher(publish, 1, 1);
        let now = clock::now();
        swarm.publishers[0].start(Load::new(vec![0], Pace::FlatOut { window: None }, End::At(now)));
        let deadline = now + 20 * SECOND;
        assert!(swarm.run(deadline, |swarm| swarm.publishers[0].is_done()).unwrap());
        assert!(clock::now() < deadline, "it waited for what could not come");
    }

    #[test]
    fn history_that_is_read_to_its_end_ends_the_run_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sub = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let (mut swarm, _) = Common { sub, ..defaults() }.swarm(1, 1).unwrap();
        swarm.add_subscriber(&[0], 0);
        let mut events = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_vec();
        while events.len() < SHARE + SHARE / 2 {
            events.extend_from_slice(b"data: ");
            swarm.ledger.publish(0, 0).write(&mut events, 100);
            events.extend_from_slice(b"\n\n");
        }
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1000]).unwrap();
            stream.write_all(&events).unwrap();
            stream // stays open, and silent
        });
        swarm.connect_window = 1;
        swarm.connect(0..1);
        let deadline = clock::now() + 20 * SECOND;
        assert!(swarm.run(deadline, |swarm| swarm.ledger.outstanding() == 0).unwrap());
        assert!(clock::now() < deadline, "it waited for what had been read");
        assert_eq!(swarm.ledger.faults(), Vec::<String>::new());
        drop(server.join().unwrap());
    }
}
