//! The loop of one shard: it walks the members of channels that have news, a slice at a time, and between slices looks at
//! its sockets, its letters and its clock, so that one hot channel does not starve the rest.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::mem;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fantail_hub::gather::{Pages, missing};
use fantail_hub::subscription::{has_ended, is_broken};
use fantail_hub::{Batch, Channel, ChannelName, Framing, Gatherer, Hub, Watcher};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::batches::{Batches, Due};
use super::conn::{Conn, Doing, Wrote};
use super::inbox::{Command, Inbox, Letters};
use super::replay::{Reader, Replay};
use super::room::{Rooms, Seat, Seats};
use super::wheel::{TICK, Ticks, Wheel, ticks};
use super::{AtStop, Attach, Errand, Farewell, NO_CHUNK, Slow, Style, format_id, last_words};
use crate::metrics::{self, ShardMetrics};

/// Members served before the shard looks up: well under a millisecond of work.
const SLICE: usize = 128;
/// Commands obeyed before the shard looks up: when everybody comes back at once, those who are there do not wait for it.
const ARRIVALS: usize = 32;
/// How long a connection's next request waits for channels to be walked to their ends: HTTP may have to share the shard's core, and
/// who still waits for an answer comes before who asks again.
const PRECEDENCE: Ticks = 3;
/// What is read of such a request; HTTP reads the rest.
const REQUEST: usize = 4 << 10;
/// Writes to one connection in a row, before others have their turn.
const BURST: usize = 4;
/// How long the peer of an ended stream is given to close.
const GOODBYE: Duration = Duration::from_secs(1);
/// What a subscriber may send after its request, in bytes. A browser sends nothing.
const MAX_CHATTER: usize = 64 << 10;

const WAKE: Token = Token(usize::MAX);

/// Starts a shard's thread.
pub(super) fn start(number: usize, hub: Arc<Hub>, metrics: Arc<ShardMetrics>) -> io::Result<Arc<Inbox>> {
    let poll = Poll::new()?;
    let inbox = Inbox::new(mio::Waker::new(poll.registry(), WAKE)?);
    let theirs = Arc::clone(&inbox);
    let replay = Replay::new(Arc::clone(&hub), Arc::clone(&inbox), Handle::current());
    let (known, is_known) = mpsc::sync_channel(1);
    thread::Builder::new().name(format!("fantail-shard-{number}")).spawn(move || {
        let _bomb = Bomb;
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        metrics.thread.store(thread.unsigned_abs().into(), std::sync::atomic::Ordering::Relaxed);
        // Whoever started it waits for this.
        let _ = known.send(());
        Shard::new(number, poll, theirs, hub, replay, metrics).run();
    })?;
    // Statistics tell the thread's id from the first request on.
    let _ = is_known.recv();
    Ok(inbox)
}

/// Ends the process when the shard's thread unwinds: nobody could serve its subscribers or tell them, and new ones would
/// still be sent to it.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// Why a connection is taken out.
#[derive(Debug, Clone, Copy)]
enum Why {
    Left,
    Failed,
    Stalled,
    Ended,
    Cut,
}

struct Shard {
    number: usize,
    poll: Poll,
    inbox: Arc<Inbox>,
    /// The inbox, as channels know it.
    watcher: Arc<dyn Watcher>,
    hub: Arc<Hub>,
    metrics: Arc<ShardMetrics>,
    conns: Slab<Conn>,
    rooms: Rooms,
    /// What is to be done, in the order in which it came.
    commands: VecDeque<Command>,
    /// Rooms with news, each once, in turn.
    walks: VecDeque<u32>,
    /// Connections that have more to be sent and whose sockets take it.
    ready: VecDeque<u32>,
    /// Connections at rest whose next request has come, by their keys and numbers, and since when.
    returning: VecDeque<(u32, u64, Ticks)>,
    wheel: Wheel,
    started: Instant,
    now: Ticks,
    numbers: u64,
    gatherer: Gatherer,
    batches: Batches,
    replay: Replay,
    stopping: Option<(Farewell, oneshot::Sender<()>)>,
}

