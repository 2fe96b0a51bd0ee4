//! A subscriber whose messages are its own, since a filter looks at who it is or at what it has seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use fantail_hub::{Channel as Log, ChannelName, Offset, Plan};
use parking_lot::Mutex;

use super::envelope::{self, Label};
use super::filter::{Filter, fill};
use super::instruct::{Channel, Instruct};

/// Who looks at messages.
pub struct Viewer {
    channels: Vec<Seen>,
    meta: BTreeMap<String, String>,
}

/// One of its channels.
struct Seen {
    channel: Channel,
    /// What the channel holds, to tell which message was the last before another.
    log: Arc<Log>,
    /// Where the subscriber began: `prev_id` speaks for what stands before.
    from: u64,
    /// The newest message with an id that was rendered; the log may have dropped it since.
    newest: Mutex<Option<(Offset, String)>>,
}

impl Viewer {
    /// The subscriber of these instructions, and where it stands in the hub's channels; `None` where no filter asks for one, so
    /// that its messages can be shared.
    pub fn new(instruct: &Instruct, plan: &Plan) -> Option<Self> {
        if instruct.channels.iter().all(|channel| channel.filters.is_empty()) {
            return None;
        }
        let channels = instruct.channels.iter().filter_map(|channel| {
            let at = plan.channels.iter().position(|log| *log.name() == channel.key)?;
            let (log, from) = (Arc::clone(&plan.channels[at]), plan.progress.next_in(at));
            Some(Seen { channel: channel.clone(), log, from, newest: Mutex::default() })
        });
        Some(Self { channels: channels.collect(), meta: instruct.meta.clone() })
    }

    /// Whether an item of a channel is for this subscriber.
    pub(super) fn wants(&self, key: &ChannelName, label: &Label) -> bool {
        let is_on = |name: &str| self.channels.iter().any(|seen| seen.channel.name == name);
        let filters = self.seen(key).map_or(&[][..], |seen| &seen.channel.filters);
        !filters.iter().any(|filter| filter.drops(&label.meta, &self.meta, is_on))
    }

    /// The channel's filters that fill in text, for items that do not name theirs.
    pub(super) fn content_filters(&self, key: &ChannelName) -> Vec<Filter> {
        let filters = self.seen(key).into_iter().flat_map(|seen| &seen.channel.filters);
        filters.copied().filter(|filter| filter.is_content()).collect()
    }

    /// An item's text with everything filled in; the item stands at `offset` of a channel and has this id.
    pub(super) fn fill(
        &self,
        text: Vec<u8>,
        filters: &[Filter],
        key: &ChannelName,
        offset: Offset,
        id: Option<&str>,
    ) -> Vec<u8> {
        if let (Some(seen), Some(id)) = (self.seen(key), id) {
            let mut newest = seen.newest.lock();
            if newest.as_ref().is_none_or(|(known, _)| *known < offset) {
                *newest = Some((offset, id.to_owned()));
            }
        }
        let last = |seen: &Seen| match id.filter(|_| seen.channel.key == *key) {
            Some(own) => own.to_owned(),
            None => seen.last_before(offset),
        };
        filters.iter().fold(text, |text, filter| self.apply(*filter, text, &last))
    }

    fn apply(&self, filter: Filter, text: Vec<u8>, last: &dyn Fn(&Seen) -> String) -> Vec<u8> {
        let of = |name: Option<&str>| {
            let named = self.channels.iter().filter(|seen| name.is_none_or(|name| seen.channel.name == name));
            named.map(last).filter(|id| !id.is_empty()).collect()
        };
        fill_one(filter, &self.meta, text, &of)
    }

    fn seen(&self, key: &ChannelName) -> Option<&Seen> {
        self.channels.iter().find(|seen| seen.channel.key == *key)
    }
}

impl Seen {
    /// The id of the last message before `offset`. It has to be the same whenever it is asked, as a message is rendered again
    /// for a subscriber whose socket was full.
    fn last_before(&self, offset: Offset) -> String {
        let entries: Vec<_> =
            self.log.read(|tail| tail.from(self.from).take_while(|entry| entry.offset < offset).cloned().collect());
        let kept = entries.iter().rev().find_map(|entry| {
            let label = envelope::label(&entry.message)?;
            envelope::id(&entry.message, &label).map(str::to_owned)
        });
        let newest = || self.newest.lock().clone().filter(|(known, _)| *known < offset).map(|(_, id)| id);
        kept.or_else(newest).or_else(|| self.channel.prev_id.clone()).unwrap_or_default()
    }
}

/// The application's own text with everything filled in that the filters of its channels ask for, as before any message.
pub fn fill_body(instruct: &Instruct, text: Vec<u8>) -> Vec<u8> {
    let named = |wanted: Filter| instruct.channels.iter().any(|channel| channel.filters.contains(&wanted));
    let of = |name: Option<&str>| {
        let named = instruct.channels.iter().filter(|channel| name.is_none_or(|name| channel.name == name));
        named.filter_map(|channel| channel.prev_id.clone()).collect()
    };
    let filters = [Filter::BuildId, Filter::VarSubst].into_iter().filter(|filter| named(*filter));
    filters.fold(text, |text, filter| fill_one(filter, &instruct.meta, text, &of))
}

/// Text with one filter's marks filled in. `last` has the last ids of the channel of a name, or of all.
fn fill_one(
    filter: Filter,
    meta: &BTreeMap<String, String>,
    text: Vec<u8>,
    last: &dyn Fn(Option<&str>) -> Vec<String>,
) -> Vec<u8> {
    // In the format that the application gave; else the ids, one after the other.
    let id = || match meta.get("id_format") {
        // All of its sources were text.
        Some(format) => String::from_utf8(fill(format.as_bytes(), |name| Some(last(Some(name)).concat()))).ok(),
        None => Some(last(None).join(",")),
    };
    match filter {
        Filter::BuildId => fill(&text, |mark| if mark == "I" { id() } else { None }),
        Filter::VarSubst => fill(&text, |mark| meta.get(mark).cloned()),
        Filter::SkipSelf | Filter::SkipUsers | Filter::RequireSub => text,
    }
}

/// The first offset that is due behind the message with this id: behind the message itself, or at the one that names it as
/// its predecessor. `None` if the channel knows neither.
pub fn next_after(log: &Log, prev_id: &str) -> Option<u64> {
    if let Some(offset) = log.read(|tail| tail.find_id(prev_id)) {
        return Some(offset.0 + 1);
    }
    // Read outside of the channel's lock.
    let entries: Vec<_> = log.read(|tail| tail.from(0).cloned().collect());
    entries.iter().rev().find_map(|entry| {
        let label = envelope::label(&entry.message)?;
        if label.id.as_deref() == Some(prev_id) {
            return Some(entry.offset.0 + 1);
        }
        (label.prev_id.as_deref() == Some(prev_id)).then_some(entry.offset.0)
    })
}
