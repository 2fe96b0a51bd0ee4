//! Renderers for the tests: every event says which offset it is, so that a client need not trust ids to know what it got.

use std::sync::{Arc, Mutex};

use fantail_hub::{ChannelName, Gap, Message, Offset, Position, Profile, Render};
use fantail_sse::encode;

/// What a renderer was told of a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) channel: String,
    pub(crate) lost_to: Offset,
    pub(crate) seen: Option<Offset>,
    pub(crate) asked: Option<String>,
}

/// Gaps rendered since they were last asked for.
pub(crate) type Tellings = Arc<Log<Told>>;

/// Tells everything: `event: mOFFSET[.EVENT]` for messages, `event: gap` with `CHANNEL OFFSET WITH_ID` for gaps. Or, as the
/// quiet one, neither gaps nor ends, so that frames without bytes occur.
pub(crate) struct Dress {
    pub(crate) quiet: bool,
    pub(crate) told: Tellings,
}

impl Dress {
    pub(crate) fn profile(quiet: bool, told: &Tellings) -> Arc<Profile> {
        Arc::new(Profile::new(Self { quiet, told: Arc::clone(told) }))
    }
}

impl Render for Dress {
    fn message(&self, out: &mut Vec<u8>, _: &ChannelName, position: Position, _: u64, message: &Message) {
        if self.quiet && message.kind().ends() {
            return;
        }
        match message.id() {
            Some(id) => encode::id(out, id),
            None => encode::id(out, &position.to_string()),
        }
        let dot = if message.event().is_some() { "." } else { "" };
        encode::event(out, &format!("m{}{dot}{}", position.offset, message.event().unwrap_or_default()));
        encode::data(out, message.data().as_bytes());
        encode::end(out);
    }

    fn gap(&self, out: &mut Vec<u8>, gap: &Gap<'_>) {
        self.told.add(Told {
            channel: gap.channel.to_string(),
            lost_to: gap.lost_to.offset,
            seen: gap.seen.map(|position| position.offset),
            asked: gap.asked.map(str::to_owned),
        });
        if self.quiet {
            return;
        }
        if gap.with_id {
            encode::id(out, &gap.lost_to.to_string());
        }
        encode::event(out, "gap");
        encode::data(out, format!("{} {} {}", gap.channel, gap.lost_to.offset, gap.with_id).as_bytes());
        encode::end(out);
    }
}

/// A list that is filled behind a shared reference.
#[derive(Debug)]
pub(crate) struct Log<T>(Mutex<Vec<T>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Log<T> {
    pub(crate) fn add(&self, item: T) {
        self.0.lock().unwrap().push(item);
    }

    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}
