//! Every figure that Fantail keeps, as typed fields with their names and help texts in one place. Callers count; nobody
//! else knows how the figures are published.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fantail_hub::Hub;

use crate::journal::disk::DiskJournal;
use crate::journal::disk::figures::Figures;

/// A number that only grows, or one that goes up and down; which of them, [`Metrics::figures`] says.
pub type Number = AtomicU64;

/// The figures of one shard. Only its own thread writes them, except `subscribers`.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Its thread, as the system numbers it.
    pub thread: Number,
    /// Subscribers at present, on their way included.
    pub subscribers: Number,
    /// Channels that they listen to, counted once for each subscriber.
    pub subscriptions: Number,
    /// Connections that were answered and have not asked again.
    pub resting: Number,
    /// Of the subscribers, whose sockets are full.
    pub blocked: Number,
    /// Channels that they listen to.
    pub rooms: Number,
    /// Messages handed to sockets, counted once per subscriber.
    pub deliveries: Number,
    /// Writes to sockets.
    pub writes: Number,
    /// Bytes handed to sockets.
    pub sent_bytes: Number,
    /// Gaps told to subscribers.
    pub gaps: Number,
    /// Pages of history that were read from the journal.
    pub pages: Number,
    /// Pings sent.
    pub pings: Number,
    /// Subscribers ever.
    pub attached: Number,
    /// Subscribers that left.
    pub left: Number,
    /// Subscribers whose socket failed or whose peer vanished.
    pub failed: Number,
    /// Subscribers dropped because their socket took nothing for too long.
    pub stalled: Number,
    /// Subscribers whose channels or lifetime ended, or who were ended by name.
    pub ended: Number,
    /// Streams cut because they did not take their last bytes in time.
    pub cut: Number,
    /// Single answers given (`?wait`).
    pub answers: Number,
}

/// The figures of the listeners and routes.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    /// Connections at present, streams not counted.
    pub connections: Number,
    /// Connections ever accepted.
    pub accepted: Number,
    /// Connections refused, for whatever reason.
    pub connections_refused: Number,
    /// Connections closed because no trusted balancer announced them (PROXY protocol).
    pub unannounced: Number,
    /// Accept calls that failed (descriptors, memory).
    pub accept_errors: Number,
    /// Requests answered.
    pub requests: Number,
    /// Requests answered with 4xx.
    pub client_errors: Number,
    /// Requests answered with 5xx.
    pub server_errors: Number,
    /// Subscribe requests refused.
    pub subscribe_refused: Number,
    /// Publish requests refused.
    pub publish_refused: Number,
    /// Requests to the control listener with a foreign `Host` or `Origin`, or without its key.
    pub control_refused: Number,
}

/// Why clients were turned away, as labels; in the order in which [`Metrics::turned`] counts them.
pub const TURNED: [&str; 10] = [
    "connections",
    "descriptors",
    "memory",
    "connections_per_ip",
    "connections_per_network",
    "connection_rate",
    "request_rate",
    "streams_per_ip",
    "streams_per_network",
    "streams_per_identity",
];

/// Why the journal refused messages, as labels.
const REFUSALS: [&str; 2] = ["full", "failing"];

/// Why requests to upstreams failed, as labels; in the order in which [`ProxyMetrics::failures`] counts them.
pub const FAILURES: [&str; 12] = [
    "connect",
    "connect_timeout",
    "all_down",
    "no_answer",
    "first_byte_timeout",
    "idle_timeout",
    "malformed",
    "truncated",
    "client_body",
    "http2",
    "loop",
    "descriptors",
];

/// Why clients were not let in, as labels; in the order in which [`AccessMetrics::denied`] counts them.
pub const DENIALS: [&str; 10] = [
    "missing",
    "malformed",
    "algorithm",
    "signature",
    "time",
    "issuer_or_audience",
    "not_granted",
    "origin",
    "application",
    "unavailable",
];

