//! Shards: threads that own the sockets of subscribers and hand them what their channels hold. Knows the hub and sockets;
//! knows neither HTTP nor a dialect: what a stream says at its start, in a ping and at its end are given bytes.

mod batches;
mod conn;
mod inbox;
#[cfg(test)]
mod plain;
mod replay;
mod room;
mod shard;
mod ticket;
mod wheel;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use fantail_hub::{Batch, Channel, ChannelName, Framing, Hub, Plan, Profile};
use tokio::sync::oneshot;

use crate::admission::Place;
use crate::metrics::{Metrics, ShardMetrics};
use inbox::{Command, Inbox};
pub use ticket::Ticket;

/// Said where a body of chunks breaks off. Closing the connection is not enough: where an answer says `Connection: close`,
/// the `fetch` of Node takes any end of the connection for the end of the body. Whoever reads no further than the digits
/// waits for more than will come.
const NO_CHUNK: &[u8] = b"ffff-broken-off\r\n";

/// How the streams of one route behave. Shared by all of them.
#[derive(Debug)]
pub struct Style {
    /// How their messages look.
    pub profile: Arc<Profile>,
    /// A connection that was silent for so long gets `ping_text`; zero for never.
    pub ping: Duration,
    /// A gap carries an id, so that a request which waits for a single answer may be answered with it alone. Without an id
    /// it would be asked for again at once, for ever: then such a request waits on for a message.
    pub gap_has_id: bool,
    /// What a ping says.
    pub ping_text: Bytes,
    /// What its streams say last when they end in good order, in their framing; may be empty.
    pub footer: Bytes,
    /// What its streams are told at the stop.
    pub at_stop: AtStop,
    /// How long a connection may last, at most and at least; `None` for ever.
    pub lifetime: Option<(Duration, Duration)>,
    /// How long a socket may take nothing before its subscriber is dropped; zero for ever.
    pub stall_limit: Duration,
    /// The kernel's send buffer, in bytes.
    pub send_buffer: usize,
    /// `TCP_NOTSENT_LOWAT`, in bytes: how much unsent data makes a socket "full".
    pub unsent_low: u32,
}

impl Style {
    /// What ends a stream in good order.
    fn end(&self, framing: Framing) -> Bytes {
        if self.footer.is_empty() {
            return Bytes::from_static(framing.end());
        }
        let mut out = Vec::with_capacity(self.footer.len() + 16);
        framing.wrap(&mut out, &self.footer);
        out.extend_from_slice(framing.end());
        out.into()
    }
}

/// What the stop means for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtStop {
    /// It ends, and its client is told in a `retry:` when to come back.
    ComesBack,
    /// It ends.
    Ends,
    /// It goes on while there is time, since its client would take an end in good order for the end of its channels. After
    /// that it is broken off.
    GoesOn,
}

/// What a subscriber in a shard waits for.
pub enum Errand {
    /// A stream: everything, for as long as the connection lasts. The response head has been sent.
    Stream,
    /// One answer: what is due as soon as something is, or nothing after a while. The shard writes the whole response and
    /// gives the socket back.
    Answer(Box<Answer>),
}

/// How a single answer is made and where its socket goes afterwards.
pub struct Answer {
    /// How long to wait.
    pub wait: Duration,
    /// The whole response, head and all, around what is due.
    pub response: Respond,
    /// Where the socket goes then; `None` closes it.
    pub back: Option<Box<Back>>,
}

/// How a socket goes back, once its answer is written and its next request has come.
pub struct Back {
    /// Takes it.
    pub take: TakeBack,
    /// Its next request is there.
    pub called: bool,
    /// How long it may wait for one.
    pub idle: Duration,
}

/// Makes a whole response around what is due, unframed; around nothing when nothing came in time.
pub type Respond = Box<dyn Fn(Option<&Batch>) -> Bytes + Send>;

