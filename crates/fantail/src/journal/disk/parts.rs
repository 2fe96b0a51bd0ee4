//! What was read lately of channels' parts of sealed segments. Whoever reads a long history page by page asks every segment
//! that is newer, each time, how much of the channel it holds; the answer never changes.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use parking_lot::Mutex;

use super::index::Part;

/// What is remembered: what was asked lately, and with it what was asked before that.
#[derive(Debug)]
pub struct Parts {
    /// When to forget what was asked before.
    most: usize,
    hasher: RandomState,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    young: HashMap<Key, Option<Part>>,
    old: HashMap<Key, Option<Part>>,
}

/// A segment's number, and a channel: its hash, which anybody can compute, and another, which nobody can.
type Key = (u64, u64, u64);

impl Parts {
    /// At most twice as many, of about 100 bytes each.
    pub fn new(most: usize) -> Self {
        Self { most, hasher: RandomState::new(), memory: Mutex::default() }
    }

    /// What segment `number` has of the channel `name` with this hash, from memory or from `read`.
    pub fn get<E>(
        &self,
        number: u64,
        hash: u64,
        name: &str,
        read: impl FnOnce() -> Result<Option<Part>, E>,
    ) -> Result<Option<Part>, E> {
        let key = (number, hash, self.hasher.hash_one(name));
        let known = {
            let mut memory = self.memory.lock();
            match memory.young.get(&key) {
                Some(part) => return Ok(*part),
                None => memory.old.remove(&key),
            }
        };
        let part = known.map_or_else(read, Ok)?;
        let mut memory = self.memory.lock();
        if memory.young.len() >= self.most {
            memory.old = std::mem::take(&mut memory.young);
        }
        memory.young.insert(key, part);
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use fantail_hub::Offset;

    use super::*;

    fn ask(parts: &Parts, number: u64, name: &str, read: &mut u32) -> u64 {
        let part = parts.get::<Infallible>(number, 7, name, || {
            *read += 1;
            Ok(Some(Part::floor_only(Offset(u64::from(*read)))))
        });
        part.unwrap().unwrap().floor.0
    }

    #[test]
    fn parts_are_read_once_per_segment_and_channel_even_where_hashes_are_alike() {
        let (parts, mut read) = (Parts::new(10), 0);
        assert_eq!(ask(&parts, 1, "a", &mut read), 1);
        assert_eq!(ask(&parts, 1, "b", &mut read), 2);
        assert_eq!(ask(&parts, 2, "a", &mut read), 3);
        assert_eq!(ask(&parts, 1, "a", &mut read), 1);
        assert_eq!(ask(&parts, 1, "b", &mut read), 2);
        assert_eq!(read, 3);
    }

    #[test]
    fn parts_that_are_asked_for_stay_while_others_come_and_go() {
        let (parts, mut read) = (Parts::new(10), 0);
        for number in 0..100 {
            assert_eq!(ask(&parts, 1000, "a", &mut read), 1);
            ask(&parts, number, "a", &mut read);
        }
        assert_eq!(read, 101);
        let memory = parts.memory.lock();
        assert!(memory.young.len() + memory.old.len() <= 20);
    }

    #[test]
    fn parts_that_could_not_be_read_are_not_remembered() {
        let parts = Parts::new(10);
        assert_eq!(parts.get(1, 7, "a", || Err("damaged")), Err("damaged"));
        assert_eq!(parts.get::<Infallible>(1, 7, "a", || Ok(None)), Ok(None));
        assert_eq!(parts.get(1, 7, "a", || Err("damaged")), Ok(None));
    }
}