impl Shard {
    fn new(
        number: usize,
        poll: Poll,
        inbox: Arc<Inbox>,
        hub: Arc<Hub>,
        replay: Replay,
        metrics: Arc<ShardMetrics>,
    ) -> Self {
        let watcher: Arc<dyn Watcher> = Arc::clone(&inbox) as _;
        Self {
            number,
            poll,
            inbox,
            watcher,
            hub,
            metrics,
            conns: Slab::new(),
            rooms: Rooms::default(),
            commands: VecDeque::new(),
            walks: VecDeque::new(),
            ready: VecDeque::new(),
            returning: VecDeque::new(),
            wheel: Wheel::new(),
            started: Instant::now(),
            now: 0,
            numbers: 0,
            gatherer: Gatherer::default(),
            batches: Batches::default(),
            replay,
            stopping: None,
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut letters = Letters::default();
        let mut due = Vec::new();
        while !self.is_done() {
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, shard = self.number, "the poller failed");
                thread::sleep(TICK);
            }
            self.inbox.woken();
            self.now = (self.started.elapsed().as_millis() / TICK.as_millis()) as Ticks + 1;
            for event in &events {
                if event.token() != WAKE {
                    let gone = event.is_read_closed() || event.is_error();
                    self.attend(event.token().0 as u32, gone, event.is_readable(), event.is_writable());
                }
            }
            self.inbox.collect(&mut letters);
            for room in letters.dirty.drain(..) {
                self.news(room);
            }
            self.commands.extend(letters.commands.drain(..));
            for _ in 0..ARRIVALS {
                let Some(command) = self.commands.pop_front() else { break };
                self.obey(command);
            }
            self.serve_ready();
            self.walk();
            self.give_back();
            self.wheel.take(self.now, &mut due);
            for (key, at) in due.drain(..) {
                self.tend(key, at);
            }
            self.read();
        }
        if let Some((_, gone)) = self.stopping.take() {
            // Whoever asked may have stopped waiting.
            let _ = gone.send(());
        }
    }

    /// Whether the stop is over: nobody is left, and nobody is on the way.
    fn is_done(&self) -> bool {
        let Some((farewell, _)) = &self.stopping else { return false };
        self.conns.is_empty() && self.commands.is_empty() && self.inbox.close(*farewell)
    }

    /// How long to sleep: not at all while there is work, else until the next deadline.
    fn timeout(&mut self) -> Option<Duration> {
        let work = [self.walks.is_empty(), self.ready.is_empty(), self.commands.is_empty(), self.returning.is_empty()];
        if work.contains(&false) {
            return Some(Duration::ZERO);
        }
        self.batches.clear();
        if !self.inbox.doze() {
            return Some(Duration::ZERO);
        }
        let next = self.wheel.next()?;
        // The tick has come when the clock stands behind its beginning.
        Some((TICK * (next - 1)).saturating_sub(self.started.elapsed()) + Duration::from_millis(1))
    }

    /// A channel has news: walk its members, once more if they are being walked.
    fn news(&mut self, room: usize) {
        let Some(found) = self.rooms.find_mut(room) else { return };
        if found.walking {
            found.again = true;
        } else {
            found.walking = true;
            found.walked = 0;
            self.walks.push_back(room as u32);
        }
    }

    /// One slice for each walk, in turn, until a slice's worth of members has been served.
    fn walk(&mut self) {
        let mut left = SLICE;
        while left > 0
            && let Some(at) = self.walks.pop_front()
        {
            let room = self.rooms.get_mut(at);
            if room.walked == 0 {
                room.again = false;
                // From here on news count anew: what came before is seen by the walk.
                room.channel.seen(&self.watcher, at as usize);
            }
            while left > 0 {
                let room = self.rooms.get_mut(at);
                let Some(&key) = room.members.get(room.walked) else { break };
                room.walked += 1;
                left -= 1;
                self.serve(key);
            }
            let room = self.rooms.get_mut(at);
            if room.walked < room.members.len() {
                self.walks.push_back(at);
            } else if room.members.is_empty() {
                self.rooms.remove(at);
                self.count_rooms();
            } else if room.again {
                room.walked = 0;
                self.walks.push_back(at);
            } else {
                room.walking = false;
                room.walked = 0;
            }
        }
    }

    fn serve_ready(&mut self) {
        for _ in 0..self.ready.len().min(SLICE) {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(conn) = self.conns.get_mut(key as usize) {
                conn.queued = false;
                self.serve(key);
            }
        }
    }

    /// Sends a connection what it is due, up to a burst.
    fn serve(&mut self, key: u32) {
        for _ in 0..BURST {
            if !self.step(key) {
                return;
            }
        }
        self.queue(key);
    }

    /// Has the history read for which connections wait, as far as may be read at a time.
    fn read(&mut self) {
        while let Some(reader) = self.replay.next() {
            let Some(conn) = self.conns.get(reader.key as usize).filter(|conn| conn.number == reader.number) else {
                continue;
            };
            let channel = |seat: &Seat| &self.rooms.get(seat.room).channel;
            let seats = conn.seats.as_slice();
            let behind = missing(seats.iter().map(|seat| -> &Channel { channel(seat) }).enumerate(), &conn.progress);
            let wanted = behind.into_iter().map(|(index, next)| (index, Arc::clone(channel(&seats[index])), next));
            let wanted = wanted.collect();
            self.replay.read(reader, wanted);
        }
    }

    /// What a connection waited for has been read.
    fn proceed(&mut self, reader: Reader, pages: &Pages) {
        self.replay.done();
        let Some(conn) = self.conns.get_mut(reader.key as usize).filter(|conn| conn.number == reader.number) else {
            return;
        };
        conn.reading = false;
        metrics::add(&self.metrics.pages, pages.len() as u64);
        // As long as the pages last; behind them it waits for the next, or has caught up.
        for _ in 0..BURST {
            if !self.step_with(reader.key, pages) {
                return;
            }
        }
        self.queue(reader.key);
    }

    /// Sends a connection the next batch of what it is due. False if that was all, for now or for good.
    fn step(&mut self, key: u32) -> bool {
        self.step_with(key, &[])
    }

    fn step_with(&mut self, key: u32, pages: &Pages) -> bool {
        let Some(conn) = self.conns.get_mut(key as usize).filter(|conn| conn.is_ready()) else { return false };
        let batch = match self.batches.due(&self.hub, &self.rooms, conn, pages, &mut self.gatherer) {
            Due::Nothing => return false,
            Due::Batch(batch) => batch,
            Due::Behind => {
                conn.reading = true;
                self.replay.wait(Reader { key, number: conn.number });
                return false;
            }
        };
        metrics::add(&self.metrics.gaps, batch.gaps.into());
        if let Doing::Waiting(_) = conn.doing {
            // Nor is what renders to nothing an answer.
            if batch.bytes.is_empty() || batch.messages == 0 && !conn.style.gap_has_id {
                conn.progress.advance(batch.next());
                return true;
            }
            self.answer(key, Some(&batch));
            return false;
        }
        metrics::add(&self.metrics.deliveries, batch.messages.into());
        metrics::add(&self.metrics.writes, u64::from(!batch.bytes.is_empty()));
        match conn.send_batch(&batch, self.now) {
            Ok((wrote, sent)) => {
                metrics::add(&self.metrics.sent_bytes, sent as u64);
                // A gap may stand for an end that is no longer kept.
                let may_end = batch.ends || batch.gaps > 0;
                let whole = conn.progress.cursor() == batch.next();
                conn.closing = batch.closes && whole;
                let left = batch.left.as_ref().filter(|_| whole);
                if let Some(left) = left {
                    self.leave_channel(key, left);
                }
                let conn = &self.conns[key as usize];
                if wrote == Wrote::Some {
                    self.blocked(key);
                } else if conn.closing {
                    self.end(key);
                } else if may_end && self.has_ended(key) {
                    self.end_as_its_channels(key);
                } else if left.is_some() {
                    // Pages that were read for it count its channels as they were.
                    self.queue(key);
                } else {
                    return true;
                }
            }
            Err(_) => self.remove(key, Why::Failed),
        }
        false
    }

    /// Lets a connection have its turn again soon; it stands in the queue once.
    fn queue(&mut self, key: u32) {
        if !mem::replace(&mut self.conns[key as usize].queued, true) {
            self.ready.push_back(key);
        }
    }

    fn has_ended(&self, key: u32) -> bool {
        let conn = &self.conns[key as usize];
        let seats = conn.seats.as_slice().iter();
        has_ended(seats.map(|seat| &*self.rooms.get(seat.room).channel), &conn.progress)
    }

    /// Notes that a socket is full: it is served again when it is writable, or given up when it stays so.
    fn blocked(&mut self, key: u32) {
        metrics::add(&self.metrics.blocked, 1);
        self.reckon(key);
    }

    /// Something happened on a socket.
    fn attend(&mut self, key: u32, gone: bool, readable: bool, writable: bool) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        match &mut conn.doing {
            // What such a client sends is its next request: it stays in the kernel until the socket goes back.
            Doing::Waiting(answer) | Doing::Answering(answer) => {
                if let Some(back) = answer.back.as_mut().filter(|_| readable) {
                    back.called = true;
                }
            }
            Doing::Resting(back) => {
                if (readable || gone) && !mem::replace(&mut back.called, true) {
                    self.returning.push_back((key, conn.number, self.now));
                }
                return;
            }
            Doing::Streaming | Doing::Ending | Doing::Closing => {}
        }
        if gone {
            let why = if matches!(conn.doing, Doing::Closing) { Why::Ended } else { Why::Left };
            return self.remove(key, why);
        }
        if readable && !matches!(conn.doing, Doing::Waiting(_) | Doing::Answering(_)) && !drain(&mut conn.socket) {
            return self.remove(key, Why::Failed);
        }
        if writable && conn.is_blocked() {
            let Ok((wrote, sent)) = conn.flush(self.now) else {
                metrics::take(&self.metrics.blocked, 1);
                return self.remove(key, Why::Failed);
            };
            metrics::add(&self.metrics.sent_bytes, sent as u64);
            if wrote == Wrote::All {
                metrics::take(&self.metrics.blocked, 1);
                self.unblocked(key);
            }
        }
    }

    /// What was left over has been taken.
    fn unblocked(&mut self, key: u32) {
        let conn = &mut self.conns[key as usize];
        match conn.doing {
            Doing::Ending => self.close(key),
            Doing::Answering(_) => self.rest(key),
            Doing::Streaming => match &self.stopping {
                Some((farewell, _)) if conn.style.at_stop != AtStop::GoesOn => {
                    let farewell = *farewell;
                    self.dismiss(key, farewell);
                }
                _ if conn.closing => self.end(key),
                _ if self.has_ended(key) => self.end_as_its_channels(key),
                _ => {
                    // Its next ping may be due before its patience would have ended.
                    self.reckon(key);
                    self.queue(key);
                }
            },
            Doing::Waiting(_) | Doing::Resting(_) | Doing::Closing => {}
        }
    }

    /// A connection's moment on the wheel has come, or one that counted once.
    fn tend(&mut self, key: u32, at: Ticks) {
        let Some(conn) = self.conns.get_mut(key as usize).filter(|conn| conn.due == at) else { return };
        if at > self.now {
            return self.wheel.add(key, at);
        }
        if conn.deadline != 0 && conn.deadline <= self.now {
            match conn.doing {
                Doing::Waiting(_) => return self.answer(key, None),
                Doing::Streaming if conn.unsent.is_none() && self.stopping.is_some() => return self.break_off(key),
                // Its ticket is over, and not what it is sent: an end in good order would say that it was.
                Doing::Streaming if conn.unsent.is_none() && conn.style.at_stop == AtStop::GoesOn => {
                    return self.break_off(key);
                }
                Doing::Streaming if conn.unsent.is_none() => return self.end(key),
                // At the stop a frame that is not taken in time is cut; a lifetime waits for the frame's end.
                Doing::Streaming if self.stopping.is_none() => {}
                Doing::Streaming | Doing::Ending | Doing::Answering(_) => return self.remove(key, Why::Cut),
                Doing::Closing => return self.remove(key, Why::Ended),
                Doing::Resting(_) => return drop(self.take_out(key)),
            }
        }
        let silent = self.now - conn.last_write;
        let style = &conn.style;
        if conn.is_blocked() {
            if !style.stall_limit.is_zero() && silent >= ticks(style.stall_limit) {
                return self.remove(key, Why::Stalled);
            }
        } else if matches!(conn.doing, Doing::Streaming) && !style.ping.is_zero() && silent >= ticks(style.ping) {
            let mut ping = Vec::new();
            conn.framing.wrap(&mut ping, &style.ping_text);
            metrics::add(&self.metrics.pings, 1);
            match conn.send_aside(ping.into(), self.now) {
                Ok(Wrote::All) => {}
                Ok(Wrote::Some) => metrics::add(&self.metrics.blocked, 1),
                Err(_) => return self.remove(key, Why::Failed),
            }
        }
        self.reckon(key);
    }

    /// Puts a connection on the wheel for whatever comes first, unless it already stands there early enough.
    fn reckon(&mut self, key: u32) {
        let conn = &mut self.conns[key as usize];
        let style = &conn.style;
        let patience = if conn.is_blocked() {
            style.stall_limit
        } else if matches!(conn.doing, Doing::Streaming) {
            style.ping
        } else {
            Duration::ZERO
        };
        let mut due = Ticks::MAX;
        if !patience.is_zero() {
            due = conn.last_write + ticks(patience);
        }
        // A lifetime that is over waits for the frame that is being sent.
        let waits = conn.is_blocked() && conn.deadline <= self.now && self.stopping.is_none();
        if conn.deadline != 0 && !waits {
            due = due.min(conn.deadline);
        }
        if due == Ticks::MAX {
            return;
        }
        let due = due.max(self.now + 1);
        if conn.due <= self.now || due < conn.due {
            conn.due = due;
            self.wheel.add(key, due);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Attach(attach) => self.attach(*attach),
            Command::Slowest(limit, answer) => {
                // Whoever asked may have stopped waiting; likewise below.
                let _ = answer.send(self.slowest(limit));
            }
            Command::End(number, answer) => {
                let found = self.conns.iter().find(|(_, conn)| conn.number == number);
                let key = found.map(|(key, _)| key as u32);
                if let Some(key) = key {
                    self.end_by_name(key);
                }
                let _ = answer.send(key.is_some());
            }
            Command::KnownAs(identity, limit, answer) => {
                let known = self.conns.iter().map(|(_, conn)| conn).filter(|conn| is_known_as(conn, &identity));
                let _ = answer.send(known.take(limit).map(|conn| self.describe(conn)).collect());
            }
            Command::EndKnownAs(identity, answer) => {
                let known = self.conns.iter().filter(|(_, conn)| is_known_as(conn, &identity));
                let keys: Vec<_> = known.map(|(key, _)| key as u32).collect();
                for key in &keys {
                    self.end_by_name(*key);
                }
                let _ = answer.send(keys.len());
            }
            Command::Stop(farewell, gone) => self.stop(farewell, gone),
            Command::Pages(reader, pages) => self.proceed(reader, &pages),
        }
    }

    fn attach(&mut self, attach: Attach) {
        let Attach { socket, tuned, peer, permit, plan, style, framing, ticket, presence, errand } = attach;
        if !tuned && let Err(error) = tune(&socket, &style) {
            tracing::debug!(%error, %peer, "cannot set a socket's options");
        }
        let key = self.conns.vacant_key() as u32;
        let mut seats = Vec::with_capacity(plan.channels.len());
        for channel in plan.channels {
            seats.push(self.rooms.enter(channel, &self.watcher, key));
        }
        metrics::add(&self.metrics.subscriptions, seats.len() as u64);
        let mut socket = mio::net::TcpStream::from_std(socket);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, Token(key as usize), interest) {
            tracing::warn!(%error, %peer, "a socket could not be polled");
            self.leave(&seats);
            metrics::take(&self.metrics.subscribers, 1);
            return;
        }
        let at_stop = style.at_stop;
        let (doing, lasts) = match errand {
            Errand::Stream => (Doing::Streaming, style.lifetime.map(|(least, most)| between(least, most))),
            Errand::Answer(answer) => {
                let wait = answer.wait;
                (Doing::Waiting(answer), Some(wait))
            }
        };
        let limit = ticket.limit(lasts);
        self.numbers += 1;
        let seats = match seats.as_slice() {
            [seat] => Seats::One(*seat),
            _ => Seats::Many(seats.into()),
        };
        let at = self.conns.insert(Conn {
            socket,
            framing,
            doing,
            style,
            progress: plan.progress,
            seats,
            unsent: None,
            number: self.numbers,
            peer,
            identity: ticket.identity,
            presence,
            permit,
            last_write: self.now,
            deadline: limit.map_or(0, |lasts| self.now + ticks(lasts)),
            due: 0,
            queued: false,
            reading: false,
            closing: false,
        });
        debug_assert_eq!(at, key as usize, "the vacant key is the next");
        metrics::add(&self.metrics.attached, 1);
        self.count_rooms();
        if let Some((farewell, _)) = &self.stopping {
            let farewell = *farewell;
            self.dismiss(key, farewell);
            if at_stop != AtStop::GoesOn {
                return;
            }
        }
        self.reckon(key);
        self.serve(key);
        // Whoever was answered at once was never there.
        let stays = |conn: &&mut Conn| matches!(conn.doing, Doing::Streaming | Doing::Waiting(_));
        if let Some(conn) = self.conns.get_mut(key as usize).filter(stays)
            && let Some(presence) = &mut conn.presence
        {
            presence.came();
        }
    }

    /// All channels of a stream have ended, and so does it: in good order, or broken off like one of them.
    fn end_as_its_channels(&mut self, key: u32) {
        let conn = &self.conns[key as usize];
        let seats = conn.seats.as_slice().iter();
        if is_broken(seats.map(|seat| &*self.rooms.get(seat.room).channel)) {
            return self.break_off(key);
        }
        self.end(key);
    }

    /// Ends a stream in good order.
    fn end(&mut self, key: u32) {
        let conn = &self.conns[key as usize];
        let end = conn.style.end(conn.framing);
        self.finish(key, end);
    }

    /// Ends a stream so that its client sees that something is missing: with what is no chunk, or, where only the
    /// connection's end says that the body is over, with a reset.
    fn break_off(&mut self, key: u32) {
        let conn = &mut self.conns[key as usize];
        if conn.framing == Framing::Chunked {
            return self.finish(key, Bytes::from_static(NO_CHUNK));
        }
        if let Err(error) = socket2::SockRef::from(&conn.socket).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, peer = %conn.peer, "a connection cannot be reset");
        }
        // A reset overtakes what is on its way: the peer is given a moment to take that.
        conn.doing = Doing::Closing;
        conn.deadline = self.now + ticks(GOODBYE);
        self.reckon(key);
    }

    /// Says the last bytes of a stream and shuts it down behind them.
    fn finish(&mut self, key: u32, words: Bytes) {
        let conn = &mut self.conns[key as usize];
        conn.doing = Doing::Ending;
        let patience = self.stopping.as_ref().map_or(GOODBYE, |(farewell, _)| farewell.frame);
        conn.deadline = self.now + ticks(patience);
        match conn.send_aside(words, self.now) {
            Ok(Wrote::All) => self.close(key),
            Ok(Wrote::Some) => self.blocked(key),
            Err(_) => self.remove(key, Why::Failed),
        }
    }

    /// Everything is said: no more from us; the peer is given a moment to close, so that what is on its way arrives.
    fn close(&mut self, key: u32) {
        let conn = &mut self.conns[key as usize];
        conn.doing = Doing::Closing;
        conn.deadline = self.now + ticks(GOODBYE);
        if conn.socket.shutdown(Shutdown::Write).is_err() {
            return self.remove(key, Why::Ended);
        }
        self.reckon(key);
    }

    fn end_by_name(&mut self, key: u32) {
        let conn = &self.conns[key as usize];
        match conn.doing {
            Doing::Streaming if !conn.is_blocked() && conn.style.at_stop == AtStop::GoesOn => self.break_off(key),
            Doing::Streaming if !conn.is_blocked() => self.end(key),
            Doing::Waiting(_) => self.answer(key, None),
            Doing::Resting(_) => drop(self.take_out(key)),
            // Its socket takes nothing: there is no polite way.
            _ => self.remove(key, Why::Ended),
        }
    }

    /// Gives a waiting request its answer.
    fn answer(&mut self, key: u32, batch: Option<&Batch>) {
        let conn = &mut self.conns[key as usize];
        let Doing::Waiting(answer) = mem::replace(&mut conn.doing, Doing::Closing) else {
            unreachable!("only a waiting connection is answered")
        };
        let response = (answer.response)(batch);
        conn.doing = Doing::Answering(answer);
        conn.deadline = 0;
        metrics::add(&self.metrics.answers, 1);
        metrics::add(&self.metrics.deliveries, batch.map_or(0, |batch| batch.messages.into()));
        match conn.send_aside(response, self.now) {
            Ok(Wrote::All) => self.rest(key),
            Ok(Wrote::Some) => self.blocked(key),
            Err(_) => self.remove(key, Why::Failed),
        }
    }

    /// The answer is written: the connection stays for its next request, as no subscriber. A task of HTTP for each of the many that
    /// one message may release would cost more than all of them do here.
    fn rest(&mut self, key: u32) {
        let conn = &mut self.conns[key as usize];
        let Doing::Answering(answer) = mem::replace(&mut conn.doing, Doing::Closing) else {
            unreachable!("only an answered connection comes to rest")
        };
        let Some(back) = answer.back.filter(|_| self.stopping.is_none()) else { return self.close(key) };
        conn.presence = None;
        // What was under way for the subscriber is not for whoever comes next.
        self.numbers += 1;
        conn.number = self.numbers;
        conn.deadline = self.now + ticks(back.idle);
        if back.called {
            self.returning.push_back((key, conn.number, self.now));
        }
        conn.doing = Doing::Resting(back);
        // It counts as a stream again with its next request.
        conn.permit.rise();
        let seats = mem::replace(&mut conn.seats, Seats::Many(Box::default()));
        metrics::take(&self.metrics.subscribers, 1);
        metrics::add(&self.metrics.ended, 1);
        metrics::add(&self.metrics.resting, 1);
        self.leave(seats.as_slice());
        self.count_rooms();
        self.reckon(key);
    }

    /// Gives connections back whose next request has come.
    fn give_back(&mut self) {
        let (now, busy) = (self.now, !self.walks.is_empty());
        for _ in 0..SLICE {
            let next = self.returning.pop_front_if(|(.., since)| !busy || *since + PRECEDENCE <= now);
            let Some((key, number, _)) = next else { return };
            if self.conns.get(key as usize).is_none_or(|conn| conn.number != number) {
                continue;
            }
            let mut conn = self.take_out(key);
            let Doing::Resting(back) = conn.doing else { unreachable!("who rests does nothing else until it goes") };
            let mut request = [0; REQUEST];
            // If that fails, HTTP finds out why.
            let read = conn.socket.read(&mut request).unwrap_or(0);
            let request = Bytes::copy_from_slice(&request[..read]);
            (back.take)(OwnedFd::from(conn.socket).into(), conn.permit, request);
        }
    }

    fn remove(&mut self, key: u32, why: Why) {
        let number = match why {
            Why::Left => &self.metrics.left,
            Why::Failed => &self.metrics.failed,
            Why::Stalled => &self.metrics.stalled,
            Why::Ended => &self.metrics.ended,
            Why::Cut => &self.metrics.cut,
        };
        metrics::add(number, 1);
        let conn = self.take_out(key);
        if let Why::Stalled | Why::Cut = why {
            tracing::info!(peer = %conn.peer, id = format_id(self.number, conn.number), ?why, "subscriber dropped");
        }
    }

    /// Takes a connection out of everything; its socket leaves the poller.
    fn take_out(&mut self, key: u32) -> Conn {
        let mut conn = self.conns.remove(key as usize);
        if conn.is_blocked() {
            metrics::take(&self.metrics.blocked, 1);
        }
        let counted =
            if let Doing::Resting(_) = conn.doing { &self.metrics.resting } else { &self.metrics.subscribers };
        metrics::take(counted, 1);
        // Fails only for a descriptor that the poller does not know, which is what is wanted.
        let _ = self.poll.registry().deregister(&mut conn.socket);
        let seats = mem::replace(&mut conn.seats, Seats::Many(Box::default()));
        self.leave(seats.as_slice());
        self.count_rooms();
        conn
    }

    /// A connection does not listen to one of its channels any more.
    fn leave_channel(&mut self, key: u32, name: &ChannelName) {
        let conn = &mut self.conns[key as usize];
        let mut seats = conn.seats.as_slice().iter();
        let Some(index) = seats.position(|seat| self.rooms.get(seat.room).channel.name() == name) else { return };
        let seat = conn.seats.take(index);
        conn.progress.leave(index);
        if let Some(presence) = &mut conn.presence {
            presence.left(name);
        }
        self.leave(&[seat]);
        self.count_rooms();
    }

    fn leave(&mut self, seats: &[Seat]) {
        metrics::take(&self.metrics.subscriptions, seats.len() as u64);
        for seat in seats {
            let conns = &mut self.conns;
            self.rooms.leave(&self.hub, &self.watcher, *seat, |key, place| {
                conns[key as usize].seats.moved(seat.room, place);
            });
        }
    }

    fn stop(&mut self, farewell: Farewell, gone: oneshot::Sender<()>) {
        self.stopping = Some((farewell, gone));
        let keys: Vec<_> = self.conns.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            self.dismiss(key, farewell);
        }
    }

    /// Begins the end of one connection at the stop: it gets what it is due, and then the last words.
    fn dismiss(&mut self, key: u32, farewell: Farewell) {
        while self.step(key) {}
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        match &mut conn.doing {
            Doing::Waiting(answer) => {
                answer.back = None;
                self.answer(key, None);
            }
            Doing::Streaming if conn.style.at_stop == AtStop::GoesOn => {
                conn.deadline = self.now + ticks(farewell.rest);
                self.reckon(key);
            }
            Doing::Streaming if conn.unsent.is_none() => {
                let words = last_words(conn.framing, &conn.style, farewell.window);
                self.finish(key, words);
            }
            Doing::Closing => {}
            Doing::Resting(_) => drop(self.take_out(key)),
            Doing::Streaming | Doing::Ending | Doing::Answering(_) => {
                let latest = self.now + ticks(farewell.frame);
                conn.deadline = if conn.deadline == 0 { latest } else { conn.deadline.min(latest) };
                self.reckon(key);
            }
        }
    }

    /// The connections whose sockets have been full for longest, at most `limit`.
    fn slowest(&self, limit: usize) -> Vec<Slow> {
        let mut blocked: Vec<_> = self.conns.iter().map(|(_, conn)| conn).filter(|conn| conn.is_blocked()).collect();
        blocked.sort_by_key(|conn| conn.last_write);
        blocked.truncate(limit);
        blocked.into_iter().map(|conn| self.describe(conn)).collect()
    }

    fn describe(&self, conn: &Conn) -> Slow {
        let next = conn.progress.cursor().next();
        let blocked = if conn.is_blocked() { self.now - conn.last_write } else { 0 };
        let mut slow = Slow {
            id: format_id(self.number, conn.number),
            peer: conn.peer.to_string(),
            identity: conn.identity.as_deref().map(str::to_owned),
            channels: Vec::new(),
            behind_messages: 0,
            behind_bytes: conn.unsent.as_ref().map_or(0, |unsent| unsent.len()),
            blocked_ms: u64::from(blocked) * TICK.as_millis() as u64,
        };
        for seat in conn.seats.as_slice() {
            let channel = &self.rooms.get(seat.room).channel;
            slow.channels.push(channel.name().to_string());
            slow.add_behind(channel, next);
        }
        slow
    }

    fn count_rooms(&self) {
        self.metrics.rooms.store(self.rooms.len() as u64, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Reads and forgets what a subscriber says; false if it says too much or the socket failed.
fn drain(socket: &mut mio::net::TcpStream) -> bool {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        match socket.read(&mut buffer) {
            // The end is reported as an event of its own.
            Ok(0) => return true,
            Ok(n) => {
                total += n;
                if total > MAX_CHATTER {
                    return false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// Whether it is somebody's, and has not been told to go.
fn is_known_as(conn: &Conn, identity: &str) -> bool {
    conn.identity.as_deref() == Some(identity)
        && !matches!(conn.doing, Doing::Ending | Doing::Closing | Doing::Resting(_))
}

/// Bounds what the kernel holds for a subscriber.
fn tune(socket: &std::net::TcpStream, style: &Style) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    socket.set_send_buffer_size(style.send_buffer)?;
    socket.set_tcp_notsent_lowat(style.unsent_low)
}

fn between(least: Duration, most: Duration) -> Duration {
    let spread = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX);
    least + Duration::from_millis(fastrand::u64(0..=spread))
}