/// Whoever has to know that a subscriber is there. It is dropped when the subscriber has gone.
pub trait Presence: Send {
    /// The subscriber stays: it streams, or nothing was due and it waits. Not called for a request that is answered at once.
    /// Called by a shard's thread, so it must only take a note.
    fn came(&mut self);
    /// It does not listen to this channel any more, and stays in its others. Called as above.
    fn left(&mut self, channel: &ChannelName);
}

/// Takes a socket that a shard is done with, its place among the connections, and what was read of it.
pub type TakeBack = Box<dyn FnOnce(TcpStream, Place, Bytes) + Send>;

/// A subscriber on its way into a shard.
pub struct Attach {
    /// The socket, non-blocking.
    pub socket: TcpStream,
    /// It was in a shard before, and so its options are set.
    pub tuned: bool,
    /// Who is at its other end.
    pub peer: SocketAddr,
    /// Its place among the connections; given back when it goes.
    pub permit: Place,
    /// What it listens to, and from where.
    pub plan: Plan,
    /// How its route behaves.
    pub style: Arc<Style>,
    /// How its frames are delimited.
    pub framing: Framing,
    /// What it was let in with.
    pub ticket: Ticket,
    /// Who has to know of it, if anybody.
    pub presence: Option<Box<dyn Presence>>,
    /// What it waits for.
    pub errand: Errand,
}

impl Attach {
    /// Says farewell to a subscriber for whom the stop was faster, as far as its socket takes it without waiting.
    fn turn_away(mut self, farewell: Farewell) {
        let words = match self.errand {
            Errand::Stream => last_words(self.framing, &self.style, farewell.window),
            Errand::Answer(answer) => (answer.response)(None),
        };
        // There is nobody left to wait for it.
        let _ = self.socket.write(&words);
    }
}

/// A subscriber as statistics name it: one that cannot keep up, or one that was asked for.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Slow {
    /// What `POST /subscribers/{id}/end` takes.
    pub id: String,
    /// Its address.
    pub peer: String,
    /// Who it is, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Its channels.
    pub channels: Vec<String>,
    /// Messages that it has not been sent.
    pub behind_messages: usize,
    /// What they cost, in bytes.
    pub behind_bytes: usize,
    /// How long its socket has taken nothing, if it is full.
    pub blocked_ms: u64,
}

impl Slow {
    /// Adds what stands in a channel from `next` on, which it was not sent.
    pub(crate) fn add_behind(&mut self, channel: &Channel, next: u64) {
        channel.read(|tail| {
            for entry in tail.from(next) {
                self.behind_messages += 1;
                self.behind_bytes += entry.message.cost();
            }
        });
    }
}

/// How the streams are told that the server stops.
#[derive(Debug, Clone, Copy)]
pub struct Farewell {
    /// Clients are told to come back after a time drawn from zero to this.
    pub window: Duration,
    /// How long a socket may take to accept the rest of the frame that it is in.
    pub frame: Duration,
    /// How long streams may last that go on.
    pub rest: Duration,
}

/// All shards.
pub struct Shards {
    inboxes: Vec<Arc<Inbox>>,
    metrics: Arc<Metrics>,
}

impl Shards {
    /// Starts one thread for each shard that `metrics` has room for.
    ///
    /// # Errors
    /// If a poller or a thread cannot be made.
    ///
    /// # Panics
    /// Outside of a runtime: what has to be read from the journal is read by its tasks.
    pub fn start(hub: &Arc<Hub>, metrics: &Arc<Metrics>) -> io::Result<Self> {
        let inboxes = metrics
            .shards
            .iter()
            .enumerate()
            .map(|(number, metrics)| shard::start(number, Arc::clone(hub), Arc::clone(metrics)))
            .collect::<io::Result<_>>()?;
        Ok(Self { inboxes, metrics: Arc::clone(metrics) })
    }

