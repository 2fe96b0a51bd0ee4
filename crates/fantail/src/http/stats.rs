//! What the server tells of itself: `/stats`, `/stats/{channel}`, `GET /pub/{channel}`, `/metrics`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fantail_hub::ChannelName;
use fantail_hub::channel::Info;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::App;
use super::body::Body;
use super::error::{Refusal, json};
use super::query::Query;
use crate::fanout::Slow;
use crate::journal::disk::figures::Figures as OnDisk;
use crate::metrics::{Figure, Grows};
use crate::proxy::Shown;

/// The most channels that one answer lists.
const MAX_LIST: usize = 10_000;
/// Slow subscribers that are named.
const SLOWEST: usize = 20;

/// One channel, as people see it.
#[derive(Debug, Serialize)]
struct Channel {
    #[serde(rename = "channel")]
    name: String,
    /// Subscriptions of this node.
    subscribers: u32,
    messages: usize,
    bytes: usize,
    /// The newest offset ever.
    offset: String,
    /// The highest offset that is no longer kept.
    floor: String,
    /// Messages ever published.
    published: u64,
    ended: bool,
}

#[derive(Debug, Serialize)]
struct Summary {
    version: &'static str,
    journal: String,
    epoch: String,
    /// Why the journal accepts no messages at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    refuses: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<Disk>,
    uptime_seconds: u64,
    connections: u64,
    subscribers: u64,
    subscriptions: u64,
    channels: usize,
    bytes: u64,
    published: u64,
    delivered: u64,
    gaps: u64,
    evicted: u64,
    blocked: u64,
    stalled: u64,
    slowest: Vec<Slow>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    upstreams: BTreeMap<String, Vec<Shown>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<Vec<Channel>>,
}

/// The journal on disk, as people see it.
#[derive(Debug, Serialize)]
struct Disk {
    segments: usize,
    /// On the disk.
    bytes: u64,
    /// Stretches of the order in which messages may have been lost.
    holes: u64,
    /// Stretches of its files that were found damaged.
    damaged: u64,
    /// Given back since the start.
    cleaned: u64,
    batches: u64,
    largest_batch: usize,
    syncs: u64,
    /// Publishers that wait for room or an answer.
    waiting: usize,
}

impl From<OnDisk> for Disk {
    fn from(figures: OnDisk) -> Self {
        let OnDisk { segments, bytes, holes, damaged, cleaned, batches, largest_batch, syncs, waiting, .. } = figures;
        Self { segments, bytes, holes, damaged, cleaned, batches, largest_batch, syncs, waiting }
    }
}

fn channel(name: &ChannelName, info: &Info) -> Channel {
    Channel {
        name: name.to_string(),
        subscribers: info.subscribers,
        messages: info.messages,
        bytes: info.bytes,
        offset: info.last.to_string(),
        floor: info.floor.to_string(),
        published: info.appended,
        ended: info.ended,
    }
}

/// The summary; `?list=N&prefix=P` adds the channels with most subscribers.
pub async fn summary(app: &App, query: Query<'_>) -> Result<Response<Body>, Refusal> {
    use std::sync::atomic::Ordering::Relaxed;
    let list = query.number("list")?.map(|n| n.min(MAX_LIST));
    let prefix = query.get("prefix").unwrap_or_default();
    let counters = app.hub.counters();
    let metrics = &app.metrics;
    let (sockets, read) = (&metrics.websockets, crate::metrics::read);
    let subscribers = metrics.subscribers();
    Ok(json(&Summary {
        version: env!("CARGO_PKG_VERSION"),
        journal: app.hub.journal().describe(),
        epoch: app.hub.journal().epoch().to_string(),
        refuses: app.hub.journal().health().err().map(|error| error.to_string()),
        disk: app.disk.as_ref().map(|disk| disk.figures().into()),
        uptime_seconds: app.started.elapsed().as_secs(),
        connections: read(&metrics.http.connections) + metrics.sum(|shard| &shard.resting) + subscribers,
        subscribers,
        subscriptions: metrics.subscriptions(),
        channels: app.hub.channels(),
        bytes: app.hub.held() as u64,
        published: counters.published.load(Relaxed),
        delivered: metrics.sum(|s| &s.deliveries) + read(&sockets.deliveries),
        gaps: metrics.sum(|s| &s.gaps),
        evicted: counters.evicted.load(Relaxed),
        blocked: metrics.sum(|s| &s.blocked) + read(&sockets.blocked),
        stalled: metrics.sum(|s| &s.stalled) + read(&sockets.stalled),
        slowest: slowest(app).await,
        upstreams: app.proxy.shown(),
        list: match list {
            Some(most) => {
                let listed: Vec<_> = app.hub.list(&prefix, most).into_iter().map(|(name, _)| name).collect();
                Some(described(app, &listed).await?)
            }
            None => None,
        },
    }))
}

/// The subscribers whose sockets have been full for longest, in shards and over a WebSocket.
async fn slowest(app: &App) -> Vec<Slow> {
    let mut slow = app.shards.slowest(SLOWEST).await;
    slow.extend(app.websockets.slowest(&app.hub, SLOWEST));
    slow.sort_by_key(|slow| Reverse((slow.blocked_ms, slow.behind_bytes)));
    slow.truncate(SLOWEST);
    slow
}

/// Those of the channels that are known.
async fn described(app: &App, names: &[ChannelName]) -> Result<Vec<Channel>, Refusal> {
    let mut known = Vec::with_capacity(names.len());
    for name in names {
        if let Some(info) = app.hub.describe(name).await? {
            known.push(channel(name, &info));
        }
    }
    Ok(known)
}

/// The channels of these names; those that do not exist are left out.
pub async fn channels(app: &App, names: &[ChannelName]) -> Result<Response<Body>, Refusal> {
    let known = described(app, names).await?;
    match names {
        [name] if known.is_empty() => Err(Refusal::NoChannel(name.to_string())),
        _ => Ok(json(&serde_json::json!({ "channels": known }))),
    }
}

/// One channel.
pub async fn one(app: &App, name: &ChannelName) -> Result<Response<Body>, Refusal> {
    let found = app.hub.describe(name).await?.ok_or_else(|| Refusal::NoChannel(name.to_string()))?;
    Ok(json(&channel(name, &found)))
}

/// All figures in the text format of Prometheus.
pub fn prometheus(app: &App) -> Response<Body> {
    let mut registry = Registry::with_prefix("fantail");
    registry.register_collector(Box::new(Figures(Arc::new(app.metrics.figures(&app.hub, app.disk.as_deref())))));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = text::encode(&mut out, &registry);
    let mut response = Response::new(Body::Full(Bytes::from(out)));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[derive(Debug)]
struct Figures(Arc<Vec<Figure>>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for figure in self.0.iter() {
            let kind = match figure.grows {
                Grows::Only => ConstCounter::new(0u64).metric_type(),
                Grows::AndShrinks => ConstGauge::new(0i64).metric_type(),
            };
            let mut family = encoder.encode_descriptor(figure.name, figure.help, None, kind)?;
            let encode = |value: u64, encoder: MetricEncoder<'_>| match figure.grows {
                Grows::Only => ConstCounter::new(value).encode(encoder),
                Grows::AndShrinks => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
            };
            for (at, value) in figure.values.iter().enumerate() {
                let Some(label) = figure.by.label(at) else {
                    // The descriptor's own encoder is the metric without labels, and it is the only one.
                    encode(*value, family)?;
                    break;
                };
                encode(*value, family.encode_family(&[label])?)?;
            }
        }
        Ok(())
    }
}