/// The figures of those who ask to be let in.
#[derive(Debug, Default)]
pub struct AccessMetrics {
    /// Requests that were not, by reason.
    pub denied: [Number; DENIALS.len()],
    /// Key sets that were fetched.
    pub fetched: Number,
    /// Key sets that could not be fetched.
    pub unfetched: Number,
    /// Questions to applications.
    pub asked: Number,
    /// Questions whose answer was known.
    pub remembered: Number,
    /// Refusals that were told to an `EventSource` as the end of a stream.
    pub softened: Number,
}

/// The figures of the proxy.
#[derive(Debug, Default)]
pub struct ProxyMetrics {
    /// Requests passed on.
    pub requests: Number,
    /// Connections to servers at present.
    pub open: Number,
    /// Connections to servers that were begun.
    pub connects: Number,
    /// Requests that went over a connection that had carried others.
    pub reused: Number,
    /// Requests that were sent once more.
    pub retries: Number,
    /// Failures, by reason.
    pub failures: [Number; FAILURES.len()],
    /// Event streams at present.
    pub streams: Number,
    /// Event streams ever.
    pub streams_ever: Number,
    /// Bytes of event streams passed on.
    pub stream_bytes: Number,
    /// Heartbeats put into event streams.
    pub beats: Number,
    /// Clients that left before their stream ended.
    pub clients_left: Number,
    /// Streams cut because the client took nothing for too long.
    pub stalled: Number,
    /// Upgraded connections at present.
    pub tunnels: Number,
    /// Event streams that were taken up again after the upstream broke off.
    pub reconnects: Number,
    /// Failures that were told to an `EventSource` as the end of a stream.
    pub softened: Number,
}

/// The figures of upstream streams that are relayed by way of a channel.
#[derive(Debug, Default)]
pub struct RelayedMetrics {
    /// Streams that are shared at present.
    pub shared: Number,
    /// Streams that are recorded at present, their upstream still being read.
    pub recording: Number,
    /// Recordings that are kept, those included.
    pub recordings: Number,
    /// Viewers let in to either.
    pub viewers: Number,
    /// Upstreams ended because nobody was left to see them.
    pub left: Number,
    /// Streams that broke off, or sent what cannot be kept.
    pub broken: Number,
}

/// The figures of subscribers over a `WebSocket`: they are in no shard.
#[derive(Debug, Default)]
pub struct WebSocketMetrics {
    /// sockets at present.
    pub open: Number,
    /// Channels that they listen to, counted once for each of them.
    pub subscriptions: Number,
    /// Sockets that are full.
    pub blocked: Number,
    /// sockets ever.
    pub opened: Number,
    /// Messages handed to them.
    pub deliveries: Number,
    /// Pings sent.
    pub pings: Number,
    /// sockets that failed or whose peer vanished.
    pub failed: Number,
    /// sockets dropped because they took nothing for too long.
    pub stalled: Number,
}

/// All of them.
#[derive(Debug)]
pub struct Metrics {
    /// One for each shard.
    pub shards: Vec<Arc<ShardMetrics>>,
    /// See [`HttpMetrics`].
    pub http: HttpMetrics,
    /// See [`AccessMetrics`].
    pub access: AccessMetrics,
    /// See [`ProxyMetrics`].
    pub proxy: Arc<ProxyMetrics>,
    /// See [`RelayedMetrics`].
    pub relayed: RelayedMetrics,
    /// See [`WebSocketMetrics`].
    pub websockets: WebSocketMetrics,
    /// Connections, requests and streams that were turned away, by reason.
    pub turned: [Number; TURNED.len()],
    /// Addresses that are remembered for their limits.
    pub remembered: Number,
}

/// Adds to a figure.
pub fn add(number: &Number, n: u64) {
    number.fetch_add(n, Ordering::Relaxed);
}

/// Takes from a figure that goes up and down.
pub fn take(number: &Number, n: u64) {
    number.fetch_sub(n, Ordering::Relaxed);
}

/// Reads a figure.
pub fn read(number: &Number) -> u64 {
    number.load(Ordering::Relaxed)
}

/// Whether a figure only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grows {
    /// It does.
    Only,
    /// It goes up and down.
    AndShrinks,
}