    /// Hands a subscriber to the shard with the fewest.
    pub fn attach(&self, attach: Attach) {
        let load = |metrics: &Arc<ShardMetrics>| metrics.subscribers.load(Ordering::Relaxed);
        let (at, _) = self
            .metrics
            .shards
            .iter()
            .enumerate()
            .min_by_key(|(_, metrics)| load(metrics))
            .expect("there is at least one shard");
        // Counted here, not on arrival: a burst is to be spread before the shards get to look at it.
        self.metrics.shards[at].subscribers.fetch_add(1, Ordering::Relaxed);
        if let Err((Command::Attach(late), farewell)) = self.inboxes[at].send(Command::Attach(Box::new(attach))) {
            self.metrics.shards[at].subscribers.fetch_sub(1, Ordering::Relaxed);
            late.turn_away(farewell);
        }
    }

    /// The subscribers whose sockets have been full for longest, at most `limit`.
    pub async fn slowest(&self, limit: usize) -> Vec<Slow> {
        let mut all = self.ask(|answer| Command::Slowest(limit, answer)).await.concat();
        all.sort_by_key(|slow| std::cmp::Reverse((slow.blocked_ms, slow.behind_bytes)));
        all.truncate(limit);
        all
    }

    /// Ends the subscriber of this id; false if there is none.
    pub async fn end(&self, id: &str) -> bool {
        let Some((shard, number)) = parse_id(id) else { return false };
        let Some(inbox) = self.inboxes.get(shard) else { return false };
        let (answer, wait) = oneshot::channel();
        let _ = inbox.send(Command::End(number, answer));
        wait.await.unwrap_or(false)
    }

    /// The subscribers of this identity, at most `limit`.
    pub async fn known_as(&self, identity: &Arc<str>, limit: usize) -> Vec<Slow> {
        let mut all = self.ask(|answer| Command::KnownAs(Arc::clone(identity), limit, answer)).await.concat();
        all.truncate(limit);
        all
    }

    /// Ends the subscribers of this identity; how many there were.
    pub async fn end_known_as(&self, identity: &Arc<str>) -> usize {
        self.ask(|answer| Command::EndKnownAs(Arc::clone(identity), answer)).await.into_iter().sum()
    }

