//! Where messages get their order and are kept: the only source of order. Knows channels; knows neither subscribers nor
//! what a message means.
//!
//! A journal is handed the [`Channel`] that an entry is for, gives the entry its offset, keeps it as durably as it
//! promises, and then puts it into that channel, which wakes whoever listens. Its offsets come from one counter, so
//! that an id is one (epoch, offset) for any set of channels.
//!
//! What a channel holds in memory is all there is, or, where the journal [`stores`](Journal::stores) it, only its newest
//! part: then whoever comes from further behind is given [`Page`]s.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod memory;

use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;

pub use memory::MemoryJournal;

use crate::channel::{Addition, Channel};
use crate::clock::Millis;
use crate::idempotency::IdempotencyKey;
use crate::message::Kind;
use crate::position::{Epoch, Offset, Position};
use crate::retention::Limits;
use crate::tail::Entry;

/// A future of a journal. Boxed once per call, not per message or delivery.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One message on its way into a journal.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// Where to.
    pub channel: &'a Arc<Channel>,
    /// What.
    pub addition: Addition<'a>,
    /// What the channel may keep.
    pub limits: Limits,
    /// The publisher's name for this publish.
    pub key: Option<&'a IdempotencyKey>,
    /// The time it gets.
    pub now: Millis,
}

/// What a journal answers to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Where the message stands.
    pub position: Position,
    /// Subscriptions of this node at that moment.
    pub subscribers: u32,
    /// It had been accepted before, under the same key; nothing was added.
    pub duplicate: bool,
}

/// Why a journal did not accept a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The key stands for another message.
    #[error("the idempotency key was used for other content in this channel")]
    KeyReused,
    /// There is no room for it, and there may be again.
    #[error("the journal has no room: {0}")]
    Full(Arc<str>),
    /// The journal cannot keep it at present.
    #[error("the journal cannot keep messages: {0}")]
    Failing(Arc<str>),
}

/// Why a journal did not say what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the journal cannot be read: {0}")]
pub struct ReadError(pub Arc<str>);

/// Where in a channel a subscription wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek<'a> {
    /// Behind the newest message with this publisher's id.
    Id(&'a str),
    /// At the last so many messages.
    Last(usize),
    /// At the first message that is not older.
    Time(Millis),
    /// At the oldest that is kept.
    Oldest,
}

/// What a journal knows of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The newest offset; 0 if there never was one.
    pub last: Offset,
    /// The highest offset that is no longer kept.
    pub floor: Offset,
    /// What the newest entry is; [`Kind::Data`] if there is none.
    pub newest: Kind,
    /// Entries kept.
    pub messages: u64,
    /// What they cost, in bytes.
    pub bytes: u64,
}

/// A stretch of a channel's history: all that lies between `next` and `until`. One that ends before it begins says nothing of what
/// stands from `next` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The first offset that was asked for.
    pub next: u64,
    /// Something from `next` on may be gone, up to here: that is told before the entries, which lie behind it. No message of any
    /// channel stands at this offset any more, so that in a merged order the gap has its place for itself.
    pub lost: Option<Offset>,
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// The page ends here; not before the last of its entries, nor before what was lost.
    pub until: Offset,
}

/// Order and keeping.
pub trait Journal: Send + Sync + 'static {
    /// For people: what kind it is and what it promises.
    fn describe(&self) -> String;

    /// The incarnation of its sequence.
    fn epoch(&self) -> Epoch;

    /// The counter: every entry up to here is in its channel, or under way there (see [`Channel::reaches`]).
    fn counter(&self) -> Offset;

    /// Whether it keeps what has left a channel's tail. Channels that are not to be stored are in memory alone all the same.
    fn stores(&self) -> bool;

    /// Whether it would accept messages at present, and if not, why.
    fn health(&self) -> Result<(), AppendError>;

    /// Accepts messages in order, each for itself, and puts those it accepts into their channels.
    ///
    /// CANCEL SAFETY: dropping the future leaves open which of the messages were accepted, but none is accepted in part.
    fn append<'a>(&'a self, batch: &'a [Append<'a>]) -> Pending<'a, Vec<Result<Receipt, AppendError>>>;

    /// What a channel holds from offset `next` on, up to `until`: at least one entry if there is any, and about `bytes` of them.
    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        next: u64,
        until: Offset,
        bytes: usize,
    ) -> Pending<'a, Result<Page, ReadError>>;

    /// The first offset that is wanted; `None` if an id is not known (any more).
    fn find<'a>(&'a self, channel: &'a Channel, what: Seek<'a>) -> Pending<'a, Result<Option<u64>, ReadError>>;

    /// What is known of a channel.
    fn head<'a>(&'a self, channel: &'a Channel) -> Pending<'a, Result<Head, ReadError>>;
}
