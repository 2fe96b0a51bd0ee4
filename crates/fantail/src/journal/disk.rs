//! The disk journal: one log for all channels, cut into segments, with an index beside each.
//!
//! A thread commits (`commit`), another seals what is full (`sealer`), another gives space back (`cleaning`), and a few read
//! (`readers`). What they share is the list of segments.

pub mod census;
pub mod checked;
pub mod cleaner;
pub mod cleaning;
pub mod commit;
pub mod directory;
pub mod fence;
pub mod figures;
pub mod handles;
pub mod health;
pub mod holes;
pub mod index;
pub mod inspection;
pub mod log;
pub mod medium;
pub mod parts;
pub mod query;
pub mod queue;
pub mod readers;
pub mod record;
pub mod recover;
pub mod scan;
pub mod sealer;
pub mod segment;
pub mod segments;
pub mod stem;
pub mod sweep;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use fantail_hub::channel::Channel;
use fantail_hub::journal::{Append, Head, Page, Pending, Receipt, Seek};
use fantail_hub::{AppendError, Clock, Epoch, Journal, Limits, Millis, Offset, ReadError, Retention};
use parking_lot::Mutex;
use thiserror::Error;

use cleaner::{Cleaner, Outcome};
use cleaning::Cleaning;
use commit::{Committer, Shared, Tape};
use directory::{Directory, DirectoryError};
use figures::{Counts, Figures};
use health::Health;
use log::LogError;
use medium::{Disk, Medium};
use queue::{Item, Queue};
use readers::Readers;
use recover::{Recovered, Terms, recover};
use sealer::Sealer;
use segments::{Segments, StoreError};

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The message is with the operating system: it outlives the process.
    Os,
    /// It is on the disk: it outlives the machine.
    Fsync,
}

/// What a disk journal is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it lies.
    pub directory: PathBuf,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Bytes after which a segment is full.
    pub segment: u64,
    /// How long idempotency keys are remembered.
    pub window: Duration,
    /// And how many.
    pub keys: usize,
    /// Channels whose floor is remembered when nothing else of them is kept.
    pub floors: usize,
}

/// Why a disk journal could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory is not ours to use.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A log or index cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The system's words.
    #[error("cannot {verb} the data directory {path} (journal.url, --data)")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// Which directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The system gave no thread.
    #[error("cannot start the threads of the journal")]
    Threads(#[source] io::Error),
}

impl OpenError {
    fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { verb, path, source }
    }
}

/// A journal that outlives the process.
pub struct DiskJournal {
    settings: Settings,
    retention: Retention,
    clock: Arc<Clock>,
    epoch: Epoch,
    shared: Arc<Shared>,
    segments: Arc<Segments>,
    sealer: Arc<Sealer>,
    cleaning: Arc<Cleaning>,
    readers: Readers,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    commit: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    /// Held until all of them have ended: then another may have it, even if somebody still reads here.
    directory: Option<Directory>,
}

impl DiskJournal {
    /// Opens the journal in a directory, or makes one.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: Settings, retention: Retention, clock: Arc<Clock>) -> Result<Self, OpenError> {
        Self::open_on(Box::new(Disk), settings, retention, clock)
    }

    fn open_on(
        medium: Box<dyn Medium>,
        settings: Settings,
        retention: Retention,
        clock: Arc<Clock>,
    ) -> Result<Self, OpenError> {
        let directory = Directory::open(&settings.directory)?;
        let counts = Counts::default();
        let fsync = settings.durability == Durability::Fsync;
        let (segment, window, keys) = (settings.segment, settings.window, settings.keys);
        let terms = Terms { segment, fsync, window, keys, now: clock.now() };
        let Recovered { segments, unsealed, start, keys } = recover(&directory, terms, &counts)?;
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            counter: AtomicU64::new(start.given.0),
            health: Health::new(directory.path()),
            counts,
        });
        let sealer = Arc::new(Sealer::new(Arc::clone(&segments), unsealed));
        let parts = (Arc::clone(&segments), Arc::clone(&sealer));
        let tape = Tape::new(start, segment, fsync, parts, Arc::clone(&shared), medium);
        let epoch = directory.epoch();
        let committer = Committer::new(Arc::clone(&shared), epoch, Arc::clone(&clock), keys, tape);
        let journal = Self {
            settings,
            retention,
            clock,
            epoch,
            shared,
            segments,
            sealer: Arc::clone(&sealer),
            cleaning: Arc::default(),
            readers: Readers::start().map_err(OpenError::Threads)?,
            threads: Mutex::new(Threads { directory: Some(directory), ..Threads::default() }),
        };
        let start = |name: &str, run: Box<dyn FnOnce() + Send>| Builder::new().name(name.to_owned()).spawn(run);
        {
            // Dropping the journal ends those that were started, should one of them fail.
            let mut threads = journal.threads.lock();
            let cleaning = Arc::clone(&journal.cleaning);
            let seal = start("journal-seal", Box::new(move || sealer.run(|| cleaning.look())));
            threads.others.push(seal.map_err(OpenError::Threads)?);
            let clean = start("journal-clean", journal.cleaner());
            threads.others.push(clean.map_err(OpenError::Threads)?);
            let commit = start("journal-commit", Box::new(move || committer.run()));
            threads.commit = Some(commit.map_err(OpenError::Threads)?);
        }
        Ok(journal)
    }

    /// What it has done and found, and what there is.
    pub fn figures(&self) -> Figures {
        let totals = self.segments.totals();
        Figures {
            waiting: self.shared.queue.waiting(),
            segments: totals.segments,
            bytes: totals.bytes,
            ..self.shared.counts.figures()
        }
    }

    /// The work of the thread that cleans.
    fn cleaner(&self) -> Box<dyn FnOnce() + Send> {
        let cleaner = Cleaner::new(self.settings.segment, self.settings.floors).sparing_keys(self.settings.window);
        let (cleaning, segments) = (Arc::clone(&self.cleaning), Arc::clone(&self.segments));
        let (shared, retention, clock) = (Arc::clone(&self.shared), self.retention.clone(), Arc::clone(&self.clock));
        Box::new(move || cleaning.run(cleaner, &segments, &retention, &clock, &shared.counts))
    }

    /// Has what is not kept any more cleaned away now, whether or not it is worth its while; `None` if it could not be.
    ///
    /// CANCEL SAFETY: dropped, it is done all the same.
    pub async fn compact(&self) -> Option<Outcome> {
        self.cleaning.ask().await
    }

    /// All there is, for those who inspect it.
    pub fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// Commits what waits, puts it on the disk, ends the threads and gives the directory back. Nothing is accepted any more;
    /// reading goes on.
    pub fn close(&self) {
        let mut threads = self.threads.lock();
        self.shared.queue.close();
        let joined = threads.commit.take().map(JoinHandle::join);
        self.sealer.close();
        self.cleaning.close();
        let others = threads.others.drain(..).map(JoinHandle::join);
        if others.chain(joined).any(|joined| joined.is_err()) {
            tracing::error!("a thread of the journal has failed");
        }
        threads.directory = None;
    }

    fn limits(&self, channel: &Channel) -> (Limits, Millis) {
        (self.retention.limits(channel.rule()), self.clock.now())
    }
}

