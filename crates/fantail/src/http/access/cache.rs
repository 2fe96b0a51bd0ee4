//! Answers that are good for a while, each asked for once however many wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

/// Answers that are kept. Beyond these each question is asked for itself.
const MOST: usize = 10_000;

/// What a question is known by: a digest, so that credentials are not kept.
pub(super) type Question = [u8; 32];

/// The digest of a question's parts.
pub(super) fn question<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Question {
    let mut digest = Sha256::new();
    for part in parts {
        // So that no two lists of parts read alike.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// Answers.
#[derive(Debug)]
pub(super) struct Cache<A>(Mutex<HashMap<Question, Arc<OnceCell<Kept<A>>>>>);

#[derive(Debug)]
struct Kept<A> {
    answer: A,
    until: Instant,
}

impl<A> Default for Cache<A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<A: Clone> Cache<A> {
    /// The answer to a question, if it is known; else what `ask` says, which is good for as long as it says. Whether it was asked.
    ///
    /// CANCEL SAFETY: if whoever asks is dropped, another of those who wait asks in its place.
    pub(super) async fn get(&self, question: Question, ask: impl AsyncFnOnce() -> (A, Duration)) -> (A, bool) {
        let cell = self.cell(question);
        let mut asked = false;
        let answer = cell.get_or_init(|| {
            asked = true;
            async {
                let (answer, good) = ask().await;
                Kept { answer, until: Instant::now() + good }
            }
        });
        let answer = answer.await.answer.clone();
        (answer, asked)
    }

    fn cell(&self, question: Question) -> Arc<OnceCell<Kept<A>>> {
        let mut cells = self.0.lock();
        let now = Instant::now();
        let is_good = |cell: &Arc<OnceCell<Kept<A>>>| cell.get().is_none_or(|kept| kept.until > now);
        if let Some(cell) = cells.get(&question).filter(|cell| is_good(cell)) {
            return Arc::clone(cell);
        }
        let cell = Arc::default();
        if cells.len() >= MOST {
            // What is asked for by nobody any more goes as well.
            cells.retain(|_, cell| is_good(cell) && (cell.initialized() || Arc::strong_count(cell) > 1));
        }
        if cells.len() < MOST {
            cells.insert(question, Arc::clone(&cell));
        }
        cell
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn question_is_told_from_others_by_all_its_parts() {
        let one = question([&b"ab"[..], b"c"]);
        assert_eq!(one, question([&b"ab"[..], b"c"]));
        for other in [question([&b"a"[..], b"bc"]), question([&b"abc"[..]]), question([&b"ab"[..], b"c", b""])] {
            assert_ne!(one, other);
        }
    }

    #[tokio::test]
    async fn answer_is_asked_for_once_and_again_when_it_is_old() {
        let cache = Cache::default();
        let asked = AtomicUsize::new(0);
        let get = |good| {
            cache.get([0; 32], async move || {
                tokio::task::yield_now().await;
                (0, good)
            })
        };
        let (a, b, c) = tokio::join!(get(HOUR), get(HOUR), get(HOUR));
        asked.fetch_add([a, b, c].iter().filter(|(_, asked)| *asked).count(), Ordering::Relaxed);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(get(HOUR).await, (0, false));
        let fresh = Cache::default();
        for _ in 0..3 {
            assert_eq!(fresh.get([1; 32], async || (7, Duration::ZERO)).await, (7, true), "it was good for no time");
        }
        assert_eq!(fresh.0.lock().len(), 1);
    }

    #[tokio::test]
    async fn answer_that_one_gave_up_waiting_for_is_asked_for_by_the_next() {
        let cache = Cache::<u8>::default();
        let never = cache.get([0; 32], async || std::future::pending().await);
        assert!(tokio::time::timeout(Duration::from_millis(1), never).await.is_err());
        assert_eq!(cache.get([0; 32], async || (1, HOUR)).await, (1, true));
    }

    #[tokio::test]
    async fn answers_beyond_the_most_are_not_kept() {
        let cache = Cache::default();
        for n in 0..MOST + 10 {
            let question = question([&n.to_be_bytes()[..]]);
            assert!(cache.get(question, async || ((), HOUR)).await.1);
        }
        assert_eq!(cache.0.lock().len(), MOST);
        assert!(cache.get([7; 32], async || ((), HOUR)).await.1 && cache.get([7; 32], async || ((), HOUR)).await.1);
    }
}