    /// What the shards say to a question, one after the other.
    async fn ask<T: Default>(&self, question: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<T> {
        let mut answers = Vec::with_capacity(self.inboxes.len());
        for inbox in &self.inboxes {
            let (answer, wait) = oneshot::channel();
            // A shard that has stopped drops the sender.
            let _ = inbox.send(question(answer));
            answers.push(wait.await.unwrap_or_default());
        }
        answers
    }

    /// Says farewell to every stream and stops the threads; returns when all are gone.
    pub async fn stop(&self, farewell: Farewell) {
        let mut waits = Vec::new();
        for inbox in &self.inboxes {
            let (gone, wait) = oneshot::channel();
            let _ = inbox.send(Command::Stop(farewell, gone));
            waits.push(wait);
        }
        for wait in waits {
            // An error means that the thread is gone already, which is what was wanted.
            let _ = wait.await;
        }
    }
}

fn format_id(shard: usize, number: u64) -> String {
    format!("{shard}-{number}")
}

fn parse_id(id: &str) -> Option<(usize, u64)> {
    let (shard, number) = id.split_once('-')?;
    Some((shard.parse().ok()?, number.parse().ok()?))
}

/// The `retry:` that a farewell to event streams carries, in its framing, followed by the end of the body; or what says that
/// there will be none.
fn last_words(framing: Framing, style: &Style, window: Duration) -> Bytes {
    match style.at_stop {
        AtStop::ComesBack => {}
        AtStop::Ends => return style.end(framing),
        AtStop::GoesOn if framing == Framing::Chunked => return Bytes::from_static(NO_CHUNK),
        AtStop::GoesOn => return Bytes::new(),
    }
    let mut line = Vec::new();
    let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    fantail_sse::encode::retry(&mut line, fastrand::u64(0..=window));
    let mut out = Vec::new();
    framing.wrap(&mut out, &line);
    out.extend_from_slice(&style.end(framing));
    out.into()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use fantail_hub::hub::Publish;
    use fantail_hub::journal::MemoryJournal;
    use fantail_hub::{ChannelEnd, ChannelName, Clock, HubLimits, Limits, NewMessage, Retention, StartAt, Traits};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::fanout::plain;

    const FAREWELL: Farewell =
        Farewell { window: Duration::ZERO, frame: Duration::from_mins(1), rest: Duration::from_mins(1) };

    fn errands() -> [(Errand, &'static str); 2] {
        let response = Box::new(|due: Option<&Batch>| {
            let bytes = due.map_or(0, |batch| batch.bytes.len());
            format!("answered with {bytes} bytes").into()
        });
        let take: TakeBack = Box::new(|_, _, _| unreachable!("nobody takes a socket back at the stop"));
        let back = Some(Box::new(Back { take, called: false, idle: Duration::ZERO }));
        let answer = Answer { wait: Duration::from_mins(1), response, back };
        [(Errand::Stream, "9\r\nretry: 0\n\r\n0\r\n\r\n"), (Errand::Answer(Box::new(answer)), "answered with 0 bytes")]
    }

    /// Attaches a subscriber and returns its client.
    async fn attach(shards: &Shards, hub: &Hub, places: &Arc<Semaphore>, errand: Errand) -> TcpStream {
        attach_framed(shards, hub, places, errand, Framing::Chunked).await
    }

    async fn attach_framed(
        shards: &Shards,
        hub: &Hub,
        places: &Arc<Semaphore>,
        errand: Errand,
        framing: Framing,
    ) -> TcpStream {
        attach_styled(shards, hub, places, errand, framing, plain::style(), None).await
    }

    async fn attach_styled(
        shards: &Shards,
        hub: &Hub,
        places: &Arc<Semaphore>,
        errand: Errand,
        framing: Framing,
        style: Style,
        presence: Option<Box<dyn Presence>>,
    ) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let permit = Arc::clone(places).acquire_owned().await.unwrap().into();
        let plan = hub.plan(&[ChannelName::parse("a").unwrap()], StartAt::Live).await.unwrap();
        let style = Arc::new(style);
        let (tuned, ticket) = (false, Ticket::default());
        shards.attach(Attach { socket, tuned, peer, permit, plan, style, framing, ticket, presence, errand });
        client
    }

    async fn publish(hub: &Hub, data: &str) {
        let (channel, said) = (&ChannelName::parse("a").unwrap(), NewMessage { data, event: None, id: None });
        hub.publish(Publish { channel, said, key: None, ends: false, traits: Traits::default() }).await.unwrap();
    }

    /// The connections that get a closing message end behind it, also where it does not fit into their sockets at once; the
    /// channel goes on for those who come later.
    #[tokio::test]
    async fn message_that_closes_ends_the_connections_that_get_it() {
        let journal = Arc::new(MemoryJournal::new(Duration::ZERO, 0));
        let limits = HubLimits { message: 16 << 20, ..HubLimits::default() };
        let retention = Retention::new(Limits { bytes: 64 << 20, ..Limits::default() }, []);
        let hub = Arc::new(Hub::new(journal, retention, limits, Clock::system()));
        let metrics = Arc::new(Metrics::new(1));
        let shards = Shards::start(&hub, &metrics).unwrap();
        let places = Arc::new(Semaphore::new(3));
        // More than what both sockets hold.
        let large = "x".repeat(8 << 20) + "close";
        for last in ["close", &large] {
            let mut clients = [
                attach(&shards, &hub, &places, Errand::Stream).await,
                attach(&shards, &hub, &places, Errand::Stream).await,
            ];
            for data in ["first", last, "second"] {
                publish(&hub, data).await;
            }
            let expected = format!("6\r\nfirst\n\r\n{:x}\r\n{last}\n\r\n0\r\n\r\n", last.len() + 1);
            for client in &mut clients {
                let mut said = String::new();
                client.read_to_string(&mut said).unwrap();
                assert!(said == expected, "{} bytes, not {}", said.len(), expected.len());
            }
            let mut late = attach(&shards, &hub, &places, Errand::Stream).await;
            publish(&hub, "third").await;
            let mut said = [0; 11];
            late.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"6\r\nthird\n\r\n");
        }
        shards.stop(FAREWELL).await;
    }