/// A figure as it is published.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Its name, without the `fantail_` that all have and without `_total`.
    pub name: &'static str,
    /// What it counts, with its unit.
    pub help: &'static str,
    /// Its kind.
    pub grows: Grows,
    /// What its values are told apart by.
    pub by: By,
    /// A value for each, or a single one.
    pub values: Vec<u64>,
}

/// What the values of a figure are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// There is only one.
    Nothing,
    /// The shard's number.
    Shard,
    /// These words.
    Reason(&'static [&'static str]),
}

impl By {
    /// The label of the value at this place, if values have one.
    pub fn label(self, at: usize) -> Option<(&'static str, String)> {
        match self {
            Self::Nothing => None,
            Self::Shard => Some(("shard", at.to_string())),
            Self::Reason(words) => Some(("reason", words.get(at).copied().unwrap_or_default().to_owned())),
        }
    }
}

impl Metrics {
    /// Zeros for so many shards.
    pub fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Arc::default()).collect(),
            http: HttpMetrics::default(),
            access: AccessMetrics::default(),
            proxy: Arc::default(),
            relayed: RelayedMetrics::default(),
            websockets: WebSocketMetrics::default(),
            turned: Default::default(),
            remembered: Number::default(),
        }
    }

    /// The sum of one figure over all shards.
    pub fn sum(&self, figure: impl Fn(&ShardMetrics) -> &Number) -> u64 {
        self.shards.iter().map(|shard| read(figure(shard))).sum()
    }

    /// Subscribers at present, whatever they are.
    pub fn subscribers(&self) -> u64 {
        self.sum(|shard| &shard.subscribers) + read(&self.websockets.open)
    }

    /// Channels that are listened to, counted once for each subscriber, whatever it is.
    pub fn subscriptions(&self) -> u64 {
        self.sum(|shard| &shard.subscriptions) + read(&self.websockets.subscriptions)
    }

    /// Every figure, those of the hub and of its journal included.
    pub fn figures(&self, hub: &Hub, disk: Option<&DiskJournal>) -> Vec<Figure> {
        use Grows::{AndShrinks, Only};
        type Of = fn(&ShardMetrics) -> &Number;
        let by_shard: [(&'static str, &'static str, Grows, Of); 18] = [
            ("subscribers", "subscribers at present", AndShrinks, |s| &s.subscribers),
            ("subscriptions", "channels listened to, once per subscriber", AndShrinks, |s| &s.subscriptions),
            ("resting_connections", "connections whose polls were answered and that may ask again", AndShrinks, |s| {
                &s.resting
            }),
            ("blocked_subscribers", "subscribers whose sockets are full", AndShrinks, |s| &s.blocked),
            ("subscribed_channels", "channels that have subscribers", AndShrinks, |s| &s.rooms),
            ("deliveries", "messages handed to sockets, once per subscriber", Only, |s| &s.deliveries),
            ("writes", "writes to sockets", Only, |s| &s.writes),
            ("sent_bytes", "bytes handed to sockets", Only, |s| &s.sent_bytes),
            ("gaps", "gaps told to subscribers", Only, |s| &s.gaps),
            ("pages", "pages of history read from the journal for subscribers", Only, |s| &s.pages),
            ("pings", "pings sent", Only, |s| &s.pings),
            ("attached_subscribers", "subscribers that came", Only, |s| &s.attached),
            ("left_subscribers", "subscribers that left", Only, |s| &s.left),
            ("failed_subscribers", "subscribers whose socket failed", Only, |s| &s.failed),
            ("stalled_subscribers", "subscribers dropped for taking nothing for too long", Only, |s| &s.stalled),
            ("ended_subscribers", "subscribers ended by their channels, lifetime or name", Only, |s| &s.ended),
            ("cut_subscribers", "streams cut because they did not take their last bytes in time", Only, |s| &s.cut),
            ("answers", "single answers given to waiting requests", Only, |s| &s.answers),
        ];
        let mut figures: Vec<_> = by_shard
            .into_iter()
            .map(|(name, help, grows, of)| Figure {
                name,
                help,
                grows,
                by: By::Shard,
                values: self.shards.iter().map(|shard| read(of(shard))).collect(),
            })
            .collect();
        let (http, proxy, relayed, counters) = (&self.http, &self.proxy, &self.relayed, hub.counters());
        let (sockets, access) = (&self.websockets, &self.access);
        let (bytes, accepts) = (hub.held() as u64, u64::from(hub.journal().health().is_ok()));
        figures.extend(
            [
                ("connections", "connections at present, streams not counted", AndShrinks, read(&http.connections)),
                ("accepted_connections", "connections accepted", Only, read(&http.accepted)),
                ("accept_errors", "accept calls that failed", Only, read(&http.accept_errors)),
                ("requests", "requests answered", Only, read(&http.requests)),
                ("client_errors", "requests answered with 4xx", Only, read(&http.client_errors)),
                ("server_errors", "requests answered with 5xx", Only, read(&http.server_errors)),
                ("refused_subscribes", "subscribe requests refused", Only, read(&http.subscribe_refused)),
                ("refused_publishes", "messages refused", Only, read(&http.publish_refused)),
                ("refused_control", "control requests without the right to it", Only, read(&http.control_refused)),
                ("access_keys_fetched", "key sets fetched to check tokens", Only, read(&access.fetched)),
                ("access_keys_failed", "key sets that could not be fetched", Only, read(&access.unfetched)),
                ("access_questions", "questions to applications who may come in", Only, read(&access.asked)),
                ("access_remembered", "such questions whose answer was known", Only, read(&access.remembered)),
                ("softened_refusals", "refusals told as the end of an event stream", Only, read(&access.softened)),
                ("proxy_requests", "requests passed to upstreams", Only, read(&proxy.requests)),
                ("proxy_connections", "connections to upstream servers at present", AndShrinks, read(&proxy.open)),
                ("proxy_connects", "connections to upstream servers begun", Only, read(&proxy.connects)),
                ("proxy_reused", "requests over connections that had carried others", Only, read(&proxy.reused)),
                ("proxy_retries", "requests to upstreams sent once more", Only, read(&proxy.retries)),
                ("proxy_streams", "event streams being passed on", AndShrinks, read(&proxy.streams)),
                ("proxy_streams_begun", "event streams passed on", Only, read(&proxy.streams_ever)),
                ("proxy_stream_bytes", "bytes of event streams passed on", Only, read(&proxy.stream_bytes)),
                ("proxy_heartbeats", "heartbeats put into event streams", Only, read(&proxy.beats)),
                ("proxy_clients_left", "clients that left their event stream", Only, read(&proxy.clients_left)),
                ("proxy_stalled", "event streams cut as the client took nothing", Only, read(&proxy.stalled)),
                ("proxy_tunnels", "upgraded connections at present", AndShrinks, read(&proxy.tunnels)),
                ("proxy_reconnects", "event streams taken up again", Only, read(&proxy.reconnects)),
                ("proxy_softened", "failures told as the end of an event stream", Only, read(&proxy.softened)),
                ("shared_streams", "upstream streams that are shared at present", AndShrinks, read(&relayed.shared)),
                ("recording_streams", "upstream streams being recorded", AndShrinks, read(&relayed.recording)),
                ("recordings", "recordings kept, those under way included", AndShrinks, read(&relayed.recordings)),
                ("relayed_viewers", "viewers of shared or recorded streams that came", Only, read(&relayed.viewers)),
                ("abandoned_streams", "upstreams ended as nobody was left to see them", Only, read(&relayed.left)),
                ("broken_streams", "shared or recorded streams that broke off", Only, read(&relayed.broken)),
                ("websockets", "WebSockets of subscribers at present", AndShrinks, read(&sockets.open)),
                ("websocket_subscriptions", "channels they listen to", AndShrinks, read(&sockets.subscriptions)),
                ("blocked_websockets", "WebSockets whose sockets are full", AndShrinks, read(&sockets.blocked)),
                ("websockets_opened", "WebSockets of subscribers that came", Only, read(&sockets.opened)),
                ("websocket_deliveries", "messages handed to WebSockets", Only, read(&sockets.deliveries)),
                ("websocket_pings", "pings sent to WebSockets", Only, read(&sockets.pings)),
                ("failed_websockets", "WebSockets that failed", Only, read(&sockets.failed)),
                ("stalled_websockets", "WebSockets dropped as they took nothing", Only, read(&sockets.stalled)),
                ("channels", "channels at present", AndShrinks, hub.channels() as u64),
                ("retained_bytes", "bytes that the tails hold", AndShrinks, bytes),
                ("published", "messages accepted", Only, read(&counters.published)),
                ("duplicates", "publishes answered from an idempotency key", Only, read(&counters.duplicates)),
                ("evicted", "messages dropped early for want of memory", Only, read(&counters.evicted)),
                ("collected_channels", "channels collected when idle and empty", Only, read(&counters.collected)),
                ("journal_accepting", "1 while the journal accepts messages, else 0", AndShrinks, accepts),
            ]
            .map(single),
        );
        figures.extend(disk.into_iter().flat_map(|disk| on_disk(&disk.figures())));
        figures.extend(self.at_the_door());
        figures.extend(self.by_reason());
        figures
    }
}

