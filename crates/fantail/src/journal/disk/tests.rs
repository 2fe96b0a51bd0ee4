//! The journal as a whole, on a real directory.

mod contract;
mod damage;
mod inspect;
mod model;
mod order;
mod reopen;
mod space;
mod trouble;

use std::fs;

use fantail_hub::hub::Publish;
use fantail_hub::{
    ChannelName, Hub, HubLimits, IdempotencyKey, Millis, NewMessage, PublishError, Traits, hub::Published,
};
use fantail_sse::EventId;

use super::*;

/// A journal with a hub over it.
struct Node {
    journal: Arc<DiskJournal>,
    hub: Hub,
    clock: Arc<Clock>,
}

/// What a reader of a channel's whole history is told, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    /// Something up to here is gone.
    Lost(u64),
    /// An entry.
    Said(u64, String),
}

fn settings(directory: &Path) -> Settings {
    Settings {
        directory: directory.to_owned(),
        durability: Durability::Os,
        segment: 4096,
        window: Duration::from_mins(2),
        keys: 1000,
        floors: 1000,
    }
}

/// Channels whose names begin with `memory.` are not stored; those that begin with `short.` keep three messages.
fn retention() -> Retention {
    let rule = |prefix: &str, limits| (prefix.to_owned(), limits);
    let memory = Limits { stored: false, ..Limits::default() };
    let short = Limits { messages: 3, ..Limits::default() };
    Retention::new(Limits::default(), [rule("memory.", memory), rule("short.", short)])
}

fn name(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn said(data: &str) -> NewMessage<'_> {
    NewMessage { data, event: None, id: None }
}

/// Waits for something that another thread finishes.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

impl Node {
    fn open(settings: Settings) -> Self {
        Self::open_at(settings, Millis(10_000)).unwrap()
    }

    fn open_at(settings: Settings, now: Millis) -> Result<Self, OpenError> {
        Self::open_on(Box::new(Disk), settings, now)
    }

    fn open_on(medium: Box<dyn Medium>, settings: Settings, now: Millis) -> Result<Self, OpenError> {
        let clock = Arc::new(Clock::Manual(AtomicU64::new(now.0)));
        let journal = Arc::new(DiskJournal::open_on(medium, settings, retention(), Arc::clone(&clock))?);
        let hub = Hub::new(Arc::<DiskJournal>::clone(&journal), retention(), HubLimits::default(), Arc::clone(&clock));
        Ok(Self { journal, hub, clock })
    }

    fn try_publish(&self, channel: &str, said: NewMessage<'_>, key: Option<&str>) -> Result<Published, PublishError> {
        let key = key.map(|key| IdempotencyKey::parse(key.as_bytes()).unwrap());
        wait(self.hub.publish(Publish {
            channel: &name(channel),
            said,
            key: key.as_ref(),
            ends: false,
            traits: Traits::default(),
        }))
    }

    fn publish(&self, channel: &str, data: &str) -> u64 {
        self.try_publish(channel, said(data), None).unwrap().position.offset.0
    }

    /// All of a channel, as somebody who resumes from `next` is told it.
    fn history(&self, channel: &str, mut next: u64) -> Vec<Told> {
        let channel = self.hub.open(&name(channel)).unwrap();
        let until = self.journal.counter();
        let mut told = Vec::new();
        while next <= until.0 {
            let page = wait(self.journal.read(&channel, next, until, 300)).unwrap();
            assert!(page.until.0 >= next, "a page that leads nowhere: {page:?}");
            if let Some(lost) = page.lost {
                // Several in a row are one to whoever reads.
                if let Some(Told::Lost(before)) = told.last_mut() {
                    *before = lost.0;
                } else {
                    told.push(Told::Lost(lost.0));
                }
            }
            told.extend(page.entries.iter().map(|entry| Told::Said(entry.offset.0, entry.message.data().to_owned())));
            next = page.until.0 + 1;
        }
        told
    }
}

/// The directory as it is at this moment, for a process that was killed leaves just that.
fn killed(node: &Node) -> tempfile::TempDir {
    loop {
        let temp = tempfile::tempdir().unwrap();
        // The cleaner may take a file away while others are copied; then it is done again.
        if copy(&node.journal.settings.directory, temp.path()).is_ok() {
            return temp;
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