    /// A client can tell a channel whose source broke off from one that ended, in either framing.
    #[tokio::test]
    async fn broken_channel_breaks_its_streams_off() {
        for end in [ChannelEnd::Clean, ChannelEnd::Broken] {
            let journal = Arc::new(MemoryJournal::new(Duration::ZERO, 0));
            let retention = Retention::new(Limits::default(), []);
            let hub = Arc::new(Hub::new(journal, retention, HubLimits::default(), Clock::system()));
            let metrics = Arc::new(Metrics::new(1));
            let shards = Shards::start(&hub, &metrics).unwrap();
            let places = Arc::new(Semaphore::new(2));
            let mut chunked = attach_framed(&shards, &hub, &places, Errand::Stream, Framing::Chunked).await;
            let mut raw = attach_framed(&shards, &hub, &places, Errand::Stream, Framing::Raw).await;
            let channel = ChannelName::parse("a").unwrap();
            let said = NewMessage { data: "x", event: None, id: None };
            hub.publish(Publish { channel: &channel, said, key: None, ends: false, traits: Traits::default() })
                .await
                .unwrap();
            hub.close(&hub.find(&channel).unwrap(), end).await;

            let mut said = String::new();
            chunked.read_to_string(&mut said).unwrap();
            let expected = if end == ChannelEnd::Clean { "0\r\n\r\n" } else { "ffff-broken-off\r\n" };
            assert_eq!(said.strip_prefix("2\r\nx\n\r\n"), Some(expected));
            let mut said = Vec::new();
            let read = raw.read_to_end(&mut said);
            assert_eq!(said, b"x\n");
            if end == ChannelEnd::Clean {
                read.unwrap();
            } else {
                assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            }
            drop((chunked, raw));
            shards.stop(FAREWELL).await;
        }
    }

    #[tokio::test]
    async fn footer_stands_before_every_end_in_good_order() {
        let journal = Arc::new(MemoryJournal::new(Duration::ZERO, 0));
        let retention = Retention::new(Limits::default(), []);
        let hub = Arc::new(Hub::new(journal, retention, HubLimits::default(), Clock::system()));
        let metrics = Arc::new(Metrics::new(1));
        let shards = Shards::start(&hub, &metrics).unwrap();
        let places = Arc::new(Semaphore::new(3));
        let style = |at_stop| Style { footer: Bytes::from_static(b"bye"), at_stop, ..plain::style() };
        let lasting = Duration::from_millis(20);
        let mut clients = Vec::new();
        for style in [
            Style { lifetime: Some((lasting, lasting)), ..style(AtStop::Ends) },
            style(AtStop::Ends),
            style(AtStop::ComesBack),
        ] {
            let stream = Errand::Stream;
            clients.push(attach_styled(&shards, &hub, &places, stream, Framing::Chunked, style, None).await);
        }
        let read = |client: &mut TcpStream| {
            let mut said = String::new();
            client.read_to_string(&mut said).unwrap();
            said
        };
        assert_eq!(read(&mut clients[0]), "3\r\nbye\r\n0\r\n\r\n", "its lifetime is over");
        let channel = hub.find(&ChannelName::parse("a").unwrap()).unwrap();
        drop(clients.remove(0));
        let stop = async {
            tokio::task::yield_now().await;
            shards.stop(FAREWELL).await;
        };
        let said = tokio::task::spawn_blocking(move || {
            let said = [read(&mut clients[0]), read(&mut clients[1])];
            drop(clients);
            said
        });
        let (said, ()) = tokio::join!(said, stop);
        assert_eq!(said.unwrap(), ["3\r\nbye\r\n0\r\n\r\n", "9\r\nretry: 0\n\r\n3\r\nbye\r\n0\r\n\r\n"]);
        drop(channel);
    }

