//! The property: whatever happens, every subscriber gets each channel's messages in order, each once, and is told of every
//! loss before the next message; and a full socket costs one frame. The hub is driven as a fan-out shard drives it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::gather::{Progress, View};
use fantail_hub::hub::Publish;
use fantail_hub::journal::MemoryJournal;
use fantail_hub::subscription::has_ended;
use fantail_hub::{
    AppendError, Batch, Channel, ChannelName, Clock, Cursor, Framing, Gatherer, Hub, IdempotencyKey, Millis,
    NewMessage, Offset, Position, Profile, PublishError, Retention, StartAt, SubscribeError, Subscription, Traits,
    Watcher,
};
use fantail_sse::{EventId, EventName, encode};
use proptest::prelude::*;

use crate::book::{Book, Stands, Written, position};
use crate::client::Client;
use crate::dress::{Dress, Tellings};
use crate::ops::{self, Body, CHANNELS, How, Op, Own, Room, SUBSCRIBERS, Served, Setting};
use crate::{due_of, now};

/// How long keys are remembered, in milliseconds.
const WINDOW: u64 = 20_000;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_subscriber_sees_everything_once_in_order_or_is_told_what_it_lost(
        setting in ops::setting(),
        ops in ops::ops(),
    ) {
        let mut world = World::new(setting);
        for op in ops {
            world.run(op);
        }
        world.settle();
    }
}

/// A few seconds' worth, unless `PROPTEST_CASES` says otherwise.
fn config() -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 1024 };
    ProptestConfig { cases, ..default }
}

/// Stands for all the subscribers of a fan-out shard in the channels.
#[derive(Default)]
struct Shard {
    /// The tokens of channels that have news.
    woken: Mutex<Vec<usize>>,
}

impl Watcher for Shard {
    fn wake(&self, token: usize) {
        let mut woken = self.woken.lock().unwrap();
        assert!(!woken.contains(&token), "a watcher is woken once until it has looked");
        woken.push(token);
    }
}

/// How a connection is served.
enum Serving {
    Shard {
        channels: Vec<Arc<Channel>>,
        progress: Progress,
        /// The rest of a frame that the socket did not take.
        pending: Option<Bytes>,
        /// It may be due something.
        ready: bool,
    },
    Alone(Box<Subscription>),
}

struct Connection {
    serving: Serving,
    /// Indices of its channels.
    channels: Vec<usize>,
    /// Taken by the socket and not yet arrived.
    in_flight: Vec<u8>,
    /// The id that it asked for and that is not known.
    asked: Option<String>,
    /// The newest offset when it began.
    began: u64,
}

struct Seat {
    who: ops::Client,
    client: Client,
    profile: Arc<Profile>,
    /// The channels that it asks for.
    channels: Vec<usize>,
    connection: Option<Connection>,
}

struct World {
    setting: Setting,
    hub: Arc<Hub>,
    shard: Arc<Shard>,
    watcher: Arc<dyn Watcher>,
    gatherer: Gatherer,
    names: Vec<ChannelName>,
    book: Book,
    seats: Vec<Option<Seat>>,
    told: Tellings,
    /// The one that tells everything, and the quiet one.
    profiles: [Arc<Profile>; 2],
    /// Texts and ids given so far.
    given: u64,
    keys: HashMap<(usize, u8), (u8, Millis, u64)>,
}

impl World {
    fn new(setting: Setting) -> Self {
        let names: Vec<_> = (0..CHANNELS).map(Self::name).collect();
        let hub = Self::hub(&setting, Millis(1_000_000));
        let book = Self::book(&setting, &hub, &names);
        let shard = Arc::new(Shard::default());
        let watcher: Arc<dyn Watcher> = Arc::clone(&shard) as _;
        let seats = (0..SUBSCRIBERS).map(|_| None).collect();
        let (gatherer, told) = (Gatherer::default(), Tellings::default());
        let profiles = [false, true].map(|quiet| Dress::profile(quiet, &told));
        let (given, keys) = (0, HashMap::new());
        Self { setting, hub, shard, watcher, gatherer, names, book, seats, told, profiles, given, keys }
    }

    fn name(n: usize) -> ChannelName {
        let name = if n == CHANNELS - 1 { "strict.last".to_owned() } else { format!("c{n}") };
        ChannelName::parse(&name).unwrap()
    }

