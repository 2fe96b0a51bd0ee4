//! Where a subscriber begins: with the newest messages of a channel (`.bN`), behind what it says it has seen, or with what comes.

use std::sync::Arc;

use fantail_hub::journal::Seek;
use fantail_hub::tail::Entry;
use fantail_hub::{Channel, ChannelName, Millis, Offset, Plan, Position, ReadError, StartAt, SubscribeError};
use http::HeaderName;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};

use super::ask::Ask;
use super::site::Site;
use crate::config::Expression;
use crate::dialect::push_stream::{Refusal, Requested, Seen};
use crate::http::App;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where a route's requests say what they have seen, if not in the usual fields.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) time: Option<Expression>,
    pub(super) tag: Option<Expression>,
    pub(super) event_id: Option<Expression>,
}

impl Start {
    /// What a request says it has seen.
    pub(super) fn seen(&self, ask: &Ask<'_>) -> Seen {
        let value = |expression: &Option<Expression>, field: &HeaderName| match expression {
            Some(expression) => Some(ask.evaluate(expression)),
            None => ask.field(field).map(|value| value.as_bytes().to_vec()),
        };
        let time = value(&self.time, &IF_MODIFIED_SINCE);
        let tag = value(&self.tag, &IF_NONE_MATCH);
        let event_id = value(&self.event_id, &LAST_EVENT_ID);
        Seen::read(time.as_deref(), tag.as_deref(), event_id.as_deref())
    }
}

/// A subscription to these channels, which are made if they are not there.
///
/// Strictly, `.bN` counts before all that was seen, and who comes with an id that nobody knows is given nothing; the messages of
/// several channels come in the order in which they were published all the same. By default an id counts alone, whether a publisher
/// or the server made it, and what cannot be given any more is told as a gap.
///
/// # Errors
/// [`Refusal::TooManyChannels`], [`Refusal::Full`].
pub(super) async fn plan(app: &App, site: &Site, requested: &[Requested], seen: &Seen) -> Result<Plan, Refusal> {
    let names: Vec<_> = requested.iter().map(|one| one.channel.clone()).collect();
    loop {
        let mut channels = Vec::with_capacity(names.len());
        for name in &names {
            channels.push(site.open(&app.hub, name).await?);
        }
        match begin(app, site, requested, &names, &channels, seen).await {
            Ok(plan) => return Ok(plan),
            // Somebody deleted them since they were opened.
            Err(SubscribeError::Ended) => {}
            Err(SubscribeError::Channels(_)) => return Err(Refusal::TooManyChannels),
            Err(error) => {
                tracing::warn!(%error, "a push-stream subscriber cannot be served");
                return Err(Refusal::Full);
            }
        }
    }
}

async fn begin(
    app: &App,
    site: &Site,
    requested: &[Requested],
    names: &[ChannelName],
    channels: &[Arc<Channel>],
    seen: &Seen,
) -> Result<Plan, SubscribeError> {
    let hub = &app.hub;
    let backtracks = requested.iter().any(|one| one.backtrack > 0);
    if let Some(id) = seen.event_id.as_deref().filter(|_| !site.strict()) {
        return hub.plan(names, StartAt::After(id.into())).await;
    }
    if !backtracks && seen.time.is_none() && seen.event_id.is_none() {
        return hub.plan(names, StartAt::Live).await;
    }
    if !site.strict()
        && !backtracks
        && let Some(position) = exact(app, channels, seen)
    {
        return hub.plan(names, StartAt::After(position.to_string().into_bytes().into())).await;
    }
    let mut nexts = Vec::with_capacity(names.len());
    for (one, channel) in requested.iter().zip(channels) {
        nexts.push(next(app, channel, one.backtrack, seen).await?);
    }
    let mut nexts = nexts.into_iter();
    // Asked once for each, in order. Where nothing is due yet they are like those who wait for what comes, and share what they get.
    hub.plan_each(names, |channel| nexts.next().flatten().filter(|next| channel.read(|tail| *next <= tail.last().0)))
}

/// The first message of one channel that is due, if that is one of the past.
async fn next(app: &App, channel: &Channel, backtrack: usize, seen: &Seen) -> Result<Option<u64>, ReadError> {
    let journal = app.hub.journal();
    if backtrack > 0 {
        return journal.find(channel, Seek::Last(backtrack)).await;
    }
    let mut found = None;
    if let Some(id) = seen.event_id.as_deref().and_then(|id| std::str::from_utf8(id).ok()) {
        found = journal.find(channel, Seek::Id(id)).await?;
    }
    if let Some(time) = seen.time {
        let next = match seen.tag.filter(|tag| agrees(channel, time, *tag)) {
            Some(tag) => tag + 1,
            None => behind(app, channel, time, seen.tag).await?,
        };
        found = Some(found.map_or(next, |found| found.min(next)));
    }
    Ok(found)
}

/// The first message behind that second, or, with a tag, behind the tag within it.
async fn behind(app: &App, channel: &Channel, time: u64, tag: Option<u64>) -> Result<u64, ReadError> {
    let journal = app.hub.journal();
    let none = app.hub.view().until.0 + 1;
    let second = |time: u64| Seek::Time(Millis(time.saturating_mul(1000)));
    let next = journal.find(channel, second(time.saturating_add(1))).await?.unwrap_or(none);
    let Some(tag) = tag else { return Ok(next) };
    let first = journal.find(channel, second(time)).await?.unwrap_or(none);
    Ok(tag.saturating_add(1).clamp(first.min(next), next))
}

/// Whether what a channel has in memory is all that is behind `tag`, and of no other times than a message of that second and
/// that tag leaves open.
fn agrees(channel: &Channel, time: u64, tag: u64) -> bool {
    channel.read(|tail| {
        let seconds = |entry: &Entry| entry.message.time().0 / 1000;
        tail.floor().0 <= tag
            && tail.from(tag.saturating_add(1)).next().is_none_or(|entry| seconds(entry) >= time)
            && tail.newest_first().find(|entry| entry.offset.0 <= tag).is_none_or(|entry| seconds(entry) <= time)
    })
}

/// The position that a time and a tag stand for, if no channel knows better: then a subscriber goes on from there as with one of our
/// ids, and what was published for the connected alone reaches it too.
fn exact(app: &App, channels: &[Arc<Channel>], seen: &Seen) -> Option<Position> {
    let (time, tag) = (seen.time?, seen.tag?);
    let known = tag <= app.hub.view().until.0 && channels.iter().all(|channel| agrees(channel, time, tag));
    known.then(|| Position { epoch: app.hub.journal().epoch(), offset: Offset(tag) })
}