    /// Takes notes of a subscriber.
    struct Notes(&'static str, std::sync::mpsc::SyncSender<String>);

    impl Presence for Notes {
        fn came(&mut self) {
            self.1.send(format!("{} came", self.0)).unwrap();
        }

        fn left(&mut self, channel: &ChannelName) {
            self.1.send(format!("{} left {channel}", self.0)).unwrap();
        }
    }

    impl Drop for Notes {
        fn drop(&mut self) {
            self.1.send(format!("{} went", self.0)).unwrap();
        }
    }

    #[tokio::test]
    async fn presence_is_told_of_those_who_stay_and_dropped_with_them() {
        let journal = Arc::new(MemoryJournal::new(Duration::ZERO, 0));
        let retention = Retention::new(Limits::default(), []);
        let hub = Arc::new(Hub::new(journal, retention, HubLimits::default(), Clock::system()));
        let metrics = Arc::new(Metrics::new(1));
        let shards = Shards::start(&hub, &metrics).unwrap();
        let places = Arc::new(Semaphore::new(3));
        let (tell, told) = std::sync::mpsc::sync_channel(8);
        let wait = |told: &std::sync::mpsc::Receiver<String>| told.recv_timeout(Duration::from_secs(20)).unwrap();
        let [_, (answer, _)] = errands();
        for (name, errand) in [("stream", Errand::Stream), ("answer", answer)] {
            let presence: Box<dyn Presence> = Box::new(Notes(name, tell.clone()));
            let style = plain::style();
            let client = attach_styled(&shards, &hub, &places, errand, Framing::Raw, style, Some(presence)).await;
            assert_eq!(wait(&told), format!("{name} came"));
            drop(client);
            assert_eq!(wait(&told), format!("{name} went"));
        }
        shards.stop(FAREWELL).await;
        // Who is answered at once was never there.
        let [_, (answer, _)] = errands();
        let presence: Box<dyn Presence> = Box::new(Notes("late", tell));
        drop(attach_styled(&shards, &hub, &places, answer, Framing::Raw, plain::style(), Some(presence)).await);
        assert_eq!(wait(&told), "late went");
    }

    /// Whoever arrives during the stop, or after it, is told like those who were there, and gives its place back.
    #[tokio::test]
    async fn attach_at_the_stop_is_told_all_the_same() {
        let journal = Arc::new(MemoryJournal::new(Duration::ZERO, 0));
        let retention = Retention::new(Limits::default(), []);
        let hub = Arc::new(Hub::new(journal, retention, HubLimits::default(), Clock::system()));
        let metrics = Arc::new(Metrics::new(1));
        let shards = Shards::start(&hub, &metrics).unwrap();
        let places = Arc::new(Semaphore::new(3));
        let mut said = String::new();

        // The first keeps the shard for as long as it does not close.
        let mut first = attach(&shards, &hub, &places, Errand::Stream).await;
        let mut stop = std::pin::pin!(shards.stop(FAREWELL));
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut stop).await.is_err());
        for (errand, words) in errands() {
            let mut client = attach(&shards, &hub, &places, errand).await;
            said.clear();
            client.read_to_string(&mut said).unwrap();
            assert_eq!(said, words, "during the stop");
        }
        first.read_to_string(&mut said).unwrap();
        drop(first);
        stop.await;

        for (errand, words) in errands() {
            let mut client = attach(&shards, &hub, &places, errand).await;
            said.clear();
            client.read_to_string(&mut said).unwrap();
            assert_eq!(said, words, "after the stop");
        }
        assert_eq!(places.available_permits(), 3);
        assert_eq!(metrics.sum(|shard| &shard.subscribers), 0);
    }
}
