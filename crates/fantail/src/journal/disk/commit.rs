//! The committer: takes what waits, gives each message its offset, has it written, and only then shows and acknowledges it.
//! The only one who writes to the open segment, and the source of all order.
//!
//! What it decides about a message stands in a [`Batch`] until the batch is written. An offset that was given to a message
//! that could not be written is never given again.

mod tape;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fantail_hub::idempotency::{Idempotency, Outcome};
use fantail_hub::journal::Receipt;
use fantail_hub::{AppendError, Clock, Epoch, Millis, Offset, Position};

pub use tape::{Start, Tape};

use super::figures::Counts;
use super::health::Health;
use super::queue::{Answers, Item, Job, Queue, Taken};
use super::record::{Keyed, Record};

/// Text and overhead that are taken from the queue at once, and about what is written at once.
const BATCH: usize = 4 << 20;
/// How far apart the times in a batch may lie: what a segment takes is asked of its index, which does not know the batch yet.
const SPAN: Duration = Duration::from_hours(24);
/// How often it looks whether a disk that refused has recovered, when nobody publishes.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the committer shares with the rest of the journal.
#[derive(Debug)]
pub struct Shared {
    /// What waits.
    pub queue: Queue,
    /// Everything up to here is in its channel, or under way there.
    pub counter: AtomicU64,
    /// Whether messages are accepted.
    pub health: Health,
    /// What was done.
    pub counts: Counts,
}

/// The state of the thread that commits.
pub struct Committer {
    shared: Arc<Shared>,
    epoch: Epoch,
    clock: Arc<Clock>,
    keys: Idempotency,
    tape: Tape,
    batch: Batch,
}

/// Messages that have their offsets and are not written yet.
#[derive(Default)]
struct Batch {
    /// The records of those that are stored.
    bytes: Vec<u8>,
    placed: Vec<Placed>,
    /// How many of them are stored.
    stored: usize,
    /// The time of the first of those.
    first: Millis,
    /// The last offset of those.
    last: Offset,
}

/// Which message of which job of a round.
type Place = (usize, usize);

#[derive(Clone, Copy)]
enum Placed {
    /// One with an offset. `at` is where its record begins in the log and where it ends, if it is stored.
    New { place: Place, offset: Offset, at: Option<(u64, u64)> },
    /// The same again as one that is not written yet.
    Again { place: Place, offset: Offset },
}

/// The jobs that were taken together, and the answers so far.
struct Round {
    jobs: Vec<Job>,
    answers: Vec<Answers>,
    /// Why a message of a job could not be kept. Those behind it in the job are not kept either: whoever repeats the job from
    /// there on has them in the right order.
    broken: Vec<Option<AppendError>>,
}

impl Round {
    fn new(jobs: Vec<Job>) -> Self {
        // Every one of these is replaced.
        let unanswered = || Err(AppendError::Failing("the message was not decided".into()));
        let answers = jobs.iter().map(|job| job.items.iter().map(|_| unanswered()).collect()).collect();
        let broken = jobs.iter().map(|_| None).collect();
        Self { jobs, answers, broken }
    }

    fn item(&self, (job, item): Place) -> &Item {
        &self.jobs[job].items[item]
    }

    fn answer(&mut self, (job, item): Place, answer: Result<Receipt, AppendError>) {
        if let Err(error @ (AppendError::Full(_) | AppendError::Failing(_))) = &answer {
            self.broken[job].get_or_insert_with(|| error.clone());
        }
        self.answers[job][item] = answer;
    }
}

impl Committer {
    /// One that goes on from where the tape stands.
    pub fn new(shared: Arc<Shared>, epoch: Epoch, clock: Arc<Clock>, keys: Idempotency, tape: Tape) -> Self {
        Self { shared, epoch, clock, keys, tape, batch: Batch::default() }
    }