impl Drop for DiskJournal {
    fn drop(&mut self) {
        self.close();
    }
}

/// An own copy of what is sought, for a thread.
enum Sought {
    Id(Box<str>),
    Last(usize),
    Time(Millis),
    Oldest,
}

impl From<Seek<'_>> for Sought {
    fn from(seek: Seek<'_>) -> Self {
        match seek {
            Seek::Id(id) => Self::Id(id.into()),
            Seek::Last(n) => Self::Last(n),
            Seek::Time(time) => Self::Time(time),
            Seek::Oldest => Self::Oldest,
        }
    }
}

impl Sought {
    fn seek(&self) -> Seek<'_> {
        match self {
            Self::Id(id) => Seek::Id(id),
            Self::Last(n) => Seek::Last(*n),
            Self::Time(time) => Seek::Time(*time),
            Self::Oldest => Seek::Oldest,
        }
    }
}

fn unreadable(error: StoreError) -> ReadError {
    let StoreError::Io { path, source } = error;
    tracing::error!(file = %path.display(), %source, "the journal cannot be read");
    ReadError(source.to_string().into())
}

impl Journal for DiskJournal {
    fn describe(&self) -> String {
        let durability = match self.settings.durability {
            Durability::Os => "survives restarts; durability os",
            Durability::Fsync => "survives power failures; durability fsync",
        };
        format!("disk:{} ({durability})", self.settings.directory.display())
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn counter(&self) -> Offset {
        Offset(self.shared.counter.load(Ordering::SeqCst))
    }

    fn stores(&self) -> bool {
        true
    }

    fn health(&self) -> Result<(), AppendError> {
        self.shared.health.get()
    }

    fn append<'a>(&'a self, batch: &'a [Append<'a>]) -> Pending<'a, Vec<Result<Receipt, AppendError>>> {
        Box::pin(async move {
            if batch.is_empty() {
                return Vec::new();
            }
            let answers = self.shared.queue.push(batch.iter().map(Item::new).collect()).await;
            answers.unwrap_or_else(|| batch.iter().map(|_| Err(AppendError::Failing("it is closed".into()))).collect())
        })
    }

    fn read<'a>(
        &'a self,
        channel: &'a Channel,
        next: u64,
        until: Offset,
        bytes: usize,
    ) -> Pending<'a, Result<Page, ReadError>> {
        if !channel.is_stored() {
            return Box::pin(std::future::ready(Ok(channel.page(next, until, bytes))));
        }
        let (segments, name) = (Arc::clone(&self.segments), channel.name().clone());
        let ((limits, now), until) = (self.limits(channel), until.min(self.counter()));
        Box::pin(
            self.readers.run(move || segments.page(name.as_str(), next, bytes, limits, now, until).map_err(unreadable)),
        )
    }

    fn find<'a>(&'a self, channel: &'a Channel, what: Seek<'a>) -> Pending<'a, Result<Option<u64>, ReadError>> {
        if !channel.is_stored() {
            return Box::pin(std::future::ready(Ok(channel.seek(what))));
        }
        let (segments, name, what) = (Arc::clone(&self.segments), channel.name().clone(), Sought::from(what));
        let (limits, now) = self.limits(channel);
        Box::pin(self.readers.run(move || segments.find(name.as_str(), what.seek(), limits, now).map_err(unreadable)))
    }

    fn head<'a>(&'a self, channel: &'a Channel) -> Pending<'a, Result<Head, ReadError>> {
        if !channel.is_stored() {
            return Box::pin(std::future::ready(Ok(channel.head())));
        }
        let (segments, name) = (Arc::clone(&self.segments), channel.name().clone());
        let (limits, now) = self.limits(channel);
        Box::pin(self.readers.run(move || segments.head(name.as_str(), limits, now).map_err(unreadable)))
    }
}

impl fmt::Debug for DiskJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskJournal").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
