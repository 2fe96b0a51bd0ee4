//! Where a subscriber begins: with the newest messages of a channel (`.bN`), behind what it says it has seen, or with what comes.

use std::sync::Arc;

use fantail_hub::journal::Seek;
use fantail_hub::tail::Entry;
use fantail_hub::{Channel, Hub, Millis, Offset, Plan, Position, ReadError, StartAt, SubscribeError};
use http::HeaderName;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};

use super::ask::Ask;
use super::site::Site;
use crate::config::{Expression, Route};
use crate::dialect::push_stream::{Refusal, Requested, Seen};
use crate::http::App;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where a route's requests say what they have seen, if not in the usual fields.
#[derive(Debug)]
pub(super) struct Start {
    time: Option<Expression>,
    tag: Option<Expression>,
    event_id: Option<Expression>,
}

impl Start {
    /// As a route says. `expression` reads an option with variables.
    pub(super) fn new(route: &Route, expression: &impl Fn(&Option<String>) -> Option<Expression>) -> Self {
        Self {
            time: expression(&route.last_received_message_time),
            tag: expression(&route.last_received_message_tag),
            event_id: expression(&route.last_event_id),
        }
    }

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
        match begin(&app.hub, site.strict(), requested, &channels, seen).await {
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
    hub: &Hub,
    strict: bool,
    requested: &[Requested],
    channels: &[Arc<Channel>],
    seen: &Seen,
) -> Result<Plan, SubscribeError> {
    let names: Vec<_> = requested.iter().map(|one| one.channel.clone()).collect();
    let backtracks = requested.iter().any(|one| one.backtrack > 0);
    if let Some(id) = seen.event_id.as_deref().filter(|_| !strict)
        && (seen.time.is_none() || is_known(hub, channels, id).await?)
    {
        return hub.plan(&names, StartAt::After(id.into())).await;
    }
    if !backtracks && seen.time.is_none() && seen.event_id.is_none() {
        return hub.plan(&names, StartAt::Live).await;
    }
    if !strict
        && !backtracks
        && let Some(position) = exact(hub, channels, seen)
    {
        return hub.plan(&names, StartAt::After(position.to_string().into_bytes().into())).await;
    }
    let mut nexts = Vec::with_capacity(names.len());
    for (one, channel) in requested.iter().zip(channels) {
        nexts.push(next(hub, channel, one.backtrack, seen).await?);
    }
    let mut nexts = nexts.into_iter();
    // Asked once for each, in order. Where nothing is due yet they are like those who wait for what comes, and share what they get.
    hub.plan_each(&names, |channel| nexts.next().flatten().filter(|next| channel.read(|tail| *next <= tail.last().0)))
}

/// Whether an id is one of ours, or that of a message which a channel still has.
async fn is_known(hub: &Hub, channels: &[Arc<Channel>], id: &[u8]) -> Result<bool, ReadError> {
    if Position::parse(id).is_some() {
        return Ok(true);
    }
    let Ok(id) = std::str::from_utf8(id) else { return Ok(false) };
    for channel in channels {
        if hub.journal().find(channel, Seek::Id(id)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first message of one channel that is due, if that is one of the past.
async fn next(hub: &Hub, channel: &Channel, backtrack: usize, seen: &Seen) -> Result<Option<u64>, ReadError> {
    let journal = hub.journal();
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
            None => behind(hub, channel, time, seen.tag).await?,
        };
        found = Some(found.map_or(next, |found| found.min(next)));
    }
    Ok(found)
}

/// The first message behind that second, or, with a tag, behind the tag within it.
async fn behind(hub: &Hub, channel: &Channel, time: u64, tag: Option<u64>) -> Result<u64, ReadError> {
    let journal = hub.journal();
    let none = hub.view().until.0 + 1;
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
fn exact(hub: &Hub, channels: &[Arc<Channel>], seen: &Seen) -> Option<Position> {
    let (time, tag) = (seen.time?, seen.tag?);
    let known = tag <= hub.view().until.0 && channels.iter().all(|channel| agrees(channel, time, tag));
    known.then(|| Position { epoch: hub.journal().epoch(), offset: Offset(tag) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fantail_hub::hub::Publish;
    use fantail_hub::journal::MemoryJournal;
    use fantail_hub::{
        ChannelName, Clock, Framing, HubLimits, Limits, NewMessage, Profile, Retention, Subscription, Traits,
    };
    use fantail_sse::EventId;

    use super::*;
    use crate::dialect::native::GapStyle;
    use crate::dialect::push_stream::Look;

    const AT: u64 = 1_795_359_049;

    /// A hub whose channel `a` has five messages: a, b and c of one second, one that is not stored and d (without an id) two seconds
    /// later, and e a second after that. Their tags are 1, 3, 5, 7, 8 and 9: the even ones are another channel's.
    async fn hub() -> Arc<Hub> {
        let journal = Arc::new(MemoryJournal::new(Duration::ZERO, 0));
        let clock = Clock::manual(Millis(AT * 1000 + 250));
        let hub = Arc::new(Hub::new(journal, Retention::new(Limits::default(), []), HubLimits::default(), clock));
        let publish = async |channel: &str, data: &str, id: Option<&str>, transient| {
            let channel = &ChannelName::parse(channel).unwrap();
            let id = id.map(|id| EventId::parse(id).unwrap());
            let said = NewMessage { data, event: None, id: id.as_ref() };
            let traits = Traits { transient, ..Traits::default() };
            hub.publish(Publish { channel, said, key: None, ends: false, traits }).await.unwrap();
        };
        for name in ["a", "b", "c"] {
            publish("a", name, Some(name), false).await;
            publish("other", "-", None, false).await;
        }
        hub.clock().advance(Duration::from_secs(2));
        publish("a", "t", None, true).await;
        publish("a", "d", None, false).await;
        hub.clock().advance(Duration::from_secs(1));
        publish("a", "e", Some("e"), false).await;
        hub
    }

    fn seen(time: Option<u64>, tag: &str, id: &str) -> Seen {
        let seen = Seen::read(None, Some(tag.as_bytes()), Some(id.as_bytes()));
        Seen { time, ..seen }
    }

    /// What a subscriber of `a` is replayed, strictly and by default.
    async fn replayed(backtrack: usize, seen: &Seen) -> [String; 2] {
        let mut all = [String::new(), String::new()];
        for (strict, said) in [true, false].into_iter().zip(&mut all) {
            let hub = hub().await;
            let channel = ChannelName::parse("a").unwrap();
            let channels = [hub.open(&channel).unwrap()];
            let plan = begin(&hub, strict, &[Requested { channel, backtrack }], &channels, seen).await.unwrap();
            let look = Look::events("~text~", GapStyle::Comment, strict);
            let mut subscription =
                Subscription::new(Arc::clone(&hub), plan, Arc::new(Profile::new(look)), Framing::Raw);
            while let Some(batch) = subscription.due().await.unwrap() {
                let text = String::from_utf8(batch.bytes.to_vec()).unwrap();
                said.extend(text.lines().filter(|line| line.starts_with(':')).map(|_| '!'));
                said.extend(text.lines().filter_map(|line| line.strip_prefix("data: ")));
            }
        }
        all
    }

    #[tokio::test]
    async fn start_is_where_the_module_has_it() {
        for (backtrack, time, tag, id, expected) in [
            (0, None, "", "", ""),
            (0, None, "1", "", ""),
            (1, None, "", "", "e"),
            (3, None, "", "", "cde"),
            (9, None, "", "", "abcde"),
            (2, Some(AT), "1", "", "de"),
            (0, Some(AT - 1), "", "", "abcde"),
            (0, Some(AT - 1), "9", "", "abcde"),
            (0, Some(AT), "", "", "de"),
            (0, Some(AT + 2), "", "", "e"),
            (0, Some(AT + 3), "9", "", ""),
            (0, Some(AT + 9), "", "", ""),
            (0, Some(AT + 9), "4", "", ""),
        ] {
            let said = replayed(backtrack, &seen(time, tag, id)).await;
            assert_eq!(said, [expected, expected], "{backtrack} {time:?} {tag:?} {id:?}");
        }
    }

    /// By default a place that is exact goes on with all that came behind it, stored or not.
    #[tokio::test]
    async fn start_behind_a_time_and_a_tag_is_behind_that_message() {
        for (time, tag, strict, default) in [
            (AT, "0", "abcde", "abctde"),
            (AT, "1", "bcde", "bctde"),
            (AT, "2", "bcde", "bctde"),
            (AT, "5", "de", "tde"),
            (AT, "6", "de", "tde"),
            (AT + 2, "7", "de", "de"),
            (AT + 2, "8", "e", "e"),
            // Of another second than the messages about it: the time counts.
            (AT + 2, "2", "de", "de"),
            (AT, "8", "de", "de"),
            (AT, "4000", "de", "de"),
        ] {
            assert_eq!(replayed(0, &seen(Some(time), tag, "")).await, [strict, default], "{time} {tag}");
        }
    }

    #[tokio::test]
    async fn start_behind_an_id_is_told_of_what_is_not_known_unless_strict() {
        for (backtrack, time, id, strict, default) in [
            (0, None, "a", "bcde", "bctde"),
            (0, None, "e", "", ""),
            (0, None, "A", "", "!abcde"),
            (2, None, "A", "de", "!abcde"),
            (1, None, "c", "e", "tde"),
            // What fits first decides, strictly; by default an id that is known does.
            (0, Some(AT + 2), "a", "bcde", "bctde"),
            (0, Some(AT - 1), "c", "abcde", "tde"),
            (0, Some(AT + 2), "A", "e", "e"),
        ] {
            let said = replayed(backtrack, &seen(time, "", id)).await;
            assert_eq!(said, [strict, default], "{backtrack} {time:?} {id:?}");
        }
    }
}
