//! What a decoder told, kept beyond the call in which it did.

use fantail_sse::Item;

/// An item that outlives its chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Event { name: Vec<u8>, data: Vec<u8>, id: Vec<u8> },
    Retry(u64),
    Comment(Vec<u8>),
}

impl From<Item<'_>> for Seen {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Event(event) => Self::Event { name: event.name.into(), data: event.data.into(), id: event.id.into() },
            Item::Retry(milliseconds) => Self::Retry(milliseconds),
            Item::Comment(text) => Self::Comment(text.into()),
        }
    }
}
