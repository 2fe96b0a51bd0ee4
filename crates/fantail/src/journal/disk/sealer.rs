//! Writes the indexes of full segments, on a thread of its own, while the next one is written. What it cannot write it tries
//! again; what it does not come to is rebuilt at the next start.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fantail_hub::AppendError;
use parking_lot::{Condvar, Mutex};

use super::health::refusal;
use super::segment::Segment;
use super::segments::Segments;

/// One that is being sealed and one that waits: as many as a start has to read again, besides the open one.
const MOST: usize = 2;
/// How long after a failure it is tried again.
const PATIENCE: Duration = Duration::from_secs(1);

/// The list of what is to be sealed.
#[derive(Debug)]
pub struct Sealer {
    segments: Arc<Segments>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first; one stays in front until it is sealed.
    waiting: VecDeque<Arc<Segment>>,
    trouble: Option<AppendError>,
    closed: bool,
}

impl Sealer {
    /// With these to begin with.
    pub fn new(segments: Arc<Segments>, waiting: Vec<Arc<Segment>>) -> Self {
        let state = State { waiting: waiting.into(), trouble: None, closed: false };
        Self { segments, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits until there is room for one more.
    ///
    /// # Errors
    /// Why there is none, if sealing fails.
    pub fn room(&self) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        while state.waiting.len() >= MOST && !state.closed {
            if let Some(trouble) = &state.trouble {
                return Err(trouble.clone());
            }
            self.changed.wait(&mut state);
        }
        Ok(())
    }

    /// Adds one.
    pub fn add(&self, segment: Arc<Segment>) {
        self.state.lock().waiting.push_back(segment);
        self.changed.notify_all();
    }

    /// Seals until it is closed; calls `sealed` after each.
    pub fn run(&self, mut sealed: impl FnMut()) {
        /// Whoever waits for room must not wait for a thread that is gone.
        struct Gone<'a>(&'a Sealer);
        impl Drop for Gone<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    self.0.state.lock().trouble =
                        Some(AppendError::Failing("the thread that seals segments has failed".into()));
                    self.0.changed.notify_all();
                }
            }
        }
        let _gone = Gone(self);
        let mut state = self.state.lock();
        while !state.closed {
            let Some(segment) = state.waiting.front().map(Arc::clone) else {
                self.changed.wait(&mut state);
                continue;
            };
            drop(state);
            let outcome = self.segments.seal(&segment);
            state = self.state.lock();
            match outcome {
                Ok(()) => {
                    state.waiting.pop_front();
                    state.trouble = None;
                    self.changed.notify_all();
                    drop(state);
                    sealed();
                    state = self.state.lock();
                }
                Err(error) => {
                    if state.trouble.is_none() {
                        tracing::error!(%error, base = %segment.base(), "cannot write the index of a segment");
                    }
                    state.trouble = Some(refusal(&error));
                    self.changed.notify_all();
                    if !state.closed {
                        self.changed.wait_for(&mut state, PATIENCE);
                    }
                }
            }
        }
    }

    /// Lets [`run`](Self::run) come to its end.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use fantail_hub::{Millis, Offset};

    use super::*;

    #[test]
    fn sealer_that_is_gone_lets_nobody_wait_for_room() {
        let dir = tempfile::tempdir().unwrap();
        let segments = Arc::new(Segments::open(dir.path()).unwrap().segments);
        let new = |base| segments.begin(Offset(base), Offset(base - 1), Millis(0), false).unwrap();
        let sealer = Sealer::new(Arc::clone(&segments), vec![new(1), new(2), new(3)]);
        let run = catch_unwind(AssertUnwindSafe(|| sealer.run(|| panic!("as the test wants it"))));
        assert!(run.is_err());
        assert!(matches!(sealer.room(), Err(AppendError::Failing(_))));
    }
}
