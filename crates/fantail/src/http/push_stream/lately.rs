//! The answer to a poll that was made last: one message may release thousands of clients, most of whom are told the very same.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;

use crate::dialect::push_stream::Place;

/// All that an answer is made of, beside what is its route's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe<'a> {
    /// The messages in it.
    pub(super) messages: &'a Bytes,
    pub(super) place: Place,
    /// The page's function.
    pub(super) callback: Option<&'a [u8]>,
    /// What is known of the head before.
    pub(super) head: &'a [(HeaderName, HeaderValue)],
    pub(super) keep_alive: bool,
    /// The client takes it compressed.
    pub(super) packs: bool,
}

/// A place for one answer of a route.
#[derive(Debug, Default)]
pub(super) struct Lately(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    /// While they are held here, no others have their address.
    messages: Bytes,
    place: Place,
    callback: Option<Vec<u8>>,
    head: Vec<(HeaderName, HeaderValue)>,
    keep_alive: bool,
    packs: bool,
    /// Each answer says the second in which it was made.
    second: u64,
    answer: Bytes,
}

impl Lately {
    /// The answer of this recipe, made unless it is the last one's. Never waits for whoever makes another at the moment.
    pub(super) fn answer(&self, recipe: Recipe<'_>, make: impl FnOnce() -> Bytes) -> Bytes {
        let Some(mut last) = self.0.try_lock() else { return make() };
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if let Some(made) = last.as_ref().filter(|made| made.second == second && made.is_of(recipe)) {
            return made.answer.clone();
        }
        let answer = make();
        *last = Some(Made {
            messages: recipe.messages.clone(),
            place: recipe.place,
            callback: recipe.callback.map(<[u8]>::to_vec),
            head: recipe.head.to_vec(),
            keep_alive: recipe.keep_alive,
            packs: recipe.packs,
            second,
            answer: answer.clone(),
        });
        answer
    }
}

impl Made {
    fn is_of(&self, recipe: Recipe<'_>) -> bool {
        let Recipe { messages, place, callback, head, keep_alive, packs } = recipe;
        (self.messages.as_ptr(), self.messages.len()) == (messages.as_ptr(), messages.len())
            && (self.place, self.keep_alive, self.packs) == (place, keep_alive, packs)
            && self.callback.as_deref() == callback
            && self.head == head
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::VARY;

    use super::*;

    #[test]
    fn lately_repeats_an_answer_of_the_same_recipe_alone() {
        let lately = Lately::default();
        let (messages, same_text) = (Bytes::from(vec![b'x'; 9]), Bytes::from(vec![b'x'; 9]));
        let head = [(VARY, HeaderValue::from_static("Origin"))];
        let recipe = Recipe {
            messages: &messages,
            place: Place { time: 1, tag: 2 },
            callback: None,
            head: &[],
            keep_alive: true,
            packs: false,
        };
        // Where a second ends between the two, they are tried again.
        let repeats = |one: Recipe<'_>, other: Recipe<'_>| {
            let begun = SystemTime::now();
            loop {
                lately.answer(one, || Bytes::from_static(b"one"));
                let again = lately.answer(other, || Bytes::from_static(b"other"));
                if again == b"one"[..] || begun.elapsed().unwrap() > Duration::from_millis(20) {
                    return again == b"one"[..];
                }
                *lately.0.lock() = None;
            }
        };
        assert!(repeats(recipe, recipe));
        for other in [
            Recipe { messages: &same_text, ..recipe },
            Recipe { place: Place { time: 1, tag: 3 }, ..recipe },
            Recipe { callback: Some(b"f"), ..recipe },
            Recipe { head: &head, ..recipe },
            Recipe { keep_alive: false, ..recipe },
            Recipe { packs: true, ..recipe },
        ] {
            *lately.0.lock() = None;
            assert!(!repeats(recipe, other), "{other:?}");
        }
    }

    #[test]
    fn lately_does_not_wait_for_another() {
        let (lately, messages) = (Lately::default(), Bytes::from_static(b"x"));
        let place = Place { time: 1, tag: 2 };
        let recipe = Recipe { messages: &messages, place, callback: None, head: &[], keep_alive: true, packs: false };
        let held = lately.0.lock();
        assert_eq!(lately.answer(recipe, || Bytes::from_static(b"made")), b"made"[..]);
        drop(held);
    }
}