    /// Commits until the queue is closed and empty, then leaves a clean fence.
    pub fn run(mut self) {
        /// Whoever waits must not wait for a thread that is gone.
        struct Abandon(Arc<Shared>);
        impl Drop for Abandon {
            fn drop(&mut self) {
                if thread::panicking() {
                    self.0.health.is_ill(&AppendError::Failing("the thread that writes it has failed".into()));
                }
                self.0.queue.abandon();
            }
        }
        let _abandon = Abandon(Arc::clone(&self.shared));
        // There is always an open segment: where all others are cleaned away, its base still says how far the journal came.
        let ready = self.tape.make_ready(self.clock.now());
        self.note(&ready);
        let mut together = false;
        loop {
            // A publisher that is alone is not kept waiting for others.
            let gather = if together { self.tape.worth_waiting() } else { Duration::ZERO };
            match self.shared.queue.take(BATCH, PATIENCE, gather) {
                Taken::Jobs(jobs) => {
                    together = jobs.len() > 1;
                    self.commit(jobs);
                }
                Taken::Nothing if self.shared.health.get().is_err() => self.probe(),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
        }
        self.tape.close();
    }

    fn probe(&mut self) {
        let outcome = self.tape.probe(self.clock.now());
        self.note(&outcome);
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let mut round = Round::new(jobs);
        let offsets = round.jobs.iter().flat_map(|job| &job.items).map(Item::span).sum();
        let reserved = self.tape.reserve(offsets);
        for job in 0..round.jobs.len() {
            for item in 0..round.jobs[job].items.len() {
                self.decide(&mut round, (job, item), &reserved);
            }
        }
        self.flush(&mut round);
        for (job, answers) in round.jobs.into_iter().zip(round.answers) {
            job.answer(answers);
        }
    }

    /// Answers a message that needs no writing, or gives it a place in the batch.
    fn decide(&mut self, round: &mut Round, place: Place, reserved: &Result<(), AppendError>) {
        let item = round.item(place);
        let time = item.draft.message.time();
        if let Some((key, digest)) = &item.key
            && let Some(done) = self.keys.outcome(item.channel.name(), key, time)
        {
            if done.digest != *digest {
                round.answer(place, Err(AppendError::KeyReused));
            } else if done.offset.0 > self.shared.counter.load(Ordering::SeqCst) {
                self.batch.placed.push(Placed::Again { place, offset: done.offset });
            } else {
                let receipt = self.again(item, done.offset);
                round.answer(place, Ok(receipt));
            }
            return;
        }
        if !item.is_stored() {
            let offset = self.tape.give(item.span());
            self.put(round, place, offset, None);
            return;
        }
        let Batch { bytes, stored, first, .. } = &self.batch;
        let is_full = || time.since(*first) > SPAN || self.tape.is_full(bytes.len(), time);
        if bytes.len() >= BATCH || (*stored > 0 && is_full()) {
            self.flush(round);
        }
        if let Some(error) = round.broken[place.0].clone() {
            self.shared.counts.refused(&error);
            round.answer(place, Err(error));
            return;
        }
        let ready = if self.batch.stored == 0 { self.tape.make_ready(time) } else { Ok(()) };
        if let Err(error) = reserved.clone().and(ready) {
            self.note(&Err(error.clone()));
            self.shared.counts.refused(&error);
            round.answer(place, Err(error));
            return;
        }
        let item = round.item(place);
        let offset = self.tape.give(item.span());
        let start = self.batch.bytes.len();
        record(item, offset).encode(self.tape.salt(), &mut self.batch.bytes);
        let [start, end] = [start, self.batch.bytes.len()].map(|at| self.tape.end() + at as u64);
        self.put(round, place, offset, Some((start, end)));
    }

    fn put(&mut self, round: &Round, place: Place, offset: Offset, at: Option<(u64, u64)>) {
        let item = round.item(place);
        if let Some((key, digest)) = &item.key {
            let outcome = Outcome { digest: *digest, offset };
            self.keys.remember(item.channel.name(), key.clone(), outcome, item.draft.message.time());
        }
        if at.is_some() {
            if self.batch.stored == 0 {
                self.batch.first = item.draft.message.time();
            }
            self.batch.stored += 1;
            self.batch.last = Offset(offset.0 + item.span() - 1);
        }
        self.batch.placed.push(Placed::New { place, offset, at });
    }

    /// Writes the batch, shows what it holds, and answers. What is not stored is shown whatever the disk says.
    fn flush(&mut self, round: &mut Round) {
        let batch = std::mem::take(&mut self.batch);
        #[cfg(feature = "faults")]
        if crate::faults::visible_early(|| self.show_all(&batch, round, &Ok(()))) {
            let _ = self.write(&batch);
            return;
        }
        let written = self.write(&batch);
        self.show_all(&batch, round, &written);
        // The buffers are used again, unless one message was very large.
        let Batch { mut bytes, mut placed, .. } = batch;
        placed.clear();
        bytes.clear();
        bytes.shrink_to(2 * BATCH);
        self.batch = Batch { bytes, placed, ..Batch::default() };
    }

    fn write(&mut self, batch: &Batch) -> Result<(), AppendError> {
        if batch.stored == 0 {
            return Ok(());
        }
        let written = self.tape.write(&batch.bytes, batch.last);
        self.note(&written);
        if written.is_ok() {
            self.shared.counts.wrote(batch.stored, batch.bytes.len());
        }
        written
    }

    fn show_all(&mut self, batch: &Batch, round: &mut Round, written: &Result<(), AppendError>) {
        for placed in &batch.placed {
            let (Placed::New { place, .. } | Placed::Again { place, .. }) = *placed;
            let item = round.item(place);
            let answer = match (*placed, written) {
                (Placed::New { offset, at: Some(_), .. }, Err(error)) => self.refuse(item, offset, error),
                (Placed::Again { .. }, Err(error)) if item.is_stored() => Err(error.clone()),
                (Placed::New { offset, at, .. }, _) => Ok(self.show(item, offset, at)),
                (Placed::Again { offset, .. }, _) => Ok(self.again(item, offset)),
            };
            round.answer(place, answer);
        }
    }

    /// Puts a message into its channel; index, counter and channel grow in one step, under the channel's lock.
    fn show(&self, item: &Item, offset: Offset, at: Option<(u64, u64)>) -> Receipt {
        let mut next = offset.0;
        let appended = item.channel.append(&item.draft, item.limits, || {
            if let Some((start, end)) = at.filter(|_| next == offset.0) {
                self.tape.add(&record(item, offset), start, end);
            }
            let offset = Offset(next);
            self.shared.counter.store(offset.0, Ordering::SeqCst);
            next += 1;
            offset
        });
        Receipt {
            position: Position { epoch: self.epoch, offset },
            subscribers: appended.subscribers,
            duplicate: false,
        }
    }

    /// Takes back what was decided about a message that could not be written.
    fn refuse(&mut self, item: &Item, offset: Offset, error: &AppendError) -> Result<Receipt, AppendError> {
        if let Some((key, _)) = &item.key {
            self.keys.forget(item.channel.name(), key, offset);
        }
        self.shared.counts.refused(error);
        Err(error.clone())
    }

    fn again(&self, item: &Item, offset: Offset) -> Receipt {
        Receipt {
            position: Position { epoch: self.epoch, offset },
            subscribers: item.channel.info().subscribers,
            duplicate: true,
        }
    }

    fn note(&self, outcome: &Result<(), AppendError>) {
        match outcome {
            Ok(()) => self.shared.health.is_well(),
            Err(error) => self.shared.health.is_ill(error),
        }
    }
}

fn record(item: &Item, offset: Offset) -> Record<'_> {
    let message = &item.draft.message;
    Record {
        offset,
        time: message.time(),
        kind: message.kind(),
        then_end: item.draft.then_end,
        clears: item.draft.clears,
        bytes: message.traits().bytes,
        channel: item.channel.name().as_str(),
        data: message.data(),
        event: message.event(),
        id: message.id(),
        key: item.key.as_ref().map(|(key, digest)| Keyed { key: key.as_bytes(), digest: *digest }),
    }
}
