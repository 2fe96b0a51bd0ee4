//! What a publisher sent, immutable and shared by everything that still needs it.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use fantail_sse::{EventId, EventName};
use parking_lot::Mutex;

use crate::clock::Millis;

/// What kind of entry a message is in its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What a publisher said.
    Data,
    /// The channel's last entry, until somebody publishes again.
    End,
    /// The same, but what fed the channel broke off: whoever listens is to be told that something is missing.
    Broken,
}

impl Kind {
    /// Whether nothing follows it until somebody publishes again.
    pub fn ends(self) -> bool {
        self != Self::Data
    }
}

/// What else is to be known of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Traits {
    /// It is for those who are connected, and for those who were cut off a moment ago: nobody who asks for the past finds it.
    pub transient: bool,
    /// Its data are bytes, each kept as the character of that number, for they were no text.
    pub bytes: bool,
}

/// A message as it is handed in, not yet in any channel.
#[derive(Debug, Clone, Copy)]
pub struct NewMessage<'a> {
    /// The payload: valid UTF-8, any line breaks.
    pub data: &'a str,
    /// The event name that browsers dispatch by; `message` when absent.
    pub event: Option<&'a EventName>,
    /// The publisher's own id, which takes the place of the generated one on the wire.
    pub id: Option<&'a EventId>,
}

impl NewMessage<'_> {
    /// A digest of all that a publisher said, to tell a repeated request from a different one with the same key. Journals keep
    /// it: FNV-1a, which stays the same whatever this is built with.
    pub fn digest(&self, ends: bool) -> u64 {
        let event = self.event.map_or("", EventName::as_str);
        let id = self.id.map_or("", EventId::as_str);
        let mut digest = 0xcbf2_9ce4_8422_2325;
        for part in [self.data, event, id, if ends { "ends" } else { "" }] {
            for &byte in part.len().to_le_bytes().iter().chain(part.as_bytes()) {
                digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        digest
    }
}

/// One entry's content. A single allocation beside the counters: a channel of one small message must stay small.
#[derive(Debug)]
pub struct Message {
    time: Millis,
    kind: Kind,
    traits: Traits,
    event_bytes: u8,
    id_bytes: u8,
    /// Data, event name and id, one after the other.
    text: Box<str>,
    /// Renderings of a large message, shared by all that are in the middle of sending it; see [`Message::rendering`].
    renderings: Option<Box<Renderings>>,
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        let parts =
            |message: &Self| (message.time, message.kind, message.traits, message.event_bytes, message.id_bytes);
        parts(self) == parts(other) && self.text == other.text
    }
}

impl Eq for Message {}

/// By key; entries whose frame nobody holds any more are swept at the next insertion.
type Renderings = Mutex<Vec<(u64, Weak<Rendering>)>>;

/// The bytes of one large frame.
#[derive(Debug)]
pub struct Rendering(Box<[u8]>);

impl AsRef<[u8]> for Rendering {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Message {
    /// What a message costs beside its text, in bytes: counters, pointers, the allocator's rounding.
    pub const OVERHEAD: usize = 128;

    /// Messages with more text than this share one rendering among all that send it; smaller ones are cheaper to render
    /// again than to look up. A blocked subscriber of small messages holds the rest of one rendering for itself: its text, and
    /// the field name that each of its lines begins with.
    pub const LARGE: usize = 4096;

    /// Copies what was said.
    pub fn new(time: Millis, kind: Kind, said: NewMessage<'_>) -> Self {
        Self::kept(time, kind, said.data, said.event.map(EventName::as_str), said.id.map(EventId::as_str))
    }

    /// A message as a journal kept it: `event` and `id` were checked when it was [`new`](Self::new).
    ///
    /// # Panics
    /// If `event` or `id` have more than 255 bytes.
    pub fn kept(time: Millis, kind: Kind, data: &str, event: Option<&str>, id: Option<&str>) -> Self {
        let (event, id) = (event.unwrap_or_default(), id.unwrap_or_default());
        let mut text = String::with_capacity(data.len() + event.len() + id.len());
        text.push_str(data);
        text.push_str(event);
        text.push_str(id);
        Self {
            time,
            kind,
            traits: Traits::default(),
            event_bytes: u8::try_from(event.len()).expect("an event name has at most 255 bytes"),
            id_bytes: u8::try_from(id.len()).expect("an event id has at most 255 bytes"),
            renderings: (text.len() > Self::LARGE).then(Box::default),
            text: text.into_boxed_str(),
        }
    }