    fn hub(setting: &Setting, time: Millis) -> Arc<Hub> {
        let journal = Arc::new(MemoryJournal::new(Duration::from_millis(WINDOW), 1000));
        let retention = Retention::new(setting.limits, [("strict.".to_owned(), setting.strict)]);
        Arc::new(Hub::new(journal, retention, setting.hub, Clock::manual(time)))
    }

    fn book(setting: &Setting, hub: &Hub, names: &[ChannelName]) -> Book {
        Book::new(hub, names, |n| if n == CHANNELS - 1 { setting.strict } else { setting.limits })
    }

    fn time(&self) -> Millis {
        self.hub.clock().now()
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Publish { channel, body, own, event, ends } => self.publish(channel, &body, own, event, ends),
            Op::Burst(n) => (0..usize::from(n)).for_each(|at| {
                self.publish(at % CHANNELS, &Body::Small(n), Own::None, false, false);
            }),
            Op::Keyed { channel, key, body } => self.publish_keyed(channel, key, body),
            Op::End { channel, body } => self.end(channel, &body),
            Op::Pass(millis) => {
                self.hub.clock().advance(Duration::from_millis(millis.into()));
                self.hub.maintain();
                self.compare();
                self.book.check_memory(true);
                self.book.check_ages(self.time());
            }
            Op::Arrive { at, client: who, how } => {
                self.leave(at);
                let client = Client::new(who.framing, who.quiet);
                let profile = Arc::clone(&self.profiles[usize::from(who.quiet)]);
                let channels = Book::names(who.channels);
                self.seats[at] = Some(Seat { who, client, profile, channels, connection: None });
                self.connect(at, &how);
            }
            Op::Send { at, room } => {
                let room = match room {
                    Room::Bytes(n) => n.into(),
                    Room::All => usize::MAX,
                };
                self.send(at, room);
            }
            Op::Deliver { at, bytes } => self.deliver(at, Some(bytes)),
            Op::Cut { at, bytes } => {
                self.deliver(at, Some(bytes));
                self.leave(at);
            }
            Op::Return { at, how } => {
                self.leave(at);
                self.connect(at, &how);
            }
            Op::Restart => self.restart(),
            Op::Settle => self.settle(),
        }
    }

    fn compare(&mut self) {
        self.book.compare(&self.hub, self.hub.clock().now());
    }

    fn text(&mut self, body: &Body) -> String {
        self.given += 1;
        let filler = |n: usize| format!("{} {}", self.given, "x".repeat(n));
        match body {
            Body::Empty => String::new(),
            Body::Small(n) => filler((*n).into()),
            Body::Breaks(n) => {
                let breaks =
                    (0..*n).map(|i| ["\n", "\r", "\r\n", "a\n", "\u{2028}é", ": id: x"][usize::from(i ^ n) % 6]);
                format!("{}{}", self.given, breaks.collect::<String>())
            }
            Body::Large(n) => filler((*n).into()),
            Body::Huge => filler(Batch::MAX_BYTES + 7),
        }
    }

    fn publish(&mut self, channel: usize, body: &Body, own: Own, event: bool, ends: bool) {
        let data = self.text(body);
        let own = match own {
            Own::None => None,
            Own::New => Some(format!("new-{}", self.given)),
            Own::Again(n) => Some(format!("again-{n}")),
        };
        let event = event.then(|| "tick".to_owned());
        let name = event.as_deref().map(|name| EventName::parse(name).unwrap());
        let id = own.as_deref().map(|id| EventId::parse(id).unwrap());
        let said = NewMessage { data: &data, event: name.as_ref(), id: id.as_ref() };
        let one = Publish { channel: &self.names[channel], said, key: None, ends, traits: Traits::default() };
        let published = now(self.hub.publish(one)).unwrap();
        assert_eq!((published.duplicate, published.subscribers), (false, self.book.pages[channel].watchers));
        let time = self.time();
        let offset = published.position.offset.0;
        self.book.add(channel, Written { offset, data, event, own, is_end: false, time });
        if ends {
            self.add_end(channel, offset + 1, String::new());
        }
        self.compare();
        self.book.check_memory(false);
    }

    fn add_end(&mut self, channel: usize, offset: u64, data: String) {
        let time = self.time();
        self.book.add(channel, Written { offset, data, event: None, own: None, is_end: true, time });
    }

    fn publish_keyed(&mut self, channel: usize, key: u8, body: u8) {
        let time = self.time();
        let data = format!("keyed {body}");
        let name = IdempotencyKey::parse(&[key]).unwrap();
        let before = self.keys.get(&(channel, key)).copied().filter(|(_, at, _)| at.0 + WINDOW > time.0);
        for round in 0..2 {
            let said = NewMessage { data: &data, event: None, id: None };
            let one = Publish {
                channel: &self.names[channel],
                said,
                key: Some(&name),
                ends: false,
                traits: Traits::default(),
            };
            let answer = now(self.hub.publish(one));
            match self.keys.get(&(channel, key)).copied().filter(|_| round > 0).or(before) {
                Some((other, ..)) if other != body => {
                    assert_eq!(answer, Err(PublishError::Journal(AppendError::KeyReused)));
                }
                Some((.., offset)) => {
                    let published = answer.unwrap();
                    assert_eq!((published.duplicate, published.position.offset.0), (true, offset));
                }
                None => {
                    let published = answer.unwrap();
                    assert!(!published.duplicate);
                    let offset = published.position.offset.0;
                    self.keys.insert((channel, key), (body, time, offset));
                    let data = data.clone();
                    self.book.add(channel, Written { offset, data, event: None, own: None, is_end: false, time });
                }
            }
            self.compare();
        }
    }

    fn end(&mut self, channel: usize, body: &Body) {
        let data = self.text(body);
        let published = now(self.hub.end(&self.names[channel], &data)).unwrap();
        self.book.clear(channel);
        self.add_end(channel, published.position.offset.0, data);
        self.compare();
    }

    fn restart(&mut self) {
        for at in 0..SUBSCRIBERS {
            self.deliver(at, Some(9_999));
            self.leave(at);
        }
        let time = self.time();
        self.hub = Self::hub(&self.setting, time);
        self.shard = Arc::new(Shard::default());
        self.watcher = Arc::clone(&self.shard) as _;
        self.book = Self::book(&self.setting, &self.hub, &self.names);
        self.keys.clear();
        for seat in self.seats.iter_mut().flatten() {
            seat.client.received.clear();
        }
    }

    /// Bytes arrive: so many, wrapped into what there is; or all.
    fn deliver(&mut self, at: usize, bytes: Option<u16>) {
        let Some(seat) = &mut self.seats[at] else { return };
        let Some(connection) = &mut seat.connection else { return };
        let there = connection.in_flight.len();
        let bytes = bytes.map_or(there, |bytes| usize::from(bytes) % (there + 1));
        let arrived: Vec<_> = connection.in_flight.drain(..bytes).collect();
        seat.client.take(&arrived, &self.book);
    }

    /// The connection breaks; what did not arrive is lost.
    fn leave(&mut self, at: usize) {
        let Some(connection) = self.seats[at].as_mut().and_then(|seat| seat.connection.take()) else { return };
        for &channel in &connection.channels {
            self.book.pages[channel].watchers -= 1;
        }
        match connection.serving {
            Serving::Shard { channels, .. } => {
                for (channel, &token) in channels.iter().zip(&connection.channels) {
                    self.hub.unwatch(channel, &self.watcher, token);
                }
            }
            Serving::Alone(subscription) => drop(subscription),
        }
        // A note of a channel that the shard has left is void; coming back is a new watch.
        let stays = |token: &usize| {
            let connections = self.seats.iter().flatten().filter_map(|seat| seat.connection.as_ref());
            let mut sharded = connections.filter(|connection| matches!(connection.serving, Serving::Shard { .. }));
            sharded.any(|connection| connection.channels.contains(token))
        };
        self.shard.woken.lock().unwrap().retain(stays);
        self.compare();
    }

    /// What the client says about where it wants to begin, in the hub's words.
    fn start(&self, client: &Client, how: &How) -> StartAt {
        let after = |id: String| StartAt::After(id.into_bytes().into());
        match how {
            How::Again | How::AgainOn(_) if client.last_id.is_empty() => StartAt::Live,
            How::Again | How::AgainOn(_) => StartAt::After(client.last_id.clone().into()),
            How::Live => StartAt::Live,
            How::Last(n) => StartAt::Last((*n).into()),
            How::Since(ago) => StartAt::Since(self.time().minus(Duration::from_millis((*ago).into()))),
            How::Oldest => StartAt::Oldest,
            How::Past(n) => after(position(self.book.epoch, self.book.counter().saturating_sub((*n).into()))),
            How::Future(n) => after(position(self.book.epoch, self.book.counter() + 1 + u64::from(*n))),
            How::Foreign(n) => after(position(fantail_hub::Epoch::new(7), (*n).into())),
            How::Given(n) => after(format!("again-{n}")),
            How::Unknown(n) => after(format!("unknown-{n}")),
            How::Garbage => StartAt::After(b"\xff\0~1.".as_slice().into()),
        }
    }

    /// For each channel, the offset behind which the start stands; and whether that has to be told as unknown.
    fn expected(&self, channels: &[usize], start: &StartAt) -> Vec<Option<u64>> {
        let page = |&channel: &usize| &self.book.pages[channel];
        let before = |kept: &[Written], n: usize, last: u64| kept.get(n).map_or(last, |first| first.offset - 1);
        let each = |of: &dyn Fn(&usize) -> u64| channels.iter().map(|channel| Some(of(channel))).collect();
        match start {
            StartAt::Live => each(&|_| self.book.counter()),
            StartAt::Last(n) => each(&|channel| {
                let kept = page(channel).kept();
                before(kept, kept.len().saturating_sub(*n), page(channel).last())
            }),
            StartAt::Since(time) => each(&|channel| {
                let kept = page(channel).kept();
                let older = kept.iter().take_while(|written| written.time < *time).count();
                before(kept, older, page(channel).last())
            }),
            StartAt::Oldest => each(&|channel| before(page(channel).kept(), 0, page(channel).last())),
            StartAt::After(id) => match self.book.stands(id, channels) {
                Stands::Behind(offset) => each(&|_| offset),
                Stands::Unknown => channels.iter().map(|_| None).collect(),
            },
        }
    }

    fn connect(&mut self, at: usize, how: &How) {
        let Some(mut seat) = self.seats[at].take() else { return };
        let before = seat.channels.clone();
        if let How::AgainOn(channels) = how {
            seat.channels = Book::names(*channels);
        }
        let channels = seat.channels.clone();
        let start = self.start(&seat.client, how);
        let names: Vec<_> = channels.iter().map(|&channel| self.names[channel].clone()).collect();
        // Makes the channels that are not there, with whatever floor they get.
        let _ = now(self.hub.plan(&names, StartAt::Live));
        self.compare();
        let expected = self.expected(&channels, &start);
        Self::check_return(&mut seat, how, &start, &expected, &before);
        let plan = now(self.hub.plan(&names, start.clone()));
        self.compare();
        let over = channels.iter().zip(&expected).all(|(&channel, done)| {
            let page = &self.book.pages[channel];
            page.ended && done.is_some_and(|done| page.last() <= done)
        });
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                assert_eq!(error, SubscribeError::Ended);
                assert!(over, "{start:?} on {channels:?} was told of an end that is none");
                self.seats[at] = Some(seat);
                return;
            }
        };
        assert!(!over, "{start:?} on {channels:?} waits for what has ended");

        let asked = match &start {
            StartAt::After(id) if expected[0].is_none() => Some(String::from_utf8_lossy(id).into_owned()),
            _ => None,
        };
        assert!(asked.is_none() || plan.announce.is_none(), "a gap that is to be told first must not be skipped");
        let mut in_flight = Vec::new();
        if let Some(announce) = plan.announce {
            let least = expected.iter().flatten().min();
            assert_eq!(Some(&announce.offset.0).min(least), Some(&announce.offset.0), "the start id skips something");
            let mut content = Vec::new();
            encode::id(&mut content, &announce.to_string());
            encode::end(&mut content);
            seat.who.framing.wrap(&mut in_flight, &content);
        }
        let done: BTreeMap<_, _> = channels.iter().copied().zip(expected).collect();
        seat.client.connect(done);
        let serving = match seat.who.served {
            Served::Shard => {
                let watched = plan.channels.into_iter().zip(&channels);
                let watched = watched.map(|(channel, &token)| {
                    channel.watch(&self.watcher, token);
                    channel
                });
                Serving::Shard { channels: watched.collect(), progress: plan.progress, pending: None, ready: true }
            }
            Served::Alone => {
                let profile = Arc::clone(&seat.profile);
                let alone = Subscription::new(Arc::clone(&self.hub), plan, profile, seat.who.framing);
                Serving::Alone(Box::new(alone))
            }
        };
        let began = self.book.counter();
        for &channel in &channels {
            self.book.pages[channel].watchers += 1;
        }
        seat.connection = Some(Connection { serving, channels, in_flight, asked, began });
        self.seats[at] = Some(seat);
        self.compare();
    }

    /// What a client that comes back may get again: nothing, but where its id cannot say where it stood.
    fn check_return(seat: &mut Seat, how: &How, start: &StartAt, expected: &[Option<u64>], before: &[usize]) {
        let StartAt::After(id) = start else {
            seat.client.received.clear();
            return;
        };
        let reused = id.starts_with(b"again-");
        match (how, expected[0]) {
            (How::Again | How::AgainOn(_), Some(stands)) if !reused => {
                // The client's own account of where it is, from complete events alone.
                assert_eq!(stands, seat.client.seen, "{} stands elsewhere", String::from_utf8_lossy(id));
            }
            // The publisher's id of a single channel is not kept any more: then neither is what came before it.
            (How::Again, None) if id.starts_with(b"new-") && before.len() == 1 => {}
            _ => seat.client.received.clear(),
        }
        if !matches!(how, How::Again | How::AgainOn(_)) {
            seat.client.last_id = id.to_vec();
        }
        let place = Position::parse(id).map(|position| position.offset.0);
        seat.client.seen = expected[0].or(place).unwrap_or(0);
    }

    /// A socket takes up to `room` bytes.
    fn send(&mut self, at: usize, room: usize) {
        self.hear();
        let Some(mut seat) = self.seats[at].take() else { return };
        if let Some(connection) = &mut seat.connection {
            let ended = match &mut connection.serving {
                Serving::Shard { .. } => self.send_as_shard(connection, &seat.profile, seat.who.framing, room),
                Serving::Alone(subscription) => Self::send_alone(subscription, &mut connection.in_flight, room),
            };
            if let Some(ended) = ended {
                let all = connection.channels.iter().all(|&channel| self.book.pages[channel].ended);
                assert_eq!(ended, all, "everything was taken");
            }
            self.check_told(connection.asked.as_deref(), None);
        }
        self.seats[at] = Some(seat);
    }

    /// Those whose channels have news are ready.
    fn hear(&mut self) {
        let woken = std::mem::take(&mut *self.shard.woken.lock().unwrap());
        for &token in &woken {
            let channel = self.hub.find(&self.names[token]).expect("it has news");
            channel.seen(&self.watcher, token);
        }
        for connection in self.seats.iter_mut().flatten().filter_map(|seat| seat.connection.as_mut()) {
            if let Serving::Shard { ready, .. } = &mut connection.serving {
                *ready |= connection.channels.iter().any(|channel| woken.contains(channel));
            }
        }
    }

    /// Serves a connection until the socket is full or nothing is due; then whether it has ended.
    fn send_as_shard(
        &mut self,
        connection: &mut Connection,
        profile: &Arc<Profile>,
        framing: Framing,
        mut room: usize,
    ) -> Option<bool> {
        let Serving::Shard { channels, progress, pending, ready } = &mut connection.serving else { unreachable!() };
        let mut full = false;
        loop {
            if let Some(rest) = pending {
                let sent = room.min(rest.len());
                connection.in_flight.extend_from_slice(&rest.split_to(sent));
                room -= sent;
                if !rest.is_empty() {
                    return None;
                }
                *pending = None;
            }
            let view = self.hub.view();
            let all = channels.iter().map(|channel| &**channel).enumerate();
            if !*ready {
                let more = due_of(self.gatherer.gather(view, &all, &[], progress, profile, framing));
                assert!(more.is_none(), "something is due and nobody was woken");
                return Some(has_ended(channels.iter().map(|channel| &**channel), progress));
            }
            let Some(batch) = due_of(self.gatherer.gather(view, &all, &[], progress, profile, framing)) else {
                assert!(!std::mem::take(&mut full), "nothing was left of a batch that said so");
                *ready = false;
                continue;
            };
            assert!(!has_ended(channels.iter().map(|channel| &**channel), progress), "something is due after the end");
            check_batch(&batch, progress.cursor());
            self.check_told(connection.asked.as_deref(), Some(progress.cursor()));
            if let [channel] = &channels[..] {
                self.check_suits(&batch, channel, view, progress, profile, framing);
            }
            let sent = room.min(batch.bytes.len());
            connection.in_flight.extend_from_slice(&batch.bytes[..sent]);
            room -= sent;
            if sent == 0 && !batch.bytes.is_empty() {
                return None;
            }
            if sent == batch.bytes.len() {
                assert!(sent == 0 || batch.cut(sent) == (batch.next(), None));
                progress.advance(batch.next());
                *ready = batch.full;
                full = batch.full;
            } else {
                let (next, rest) = batch.cut(sent);
                if let Some(rest) = &rest {
                    let frame = batch.frames.iter().find(|frame| frame.end > sent).unwrap();
                    assert_eq!((next, &rest[..]), (frame.next, &batch.bytes[sent..frame.end]), "one frame is held");
                }
                progress.advance(next);
                *pending = rest;
            }
            let is_past = progress.cursor().next() > connection.began + 1;
            assert!(!is_past || progress.is_plain(), "where it began does not matter any more");
        }
    }

    /// Serves a subscription, which gives whole batches, until enough was given or nothing is due; then whether it has ended.
    fn send_alone(subscription: &mut Subscription, in_flight: &mut Vec<u8>, room: usize) -> Option<bool> {
        let mut given = 0;
        while given < room {
            let next = std::pin::pin!(subscription.next()).poll(&mut Context::from_waker(Waker::noop()));
            match next {
                Poll::Ready(Ok(Some(batch))) => {
                    given += batch.bytes.len();
                    in_flight.extend_from_slice(&batch.bytes);
                }
                Poll::Ready(Ok(None)) => return Some(true),
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => return Some(false),
            }
        }
        None
    }

    /// The gaps that were just told stand at their channels' floors, say where the subscriber stood, and quote nobody else.
    fn check_told(&self, asked: Option<&str>, cursor: Option<Cursor>) {
        for told in self.told.take() {
            let page = self.book.pages.iter().find(|page| page.name.as_str() == told.channel).unwrap();
            assert_eq!(told.lost_to.0, page.floor(), "{}", told.channel);
            assert!(
                told.asked.is_none() || told.asked.as_deref() == asked,
                "{told:?} was told to one who asked {asked:?}"
            );
            if let Some(cursor) = cursor {
                assert_eq!(told.seen, cursor.seen());
                assert!(cursor != Cursor::BEGIN || told.asked.is_some(), "what was asked is not told");
            }
        }
    }

    /// A batch is due to whom it says it is, to the byte.
    fn check_suits(
        &mut self,
        batch: &Batch,
        channel: &Arc<Channel>,
        view: View,
        progress: &Progress,
        profile: &Profile,
        framing: Framing,
    ) {
        let next = progress.cursor().next();
        let first = batch.frames[0].next.next();
        for near in [next.saturating_sub(3), next.saturating_sub(2), next, next + 1, first - 1, first] {
            let near = near.clamp(1, self.book.counter() + 1);
            let id = position(self.book.epoch, near - 1).into_bytes();
            let Ok(plan) = now(self.hub.plan(&[channel.name().clone()], StartAt::After(id.into()))) else { continue };
            assert_eq!((plan.progress.is_plain(), plan.progress.cursor().next()), (true, near));
            let one = std::iter::once((0, &**channel));
            let due = due_of(self.gatherer.gather(view, &one, &[], &plan.progress, profile, framing));
            let alike = due.is_some_and(|due| due.bytes == batch.bytes && due.frames == batch.frames);
            if batch.suits(plan.progress.cursor()) {
                assert!(alike, "a batch for {next} does not suit {near}");
            } else if near == next && progress.is_plain() {
                panic!("a batch for {next} does not suit its own cursor");
            }
        }
        self.told.take();
    }

    /// Everybody gets everything.
    fn settle(&mut self) {
        for at in 0..SUBSCRIBERS {
            self.send(at, usize::MAX);
            self.deliver(at, None);
            if let Some(seat) = &self.seats[at]
                && seat.connection.is_some()
            {
                seat.client.check_settled(&self.book);
            }
        }
    }
}

/// What holds for every batch: invariant 3.
fn check_batch(batch: &Batch, cursor: Cursor) {
    assert!(!batch.frames.is_empty());
    assert!(batch.bytes.len() <= Batch::MAX_BYTES || batch.frames.len() == 1, "{} bytes", batch.bytes.len());
    assert_eq!(batch.frames.last().unwrap().end, batch.bytes.len());
    assert!(batch.frames.is_sorted_by(|a, b| a.end <= b.end && a.next < b.next));
    assert!(batch.frames[0].next > cursor);
    assert!(batch.next().seen().is_some_and(|offset| offset <= Offset::MAX));
}
