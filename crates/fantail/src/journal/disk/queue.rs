//! Publishes that wait for the committer, bounded in bytes: whoever comes when it is full waits for room. Knows no disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fantail_hub::channel::{Channel, Draft};
use fantail_hub::journal::{Append, Receipt};
use fantail_hub::{AppendError, IdempotencyKey, Limits};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// What may wait: KiB of text and overhead.
const ROOM_KIB: usize = 16 << 10;

/// While more is waited for: when nothing came for so long, nothing more comes.
const LULL: Duration = Duration::from_micros(100);

/// What becomes of each message of a request.
pub type Answers = Vec<Result<Receipt, AppendError>>;

/// One message.
#[derive(Debug)]
pub struct Item {
    /// Where to. Held until it is there, so that the channel of this name stays the same.
    pub channel: Arc<Channel>,
    /// What.
    pub draft: Draft,
    /// What the channel may keep in memory.
    pub limits: Limits,
    /// The publisher's name for it, and what it stands for.
    pub key: Option<(IdempotencyKey, u64)>,
}

impl Item {
    /// Copies what is said.
    pub fn new(one: &Append<'_>) -> Self {
        Self {
            channel: Arc::clone(one.channel),
            draft: Draft::new(one.addition, one.now),
            limits: one.limits,
            key: one.key.map(|key| (key.clone(), one.addition.said.digest(one.addition.then_end))),
        }
    }

    /// Whether it is to be written.
    pub fn is_stored(&self) -> bool {
        self.channel.is_stored() && !self.draft.message.traits().transient
    }

    /// How many offsets it takes.
    pub fn span(&self) -> u64 {
        1 + u64::from(self.draft.then_end)
    }
}

/// The messages of one request, in order, and who waits for what becomes of them.
#[derive(Debug)]
pub struct Job {
    /// Never empty.
    pub items: Vec<Item>,
    answer: oneshot::Sender<Answers>,
    bytes: usize,
    /// Its room in the queue, until it is answered.
    _room: OwnedSemaphorePermit,
}

impl Job {
    /// Tells whoever waits; nobody may.
    pub fn answer(self, answers: Answers) {
        debug_assert_eq!(answers.len(), self.items.len(), "an answer for every message");
        let _ = self.answer.send(answers);
    }
}

/// What the committer is to do next.
#[derive(Debug)]
pub enum Taken {
    /// These.
    Jobs(Vec<Job>),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    /// The committer waits here.
    news: Condvar,
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// The committer waits for more, and looks by itself.
    gathering: bool,
    closed: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            news: Condvar::new(),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl Queue {
    /// Puts messages in and waits for what becomes of them; `None` if the committer is gone.
    ///
    /// CANCEL SAFETY: dropped before there was room for it, nothing is accepted; later all may be.
    pub async fn push(&self, items: Vec<Item>) -> Option<Answers> {
        let bytes = items.iter().map(|item| item.draft.message.cost()).sum::<usize>();
        let kib = (bytes / 1024 + 1).min(ROOM_KIB) as u32;
        let _waiting = Waiting::new(&self.waiting);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.ok()?;
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.closed {
                return None;
            }
            state.jobs.push_back(Job { items, answer, bytes, _room: room });
            if !state.gathering {
                self.news.notify_one();
            }
        }
        answered.await.ok()
    }

    /// Takes what waits, oldest first: at least one job, and about `bytes` of them. Once there is one, it waits for more as long
    /// as they keep coming, and at most for `gather`.
    pub fn take(&self, bytes: usize, patience: Duration, gather: Duration) -> Taken {
        let mut state = self.state.lock();
        if state.jobs.is_empty() && !state.closed {
            self.news.wait_for(&mut state, patience);
        }
        if !gather.is_zero() && !state.jobs.is_empty() {
            let until = Instant::now() + gather;
            state.gathering = true;
            let mut before = 0;
            while state.jobs.len() > before && !state.closed && Instant::now() < until {
                before = state.jobs.len();
                self.news.wait_for(&mut state, LULL);
            }
            state.gathering = false;
        }
        if state.jobs.is_empty() {
            return if state.closed { Taken::Closed } else { Taken::Nothing };
        }
        let mut room = bytes;
        let mut count = 0;
        for job in &state.jobs {
            if room == 0 {
                break;
            }
            room = room.saturating_sub(job.bytes);
            count += 1;
        }
        Taken::Jobs(state.jobs.drain(..count).collect())
    }

    /// Lets nothing in any more; what is in can still be taken.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.news.notify_one();
    }

    /// Closes, and answers nobody: for a committer that will not come back.
    pub fn abandon(&self) {
        self.close();
        self.state.lock().jobs.clear();
    }

    /// Publishers that wait for room or for an answer.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Counts whoever waits, also if it stops waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