    /// When it was accepted.
    pub fn time(&self) -> Millis {
        self.time
    }

    /// Whether this is data or the channel's end, and which.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same message, of this sort.
    #[must_use]
    pub fn with(self, traits: Traits) -> Self {
        Self { traits, ..self }
    }

    /// See [`Traits`].
    pub fn traits(&self) -> Traits {
        self.traits
    }

    /// The payload.
    pub fn data(&self) -> &str {
        &self.text[..self.text.len() - usize::from(self.event_bytes) - usize::from(self.id_bytes)]
    }

    /// The payload as it was sent, where it may have been no text; see [`Traits::bytes`].
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        if !self.traits.bytes {
            return Cow::Borrowed(self.data().as_bytes());
        }
        let byte = |c| u8::try_from(u32::from(c)).unwrap_or(b'?');
        self.data().chars().map(byte).collect::<Vec<_>>().into()
    }

    /// The event name, if one was given.
    pub fn event(&self) -> Option<&str> {
        let end = self.text.len() - usize::from(self.id_bytes);
        (self.event_bytes > 0).then(|| &self.text[end - usize::from(self.event_bytes)..end])
    }

    /// The publisher's own id, if one was given.
    pub fn id(&self) -> Option<&str> {
        (self.id_bytes > 0).then(|| &self.text[self.text.len() - usize::from(self.id_bytes)..])
    }

    /// What it counts against retention and the memory cap, in bytes.
    pub fn cost(&self) -> usize {
        self.text.len() + Self::OVERHEAD
    }

    /// Whether renderings of it are shared.
    pub fn is_large(&self) -> bool {
        self.renderings.is_some()
    }

    /// The rendering under `key`, made by `render` unless somebody still holds it (which is remembered of large messages
    /// only). It lives as long as a sender needs it.
    pub fn rendering(&self, key: u64, render: impl FnOnce() -> Vec<u8>) -> Arc<Rendering> {
        let Some(renderings) = &self.renderings else {
            return Arc::new(Rendering(render().into_boxed_slice()));
        };
        let mut renderings = renderings.lock();
        if let Some(shared) = renderings.iter().find(|(k, _)| *k == key).and_then(|(_, weak)| weak.upgrade()) {
            return shared;
        }
        let made = Arc::new(Rendering(render().into_boxed_slice()));
        renderings.retain(|(_, weak)| weak.strong_count() > 0);
        renderings.push((key, Arc::downgrade(&made)));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_with_all_parts_gives_them_back() {
        let (event, id) = (EventName::parse("tick").unwrap(), EventId::parse("ü7").unwrap());
        let message =
            Message::new(Millis(5), Kind::Data, NewMessage { data: "a\nb", event: Some(&event), id: Some(&id) });
        assert_eq!((message.data(), message.event(), message.id()), ("a\nb", Some("tick"), Some("ü7")));
        let bare = Message::new(Millis(5), Kind::End, NewMessage { data: "", event: None, id: None });
        assert_eq!((bare.data(), bare.event(), bare.id()), ("", None, None));
    }

    #[test]
    fn message_of_bytes_gives_them_back() {
        let all: Vec<u8> = (0..=255).collect();
        let data: String = all.iter().copied().map(char::from).collect();
        let message = Message::new(Millis(5), Kind::Data, NewMessage { data: &data, event: None, id: None });
        assert_eq!(&*message.bytes(), data.as_bytes());
        let message = message.with(Traits { bytes: true, ..Traits::default() });
        assert_eq!(&*message.bytes(), all);
    }

    #[test]
    fn rendering_is_shared_while_held_and_freed_after() {
        let data = "x".repeat(Message::LARGE + 1);
        let message = Message::new(Millis(5), Kind::Data, NewMessage { data: &data, event: None, id: None });
        let first = message.rendering(1, || vec![1]);
        let again = message.rendering(1, || unreachable!("it is still held"));
        assert!(Arc::ptr_eq(&first, &again));
        drop((first, again));
        assert_eq!(message.rendering(1, || vec![2]).as_ref().as_ref(), &[2]);
        assert_eq!(message.renderings.as_ref().unwrap().lock().len(), 1);
    }
}
