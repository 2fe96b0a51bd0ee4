//! When the cleaner works: on a thread of its own, when it is worth its while or somebody asks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fantail_hub::{Clock, Retention};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::cleaner::{Cleaner, Outcome};
use super::figures::Counts;
use super::segments::Segments;

/// How often it looks whether something has expired.
const PATIENCE: Duration = Duration::from_secs(10);

/// What others tell the thread.
#[derive(Debug, Default)]
pub struct Cleaning {
    state: Mutex<State>,
    news: Condvar,
    /// Ends the pass that is under way.
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    /// Something has changed.
    look: bool,
    /// Who waits for a pass.
    asked: Vec<oneshot::Sender<Outcome>>,
    closed: bool,
}

impl Cleaning {
    /// A segment was sealed.
    pub fn look(&self) {
        self.state.lock().look = true;
        self.news.notify_one();
    }

    /// Waits for a pass that begins now or later; `None` if it failed, or nobody cleans any more.
    pub async fn ask(&self) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.closed {
                return None;
            }
            state.asked.push(answer);
        }
        self.news.notify_one();
        answered.await.ok()
    }

    /// Lets [`run`](Self::run) come to its end.
    pub fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.closed = true;
        state.asked.clear();
        self.news.notify_one();
    }

    /// Cleans until it is closed.
    pub fn run(&self, cleaner: Cleaner, segments: &Segments, retention: &Retention, clock: &Clock, counts: &Counts) {
        let mut cleaner = cleaner.until(Arc::clone(&self.stop));
        let mut failed = false;
        while let Some(asked) = self.wait() {
            let now = clock.now();
            if asked.is_empty() && !cleaner.due(segments, retention, now) {
                continue;
            }
            match cleaner.pass(segments, retention, now) {
                Ok(outcome) => {
                    failed = false;
                    counts.cleaned(outcome.freed);
                    tracing::debug!(?outcome, "the journal was cleaned");
                    for answer in asked {
                        let _ = answer.send(outcome);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::error!(%error, "the journal cannot be cleaned; it is tried again");
                    }
                }
            }
        }
    }

    /// Those who ask for a pass, when it is time to look; `None` at the end.
    fn wait(&self) -> Option<Vec<oneshot::Sender<Outcome>>> {
        let mut state = self.state.lock();
        if !state.closed && !state.look && state.asked.is_empty() {
            self.news.wait_for(&mut state, PATIENCE);
        }
        state.look = false;
        (!state.closed).then(|| std::mem::take(&mut state.asked))
    }
}
