//! The engine of Fantail: a channel is a log, and a subscriber is a cursor in it.
//!
//! There is no queue per subscriber. Live delivery, catching up after a slow moment and resuming with `Last-Event-ID`
//! are the same act: [`gather`] what lies between the cursor and the end. This crate knows nothing of sockets, HTTP or
//! configuration files; whoever holds a socket asks for bytes and is woken when there are more.
#![warn(missing_docs)]

pub mod channel;
pub mod clock;
pub mod floors;
pub mod gather;
pub mod history;
pub mod hub;
pub mod idempotency;
pub mod journal;
pub mod message;
pub mod name;
pub mod observer;
pub mod position;
pub mod registry;
pub mod retention;
pub mod schedule;
pub mod subscription;
pub mod tail;

pub use channel::{Channel, Watcher};
pub use clock::{Clock, Millis};
pub use gather::{Batch, Framing, Gap, Gathered, Gatherer, Profile, Render};
pub use hub::{ChannelEnd, Hub, HubLimits, PublishError, Published, SubscribeError};
pub use idempotency::IdempotencyKey;
pub use journal::{AppendError, Journal, ReadError};
pub use message::{Kind, Message, NewMessage, Traits};
pub use name::{ChannelName, NameError};
pub use observer::Observer;
pub use position::{Cursor, Epoch, Offset, Position};
pub use retention::{Limits, Retention};
pub use subscription::{Plan, StartAt, Subscription};
