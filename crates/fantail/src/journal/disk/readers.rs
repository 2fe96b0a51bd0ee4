//! Threads that read the journal for those who must not wait for a disk. Knows nothing of what is read.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use fantail_hub::ReadError;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

const THREADS: usize = 4;
/// Reads that wait for a thread; whoever comes when there are as many waits for a place.
const WAITING: usize = 256;

type Task = Box<dyn FnOnce() + Send>;

/// The pool.
#[derive(Debug)]
pub struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    closed: bool,
}

impl Readers {
    /// Starts the threads.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut readers = Self { shared, threads: Vec::new(), places: Arc::new(Semaphore::new(WAITING)) };
        for number in 0..THREADS {
            let shared = Arc::clone(&readers.shared);
            let thread = Builder::new().name(format!("journal-read-{number}")).spawn(move || shared.run())?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Has `read` done by a thread.
    ///
    /// CANCEL SAFETY: dropped, it is not done, or in vain.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let gone = || ReadError("it is closed".into());
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        let task = Box::new(move || {
            drop(place);
            if !answer.is_closed() {
                let _ = answer.send(read());
            }
        });
        {
            let mut state = self.shared.state.lock();
            if state.closed {
                return Err(gone());
            }
            state.tasks.push_back(task);
        }
        self.shared.news.notify_one();
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Readers {
    /// Waits for the reads that are under way; those that were not begun are answered that it is closed.
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            state.closed = true;
            state.tasks.clear();
        }
        self.shared.news.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let mut state = self.state.lock();
            let task = loop {
                if state.closed {
                    return;
                }
                match state.tasks.pop_front() {
                    Some(task) => break task,
                    None => self.news.wait(&mut state),
                }
            };
            drop(state);
            // Whoever asked is told by the loss of its answer; the next one is to find a thread.
            let _ = catch_unwind(AssertUnwindSafe(task));
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("waiting", &self.state.lock().tasks.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn reads_are_done_side_by_side_and_answered_each() {
        let readers = Readers::start().unwrap();
        let barrier = Arc::new(std::sync::Barrier::new(THREADS));
        let read = |n: usize| {
            let barrier = Arc::clone(&barrier);
            readers.run(move || {
                barrier.wait();
                if n == 0 { Err(ReadError("nothing there".into())) } else { Ok(n) }
            })
        };
        let answers = tokio::join!(read(0), read(1), read(2), read(3));
        assert_eq!(answers, (Err(ReadError("nothing there".into())), Ok(1), Ok(2), Ok(3)));
    }

    #[tokio::test]
    async fn reads_beyond_the_bound_wait_and_dropped_ones_are_not_done() {
        let readers = Readers::start().unwrap();
        let (gate, done) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
        let closed = gate.lock();
        let mut reads: Vec<_> = (0..THREADS + WAITING + 10)
            .map(|_| {
                let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
                Box::pin(readers.run(move || {
                    drop(gate.lock());
                    done.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }))
            })
            .collect();
        for read in &mut reads {
            assert!(read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert!(readers.shared.state.lock().tasks.len() <= WAITING);
        reads.truncate(THREADS + 1);
        drop(closed);
        for read in reads {
            read.await.unwrap();
        }
        drop(readers);
        assert!(done.load(Ordering::SeqCst) <= THREADS + 1, "what nobody waits for is not read");
    }

    #[tokio::test]
    async fn read_that_panics_takes_no_thread_with_it() {
        let readers = Readers::start().unwrap();
        for _ in 0..=THREADS {
            readers.run::<()>(|| panic!("as the test wants it")).await.unwrap_err();
        }
        assert_eq!(readers.run(|| Ok(1)).await, Ok(1));
    }
}
