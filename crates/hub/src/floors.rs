//! What collected channels leave behind: their floors, by a hash of the name, in a bounded table.
//! What falls out of the table raises the floor of all: too many gaps may be told, never too few.

use std::collections::{HashMap, VecDeque};

use crate::position::Offset;

/// The floors of channels that are gone.
#[derive(Debug)]
pub struct Floors {
    by_hash: HashMap<u64, Offset>,
    /// In the order they came. May hold entries that were taken out again or replaced; the map decides.
    order: VecDeque<(u64, Offset)>,
    capacity: usize,
    /// The floor of every channel that is not in the table.
    general: Offset,
}

impl Floors {
    /// Room for `capacity` channels, about 40 bytes each. What was before `general` is gone for all.
    pub fn new(capacity: usize, general: Offset) -> Self {
        Self { by_hash: HashMap::new(), order: VecDeque::new(), capacity, general }
    }

    /// A channel went with this floor.
    pub fn leave(&mut self, hash: u64, floor: Offset) {
        if floor <= self.general {
            return;
        }
        let known = self.by_hash.entry(hash).or_insert(floor);
        *known = floor.max(*known);
        self.order.push_back((hash, *known));
        while self.by_hash.len() > self.capacity || self.order.len() > self.capacity.saturating_mul(2) {
            let Some((oldest, floor)) = self.order.pop_front() else { break };
            if self.by_hash.get(&oldest) == Some(&floor) {
                self.by_hash.remove(&oldest);
                self.general = self.general.max(floor);
            }
        }
    }

    /// The floor for a channel that comes (back).
    pub fn take(&mut self, hash: u64) -> Offset {
        self.by_hash.remove(&hash).unwrap_or_default().max(self.general)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_after_leave_gives_the_floor_once() {
        let mut floors = Floors::new(2, Offset(0));
        floors.leave(1, Offset(7));
        assert_eq!((floors.take(1), floors.take(1)), (Offset(7), Offset(0)));
    }

    #[test]
    fn leave_beyond_the_capacity_raises_the_floor_of_all() {
        let mut floors = Floors::new(2, Offset(0));
        for (hash, floor) in [(1, 7), (2, 8), (3, 9)] {
            floors.leave(hash, Offset(floor));
        }
        assert_eq!((floors.take(1), floors.take(99)), (Offset(7), Offset(7)));
        assert_eq!((floors.take(2), floors.take(3)), (Offset(8), Offset(9)));
    }

    #[test]
    fn leave_and_take_of_the_same_channel_for_ever_stays_bounded_and_never_forgets() {
        let mut floors = Floors::new(4, Offset(0));
        floors.leave(1, Offset(1));
        for offset in 2..1000 {
            floors.leave(2, Offset(offset));
            assert_eq!(floors.take(2), Offset(offset));
            assert!(floors.order.len() <= 8);
        }
        assert!(floors.take(1) >= Offset(1));
    }
}
