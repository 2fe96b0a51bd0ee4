//! Where a subscription begins, and a subscription as a thing of its own, for consumers that are not fan-out shards.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::channel::{Channel, Watcher};
use crate::clock::Millis;
use crate::gather::{Batch, Framing, Gathered, Gatherer, Pages, Profile, Progress, missing};
use crate::history;
use crate::hub::Hub;
use crate::journal::ReadError;
use crate::name::ChannelName;
use crate::position::Position;
use crate::tail::Tail;

/// Where a subscriber wants to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAt {
    /// With what is published from now on.
    Live,
    /// With the last so many messages of each channel.
    Last(usize),
    /// With the first message of each channel that is not older.
    Since(Millis),
    /// With the oldest message of each channel that is kept.
    Oldest,
    /// Behind the message with this id: a `Last-Event-ID`, generated or a publisher's own.
    After(Box<[u8]>),
}

/// A subscription that has been granted and not yet begun: what is handed to whoever will serve it.
#[derive(Debug)]
pub struct Plan {
    /// Its channels, each once.
    pub channels: Vec<Arc<Channel>>,
    /// Where it stands.
    pub progress: Progress,
    /// The id that the subscriber may be told at once, so that it resumes here if it is cut off before the first message.
    /// `None` where it has to keep its own because a gap is to be told first.
    pub announce: Option<Position>,
}

/// A subscription with its own wake-up.
pub struct Subscription {
    hub: Arc<Hub>,
    channels: Vec<Arc<Channel>>,
    progress: Progress,
    profile: Arc<Profile>,
    framing: Framing,
    gatherer: Gatherer,
    /// What the channels know as their watcher; the concrete type is kept beside it to wait on.
    watcher: Arc<dyn Watcher>,
    bell: Arc<Bell>,
    /// A message closed it; see [`crate::Render::closes`].
    closed: bool,
}

#[derive(Default)]
struct Bell(Notify);

impl Watcher for Bell {
    fn wake(&self, _: usize) {
        self.0.notify_one();
    }
}

impl Subscription {
    /// Begins what was planned.
    pub fn new(hub: Arc<Hub>, plan: Plan, profile: Arc<Profile>, framing: Framing) -> Self {
        let bell = Arc::new(Bell::default());
        let watcher: Arc<dyn Watcher> = Arc::clone(&bell) as _;
        let mut begun = Self {
            channels: Vec::with_capacity(plan.channels.len()),
            hub,
            progress: plan.progress,
            profile,
            framing,
            gatherer: Gatherer::default(),
            watcher,
            bell,
            closed: false,
        };
        for channel in plan.channels {
            channel.watch(&begun.watcher, 0);
            begun.channels.push(channel);
        }
        begun
    }

    /// What is due at this moment, taken as delivered; `None` if nothing is, or if it has to be read from the journal.
    pub fn take(&mut self) -> Option<Batch> {
        match self.look(&[]) {
            Gathered::Due(batch) => Some(batch),
            Gathered::Nothing | Gathered::Behind => None,
        }
    }

    fn look(&mut self, pages: &Pages) -> Gathered {
        if self.closed {
            return Gathered::Nothing;
        }
        self.channels.iter().for_each(|channel| channel.seen(&self.watcher, 0));
        let view = self.hub.view();
        let channels = self.channels.iter().map(|channel| &**channel).enumerate();
        let gathered = self.gatherer.gather(view, &channels, pages, &self.progress, &self.profile, self.framing);
        if let Gathered::Due(batch) = &gathered {
            self.progress.advance(batch.next());
            self.closed = batch.closes;
            if let Some(left) = &batch.left {
                self.leave(left);
            }
        }
        gathered
    }

    fn leave(&mut self, name: &ChannelName) {
        let Some(index) = self.channels.iter().position(|channel| channel.name() == name) else { return };
        let channel = self.channels.remove(index);
        self.hub.unwatch(&channel, &self.watcher, 0);
        self.progress.leave(index);
    }

    /// Waits for what is due; `None` when all channels have ended and all was taken, or when a message closed it.
    ///
    /// # Errors
    /// If the journal cannot be read; then nothing was taken, and the next call tries again.
    ///
    /// CANCEL SAFETY: nothing is taken unless it is returned.
    pub async fn next(&mut self) -> Result<Option<Batch>, ReadError> {
        loop {
            if let Some(batch) = self.due().await? {
                return Ok(Some(batch));
            }
            if self.has_ended() {
                return Ok(None);
            }
            // A wake-up between the look and the wait is kept by `notify_one`.
            self.bell.0.notified().await;
        }
    }

    /// What is due at this moment, taken as delivered; `None` if nothing is.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    ///
    /// CANCEL SAFETY: nothing is taken unless it is returned.
    pub async fn due(&mut self) -> Result<Option<Batch>, ReadError> {
        let mut pages = Vec::new();
        loop {
            match self.look(&pages) {
                // Only the cursor moved.
                Gathered::Due(batch) if batch.frames.is_empty() => {}
                Gathered::Due(batch) => return Ok(Some(batch)),
                Gathered::Nothing => return Ok(None),
                Gathered::Behind => {
                    let channels = self.channels.iter().map(|channel| &**channel).enumerate();
                    let behind = missing(channels, &self.progress).into_iter();
                    let wanted: Vec<_> =
                        behind.map(|(index, next)| (index, Arc::clone(&self.channels[index]), next)).collect();
                    pages = history::read(&self.hub, &wanted, Batch::MAX_BYTES).await?;
                }
            }
        }
    }

    /// Whether a message closed it, or every channel has ended and its end was taken.
    pub fn has_ended(&self) -> bool {
        self.closed || has_ended(self.channels.iter().map(|channel| &**channel), &self.progress)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for channel in &self.channels {
            self.hub.unwatch(channel, &self.watcher, 0);
        }
    }
}

/// Whether one of these channels has ended because what fed it broke off.
pub fn is_broken<'c>(mut channels: impl Iterator<Item = &'c Channel>) -> bool {
    channels.any(|channel| channel.read(Tail::broken))
}

/// Whether a subscription to these channels, in its order, that stands at `progress` has nothing to wait for.
pub fn has_ended<'c>(channels: impl Iterator<Item = &'c Channel>, progress: &Progress) -> bool {
    let mut channels = channels.enumerate();
    channels.all(|(index, channel)| channel.read(|tail| tail.ended() && tail.last().0 < progress.next_in(index)))
}