impl Metrics {
    /// Who was kept out before any route was looked at.
    fn at_the_door(&self) -> [Figure; 3] {
        let http = &self.http;
        [
            ("refused_connections", "connections refused", Grows::Only, read(&http.connections_refused)),
            ("unannounced_connections", "connections without a PROXY header", Grows::Only, read(&http.unannounced)),
            ("remembered_addresses", "addresses known to the limits", Grows::AndShrinks, read(&self.remembered)),
        ]
        .map(single)
    }

    /// The figures that are told apart by a reason.
    fn by_reason(&self) -> [Figure; 3] {
        let figure = |name, help, reasons, numbers: &[Number]| Figure {
            name,
            help,
            grows: Grows::Only,
            by: By::Reason(reasons),
            values: numbers.iter().map(read).collect(),
        };
        let failures = "requests to upstreams that got no answer, or not a whole one";
        let turned = "connections, requests and streams over a limit";
        let denied = "requests that were not let in, or not to all they asked for";
        [
            figure("proxy_failures", failures, &FAILURES, &self.proxy.failures),
            figure("turned_away", turned, &TURNED, &self.turned),
            figure("access_denied", denied, &DENIALS, &self.access.denied),
        ]
    }
}

/// The figures of the journal on disk.
fn on_disk(disk: &Figures) -> Vec<Figure> {
    use Grows::{AndShrinks, Only};
    let sync_time = u64::try_from(disk.sync_time.as_millis()).unwrap_or(u64::MAX);
    let mut figures = Vec::from(
        [
            ("journal_batches", "writes to the journal's log", Only, disk.batches),
            ("journal_messages", "messages in these writes", Only, disk.messages),
            ("journal_largest_batch", "messages in the largest of these writes", AndShrinks, disk.largest_batch as u64),
            ("journal_written_bytes", "bytes written to the journal's log", Only, disk.written),
            ("journal_syncs", "waits for the disk", Only, disk.syncs),
            ("journal_sync_milliseconds", "how long these waits took in all", Only, sync_time),
            ("journal_waiting", "publishers that wait for the journal", AndShrinks, disk.waiting as u64),
            ("journal_segments", "files of the journal's log", AndShrinks, disk.segments as u64),
            ("journal_bytes", "bytes of the journal on the disk", AndShrinks, disk.bytes),
            ("journal_cleaned_bytes", "bytes of the journal given back", Only, disk.cleaned),
            ("journal_damaged", "damaged stretches found in the journal", Only, disk.damaged),
            ("journal_holes", "stretches of the order where messages may be lost", AndShrinks, disk.holes),
        ]
        .map(single),
    );
    figures.push(Figure {
        name: "journal_refused",
        help: "messages that the journal refused",
        grows: Only,
        by: By::Reason(&REFUSALS),
        values: vec![disk.refused_full, disk.refused_failing],
    });
    figures
}

fn single((name, help, grows, value): (&'static str, &'static str, Grows, u64)) -> Figure {
    Figure { name, help, grows, by: By::Nothing, values: vec![value] }
}
